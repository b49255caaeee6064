//! What came of a command.

use super::admin::{Cluster, ConfigValue, GroupDescription, GroupListing, TopicDescription};
use super::consumer::{GroupMetadata, Polled};
use super::producer::Written;
use super::{Failure, Partition, PartitionOffset};
use crate::capability::Capability;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line from a driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the call.
    pub id: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Each<Reply>,
}

/// One of several results: each can fail by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Each<T> {
    /// It was done.
    Ok(T),
    /// It was not.
    Error(Failure),
}

impl<T> From<Result<T, Failure>> for Each<T> {
    fn from(result: Result<T, Failure>) -> Each<T> {
        result.map_or_else(Each::Error, Each::Ok)
    }
}

impl<T> From<Each<T>> for Result<T, Failure> {
    fn from(each: Each<T>) -> Result<T, Failure> {
        match each {
            Each::Ok(value) => Ok(value),
            Each::Error(failure) => Err(failure),
        }
    }
}

/// What came of a command. Which command has which reply stands with the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done, and there is nothing to tell.
    Done {},
    /// Who answers.
    Hello(Hello),
    /// One result per record.
    Sent(Vec<Each<Written>>),
    /// A topic's number of partitions.
    Count(usize),
    /// Values by `group.name`, summed over tags where there are several; those with a `node-id` also by
    /// `group.name.node-1`.
    Metrics(BTreeMap<String, f64>),
    /// Records, and what the rebalance listener heard since the last time.
    Polled(Polled),
    /// Offsets in the order asked.
    Offsets(Vec<PartitionOffset>),
    /// Offsets in the order asked, each of which may have failed.
    EachOffset(Vec<Each<PartitionOffset>>),
    /// Partitions.
    Partitions(Vec<Partition>),
    /// Names.
    Names(Vec<String>),
    /// Membership of a group.
    Group(GroupMetadata),
    /// One per thing named.
    Results(Vec<Each<()>>),
    /// Descriptions of topics.
    Topics(Vec<Each<TopicDescription>>),
    /// Configs by name.
    Configs(BTreeMap<String, ConfigValue>),
    /// The cluster.
    Cluster(Cluster),
    /// Groups.
    Groups(Vec<GroupListing>),
    /// Descriptions of groups.
    GroupDescriptions(Vec<Each<GroupDescription>>),
}

/// A driver introduces itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its language.
    pub language: String,
    /// Its client and the version.
    pub client: String,
    /// What its client can do; a scenario that needs more does not run with it.
    pub capabilities: Vec<Capability>,
}
