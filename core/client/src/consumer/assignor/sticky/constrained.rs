//! All members want the same topics: everybody gets the quota or one more.

use super::super::plan::{Partition, Plan};
use super::{Outcome, Prior, RackInfo};
use crate::error::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet, VecDeque};

#[derive(Debug)]
struct Builder<'a, 'p> {
    plan: &'a Plan<'p>,
    racks: &'a RackInfo<'p>,
    contested: HashSet<Partition>,
    /// Owned before and not kept in the first step, and by whom.
    given_up: HashMap<Partition, usize>,
    moving: HashMap<Partition, usize>,
    /// Members with less than the quota.
    below: Vec<usize>,
    /// Members with exactly the quota, as long as some of them get one more.
    exactly: VecDeque<usize>,
    quota: usize,
    quota_max: usize,
    /// How many members get more than the quota in the end, and how many do by now.
    above_expected: usize,
    above: usize,
    assignment: Vec<Vec<Partition>>,
}

pub(super) fn assign(plan: &Plan<'_>, racks: &RackInfo<'_>, prior: Prior) -> Result<Outcome> {
    let (total, count) = (plan.total(), plan.members.len());
    let mut builder = Builder {
        plan,
        racks,
        contested: prior.contested,
        given_up: HashMap::new(),
        moving: HashMap::new(),
        below: Vec::new(),
        exactly: VecDeque::new(),
        quota: total / count,
        quota_max: total.div_ceil(count),
        above_expected: total % count,
        above: 0,
        assignment: vec![Vec::new(); count],
    };
    builder.keep_owned(prior.order, prior.owned);
    let mut unassigned = builder.unassigned();
    builder.below.sort();
    builder.exactly.make_contiguous().sort();
    builder.racks.sort(&mut unassigned);
    if racks.matter() {
        builder.assign_within_racks(&mut unassigned);
    }
    builder.assign_rest(&unassigned)?;
    builder.verify()?;
    Ok(Outcome { assignment: builder.assignment, moving: Some(builder.moving) })
}

impl Builder<'_, '_> {
    fn keep_owned(&mut self, order: Vec<usize>, mut all_owned: Vec<Vec<Partition>>) {
        for member in order {
            let mut owned = std::mem::take(&mut all_owned[member]);
            owned.retain(|partition| {
                let mismatch = self.racks.mismatch(member, *partition);
                if mismatch {
                    self.given_up.insert(*partition, member);
                }
                !mismatch && !self.contested.contains(partition)
            });
            owned.sort_by_key(|partition| (partition.index, partition.topic));
            let mut kept = owned.len();
            if owned.len() < self.quota {
                self.below.push(member);
            } else if owned.len() >= self.quota_max && self.above < self.above_expected {
                self.above += 1;
                if self.above == self.above_expected {
                    self.exactly.clear();
                }
                kept = self.quota_max;
            } else {
                kept = self.quota;
                if self.above < self.above_expected {
                    self.exactly.push_back(member);
                }
            }
            self.given_up.extend(owned.drain(kept..).map(|partition| (partition, member)));
            self.assignment[member] = owned;
        }
    }

    /// Java walks along both sorted lists at once. A partition kept that no longer exists stops it there, and all
    /// that follow count as unassigned.
    fn unassigned(&self) -> Vec<Partition> {
        let mut kept: Vec<Partition> = self.assignment.iter().flatten().copied().collect();
        kept.sort();
        if kept.is_empty() {
            return (0..self.plan.topics.len()).flat_map(|topic| self.plan.partitions(topic)).collect();
        }
        let mut kept = kept.into_iter().peekable();
        let mut unassigned = Vec::new();
        for (topic, data) in self.plan.topics.iter().enumerate() {
            for index in 0..data.partitions.len() as i32 {
                let partition = Partition { topic, index };
                if kept.next_if_eq(&partition).is_none() {
                    unassigned.push(partition);
                }
            }
        }
        unassigned
    }

    fn assign_within_racks(&mut self, unassigned: &mut Vec<Partition>) {
        let mut next = 0;
        unassigned.retain(|partition| {
            let Some(member) = self.nearby(*partition, &mut next) else { return true };
            self.give(*partition, member);
            false
        });
    }

    /// Whom the partition goes to within its racks, counting it as given.
    fn nearby(&mut self, partition: Partition, next: &mut usize) -> Option<usize> {
        if let Some(mut place) = self.racks.next(partition, &self.below, *next) {
            let member = self.below[place];
            let count = self.assignment[member].len() + 1;
            if count >= self.quota {
                self.below.remove(place);
                if count < self.quota_max && self.above < self.above_expected {
                    self.exactly.push_back(member);
                }
            } else {
                place += 1;
            }
            *next = if self.below.is_empty() { 0 } else { place % self.below.len() };
            return Some(member);
        }
        let place = self.racks.next(partition, self.exactly.make_contiguous(), 0)?;
        let member = self.exactly[place];
        if self.assignment[member].len() + 1 == self.quota_max {
            self.exactly.remove(place);
            self.above += 1;
            if self.above == self.above_expected {
                self.exactly.clear();
            }
        }
        Some(member)
    }

    fn assign_rest(&mut self, unassigned: &[Partition]) -> Result<()> {
        let mut turn = 0;
        for partition in unassigned {
            if turn >= self.below.len() {
                turn = 0;
            }
            let member = match self.below.get(turn) {
                Some(member) => *member,
                None => self.exactly.pop_front().ok_or_else(|| inconsistent("more partitions than shares"))?,
            };
            turn += 1;
            let count = self.give(*partition, member);
            if count == self.quota {
                turn -= 1;
                self.below.remove(turn);
                self.exactly.push_back(member);
            } else if count == self.quota_max {
                self.above += 1;
            }
        }
        Ok(())
    }

    fn give(&mut self, partition: Partition, member: usize) -> usize {
        self.assignment[member].push(partition);
        let from_another = self.given_up.get(&partition).is_some_and(|owner| *owner != member);
        if from_another || self.contested.contains(&partition) {
            self.moving.insert(partition, member);
        }
        self.assignment[member].len()
    }

    fn verify(&self) -> Result<()> {
        let short = |member: &usize| self.assignment[*member].len() != self.quota;
        if !self.below.is_empty() && (self.above != self.above_expected || self.below.iter().any(short)) {
            return Err(inconsistent("fewer partitions than shares"));
        }
        Ok(())
    }
}

/// Some member owns a partition that its topic no longer has.
fn inconsistent(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the sticky assignor has {what}; the group has to join once more"))
}
