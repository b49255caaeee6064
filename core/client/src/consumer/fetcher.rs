//! Fetching ahead: one task per broker that leads an assigned partition, each with a fetch session and one request
//! under way, and one short-lived task that looks for leaders when some are not known.

use super::session::{Key, Session, TOPIC_IDS_FROM, Want};
use super::{Fetched, OffsetReset, Position, Shared, resolve};
use crate::broker::Purpose;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use bytes::Bytes;
use ottla_model::record_batch::BatchIter;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::fetch_request::FetchRequest;
use ottla_protocol::fetch_response::{FetchResponse, PartitionData};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long a fetcher that has no room or only partitions in backoff rests at most before it looks again.
const REST: std::time::Duration = std::time::Duration::from_millis(100);

/// Gives each partition without a leader the one that the metadata has, and starts what is missing.
pub(super) fn route(shared: &Arc<Shared>) {
    let snapshot = shared.client.snapshot();
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
                assigned.leader = snapshot.leader(&partition.topic, partition.partition).map(|leader| leader.node);
            }
            match assigned.leader {
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

/// Fetches from `node` until it leads no assigned partition.
async fn run(shared: Arc<Shared>, node: i32) {
    let env = shared.client.env().clone();
    let mut session = Session::default();
    let mut backoff = shared.client.backoff();
    loop {
        let room = shared.room.notified();
        let Some(wanted) = wanted(&shared, node) else { break };
        let full = shared.buffered.load(Ordering::Acquire) >= shared.options.buffered_bytes_max;
        if full || wanted.is_empty() {
            let _ = env.timeout(REST, room).await;
            continue;
        }
        match fetch(&shared, node, &mut session, wanted).await {
            Ok(()) => backoff.reset(),
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
                        state.arrived.push_back(Err(error));
                        shared.arrived.notify_waiters();
                    }
                    for assigned in state.partitions.values_mut().filter(|assigned| assigned.leader == Some(node)) {
                        assigned.leader = None;
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

/// As [`route`], but never takes the leader from the metadata that just failed.
fn route_after_failure(shared: &Arc<Shared>) {
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

/// What to fetch from `node` now; `None` ends its task.
fn wanted(shared: &Shared, node: i32) -> Option<HashMap<TopicPartition, (u64, i64)>> {
    let now = shared.client.env().monotonic();
    let mut state = shared.state.lock();
    let mut of_node = state.partitions.values().filter(|assigned| assigned.leader == Some(node));
    if state.closed || of_node.next().is_none() {
        state.fetching.remove(&node);
        return None;
    }
    let due = state.partitions.iter().filter(|(_, a)| a.leader == Some(node) && a.not_before <= now);
    Some(due.map(|(partition, a)| (partition.clone(), (a.generation, a.fetch_offset))).collect())
}

/// One request and its answer.
async fn fetch(
    shared: &Arc<Shared>,
    node: i32,
    session: &mut Session,
    wanted: HashMap<TopicPartition, (u64, i64)>,
) -> Result<()> {
    let client = &shared.client;
    let options = &shared.options;
    let connection = client.connection(node, Purpose::Fetch).await?;
    let mut version = connection.version::<FetchRequest>()?;
    let snapshot = client.snapshot();
    let mut wants: BTreeMap<Key, Want> = BTreeMap::new();
    for (partition, (_, offset)) in &wanted {
        let id = snapshot.topics.get(&partition.topic).map(|topic| topic.id).unwrap_or_default();
        if id.is_zero() {
            version = version.min(TOPIC_IDS_FROM - 1);
        }
        let leader_epoch = snapshot.leader(&partition.topic, partition.partition).map_or(-1, |leader| leader.epoch);
        let key = Key { topic: partition.topic.clone(), id, partition: partition.partition };
        let max_bytes = i32::try_from(options.max_partition_fetch_bytes).unwrap_or(i32::MAX);
        wants.insert(key, Want { offset: *offset, leader_epoch, max_bytes });
    }
    let mut request = FetchRequest {
        max_wait_ms: i32::try_from(options.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: i32::try_from(options.fetch_min_bytes).unwrap_or(i32::MAX),
        max_bytes: i32::try_from(options.fetch_max_bytes).unwrap_or(i32::MAX),
        ..Default::default()
    };
    session.fill(&mut request, &wants, version);
    let timeout = client.options().request_timeout + options.fetch_max_wait;
    let response: FetchResponse = connection.request_at(&request, version, timeout).await?;
    if !session.answered(&response) {
        let code = ErrorCode::from_code(response.error_code);
        let session_only = matches!(
            code,
            ErrorCode::FetchSessionIdNotFound
                | ErrorCode::InvalidFetchSessionEpoch
                | ErrorCode::FetchSessionTopicIdError
                | ErrorCode::InconsistentTopicId
        );
        return if session_only { Ok(()) } else { Err(Error::from_code(code, "Fetch", None)) };
    }
    for topic in &response.responses {
        for data in &topic.partitions {
            let Some(key) = session.find(&topic.topic, topic.topic_id, data.partition_index) else { continue };
            let partition = TopicPartition::new(key.topic.clone(), key.partition);
            let Some(&(generation, offset)) = wanted.get(&partition) else { continue };
            settle(shared, partition, generation, offset, data).await;
        }
    }
    Ok(())
}

/// Takes over what an answer says about one partition.
async fn settle(shared: &Arc<Shared>, partition: TopicPartition, generation: u64, offset: i64, data: &PartitionData) {
    let env = shared.client.env();
    match ErrorCode::from_code(data.error_code) {
        ErrorCode::None => match whole_batches(data, offset) {
            Ok(None) => {}
            Ok(Some((bytes, next_offset))) => {
                let fetched = Fetched {
                    topic: partition.topic.clone(),
                    partition: partition.partition,
                    fetch_offset: offset,
                    next_offset,
                    high_watermark: data.high_watermark,
                    log_start_offset: data.log_start_offset,
                    bytes,
                    check_crcs: shared.options.check_crcs,
                    generation,
                };
                arrive(shared, &partition, generation, Ok(fetched));
            }
            Err(error) => arrive(shared, &partition, generation, Err(error)),
        },
        ErrorCode::OffsetOutOfRange => {
            let position = match shared.options.offset_reset {
                OffsetReset::Earliest => Position::Earliest,
                OffsetReset::Latest => Position::Latest,
                OffsetReset::None => {
                    let text = format!(
                        "offset {offset} is outside of the log, which begins at {} and ends at {}",
                        data.log_start_offset, data.high_watermark
                    );
                    let error = Error::from_code(ErrorCode::OffsetOutOfRange, &label(&partition), Some(&text));
                    return arrive(shared, &partition, generation, Err(error));
                }
            };
            let deadline = Deadline::after(env, shared.client.options().request_timeout);
            match resolve(&shared.client, &[(partition.clone(), position)], &deadline).await {
                Ok(offsets) => {
                    let mut state = shared.state.lock();
                    if let (Some(assigned), Some(offset)) = (state.partitions.get_mut(&partition), offsets.first())
                        && assigned.generation == generation
                    {
                        assigned.fetch_offset = *offset;
                        assigned.position = *offset;
                    }
                }
                Err(error) => arrive(shared, &partition, generation, Err(error)),
            }
        }
        code if code.is_metadata_stale() || code.is_retriable() => {
            {
                let wait = shared.client.backoff().next(env);
                let mut state = shared.state.lock();
                let Some(assigned) = state.partitions.get_mut(&partition) else { return };
                assigned.not_before = env.monotonic() + wait;
                assigned.leader = None;
            }
            route_after_failure(shared);
        }
        code => arrive(shared, &partition, generation, Err(Error::from_code(code, &label(&partition), None))),
    }
}

/// Queues data or an error for `poll`, unless the partition was reassigned or sought meanwhile.
fn arrive(shared: &Shared, partition: &TopicPartition, generation: u64, arrived: Result<Fetched>) {
    let now = shared.client.env().monotonic();
    let bytes = {
        let mut state = shared.state.lock();
        let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == generation) else { return };
        let bytes = match &arrived {
            Ok(fetched) => {
                assigned.fetch_offset = fetched.next_offset;
                fetched.bytes.len()
            }
            Err(_) => {
                // Told once a second, not in a spin, until someone seeks.
                assigned.not_before = now + shared.client.options().retry_backoff_max;
                0
            }
        };
        // Counted before `poll` can see it.
        shared.buffered.fetch_add(bytes, Ordering::AcqRel);
        state.arrived.push_back(arrived);
        bytes
    };
    tracing::trace!(topic = &*partition.topic, partition = partition.partition, bytes, "fetched");
    shared.arrived.notify_waiters();
}

/// The whole batches of an answer and the offset behind them; `None` without any.
fn whole_batches(data: &PartitionData, offset: i64) -> Result<Option<(Bytes, i64)>> {
    let bad = |text: String| Error::new(ErrorKind::Data, format!("partition {}: {text}", data.partition_index));
    let Some(records) = &data.records else { return Ok(None) };
    let bytes = records.to_bytes().map_err(|error| bad(error.to_string()))?;
    let mut batches = BatchIter::new(bytes.clone());
    let mut next = offset;
    for batch in &mut batches {
        next = next.max(batch.map_err(|error| bad(error.to_string()))?.header.next_offset());
    }
    let end = batches.position();
    if end == 0 && !bytes.is_empty() {
        return Err(bad(format!("the answer has {} bytes but not one whole batch", bytes.len())));
    }
    Ok((end > 0).then(|| (bytes.slice(..end), next)))
}

fn label(partition: &TopicPartition) -> String {
    format!("partition {}-{}", partition.topic, partition.partition)
}
