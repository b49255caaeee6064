//! LeaveGroup (13): one member in v0-2, several from v3 on (KIP-345). The rules are in core/coordinator.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::{LeaveGroupRequest, LeaveGroupResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<LeaveGroupRequest>) -> Reply<LeaveGroupResponse> {
    let (request, context) = request.into_parts();
    let group_id = request.group_id.clone();
    let event = |ticket| Event::LeaveGroup { ticket, api_version: context.api_version, request };
    let error = match node.groups.ask(node, &group_id, event).await {
        Ok(GroupReply::Leave(response)) => return response.into(),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    LeaveGroupResponse { error_code: error.code(), ..Default::default() }.into()
}
