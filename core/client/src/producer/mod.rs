//! The producer: records are appended to batches per partition, a background task sends the batches to the partitions'
//! leaders, and each record's delivery can be awaited. Idempotent by default: within one producer a retry neither
//! doubles nor reorders. Transactions are not here yet.

mod accumulator;
mod partitioner;
mod sender;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use accumulator::{Accumulator, Append, Outcome};
use ottla_model::Compression;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// Which replicas have to have a record before it counts as written (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// 0: sending is enough; offsets are not known.
    None,
    /// 1: the leader.
    Leader,
    /// all: every in-sync replica.
    All,
}

/// Settings of a producer, under Kafka's names.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// `acks`, all.
    pub acks: Acks,
    /// `enable.idempotence`; `None` is Kafka's default: true where `acks` is all.
    pub enable_idempotence: Option<bool>,
    /// `batch.size`, 16 KiB: bytes before compression; a larger record gets a batch of its own.
    pub batch_size: usize,
    /// `linger.ms`, 5 ms: how long a batch waits for more records. A batch whose delivery is awaited does not wait
    /// while its leader has nothing else in flight, so that awaited single sends cost a round trip each, not a linger.
    pub linger: Duration,
    /// `compression.type`, none.
    pub compression: Compression,
    /// `compression.<type>.level`; `None` is the codec's own default.
    pub compression_level: Option<i32>,
    /// `max.in.flight.requests.per.connection`, 5; at most 5 with idempotence.
    pub max_in_flight: usize,
    /// `max.request.size`, 1 MiB.
    pub max_request_size: usize,
    /// `buffer.memory`, 32 MiB: batches that are not acknowledged; a further record waits.
    pub buffer_memory: usize,
    /// `max.block.ms`, 60 s: how long `send` may wait for metadata and for memory.
    pub max_block: Duration,
    /// `delivery.timeout.ms`, 120 s: from `send` to acknowledged or given up.
    pub delivery_timeout: Duration,
    /// Whether a topic that does not exist may be created by the broker (`auto.create.topics.enable` there); true.
    pub allow_auto_create_topics: bool,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: Acks::All,
            enable_idempotence: None,
            batch_size: 16 * 1024,
            linger: Duration::from_millis(5),
            compression: Compression::None,
            compression_level: None,
            max_in_flight: 5,
            max_request_size: 1024 * 1024,
            buffer_memory: 32 * 1024 * 1024,
            max_block: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            allow_auto_create_topics: true,
        }
    }
}

impl ProducerOptions {
    fn idempotent(&self) -> bool {
        self.enable_idempotence.unwrap_or(self.acks == Acks::All)
    }

    fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::invalid(text));
        if self.idempotent() && self.acks != Acks::All {
            return wrong("enable.idempotence needs acks=all");
        }
        if self.idempotent() && self.max_in_flight > 5 {
            return wrong("enable.idempotence allows max.in.flight.requests.per.connection up to 5");
        }
        if self.max_in_flight == 0 {
            return wrong("max.in.flight.requests.per.connection must be at least 1");
        }
        if self.buffer_memory > Semaphore::MAX_PERMITS || self.buffer_memory > u32::MAX as usize {
            return wrong("buffer.memory must be below 4 GiB");
        }
        if self.buffer_memory < self.batch_size.max(1024) {
            return wrong("buffer.memory must be at least batch.size and 1024");
        }
        Ok(())
    }
}

/// A record to send; borrowed, as it is copied into a batch at once.
#[derive(Debug, Clone, Copy)]
pub struct ProducerRecord<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition; `None` chooses by the key, or any where there is no key.
    pub partition: Option<i32>,
    /// ms since 1970; `None` is now.
    pub timestamp: Option<i64>,
    /// Its key, which decides the partition and what compaction keeps.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> ProducerRecord<'a> {
    /// A record without headers for any partition of its key.
    pub fn new(topic: &'a str, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> ProducerRecord<'a> {
        ProducerRecord { topic, partition: None, timestamp: None, key, value, headers: &[] }
    }
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset; -1 where the broker did not say (acks=0).
    pub offset: i64,
    /// ms since 1970: the record's own, or the broker's with `message.timestamp.type=LogAppendTime`.
    pub timestamp: i64,
}

/// What will become of a record; cheap, and may be dropped.
#[derive(Debug, Clone)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: u32,
    timestamp: i64,
    shared: Arc<Shared>,
}

impl Delivery {
    /// Waits until the record is acknowledged or given up, at most `delivery.timeout.ms` from its `send`.
    pub async fn wait(&self) -> Result<RecordMetadata> {
        loop {
            if let Some(result) = self.get() {
                return result;
            }
            if !self.outcome.awaited.swap(true, Ordering::Relaxed) {
                self.shared.doorbell.notify_one();
            }
            self.outcome.wait().await;
        }
    }

    /// As [`Delivery::wait`], but the batch lingers as if nobody waited.
    pub async fn wait_lingering(&self) -> Result<RecordMetadata> {
        loop {
            if let Some(result) = self.get() {
                return result;
            }
            self.outcome.wait().await;
        }
    }

    /// The result, if there is one yet.
    pub fn get(&self) -> Option<Result<RecordMetadata>> {
        self.outcome.record(self.index, self.timestamp)
    }

    /// The partition that was chosen.
    pub fn partition(&self) -> i32 {
        self.outcome.partition
    }
}

/// Sends records. Clones share the batches and the background task; when the last is dropped, what was sent is still
/// delivered in the background.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Ends the background task once no `Producer` is left.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.accumulator.lock().closing = true;
        self.shared.doorbell.notify_one();
    }
}

/// What callers and the sender share.
#[derive(Debug)]
struct Shared {
    client: Client,
    options: ProducerOptions,
    /// All batches. The producer's only lock; never held across an await or while encoding.
    accumulator: Mutex<Accumulator>,
    /// Wakes the sender: a batch was opened or filled, an answer came, a flush or close began.
    doorbell: Notify,
    /// `buffer.memory` in bytes.
    memory: Arc<Semaphore>,
    /// Calls of `send` that wait for memory: nothing lingers meanwhile.
    pressed: AtomicUsize,
    /// True when the sender has ended.
    ended: watch::Sender<bool>,
}

impl Producer {
    pub(crate) fn start(client: Client, options: ProducerOptions) -> Result<Producer> {
        options.check()?;
        let env = client.env().clone();
        let shared = Arc::new(Shared {
            memory: Arc::new(Semaphore::new(options.buffer_memory)),
            client,
            options,
            accumulator: Mutex::default(),
            doorbell: Notify::new(),
            pressed: AtomicUsize::new(0),
            ended: watch::channel(false).0,
        });
        env.spawn("producer sender", sender::run(shared.clone()));
        Ok(Producer { handle: Arc::new(Handle { shared }) })
    }

    /// Appends `record` to a batch and returns at once, except for waiting up to `max.block.ms` for the topic's metadata
    /// or for memory. Dropping the future before it is ready drops the record.
    ///
    /// # Errors
    /// The record is too large, its partition does not exist, the topic is unknown, memory stayed full, or the producer
    /// is closed. Failures of delivery come from [`Delivery::wait`].
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery> {
        let shared = &self.handle.shared;
        let env = shared.client.env();
        let timestamp = record.timestamp.unwrap_or_else(|| env.now_ms());
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let mut deadline: Option<Deadline> = None;
        loop {
            let appended = shared.accumulator.lock().append(env, &shared.options, &record, timestamp, &mut memory)?;
            match appended {
                Append::Done { outcome, index, wake_sender } => {
                    if wake_sender {
                        shared.doorbell.notify_one();
                    }
                    return Ok(Delivery { outcome, index, timestamp, shared: shared.clone() });
                }
                Append::NeedTopic => {
                    let deadline = *deadline.get_or_insert_with(|| Deadline::after(env, shared.options.max_block));
                    shared.learn_topic(record.topic, &deadline).await?;
                }
                Append::NeedBatch(bytes) => {
                    let deadline = *deadline.get_or_insert_with(|| Deadline::after(env, shared.options.max_block));
                    memory = Some(shared.reserve(bytes, &deadline).await?);
                }
            }
        }
    }

    /// The number of partitions of `topic`.
    pub async fn partitions_for(&self, topic: &str) -> Result<usize> {
        let shared = &self.handle.shared;
        let deadline = Deadline::after(shared.client.env(), shared.options.max_block);
        shared.learn_topic(topic, &deadline).await
    }

    /// Sends what is queued without lingering and waits until it is delivered or given up.
    pub async fn flush(&self) {
        let shared = &self.handle.shared;
        let outstanding = {
            let mut accumulator = shared.accumulator.lock();
            accumulator.flushing += 1;
            accumulator.outstanding()
        };
        let _flushing = Flushing(shared);
        shared.doorbell.notify_one();
        for outcome in outstanding {
            outcome.wait().await;
        }
    }

    /// Takes no more records, delivers those that were sent, and ends the background task; after `timeout` what is left
    /// fails with `Closed`.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        let shared = &self.handle.shared;
        shared.accumulator.lock().closing = true;
        shared.doorbell.notify_one();
        let mut ended = shared.ended.subscribe();
        let waited = shared.client.env().timeout(timeout, ended.wait_for(|ended| *ended)).await;
        if waited.is_ok() {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Closed, "the producer was closed before the record was delivered");
        shared.accumulator.lock().abandon(&error);
        shared.doorbell.notify_one();
        Err(Error::new(ErrorKind::Timeout, format!("records were left after {} ms", timeout.as_millis())))
    }
}

/// Ends the hurry of a flush, also when it is cancelled.
struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.accumulator.lock().flushing -= 1;
    }
}

/// Counts a `send` that waits for memory, also when it is cancelled.
struct Pressed<'a>(&'a Shared);

impl Drop for Pressed<'_> {
    fn drop(&mut self) {
        self.0.pressed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn learn_topic(&self, topic: &str, deadline: &Deadline) -> Result<usize> {
        let metadata = self.client.topic(topic, self.options.allow_auto_create_topics, deadline).await?;
        let mut accumulator = self.accumulator.lock();
        accumulator.update_topic(&Arc::from(topic), &metadata);
        Ok(metadata.partitions.len())
    }

    async fn reserve(&self, bytes: usize, deadline: &Deadline) -> Result<OwnedSemaphorePermit> {
        // A record above the whole budget may still go alone.
        let bytes = bytes.min(self.options.buffer_memory) as u32;
        if let Ok(permit) = self.memory.clone().try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        self.pressed.fetch_add(1, Ordering::Relaxed);
        let _pressed = Pressed(self);
        self.doorbell.notify_one();
        let env = self.client.env();
        let left = deadline.left(env).unwrap_or_default();
        match env.timeout(left, self.memory.clone().acquire_many_owned(bytes)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "buffer.memory ({} bytes) stayed full for {} ms: the brokers take less than is sent",
                    self.options.buffer_memory,
                    deadline.limit.as_millis()
                ),
            )),
        }
    }
}
