//! Heartbeat (12): keeps a member alive and tells it about rebalances. The rules are in core/coordinator.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::{HeartbeatRequest, HeartbeatResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<HeartbeatRequest>) -> Reply<HeartbeatResponse> {
    let (request, _context) = request.into_parts();
    let group_id = request.group_id.clone();
    let error = match node.groups.ask(node, &group_id, |ticket| Event::Heartbeat { ticket, request }).await {
        Ok(GroupReply::Heartbeat(response)) => return response.into(),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    HeartbeatResponse { error_code: error.code(), ..Default::default() }.into()
}
