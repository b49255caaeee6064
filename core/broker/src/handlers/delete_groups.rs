//! DeleteGroups (42): deletes empty groups with their offsets.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::{ErrorCode, Str};
use ottla_protocol::delete_groups_response::DeletableGroupResult;
use ottla_protocol::{DeleteGroupsRequest, DeleteGroupsResponse};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<DeleteGroupsRequest>) -> Reply<DeleteGroupsResponse> {
    // Groups of one partition are deleted together, with one append.
    let mut by_partition: BTreeMap<Option<usize>, Vec<Str>> = BTreeMap::new();
    for group_id in &request.groups_names {
        let partition = node.groups.partition_of(group_id).ok();
        let groups = by_partition.entry(partition).or_default();
        if !groups.contains(group_id) {
            groups.push(group_id.clone());
        }
    }
    let mut results = Vec::with_capacity(request.groups_names.len());
    for groups in by_partition.into_values() {
        let Some(first) = groups.first().cloned() else { continue };
        let asked = groups.clone();
        let outcome = node.groups.ask(node, &first, |ticket| Event::DeleteGroups { ticket, groups }).await;
        match outcome {
            Ok(GroupReply::DeleteGroups(deleted)) => results.extend(deleted),
            other => {
                let error = other.err().unwrap_or(ErrorCode::UnknownServerError);
                results.extend(asked.into_iter().map(|group_id| DeletableGroupResult {
                    group_id,
                    error_code: error.code(),
                    ..Default::default()
                }));
            }
        }
    }
    DeleteGroupsResponse { results, ..Default::default() }.into()
}
