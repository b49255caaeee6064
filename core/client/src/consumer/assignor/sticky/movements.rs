//! Which partitions moved from whom to whom, so that a later move goes back the way of an earlier one instead of making a
//! circle.

use super::super::java;
use super::super::plan::Partition;
use std::collections::HashMap;

/// From and to.
type Pair = (usize, usize);

#[derive(Debug, Default)]
pub(super) struct Movements {
    by_pair: HashMap<(usize, Pair), java::HashSet<Partition>>,
    by_partition: HashMap<Partition, Pair>,
}

impl Movements {
    /// `partition`, whose topic has hash code `topic_hash`, goes from one member to another.
    pub(super) fn add(&mut self, partition: Partition, topic_hash: i32, from: usize, to: usize) {
        let hash = java::partition_hash(topic_hash, partition.index);
        let mut pair = (from, to);
        if let Some(earlier) = self.by_partition.remove(&partition) {
            let key = (partition.topic, earlier);
            if let Some(set) = self.by_pair.get_mut(&key) {
                set.remove(hash, &partition);
                if set.is_empty() {
                    self.by_pair.remove(&key);
                }
            }
            if earlier.0 == to {
                return;
            }
            pair = (earlier.0, to);
        }
        self.by_partition.insert(partition, pair);
        self.by_pair.entry((partition.topic, pair)).or_insert_with(java::HashSet::new).insert(hash, partition);
    }

    /// What to move instead of `partition`: one of the topic that came the opposite way, if there is one.
    pub(super) fn instead_of(&self, partition: Partition, from: usize, to: usize) -> Partition {
        let from = self.by_partition.get(&partition).map_or(from, |pair| pair.0);
        let back = self.by_pair.get(&(partition.topic, (to, from)));
        back.and_then(|set| set.iter().next().copied()).unwrap_or(partition)
    }
}
