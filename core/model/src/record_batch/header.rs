//! The 61 bytes at a batch's start: parse, write, check, and the changes that a broker makes in place. The hot path of
//! Produce: no allocation, and nothing is decompressed.

use super::BatchError;
use crate::{Compression, crc32c};

/// Where the base offset is.
pub const BASE_OFFSET_OFFSET: usize = 0;
/// Where the length is.
pub const LENGTH_OFFSET: usize = 8;
/// Where the partition leader epoch is.
pub const PARTITION_LEADER_EPOCH_OFFSET: usize = 12;
/// Where the magic is; the same in all formats.
pub const MAGIC_OFFSET: usize = 16;
/// Where the checksum is.
pub const CRC_OFFSET: usize = 17;
/// Where the attributes are, the first byte that the checksum covers.
pub const ATTRIBUTES_OFFSET: usize = 21;
/// Where the last offset delta is.
pub const LAST_OFFSET_DELTA_OFFSET: usize = 23;
/// Where the base timestamp is.
pub const BASE_TIMESTAMP_OFFSET: usize = 27;
/// Where the max timestamp is.
pub const MAX_TIMESTAMP_OFFSET: usize = 35;
/// Where the producer id is.
pub const PRODUCER_ID_OFFSET: usize = 43;
/// Where the producer epoch is.
pub const PRODUCER_EPOCH_OFFSET: usize = 51;
/// Where the base sequence is.
pub const BASE_SEQUENCE_OFFSET: usize = 53;
/// Where the number of records is.
pub const COUNT_OFFSET: usize = 57;
/// The size of the header; records follow.
pub const HEADER_SIZE: usize = 61;
/// The bytes before the part that the length field counts.
pub const LOG_OVERHEAD: usize = 12;
/// The magic of this format.
pub const MAGIC: i8 = 2;
/// The producer id of a batch without one.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch of a batch without one.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The base sequence of a batch without one.
pub const NO_SEQUENCE: i32 = -1;
/// The timestamp of a record without one.
pub const NO_TIMESTAMP: i64 = -1;

pub(super) const COMPRESSION_MASK: i16 = 0x07;
pub(super) const TIMESTAMP_TYPE_MASK: i16 = 0x08;
pub(super) const TRANSACTIONAL_MASK: i16 = 0x10;
pub(super) const CONTROL_MASK: i16 = 0x20;
pub(super) const DELETE_HORIZON_MASK: i16 = 0x40;

/// Whose clock a batch's timestamps come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's, at the append; every record of the batch has the batch's max timestamp.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's name in `message.timestamp.type`.
    pub fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

/// A batch's header, parsed. The layout is drawn at the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record (as it was before compaction).
    pub base_offset: i64,
    /// The bytes after the length field.
    pub length: i32,
    /// The epoch of the leader that appended the batch; -1 from producers.
    pub partition_leader_epoch: i32,
    /// Always 2 here.
    pub magic: i8,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Compression, timestamp type and flags; see the methods.
    pub attributes: i16,
    /// The last record's offset minus the base offset.
    pub last_offset_delta: i32,
    /// The first record's timestamp in ms, or the delete horizon.
    pub base_timestamp: i64,
    /// The greatest timestamp in ms.
    pub max_timestamp: i64,
    /// The producer's id, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The first record's sequence, or -1.
    pub base_sequence: i32,
    /// The number of records that are left; compaction lowers it.
    pub count: i32,
}

impl BatchHeader {
    /// Parses the header at the start of `bytes`, which need not hold the whole batch.
    ///
    /// The magic is looked at first, so that a message set of old Kafka is named as such even when it is short. Only what
    /// makes the bytes unreadable is an error here; see `validate` and `verify_crc` for the rest.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(short_header(bytes));
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, BASE_OFFSET_OFFSET)),
            length: i32::from_be_bytes(field(bytes, LENGTH_OFFSET)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, PARTITION_LEADER_EPOCH_OFFSET)),
            magic: bytes[MAGIC_OFFSET] as i8,
            crc: u32::from_be_bytes(field(bytes, CRC_OFFSET)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES_OFFSET)),
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_OFFSET)),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_OFFSET)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_OFFSET)),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID_OFFSET)),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH_OFFSET)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE_OFFSET)),
            count: i32::from_be_bytes(field(bytes, COUNT_OFFSET)),
        };
        if header.magic != MAGIC {
            return Err(BatchError::UnsupportedMagic(header.magic));
        }
        if header.length < (HEADER_SIZE - LOG_OVERHEAD) as i32 {
            return Err(BatchError::InvalidLength(header.length));
        }
        Ok(header)
    }

    /// The header as bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        put(&mut bytes, BASE_OFFSET_OFFSET, self.base_offset.to_be_bytes());
        put(&mut bytes, LENGTH_OFFSET, self.length.to_be_bytes());
        put(&mut bytes, PARTITION_LEADER_EPOCH_OFFSET, self.partition_leader_epoch.to_be_bytes());
        put(&mut bytes, MAGIC_OFFSET, self.magic.to_be_bytes());
        put(&mut bytes, CRC_OFFSET, self.crc.to_be_bytes());
        put(&mut bytes, ATTRIBUTES_OFFSET, self.attributes.to_be_bytes());
        put(&mut bytes, LAST_OFFSET_DELTA_OFFSET, self.last_offset_delta.to_be_bytes());
        put(&mut bytes, BASE_TIMESTAMP_OFFSET, self.base_timestamp.to_be_bytes());
        put(&mut bytes, MAX_TIMESTAMP_OFFSET, self.max_timestamp.to_be_bytes());
        put(&mut bytes, PRODUCER_ID_OFFSET, self.producer_id.to_be_bytes());
        put(&mut bytes, PRODUCER_EPOCH_OFFSET, self.producer_epoch.to_be_bytes());
        put(&mut bytes, BASE_SEQUENCE_OFFSET, self.base_sequence.to_be_bytes());
        put(&mut bytes, COUNT_OFFSET, self.count.to_be_bytes());
        bytes
    }

    /// The size of the whole batch in bytes. At least 61 in a header that `parse` has accepted.
    #[inline]
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + self.length as usize
    }

    /// The offset of the last record, also when compaction has removed it.
    #[inline]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    #[inline]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let code = (self.attributes & COMPRESSION_MASK) as u8;
        Compression::from_code(code).ok_or(BatchError::UnknownCompression(code))
    }

    /// Whether the records are markers for the log itself, which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_MASK != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_MASK != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop tombstones and markers (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_MASK != 0
    }

    /// The delete horizon in ms, where there is one.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & TIMESTAMP_TYPE_MASK {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch carries a producer id.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The last record's sequence; sequences go on at 0 after the greatest i32. -1 without a base sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Checks what any readable batch must fulfil: counts that are not negative and fit each other.
    pub fn validate(&self) -> Result<(), BatchError> {
        if self.count < 0 {
            return Err(BatchError::InvalidHeader("the number of records is negative"));
        }
        if self.last_offset_delta < 0 {
            return Err(BatchError::InvalidHeader("the last offset delta is negative"));
        }
        if self.count > 0 && i64::from(self.count) > i64::from(self.last_offset_delta) + 1 {
            return Err(BatchError::InvalidHeader("there are more records than offsets"));
        }
        if self.base_offset < 0 || self.base_offset.checked_add(i64::from(self.last_offset_delta)).is_none() {
            return Err(BatchError::InvalidHeader("the base offset is out of range"));
        }
        self.compression().map(drop)
    }

    /// Checks what a broker asks of a batch that a producer sends: no gaps, at least one record, no control records, and
    /// a producer id that comes with an epoch and a sequence.
    pub fn validate_produced(&self) -> Result<(), BatchError> {
        self.compression()?;
        if self.count <= 0 {
            return Err(BatchError::InvalidHeader("a produced batch has at least one record"));
        }
        if self.last_offset_delta != self.count - 1 {
            return Err(BatchError::InvalidHeader("the offset delta does not fit the number of records"));
        }
        if self.is_control() {
            return Err(BatchError::InvalidHeader("clients cannot write control records"));
        }
        if self.has_delete_horizon() {
            return Err(BatchError::InvalidHeader("clients cannot set a delete horizon"));
        }
        if self.has_producer_id() && (self.producer_epoch < 0 || self.base_sequence < 0) {
            return Err(BatchError::InvalidHeader("a producer id needs an epoch and a sequence"));
        }
        if self.is_transactional() && !self.has_producer_id() {
            return Err(BatchError::InvalidHeader("a transactional batch needs a producer id"));
        }
        Ok(())
    }
}

/// The sequence `increment` records after `sequence`, going round at the greatest i32.
pub(super) fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    match sequence.checked_add(increment) {
        Some(sum) => sum,
        None => increment - (i32::MAX - sequence) - 1,
    }
}

/// Says what is wrong with bytes that are shorter than a header.
#[cold]
fn short_header(bytes: &[u8]) -> BatchError {
    match bytes.get(MAGIC_OFFSET) {
        Some(&magic) if magic as i8 != MAGIC => BatchError::UnsupportedMagic(magic as i8),
        _ => BatchError::Truncated { needed: HEADER_SIZE, available: bytes.len() },
    }
}

/// Checks the checksum of one whole batch; `batch` begins with it and may be longer.
#[inline]
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let whole = batch
        .get(..header.size_in_bytes())
        .ok_or(BatchError::Truncated { needed: header.size_in_bytes(), available: batch.len() })?;
    let computed = crc32c(&whole[ATTRIBUTES_OFFSET..]);
    if computed != header.crc {
        return Err(BatchError::CrcMismatch { stored: header.crc, computed });
    }
    Ok(())
}

/// Sets the base offset in place; the checksum does not cover it. `batch` holds at least the header.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    put(batch, BASE_OFFSET_OFFSET, base_offset.to_be_bytes());
}

/// Sets the partition leader epoch in place; the checksum does not cover it. `batch` holds at least the header.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, PARTITION_LEADER_EPOCH_OFFSET, epoch.to_be_bytes());
}

/// Sets the timestamp type and the max timestamp in place and computes the checksum anew. `batch` is exactly one batch.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: i64) {
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES_OFFSET));
    let attributes = match timestamp_type {
        TimestampType::CreateTime => attributes & !TIMESTAMP_TYPE_MASK,
        TimestampType::LogAppendTime => attributes | TIMESTAMP_TYPE_MASK,
    };
    put(batch, ATTRIBUTES_OFFSET, attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_OFFSET, max_timestamp.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES_OFFSET..]);
    put(batch, CRC_OFFSET, crc.to_be_bytes());
}

#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

#[inline]
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
