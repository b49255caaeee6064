//! Interceptors: see and replace each record before it is sent, and see what became of it (KIP-42).
//!
//! They run where they are called: `on_send` in the caller's task, `on_acknowledgement` in the producer's. What they do
//! wrong never harms the record: an error or a panic is logged, and the record goes on as the interceptor before left it.

use super::record::{OwnedRecord, RecordMetadata};
use crate::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Sees records on their way. Must return quickly: it holds up `send`, or the acknowledgements of other records.
pub trait ProducerInterceptor: fmt::Debug + Send + Sync {
    /// Called by `send` before the partition is chosen; the result is sent in the record's place.
    ///
    /// # Errors
    /// A sentence to log; the record goes on as it was.
    fn on_send(&self, record: OwnedRecord) -> Result<OwnedRecord, String> {
        Ok(record)
    }

    /// Called once for each record that `send` was called with, when it is acknowledged or has failed. Of a failed one
    /// `metadata` has the topic and the partition, -1 where none was chosen, and -1 for what is not known.
    fn on_acknowledgement(&self, metadata: &RecordMetadata, error: Option<&Error>) {
        let _ = (metadata, error);
    }

    /// Called when the producer has ended.
    fn close(&self) {}
}

/// The interceptors of a producer, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Interceptors(pub(super) Vec<Arc<dyn ProducerInterceptor>>);

impl Interceptors {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn on_send(&self, mut record: OwnedRecord) -> OwnedRecord {
        for interceptor in &self.0 {
            let before = record.clone();
            match catch_unwind(AssertUnwindSafe(|| interceptor.on_send(record))) {
                Ok(Ok(replaced)) => record = replaced,
                Ok(Err(error)) => {
                    tracing::warn!(?interceptor, error, "on_send failed; the record goes on as it was");
                    record = before;
                }
                Err(_) => {
                    tracing::warn!(?interceptor, "on_send panicked; the record goes on as it was");
                    record = before;
                }
            }
        }
        record
    }

    pub(super) fn on_acknowledgement(&self, metadata: &RecordMetadata, error: Option<&Error>) {
        for interceptor in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| interceptor.on_acknowledgement(metadata, error))).is_err() {
                tracing::warn!(?interceptor, "on_acknowledgement panicked");
            }
        }
    }

    pub(super) fn close(&self) {
        for interceptor in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| interceptor.close())).is_err() {
                tracing::warn!(?interceptor, "close panicked");
            }
        }
    }
}
