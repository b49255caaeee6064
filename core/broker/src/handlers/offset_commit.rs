//! OffsetCommit (8): v2-4 may ask for a retention time, v6 has leader epochs, v7 static members, v10 topic ids (KIP-848).
//!
//! Here topics are resolved, and partitions that do not exist are answered; the rest is in core/coordinator.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla_protocol::{OffsetCommitRequest, OffsetCommitResponse};
use std::collections::HashMap;
use std::sync::Arc;

/// The first version with topic ids in place of names.
const TOPIC_IDS_VERSION: i16 = 10;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<OffsetCommitRequest>) -> Reply<OffsetCommitResponse> {
    let (mut request, context) = request.into_parts();
    let api_version = context.api_version;
    let by_id = api_version >= TOPIC_IDS_VERSION;
    let mut refused = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    // The answers have the shape of the request; what the coordinator answers is filled in, in order.
    let mut response = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        let errors = check(node, by_id, &mut topic);
        let partitions = topic.partitions.iter().zip(&errors).map(|(partition, error)| answer(partition, *error));
        response.push(OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        });
        refused.extend(errors.iter().map(|error| *error != ErrorCode::None));
        let mut errors = errors.into_iter();
        topic.partitions.retain(|_| errors.next() == Some(ErrorCode::None));
        if !topic.partitions.is_empty() {
            topics.push(topic);
        }
    }
    if topics.is_empty() && !refused.is_empty() {
        return merged(response).into();
    }
    request.topics = topics;
    let group_id = request.group_id.clone();
    let event = |ticket| Event::OffsetCommit { ticket, api_version, request };
    let outcome = node.groups.ask(node, &group_id, event).await;
    let mut codes = match &outcome {
        Ok(GroupReply::OffsetCommit(reply)) => {
            let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect::<Vec<_>>().into_iter()
        }
        _ => Vec::new().into_iter(),
    };
    let fallback = outcome.err().unwrap_or(ErrorCode::UnknownServerError).code();
    let partitions = response.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, _) in partitions.zip(refused).filter(|(_, refused)| !refused) {
        partition.error_code = codes.next().unwrap_or(fallback);
    }
    merged(response).into()
}

/// The answer names a topic once, and only with partitions.
fn merged(topics: Vec<OffsetCommitResponseTopic>) -> OffsetCommitResponse {
    let mut once: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(topics.len());
    let mut known = HashMap::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let at = *known.entry((topic.name.clone(), topic.topic_id)).or_insert(once.len());
        match once.get_mut(at) {
            Some(first) => first.partitions.extend(topic.partitions),
            None => once.push(topic),
        }
    }
    OffsetCommitResponse { topics: once, ..Default::default() }
}

/// Resolves a topic's name, or id; says for each partition whether it exists.
fn check(node: &Node, by_id: bool, topic: &mut OffsetCommitRequestTopic) -> Vec<ErrorCode> {
    if by_id {
        match node.partitions.name_of(topic.topic_id) {
            Some(name) => topic.name = name.into(),
            None => return vec![ErrorCode::UnknownTopicId; topic.partitions.len()],
        }
    } else if let Some((_, id)) = node.partitions.topic(&topic.name) {
        // As Kafka does: the record says which incarnation of the name is meant.
        topic.topic_id = id;
    }
    let exists = |partition: &OffsetCommitRequestPartition| {
        node.partitions.by_name(&topic.name, partition.partition_index).err().unwrap_or(ErrorCode::None)
    };
    topic.partitions.iter().map(exists).collect()
}

fn answer(partition: &OffsetCommitRequestPartition, error: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.code(),
        ..Default::default()
    }
}
