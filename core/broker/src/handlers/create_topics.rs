//! CreateTopics (19): v5 answers the topic's configs (KIP-525), v7 its id. A partition count or replication factor of -1
//! means the broker's default; assignments replace both.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::{CreatedTopic, NewTopic, Refusal};
use ottla_model::ErrorCode;
use ottla_protocol::create_topics_request::CreatableTopic;
use ottla_protocol::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use ottla_protocol::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<CreateTopicsRequest>) -> Reply<CreateTopicsResponse> {
    let mut named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(&*topic.name).or_default() += 1;
    }
    // A name that stands twice is refused as a whole: which of the two is meant cannot be known.
    let (once, twice): (Vec<&CreatableTopic>, Vec<&CreatableTopic>) =
        request.topics.iter().partition(|topic| named.get(&*topic.name) == Some(&1));
    let wanted = once.iter().map(|topic| new_topic(topic)).collect();
    let created = node.create_topics(wanted, request.validate_only).await;
    let mut topics: Vec<CreatableTopicResult> =
        once.iter().zip(created).map(|(topic, created)| answer(&topic.name, created)).collect();
    let mut duplicates: Vec<&str> = twice.iter().map(|topic| &*topic.name).collect();
    duplicates.sort_unstable();
    duplicates.dedup();
    let refusal = || Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()));
    topics.extend(duplicates.into_iter().map(|name| answer(name, refusal())));
    CreateTopicsResponse { topics, ..Default::default() }.into()
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(|it| (it.partition_index, it.broker_ids.clone())).collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_deref().map(str::to_owned)))
            .collect(),
    }
}

fn answer(name: &str, created: Result<CreatedTopic, Refusal>) -> CreatableTopicResult {
    match created {
        Ok(created) => CreatableTopicResult {
            name: name.into(),
            topic_id: created.id,
            error_message: None,
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(
                created
                    .configs
                    .into_iter()
                    .map(|config| CreatableTopicConfigs {
                        name: config.name.into(),
                        value: config.value.map(Into::into),
                        read_only: config.read_only,
                        config_source: crate::topics::source_code(config.source),
                        is_sensitive: config.sensitive,
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        },
        Err((error, message)) => CreatableTopicResult {
            name: name.into(),
            error_code: error.code(),
            error_message: Some(message.into()),
            configs: Some(Vec::new()),
            ..Default::default()
        },
    }
}
