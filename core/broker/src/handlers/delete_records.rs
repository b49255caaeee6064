//! DeleteRecords (21): moves a partition's log start offset up, to an offset or (-1) to the high watermark.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::ErrorCode;
use ottla_protocol::delete_records_request::DeleteRecordsPartition;
use ottla_protocol::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use ottla_protocol::{DeleteRecordsRequest, DeleteRecordsResponse};
use std::sync::Arc;

const HIGH_WATERMARK: i64 = -1;
const INVALID_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DeleteRecordsRequest>,
) -> Reply<DeleteRecordsResponse> {
    let (request, _) = request.into_parts();
    let shared = node.clone();
    // Deleting segments is file work.
    node.env.blocking(move || delete(&shared, request)).await.into()
}

fn delete(node: &Node, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        // Of a partition that stands twice the last one counts.
        let last = |(at, wanted): &(usize, &DeleteRecordsPartition)| {
            !topic.partitions[at + 1..].iter().any(|later| later.partition_index == wanted.partition_index)
        };
        let partitions = topic.partitions.iter().enumerate().filter(last).map(|(_, wanted)| {
            let (low_watermark, error) = match delete_up_to(node, &topic.name, wanted) {
                Ok(low_watermark) => (low_watermark, ErrorCode::None),
                Err(error) => (INVALID_LOW_WATERMARK, error),
            };
            DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark,
                error_code: error.code(),
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult { name: topic.name, partitions, ..Default::default() }
    });
    DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
}

fn delete_up_to(node: &Node, topic: &str, wanted: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    if node.is_internal_topic(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = node.partitions.by_name(topic, wanted.partition_index)?;
    // A compacted topic without the delete policy keeps the last value of each key: its start must not move.
    if !node.topic_config(topic).cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let log = partition.log();
    let offset = if wanted.offset == HIGH_WATERMARK { log.high_watermark() } else { wanted.offset };
    if offset < 0 || offset > log.high_watermark() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    log.delete_records_to(offset).map_err(|error| {
        tracing::error!(topic, partition = wanted.partition_index, %error, "deleting records failed");
        error.code()
    })?;
    Ok(log.log_start_offset())
}
