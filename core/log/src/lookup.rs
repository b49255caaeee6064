//! Finding offsets by time and by leader epoch: what ListOffsets and OffsetForLeaderEpoch ask. Clipping to what a consumer
//! may see is the caller's business.

use ottla_model::record_batch;

use crate::error::{IoContext, LogError};
use crate::segment::{SCAN_BYTES, Segment};
use crate::unified_log::Log;

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// The record's timestamp, ms; −1 if it was not looked for by time.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch it was written in, if that is known.
    pub leader_epoch: Option<i32>,
}

impl Log {
    /// The first record whose timestamp is at or above `timestamp` (ms), or `None` if there is none. Blocks on the disk, and
    /// decompresses at most one batch in which the record may be.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, LogError> {
        let log_start_offset = self.log_start_offset();
        for segment in self.segments().iter() {
            if segment.largest_timestamp_or_created()? < timestamp {
                continue;
            }
            if let Some(found) = find_by_time(segment, timestamp, log_start_offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp of the log (KIP-734), or `None` if no record has a timestamp.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampAndOffset>, LogError> {
        let mut best: Option<(i64, usize)> = None;
        let segments = self.segments();
        for (at, segment) in segments.iter().enumerate() {
            let largest = segment.largest_timestamp()?.timestamp;
            if largest >= 0 && best.is_none_or(|(timestamp, _)| largest > timestamp) {
                best = Some((largest, at));
            }
        }
        match best {
            Some((timestamp, at)) => find_by_time(&segments[at], timestamp, self.log_start_offset()),
            None => Ok(None),
        }
    }

    /// The log's first offset and its leader epoch.
    pub fn earliest(&self) -> TimestampAndOffset {
        let offset = self.log_start_offset();
        let leader_epoch = self.epochs.read().epoch_for_offset(offset);
        TimestampAndOffset { timestamp: -1, offset, leader_epoch }
    }

    /// The log end offset and the latest leader epoch.
    pub fn latest(&self) -> TimestampAndOffset {
        TimestampAndOffset { timestamp: -1, offset: self.log_end_offset(), leader_epoch: self.latest_epoch() }
    }

    /// The largest known leader epoch at or below `epoch` and the offset at which it ends (KIP-101, KIP-279); `None` if
    /// `epoch` is newer than all that the log knows, or negative.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.read().end_offset_for(epoch, self.log_end_offset())
    }

    /// The leader epoch in which this offset was written.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.read().epoch_for_offset(offset)
    }
}

fn find_by_time(segment: &Segment, timestamp: i64, start_offset: i64) -> Result<Option<TimestampAndOffset>, LogError> {
    let size = segment.size().context("open", segment.path())?;
    let position = {
        let mut index = segment.index()?;
        let entry = index.times.lookup(timestamp).context("read the index of", segment.path())?;
        let offset = entry.map_or(segment.base_offset, |entry| entry.offset).max(start_offset);
        index.offsets.lookup(offset).context("read the index of", segment.path())?
    };
    let mut scanner = segment.scan(u64::from(position), size, SCAN_BYTES)?;
    while let Some(found) = scanner.next()? {
        if found.header.max_timestamp < timestamp || found.header.last_offset() < start_offset {
            continue;
        }
        let batch = scanner.read(&found)?;
        let damaged =
            |error| LogError::corrupt(segment.path(), format!("the batch at byte {}: {error}", found.position));
        for record in record_batch::records(&batch).map_err(damaged)? {
            let record = record.map_err(damaged)?;
            if record.timestamp >= timestamp && record.offset >= start_offset {
                let leader_epoch = Some(found.header.partition_leader_epoch).filter(|epoch| *epoch >= 0);
                return Ok(Some(TimestampAndOffset {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch,
                }));
            }
        }
    }
    Ok(None)
}
