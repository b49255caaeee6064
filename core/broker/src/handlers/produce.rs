//! Produce (0): appends batches to partitions.
//!
//! - v3-12 name topics, v13 carries topic ids. v5 answers the log start offset, v8 record errors (KIP-467),
//!   v10 the current leader (KIP-951). A transactional batch's partition has been added to the transaction before, which
//!   is verified; v11 knows TRANSACTION_ABORTABLE for when it was not, from v12 on this request adds it (KIP-890).
//! - acks=0 is not answered; when something failed the connection is closed, which is how such a producer learns to
//!   refresh its metadata. acks=1 and acks=all are the same while a partition has one replica: answered once the append
//!   reached the page cache, or the disk where `flush.messages` asks for it.

use crate::authorizer::Authorized;
use crate::coordinators::Admit;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::partition::Partition;
use bytes::Bytes;
use ottla_coordinator::transaction::ProducerIdEpoch;
use ottla_log::{AppendError, AppendOrigin, LogAppendInfo};
use ottla_model::record_batch::BatchHeader;
use ottla_model::{Compression, ErrorCode, Records, Str, TopicPartition};
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use ottla_protocol::{ProduceRequest, ProduceResponse};
use std::sync::Arc;

/// The first version with topic ids in place of names.
const TOPIC_IDS_VERSION: i16 = 13;
/// The first version in which zstd may be used (KIP-110).
const ZSTD_VERSION: i16 = 7;
/// The first version that adds the partition to the transaction.
const ADD_TO_TRANSACTION_VERSION: i16 = 12;
/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 11;
/// Where a batch has its length, and its format's number.
const SIZE_OFFSET: usize = 8;
const MAGIC_OFFSET: usize = 16;
/// The bytes before and with the length.
const BATCH_OVERHEAD: usize = 12;
const UNKNOWN_OFFSET: i64 = -1;
/// No record of any format is shorter.
const SMALLEST_SIZE: i32 = 14;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<ProduceRequest>) -> Reply<ProduceResponse> {
    let version = request.context().api_version;
    let by_id = version >= TOPIC_IDS_VERSION;
    let (request, _context) = request.into_parts();
    let acks = request.acks;
    let rules = Rules { by_id, acks, version, transactional_id: request.transactional_id.clone() };
    let mut unflushed: Vec<Arc<Partition>> = Vec::new();
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for data in &topic.partition_data {
            let answer = match append(node, &rules, &topic, data) {
                Ok((info, partition)) => {
                    if info.needs_flush && !unflushed.iter().any(|known| Arc::ptr_eq(known, &partition)) {
                        unflushed.push(partition);
                    }
                    appended(data.index, &info)
                }
                Err((error, log_start_offset)) => {
                    PartitionProduceResponse { log_start_offset, ..refused(data.index, error) }
                }
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

/// What one request says of all its partitions.
struct Rules {
    by_id: bool,
    acks: i16,
    version: i16,
    transactional_id: Option<Str>,
}

fn append(
    node: &Arc<Node>,
    rules: &Rules,
    topic: &TopicProduceData,
    data: &PartitionProduceData,
) -> Result<(LogAppendInfo, Arc<Partition>), (AppendError, i64)> {
    let (partition, records) = prepare(node, rules, topic, data).map_err(|error| (error, UNKNOWN_OFFSET))?;
    let header = rules.transactional_id.as_ref().and_then(|id| Some((id, BatchHeader::parse(&records).ok()?)));
    let appended = match header {
        Some((id, header)) if header.is_transactional() => {
            append_to_transaction(node, rules.version, id, &header, &partition, records)
                .map_err(|error| (error, UNKNOWN_OFFSET))?
        }
        _ => partition.append(node, records, AppendOrigin::Client),
    };
    match appended {
        Ok(info) => Ok((info, partition)),
        Err(error) if is_refused_by_log(error.code) => Err((error, partition.log().log_start_offset())),
        Err(error) => Err((error, UNKNOWN_OFFSET)),
    }
}

/// Whether Kafka answers the log's start with this refusal: the log has looked at what the batch says, and does not take it.
fn is_refused_by_log(code: ErrorCode) -> bool {
    use ErrorCode::*;
    let by_size_or_shape = matches!(code, MessageTooLarge | RecordListTooLarge | CorruptMessage);
    let by_partition = matches!(code, UnknownTopicOrPartition | NotLeaderOrFollower | KafkaStorageError);
    !(by_size_or_shape || by_partition)
}

/// Appends a batch of a transaction that is open, and that the partition is part of. Where the log knows that already, the
/// coordinator is not asked.
///
/// # Errors
/// The outer error is that the batch is not part of a transaction, and was not appended; the inner one is the log's.
fn append_to_transaction(
    node: &Arc<Node>,
    version: i16,
    transactional_id: &str,
    header: &BatchHeader,
    partition: &Arc<Partition>,
    records: Bytes,
) -> Result<Result<LogAppendInfo, AppendError>, AppendError> {
    if partition.log().has_ongoing_transaction(header.producer_id, header.producer_epoch) {
        return Ok(partition.append(node, records, AppendOrigin::ClientInTransaction));
    }
    let admit = if version >= ADD_TO_TRANSACTION_VERSION { Admit::Add } else { Admit::Verify };
    if admit == Admit::Verify && !node.config().transaction_partition_verification_enable {
        return Ok(partition.append(node, records, AppendOrigin::Client));
    }
    let producer = ProducerIdEpoch { producer_id: header.producer_id, epoch: header.producer_epoch };
    let id = TopicPartition::new(partition.topic().clone(), partition.id());
    let origin = if admit == Admit::Add { AppendOrigin::ClientBeginning } else { AppendOrigin::Client };
    let append = || partition.append(node, records, origin);
    let appended = node.transactions.within(node, transactional_id, producer, &id, admit, append);
    appended.map_err(|code| {
        let code = match code {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if version < ABORTABLE_VERSION => ErrorCode::InvalidTxnState,
            // What older clients would not retry; this they do, without looking for new metadata.
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => ErrorCode::NotEnoughReplicas,
            ErrorCode::ConcurrentTransactions if admit == Admit::Verify => ErrorCode::NotEnoughReplicas,
            code => code,
        };
        error(code, "the partition is not part of an open transaction of this producer")
    })
}

/// Everything before the append: the partition and the records for it, or why not.
fn prepare(
    node: &Arc<Node>,
    rules: &Rules,
    topic: &TopicProduceData,
    data: &PartitionProduceData,
) -> Result<(Arc<Partition>, Bytes), AppendError> {
    if !matches!(rules.acks, -1..=1) {
        return Err(error(ErrorCode::InvalidRequiredAcks, "acks is -1 (all), 0 or 1"));
    }
    let partition = if rules.by_id {
        node.partitions.by_id(topic.topic_id, data.index)
    } else {
        node.partitions.by_name(&topic.name, data.index)
    };
    let partition = partition.map_err(|code| error(code, "no such topic or partition"))?;
    if node.is_internal_topic(partition.topic()) {
        return Err(error(ErrorCode::InvalidTopicException, "clients may not produce to an internal topic"));
    }
    let records = contiguous(data.records.as_ref())?;
    check_first(&records, rules)?;
    Ok((partition, records))
}

/// Checks what Kafka checks before it looks for the partition's log: that there is a whole batch of the present format,
/// in a codec that the version knows.
fn check_first(records: &Bytes, rules: &Rules) -> Result<(), AppendError> {
    let no_batch =
        || error(ErrorCode::InvalidRecord, "a partition has to have exactly one whole record batch of format 2");
    let length = records.get(SIZE_OFFSET..MAGIC_OFFSET).and_then(|bytes| bytes.first_chunk::<4>());
    let (Some(length), Some(magic)) = (length, records.get(MAGIC_OFFSET)) else { return Err(no_batch()) };
    let (length, magic) = (i32::from_be_bytes(*length), *magic as i8);
    if length < SMALLEST_SIZE || !(0..=2).contains(&magic) {
        let message = format!("a batch of {length} bytes and format {magic}");
        return Err(error(ErrorCode::CorruptMessage, &message));
    }
    let size = BATCH_OVERHEAD + length as usize;
    if magic != 2 || records.len() < size || is_whole(&records[size..]) {
        return Err(no_batch());
    }
    let Ok(header) = BatchHeader::parse(records) else { return Ok(()) };
    if rules.version < ZSTD_VERSION && header.compression().ok() == Some(Compression::Zstd) {
        return Err(error(ErrorCode::UnsupportedCompressionType, "zstd needs Produce v7"));
    }
    if header.is_transactional() && rules.transactional_id.is_none() {
        let message = "a transactional batch without a transactional id";
        return Err(error(ErrorCode::TransactionalIdAuthorizationFailed, message));
    }
    Ok(())
}

/// Whether a whole batch begins here; part of one at the end is not looked at.
fn is_whole(bytes: &[u8]) -> bool {
    let length = bytes.get(SIZE_OFFSET..MAGIC_OFFSET + 1).and_then(|bytes| bytes.first_chunk::<4>());
    let size = length.and_then(|length| usize::try_from(i32::from_be_bytes(*length)).ok());
    size.is_some_and(|size| bytes.len() - BATCH_OVERHEAD >= size)
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
