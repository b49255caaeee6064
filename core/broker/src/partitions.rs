//! The partitions this broker hosts, found by topic name or by topic id.

use crate::partition::Partition;
use ottla_model::{ErrorCode, Uuid};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// One topic's partitions, by partition id.
#[derive(Debug, Clone)]
struct Topic {
    id: Uuid,
    partitions: Vec<Arc<Partition>>,
}

/// All hosted partitions.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// Guards both maps together; held for a lookup only.
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_name: HashMap<Arc<str>, Topic>,
    names: HashMap<Uuid, Arc<str>>,
}

impl Partitions {
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub(crate) fn by_name(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let maps = self.maps.read();
        let topic = maps.by_name.get(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        pick(topic, partition)
    }

    /// # Errors
    /// UNKNOWN_TOPIC_ID for a topic that does not exist, UNKNOWN_TOPIC_OR_PARTITION for a partition it does not have.
    pub(crate) fn by_id(&self, id: Uuid, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let maps = self.maps.read();
        let topic = maps.names.get(&id).and_then(|name| maps.by_name.get(name)).ok_or(ErrorCode::UnknownTopicId)?;
        pick(topic, partition)
    }

    /// The topic's name.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<Arc<str>> {
        self.maps.read().names.get(&id).cloned()
    }

    /// The topic's id, and its name as one shared string.
    pub(crate) fn topic(&self, name: &str) -> Option<(Arc<str>, Uuid)> {
        let maps = self.maps.read();
        maps.by_name.get_key_value(name).map(|(name, topic)| (name.clone(), topic.id))
    }

    /// Adds partitions in order of their ids, behind those the topic has.
    pub(crate) fn add(&self, new: Vec<Arc<Partition>>) {
        let mut maps = self.maps.write();
        for partition in new {
            let (name, id) = (partition.topic().clone(), partition.topic_id());
            maps.names.insert(id, name.clone());
            let topic = maps.by_name.entry(name).or_insert_with(|| Topic { id, partitions: Vec::new() });
            let at = topic.partitions.partition_point(|known| known.id() < partition.id());
            topic.partitions.insert(at, partition);
        }
    }

    /// Takes a topic out; its partitions are handed to the caller to be closed.
    pub(crate) fn remove(&self, name: &str) -> Vec<Arc<Partition>> {
        let mut maps = self.maps.write();
        let Some(topic) = maps.by_name.remove(name) else { return Vec::new() };
        maps.names.remove(&topic.id);
        topic.partitions
    }

    /// All partitions of one topic; empty when there is none.
    pub(crate) fn of_topic(&self, name: &str) -> Vec<Arc<Partition>> {
        self.maps.read().by_name.get(name).map(|topic| topic.partitions.clone()).unwrap_or_default()
    }
}

fn pick(topic: &Topic, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
    let index = usize::try_from(partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    topic.partitions.get(index).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
}
