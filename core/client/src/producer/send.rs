//! `Producer::send`: a record's way into a batch.

use super::accumulator::{Append, Choice};
use super::delivery::Delivery;
use super::partitioner::{Partitioner, TopicPartitions, ask, new_batch};
use super::record::{OwnedRecord, ProducerRecord, RecordMetadata};
use super::{Producer, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Records that are appended without giving others the lock in between.
const TOGETHER: usize = 256;

impl Producer {
    /// Appends `record` to a batch and returns at once, except for waiting up to `max.block.ms` for the topic's metadata
    /// or for memory. Dropping the future before it is ready drops the record.
    ///
    /// # Errors
    /// The record is too large, its partition does not exist, its timestamp is negative, the topic is unknown, memory
    /// stayed full, no transaction is open, or the producer is closed. Failures of delivery come from
    /// [`Delivery::wait`]. With a `transactional.id` an error obliges the transaction to be aborted, as in the Java
    /// producer.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery> {
        self.send_one(record, None).await
    }

    async fn send_one(&self, record: ProducerRecord<'_>, tag: Option<u64>) -> Result<Delivery> {
        let shared = &self.handle.shared;
        if shared.interceptors.is_empty() {
            return shared.send(&record, tag, &mut None).await.map_err(|error| shared.refused(error));
        }
        let replaced = shared.interceptors.on_send(OwnedRecord::from(&record));
        let headers = replaced.headers();
        let sent = shared.send(&replaced.borrowed(&headers), tag, &mut None).await;
        sent.map_err(|error| {
            let error = shared.refused(error);
            shared.interceptors.on_acknowledgement(
                &RecordMetadata {
                    topic: Arc::from(replaced.topic.as_str()),
                    partition: replaced.partition.unwrap_or(-1),
                    offset: -1,
                    timestamp: replaced.timestamp.unwrap_or(-1),
                },
                Some(&error),
            );
            error
        })
    }

    /// Sends many records with fewer locks: what [`Producer::send`] would give for each, in order. A record that is
    /// refused does not keep those after it from being sent.
    ///
    /// Dropping the future before it is ready leaves the records sent that were appended so far, from the front.
    ///
    /// ```no_run
    /// # async fn example(producer: &ottla_client::Producer) {
    /// use ottla_client::ProducerRecord;
    ///
    /// let values = ["a", "b", "c"];
    /// let records = values.map(|value| ProducerRecord::new("letters", None, Some(value.as_bytes())));
    /// for delivery in producer.send_all(&records).await {
    ///     delivery.expect("it was appended").wait().await.expect("it was written");
    /// }
    /// # }
    /// ```
    pub async fn send_all(&self, records: &[ProducerRecord<'_>]) -> Vec<Result<Delivery>> {
        self.send_numbered(records, None).await
    }

    pub(super) async fn send_numbered(
        &self,
        records: &[ProducerRecord<'_>],
        first_tag: Option<u64>,
    ) -> Vec<Result<Delivery>> {
        let shared = &self.handle.shared;
        let mut sent = Vec::with_capacity(records.len());
        let single = shared.sends_one_by_one();
        let mut memory = None;
        while sent.len() < records.len() {
            if !single {
                let tag = first_tag.map(|first| first + sent.len() as u64);
                shared.append_many(&records[sent.len()..], tag, &mut memory, &mut sent);
            }
            let Some(next) = records.get(sent.len()) else { break };
            let tag = first_tag.map(|first| first + sent.len() as u64);
            if single {
                sent.push(self.send_one(*next, tag).await);
                continue;
            }
            // It needs metadata or memory, or is wrong.
            sent.push(shared.send(next, tag, &mut memory).await.map_err(|error| shared.refused(error)));
        }
        sent
    }
}

impl Shared {
    /// A record was not taken: of a transaction that is one more than will be committed.
    fn refused(&self, error: Error) -> Error {
        // A call at the wrong time says nothing about the transaction; a record that cannot be sent does.
        let counts = error.code().is_some() || error.kind() == ErrorKind::Timeout;
        if self.options.transactional_id.is_some() && counts {
            let mut accumulator = self.accumulator.lock();
            if let Some(transaction) = &mut accumulator.transaction {
                transaction.batch_failed(&error, false);
            }
        }
        error
    }

    /// Somebody sees each record before it is appended.
    pub(super) fn sends_one_by_one(&self) -> bool {
        !self.interceptors.is_empty() || self.options.partitioner.is_some()
    }

    /// Appends records from the front while nothing has to be waited for.
    pub(super) fn append_many(
        &self,
        records: &[ProducerRecord<'_>],
        first_tag: Option<u64>,
        memory: &mut Option<OwnedSemaphorePermit>,
        sent: &mut Vec<Result<Delivery>>,
    ) {
        let env = self.client.env();
        let mut tags = first_tag.map(|first| first..);
        for records in records.chunks(TOGETHER) {
            let now_ms = env.now_ms();
            let mut wake = false;
            let before = sent.len();
            {
                let mut accumulator = self.accumulator.lock();
                let mut records = records.iter();
                let mut next = records.next();
                while let Some(record) = next {
                    let timestamp = record.timestamp.unwrap_or(now_ms);
                    if timestamp < 0 {
                        break;
                    }
                    let appended = accumulator.append(env, &self.options, record, timestamp, Choice::BuiltIn, memory);
                    match appended {
                        Ok(Append::Done { outcome, index, wake_sender }) => {
                            wake |= wake_sender;
                            outcome.tag(tags.as_mut().and_then(Iterator::next), timestamp);
                            sent.push(Ok(Delivery { outcome, index, timestamp }));
                            next = records.next();
                        }
                        Ok(Append::NeedBatch(bytes)) => {
                            let bytes = bytes.min(self.options.buffer_memory).min(u32::MAX as usize) as u32;
                            match self.memory.clone().try_acquire_many_owned(bytes) {
                                Ok(permit) => *memory = Some(permit),
                                Err(_) => break,
                            }
                        }
                        // Told by `send`.
                        _ => break,
                    }
                }
            }
            if wake {
                self.doorbell.notify_one();
            }
            if sent.len() - before < records.len() {
                return;
            }
        }
    }

    async fn send(
        &self,
        record: &ProducerRecord<'_>,
        tag: Option<u64>,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Delivery> {
        let env = self.client.env();
        let timestamp = record.timestamp.unwrap_or_else(|| env.now_ms());
        if timestamp < 0 {
            return Err(Error::invalid(format!(
                "Invalid timestamp: {timestamp}. Timestamp should always be non-negative or null."
            )));
        }
        let mut deadline: Option<Deadline> = None;
        let mut choice = Choice::BuiltIn;
        if let (Some(partitioner), None) = (&self.options.partitioner, record.partition) {
            let deadline = *deadline.get_or_insert_with(|| Deadline::after(env, self.options.max_block));
            let partition = self.choose(&**partitioner, record, &deadline).await?;
            choice = Choice::Chosen { partition, tell_first: true };
        }
        loop {
            let appended = {
                let mut accumulator = self.accumulator.lock();
                let appended = accumulator.append(env, &self.options, record, timestamp, choice, memory)?;
                // Under the lock: the batch has not left yet.
                if let Append::Done { outcome, .. } = &appended {
                    outcome.tag(tag, timestamp);
                }
                appended
            };
            match appended {
                Append::Done { outcome, index, wake_sender } => {
                    if wake_sender {
                        self.doorbell.notify_one();
                    }
                    return Ok(Delivery { outcome, index, timestamp });
                }
                Append::NeedTopic => {
                    let deadline = *deadline.get_or_insert_with(|| Deadline::after(env, self.options.max_block));
                    self.learn_topic(record.topic, &deadline).await.map_err(|error| self.blocked(error, &deadline))?;
                }
                Append::NeedBatch(bytes) => {
                    self.doorbell.notify_one();
                    let deadline = *deadline.get_or_insert_with(|| Deadline::after(env, self.options.max_block));
                    *memory = Some(self.reserve(bytes, &deadline).await?);
                }
                Append::NewBatch => {
                    // Only told: asking it again for this record would cost it a turn (KAFKA-9965).
                    if let (Some(partitioner), Choice::Chosen { partition, .. }) = (&self.options.partitioner, choice) {
                        if let Some(metadata) = self.client.snapshot().topics.get(record.topic) {
                            new_batch(&**partitioner, &TopicPartitions::new(record.topic, metadata), partition);
                        }
                        choice = Choice::Chosen { partition, tell_first: false };
                    }
                }
            }
        }
    }

    /// Asks the application's partitioner, outside of all locks.
    async fn choose(
        &self,
        partitioner: &dyn Partitioner,
        record: &ProducerRecord<'_>,
        deadline: &Deadline,
    ) -> Result<i32> {
        let create = self.options.allow_auto_create_topics;
        let metadata = self.client.topic(record.topic, create, deadline).await;
        let metadata = metadata.map_err(|error| self.blocked(error, deadline))?;
        ask(partitioner, &TopicPartitions::new(record.topic, &metadata), record.key, record.value)
    }

    /// Says of a time limit which one it was.
    fn blocked(&self, error: Error, deadline: &Deadline) -> Error {
        if deadline.left(self.client.env()).is_some() {
            return error;
        }
        let limit = deadline.limit.as_millis();
        error.context(&format!("no metadata of the topic within {limit} ms (max.block.ms)"))
    }
}
