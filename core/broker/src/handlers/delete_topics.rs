//! DeleteTopics (20): v1-5 name topics; v6 takes a name or a topic id each (KIP-516).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::delete_topics_response::DeletableTopicResult;
use ottla_protocol::{DeleteTopicsRequest, DeleteTopicsResponse};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<DeleteTopicsRequest>) -> Reply<DeleteTopicsResponse> {
    let by_state = request.topics.iter().map(|topic| (topic.name.as_deref(), topic.topic_id));
    let by_name = request.topic_names.iter().map(|name| (Some(&**name), Uuid::ZERO));
    let wanted: Vec<(Option<&str>, Uuid)> = by_state.chain(by_name).collect();
    let mut times: HashMap<(Option<&str>, Uuid), usize> = HashMap::new();
    for topic in &wanted {
        *times.entry(*topic).or_default() += 1;
    }
    let mut answered = HashSet::new();
    let name_of = |id| node.partitions.name_of(id).map(|name| name.to_string());
    let by_name: HashSet<&str> = wanted.iter().filter_map(|(name, _)| *name).collect();
    let by_id: HashSet<String> = wanted
        .iter()
        .filter(|(name, id)| name.is_none() && *id != Uuid::ZERO)
        .filter_map(|(_, id)| name_of(*id))
        .collect();
    let mut responses = Vec::with_capacity(wanted.len());
    for (name, id) in wanted {
        let twice = is_one_of(name, id) && times.get(&(name, id)).is_some_and(|times| *times > 1);
        if twice && !answered.insert((name, id)) {
            continue;
        }
        let outcome = match resolve(node, name, id) {
            // What stands twice is not deleted, and answered once.
            _ if twice => Err((ErrorCode::InvalidRequest, "Duplicate topic name or id.".to_owned())),
            // By name and by id at once is twice as well, and answered under the name.
            Ok(topic) if name.is_none() && by_name.contains(topic.as_str()) => continue,
            Ok(topic) if by_id.contains(&topic) && name.is_some() => Err((
                ErrorCode::InvalidRequest,
                "The provided topic name maps to an ID that was already supplied.".to_owned(),
            )),
            Ok(name) => node.delete_topic(&name).await.map(|id| (name, id)),
            Err(refusal) => Err(refusal),
        };
        responses.push(match outcome {
            Ok((name, id)) => DeletableTopicResult { name: Some(name.into()), topic_id: id, ..Default::default() },
            Err((error, message)) => DeletableTopicResult {
                topic_id: match name.filter(|name| by_id.contains(*name)) {
                    Some(name) => node.partitions.topic(name).map_or(id, |(_, id)| id),
                    None => id,
                },
                // Before v6 the field is not nullable.
                name: name.map(Into::into).or((request.context().api_version < 6).then(Default::default)),
                error_code: error.code(),
                error_message: Some(message.into()),
                ..Default::default()
            },
        });
    }
    DeleteTopicsResponse { responses, ..Default::default() }.into()
}

/// Whether a topic is named in a valid way: by name or by id.
fn is_one_of(name: Option<&str>, id: Uuid) -> bool {
    name.is_some() != (id != Uuid::ZERO)
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
