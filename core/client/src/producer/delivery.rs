//! What became of a batch, and of one record in it.

use super::doorbell::Doorbell;
use super::record::RecordMetadata;
use super::sink::{DeliverySink, Tags};
use crate::error::{Error, Result};
use ottla_model::ErrorCode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What became of a batch; shared by its records' deliveries.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    settled: OnceLock<Settled>,
    done: Notify,
    /// Someone awaits a record of this batch, so that lingering only delays them.
    pub(super) awaited: AtomicBool,
    /// Wakes the sender.
    doorbell: Arc<Doorbell>,
    /// Where somebody hears of whole batches.
    tags: Option<Tags>,
}

#[derive(Debug)]
enum Settled {
    Written(Acked),
    Failed(Error),
    /// Some records were refused, which failed the others with them: by index, and what the others are told.
    Rejected(BTreeMap<u32, Error>, Error),
    /// It was divided; the first index of each part.
    Parts(Vec<(u32, Arc<Outcome>)>),
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
    pub(super) fn new(topic: Arc<str>, partition: i32, doorbell: Arc<Doorbell>) -> Outcome {
        let (settled, done) = (OnceLock::new(), Notify::new());
        Outcome { topic, partition, settled, done, awaited: AtomicBool::new(false), doorbell, tags: None }
    }

    /// The same, told to `sink` as well.
    pub(super) fn told_to(mut self, sink: Option<&Arc<dyn DeliverySink>>) -> Outcome {
        self.tags = sink.cloned().map(Tags::new);
        self
    }

    /// The number of the record that was appended last; without one nobody asks for it.
    pub(super) fn tag(&self, tag: Option<u64>, timestamp: i64) {
        if let Some(tags) = &self.tags {
            tags.push(tag.unwrap_or(u64::MAX), timestamp);
        }
    }

    /// An outcome for a part of the batch.
    pub(super) fn part(&self) -> Outcome {
        let part = Outcome::new(self.topic.clone(), self.partition, self.doorbell.clone());
        part.awaited.store(self.awaited.load(Ordering::Relaxed), Ordering::Relaxed);
        Outcome { tags: self.tags.as_ref().map(Tags::part), ..part }
    }

    fn settle(&self, settled: Settled) {
        if self.settled.set(settled).is_ok() {
            self.done.notify_waiters();
            self.tell();
        }
    }

    /// Tells who hears of whole batches.
    fn tell(&self) {
        let (Some(tags), Some(settled)) = (&self.tags, self.settled.get()) else { return };
        match settled {
            Settled::Written(acked) => tags.tell(&self.topic, self.partition, &Ok(*acked)),
            Settled::Failed(error) => tags.tell(&self.topic, self.partition, &Err(error.clone())),
            Settled::Rejected(refused, others) => {
                tags.tell_each(&self.topic, self.partition, |index| refused.get(&index).unwrap_or(others).clone());
            }
            // Each part tells of its own.
            Settled::Parts(_) => {}
        }
    }

    pub(super) fn set(&self, result: Result<Acked>) {
        self.settle(match result {
            Ok(acked) => Settled::Written(acked),
            Err(error) => Settled::Failed(error),
        });
    }

    /// Fails the records that the broker refused, each for its reason, and the others because of them.
    pub(super) fn reject(&self, refused: BTreeMap<u32, Error>, others: Error) {
        self.settle(Settled::Rejected(refused, others));
    }

    pub(super) fn set_parts(&self, parts: Vec<(u32, Arc<Outcome>)>) {
        for (at, (start, part)) in parts.iter().enumerate() {
            if let (Some(tags), Some(to)) = (&self.tags, &part.tags) {
                tags.give(*start, parts.get(at + 1).map(|(next, _)| *next), to);
            }
        }
        self.settle(Settled::Parts(parts));
    }

    pub(super) fn is_done(&self) -> bool {
        match self.settled.get() {
            None => false,
            Some(Settled::Parts(parts)) => parts.iter().all(|(_, part)| part.is_done()),
            Some(_) => true,
        }
    }

    /// Waits until it is settled, and its parts too if it was divided.
    pub(super) async fn wait(&self) {
        self.wait_settled().await;
        let Some(Settled::Parts(parts)) = self.settled.get() else { return };
        let mut parts: Vec<Arc<Outcome>> = parts.iter().map(|(_, part)| part.clone()).collect();
        while let Some(part) = parts.pop() {
            part.wait_settled().await;
            if let Some(Settled::Parts(more)) = part.settled.get() {
                parts.extend(more.iter().map(|(_, part)| part.clone()));
            }
        }
    }

    async fn wait_settled(&self) {
        // Made before the check, so that a result between the two is not missed.
        let done = self.done.notified();
        if self.settled.get().is_none() {
            done.await;
        }
    }

    /// What became of record `index`, which had `timestamp`.
    pub(super) fn record(&self, index: u32, timestamp: i64) -> Option<Result<RecordMetadata>> {
        Some(match self.settled.get()? {
            Settled::Written(acked) => Ok(RecordMetadata {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: if acked.base_offset < 0 { -1 } else { acked.base_offset + i64::from(index) },
                timestamp: if acked.log_append_time < 0 { timestamp } else { acked.log_append_time },
            }),
            Settled::Failed(error) => Err(error.clone()),
            Settled::Rejected(refused, others) => Err(refused.get(&index).unwrap_or(others).clone()),
            Settled::Parts(parts) => {
                let at = parts.partition_point(|(start, _)| *start <= index).checked_sub(1)?;
                let (start, part) = parts.get(at)?;
                return part.record(index - start, timestamp);
            }
        })
    }

    /// What `index` is waiting in: the batch, or the part of it.
    fn at(self: &Arc<Outcome>, index: u32) -> Arc<Outcome> {
        let (mut outcome, mut index) = (self.clone(), index);
        loop {
            let next = match outcome.settled.get() {
                Some(Settled::Parts(parts)) => {
                    let at = parts.partition_point(|(start, _)| *start <= index).saturating_sub(1);
                    parts.get(at).map(|(start, part)| (part.clone(), index - start))
                }
                _ => None,
            };
            match next {
                Some((part, rest)) => (outcome, index) = (part, rest),
                None => return outcome,
            }
        }
    }
}

/// What will become of a record; cheap, and may be dropped without any effect on the record.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub(super) outcome: Arc<Outcome>,
    pub(super) index: u32,
    pub(super) timestamp: i64,
}

impl Delivery {
    /// Waits until the record is acknowledged or given up, at most `delivery.timeout.ms` from its `send`.
    ///
    /// Dropping the future changes nothing: the record goes its way, and may be waited for again.
    ///
    /// # Errors
    /// Why the record was given up. After a `Timeout` it may have been written all the same.
    pub async fn wait(&self) -> Result<RecordMetadata> {
        loop {
            if let Some(result) = self.get() {
                return result;
            }
            let outcome = self.outcome.at(self.index);
            if !outcome.awaited.swap(true, Ordering::Relaxed) {
                outcome.doorbell.ring_here().await;
            }
            outcome.wait_settled().await;
        }
    }

    /// As [`Delivery::wait`], but the batch lingers as if nobody waited.
    ///
    /// # Errors
    /// As of [`Delivery::wait`].
    pub async fn wait_lingering(&self) -> Result<RecordMetadata> {
        loop {
            if let Some(result) = self.get() {
                return result;
            }
            self.outcome.at(self.index).wait_settled().await;
        }
    }

    /// The result, if there is one yet.
    pub fn get(&self) -> Option<Result<RecordMetadata>> {
        self.outcome.record(self.index, self.timestamp)
    }

    /// The topic of the record.
    pub fn topic(&self) -> &str {
        &self.outcome.topic
    }

    /// The partition that was chosen.
    pub fn partition(&self) -> i32 {
        self.outcome.partition
    }
}

/// The errors of a batch of which the broker refused single records (KIP-467).
pub(super) fn rejected<'a>(
    what: &str,
    refused: impl Iterator<Item = (i32, Option<&'a str>)>,
    code: ErrorCode,
    message: Option<&str>,
) -> (BTreeMap<u32, Error>, Error) {
    let refused = refused
        .filter_map(|(index, text)| Some((u32::try_from(index).ok()?, Error::from_code(code, what, text.or(message)))))
        .collect();
    let others = "Failed to append record because it was part of a batch which had one or more invalid records";
    (refused, Error::from_code(code, what, Some(others)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Arc<Outcome> {
        Arc::new(Outcome::new(Arc::from("t"), 3, Arc::default()))
    }

    #[test]
    fn parts_answer_for_the_whole() {
        let whole = outcome();
        let (first, second) = (Arc::new(whole.part()), Arc::new(whole.part()));
        whole.set_parts(vec![(0, first.clone()), (4, second.clone())]);
        assert!(whole.record(0, 1).is_none() && !whole.is_done());
        second.set(Ok(Acked { base_offset: 10, log_append_time: -1 }));
        assert_eq!(whole.record(5, 77).expect("settled").expect("written").offset, 11);
        assert!(whole.record(3, 1).is_none() && !whole.is_done());
        first.set(Err(Error::closed()));
        assert!(whole.record(3, 1).expect("settled").is_err() && whole.is_done());
    }

    #[test]
    fn refused_records_are_told_why_and_the_others_that_it_was_them() {
        let outcome = outcome();
        let (refused, others) =
            rejected("partition t-3", [(1, Some("no key"))].into_iter(), ErrorCode::InvalidRecord, None);
        outcome.reject(refused, others);
        let message = |index| outcome.record(index, 0).expect("settled").expect_err("failed").message().to_owned();
        assert!(message(1).contains("no key"), "{}", message(1));
        assert!(message(0).contains("part of a batch"), "{}", message(0));
    }
}
