//! Fetching ahead: one task per broker to read from, each with a fetch session and one request under way, and one
//! short-lived task that looks for leaders when some are not known. What comes back is dealt with in `settle`.

use super::position::{Assigned, What};
use super::records::Fetched;
use super::session::{Key, Session, TOPIC_IDS_FROM, Want};
use super::{Shared, settle, validate};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::address;
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::fetch_request::FetchRequest;
use ottla_protocol::fetch_response::FetchResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// How long a fetcher that has no room or only partitions in backoff rests at most before it looks again.
const REST: std::time::Duration = std::time::Duration::from_millis(100);
/// Bytes of records in one answer that are so few that who waits for them shall have them before the next request is made.
/// Bulk is fetched ahead at once.
const FEW: usize = 16 * 1024;
/// Fetches of one partition that may wait for `poll`, in `max.partition.fetch.bytes`.
const AHEAD: usize = 4;

/// Gives each partition without a leader the one that the metadata has, and starts what is missing.
pub(super) fn route(shared: &Arc<Shared>) {
    let snapshot = shared.client.snapshot();
    let now = shared.client.env().monotonic();
    let mut start = Vec::new();
    let mut look = false;
    {
        let mut state = shared.state.lock();
        let state = &mut *state;
        if state.closed {
            return;
        }
        for (partition, assigned) in &mut state.partitions {
            if assigned.leader.is_none() {
                if let Some(topic) = snapshot.topics.get(&partition.topic).filter(|topic| !topic.id.is_zero()) {
                    assigned.identify(topic.id);
                }
                let leader = snapshot.leader(&partition.topic, partition.partition);
                // An answer may have told of a later leader than this one.
                let leader = leader.filter(|leader| leader.epoch < 0 || leader.epoch >= assigned.leader_epoch);
                assigned.leader = leader.map(|leader| leader.node);
            }
            match assigned.node(now) {
                Some(node) if state.fetching.insert(node) => start.push(node),
                Some(_) => {}
                None => look = true,
            }
        }
        look = look && !state.routing;
        state.routing |= look;
    }
    let env = shared.client.env();
    for node in start {
        env.spawn("consumer fetcher", run(shared.clone(), node));
    }
    if look {
        env.spawn("consumer metadata", find_leaders(shared.clone(), snapshot.version));
    }
    shared.room.notify_waiters();
}

/// Refreshes the metadata until no assigned partition lacks a leader.
async fn find_leaders(shared: Arc<Shared>, mut version: u64) {
    let client = &shared.client;
    let env = client.env();
    let mut backoff = client.backoff();
    loop {
        {
            let state = shared.state.lock();
            let topics: BTreeSet<&Arc<str>> = state.partitions.keys().map(|partition| &partition.topic).collect();
            topics.into_iter().for_each(|topic| client.interest(topic, false));
        }
        let deadline = Deadline::after(env, client.options().request_timeout);
        match client.refresh(version, &deadline).await {
            Ok(snapshot) => version = snapshot.version,
            Err(error) if error.kind() == ErrorKind::Closed => {
                shared.state.lock().routing = false;
                return;
            }
            Err(error) => tracing::debug!(%error, "no metadata for the consumer"),
        }
        route(&shared);
        {
            let mut state = shared.state.lock();
            if state.closed || state.partitions.values().all(|assigned| assigned.leader.is_some()) {
                state.routing = false;
                return;
            }
        }
        env.sleep(backoff.next(env)).await;
    }
}

/// Fetches from `node` until there is nothing to fetch there.
async fn run(shared: Arc<Shared>, node: i32) {
    let env = shared.client.env().clone();
    let mut session = Session::default();
    let mut backoff = shared.client.backoff();
    loop {
        let room = shared.room.notified();
        let Some(wanted) = wanted(&shared, node) else { break };
        if wanted.is_empty() {
            let _ = env.timeout(REST, room).await;
            continue;
        }
        match fetch(&shared, node, &mut session, wanted).await {
            Ok(bytes) => {
                backoff.reset();
                if bytes < FEW {
                    give_way().await;
                }
            }
            Err(error) => {
                tracing::debug!(node, %error, "a fetch failed");
                session.reset();
                {
                    let mut state = shared.state.lock();
                    if error.kind() == ErrorKind::Closed {
                        state.closed = true;
                    }
                    if !error.is_retriable() {
                        // Nothing that waiting mends, such as a version that the broker does not serve.
                        state.fail(error);
                        shared.arrived.notify_waiters();
                    }
                    let now = env.monotonic();
                    for assigned in state.partitions.values_mut().filter(|assigned| assigned.node(now) == Some(node)) {
                        assigned.leader = None;
                        assigned.preferred = None;
                    }
                }
                env.sleep(backoff.next(&env)).await;
                // This task is still registered: the leader found may be this node again.
                route_after_failure(&shared);
                wait_for_leaders(&shared).await;
            }
        }
    }
}

/// Lets those run first that were just woken.
async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// As [`route`], but never takes the leader from the metadata that just failed.
pub(super) fn route_after_failure(shared: &Arc<Shared>) {
    let version = shared.client.snapshot().version;
    let look = {
        let mut state = shared.state.lock();
        !state.closed && !std::mem::replace(&mut state.routing, true)
    };
    if look {
        shared.client.env().spawn("consumer metadata", find_leaders(shared.clone(), version));
    }
}

/// Waits while leaders are looked for.
async fn wait_for_leaders(shared: &Arc<Shared>) {
    let env = shared.client.env();
    while {
        let state = shared.state.lock();
        state.routing && !state.closed
    } {
        env.sleep(REST).await;
    }
}

/// A partition to fetch: its generation, the offset, the leader epoch that this consumer knows of, and the leader epoch
/// of the record before the offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) generation: u64,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) epoch: Option<i32>,
    /// The position has to be compared with the leader's log first (KIP-320).
    pub(super) validate: bool,
}

/// What to fetch from `node` now; `None` ends its task.
fn wanted(shared: &Shared, node: i32) -> Option<BTreeMap<TopicPartition, Ask>> {
    let now = shared.client.env().monotonic();
    let options = &shared.options;
    let snapshot = shared.client.snapshot();
    let mut state = shared.state.lock();
    let mut of_node = state.partitions.values().filter(|assigned| assigned.node(now) == Some(node));
    if state.closed || of_node.next().is_none() {
        state.fetching.remove(&node);
        return None;
    }
    if state.waiting() >= options.buffered_bytes_max {
        return Some(BTreeMap::new());
    }
    let ahead = options.max_partition_fetch_bytes.saturating_mul(AHEAD).max(1);
    let ready = |a: &Assigned| {
        let ready = a.open() && !a.broken && a.position().is_some() && a.not_before <= now;
        ready && a.node(now) == Some(node)
    };
    // Fetching the others meanwhile could wait for `fetch.max.wait.ms` when `poll` has long made room for this one.
    if state.partitions.values().any(|assigned| ready(assigned) && assigned.queued >= ahead) {
        return Some(BTreeMap::new());
    }
    let due = state.partitions.iter().filter(|(_, assigned)| ready(assigned));
    let ask = |(partition, a): (&TopicPartition, &Assigned)| {
        let leader = snapshot.leader(&partition.topic, partition.partition);
        let leader_epoch = leader.map_or(-1, |leader| leader.epoch).max(a.leader_epoch);
        // In the epoch in which the last record was appended nothing can have been cut off before it.
        let validate = leader_epoch > a.validated_epoch && a.fetch_epoch.is_some_and(|epoch| epoch < leader_epoch);
        let ask =
            Ask { generation: a.generation, offset: a.fetch_offset, leader_epoch, epoch: a.fetch_epoch, validate };
        (partition.clone(), ask)
    };
    Some(due.map(ask).collect())
}

/// One request and its answer; how many bytes of records it brought.
async fn fetch(
    shared: &Arc<Shared>,
    node: i32,
    session: &mut Session,
    mut wanted: BTreeMap<TopicPartition, Ask>,
) -> Result<usize> {
    let client = &shared.client;
    let options = &shared.options;
    let connection = shared.links.connection(shared, node).await?;
    if wanted.values().any(|ask| ask.validate) {
        validate::validate(shared, &connection, &mut wanted).await?;
        if wanted.is_empty() {
            return Ok(0);
        }
    }
    let mut version = connection.version::<FetchRequest>()?;
    let snapshot = client.snapshot();
    let mut wants: BTreeMap<Key, Want> = BTreeMap::new();
    for (partition, ask) in &wanted {
        let id = snapshot.topics.get(&partition.topic).map(|topic| topic.id).unwrap_or_default();
        if id.is_zero() {
            version = version.min(TOPIC_IDS_FROM - 1);
        }
        let key = Key { topic: partition.topic.clone(), id, partition: partition.partition };
        let max_bytes = i32::try_from(options.max_partition_fetch_bytes).unwrap_or(i32::MAX);
        wants.insert(key, Want { offset: ask.offset, leader_epoch: ask.leader_epoch, max_bytes });
    }
    let mut request = FetchRequest {
        max_wait_ms: i32::try_from(options.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: i32::try_from(options.fetch_min_bytes).unwrap_or(i32::MAX),
        max_bytes: i32::try_from(options.fetch_max_bytes).unwrap_or(i32::MAX),
        isolation_level: options.isolation_level.code(),
        rack_id: if version >= 11 { Str::from(options.client_rack.as_str()) } else { Str::default() },
        ..Default::default()
    };
    session.fill(&mut request, &wants, version);
    let timeout = client.options().request_timeout + options.fetch_max_wait;
    let began = client.env().monotonic();
    let response: FetchResponse = connection.request_at(&request, version, timeout).await?;
    let now = client.env().monotonic();
    shared.metrics.fetched(now.saturating_sub(began), response.throttle_time_ms, now);
    if !session.answered(&response) {
        let code = ErrorCode::from_code(response.error_code);
        let session_only = matches!(
            code,
            ErrorCode::FetchSessionIdNotFound
                | ErrorCode::InvalidFetchSessionEpoch
                | ErrorCode::FetchSessionTopicIdError
                | ErrorCode::InconsistentTopicId
        );
        return if session_only { Ok(0) } else { Err(Error::from_code(code, "Fetch", None)) };
    }
    for endpoint in &response.node_endpoints {
        shared.links.learn(endpoint.node_id, address(&endpoint.host, endpoint.port));
    }
    let records = response.responses.iter().flat_map(|topic| &topic.partitions).filter_map(|p| p.records.as_ref());
    let bytes = records.map(|records| records.len()).sum();
    shared.metrics.fetched_size(bytes, now);
    for topic in &response.responses {
        for data in &topic.partitions {
            let Some(key) = session.find(&topic.topic, topic.topic_id, data.partition_index) else { continue };
            let partition = TopicPartition::new(key.topic.clone(), key.partition);
            let Some(ask) = wanted.get(&partition) else { continue };
            settle::settle(shared, node, &partition, ask, data).await;
        }
    }
    Ok(bytes)
}

/// Queues data or an error for `poll`, unless the partition was reassigned or sought meanwhile.
pub(super) fn arrive(shared: &Shared, partition: &TopicPartition, generation: u64, arrived: Result<Fetched>) {
    {
        let mut state = shared.state.lock();
        let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == generation) else { return };
        let what = match arrived {
            Ok(fetched) => {
                assigned.fetch_offset = fetched.next_offset;
                assigned.fetch_epoch = fetched.last_epoch.or(assigned.fetch_epoch);
                What::Fetched(fetched)
            }
            Err(error) => {
                // Told once a second, not in a spin, until someone seeks.
                let now = shared.client.env().monotonic();
                assigned.not_before = now + shared.client.options().retry_backoff_max;
                if state.told(partition) {
                    return;
                }
                What::Failed(error)
            }
        };
        state.arrive(partition, generation, what);
    }
    shared.arrived.notify_waiters();
}
