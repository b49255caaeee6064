//! Records waiting to be sent, in batches per partition, and what became of each batch. Pure state under the
//! producer's one lock; it neither sends nor waits. The order within a partition is [`Queue`]'s matter.

mod settling;

use super::ProducerOptions;
use super::batch::{Batch, ProducerId};
use super::delivery::Outcome;
use super::doorbell::Doorbell;
use super::partitioner::Sticky;
use super::queue::{Queue, Repair};
use super::record::ProducerRecord;
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Leader, TopicMetadata};
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
