//! ListOffsets (2): offsets by time, and the special ones.
//!
//! - v1 answers one offset, v2 isolation levels, v4 leader epochs. v7: -3 is the record with the largest timestamp
//!   (KIP-734). v8: -4 is the earliest local offset, v9: -5 the latest tiered one, v11: -6 the earliest not yet tiered;
//!   nothing is tiered here, so -4 is the log start and -5, -6 are unknown (-1).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::partition::Partition;
use ottla_model::ErrorCode;
use ottla_protocol::list_offsets_request::ListOffsetsPartition;
use ottla_protocol::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla_protocol::{ListOffsetsRequest, ListOffsetsResponse};
use std::collections::HashSet;
use std::sync::Arc;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
const UNKNOWN: i64 = -1;
const READ_COMMITTED: i8 = 1;
/// A consumer; everything else is a replica or a debugging client that may see beyond the high watermark.
const CONSUMER_REPLICA_ID: i32 = -1;

/// The first version at which a special timestamp may be asked.
fn since(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<ListOffsetsRequest>) -> Reply<ListOffsetsResponse> {
    let version = request.context().api_version;
    let mut seen = HashSet::new();
    let mut duplicates = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (&*topic.name, partition.partition_index);
            if !seen.insert(key) {
                duplicates.insert(key);
            }
        }
    }
    let topics = request.topics.iter().map(|topic| {
        // What stands twice is refused, with one answer.
        let mut answered = HashSet::new();
        let once = topic.partitions.iter().filter(|wanted| answered.insert(wanted.partition_index));
        let once: Vec<&ListOffsetsPartition> = once.collect();
        let partitions = once.into_iter().map(|wanted| {
            let found = if duplicates.contains(&(&*topic.name, wanted.partition_index)) {
                Err(ErrorCode::InvalidRequest)
            } else if wanted.timestamp < EARLIEST_PENDING_UPLOAD || version < since(wanted.timestamp) {
                // Before it is known whether there is such a partition.
                Err(ErrorCode::UnsupportedVersion)
            } else {
                node.partitions
                    .by_name(&topic.name, wanted.partition_index)
                    .and_then(|partition| find(&partition, wanted, &request))
            };
            answer(wanted.partition_index, found, version)
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect(), ..Default::default() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }.into()
}

/// (timestamp, offset, leader epoch), each -1 when unknown.
type Found = (i64, i64, i32);
const NOT_FOUND: Found = (UNKNOWN, UNKNOWN, -1);

fn find(
    partition: &Partition,
    wanted: &ListOffsetsPartition,
    request: &ListOffsetsRequest,
) -> Result<Found, ErrorCode> {
    partition.check_leader_epoch(wanted.current_leader_epoch)?;
    let log = partition.log();
    let upper = match (request.replica_id, request.isolation_level) {
        (CONSUMER_REPLICA_ID, READ_COMMITTED) => log.last_stable_offset(),
        (CONSUMER_REPLICA_ID, _) => log.high_watermark(),
        _ => log.log_end_offset(),
    };
    let by_time = |found: Option<ottla_log::TimestampAndOffset>| match found {
        Some(found) if found.offset < upper => (found.timestamp, found.offset, found.leader_epoch.unwrap_or(-1)),
        _ => NOT_FOUND,
    };
    let storage = |error: ottla_log::LogError| {
        tracing::error!(topic = %partition.topic(), partition = partition.id(), %error, "looking up an offset failed");
        error.code()
    };
    match wanted.timestamp {
        LATEST => Ok((UNKNOWN, upper, log.latest_epoch().unwrap_or(-1))),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.log_start_offset();
            Ok((UNKNOWN, start, log.epoch_for_offset(start).unwrap_or(-1)))
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOT_FOUND),
        MAX_TIMESTAMP => log.offset_of_max_timestamp().map(by_time).map_err(storage),
        timestamp => log.offset_for_timestamp(timestamp).map(by_time).map_err(storage),
    }
}

fn answer(partition_index: i32, found: Result<Found, ErrorCode>, version: i16) -> ListOffsetsPartitionResponse {
    let (error, (timestamp, offset, leader_epoch)) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NOT_FOUND),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp,
        offset,
        // Older versions have no room for it, and an encoder that refuses to drop what is set.
        leader_epoch: if version >= 4 { leader_epoch } else { -1 },
        ..Default::default()
    }
}
