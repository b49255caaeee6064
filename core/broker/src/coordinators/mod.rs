//! The glue between the pure coordinators and this broker: one shard per partition of `__consumer_offsets` (here) and of
//! `__transaction_state` (in `transactions`).
//!
//! A request finds its shard, becomes an event, and waits for the reply of its ticket. One task looks after the
//! deadlines of all shards. What the group protocol means is in core/coordinator; here is only where its records go and
//! when it is called.

mod load;
mod shard;
mod transactions;
mod txn_shard;

pub(crate) use transactions::{Admit, Transactions, write_marker};

use crate::node::Node;
use crate::partition::Partition;
use crate::topics::OFFSETS_TOPIC;
use ottla_config::BrokerConfig;
use ottla_coordinator::group::{Event, GroupConfig, GroupShard, Now, Reply};
use ottla_coordinator::{Ticket, partition_for};
use ottla_env::{Env, Task};
use ottla_model::ErrorCode;
use ottla_model::record_batch::control::EndTxnMarker;
use parking_lot::{Mutex, RwLock};
use shard::Shard;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How long after a failed append or load a shard is loaded again.
const RELOAD_AFTER: Duration = Duration::from_secs(1);
/// The timer looks after itself this often, even when nothing is due.
const TIMER_ROUND_MAX: Duration = Duration::from_secs(60);

/// All group shards of this broker.
#[derive(Debug)]
pub(crate) struct Groups {
    env: Env,
    config: GroupConfig,
    /// Guards the pointer. The shards in order of their partitions; empty until `__consumer_offsets` exists.
    shards: RwLock<Arc<Vec<Arc<Shard>>>>,
    /// Held while shards are loaded, so that no partition is loaded twice.
    loading: tokio::sync::Mutex<()>,
    /// Guards the handle of the task that serves the deadlines.
    timer: Mutex<Option<Task>>,
    wake: Arc<Notify>,
    /// What the timer sleeps until, milliseconds of the steady clock; `i64::MAX` while it looks at the shards, so that a deadline that is
    /// set meanwhile wakes it again.
    sleeps_until_ms: AtomicI64,
}

impl Groups {
    pub(crate) fn new(env: Env, config: &BrokerConfig) -> Groups {
        let unsigned = |value: i32| usize::try_from(value).unwrap_or(0);
        let config = GroupConfig {
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            max_size: unsigned(config.group_max_size),
            offset_metadata_max_bytes: unsigned(config.offset_metadata_max_bytes),
            offsets_retention_ms: config.offsets_retention_ms,
            offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
            ..GroupConfig::default()
        };
        Groups {
            env,
            config,
            shards: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            timer: Mutex::default(),
            wake: Arc::default(),
            sleeps_until_ms: AtomicI64::new(i64::MAX),
        }
    }

    /// Takes over the shards whose partitions this broker hosts, and those that have failed before. Blocks the caller
    /// for as long as reading the partitions takes.
    pub(crate) async fn load(&self, node: &Arc<Node>) {
        self.load_shards(node).await;
        let mut timer = self.timer.lock();
        if timer.is_none() {
            *timer = Some(self.env.spawn("group-timer", serve_deadlines(Arc::downgrade(node))));
        }
    }

    async fn load_shards(&self, node: &Arc<Node>) {
        let _loading = self.loading.lock().await;
        let old = self.shards.read().clone();
        let mut shards = Vec::new();
        for partition in node.partitions.of_topic(OFFSETS_TOPIC) {
            let known = old.get(shards.len()).filter(|shard| shard.is_of(&partition) && !shard.has_failed());
            let shard = match known {
                Some(shard) => shard.clone(),
                None => {
                    let config = self.config.clone();
                    self.env.blocking(move || Arc::new(Shard::load(partition, config))).await
                }
            };
            shards.push(shard);
        }
        for shard in shards.iter() {
            shard.start(node);
        }
        for gone in old.iter().filter(|old| !shards.iter().any(|shard| Arc::ptr_eq(old, shard))) {
            gone.unload();
        }
        *self.shards.write() = Arc::new(shards);
        self.wake.notify_one();
    }

    /// Makes sure that `__consumer_offsets` exists and is loaded.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE; the client comes back.
    pub(crate) async fn ensure_loaded(&self, node: &Arc<Node>, group_id: &str) -> Result<(), ErrorCode> {
        if self.shard(group_id).is_ok_and(|shard| shard.is_loaded()) {
            return Ok(());
        }
        if node.partitions.topic(OFFSETS_TOPIC).is_none()
            && let Err((error, reason)) = node.auto_create_topic(OFFSETS_TOPIC).await
        {
            tracing::warn!(error = error.name(), "{OFFSETS_TOPIC} cannot be created: {reason}");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if let Ok(shard) = self.shard(group_id) {
            shard.come_back();
        }
        self.load(node).await;
        match self.shard(group_id).is_ok_and(|shard| shard.is_loaded()) {
            true => Ok(()),
            false => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Handles one request about `group_id` and waits for its reply, which for JoinGroup and SyncGroup is the business
    /// of other members. If the future is dropped the request stays, and its reply goes nowhere.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) async fn ask(
        &self,
        node: &Arc<Node>,
        group_id: &str,
        event: impl FnOnce(Ticket) -> Event,
    ) -> Result<Reply, ErrorCode> {
        let reply = self.submit(node, group_id, event)?;
        reply.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// Tells the shard of `group_id` of something that nobody waits for.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) fn tell(&self, node: &Node, group_id: &str, event: Event) -> Result<(), ErrorCode> {
        self.shard(group_id)?.notify(node, event);
        Ok(())
    }

    /// Writes a transaction's marker into a partition of `__consumer_offsets`.
    ///
    /// # Errors
    /// NOT_COORDINATOR, or why it is not written.
    pub(crate) fn end_transaction(
        &self,
        node: &Node,
        partition: &Arc<Partition>,
        marker: EndTxnMarker,
        producer_id: i64,
        epoch: i16,
    ) -> Result<(), ErrorCode> {
        let shards = self.shards.read().clone();
        let shard = shards.iter().find(|shard| shard.is_of(partition)).ok_or(ErrorCode::NotCoordinator)?;
        shard.end_transaction(node, marker, producer_id, epoch)
    }

    /// Handles an event about `group_id` at once; the receiver gets its reply.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) fn submit(
        &self,
        node: &Node,
        group_id: &str,
        event: impl FnOnce(Ticket) -> Event,
    ) -> Result<oneshot::Receiver<Reply>, ErrorCode> {
        self.shard(group_id)?.submit(node, event)
    }

    /// Forgets the members of all groups, which are those of another broker.
    pub(crate) fn members_gone(&self, node: &Node) {
        let shards = self.shards.read().clone();
        shards.iter().for_each(|shard| shard.notify(node, Event::MembersGone));
    }

    /// Ends the shard of `group_id` until somebody looks for the coordinator.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) fn move_away(&self, group_id: &str) -> Result<(), ErrorCode> {
        self.shard(group_id)?.move_away();
        Ok(())
    }

    /// Looks at the shard of `group_id`.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) fn read<T>(&self, group_id: &str, look: impl FnOnce(&GroupShard) -> T) -> Result<T, ErrorCode> {
        self.shard(group_id)?.read(look)
    }

    /// Looks at all shards that are loaded.
    pub(crate) fn read_all<T>(&self, mut look: impl FnMut(&GroupShard) -> T) -> Vec<T> {
        let shards = self.shards.read().clone();
        shards.iter().filter_map(|shard| shard.read(&mut look).ok()).collect()
    }

    /// The partition of `__consumer_offsets` that has `group_id`.
    ///
    /// # Errors
    /// NOT_COORDINATOR.
    pub(crate) fn partition_of(&self, group_id: &str) -> Result<usize, ErrorCode> {
        let count = i32::try_from(self.shards.read().len()).unwrap_or(i32::MAX);
        match count {
            0 => Err(ErrorCode::NotCoordinator),
            _ => usize::try_from(partition_for(group_id, count)).map_err(|_| ErrorCode::NotCoordinator),
        }
    }

    /// A topic is gone: so are the offsets committed for it.
    pub(crate) async fn topic_deleted(&self, node: &Arc<Node>, topic: &str) {
        if topic == OFFSETS_TOPIC {
            return self.load(node).await;
        }
        let topic: Arc<str> = topic.into();
        let shards = self.shards.read().clone();
        for shard in shards.iter() {
            shard.notify(node, Event::TopicDeleted(topic.clone()));
        }
    }

    /// Ends all shards; whoever waits is told to look for the coordinator.
    pub(crate) async fn close(&self) {
        let timer = self.timer.lock().take();
        if let Some(timer) = timer {
            timer.abort();
            timer.join().await;
        }
        for shard in std::mem::take(&mut *self.shards.write()).iter() {
            shard.unload();
        }
    }

    /// Sessions are measured by a clock that does not jump, so that a correction of the time loses no member.
    fn now(&self) -> Now {
        let steady_ms = i64::try_from(self.env.monotonic().as_millis()).unwrap_or(i64::MAX);
        Now { steady_ms, wall_ms: self.env.now_ms() }
    }

    fn shard(&self, group_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        let partition = self.partition_of(group_id)?;
        self.shards.read().get(partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// A shard has a deadline at `deadline_ms`: wakes the timer if it would sleep past it.
    fn deadline(&self, deadline_ms: Option<i64>) {
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms < self.sleeps_until_ms.load(Ordering::SeqCst)) {
            self.wake.notify_one();
        }
    }

    /// Serves what is due; returns how long to sleep.
    async fn serve(&self, node: &Arc<Node>) -> Duration {
        self.sleeps_until_ms.store(i64::MAX, Ordering::SeqCst);
        let shards = self.shards.read().clone();
        if shards.iter().any(|shard| shard.has_failed()) {
            self.load_shards(node).await;
        }
        let now = self.now();
        let shards = self.shards.read().clone();
        let mut next_ms: Option<i64> = None;
        for deadline_ms in shards.iter().filter_map(|shard| shard.tick(node, now)) {
            next_ms = Some(next_ms.map_or(deadline_ms, |next_ms| next_ms.min(deadline_ms)));
        }
        self.sleeps_until_ms.store(next_ms.unwrap_or(i64::MAX), Ordering::SeqCst);
        let wait = match next_ms {
            Some(next_ms) => Duration::from_millis(u64::try_from(next_ms - now.steady_ms).unwrap_or(0)),
            None => TIMER_ROUND_MAX,
        };
        match shards.iter().any(|shard| shard.has_failed()) {
            false => wait.min(TIMER_ROUND_MAX),
            true => wait.min(RELOAD_AFTER),
        }
    }
}

/// Serves the deadlines of all shards until the broker is gone.
async fn serve_deadlines(node: Weak<Node>) {
    loop {
        let Some(strong) = node.upgrade() else { return };
        let wait = strong.groups.serve(&strong).await;
        let (env, wake) = (strong.env.clone(), strong.groups.wake.clone());
        // The node is only held while it is in use. A wake-up between the look at the shards and here is remembered.
        drop(strong);
        let _ = env.timeout(wait, wake.notified()).await;
    }
}
