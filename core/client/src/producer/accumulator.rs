//! Records waiting to be sent, in batches per partition, and what became of each batch. Pure state under the
//! producer's one lock; it neither sends nor waits. The order within a partition is [`Queue`]'s matter.

use super::ProducerOptions;
use super::batch::{Batch, ProducerId};
use super::delivery::{Acked, Outcome};
use super::doorbell::Doorbell;
use super::partitioner::Sticky;
use super::queue::{Queue, Repair};
use super::record::ProducerRecord;
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Leader, TopicMetadata};
use crate::retry::Backoff;
use ottla_env::Env;
use ottla_model::record_batch::{BatchBuilder, HEADER_SIZE};
use ottla_model::{ErrorCode, Uuid, partition_for_key};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
    /// One per partition that was ever seen.
    pub(super) queues: Vec<Queue>,
    /// One per partition that there is.
    leaders: Vec<Leader>,
    sticky: Sticky,
    /// When a batch was last opened.
    used: Duration,
}

/// What is due for one partition, as the sender groups it by leader.
#[derive(Debug)]
pub(super) struct Due {
    /// The topic's place in the accumulator, which it keeps as long as it has a batch.
    at: usize,
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) batch: Batch,
}

/// Why a record was not appended at once.
#[derive(Debug)]
pub(super) enum Append {
    Done {
        outcome: Arc<Outcome>,
        index: u32,
        wake_sender: bool,
    },
    /// The topic is not known here yet.
    NeedTopic,
    /// A new batch of this many bytes has to be paid for.
    NeedBatch(usize),
    /// The partitioner is to be told of a new batch.
    NewBatch,
}

/// How the partition of a record is found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    /// The record's own, or the built-in rule.
    BuiltIn,
    /// What the partitioner said; `tell_first` that it wants to hear of a new batch before it is opened.
    Chosen { partition: i32, tell_first: bool },
}

/// Why a batch was not written.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// The partition's first offset; -1 where the broker did not say.
    pub(super) log_start_offset: i64,
    /// Single records that were refused, and what the others are told.
    pub(super) refused: Option<(BTreeMap<u32, Error>, Error)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, log_start_offset: -1, refused: None }
    }
}

/// What became of a failed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Again,
    Split,
    GivenUp,
}

/// A batch that is settled, for those who want to know of each record.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) outcome: Arc<Outcome>,
    pub(super) timestamps: Vec<i64>,
}

#[derive(Debug)]
struct Waiting {
    outcome: Arc<Outcome>,
    at: usize,
    partition: i32,
}

/// When a node last had something due, and when it last could take it (KIP-794).
#[derive(Debug, Clone, Copy, Default)]
struct NodeLatency {
    ready: Duration,
    drained: Duration,
}

#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) topics: Vec<Topic>,
    /// Places in `topics`.
    names: HashMap<Arc<str>, usize>,
    /// Places of topics that were forgotten.
    free: Vec<usize>,
    /// Where the last record went: most often the next one too.
    last: usize,
    /// Partitions with something queued.
    pub(super) active: VecDeque<(usize, usize)>,
    /// Batches that are not settled, by when they were opened.
    incomplete: BTreeMap<(Duration, u64), Waiting>,
    next_batch: u64,
    /// Settled batches whose records are to be told of; only with interceptors.
    pub(super) finished: Vec<Finished>,
    nodes: HashMap<i32, NodeLatency>,
    /// Calls of `flush` under way: nothing lingers.
    pub(super) flushing: usize,
    pub(super) closing: bool,
    /// `close` gave up what was left.
    pub(super) abandoned: bool,
    pub(super) producer_id: Option<ProducerId>,
    pub(super) transaction: Option<Transaction>,
    /// The version of the metadata that the topics agree with.
    pub(super) metadata_version: u64,
    doorbell: Arc<Doorbell>,
}

impl Accumulator {
    pub(super) fn new(doorbell: Arc<Doorbell>, transaction: Option<Transaction>) -> Accumulator {
        Accumulator {
            topics: Vec::new(),
            names: HashMap::new(),
            free: Vec::new(),
            last: 0,
            active: VecDeque::new(),
            incomplete: BTreeMap::new(),
            next_batch: 0,
            finished: Vec::new(),
            nodes: HashMap::new(),
            flushing: 0,
            closing: false,
            abandoned: false,
            producer_id: None,
            transaction,
            metadata_version: 0,
            doorbell,
        }
    }

    /// Takes over what the metadata says about `name`.
    pub(super) fn update_topic(&mut self, name: &Arc<str>, metadata: &TopicMetadata, now: Duration) {
        let at = match self.names.get(name) {
            Some(at) => *at,
            None => {
                let (queues, leaders) = (Vec::new(), Vec::new());
                let (name, id, sticky) = (name.clone(), metadata.id, Sticky::default());
                let topic = Topic { name: name.clone(), id, queues, leaders, sticky, used: now };
                let at = self.free.pop().unwrap_or(self.topics.len());
                match self.topics.get_mut(at) {
                    Some(free) => *free = topic,
                    None => self.topics.push(topic),
                }
                self.names.insert(name, at);
                at
            }
        };
        let topic = &mut self.topics[at];
        topic.id = metadata.id;
        topic.leaders.clone_from(&metadata.partitions);
        if topic.queues.len() < topic.leaders.len() {
            topic.queues.resize_with(topic.leaders.len(), Queue::new);
        }
    }

    /// Forgets topics that nothing was sent to since `idle`; returns their names (`metadata.max.idle.ms`).
    pub(super) fn forget_idle(&mut self, now: Duration, idle: Duration) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        let (topics, free) = (&mut self.topics, &mut self.free);
        self.names.retain(|name, at| {
            let topic = &mut topics[*at];
            let in_use = topic.queues.iter().any(|queue| !queue.is_idle() || queue.listed);
            if in_use || now.saturating_sub(topic.used) < idle {
                return true;
            }
            topic.queues = Vec::new();
            free.push(*at);
            gone.push(name.clone());
            false
        });
        if !gone.is_empty() {
            self.last = usize::MAX;
        }
        gone
    }

    fn place(&mut self, name: &str) -> Option<usize> {
        if self.topics.get(self.last).is_some_and(|topic| *topic.name == *name) {
            return Some(self.last);
        }
        self.last = *self.names.get(name)?;
        Some(self.last)
    }

    /// Appends `record`, into a new batch when `memory` for one is given.
    pub(super) fn append(
        &mut self,
        env: &Env,
        options: &ProducerOptions,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        choice: Choice,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Append> {
        if self.closing {
            return Err(Error::new(ErrorKind::Closed, "the producer is closed"));
        }
        if let Some(transaction) = &self.transaction {
            transaction.check_send()?;
        }
        let Some(at) = self.place(record.topic) else { return Ok(Append::NeedTopic) };
        let size = BatchBuilder::record_size_max(record.key, record.value, record.headers);
        check_size(record.topic, size, options)?;
        let (partition, sticky) = self.partition(at, env, options, record, choice)?;
        let topic = &mut self.topics[at];
        let queue = &mut topic.queues[partition as usize];
        let batch_size = options.batch_size();
        let mut wake_sender = false;
        let (outcome, index) = match &mut queue.open {
            Some(open) if open.has_room(size, batch_size) => (open.outcome.clone(), open.append(record, timestamp)?),
            _ => {
                if let Choice::Chosen { tell_first: true, .. } = choice {
                    return Ok(Append::NewBatch);
                }
                let bytes = batch_size.max(size + HEADER_SIZE);
                let Some(memory) = memory.take() else {
                    // What is full may leave meanwhile.
                    queue.close_open();
                    return Ok(Append::NeedBatch(bytes));
                };
                queue.close_open();
                let outcome = Outcome::new(topic.name.clone(), partition, self.doorbell.clone());
                let outcome = Arc::new(outcome.told_to(options.delivery_sink.as_ref()));
                let now = env.monotonic();
                topic.used = now;
                let id = self.next_batch;
                self.next_batch += 1;
                let mut batch = Batch::new(id, outcome.clone(), options, bytes, now, Some(memory));
                let index = batch.append(record, timestamp)?;
                self.incomplete.insert((now, id), Waiting { outcome: outcome.clone(), at, partition });
                queue.open = Some(batch);
                if !queue.listed {
                    queue.listed = true;
                    self.active.push_back((at, partition as usize));
                }
                wake_sender = true;
                (outcome, index)
            }
        };
        let full = queue.open.as_ref().is_none_or(|open| open.uncompressed >= batch_size);
        wake_sender |= full;
        if sticky {
            topic.sticky.appended(size, batch_size, full);
        }
        if let Some(transaction) = &mut self.transaction
            && queue.transaction != transaction.number()
        {
            queue.transaction = transaction.number();
            transaction.add_partition(&topic.name, partition);
            wake_sender = true;
        }
        Ok(Append::Done { outcome, index, wake_sender })
    }

    /// The partition of a record, and whether the sticky rule chose it.
    fn partition(
        &mut self,
        at: usize,
        env: &Env,
        options: &ProducerOptions,
        record: &ProducerRecord<'_>,
        choice: Choice,
    ) -> Result<(i32, bool)> {
        let topic = &mut self.topics[at];
        let count = topic.leaders.len() as i32;
        match (record.partition, choice, record.key) {
            (Some(partition), _, _) if (0..count).contains(&partition) => Ok((partition, false)),
            (Some(partition), _, _) => Err(Error::invalid(format!(
                "partition {partition} does not exist: topic {} has 0 to {}",
                record.topic,
                count - 1
            ))),
            (None, Choice::Chosen { partition, .. }, _) if partition < count => Ok((partition, false)),
            (None, Choice::Chosen { partition, .. }, _) => Err(Error::invalid(format!(
                "the partitioner chose {partition}, but topic {} has 0 to {} by now",
                record.topic,
                count - 1
            ))),
            (None, Choice::BuiltIn, Some(key)) if !options.partitioner_ignore_keys => {
                Ok((partition_for_key(key, count), false))
            }
            (None, Choice::BuiltIn, _) => {
                if topic.sticky.has_to_choose(count) {
                    topic.weigh(options, &self.nodes);
                }
                let leaders = &topic.leaders;
                let led = |partition: i32| leaders.get(partition as usize).is_some_and(|leader| leader.node >= 0);
                Ok((topic.sticky.partition(count, led, || env.random_u64()), true))
            }
        }
    }

    /// A node has something due; `can_take` that it gets it now.
    pub(super) fn node_ready(&mut self, node: i32, now: Duration, can_take: bool) {
        let latency = self.nodes.entry(node).or_insert(NodeLatency { ready: now, drained: now });
        latency.ready = now;
        if can_take {
            latency.drained = now;
        }
    }

    /// When the partition may send: see [`Queue::wait`]. Mends its sequence first where that is due.
    pub(super) fn wait(
        &mut self,
        (at, partition): (usize, usize),
        options: &ProducerOptions,
        now: Duration,
        pressed: bool,
        idle: bool,
    ) -> Option<Duration> {
        let completing = self.transaction.as_ref().is_some_and(Transaction::is_completing);
        let hurry = pressed || self.flushing > 0 || self.closing || completing;
        let topic = self.topics.get_mut(at)?;
        let queue = topic.queues.get_mut(partition)?;
        if let Some(transaction) = &self.transaction
            && !transaction.may_write(&topic.name, partition as i32)
        {
            return None;
        }
        if queue.repair != Repair::None && queue.nothing_in_flight() {
            mend(queue, &mut self.producer_id);
        }
        queue.wait(options, now, hurry, idle)
    }

    /// Takes the batch that the partition is due to send over `connection`; `numbered` says that it needs a sequence.
    pub(super) fn take_due(&mut self, (at, partition): (usize, usize), connection: u64, numbered: bool) -> Option<Due> {
        if numbered && self.producer_id.is_none() {
            return None;
        }
        let topic = self.topics.get_mut(at)?;
        let batch = topic.queues.get_mut(partition)?.take(connection, self.producer_id)?;
        Some(Due { at, topic: topic.name.clone(), topic_id: topic.id, partition: partition as i32, batch })
    }

    /// A batch came back with an acknowledgement.
    pub(super) fn acked(&mut self, due: Due, acked: Acked) {
        let last = if acked.base_offset < 0 { -1 } else { acked.base_offset + due.batch.count as i64 - 1 };
        let queue = &mut self.topics[due.at].queues[due.partition as usize];
        queue.landed(&due.batch);
        queue.acked(&due.batch, last);
        self.finish(due.batch, Ok(acked));
    }

    /// A batch came back with an error. Queues it again, whole or in parts, where that may help.
    pub(super) fn failed(
        &mut self,
        mut due: Due,
        failure: Failure,
        options: &ProducerOptions,
        now: Duration,
        backoff: impl Fn(&mut Option<Backoff>) -> Duration,
    ) -> Verdict {
        let key = (due.at, due.partition as usize);
        // Its time was over while it was in flight.
        let late = due.batch.outcome.is_done() || now.saturating_sub(due.batch.created) >= options.delivery_timeout;
        self.topics[key.0].queues[key.1].landed(&due.batch);
        if failure.error.code() == Some(ErrorCode::MessageTooLarge) && !late {
            let old = (due.batch.created, due.batch.id);
            let next = &mut self.next_batch;
            let next_id = || {
                *next += 1;
                *next - 1
            };
            match due.batch.split(options, next_id) {
                Ok(parts) => {
                    self.incomplete.remove(&old);
                    for part in &parts {
                        let waiting = Waiting { outcome: part.outcome.clone(), at: due.at, partition: due.partition };
                        self.incomplete.insert((part.created, part.id), waiting);
                    }
                    self.topics[key.0].queues[key.1].again(parts, |_| Duration::ZERO, now);
                    self.list(key);
                    return Verdict::Split;
                }
                Err(batch) => due.batch = *batch,
            }
        }
        let again = self.can_retry(&due, &failure);
        if again && !late && due.batch.attempts < options.retries {
            due.batch.attempts += 1;
            self.topics[key.0].queues[key.1].again(vec![due.batch], backoff, now);
            self.list(key);
            return Verdict::Again;
        }
        self.lost(key, due.batch.sequence.is_some(), &failure.error);
        if let Some((refused, others)) = failure.refused {
            due.batch.outcome.reject(refused, others);
        }
        self.finish(due.batch, Err(failure.error));
        Verdict::GivenUp
    }

    /// A batch was given up; `numbered` says that its sequence is used up.
    fn lost(&mut self, (at, partition): (usize, usize), numbered: bool, error: &Error) {
        let queue = &mut self.topics[at].queues[partition];
        if let Some(transaction) = &mut self.transaction {
            transaction.batch_failed(error, numbered);
            // Those behind it would be out of order, and the transaction is aborted in any case.
            let doomed = if numbered { queue.drain(|batch| batch.sequence.is_some()) } else { Vec::new() };
            for batch in doomed {
                self.finish(batch, Err(error.clone()));
            }
        } else if numbered {
            queue.repair = Repair::Bump;
        }
    }

    /// Whether sending the batch again may help; notes what has to be mended before.
    fn can_retry(&mut self, due: &Due, failure: &Failure) -> bool {
        let failing = self.transaction.as_ref().is_some_and(Transaction::is_failing);
        let transactional = self.transaction.is_some();
        let queue = &mut self.topics[due.at].queues[due.partition as usize];
        let Some((producer, sequence)) = due.batch.sequence else { return failure.error.is_retriable() };
        let stale = queue.producer != Some(producer);
        let bump = if stale || queue.repair != Repair::None { queue.repair } else { Repair::Bump };
        match failure.error.code() {
            Some(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId) if failing => false,
            Some(ErrorCode::OutOfOrderSequenceNumber) => {
                // The broker saw a later batch than the one that failed before it: that says nothing about this one.
                let behind_another = queue.has_before(sequence) || !queue.is_next(sequence);
                if !transactional && !queue.has_before(sequence) {
                    // There is a gap: records before this one are lost, and no number will ever fit.
                    queue.repair = bump;
                }
                behind_another || !transactional
            }
            Some(ErrorCode::UnknownProducerId) => {
                if failure.log_start_offset < 0 || due.batch.renumbered {
                    // Asked again the broker will say; or it speaks of the numbers that it had before.
                    return true;
                }
                if !transactional {
                    queue.repair = bump;
                    return true;
                }
                // Retention took all that this producer wrote, and with it what the broker knew.
                let forgotten = queue.acked_offset < failure.log_start_offset;
                if forgotten {
                    queue.repair = Repair::Restart;
                }
                forgotten
            }
            _ => failure.error.is_retriable(),
        }
    }

    fn list(&mut self, key: (usize, usize)) {
        let queue = &mut self.topics[key.0].queues[key.1];
        if !queue.listed {
            queue.listed = true;
            self.active.push_back(key);
        }
    }

    fn finish(&mut self, mut batch: Batch, result: Result<Acked>) {
        self.incomplete.remove(&(batch.created, batch.id));
        batch.outcome.set(result);
        if let Some(timestamps) = batch.timestamps.take() {
            self.finished.push(Finished { outcome: batch.outcome.clone(), timestamps });
        }
    }

    /// Gives up batches that waited for `delivery.timeout.ms`, in flight or not; `why` explains what they were waiting
    /// for. Returns how many records that were, by topic.
    pub(super) fn expire(
        &mut self,
        options: &ProducerOptions,
        now: Duration,
        why: impl Fn(&str, i32) -> String,
    ) -> Vec<(Arc<str>, usize)> {
        let mut expired = Vec::new();
        while let Some((&(created, id), waiting)) = self.incomplete.first_key_value() {
            if now.saturating_sub(created) < options.delivery_timeout {
                break;
            }
            let (at, partition, outcome) = (waiting.at, waiting.partition, waiting.outcome.clone());
            self.incomplete.pop_first();
            let topic = &mut self.topics[at];
            let name = topic.name.clone();
            let queue = &mut topic.queues[partition as usize];
            let (in_flight, batch) = (queue.has_in_flight(id), queue.remove(id));
            let count = batch.as_ref().map_or(1, |batch| batch.count);
            let error = Error::new(
                ErrorKind::Timeout,
                format!(
                    "{} for {name}-{partition} not delivered within {} ms: {}",
                    batch.as_ref().map_or("a batch in flight".to_owned(), |batch| format!("{} records", batch.count)),
                    options.delivery_timeout.as_millis(),
                    why(&name, partition)
                ),
            );
            match batch {
                Some(batch) => {
                    self.lost((at, partition as usize), batch.sequence.is_some(), &error);
                    self.finish(batch, Err(error));
                }
                // Its answer still tells whether the sequence was used.
                None => {
                    if let Some(transaction) = &mut self.transaction {
                        transaction.batch_failed(&error, in_flight);
                    }
                    outcome.set(Err(error));
                }
            }
            expired.push((name, count));
        }
        expired
    }

    /// How long until the next batch is given up.
    pub(super) fn next_expiry(&self, options: &ProducerOptions, now: Duration) -> Option<Duration> {
        let ((created, _), _) = self.incomplete.first_key_value()?;
        Some((*created + options.delivery_timeout).saturating_sub(now))
    }

    /// Fails what is queued and has not left yet, or with `all` also what left before.
    pub(super) fn fail_queued(&mut self, error: &Error, all: bool) {
        let mut failed = Vec::new();
        for queue in self.topics.iter_mut().flat_map(|topic| &mut topic.queues) {
            if queue.waiting() > 0 {
                failed.extend(queue.drain(|batch| all || batch.sequence.is_none()));
            }
        }
        for batch in failed {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// Fails everything, also what is in flight (its answers will find no one).
    pub(super) fn abandon(&mut self, error: &Error) {
        self.abandoned = true;
        self.fail_queued(error, true);
        if let Some(transaction) = &mut self.transaction {
            transaction.fatal(error.clone());
        }
        for waiting in std::mem::take(&mut self.incomplete).into_values() {
            waiting.outcome.set(Err(error.clone()));
        }
    }

    /// Goes on with another producer id; each queue counts from 0 once its batches in flight are back.
    pub(super) fn set_producer_id(&mut self, producer_id: ProducerId) {
        self.producer_id = Some(producer_id);
    }

    /// Takes over the transaction's producer id and epoch. They change only while nothing is in flight.
    pub(super) fn sync_producer_id(&mut self) {
        if let Some(transaction) = &self.transaction {
            self.producer_id = transaction.producer();
        }
    }

    /// The topics that are known here.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.names.keys().cloned().collect()
    }

    /// The batches that a flush has to wait for.
    pub(super) fn outstanding(&self) -> Vec<Arc<Outcome>> {
        self.incomplete.values().map(|waiting| waiting.outcome.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }

    /// Whether a batch that was numbered for the transaction is still on its way.
    pub(super) fn has_unsettled(&self) -> bool {
        !self.incomplete.is_empty()
            || self.topics.iter().flat_map(|topic| &topic.queues).any(|queue| !queue.nothing_in_flight())
    }
}

impl Topic {
    /// Tells the sticky rule how many batches wait for each partition that can be written.
    fn weigh(&mut self, options: &ProducerOptions, nodes: &HashMap<i32, NodeLatency>) {
        if !options.partitioner_adaptive {
            return;
        }
        let timeout = options.partitioner_availability_timeout;
        let late = |node: i32| {
            let latency = nodes.get(&node).copied().unwrap_or_default();
            !timeout.is_zero() && latency.ready.saturating_sub(latency.drained) > timeout
        };
        let mut partitions = Vec::with_capacity(self.leaders.len());
        let mut waiting = Vec::with_capacity(self.leaders.len());
        for (partition, leader) in self.leaders.iter().enumerate() {
            if leader.node >= 0 && !late(leader.node) {
                partitions.push(partition as i32);
                waiting.push(self.queues[partition].waiting());
            }
        }
        self.sticky.update_load(Some((&partitions, &waiting)), self.leaders.len());
    }
}

/// Gives a queue sequences from 0, under another epoch where its own was used up (KIP-360). `producer_id` is `None`
/// afterwards when there is no further epoch.
fn mend(queue: &mut Queue, producer_id: &mut Option<ProducerId>) {
    let Some(current) = *producer_id else { return };
    // Another partition may have moved on already.
    let next = match queue.repair {
        Repair::Bump if queue.producer == Some(current) => {
            current.epoch.checked_add(1).map(|epoch| ProducerId { epoch, ..current })
        }
        _ => Some(current),
    };
    *producer_id = next;
    match next {
        Some(next) => queue.restart(next),
        // A new id is asked for; whatever it is, it is not this queue's, which starts over with it.
        None => {
            queue.restart(current);
            queue.producer = None;
        }
    }
}

fn check_size(topic: &str, size: usize, options: &ProducerOptions) -> Result<()> {
    let (limit, config) = match () {
        () if size > options.max_request_size => (options.max_request_size, "max.request.size"),
        () if size > options.buffer_memory => (options.buffer_memory, "buffer.memory"),
        () => return Ok(()),
    };
    let text = format!("a record of {size} bytes exceeds {config}, which is {limit}");
    Err(Error::from_code(ErrorCode::MessageTooLarge, &format!("topic {topic}"), Some(&text)))
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
