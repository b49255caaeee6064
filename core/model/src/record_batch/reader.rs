//! Reads the records of one batch. Keys, values and headers are slices of the batch (or of its decompressed records), so a
//! record that is kept keeps that memory.

use bytes::Bytes;

use super::header::{HEADER_SIZE, TimestampType};
use super::{BatchError, BatchHeader};
use crate::varint::{self, VarintError};
use crate::{Str, decompress};

/// The size to which `records` decompresses at most.
pub const DEFAULT_MAX_DECOMPRESSED_SIZE: usize = 256 << 20;

/// A record has at least a length, attributes, two deltas, two lengths and a header count, of a byte each.
const RECORD_SIZE_MIN: usize = 7;

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// ms; -1 for none.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; a record without one is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in their order; a key may occur more than once.
    pub headers: Vec<(Str, Option<Bytes>)>,
}

/// The records of one whole batch, decompressed to at most `DEFAULT_MAX_DECOMPRESSED_SIZE` bytes. The checksum is not
/// verified here; see `verify_crc`.
pub fn records(batch: &Bytes) -> Result<RecordIter, BatchError> {
    records_bounded(batch, DEFAULT_MAX_DECOMPRESSED_SIZE)
}

/// The records of one whole batch, decompressed to at most `max_size` bytes.
pub fn records_bounded(batch: &Bytes, max_size: usize) -> Result<RecordIter, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let size = header.size_in_bytes();
    if size > batch.len() {
        return Err(BatchError::Truncated { needed: size, available: batch.len() });
    }
    let compression = header.compression()?;
    let bytes = decompress(compression, &batch.slice(HEADER_SIZE..size), max_size)?;
    if header.count < 0 || header.count as usize > bytes.len() / RECORD_SIZE_MIN {
        return Err(BatchError::InvalidHeader("the number of records does not fit the size"));
    }
    Ok(RecordIter { header, bytes, position: 0, left: header.count as usize })
}

/// Iterates over a batch's records; made by `records`. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct RecordIter {
    header: BatchHeader,
    bytes: Bytes,
    position: usize,
    left: usize,
}

impl RecordIter {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records' bytes, decompressed.
    pub fn decompressed(&self) -> &Bytes {
        &self.bytes
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| BatchError::InvalidRecord("a record's length is negative"))?;
        let end = self.position.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(BatchError::InvalidRecord("a record is longer than its batch"))?;
        // One byte of attributes; no bit is in use, and none is checked, so that later ones do no harm.
        if length == 0 {
            return Err(BatchError::InvalidRecord("a record has no attributes"));
        }
        self.position += 1;
        let (timestamp_delta, taken) = varint::read_i64(&self.bytes[self.position..end]).map_err(bad_varint)?;
        self.position += taken;
        let offset_delta = self.varint()?;
        let key = self.nullable(end)?;
        let value = self.nullable(end)?;
        let headers = self.headers(end)?;
        if self.position != end {
            return Err(BatchError::InvalidRecord("a record's length does not fit its content"));
        }
        let timestamp = match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset = self.header.base_offset.wrapping_add(i64::from(offset_delta));
        Ok(Record { offset, timestamp, key, value, headers })
    }

    fn headers(&mut self, end: usize) -> Result<Vec<(Str, Option<Bytes>)>, BatchError> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let count =
            usize::try_from(count).map_err(|_| BatchError::InvalidRecord("the number of headers is negative"))?;
        // Two bytes at least for each.
        if count > end.saturating_sub(self.position) / 2 {
            return Err(BatchError::InvalidRecord("there are more headers than bytes"));
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.nullable(end)?.ok_or(BatchError::InvalidRecord("a header's key is null"))?;
            let key = match Str::from_utf8(key.clone()) {
                Ok(key) => key,
                // Java's clients replace what is not UTF-8 as well.
                Err(_) => Str::from(String::from_utf8_lossy(&key).into_owned()),
            };
            let value = self.nullable(end)?;
            headers.push((key, value));
        }
        Ok(headers)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, BatchError> {
        let (value, taken) = varint::read_i32(&self.bytes[self.position..]).map_err(bad_varint)?;
        self.position += taken;
        Ok(value)
    }

    #[inline]
    fn nullable(&mut self, end: usize) -> Result<Option<Bytes>, BatchError> {
        let length = self.varint()?;
        let Ok(length) = usize::try_from(length) else {
            // Java takes every negative length for null, too.
            return Ok(None);
        };
        if length > end.saturating_sub(self.position) {
            return Err(BatchError::InvalidRecord("a field is longer than its record"));
        }
        let field = self.bytes.slice(self.position..self.position + length);
        self.position += length;
        Ok(Some(field))
    }
}

fn bad_varint(error: VarintError) -> BatchError {
    BatchError::InvalidRecord(match error {
        VarintError::Truncated => "the bytes end inside a varint",
        VarintError::TooLong => "a varint is longer than its type",
    })
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.position < self.bytes.len() {
                self.position = self.bytes.len();
                return Some(Err(BatchError::InvalidRecord("bytes follow the last record")));
            }
            return None;
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
            self.position = self.bytes.len();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left + 1))
    }
}
