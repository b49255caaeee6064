//! Produce requests: built from due batches, and what their answers say about each.

use super::accumulator::{Due, Failure};
use super::delivery::{Acked, rejected};
use super::options::{Acks, ProducerOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Leader, address};
use ottla_model::{ErrorCode, Records, Str};
use ottla_protocol::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::produce_response::{PartitionProduceResponse, ProduceResponse};
use std::sync::Arc;
use std::time::Duration;

/// The first version whose topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The last version before a write adds its partition to the transaction (KIP-890).
const TRANSACTION_V1_LAST: i16 = 11;

/// Builds the request, compressing batches that leave for the first time. `transaction_v1` keeps to versions that leave
/// adding partitions to the transaction to requests of their own.
pub(super) fn produce_request(
    options: &ProducerOptions,
    due: &mut [Due],
    version: i16,
    transaction_v1: bool,
    timeout: Duration,
) -> Result<(ProduceRequest, i16)> {
    // A broker that has no ids yet is asked by name.
    let version = if due.iter().any(|due| due.topic_id.is_zero()) { version.min(TOPIC_IDS_FROM - 1) } else { version };
    let version = if transaction_v1 { version.min(TRANSACTION_V1_LAST) } else { version };
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut last: Option<Arc<str>> = None;
    for due in due {
        let bytes = due.batch.encode().map_err(|error| Error::invalid(format!("topic {}: {error}", due.topic)))?;
        let partition =
            PartitionProduceData { index: due.partition, records: Some(Records::from(bytes)), ..Default::default() };
        if last.as_ref() != Some(&due.topic) {
            let mut topic = TopicProduceData::default();
            if version >= TOPIC_IDS_FROM {
                topic.topic_id = due.topic_id;
            } else {
                topic.name = Str::from(&*due.topic);
            }
            topics.push(topic);
            last = Some(due.topic.clone());
        }
        if let Some(topic) = topics.last_mut() {
            topic.partition_data.push(partition);
        }
    }
    let request = ProduceRequest {
        transactional_id: options.transactional_id.as_deref().map(Str::from),
        acks: match options.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        },
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics,
        ..Default::default()
    };
    Ok((request, version))
}

/// What the broker says about one batch.
pub(super) fn partition_result(response: &ProduceResponse, due: &Due) -> std::result::Result<Acked, Failure> {
    let what = format!("partition {}-{}", due.topic, due.partition);
    let Some(partition) = find(response, due) else {
        let message = format!("{what}: the broker's answer does not mention it");
        return Err(Error::new(ErrorKind::Data, message).into());
    };
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => {
            Ok(Acked { base_offset: partition.base_offset, log_append_time: partition.log_append_time_ms })
        }
        // Written by an earlier attempt whose answer was lost.
        ErrorCode::DuplicateSequenceNumber => Ok(Acked { base_offset: -1, log_append_time: -1 }),
        code => {
            let message = partition.error_message.as_deref();
            let refused = (!partition.record_errors.is_empty()).then(|| {
                let records = partition.record_errors.iter();
                let refused = records.map(|record| (record.batch_index, record.batch_index_error_message.as_deref()));
                rejected(&what, refused, code, message)
            });
            let first = partition.record_errors.first().and_then(|record| record.batch_index_error_message.as_deref());
            let error = Error::from_code(code, &what, message.or(first));
            Err(Failure { error, log_start_offset: partition.log_start_offset, refused })
        }
    }
}

fn find<'a>(response: &'a ProduceResponse, due: &Due) -> Option<&'a PartitionProduceResponse> {
    let topics = response.responses.iter();
    let of_topic = topics
        .filter(|topic| if topic.name.is_empty() { topic.topic_id == due.topic_id } else { *topic.name == *due.topic });
    of_topic.flat_map(|topic| &topic.partition_responses).find(|partition| partition.index == due.partition)
}

/// Where the broker says that the partition is led now, when it refused because it does not lead it (KIP-951).
pub(super) fn moved(response: &ProduceResponse, due: &Due) -> Option<Leader> {
    let partition = find(response, due)?;
    let stale = matches!(
        ErrorCode::from_code(partition.error_code),
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    );
    let leader = &partition.current_leader;
    (stale && leader.leader_id >= 0 && leader.leader_epoch >= 0)
        .then_some(Leader { node: leader.leader_id, epoch: leader.leader_epoch })
}

/// The addresses that come with such hints.
pub(super) fn endpoints(response: &ProduceResponse) -> Vec<(i32, String)> {
    response.node_endpoints.iter().map(|node| (node.node_id, address(&node.host, node.port))).collect()
}
