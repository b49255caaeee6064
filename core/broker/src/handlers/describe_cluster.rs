//! DescribeCluster (60): cluster id, controller, brokers. v1 says whom it asks (KIP-919), v2 lists fenced brokers.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::{CLUSTER_OPERATIONS, Node};
use ottla_model::ErrorCode;
use ottla_protocol::describe_cluster_response::DescribeClusterBroker;
use ottla_protocol::{DescribeClusterRequest, DescribeClusterResponse};
use std::sync::Arc;

const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeClusterRequest>,
) -> Reply<DescribeClusterResponse> {
    let failed = |error: ErrorCode, message: &str| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message.into()),
        ..Default::default()
    };
    match request.endpoint_type {
        ENDPOINT_BROKERS => {}
        ENDPOINT_CONTROLLERS => {
            return failed(ErrorCode::MismatchedEndpointType, "this listener belongs to a broker").into();
        }
        _ => return failed(ErrorCode::UnsupportedEndpointType, "endpoint type is 1 (brokers) or 2").into(),
    }
    let broker = node.endpoint(&request.context().listener).map(|(host, port)| DescribeClusterBroker {
        broker_id: node.id(),
        host: host.into(),
        port,
        rack: node.config().broker_rack.as_deref().map(Into::into),
        ..Default::default()
    });
    let cluster_authorized_operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: node.cluster_id().into(),
        controller_id: node.id(),
        brokers: broker.into_iter().collect(),
        cluster_authorized_operations,
        ..Default::default()
    }
    .into()
}
