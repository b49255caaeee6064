//! The glue between the pure transaction coordinator and this broker: one shard per partition of `__transaction_state`.
//!
//! The end of a transaction is decided in one append and then carried out: a task writes a marker into each of its
//! partitions and at last records that it is complete. EndTxn is answered then, not, as by Apache Kafka, right after the
//! decision: on one broker the markers are a few appends, and who reads after the answer sees the transaction's end. Should
//! a marker fail, the answer does not wait for the retries.

use super::txn_shard::{Decided, Shard};
use crate::node::Node;
use crate::topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use ottla_config::BrokerConfig;
use ottla_coordinator::partition_for;
use ottla_coordinator::transaction::{
    Decision, Markers, NO_PRODUCER_ID, ProducerIdEpoch, TxnConfig, TxnImage, TxnShard,
};
use ottla_env::{Env, Task};
use ottla_log::AppendOrigin;
use ottla_model::record_batch::control::EndTxnMarker;
use ottla_model::{ErrorCode, TopicPartition};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// After a marker, or a completion, that could not be written.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How a partition comes to be part of a transaction when records for it arrive (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admit {
    /// The producer has added it before: check that it did.
    Verify,
    /// Adding it is left to the broker (version 2 of transactions).
    Add,
}

/// All transactional ids of this broker.
#[derive(Debug)]
pub(crate) struct Transactions {
    env: Env,
    config: TxnConfig,
    abort_interval: Duration,
    expiration_interval: Duration,
    /// Guards the pointer. The shards in order of their partitions; empty until `__transaction_state` exists.
    shards: RwLock<Arc<Vec<Arc<Shard>>>>,
    /// Held while shards are loaded, so that no partition is loaded twice.
    loading: tokio::sync::Mutex<()>,
    /// Guards the handles of the tasks that look for what has timed out and expired.
    timers: Mutex<Vec<Task>>,
}

impl Transactions {
    pub(crate) fn new(env: Env, config: &BrokerConfig) -> Transactions {
        let millis = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(1).max(1));
        Transactions {
            env,
            config: TxnConfig {
                max_timeout_ms: config.transaction_max_timeout_ms,
                id_expiration_ms: config.transactional_id_expiration_ms,
            },
            abort_interval: millis(config.transaction_abort_timed_out_transaction_cleanup_interval_ms),
            expiration_interval: millis(config.transaction_remove_expired_transaction_cleanup_interval_ms),
            shards: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            timers: Mutex::default(),
        }
    }

    /// Takes over the shards whose partitions this broker hosts, and those that have failed before; markers that a crash
    /// has left out are written.
    pub(crate) async fn load(&self, node: &Arc<Node>) {
        self.load_shards(node).await;
        let is_used = !self.shards.read().is_empty();
        let mut timers = self.timers.lock();
        if is_used && timers.is_empty() {
            let every = |interval, work| self.env.spawn("transactions", serve(Arc::downgrade(node), interval, work));
            *timers = vec![every(self.abort_interval, abort_timed_out), every(self.expiration_interval, expire)];
        }
    }

    async fn load_shards(&self, node: &Arc<Node>) {
        let _loading = self.loading.lock().await;
        let old = self.shards.read().clone();
        let mut shards = Vec::new();
        let mut interrupted = Vec::new();
        for partition in node.partitions.of_topic(TRANSACTIONS_TOPIC) {
            let known = old.get(shards.len()).filter(|shard| shard.is_of(&partition) && shard.is_loaded());
            let shard = match known {
                Some(shard) => shard.clone(),
                None => {
                    let config = self.config.clone();
                    let shard = self.env.blocking(move || Arc::new(Shard::load(partition, config))).await;
                    let markers = shard.read(TxnShard::interrupted).unwrap_or_default();
                    interrupted.extend(markers.into_iter().map(|markers| (shard.clone(), markers)));
                    shard
                }
            };
            shards.push(shard);
        }
        for gone in old.iter().filter(|old| !shards.iter().any(|shard| Arc::ptr_eq(old, shard))) {
            gone.unload();
        }
        *self.shards.write() = Arc::new(shards);
        for (shard, markers) in interrupted {
            drop(carry_out(node, shard, markers));
        }
    }

    /// Makes sure that `__transaction_state` exists and is loaded.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE; the client comes back.
    pub(crate) async fn ensure_loaded(&self, node: &Arc<Node>, transactional_id: &str) -> Result<(), ErrorCode> {
        if self.shard(transactional_id).is_ok_and(|shard| shard.is_loaded()) {
            return Ok(());
        }
        if node.partitions.topic(TRANSACTIONS_TOPIC).is_none()
            && let Err((error, reason)) = node.auto_create_topic(TRANSACTIONS_TOPIC).await
        {
            tracing::warn!(error = error.name(), "{TRANSACTIONS_TOPIC} cannot be created: {reason}");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.load(node).await;
        match self.shard(transactional_id).is_ok_and(|shard| shard.is_loaded()) {
            true => Ok(()),
            false => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// An id and epoch for the producer with this transactional id; `expected` is what it believes to have.
    pub(crate) async fn init_producer_id(
        &self,
        node: &Arc<Node>,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<ProducerIdEpoch>,
    ) -> Result<ProducerIdEpoch, ErrorCode> {
        let version = node.transaction_version();
        self.ending(node, transactional_id, |machine, spare| {
            machine.init_producer_id(node.env.now_ms(), transactional_id, timeout_ms, expected, spare, version)
        })
        .await
    }

    /// Commits or aborts the open transaction; the answer is what the producer goes on with.
    pub(crate) async fn end(
        &self,
        node: &Arc<Node>,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        commit: bool,
        version: i16,
    ) -> Result<ProducerIdEpoch, ErrorCode> {
        self.ending(node, transactional_id, |machine, spare| {
            machine.end(node.env.now_ms(), transactional_id, producer, commit, version, spare)
        })
        .await
    }

    /// Adds partitions to the producer's transaction.
    pub(crate) async fn add_partitions(
        &self,
        node: &Arc<Node>,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        partitions: &[TopicPartition],
        version: i16,
    ) -> Result<(), ErrorCode> {
        let shard = self.shard(transactional_id)?;
        let decide = |machine: &TxnShard| {
            machine.add_partitions(node.env.now_ms(), transactional_id, producer, partitions, version)
        };
        let decided = shard.decide(node, decide, |answer| answer)?;
        settle(node, &shard, decided).await?
    }

    /// Checks that partitions are part of the producer's transaction; the answers have their order.
    pub(crate) fn verify(
        &self,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let verify = |machine: &TxnShard| {
            partitions.iter().map(|partition| machine.verify_partition(transactional_id, producer, partition)).collect()
        };
        self.shard(transactional_id)?.read(verify)
    }

    /// Runs `append`, which writes records of the transaction into `partition`, while the transaction is open and the
    /// partition part of it. It cannot end in between: its end is decided under the same lock.
    ///
    /// # Errors
    /// Why the records are not part of it; `append` has not run then.
    pub(crate) fn within<T>(
        &self,
        node: &Node,
        transactional_id: &str,
        producer: ProducerIdEpoch,
        partition: &TopicPartition,
        admit: Admit,
        append: impl FnOnce() -> T,
    ) -> Result<T, ErrorCode> {
        let shard = self.shard(transactional_id)?;
        let decide = |machine: &TxnShard| match admit {
            Admit::Verify => {
                let answer = machine.verify_partition(transactional_id, producer, partition);
                Decision { record: None, markers: None, answer }
            }
            Admit::Add => {
                let partitions = std::slice::from_ref(partition);
                machine.add_partitions(node.env.now_ms(), transactional_id, producer, partitions, 2)
            }
        };
        shard.decide(node, decide, |answer| answer.map(|()| append()))?.answer
    }

    /// Looks at one id.
    ///
    /// # Errors
    /// NOT_COORDINATOR, TRANSACTIONAL_ID_NOT_FOUND.
    pub(crate) fn describe(&self, transactional_id: &str) -> Result<TxnImage, ErrorCode> {
        let found = self.shard(transactional_id)?.read(|machine| machine.get(transactional_id).cloned())?;
        found.ok_or(ErrorCode::TransactionalIdNotFound)
    }

    /// Looks at all shards.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS while one is not loaded.
    pub(crate) fn read_all<T>(&self, mut look: impl FnMut(&TxnShard) -> T) -> Result<Vec<T>, ErrorCode> {
        let shards = self.shards.read().clone();
        let looks: Result<Vec<T>, ErrorCode> = shards.iter().map(|shard| shard.read(&mut look)).collect();
        looks.map_err(|_| ErrorCode::CoordinatorLoadInProgress)
    }

    /// A topic is gone: should it be `__transaction_state`, so are its shards.
    pub(crate) async fn topic_deleted(&self, node: &Arc<Node>, topic: &str) {
        if topic == TRANSACTIONS_TOPIC {
            self.load(node).await;
        }
    }

    /// Ends all shards. Markers that are not written yet are written after the next start.
    pub(crate) async fn close(&self) {
        let timers = std::mem::take(&mut *self.timers.lock());
        for timer in timers {
            timer.abort();
            timer.join().await;
        }
        for shard in std::mem::take(&mut *self.shards.write()).iter() {
            shard.unload();
        }
    }

    fn shard(&self, transactional_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        let shards = self.shards.read();
        let count = i32::try_from(shards.len()).unwrap_or(i32::MAX);
        let index = usize::try_from(partition_for(transactional_id, count)).unwrap_or(0);
        shards.get(index).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// A decision that may end a transaction and may need a new producer id.
    async fn ending(
        &self,
        node: &Arc<Node>,
        transactional_id: &str,
        decide: impl FnOnce(&TxnShard, i64) -> Decision<Result<ProducerIdEpoch, ErrorCode>>,
    ) -> Result<ProducerIdEpoch, ErrorCode> {
        let shard = self.shard(transactional_id)?;
        let spare = match shard.read(|machine| machine.needs_producer_id(transactional_id))? {
            true => node.producer_ids.next(node)?,
            false => NO_PRODUCER_ID,
        };
        let decide = |machine: &TxnShard| match spare == NO_PRODUCER_ID && machine.needs_producer_id(transactional_id) {
            false => decide(machine, spare),
            // It has come to need one since; the client tries again.
            true => Decision { record: None, markers: None, answer: Err(ErrorCode::ConcurrentTransactions) },
        };
        let decided = shard.decide(node, decide, |answer| answer)?;
        settle(node, &shard, decided).await?
    }
}

/// Waits until what was decided is on the disk, where that is asked for, and carried out, where something ends.
async fn settle<T>(node: &Arc<Node>, shard: &Arc<Shard>, decided: Decided<T>) -> Result<T, ErrorCode> {
    if decided.needs_flush {
        let partition = shard.partition().clone();
        let flushed = node.env.blocking(move || partition.log().flush()).await;
        flushed.map_err(|error| {
            tracing::error!(%error, "flushing transaction records failed");
            ErrorCode::NotCoordinator
        })?;
    }
    if let Some(markers) = decided.markers {
        // The task goes on when the client is gone.
        let _ = carry_out(node, shard.clone(), markers).await;
    }
    Ok(decided.answer)
}

/// Starts the task that writes the markers of an ended transaction; the receiver hears of the first attempt.
fn carry_out(node: &Arc<Node>, shard: Arc<Shard>, markers: Markers) -> oneshot::Receiver<()> {
    let (tried, first_attempt) = oneshot::channel();
    let mut tried = Some(tried);
    let (env, weak) = (node.env.clone(), Arc::downgrade(node));
    let work = async move {
        let mut left = markers.partitions.clone();
        loop {
            let Some(node) = weak.upgrade() else { return };
            left = write_markers(&node, &shard, &markers, left);
            let is_done = left.is_empty();
            if is_done {
                let now_ms = node.env.now_ms();
                // A shard that cannot write it is loaded again, finds the transaction interrupted, and completes it then.
                let _ = shard.record(&node, |machine| machine.complete(now_ms, &markers).into_iter().collect());
            }
            // Nobody may wait for it.
            let _ = tried.take().map(|tried| tried.send(()));
            if is_done || !shard.is_loaded() {
                return;
            }
            let env = node.env.clone();
            drop(node);
            env.sleep(RETRY_AFTER).await;
        }
    };
    drop(env.spawn("transaction markers", work));
    first_attempt
}

/// Writes the markers that can be written; what is left is to be tried again.
fn write_markers(
    node: &Node,
    shard: &Shard,
    markers: &Markers,
    partitions: BTreeSet<TopicPartition>,
) -> BTreeSet<TopicPartition> {
    let marker = EndTxnMarker { commit: markers.commit, coordinator_epoch: shard.partition().leader_epoch() };
    let write = |partition: &TopicPartition| write_marker(node, marker, markers.producer, partition);
    partitions.into_iter().filter(|partition| write(partition).is_err_and(is_worth_retrying)).collect()
}

/// A partition that is gone has nothing to end, and one that a newer producer or coordinator wrote to has ended it.
fn is_worth_retrying(error: ErrorCode) -> bool {
    !matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::ProducerFenced
            | ErrorCode::TransactionCoordinatorFenced
    )
}

/// Writes one marker; a partition of `__consumer_offsets` also takes over, or drops, the transaction's offsets.
pub(crate) fn write_marker(
    node: &Node,
    marker: EndTxnMarker,
    producer: ProducerIdEpoch,
    partition: &TopicPartition,
) -> Result<(), ErrorCode> {
    let ProducerIdEpoch { producer_id, epoch } = producer;
    let target = node.partitions.by_name(&partition.topic, partition.partition)?;
    if &*partition.topic == OFFSETS_TOPIC {
        return node.groups.end_transaction(node, &target, marker, producer_id, epoch);
    }
    let batch = marker.to_batch(0, node.env.now_ms(), target.leader_epoch(), producer_id, epoch);
    target.append(node, batch, AppendOrigin::Coordinator).map(drop).map_err(|error| {
        tracing::warn!(topic = %partition.topic, partition = partition.partition, "a marker is not written: {error}");
        error.code
    })
}

/// Does `work` every `interval` until the broker is gone.
async fn serve(node: Weak<Node>, interval: Duration, work: fn(&Arc<Node>)) {
    loop {
        let Some(strong) = node.upgrade() else { return };
        let env = strong.env.clone();
        // The node is only held while it is in use.
        drop(strong);
        env.sleep(interval).await;
        let Some(strong) = node.upgrade() else { return };
        if strong.transactions.shards.read().iter().any(|shard| !shard.is_loaded()) {
            strong.transactions.load_shards(&strong).await;
        }
        work(&strong);
    }
}

/// Aborts transactions whose producers have had `transaction.timeout.ms`.
fn abort_timed_out(node: &Arc<Node>) {
    let now_ms = node.env.now_ms();
    let version = node.transaction_version();
    let shards = node.transactions.shards.read().clone();
    for shard in shards.iter() {
        for id in shard.read(|machine| machine.timed_out(now_ms)).unwrap_or_default() {
            let decide = |machine: &TxnShard| match machine.abort_timed_out(now_ms, &id, version) {
                Some((record, markers)) => Decision { record: Some(record), markers: Some(markers), answer: () },
                None => Decision { record: None, markers: None, answer: () },
            };
            match shard.decide(node, decide, |()| ()) {
                Ok(Decided { markers: Some(markers), .. }) => {
                    tracing::info!(transactional_id = %id, "aborted a transaction that was open for too long");
                    drop(carry_out(node, shard.clone(), markers));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(transactional_id = %id, error = error.name(), "a late transaction stays"),
            }
        }
    }
}

/// Forgets ids that nobody has used for `transactional.id.expiration.ms`.
fn expire(node: &Arc<Node>) {
    let now_ms = node.env.now_ms();
    let shards = node.transactions.shards.read().clone();
    for shard in shards.iter() {
        if let Err(error) = shard.record(node, |machine| machine.expired(now_ms)) {
            tracing::warn!(partition = shard.partition().id(), error = error.name(), "transactional ids stay");
        }
    }
}
