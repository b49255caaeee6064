//! `sticky` and `cooperative-sticky`: balanced shares of which members keep as much as they can.
//!
//! When all members want the same topics, `constrained.rs` computes the shares directly; otherwise `general.rs` moves
//! partitions until no move improves the balance. Both follow Java's steps one by one, since every tie they break is
//! visible in the result.

mod constrained;
mod general;
mod movements;
mod rack_info;
mod user_data;

use super::plan::{Partition, Plan};
use super::{Assignment, Assignor, ClusterTopics, Member, RebalanceProtocol, Subscription, java};
use crate::error::Result;
use bytes::Bytes;
use ottla_model::TopicPartition;
use parking_lot::Mutex;
use rack_info::RackInfo;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The generation of those who have none.
const NO_GENERATION: i32 = -1;

/// Shares as equal as the subscriptions allow, in which members keep what they had: the eager one, which tells the leader
/// through its user data what a member had (KIP-54, KIP-341).
///
/// A member that missed a rebalance tells of an older generation; its claims count only where nobody has a newer one.
/// With `client.rack` set, partitions go to members in the racks of their replicas as far as the balance allows
/// (KIP-881).
#[derive(Debug)]
pub struct StickyAssignor {
    /// What this member got last, and in which generation.
    last: Mutex<Option<(Vec<TopicPartition>, i32)>>,
    /// The newest generation that this instance has seen as a leader.
    max_generation: Mutex<i32>,
}

impl Default for StickyAssignor {
    fn default() -> StickyAssignor {
        StickyAssignor::new()
    }
}

impl StickyAssignor {
    /// A new instance, which has had no assignment.
    pub fn new() -> StickyAssignor {
        StickyAssignor { last: Mutex::new(None), max_generation: Mutex::new(NO_GENERATION) }
    }
}

impl Assignor for StickyAssignor {
    fn name(&self) -> &str {
        "sticky"
    }

    fn user_data(&self, _topics: &[Arc<str>]) -> Option<Bytes> {
        let last = self.last.lock();
        let (partitions, generation) = last.as_ref()?;
        Some(user_data::encode_sticky(partitions, *generation))
    }

    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
        let plan = Plan::new(cluster, members);
        let result = assign(&plan, &mut self.max_generation.lock(), user_data::of_sticky)?;
        Ok(plan.assignments(result.assignment))
    }

    fn on_assignment(&self, assignment: &Assignment, generation: i32) {
        *self.last.lock() = Some((assignment.partitions.clone(), generation));
    }

    fn for_another(&self) -> Option<Arc<dyn Assignor>> {
        Some(Arc::new(StickyAssignor::new()))
    }
}

/// The shares of [`StickyAssignor`] for the cooperative protocol: members keep reading through a rebalance (KIP-429).
///
/// A partition that moves is in nobody's assignment at first. Its owner gives it up and the group rebalances once more,
/// which gives it to the new owner. Works with the eager protocol too, so that a group can change over in a rolling
/// restart.
#[derive(Debug)]
pub struct CooperativeStickyAssignor {
    generation: Mutex<i32>,
    /// The newest generation that this instance has seen as a leader.
    max_generation: Mutex<i32>,
}

impl Default for CooperativeStickyAssignor {
    fn default() -> CooperativeStickyAssignor {
        CooperativeStickyAssignor::new()
    }
}

impl CooperativeStickyAssignor {
    /// A new instance, which has had no assignment.
    pub fn new() -> CooperativeStickyAssignor {
        let none = || Mutex::new(NO_GENERATION);
        CooperativeStickyAssignor { generation: none(), max_generation: none() }
    }
}

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn supported_protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative, RebalanceProtocol::Eager]
    }

    fn user_data(&self, _topics: &[Arc<str>]) -> Option<Bytes> {
        Some(user_data::encode_cooperative(*self.generation.lock()))
    }

    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
        let plan = Plan::new(cluster, members);
        let mut result = assign(&plan, &mut self.max_generation.lock(), user_data::of_cooperative)?;
        // What moves has to be given up first; nobody gets it in this round.
        let moving = result.moving.take().unwrap_or_else(|| moving(&plan, &result.assignment));
        for (partition, member) in moving {
            remove(&mut result.assignment[member], partition);
        }
        Ok(plan.assignments(result.assignment))
    }

    fn on_assignment(&self, _assignment: &Assignment, generation: i32) {
        *self.generation.lock() = generation;
    }

    fn for_another(&self) -> Option<Arc<dyn Assignor>> {
        Some(Arc::new(CooperativeStickyAssignor::new()))
    }
}

/// What a member had before.
#[derive(Debug)]
struct Had {
    partitions: Vec<TopicPartition>,
    generation: Option<i32>,
}

#[derive(Debug)]
struct Outcome {
    /// By member.
    assignment: Vec<Vec<Partition>>,
    /// The partitions that change hands and who gets them; `None` when that has to be found out by comparing.
    moving: Option<HashMap<Partition, usize>>,
}

/// What is known of earlier assignments.
#[derive(Debug)]
struct Prior {
    /// All that each member said it had, of topics still there, and its generation.
    had: Vec<(Vec<Partition>, Option<i32>)>,
    /// What each member may keep, after contradictions were resolved.
    owned: Vec<Vec<Partition>>,
    /// The order in which Java's hash map of the owners has them.
    order: Vec<usize>,
    /// Claimed by two members of the same generation; neither keeps it.
    contested: HashSet<Partition>,
    /// Whether all members want the same topics.
    equal: bool,
}

fn assign(plan: &Plan<'_>, max_generation: &mut i32, had: fn(&Subscription) -> Had) -> Result<Outcome> {
    if plan.members.is_empty() {
        return Ok(Outcome { assignment: Vec::new(), moving: None });
    }
    let racks = RackInfo::new(plan);
    let prior = Prior::new(plan, max_generation, had);
    if prior.equal {
        // Java fails where this does. Partitions that are no more, which members still own, are the cause.
        constrained::assign(plan, &racks, prior).or_else(|_| {
            let mut prior = Prior::new(plan, max_generation, had);
            let exists = |partition: &Partition| plan.exists(*partition);
            prior.owned.iter_mut().for_each(|owned| owned.retain(exists));
            constrained::assign(plan, &racks, prior)
        })
    } else {
        let assignment = general::assign(plan, &racks, prior, *max_generation)?;
        Ok(Outcome { assignment, moving: None })
    }
}

impl Prior {
    fn new(plan: &Plan<'_>, max_generation: &mut i32, had: fn(&Subscription) -> Had) -> Prior {
        let count = plan.members.len();
        let mut prior = Prior {
            had: vec![(Vec::new(), None); count],
            owned: vec![Vec::new(); count],
            order: owner_order(plan),
            contested: HashSet::new(),
            equal: true,
        };
        let mut topics: BTreeSet<&str> = BTreeSet::new();
        let mut owner_of: HashMap<Partition, usize> = HashMap::new();
        for member in plan.member_order.iter().copied() {
            let subscription = &plan.members[member].subscription;
            let wanted = &subscription.topics;
            if topics.is_empty() {
                topics.extend(wanted.iter().map(|topic| &**topic));
            } else if wanted.len() != topics.len() || wanted.iter().any(|topic| !topics.contains(&**topic)) {
                prior.equal = false;
            }
            let Had { partitions, generation } = had(subscription);
            let own_generation = generation.unwrap_or(NO_GENERATION);
            *max_generation = own_generation.max(*max_generation);
            let partitions: Vec<Partition> = partitions.iter().filter_map(|p| plan.partition(p)).collect();
            for partition in partitions.iter().copied() {
                let Some(other) = owner_of.get(&partition).copied() else {
                    prior.owned[member].push(partition);
                    owner_of.insert(partition, member);
                    continue;
                };
                // Java compares with the generation of the protocol here, also where the user data has another.
                let other_generation = plan.members[other].subscription.generation_id.unwrap_or(NO_GENERATION);
                if own_generation < other_generation {
                    continue;
                }
                if own_generation == other_generation {
                    prior.contested.insert(partition);
                } else {
                    prior.owned[member].push(partition);
                }
                remove(&mut prior.owned[other], partition);
                owner_of.insert(partition, member);
            }
            prior.had[member] = (partitions, generation);
        }
        prior
    }
}

/// The members as a hash map has them that they were put into in the order of another.
fn owner_order(plan: &Plan<'_>) -> Vec<usize> {
    let mut order = java::HashSet::new();
    for member in &plan.member_order {
        order.insert(java::string_hash(&plan.members[*member].id), *member);
    }
    order.iter().copied().collect()
}

/// The partitions that one member owns and another one was assigned, and that other one.
fn moving(plan: &Plan<'_>, assignment: &[Vec<Partition>]) -> HashMap<Partition, usize> {
    let (mut added, mut revoked) = (HashMap::new(), HashSet::new());
    for (member, assigned) in assignment.iter().enumerate() {
        let owned = plan.members[member].subscription.owned_partitions.iter();
        let owned: HashSet<Partition> = owned.filter_map(|partition| plan.partition(partition)).collect();
        added.extend(assigned.iter().filter(|partition| !owned.contains(partition)).map(|p| (*p, member)));
        let assigned: HashSet<&Partition> = assigned.iter().collect();
        revoked.extend(owned.iter().filter(|partition| !assigned.contains(partition)).copied());
    }
    added.retain(|partition, _| revoked.contains(partition));
    added
}

fn remove(partitions: &mut Vec<Partition>, partition: Partition) {
    if let Some(at) = partitions.iter().position(|other| *other == partition) {
        partitions.remove(at);
    }
}
