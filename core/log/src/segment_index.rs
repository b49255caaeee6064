//! The three indexes of one segment and what is counted to fill them. They are shortcuts: each can be rebuilt from the
//! segment's batches, which happens here when a file is missing or cannot be right.

use std::io;
use std::sync::Arc;

use ottla_env::{Env, File};
use ottla_model::record_batch::BatchHeader;

use crate::lazy_file::{LazyFile, LogDir};
use crate::names::{INDEX, TIME_INDEX, TXN_INDEX};
use crate::offset_index::OffsetIndex;
use crate::time_index::{TimeIndex, TimestampOffset};
use crate::transaction_index::TransactionIndex;

/// Which index files are known not to exist, so that none is opened to find out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbsentIndexes {
    pub(crate) offsets: bool,
    pub(crate) times: bool,
    pub(crate) txns: bool,
}

impl AbsentIndexes {
    pub(crate) const ALL: AbsentIndexes = AbsentIndexes { offsets: true, times: true, txns: true };
}

#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) base_offset: i64,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    pub(crate) txns: TransactionIndex,
    bytes_since_last_entry: u64,
    /// The largest timestamp and the last offset of the batch that holds it; `None` until it was looked at.
    largest: Option<TimestampOffset>,
    /// Whether the files were found sound, or are ours from the start.
    pub(crate) checked: bool,
}

impl SegmentIndex {
    /// `suffix` is what the files' names end with; empty for a segment in use.
    pub(crate) fn new(
        env: &Env,
        dir: &Arc<LogDir>,
        base_offset: i64,
        absent: AbsentIndexes,
        suffix: &str,
    ) -> SegmentIndex {
        let file = |extension: &str| LazyFile::new(env, dir, format!("{base_offset:020}.{extension}{suffix}"));
        SegmentIndex {
            base_offset,
            offsets: OffsetIndex::new(base_offset, file(INDEX), absent.offsets),
            times: TimeIndex::new(base_offset, file(TIME_INDEX), absent.times),
            txns: TransactionIndex::new(file(TXN_INDEX), absent.txns),
            bytes_since_last_entry: 0,
            largest: None,
            checked: false,
        }
    }

    /// Whether the offset and time index files can be trusted for a `.log` of this size.
    pub(crate) fn looks_sound(&mut self, log_size: u64) -> io::Result<bool> {
        if !self.offsets.file().is_sound()? || !self.times.file().is_sound()? {
            return Ok(false);
        }
        if let Some(last) = self.offsets.last()?
            && (last.offset < self.base_offset || u64::from(last.position) >= log_size)
        {
            return Ok(false);
        }
        // A tail of zeros is what a crash of Apache Kafka leaves of a preallocated index.
        let in_order = |last: Option<i64>| last.is_none_or(|offset| offset >= self.base_offset);
        let entries = self.offsets.file().len()?;
        let zero_tail = entries > 1 && self.offsets.last()?.is_some_and(|last| last.position == 0);
        let last_time = self.times.last()?;
        let time_zero_tail = self.times.file().len()? > 1 && last_time.is_some_and(|last| last.timestamp <= 0);
        Ok(!zero_tail && !time_zero_tail && in_order(last_time.map(|last| last.offset)))
    }

    /// Forgets all entries, to rebuild them.
    pub(crate) fn reset(&mut self, also_transactions: bool) -> io::Result<()> {
        self.offsets.file().truncate(0)?;
        self.times.truncate_to(i64::MIN)?;
        if also_transactions {
            self.txns.file().truncate(0)?;
        }
        self.bytes_since_last_entry = 0;
        self.largest = Some(TimestampOffset { timestamp: -1, offset: self.base_offset });
        self.checked = true;
        Ok(())
    }

    /// Notes batches that end at `last_offset` and were written at `position`.
    pub(crate) fn on_append(
        &mut self,
        position: u64,
        size: u64,
        last_offset: i64,
        (max_timestamp, offset_of_max): (i64, i64),
        interval: u32,
    ) {
        let mut largest = self.largest.unwrap_or(TimestampOffset { timestamp: -1, offset: self.base_offset });
        if max_timestamp > largest.timestamp {
            largest = TimestampOffset { timestamp: max_timestamp, offset: offset_of_max };
        }
        self.largest = Some(largest);
        if self.bytes_since_last_entry > u64::from(interval) {
            self.offsets.append(last_offset, position as u32);
            // It fails only if the file cannot be read; then the entry is missing, and a lookup scans further.
            let _ = self.times.maybe_append(largest.timestamp, largest.offset);
            self.bytes_since_last_entry = 0;
        }
        self.bytes_since_last_entry += size;
    }

    /// As `on_append`, for a batch that is being read again.
    pub(crate) fn on_batch(&mut self, position: u64, header: &BatchHeader, interval: u32) {
        let last_offset = header.last_offset();
        let largest = (header.max_timestamp, last_offset);
        self.on_append(position, header.size_in_bytes() as u64, last_offset, largest, interval);
    }

    /// The largest timestamp, if it is known without reading the batches behind the last entry.
    pub(crate) fn largest(&self) -> Option<TimestampOffset> {
        self.largest
    }

    pub(crate) fn set_largest(&mut self, largest: TimestampOffset) {
        self.largest = Some(largest);
    }

    pub(crate) fn set_bytes_since_last_entry(&mut self, bytes: u64) {
        self.bytes_since_last_entry = bytes;
    }

    /// The segment will not grow, or its log is closed: the largest timestamp gets its entry, and all files are written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(largest) = self.largest {
            self.times.maybe_append(largest.timestamp, largest.offset)?;
        }
        self.write_out()
    }

    /// Whether the files hold all entries, as far as they were looked at.
    pub(crate) fn is_written(&self) -> bool {
        self.offsets.is_written() && self.times.is_written() && self.txns.is_written()
    }

    pub(crate) fn write_out(&mut self) -> io::Result<()> {
        self.offsets.file().write_out()?;
        self.times.file().write_out()?;
        if !self.txns.is_empty()? {
            self.txns.file().write_out()?;
        }
        Ok(())
    }

    /// The open files, written out: to be synced when the lock on this index has been let go.
    pub(crate) fn files_to_sync(&mut self) -> io::Result<Vec<File>> {
        self.write_out()?;
        let mut files = vec![self.offsets.file().file().get()?, self.times.file().file().get()?];
        if !self.txns.is_empty()? {
            files.push(self.txns.file().file().get()?);
        }
        Ok(files)
    }

    /// Opens the files that there are, and learns how many entries they have.
    pub(crate) fn load(&mut self) -> io::Result<()> {
        self.offsets.file().len()?;
        self.times.file().len()?;
        self.txns.file().len().map(drop)
    }

    /// The index files, to rename or close them.
    pub(crate) fn files(&mut self) -> [Arc<LazyFile>; 3] {
        [self.offsets.file().file().clone(), self.times.file().file().clone(), self.txns.file().file().clone()]
    }

    /// Removes what lies at or above `offset`; the largest timestamp is to be found again.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> io::Result<()> {
        self.offsets.truncate_to(offset)?;
        self.times.truncate_to(offset)?;
        self.txns.truncate_to(offset)?;
        self.bytes_since_last_entry = 0;
        self.largest = None;
        Ok(())
    }

    /// Whether an index is so full that the segment must be rolled.
    pub(crate) fn is_full(&mut self, offsets_max: u64, times_max: u64) -> bool {
        self.offsets.file().len().is_ok_and(|len| len >= offsets_max)
            || self.times.file().len().is_ok_and(|len| len >= times_max)
    }
}
