//! One shard of transactional ids with its partition of `__transaction_state`: decide, append, replay, under one lock.

use super::load::each_batch;
use crate::node::Node;
use crate::partition::Partition;
use bytes::Bytes;
use ottla_coordinator::group::append_error;
use ottla_coordinator::transaction::{Decision, Markers, TxnConfig, TxnRecord, TxnShard};
use ottla_log::AppendOrigin;
use ottla_model::ErrorCode;
use ottla_model::record_batch::{Batch, BatchBuilder, BatchOptions, records};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    /// Guards the coordinator from a decision to the replay of its record; `None` before and after its life. Locked before
    /// a log's writer and before a group shard.
    state: Mutex<Option<TxnShard>>,
}

/// A decision that is in the log.
#[derive(Debug)]
pub(crate) struct Decided<T> {
    pub(crate) answer: T,
    pub(crate) markers: Option<Markers>,
    /// `flush.messages` is set for `__transaction_state`.
    pub(crate) needs_flush: bool,
}

impl Shard {
    /// Reads the whole partition. Blocks on the disk. A shard that cannot be read is not loaded.
    pub(crate) fn load(partition: Arc<Partition>, config: TxnConfig) -> Shard {
        let mut machine = TxnShard::new(config);
        let loaded = each_batch(&partition, |batch| replay_batch(&mut machine, batch));
        if let Err(error) = &loaded {
            tracing::error!(partition = partition.id(), "transactions cannot be loaded: {error}");
        }
        Shard { partition, state: Mutex::new(loaded.is_ok().then_some(machine)) }
    }

    pub(crate) fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.state.lock().is_some()
    }

    pub(crate) fn unload(&self) {
        *self.state.lock() = None;
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&TxnShard) -> T) -> Result<T, ErrorCode> {
        self.state.lock().as_ref().map(look).ok_or(ErrorCode::NotCoordinator)
    }

    /// Takes a decision and makes it last; `then` runs before anything else can be decided here.
    ///
    /// # Errors
    /// NOT_COORDINATOR, or that the decision could not be written.
    pub(crate) fn decide<T, U>(
        &self,
        node: &Node,
        decide: impl FnOnce(&TxnShard) -> Decision<T>,
        then: impl FnOnce(T) -> U,
    ) -> Result<Decided<U>, ErrorCode> {
        let mut state = self.state.lock();
        let machine = state.as_ref().ok_or(ErrorCode::NotCoordinator)?;
        let Decision { record, markers, answer } = decide(machine);
        let needs_flush = match record {
            Some(record) => self.write(node, &mut state, &[record])?,
            None => false,
        };
        Ok(Decided { answer: then(answer), markers, needs_flush })
    }

    /// Writes records that need no answer.
    ///
    /// # Errors
    /// NOT_COORDINATOR, or that they could not be written.
    pub(crate) fn record(
        &self,
        node: &Node,
        records: impl FnOnce(&TxnShard) -> Vec<TxnRecord>,
    ) -> Result<(), ErrorCode> {
        let mut state = self.state.lock();
        let records = records(state.as_ref().ok_or(ErrorCode::NotCoordinator)?);
        if !records.is_empty() {
            self.write(node, &mut state, &records)?;
        }
        Ok(())
    }

    /// Appends and replays; a shard whose log refuses is over, and is loaded again.
    fn write(&self, node: &Node, state: &mut Option<TxnShard>, records: &[TxnRecord]) -> Result<bool, ErrorCode> {
        let appended = encode(records, node.transaction_version(), node.env.now_ms()).and_then(|batch| {
            self.partition.append(node, batch, AppendOrigin::Coordinator).map_err(|error| error.code)
        });
        match (appended, state.as_mut()) {
            (Ok(info), Some(machine)) => {
                records.iter().for_each(|record| machine.replay(record));
                Ok(info.needs_flush)
            }
            (Err(error), _) => {
                let partition = self.partition.id();
                tracing::error!(partition, error = error.name(), "transaction records are not written");
                *state = None;
                Err(append_error(error))
            }
            (Ok(_), None) => Err(ErrorCode::NotCoordinator),
        }
    }
}

fn encode(all: &[TxnRecord], transaction_version: i16, now_ms: i64) -> Result<Bytes, ErrorCode> {
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for record in all {
        let (key, value) = record.encode(transaction_version).map_err(|error| {
            tracing::error!(%error, "a transaction record cannot be encoded");
            ErrorCode::UnknownServerError
        })?;
        batch.append(now_ms, Some(&key), value.as_deref(), none).map_err(|error| error.error_code())?;
    }
    let mut out = Vec::new();
    batch.build_into(&mut out).map_err(|error| error.error_code())?;
    Ok(out.into())
}

fn replay_batch(machine: &mut TxnShard, batch: &Batch) -> Result<(), String> {
    if batch.header.is_control() {
        return Ok(());
    }
    for record in records(&batch.bytes).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        match TxnRecord::decode(record.key.as_ref(), record.value.as_ref()) {
            Ok(Some(decoded)) => machine.replay(&decoded),
            Ok(None) => {}
            // One unreadable record must not take all transactions of the partition with it.
            Err(error) => tracing::warn!(offset = record.offset, %error, "skipped a record of __transaction_state"),
        }
    }
    Ok(())
}
