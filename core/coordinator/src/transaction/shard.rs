//! One partition of `__transaction_state`: what its records say, and what follows for each request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::{ErrorCode, TopicPartition};

use super::records::TxnRecord;
use super::state::{NO_EPOCH, NO_PRODUCER_ID, TxnImage, TxnState, is_exhausted};

/// What the rules need of the broker's configs.
#[derive(Clone, Debug)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
}

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdEpoch {
    pub producer_id: i64,
    pub epoch: i16,
}

/// The end of a transaction as its partitions have to learn of it: a control batch in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    pub transactional_id: Arc<str>,
    pub producer: ProducerIdEpoch,
    pub commit: bool,
    pub partitions: BTreeSet<TopicPartition>,
    /// The version of transactions that ended it: 0 or 2.
    pub transaction_version: i16,
}

/// What to do about a request. Nothing has changed yet: append the record, [`replay`](TxnShard::replay) it, and only
/// then release the answer and write the markers.
#[derive(Debug)]
#[must_use]
pub struct Decision<T> {
    pub record: Option<TxnRecord>,
    pub markers: Option<Markers>,
    pub answer: T,
}

impl<T> Decision<T> {
    pub(super) fn answer(answer: T) -> Decision<T> {
        Decision { record: None, markers: None, answer }
    }
}

/// What ListTransactions asks for; empty lists and `None` are no condition.
#[derive(Clone, Debug, Default)]
pub struct TxnFilter {
    pub states: Vec<TxnState>,
    pub producer_ids: Vec<i64>,
    /// Only transactions that are open for longer.
    pub open_for_more_than_ms: Option<i64>,
}

/// The transactional ids of one partition of `__transaction_state`.
///
/// # Use
/// Load: [`replay`](Self::replay) every record, then write the markers that [`interrupted`](Self::interrupted) names. Then,
/// under one lock: a decision, append, replay. The caller's lock keeps decisions from overlapping; between PrepareCommit
/// (or PrepareAbort) and [`complete`](Self::complete) the id answers CONCURRENT_TRANSACTIONS, and clients come back.
#[derive(Debug)]
pub struct TxnShard {
    pub(super) config: TxnConfig,
    pub(super) ids: BTreeMap<Arc<str>, TxnImage>,
}

impl TxnShard {
    /// An empty shard.
    pub fn new(config: TxnConfig) -> TxnShard {
        TxnShard { config, ids: BTreeMap::new() }
    }

    /// Applies one record, at load time and in live operation alike.
    pub fn replay(&mut self, record: &TxnRecord) {
        match &record.value {
            Some(image) => {
                self.ids.insert(record.transactional_id.clone(), image.clone());
            }
            None => {
                self.ids.remove(&record.transactional_id);
            }
        }
    }

    /// What is known of an id.
    pub fn get(&self, transactional_id: &str) -> Option<&TxnImage> {
        self.ids.get(transactional_id)
    }

    /// Whether a decision about this id may need a producer id that nobody has.
    pub fn needs_producer_id(&self, transactional_id: &str) -> bool {
        self.ids.get(transactional_id).is_none_or(TxnImage::is_epoch_exhausted)
    }

    /// Transactions whose end is decided and whose markers may not all be written.
    pub fn interrupted(&self) -> Vec<Markers> {
        self.ids.iter().filter(|(_, image)| image.state.is_ending()).map(|(id, image)| markers(id, image)).collect()
    }

    /// Gives a producer its id and epoch, and fences the one before it (InitProducerId, KIP-98, KIP-360).
    ///
    /// `expected` is what a producer that goes on after an error believes to have; `spare` is a producer id that nobody
    /// has, used where [`needs_producer_id`](Self::needs_producer_id). `version` is the cluster's version of
    /// transactions: an open transaction is aborted by its rules, and the producer has to come back.
    ///
    /// # Errors
    /// INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS.
    pub fn init_producer_id(
        &self,
        now_ms: i64,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<ProducerIdEpoch>,
        spare: i64,
        version: i16,
    ) -> Decision<Result<ProducerIdEpoch, ErrorCode>> {
        if timeout_ms <= 0 || timeout_ms > self.config.max_timeout_ms {
            return Decision::answer(Err(ErrorCode::InvalidTransactionTimeout));
        }
        let (id, image) = match self.ids.get_key_value(transactional_id) {
            Some((id, image)) => (id.clone(), image.clone()),
            None => (transactional_id.into(), TxnImage::new(spare, timeout_ms, now_ms)),
        };
        let is_known = |expected: ProducerIdEpoch| {
            image.producer_epoch == NO_EPOCH
                || expected.producer_id == image.producer_id
                || (expected.producer_id == image.previous_producer_id && is_exhausted(expected.epoch))
        };
        if !expected.is_none_or(is_known) {
            return Decision::answer(Err(ErrorCode::ProducerFenced));
        }
        if image.state.is_ending() {
            return Decision::answer(Err(ErrorCode::ConcurrentTransactions));
        }
        if image.state == TxnState::Ongoing {
            let (record, markers) = self.fence(now_ms, &id, &image, version);
            return Decision {
                record: Some(record),
                markers: Some(markers),
                answer: Err(ErrorCode::ConcurrentTransactions),
            };
        }
        let (producer_id, epoch, last_epoch) = match bumped(&image, expected, spare) {
            Ok(next) => next,
            Err(error) => return Decision::answer(Err(error)),
        };
        let next = TxnImage {
            producer_id,
            previous_producer_id: image.producer_id,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: epoch,
            last_producer_epoch: last_epoch,
            timeout_ms,
            state: TxnState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp_ms: -1,
            last_update_timestamp_ms: now_ms,
            client_transaction_version: 0,
        };
        Decision {
            record: Some(TxnRecord { transactional_id: id, value: Some(next) }),
            markers: None,
            answer: Ok(ProducerIdEpoch { producer_id, epoch }),
        }
    }

    /// Takes partitions into the transaction, which begins with the first (AddPartitionsToTxn, AddOffsetsToTxn, and
    /// Produce and TxnOffsetCommit of version 2).
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS.
    pub fn add_partitions(
        &self,
        now_ms: i64,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        partitions: &[TopicPartition],
        version: i16,
    ) -> Decision<Result<(), ErrorCode>> {
        let (id, image) = match self.of_producer(transactional_id, producer) {
            Ok(found) => found,
            Err(error) => return Decision::answer(Err(error)),
        };
        if image.state.is_ending() {
            return Decision::answer(Err(ErrorCode::ConcurrentTransactions));
        }
        if image.state == TxnState::Ongoing && partitions.iter().all(|partition| image.partitions.contains(partition)) {
            return Decision::answer(Ok(()));
        }
        let mut next = image.clone();
        if image.state != TxnState::Ongoing {
            next.partitions.clear();
            next.start_timestamp_ms = now_ms;
        }
        next.state = TxnState::Ongoing;
        next.previous_producer_id = image.producer_id;
        next.next_producer_id = NO_PRODUCER_ID;
        next.partitions.extend(partitions.iter().cloned());
        next.last_update_timestamp_ms = now_ms;
        next.client_transaction_version = version;
        let record = TxnRecord { transactional_id: id.clone(), value: Some(next) };
        Decision { record: Some(record), markers: None, answer: Ok(()) }
    }

    /// Whether `partition` is part of the producer's open transaction (KIP-890).
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS; TRANSACTION_ABORTABLE when it is not.
    pub fn verify_partition(
        &self,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        partition: &TopicPartition,
    ) -> Result<(), ErrorCode> {
        let (_, image) = self.of_producer(transactional_id, producer)?;
        match image.state {
            state if state.is_ending() => Err(ErrorCode::ConcurrentTransactions),
            _ if image.partitions.contains(partition) => Ok(()),
            _ => Err(ErrorCode::TransactionAbortable),
        }
    }

    /// Open transactions past their timeout.
    pub fn timed_out(&self, now_ms: i64) -> Vec<Arc<str>> {
        let is_late = |image: &TxnImage| {
            image.state == TxnState::Ongoing
                && image.start_timestamp_ms.saturating_add(i64::from(image.timeout_ms)) < now_ms
        };
        self.ids.iter().filter(|(_, image)| is_late(image)).map(|(id, _)| id.clone()).collect()
    }

    /// Tombstones for ids that nobody has used for `transactional.id.expiration.ms`.
    pub fn expired(&self, now_ms: i64) -> Vec<TxnRecord> {
        let before_ms = now_ms.saturating_sub(self.config.id_expiration_ms);
        let is_unused = |image: &TxnImage| image.state.is_at_rest() && image.last_update_timestamp_ms <= before_ms;
        let unused = self.ids.iter().filter(|(_, image)| is_unused(image));
        unused.map(|(id, _)| TxnRecord { transactional_id: id.clone(), value: None }).collect()
    }

    /// The ids that a ListTransactions asks for.
    pub fn list(&self, now_ms: i64, filter: &TxnFilter) -> Vec<(&Arc<str>, &TxnImage)> {
        let wanted = |image: &TxnImage| {
            (filter.states.is_empty() || filter.states.contains(&image.state))
                && (filter.producer_ids.is_empty() || filter.producer_ids.contains(&image.producer_id))
                && filter.open_for_more_than_ms.is_none_or(|limit| now_ms - image.start_timestamp_ms > limit)
        };
        self.ids.iter().filter(|(_, image)| wanted(image)).collect()
    }

    pub(super) fn of_producer(
        &self,
        transactional_id: &str,
        producer: ProducerIdEpoch,
    ) -> Result<(&Arc<str>, &TxnImage), ErrorCode> {
        match self.ids.get_key_value(transactional_id) {
            None => Err(ErrorCode::InvalidProducerIdMapping),
            Some((_, image)) if image.producer_id != producer.producer_id => Err(ErrorCode::InvalidProducerIdMapping),
            Some((_, image)) if image.producer_epoch != producer.epoch => Err(ErrorCode::ProducerFenced),
            Some(found) => Ok(found),
        }
    }
}

/// The next producer id and epoch, and the epoch that a repeated request would name.
fn bumped(image: &TxnImage, expected: Option<ProducerIdEpoch>, spare: i64) -> Result<(i64, i16, i16), ErrorCode> {
    let is_current = |expected: ProducerIdEpoch| expected.epoch == image.producer_epoch;
    if image.is_epoch_exhausted() && expected.is_none_or(is_current) {
        let last_epoch = if expected.is_some() { image.producer_epoch } else { NO_EPOCH };
        return Ok((spare, 0, last_epoch));
    }
    match expected {
        None => Ok((image.producer_id, image.producer_epoch + 1, NO_EPOCH)),
        Some(expected) if image.producer_epoch == NO_EPOCH || is_current(expected) => {
            Ok((image.producer_id, image.producer_epoch + 1, image.producer_epoch))
        }
        // The same request once more: nobody else was initialised, or the last epoch would be gone.
        Some(expected) if expected.epoch == image.last_producer_epoch => {
            Ok((image.producer_id, image.producer_epoch, image.last_producer_epoch))
        }
        Some(_) => Err(ErrorCode::ProducerFenced),
    }
}

pub(super) fn markers(transactional_id: &Arc<str>, image: &TxnImage) -> Markers {
    Markers {
        transactional_id: transactional_id.clone(),
        producer: ProducerIdEpoch { producer_id: image.producer_id, epoch: image.producer_epoch },
        commit: image.state == TxnState::PrepareCommit,
        partitions: image.partitions.clone(),
        transaction_version: image.client_transaction_version,
    }
}
