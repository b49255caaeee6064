//! TxnOffsetCommit (28): offsets that count once a transaction is committed.
//!
//! - v3 names the member and generation of the consumer (KIP-447), v6 topics by id.
//! - Up to v4 the producer has added the group's partition by AddOffsetsToTxn, which is verified; from v5 on this request
//!   adds it (KIP-890).

use crate::authorizer::Authorized;
use crate::coordinators::Admit;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::OFFSETS_TOPIC;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_coordinator::transaction::ProducerIdEpoch;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use ottla_protocol::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use ottla_protocol::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use std::collections::HashMap;
use std::sync::Arc;

/// The first version with topic ids in place of names.
const TOPIC_IDS_VERSION: i16 = 6;
/// The first version that adds the partition to the transaction.
const ADD_VERSION: i16 = 5;
/// The first version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 4;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<TxnOffsetCommitRequest>,
) -> Reply<TxnOffsetCommitResponse> {
    let (mut request, context) = request.into_parts();
    let version = context.api_version;
    let mut response: Vec<TxnOffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    for topic in &mut request.topics {
        let known = name(node, version, topic);
        let error = known.err().unwrap_or(ErrorCode::None);
        let answer = |partition_index: i32, error: ErrorCode| TxnOffsetCommitResponsePartition {
            partition_index,
            error_code: error.code(),
            ..Default::default()
        };
        let check = |index: i32| match error {
            ErrorCode::None => node.partitions.by_name(&topic.name, index).err().unwrap_or(ErrorCode::None),
            error => error,
        };
        let checked: Vec<_> =
            topic.partitions.iter().map(|it| answer(it.partition_index, check(it.partition_index))).collect();
        let mut good = checked.iter().map(|answer| answer.error_code == 0);
        topic.partitions.retain(|_| good.next() == Some(true));
        response.push(TxnOffsetCommitResponseTopic {
            name: if version >= TOPIC_IDS_VERSION { Default::default() } else { topic.name.clone() },
            topic_id: topic.topic_id,
            partitions: checked,
            ..Default::default()
        });
        if version < TOPIC_IDS_VERSION
            && let Some((_, id)) = node.partitions.topic(&topic.name)
        {
            // As with OffsetCommit: the record says which incarnation of the name is meant.
            topic.topic_id = id;
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    if !request.topics.is_empty() {
        let committed = commit(node, version, request).await;
        let mut codes = match &committed {
            Ok(reply) => {
                let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|partition| partition.error_code).collect::<Vec<_>>().into_iter()
            }
            Err(_) => Vec::new().into_iter(),
        };
        let fallback = committed.as_ref().err().copied().unwrap_or(ErrorCode::UnknownServerError).code();
        let open = response.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|answer| answer.error_code == 0);
        for answer in open {
            answer.error_code = codes.next().unwrap_or(fallback);
        }
    }
    if version < TOPIC_IDS_VERSION {
        response.iter_mut().for_each(|topic| topic.topic_id = Default::default());
    }
    merged(response).into()
}

/// The answer names a topic once, and only with partitions.
fn merged(topics: Vec<TxnOffsetCommitResponseTopic>) -> TxnOffsetCommitResponse {
    let mut once: Vec<TxnOffsetCommitResponseTopic> = Vec::with_capacity(topics.len());
    let mut known = HashMap::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let at = *known.entry((topic.name.clone(), topic.topic_id)).or_insert(once.len());
        match once.get_mut(at) {
            Some(first) => first.partitions.extend(topic.partitions),
            None => once.push(topic),
        }
    }
    TxnOffsetCommitResponse { topics: once, ..Default::default() }
}

async fn commit(
    node: &Arc<Node>,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    if request.transactional_id.is_empty() || request.group_id.is_empty() {
        return Err(if request.group_id.is_empty() { ErrorCode::InvalidGroupId } else { ErrorCode::InvalidRequest });
    }
    let partition = node.groups.partition_of(&request.group_id)?;
    let partition = TopicPartition::new(OFFSETS_TOPIC, i32::try_from(partition).unwrap_or(i32::MAX));
    let producer = ProducerIdEpoch { producer_id: request.producer_id, epoch: request.producer_epoch };
    let admit = if version >= ADD_VERSION { Admit::Add } else { Admit::Verify };
    let (transactional_id, group_id) = (request.transactional_id.clone(), request.group_id.clone());
    let append =
        || node.groups.submit(node, &group_id, |ticket| Event::TxnOffsetCommit { ticket, request: request.clone() });
    let skip_check = admit == Admit::Verify && !node.config().transaction_partition_verification_enable;
    let submitted = match skip_check {
        true => append(),
        false => {
            node.transactions.within(node, &transactional_id, producer, &partition, admit, append).unwrap_or_else(Err)
        }
    };
    let reply = submitted.map_err(|error| translated(version, error))?.await.map_err(|_| ErrorCode::NotCoordinator)?;
    match reply {
        GroupReply::TxnOffsetCommit(reply) => Ok(reply),
        _ => Err(ErrorCode::UnknownServerError),
    }
}

/// What older clients can make something of.
fn translated(version: i16, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_VERSION => ErrorCode::InvalidTxnState,
        error => error,
    }
}

fn name(node: &Node, version: i16, topic: &mut TxnOffsetCommitRequestTopic) -> Result<(), ErrorCode> {
    if version < TOPIC_IDS_VERSION {
        return Ok(());
    }
    topic.name = node.partitions.name_of(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?.into();
    Ok(())
}
