//! Builds batches. Records are written into one buffer as they come (no allocation per record); the header, compression and
//! checksum follow when the batch is taken. A builder is reused for the next batch and keeps its buffers.

use bytes::Bytes;

use super::BatchError;
use super::header::{
    ATTRIBUTES_OFFSET, BatchHeader, CONTROL_MASK, CRC_OFFSET, DELETE_HORIZON_MASK, HEADER_SIZE, LOG_OVERHEAD, MAGIC,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TIMESTAMP_TYPE_MASK, TRANSACTIONAL_MASK,
    TimestampType, put,
};
use crate::varint;
use crate::{Compression, compress, crc32c};

/// The most that a batch's length field can say.
const BATCH_SIZE_MAX: usize = i32::MAX as usize;

/// What a batch's header says apart from its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// How the records are compressed. None by default.
    pub compression: Compression,
    /// The codec's own level; `None` is its default.
    pub compression_level: Option<i32>,
    /// Whose clock the timestamps come from; with `LogAppendTime` the max timestamp is `log_append_time`.
    pub timestamp_type: TimestampType,
    /// ms; only looked at with `LogAppendTime`.
    pub log_append_time: i64,
    /// The first offset; 0 from producers, the broker sets it.
    pub base_offset: i64,
    /// -1 from producers, the broker sets it.
    pub partition_leader_epoch: i32,
    /// -1: not idempotent.
    pub producer_id: i64,
    /// -1 without a producer id.
    pub producer_epoch: i16,
    /// -1 without a producer id.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
    /// Whether the records are control records.
    pub control: bool,
    /// ms; set by compaction only (KIP-534). It takes the place of the base timestamp.
    pub delete_horizon_ms: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            compression: Compression::None,
            compression_level: None,
            timestamp_type: TimestampType::CreateTime,
            log_append_time: NO_TIMESTAMP,
            base_offset: 0,
            partition_leader_epoch: -1,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            delete_horizon_ms: None,
        }
    }
}

/// Builds one batch after another.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// A gap for the header, then the records as they are before compression.
    buffer: Vec<u8>,
    /// The compressed batch, when there is compression.
    compressed: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A builder with an empty batch.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder::with_capacity(options, 0)
    }

    /// A builder whose buffer already holds `capacity` bytes, for example `batch.size`.
    pub fn with_capacity(options: BatchOptions, capacity: usize) -> BatchBuilder {
        let mut buffer = Vec::with_capacity(capacity.max(HEADER_SIZE));
        buffer.resize(HEADER_SIZE, 0);
        BatchBuilder {
            options,
            buffer,
            compressed: Vec::new(),
            count: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// What the header will say; may be changed until the batch is taken (producers know their sequence late).
    pub fn options_mut(&mut self) -> &mut BatchOptions {
        &mut self.options
    }

    /// What the header will say.
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// Sets the producer's id, epoch and first sequence.
    pub fn set_producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        self.options.producer_id = producer_id;
        self.options.producer_epoch = producer_epoch;
        self.options.base_sequence = base_sequence;
    }

    /// The number of records so far.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether no record has been appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch's size in bytes before compression, header included.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// The greatest timestamp so far in ms, -1 for none.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// At most the bytes that a record adds before compression: what to ask before appending when a batch is bounded.
    pub fn record_size_max<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(K, Option<V>)],
    ) -> usize {
        // Five bytes for each 32-bit varint, ten for the timestamp's, one of attributes.
        let fields = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let headers: usize = headers
            .iter()
            .map(|(key, value)| 10 + key.as_ref().len() + value.as_ref().map_or(0, |v| v.as_ref().len()))
            .sum();
        36 + fields + headers
    }

    /// Appends a record at the next offset and returns its distance from the batch's base offset.
    ///
    /// `timestamp` is in ms. Header keys are UTF-8 text. Fails without a change when the batch would exceed 2 GiB.
    pub fn append<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(K, Option<V>)],
    ) -> Result<i32, BatchError> {
        let offset_delta = self.last_offset_delta.checked_add(1).ok_or(BatchError::TooLarge)?;
        self.append_at(offset_delta, timestamp, key, value, headers)?;
        Ok(offset_delta)
    }

    /// Appends a record at a given distance from the base offset, above all earlier ones; for compaction, which leaves gaps.
    pub fn append_at<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(K, Option<V>)],
    ) -> Result<(), BatchError> {
        if offset_delta <= self.last_offset_delta {
            return Err(BatchError::InvalidRecord("offsets in a batch must rise"));
        }
        if self.count == 0 {
            self.base_timestamp = self.options.delete_horizon_ms.unwrap_or(timestamp);
        }
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let headers_size = headers_size(headers)?;
        let body = 1
            + varint::size_i64(timestamp_delta)
            + varint::size_i32(offset_delta)
            + field_size(key)?
            + field_size(value)?
            + headers_size;
        if body > BATCH_SIZE_MAX || self.buffer.len() + body + 5 > BATCH_SIZE_MAX {
            return Err(BatchError::TooLarge);
        }
        let out = &mut self.buffer;
        out.reserve(body + 5);
        varint::write_i32(out, body as i32);
        let start = out.len();
        out.push(0);
        varint::write_i64(out, timestamp_delta);
        varint::write_i32(out, offset_delta);
        write_field(out, key);
        write_field(out, value);
        varint::write_i32(out, headers.len() as i32);
        for (key, value) in headers {
            write_field(out, Some(key.as_ref()));
            write_field(out, value.as_ref().map(V::as_ref));
        }
        debug_assert_eq!(out.len() - start, body);
        self.count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// Keeps the offsets up to this distance for the batch, although no record has them: after compaction a batch still
    /// covers what it covered.
    pub fn cover_offset_delta(&mut self, offset_delta: i32) {
        self.last_offset_delta = self.last_offset_delta.max(offset_delta);
    }

    /// Finishes the batch and starts the next one with the same options. The bytes are a copy of their exact size, so the
    /// builder keeps its buffers.
    pub fn build(&mut self) -> Result<Bytes, BatchError> {
        let bytes = self.finish().map(Bytes::copy_from_slice);
        self.clear();
        bytes
    }

    /// Finishes the batch at the end of `out` and starts the next one with the same options.
    pub fn build_into(&mut self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let result = self.finish().map(|batch| out.extend_from_slice(batch));
        self.clear();
        result
    }

    /// Finishes the batch without a copy, giving the builder up.
    pub fn into_bytes(mut self) -> Result<Bytes, BatchError> {
        self.finish()?;
        Ok(Bytes::from(if self.compression() == Compression::None { self.buffer } else { self.compressed }))
    }

    /// Drops the records and keeps the options and buffers.
    pub fn clear(&mut self) {
        self.buffer.truncate(HEADER_SIZE);
        self.count = 0;
        self.last_offset_delta = -1;
        self.base_timestamp = NO_TIMESTAMP;
        self.max_timestamp = NO_TIMESTAMP;
    }

    /// Compresses where asked, writes the header, and gives the whole batch.
    fn finish(&mut self) -> Result<&[u8], BatchError> {
        let header = self.header();
        let batch = match self.compression() {
            Compression::None => &mut self.buffer,
            compression => {
                self.compressed.clear();
                self.compressed.resize(HEADER_SIZE, 0);
                compress(
                    compression,
                    self.options.compression_level,
                    &self.buffer[HEADER_SIZE..],
                    &mut self.compressed,
                )?;
                &mut self.compressed
            }
        };
        if batch.len() > BATCH_SIZE_MAX {
            return Err(BatchError::TooLarge);
        }
        let header = BatchHeader { length: (batch.len() - LOG_OVERHEAD) as i32, ..header };
        batch[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
        let crc = crc32c(&batch[ATTRIBUTES_OFFSET..]);
        put(batch, CRC_OFFSET, crc.to_be_bytes());
        Ok(batch)
    }

    /// No records are not compressed: there is nothing to gain, and Apache Kafka writes empty batches so.
    fn compression(&self) -> Compression {
        if self.count == 0 { Compression::None } else { self.options.compression }
    }

    fn header(&self) -> BatchHeader {
        let options = &self.options;
        let flag = |set: bool, mask: i16| if set { mask } else { 0 };
        let log_append_time = options.timestamp_type == TimestampType::LogAppendTime;
        BatchHeader {
            base_offset: options.base_offset,
            length: 0,
            partition_leader_epoch: options.partition_leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: i16::from(self.compression().code())
                | flag(log_append_time, TIMESTAMP_TYPE_MASK)
                | flag(options.transactional, TRANSACTIONAL_MASK)
                | flag(options.control, CONTROL_MASK)
                | flag(options.delete_horizon_ms.is_some(), DELETE_HORIZON_MASK),
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: options.delete_horizon_ms.unwrap_or(self.base_timestamp),
            max_timestamp: if log_append_time { options.log_append_time } else { self.max_timestamp },
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            count: self.count,
        }
    }
}

fn field_size(field: Option<&[u8]>) -> Result<usize, BatchError> {
    match field {
        None => Ok(1),
        Some(bytes) => {
            let length = i32::try_from(bytes.len()).map_err(|_| BatchError::TooLarge)?;
            Ok(varint::size_i32(length) + bytes.len())
        }
    }
}

fn headers_size<K: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(K, Option<V>)]) -> Result<usize, BatchError> {
    let count = i32::try_from(headers.len()).map_err(|_| BatchError::TooLarge)?;
    let mut size = varint::size_i32(count);
    for (key, value) in headers {
        size += field_size(Some(key.as_ref()))? + field_size(value.as_ref().map(V::as_ref))?;
    }
    Ok(size)
}

#[inline]
fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
