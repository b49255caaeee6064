//! What is known of the cluster: brokers, topics, partition leaders. A snapshot is immutable; a refresh makes a new one.

use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::metadata_response::{MetadataResponse, MetadataResponseTopic};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// One answer of the cluster, merged with earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Counts refreshes; a caller that found it stale asks for a later one.
    pub(crate) version: u64,
    /// When it was fetched, by the monotonic clock.
    pub(crate) fetched_at: Duration,
    pub(crate) controller_id: i32,
    /// Addresses by node id.
    pub(crate) brokers: BTreeMap<i32, String>,
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicMetadata>>,
    /// Names by topic id, for Fetch 13 and Produce 13, which carry ids only.
    pub(crate) names: HashMap<Uuid, Arc<str>>,
}

/// One topic; `error` is set when the cluster could not describe it.
#[derive(Debug, Clone)]
pub(crate) struct TopicMetadata {
    pub(crate) id: Uuid,
    pub(crate) error: ErrorCode,
    /// By partition index, without gaps.
    pub(crate) partitions: Vec<Leader>,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    /// -1 while there is none.
    pub(crate) node: i32,
    pub(crate) epoch: i32,
}

impl Snapshot {
    /// This snapshot updated by an answer to a question about certain topics.
    pub(crate) fn merge(&self, response: &MetadataResponse, now: Duration) -> Snapshot {
        let mut next = self.clone();
        next.version += 1;
        next.fetched_at = now;
        next.controller_id = response.controller_id;
        next.brokers = response.brokers.iter().map(|b| (b.node_id, address(&b.host, b.port))).collect();
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else { continue };
            let name: Arc<str> = Arc::from(name);
            let described = describe(topic);
            if let Some(old) = self.topics.get(&name)
                && old.id != described.id
            {
                next.names.remove(&old.id);
            }
            if !described.id.is_zero() {
                next.names.insert(described.id, name.clone());
            }
            next.topics.insert(name, Arc::new(described));
        }
        next
    }

    /// This snapshot with the later of its own and the given leaders.
    pub(crate) fn moved(&self, moves: &[(Arc<str>, i32, Leader)], endpoints: &[(i32, String)]) -> Snapshot {
        let mut next = self.clone();
        next.brokers.extend(endpoints.iter().cloned());
        for (topic, partition, leader) in moves {
            let Some(topic) = next.topics.get_mut(topic) else { continue };
            let slot = usize::try_from(*partition).ok().and_then(|at| Arc::make_mut(topic).partitions.get_mut(at));
            // Only who can be dialled, and nothing older than what is known.
            if let Some(slot) = slot.filter(|slot| slot.epoch < leader.epoch && next.brokers.contains_key(&leader.node))
            {
                *slot = *leader;
            }
        }
        next
    }

    /// The leader of a partition, if there is one.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        let partitions = &self.topics.get(topic)?.partitions;
        partitions.get(usize::try_from(partition).ok()?).copied().filter(|leader| leader.node >= 0)
    }
}

fn describe(topic: &MetadataResponseTopic) -> TopicMetadata {
    let count = topic.partitions.iter().map(|p| p.partition_index + 1).max().unwrap_or(0).max(0) as usize;
    // An index far above the number of entries would come from a broken broker; what it did describe is at most this.
    let mut partitions = vec![Leader { node: -1, epoch: -1 }; count.min(topic.partitions.len())];
    for partition in &topic.partitions {
        if let Some(slot) = usize::try_from(partition.partition_index).ok().and_then(|i| partitions.get_mut(i)) {
            *slot = Leader { node: partition.leader_id, epoch: partition.leader_epoch };
        }
    }
    TopicMetadata { id: topic.topic_id, error: ErrorCode::from_code(topic.error_code), partitions }
}

/// What to dial for a broker that calls itself `host` and `port`.
pub(crate) fn address(host: &str, port: i32) -> String {
    if host.starts_with("ottla-inproc:") {
        host.to_owned()
    } else if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_model::Str;
    use ottla_protocol::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};

    fn response(id: u8, leader: i32) -> MetadataResponse {
        let partition =
            |index| MetadataResponsePartition { partition_index: index, leader_id: leader, ..Default::default() };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker { node_id: 1, host: Str::from("h"), port: 9, ..Default::default() }],
            topics: vec![MetadataResponseTopic {
                name: Some(Str::from("t")),
                topic_id: Uuid([id; 16]),
                partitions: vec![partition(1), partition(0)],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_topic_made_anew_replaces_the_old_id() {
        let first = Snapshot::default().merge(&response(1, 1), Duration::ZERO);
        assert_eq!(first.leader("t", 1).map(|l| l.node), Some(1));
        assert_eq!(first.leader("t", 2), None);
        let second = first.merge(&response(2, -1), Duration::ZERO);
        assert_eq!(second.leader("t", 1), None);
        assert_eq!(second.names.len(), 1);
        assert_eq!(second.version, 2);
    }

    #[test]
    fn hints_move_leaders_forward_only() {
        let first = Snapshot::default().merge(&response(1, 1), Duration::ZERO);
        let to = |epoch| [(Arc::from("t"), 1, Leader { node: 7, epoch })];
        let known = [(7, "h:7".to_owned())];
        assert_eq!(first.moved(&to(5), &known).leader("t", 1), Some(Leader { node: 7, epoch: 5 }));
        assert_eq!(first.moved(&to(-1), &known).leader("t", 1).map(|l| l.node), Some(1), "not later");
        assert_eq!(first.moved(&to(5), &[]).leader("t", 1).map(|l| l.node), Some(1), "no address");
        assert_eq!(first.moved(&to(5), &known).version, first.version);
    }

    #[test]
    fn addresses() {
        assert_eq!(address("::1", 9092), "[::1]:9092");
        assert_eq!(address("kafka", 9092), "kafka:9092");
        assert_eq!(address("ottla-inproc:a", 0), "ottla-inproc:a");
    }
}
