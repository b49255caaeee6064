//! The durable state of one `__consumer_offsets` partition: what its records say, and nothing else.
//!
//! It changes only through [`Image::replay`] and [`Image::end_transaction`], at load time and in live operation alike.
//! Who is alive, and who waits, is not here (see `classic`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::Uuid;

use super::records::CoordinatorRecord;

/// A committed offset, as an OffsetCommit record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetImage {
    pub offset: i64,
    /// -1 when the consumer did not say.
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    pub commit_timestamp_ms: i64,
    /// Only commits of OffsetCommit v2-4 with a retention time carry one.
    pub expire_timestamp_ms: Option<i64>,
    /// [`Uuid::ZERO`] when the commit named its topic (OffsetCommit below v10).
    pub topic_id: Uuid,
}

/// A classic group at its last written generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupImage {
    /// Empty for a group that never had a member.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// When the group entered the written state, milliseconds; -1 in records that older brokers wrote.
    pub state_timestamp_ms: i64,
    pub members: Vec<MemberImage>,
}

/// A member within a [`GroupImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberImage {
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// -1 in records that older brokers wrote: then the session timeout serves.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// An offset with the log offset of the record that set it, which decides between plain and transactional commits.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) record_offset: i64,
    pub(crate) value: OffsetImage,
}

/// Topic → partition → offset, of one group.
pub(crate) type GroupOffsets = BTreeMap<Arc<str>, BTreeMap<i32, Committed>>;

#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) groups: BTreeMap<Arc<str>, GroupImage>,
    pub(crate) offsets: BTreeMap<Arc<str>, GroupOffsets>,
    /// Producer id → group → offsets of transactions that are still open.
    pending: BTreeMap<i64, BTreeMap<Arc<str>, GroupOffsets>>,
    /// Records of kinds that this version does not serve (KIP-848 and share groups), byte for byte.
    others: BTreeMap<Bytes, Bytes>,
}

impl Image {
    /// Applies one record. `record_offset` is its offset in the log; `producer_id` is that of a transactional batch, -1
    /// otherwise.
    pub(crate) fn replay(&mut self, record_offset: i64, producer_id: i64, record: &CoordinatorRecord) {
        match record {
            CoordinatorRecord::OffsetCommit { group, topic, partition, value: Some(value) } => {
                let committed = Committed { record_offset, value: value.clone() };
                let groups =
                    if producer_id < 0 { &mut self.offsets } else { self.pending.entry(producer_id).or_default() };
                let topics = groups.entry(group.clone()).or_default();
                topics.entry(topic.clone()).or_default().insert(*partition, committed);
            }
            CoordinatorRecord::OffsetCommit { group, topic, partition, value: None } => {
                remove_offset(&mut self.offsets, group, topic, *partition);
                for groups in self.pending.values_mut() {
                    remove_offset(groups, group, topic, *partition);
                }
            }
            CoordinatorRecord::GroupMetadata { group, value: Some(value) } => {
                self.groups.insert(group.clone(), value.clone());
            }
            CoordinatorRecord::GroupMetadata { group, value: None } => {
                self.groups.remove(group);
            }
            CoordinatorRecord::Other { key, value: Some(value) } => {
                self.others.insert(key.clone(), value.clone());
            }
            CoordinatorRecord::Other { key, value: None } => {
                self.others.remove(key);
            }
        }
    }

    /// Applies a transaction marker: the producer's pending offsets are committed, or dropped.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let Some(groups) = self.pending.remove(&producer_id).filter(|_| committed) else { return };
        for (group, topics) in groups {
            let target = self.offsets.entry(group).or_default();
            for (topic, partitions) in topics {
                let target = target.entry(topic).or_default();
                for (partition, offset) in partitions {
                    // A plain commit may have overtaken the transactional one; compaction keeps either, so the log
                    // offset decides, not the order of replay.
                    if target.get(&partition).is_none_or(|existing| existing.record_offset < offset.record_offset) {
                        target.insert(partition, offset);
                    }
                }
            }
        }
    }

    pub(crate) fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(group)?.get(topic)?.get(&partition)
    }

    /// Whether a transaction that is still open has an offset for this partition (KIP-447).
    pub(crate) fn has_pending_offset(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.pending.values().any(|groups| {
            groups.get(group).and_then(|topics| topics.get(topic)).is_some_and(|topic| topic.contains_key(&partition))
        })
    }

    pub(crate) fn has_open_transaction(&self, group: &str) -> bool {
        self.pending.values().any(|groups| groups.contains_key(group))
    }

    /// Every partition of `group` with an offset, committed or pending.
    pub(crate) fn partitions_of(&self, group: &str) -> Vec<(Arc<str>, i32)> {
        let pending = self.pending.values().filter_map(|groups| groups.get(group));
        let mut partitions: Vec<_> = (self.offsets.get(group).into_iter())
            .chain(pending)
            .flat_map(|topics| topics.iter())
            .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (topic.clone(), *partition)))
            .collect();
        partitions.sort();
        partitions.dedup();
        partitions
    }

    /// Every group that has an offset, committed or pending.
    pub(crate) fn groups_with_offsets(&self) -> Vec<Arc<str>> {
        let pending = self.pending.values().flat_map(|groups| groups.keys());
        let mut groups: Vec<_> = self.offsets.keys().chain(pending).cloned().collect();
        groups.sort();
        groups.dedup();
        groups
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.others.iter()
    }
}

fn remove_offset(groups: &mut BTreeMap<Arc<str>, GroupOffsets>, group: &str, topic: &str, partition: i32) {
    let Some(topics) = groups.get_mut(group) else { return };
    if let Some(partitions) = topics.get_mut(topic) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
    }
    if topics.is_empty() {
        groups.remove(group);
    }
}
