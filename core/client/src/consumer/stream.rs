//! Records as a `Stream`, for those who compose streams. It polls as [`Consumer::poll`] does and hands out one by one.

use super::position::Place;
use super::records::{ConsumerRecord, ConsumerRecords};
use super::{Consumer, Shared};
use crate::error::{ErrorKind, Result};
use futures_core::Stream;
use ottla_model::TopicPartition;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long one poll inside waits; the stream goes on with the next one.
const TURN: Duration = Duration::from_secs(1);

type Polled<'a> = Pin<Box<dyn Future<Output = Result<Option<ConsumerRecords>>> + Send + 'a>>;

/// The records of a consumer one by one, made by [`Consumer::stream`]. Ends when the consumer is closed.
///
/// A record counts as read (for [`Consumer::position`] and commits) when it is returned, so a stream that is dropped, at
/// any time, has lost nothing: polls and later streams go on behind the last record returned. A seek counts for the next
/// record. `max.poll.interval.ms` runs between the polls inside, that is between one lot of `max.poll.records` and the
/// next.
pub struct ConsumerStream<'a> {
    consumer: &'a Consumer,
    polling: Option<Polled<'a>>,
    records: std::vec::IntoIter<ConsumerRecord>,
    /// Of the partitions in `records`: their generation, and the offset behind all that was fetched.
    parts: Vec<(TopicPartition, u64, i64)>,
}

impl fmt::Debug for ConsumerStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerStream").field("waiting", &self.records.len()).finish_non_exhaustive()
    }
}

impl Consumer {
    /// The records one by one, as a stream that ends when the consumer is closed. Errors are items; what they are about
    /// may be mended, so the stream goes on after them. Use one stream at a time, and no polls beside it.
    ///
    /// ```no_run
    /// use futures_core::Stream;
    /// use ottla_client::{Consumer, ConsumerRecord, Result};
    /// use std::pin::pin;
    ///
    /// async fn first(consumer: &Consumer) -> Option<Result<ConsumerRecord>> {
    ///     let mut stream = pin!(consumer.stream());
    ///     std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    /// }
    /// ```
    pub fn stream(&self) -> ConsumerStream<'_> {
        ConsumerStream { consumer: self, polling: None, records: Vec::new().into_iter(), parts: Vec::new() }
    }
}

impl Stream for ConsumerStream<'_> {
    type Item = Result<ConsumerRecord>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            for record in this.records.by_ref() {
                if this.consumer.shared.returned(&record, &this.parts) {
                    return Poll::Ready(Some(Ok(record)));
                }
            }
            this.consumer.shared.finish_parts(&mut this.parts);
            let consumer = this.consumer;
            let polling = this.polling.get_or_insert_with(|| Box::pin(consumer.poll_ahead(TURN)));
            let polled = ready!(polling.as_mut().poll(context));
            this.polling = None;
            match polled {
                Ok(Some(records)) => {
                    this.parts =
                        records.parts.iter().map(|part| (part.partition.clone(), part.generation, part.next)).collect();
                    this.records = records.into_iter();
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Closed => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Drop for ConsumerStream<'_> {
    fn drop(&mut self) {
        // What was taken and not returned is fetched again.
        let left: std::collections::BTreeSet<TopicPartition> =
            self.records.by_ref().map(|record| record.topic_partition()).collect();
        let shared = &self.consumer.shared;
        let mut state = shared.state.lock();
        let parts = std::mem::take(&mut self.parts);
        for (partition, generation, _) in parts.into_iter().filter(|(partition, ..)| left.contains(partition)) {
            let current = state.partitions.get(&partition).filter(|assigned| assigned.generation == generation);
            if let Some((place, epoch)) = current.map(|assigned| (assigned.place, assigned.epoch)) {
                let _ = state.go(&partition, place, epoch);
            }
        }
        drop(state);
        shared.look();
    }
}

impl Shared {
    /// `record` is about to be returned: the position is behind it. False when its partition was sought or taken away.
    fn returned(&self, record: &ConsumerRecord, parts: &[(TopicPartition, u64, i64)]) -> bool {
        let of =
            |part: &&(TopicPartition, u64, i64)| part.0.partition == record.partition && part.0.topic == record.topic;
        let Some((partition, generation, _)) = parts.iter().find(of) else { return false };
        let mut state = self.state.lock();
        match state.partitions.get_mut(partition).filter(|assigned| assigned.generation == *generation) {
            Some(assigned) => {
                assigned.place = Place::At(record.offset + 1);
                if record.leader_epoch >= 0 {
                    assigned.epoch = Some(record.leader_epoch);
                }
                true
            }
            None => false,
        }
    }

    /// All was returned: positions are also behind what was skipped.
    fn finish_parts(&self, parts: &mut Vec<(TopicPartition, u64, i64)>) {
        if parts.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for (partition, generation, next) in parts.drain(..) {
            if let Some(assigned) = state.partitions.get_mut(&partition).filter(|a| a.generation == generation) {
                assigned.place = Place::At(next);
            }
        }
    }
}
