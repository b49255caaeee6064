//! What an answer to a fetch says about one partition: records, another leader, a nearer replica, a truncation, or that
//! the offset is not there.

use super::fetcher::{Ask, arrive, route, route_after_failure};
use super::options::{IsolationLevel, OffsetReset};
use super::position::Place;
use super::records::Fetched;
use super::{Shared, positioner, validate};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::record_batch::BatchIter;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::fetch_response::PartitionData;
use std::collections::VecDeque;
use std::sync::Arc;

/// Takes over what an answer of `node` says about one partition.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    node: i32,
    partition: &TopicPartition,
    ask: &Ask,
    data: &PartitionData,
) {
    let Ask { generation, offset, .. } = *ask;
    match ErrorCode::from_code(data.error_code) {
        ErrorCode::None if data.diverging_epoch.end_offset >= 0 => {
            // Only asked for with the epoch of the last record, which followers do; answered all the same it is believed.
            validate::truncated(shared, partition, ask, data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
        }
        ErrorCode::None => {
            note(shared, partition, generation, data);
            if data.preferred_read_replica >= 0 && data.preferred_read_replica != node {
                return prefer(shared, partition, generation, data.preferred_read_replica);
            }
            match whole_batches(partition, data, offset) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    let fetched = fetched(shared, partition, ask, data, found);
                    arrive(shared, partition, generation, Ok(fetched));
                }
                Err(error) => arrive(shared, partition, generation, Err(error)),
            }
        }
        ErrorCode::OffsetOutOfRange => out_of_range(shared, node, partition, ask, data),
        code if code.is_metadata_stale() || code.is_retriable() => {
            elsewhere(shared, node, partition, generation, data);
        }
        code => arrive(shared, partition, generation, Err(Error::from_code(code, &label(partition), None))),
    }
}

fn fetched(shared: &Shared, partition: &TopicPartition, ask: &Ask, data: &PartitionData, found: Found) -> Fetched {
    let mut aborted: Vec<(i64, i64)> = match shared.options.isolation_level {
        IsolationLevel::ReadUncommitted => Vec::new(),
        IsolationLevel::ReadCommitted => data
            .aborted_transactions
            .iter()
            .flatten()
            .map(|transaction| (transaction.first_offset, transaction.producer_id))
            .collect(),
    };
    aborted.sort_unstable();
    Fetched {
        topic: partition.topic.clone(),
        partition: partition.partition,
        fetch_offset: ask.offset,
        next_offset: found.next_offset,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        bytes: found.bytes,
        check_crcs: shared.options.check_crcs,
        generation: ask.generation,
        last_epoch: Some(found.epoch).filter(|epoch| *epoch >= 0),
        aborted: VecDeque::from(aborted),
    }
}

/// Where the log begins and ends, for lag and lead.
fn note(shared: &Shared, partition: &TopicPartition, generation: u64, data: &PartitionData) {
    let mut state = shared.state.lock();
    let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == generation) else { return };
    if data.high_watermark >= 0 {
        assigned.high_watermark = data.high_watermark;
    }
    if data.last_stable_offset >= 0 {
        assigned.last_stable_offset = data.last_stable_offset;
    }
    if data.log_start_offset >= 0 {
        assigned.log_start_offset = data.log_start_offset;
    }
}

/// Reads from `replica` for as long as metadata is good for (KIP-392).
fn prefer(shared: &Arc<Shared>, partition: &TopicPartition, generation: u64, replica: i32) {
    {
        let until = shared.client.env().monotonic().saturating_add(shared.client.options().metadata_max_age);
        let mut state = shared.state.lock();
        let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == generation) else { return };
        assigned.preferred = Some((replica, until));
    }
    tracing::debug!(%partition, replica, "reads from a replica that is nearer");
    route(shared);
}

fn out_of_range(shared: &Arc<Shared>, node: i32, partition: &TopicPartition, ask: &Ask, data: &PartitionData) {
    let mut state = shared.state.lock();
    let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == ask.generation) else { return };
    if assigned.preferred.take().is_some_and(|(replica, _)| replica == node) {
        // A follower may be behind, or ahead in what it deleted: the leader decides.
        drop(state);
        return route(shared);
    }
    let position = assigned.position();
    if shared.options.offset_reset == OffsetReset::None {
        drop(state);
        let text = format!(
            "offset {} is outside of the log, which begins at {} and ends at {}; seek to go on",
            ask.offset, data.log_start_offset, data.high_watermark
        );
        let error = Error::from_code(ErrorCode::OffsetOutOfRange, &label(partition), Some(&text));
        return arrive(shared, partition, ask.generation, Err(error));
    }
    // What has arrived before is still good; the reset comes when it is read.
    if position == Some(ask.offset) {
        tracing::info!(%partition, offset = ask.offset, "the offset is outside of the log: auto.offset.reset applies");
        let _ = state.go(partition, Place::Reset, None);
        drop(state);
        positioner::start(shared);
    } else {
        assigned.not_before = shared.client.env().monotonic() + shared.client.options().retry_backoff;
    }
}

/// The leader is another one, or cannot say yet.
fn elsewhere(shared: &Arc<Shared>, node: i32, partition: &TopicPartition, generation: u64, data: &PartitionData) {
    let env = shared.client.env();
    let wait = shared.client.backoff().next(env);
    let told = {
        let mut state = shared.state.lock();
        let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == generation) else { return };
        let hint = &data.current_leader;
        let moved = hint.leader_id >= 0 && hint.leader_id != node && hint.leader_epoch > assigned.leader_epoch;
        assigned.preferred = None;
        if moved {
            // KIP-951: no need to ask the metadata.
            assigned.leader = Some(hint.leader_id);
            assigned.leader_epoch = hint.leader_epoch;
        } else {
            assigned.not_before = env.monotonic() + wait;
            assigned.leader = None;
        }
        moved
    };
    if told { route(shared) } else { route_after_failure(shared) }
}

struct Found {
    bytes: Bytes,
    next_offset: i64,
    epoch: i32,
}

/// The whole batches of an answer; `None` without any.
fn whole_batches(partition: &TopicPartition, data: &PartitionData, offset: i64) -> Result<Option<Found>> {
    let bad = |text: String| Error::new(ErrorKind::Data, format!("{}, offset {offset}: {text}", label(partition)));
    let Some(records) = &data.records else { return Ok(None) };
    let bytes = records.to_bytes().map_err(|error| bad(error.to_string()))?;
    let mut batches = BatchIter::new(bytes.clone());
    let mut next_offset = offset;
    let mut epoch = -1;
    let mut end = 0;
    for batch in &mut batches {
        match batch {
            Ok(batch) => {
                next_offset = next_offset.max(batch.header.next_offset());
                epoch = batch.header.partition_leader_epoch;
                end += batch.bytes.len();
            }
            // What is before it can be read; the next fetch begins with it.
            Err(_) if end > 0 => break,
            Err(error) => return Err(bad(format!("{error}; seek past it to go on"))),
        }
    }
    if end == 0 && !bytes.is_empty() {
        return Err(bad(format!("the answer has {} bytes but not one whole batch", bytes.len())));
    }
    Ok((end > 0).then(|| Found { bytes: bytes.slice(..end), next_offset, epoch }))
}

fn label(partition: &TopicPartition) -> String {
    format!("partition {}-{}", partition.topic, partition.partition)
}
