//! How a transaction ends: by its producer, by its timeout, or because a newer producer takes over.

use std::sync::Arc;

use ottla_model::ErrorCode;

use super::records::TxnRecord;
use super::shard::{Decision, Markers, ProducerIdEpoch, TxnShard, markers};
use super::state::{NO_EPOCH, NO_PRODUCER_ID, TxnImage, TxnState, is_exhausted};

impl TxnShard {
    /// EndTxn of a producer that speaks `version` (0 or 2) of transactions; the answer is what it goes on with.
    ///
    /// `spare` is a producer id that nobody has, used where [`needs_producer_id`](Self::needs_producer_id).
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS, INVALID_TXN_STATE.
    pub fn end(
        &self,
        now_ms: i64,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        commit: bool,
        version: i16,
        spare: i64,
    ) -> Decision<Result<ProducerIdEpoch, ErrorCode>> {
        let Some((id, image)) = self.ids.get_key_value(transactional_id) else {
            return Decision::answer(Err(ErrorCode::InvalidProducerIdMapping));
        };
        let outcome = if version >= 2 { v2(image, producer, commit) } else { v1(image, producer, commit) };
        match outcome {
            Err(error) => Decision::answer(Err(error)),
            Ok(End::Repeated) => Decision::answer(Ok(current(image))),
            Ok(End::Begin { is_empty }) => {
                let mut next = prepared(image, commit, version, now_ms);
                if version >= 2 && image.is_epoch_exhausted() {
                    next.next_producer_id = spare;
                }
                if is_empty {
                    next.partitions.clear();
                    next.start_timestamp_ms = now_ms;
                }
                // What the producer goes on with, as it will be when the markers are written.
                let goes_on = match next.next_producer_id {
                    NO_PRODUCER_ID => current(&next),
                    producer_id => ProducerIdEpoch { producer_id, epoch: 0 },
                };
                let markers = markers(id, &next);
                let record = TxnRecord { transactional_id: id.clone(), value: Some(next) };
                Decision { record: Some(record), markers: Some(markers), answer: Ok(goes_on) }
            }
        }
    }

    /// Aborts the open transaction of an id whose producer was too slow (`transaction.timeout.ms`), and bumps its epoch so
    /// that nothing more of it is written. `None` when it has none any more.
    pub fn abort_timed_out(&self, now_ms: i64, transactional_id: &str, version: i16) -> Option<(TxnRecord, Markers)> {
        let (id, image) = self.ids.get_key_value(transactional_id)?;
        (image.state == TxnState::Ongoing).then(|| self.fence(now_ms, id, image, version))
    }

    /// All markers of `ended` are written. `None` when something else has happened to the id meanwhile.
    pub fn complete(&self, now_ms: i64, ended: &Markers) -> Option<TxnRecord> {
        let (id, image) = self.ids.get_key_value(&ended.transactional_id)?;
        if current(image) != ended.producer || !image.state.is_ending() {
            return None;
        }
        let mut next = image.clone();
        next.state = match image.state {
            TxnState::PrepareCommit => TxnState::CompleteCommit,
            _ => TxnState::CompleteAbort,
        };
        next.partitions.clear();
        next.last_update_timestamp_ms = now_ms;
        next.previous_producer_id = image.producer_id;
        next.next_producer_id = NO_PRODUCER_ID;
        if image.client_transaction_version >= 2 && image.next_producer_id != NO_PRODUCER_ID {
            next.producer_id = image.next_producer_id;
            next.producer_epoch = 0;
        }
        Some(TxnRecord { transactional_id: id.clone(), value: Some(next) })
    }

    /// Aborts with a bumped epoch, so that the producer that has it open can do nothing more. By version 2 it may initialise
    /// itself with the epoch it had, as long as no other has been initialised (KIP-360): a timeout does not end its life.
    pub(super) fn fence(&self, now_ms: i64, id: &Arc<str>, image: &TxnImage, version: i16) -> (TxnRecord, Markers) {
        let mut next = prepared(image, false, version, now_ms);
        // An exhausted epoch goes to the very last one, which no producer is ever given.
        next.producer_epoch = image.producer_epoch.saturating_add(1);
        if version < 2 {
            next.last_producer_epoch = NO_EPOCH;
        }
        let markers = markers(id, &next);
        (TxnRecord { transactional_id: id.clone(), value: Some(next) }, markers)
    }
}

/// What an EndTxn means for the id.
enum End {
    /// It was answered before.
    Repeated,
    /// It ends the transaction; `is_empty` when none was begun, which only version 2 allows, to abort.
    Begin { is_empty: bool },
}

fn current(image: &TxnImage) -> ProducerIdEpoch {
    ProducerIdEpoch { producer_id: image.producer_id, epoch: image.producer_epoch }
}

fn prepared(image: &TxnImage, commit: bool, version: i16, now_ms: i64) -> TxnImage {
    let mut next = image.clone();
    next.state = if commit { TxnState::PrepareCommit } else { TxnState::PrepareAbort };
    next.previous_producer_id = image.producer_id;
    next.next_producer_id = NO_PRODUCER_ID;
    next.last_update_timestamp_ms = now_ms;
    next.client_transaction_version = version;
    if version >= 2 {
        next.producer_epoch = image.producer_epoch.saturating_add(1);
        next.last_producer_epoch = image.producer_epoch;
    }
    next
}

fn v1(image: &TxnImage, producer: ProducerIdEpoch, commit: bool) -> Result<End, ErrorCode> {
    if image.producer_id != producer.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if image.producer_epoch != producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match (image.state, commit) {
        (TxnState::Ongoing, _) => Ok(End::Begin { is_empty: false }),
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) => Ok(End::Repeated),
        (TxnState::PrepareCommit, true) | (TxnState::PrepareAbort, false) => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// As each end bumps the epoch, the same epoch again is not a repeated request but the end of the next transaction.
fn v2(image: &TxnImage, producer: ProducerIdEpoch, commit: bool) -> Result<End, ErrorCode> {
    let repeated_over_ids = image.previous_producer_id == producer.producer_id
        && image.previous_producer_id != image.producer_id
        && is_exhausted(producer.epoch)
        && image.producer_epoch == 0;
    let is_repeated = image.was_bumped_from(producer.epoch) || repeated_over_ids;
    let is_current = producer.epoch == image.producer_epoch;
    let is_valid = match image.state {
        TxnState::PrepareCommit | TxnState::PrepareAbort => image.was_bumped_from(producer.epoch),
        TxnState::CompleteCommit | TxnState::CompleteAbort => is_repeated || is_current,
        _ => is_current,
    };
    if image.producer_id != producer.producer_id && !repeated_over_ids {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if !is_valid {
        return Err(ErrorCode::ProducerFenced);
    }
    match (image.state, commit) {
        (TxnState::Ongoing, _) => Ok(End::Begin { is_empty: false }),
        (TxnState::PrepareCommit, true) | (TxnState::PrepareAbort, false) => Err(ErrorCode::ConcurrentTransactions),
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) if is_repeated => Ok(End::Repeated),
        (TxnState::Empty, false) => Ok(End::Begin { is_empty: true }),
        (TxnState::CompleteCommit | TxnState::CompleteAbort, false) if !is_repeated => {
            Ok(End::Begin { is_empty: true })
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
