//! The background task of a producer: takes due batches, groups them by leader into Produce requests, and hands the
//! answers back to the accumulator. It waits for nothing but its doorbell and the next due time: dialling, metadata and
//! answers happen in tasks of their own that ring when they are done.

use super::accumulator::{Acked, Due, ProducerId};
use super::{Acks, Shared};
use crate::broker::{Connection, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Snapshot;
use crate::retry::{Backoff, Deadline};
use ottla_model::{ErrorCode, Records, Str};
use ottla_protocol::init_producer_id_request::InitProducerIdRequest;
use ottla_protocol::init_producer_id_response::InitProducerIdResponse;
use ottla_protocol::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::produce_response::ProduceResponse;
use ottla_wire::Pending;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The first version whose topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// What the sender and its tasks share.
#[derive(Debug, Default)]
struct Progress {
    /// Requests without an answer by node.
    in_flight: HashMap<i32, usize>,
    /// Nodes that a task dials.
    dialling: BTreeSet<i32>,
    /// Why a node could not be dialled last time, for the message of an expired batch.
    unreachable: BTreeMap<i32, Error>,
    /// A task fetches metadata.
    refreshing: bool,
    /// Metadata is stale: an answer said so, or a partition has no leader.
    stale: bool,
    /// Do not fetch metadata before.
    refresh_not_before: Duration,
    metadata_error: Option<Error>,
}

/// A request to be made: the leader's node, its connection, what is due there.
type ToSend = (i32, Arc<Connection>, Vec<Due>);

#[derive(Debug, Clone)]
struct Sender {
    shared: Arc<Shared>,
    /// Locked after the accumulator where both are held.
    progress: Arc<Mutex<Progress>>,
}

/// Runs until the producer is closed and nothing is left to deliver.
pub(super) async fn run(shared: Arc<Shared>) {
    let sender = Sender { shared: shared.clone(), progress: Arc::default() };
    let mut id_backoff = shared.client.backoff();
    loop {
        {
            let accumulator = shared.accumulator.lock();
            if accumulator.closing && accumulator.is_empty() {
                break;
            }
        }
        sender.ensure_producer_id(&mut id_backoff).await;
        let wait = sender.send_due().await;
        let env = shared.client.env();
        match wait {
            Some(wait) => {
                let _ = env.timeout(wait, shared.doorbell.notified()).await;
            }
            None => shared.doorbell.notified().await,
        }
    }
    shared.ended.send_replace(true);
}

impl Sender {
    /// Fetches a producer id when records wait for one, and a new one once a sequence was lost.
    async fn ensure_producer_id(&self, backoff: &mut Backoff) {
        let shared = &self.shared;
        if !shared.options.idempotent() {
            return;
        }
        {
            let accumulator = shared.accumulator.lock();
            let renew = accumulator.renew_producer_id && accumulator.in_flight() == 0;
            let first = accumulator.producer_id.is_none() && !accumulator.is_empty();
            if !first && !renew {
                return;
            }
        }
        match self.init_producer_id().await {
            Ok(producer_id) => {
                backoff.reset();
                shared.accumulator.lock().set_producer_id(producer_id);
            }
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "no producer id yet");
                self.progress.lock().metadata_error = Some(error);
                shared.client.env().sleep(backoff.next(shared.client.env())).await;
                shared.doorbell.notify_one();
            }
            Err(error) => shared.accumulator.lock().fail_all(&error.context("no producer id")),
        }
    }

    async fn init_producer_id(&self) -> Result<ProducerId> {
        let client = &self.shared.client;
        // One round only: expiry of batches has to go on between the attempts.
        let deadline = Deadline::after(client.env(), client.options().request_timeout);
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let response: InitProducerIdResponse = client.any(&request, &deadline).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch }),
            code => Err(Error::from_code(code, "InitProducerId", None)),
        }
    }

    /// Sends what is due and says how long nothing more is due; `None`: until the doorbell.
    async fn send_due(&self) -> Option<Duration> {
        let shared = &self.shared;
        let snapshot = shared.client.snapshot();
        let (requests, wait) = self.collect(&snapshot);
        for (node, connection, due) in requests {
            self.send(node, &connection, due).await;
        }
        self.refresh_if_stale(&snapshot);
        wait
    }

    /// Takes due batches, at most `max.request.size` per leader, one batch per partition.
    fn collect(&self, snapshot: &Snapshot) -> (Vec<ToSend>, Option<Duration>) {
        let shared = &self.shared;
        let options = &shared.options;
        let env = shared.client.env();
        let now = env.monotonic();
        let pressed = shared.pressed.load(Ordering::Relaxed) > 0;
        let mut accumulator = shared.accumulator.lock();
        let mut progress = self.progress.lock();
        if accumulator.metadata_version != snapshot.version {
            accumulator.metadata_version = snapshot.version;
            let names: Vec<Arc<str>> = accumulator.topics.keys().cloned().collect();
            for name in names {
                if let Some(metadata) = snapshot.topics.get(&name)
                    && metadata.error == ErrorCode::None
                {
                    accumulator.update_topic(&name, metadata);
                }
            }
        }
        accumulator.expire(options, now, |topic, partition| progress.explain(snapshot, topic, partition));
        if options.idempotent() && (accumulator.producer_id.is_none() || accumulator.renew_producer_id) {
            // Comes back when the id is there; what is in flight rings when it returns.
            return (Vec::new(), (!accumulator.is_empty()).then_some(options.delivery_timeout));
        }
        if snapshot.fetched_at + shared.client.options().metadata_max_age < now && !accumulator.is_empty() {
            progress.stale = true;
        }
        let mut by_node: BTreeMap<i32, (Arc<Connection>, usize, Vec<Due>)> = BTreeMap::new();
        let mut wait: Option<Duration> = None;
        let mut sooner = |other: Duration| wait = Some(wait.map_or(other, |wait| wait.min(other)));
        let names: Vec<Arc<str>> = accumulator.topics.keys().cloned().collect();
        for name in names {
            let count = accumulator.topics.get(&name).map_or(0, |topic| topic.queues.len());
            for partition in 0..count {
                let leader = snapshot.leader(&name, partition as i32);
                let idle = leader.is_some_and(|leader| !progress.in_flight.contains_key(&leader.node));
                match accumulator.wait_for(&name, partition, options, now, idle, pressed) {
                    None => continue,
                    Some(Duration::ZERO) => {}
                    Some(later) => {
                        sooner(later);
                        continue;
                    }
                }
                let Some(leader) = leader else {
                    progress.stale = true;
                    sooner(options.delivery_timeout);
                    continue;
                };
                let full = progress.in_flight.get(&leader.node).is_some_and(|count| *count >= options.max_in_flight);
                if full {
                    // The answer rings.
                    continue;
                }
                let entry = match by_node.get_mut(&leader.node) {
                    Some(entry) => entry,
                    None => match self.ready(leader.node, &mut progress) {
                        Some(connection) => by_node.entry(leader.node).or_insert_with(|| (connection, 0, Vec::new())),
                        None => {
                            sooner(options.delivery_timeout);
                            continue;
                        }
                    },
                };
                if entry.1 >= options.max_request_size {
                    sooner(Duration::ZERO);
                    continue;
                }
                // Without one, batches of this partition are still on an earlier connection; their answers ring.
                let Some(due) = accumulator.take_due(&name, partition, entry.0.id) else { continue };
                entry.1 += due.batch.size();
                entry.2.push(due);
                // A second batch of this partition may wait already; it goes into the next request.
                if let Some(later) = accumulator.wait_for(&name, partition, options, now, false, pressed) {
                    sooner(later);
                }
            }
        }
        let requests: Vec<_> = by_node
            .into_iter()
            .filter(|(_, (_, _, due))| !due.is_empty())
            .map(|(node, (connection, _, due))| (node, connection, due))
            .collect();
        for (node, _, _) in &requests {
            *progress.in_flight.entry(*node).or_default() += 1;
        }
        (requests, wait)
    }

    /// The open connection to `node`; otherwise a task dials it and rings.
    fn ready(&self, node: i32, progress: &mut Progress) -> Option<Arc<Connection>> {
        let client = &self.shared.client;
        let Some(broker) = client.broker(node) else {
            progress.stale = true;
            return None;
        };
        if let Some(connection) = broker.ready(Purpose::Produce) {
            return Some(connection);
        }
        if progress.dialling.insert(node) {
            let this = self.clone();
            client.env().spawn("producer dialling", async move {
                let dialled = this.shared.client.connection(node, Purpose::Produce).await;
                {
                    let mut progress = this.progress.lock();
                    progress.dialling.remove(&node);
                    match dialled {
                        Ok(_) => {
                            progress.unreachable.remove(&node);
                        }
                        Err(error) => {
                            // Another broker may lead by now.
                            progress.stale = true;
                            progress.unreachable.insert(node, error);
                        }
                    }
                }
                this.shared.doorbell.notify_one();
            });
        }
        None
    }

    /// Puts one request on the wire, in order with the earlier ones to this node; a task waits for its answer.
    async fn send(&self, node: i32, connection: &Arc<Connection>, mut due: Vec<Due>) {
        let shared = &self.shared;
        let request_timeout = shared.client.options().request_timeout;
        let encoded = connection
            .version::<ProduceRequest>()
            .and_then(|version| produce_request(shared, &mut due, version, request_timeout));
        let (request, version) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => return self.answered(node, due, Err(error)),
        };
        if shared.options.acks == Acks::None {
            let sent = connection.send(&request, version).await;
            return self.answered(node, due, sent.map(|()| None));
        }
        match connection.start(&request, version).await {
            Ok(pending) => {
                let (this, connection) = (self.clone(), connection.clone());
                shared.client.env().spawn("produce answer", async move {
                    let pending: Pending<ProduceRequest> = pending;
                    let answer = pending.wait(request_timeout).await.map_err(|error| connection.failed(error));
                    this.answered(node, due, answer.map(Some));
                });
            }
            Err(error) => self.answered(node, due, Err(error)),
        }
    }

    /// Settles the batches of a request. `None` stands for the answer that acks=0 does not get.
    fn answered(&self, node: i32, due: Vec<Due>, answer: Result<Option<ProduceResponse>>) {
        let shared = &self.shared;
        let env = shared.client.env();
        let now = env.monotonic();
        let mut accumulator = shared.accumulator.lock();
        let mut progress = self.progress.lock();
        if let Some(count) = progress.in_flight.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                progress.in_flight.remove(&node);
            }
        }
        for due in due {
            let result = match &answer {
                Ok(Some(response)) => partition_result(response, &due),
                Ok(None) => Ok(Acked { base_offset: -1, log_append_time: -1 }),
                Err(error) => Err(error.clone()),
            };
            match result {
                Ok(acked) => accumulator.acked(due, acked),
                Err(error) => {
                    tracing::debug!(topic = &*due.topic, partition = due.partition, %error, "a batch was not written");
                    // Without an error code the connection failed: the leader may have moved.
                    progress.stale |= error.code().is_none_or(ErrorCode::is_metadata_stale);
                    let retry = error.is_retriable();
                    let backoff = shared.client.backoff().next(env);
                    accumulator.failed(due, error, retry, &shared.options, now, backoff);
                }
            }
        }
        drop(progress);
        drop(accumulator);
        shared.doorbell.notify_one();
    }

    /// Has a task fetch metadata when it is stale, with a pause after each attempt.
    fn refresh_if_stale(&self, snapshot: &Snapshot) {
        let client = &self.shared.client;
        let env = client.env();
        {
            let mut progress = self.progress.lock();
            if !progress.stale || progress.refreshing {
                return;
            }
            progress.refreshing = true;
            progress.stale = false;
        }
        let this = self.clone();
        let version = snapshot.version;
        env.spawn("producer metadata", async move {
            let client = &this.shared.client;
            let env = client.env();
            let not_before = this.progress.lock().refresh_not_before;
            env.sleep(not_before.saturating_sub(env.monotonic())).await;
            let deadline = Deadline::after(env, client.options().request_timeout);
            let refreshed = client.refresh(version, &deadline).await;
            {
                let mut progress = this.progress.lock();
                progress.refreshing = false;
                progress.refresh_not_before = env.monotonic() + client.options().retry_backoff;
                progress.metadata_error = refreshed.err();
            }
            this.shared.doorbell.notify_one();
        });
    }
}

impl Progress {
    /// What a batch of this partition was waiting for.
    fn explain(&self, snapshot: &Snapshot, topic: &str, partition: i32) -> String {
        match snapshot.leader(topic, partition) {
            None => "the partition has no leader".to_owned(),
            Some(leader) => match self.unreachable.get(&leader.node).or(self.metadata_error.as_ref()) {
                Some(error) => error.to_string(),
                None => format!("broker {} did not acknowledge them", leader.node),
            },
        }
    }
}

/// Builds the request, compressing batches that leave for the first time.
fn produce_request(shared: &Shared, due: &mut [Due], version: i16, timeout: Duration) -> Result<(ProduceRequest, i16)> {
    // A broker that has no ids yet is asked by name.
    let version = if due.iter().any(|due| due.topic_id.is_zero()) { version.min(TOPIC_IDS_FROM - 1) } else { version };
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut last: Option<Arc<str>> = None;
    for due in due {
        let bytes = due.batch.encode().map_err(|error| Error::invalid(format!("topic {}: {error}", due.topic)))?;
        let partition =
            PartitionProduceData { index: due.partition, records: Some(Records::from(bytes)), ..Default::default() };
        if last.as_ref() != Some(&due.topic) {
            let mut topic = TopicProduceData::default();
            if version >= TOPIC_IDS_FROM {
                topic.topic_id = due.topic_id;
            } else {
                topic.name = Str::from(&*due.topic);
            }
            topics.push(topic);
            last = Some(due.topic.clone());
        }
        if let Some(topic) = topics.last_mut() {
            topic.partition_data.push(partition);
        }
    }
    let request = ProduceRequest {
        transactional_id: None,
        acks: match shared.options.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        },
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics,
        ..Default::default()
    };
    Ok((request, version))
}

/// What the broker says about one batch.
fn partition_result(response: &ProduceResponse, due: &Due) -> Result<Acked> {
    let what = || format!("partition {}-{}", due.topic, due.partition);
    let topic = response
        .responses
        .iter()
        .find(|topic| if topic.name.is_empty() { topic.topic_id == due.topic_id } else { *topic.name == *due.topic });
    let partition =
        topic.and_then(|topic| topic.partition_responses.iter().find(|partition| partition.index == due.partition));
    let Some(partition) = partition else {
        return Err(Error::new(ErrorKind::Data, format!("{}: the broker's answer does not mention it", what())));
    };
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => {
            Ok(Acked { base_offset: partition.base_offset, log_append_time: partition.log_append_time_ms })
        }
        // Written by an earlier attempt whose answer was lost.
        ErrorCode::DuplicateSequenceNumber => Ok(Acked { base_offset: -1, log_append_time: -1 }),
        code => {
            let message = partition
                .error_message
                .as_deref()
                .or(partition.record_errors.first().and_then(|record| record.batch_index_error_message.as_deref()));
            Err(Error::from_code(code, &what(), message))
        }
    }
}
