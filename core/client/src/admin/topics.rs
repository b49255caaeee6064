//! Topics: create, list, delete, add partitions.

use super::call::{Controller, PerKey, check_code, not_mentioned, text};
use super::{Admin, ConfigEntry};
use crate::error::{Error, Result};
use ottla_model::{Str, Uuid};
use ottla_protocol::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use ottla_protocol::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_protocol::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use ottla_protocol::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::metadata_request::MetadataRequest;
use ottla_protocol::metadata_response::MetadataResponse;
use std::collections::BTreeMap;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition, the preferred leader first, in place of the two numbers; empty lets the cluster
    /// choose.
    pub assignments: BTreeMap<i32, Vec<i32>>,
    /// Topic configs by Kafka's names.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with this many partitions and otherwise the brokers' defaults.
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() }
    }

    /// The same topic with a config.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.push((name.into(), value.into()));
        self
    }
}

/// What became of a topic that was created, or would be (KIP-525).
#[derive(Debug, Clone)]
pub struct CreatedTopic {
    /// The topic's id; zero from brokers before 2.8 and when it was only checked.
    pub id: Uuid,
    /// How many partitions it has; `None` from brokers before 2.4 and without the right to describe its configs.
    pub partitions: Option<i32>,
    /// How many replicas each has; `None` as for `partitions`.
    pub replication_factor: Option<i16>,
    /// Its configs, sorted by name; `None` as for `partitions`.
    pub configs: Option<Vec<ConfigEntry>>,
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

/// Partitions to add to a topic.
#[derive(Debug, Clone, Default)]
pub struct NewPartitions {
    /// How many the topic has afterwards, those it has now included.
    pub count: i32,
    /// The brokers of each new partition, the preferred leader first; empty lets the cluster choose.
    pub assignments: Vec<Vec<i32>>,
}

impl Admin {
    /// Creates topics; one result per topic, in order. `validate_only` only checks.
    ///
    /// # Errors
    /// The inner ones per topic (`TOPIC_ALREADY_EXISTS`, `INVALID_CONFIG` …); the outer one when no broker could be
    /// reached for any of them.
    pub async fn create_topics(&self, topics: &[NewTopic], validate_only: bool) -> Result<Vec<Result<CreatedTopic>>> {
        let of = |name: &String| topics.iter().find(|topic| topic.name == *name).map(creatable);
        let build = |_, names: &[String]| {
            Ok(CreateTopicsRequest {
                topics: names.iter().filter_map(of).collect(),
                timeout_ms: self.timeout_ms(),
                validate_only,
                ..Default::default()
            })
        };
        let read = |response: CreateTopicsResponse, _: &[String]| {
            response.topics.iter().map(|topic| (topic.name.to_string(), created(topic))).collect()
        };
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        in_order(&names, self.per_key(Controller, names.iter().cloned(), usize::MAX, build, read).await)
    }

    /// Deletes topics with their data; one result per topic, in order.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Vec<Result<()>>> {
        let build = |version: i16, names: &[String]| {
            // From 6 on a topic is named or has its id (KIP-516).
            let (topics, topic_names) = match version {
                ..6 => (Vec::new(), names.iter().map(text).collect()),
                6.. => (
                    names
                        .iter()
                        .map(|name| DeleteTopicState { name: Some(text(name)), ..Default::default() })
                        .collect(),
                    Vec::new(),
                ),
            };
            Ok(DeleteTopicsRequest { topics, topic_names, timeout_ms: self.timeout_ms(), ..Default::default() })
        };
        let read = |response: ottla_protocol::DeleteTopicsResponse, _: &[String]| {
            let results = response.responses.iter().filter_map(|topic| {
                let name = topic.name.as_deref()?;
                let result = check_code(topic.error_code, &format!("topic {name}"), topic.error_message.as_deref());
                Some((name.to_owned(), result))
            });
            results.collect()
        };
        in_order(names, self.per_key(Controller, names.iter().cloned(), usize::MAX, build, read).await)
    }

    /// Deletes topics, each named by its id, so that a topic made anew under the same name is not hit (KIP-516; Apache
    /// Kafka from 2.8).
    pub async fn delete_topics_by_id(&self, ids: &[Uuid]) -> PerKey<Uuid, ()> {
        let build = |version: i16, ids: &[Uuid]| {
            if version < 6 {
                return Err(Error::unsupported(format!(
                    "DeleteTopics {version} takes names only; deleting by id needs version 6 (Apache Kafka 2.8)"
                )));
            }
            let topic = |id: &Uuid| DeleteTopicState { name: None, topic_id: *id, ..Default::default() };
            let topics = ids.iter().map(topic).collect();
            Ok(DeleteTopicsRequest { topics, timeout_ms: self.timeout_ms(), ..Default::default() })
        };
        let read = |response: ottla_protocol::DeleteTopicsResponse, _: &[Uuid]| {
            let result = |topic: &ottla_protocol::delete_topics_response::DeletableTopicResult| {
                let what = format!("topic id {}", topic.topic_id);
                (topic.topic_id, check_code(topic.error_code, &what, topic.error_message.as_deref()))
            };
            response.responses.iter().map(result).collect()
        };
        self.per_key(Controller, ids.iter().copied(), usize::MAX, build, read).await
    }

    /// Raises the number of a topic's partitions to `count`.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` when it has that many already: partitions cannot be taken away.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<()> {
        let wanted = BTreeMap::from([(topic.to_owned(), NewPartitions { count, assignments: Vec::new() })]);
        let mut results = self.create_partitions_of(&wanted, false).await;
        results.remove(topic).unwrap_or_else(|| Err(not_mentioned(topic)))
    }

    /// Adds partitions to several topics; `validate_only` only checks.
    pub async fn create_partitions_of(
        &self,
        topics: &BTreeMap<String, NewPartitions>,
        validate_only: bool,
    ) -> PerKey<String, ()> {
        let build = |_, names: &[String]| {
            let topics = names.iter().filter_map(|name| {
                let new = topics.get(name)?;
                let brokers =
                    |ids: &Vec<i32>| CreatePartitionsAssignment { broker_ids: ids.clone(), ..Default::default() };
                let assignments: Vec<_> = new.assignments.iter().map(brokers).collect();
                let assignments = Some(assignments).filter(|assignments| !assignments.is_empty());
                Some(CreatePartitionsTopic { name: text(name), count: new.count, assignments, ..Default::default() })
            });
            let topics = topics.collect();
            Ok(CreatePartitionsRequest { topics, timeout_ms: self.timeout_ms(), validate_only, ..Default::default() })
        };
        let read = |response: ottla_protocol::CreatePartitionsResponse, _: &[String]| {
            let results = response.results.iter().map(|topic| {
                let what = format!("topic {}", topic.name);
                (topic.name.to_string(), check_code(topic.error_code, &what, topic.error_message.as_deref()))
            });
            results.collect()
        };
        self.per_key(Controller, topics.keys().cloned(), usize::MAX, build, read).await
    }

    /// All topics, internal ones too, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        let response: MetadataResponse = self.any(|_| Ok(request.clone()), Ok).await?;
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
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): &(String, String)| CreatableTopicConfig {
        name: text(name),
        value: Some(text(value)),
        ..Default::default()
    };
    let assignment = |(partition, brokers): (&i32, &Vec<i32>)| CreatableReplicaAssignment {
        partition_index: *partition,
        broker_ids: brokers.clone(),
        ..Default::default()
    };
    CreatableTopic {
        name: Str::from(topic.name.as_str()),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication_factor.unwrap_or(-1),
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
        ..Default::default()
    }
}

fn created(topic: &CreatableTopicResult) -> Result<CreatedTopic> {
    check_code(topic.error_code, &format!("topic {}", topic.name), topic.error_message.as_deref())?;
    let configs = topic.configs.as_ref().filter(|_| topic.topic_config_error_code == 0 && topic.num_partitions >= 0);
    Ok(CreatedTopic {
        id: topic.topic_id,
        partitions: Some(topic.num_partitions).filter(|count| *count >= 0),
        replication_factor: Some(topic.replication_factor).filter(|count| *count >= 0),
        configs: configs.map(|configs| {
            let mut configs: Vec<ConfigEntry> = configs.iter().map(ConfigEntry::of_new_topic).collect();
            configs.sort_by(|a, b| a.name.cmp(&b.name));
            configs
        }),
    })
}

/// Results in the order of `names`; where all failed alike because no broker could be reached, that one error.
pub(super) fn in_order<V>(names: &[String], mut results: PerKey<String, V>) -> Result<Vec<Result<V>>> {
    if let Some(Err(first)) = results.values().next()
        && first.code().is_none()
        && results.values().all(|result| result.as_ref().is_err_and(|error| error.message() == first.message()))
    {
        return Err(first.clone());
    }
    let repeated = |name: &String| Err(Error::invalid(format!("topic {name} is named twice")));
    Ok(names.iter().map(|name| results.remove(name).unwrap_or_else(|| repeated(name))).collect())
}
