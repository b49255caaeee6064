//! The consumer: reads partitions that it is given by hand or as a member of a group.
//!
//! A record's way through it: a task per broker fetches ahead ([`fetcher`], [`settle`]), [`position`] holds what has
//! arrived and where reading stands, `poll` hands it out. Positions are found by [`positioner`] and kept in the group by
//! [`commit`]. Membership is in [`group`], which assigns partitions from within `poll`. Share groups are not here.

pub mod assignor;
mod commit;
mod fetcher;
mod group;
mod links;
mod listener;
mod metrics;
mod offsets;
mod options;
mod poll;
mod position;
mod positioner;
mod records;
mod session;
mod settle;
mod stream;
mod subscribe;
mod subscription;
mod validate;

pub use listener::{BoxFuture, ConsumerInterceptor, OffsetAndMetadata, Offsets, RebalanceListener};
pub use offsets::Position;
pub use options::{ConsumerOptions, GroupProtocol, IsolationLevel, OffsetReset};
pub use ottla_model::record_batch::{Batch, Record, TimestampType};
pub use records::{ConsumerRecord, ConsumerRecords, Fetched, Records};
pub use stream::ConsumerStream;
pub use subscribe::{CloseOptions, GroupMembership, GroupMetadata};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::options::{ClientOptions, read};
use commit::Commits;
use group::Group;
use links::Links;
use metrics::ConsumerMetrics;
use ottla_config::Scope;
use ottla_env::Env;
use ottla_model::TopicPartition;
use parking_lot::Mutex;
use position::{Place, State, not_assigned};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

pub(crate) use offsets::resolve;

/// Reads records.
///
/// All methods take `&self`: several tasks may use one consumer, where Java's throws. Polls take turns, so each record is
/// returned to one of them; a seek, pause or assignment by another task counts for the next poll. Dropping it stops
/// fetching and heartbeats without leaving the group, which then notices after `session.timeout.ms`: prefer
/// [`Consumer::close`].
///
/// ```no_run
/// use ottla_client::{Consumer, Env};
/// use std::time::Duration;
///
/// # async fn run() -> ottla_client::Result<()> {
/// let configs = [("bootstrap.servers", "127.0.0.1:9092"), ("group.id", "readers"), ("auto.offset.reset", "earliest")];
/// let consumer = Consumer::from_configs(Env::real(), configs)?;
/// consumer.subscribe(["flights"])?;
/// for _ in 0..10 {
///     for record in consumer.poll(Duration::from_secs(1)).await? {
///         println!("{} {}: {:?}", record.partition, record.offset, record.value);
///     }
/// }
/// consumer.close(Duration::from_secs(5)).await
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    options: ConsumerOptions,
    /// Assignment and what has arrived; never held across an await, and no other lock is taken under it.
    state: Mutex<State>,
    group: Option<Group>,
    commits: Commits,
    links: Links,
    metrics: ConsumerMetrics,
    /// Held by the poll whose turn it is.
    turn: tokio::sync::Mutex<()>,
    /// The next poll ends with an error.
    wakeup: AtomicBool,
    /// Polls end, as the consumer is about to be closed.
    closing: AtomicBool,
    /// The heartbeat task runs.
    heartbeats: AtomicBool,
    /// `poll` took something, or the assignment changed: a fetcher that paused looks again.
    room: Notify,
    /// `poll` has something to do.
    arrived: Notify,
    /// A position was found.
    placed: Notify,
    /// The client is this consumer's own, closed with it.
    own_client: bool,
}

impl Consumer {
    pub(crate) fn new(client: Client, options: ConsumerOptions) -> Consumer {
        Consumer::with(client, options, false)
    }

    fn with(client: Client, options: ConsumerOptions, own_client: bool) -> Consumer {
        let options = ConsumerOptions { assignors: assignor::instances(&options.assignors), ..options };
        let group = options.group_id.as_deref().map(|id| Group::new(id, &options));
        let metrics = ConsumerMetrics::new(client.metrics("consumer"));
        let shared = Shared {
            client,
            options,
            state: Mutex::default(),
            group,
            commits: Commits::default(),
            links: Links::default(),
            metrics,
            turn: tokio::sync::Mutex::new(()),
            wakeup: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            heartbeats: AtomicBool::new(false),
            room: Notify::new(),
            arrived: Notify::new(),
            placed: Notify::new(),
            own_client,
        };
        let shared = Arc::new(shared);
        ConsumerMetrics::watch(&shared);
        Consumer { shared }
    }

    /// A consumer with a client of its own from Kafka's configs by name. Nothing is dialled yet. Configs without effect
    /// are logged as warnings.
    ///
    /// # Errors
    /// A value that cannot be used, or values that do not fit together.
    pub fn from_configs<K: Into<String>, V: Into<String>>(
        env: Env,
        configs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Consumer> {
        let configs = read(Scope::Consumer, configs)?;
        let options = ConsumerOptions::from_configs(&configs)?;
        let client = Client::new(env, ClientOptions::from_configs(&configs))?;
        Ok(Consumer::with(client, options, true))
    }

    /// The settings.
    pub fn options(&self) -> &ConsumerOptions {
        &self.shared.options
    }

    /// Reads these partitions from these positions, and no others from now on. Ends a subscription's error if there is
    /// one: by hand and by group exclude each other.
    ///
    /// # Errors
    /// A topic or partition does not exist, a position could not be found within `default.api.timeout.ms`, or the
    /// consumer is subscribed.
    pub async fn assign(&self, partitions: &[(TopicPartition, Position)]) -> Result<()> {
        let client = &self.shared.client;
        self.shared.by_hand()?;
        let deadline = client.deadline();
        let offsets = resolve(client, partitions, self.shared.options.isolation_level, &deadline).await?;
        // Offsets that needed no asking leave the topics unknown so far.
        for (partition, _) in partitions {
            client.topic(&partition.topic, false, &deadline).await?;
        }
        self.shared.by_hand()?;
        let places = offsets.iter().map(|found| Place::At(found.offset));
        {
            let mut state = self.shared.state.lock();
            let gone: Vec<TopicPartition> = state.partitions.keys().cloned().collect();
            state.unassign(&gone);
            state.assign(partitions.iter().map(|(partition, _)| partition.clone()).zip(places), false);
        }
        self.shared.look();
        Ok(())
    }

    /// As Java's `assign`: reads these partitions and no others, from where they stand if they were assigned before, else
    /// from what the group has committed, else from where `auto.offset.reset` says. Does not wait.
    ///
    /// # Errors
    /// The consumer is subscribed or closed.
    pub fn assign_committed(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.shared.by_hand()?;
        if self.shared.options.enable_auto_commit {
            self.shared.commit_in_background();
        }
        let places = partitions.iter().map(|partition| (partition.clone(), Place::Committed));
        self.shared.state.lock().assign(places, false);
        self.shared.look();
        Ok(())
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.shared.state.lock().partitions.keys().cloned().collect()
    }

    /// Goes on reading `partition` from `position`; waits until that is found, unless it is an offset.
    ///
    /// # Errors
    /// The partition is not assigned, or the position could not be found within `default.api.timeout.ms`.
    pub async fn seek(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        let client = &self.shared.client;
        let offset = match position {
            Position::Offset(offset) if offset < 0 => {
                return Err(Error::invalid(format!("cannot seek to the negative offset {offset}")));
            }
            Position::Offset(offset) => offset,
            _ => {
                let wanted = [(partition.clone(), position)];
                let isolation = self.shared.options.isolation_level;
                let found = resolve(client, &wanted, isolation, &client.deadline()).await?;
                found.first().map_or(-1, |found| found.offset)
            }
        };
        self.seek_to(partition, &OffsetAndMetadata::from(offset))
    }

    /// Goes on reading `partition` from this offset. With its leader epoch a truncation of the log is noticed (KIP-320).
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek_to(&self, partition: &TopicPartition, offset: &OffsetAndMetadata) -> Result<()> {
        self.shared.state.lock().go(partition, Place::At(offset.offset), offset.leader_epoch)?;
        self.shared.look();
        Ok(())
    }

    /// Goes on from the first records that are still there: of all assigned partitions where `partitions` is empty. Does
    /// not wait: the next poll, or [`Consumer::position`], does.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn seek_to_beginning(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.go(partitions, Place::Asked(Position::Earliest))
    }

    /// Goes on behind the last records, as [`Consumer::seek_to_beginning`].
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn seek_to_end(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.go(partitions, Place::Asked(Position::Latest))
    }

    fn go(&self, partitions: &[TopicPartition], place: Place) -> Result<()> {
        {
            let mut state = self.shared.state.lock();
            let all: Vec<TopicPartition> = match partitions.is_empty() {
                true => state.partitions.keys().cloned().collect(),
                false => partitions.to_vec(),
            };
            for partition in &all {
                state.go(partition, place, None)?;
            }
        }
        self.shared.look();
        Ok(())
    }

    /// Polls return nothing of these partitions until they are resumed. What was fetched of them is kept. A rebalance
    /// that takes a partition away forgets that it was paused.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Undoes [`Consumer::pause`].
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false)
    }

    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        {
            let mut state = self.shared.state.lock();
            for partition in partitions {
                state.partitions.get_mut(partition).ok_or_else(|| not_assigned(partition))?.paused = paused;
            }
        }
        self.shared.look();
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> BTreeSet<TopicPartition> {
        let state = self.shared.state.lock();
        state
            .partitions
            .iter()
            .filter(|(_, assigned)| assigned.paused)
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// The offset of the next record that `poll` will hand out of `partition`; looked up first where it is not known yet.
    ///
    /// # Errors
    /// The partition is not assigned, or its position is not known within `default.api.timeout.ms`.
    pub async fn position(&self, partition: &TopicPartition) -> Result<i64> {
        let shared = &self.shared;
        let env = shared.client.env();
        let deadline = shared.client.deadline();
        loop {
            let placed = shared.placed.notified();
            shared.check()?;
            {
                let mut state = shared.state.lock();
                let assigned = state.partitions.get_mut(partition).ok_or_else(|| not_assigned(partition))?;
                if let Some(position) = assigned.position() {
                    return Ok(position);
                }
                // Asked for by a listener: it is to be found although it is not to be read yet.
                assigned.held = false;
                let told = state.arrived.iter().position(|arrived| {
                    matches!(arrived.what, position::What::Failed(_))
                        && arrived.of.as_ref().is_none_or(|(of, _)| of == partition)
                });
                if let Some(index) = told
                    && let Some(position::What::Failed(error)) = state.arrived.remove(index).map(|arrived| arrived.what)
                {
                    return Err(error);
                }
            }
            positioner::start(shared);
            let Some(left) = deadline.left(env) else {
                let limit = deadline.limit.as_millis();
                return Err(Error::new(
                    crate::error::ErrorKind::Timeout,
                    format!("the position in partition {partition} is not known after {limit} ms"),
                ));
            };
            let _ = env.timeout(left, placed).await;
        }
    }

    /// The offset of the next record that `poll` will hand out of `partition`, if it is assigned and that is known.
    pub fn position_now(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.state.lock().partitions.get(partition).and_then(position::Assigned::position)
    }

    /// How many offsets are between the position and the end of `partition`, as the last fetch told; under
    /// `read_committed` the end is before the first open transaction. `None` before the first fetch.
    pub fn current_lag(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.shared.state.lock();
        let assigned = state.partitions.get(partition)?;
        let end = match self.shared.options.isolation_level {
            IsolationLevel::ReadUncommitted => assigned.high_watermark,
            IsolationLevel::ReadCommitted => assigned.last_stable_offset,
        };
        let position = assigned.position()?;
        (end >= 0).then(|| (end - position).max(0))
    }

    /// What the group has committed of `partitions`; those without a committed offset are left out.
    ///
    /// # Errors
    /// No group.id, or the coordinator refused or was not reached within `default.api.timeout.ms`.
    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<Offsets> {
        let began = self.shared.client.env().monotonic();
        let committed = commit::committed(&self.shared, partitions, &self.shared.client.deadline()).await;
        self.shared.metrics.asked_committed(self.shared.client.env().monotonic().saturating_sub(began));
        committed
    }

    /// All metrics as they are now, under the Java consumer's names: groups `consumer-metrics`,
    /// `consumer-coordinator-metrics`, `consumer-fetch-manager-metrics` and what the connections count.
    pub fn metrics(&self) -> Vec<Metric> {
        self.shared.metrics.snapshot(&self.shared)
    }

    /// Commits what polls have returned of all assigned partitions, after all earlier commits, and waits for the answer at
    /// most `default.api.timeout.ms`. A commit whose future is dropped goes on.
    ///
    /// # Errors
    /// The group is rebalancing, or went on without this consumer: the sentence says what to do.
    pub async fn commit_sync(&self) -> Result<()> {
        let began = self.shared.client.env().monotonic();
        let committed = self.shared.commit_positions(self.shared.client.options().default_api_timeout).await;
        self.shared.metrics.committed_sync(self.shared.client.env().monotonic().saturating_sub(began));
        committed
    }

    /// Commits `offsets`: each the next offset to read. As [`Consumer::commit_sync`].
    ///
    /// # Errors
    /// As [`Consumer::commit_sync`].
    pub async fn commit_sync_offsets(&self, offsets: &Offsets) -> Result<()> {
        self.shared.commit(offsets.clone(), self.shared.client.deadline()).await
    }

    /// Commits what polls have returned without waiting; a failure is logged. Tried once, as a later commit makes up for it.
    pub fn commit_async(&self) {
        let offsets = self.shared.positions();
        self.shared.commit_later(
            offsets,
            Box::new(|_, result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "a commit failed");
                }
            }),
        );
    }

    /// Commits `offsets`, or with `None` what polls have returned, without waiting; `callback` is called with the result
    /// from a background task, in the order of the commits.
    pub fn commit_async_with(
        &self,
        offsets: Option<Offsets>,
        callback: impl FnOnce(&Offsets, Result<()>) + Send + 'static,
    ) {
        let offsets = offsets.unwrap_or_else(|| self.shared.positions());
        self.shared.commit_later(offsets, Box::new(callback));
    }

    /// Offsets of partitions, assigned or not, in the order asked: [`Position::Latest`] gives their ends.
    ///
    /// # Errors
    /// A partition does not exist, or its leader was not reached within `default.api.timeout.ms`.
    pub async fn offsets(&self, wanted: &[(TopicPartition, Position)]) -> Result<Vec<i64>> {
        let client = &self.shared.client;
        let found = resolve(client, wanted, self.shared.options.isolation_level, &client.deadline()).await?;
        Ok(found.iter().map(|found| found.offset).collect())
    }

    /// The first record at or after a time, ms since 1970, of each partition: its offset and its timestamp. `None` where
    /// there is none.
    ///
    /// # Errors
    /// As [`Consumer::offsets`].
    pub async fn offsets_for_times(
        &self,
        times: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Option<(i64, i64)>>> {
        if let Some((partition, time)) = times.iter().find(|(_, time)| **time < 0) {
            return Err(Error::invalid(format!("the time {time} for partition {partition} is negative")));
        }
        let client = &self.shared.client;
        let wanted: Vec<_> = times.iter().map(|(p, time)| (p.clone(), Position::Timestamp(*time))).collect();
        let found = offsets::lookup(client, &wanted, self.shared.options.isolation_level, &client.deadline()).await?;
        let found = found.into_iter().map(|found| (found.offset >= 0).then_some((found.offset, found.timestamp)));
        Ok(times.keys().cloned().zip(found).collect())
    }

    /// The first offset of each partition.
    ///
    /// # Errors
    /// As [`Consumer::offsets`].
    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.all_at(partitions, Position::Earliest).await
    }

    /// The end of each partition for this consumer: the high watermark, under `read_committed` the last stable offset.
    ///
    /// # Errors
    /// As [`Consumer::offsets`].
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.all_at(partitions, Position::Latest).await
    }

    async fn all_at(&self, partitions: &[TopicPartition], at: Position) -> Result<BTreeMap<TopicPartition, i64>> {
        let partitions: BTreeSet<TopicPartition> = partitions.iter().cloned().collect();
        let wanted: Vec<_> = partitions.iter().map(|partition| (partition.clone(), at)).collect();
        let found = self.offsets(&wanted).await?;
        Ok(partitions.into_iter().zip(found).collect())
    }

    /// All partitions of `topic`.
    ///
    /// # Errors
    /// The topic does not exist, or no broker was reached within `default.api.timeout.ms`.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let client = &self.shared.client;
        let metadata = client.topic(topic, false, &client.deadline()).await?;
        let topic: Arc<str> = Arc::from(topic);
        Ok((0..metadata.partitions.len() as i32).map(|index| TopicPartition::new(topic.clone(), index)).collect())
    }

    /// All topics that this client may describe, with their partitions.
    ///
    /// # Errors
    /// No broker was reached within `default.api.timeout.ms`.
    pub async fn list_topics(&self) -> Result<BTreeMap<Arc<str>, Vec<TopicPartition>>> {
        let client = &self.shared.client;
        let described = subscription::describe(client, None, false, &client.deadline()).await?;
        let mut topics = BTreeMap::new();
        for (name, topic) in described.topics {
            let of_topic = topic.partitions.iter().map(|p| TopicPartition::new(name.clone(), p.partition)).collect();
            topics.insert(name, of_topic);
        }
        Ok(topics)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    /// Partitions are assigned by hand only.
    fn by_hand(&self) -> Result<()> {
        let state = self.state.lock();
        if state.closed {
            return Err(Error::closed());
        }
        if state.subscription.is_group() {
            return Err(Error::invalid(
                "this consumer is subscribed, its group assigns the partitions; unsubscribe first",
            ));
        }
        Ok(())
    }

    /// The assignment or a position changed.
    fn look(self: &Arc<Self>) {
        positioner::start(self);
        fetcher::route(self);
        self.room.notify_waiters();
    }

    /// The listener is done: partitions that were held are read.
    fn release(self: &Arc<Self>) {
        self.state.lock().partitions.values_mut().for_each(|assigned| assigned.held = false);
        self.look();
    }

    /// Ends all tasks and connections.
    fn stop(&self) {
        self.state.lock().closed = true;
        self.room.notify_waiters();
        self.arrived.notify_waiters();
        self.placed.notify_waiters();
        self.links.close();
        if let Some(group) = &self.group {
            group.close_links();
        }
        if self.own_client {
            self.client.close();
        }
    }
}
