//! Produce (0): appends batches to partitions.
//!
//! - v3-12 name topics, v13 carries topic ids. v5 answers the log start offset, v8 record errors (KIP-467),
//!   v10 the current leader (KIP-951).
//! - acks=0 is not answered; when something failed the connection is closed, which is how such a producer learns to
//!   refresh its metadata. acks=1 and acks=all are the same while a partition has one replica: answered once the append
//!   reached the page cache, or the disk where `flush.messages` asks for it.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::partition::Partition;
use bytes::Bytes;
use ottla_log::{AppendError, AppendOrigin, LogAppendInfo};
use ottla_model::{ErrorCode, Records};
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use ottla_protocol::{ProduceRequest, ProduceResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<ProduceRequest>) -> Reply<ProduceResponse> {
    let by_id = request.context().api_version >= 13;
    let (request, _context) = request.into_parts();
    let acks = request.acks;
    let mut unflushed: Vec<Arc<Partition>> = Vec::new();
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for data in &topic.partition_data {
            let answer = match append(node, by_id, acks, &topic, data) {
                Ok((info, partition)) => {
                    if info.needs_flush && !unflushed.iter().any(|known| Arc::ptr_eq(known, &partition)) {
                        unflushed.push(partition);
                    }
                    appended(data.index, &info)
                }
                Err(error) => refused(data.index, error),
            };
            failed |= answer.error_code != 0;
            answers.push(answer);
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
            ..Default::default()
        });
    }
    if !unflushed.is_empty() && !flush(node, unflushed).await {
        // Nothing of this request is known to be on the disk: none of it is acknowledged.
        failed = true;
        for answer in responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
            *answer = refused(answer.index, error(ErrorCode::KafkaStorageError, "the disk refused to flush the log"));
        }
    }
    match acks {
        0 if failed => Reply::Close,
        0 => Reply::Nothing,
        _ => Reply::Send(ProduceResponse { responses, ..Default::default() }),
    }
}

fn append(
    node: &Arc<Node>,
    by_id: bool,
    acks: i16,
    topic: &TopicProduceData,
    data: &PartitionProduceData,
) -> Result<(LogAppendInfo, Arc<Partition>), AppendError> {
    if !matches!(acks, -1..=1) {
        return Err(error(ErrorCode::InvalidRequiredAcks, "acks is -1 (all), 0 or 1"));
    }
    let partition = if by_id {
        node.partitions.by_id(topic.topic_id, data.index)
    } else {
        node.partitions.by_name(&topic.name, data.index)
    };
    let partition = partition.map_err(|code| error(code, "no such topic or partition"))?;
    if node.is_internal_topic(partition.topic()) {
        return Err(error(ErrorCode::InvalidTopicException, "clients may not produce to an internal topic"));
    }
    let records = contiguous(data.records.as_ref())?;
    let info = partition.append(node, records, AppendOrigin::Client)?;
    Ok((info, partition))
}

fn contiguous(records: Option<&Records>) -> Result<Bytes, AppendError> {
    let records = records.filter(|records| !records.is_empty());
    let records = records.ok_or_else(|| error(ErrorCode::InvalidRecord, "a partition without records"))?;
    records.to_bytes().map_err(|failure| error(ErrorCode::KafkaStorageError, &failure.to_string()))
}

fn error(code: ErrorCode, message: &str) -> AppendError {
    AppendError { code, message: message.to_owned(), record_errors: Vec::new() }
}

async fn flush(node: &Node, partitions: Vec<Arc<Partition>>) -> bool {
    let flushed = node.env.blocking(move || {
        partitions.iter().all(|partition| match partition.log().flush() {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(topic = %partition.topic(), partition = partition.id(), %error, "flushing a log failed");
                false
            }
        })
    });
    flushed.await
}

fn appended(index: i32, info: &LogAppendInfo) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: info.first_offset,
        log_append_time_ms: info.log_append_time,
        log_start_offset: info.log_start_offset,
        ..Default::default()
    }
}

fn refused(index: i32, error: AppendError) -> PartitionProduceResponse {
    let record_errors = error.record_errors.iter().map(|record| BatchIndexAndErrorMessage {
        batch_index: record.batch_index,
        batch_index_error_message: Some(record.message.as_str().into()),
        ..Default::default()
    });
    PartitionProduceResponse {
        index,
        error_code: error.code.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: record_errors.collect(),
        error_message: Some(error.message.as_str().into()),
        ..Default::default()
    }
}
