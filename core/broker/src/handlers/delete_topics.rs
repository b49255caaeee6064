//! DeleteTopics (20): v1-5 name topics; v6 takes a name or a topic id each (KIP-516).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::delete_topics_response::DeletableTopicResult;
use ottla_protocol::{DeleteTopicsRequest, DeleteTopicsResponse};
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<DeleteTopicsRequest>) -> Reply<DeleteTopicsResponse> {
    let by_state = request.topics.iter().map(|topic| (topic.name.as_deref(), topic.topic_id));
    let by_name = request.topic_names.iter().map(|name| (Some(&**name), Uuid::ZERO));
    let wanted: Vec<(Option<&str>, Uuid)> = by_state.chain(by_name).collect();
    let mut seen = HashSet::new();
    let mut responses = Vec::with_capacity(wanted.len());
    for (name, id) in wanted {
        let outcome = match resolve(node, name, id) {
            Ok(name) if !seen.insert(name.clone()) => {
                Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()))
            }
            Ok(name) => node.delete_topic(&name).await.map(|id| (name, id)),
            Err(refusal) => Err(refusal),
        };
        responses.push(match outcome {
            Ok((name, id)) => DeletableTopicResult { name: Some(name.into()), topic_id: id, ..Default::default() },
            Err((error, message)) => DeletableTopicResult {
                // Before v6 the field is not nullable.
                name: name.map(Into::into).or((request.context().api_version < 6).then(Default::default)),
                topic_id: id,
                error_code: error.code(),
                error_message: Some(message.into()),
                ..Default::default()
            },
        });
    }
    DeleteTopicsResponse { responses, ..Default::default() }.into()
}

fn resolve(node: &Node, name: Option<&str>, id: Uuid) -> Result<String, (ErrorCode, String)> {
    match (name, id) {
        (Some(_), id) if id != Uuid::ZERO => {
            Err((ErrorCode::InvalidRequest, "You may not specify both topic name and topic id.".to_owned()))
        }
        (Some(name), _) => Ok(name.to_owned()),
        (None, Uuid::ZERO) => Err((ErrorCode::InvalidRequest, "Neither topic name nor id were specified.".to_owned())),
        (None, id) => node
            .partitions
            .name_of(id)
            .map(|name| name.to_string())
            .ok_or_else(|| (ErrorCode::UnknownTopicId, format!("no topic has the id {id}"))),
    }
}
