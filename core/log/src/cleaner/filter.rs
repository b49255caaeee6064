//! What of a batch stays when its log is cleaned: the rules of Apache Kafka's cleaner, record by record. Pure.
//!
//! A record stays if no later one with its key is known; a tombstone stays until its delete horizon, which is stamped into
//! the batch by the first cleaning that meets it (KIP-534). Records of aborted transactions go. What stays keeps its offset,
//! and its batch keeps what it covered: base offset, last offset, producer, sequence, leader epoch, codec. A batch without
//! records stays as a bare header if it is a producer's last one, or the last one of the part that is cleaned.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::Compression;
use ottla_model::record_batch::{
    self, ATTRIBUTES_OFFSET, BatchBuilder, BatchError, BatchHeader, BatchOptions, CRC_OFFSET, HEADER_SIZE,
    LOG_OVERHEAD, NO_TIMESTAMP, RecordIter, TimestampType,
};

use super::offset_map::OffsetMap;
use super::transactions::TransactionWalk;
use crate::producer_state::ProducerState;

/// The three low bits of a batch's attributes, and the bit that says that it has a delete horizon.
const COMPRESSION_MASK: i16 = 0x07;
const DELETE_HORIZON_MASK: i16 = 0x40;

/// What holds for one round over a log.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) map: OffsetMap,
    /// The time of the cleaning, ms.
    pub(crate) now_ms: i64,
    /// `delete.retention.ms`.
    pub(crate) delete_retention_ms: i64,
    /// The first offset that this round may not touch: the batch before it stays, so that the log's end is not forgotten.
    pub(crate) round_end: i64,
    /// For each producer, by which batch it is remembered.
    pub(crate) last_of_producers: BTreeMap<i64, LastOfProducer>,
}

/// The batch that keeps a producer's sequence number or epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastOfProducer {
    /// The batch of data that ends with this offset.
    Data(i64),
    /// It has only a marker of this epoch.
    Marker(i16),
}

/// What stays of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    /// The batch as it is.
    Whole,
    /// A batch with some of its records, or none, or with a delete horizon.
    Rewritten(Bytes),
}

/// What a cleaning counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedRecords {
    /// Records that were read.
    pub read: u64,
    /// Records that stayed.
    pub kept: u64,
    /// Records without a key, which a compacted log cannot keep: they were written before it was one.
    pub keyless: u64,
}

impl Rules {
    pub(crate) fn last_of_producers(producers: &ProducerState) -> BTreeMap<i64, LastOfProducer> {
        let last = |offset: i64, epoch: i16| match offset {
            0.. => LastOfProducer::Data(offset),
            _ => LastOfProducer::Marker(epoch),
        };
        producers.entries().map(|entry| (entry.producer_id, last(entry.last_offset(), entry.producer_epoch))).collect()
    }

    /// Decides about one batch, whose checksum was verified.
    pub(crate) fn filter(
        &self,
        txns: &mut TransactionWalk,
        header: &BatchHeader,
        batch: &Bytes,
        counts: &mut CleanedRecords,
    ) -> Result<Kept, BatchError> {
        let is_control = header.is_control();
        let may_go = if is_control { txns.on_control(header, batch)? } else { txns.on_batch(header) };
        let horizon_passed = || header.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        let records_go = may_go && (!is_control || horizon_passed());
        let keep_empty = self.is_last_of_producer(header) || header.next_offset() == self.round_end;
        let emptied = || if keep_empty { Kept::Rewritten(emptied(header)) } else { Kept::Nothing };
        if records_go {
            counts.read += u64::from(header.count.unsigned_abs());
            return Ok(emptied());
        }
        let records = record_batch::records(batch)?;
        let mut keep = Vec::with_capacity(header.count as usize);
        let mut has_tombstone = false;
        for record in records.views() {
            let record = record?;
            let stays = is_control || self.stays(header, record.offset, record.key, record.value.is_some(), counts);
            has_tombstone |= stays && record.value.is_none();
            keep.push(stays);
        }
        let kept = keep.iter().filter(|stays| **stays).count();
        counts.read += keep.len() as u64;
        counts.kept += kept as u64;
        if kept == 0 {
            return Ok(emptied());
        }
        let needs_horizon = (has_tombstone || (is_control && may_go)) && !header.has_delete_horizon();
        if kept == keep.len() && !needs_horizon {
            return Ok(Kept::Whole);
        }
        let horizon_ms = match header.delete_horizon_ms() {
            Some(horizon_ms) => Some(horizon_ms),
            None => needs_horizon.then(|| self.now_ms.saturating_add(self.delete_retention_ms)),
        };
        rewritten(header, &records, &keep, horizon_ms, batch.len()).map(Kept::Rewritten)
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = if header.has_producer_id() { self.last_of_producers.get(&header.producer_id) } else { None };
        match last {
            Some(LastOfProducer::Data(offset)) => header.last_offset() == *offset,
            Some(LastOfProducer::Marker(epoch)) => header.is_control() && header.producer_epoch == *epoch,
            None => false,
        }
    }

    fn stays(
        &self,
        header: &BatchHeader,
        offset: i64,
        key: Option<&[u8]>,
        has_value: bool,
        counts: &mut CleanedRecords,
    ) -> bool {
        if offset > self.map.latest_offset() {
            return true;
        }
        let Some(key) = key else {
            counts.keyless += 1;
            return false;
        };
        let is_latest = self.map.get(key).is_none_or(|latest| offset >= latest);
        is_latest && (has_value || header.delete_horizon_ms().is_none_or(|horizon_ms| self.now_ms < horizon_ms))
    }
}

/// The header alone, as of a batch without records.
fn emptied(header: &BatchHeader) -> Bytes {
    let empty = BatchHeader {
        length: (HEADER_SIZE - LOG_OVERHEAD) as i32,
        attributes: header.attributes & !(COMPRESSION_MASK | DELETE_HORIZON_MASK),
        base_timestamp: NO_TIMESTAMP,
        count: 0,
        ..*header
    };
    let mut bytes = empty.to_bytes();
    let crc = ottla_model::crc32c(&bytes[ATTRIBUTES_OFFSET..]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// The batch with those records for which `keep` is true.
fn rewritten(
    header: &BatchHeader,
    records: &RecordIter,
    keep: &[bool],
    delete_horizon_ms: Option<i64>,
    capacity: usize,
) -> Result<Bytes, BatchError> {
    let options = BatchOptions {
        compression: header.compression().unwrap_or(Compression::None),
        compression_level: None,
        timestamp_type: header.timestamp_type(),
        log_append_time: match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => NO_TIMESTAMP,
        },
        base_offset: header.base_offset,
        partition_leader_epoch: header.partition_leader_epoch,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        control: header.is_control(),
        delete_horizon_ms,
    };
    let mut builder = BatchBuilder::with_capacity(options, capacity);
    for (record, _) in records.views().zip(keep).filter(|(_, keep)| **keep) {
        let record = record?;
        let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers().collect();
        // Offsets in a batch differ by less than its 32-bit delta, or it could not have been read.
        let delta = (record.offset - header.base_offset) as i32;
        builder.append_at(delta, record.timestamp, record.key, record.value, &headers)?;
    }
    builder.cover_offset_delta(header.last_offset_delta);
    builder.into_bytes()
}
