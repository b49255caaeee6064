//! What all assignors begin with: members, topics and racks as small numbers, with the two orders that Java knows, by name
//! and by hash.

use super::{Assignment, ClusterTopics, Member, PartitionRacks, java};
use ottla_model::TopicPartition;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A partition of a known topic. Their order is by topic name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) topic: usize,
    pub(super) index: i32,
}

#[derive(Debug)]
pub(super) struct Topic<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) hash: i32,
    pub(super) partitions: &'a [PartitionRacks],
}

/// Members and topics by number, which is their place by name.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) members: Vec<&'a Member>,
    /// The members as a hash map has them that the JoinGroup response was put into.
    pub(super) member_order: Vec<usize>,
    /// Wanted by a member and known to the cluster.
    pub(super) topics: Vec<Topic<'a>>,
    /// The topics as a hash map has them.
    pub(super) topic_order: Vec<usize>,
    topic_numbers: HashMap<&'a str, usize>,
    /// The topics of each member, in the order of its subscription.
    pub(super) wanted: Vec<Vec<usize>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(cluster: &'a ClusterTopics, members: &'a [Member]) -> Plan<'a> {
        // The last of two members with the same id counts, as in a map.
        let by_id: HashMap<&str, &Member> = members.iter().map(|member| (&*member.id, member)).collect();
        let ids = hash_order(members.iter().map(|member| &*member.id));
        let mut sorted: Vec<&Member> = by_id.into_values().collect();
        sorted.sort_by(|a, b| java::compare(&a.id, &b.id));
        let numbers: HashMap<&str, usize> =
            sorted.iter().enumerate().map(|(number, member)| (&*member.id, number)).collect();
        let member_order: Vec<usize> = ids.iter().map(|id| numbers[id]).collect();

        let named = member_order.iter().flat_map(|member| &sorted[*member].subscription.topics);
        let all = hash_order(named.map(|topic| &**topic));
        let known = all.into_iter().filter_map(|name| cluster.get(name));
        let mut known: Vec<Topic<'a>> =
            known.map(|(name, partitions)| Topic { name, hash: java::string_hash(name), partitions }).collect();
        let names = hash_order(known.iter().map(|topic| &**topic.name));
        known.sort_by(|a, b| java::compare(a.name, b.name));
        let topic_numbers: HashMap<&str, usize> =
            known.iter().enumerate().map(|(number, topic)| (&**topic.name, number)).collect();
        let topic_order = names.iter().map(|name| topic_numbers[name]).collect();
        let wanted = |member: &&Member| -> Vec<usize> {
            member.subscription.topics.iter().filter_map(|name| topic_numbers.get(&**name).copied()).collect()
        };
        let wanted = sorted.iter().map(wanted).collect();
        Plan { members: sorted, member_order, topics: known, topic_order, topic_numbers, wanted }
    }

    /// The partition, when its topic is known; it need not exist.
    pub(super) fn partition(&self, partition: &TopicPartition) -> Option<Partition> {
        let topic = *self.topic_numbers.get(&*partition.topic)?;
        Some(Partition { topic, index: partition.partition })
    }

    /// Whether the topic has such a partition.
    pub(super) fn exists(&self, partition: Partition) -> bool {
        let partitions = self.topics[partition.topic].partitions;
        partitions.binary_search_by_key(&partition.index, |other| other.partition).is_ok()
    }

    /// All partitions of `topic`.
    pub(super) fn partitions(&self, topic: usize) -> impl Iterator<Item = Partition> {
        self.topics[topic].partitions.iter().map(move |partition| Partition { topic, index: partition.partition })
    }

    /// The members that want each topic, in the order of the hash map; one that names a topic twice is there twice.
    pub(super) fn wanted_by(&self) -> Vec<Vec<usize>> {
        let mut wanted_by = vec![Vec::new(); self.topics.len()];
        for member in &self.member_order {
            self.wanted[*member].iter().for_each(|topic| wanted_by[*topic].push(*member));
        }
        wanted_by
    }

    /// The rack of a member that has one.
    pub(super) fn rack(&self, member: usize) -> Option<&'a str> {
        self.members[member].subscription.rack_id.as_deref().filter(|rack| !rack.is_empty())
    }

    /// How many partitions there are.
    pub(super) fn total(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }

    /// The result, from the partitions of each member.
    pub(super) fn assignments(&self, partitions: Vec<Vec<Partition>>) -> BTreeMap<String, Assignment> {
        let assignment = |partitions: Vec<Partition>| {
            let named =
                |partition: &Partition| TopicPartition::new(self.topics[partition.topic].name.clone(), partition.index);
            Assignment { partitions: partitions.iter().map(named).collect(), user_data: None }
        };
        let ids = self.members.iter().map(|member| member.id.clone());
        ids.zip(partitions.into_iter().map(assignment)).collect()
    }
}

/// Static members first, by their instance id; then the others by their member id.
pub(super) fn compare_members(a: &Member, b: &Member) -> Ordering {
    match (&a.group_instance_id, &b.group_instance_id) {
        (Some(a), Some(b)) => java::compare(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => java::compare(&a.id, &b.id),
    }
}

/// Whether racks make a difference: members and partitions share some, and not every partition is in all racks (KIP-881).
pub(super) fn racks_matter<'a>(
    member_racks: &BTreeSet<&str>,
    partition_racks: impl Iterator<Item = &'a BTreeSet<&'a str>> + Clone,
) -> bool {
    let all: BTreeSet<&str> = partition_racks.clone().flatten().copied().collect();
    !member_racks.is_disjoint(&all) && partition_racks.into_iter().any(|racks| *racks != all)
}

/// The racks that hold a replica.
pub(super) fn racks(partition: &PartitionRacks) -> BTreeSet<&str> {
    partition.racks.iter().map(|rack| &**rack).collect()
}

/// The distinct names as a hash set has them that they were put into.
fn hash_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut set = java::HashSet::new();
    for name in names {
        set.insert(java::string_hash(name), name);
    }
    set.iter().copied().collect()
}
