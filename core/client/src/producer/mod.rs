//! The producer: records are appended to batches per partition, a background task sends the batches to the partitions'
//! leaders, and each record's delivery can be awaited. Idempotent by default: within one producer a retry neither
//! doubles nor reorders. With a `transactional.id`, what is sent between `begin_transaction` and `commit_transaction`
//! appears to read_committed consumers all at once or not at all.
//!
//! In here: [`accumulator`] holds the batches, one [`queue`] per partition; [`sender`] is the background task;
//! [`transaction`] the state of a transactional producer. One lock, the accumulator's, which is never held across an
//! await, while compressing, or while a partitioner or an interceptor runs.

mod accumulator;
mod batch;
mod coordinator_calls;
mod delivery;
mod doorbell;
mod interceptor;
mod metrics;
mod options;
mod partitioner;
mod queue;
mod record;
mod requests;
mod send;
mod sender;
mod sink;
mod transaction;
mod transactional;

pub use delivery::Delivery;
pub use interceptor::ProducerInterceptor;
pub use options::{Acks, ProducerOptions};
pub(crate) use partitioner::choose;
pub use partitioner::{Partitioner, RoundRobinPartitioner, TopicPartitions};
pub use record::{OwnedRecord, ProducerRecord, RecordMetadata};
pub use sink::{DeliveredRecords, DeliverySink};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metric;
use crate::options::{ClientOptions, read};
use crate::retry::Deadline;
use accumulator::Accumulator;
use doorbell::Doorbell;
use interceptor::Interceptors;
use metrics::{ProducerMetrics, Timed};
use ottla_config::Scope;
use ottla_env::Env;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use transaction::Transaction;

/// Sends records. Clones share the batches and the background task; when the last is dropped, what was sent is still
/// delivered in the background, and an open transaction is aborted.
///
/// ```no_run
/// # async fn example() -> ottla_client::Result<()> {
/// use ottla_client::{Env, Producer, ProducerRecord};
///
/// let producer = Producer::from_configs(Env::real(), [("bootstrap.servers", "localhost:9092"), ("linger.ms", "20")])?;
/// let delivery = producer.send(ProducerRecord::new("flights", Some(b"LX40"), Some(b"boarding"))).await?;
/// println!("written at offset {}", delivery.wait().await?.offset);
/// # Ok(()) }
/// ```
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
    /// The client was made for this producer and ends with it.
    owns_client: bool,
    options: ProducerOptions,
    interceptors: Interceptors,
    /// All batches. The producer's only lock; never held across an await or while encoding.
    accumulator: Mutex<Accumulator>,
    /// Wakes the sender: a batch was opened or filled, an answer came, a flush or close began.
    doorbell: Arc<Doorbell>,
    /// `buffer.memory` in bytes.
    memory: Arc<Semaphore>,
    /// Calls of `send` that wait for memory: nothing lingers meanwhile.
    pressed: AtomicUsize,
    metrics: ProducerMetrics,
    /// True when the sender has ended.
    ended: watch::Sender<bool>,
}

impl Producer {
    /// A producer with a client of its own, from Kafka's configs by name. Nothing is dialled yet.
    ///
    /// Names that are unknown, or have no effect here, are logged as warnings; `key.serializer` and `value.serializer`
    /// are among them, as records are bytes.
    ///
    /// # Errors
    /// A value that cannot be used, or settings that exclude each other, in Kafka's words.
    pub fn from_configs<K: Into<String>, V: Into<String>>(
        env: Env,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Producer> {
        let configs = read(Scope::Producer, pairs)?;
        let options = ProducerOptions::from_configs(&configs)?;
        let client = Client::new(env, ClientOptions::from_configs(&configs))?;
        Producer::run(client, options, true)
    }

    pub(crate) fn start(client: Client, options: ProducerOptions) -> Result<Producer> {
        Producer::run(client, options, false)
    }

    fn run(client: Client, options: ProducerOptions, owns_client: bool) -> Result<Producer> {
        let options = options.resolve(client.options().request_timeout)?;
        let env = client.env().clone();
        let doorbell = Arc::<Doorbell>::default();
        let transaction = options.transactional_id.as_deref().map(Transaction::new);
        let shared = Arc::new(Shared {
            memory: Arc::new(Semaphore::new(options.buffer_memory)),
            metrics: ProducerMetrics::new(client.metrics("producer")),
            accumulator: Mutex::new(Accumulator::new(doorbell.clone(), transaction)),
            interceptors: Interceptors(options.interceptors.clone()),
            client,
            owns_client,
            options,
            doorbell,
            pressed: AtomicUsize::new(0),
            ended: watch::channel(false).0,
        });
        ProducerMetrics::watch(&shared);
        let (_, near) = env.spawn_near("producer sender", sender::run(shared.clone()));
        // What the application has called from the sender is not to run within its own call.
        if shared.interceptors.is_empty() && shared.options.delivery_sink.is_none() {
            shared.doorbell.runs(near);
        }
        Ok(Producer { handle: Arc::new(Handle { shared }) })
    }

    /// The number of partitions of `topic`, waiting up to `max.block.ms` for its metadata.
    ///
    /// # Errors
    /// Why the topic could not be described.
    pub async fn partitions_for(&self, topic: &str) -> Result<usize> {
        let shared = &self.handle.shared;
        let deadline = Deadline::after(shared.client.env(), shared.options.max_block);
        shared.learn_topic(topic, &deadline).await
    }

    /// Sends what is queued without lingering and waits until all that was sent before is delivered or given up, which
    /// takes `delivery.timeout.ms` at most. Records that others send meanwhile are not waited for.
    ///
    /// Dropping the future ends the wait and the hurry; nothing else is lost.
    pub async fn flush(&self) {
        let shared = &self.handle.shared;
        let _timed = Timed::new(shared, &shared.metrics.flush_time);
        let outstanding = {
            let mut accumulator = shared.accumulator.lock();
            accumulator.flushing += 1;
            accumulator.outstanding()
        };
        let _flushing = Flushing(shared);
        shared.doorbell.ring_here().await;
        for outcome in outstanding {
            outcome.wait().await;
        }
    }

    /// Takes no more records, delivers those that were sent, aborts an open transaction, and ends the background task;
    /// after `timeout` what is left fails with `Closed`.
    ///
    /// Dropping the future leaves the producer closing in the background.
    ///
    /// # Errors
    /// `Timeout`: records were left, and have failed.
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
        shared.tell_finished();
        shared.doorbell.notify_one();
        Err(Error::new(ErrorKind::Timeout, format!("records were left after {} ms", timeout.as_millis())))
    }

    /// All metrics as they are now, under the Java producer's names: groups `producer-metrics`,
    /// `producer-topic-metrics` and what the connections count.
    pub fn metrics(&self) -> Vec<Metric> {
        self.handle.shared.metrics.registry.snapshot()
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
        let _timed = Timed::new(self, &self.metrics.metadata_wait);
        let metadata = self.client.topic(topic, self.options.allow_auto_create_topics, deadline).await?;
        let now = self.client.env().monotonic();
        self.accumulator.lock().update_topic(&Arc::from(topic), &metadata, now);
        Ok(metadata.partitions.len())
    }

    async fn reserve(&self, bytes: usize, deadline: &Deadline) -> Result<OwnedSemaphorePermit> {
        // A record above the whole budget may still go alone; a batch is below 2 GiB.
        let bytes = bytes.min(self.options.buffer_memory).min(u32::MAX as usize) as u32;
        if let Ok(permit) = self.memory.clone().try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        self.pressed.fetch_add(1, Ordering::Relaxed);
        let _pressed = Pressed(self);
        self.doorbell.notify_one();
        let env = self.client.env();
        let since = env.monotonic();
        let left = deadline.left(env).unwrap_or_default();
        let reserved = env.timeout(left, self.memory.clone().acquire_many_owned(bytes)).await;
        self.metrics.buffer_waited(env.monotonic().saturating_sub(since), reserved.is_err());
        match reserved {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "buffer.memory ({} bytes) stayed full for {} ms (max.block.ms): the brokers take less than is sent",
                    self.options.buffer_memory,
                    deadline.limit.as_millis()
                ),
            )),
        }
    }

    /// Tells the interceptors of batches that are settled, outside of all locks.
    fn tell_finished(&self) {
        if self.interceptors.is_empty() {
            return;
        }
        let finished = std::mem::take(&mut self.accumulator.lock().finished);
        for batch in finished {
            for (index, timestamp) in batch.timestamps.iter().enumerate() {
                match batch.outcome.record(index as u32, *timestamp) {
                    Some(Ok(metadata)) => self.interceptors.on_acknowledgement(&metadata, None),
                    Some(Err(error)) => {
                        let (topic, partition) = (batch.outcome.topic.clone(), batch.outcome.partition);
                        let metadata = RecordMetadata { topic, partition, offset: -1, timestamp: *timestamp };
                        self.interceptors.on_acknowledgement(&metadata, Some(&error));
                    }
                    None => {}
                }
            }
        }
    }
}
