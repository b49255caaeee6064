//! What a consumer hands out: batches as the log has them ([`Fetched`]), or records ([`ConsumerRecords`]).
//!
//! Both skip control batches, and records of aborted transactions under `read_committed`.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::record_batch::control::{ControlType, EndTxnMarker};
use ottla_model::record_batch::{Batch, BatchError, BatchIter, Record, RecordIter, TimestampType, records, verify_crc};
use ottla_model::{Str, TopicPartition};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What one fetch brought of one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset that was asked for; the first batch may begin before it.
    pub fetch_offset: i64,
    /// The offset behind the last whole batch.
    pub next_offset: i64,
    /// The end of what consumers may read.
    pub high_watermark: i64,
    /// Before the first open transaction, or the high watermark; -1 where the broker does not tell.
    pub last_stable_offset: i64,
    /// The first offset of the partition.
    pub log_start_offset: i64,
    /// Record batches as the log has them; a batch cut off at the end is left out. Those of aborted transactions are in it.
    pub bytes: Bytes,
    pub(super) check_crcs: bool,
    pub(super) generation: u64,
    /// The leader epoch of the last batch.
    pub(super) last_epoch: Option<i32>,
    /// Aborted transactions among `bytes`, (first offset, producer id), in order; empty unless `read_committed`.
    pub(super) aborted: VecDeque<(i64, i64)>,
}

impl Fetched {
    /// The batches, control batches and those of aborted transactions too.
    pub fn batches(&self) -> BatchIter {
        BatchIter::new(self.bytes.clone())
    }

    /// The records from `fetch_offset` on, decompressed, without control batches and, under `read_committed`, without
    /// those of aborted transactions.
    pub fn records(&self) -> Records {
        Records {
            batches: self.batches(),
            current: None,
            from: self.fetch_offset,
            next_offset: self.fetch_offset,
            end: self.next_offset,
            leader_epoch: -1,
            timestamp_type: TimestampType::CreateTime,
            check_crcs: self.check_crcs,
            aborted: self.aborted.clone(),
            aborting: BTreeSet::new(),
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }

    pub(super) fn key(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }
}

/// Iterates over the records of a [`Fetched`]; after an error it goes on with the next batch.
#[derive(Debug)]
pub struct Records {
    batches: BatchIter,
    current: Option<RecordIter>,
    from: i64,
    next_offset: i64,
    end: i64,
    leader_epoch: i32,
    timestamp_type: TimestampType,
    check_crcs: bool,
    /// Aborted transactions that begin behind what was read.
    aborted: VecDeque<(i64, i64)>,
    /// Producers whose transaction here ends in an abort marker.
    aborting: BTreeSet<i64>,
    topic: Arc<str>,
    partition: i32,
}

impl Records {
    /// The offset to go on from: behind the last record returned, and behind all that was skipped after it.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The leader epoch of the batch that the last record was in; -1 before the first.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// What the last record's timestamp means.
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    fn bad(&self, offset: i64, error: BatchError) -> Error {
        let (topic, partition) = (&self.topic, self.partition);
        Error::new(
            ErrorKind::Data,
            format!("partition {topic}-{partition}, offset {offset}: {error}; seek past it to go on"),
        )
    }

    /// Whether a batch's records are seen; takes note of what its control records say.
    fn visible(&mut self, batch: &Batch) -> Result<bool> {
        let header = &batch.header;
        while self.aborted.front().is_some_and(|(first, _)| *first <= header.last_offset()) {
            self.aborting.extend(self.aborted.pop_front().map(|(_, producer)| producer));
        }
        if header.is_control() {
            if self.aborting.contains(&header.producer_id) && self.is_abort(batch)? {
                self.aborting.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(!(header.is_transactional() && self.aborting.contains(&header.producer_id)))
    }

    fn is_abort(&self, batch: &Batch) -> Result<bool> {
        let bad = |error| self.bad(batch.header.base_offset, error);
        let Some(record) = records(&batch.bytes).map_err(bad)?.next() else { return Ok(false) };
        let record = record.map_err(bad)?;
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let marker = EndTxnMarker::parse(&key, &value).map_err(bad)?;
        Ok(marker.is_some_and(|marker| marker.control_type() == ControlType::Abort))
    }

    /// The next batch that is seen.
    fn next_batch(&mut self) -> Option<Result<()>> {
        loop {
            let batch = match self.batches.next() {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return Some(Err(self.bad(self.next_offset, error))),
                None => {
                    self.next_offset = self.next_offset.max(self.end);
                    return None;
                }
            };
            let offset = batch.header.base_offset.max(self.next_offset);
            if self.check_crcs
                && let Err(error) = verify_crc(&batch.bytes)
            {
                return Some(Err(self.bad(offset, error)));
            }
            match self.visible(&batch) {
                Ok(true) => {}
                Ok(false) => {
                    self.next_offset = self.next_offset.max(batch.header.next_offset());
                    continue;
                }
                Err(error) => return Some(Err(error)),
            }
            self.leader_epoch = batch.header.partition_leader_epoch;
            self.timestamp_type = batch.header.timestamp_type();
            return match records(&batch.bytes) {
                Ok(iter) => {
                    self.current = Some(iter);
                    Some(Ok(()))
                }
                Err(error) => Some(Err(self.bad(offset, error))),
            };
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next() {
                    Some(Ok(record)) if record.offset < self.from => continue,
                    Some(Ok(record)) => {
                        self.next_offset = record.offset + 1;
                        return Some(Ok(record));
                    }
                    Some(Err(error)) => {
                        self.current = None;
                        return Some(Err(self.bad(self.next_offset, error)));
                    }
                    None => {
                        let behind = current.header().next_offset();
                        self.next_offset = self.next_offset.max(behind);
                        self.current = None;
                    }
                }
            }
            match self.next_batch()? {
                Ok(()) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The epoch of the leader that appended it; -1 where it is not known.
    pub leader_epoch: i32,
    /// ms since 1970; -1 for none.
    pub timestamp: i64,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key, if any. Keeps the memory of its whole batch.
    pub key: Option<Bytes>,
    /// The value; a record without one is a tombstone. Keeps the memory of its whole batch.
    pub value: Option<Bytes>,
    /// The headers, in their order; a key may occur more than once.
    pub headers: Vec<(Str, Option<Bytes>)>,
}

impl ConsumerRecord {
    /// Its partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }

    /// The value of the last header of this name, as Java's `lastHeader`.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|(key, _)| **key == *name).and_then(|(_, value)| value.as_ref())
    }
}

/// What one poll returned: records of each partition in the order of their offsets.
#[derive(Debug, Clone, Default)]
pub struct ConsumerRecords {
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) parts: Vec<Part>,
}

/// A run of records of one partition.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) partition: TopicPartition,
    /// Of the partition's assignment.
    pub(super) generation: u64,
    /// The offset to go on from after it.
    pub(super) next: i64,
    /// The leader epoch of its last record.
    pub(super) epoch: i32,
}

impl ConsumerRecords {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All, partition by partition.
    pub fn iter(&self) -> std::slice::Iter<'_, ConsumerRecord> {
        self.records.iter()
    }

    /// The partitions that have records here.
    pub fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.records.iter().map(ConsumerRecord::topic_partition).collect()
    }

    /// The records of one partition.
    pub fn records<'a>(&'a self, partition: &'a TopicPartition) -> impl Iterator<Item = &'a ConsumerRecord> {
        self.records.iter().filter(|r| r.partition == partition.partition && r.topic == partition.topic)
    }

    /// The offset to commit of each partition once these records are dealt with (KIP-1094).
    pub fn next_offsets(&self) -> super::Offsets {
        let offset = |part: &Part| {
            let leader_epoch = Some(part.epoch).filter(|epoch| *epoch >= 0);
            super::OffsetAndMetadata { offset: part.next, leader_epoch, metadata: String::new() }
        };
        // Of several runs of one partition the last one counts.
        self.parts.iter().map(|part| (part.partition.clone(), offset(part))).collect()
    }

    /// Keeps the records that `keep` is true of, for interceptors; positions are not changed by it.
    pub fn retain(&mut self, keep: impl FnMut(&ConsumerRecord) -> bool) {
        self.records.retain(keep);
    }

    /// Adds records of one partition that were not fetched; `next` is the offset to go on from.
    pub(crate) fn push(&mut self, partition: TopicPartition, records: Vec<ConsumerRecord>, next: i64) {
        let epoch = records.last().map_or(-1, |record| record.leader_epoch);
        self.records.extend(records);
        self.parts.push(Part { partition, generation: 0, next, epoch });
    }

    /// The records, to be changed, for interceptors.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, ConsumerRecord> {
        self.records.iter_mut()
    }
}

impl IntoIterator for ConsumerRecords {
    type Item = ConsumerRecord;
    type IntoIter = std::vec::IntoIter<ConsumerRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConsumerRecords {
    type Item = &'a ConsumerRecord;
    type IntoIter = std::slice::Iter<'a, ConsumerRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}
