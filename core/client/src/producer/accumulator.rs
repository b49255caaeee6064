//! Records waiting to be sent, in batches per partition, and what became of each batch. Pure state under the
//! producer's one lock; it neither sends nor waits.
//!
//! Order within a partition: batches leave in the order of their sequence numbers. When one fails in a way that a
//! retry may mend, the partition sends nothing until its other batches in flight have come back too, and then goes on
//! from the lowest sequence, so that a retry never overtakes or is overtaken. For the same reason all its batches in
//! flight are on one connection: over a new one, later batches could be written by the dozen before someone notices
//! that an earlier one was lost with the old, and a broker remembers only the last five to tell a retry by.

use super::ProducerOptions;
use super::partitioner::{Sticky, keyed};
use super::{ProducerRecord, RecordMetadata};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::TopicMetadata;
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::record_batch::{
    ATTRIBUTES_OFFSET, BatchBuilder, BatchError, BatchHeader, BatchOptions, CRC_OFFSET, HEADER_SIZE,
};
use ottla_model::{ErrorCode, Uuid, crc32c};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// What became of a batch; shared by its records' deliveries.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    result: OnceLock<Result<Acked>>,
    done: Notify,
    /// Someone awaits a record of this batch, so that lingering only delays them.
    pub(super) awaited: AtomicBool,
}

/// Where a batch was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acked {
    /// -1 when the broker did not say (acks=0, or a duplicate that was acknowledged long ago).
    pub(super) base_offset: i64,
    /// -1 when the topic keeps the producers' timestamps.
    pub(super) log_append_time: i64,
}

impl Outcome {
    fn new(topic: Arc<str>, partition: i32) -> Outcome {
        let (result, done) = (OnceLock::new(), Notify::new());
        Outcome { topic, partition, result, done, awaited: AtomicBool::new(false) }
    }

    fn set(&self, result: Result<Acked>) {
        if self.result.set(result).is_ok() {
            self.done.notify_waiters();
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.result.get().is_some()
    }

    pub(super) async fn wait(&self) {
        // Made before the check, so that a result between the two is not missed.
        let done = self.done.notified();
        if !self.is_done() {
            done.await;
        }
    }

    pub(super) fn record(&self, index: u32, timestamp: i64) -> Option<Result<RecordMetadata>> {
        self.result.get().map(|result| match result {
            Ok(acked) => Ok(RecordMetadata {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: if acked.base_offset < 0 { -1 } else { acked.base_offset + i64::from(index) },
                timestamp: if acked.log_append_time < 0 { timestamp } else { acked.log_append_time },
            }),
            Err(error) => Err(error.clone()),
        })
    }
}

/// The producer id that the cluster gave, for idempotence (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// A batch, open or on its way.
#[derive(Debug)]
pub(super) struct Batch {
    id: u64,
    content: Content,
    pub(super) count: usize,
    pub(super) outcome: Arc<Outcome>,
    created: Duration,
    /// Given when it first leaves; kept over retries, so that the broker knows it again.
    pub(super) sequence: Option<(ProducerId, i32)>,
    attempts: u32,
    _memory: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Content {
    /// Records are appended, or it has not left yet.
    Records(BatchBuilder),
    /// As it left, for a retry.
    Encoded(Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The batch that records are appended to.
    open: Option<Batch>,
    /// Full or to be sent again; lowest sequence first.
    closed: VecDeque<Batch>,
    /// The sequences of the batches on their way, -1 each without idempotence.
    in_flight: Vec<i32>,
    /// The connection that they are on.
    connection: u64,
    next_sequence: i32,
    /// A batch failed: wait until the others in flight are back.
    draining: bool,
    /// Backoff after a failure.
    not_before: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) queues: Vec<Queue>,
    led: Vec<bool>,
    sticky: Sticky,
}

/// What is due for one partition, as the sender groups it by leader.
#[derive(Debug)]
pub(super) struct Due {
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
}

#[derive(Debug, Default)]
pub(super) struct Accumulator {
    pub(super) topics: HashMap<Arc<str>, Topic>,
    /// Batches that are not done, for `flush` and `close`.
    incomplete: BTreeMap<u64, Arc<Outcome>>,
    next_batch: u64,
    /// Calls of `flush` under way: nothing lingers.
    pub(super) flushing: usize,
    pub(super) closing: bool,
    pub(super) producer_id: Option<ProducerId>,
    /// A batch with a sequence was given up: a new producer id is needed once nothing is in flight.
    pub(super) renew_producer_id: bool,
    /// The version of the metadata that the topics agree with.
    pub(super) metadata_version: u64,
}

impl Accumulator {
    /// Takes over what the metadata says about `name`.
    pub(super) fn update_topic(&mut self, name: &Arc<str>, metadata: &TopicMetadata) {
        let topic = self.topics.entry(name.clone()).or_default();
        topic.id = metadata.id;
        if topic.queues.len() < metadata.partitions.len() {
            topic.queues.resize_with(metadata.partitions.len(), Queue::default);
        }
        topic.led = metadata.partitions.iter().map(|leader| leader.node >= 0).collect();
    }

    /// Appends `record`, into a new batch when `memory` for one is given.
    pub(super) fn append(
        &mut self,
        env: &Env,
        options: &ProducerOptions,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Append> {
        if self.closing {
            return Err(Error::closed());
        }
        let Some((name, _)) = self.topics.get_key_value(record.topic) else { return Ok(Append::NeedTopic) };
        let name = name.clone();
        let Some(topic) = self.topics.get_mut(record.topic) else { return Ok(Append::NeedTopic) };
        let size = BatchBuilder::record_size_max(record.key, record.value, record.headers);
        if size > options.max_request_size {
            return Err(too_large(record.topic, size, options));
        }
        let count = topic.queues.len() as i32;
        let mut wake_sender = false;
        let partition = match (record.partition, record.key) {
            (Some(partition), _) if (0..count).contains(&partition) => partition,
            (Some(partition), _) => {
                return Err(Error::invalid(format!(
                    "partition {partition} does not exist: topic {} has 0 to {}",
                    record.topic,
                    count - 1
                )));
            }
            (None, Some(key)) => keyed(key, count),
            (None, None) => {
                let led = &topic.led;
                let led = |partition: i32| led.get(partition as usize).copied().unwrap_or(false);
                let mut partition = topic.sticky.partition(env, count, options.batch_size, led);
                let full = |open: &Batch| open.size() + size > options.batch_size;
                if topic.queues[partition as usize].open.as_ref().is_some_and(full) {
                    topic.queues[partition as usize].close_open();
                    wake_sender = true;
                    topic.sticky.advance();
                    partition = topic.sticky.partition(env, count, options.batch_size, led);
                }
                topic.sticky.appended(size);
                partition
            }
        };
        let queue = &mut topic.queues[partition as usize];
        if let Some(open) = &mut queue.open {
            if open.size() + size <= options.batch_size {
                let index = open.append(record, timestamp)?;
                return Ok(Append::Done { outcome: open.outcome.clone(), index, wake_sender });
            }
            queue.close_open();
        }
        let bytes = options.batch_size.max(size + EMPTY_BATCH);
        let Some(memory) = memory.take() else { return Ok(Append::NeedBatch(bytes)) };
        let batch_options = BatchOptions {
            compression: options.compression,
            compression_level: options.compression_level,
            ..Default::default()
        };
        let outcome = Arc::new(Outcome::new(name, partition));
        let mut batch = Batch {
            id: self.next_batch,
            content: Content::Records(BatchBuilder::with_capacity(batch_options, bytes)),
            count: 0,
            outcome: outcome.clone(),
            created: env.monotonic(),
            sequence: None,
            attempts: 0,
            _memory: memory,
        };
        let index = batch.append(record, timestamp)?;
        self.next_batch += 1;
        self.incomplete.insert(batch.id, outcome.clone());
        queue.open = Some(batch);
        Ok(Append::Done { outcome, index, wake_sender: true })
    }

    /// Takes the batch that `partition` is due to send over `connection`; `None` while others are on another one.
    pub(super) fn take_due(&mut self, name: &Arc<str>, partition: usize, connection: u64) -> Option<Due> {
        let producer_id = self.producer_id;
        let topic = self.topics.get_mut(name)?;
        let topic_id = topic.id;
        let queue = topic.queues.get_mut(partition)?;
        if !queue.in_flight.is_empty() && queue.connection != connection {
            return None;
        }
        if queue.closed.is_empty() {
            queue.close_open();
        }
        let mut batch = queue.closed.pop_front()?;
        if let (Some(producer_id), None) = (producer_id, batch.sequence) {
            batch.sequence = Some((producer_id, queue.next_sequence));
            queue.next_sequence = sequence_after(queue.next_sequence, batch.count);
        }
        queue.in_flight.push(batch.sequence.map_or(-1, |(_, sequence)| sequence));
        queue.connection = connection;
        Some(Due { topic: name.clone(), topic_id, partition: partition as i32, batch })
    }

    /// A batch came back with an acknowledgement.
    pub(super) fn acked(&mut self, due: Due, acked: Acked) {
        self.queue(&due).landed(&due.batch);
        self.finish(due.batch, Ok(acked));
    }

    /// A batch came back with an error. Queues it again where that may help; true when it was.
    pub(super) fn failed(
        &mut self,
        mut due: Due,
        error: Error,
        retry: bool,
        options: &ProducerOptions,
        now: Duration,
        backoff: Duration,
    ) -> bool {
        let give_up = now.saturating_sub(due.batch.created) >= options.delivery_timeout;
        let queue = self.queue(&due);
        queue.landed(&due.batch);
        // The broker saw a later batch than the one that failed before it: that says nothing about this one.
        let behind_another = error.code() == Some(ErrorCode::OutOfOrderSequenceNumber)
            && due.batch.sequence.is_some_and(|(_, sequence)| queue.has_before(sequence));
        if (retry || behind_another) && !give_up {
            due.batch.attempts = due.batch.attempts.saturating_add(1);
            queue.draining = true;
            queue.not_before = now + backoff;
            let at = match due.batch.sequence {
                Some((_, sequence)) => queue
                    .closed
                    .partition_point(|other| other.sequence.is_some_and(|(_, other)| sequence.wrapping_sub(other) > 0)),
                None => 0,
            };
            queue.closed.insert(at, due.batch);
            return true;
        }
        if due.batch.sequence.is_some() {
            // Its number is used up without a record behind it: what follows would be out of order.
            self.renew_producer_id = true;
        }
        self.finish(due.batch, Err(error));
        false
    }

    fn queue(&mut self, due: &Due) -> &mut Queue {
        // Topics and queues are only ever added, and this batch came from one.
        let topic = self.topics.get_mut(&due.topic).expect("a topic with a batch in flight is kept");
        &mut topic.queues[due.partition as usize]
    }

    fn finish(&mut self, batch: Batch, result: Result<Acked>) {
        self.incomplete.remove(&batch.id);
        batch.outcome.set(result);
    }

    /// Gives up batches that waited for `delivery.timeout.ms`; `why` explains what they were waiting for.
    pub(super) fn expire(&mut self, options: &ProducerOptions, now: Duration, why: impl Fn(&str, i32) -> String) {
        let mut expired = Vec::new();
        for (name, topic) in &mut self.topics {
            for (partition, queue) in topic.queues.iter_mut().enumerate() {
                let old = |batch: &Batch| now.saturating_sub(batch.created) >= options.delivery_timeout;
                if queue.open.as_ref().is_some_and(old) {
                    queue.close_open();
                }
                while queue.closed.front().is_some_and(old) {
                    expired.extend(queue.closed.pop_front().map(|batch| (name.clone(), partition, batch)));
                }
            }
        }
        for (name, partition, batch) in expired {
            self.renew_producer_id |= batch.sequence.is_some();
            let message = format!(
                "{} records for {name}-{partition} were not delivered within {} ms: {}",
                batch.count,
                options.delivery_timeout.as_millis(),
                why(&name, partition as i32)
            );
            self.finish(batch, Err(Error::new(ErrorKind::Timeout, message)));
        }
    }

    /// Fails everything that is queued.
    pub(super) fn fail_all(&mut self, error: &Error) {
        let mut all = Vec::new();
        for queue in self.topics.values_mut().flat_map(|topic| &mut topic.queues) {
            queue.close_open();
            all.extend(queue.closed.drain(..));
        }
        for batch in all {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// Fails everything, also what is in flight (its answers will find no one).
    pub(super) fn abandon(&mut self, error: &Error) {
        self.fail_all(error);
        for outcome in std::mem::take(&mut self.incomplete).into_values() {
            outcome.set(Err(error.clone()));
        }
    }

    /// Starts over with a new producer id: all sequences from 0.
    pub(super) fn set_producer_id(&mut self, producer_id: ProducerId) {
        self.producer_id = Some(producer_id);
        self.renew_producer_id = false;
        for queue in self.topics.values_mut().flat_map(|topic| &mut topic.queues) {
            queue.next_sequence = 0;
            for batch in &mut queue.closed {
                batch.sequence = None;
            }
        }
    }

    /// The batches that a flush has to wait for.
    pub(super) fn outstanding(&self) -> Vec<Arc<Outcome>> {
        self.incomplete.values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.topics.values().flat_map(|topic| &topic.queues).map(|queue| queue.in_flight.len()).sum()
    }

    /// When `partition` may send: `None` never without an event, zero now. `idle` says that its leader has no request in
    /// flight, `pressed` that calls of `send` wait for memory.
    pub(super) fn wait_for(
        &mut self,
        name: &Arc<str>,
        partition: usize,
        options: &ProducerOptions,
        now: Duration,
        idle: bool,
        pressed: bool,
    ) -> Option<Duration> {
        let hurry = pressed || self.flushing > 0 || self.closing;
        let queue = self.topics.get_mut(name)?.queues.get_mut(partition)?;
        queue.settle();
        queue.wait_for(options, now, hurry, idle)
    }
}

/// A batch without records.
const EMPTY_BATCH: usize = HEADER_SIZE;

impl Batch {
    /// Its size, before compression until it has left.
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Records(builder) => builder.uncompressed_size(),
            Content::Encoded(bytes) => bytes.len(),
        }
    }

    fn append(&mut self, record: &ProducerRecord<'_>, timestamp: i64) -> Result<u32> {
        let bad = |error: BatchError| Error::invalid(format!("topic {}: {error}", record.topic));
        let Content::Records(builder) = &mut self.content else { return Err(bad(BatchError::TooLarge)) };
        let index = builder.append(timestamp, record.key, record.value, record.headers).map_err(bad)?;
        self.count += 1;
        Ok(index as u32)
    }

    /// The batch as bytes, compressed the first time. Done outside the producer's lock.
    pub(super) fn encode(&mut self) -> std::result::Result<Bytes, BatchError> {
        let (producer_id, producer_epoch, base_sequence) = match self.sequence {
            Some((producer, sequence)) => (producer.id, producer.epoch, sequence),
            None => (-1, -1, -1),
        };
        let bytes = match &mut self.content {
            Content::Records(builder) => {
                builder.set_producer(producer_id, producer_epoch, base_sequence);
                std::mem::replace(builder, BatchBuilder::new(BatchOptions::default())).into_bytes()?
            }
            Content::Encoded(bytes) => {
                let header = BatchHeader::parse(bytes)?;
                let same = (header.producer_id, header.producer_epoch, header.base_sequence);
                if same == (producer_id, producer_epoch, base_sequence) {
                    return Ok(bytes.clone());
                }
                // The producer id was renewed since it left: the header changes, and the checksum over it.
                let mut copy = bytes.to_vec();
                let header = BatchHeader { producer_id, producer_epoch, base_sequence, ..header };
                copy[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
                let crc = crc32c(&copy[ATTRIBUTES_OFFSET..]);
                copy[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
                Bytes::from(copy)
            }
        };
        self.content = Content::Encoded(bytes.clone());
        Ok(bytes)
    }
}

impl Queue {
    fn close_open(&mut self) {
        self.closed.extend(self.open.take());
    }

    fn wait_for(&self, options: &ProducerOptions, now: Duration, hurry: bool, idle: bool) -> Option<Duration> {
        if self.draining && !self.in_flight.is_empty() {
            return None;
        }
        let due = match (self.closed.front(), &self.open) {
            (Some(_), _) => Duration::ZERO,
            (None, Some(open)) => {
                let awaited = idle && open.outcome.awaited.load(Ordering::Relaxed);
                let lingered = now.saturating_sub(open.created);
                if hurry || awaited { Duration::ZERO } else { options.linger.saturating_sub(lingered) }
            }
            (None, None) => return None,
        };
        Some(due.max(self.not_before.saturating_sub(now)))
    }

    /// Ends the wait for other batches in flight once there are none.
    fn settle(&mut self) {
        if self.in_flight.is_empty() {
            self.draining = false;
        }
    }

    /// A batch came back, one way or the other.
    fn landed(&mut self, batch: &Batch) {
        let sequence = batch.sequence.map_or(-1, |(_, sequence)| sequence);
        if let Some(at) = self.in_flight.iter().position(|other| *other == sequence) {
            self.in_flight.swap_remove(at);
        }
    }

    /// Whether a batch with an earlier sequence is not settled yet.
    fn has_before(&self, sequence: i32) -> bool {
        let queued = self.closed.iter().filter_map(|batch| batch.sequence.map(|(_, sequence)| sequence));
        self.in_flight.iter().copied().chain(queued).any(|other| sequence.wrapping_sub(other) > 0)
    }
}

/// Sequences wrap to 0 after the greatest i32.
fn sequence_after(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) % (i64::from(i32::MAX) + 1)) as i32
}

fn too_large(topic: &str, size: usize, options: &ProducerOptions) -> Error {
    let limit = options.max_request_size;
    let text = format!("a record of {size} bytes exceeds max.request.size, which is {limit}");
    Error::from_code(ErrorCode::MessageTooLarge, &format!("topic {topic}"), Some(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
