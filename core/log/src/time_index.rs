//! `.timeindex`: from timestamps to offsets, sparse. An entry is 12 bytes; timestamps and offsets only grow:
//!
//! ```text
//! 0  i64  the largest timestamp so far in the segment
//! 8  i32  the last offset of the batch that holds it, minus the segment's base offset
//! ```

use std::io;
use std::sync::Arc;

use crate::index_file::IndexFile;
use crate::lazy_file::LazyFile;

pub(crate) const ENTRY_SIZE: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimestampOffset {
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
}

pub(crate) fn decode(entry: &[u8; 12], base_offset: i64) -> TimestampOffset {
    let (timestamp, offset) = entry.split_at(8);
    TimestampOffset {
        timestamp: i64::from_be_bytes(timestamp.try_into().expect("split at 8")),
        offset: base_offset + i64::from(i32::from_be_bytes(offset.try_into().expect("12 - 8 is 4"))),
    }
}

#[derive(Debug)]
pub(crate) struct TimeIndex {
    base_offset: i64,
    entries: IndexFile<12>,
    /// The last entry, once it was looked at.
    last: Option<Option<TimestampOffset>>,
}

impl TimeIndex {
    pub(crate) fn new(base_offset: i64, file: Arc<LazyFile>, absent: bool) -> TimeIndex {
        let entries = if absent { IndexFile::absent(file) } else { IndexFile::unopened(file) };
        TimeIndex { base_offset, entries, last: absent.then_some(None) }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.entries.is_written(true)
    }

    pub(crate) fn file(&mut self) -> &mut IndexFile<12> {
        &mut self.entries
    }

    pub(crate) fn last(&mut self) -> io::Result<Option<TimestampOffset>> {
        if let Some(last) = self.last {
            return Ok(last);
        }
        let last = match self.entries.len()? {
            0 => None,
            len => Some(decode(&self.entries.get(len - 1)?, self.base_offset)),
        };
        self.last = Some(last);
        Ok(last)
    }

    /// Adds an entry if its timestamp is larger than the last one's.
    pub(crate) fn maybe_append(&mut self, timestamp: i64, offset: i64) -> io::Result<()> {
        let larger = match self.last()? {
            Some(last) => timestamp > last.timestamp && offset >= last.offset,
            None => timestamp > -1,
        };
        if larger {
            let mut entry = [0; 12];
            entry[..8].copy_from_slice(&timestamp.to_be_bytes());
            entry[8..].copy_from_slice(&((offset - self.base_offset) as i32).to_be_bytes());
            self.entries.push(entry);
            self.last = Some(Some(TimestampOffset { timestamp, offset }));
        }
        Ok(())
    }

    /// The last entry whose timestamp is at most `timestamp`.
    pub(crate) fn lookup(&mut self, timestamp: i64) -> io::Result<Option<TimestampOffset>> {
        let base_offset = self.base_offset;
        match self.entries.partition_point(|entry| decode(entry, base_offset).timestamp <= timestamp)? {
            0 => Ok(None),
            slot => Ok(Some(decode(&self.entries.get(slot - 1)?, base_offset))),
        }
    }

    /// Removes the entries at and above `offset`.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> io::Result<()> {
        let base_offset = self.base_offset;
        let keep = self.entries.partition_point(|entry| decode(entry, base_offset).offset < offset)?;
        self.last = None;
        self.entries.truncate(keep)
    }
}
