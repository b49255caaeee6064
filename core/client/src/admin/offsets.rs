//! Offsets of partitions by time or by kind (KIP-79, KIP-734, KIP-405, KIP-1005), and deleting records up to one (KIP-107).

use super::Admin;
use super::call::{Leader, PerKey, by_topic, check_code, text};
use crate::consumer::IsolationLevel;
use crate::error::{Error, Result};
use ottla_model::TopicPartition;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ottla_protocol::{DeleteRecordsResponse, ListOffsetsResponse};
use std::collections::BTreeMap;

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// The first there is.
    Earliest,
    /// One past the last: the high watermark, or with read_committed the last stable offset.
    Latest,
    /// The first whose timestamp is this or later, ms since 1970.
    Timestamp(i64),
    /// That of the record with the highest timestamp (KIP-734; Apache Kafka from 3.0).
    MaxTimestamp,
    /// The first that is on the leader's own disk (KIP-405; Apache Kafka from 3.4).
    EarliestLocal,
    /// The last that is in the remote tier (KIP-1005; Apache Kafka from 3.9).
    LatestTiered,
    /// The first that is not yet in the remote tier (KIP-1023; Apache Kafka from 4.2).
    EarliestPendingUpload,
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::EarliestLocal => -4,
            OffsetSpec::LatestTiered => -5,
            OffsetSpec::EarliestPendingUpload => -6,
            OffsetSpec::Timestamp(ms) => ms,
        }
    }

    /// The lowest version of ListOffsets that knows it, and the Apache Kafka that came with it.
    fn version(self) -> (i16, &'static str) {
        match self {
            OffsetSpec::Latest | OffsetSpec::Earliest | OffsetSpec::Timestamp(_) => (1, "0.10.1"),
            OffsetSpec::MaxTimestamp => (7, "3.0"),
            OffsetSpec::EarliestLocal => (8, "3.4"),
            OffsetSpec::LatestTiered => (9, "3.9"),
            OffsetSpec::EarliestPendingUpload => (11, "4.2"),
        }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` when no record is as late as the timestamp, or the kind has none.
    pub offset: Option<i64>,
    /// Its record's timestamp, ms since 1970; `None` for kinds that are not about a record.
    pub timestamp: Option<i64>,
    /// The leader's epoch when it was written; `None` when the broker does not tell.
    pub leader_epoch: Option<i32>,
}

impl Admin {
    /// Looks up an offset of each partition at its leader. Specs that a broker is too old for fail; the others do not.
    pub async fn list_offsets(
        &self,
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> PerKey<TopicPartition, ListedOffset> {
        // Specs with different needs go apart, so that one that the broker does not know costs the others nothing.
        let mut by_version: BTreeMap<(i16, &str), BTreeMap<TopicPartition, OffsetSpec>> = BTreeMap::new();
        for (partition, spec) in specs {
            by_version.entry(spec.version()).or_default().insert(partition.clone(), *spec);
        }
        let mut results = PerKey::new();
        for (needs, specs) in by_version {
            results.extend(self.offsets_at(needs, &specs, isolation).await);
        }
        results
    }

    async fn offsets_at(
        &self,
        (needed, kafka): (i16, &str),
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> PerKey<TopicPartition, ListedOffset> {
        let build = |version: i16, keys: &[TopicPartition]| {
            if version < needed {
                return Err(Error::unsupported(format!(
                    "ListOffsets {version} does not know this kind of offset; it needs version {needed} (Apache Kafka {kafka})"
                )));
            }
            if version < 2 && isolation == IsolationLevel::ReadCommitted {
                return Err(Error::unsupported(format!(
                    "ListOffsets {version} does not know read_committed; that needs version 2 (Apache Kafka 0.11)"
                )));
            }
            let partition = |name: &str, index: i32| ListOffsetsPartition {
                partition_index: index,
                timestamp: specs.get(&TopicPartition::new(name, index)).map_or(-1, |spec| spec.timestamp()),
                ..Default::default()
            };
            let topic = |(name, indexes): (&str, Vec<i32>)| ListOffsetsTopic {
                name: text(name),
                partitions: indexes.into_iter().map(|index| partition(name, index)).collect(),
                ..Default::default()
            };
            Ok(ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(isolation == IsolationLevel::ReadCommitted),
                topics: by_topic(keys).into_iter().map(topic).collect(),
                timeout_ms: if version >= 10 { self.timeout_ms() } else { 0 },
                ..Default::default()
            })
        };
        let read = |response: ListOffsetsResponse, _: &[TopicPartition]| {
            let mut results = PerKey::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let result = check_code(partition.error_code, &format!("partition {key}"), None);
                    let listed = ListedOffset {
                        offset: Some(partition.offset).filter(|offset| *offset >= 0),
                        timestamp: Some(partition.timestamp).filter(|timestamp| *timestamp >= 0),
                        leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                    };
                    results.insert(key, result.map(|()| listed));
                }
            }
            results
        };
        self.per_key(Leader, specs.keys().cloned(), usize::MAX, build, read).await
    }

    /// Deletes all records before the given offset of each partition, -1 for all there are; the result is the first
    /// offset that is left (KIP-107). The disk space comes back with the segments.
    ///
    /// # Errors
    /// Per partition `OFFSET_OUT_OF_RANGE` beyond the high watermark, `POLICY_VIOLATION` where the topic is only
    /// compacted.
    pub async fn delete_records(&self, before: &BTreeMap<TopicPartition, i64>) -> PerKey<TopicPartition, i64> {
        let build = |_, keys: &[TopicPartition]| {
            let partition = |name: &str, index: i32| DeleteRecordsPartition {
                partition_index: index,
                offset: before.get(&TopicPartition::new(name, index)).copied().unwrap_or(0),
                ..Default::default()
            };
            let topic = |(name, indexes): (&str, Vec<i32>)| DeleteRecordsTopic {
                name: text(name),
                partitions: indexes.into_iter().map(|index| partition(name, index)).collect(),
                ..Default::default()
            };
            let topics = by_topic(keys).into_iter().map(topic).collect();
            Ok(DeleteRecordsRequest { topics, timeout_ms: self.timeout_ms(), ..Default::default() })
        };
        let read = |response: DeleteRecordsResponse, _: &[TopicPartition]| {
            let mut results: PerKey<TopicPartition, i64> = PerKey::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let result: Result<()> = check_code(partition.error_code, &format!("partition {key}"), None);
                    results.insert(key, result.map(|()| partition.low_watermark));
                }
            }
            results
        };
        self.per_key(Leader, before.keys().cloned(), usize::MAX, build, read).await
    }
}
