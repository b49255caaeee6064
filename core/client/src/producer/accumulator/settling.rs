//! What becomes of batches: acknowledged, tried again, divided, given up, or out of time.

use super::{Accumulator, Due, Failure, Finished, Verdict, Waiting};
use crate::error::{Error, ErrorKind, Result};
use crate::producer::ProducerOptions;
use crate::producer::batch::Batch;
use crate::producer::delivery::Acked;
use crate::producer::queue::Repair;
use crate::producer::transaction::Transaction;
use crate::retry::Backoff;
use ottla_model::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

impl Accumulator {
    /// A batch came back with an acknowledgement.
    pub(in crate::producer) fn acked(&mut self, due: Due, acked: Acked) {
        let last = if acked.base_offset < 0 { -1 } else { acked.base_offset + due.batch.count as i64 - 1 };
        let queue = &mut self.topics[due.at].queues[due.partition as usize];
        queue.landed(&due.batch);
        queue.acked(&due.batch, last);
        self.finish(due.batch, Ok(acked));
    }

    /// A batch came back with an error. Queues it again, whole or in parts, where that may help.
    pub(in crate::producer) fn failed(
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
    pub(in crate::producer) fn expire(
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
    pub(in crate::producer) fn next_expiry(&self, options: &ProducerOptions, now: Duration) -> Option<Duration> {
        let ((created, _), _) = self.incomplete.first_key_value()?;
        Some((*created + options.delivery_timeout).saturating_sub(now))
    }

    /// Fails what is queued and has not left yet, or with `all` also what left before.
    pub(in crate::producer) fn fail_queued(&mut self, error: &Error, all: bool) {
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
    pub(in crate::producer) fn abandon(&mut self, error: &Error) {
        self.abandoned = true;
        self.fail_queued(error, true);
        if let Some(transaction) = &mut self.transaction {
            transaction.fatal(error.clone());
        }
        for waiting in std::mem::take(&mut self.incomplete).into_values() {
            waiting.outcome.set(Err(error.clone()));
        }
    }
}
