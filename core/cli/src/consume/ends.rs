//! Where each partition's reading ends, where it does: now, or at a time.

use crate::error::CliError;
use ottla::client::admin::OffsetSpec;
use ottla::client::{Admin, Consumer, ConsumerRecord, Env, IsolationLevel, TopicPartition};
use std::collections::BTreeMap;

/// The offsets to stop before. A partition without one goes on.
#[derive(Debug, Default)]
pub struct Ends {
    offsets: BTreeMap<TopicPartition, i64>,
    partitions: usize,
    /// The time that ends, while it is yet to come.
    until_ms: Option<i64>,
}

impl Ends {
    /// The ends of `partitions`: at `to_time`, and at the present end with `at_end`.
    pub async fn find(
        admin: &Admin,
        partitions: &[TopicPartition],
        to_time: Option<i64>,
        at_end: bool,
    ) -> Result<Ends, CliError> {
        let mut ends = Ends { partitions: partitions.len(), ..Ends::default() };
        if at_end {
            ends.offsets = offsets(admin, partitions, OffsetSpec::Latest).await?;
        }
        if let Some(ms) = to_time {
            for (partition, offset) in offsets(admin, partitions, OffsetSpec::Timestamp(ms)).await? {
                let end = ends.offsets.entry(partition).or_insert(offset);
                *end = offset.min(*end);
            }
            ends.until_ms = Some(ms).filter(|_| ends.offsets.len() < partitions.len());
            ends.pass(admin, partitions).await?;
        }
        Ok(ends)
    }

    /// Once the time has come, partitions without a record of it end where they end.
    pub async fn pass(&mut self, admin: &Admin, partitions: &[TopicPartition]) -> Result<(), CliError> {
        if self.until_ms.is_none_or(|ms| Env::real().now_ms() < ms) {
            return Ok(());
        }
        self.until_ms = None;
        for (partition, offset) in offsets(admin, partitions, OffsetSpec::Latest).await? {
            self.offsets.entry(partition).or_insert(offset);
        }
        Ok(())
    }

    /// Whether a record is before the end of its partition; one of the time that ends sets it.
    pub fn before(&mut self, record: &ConsumerRecord) -> bool {
        let partition = record.topic_partition();
        if self.until_ms.is_some_and(|ms| record.timestamp >= ms) {
            let end = self.offsets.entry(partition.clone()).or_insert(record.offset);
            *end = record.offset.min(*end);
        }
        self.offsets.get(&partition).is_none_or(|end| record.offset < *end)
    }

    /// Whether all partitions are read up to their ends.
    pub fn reached(&self, consumer: &Consumer) -> bool {
        self.partitions > 0
            && self.offsets.len() == self.partitions
            && self
                .offsets
                .iter()
                .all(|(partition, end)| consumer.position_now(partition).is_some_and(|position| position >= *end))
    }
}

async fn offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, i64>, CliError> {
    let specs = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let mut offsets = BTreeMap::new();
    for (partition, listed) in admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await {
        if let Some(offset) = listed?.offset {
            offsets.insert(partition, offset);
        }
    }
    Ok(offsets)
}
