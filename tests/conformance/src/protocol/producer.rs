//! What a producer is asked.

use super::{Blob, Configs, PartitionOffset};
use serde::{Deserialize, Serialize};

/// To a producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ProducerCommand {
    /// Make it; what the client cannot do it refuses as `unsupported`.
    Open {
        /// Kafka's configs, `bootstrap.servers` among them.
        configs: Configs,
    },
    /// Send all records without waiting in between, then wait for each; [`Reply::Sent`](super::Reply::Sent).
    Send {
        /// In this order.
        records: Vec<Outgoing>,
    },
    /// Send and answer as soon as the client has taken the records; the next `flush` has their results.
    Enqueue {
        /// In this order.
        records: Vec<Outgoing>,
    },
    /// Wait for all that was enqueued; [`Reply::Sent`](super::Reply::Sent) with the results in the order of sending.
    Flush,
    /// How many partitions has the topic? [`Reply::Count`](super::Reply::Count).
    PartitionsFor {
        /// The topic.
        topic: String,
    },
    /// Register the transactional id.
    InitTransactions,
    /// Begin a transaction.
    BeginTransaction,
    /// Put a consumer's offsets into the transaction.
    SendOffsets {
        /// Next offsets to read.
        offsets: Vec<PartitionOffset>,
        /// The name of the consumer whose group metadata counts, a client of the same driver.
        consumer: String,
    },
    /// Commit the transaction.
    CommitTransaction,
    /// Abort the transaction.
    AbortTransaction,
    /// The client's metrics; [`Reply::Metrics`](super::Reply::Metrics).
    Metrics,
    /// Close, waiting so long for what is outstanding.
    Close {
        /// In ms.
        timeout_ms: u64,
    },
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The offset, -1 with acks=0.
    pub offset: i64,
    /// ms since 1970.
    pub timestamp: i64,
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The partition, or the client chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// ms since 1970, or now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// The key; without one it is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Blob>,
    /// The value; without one it is null, a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Blob>,
    /// Pairs of name and value, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<Blob>)>,
}

impl Outgoing {
    /// A value without a key.
    pub fn value(topic: &str, value: impl Into<Blob>) -> Outgoing {
        Outgoing { topic: topic.to_owned(), value: Some(value.into()), ..Outgoing::default() }
    }

    /// A value with a key.
    pub fn keyed(topic: &str, key: impl Into<Blob>, value: impl Into<Blob>) -> Outgoing {
        Outgoing { key: Some(key.into()), ..Outgoing::value(topic, value) }
    }

    /// The same, to this partition.
    pub fn to(mut self, partition: i32) -> Outgoing {
        self.partition = Some(partition);
        self
    }

    /// The same, at this time.
    pub fn at(mut self, timestamp: i64) -> Outgoing {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: Option<&str>) -> Outgoing {
        self.headers.push((name.to_owned(), value.map(Blob::from)));
        self
    }
}
