//! CreatePartitions (37): raises a topic's partition count.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::ErrorCode;
use ottla_protocol::create_partitions_request::CreatePartitionsTopic;
use ottla_protocol::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::{CreatePartitionsRequest, CreatePartitionsResponse};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<CreatePartitionsRequest>,
) -> Reply<CreatePartitionsResponse> {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    // A name that stands twice is refused, with one answer.
    for topic in request.topics.iter().filter(|topic| seen.insert(topic.name.clone())) {
        let twice = request.topics.iter().filter(|other| other.name == topic.name).count() > 1;
        let outcome = if twice {
            Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            node.create_partitions(&topic.name, topic.count, assignments(topic), request.validate_only).await
        };
        let (error, message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err((error, message)) => (error, Some(message.into())),
        };
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: error.code(),
            error_message: message,
            ..Default::default()
        });
    }
    CreatePartitionsResponse { results, ..Default::default() }.into()
}

fn assignments(topic: &CreatePartitionsTopic) -> Option<Vec<Vec<i32>>> {
    topic.assignments.as_ref().map(|list| list.iter().map(|it| it.broker_ids.clone()).collect())
}
