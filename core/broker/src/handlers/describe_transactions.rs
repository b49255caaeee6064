//! DescribeTransactions (65): the state of transactional ids (KIP-664).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::TxnImage;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::describe_transactions_response::{TopicData, TransactionState};
use ottla_protocol::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeTransactionsRequest>,
) -> Reply<DescribeTransactionsResponse> {
    let describe = |id: &Str| match id.is_empty() {
        true => Err(ErrorCode::InvalidRequest),
        false => node.transactions.describe(id),
    };
    let state = |id: &Str| match describe(id) {
        Ok(image) => described(id, &image),
        Err(error) => TransactionState { transactional_id: id.clone(), error_code: error.code(), ..Default::default() },
    };
    let transaction_states = request.transactional_ids.iter().map(state).collect();
    DescribeTransactionsResponse { transaction_states, ..Default::default() }.into()
}

fn described(id: &Str, image: &TxnImage) -> TransactionState {
    let mut topics: Vec<TopicData> = Vec::new();
    for partition in &image.partitions {
        match topics.last_mut().filter(|topic| *topic.topic == *partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(TopicData {
                topic: (&partition.topic).into(),
                partitions: vec![partition.partition],
                ..Default::default()
            }),
        }
    }
    TransactionState {
        transactional_id: id.clone(),
        transaction_state: image.state.name().into(),
        transaction_timeout_ms: image.timeout_ms,
        transaction_start_time_ms: image.start_timestamp_ms,
        producer_id: image.producer_id,
        producer_epoch: image.producer_epoch,
        topics,
        ..Default::default()
    }
}
