//! OffsetFetch (9): v2 fetches all of a group and has an error for the whole, v5 leader epochs, v7 stable offsets
//! (KIP-447), v8 several groups (KIP-709), v10 topic ids (KIP-848).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use ottla_protocol::{OffsetFetchRequest, OffsetFetchResponse};
use std::sync::Arc;

/// The first version with several groups.
const GROUPS_VERSION: i16 = 8;
/// The first version with topic ids in place of names.
const TOPIC_IDS_VERSION: i16 = 10;
/// The first version with an error for the whole group.
const GROUP_ERROR_VERSION: i16 = 2;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<OffsetFetchRequest>) -> Reply<OffsetFetchResponse> {
    let (request, context) = request.into_parts();
    let version = context.api_version;
    if version >= GROUPS_VERSION {
        let by_id = version >= TOPIC_IDS_VERSION;
        let fetch = |group: OffsetFetchRequestGroup| match by_id {
            true => fetch_by_id(node, group, request.require_stable),
            false => fetch(node, &group, request.require_stable),
        };
        let groups = request.groups.into_iter().map(fetch).collect();
        return OffsetFetchResponse { groups, ..Default::default() }.into();
    }
    let asked = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topics.collect()
    });
    let asked = OffsetFetchRequestGroup { group_id: request.group_id, topics: asked, ..Default::default() };
    one_group(version, &asked, fetch(node, &asked, request.require_stable)).into()
}

fn fetch(node: &Node, group: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    match node.groups.read(&group.group_id, |shard| shard.fetch_offsets(group, require_stable)) {
        Ok(found) => found,
        Err(error) => OffsetFetchResponseGroup {
            group_id: group.group_id.clone(),
            error_code: error.code(),
            ..Default::default()
        },
    }
}

/// By topic ids: unknown ones are answered here, and what is found by name gets its id.
fn fetch_by_id(node: &Node, mut group: OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    let mut unknown = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| match node.partitions.name_of(topic.topic_id) {
            Some(name) => {
                topic.name = name.into();
                true
            }
            None => {
                unknown.push(unknown_topic(topic));
                false
            }
        });
    }
    let mut found = fetch(node, &group, require_stable);
    found.topics.retain_mut(|topic| {
        if topic.topic_id == Uuid::ZERO {
            topic.topic_id = node.partitions.topic(&topic.name).map_or(Uuid::ZERO, |(_, id)| id);
        }
        topic.topic_id != Uuid::ZERO
    });
    if found.error_code == 0 {
        found.topics.extend(unknown);
    }
    found
}

fn unknown_topic(topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partition = |index: &i32| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        metadata: Some("".into()),
        error_code: ErrorCode::UnknownTopicId.code(),
        ..Default::default()
    };
    OffsetFetchResponseTopics {
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(partition).collect(),
        ..Default::default()
    }
}

/// The answer as v1-7 have it.
fn one_group(version: i16, asked: &OffsetFetchRequestGroup, found: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    if found.error_code != 0 && version >= GROUP_ERROR_VERSION {
        return OffsetFetchResponse { error_code: found.error_code, ..Default::default() };
    }
    if found.error_code != 0 {
        // v1 can only say it for each partition.
        let partition = |index: &i32| OffsetFetchResponsePartition {
            partition_index: *index,
            committed_offset: -1,
            metadata: Some("".into()),
            error_code: found.error_code,
            ..Default::default()
        };
        let topic = |topic: &OffsetFetchRequestTopics| OffsetFetchResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().map(partition).collect(),
            ..Default::default()
        };
        let topics = asked.topics.iter().flatten().map(topic).collect();
        return OffsetFetchResponse { topics, ..Default::default() };
    }
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    OffsetFetchResponse { topics: found.topics.into_iter().map(topic).collect(), ..Default::default() }
}
