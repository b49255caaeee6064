//! DescribeProducers (61): the producers that a partition knows of, and the transactions that are open in it (KIP-664).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_log::ProducerStateEntry;
use ottla_metadata::validate_topic_name;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::describe_producers_request::TopicRequest;
use ottla_protocol::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use ottla_protocol::{DescribeProducersRequest, DescribeProducersResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeProducersRequest>,
) -> Reply<DescribeProducersResponse> {
    let of_topic = |topic: &TopicRequest| TopicResponse {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(|index| of_partition(node, &topic.name, *index)).collect(),
        ..Default::default()
    };
    let topics = request.topics.iter().map(of_topic).collect();
    DescribeProducersResponse { topics, ..Default::default() }.into()
}

fn of_partition(node: &Node, topic: &Str, partition_index: i32) -> PartitionResponse {
    let found = match validate_topic_name(topic) {
        Ok(()) => node.partitions.by_name(topic, partition_index),
        Err(_) => Err(ErrorCode::InvalidTopicException),
    };
    match found {
        Ok(partition) => PartitionResponse {
            partition_index,
            active_producers: partition.log().active_producers().values().map(state).collect(),
            ..Default::default()
        },
        Err(error) => PartitionResponse {
            partition_index,
            error_code: error.code(),
            error_message: matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException)
                .then(|| error.message().into()),
            ..Default::default()
        },
    }
}

fn state(entry: &ProducerStateEntry) -> ProducerState {
    ProducerState {
        producer_id: entry.producer_id,
        producer_epoch: entry.producer_epoch.into(),
        last_sequence: entry.last_sequence(),
        last_timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_start_offset: entry.current_txn_first_offset.unwrap_or(-1),
        ..Default::default()
    }
}
