//! What a consumer is asked.

use super::{Blob, Configs, Partition, PartitionOffset};
use serde::{Deserialize, Serialize};

/// To a consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ConsumerCommand {
    /// Make it.
    Open {
        /// Kafka's configs, `bootstrap.servers` among them.
        configs: Configs,
    },
    /// Join the group and read these topics.
    Subscribe {
        /// Their names.
        topics: Vec<String>,
        /// Whether the rebalance listener commits the positions synchronously when partitions are revoked.
        #[serde(default)]
        commit_on_revoke: bool,
    },
    /// Join the group and read the topics whose whole name matches.
    SubscribePattern {
        /// A regular expression.
        pattern: String,
    },
    /// Leave the group, or give up the assignment.
    Unsubscribe,
    /// Read these partitions without a group's coordination.
    Assign {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Go to an offset.
    Seek {
        /// Of an assigned partition.
        at: PartitionOffset,
    },
    /// Go to the first offset.
    SeekToBeginning {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// Go behind the last record.
    SeekToEnd {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// What arrived, waiting up to the timeout for something; [`Reply::Polled`](super::Reply::Polled).
    Poll {
        /// In ms.
        timeout_ms: u64,
    },
    /// Positions in the order asked; [`Reply::Offsets`](super::Reply::Offsets).
    Position {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// What the group has committed; [`Reply::Offsets`](super::Reply::Offsets), without offset where nothing is.
    Committed {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Commit and wait.
    CommitSync {
        /// Next offsets to read; `None` is the position of all assigned partitions.
        offsets: Option<Vec<PartitionOffset>>,
    },
    /// Commit; the answer comes when the callback was called.
    CommitAsync {
        /// As above.
        offsets: Option<Vec<PartitionOffset>>,
    },
    /// Poll returns nothing of these until they are resumed.
    Pause {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// Go on.
    Resume {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// What is paused; [`Reply::Partitions`](super::Reply::Partitions), sorted.
    Paused,
    /// What is assigned; [`Reply::Partitions`](super::Reply::Partitions), sorted.
    Assignment,
    /// Which topics are subscribed; [`Reply::Names`](super::Reply::Names), sorted.
    Subscription,
    /// First offsets; [`Reply::Offsets`](super::Reply::Offsets).
    BeginningOffsets {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Ends, as the isolation level sees them; [`Reply::Offsets`](super::Reply::Offsets).
    EndOffsets {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// First offsets at or after a time, `None` where no record is so late; [`Reply::Offsets`](super::Reply::Offsets).
    OffsetsForTimes {
        /// Times, ms since 1970, in the place of offsets.
        times: Vec<PartitionOffset>,
    },
    /// How far the position is behind the end; [`Reply::Offsets`](super::Reply::Offsets), `None` where it is not known.
    CurrentLag {
        /// Assigned partitions.
        partitions: Vec<Partition>,
    },
    /// Who it is in its group; [`Reply::Group`](super::Reply::Group).
    GroupMetadata,
    /// The partitions of a topic; [`Reply::Partitions`](super::Reply::Partitions).
    PartitionsFor {
        /// The topic.
        topic: String,
    },
    /// Ask for a rebalance with the next poll.
    EnforceRebalance,
    /// Ends a poll that waits, with a failure of kind `closed`. The only command that may overlap with another one.
    Wakeup,
    /// The client's metrics; [`Reply::Metrics`](super::Reply::Metrics).
    Metrics,
    /// Close: commit where auto-commit is on, leave the group where membership is not static; [`Reply::Polled`](super::Reply::Polled)
    /// with the last events.
    Close {
        /// In ms.
        timeout_ms: u64,
        /// Leave the group in any case, or stay in it in any case (KIP-1092).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leave: Option<bool>,
    },
}

/// What a poll brought.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Polled {
    /// In the order of the client.
    pub records: Vec<Incoming>,
    /// In the order in which they were called.
    pub events: Vec<Event>,
}

/// A call of the rebalance listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `onPartitionsAssigned`.
    Assigned(Vec<Partition>),
    /// `onPartitionsRevoked`.
    Revoked(Vec<Partition>),
    /// `onPartitionsLost`.
    Lost(Vec<Partition>),
    /// The commit inside the listener failed.
    CommitFailed(String),
}

/// Membership of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMetadata {
    /// `group.id`.
    pub group: String,
    /// The generation, or the member epoch (KIP-848); -1 without one.
    pub generation: i32,
    /// The member id, empty without one.
    pub member: String,
    /// `group.instance.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// ms since 1970.
    pub timestamp: i64,
    /// The key; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Blob>,
    /// The value; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Blob>,
    /// Pairs of name and value, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<Blob>)>,
}

impl Incoming {
    /// The value as text, empty where it is null.
    pub fn text(&self) -> String {
        self.value.as_ref().map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
    }

    /// Where it was.
    pub fn at(&self) -> Partition {
        Partition::new(&self.topic, self.partition)
    }
}
