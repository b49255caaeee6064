//! AddOffsetsToTxn (25): a transaction is about to commit offsets of a group, so the group's partition of
//! `__consumer_offsets` becomes part of it. Below v2 a fenced producer hears INVALID_PRODUCER_EPOCH.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::OFFSETS_TOPIC;
use ottla_coordinator::transaction::ProducerIdEpoch;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use std::sync::Arc;

/// The first version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<AddOffsetsToTxnRequest>,
) -> Reply<AddOffsetsToTxnResponse> {
    let version = request.context().api_version;
    let error = match add(node, &request).await {
        Ok(()) => ErrorCode::None,
        Err(ErrorCode::ProducerFenced) if version < PRODUCER_FENCED_VERSION => ErrorCode::InvalidProducerEpoch,
        Err(error) => error,
    };
    AddOffsetsToTxnResponse { error_code: error.code(), ..Default::default() }.into()
}

async fn add(node: &Arc<Node>, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    node.groups.ensure_loaded(node, &request.group_id).await?;
    let partition = node.groups.partition_of(&request.group_id)?;
    let partition = TopicPartition::new(OFFSETS_TOPIC, i32::try_from(partition).unwrap_or(i32::MAX));
    let producer = ProducerIdEpoch { producer_id: request.producer_id, epoch: request.producer_epoch };
    node.transactions.add_partitions(node, &request.transactional_id, producer, &[partition], 0).await
}
