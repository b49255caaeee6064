//! What an admin client is asked.

use super::{Configs, Partition, PartitionOffset};
use serde::{Deserialize, Serialize};

/// To an admin client. Where several things are named, there is one result for each, in the order asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum AdminCommand {
    /// Make it.
    Open {
        /// Kafka's configs, `bootstrap.servers` among them.
        configs: Configs,
    },
    /// [`Reply::Results`](super::Reply::Results).
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// Only check.
        #[serde(default)]
        validate_only: bool,
    },
    /// [`Reply::Results`](super::Reply::Results).
    DeleteTopics {
        /// Their names.
        topics: Vec<String>,
    },
    /// All topics, internal ones too, sorted; [`Reply::Names`](super::Reply::Names).
    ListTopics,
    /// [`Reply::Topics`](super::Reply::Topics).
    DescribeTopics {
        /// Their names.
        topics: Vec<String>,
    },
    /// Raise a topic's number of partitions.
    CreatePartitions {
        /// The topic.
        topic: String,
        /// The new number.
        count: i32,
    },
    /// [`Reply::Configs`](super::Reply::Configs).
    DescribeConfigs {
        /// Whose.
        resource: Resource,
    },
    /// Incremental changes, all or none.
    AlterConfigs {
        /// Whose.
        resource: Resource,
        /// The changes.
        changes: Vec<ConfigChange>,
    },
    /// [`Reply::Cluster`](super::Reply::Cluster).
    DescribeCluster,
    /// Delete what is before these offsets (`None`: everything); [`Reply::EachOffset`](super::Reply::EachOffset) with the new first offsets.
    DeleteRecords {
        /// One per partition.
        before: Vec<PartitionOffset>,
    },
    /// First, last or timed offsets; [`Reply::EachOffset`](super::Reply::EachOffset).
    ListOffsets {
        /// What to look for, by partition.
        wanted: Vec<(Partition, OffsetSpec)>,
    },
    /// All groups, sorted by id; [`Reply::Groups`](super::Reply::Groups).
    ListGroups,
    /// [`Reply::GroupDescriptions`](super::Reply::GroupDescriptions).
    DescribeGroups {
        /// Their ids.
        groups: Vec<String>,
    },
    /// All offsets of a group, sorted; [`Reply::Offsets`](super::Reply::Offsets).
    ListGroupOffsets {
        /// The group.
        group: String,
    },
    /// Set a group's offsets; [`Reply::Results`](super::Reply::Results).
    AlterGroupOffsets {
        /// The group, without members.
        group: String,
        /// The offsets.
        offsets: Vec<PartitionOffset>,
    },
    /// [`Reply::Results`](super::Reply::Results).
    DeleteGroupOffsets {
        /// The group.
        group: String,
        /// Of these partitions.
        partitions: Vec<Partition>,
    },
    /// [`Reply::Results`](super::Reply::Results).
    DeleteGroups {
        /// Their ids.
        groups: Vec<String>,
    },
    /// Remove members; none named removes all.
    RemoveMembers {
        /// The group.
        group: String,
        /// `group.instance.id` of those to remove.
        instances: Vec<String>,
    },
    /// Close the client.
    Close,
}

/// A topic to create.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// `None` is the broker's default.
    pub partitions: Option<i32>,
    /// `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Topic configs.
    #[serde(default)]
    pub configs: Configs,
}

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A topic's.
    Topic(String),
    /// A broker's by id, or with `None` the default of all.
    Broker(Option<i32>),
    /// A group's (KIP-848).
    Group(String),
}

/// One change of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Kafka's name.
    pub name: String,
    /// `set`, `delete`, `append` or `subtract`.
    pub op: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A config as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// The value.
    pub value: Option<String>,
    /// Whether nobody set it.
    pub default: bool,
}

/// What ListOffsets looks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetSpec {
    /// The first offset.
    Earliest,
    /// The end.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first at or after this time.
    Timestamp(i64),
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it is the brokers' own.
    pub internal: bool,
    /// By index: leader (`None`: there is none) and the replicas.
    pub partitions: Vec<(Option<i32>, Vec<i32>)>,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// The controller as brokers name it.
    pub controller: i32,
    /// The brokers' ids, sorted.
    pub brokers: Vec<i32>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `consumer`, or what its members call the protocol.
    pub protocol: String,
    /// Kafka's name of the state, `Stable`.
    pub state: String,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Kafka's name of the state.
    pub state: String,
    /// The assignor's name.
    pub assignor: String,
    /// Sorted by member id.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub member: String,
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// `client.id`.
    pub client: String,
    /// What it has, sorted.
    pub assignment: Vec<Partition>,
}
