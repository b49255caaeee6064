//! Log compaction: of the records with the same key only the latest stays, by the rules of Apache Kafka's cleaner and with its
//! files. What stays of a batch is decided in `filter`, purely; [`Cleaning`] is one cleaning of one log, step by step;
//! which log is next, and from where to where, is in `candidate`; how the result takes its place, also through a crash, in
//! `swap`. When to look, and how fast to go, is the owner's: nothing here waits or has a thread.

mod candidate;
mod cleaning;
mod filter;
mod groups;
mod offset_map;
mod reader;
mod swap;
mod transactions;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ottla_model::TopicPartition;

use crate::error::LogError;

pub use cleaning::{Cleaning, CleaningOptions, CleaningReport, CleaningStep};
pub use filter::CleanedRecords;

const UNKNOWN: i64 = -1;

/// What the cleaner keeps of a log.
#[derive(Debug)]
pub(crate) struct CleanerState {
    /// Up to where the log was cleaned; −1 if it never was.
    first_dirty_offset: AtomicI64,
    /// A cleaning is under way.
    is_busy: AtomicBool,
    /// It holds what cannot be cleaned.
    is_uncleanable: AtomicBool,
}

impl Default for CleanerState {
    fn default() -> Self {
        CleanerState {
            first_dirty_offset: AtomicI64::new(UNKNOWN),
            is_busy: AtomicBool::new(false),
            is_uncleanable: AtomicBool::new(false),
        }
    }
}

impl CleanerState {
    pub(crate) fn first_dirty_offset(&self) -> Option<i64> {
        Some(self.first_dirty_offset.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    pub(crate) fn set_first_dirty_offset(&self, offset: i64) {
        self.first_dirty_offset.store(offset, Ordering::Release);
    }

    /// What lies behind a truncation will be other records.
    pub(crate) fn on_truncate(&self, log_end_offset: i64) {
        self.first_dirty_offset.fetch_min(log_end_offset, Ordering::AcqRel);
    }

    /// Whether this caller may clean now; it has to [`leave`](Self::leave) then.
    fn enter(&self) -> bool {
        !self.is_busy.swap(true, Ordering::AcqRel)
    }

    fn leave(&self) {
        self.is_busy.store(false, Ordering::Release);
    }

    /// Says why a log could not be cleaned. A full disk may have room again; what is damaged is left alone until the log is
    /// opened anew.
    fn report(&self, partition: &TopicPartition, error: &LogError) {
        match error {
            LogError::Corrupt { .. } => {
                self.is_uncleanable.store(true, Ordering::Release);
                tracing::error!(%partition, %error, "cannot clean the log; it is left alone until the next start");
            }
            _ => tracing::warn!(%partition, %error, "cannot clean the log now"),
        }
    }

    fn is_ready(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire) && !self.is_uncleanable.load(Ordering::Acquire)
    }
}
