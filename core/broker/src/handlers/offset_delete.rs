//! OffsetDelete (47): takes committed offsets away, for topics that no member reads (KIP-496).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::offset_delete_request::OffsetDeleteRequestTopic;
use ottla_protocol::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::{OffsetDeleteRequest, OffsetDeleteResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<OffsetDeleteRequest>) -> Reply<OffsetDeleteResponse> {
    let (mut request, _context) = request.into_parts();
    let mut unknown = Vec::new();
    request.topics.retain_mut(|topic| {
        let gone = take_unknown(node, topic);
        if !gone.partitions.is_empty() {
            unknown.push(gone);
        }
        !topic.partitions.is_empty()
    });
    let group_id = request.group_id.clone();
    let outcome = node.groups.ask(node, &group_id, |ticket| Event::OffsetDelete { ticket, request }).await;
    let error = match outcome {
        Ok(GroupReply::OffsetDelete(mut response)) => {
            if response.error_code == 0 {
                merge(&mut response.topics, unknown);
            }
            return response.into();
        }
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    OffsetDeleteResponse { error_code: error.code(), ..Default::default() }.into()
}

/// Takes the partitions that do not exist out of `topic`, as their answer.
fn take_unknown(node: &Node, topic: &mut OffsetDeleteRequestTopic) -> OffsetDeleteResponseTopic {
    let mut partitions = Vec::new();
    topic.partitions.retain(|partition| match node.partitions.by_name(&topic.name, partition.partition_index) {
        Ok(_) => true,
        Err(error) => {
            partitions.push(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            });
            false
        }
    });
    OffsetDeleteResponseTopic { name: topic.name.clone(), partitions, ..Default::default() }
}

/// Topics are the keys of the answer: none comes twice.
fn merge(topics: &mut Vec<OffsetDeleteResponseTopic>, unknown: Vec<OffsetDeleteResponseTopic>) {
    for gone in unknown {
        match topics.iter_mut().find(|topic| topic.name == gone.name) {
            Some(topic) => topic.partitions.extend(gone.partitions),
            None => topics.push(gone),
        }
    }
}
