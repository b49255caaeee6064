//! What a scenario asks of a client, in values that any language can read: one JSON object per line each way. The README
//! describes it for those who write a driver; this module is the definition.
//!
//! It carries Kafka's vocabulary only: configs by Kafka's names, error codes by name, offsets, partitions.

pub mod admin;
mod blob;
pub mod consumer;
pub mod producer;
mod reply;

pub use admin::AdminCommand;
pub use blob::Blob;
pub use consumer::ConsumerCommand;
pub use producer::ProducerCommand;
pub use reply::{Answer, Each, Hello, Reply};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Configs by Kafka's names.
pub type Configs = BTreeMap<String, String>;

/// A line to a driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the caller; the answer has it too. Answers come in any order.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// What to do, and with which of the driver's clients. A client is opened under a name that the caller chooses; the
/// calls to one client follow each other, calls to different clients may overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Command {
    /// Which driver is this? Answered with [`Reply::Hello`].
    Driver,
    /// To a producer.
    Producer(To<ProducerCommand>),
    /// To a consumer.
    Consumer(To<ConsumerCommand>),
    /// To an admin client.
    Admin(To<AdminCommand>),
}

/// A command to one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct To<C> {
    /// The client.
    pub name: String,
    /// What it should do.
    #[serde(flatten)]
    pub command: C,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The topic.
    pub topic: String,
    /// Its index.
    pub partition: i32,
}

impl Partition {
    /// `topic`'s partition `partition`.
    pub fn new(topic: &str, partition: i32) -> Partition {
        Partition { topic: topic.to_owned(), partition }
    }
}

/// An offset of a partition. What the number means depends on where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionOffset {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The offset; `None` where there is none.
    pub offset: Option<i64>,
    /// What stands beside a committed offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl PartitionOffset {
    /// An offset without metadata.
    pub fn new(topic: &str, partition: i32, offset: i64) -> PartitionOffset {
        PartitionOffset { topic: topic.to_owned(), partition, offset: Some(offset), metadata: None }
    }
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the caller could do next.
    pub kind: FailureKind,
    /// Kafka's name of the error where a broker sent one, `TOPIC_ALREADY_EXISTS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence.
    pub message: String,
}

/// What the caller could do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Try again later.
    Retriable,
    /// Abort the transaction.
    Abortable,
    /// Close the client: another one has taken over.
    Fenced,
    /// Ask something else.
    Invalid,
    /// Get the permission or other credentials.
    Auth,
    /// The time is over.
    Timeout,
    /// The client is closed, or the call was woken up.
    Closed,
    /// The bytes are not what they should be.
    Data,
    /// Report a bug.
    Internal,
    /// Nothing: this driver cannot do it.
    Unsupported,
}

impl Failure {
    /// A failure without a broker's code.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, code: None, message: message.into() }
    }

    /// This driver cannot do `what`.
    pub fn unsupported(what: &str) -> Failure {
        Failure::new(FailureKind::Unsupported, format!("this driver cannot do this: {what}"))
    }

    /// Whether it is the broker's error `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        write!(f, ": {}", self.message)
    }
}
