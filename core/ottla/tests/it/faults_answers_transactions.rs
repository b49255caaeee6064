//! Samples of the APIs about transactions for `faults_answers`.

use crate::faults_answers::{Checker, TOPIC, topic_and_id};
use ottla_protocol::*;

const ID: &str = "transactional-id";

fn added() -> add_partitions_to_txn_request::AddPartitionsToTxnTopic {
    add_partitions_to_txn_request::AddPartitionsToTxnTopic {
        name: TOPIC.into(),
        partitions: vec![0, 1],
        ..Default::default()
    }
}

pub(crate) async fn transactions(checker: &mut Checker) {
    checker
        .check(
            |version| match version {
                ..4 => AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: ID.into(),
                    v3_and_below_topics: vec![added()],
                    ..Default::default()
                },
                4.. => AddPartitionsToTxnRequest {
                    transactions: vec![add_partitions_to_txn_request::AddPartitionsToTxnTransaction {
                        transactional_id: ID.into(),
                        topics: vec![added()],
                        ..Default::default()
                    }],
                    ..Default::default()
                },
            },
            |it| {
                let of_transactions = it.results_by_transaction.iter().flat_map(|it| &it.topic_results);
                let topics = of_transactions.chain(&it.results_by_topic_v3_and_below);
                let codes = topics.flat_map(|it| &it.results_by_partition).map(|it| it.partition_error_code);
                codes.chain(Some(it.error_code).filter(|code| *code != 0)).collect()
            },
        )
        .await;
    checker
        .check(
            |_| AddOffsetsToTxnRequest { transactional_id: ID.into(), group_id: "g".into(), ..Default::default() },
            |it| vec![it.error_code],
        )
        .await;
    checker
        .check(|_| EndTxnRequest { transactional_id: ID.into(), ..Default::default() }, |it| vec![it.error_code])
        .await;
    let id = checker.topic_id;
    checker
        .check(
            |version| {
                let (name, topic_id) = topic_and_id(version, 6, id);
                let of = |partition_index| txn_offset_commit_request::TxnOffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: 1,
                    ..Default::default()
                };
                let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic {
                    name,
                    topic_id,
                    partitions: vec![of(0), of(1)],
                    ..Default::default()
                };
                TxnOffsetCommitRequest {
                    transactional_id: ID.into(),
                    group_id: "g".into(),
                    topics: vec![topic],
                    ..Default::default()
                }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    admin(checker).await;
}

async fn admin(checker: &mut Checker) {
    checker
        .check(
            |_| {
                let topic = write_txn_markers_request::WritableTxnMarkerTopic {
                    name: TOPIC.into(),
                    partition_indexes: vec![0, 1],
                    ..Default::default()
                };
                let marker = write_txn_markers_request::WritableTxnMarker {
                    producer_id: 1,
                    topics: vec![topic],
                    ..Default::default()
                };
                WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() }
            },
            |it| {
                let topics = it.markers.iter().flat_map(|it| &it.topics);
                topics.flat_map(|it| &it.partitions).map(|it| it.error_code).collect()
            },
        )
        .await;
    checker
        .check(
            |_| {
                let topic = describe_producers_request::TopicRequest {
                    name: TOPIC.into(),
                    partition_indexes: vec![0, 1],
                    ..Default::default()
                };
                DescribeProducersRequest { topics: vec![topic], ..Default::default() }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| DescribeTransactionsRequest { transactional_ids: vec![ID.into()], ..Default::default() },
            |it| it.transaction_states.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker.check(|_| ListTransactionsRequest::default(), |it| vec![it.error_code]).await;
}
