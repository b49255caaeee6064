//! `range`: each topic on its own, in contiguous pieces, with racks where they can be matched (KIP-881).

use super::plan::{Partition, Plan, compare_members, racks, racks_matter};
use super::{Assignment, Assignor, ClusterTopics, Member};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Divides each topic on its own: the members in the order of their ids get contiguous pieces of equal length, the first
/// ones one partition more where it does not divide evenly.
///
/// Topics with as many partitions and the same members are divided alike, so that equal keys of such topics meet at one
/// member. Static members come first, by `group.instance.id`, and so keep their partitions over a restart. With
/// `client.rack` set, partitions go to members in the racks of their replicas as far as the lengths and the likeness of
/// such topics allow (KIP-881).
///
/// ```
/// use ottla_client::assignor::{Assignor, ClusterTopics, Member, RangeAssignor, Subscription};
///
/// let mut cluster = ClusterTopics::new();
/// cluster.insert_without_racks("flights", 3);
/// let members = ["a", "b"].map(|id| Member {
///     id: id.into(),
///     subscription: Subscription { topics: vec!["flights".into()], ..Subscription::default() },
///     ..Member::default()
/// });
/// let assignments = RangeAssignor::new().assign(&cluster, &members)?;
/// let of = |id: &str| assignments[id].partitions.iter().map(|p| p.partition).collect::<Vec<_>>();
/// assert_eq!((of("a"), of("b")), (vec![0, 1], vec![2]));
/// # Ok::<(), ottla_client::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct RangeAssignor {}

impl RangeAssignor {
    /// A new instance.
    pub fn new() -> RangeAssignor {
        RangeAssignor {}
    }
}

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
        let plan = Plan::new(cluster, members);
        let mut wanted_by = plan.wanted_by();
        let mut state = |topic: &usize| State::new(&plan, *topic, std::mem::take(&mut wanted_by[*topic]));
        let mut states: Vec<State> = plan.topic_order.iter().map(&mut state).collect();
        let mut assignment = vec![Vec::new(); plan.members.len()];
        let with_racks = states.iter().any(|state| state.racks_matter);
        if with_racks {
            assign_within_racks(&plan, &mut states, &mut assignment);
        }
        for state in &mut states {
            state.assign_ranges(&plan, false, &mut assignment);
        }
        if with_racks {
            assignment.iter_mut().for_each(|partitions| partitions.sort());
        }
        Ok(plan.assignments(assignment))
    }
}

/// One topic, half assigned.
#[derive(Debug)]
struct State<'a> {
    topic: usize,
    /// Those who want it, in order.
    members: Vec<usize>,
    /// In the order of `members`.
    assigned: HashMap<usize, usize>,
    unassigned: Vec<Partition>,
    /// Of each partition; empty when no member has a rack.
    racks: HashMap<Partition, BTreeSet<&'a str>>,
    racks_matter: bool,
    quota: usize,
    /// How many members may still get one more than `quota`. Racks can make it go below zero, as in Java.
    extra: isize,
}

impl<'a> State<'a> {
    fn new(plan: &Plan<'a>, topic: usize, mut members: Vec<usize>) -> State<'a> {
        members.sort_by(|a, b| compare_members(plan.members[*a], plan.members[*b]));
        members.dedup();
        let partitions: Vec<Partition> = plan.partitions(topic).collect();
        let member_racks: BTreeSet<&str> = members.iter().filter_map(|member| plan.rack(*member)).collect();
        let mut racks_of = HashMap::new();
        if !member_racks.is_empty() {
            let all = plan.topics[topic].partitions;
            racks_of = partitions.iter().copied().zip(all.iter().map(racks)).collect();
        }
        State {
            topic,
            assigned: members.iter().map(|member| (*member, 0)).collect(),
            quota: partitions.len() / members.len().max(1),
            extra: (partitions.len() % members.len().max(1)) as isize,
            racks_matter: !member_racks.is_empty() && racks_matter(&member_racks, racks_of.values()),
            unassigned: partitions,
            racks: racks_of,
            members,
        }
    }

    fn racks_match(&self, plan: &Plan<'_>, member: usize, partition: Partition) -> bool {
        let Some(rack) = plan.rack(member) else { return true };
        self.racks.get(&partition).is_some_and(|racks| racks.contains(rack))
    }

    fn room(&self, member: usize) -> usize {
        (self.quota + usize::from(self.extra > 0)).saturating_sub(self.assigned[&member])
    }

    fn assign_ranges(&mut self, plan: &Plan<'_>, within_racks: bool, assignment: &mut [Vec<Partition>]) {
        for member in self.members.clone() {
            if self.unassigned.is_empty() {
                break;
            }
            let fits = |partition: &&Partition| !within_racks || self.racks_match(plan, member, **partition);
            let taken: Vec<_> = self.unassigned.iter().filter(fits).take(self.room(member)).copied().collect();
            if !taken.is_empty() {
                self.assign(member, &taken, assignment);
            }
        }
    }

    fn assign(&mut self, member: usize, taken: &[Partition], assignment: &mut [Vec<Partition>]) {
        assignment[member].extend(taken);
        let assigned = self.assigned.entry(member).or_default();
        *assigned += taken.len();
        if *assigned > self.quota {
            self.extra -= 1;
        }
        // Both are in the same order.
        let mut taken = taken.iter().peekable();
        self.unassigned.retain(|partition| taken.next_if_eq(&partition).is_none());
    }
}

/// Topics with the same members and as many partitions are assigned together, by partition number.
fn assign_within_racks(plan: &Plan<'_>, states: &mut [State<'_>], assignment: &mut [Vec<Partition>]) {
    let mut groups: BTreeMap<(Vec<usize>, usize), Vec<usize>> = BTreeMap::new();
    for (index, state) in states.iter().enumerate() {
        groups.entry((state.members.clone(), state.racks.len())).or_default().push(index);
    }
    for ((members, partitions), group) in groups {
        if let [single] = group[..] {
            if states[single].racks_matter {
                states[single].assign_ranges(plan, true, assignment);
            }
            continue;
        }
        let mut remaining = members;
        for index in 0..partitions as i32 {
            let fits = |member: &usize| {
                group.iter().map(|state| &states[*state]).all(|state| {
                    state.racks_match(plan, *member, Partition { topic: state.topic, index }) && state.room(*member) > 0
                })
            };
            let Some(member) = remaining.iter().copied().find(fits) else { continue };
            for state in &group {
                let topic = states[*state].topic;
                states[*state].assign(member, &[Partition { topic, index }], assignment);
            }
            if group.iter().all(|state| states[*state].room(member) == 0) {
                remaining.retain(|other| *other != member);
                if remaining.is_empty() {
                    break;
                }
            }
        }
    }
}
