//! A consumer for tests: hands out the records that the test put in, and rebalances when the test says so.

use super::ConsumeListener;
use super::consumer_state::{State, Wanted, not_assigned};
use crate::consumer::{ConsumerRecord, ConsumerRecords, GroupMetadata, OffsetReset, Offsets, Position, TimestampType};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::TopicPartition;
use parking_lot::Mutex;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A record for [`MockConsumer::add_record`], with timestamp -1 and no headers.
pub fn record(topic: &str, partition: i32, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> ConsumerRecord {
    ConsumerRecord {
        topic: topic.into(),
        partition,
        offset,
        leader_epoch: -1,
        timestamp: -1,
        timestamp_type: TimestampType::CreateTime,
        key: key.map(Bytes::copy_from_slice),
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    }
}

/// A consumer without a broker (`MockConsumer` in Java); clones are the same consumer.
///
/// The test tells it of partitions' offsets, assigns partitions with [`rebalance`](MockConsumer::rebalance) (a group's
/// subscription assigns nothing by itself, except one by a pattern) and adds records, either beforehand or in tasks that
/// run in turn at the begin of each poll. A poll returns at once, with what is there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> ottla_client::Result<()> {
/// use ottla_client::mock::{self, ConsumeClient, MockConsumer};
/// use ottla_client::{ErrorKind, OffsetReset, Result, TopicPartition};
/// use std::time::Duration;
///
/// // Code under test: runs with a `Consumer` as well.
/// async fn count(consumer: &impl ConsumeClient) -> Result<usize> {
///     consumer.subscribe(&["flights"])?;
///     let mut count = 0;
///     loop {
///         match consumer.poll(Duration::from_secs(1)).await {
///             Ok(records) => count += records.len(),
///             Err(error) if error.kind() == ErrorKind::Wakeup => return Ok(count),
///             Err(error) => return Err(error),
///         }
///         consumer.commit_sync().await?;
///     }
/// }
///
/// let consumer = MockConsumer::new(OffsetReset::Earliest);
/// let partition = TopicPartition::new("flights", 0);
/// consumer.update_beginning_offsets([(partition.clone(), 0)]);
/// let (first, second) = (consumer.clone(), consumer.clone());
/// consumer.schedule_poll_task(async move {
///     first.rebalance(&[TopicPartition::new("flights", 0)]).await.unwrap();
///     first.add_record(mock::record("flights", 0, 0, None, Some(b"LH 400"))).unwrap();
/// });
/// consumer.schedule_poll_task(async move { second.wakeup() });
///
/// assert_eq!(count(&consumer).await?, 1);
/// assert_eq!(consumer.committed(&[partition.clone()]).await?[&partition].offset, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MockConsumer {
    reset: OffsetReset,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for MockConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let assigned: Vec<_> = state.assigned.keys().collect();
        f.debug_struct("MockConsumer").field("assigned", &assigned).finish_non_exhaustive()
    }
}

impl MockConsumer {
    /// A consumer with this `auto.offset.reset`.
    pub fn new(reset: OffsetReset) -> MockConsumer {
        MockConsumer { reset, state: Arc::default() }
    }

    /// Reads these topics once [`MockConsumer::rebalance`] assigns partitions. Forgets what was committed.
    ///
    /// # Errors
    /// Closed, no topics, or partitions are assigned by hand.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let topics = topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        self.state.lock().subscribe(topics, None)
    }

    /// As [`MockConsumer::subscribe`]; `listener` hears of partitions that come and go.
    ///
    /// # Errors
    /// As [`MockConsumer::subscribe`].
    pub fn subscribe_with(
        &self,
        topics: impl IntoIterator<Item = impl AsRef<str>>,
        listener: Arc<dyn ConsumeListener<MockConsumer>>,
    ) -> Result<()> {
        let topics = topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        self.state.lock().subscribe(topics, Some(listener))
    }

    /// Reads all topics told of with [`MockConsumer::update_partitions`] whose whole name matches, and all their
    /// partitions at once.
    ///
    /// # Errors
    /// Closed, no such topic, not a regular expression, or partitions are assigned by hand.
    pub fn subscribe_pattern(&self, regex: &str) -> Result<()> {
        let wrong = |error| Error::invalid(format!("{regex:?} is not a regular expression: {error}"));
        let regex = Regex::new(&format!("^(?:{regex})$")).map_err(wrong)?;
        let mut state = self.state.lock();
        let matching: BTreeMap<Arc<str>, i32> =
            state.partitions.iter().filter(|(topic, _)| regex.is_match(topic)).map(|(t, n)| (t.clone(), *n)).collect();
        state.subscribe(matching.keys().cloned().collect(), None)?;
        let all = matching.iter().flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic.clone(), p)));
        let all: Vec<TopicPartition> = all.collect();
        state.assign(&all);
        Ok(())
    }

    /// The topics of the subscription.
    pub fn subscription(&self) -> BTreeSet<Arc<str>> {
        match &self.state.lock().wanted {
            Wanted::Topics(topics) => topics.clone(),
            Wanted::Nothing | Wanted::ByHand => BTreeSet::new(),
        }
    }

    /// Gives up subscription and partitions; the listener does not hear of it. Forgets what was committed.
    ///
    /// # Errors
    /// Closed.
    pub async fn unsubscribe(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.wanted = Wanted::Nothing;
        state.listener = None;
        state.assigned.clear();
        state.committed.clear();
        Ok(())
    }

    /// Reads these partitions from these positions. Forgets what was committed.
    ///
    /// # Errors
    /// Closed, subscribed, or nobody told of the offset that a position stands for.
    pub async fn assign(&self, partitions: &[(TopicPartition, Position)]) -> Result<()> {
        let mut state = self.state.lock();
        let all: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        state.assign_by_hand(&all)?;
        for (partition, position) in partitions {
            state.seek(partition, *position)?;
        }
        Ok(())
    }

    /// Reads these partitions from where they stand, else from where `auto.offset.reset` says. Forgets what was committed.
    ///
    /// # Errors
    /// Closed, or subscribed.
    pub fn assign_committed(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.state.lock().assign_by_hand(partitions)
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.state.lock().assigned.keys().cloned().collect()
    }

    /// Runs the next task, then returns the records that are there of partitions that are not paused, behind their
    /// positions. Never waits, whatever the timeout; it only lets other tasks run in between.
    ///
    /// # Errors
    /// The one of [`MockConsumer::set_poll_error`]; [`ErrorKind::Wakeup`] after [`MockConsumer::wakeup`]; closed; nobody
    /// told of an offset that is needed; a position is before the beginning of its partition.
    pub async fn poll(&self, timeout: Duration) -> Result<ConsumerRecords> {
        let task = {
            let mut state = self.state.lock();
            state.check_open()?;
            state.last_poll_timeout = Some(timeout);
            state.tasks.pop_front()
        };
        if let Some(task) = task {
            task.await;
        }
        yield_once().await;
        let mut state = self.state.lock();
        if std::mem::take(&mut state.woken) {
            return Err(Error::new(ErrorKind::Wakeup, "wakeup was called"));
        }
        if let Some(error) = state.poll_error.take() {
            return Err(error);
        }
        let all: Vec<TopicPartition> = state.assigned.keys().cloned().collect();
        for partition in &all {
            state.place(partition, self.reset)?;
        }
        state.take()
    }

    /// The poll after this one fails; a poll that runs may do.
    pub fn wakeup(&self) {
        self.state.lock().woken = true;
    }

    /// Goes on reading `partition` from `position`.
    ///
    /// # Errors
    /// Closed, the partition is not assigned, or nobody told of the offset that the position stands for.
    pub async fn seek(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.seek(partition, position)
    }

    /// Goes on from the first records, of all assigned partitions where `partitions` is empty; looked up by the next poll.
    ///
    /// # Errors
    /// Closed, or a partition is not assigned.
    pub fn seek_to_beginning(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.state.lock().ask(partitions, Position::Earliest)
    }

    /// Goes on behind the last records, as [`MockConsumer::seek_to_beginning`].
    ///
    /// # Errors
    /// As [`MockConsumer::seek_to_beginning`].
    pub fn seek_to_end(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.state.lock().ask(partitions, Position::Latest)
    }

    /// The offset of the next record that `poll` will hand out of `partition`.
    ///
    /// # Errors
    /// Closed, the partition is not assigned, or nobody told of the offset where it begins.
    pub async fn position(&self, partition: &TopicPartition) -> Result<i64> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.place(partition, self.reset)
    }

    /// How far the position is from the end that the test told of; 0 when it told of none, `None` without a position.
    pub fn current_lag(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.state.lock();
        let Some(end) = state.ends.get(partition) else { return Some(0) };
        Some(end - state.assigned.get(partition)?.position?)
    }

    /// Polls return nothing of these partitions until they are resumed.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.state.lock().set_paused(partitions, true)
    }

    /// Undoes [`MockConsumer::pause`].
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.state.lock().set_paused(partitions, false)
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> BTreeSet<TopicPartition> {
        let state = self.state.lock();
        let paused = state.assigned.iter().filter(|(_, assigned)| assigned.paused);
        paused.map(|(partition, _)| partition.clone()).collect()
    }

    /// Commits the positions of all assigned partitions.
    ///
    /// # Errors
    /// Closed.
    pub async fn commit_sync(&self) -> Result<()> {
        let mut state = self.state.lock();
        let offsets = state.positions();
        state.commit(&offsets)
    }

    /// Commits `offsets`.
    ///
    /// # Errors
    /// Closed.
    pub async fn commit_sync_offsets(&self, offsets: &Offsets) -> Result<()> {
        self.state.lock().commit(offsets)
    }

    /// Commits `offsets`, or with `None` the positions, and calls `callback` before it returns.
    pub fn commit_async_with(
        &self,
        offsets: Option<Offsets>,
        callback: impl FnOnce(&Offsets, Result<()>) + Send + 'static,
    ) {
        let (offsets, result) = {
            let mut state = self.state.lock();
            let offsets = offsets.unwrap_or_else(|| state.positions());
            let result = state.commit(&offsets);
            (offsets, result)
        };
        callback(&offsets, result);
    }

    /// What was committed of `partitions`; those without a committed offset are left out.
    ///
    /// # Errors
    /// Closed.
    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<Offsets> {
        let state = self.state.lock();
        state.check_open()?;
        let committed = |partition: &TopicPartition| Some((partition.clone(), state.committed.get(partition)?.clone()));
        Ok(partitions.iter().filter_map(committed).collect())
    }

    /// The first offsets, as the test told them.
    ///
    /// # Errors
    /// The one of [`MockConsumer::set_offsets_error`], or nobody told of a partition.
    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.state.lock().offsets(partitions, Position::Earliest)
    }

    /// The ends, as the test told them.
    ///
    /// # Errors
    /// As [`MockConsumer::beginning_offsets`].
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.state.lock().offsets(partitions, Position::Latest)
    }

    /// The partitions of a topic, as the test told them; none of any other topic.
    ///
    /// # Errors
    /// Closed.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let state = self.state.lock();
        state.check_open()?;
        let Some((topic, count)) = state.partitions.get_key_value(topic) else { return Ok(Vec::new()) };
        Ok((0..*count).map(|index| TopicPartition::new(topic.clone(), index)).collect())
    }

    /// What [`MockConsumer::set_group_metadata`] set; otherwise member "1" of generation 1 of "dummy.group.id".
    ///
    /// # Errors
    /// Never; the real one fails without a group.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        let dummy = || GroupMetadata {
            group_id: "dummy.group.id".into(),
            generation_id: 1,
            member_id: "1".into(),
            group_instance_id: None,
        };
        Ok(self.state.lock().group.clone().unwrap_or_else(dummy))
    }

    /// Makes [`MockConsumer::should_rebalance`] true.
    ///
    /// # Errors
    /// Never; the real one fails without a subscription.
    pub fn enforce_rebalance(&self, _reason: &str) -> Result<()> {
        self.state.lock().should_rebalance = true;
        Ok(())
    }

    /// Most calls fail from now on. The listener does not hear of it.
    ///
    /// # Errors
    /// Never.
    pub async fn close(&self, _timeout: Duration) -> Result<()> {
        self.state.lock().closed = true;
        Ok(())
    }

    /// Assigns `partitions` instead of what is assigned, and forgets the records added so far. The listener hears first of
    /// those that go, if any, then of those that come, even if none.
    ///
    /// # Errors
    /// The consumer is not subscribed, or the listener's error, after the assignment.
    pub async fn rebalance(&self, partitions: &[TopicPartition]) -> Result<()> {
        let (added, removed, listener) = {
            let mut state = self.state.lock();
            if !matches!(state.wanted, Wanted::Topics(_)) {
                return Err(Error::invalid("the mock consumer is not subscribed: there is nothing to rebalance"));
            }
            let new: BTreeSet<&TopicPartition> = partitions.iter().collect();
            let removed = state.assigned.keys().filter(|partition| !new.contains(partition)).cloned();
            let removed: Vec<TopicPartition> = removed.collect();
            let added = partitions.iter().filter(|partition| !state.assigned.contains_key(partition)).cloned();
            let added: Vec<TopicPartition> = added.collect();
            state.records.clear();
            (added, removed, state.listener.clone())
        };
        let mut result = Ok(());
        if let Some(listener) = &listener
            && !removed.is_empty()
        {
            result = listener.on_partitions_revoked(self, &removed).await;
        }
        self.state.lock().assign(partitions);
        if let Some(listener) = &listener {
            result = result.and(listener.on_partitions_assigned(self, &added).await);
        }
        result
    }

    /// Takes `partitions` away as if the consumer had been out of its group too long.
    ///
    /// # Errors
    /// One is not assigned, or the listener's error, after they are gone.
    pub async fn lose_partitions(&self, partitions: &[TopicPartition]) -> Result<()> {
        let listener = {
            let mut state = self.state.lock();
            if let Some(partition) = partitions.iter().find(|partition| !state.assigned.contains_key(partition)) {
                return Err(not_assigned(partition));
            }
            for partition in partitions {
                state.records.remove(partition);
            }
            state.listener.clone()
        };
        let mut result = Ok(());
        if let Some(listener) = listener {
            result = listener.on_partitions_lost(self, partitions).await;
        }
        let mut state = self.state.lock();
        state.assigned.retain(|partition, _| !partitions.contains(partition));
        result
    }

    /// Has `task` run at the begin of a poll, one for each poll, in the order of these calls. Give it a clone of the consumer
    /// to work with.
    pub fn schedule_poll_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.state.lock().tasks.push_back(Box::pin(task));
    }

    /// Has one poll run no task.
    pub fn schedule_nop_poll_task(&self) {
        self.schedule_poll_task(std::future::ready(()));
    }

    /// Adds a record that a poll will return.
    ///
    /// # Errors
    /// Closed, or its partition is not assigned.
    pub fn add_record(&self, record: ConsumerRecord) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        let partition = record.topic_partition();
        if !state.assigned.contains_key(&partition) {
            return Err(not_assigned(&partition));
        }
        state.records.entry(partition).or_default().push_back(record);
        Ok(())
    }

    /// The next poll fails with `error`.
    pub fn set_poll_error(&self, error: Error) {
        self.state.lock().poll_error = Some(error);
    }

    /// The next question for beginning or end offsets fails with `error`.
    pub fn set_offsets_error(&self, error: Error) {
        self.state.lock().offsets_error = Some(error);
    }

    /// A poll returns at most so many records; without this call all that are there.
    pub fn set_max_poll_records(&self, max: usize) {
        self.state.lock().max_poll_records = Some(max);
    }

    /// The partitions begin at these offsets.
    pub fn update_beginning_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.state.lock().beginnings.extend(offsets);
    }

    /// The partitions end before these offsets.
    pub fn update_end_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.state.lock().ends.extend(offsets);
    }

    /// Where [`OffsetReset::ByDuration`] leads to.
    pub fn update_duration_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.state.lock().by_duration.extend(offsets);
    }

    /// `topic` has `count` partitions.
    pub fn update_partitions(&self, topic: &str, count: i32) {
        self.state.lock().partitions.insert(topic.into(), count);
    }

    /// What [`MockConsumer::group_metadata`] shall say.
    pub fn set_group_metadata(&self, group: GroupMetadata) {
        self.state.lock().group = Some(group);
    }

    /// Whether it was closed.
    pub fn closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Whether `enforce_rebalance` was called since [`MockConsumer::reset_should_rebalance`].
    pub fn should_rebalance(&self) -> bool {
        self.state.lock().should_rebalance
    }

    /// Makes [`MockConsumer::should_rebalance`] false.
    pub fn reset_should_rebalance(&self) {
        self.state.lock().should_rebalance = false;
    }

    /// The timeout of the last poll.
    pub fn last_poll_timeout(&self) -> Option<Duration> {
        self.state.lock().last_poll_timeout
    }
}

/// Lets other tasks run, so that a loop of polls does not keep a runtime to itself.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
