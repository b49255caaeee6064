//! The transaction calls of a producer: what they wait for and how they end. The rules are [`super::transaction`]'s.

use super::metrics::Timed;
use super::transaction::{Latch, Transaction};
use super::{Producer, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::{GroupMetadata, OffsetAndMetadata};
use ottla_model::TopicPartition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Transactions: what is sent between begin and commit appears to read_committed consumers all at once, or not at all.
///
/// Errors say by their kind what to do: after `Abortable` call [`Producer::abort_transaction`] and try again; after
/// `Fenced` another producer has this `transactional.id`, and this one can only be closed, as after any error of another
/// kind that says so. After `Timeout` call the same function again: it goes on waiting for the same thing.
///
/// ```no_run
/// # async fn example() -> ottla_client::Result<()> {
/// use ottla_client::{Env, ErrorKind, Producer, ProducerRecord};
///
/// let configs = [("bootstrap.servers", "localhost:9092"), ("transactional.id", "bookings-1")];
/// let producer = Producer::from_configs(Env::real(), configs)?;
/// producer.init_transactions().await?;
/// producer.begin_transaction()?;
/// producer.send(ProducerRecord::new("seats", Some(b"12A"), Some(b"taken"))).await?;
/// producer.send(ProducerRecord::new("payments", Some(b"12A"), Some(b"99.00"))).await?;
/// match producer.commit_transaction().await {
///     Err(error) if error.kind() == ErrorKind::Abortable => producer.abort_transaction().await?,
///     other => other?,
/// }
/// # Ok(()) }
/// ```
impl Producer {
    /// Registers the `transactional.id`: fences earlier producers with it, ends what they left open, and gets an epoch.
    /// Once, before the first transaction.
    ///
    /// Waits up to `max.block.ms`. After that, or when the future is dropped, it goes on in the background, and a further
    /// call waits for the same result.
    ///
    /// # Errors
    /// The id may not be used, or no coordinator answered.
    pub async fn init_transactions(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.init_time);
        let latch = shared.transaction(Transaction::init)?;
        shared.wait_for(&latch, "init_transactions").await
    }

    /// Begins a transaction. Talks to no one.
    ///
    /// # Errors
    /// `init_transactions` was not called, a transaction is open, or the producer is in an error state.
    pub fn begin_transaction(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.begin_time);
        shared.transaction(Transaction::begin)
    }

    /// Commits a consumer group's offsets as part of the transaction: they count once it is committed. `offsets` are
    /// those of the next records to read.
    ///
    /// Waits up to `max.block.ms`. After that, or when the future is dropped, they may or may not be part of the
    /// transaction, which should be aborted.
    ///
    /// # Errors
    /// `Abortable` when the member is no longer in its group; what is in the transaction must not be committed then.
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
    ) -> Result<()> {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.offsets_time);
        if group.group_id.is_empty() {
            return Err(Error::invalid("the consumer group's metadata has no group.id"));
        }
        if group.generation_id > 0 && group.member_id.is_empty() {
            return Err(Error::invalid(format!(
                "Passed in group metadata {group:?} has generationId > 0 but the member.id is unknown"
            )));
        }
        let latch = shared.transaction(|transaction| transaction.send_offsets(offsets.clone(), group.clone()))?;
        shared.wait_for(&latch, "send_offsets_to_transaction").await
    }

    /// Sends what is left of the transaction, without lingering, and commits it.
    ///
    /// Waits up to `max.block.ms`. After that, or when the future is dropped, the commit goes on in the background, and a
    /// further call waits for the same result; nothing else may be called before.
    ///
    /// # Errors
    /// `Abortable` when a record of it was not written; then it is not committed.
    pub async fn commit_transaction(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.commit_time);
        let latch = shared.transaction(Transaction::commit)?;
        shared.wait_for(&latch, "commit_transaction").await
    }

    /// Aborts the transaction. Records that have not left yet fail; waits for those that have.
    ///
    /// Waits up to `max.block.ms`. After that, or when the future is dropped, the abort goes on in the background, and a
    /// further call waits for the same result.
    ///
    /// # Errors
    /// `Fenced`, or no coordinator answered.
    pub async fn abort_transaction(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.abort_time);
        let latch = shared.transaction(Transaction::abort)?;
        shared.wait_for(&latch, "abort_transaction").await
    }
}

impl Shared {
    /// Runs a call on the transaction's state and wakes the sender, which does what it asks for.
    fn transaction<T>(&self, call: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut accumulator = self.accumulator.lock();
        if accumulator.closing {
            return Err(Error::new(ErrorKind::Closed, "the producer is closed"));
        }
        let Some(transaction) = &mut accumulator.transaction else {
            return Err(Error::invalid(
                "Transactional method invoked on a non-transactional producer: set transactional.id",
            ));
        };
        let result = call(transaction);
        drop(accumulator);
        self.doorbell.notify_one();
        result
    }

    async fn wait_for(&self, latch: &Arc<Latch>, call: &str) -> Result<()> {
        let limit = self.options.max_block;
        match self.client.env().timeout(limit, latch.wait()).await {
            Ok(result) => result,
            Err(_) => {
                let accumulator = self.accumulator.lock();
                let trouble = accumulator.transaction.as_ref().and_then(Transaction::trouble);
                let why = match trouble {
                    Some(error) => error.to_string(),
                    None if !accumulator.is_empty() => "records of the transaction are not acknowledged".to_owned(),
                    None => "the coordinator did not answer".to_owned(),
                };
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("{call} did not end within {} ms (max.block.ms): {why}; call it again", limit.as_millis()),
                ))
            }
        }
    }
}
