//! Where the partitions of topics live: DescribeTopicPartitions in pages (KIP-966), or Metadata where that is not served.

use super::Admin;
use super::acls::{AclOperation, authorized};
use super::call::{At, PerKey, check_code, not_mentioned, text};
use super::topics::in_order;
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::describe_topic_partitions_request::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use ottla_protocol::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseTopic,
};
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::{MetadataResponse, MetadataResponseTopic};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What this client may do with it, where that was asked for and the broker tells (KIP-430).
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
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
    /// Replicas outside the ISR that may lead without loss (KIP-966); `None` when the broker does not tell.
    pub elr: Option<Vec<i32>>,
    /// The ELR at the last unclean shutdown; `None` when the broker does not tell.
    pub last_known_elr: Option<Vec<i32>>,
}

/// How to describe topics.
#[derive(Debug, Clone)]
pub struct DescribeTopicsOptions {
    /// Ask what this client may do with each topic; false.
    pub include_authorized_operations: bool,
    /// Partitions per answer at most, 2000; more come in further answers. Brokers have a limit of their own.
    pub partition_size_limit_per_response: i32,
}

impl Default for DescribeTopicsOptions {
    fn default() -> DescribeTopicsOptions {
        DescribeTopicsOptions { include_authorized_operations: false, partition_size_limit_per_response: 2000 }
    }
}

impl Admin {
    /// Describes topics; one result per name, in order.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` per topic that the cluster does not have; the outer one when no broker answered.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Vec<Result<TopicDescription>>> {
        in_order(names, self.describe_topics_with(names, &DescribeTopicsOptions::default()).await)
    }

    /// As [`Admin::describe_topics`] with options, by name.
    pub async fn describe_topics_with(
        &self,
        names: &[String],
        options: &DescribeTopicsOptions,
    ) -> PerKey<String, TopicDescription> {
        let mut wanted: BTreeSet<String> = names.iter().cloned().collect();
        let mut done = PerKey::new();
        let mut parts: BTreeMap<String, TopicDescription> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        while !wanted.is_empty() {
            let page = self.describe_page(&wanted, cursor.take(), options).await;
            let page = match page {
                Ok(page) => page,
                Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => {
                    let names: Vec<String> = wanted.into_iter().collect();
                    done.extend(self.describe_by_metadata(&names, options).await);
                    return done;
                }
                Err(error) => {
                    done.extend(wanted.into_iter().map(|name| (name, Err(error.clone()))));
                    return done;
                }
            };
            let next = page.next_cursor.as_ref().map(|cursor| cursor.topic_name.to_string());
            for topic in &page.topics {
                let Some(name) = topic.name.as_deref() else { continue };
                if let Err(error) = check_code(topic.error_code, &format!("topic {name}"), None) {
                    wanted.remove(name);
                    done.insert(name.to_owned(), Err(error));
                    continue;
                }
                let described = parts.entry(name.to_owned()).or_insert_with(|| head(name, topic, options));
                described.partitions.extend(topic.partitions.iter().map(partition));
            }
            // The answer goes through the topics in the order of their names; those before the cursor's are whole.
            for name in wanted.clone() {
                if next.as_ref().is_some_and(|next| name >= *next) {
                    continue;
                }
                wanted.remove(&name);
                let whole = parts.remove(&name).ok_or_else(|| not_mentioned(&name));
                done.insert(name, whole.map(sorted));
            }
            cursor = page.next_cursor.map(|next| Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            });
        }
        done
    }

    /// As [`Admin::describe_topics`], each topic named by its id (KIP-516; Apache Kafka from 3.1).
    pub async fn describe_topics_by_id(
        &self,
        ids: &[Uuid],
        options: &DescribeTopicsOptions,
    ) -> PerKey<Uuid, TopicDescription> {
        let build = |version: i16, ids: &[Uuid]| {
            if version < 12 {
                return Err(Error::unsupported(format!(
                    "Metadata {version} takes names only; describing by topic id needs version 12 (Apache Kafka 3.1)"
                )));
            }
            let topic = |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() };
            metadata(version, ids.iter().map(topic).collect(), options)
        };
        let read = |response: MetadataResponse, ids: &[Uuid]| {
            let of = |id: &Uuid| {
                let topic = response.topics.iter().find(|topic| topic.topic_id == *id);
                let topic = topic.ok_or_else(|| not_mentioned(id))?;
                check_code(topic.error_code, &format!("topic id {id}"), None)?;
                Ok(described(topic))
            };
            ids.iter().map(|id| (*id, of(id))).collect()
        };
        self.per_key(At(None), ids.iter().copied(), usize::MAX, build, read).await
    }

    async fn describe_page(
        &self,
        names: &BTreeSet<String>,
        cursor: Option<Cursor>,
        options: &DescribeTopicsOptions,
    ) -> Result<DescribeTopicPartitionsResponse> {
        let topic = |name: &String| TopicRequest { name: text(name), ..Default::default() };
        let request = DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit: options.partition_size_limit_per_response,
            cursor,
            ..Default::default()
        };
        self.any(|_| Ok(request.clone()), Ok).await
    }

    async fn describe_by_metadata(
        &self,
        names: &[String],
        options: &DescribeTopicsOptions,
    ) -> PerKey<String, TopicDescription> {
        let build = |version: i16, names: &[String]| {
            let topic = |name: &String| MetadataRequestTopic { name: Some(text(name)), ..Default::default() };
            metadata(version, names.iter().map(topic).collect(), options)
        };
        let read = |response: MetadataResponse, names: &[String]| {
            let of = |name: &String| {
                let topic = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
                let topic = topic.ok_or_else(|| not_mentioned(name))?;
                check_code(topic.error_code, &format!("topic {name}"), None)?;
                Ok(described(topic))
            };
            names.iter().map(|name| (name.clone(), of(name))).collect()
        };
        self.per_key(At(None), names.iter().cloned(), usize::MAX, build, read).await
    }
}

fn metadata(
    version: i16,
    topics: Vec<MetadataRequestTopic>,
    options: &DescribeTopicsOptions,
) -> Result<MetadataRequest> {
    if options.include_authorized_operations && version < 8 {
        return Err(Error::unsupported(format!(
            "Metadata {version} does not tell authorized operations; that needs version 8 (Apache Kafka 2.3)"
        )));
    }
    Ok(MetadataRequest {
        topics: Some(topics),
        // Versions 0 to 3 have no field for it and create as the broker's settings say.
        allow_auto_topic_creation: version < 4,
        include_topic_authorized_operations: options.include_authorized_operations,
        ..Default::default()
    })
}

fn head(name: &str, topic: &DescribeTopicPartitionsResponseTopic, options: &DescribeTopicsOptions) -> TopicDescription {
    // The broker tells these whether asked or not.
    let authorized = authorized(topic.topic_authorized_operations);
    TopicDescription {
        name: name.to_owned(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: Vec::new(),
        authorized_operations: authorized.filter(|_| options.include_authorized_operations),
    }
}

fn partition(
    partition: &ottla_protocol::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition,
) -> PartitionDescription {
    PartitionDescription {
        partition: partition.partition_index,
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
        elr: partition.eligible_leader_replicas.clone(),
        last_known_elr: partition.last_known_elr.clone(),
    }
}

fn described(topic: &MetadataResponseTopic) -> TopicDescription {
    let partitions = topic.partitions.iter().map(|partition| PartitionDescription {
        partition: partition.partition_index,
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
        elr: None,
        last_known_elr: None,
    });
    sorted(TopicDescription {
        name: topic.name.as_deref().unwrap_or_default().to_owned(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: partitions.collect(),
        authorized_operations: authorized(topic.topic_authorized_operations),
    })
}

fn sorted(mut topic: TopicDescription) -> TopicDescription {
    topic.partitions.sort_by_key(|partition| partition.partition);
    topic
}
