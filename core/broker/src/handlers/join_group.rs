//! JoinGroup (11): parked until the group's next generation is complete. The rules are in core/coordinator; v0-6 know no
//! null as the protocol's name.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::group::{Event, JoinContext, Reply as GroupReply};
use ottla_model::ErrorCode;
use ottla_protocol::{JoinGroupRequest, JoinGroupResponse};
use std::sync::Arc;

/// The first version with a nullable protocol name.
const NULLABLE_PROTOCOL_VERSION: i16 = 7;

pub(crate) async fn handle(node: &Arc<Node>, mut request: Authorized<JoinGroupRequest>) -> Reply<JoinGroupResponse> {
    request.begin_waiting();
    let (request, context) = request.into_parts();
    let (group_id, member_id) = (request.group_id.clone(), request.member_id.clone());
    let joining = JoinContext {
        api_version: context.api_version,
        client_id: context.client_id().into(),
        client_host: context.client_host().into(),
        random: u128::from(node.env.random_u64()) << 64 | u128::from(node.env.random_u64()),
    };
    let event = |ticket| Event::JoinGroup { ticket, context: joining, request };
    let mut response = match node.groups.ask(node, &group_id, event).await {
        Ok(GroupReply::Join(response)) => response,
        Ok(_) => JoinGroupResponse { error_code: ErrorCode::UnknownServerError.code(), ..Default::default() },
        Err(error) => JoinGroupResponse { error_code: error.code(), member_id, ..Default::default() },
    };
    if context.api_version < NULLABLE_PROTOCOL_VERSION && response.protocol_name.is_none() {
        response.protocol_name = Some("".into());
    } else if context.api_version >= NULLABLE_PROTOCOL_VERSION && response.error_code != 0 {
        response.protocol_name = None;
    }
    response.into()
}
