//! How the APIs about transactions are refused, where they are about partitions or several ids.

use super::part::{Hit, Part, Place, Refuse, merge_nested, split_flat, split_nested};
use super::rule::Filters;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use ottla_protocol::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use ottla_protocol::describe_producers_response::{PartitionResponse, TopicResponse};
use ottla_protocol::describe_transactions_response::TransactionState;
use ottla_protocol::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use ottla_protocol::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::*;

/// The first version of AddPartitionsToTxn with a list of transactions.
const BATCHED_VERSION: i16 = 4;

fn parts_of(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = Part> {
    let of = |topic: &AddPartitionsToTxnTopic| {
        let parts = topic.partitions.iter().map(|&index| Part::partition(&topic.name, Uuid::ZERO, index));
        parts.collect::<Vec<_>>()
    };
    topics.iter().flat_map(of)
}

fn refused(topics: &[AddPartitionsToTxnTopic], code: ErrorCode) -> Vec<AddPartitionsToTxnTopicResult> {
    let result = |&partition_index: &i32| AddPartitionsToTxnPartitionResult {
        partition_index,
        partition_error_code: code.code(),
        ..Default::default()
    };
    let of = |topic: &AddPartitionsToTxnTopic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic.partitions.iter().map(result).collect(),
        ..Default::default()
    };
    topics.iter().map(of).collect()
}

fn join(served: &mut Vec<AddPartitionsToTxnTopicResult>, refused: Vec<AddPartitionsToTxnTopicResult>) {
    merge_nested(served, refused, |a, b| a.name == b.name, |topic| &mut topic.results_by_partition);
}

impl Refuse for AddPartitionsToTxnRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, place: &Place<'_>) -> Vec<Part> {
        match place.version < BATCHED_VERSION {
            true => parts_of(&self.v3_and_below_topics).collect(),
            false => self.transactions.iter().flat_map(|it| parts_of(&it.topics)).collect(),
        }
    }

    fn split(&mut self, place: &Place<'_>, hit: Hit<'_>) -> Self {
        if place.version < BATCHED_VERSION {
            let gone = split_nested(&mut self.v3_and_below_topics, |topic| &mut topic.partitions, hit);
            return AddPartitionsToTxnRequest { v3_and_below_topics: gone, ..self.clone() };
        }
        let mut transactions = Vec::new();
        for transaction in &mut self.transactions {
            let topics = split_nested(&mut transaction.topics, |topic| &mut topic.partitions, hit);
            let mut copy = transaction.clone();
            copy.topics = topics;
            transactions.push(copy);
        }
        AddPartitionsToTxnRequest { transactions, ..self.clone() }
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, whole: bool) -> Option<AddPartitionsToTxnResponse> {
        if place.version < BATCHED_VERSION {
            let results_by_topic_v3_and_below = refused(&self.v3_and_below_topics, code);
            let is_empty = results_by_topic_v3_and_below.is_empty();
            return (!is_empty)
                .then(|| AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() });
        }
        if whole {
            return Some(AddPartitionsToTxnResponse { error_code: code.code(), ..Default::default() });
        }
        let results = self.transactions.iter().map(|transaction| AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id.clone(),
            topic_results: refused(&transaction.topics, code),
            ..Default::default()
        });
        Some(AddPartitionsToTxnResponse { results_by_transaction: results.collect(), ..Default::default() })
    }

    fn merge(served: &mut AddPartitionsToTxnResponse, refused: AddPartitionsToTxnResponse) {
        join(&mut served.results_by_topic_v3_and_below, refused.results_by_topic_v3_and_below);
        for result in refused.results_by_transaction {
            let known = served.results_by_transaction.iter_mut();
            match known.into_iter().find(|known| known.transactional_id == result.transactional_id) {
                Some(known) => join(&mut known.topic_results, result.topic_results),
                None => served.results_by_transaction.push(result),
            }
        }
    }
}

impl Refuse for TxnOffsetCommitRequest {
    const FILTERS: Filters = Filters::GROUP_PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for topic in &self.topics {
            let of = |index| Part {
                group: Some(self.group_id.clone()),
                ..Part::partition(&topic.name, topic.topic_id, index)
            };
            parts.extend(topic.partitions.iter().map(|it| of(it.partition_index)));
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partitions, hit);
        TxnOffsetCommitRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<TxnOffsetCommitResponse> {
        let topics = self.topics.iter().map(|topic| TxnOffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: (topic.partitions.iter())
                .map(|it| TxnOffsetCommitResponsePartition {
                    partition_index: it.partition_index,
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| TxnOffsetCommitResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut TxnOffsetCommitResponse, refused: TxnOffsetCommitResponse) {
        let same = |a: &TxnOffsetCommitResponseTopic, b: &TxnOffsetCommitResponseTopic| {
            a.name == b.name && a.topic_id == b.topic_id
        };
        merge_nested(&mut served.topics, refused.topics, same, |topic| &mut topic.partitions);
    }
}

impl Refuse for WriteTxnMarkersRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for topic in self.markers.iter().flat_map(|marker| &marker.topics) {
            let of = |&index: &i32| Part::partition(&topic.name, Uuid::ZERO, index);
            parts.extend(topic.partition_indexes.iter().map(of));
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let mut markers = Vec::new();
        for marker in &mut self.markers {
            let topics = split_nested(&mut marker.topics, |topic| &mut topic.partition_indexes, hit);
            let mut copy = marker.clone();
            copy.topics = topics;
            markers.push(copy);
        }
        WriteTxnMarkersRequest { markers, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<WriteTxnMarkersResponse> {
        let markers = self.markers.iter().map(|marker| WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics: (marker.topics.iter())
                .map(|topic| WritableTxnMarkerTopicResult {
                    name: topic.name.clone(),
                    partitions: (topic.partition_indexes.iter())
                        .map(|&partition_index| WritableTxnMarkerPartitionResult {
                            partition_index,
                            error_code: code.code(),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let markers: Vec<_> = markers.collect();
        (!markers.is_empty()).then(|| WriteTxnMarkersResponse { markers, ..Default::default() })
    }

    fn merge(served: &mut WriteTxnMarkersResponse, refused: WriteTxnMarkersResponse) {
        for marker in refused.markers {
            match served.markers.iter_mut().find(|known| known.producer_id == marker.producer_id) {
                Some(known) => {
                    let same = |a: &WritableTxnMarkerTopicResult, b: &WritableTxnMarkerTopicResult| a.name == b.name;
                    merge_nested(&mut known.topics, marker.topics, same, |topic| &mut topic.partitions);
                }
                None => served.markers.push(marker),
            }
        }
    }
}

impl Refuse for DescribeProducersRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for topic in &self.topics {
            let of = |&index: &i32| Part::partition(&topic.name, Uuid::ZERO, index);
            parts.extend(topic.partition_indexes.iter().map(of));
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partition_indexes, hit);
        DescribeProducersRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DescribeProducersResponse> {
        let topics = self.topics.iter().map(|topic| TopicResponse {
            name: topic.name.clone(),
            partitions: (topic.partition_indexes.iter())
                .map(|&partition_index| PartitionResponse {
                    partition_index,
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| DescribeProducersResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut DescribeProducersResponse, refused: DescribeProducersResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.name == b.name, |topic| &mut topic.partitions);
    }
}

impl Refuse for DescribeTransactionsRequest {
    const FILTERS: Filters = Filters::NONE;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.transactional_ids.iter().map(|_| Part::default()).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let transactional_ids = split_flat(&mut self.transactional_ids, hit);
        DescribeTransactionsRequest { transactional_ids, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DescribeTransactionsResponse> {
        let states = self.transactional_ids.iter().map(|id| TransactionState {
            error_code: code.code(),
            transactional_id: id.clone(),
            ..Default::default()
        });
        let transaction_states: Vec<_> = states.collect();
        (!transaction_states.is_empty())
            .then(|| DescribeTransactionsResponse { transaction_states, ..Default::default() })
    }

    fn merge(served: &mut DescribeTransactionsResponse, refused: DescribeTransactionsResponse) {
        served.transaction_states.extend(refused.transaction_states);
    }
}
