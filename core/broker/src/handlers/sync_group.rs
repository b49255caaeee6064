//! SyncGroup (14): parked until the leader has sent the assignment. The rules are in core/coordinator.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::{SyncGroupRequest, SyncGroupResponse};
use std::sync::Arc;

/// The first version in which a member has to say which protocol it thinks was chosen (KIP-559).
const PROTOCOL_VERSION: i16 = 5;

pub(crate) async fn handle(node: &Arc<Node>, mut request: Authorized<SyncGroupRequest>) -> Reply<SyncGroupResponse> {
    request.begin_waiting();
    let (request, context) = request.into_parts();
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.api_version >= PROTOCOL_VERSION && unnamed {
        return SyncGroupResponse { error_code: ErrorCode::InconsistentGroupProtocol.code(), ..Default::default() }
            .into();
    }
    let group_id = request.group_id.clone();
    let error = match node.groups.ask(node, &group_id, |ticket| Event::SyncGroup { ticket, request }).await {
        Ok(GroupReply::Sync(response)) => return response.into(),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    SyncGroupResponse { error_code: error.code(), ..Default::default() }.into()
}
