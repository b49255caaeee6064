//! FindCoordinator (10): which broker looks after a group or a transactional id; here always this one.
//!
//! - v1 has key types (0 group, 1 transaction, 2 share from v6) and error messages, v4 asks for several keys (KIP-699).
//! - The first question creates `__consumer_offsets`, or `__transaction_state`.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::find_coordinator_response::Coordinator;
use ottla_protocol::{FindCoordinatorRequest, FindCoordinatorResponse};
use std::sync::Arc;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// The first version with a list of keys.
const KEYS_VERSION: i16 = 4;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<FindCoordinatorRequest>,
) -> Reply<FindCoordinatorResponse> {
    let listener = request.context().listener.clone();
    if request.context().api_version >= KEYS_VERSION {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in &request.coordinator_keys {
            coordinators.push(find(node, &listener, request.key_type, key).await);
        }
        return FindCoordinatorResponse { coordinators, ..Default::default() }.into();
    }
    let found = find(node, &listener, request.key_type, &request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        // Before batches, Kafka puts "NONE" where nothing is wrong.
        error_message: found.error_message.filter(|text| !text.is_empty()).or_else(|| Some("NONE".into())),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
    .into()
}

async fn find(node: &Arc<Node>, listener: &str, key_type: i8, key: &Str) -> Coordinator {
    let available = match key_type {
        GROUP => node.groups.ensure_loaded(node, key).await,
        TRANSACTION => node.transactions.ensure_loaded(node, key).await,
        _ => Err(ErrorCode::InvalidRequest),
    };
    let endpoint = available.and_then(|()| node.endpoint(listener).ok_or(ErrorCode::CoordinatorNotAvailable));
    match endpoint {
        Ok((host, port)) => {
            Coordinator { key: key.clone(), node_id: node.id(), host: host.into(), port, ..Default::default() }
        }
        Err(error) => Coordinator {
            key: key.clone(),
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: Some(error.message().into()),
            ..Default::default()
        },
    }
}
