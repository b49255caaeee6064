//! Transactions.

use crate::support::*;
use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_model::record_batch::BatchOptions;
use ottla_protocol::find_coordinator_request::FindCoordinatorRequest;
use ottla_protocol::{
    AddPartitionsToTxnRequest, DescribeTransactionsRequest, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest,
};

const ID: &str = "id";
const STATE: &str = "__transaction_state";
const TRANSACTION: i8 = 1;

async fn find_coordinator(node: &Node) -> ErrorCode {
    let request =
        FindCoordinatorRequest { key_type: TRANSACTION, coordinator_keys: vec![ID.into()], ..Default::default() };
    ErrorCode::from_code(node.ask(&request).await.coordinators[0].error_code)
}

async fn with_transactions(configs: &[(&str, &str)]) -> Node {
    let node = start(configs).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::None);
    node.create(TOPIC, 1, &[]).await;
    node
}

async fn init(node: &Node, id: &str, timeout_ms: i32) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: timeout_ms,
        ..Default::default()
    };
    node.ask_at(&request, 5).await
}

/// Opens a transaction of version 1 on the topic.
async fn begin(node: &Node, producer: &InitProducerIdResponse) {
    let topic = ottla_protocol::add_partitions_to_txn_request::AddPartitionsToTxnTopic {
        name: TOPIC.into(),
        partitions: vec![0],
        ..Default::default()
    };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.into(),
        v3_and_below_producer_id: producer.producer_id,
        v3_and_below_producer_epoch: producer.producer_epoch,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let response = node.ask_at(&request, 3).await;
    assert_eq!(response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 0);
}

async fn state(node: &Node) -> String {
    let request = DescribeTransactionsRequest { transactional_ids: vec![ID.into()], ..Default::default() };
    node.ask(&request).await.transaction_states[0].transaction_state.to_string()
}

#[tokio::test]
pub async fn transaction_state_log_num_partitions() {
    let node = with_transactions(&[("transaction.state.log.num.partitions", "3")]).await;
    assert_eq!(node.topic(STATE, false).await.partitions.len(), 3);
    node.close().await;
}

#[tokio::test]
pub async fn transaction_state_log_replication_factor() {
    let node = start(&[("transaction.state.log.replication.factor", "2")]).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::CoordinatorNotAvailable);
    node.close().await;
}

/// Long ids fill a segment quickly.
#[tokio::test]
pub async fn transaction_state_log_segment_bytes() {
    let folder = Folder::new();
    let node = start_in(&folder, &[("transaction.state.log.segment.bytes", "1048576")]).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::None);
    for index in 0..40 {
        let id = format!("{index}{}", "i".repeat(30_000));
        assert_eq!(init(&node, &id, 1000).await.error_code, 0);
    }
    assert_eq!(count(&folder.join("__transaction_state-0"), ".log"), 2);
    node.close().await;
}

#[tokio::test]
pub async fn transaction_max_timeout_ms() {
    let node = with_transactions(&[("transaction.max.timeout.ms", "5000")]).await;
    let error = |response: InitProducerIdResponse| ErrorCode::from_code(response.error_code);
    assert_eq!(error(init(&node, ID, 5001).await), ErrorCode::InvalidTransactionTimeout);
    assert_eq!(error(init(&node, ID, 5000).await), ErrorCode::None);
    node.close().await;
}

/// The transaction is late at once, and the next look finds it; by default that is ten seconds away.
#[tokio::test]
pub async fn transaction_abort_timed_out_transaction_cleanup_interval_ms() {
    let name = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
    let node = with_transactions(&[(name, "20")]).await;
    let producer = init(&node, ID, 1).await;
    begin(&node, &producer).await;
    eventually("the transaction is aborted", async || state(&node).await == "CompleteAbort").await;
    node.close().await;
}

async fn ids(node: &Node) -> usize {
    node.ask(&ListTransactionsRequest { duration_filter: -1, ..Default::default() }).await.transaction_states.len()
}

/// Both together: an id is old after a moment, and looked at soon. With either default it would be there for an hour.
#[tokio::test]
pub async fn transactional_ids_expire() {
    let interval = "transaction.remove.expired.transaction.cleanup.interval.ms";
    let node = with_transactions(&[(interval, "20"), ("transactional.id.expiration.ms", "1")]).await;
    assert_eq!(init(&node, ID, 1000).await.error_code, 0);
    eventually("the id is forgotten", async || ids(&node).await == 0).await;
    node.close().await;
    let node = with_transactions(&[(interval, "1")]).await;
    assert_eq!(init(&node, ID, 1000).await.error_code, 0);
    let topic = node.topic(STATE, false).await;
    assert_eq!((topic.error_code, ids(&node).await), (0, 1));
    node.close().await;
}

fn batch_of(producer: &InitProducerIdResponse) -> Bytes {
    let options = BatchOptions {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        base_sequence: 0,
        transactional: true,
        ..BatchOptions::default()
    };
    batch_with(options, now_ms(), b"v")
}

/// A producer of version 1 that writes without having added the partition.
#[tokio::test]
pub async fn transaction_partition_verification_enable() {
    for (value, expected) in [("true", ErrorCode::InvalidTxnState), ("false", ErrorCode::None)] {
        let node = with_transactions(&[("transaction.partition.verification.enable", value)]).await;
        let producer = init(&node, ID, 1000).await;
        let mut request = produce_request(TOPIC, 0, batch_of(&producer));
        request.transactional_id = Some(ID.into());
        let response = node.ask_at(&request, 10).await;
        assert_eq!(ErrorCode::from_code(response.responses[0].partition_responses[0].error_code), expected);
        node.close().await;
    }
}
