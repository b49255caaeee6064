//! AddPartitionsToTxn (24): which partitions a transaction is about to write to.
//!
//! - v0-3 come from producers: all partitions are added, or none. Below v2 a fenced producer hears INVALID_PRODUCER_EPOCH.
//! - v4 and later come from brokers, for several transactions, to add or only to verify (KIP-890).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::ProducerIdEpoch;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla_protocol::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use ottla_protocol::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use std::sync::Arc;

/// The first version with a list of transactions.
const BATCHED_VERSION: i16 = 4;
/// The first version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<AddPartitionsToTxnRequest>,
) -> Reply<AddPartitionsToTxnResponse> {
    let version = request.context().api_version;
    if version >= BATCHED_VERSION {
        let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
        for transaction in &request.transactions {
            results_by_transaction.push(of_broker(node, transaction).await);
        }
        return AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }.into();
    }
    let producer =
        ProducerIdEpoch { producer_id: request.v3_and_below_producer_id, epoch: request.v3_and_below_producer_epoch };
    let topics = &request.v3_and_below_topics;
    let mut errors = existing(node, topics);
    if errors.iter().all(|error| *error == ErrorCode::None) {
        let added = add(node, &request.v3_and_below_transactional_id, producer, &partitions(topics), 0).await;
        let error = match added {
            Err(ErrorCode::ProducerFenced) if version < PRODUCER_FENCED_VERSION => ErrorCode::InvalidProducerEpoch,
            Err(error) => error,
            Ok(()) => ErrorCode::None,
        };
        errors.fill(error);
    }
    let results_by_topic_v3_and_below = results(topics, errors);
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() }.into()
}

async fn of_broker(node: &Arc<Node>, transaction: &AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let AddPartitionsToTxnTransaction { transactional_id, producer_id, producer_epoch, .. } = transaction;
    let producer = ProducerIdEpoch { producer_id: *producer_id, epoch: *producer_epoch };
    let topics = &transaction.topics;
    let mut errors = existing(node, topics);
    if errors.iter().all(|error| *error == ErrorCode::None) {
        let wanted = partitions(topics);
        if transaction.verify_only {
            let verified = match transactional_id.is_empty() {
                true => Err(ErrorCode::InvalidRequest),
                false => node.transactions.verify(transactional_id, producer, &wanted),
            };
            match verified {
                Ok(verified) => errors = verified.into_iter().map(|it| it.err().unwrap_or(ErrorCode::None)).collect(),
                Err(error) => errors.fill(error),
            }
        } else {
            errors.fill(add(node, transactional_id, producer, &wanted, 2).await.err().unwrap_or(ErrorCode::None));
        }
    }
    AddPartitionsToTxnResult {
        transactional_id: transactional_id.clone(),
        topic_results: results(topics, errors),
        ..Default::default()
    }
}

async fn add(
    node: &Arc<Node>,
    transactional_id: &str,
    producer: ProducerIdEpoch,
    partitions: &[TopicPartition],
    version: i16,
) -> Result<(), ErrorCode> {
    if transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    node.transactions.add_partitions(node, transactional_id, producer, partitions, version).await
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> Vec<TopicPartition> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let name: Arc<str> = (&topic.name).into();
        topic.partitions.iter().map(move |&partition| TopicPartition::new(name.clone(), partition)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

/// Where a partition does not exist, the others are not attempted.
fn existing(node: &Node, topics: &[AddPartitionsToTxnTopic]) -> Vec<ErrorCode> {
    let exists = |partition: &TopicPartition| node.partitions.by_name(&partition.topic, partition.partition).map(drop);
    let found: Vec<Result<(), ErrorCode>> = partitions(topics).iter().map(exists).collect();
    let others = if found.iter().all(Result::is_ok) { ErrorCode::None } else { ErrorCode::OperationNotAttempted };
    found.into_iter().map(|found| found.err().unwrap_or(others)).collect()
}

/// The errors in the order of the request's partitions.
fn results(topics: &[AddPartitionsToTxnTopic], errors: Vec<ErrorCode>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut errors = errors.into_iter();
    let mut result = |partition_index: &i32| AddPartitionsToTxnPartitionResult {
        partition_index: *partition_index,
        partition_error_code: errors.next().unwrap_or(ErrorCode::UnknownServerError).code(),
        ..Default::default()
    };
    topics
        .iter()
        .map(|topic| AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic.partitions.iter().map(&mut result).collect(),
            ..Default::default()
        })
        .collect()
}
