//! Reading a log: from an offset to a place in a segment, and from there as many bytes as the caller wants and may see. The
//! bytes themselves are not read here where the file is real: the answer names a region of the file. Readers take no lock
//! that is held during a write.

use std::sync::atomic::Ordering;

use ottla_model::Records;

use crate::error::{IoContext, LogError, ReadError};
use crate::segment::Segment;
use crate::transaction_index::AbortedTxn;
use crate::unified_log::{Log, LogEnd};

/// What a read found.
#[derive(Clone, Debug)]
pub struct FetchData {
    /// Batches, from the one that holds the offset on. The last one may be incomplete. Empty if there is nothing yet.
    pub records: Records,
    /// The offset that was asked for.
    pub start_offset: i64,
    /// The base offset of the first batch, which may be lower; `start_offset` if there is none.
    pub first_batch_offset: i64,
    /// The segment that the bytes are from.
    pub segment_base_offset: i64,
    /// Where in the segment's file they begin.
    pub position: u64,
    /// Whether the first batch is not whole, because it is larger than was allowed.
    pub first_entry_incomplete: bool,
    /// No record in `records` has this offset or a larger one.
    pub upper_offset: i64,
}

impl FetchData {
    fn empty(start_offset: i64, segment_base_offset: i64, position: u64) -> FetchData {
        FetchData {
            records: Records::empty(),
            start_offset,
            first_batch_offset: start_offset,
            segment_base_offset,
            position,
            first_entry_incomplete: false,
            upper_offset: start_offset,
        }
    }
}

impl Log {
    /// Reads batches from the one that holds `start_offset` on, at most `max_bytes`, none with offsets at or above `upper` (the
    /// high watermark, the last stable offset, or the log end offset for a follower), which must be the end of a batch.
    ///
    /// With `min_one` the first batch comes whole even if it is larger than `max_bytes` (KIP-74). Reading at the log end
    /// gives no records; beyond it, or before the start, is an error. One read stays within one segment. Batch headers near
    /// the place are read from the disk; the records are not, on a real file.
    pub fn read(&self, start_offset: i64, max_bytes: usize, upper: i64, min_one: bool) -> Result<FetchData, ReadError> {
        let truncations = self.truncations.load(Ordering::Acquire);
        let replacements = self.replacements.load(Ordering::Acquire);
        let result = self.read_once(start_offset, max_bytes, upper, min_one);
        match result {
            // The segment may have been deleted, cut or replaced between the look at the list and the look into the file.
            Err(ReadError::Storage(_))
                if start_offset < self.log_start_offset()
                    || truncations != self.truncations.load(Ordering::Acquire)
                    || replacements != self.replacements.load(Ordering::Acquire) =>
            {
                self.read_once(start_offset, max_bytes, upper, min_one)
            }
            other => other,
        }
    }

    fn read_once(
        &self,
        start_offset: i64,
        max_bytes: usize,
        upper: i64,
        min_one: bool,
    ) -> Result<FetchData, ReadError> {
        let end = self.end();
        let log_start_offset = self.log_start_offset();
        if start_offset < log_start_offset || start_offset > end.offset {
            return Err(ReadError::OffsetOutOfRange {
                offset: start_offset,
                log_start_offset,
                log_end_offset: end.offset,
            });
        }
        let upper = upper.min(end.offset);
        if start_offset >= upper {
            return Ok(FetchData::empty(start_offset, end.base_offset, end.position));
        }
        let segments = self.segments();
        let first = segments.partition_point(|segment| segment.base_offset <= start_offset).saturating_sub(1);
        for (at, segment) in segments.iter().enumerate().skip(first) {
            if segment.base_offset >= upper {
                break;
            }
            let next_base_offset = segments.get(at + 1).map_or(i64::MAX, |next| next.base_offset);
            let limit = upper_position(segment, &end, upper, next_base_offset)?;
            // A segment may hold nothing at or above the offset, when compaction has emptied its end.
            let Some(found) = segment.find(start_offset, limit)? else { continue };
            let first_size = found.header.size_in_bytes();
            let wanted = if min_one { max_bytes.max(first_size) } else { max_bytes };
            let len = wanted.min((limit - found.position) as usize);
            let records = match len {
                0 => Records::empty(),
                len => (segment.file().and_then(|file| file.records(found.position, len)))
                    .context("read", segment.path())?,
            };
            return Ok(FetchData {
                records,
                start_offset,
                first_batch_offset: found.header.base_offset,
                segment_base_offset: segment.base_offset,
                position: found.position,
                first_entry_incomplete: len < first_size,
                upper_offset: upper.min(next_base_offset),
            });
        }
        Ok(FetchData::empty(start_offset, end.base_offset, end.position))
    }

    /// The aborted transactions that overlap `[from, upper)`, for a read-committed consumer, which leaves their records out.
    pub fn aborted_transactions(&self, from: i64, upper: i64) -> Result<Vec<AbortedTxn>, LogError> {
        let mut found = Vec::new();
        let segments = self.segments();
        let first = segments.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
        for segment in segments.iter().skip(first) {
            let mut index = segment.index()?;
            let complete = index.txns.collect(from, upper, &mut found).context("read the index of", segment.path())?;
            if complete {
                break;
            }
        }
        Ok(found)
    }

    /// As [`Log::aborted_transactions`], for what a read returned.
    pub fn aborted_transactions_of(&self, data: &FetchData) -> Result<Vec<AbortedTxn>, LogError> {
        let segments = self.segments();
        let at = segments.partition_point(|segment| segment.base_offset <= data.segment_base_offset);
        let mut upper = data.upper_offset;
        if let Some(segment) = at.checked_sub(1).map(|at| &segments[at])
            && segment.base_offset == data.segment_base_offset
        {
            let end = data.position + data.records.len() as u64;
            let bound = segment.index()?.offsets.upper_bound(end).context("read the index of", segment.path())?;
            upper = upper.min(bound.unwrap_or(upper));
        }
        self.aborted_transactions(data.start_offset, upper)
    }
}

/// Up to which byte of the segment offsets below `upper` reach.
fn upper_position(segment: &Segment, end: &LogEnd, upper: i64, next_base_offset: i64) -> Result<u64, LogError> {
    if segment.base_offset == end.base_offset && upper >= end.offset {
        // The segment may have grown since; what was appended then lies behind `upper`.
        return Ok(end.position);
    }
    let size = segment.size().context("open", segment.path())?;
    if upper >= next_base_offset {
        return Ok(size);
    }
    Ok(segment.find(upper, size)?.map_or(size, |found| found.position))
}
