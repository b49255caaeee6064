//! The rules that a batch with a producer id must keep, checked before it is written: epochs, sequence numbers,
//! transactions. Pure; the result is taken over by the producer state once the batch is in the log.

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_model::record_batch::control::EndTxnMarker;
use ottla_model::record_batch::{self, BatchHeader};

use crate::append::AppendOrigin;
use crate::error::AppendError;
use crate::producer_state::{BatchMetadata, NO_EPOCH, NO_SEQUENCE, ProducerStateEntry};

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompletedTxn {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) is_aborted: bool,
}

/// The marker in a control batch and its timestamp; `None` if the batch is empty (cleaned), or holds another kind of control
/// record.
fn parse_marker(batch: &Bytes) -> Option<(EndTxnMarker, i64)> {
    let record = record_batch::records(batch).ok()?.next()?.ok()?;
    let marker = EndTxnMarker::parse(&record.key?, &record.value?).ok()??;
    Some((marker, record.timestamp))
}

/// A producer as it will be after an append.
#[derive(Clone, Debug)]
pub(crate) struct ProducerAppend {
    pub(crate) entry: ProducerStateEntry,
    /// First offsets of transactions that the append opens.
    pub(crate) started: Vec<i64>,
    /// Epoch and last sequence before the append.
    before: (i16, i32),
    origin: AppendOrigin,
}

impl ProducerAppend {
    pub(crate) fn new(current: Option<&ProducerStateEntry>, producer_id: i64, origin: AppendOrigin) -> Self {
        let entry = current.copied().unwrap_or_else(|| ProducerStateEntry::empty(producer_id));
        ProducerAppend { entry, started: Vec::new(), before: (entry.producer_epoch, entry.last_sequence()), origin }
    }

    /// Checks one batch and takes it in. `first_offset` is the one it will have in the log; `body` gives its bytes, asked
    /// for control batches only.
    pub(crate) fn append(
        &mut self,
        header: &BatchHeader,
        first_offset: i64,
        body: impl FnOnce() -> Option<Bytes>,
    ) -> Result<Option<CompletedTxn>, AppendError> {
        if header.is_control() {
            return match body().as_ref().and_then(parse_marker) {
                Some(marker) => self.append_marker(header.producer_epoch, marker, first_offset),
                // All of the transaction has been cleaned from the log.
                None => Ok(None),
            };
        }
        self.append_data(header, first_offset)?;
        Ok(None)
    }

    fn append_data(&mut self, header: &BatchHeader, first_offset: i64) -> Result<(), AppendError> {
        self.check_epoch(header.producer_epoch, first_offset)?;
        if self.origin.is_client() {
            self.check_sequence(header.producer_epoch, header.base_sequence, first_offset)?;
        }
        match (self.entry.current_txn_first_offset, header.is_transactional()) {
            (Some(_), false) if self.origin != AppendOrigin::Replication => {
                return Err(AppendError::new(
                    ErrorCode::InvalidTxnState,
                    format!(
                        "producer {} has an open transaction, but its batch at offset {first_offset} is not \
                         transactional",
                        self.entry.producer_id
                    ),
                ));
            }
            (None, true) if self.origin == AppendOrigin::ClientInTransaction => {
                let message = format!("the transaction of producer {} has ended", self.entry.producer_id);
                return Err(AppendError::new(ErrorCode::InvalidTxnState, message));
            }
            (None, true) => {
                self.entry.current_txn_first_offset = Some(first_offset);
                self.started.push(first_offset);
            }
            _ => {}
        }
        self.entry.set_epoch(header.producer_epoch);
        self.entry.push_batch(BatchMetadata {
            last_sequence: header.last_sequence(),
            last_offset: first_offset + i64::from(header.last_offset_delta),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        self.entry.last_timestamp = header.max_timestamp;
        Ok(())
    }

    fn append_marker(
        &mut self,
        epoch: i16,
        (marker, timestamp): (EndTxnMarker, i64),
        offset: i64,
    ) -> Result<Option<CompletedTxn>, AppendError> {
        self.check_epoch(epoch, offset)?;
        if self.entry.coordinator_epoch > marker.coordinator_epoch && self.origin != AppendOrigin::Replication {
            return Err(AppendError::new(
                ErrorCode::TransactionCoordinatorFenced,
                format!(
                    "a marker for producer {} has coordinator epoch {}, but {} was seen before",
                    self.entry.producer_id, marker.coordinator_epoch, self.entry.coordinator_epoch
                ),
            ));
        }
        let completed = self.entry.current_txn_first_offset.take().map(|first_offset| CompletedTxn {
            producer_id: self.entry.producer_id,
            first_offset,
            last_offset: offset,
            is_aborted: !marker.commit,
        });
        self.entry.set_epoch(epoch);
        self.entry.coordinator_epoch = marker.coordinator_epoch;
        self.entry.last_timestamp = timestamp;
        Ok(completed)
    }

    fn check_epoch(&self, epoch: i16, offset: i64) -> Result<(), AppendError> {
        if epoch >= self.entry.producer_epoch {
            return Ok(());
        }
        let message = format!(
            "producer {} at offset {offset} has epoch {epoch}, smaller than {} which was seen before",
            self.entry.producer_id, self.entry.producer_epoch
        );
        if self.origin == AppendOrigin::Replication {
            tracing::warn!("{message}");
            return Ok(());
        }
        Err(AppendError::new(ErrorCode::InvalidProducerEpoch, message))
    }

    fn check_sequence(&self, epoch: i16, first_sequence: i32, offset: i64) -> Result<(), AppendError> {
        let out_of_order = |expected: String| {
            Err(AppendError::new(
                ErrorCode::OutOfOrderSequenceNumber,
                format!(
                    "producer {} sent sequence {first_sequence} for offset {offset}, expected {expected}",
                    self.entry.producer_id
                ),
            ))
        };
        let is_unknown = self.entry.last_sequence() == NO_SEQUENCE && self.before.1 == NO_SEQUENCE;
        if self.origin == AppendOrigin::ClientBeginning && is_unknown && first_sequence != 0 {
            return out_of_order("0, with which a transaction of version 2 begins".to_owned());
        }
        if epoch != self.entry.producer_epoch {
            if first_sequence != 0 && self.entry.producer_epoch != NO_EPOCH {
                return out_of_order(format!("0 for the new epoch {epoch}"));
            }
            return Ok(());
        }
        let (epoch_before, last_before) = self.before;
        let last = match self.entry.last_sequence() {
            NO_SEQUENCE if epoch == epoch_before => last_before,
            last => last,
        };
        // Without a known epoch every sequence is good: the producer's records may all have been deleted by now.
        let in_sequence = i64::from(first_sequence) == i64::from(last) + 1 || (first_sequence == 0 && last == i32::MAX);
        if epoch_before != NO_EPOCH && !in_sequence {
            return out_of_order(format!("the one behind {last}"));
        }
        Ok(())
    }
}
