//! Metadata (3): brokers, topics, leaders; creates a topic that is missing when asked to.
//!
//! - v0 takes an empty list for all topics, v1+ null for all and empty for none. v4 says whether to create,
//!   v8 authorized operations (KIP-430), v10 topic ids, v12 lookup by id, v13 an error for the whole answer.
//! - An auto-created topic is answered complete at once; its leader is this broker, so there is nothing to wait for.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::{Node, TOPIC_OPERATIONS};
use ottla_metadata::{MetadataImage, TopicImage};
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::metadata_request::MetadataRequestTopic;
use ottla_protocol::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use ottla_protocol::{MetadataRequest, MetadataResponse};
use std::collections::HashSet;
use std::sync::Arc;

/// The first version that looks topics up by id.
const LOOK_UP_BY_ID_VERSION: i16 = 12;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<MetadataRequest>) -> Reply<MetadataResponse> {
    let version = request.context().api_version;
    if let Some(refused) = refuse(version, &request) {
        return refused.into();
    }
    let everything = match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let operations = if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { i32::MIN };
    let topics = if everything {
        let image = node.metadata.image();
        image.topics().map(|topic| describe(node, topic, operations)).collect()
    } else {
        let asked = request.topics.as_deref().unwrap_or_default();
        // With one id among them, what is named only is left out; what stands twice is answered once.
        let by_id = asked.iter().any(|topic| topic.topic_id != Uuid::ZERO);
        let mut seen = HashSet::new();
        let wanted: Vec<&MetadataRequestTopic> = asked
            .iter()
            .filter(|topic| !by_id || topic.topic_id != Uuid::ZERO)
            .filter(|topic| match by_id {
                true => seen.insert((None, topic.topic_id)),
                false => seen.insert((topic.name.as_deref(), Uuid::ZERO)),
            })
            .collect();
        create_missing(node, &wanted, request.allow_auto_topic_creation).await;
        let image = node.metadata.image();
        wanted.iter().map(|topic| look_up(node, &image, topic, operations)).collect()
    };
    let broker = node.endpoint(&request.context().listener).map(|(host, port)| MetadataResponseBroker {
        node_id: node.id(),
        host: host.into(),
        port,
        rack: node.config().broker_rack.as_deref().map(Into::into),
        ..Default::default()
    });
    MetadataResponse {
        brokers: broker.into_iter().collect(),
        cluster_id: Some(node.cluster_id().into()),
        controller_id: node.id(),
        topics,
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => crate::node::CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..Default::default()
    }
    .into()
}

/// v10 and v11 have ids in their format and do not serve them (KAFKA-12791): the whole request is refused.
fn refuse(version: i16, request: &MetadataRequest) -> Option<MetadataResponse> {
    let topics = request.topics.as_deref().filter(|_| (10..LOOK_UP_BY_ID_VERSION).contains(&version))?;
    let unserved = |topic: &MetadataRequestTopic| topic.topic_id != Uuid::ZERO || topic.name.is_none();
    if !topics.iter().any(unserved) {
        return None;
    }
    let topics = topics.iter().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        // Not nullable in these versions.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    });
    Some(MetadataResponse { topics: topics.collect(), controller_id: -1, ..Default::default() })
}

async fn create_missing(node: &Arc<Node>, wanted: &[&MetadataRequestTopic], allowed: bool) {
    if !allowed || !node.config().auto_create_topics_enable {
        return;
    }
    let image = node.metadata.image();
    let names = wanted.iter().filter(|topic| topic.topic_id == Uuid::ZERO).filter_map(|topic| topic.name.as_deref());
    let missing: Vec<String> = names.filter(|name| image.topic(name).is_none()).map(str::to_owned).collect();
    for name in missing {
        // What goes wrong here shows in the look-up that follows, as for any topic that is not there.
        if let Err((error, reason)) = node.auto_create_topic(&name).await {
            tracing::info!(topic = name, error = error.name(), "auto-creation refused: {reason}");
        }
    }
}

fn look_up(
    node: &Node,
    image: &MetadataImage,
    wanted: &MetadataRequestTopic,
    operations: i32,
) -> MetadataResponseTopic {
    if wanted.topic_id != Uuid::ZERO {
        return match image.topic_by_id(wanted.topic_id) {
            Some(topic) => describe(node, topic, operations),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                topic_id: wanted.topic_id,
                name: None,
                ..Default::default()
            },
        };
    }
    let name = wanted.name.as_deref().unwrap_or("");
    if let Some(topic) = image.topic(name) {
        return describe(node, topic, operations);
    }
    let error = match ottla_metadata::validate_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        is_internal: node.is_internal_topic(name),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}

fn describe(node: &Node, topic: &TopicImage, operations: i32) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|(id, partition)| MetadataResponsePartition {
        partition_index: *id,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        ..Default::default()
    });
    MetadataResponseTopic {
        name: Some((&*topic.name).into()),
        topic_id: topic.id,
        is_internal: node.is_internal_topic(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}
