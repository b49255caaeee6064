//! The task that finds out where to begin: what the group has committed, else what `auto.offset.reset` says, or the
//! place that a seek asked for. One at a time, as long as a partition has no place.

use super::Shared;
use super::commit::committed;
use super::fetcher;
use super::offsets::{Position, resolve};
use super::options::OffsetReset;
use super::position::{Place, What};
use crate::error::{Error, Result};
use crate::retry::Deadline;
use ottla_model::{ErrorCode, TopicPartition};
use std::sync::Arc;
use std::time::Duration;

/// Starts the task if there is something to find out and it does not run.
pub(super) fn start(shared: &Arc<Shared>) {
    {
        let mut state = shared.state.lock();
        if state.closed || state.positioning || !state.partitions.values().any(|assigned| assigned.unplaced()) {
            return;
        }
        state.positioning = true;
    }
    shared.client.env().spawn("consumer positions", run(shared.clone()));
}

/// A partition without a place, and its generation.
type Lost = (TopicPartition, u64, Place);

async fn run(shared: Arc<Shared>) {
    let env = shared.client.env();
    let mut backoff = shared.client.backoff();
    loop {
        let now = env.monotonic();
        let room = shared.room.notified();
        let (lost, later): (Vec<Lost>, Option<Duration>) = {
            let mut state = shared.state.lock();
            let unplaced = || state.partitions.iter().filter(|(_, assigned)| assigned.unplaced());
            let due = unplaced().filter(|(_, a)| a.not_before <= now).map(|(p, a)| (p.clone(), a.generation, a.place));
            let due: Vec<Lost> = due.collect();
            let later = unplaced().map(|(_, a)| a.not_before).min();
            if state.closed || later.is_none() {
                state.positioning = false;
                return;
            }
            (due, later)
        };
        if lost.is_empty() {
            let wait = later.unwrap_or(now).saturating_sub(now);
            let _ = env.timeout(wait, room).await;
            continue;
        }
        let deadline = Deadline::after(env, shared.client.options().request_timeout);
        match place(&shared, &lost, &deadline).await {
            Ok(()) => backoff.reset(),
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "no positions yet");
                env.sleep(backoff.next(env)).await;
            }
            Err(error) => {
                // Told at most once at a time, and looked at again later: what is wrong may be mended.
                let wait = shared.client.options().retry_backoff_max;
                let mut state = shared.state.lock();
                for (partition, generation, _) in &lost {
                    if let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == *generation)
                    {
                        assigned.not_before = env.monotonic() + wait;
                    }
                }
                state.fail(error);
                drop(state);
                shared.arrived.notify_waiters();
            }
        }
        shared.placed.notify_waiters();
        fetcher::route(&shared);
    }
}

/// Finds the places of `lost`. An error is about all of them; what concerns one partition is queued for `poll`.
async fn place(shared: &Arc<Shared>, lost: &[Lost], deadline: &Deadline) -> Result<()> {
    let env = shared.client.env();
    let mut to_reset: Vec<(TopicPartition, u64)> = Vec::new();
    let of_group: Vec<&Lost> = lost.iter().filter(|(_, _, place)| *place == Place::Committed).collect();
    if !of_group.is_empty() && shared.group.is_some() {
        let partitions: Vec<TopicPartition> = of_group.iter().map(|(partition, ..)| partition.clone()).collect();
        let found = committed(shared, &partitions, deadline).await?;
        let mut state = shared.state.lock();
        for (partition, generation, _) in of_group {
            match found.get(partition) {
                Some(offset) => state.found(partition, *generation, offset.offset, offset.leader_epoch),
                None => to_reset.push((partition.clone(), *generation)),
            }
        }
    } else {
        to_reset.extend(of_group.iter().map(|(partition, generation, _)| (partition.clone(), *generation)));
    }
    let reset = match shared.options.offset_reset {
        OffsetReset::Earliest => Some(Position::Earliest),
        OffsetReset::Latest => Some(Position::Latest),
        OffsetReset::ByDuration(age) => {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Some(Position::Timestamp(env.now_ms().saturating_sub(age).max(0)))
        }
        OffsetReset::None => None,
    };
    to_reset.extend(lost.iter().filter(|(_, _, place)| *place == Place::Reset).map(|(p, g, _)| (p.clone(), *g)));
    let mut asked: Vec<(TopicPartition, u64, Position)> = Vec::new();
    for (partition, generation) in to_reset {
        match reset {
            Some(position) => asked.push((partition, generation, position)),
            None => {
                let text = format!(
                    "partition {}-{}: there is no committed offset and auto.offset.reset is none; seek to begin",
                    partition.topic, partition.partition
                );
                tell(shared, &partition, generation, Error::invalid(text));
            }
        }
    }
    asked.extend(lost.iter().filter_map(|(partition, generation, place)| match place {
        Place::Asked(position) => Some((partition.clone(), *generation, *position)),
        _ => None,
    }));
    if asked.is_empty() {
        return Ok(());
    }
    let wanted: Vec<(TopicPartition, Position)> = asked.iter().map(|(p, _, position)| (p.clone(), *position)).collect();
    match resolve(&shared.client, &wanted, shared.options.isolation_level, deadline).await {
        Ok(found) => {
            let mut state = shared.state.lock();
            for ((partition, generation, _), found) in asked.iter().zip(found) {
                state.found(partition, *generation, found.offset, None);
            }
            Ok(())
        }
        // Of several one by one, so that a topic that is gone does not hold up the others.
        Err(error) if asked.len() > 1 && !error.is_retriable() => {
            for (partition, generation, position) in asked {
                let wanted = [(partition.clone(), position)];
                match resolve(&shared.client, &wanted, shared.options.isolation_level, deadline).await {
                    Ok(found) => {
                        let mut state = shared.state.lock();
                        found.iter().for_each(|found| state.found(&partition, generation, found.offset, None));
                    }
                    Err(error) if error.is_retriable() => return Err(error),
                    Err(error) => unless_missing(shared, &partition, generation, error),
                }
            }
            Ok(())
        }
        Err(error) if !error.is_retriable() => {
            let (partition, generation, _) = &asked[0];
            unless_missing(shared, partition, *generation, error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// A topic that is not there (any more, or yet) is waited for, as Kafka's clients do.
fn unless_missing(shared: &Shared, partition: &TopicPartition, generation: u64, error: Error) {
    if matches!(error.code(), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)) {
        tracing::warn!(%error, "a position cannot be found");
        later(shared, partition, generation);
    } else {
        tell(shared, partition, generation, error);
    }
}

fn later(shared: &Shared, partition: &TopicPartition, generation: u64) {
    let env = shared.client.env();
    let wait = shared.client.options().retry_backoff_max;
    if let Some(assigned) = shared.state.lock().partitions.get_mut(partition).filter(|a| a.generation == generation) {
        assigned.not_before = env.monotonic() + wait;
    }
}

fn tell(shared: &Shared, partition: &TopicPartition, generation: u64, error: Error) {
    later(shared, partition, generation);
    {
        let mut state = shared.state.lock();
        if !state.told(partition) {
            state.arrive(partition, generation, What::Failed(error));
        }
    }
    shared.arrived.notify_waiters();
}
