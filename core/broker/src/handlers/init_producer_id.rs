//! InitProducerId (22): an identity for an idempotent producer.
//!
//! Without a transactional id every request gets a new producer id with epoch 0, as from Kafka. Transactions are not
//! served yet: a transactional id is refused in a way that clients report at once instead of retrying.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::ErrorCode;
use ottla_protocol::{InitProducerIdRequest, InitProducerIdResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<InitProducerIdRequest>,
) -> Reply<InitProducerIdResponse> {
    let allocated = match request.transactional_id.as_deref() {
        None => node.producer_ids.next(node),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::UnsupportedVersion),
    };
    match allocated {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }.into(),
        Err(error) => InitProducerIdResponse {
            error_code: error.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        }
        .into(),
    }
}
