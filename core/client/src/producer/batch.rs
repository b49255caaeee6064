//! A batch on its way and what became of it: the bytes, their sequence number, and the outcome that its records'
//! deliveries wait for. Deliberately not here: when it is sent.

use super::ProducerOptions;
use super::delivery::Outcome;
use super::record::ProducerRecord;
use crate::error::{Error, Result};
use bytes::Bytes;
use ottla_model::crc32c;
use ottla_model::record_batch::{
    ATTRIBUTES_OFFSET, BatchBuilder, BatchError, BatchHeader, BatchOptions, CRC_OFFSET, HEADER_SIZE, records_bounded,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The producer id that the cluster gave, for idempotence (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// A batch, open or on its way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: u64,
    content: Content,
    pub(super) count: usize,
    pub(super) outcome: Arc<Outcome>,
    pub(super) created: Duration,
    /// Given when it first leaves; kept over retries, so that the broker knows it again.
    pub(super) sequence: Option<(ProducerId, i32)>,
    /// The sequence is not the first one: what the broker says about an earlier one no longer counts.
    pub(super) renumbered: bool,
    /// How often it was queued again.
    pub(super) attempts: u32,
    /// Its size before compression.
    pub(super) uncompressed: usize,
    /// The largest record.
    pub(super) record_max: usize,
    /// The records' timestamps, where someone wants to know of each.
    pub(super) timestamps: Option<Vec<i64>>,
    /// `buffer.memory` that it takes; given back with it. Parts of a split batch share it out.
    memory: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Content {
    /// Records are appended, or it has not left yet.
    Records(BatchBuilder),
    /// As it left, for a retry.
    Encoded(Bytes),
}

impl Batch {
    pub(super) fn new(
        id: u64,
        outcome: Arc<Outcome>,
        options: &ProducerOptions,
        capacity: usize,
        created: Duration,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Batch {
        let batch_options = BatchOptions {
            compression: options.compression,
            compression_level: options.compression_level,
            transactional: options.transactional_id.is_some(),
            ..Default::default()
        };
        Batch {
            id,
            content: Content::Records(BatchBuilder::with_capacity(batch_options, capacity)),
            count: 0,
            outcome,
            created,
            sequence: None,
            renumbered: false,
            attempts: 0,
            uncompressed: HEADER_SIZE,
            record_max: 0,
            timestamps: (!options.interceptors.is_empty()).then(Vec::new),
            memory,
        }
    }

    /// Its size, before compression until it has left.
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Records(builder) => builder.uncompressed_size(),
            Content::Encoded(bytes) => bytes.len(),
        }
    }

    /// Whether a record of `size` bytes at most goes into it.
    pub(super) fn has_room(&self, size: usize, batch_size: usize) -> bool {
        self.uncompressed + size <= batch_size
    }

    pub(super) fn append(&mut self, record: &ProducerRecord<'_>, timestamp: i64) -> Result<u32> {
        let bad = |error: BatchError| Error::invalid(format!("topic {}: {error}", record.topic));
        let Content::Records(builder) = &mut self.content else { return Err(bad(BatchError::TooLarge)) };
        let index = builder.append(timestamp, record.key, record.value, record.headers).map_err(bad)?;
        let size = builder.uncompressed_size();
        self.record_max = self.record_max.max(size - self.uncompressed);
        self.uncompressed = size;
        self.count += 1;
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.push(timestamp);
        }
        Ok(index as u32)
    }

    /// The batch as bytes, compressed the first time. Done outside the producer's lock.
    pub(super) fn encode(&mut self) -> std::result::Result<Bytes, BatchError> {
        let (producer_id, producer_epoch, base_sequence) = match self.sequence {
            Some((producer, sequence)) => (producer.id, producer.epoch, sequence),
            None => (-1, -1, -1),
        };
        let bytes = match &mut self.content {
            Content::Records(builder) => {
                builder.set_producer(producer_id, producer_epoch, base_sequence);
                std::mem::replace(builder, BatchBuilder::new(BatchOptions::default())).into_bytes()?
            }
            Content::Encoded(bytes) => {
                let header = BatchHeader::parse(bytes)?;
                let same = (header.producer_id, header.producer_epoch, header.base_sequence);
                if same == (producer_id, producer_epoch, base_sequence) {
                    return Ok(bytes.clone());
                }
                // It got another sequence since it left: the header changes, and the checksum over it.
                let mut copy = bytes.to_vec();
                let header = BatchHeader { producer_id, producer_epoch, base_sequence, ..header };
                copy[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
                let crc = crc32c(&copy[ATTRIBUTES_OFFSET..]);
                copy[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
                Bytes::from(copy)
            }
        };
        self.content = Content::Encoded(bytes.clone());
        Ok(bytes)
    }

    /// Takes its sequence back, so that it gets another one.
    pub(super) fn unnumber(&mut self) {
        self.renumbered |= self.sequence.take().is_some();
    }

    /// Divides a batch that the broker found too large into batches of at most half its records' bytes. They take over
    /// its sequence numbers, and its outcome is settled by theirs. `next_id` gives their ids.
    ///
    /// # Errors
    /// The batch itself, when it has one record only.
    pub(super) fn split(
        mut self,
        options: &ProducerOptions,
        mut next_id: impl FnMut() -> u64,
    ) -> std::result::Result<Vec<Batch>, Box<Batch>> {
        let limit = options.batch_size().min(self.uncompressed / 2).max(self.record_max);
        let Content::Encoded(bytes) = &self.content else { return Err(Box::new(self)) };
        if self.count < 2 {
            return Err(Box::new(self));
        }
        // What this producer wrote it can read; the bound is what went in.
        let Ok(read) = records_bounded(bytes, self.uncompressed.max(bytes.len())) else { return Err(Box::new(self)) };
        let mut parts: Vec<Batch> = Vec::new();
        let mut starts = Vec::new();
        let mut index = 0;
        for record in read.views() {
            let Ok(record) = record else { return Err(Box::new(self)) };
            let headers: Vec<(&str, Option<&[u8]>)> =
                record.headers().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value))).collect();
            let record_ = ProducerRecord {
                topic: &self.outcome.topic,
                partition: None,
                timestamp: None,
                key: record.key,
                value: record.value,
                headers: &headers,
            };
            let size = BatchBuilder::record_size_max(record_.key, record_.value, record_.headers);
            if !parts.last().is_some_and(|part| part.has_room(size, limit)) {
                let outcome = Arc::new(self.outcome.part());
                let capacity = limit.max(size + HEADER_SIZE);
                let mut part = Batch::new(next_id(), outcome, options, capacity, self.created, None);
                part.attempts = self.attempts;
                part.renumbered = self.renumbered;
                part.sequence = self.sequence.map(|(producer, first)| (producer, sequence_after(first, index)));
                starts.push((index as u32, part.outcome.clone()));
                parts.push(part);
            }
            let part = parts.last_mut().expect("one was pushed if there was none");
            if part.append(&record_, record.timestamp).is_err() {
                return Err(Box::new(self));
            }
            index += 1;
        }
        if parts.len() < 2 || index != self.count {
            return Err(Box::new(self));
        }
        let each = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) / parts.len();
        for part in &mut parts[1..] {
            part.memory = self.memory.as_mut().and_then(|memory| memory.split(each));
        }
        parts[0].memory = self.memory.take();
        self.outcome.set_parts(starts);
        Ok(parts)
    }

    /// Its last sequence number and the first after it.
    pub(super) fn sequence_end(&self) -> Option<i32> {
        self.sequence.map(|(_, first)| sequence_after(first, self.count))
    }
}

/// The sequence `count` after `sequence`; they wrap to 0 after the greatest i32.
pub(super) fn sequence_after(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) % (i64::from(i32::MAX) + 1)) as i32
}

/// Whether sequence `a` comes before `b`, over the wrap.
pub(super) fn sequence_before(a: i32, b: i32) -> bool {
    // Both are within a few batches of each other; the distance modulo 2^31 is small in one direction.
    let distance = (i64::from(b) - i64::from(a)).rem_euclid(i64::from(i32::MAX) + 1);
    distance > 0 && distance < 1 << 30
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_model::Compression;
    use ottla_model::record_batch::records;

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert!(sequence_before(1, 2) && !sequence_before(2, 1) && !sequence_before(2, 2));
        assert!(sequence_before(i32::MAX, 0) && !sequence_before(0, i32::MAX));
    }

    fn batch(options: &ProducerOptions, records: i32) -> Batch {
        let outcome = Arc::new(Outcome::new(Arc::from("t"), 0, Arc::default()));
        let mut batch = Batch::new(0, outcome, options, 0, Duration::ZERO, None);
        for number in 0..records {
            let headers: &[(&str, Option<&[u8]>)] = &[("h", None)];
            let value = number.to_string();
            let record = ProducerRecord { headers, ..ProducerRecord::new("t", None, Some(value.as_bytes())) };
            batch.append(&record, i64::from(1000 + number)).expect("it fits");
        }
        batch
    }

    #[test]
    fn halves_have_all_records_and_go_on_with_the_sequence() {
        for compression in [Compression::None, Compression::Gzip] {
            let options = ProducerOptions { compression, ..ProducerOptions::default() };
            let mut whole = batch(&options, 11);
            whole.sequence = Some((ProducerId { id: 7, epoch: 1 }, i32::MAX - 2));
            whole.encode().expect("encodes");
            let outcome = whole.outcome.clone();
            let mut ids = 100..;
            let parts = whole.split(&options, || ids.next().expect("endless")).expect("it splits");
            assert!(parts.len() >= 2);
            let mut number = 0;
            for mut part in parts {
                let (producer, sequence) = part.sequence.expect("numbered");
                assert_eq!((producer.id, sequence), (7, sequence_after(i32::MAX - 2, number)));
                let bytes = part.encode().expect("encodes");
                let header = BatchHeader::parse(&bytes).expect("sound");
                assert_eq!((header.base_sequence, header.compression().expect("known")), (sequence, compression));
                for record in records(&bytes).expect("sound") {
                    let record = record.expect("sound");
                    assert_eq!(record.value.as_deref(), Some(number.to_string().as_bytes()));
                    assert_eq!((record.timestamp, record.headers.len()), (1000 + number as i64, 1));
                    number += 1;
                }
            }
            assert_eq!(number, 11);
            assert!(!outcome.is_done(), "the parts decide");
        }
    }

    #[test]
    fn one_record_is_not_split() {
        let options = ProducerOptions::default();
        let mut one = batch(&options, 1);
        one.encode().expect("encodes");
        assert_eq!(one.split(&options, || 1).expect_err("whole").count, 1);
    }
}
