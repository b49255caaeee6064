//! SyncGroup (14): parked until the leader has sent the assignment. The rules are in core/coordinator.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::{SyncGroupRequest, SyncGroupResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, mut request: Authorized<SyncGroupRequest>) -> Reply<SyncGroupResponse> {
    request.begin_waiting();
    let (request, _context) = request.into_parts();
    let group_id = request.group_id.clone();
    let error = match node.groups.ask(node, &group_id, |ticket| Event::SyncGroup { ticket, request }).await {
        Ok(GroupReply::Sync(response)) => return response.into(),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    SyncGroupResponse { error_code: error.code(), ..Default::default() }.into()
}
