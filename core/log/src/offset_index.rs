//! `.index`: from offsets to positions in the `.log`, sparse. An entry is 8 bytes:
//!
//! ```text
//! 0  i32  the batch's last offset, minus the segment's base offset
//! 4  i32  the position of the batch's first byte
//! ```

use std::io;
use std::sync::Arc;

use crate::index_file::IndexFile;
use crate::lazy_file::LazyFile;

pub(crate) const ENTRY_SIZE: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetPosition {
    pub(crate) offset: i64,
    pub(crate) position: u32,
}

pub(crate) fn decode(entry: &[u8; 8], base_offset: i64) -> OffsetPosition {
    let value = u64::from_be_bytes(*entry);
    OffsetPosition { offset: base_offset + i64::from((value >> 32) as i32), position: value as u32 }
}

#[derive(Debug)]
pub(crate) struct OffsetIndex {
    base_offset: i64,
    entries: IndexFile<8>,
}

impl OffsetIndex {
    pub(crate) fn new(base_offset: i64, file: Arc<LazyFile>, absent: bool) -> OffsetIndex {
        let entries = if absent { IndexFile::absent(file) } else { IndexFile::unopened(file) };
        OffsetIndex { base_offset, entries }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.entries.is_written(true)
    }

    pub(crate) fn file(&mut self) -> &mut IndexFile<8> {
        &mut self.entries
    }

    pub(crate) fn last(&mut self) -> io::Result<Option<OffsetPosition>> {
        match self.entries.len()? {
            0 => Ok(None),
            len => Ok(Some(decode(&self.entries.get(len - 1)?, self.base_offset))),
        }
    }

    /// `offset` must be larger than the last entry's, and at most `i32::MAX` above the base offset.
    pub(crate) fn append(&mut self, offset: i64, position: u32) {
        let relative = (offset - self.base_offset) as u32;
        self.entries.push((u64::from(relative) << 32 | u64::from(position)).to_be_bytes());
    }

    /// The position of the last entry at or below `offset`; the start of the file if there is none.
    pub(crate) fn lookup(&mut self, offset: i64) -> io::Result<u32> {
        let base_offset = self.base_offset;
        match self.entries.partition_point(|entry| decode(entry, base_offset).offset <= offset)? {
            0 => Ok(0),
            slot => Ok(decode(&self.entries.get(slot - 1)?, base_offset).position),
        }
    }

    /// The offset of the first entry at or behind `position`: no batch before `position` has a larger last offset.
    pub(crate) fn upper_bound(&mut self, position: u64) -> io::Result<Option<i64>> {
        let base_offset = self.base_offset;
        let slot = self.entries.partition_point(|entry| u64::from(decode(entry, base_offset).position) < position)?;
        if slot >= self.entries.len()? {
            return Ok(None);
        }
        Ok(Some(decode(&self.entries.get(slot)?, base_offset).offset))
    }

    /// Removes the entries at and above `offset`.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> io::Result<()> {
        let base_offset = self.base_offset;
        let keep = self.entries.partition_point(|entry| decode(entry, base_offset).offset < offset)?;
        self.entries.truncate(keep)
    }
}
