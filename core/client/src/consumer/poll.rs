//! Polling: takes turns, lets the group have what it needs, and hands out what has arrived.

use super::group::{self, InPoll};
use super::position::{Arrived, Place, What};
use super::records::{ConsumerRecord, ConsumerRecords, Fetched, Part, Records};
use super::{Consumer, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Consumer {
    /// The next records, at most `max.poll.records`, waiting up to `timeout` for some; empty when none came. What is
    /// returned counts as read: [`position`](Consumer::position) is behind it, and the next poll may commit it.
    ///
    /// Of a subscribed consumer this also joins the group, calls the listener and commits; poll at least every
    /// `max.poll.interval.ms`. Polls from several tasks take turns. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What a broker says about a partition or the group and retrying does not mend. Other partitions go on: poll again.
    /// [`ErrorKind::Wakeup`] after [`Consumer::wakeup`].
    pub async fn poll(&self, timeout: Duration) -> Result<ConsumerRecords> {
        let max = self.shared.options.max_poll_records;
        let taken = self.next(timeout, |shared| shared.take_records(max, true)).await?;
        Ok(self.shared.intercepted(taken.unwrap_or_default()))
    }

    /// As [`Consumer::poll`], but positions stay: the stream moves them as it returns records.
    pub(super) async fn poll_ahead(&self, timeout: Duration) -> Result<Option<ConsumerRecords>> {
        let max = self.shared.options.max_poll_records;
        let taken = self.next(timeout, |shared| shared.take_records(max, false)).await?;
        Ok(taken.map(|records| self.shared.intercepted(records)))
    }

    /// As [`Consumer::poll`], but all that has arrived, as batches that are decompressed when they are looked at. For
    /// those who want throughput: interceptors and `max.poll.records` have no say, and a corrupt batch shows only when its
    /// records are read.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn poll_batches(&self, timeout: Duration) -> Result<Vec<Fetched>> {
        Ok(self.next(timeout, Shared::take_batches).await?.unwrap_or_default())
    }

    /// The poll that waits, or the next one, ends with an error of [`ErrorKind::Wakeup`]. From any task.
    pub fn wakeup(&self) {
        self.shared.wakeup.store(true, Ordering::Release);
        self.shared.arrived.notify_waiters();
        self.shared.placed.notify_waiters();
    }

    async fn next<T>(&self, timeout: Duration, take: impl Fn(&Shared) -> Result<Option<T>>) -> Result<Option<T>> {
        let shared = &self.shared;
        let env = shared.client.env();
        let deadline = Deadline::after(env, timeout);
        let _in_poll = InPoll::enter(shared);
        let _measured = Measured::new(shared);
        let turn = shared.turn.try_lock();
        let _turn = match turn {
            Ok(turn) => turn,
            Err(_) => match env.timeout(timeout, shared.turn.lock()).await {
                Ok(turn) => turn,
                Err(_) => return Ok(None),
            },
        };
        loop {
            // Made before the look, so that an arrival between the two is not missed.
            let arrived = shared.arrived.notified();
            if shared.closing.load(Ordering::Acquire) {
                return Err(closed());
            }
            shared.check()?;
            let next_commit = shared.auto_commit();
            if let Some(group) = &shared.group {
                group::drive(self, group).await?;
            }
            if let Some(taken) = take(shared)? {
                return Ok(Some(taken));
            }
            let Some(left) = deadline.left(env) else { return Ok(None) };
            let until_commit = next_commit.map_or(left, |at| at.saturating_sub(env.monotonic()));
            let _ = env.timeout(left.min(until_commit), arrived).await;
        }
    }
}

/// Measures a poll, however it ends.
struct Measured<'a> {
    shared: &'a Shared,
    before: Option<Duration>,
    began: Duration,
}

impl Measured<'_> {
    fn new(shared: &Shared) -> Measured<'_> {
        let began = shared.client.env().monotonic();
        let before = shared.metrics.last_poll();
        shared.metrics.poll_began(began);
        Measured { shared, before, began }
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let now = self.shared.client.env().monotonic();
        self.shared.metrics.poll_ended(self.before, self.began, now);
    }
}

impl Shared {
    /// Whether the application may go on.
    pub(super) fn check(&self) -> Result<()> {
        if self.state.lock().closed {
            return Err(closed());
        }
        if self.wakeup.load(Ordering::Acquire) && self.wakeup.swap(false, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::Wakeup, "wakeup was called"));
        }
        Ok(())
    }

    fn intercepted(&self, mut records: ConsumerRecords) -> ConsumerRecords {
        if !records.is_empty() {
            for interceptor in &self.options.interceptors {
                records = interceptor.on_consume(records);
            }
        }
        records
    }

    fn take_batches(&self) -> Result<Option<Vec<Fetched>>> {
        let mut taken = Vec::new();
        let now = self.client.env().monotonic();
        {
            let mut state = self.state.lock();
            // An error stays in front until it can be returned alone.
            while taken.is_empty() || !state.error_is_next() {
                let Some(arrived) = state.take() else { break };
                let fetched = match arrived.what {
                    What::Failed(error) => return Err(error),
                    What::Fetched(fetched) => fetched,
                    What::Begun(mut fetched, records, _) => {
                        fetched.fetch_offset = records.next_offset();
                        fetched
                    }
                };
                if let Some(assigned) = state.partitions.get_mut(&fetched.key()) {
                    // Batches are not opened here: compacted ones have fewer records than offsets.
                    let offsets = (fetched.next_offset - fetched.fetch_offset).max(0) as usize;
                    self.metrics.consumed(&fetched, offsets, assigned, self.options.isolation_level, now);
                    assigned.place = Place::At(fetched.next_offset);
                    assigned.epoch = fetched.last_epoch.or(assigned.epoch);
                    assigned.broken = false;
                    taken.push(fetched);
                }
            }
        }
        if taken.is_empty() {
            return Ok(None);
        }
        self.room.notify_waiters();
        Ok(Some(taken))
    }

    /// At most `max` records. `advance`: positions go behind them.
    fn take_records(&self, max: usize, advance: bool) -> Result<Option<ConsumerRecords>> {
        let mut out = ConsumerRecords::default();
        let mut emptied = false;
        while out.records.len() < max {
            let arrived = {
                let mut state = self.state.lock();
                if !out.is_empty() && state.error_is_next() {
                    break;
                }
                match state.take() {
                    Some(arrived) => arrived,
                    None => break,
                }
            };
            let (fetched, mut records) = match arrived.what {
                What::Failed(error) => return Err(error),
                What::Fetched(fetched) => {
                    let records = Box::new(fetched.records());
                    (fetched, records)
                }
                What::Begun(fetched, records, Some(error)) => {
                    self.state.lock().put_broken(fetched, records, error.clone());
                    if out.is_empty() {
                        return Err(error);
                    }
                    break;
                }
                What::Begun(fetched, records, None) => (fetched, records),
            };
            let begin = out.records.len();
            let (done, failed) = fill(&mut out, &fetched, &mut records, max);
            let partition = fetched.key();
            let generation = fetched.generation;
            let next_offset = records.next_offset();
            let mut state = self.state.lock();
            let assigned = state.partitions.get_mut(&partition).filter(|assigned| assigned.generation == generation);
            let Some(assigned) = assigned else {
                // Sought or taken away meanwhile.
                out.records.truncate(begin);
                continue;
            };
            let taken = out.records.len() - begin;
            if advance || taken == 0 {
                assigned.place = Place::At(next_offset);
                if records.leader_epoch() >= 0 {
                    assigned.epoch = Some(records.leader_epoch());
                }
            }
            let now = self.client.env().monotonic();
            self.metrics.consumed(&fetched, taken, assigned, self.options.isolation_level, now);
            emptied |= done;
            if taken > 0 {
                let (partition, epoch) = (partition.clone(), records.leader_epoch());
                out.parts.push(Part { partition, generation, next: next_offset, epoch });
            }
            if let Some(error) = failed {
                state.put_broken(fetched, records, error);
            } else if !done {
                state
                    .put_back(Arrived { of: Some((partition, generation)), what: What::Begun(fetched, records, None) });
            }
        }
        if emptied {
            self.room.notify_waiters();
        }
        Ok((!out.is_empty()).then_some(out))
    }
}

/// Moves records over; whether that was the end of them, and the error that it was.
fn fill(out: &mut ConsumerRecords, fetched: &Fetched, records: &mut Records, max: usize) -> (bool, Option<Error>) {
    while out.records.len() < max {
        match records.next() {
            Some(Ok(record)) => out.records.push(ConsumerRecord {
                topic: fetched.topic.clone(),
                partition: fetched.partition,
                offset: record.offset,
                leader_epoch: records.leader_epoch(),
                timestamp: record.timestamp,
                timestamp_type: records.timestamp_type(),
                key: record.key,
                value: record.value,
                headers: record.headers,
            }),
            Some(Err(error)) => return (true, Some(error)),
            None => return (true, None),
        }
    }
    (false, None)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer is closed")
}
