//! Who is in which rack (KIP-881).

use super::super::plan::{Partition, Plan, racks, racks_matter};
use std::collections::{BTreeSet, HashMap};

#[derive(Debug)]
pub(super) struct RackInfo<'a> {
    /// By member; empty when racks make no difference.
    members: Vec<Option<&'a str>>,
    partitions: HashMap<Partition, BTreeSet<&'a str>>,
    /// How many members have a replica in their rack.
    nearby: HashMap<Partition, usize>,
}

impl<'a> RackInfo<'a> {
    pub(super) fn new(plan: &Plan<'a>) -> RackInfo<'a> {
        let members: Vec<Option<&str>> = (0..plan.members.len()).map(|member| plan.rack(member)).collect();
        let mut by_rack: HashMap<&str, usize> = HashMap::new();
        for rack in members.iter().flatten() {
            *by_rack.entry(rack).or_default() += 1;
        }
        if by_rack.is_empty() {
            return RackInfo { members: Vec::new(), partitions: HashMap::new(), nearby: HashMap::new() };
        }
        let mut partitions = HashMap::new();
        for (topic, data) in plan.topics.iter().enumerate() {
            partitions.extend(plan.partitions(topic).zip(data.partitions.iter().map(racks)));
        }
        let nearby = |(partition, racks): (&Partition, &BTreeSet<&str>)| {
            (*partition, racks.iter().filter_map(|rack| by_rack.get(rack)).sum())
        };
        let nearby = partitions.iter().map(nearby).collect();
        if racks_matter(&by_rack.keys().copied().collect(), partitions.values()) {
            RackInfo { members, partitions, nearby }
        } else {
            RackInfo { members: Vec::new(), partitions: HashMap::new(), nearby }
        }
    }

    /// Whether racks make a difference.
    pub(super) fn matter(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn of_member(&self, member: usize) -> Option<&'a str> {
        self.members.get(member).copied().flatten()
    }

    pub(super) fn holds(&self, rack: &str, partition: Partition) -> bool {
        self.partitions.get(&partition).is_some_and(|racks| racks.contains(rack))
    }

    /// The member has a rack and no replica in it.
    pub(super) fn mismatch(&self, member: usize, partition: Partition) -> bool {
        self.of_member(member).is_some_and(|rack| !self.holds(rack, partition))
    }

    /// Those that few members have nearby go first.
    pub(super) fn sort(&self, partitions: &mut [Partition]) {
        partitions.sort_by_key(|partition| self.nearby.get(partition).copied().unwrap_or(0));
    }

    /// The place in `members` of the next one, from `first` on and around, in a rack of the partition.
    pub(super) fn next(&self, partition: Partition, members: &[usize], first: usize) -> Option<usize> {
        let places = (0..members.len()).map(|step| (first + step) % members.len());
        places.into_iter().find(|place| self.of_member(members[*place]).is_some_and(|rack| self.holds(rack, partition)))
    }
}
