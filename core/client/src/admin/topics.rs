//! Topics: create, list, describe, add partitions, delete.

use super::{Admin, check_code};
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{Str, Uuid};
use ottla_protocol::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use ottla_protocol::create_partitions_response::CreatePartitionsResponse;
use ottla_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use ottla_protocol::create_topics_response::CreateTopicsResponse;
use ottla_protocol::delete_topics_request::DeleteTopicsRequest;
use ottla_protocol::delete_topics_response::DeleteTopicsResponse;
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Topic configs by Kafka's names.
    pub configs: Vec<(String, String)>,
}

/// One line of a list of topics.
#[derive(Debug, Clone)]
pub struct TopicListing {
    /// The topic's name.
    pub name: String,
    /// The topic's id; zero from brokers before 2.8.
    pub id: Uuid,
    /// Whether it is the brokers' own, as `__consumer_offsets`.
    pub internal: bool,
    /// How many partitions it has.
    pub partitions: usize,
    /// Replicas of its first partition.
    pub replication_factor: usize,
}

/// A topic with its partitions.
#[derive(Debug, Clone)]
pub struct TopicDescription {
    /// The topic's name.
    pub name: String,
    /// The topic's id; zero from brokers before 2.8.
    pub id: Uuid,
    /// Whether it is the brokers' own.
    pub internal: bool,
    /// By partition index.
    pub partitions: Vec<PartitionDescription>,
}

/// Where a partition lives. Brokers are named by node id.
#[derive(Debug, Clone)]
pub struct PartitionDescription {
    /// Its index in the topic.
    pub partition: i32,
    /// `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch; -1 when the broker does not tell.
    pub leader_epoch: i32,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Replicas that are in sync.
    pub isr: Vec<i32>,
    /// Replicas whose broker or disk is down.
    pub offline: Vec<i32>,
}

impl Admin {
    /// Creates topics; one result per topic, in order. `validate_only` only checks.
    ///
    /// # Errors
    /// The outer one when no broker answered, the inner ones per topic (`TOPIC_ALREADY_EXISTS`, `INVALID_CONFIG` …).
    pub async fn create_topics(&self, topics: &[NewTopic], validate_only: bool) -> Result<Vec<Result<()>>> {
        let wanted = topics.iter().map(|topic| CreatableTopic {
            name: Str::from(topic.name.as_str()),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: Str::from(name.as_str()),
                    value: Some(Str::from(value.as_str())),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let request = CreateTopicsRequest {
            topics: wanted.collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..Default::default()
        };
        let names = topics.iter().map(|topic| topic.name.as_str());
        let response: CreateTopicsResponse = self
            .controller(&request, &self.deadline(), |response| {
                stale_controller(response, |r: &CreateTopicsResponse| r.topics.iter().map(|t| t.error_code).collect())
            })
            .await?;
        let by_name = |name: &str| response.topics.iter().find(|topic| &*topic.name == name);
        Ok(per_topic(names, |name| by_name(name).map(|topic| (topic.error_code, topic.error_message.as_deref()))))
    }

    /// Deletes topics with their data; one result per topic, in order.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Vec<Result<()>>> {
        let request = DeleteTopicsRequest {
            topic_names: names.iter().map(|name| Str::from(name.as_str())).collect(),
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let response: DeleteTopicsResponse = self
            .controller(&request, &self.deadline(), |response| {
                stale_controller(response, |r: &DeleteTopicsResponse| {
                    r.responses.iter().map(|t| t.error_code).collect()
                })
            })
            .await?;
        let by_name = |name: &str| response.responses.iter().find(|topic| topic.name.as_deref() == Some(name));
        let names = names.iter().map(String::as_str);
        Ok(per_topic(names, |name| by_name(name).map(|topic| (topic.error_code, topic.error_message.as_deref()))))
    }

    /// Raises the number of a topic's partitions to `count`.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` when it has that many already: partitions cannot be taken away.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<()> {
        let topics =
            vec![CreatePartitionsTopic { name: Str::from(topic), count, assignments: None, ..Default::default() }];
        let request = CreatePartitionsRequest { topics, timeout_ms: self.timeout_ms(), ..Default::default() };
        self.controller(&request, &self.deadline(), |response: CreatePartitionsResponse| {
            let result = response.results.first().ok_or_else(|| not_mentioned(topic))?;
            check_code(result.error_code, &format!("topic {topic}"), result.error_message.as_deref())
        })
        .await
    }

    /// All topics, internal ones too, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        let response: MetadataResponse = self.any(&request, &self.deadline(), Ok).await?;
        let mut topics: Vec<TopicListing> = response
            .topics
            .iter()
            .filter_map(|topic| {
                Some(TopicListing {
                    name: topic.name.as_ref()?.to_string(),
                    id: topic.topic_id,
                    internal: topic.is_internal,
                    partitions: topic.partitions.len(),
                    replication_factor: topic.partitions.first().map_or(0, |p| p.replica_nodes.len()),
                })
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Describes topics; one result per name, in order.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Vec<Result<TopicDescription>>> {
        let topics = names
            .iter()
            .map(|name| MetadataRequestTopic { name: Some(Str::from(name.as_str())), ..Default::default() })
            .collect();
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
        let response: MetadataResponse = self.any(&request, &self.deadline(), Ok).await?;
        Ok(names.iter().map(|name| describe(name, &response)).collect())
    }
}

fn describe(name: &str, response: &MetadataResponse) -> Result<TopicDescription> {
    let topic = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
    let topic = topic.ok_or_else(|| not_mentioned(name))?;
    check_code(topic.error_code, &format!("topic {name}"), None)?;
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            isr: partition.isr_nodes.clone(),
            offline: partition.offline_replicas.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(TopicDescription { name: name.to_owned(), id: topic.topic_id, internal: topic.is_internal, partitions })
}

/// An answer from a broker that is not the controller any more is an error, so that it is asked again elsewhere.
fn stale_controller<R>(response: R, codes: impl Fn(&R) -> Vec<i16>) -> Result<R> {
    let not_controller = ottla_model::ErrorCode::NotController;
    if codes(&response).contains(&not_controller.code()) {
        return Err(Error::from_code(not_controller, "the controller", None));
    }
    Ok(response)
}

fn per_topic<'a, 'r>(
    names: impl Iterator<Item = &'a str>,
    result: impl Fn(&str) -> Option<(i16, Option<&'r str>)>,
) -> Vec<Result<()>> {
    names
        .map(|name| match result(name) {
            Some((code, message)) => check_code(code, &format!("topic {name}"), message),
            None => Err(not_mentioned(name)),
        })
        .collect()
}

fn not_mentioned(topic: &str) -> Error {
    Error::new(ErrorKind::Data, format!("the broker's answer does not mention topic {topic}"))
}
