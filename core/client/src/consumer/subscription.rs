//! What a consumer wants to read: partitions by hand, topics by name or by pattern; and what the cluster has of them.

use super::assignor::{ClusterTopics, PartitionRacks};
use super::listener::RebalanceListener;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a consumer reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscription {
    pub(super) wanted: Wanted,
    pub(super) listener: Option<Arc<dyn RebalanceListener>>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Wanted {
    /// Nothing, or partitions assigned by hand.
    #[default]
    Nothing,
    Topics(BTreeSet<Arc<str>>),
    /// Topics that match, looked up by this client: those of the last look.
    Pattern(Regex, BTreeSet<Arc<str>>),
    /// A pattern that the broker matches (KIP-848).
    BrokerPattern(Arc<str>),
}

impl Subscription {
    /// Whether partitions come from a group.
    pub(super) fn is_group(&self) -> bool {
        !matches!(self.wanted, Wanted::Nothing)
    }

    /// The topics by name; empty for a broker's pattern.
    pub(super) fn topics(&self) -> BTreeSet<Arc<str>> {
        match &self.wanted {
            Wanted::Topics(topics) | Wanted::Pattern(_, topics) => topics.clone(),
            Wanted::Nothing | Wanted::BrokerPattern(_) => BTreeSet::new(),
        }
    }

    /// Whether an assignment of `partition` is what was asked for.
    pub(super) fn covers(&self, partition: &TopicPartition) -> bool {
        match &self.wanted {
            Wanted::Nothing => false,
            Wanted::Topics(topics) => topics.contains(&partition.topic),
            Wanted::Pattern(pattern, _) => pattern.is_match(&partition.topic),
            Wanted::BrokerPattern(_) => true,
        }
    }
}

/// A pattern that has to match a whole name, as Java's `matches`.
///
/// # Errors
/// It is not a regular expression.
pub(super) fn pattern(text: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|error| Error::invalid(format!("the topic pattern {text:?} cannot be used: {error}")))
}

/// Topics as the cluster has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) topics: BTreeMap<Arc<str>, DescribedTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DescribedTopic {
    pub(super) error: ErrorCode,
    pub(super) internal: bool,
    pub(super) partitions: Vec<PartitionRacks>,
}

impl Described {
    /// For the assignors: what exists.
    pub(super) fn cluster(&self) -> ClusterTopics {
        let mut cluster = ClusterTopics::new();
        for (name, topic) in self.topics.iter().filter(|(_, topic)| topic.error == ErrorCode::None) {
            cluster.insert(name.clone(), topic.partitions.clone());
        }
        cluster
    }

    /// Whether a topic that was asked for is not there, or has no leader yet.
    pub(super) fn is_incomplete(&self) -> bool {
        self.topics.values().any(|topic| topic.error != ErrorCode::None)
    }

    /// The names that `pattern` matches.
    pub(super) fn matching(&self, pattern: &Regex, exclude_internal: bool) -> BTreeSet<Arc<str>> {
        let seen = self.topics.iter().filter(|(_, topic)| topic.error == ErrorCode::None);
        let seen = seen.filter(|(_, topic)| !(exclude_internal && topic.internal));
        seen.filter(|(name, _)| pattern.is_match(name)).map(|(name, _)| name.clone()).collect()
    }

    /// What a person has to mend: a name that cannot be, or that is forbidden.
    pub(super) fn refused(&self) -> Option<Error> {
        let refused =
            |code: &ErrorCode| matches!(code, ErrorCode::TopicAuthorizationFailed | ErrorCode::InvalidTopicException);
        let found = self.topics.iter().find(|(_, topic)| refused(&topic.error));
        found.map(|(name, topic)| Error::from_code(topic.error, &format!("topic {name}"), None))
    }
}

/// Asks the cluster for `topics`, for all of them with `None`; `create` lets a broker create missing ones.
pub(super) async fn describe(
    client: &Client,
    topics: Option<&BTreeSet<Arc<str>>>,
    create: bool,
    deadline: &Deadline,
) -> Result<Described> {
    if topics.is_some_and(BTreeSet::is_empty) {
        return Ok(Described::default());
    }
    let named = |name: &Arc<str>| MetadataRequestTopic { name: Some(Str::from(&**name)), ..Default::default() };
    let request = MetadataRequest {
        topics: topics.map(|topics| topics.iter().map(named).collect()),
        allow_auto_topic_creation: create,
        ..Default::default()
    };
    let mut backoff = client.backoff();
    let response: MetadataResponse = loop {
        match client.any(&request, deadline).await {
            Ok(response) => break response,
            Err(error) if error.is_retriable() && backoff.pause(client.env(), deadline).await => {}
            Err(error) => return Err(error),
        }
    };
    let racks: BTreeMap<i32, Arc<str>> = response
        .brokers
        .iter()
        .filter_map(|broker| broker.rack.as_deref().map(|rack| (broker.node_id, Arc::from(rack))))
        .collect();
    let mut described = Described::default();
    for topic in &response.topics {
        let Some(name) = topic.name.as_deref() else { continue };
        let mut partitions: Vec<PartitionRacks> = topic
            .partitions
            .iter()
            .map(|partition| PartitionRacks {
                partition: partition.partition_index,
                racks: partition.replica_nodes.iter().filter_map(|node| racks.get(node).cloned()).collect(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        let error = ErrorCode::from_code(topic.error_code);
        described.topics.insert(Arc::from(name), DescribedTopic { error, internal: topic.is_internal, partitions });
    }
    Ok(described)
}
