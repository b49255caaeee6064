//! Committed offsets: OffsetCommit and OffsetFetch with the group's coordinator, and when the consumer commits by itself.
//!
//! Commits leave one after the other in the order of the calls, so that an older one never lands on a newer one.

use super::Shared;
use super::group::classic::{Identity, NO_GENERATION, commit_failed};
use super::group::{Group, Lane};
use super::listener::{OffsetAndMetadata, Offsets};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::offset_commit_response::OffsetCommitResponse;
use ottla_protocol::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::offset_fetch_response::OffsetFetchResponse;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// From version 10 on topics go by id; names serve all brokers.
const COMMIT_VERSION_MAX: i16 = 9;
const FETCH_VERSION_MAX: i16 = 9;
/// Commits that may wait; more than that is a coordinator that does not keep up.
const WAITING_MAX: usize = 10_000;

/// Called with the result of an asynchronous commit.
pub(super) type Callback = Box<dyn FnOnce(&Offsets, Result<()>) + Send>;

/// Commits that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Commits {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// A task works on it.
    running: bool,
    /// The next automatic commit.
    auto_at: Option<Duration>,
    /// An automatic one waits or is under way.
    auto_waits: bool,
}

struct Job {
    offsets: Offsets,
    /// Tried again until then; `None`: tried once.
    until: Option<Deadline>,
    /// The member leaves after it: in a rebalance it commits all the same.
    last: bool,
    done: Done,
}

enum Done {
    Tell(oneshot::Sender<Result<()>>),
    Call(Callback),
    Auto,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("offsets", &self.offsets).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn group(&self) -> Result<&Group> {
        self.group.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "this consumer has no group.id: it can neither subscribe nor commit")
        })
    }

    /// Where the application stands in all assigned partitions.
    pub(super) fn positions(&self) -> Offsets {
        let state = self.state.lock();
        let placed = state.partitions.iter().filter_map(|(partition, assigned)| {
            let offset = assigned.position()?;
            let offset = OffsetAndMetadata { offset, leader_epoch: assigned.epoch, metadata: String::new() };
            Some((partition.clone(), offset))
        });
        placed.collect()
    }

    /// Commits where the application stands, and waits for it at most `limit`.
    pub(super) async fn commit_positions(self: &Arc<Self>, limit: Duration) -> Result<()> {
        let offsets = self.positions();
        self.commit(offsets, Deadline::after(self.client.env(), limit)).await
    }

    /// Commits `offsets` after everything that was queued before, and waits for the answer.
    pub(super) async fn commit(self: &Arc<Self>, offsets: Offsets, deadline: Deadline) -> Result<()> {
        self.group()?;
        let (tell, told) = oneshot::channel();
        // With nothing to commit it still waits for what was queued before.
        self.enqueue(Job { offsets, until: Some(deadline), last: false, done: Done::Tell(tell) });
        told.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// As [`Shared::commit`] of where the application stands, by a member that leaves after it.
    pub(super) async fn commit_last(self: &Arc<Self>, limit: Duration) -> Result<()> {
        self.group()?;
        let (tell, told) = oneshot::channel();
        let until = Some(Deadline::after(self.client.env(), limit));
        self.enqueue(Job { offsets: self.positions(), until, last: true, done: Done::Tell(tell) });
        told.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Queues a commit that is tried once.
    pub(super) fn commit_later(self: &Arc<Self>, offsets: Offsets, callback: Callback) {
        if let Err(error) = self.group() {
            return callback(&offsets, Err(error));
        }
        self.enqueue(Job { offsets, until: None, last: false, done: Done::Call(callback) });
    }

    /// Queues an automatic commit of where the application stands.
    pub(super) fn commit_in_background(self: &Arc<Self>) {
        if self.group.is_none() || std::mem::replace(&mut self.commits.queue.lock().auto_waits, true) {
            return;
        }
        self.enqueue(Job { offsets: self.positions(), until: None, last: false, done: Done::Auto });
    }

    /// Commits when `auto.commit.interval.ms` have passed; returns when to look again.
    pub(super) fn auto_commit(self: &Arc<Self>) -> Option<Duration> {
        if !self.options.enable_auto_commit {
            return None;
        }
        let now = self.client.env().monotonic();
        let (due, next) = {
            let mut queue = self.commits.queue.lock();
            let interval = self.options.auto_commit_interval;
            let at = *queue.auto_at.get_or_insert(now.saturating_add(interval));
            let due = at <= now;
            let next = if due { now.saturating_add(interval) } else { at };
            queue.auto_at = Some(next);
            (due, next)
        };
        if due {
            self.commit_in_background();
        }
        Some(next)
    }

    /// The interval of automatic commits begins now.
    pub(super) fn auto_commit_later(&self) {
        self.commits.queue.lock().auto_at = None;
    }

    fn enqueue(self: &Arc<Self>, job: Job) {
        let refused = {
            let mut queue = self.commits.queue.lock();
            if queue.waiting.len() >= WAITING_MAX {
                Some(job)
            } else {
                queue.waiting.push_back(job);
                if !std::mem::replace(&mut queue.running, true) {
                    self.client.env().spawn("consumer commits", work(self.clone()));
                }
                None
            }
        };
        if let Some(job) = refused {
            let text = format!("{WAITING_MAX} commits wait for the coordinator already");
            self.finish(job, Err(Error::new(ErrorKind::Retriable, text)));
        }
    }

    fn finish(&self, job: Job, result: Result<()>) {
        if result.is_ok() && !job.offsets.is_empty() {
            for interceptor in &self.options.interceptors {
                interceptor.on_commit(&job.offsets);
            }
        }
        match job.done {
            Done::Tell(tell) => {
                let _ = tell.send(result);
            }
            Done::Call(callback) => callback(&job.offsets, result),
            Done::Auto => {
                let mut queue = self.commits.queue.lock();
                queue.auto_waits = false;
                if let Err(error) = result {
                    // Soon again, as Kafka's clients do after a retriable error.
                    if error.is_retriable() {
                        let soon = self.client.env().monotonic() + self.client.options().retry_backoff;
                        queue.auto_at = queue.auto_at.map(|at| at.min(soon));
                    }
                    tracing::warn!(%error, "an automatic commit failed");
                }
            }
        }
    }
}

/// Sends what is queued, in order, until nothing is.
async fn work(shared: Arc<Shared>) {
    loop {
        let job = {
            let mut queue = shared.commits.queue.lock();
            let Some(job) = queue.waiting.pop_front() else {
                queue.running = false;
                return;
            };
            job
        };
        let result = run(&shared, &job.offsets, job.until, job.last).await;
        shared.finish(job, result);
    }
}

async fn run(shared: &Arc<Shared>, offsets: &Offsets, until: Option<Deadline>, last: bool) -> Result<()> {
    let client = &shared.client;
    let env = client.env();
    if offsets.is_empty() {
        return Ok(());
    }
    let deadline = until.unwrap_or(Deadline::after(env, client.options().request_timeout));
    let mut backoff = client.backoff();
    loop {
        let error = match send(shared, offsets, last, &deadline).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // The member's epoch went on while the commit was under way (KIP-848): the next attempt has the new one.
        let stale = error.code() == Some(ErrorCode::StaleMemberEpoch);
        let again = match error.code() {
            // While joining the generation goes on: the answer to JoinGroup may be on its way.
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                last && shared.group()?.member.lock().last_committer().is_some()
            }
            _ => error.is_retriable() || stale,
        };
        let again = again && until.is_some() && backoff.pause(env, &deadline).await;
        if !again {
            return Err(error);
        }
    }
}

async fn send(shared: &Arc<Shared>, offsets: &Offsets, last: bool, deadline: &Deadline) -> Result<()> {
    let client = &shared.client;
    let group = shared.group()?;
    let subscribed = shared.state.lock().subscription.is_group();
    let who = match subscribed {
        true => {
            let member = group.member.lock();
            member.last_committer().filter(|_| last).map_or_else(|| member.committer(), Ok)?
        }
        // By hand: nobody's generation.
        false => Identity { generation: NO_GENERATION, member_id: String::new() },
    };
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset) in offsets {
        topics.entry(&*partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(Str::from(offset.metadata.as_str())),
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
        name: Str::from(name),
        partitions,
        ..Default::default()
    });
    let topics = topics.collect();
    let request = |_| OffsetCommitRequest {
        group_id: Str::from(&*group.id),
        generation_id_or_member_epoch: who.generation,
        member_id: Str::from(who.member_id.as_str()),
        group_instance_id: if subscribed { group.instance() } else { None },
        topics,
        ..Default::default()
    };
    let timeout = deadline.left(client.env()).unwrap_or_default().min(client.options().request_timeout);
    let began = client.env().monotonic();
    let response: OffsetCommitResponse =
        group.ask(client, Lane::Calls, request, COMMIT_VERSION_MAX, timeout, deadline).await?;
    shared.metrics.commit(client.env().monotonic().saturating_sub(began));
    for topic in &response.topics {
        for partition in &topic.partitions {
            let code = ErrorCode::from_code(partition.error_code);
            if code != ErrorCode::None {
                return Err(refused(shared, group, &who, code, &topic.name, partition.partition_index));
            }
        }
    }
    Ok(())
}

fn refused(shared: &Shared, group: &Group, who: &Identity, code: ErrorCode, topic: &str, partition: i32) -> Error {
    if group.member.lock().answered(who, code, &group.label()) {
        shared.arrived.notify_waiters();
    }
    match code {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
            group.forget_coordinator(&shared.client);
            Error::from_code(code, &group.label(), None)
        }
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => commit_failed(code),
        ErrorCode::RebalanceInProgress => Error::from_code(
            code,
            "commit",
            Some("the group is rebalancing; poll until that is over, then commit again"),
        ),
        ErrorCode::GroupAuthorizationFailed | ErrorCode::CoordinatorLoadInProgress | ErrorCode::FencedInstanceId => {
            Error::from_code(code, &group.label(), None)
        }
        code => Error::from_code(code, &format!("commit of partition {topic}-{partition}"), None),
    }
}

/// What the group has committed of `partitions`; those without a committed offset are left out.
pub(super) async fn committed(shared: &Shared, partitions: &[TopicPartition], deadline: &Deadline) -> Result<Offsets> {
    let client = &shared.client;
    let group = shared.group()?;
    if partitions.is_empty() {
        return Ok(Offsets::new());
    }
    let mut backoff = client.backoff();
    loop {
        let error = match ask_committed(shared, group, partitions, deadline).await {
            Ok(offsets) => return Ok(offsets),
            Err(error) => error,
        };
        if matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)) {
            group.forget_coordinator(client);
        }
        if !error.is_retriable() || !backoff.pause(client.env(), deadline).await {
            return Err(error);
        }
    }
}

async fn ask_committed(
    shared: &Shared,
    group: &Group,
    partitions: &[TopicPartition],
    deadline: &Deadline,
) -> Result<Offsets> {
    let client = &shared.client;
    let mut by_topic: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let group_id = Str::from(&*group.id);
    let request = |version: i16| match version {
        ..8 => OffsetFetchRequest {
            group_id,
            topics: Some(
                by_topic
                    .iter()
                    .map(|(name, indexes)| OffsetFetchRequestTopic {
                        name: Str::from(&***name),
                        partition_indexes: indexes.clone(),
                        ..Default::default()
                    })
                    .collect(),
            ),
            require_stable: version >= 7,
            ..Default::default()
        },
        8.. => {
            let topics = by_topic.iter().map(|(name, indexes)| OffsetFetchRequestTopics {
                name: Str::from(&***name),
                partition_indexes: indexes.clone(),
                ..Default::default()
            });
            let of_group = OffsetFetchRequestGroup {
                group_id,
                topics: Some(topics.collect()),
                member_epoch: -1,
                ..Default::default()
            };
            OffsetFetchRequest { groups: vec![of_group], require_stable: true, ..Default::default() }
        }
    };
    let timeout = deadline.left(client.env()).unwrap_or_default().min(client.options().request_timeout);
    let response: OffsetFetchResponse =
        group.ask(client, Lane::Calls, request, FETCH_VERSION_MAX, timeout, deadline).await?;
    let mut found = Offsets::new();
    let mut take = |topic: &str, partition: i32, code: i16, offset: i64, epoch: i32, metadata: Option<&str>| {
        match ErrorCode::from_code(code) {
            ErrorCode::None if offset < 0 => Ok(()),
            ErrorCode::None => {
                let metadata = metadata.unwrap_or_default().to_owned();
                let offset = OffsetAndMetadata { offset, leader_epoch: Some(epoch).filter(|e| *e >= 0), metadata };
                found.insert(TopicPartition::new(topic, partition), offset);
                Ok(())
            }
            code => Err(Error::from_code(code, &format!("partition {topic}-{partition}"), None)),
        }
    };
    let mut code = response.error_code;
    for topic in &response.topics {
        for p in &topic.partitions {
            let metadata = p.metadata.as_deref();
            take(&topic.name, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, metadata)?;
        }
    }
    if let Some(of_group) = response.groups.first() {
        code = of_group.error_code;
        for topic in &of_group.topics {
            for p in &topic.partitions {
                let metadata = p.metadata.as_deref();
                take(
                    &topic.name,
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    p.committed_leader_epoch,
                    metadata,
                )?;
            }
        }
    }
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(found),
        code => Err(Error::from_code(code, &group.label(), None)),
    }
}
