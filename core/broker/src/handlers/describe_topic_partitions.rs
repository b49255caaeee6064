//! DescribeTopicPartitions (75): topics page by page (KIP-966). Topics come sorted by name; a cursor names the topic
//! and partition at which the next page starts. The lists of eligible leaders are empty, never null: the Java admin
//! client fails on null.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::{Node, TOPIC_OPERATIONS};
use ottla_metadata::MetadataImage;
use ottla_model::ErrorCode;
use ottla_protocol::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_protocol::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeTopicPartitionsRequest>,
) -> Reply<DescribeTopicPartitionsResponse> {
    let image = node.metadata.image();
    let everything = request.topics.is_empty();
    let names: BTreeSet<&str> = if everything {
        image.topics().map(|topic| &*topic.name).collect()
    } else {
        request.topics.iter().map(|topic| &*topic.name).collect()
    };
    if let Some(cursor) = &request.cursor {
        // A page starts inside what is asked for.
        let start = names.range(&*cursor.topic_name..).next();
        let inside = everything || start.is_some_and(|name| **name == *cursor.topic_name);
        if cursor.partition_index < 0 || !inside {
            return refused(&request).into();
        }
    }
    let (first_topic, mut first_partition) = match &request.cursor {
        Some(cursor) => (&*cursor.topic_name, cursor.partition_index.max(0)),
        None => ("", 0),
    };
    let limit = node.config().max_request_partition_size_limit;
    let mut left = request.response_partition_limit.clamp(1, limit.max(1)) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.range(first_topic..) {
        if *name != first_topic {
            first_partition = 0;
        }
        if left == 0 {
            response.next_cursor =
                Some(Cursor { topic_name: (*name).into(), partition_index: 0, ..Default::default() });
            break;
        }
        let (topic, next) = describe(node, &image, name, first_partition, left);
        left -= topic.partitions.len();
        response.topics.push(topic);
        if let Some(partition_index) = next {
            response.next_cursor = Some(Cursor { topic_name: (*name).into(), partition_index, ..Default::default() });
            break;
        }
    }
    response.into()
}

/// A cursor that cannot be: the whole request is refused, topic by topic.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.clone()),
        ..Default::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

/// The topic's partitions from `first` on, at most `limit`, and the one at which the next page starts.
fn describe(
    node: &Node,
    image: &MetadataImage,
    name: &str,
    first: i32,
    limit: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let Some(topic) = image.topic(name) else {
        let error = match ottla_metadata::validate_topic_name(name) {
            Ok(()) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        };
        let unknown = DescribeTopicPartitionsResponseTopic {
            error_code: error.code(),
            name: Some(name.into()),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        };
        return (unknown, None);
    };
    let mut rest = topic.partitions.range(first..);
    let partitions = rest.by_ref().take(limit).map(|(id, partition)| DescribeTopicPartitionsResponsePartition {
        partition_index: *id,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    });
    let described = DescribeTopicPartitionsResponseTopic {
        name: Some(name.into()),
        topic_id: topic.id,
        is_internal: node.is_internal_topic(name),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    };
    (described, rest.next().map(|(id, _)| *id))
}
