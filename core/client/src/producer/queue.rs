//! One partition's batches, from the open one to those in flight, and its sequence numbers.
//!
//! Batches leave in the order of their sequence numbers. When one fails in a way that a retry may mend, the partition
//! sends nothing until its other batches in flight have come back too, and then goes on from the lowest sequence, so
//! that a retry never overtakes or is overtaken. For the same reason all its batches in flight are on one connection:
//! over a new one, later batches could be written by the dozen before someone notices that an earlier one was lost with
//! the old, and a broker remembers only the last five to tell a retry by.
//!
//! When a sequence number is used up without a record behind it, what follows would be out of order. Once nothing is in
//! flight any more, the queue is repaired: an idempotent producer takes the next epoch and counts from 0 (KIP-360).

use super::ProducerOptions;
use super::batch::{Batch, ProducerId, sequence_after, sequence_before};
use crate::retry::Backoff;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The batch that records are appended to.
    pub(super) open: Option<Batch>,
    /// Full or to be sent again; lowest sequence first.
    pub(super) closed: VecDeque<Batch>,
    /// The batches on their way, by id and sequence; -1 without idempotence.
    in_flight: Vec<(u64, i32)>,
    /// The connection that they are on.
    connection: u64,
    /// Whose sequence numbers these are.
    pub(super) producer: Option<ProducerId>,
    next_sequence: i32,
    /// The first sequence that is not acknowledged; `None` before the first acknowledgement.
    acked_to: Option<i32>,
    /// The last offset that was acknowledged; -1 for none.
    pub(super) acked_offset: i64,
    pub(super) repair: Repair,
    /// A batch failed: wait until the others in flight are back.
    draining: bool,
    /// Backoff after a failure.
    not_before: Duration,
    backoff: Option<Backoff>,
    /// The sender's list has it.
    pub(super) listed: bool,
    /// The transaction that it was added to, by its number.
    pub(super) transaction: u64,
}

/// What a queue needs once nothing of it is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Repair {
    #[default]
    None,
    /// Another epoch, and sequences from 0.
    Bump,
    /// Sequences from 0; the broker forgot this producer.
    Restart,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { acked_offset: -1, ..Queue::default() }
    }

    pub(super) fn close_open(&mut self) {
        self.closed.extend(self.open.take());
    }

    /// Batches that wait, the open one included.
    pub(super) fn waiting(&self) -> usize {
        self.closed.len() + usize::from(self.open.is_some())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.in_flight.is_empty()
    }

    pub(super) fn nothing_in_flight(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn has_in_flight(&self, id: u64) -> bool {
        self.in_flight.iter().any(|(other, _)| *other == id)
    }

    /// Whether the broker may not know this producer yet. It then takes any sequence as the first: were a second batch in
    /// flight, it could be written although the first one failed, which then could never be written before it.
    fn is_new_to_broker(&self) -> bool {
        self.producer.is_some() && self.acked_to.is_none()
    }

    /// When it may send: `None` never without an event, zero now. `hurry` is that nothing lingers; `idle` that the
    /// leader has no request in flight.
    pub(super) fn wait(
        &mut self,
        options: &ProducerOptions,
        now: Duration,
        hurry: bool,
        idle: bool,
    ) -> Option<Duration> {
        if self.in_flight.is_empty() {
            self.draining = false;
        } else if self.draining || self.repair != Repair::None || self.is_new_to_broker() {
            return None;
        }
        let due = match (self.closed.front(), &self.open) {
            (Some(_), _) => Duration::ZERO,
            (None, Some(open)) => {
                let awaited = idle && open.outcome.awaited.load(Ordering::Relaxed);
                let full = open.uncompressed >= options.batch_size();
                let lingered = now.saturating_sub(open.created);
                if hurry || awaited || full { Duration::ZERO } else { options.linger.saturating_sub(lingered) }
            }
            (None, None) => return None,
        };
        Some(due.max(self.not_before.saturating_sub(now)))
    }

    /// Takes the next batch for `connection`, numbered for `producer`; `None` while others are on another connection or
    /// carry an earlier producer id.
    pub(super) fn take(&mut self, connection: u64, producer: Option<ProducerId>) -> Option<Batch> {
        if !self.in_flight.is_empty() && self.connection != connection {
            return None;
        }
        if self.closed.is_empty() {
            self.close_open();
        }
        let numbered = self.closed.front()?.sequence.is_some();
        if let (Some(producer), false) = (producer, numbered) {
            if self.producer != Some(producer) {
                if !self.in_flight.is_empty() {
                    return None;
                }
                self.restart(producer);
            }
            let sequence = self.next_sequence;
            let front = self.closed.front_mut()?;
            front.sequence = Some((producer, sequence));
            self.next_sequence = sequence_after(sequence, front.count);
        }
        let batch = self.closed.pop_front()?;
        self.in_flight.push((batch.id, batch.sequence.map_or(-1, |(_, sequence)| sequence)));
        self.connection = connection;
        Some(batch)
    }

    /// Sequences from 0 for what is queued, under `producer`.
    pub(super) fn restart(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
        self.next_sequence = 0;
        self.acked_to = None;
        self.repair = Repair::None;
        for batch in &mut self.closed {
            batch.unnumber();
        }
    }

    /// A batch came back, one way or the other.
    pub(super) fn landed(&mut self, batch: &Batch) {
        self.in_flight.retain(|(id, _)| *id != batch.id);
    }

    /// A batch was written, its last record at `last_offset` if that is known.
    pub(super) fn acked(&mut self, batch: &Batch, last_offset: i64) {
        self.backoff = None;
        self.acked_offset = self.acked_offset.max(last_offset);
        let current = batch.sequence.is_some_and(|(producer, _)| self.producer == Some(producer));
        let end = batch.sequence_end();
        if let (true, Some(end)) = (current, end)
            && self.acked_to.is_none_or(|acked_to| sequence_before(acked_to, end))
        {
            self.acked_to = Some(end);
        }
    }

    /// Whether the broker expects exactly this sequence, as far as is known here.
    pub(super) fn is_next(&self, sequence: i32) -> bool {
        self.acked_to.unwrap_or(0) == sequence
    }

    /// Whether a batch with an earlier sequence is not settled yet.
    pub(super) fn has_before(&self, sequence: i32) -> bool {
        let queued = self.closed.iter().filter_map(|batch| batch.sequence.map(|(_, sequence)| sequence));
        let in_flight = self.in_flight.iter().map(|(_, sequence)| *sequence).filter(|sequence| *sequence >= 0);
        in_flight.chain(queued).any(|other| sequence_before(other, sequence))
    }

    /// Queues batches that failed once more: where their sequence says, or first. Nothing leaves before the others in
    /// flight are back and the backoff, which `backoff` starts anew after a success, is over.
    pub(super) fn again(
        &mut self,
        batches: Vec<Batch>,
        wait: impl FnOnce(&mut Option<Backoff>) -> Duration,
        now: Duration,
    ) {
        self.draining = true;
        self.not_before = now + wait(&mut self.backoff);
        let at = match batches.first().and_then(|batch| batch.sequence) {
            Some((_, sequence)) => self
                .closed
                .partition_point(|other| other.sequence.is_some_and(|(_, other)| sequence_before(other, sequence))),
            None => 0,
        };
        for batch in batches.into_iter().rev() {
            self.closed.insert(at, batch);
        }
    }

    /// Takes out the queued batch `id`.
    pub(super) fn remove(&mut self, id: u64) -> Option<Batch> {
        if self.open.as_ref().is_some_and(|open| open.id == id) {
            return self.open.take();
        }
        let at = self.closed.iter().position(|batch| batch.id == id)?;
        self.closed.remove(at)
    }

    /// Takes out all queued batches for which `which` holds.
    pub(super) fn drain(&mut self, which: impl Fn(&Batch) -> bool) -> Vec<Batch> {
        self.close_open();
        let (out, stay) = std::mem::take(&mut self.closed).into_iter().partition(|batch| which(batch));
        self.closed = stay;
        Vec::from(out)
    }
}
