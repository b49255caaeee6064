//! The background task of a producer: takes due batches, groups them by leader into Produce requests, and hands the
//! answers back to the accumulator. It waits for nothing but its doorbell and the next due time: dialling, metadata,
//! producer ids, the transaction's requests and answers happen in tasks of their own that ring when they are done.

mod errands;

use super::Shared;
use super::accumulator::{Accumulator, Due, Failure, Verdict};
use super::delivery::Acked;
use super::options::Acks;
use super::requests::{endpoints, moved, partition_result, produce_request};
use crate::broker::{Connection, Purpose};
use crate::error::{Error, Result};
use crate::metadata::Snapshot;
use crate::retry::Backoff;
use ottla_model::ErrorCode;
use ottla_protocol::produce_request::ProduceRequest;
use ottla_protocol::produce_response::ProduceResponse;
use ottla_wire::Pending;
use parking_lot::Mutex;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the sender and its tasks share.
#[derive(Debug, Default)]
struct Progress {
    /// Requests without an answer by node.
    in_flight: HashMap<i32, usize>,
    /// Until when a node does not want more (KIP-219).
    throttled: HashMap<i32, Duration>,
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
    /// A task fetches a producer id.
    initializing: bool,
    /// Why there is none yet.
    id_error: Option<Error>,
    id_not_before: Duration,
    id_backoff: Option<Backoff>,
    transaction_backoff: Option<Backoff>,
    /// When topics were last looked through for unused ones.
    swept: Duration,
}

/// A request to be made: the leader's node, its connection, what is due there.
type ToSend = (i32, Arc<Connection>, Vec<Due>);

/// What is due for one leader, as it is collected.
struct Collected {
    connection: Arc<Connection>,
    bytes: usize,
    due: Vec<Due>,
}

#[derive(Debug, Clone)]
struct Sender {
    shared: Arc<Shared>,
    /// Locked after the accumulator where both are held.
    progress: Arc<Mutex<Progress>>,
}

/// Runs until the producer is closed and nothing is left to deliver.
pub(super) async fn run(shared: Arc<Shared>) {
    let sender = Sender { shared: shared.clone(), progress: Arc::default() };
    loop {
        if sender.is_done() {
            break;
        }
        let wait = sender.send_due().await;
        shared.tell_finished();
        let env = shared.client.env();
        match wait {
            Some(wait) => {
                let _ = env.timeout(wait, shared.doorbell.notified()).await;
            }
            None => shared.doorbell.notified().await,
        }
    }
    shared.tell_finished();
    shared.interceptors.close();
    if let Some(partitioner) = &shared.options.partitioner {
        partitioner.close();
    }
    if shared.owns_client {
        shared.client.close();
    }
    shared.ended.send_replace(true);
}

impl Sender {
    /// Whether the producer is closed and has nothing left to do. Ends what transaction is open then.
    fn is_done(&self) -> bool {
        let mut accumulator = self.shared.accumulator.lock();
        if !accumulator.closing {
            return false;
        }
        let ongoing = accumulator.transaction.as_mut().is_some_and(|transaction| transaction.close());
        accumulator.is_empty() && (!ongoing || accumulator.abandoned)
    }

    /// Sends what is due and says how long nothing more is due; `None`: until the doorbell.
    async fn send_due(&self) -> Option<Duration> {
        loop {
            let snapshot = self.shared.client.snapshot();
            let (requests, wait) = self.collect(&snapshot);
            let mut settled = false;
            for (node, connection, due) in requests {
                settled |= self.send(node, &connection, due).await;
            }
            self.refresh_if_stale(&snapshot);
            if !settled {
                return wait;
            }
            // What waited for the answers may be due now. Without a transaction, nothing queued is nothing to do.
            let accumulator = self.shared.accumulator.lock();
            if accumulator.closing {
                return Some(Duration::ZERO);
            }
            if accumulator.is_empty() && accumulator.transaction.is_none() {
                return None;
            }
        }
    }

    /// Takes due batches, about `max.request.size` per leader, one batch per partition.
    fn collect(&self, snapshot: &Snapshot) -> (Vec<ToSend>, Option<Duration>) {
        let shared = &self.shared;
        let options = &shared.options;
        let now = shared.client.env().monotonic();
        let pressed = shared.pressed.load(Ordering::Relaxed) > 0;
        let mut guard = shared.accumulator.lock();
        let accumulator = &mut *guard;
        let mut progress = self.progress.lock();
        self.take_metadata(accumulator, &mut progress, snapshot, now);
        for (topic, records) in
            accumulator.expire(options, now, |topic, partition| progress.explain(snapshot, topic, partition))
        {
            shared.metrics.failed(&topic, records);
        }
        let mut wait = accumulator.next_expiry(options, now);
        let mut sooner = |other: Duration| wait = Some(wait.map_or(other, |wait| wait.min(other)));
        if let Some(later) = self.drive_transaction(accumulator, &mut progress, now) {
            sooner(later);
        }
        if options.idempotent() && options.transactional_id.is_none() && accumulator.producer_id.is_none() {
            // Comes back when the id is there.
            self.ensure_producer_id(accumulator, &mut progress, now);
            return (Vec::new(), wait);
        }
        if snapshot.fetched_at + shared.client.options().metadata_max_age < now && !accumulator.is_empty() {
            progress.stale = true;
        }
        let mut by_node: BTreeMap<i32, Collected> = BTreeMap::new();
        let mut left_out = Vec::new();
        for _ in 0..accumulator.active.len() {
            let Some(key) = accumulator.active.pop_front() else { break };
            let name = accumulator.topics[key.0].name.clone();
            let leader = snapshot.leader(&name, key.1 as i32);
            let idle = leader.is_some_and(|leader| !progress.in_flight.contains_key(&leader.node));
            let due = accumulator.wait(key, options, now, pressed, idle);
            let mut full = false;
            match (due, leader) {
                (None, _) => {}
                (Some(later), _) if !later.is_zero() => sooner(later),
                // The expiry is in `wait` already.
                (Some(_), None) => progress.stale = true,
                (Some(_), Some(leader)) => {
                    let open = self.open(leader.node, &mut progress, &mut by_node, now);
                    accumulator.node_ready(leader.node, now, open.is_some());
                    match open {
                        Some(entry) if entry.bytes >= options.max_request_size => {
                            full = true;
                            sooner(Duration::ZERO);
                        }
                        Some(entry) => {
                            let taken = accumulator.take_due(key, entry.connection.id, options.idempotent());
                            // Without one, earlier batches have to come back first; their answers ring.
                            if let Some(due) = taken {
                                entry.bytes += due.batch.size();
                                entry.due.push(due);
                                // A second batch may wait already; it goes into the next request.
                                if let Some(later) = accumulator.wait(key, options, now, pressed, false) {
                                    sooner(later);
                                }
                            }
                        }
                        None => {
                            if let Some(until) = progress.throttled.get(&leader.node) {
                                sooner(until.saturating_sub(now));
                            }
                        }
                    }
                }
            }
            let queue = &mut accumulator.topics[key.0].queues[key.1];
            queue.listed = queue.waiting() > 0;
            match (queue.listed, full) {
                (false, _) => {}
                (true, true) => left_out.push(key),
                (true, false) => accumulator.active.push_back(key),
            }
        }
        // Those that found the request full come first the next time.
        for key in left_out.into_iter().rev() {
            accumulator.active.push_front(key);
        }
        let requests: Vec<ToSend> = by_node
            .into_iter()
            .filter(|(_, collected)| !collected.due.is_empty())
            .map(|(node, collected)| (node, collected.connection, collected.due))
            .collect();
        for (node, _, _) in &requests {
            *progress.in_flight.entry(*node).or_default() += 1;
        }
        (requests, wait)
    }

    /// Brings the accumulator's topics up to the snapshot, and drops those that nothing is sent to.
    fn take_metadata(
        &self,
        accumulator: &mut Accumulator,
        progress: &mut Progress,
        snapshot: &Snapshot,
        now: Duration,
    ) {
        if accumulator.metadata_version != snapshot.version {
            accumulator.metadata_version = snapshot.version;
            for name in accumulator.names() {
                if let Some(metadata) = snapshot.topics.get(&name)
                    && metadata.error == ErrorCode::None
                {
                    accumulator.update_topic(&name, metadata, now);
                }
            }
        }
        let idle = self.shared.options.metadata_max_idle;
        if now.saturating_sub(progress.swept) >= idle {
            progress.swept = now;
            for name in accumulator.forget_idle(now, idle) {
                tracing::debug!(topic = &*name, "nothing was sent to it for metadata.max.idle.ms");
                self.shared.client.forget_topic(&name);
                self.shared.metrics.forget(&name);
            }
        }
    }

    /// The request to `node` that is being collected; `None` while the node takes none.
    fn open<'a>(
        &self,
        node: i32,
        progress: &mut Progress,
        by_node: &'a mut BTreeMap<i32, Collected>,
        now: Duration,
    ) -> Option<&'a mut Collected> {
        let vacant = match by_node.entry(node) {
            Entry::Occupied(entry) => return Some(entry.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        if progress.in_flight.get(&node).is_some_and(|count| *count >= self.shared.options.max_in_flight) {
            // The answer rings.
            return None;
        }
        if progress.throttled.get(&node).is_some_and(|until| *until > now) {
            return None;
        }
        progress.throttled.remove(&node);
        let connection = self.ready(node, progress)?;
        Some(vacant.insert(Collected { connection, bytes: 0, due: Vec::new() }))
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

    /// Puts one request on the wire, in order with the earlier ones to this node. True: it is settled already; otherwise a
    /// task waits for its answer.
    async fn send(&self, node: i32, connection: &Arc<Connection>, mut due: Vec<Due>) -> bool {
        let shared = &self.shared;
        let env = shared.client.env();
        let request_timeout = shared.client.options().request_timeout;
        let transaction_v1 = {
            let accumulator = shared.accumulator.lock();
            accumulator.transaction.as_ref().is_some_and(|transaction| !transaction.version_2())
        };
        let encoded = connection
            .version::<ProduceRequest>()
            .and_then(|version| produce_request(&shared.options, &mut due, version, transaction_v1, request_timeout));
        let started = env.monotonic();
        shared.metrics.request_sent(&due, started);
        let (request, version) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                self.answered(node, due, Err(error), started);
                return true;
            }
        };
        if shared.options.acks == Acks::None {
            let sent = connection.send(&request, version).await;
            self.answered(node, due, sent.map(|()| None), started);
            return true;
        }
        match connection.start(&request, version).await {
            Ok(mut pending) => {
                // From a broker in this process it may have come while the request was queued.
                if let Some(answer) = pending.try_take() {
                    let answer = answer.map_err(|error| connection.failed(error));
                    self.answered(node, due, answer.map(Some), started);
                    return true;
                }
                let (this, connection) = (self.clone(), connection.clone());
                env.spawn("produce answer", async move {
                    let pending: Pending<ProduceRequest> = pending;
                    let answer = pending.wait(request_timeout).await.map_err(|error| connection.failed(error));
                    this.answered(node, due, answer.map(Some), started);
                    this.shared.doorbell.notify_one();
                    this.shared.tell_finished();
                });
                false
            }
            Err(error) => {
                self.answered(node, due, Err(error), started);
                true
            }
        }
    }

    /// Settles the batches of a request; the sender has to look again afterwards. `None` stands for the answer that acks=0 does not get.
    fn answered(&self, node: i32, due: Vec<Due>, answer: Result<Option<ProduceResponse>>, started: Duration) {
        let shared = &self.shared;
        let env = shared.client.env();
        let now = env.monotonic();
        let throttle_ms = match &answer {
            Ok(Some(response)) => response.throttle_time_ms,
            _ => 0,
        };
        shared.metrics.request_done(now.saturating_sub(started), throttle_ms, now);
        let moves: Vec<_> = match &answer {
            Ok(Some(response)) => due
                .iter()
                .filter_map(|due| moved(response, due).map(|leader| (due.topic.clone(), due.partition, leader)))
                .collect(),
            _ => Vec::new(),
        };
        if let (Ok(Some(response)), false) = (&answer, moves.is_empty()) {
            shared.client.leaders_moved(&moves, &endpoints(response));
        }
        let mut accumulator = shared.accumulator.lock();
        let mut progress = self.progress.lock();
        if let Some(count) = progress.in_flight.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                progress.in_flight.remove(&node);
            }
        }
        if throttle_ms > 0 {
            progress.throttled.insert(node, now + Duration::from_millis(throttle_ms.unsigned_abs().into()));
        }
        for due in due {
            let result = match &answer {
                Ok(Some(response)) => partition_result(response, &due),
                Ok(None) => Ok(Acked { base_offset: -1, log_append_time: -1 }),
                Err(error) => Err(Failure::from(error.clone())),
            };
            match result {
                Ok(acked) => accumulator.acked(due, acked),
                Err(failure) => {
                    let hinted =
                        moves.iter().any(|(topic, partition, _)| *topic == due.topic && *partition == due.partition);
                    self.failed(&mut accumulator, &mut progress, due, failure, hinted, now);
                }
            }
        }
    }

    fn failed(
        &self,
        accumulator: &mut Accumulator,
        progress: &mut Progress,
        due: Due,
        failure: Failure,
        hinted: bool,
        now: Duration,
    ) {
        let shared = &self.shared;
        let client = &shared.client;
        let (topic, records) = (due.topic.clone(), due.batch.count);
        tracing::debug!(topic = &*topic, partition = due.partition, error = %failure.error, "a batch was not written");
        // Without an error code the connection failed: the leader may have moved. With a hint it is known where to.
        progress.stale |= !hinted && failure.error.code().is_none_or(ErrorCode::is_metadata_stale);
        let backoff = |state: &mut Option<Backoff>| match hinted {
            true => Duration::ZERO,
            false => state.get_or_insert_with(|| client.backoff()).next(client.env()),
        };
        match accumulator.failed(due, failure, &shared.options, now, backoff) {
            Verdict::Again => shared.metrics.retried(&topic, records),
            Verdict::Split => shared.metrics.split(),
            Verdict::GivenUp => shared.metrics.failed(&topic, records),
        }
    }
}

impl Progress {
    /// What a batch of this partition was waiting for.
    fn explain(&self, snapshot: &Snapshot, topic: &str, partition: i32) -> String {
        if let Some(error) = &self.id_error {
            return format!("no producer id: {error}");
        }
        match snapshot.leader(topic, partition) {
            None => match snapshot.topics.get(topic) {
                Some(known) if known.error == ErrorCode::None && known.partitions.len() <= partition as usize => {
                    "the partition does not exist any more".to_owned()
                }
                _ => "the partition has no leader".to_owned(),
            },
            Some(leader) => match self.unreachable.get(&leader.node).or(self.metadata_error.as_ref()) {
                Some(error) => error.to_string(),
                None => format!("broker {} did not acknowledge them", leader.node),
            },
        }
    }
}
