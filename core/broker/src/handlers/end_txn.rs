//! EndTxn (26): commits or aborts a producer's transaction. Below v2 a fenced producer hears INVALID_PRODUCER_EPOCH; from
//! v5 on the end bumps the epoch, which the answer carries (KIP-890).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::{NO_EPOCH, NO_PRODUCER_ID, ProducerIdEpoch};
use ottla_model::ErrorCode;
use ottla_protocol::{EndTxnRequest, EndTxnResponse};
use std::sync::Arc;

/// The first version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;
/// The first version whose clients take a new epoch from the answer.
const EPOCH_BUMP_VERSION: i16 = 5;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<EndTxnRequest>) -> Reply<EndTxnResponse> {
    let version = request.context().api_version;
    let producer = ProducerIdEpoch { producer_id: request.producer_id, epoch: request.producer_epoch };
    let transactions = if version >= EPOCH_BUMP_VERSION { 2 } else { 0 };
    let ended = match request.transactional_id.is_empty() {
        true => Err(ErrorCode::InvalidRequest),
        false => {
            let (id, commit) = (&request.transactional_id, request.committed);
            node.transactions.end(node, id, producer, commit, transactions).await
        }
    };
    let (error, next) = match ended {
        Ok(next) => (ErrorCode::None, next),
        Err(error) => (error, ProducerIdEpoch { producer_id: NO_PRODUCER_ID, epoch: NO_EPOCH }),
    };
    let fenced_before = error == ErrorCode::ProducerFenced && version < PRODUCER_FENCED_VERSION;
    let error = if fenced_before { ErrorCode::InvalidProducerEpoch } else { error };
    let mut response = EndTxnResponse { error_code: error.code(), ..Default::default() };
    if version >= EPOCH_BUMP_VERSION {
        response.producer_id = next.producer_id;
        response.producer_epoch = next.epoch;
    }
    response.into()
}
