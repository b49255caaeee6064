//! Members want different topics: move partitions from the fullest members to emptier ones until that improves nothing.

use super::super::plan::{Partition, Plan};
use super::movements::Movements;
use super::{NO_GENERATION, Prior, RackInfo, remove};
use crate::error::{Error, ErrorKind, Result};
use std::collections::{BTreeSet, HashMap, HashSet};

#[derive(Debug)]
struct Builder<'a, 'p> {
    plan: &'a Plan<'p>,
    racks: &'a RackInfo<'p>,
    /// By topic: the members that want it.
    wanted_by: Vec<Vec<usize>>,
    /// By member: the topics it wants.
    wants: Vec<HashSet<usize>>,
    /// By member; `None` for those that are set aside because no move concerns them.
    current: Vec<Option<Vec<Partition>>>,
    owner: HashMap<Partition, usize>,
    /// By how many members want their topic, then by name and number.
    partitions: Vec<Partition>,
    /// The members not set aside, the emptiest first.
    by_load: BTreeSet<(usize, usize)>,
    /// Something was taken away because of a changed subscription or rack.
    revoked: bool,
    /// Who had a partition in an older generation.
    previous: HashMap<Partition, (usize, i32)>,
    movements: Movements,
    total: usize,
}

pub(super) fn assign(
    plan: &Plan<'_>,
    racks: &RackInfo<'_>,
    prior: Prior,
    max_generation: i32,
) -> Result<Vec<Vec<Partition>>> {
    let wanted_by = plan.wanted_by();
    let mut topics: Vec<usize> = (0..plan.topics.len()).collect();
    topics.sort_by_key(|topic| (wanted_by[*topic].len(), *topic));
    let mut owner = HashMap::new();
    for (member, owned) in prior.owned.iter().enumerate() {
        owner.extend(owned.iter().map(|partition| (*partition, member)));
    }
    let mut builder = Builder {
        plan,
        racks,
        wants: plan.wanted.iter().map(|wanted| wanted.iter().copied().collect()).collect(),
        current: prior.owned.into_iter().map(Some).collect(),
        owner,
        partitions: topics.iter().flat_map(|topic| plan.partitions(*topic)).collect(),
        by_load: BTreeSet::new(),
        revoked: false,
        previous: previous(plan, &prior.had, max_generation),
        movements: Movements::default(),
        total: plan.total(),
        wanted_by,
    };
    let kept = builder.keep_owned();
    let unassigned = builder.unassigned(kept);
    builder.by_load = builder.loads().collect();
    builder.balance(unassigned)?;
    Ok(builder.current.into_iter().map(Option::unwrap_or_default).collect())
}

/// What members of older generations claim, the newest of those.
fn previous(
    plan: &Plan<'_>,
    had: &[(Vec<Partition>, Option<i32>)],
    max_generation: i32,
) -> HashMap<Partition, (usize, i32)> {
    let mut previous: HashMap<Partition, (usize, i32)> = HashMap::new();
    for member in plan.member_order.iter().copied() {
        let (partitions, generation) = &had[member];
        let generation = generation.unwrap_or(NO_GENERATION);
        if generation >= max_generation {
            continue;
        }
        for partition in partitions {
            let entry = previous.entry(*partition).or_insert((member, generation));
            if generation > entry.1 {
                *entry = (member, generation);
            }
        }
    }
    previous
}

impl Builder<'_, '_> {
    fn size(&self, member: usize) -> Option<usize> {
        self.current[member].as_ref().map(Vec::len)
    }

    fn loads(&self) -> impl Iterator<Item = (usize, usize)> {
        let sizes = self.current.iter().enumerate();
        sizes.filter_map(|(member, partitions)| Some((partitions.as_ref()?.len(), member)))
    }

    fn keep_owned(&mut self) -> Vec<Partition> {
        let mut all_kept = Vec::new();
        for (member, current) in self.current.iter_mut().enumerate() {
            let keep = |partition: &Partition| {
                self.wants[member].contains(&partition.topic) && !self.racks.mismatch(member, *partition)
            };
            let owned = current.get_or_insert_default();
            let before = owned.len();
            owned.retain(keep);
            self.revoked |= owned.len() < before;
            all_kept.extend(owned.iter().copied());
        }
        all_kept
    }

    /// As in the constrained case, a partition kept that no longer exists makes all that follow count as unassigned.
    fn unassigned(&self, mut kept: Vec<Partition>) -> Vec<Partition> {
        kept.sort_by_key(|partition| (self.wanted_by[partition.topic].len(), *partition));
        let mut kept = kept.into_iter().peekable();
        let free = self.partitions.iter().copied();
        free.filter(|partition| kept.next_if_eq(partition).is_none()).collect()
    }

    fn balance(&mut self, mut unassigned: Vec<Partition>) -> Result<()> {
        let initializing = self.by_load.last().is_none_or(|(size, _)| *size == 0);
        let mut rest = unassigned.clone();
        if self.racks.matter() {
            rest.retain(|partition| !self.assign_one(*partition, true));
        }
        for partition in rest {
            self.assign_one(partition, false);
        }

        let movable = |partition: &Partition| self.wanted_by[partition.topic].len() >= 2;
        self.partitions.retain(movable);
        unassigned.retain(movable);
        let mut set_aside = Vec::new();
        for member in 0..self.current.len() {
            if !self.takes_part(member)
                && let Some(partitions) = self.current[member].take()
            {
                self.by_load.remove(&(partitions.len(), member));
                set_aside.push((member, partitions));
            }
        }

        let before = self.current.clone();
        if !self.revoked {
            self.reassign(&unassigned)?;
        }
        let all = std::mem::take(&mut self.partitions);
        let moved = self.reassign(&all)?;
        if !initializing && moved && score(&self.current) >= score(&before) {
            self.current = before;
        }
        for (member, partitions) in set_aside {
            self.current[member] = Some(partitions);
        }
        Ok(())
    }

    /// Gives it to the emptiest member that wants it.
    fn assign_one(&mut self, partition: Partition, within_racks: bool) -> bool {
        let fits = |member: usize| {
            self.wants[member].contains(&partition.topic) && !(within_racks && self.racks.mismatch(member, partition))
        };
        let Some((size, member)) = self.by_load.iter().copied().find(|(_, member)| fits(*member)) else {
            return false;
        };
        self.by_load.remove(&(size, member));
        self.current[member].get_or_insert_default().push(partition);
        self.owner.insert(partition, member);
        self.by_load.insert((size + 1, member));
        true
    }

    /// How many partitions the topics of a member have.
    fn potential(&self, member: usize) -> usize {
        let wanted = &self.plan.wanted[member];
        if wanted.len() == self.plan.topics.len() {
            return self.total;
        }
        wanted.iter().map(|topic| self.plan.topics[*topic].partitions.len()).sum()
    }

    fn takes_part(&self, member: usize) -> bool {
        let partitions = self.current[member].as_deref().unwrap_or_default();
        let shared = |partition: &Partition| self.wanted_by[partition.topic].len() >= 2;
        partitions.len() < self.potential(member) || partitions.iter().any(shared)
    }

    fn is_balanced(&self) -> bool {
        let (Some((min, _)), Some((max, _))) = (self.by_load.first(), self.by_load.last()) else { return true };
        if min + 1 >= *max {
            return true;
        }
        let mut owner: HashMap<Partition, usize> = HashMap::new();
        for (member, partitions) in self.current.iter().enumerate() {
            owner.extend(partitions.iter().flatten().map(|partition| (*partition, member)));
        }
        for (size, member) in self.by_load.iter().copied() {
            if size == self.potential(member) {
                continue;
            }
            let own: HashSet<&Partition> = self.current[member].iter().flatten().collect();
            for topic in &self.plan.wanted[member] {
                for index in 0..self.plan.topics[*topic].partitions.len() as i32 {
                    let partition = Partition { topic: *topic, index };
                    let other = owner.get(&partition).and_then(|other| self.size(*other));
                    if !own.contains(&partition) && other.is_some_and(|other| size + 1 < other) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Moves partitions until that improves nothing; whether one was moved.
    fn reassign(&mut self, partitions: &[Partition]) -> Result<bool> {
        let mut any = false;
        loop {
            let mut moved = false;
            for partition in partitions.iter().copied() {
                if self.is_balanced() {
                    break;
                }
                moved |= self.reassign_one(partition)?;
            }
            if !moved {
                return Ok(any);
            }
            any = true;
        }
    }

    fn reassign_one(&mut self, partition: Partition) -> Result<bool> {
        let Some(owner) = self.owner.get(&partition).copied() else { return Ok(false) };
        let Some(size) = self.size(owner) else { return Ok(false) };
        let fuller = |other: usize| self.size(other).is_some_and(|other| size > other + 1);
        if let Some((before, _)) = self.previous.get(&partition)
            && fuller(*before)
        {
            self.move_to(partition, *before);
            return Ok(true);
        }
        let others = &self.wanted_by[partition.topic];
        let near = |member: usize| self.racks.of_member(member).is_some_and(|rack| self.racks.holds(rack, partition));
        // Java asks for a member in the rack first, but moves to the emptiest member in both cases.
        let better = near(owner) && others.iter().any(|other| near(*other) && fuller(*other));
        if !better && !others.iter().any(|other| fuller(*other)) {
            return Ok(false);
        }
        let mut emptiest = self.by_load.iter().map(|(_, member)| *member);
        let to = emptiest.find(|member| self.wants[*member].contains(&partition.topic));
        let to = to.ok_or_else(|| Error::new(ErrorKind::Internal, "a partition moves and nobody wants its topic"))?;
        self.move_to(partition, to);
        Ok(true)
    }

    /// Moves `partition`, or one of its topic that moved the opposite way before.
    fn move_to(&mut self, partition: Partition, to: usize) {
        let Some(from) = self.owner.get(&partition).copied() else { return };
        let partition = self.movements.instead_of(partition, from, to);
        let Some(from) = self.owner.get(&partition).copied() else { return };
        for member in [from, to] {
            if let Some(size) = self.size(member) {
                self.by_load.remove(&(size, member));
            }
        }
        self.movements.add(partition, self.plan.topics[partition.topic].hash, from, to);
        if let Some(partitions) = &mut self.current[from] {
            remove(partitions, partition);
        }
        if let Some(partitions) = &mut self.current[to] {
            partitions.push(partition);
        }
        self.owner.insert(partition, to);
        for member in [to, from] {
            if let Some(size) = self.size(member) {
                self.by_load.insert((size, member));
            }
        }
    }
}

/// The sum of the differences between all members' loads: 0 when all have the same. Java's `int` wraps around.
fn score(current: &[Option<Vec<Partition>>]) -> i32 {
    let sizes: Vec<i32> = current.iter().flatten().map(|partitions| partitions.len() as i32).collect();
    let mut score = 0i32;
    for (place, size) in sizes.iter().enumerate() {
        for other in &sizes[place + 1..] {
            score = score.wrapping_add((size - other).abs());
        }
    }
    score
}
