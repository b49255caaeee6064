//! Reads the records of one batch. Keys, values and headers of a [`Record`] are slices of the batch (or of its decompressed
//! records), so a record that is kept keeps that memory. A [`RecordView`] borrows instead, for those who copy or only look.

use std::ops::Range;

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
    Ok(RecordIter { cursor: Cursor { header, position: 0, left: header.count as usize }, bytes })
}

/// A record that borrows from its batch; made by [`RecordIter::views`].
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// ms; -1 for none.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; a record without one is a tombstone.
    pub value: Option<&'a [u8]>,
    header_count: usize,
    /// From the first header on; checked when the view was made.
    headers: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The number of headers.
    pub fn header_count(&self) -> usize {
        self.header_count
    }

    /// The headers, in their order. Keys are UTF-8 by agreement, which nobody has checked here.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let data = self.headers;
        let mut position = 0;
        (0..self.header_count).map_while(move |_| {
            let key = field(data, &mut position, data.len()).ok()??;
            let value = field(data, &mut position, data.len()).ok()?;
            Some((&data[key], value.map(|range| &data[range])))
        })
    }
}

/// Where the parts of a record are in the decompressed bytes.
struct Parts {
    offset: i64,
    timestamp: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    header_count: usize,
    headers: Range<usize>,
}

/// Reads and checks the record at `start`, headers included.
#[inline]
fn parse(header: &BatchHeader, data: &[u8], start: usize) -> Result<Parts, BatchError> {
    let mut position = start;
    let length = varint(data, &mut position, data.len())?;
    let length = usize::try_from(length).map_err(|_| BatchError::InvalidRecord("a record's length is negative"))?;
    if length > data.len() - position {
        return Err(BatchError::InvalidRecord("a record is longer than its batch"));
    }
    let end = position + length;
    // One byte of attributes; no bit is in use, and none is checked, so that later ones do no harm.
    if length == 0 {
        return Err(BatchError::InvalidRecord("a record has no attributes"));
    }
    position += 1;
    let (timestamp_delta, taken) = varint::read_i64(&data[position..end]).map_err(bad_varint)?;
    position += taken;
    let offset_delta = varint(data, &mut position, end)?;
    let key = field(data, &mut position, end)?;
    let value = field(data, &mut position, end)?;
    let header_count = varint(data, &mut position, end)?;
    let header_count =
        usize::try_from(header_count).map_err(|_| BatchError::InvalidRecord("the number of headers is negative"))?;
    // Two bytes at least for each.
    if header_count > (end - position) / 2 {
        return Err(BatchError::InvalidRecord("there are more headers than bytes"));
    }
    let headers = position..end;
    for _ in 0..header_count {
        field(data, &mut position, end)?.ok_or(BatchError::InvalidRecord("a header's key is null"))?;
        field(data, &mut position, end)?;
    }
    if position != end {
        return Err(BatchError::InvalidRecord("a record's length does not fit its content"));
    }
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    let offset = header.base_offset.wrapping_add(i64::from(offset_delta));
    Ok(Parts { offset, timestamp, key, value, header_count, headers })
}

#[inline]
fn varint(data: &[u8], position: &mut usize, end: usize) -> Result<i32, BatchError> {
    let (value, taken) = varint::read_i32(&data[*position..end]).map_err(bad_varint)?;
    *position += taken;
    Ok(value)
}

/// A length and so many bytes; Java takes every negative length for null, too.
#[inline]
fn field(data: &[u8], position: &mut usize, end: usize) -> Result<Option<Range<usize>>, BatchError> {
    let Ok(length) = usize::try_from(varint(data, position, end)?) else {
        return Ok(None);
    };
    if length > end - *position {
        return Err(BatchError::InvalidRecord("a field is longer than its record"));
    }
    let start = *position;
    *position += length;
    Ok(Some(start..*position))
}

#[cold]
fn bad_varint(error: VarintError) -> BatchError {
    BatchError::InvalidRecord(match error {
        VarintError::Truncated => "the bytes end inside a varint",
        VarintError::TooLong => "a varint is longer than its type",
    })
}

/// A place in a batch's records, for both iterators.
#[derive(Clone, Debug)]
struct Cursor {
    header: BatchHeader,
    position: usize,
    left: usize,
}

impl Cursor {
    #[inline]
    fn next(&mut self, data: &[u8]) -> Option<Result<Parts, BatchError>> {
        if self.left == 0 {
            if self.position < data.len() {
                self.position = data.len();
                return Some(Err(BatchError::InvalidRecord("bytes follow the last record")));
            }
            return None;
        }
        self.left -= 1;
        let parts = parse(&self.header, data, self.position);
        match &parts {
            Ok(parts) => self.position = parts.headers.end,
            Err(_) => {
                self.left = 0;
                self.position = data.len();
            }
        }
        Some(parts)
    }
}

/// Iterates over a batch's records; made by `records`. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct RecordIter {
    cursor: Cursor,
    bytes: Bytes,
}

impl RecordIter {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.cursor.header
    }

    /// The records' bytes, decompressed.
    pub fn decompressed(&self) -> &Bytes {
        &self.bytes
    }

    /// The records that are left, borrowed: no reference counts, no list of headers.
    pub fn views(&self) -> impl Iterator<Item = Result<RecordView<'_>, BatchError>> {
        let data = &self.bytes[..];
        let mut cursor = self.cursor.clone();
        std::iter::from_fn(move || {
            let parts = cursor.next(data)?;
            Some(parts.map(|parts| RecordView {
                offset: parts.offset,
                timestamp: parts.timestamp,
                key: parts.key.map(|range| &data[range]),
                value: parts.value.map(|range| &data[range]),
                header_count: parts.header_count,
                headers: &data[parts.headers],
            }))
        })
    }

    fn record(&self, parts: Parts) -> Record {
        let mut headers = Vec::new();
        if parts.header_count > 0 {
            headers.reserve_exact(parts.header_count);
            let data = &self.bytes[..parts.headers.end];
            let mut position = parts.headers.start;
            for _ in 0..parts.header_count {
                let (Ok(Some(key)), Ok(value)) =
                    (field(data, &mut position, data.len()), field(data, &mut position, data.len()))
                else {
                    break; // `parse` has read them already.
                };
                let key = self.bytes.slice(key);
                // Java's clients replace what is not UTF-8 as well.
                let key = Str::from_utf8(key.clone())
                    .unwrap_or_else(|_| Str::from(String::from_utf8_lossy(&key).into_owned()));
                headers.push((key, value.map(|range| self.bytes.slice(range))));
            }
        }
        Record {
            offset: parts.offset,
            timestamp: parts.timestamp,
            key: parts.key.map(|range| self.bytes.slice(range)),
            value: parts.value.map(|range| self.bytes.slice(range)),
            headers,
        }
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let parts = self.cursor.next(&self.bytes)?;
        Some(parts.map(|parts| self.record(parts)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more when bytes follow the last record.
        (self.cursor.left.min(1), Some(self.cursor.left + 1))
    }
}
