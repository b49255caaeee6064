//! Which log is cleaned next: the one with the largest share of bytes that are not clean yet, if that share is large enough,
//! or one that has waited for too long.

use std::sync::Arc;

use super::cleaning::{Cleaning, CleaningOptions, segments_between};
use crate::error::{IoContext, LogError};
use crate::log_manager::LogManager;
use crate::segment::Segment;
use crate::unified_log::Log;

/// What there would be to clean in a log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    first_dirty_offset: i64,
    /// Where a segment begins that cannot be cleaned yet.
    first_uncleanable_offset: i64,
    /// The share of bytes that are not clean, 0 to 1.
    dirty_ratio: f64,
    /// Whether that is enough, or the oldest of it has waited for longer than `max.compaction.lag.ms`.
    is_due: bool,
}

impl Log {
    /// Up to which offset the log was cleaned, if it ever was; goes into the cleaner's checkpoint.
    pub fn first_dirty_offset(&self) -> Option<i64> {
        self.cleaner.first_dirty_offset()
    }

    /// As it was found in the checkpoint.
    pub fn set_first_dirty_offset(&self, offset: i64) {
        self.cleaner.set_first_dirty_offset(offset);
    }

    /// Whether a cleaner has to look closer: nothing is read from the disk to tell.
    pub fn may_be_dirty(&self) -> bool {
        let (start, end) = (self.log_start_offset(), self.end());
        let from = self.first_dirty_offset().unwrap_or(start).max(start);
        self.config().cleanup_policy.compact && self.cleaner.is_ready() && (from < end.base_offset || from > end.offset)
    }

    /// What there is to clean at `now_ms`; `None` if there is nothing at all.
    fn cleanable(&self, now_ms: i64) -> Result<Option<Candidate>, LogError> {
        let config = self.config();
        let first_dirty_offset = self.checked_first_dirty_offset();
        let segments = self.segments();
        let (active, sealed) = segments.split_last().expect("a log has a segment");
        if sealed.is_empty() || first_dirty_offset >= active.base_offset {
            return Ok(None);
        }
        let dirty = segments_between(self, first_dirty_offset, active.base_offset);
        let mut bound = self.last_stable_offset().min(active.base_offset);
        if config.min_compaction_lag_ms > 0 {
            let newest_ms = now_ms.saturating_sub(config.min_compaction_lag_ms);
            for segment in &dirty {
                if segment.largest_timestamp()?.timestamp > newest_ms {
                    bound = bound.min(segment.base_offset);
                    break;
                }
            }
        }
        // A segment is cleaned as a whole or not at all.
        let bound = bound.max(first_dirty_offset);
        let holds_bound = segments.partition_point(|segment| segment.base_offset <= bound).saturating_sub(1);
        let first_uncleanable_offset = segments[holds_bound].base_offset;
        let size = |segment: &Arc<Segment>| segment.size().context("open", segment.path());
        let mut clean_bytes = 0;
        for segment in sealed.iter().take_while(|segment| segment.base_offset < first_dirty_offset) {
            clean_bytes += size(segment)?;
        }
        let mut cleanable_bytes = 0;
        for segment in dirty.iter().filter(|segment| segment.base_offset < first_uncleanable_offset) {
            cleanable_bytes += size(segment)?;
        }
        if cleanable_bytes == 0 {
            return Ok(None);
        }
        let dirty_ratio = cleanable_bytes as f64 / (clean_bytes + cleanable_bytes) as f64;
        let is_due = dirty_ratio > config.min_cleanable_dirty_ratio || self.has_waited(&dirty, now_ms)?;
        Ok(Some(Candidate { first_dirty_offset, first_uncleanable_offset, dirty_ratio, is_due }))
    }

    /// The checkpoint's offset, if it can be right.
    fn checked_first_dirty_offset(&self) -> i64 {
        let log_start_offset = self.log_start_offset();
        let Some(offset) = self.first_dirty_offset() else { return log_start_offset };
        if (log_start_offset..=self.log_end_offset()).contains(&offset) {
            return offset;
        }
        // Where segments are deleted as well, the start passes it every now and then.
        if offset > log_start_offset || !self.config().cleanup_policy.delete {
            tracing::warn!(
                partition = %self.partition,
                offset,
                log_start_offset,
                "the log was cleaned up to an offset that it does not have; cleaning all of it"
            );
        }
        self.set_first_dirty_offset(log_start_offset);
        log_start_offset
    }

    /// Whether `max.compaction.lag.ms` is over for one of these segments.
    fn has_waited(&self, dirty: &[Arc<Segment>], now_ms: i64) -> Result<bool, LogError> {
        let oldest_ms = now_ms.saturating_sub(self.config().max_compaction_lag_ms.max(0));
        for segment in dirty {
            let first_ms = segment.first_batch_timestamp()?;
            if first_ms > 0 && first_ms < oldest_ms {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins to clean this log, if that is due at `now_ms` and nobody does already.
    pub fn clean(self: &Arc<Log>, options: CleaningOptions, now_ms: i64) -> Result<Option<Cleaning>, LogError> {
        if !self.may_be_dirty() {
            return Ok(None);
        }
        match self.cleanable(now_ms)? {
            Some(candidate) if candidate.is_due => self.begin(&candidate, options, now_ms),
            _ => Ok(None),
        }
    }

    fn begin(
        self: &Arc<Log>,
        candidate: &Candidate,
        options: CleaningOptions,
        now_ms: i64,
    ) -> Result<Option<Cleaning>, LogError> {
        let range = (candidate.first_dirty_offset, candidate.first_uncleanable_offset);
        if !self.cleaner.enter() {
            return Ok(None);
        }
        Cleaning::begin(self.clone(), range, options, now_ms).map(Some)
    }
}

impl LogManager {
    /// Whether a log may have to be cleaned. Cheap, whatever the number of logs that have not changed.
    pub fn may_be_dirty(&self) -> bool {
        self.any(|log| log.may_be_dirty())
    }

    /// Whether some log is compacted and its old segments are deleted as well.
    pub fn has_compacted_and_deleted(&self) -> bool {
        self.any(is_compacted_and_deleted)
    }

    /// One round of retention over the logs that are compacted as well; returns how many segments were deleted.
    pub fn delete_old_compacted_segments(&self, now_ms: i64) -> usize {
        self.delete_old_segments_of(now_ms, is_compacted_and_deleted)
    }

    /// Begins to clean the log that needs it most at `now_ms`, if one does. Blocks on the disk, for a look into segments that
    /// were not used since the start.
    pub fn clean_filthiest(&self, options: CleaningOptions, now_ms: i64) -> Option<Cleaning> {
        let options = CleaningOptions { sync: options.sync && self.syncs(), ..options };
        let mut filthiest: Option<(Arc<Log>, Candidate)> = None;
        for log in self.logs().into_iter().filter(|log| log.may_be_dirty()) {
            match log.cleanable(now_ms) {
                Ok(Some(candidate)) if candidate.is_due => {
                    if filthiest.as_ref().is_none_or(|(_, worst)| candidate.dirty_ratio > worst.dirty_ratio) {
                        filthiest = Some((log, candidate));
                    }
                }
                Ok(_) => {}
                Err(error) => log.cleaner.report(&log.partition, &error),
            }
        }
        let (log, candidate) = filthiest?;
        log.begin(&candidate, options, now_ms).unwrap_or_else(|error| {
            log.cleaner.report(&log.partition, &error);
            None
        })
    }
}

fn is_compacted_and_deleted(log: &Log) -> bool {
    let policy = log.config().cleanup_policy;
    policy.compact && policy.delete
}
