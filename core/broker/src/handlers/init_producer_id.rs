//! InitProducerId (22): an identity for an idempotent or transactional producer.
//!
//! - Without a transactional id every request gets a new producer id with epoch 0. With one it gets the id's own with a
//!   higher epoch, which fences the producer before it and aborts what that had open (KIP-98).
//! - v3 names the id and epoch that the producer believes to have, to go on after an error (KIP-360). v4 tells a fenced
//!   producer so; older ones know INVALID_PRODUCER_EPOCH only. v6 would prepare two-phase commits (KIP-939).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::{NO_EPOCH, NO_PRODUCER_ID, ProducerIdEpoch};
use ottla_model::ErrorCode;
use ottla_protocol::{InitProducerIdRequest, InitProducerIdResponse};
use std::sync::Arc;

/// The first version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 4;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<InitProducerIdRequest>,
) -> Reply<InitProducerIdResponse> {
    let version = request.context().api_version;
    let initialised = match (request.transactional_id.as_deref(), (request.producer_id, request.producer_epoch)) {
        (_, (NO_PRODUCER_ID, epoch)) if epoch != NO_EPOCH => Err(ErrorCode::InvalidRequest),
        (_, (producer_id, NO_EPOCH)) if producer_id != NO_PRODUCER_ID => Err(ErrorCode::InvalidRequest),
        (None, _) => node.producer_ids.next(node).map(|producer_id| ProducerIdEpoch { producer_id, epoch: 0 }),
        (Some(""), _) => Err(ErrorCode::InvalidRequest),
        (Some(id), (producer_id, epoch)) => {
            let expected = (producer_id != NO_PRODUCER_ID).then_some(ProducerIdEpoch { producer_id, epoch });
            node.transactions.init_producer_id(node, id, request.transaction_timeout_ms, expected).await
        }
    };
    match initialised {
        Ok(ProducerIdEpoch { producer_id, epoch }) => {
            InitProducerIdResponse { producer_id, producer_epoch: epoch, ..Default::default() }.into()
        }
        Err(error) => {
            let fenced_before = error == ErrorCode::ProducerFenced && version < PRODUCER_FENCED_VERSION;
            let error = if fenced_before { ErrorCode::InvalidProducerEpoch } else { error };
            InitProducerIdResponse {
                error_code: error.code(),
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            }
            .into()
        }
    }
}
