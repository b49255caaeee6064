//! What goes into a producer and what comes back.

use bytes::Bytes;
use std::sync::Arc;

/// A record to send; borrowed, as it is copied into a batch at once.
#[derive(Debug, Clone, Copy)]
pub struct ProducerRecord<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition; `None` chooses by the key, or any where there is no key.
    pub partition: Option<i32>,
    /// ms since 1970, not negative; `None` is now.
    pub timestamp: Option<i64>,
    /// Its key, which decides the partition and what compaction keeps.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> ProducerRecord<'a> {
    /// A record without headers for any partition of its key.
    pub fn new(topic: &'a str, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> ProducerRecord<'a> {
        ProducerRecord { topic, partition: None, timestamp: None, key, value, headers: &[] }
    }
}

/// A record that owns its parts, for interceptors, which may replace them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition; `None` leaves the choice to the producer.
    pub partition: Option<i32>,
    /// ms since 1970; `None` is now.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl From<&ProducerRecord<'_>> for OwnedRecord {
    fn from(record: &ProducerRecord<'_>) -> OwnedRecord {
        let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        OwnedRecord {
            topic: record.topic.to_owned(),
            partition: record.partition,
            timestamp: record.timestamp,
            key: bytes(record.key),
            value: bytes(record.value),
            headers: record.headers.iter().map(|(name, value)| ((*name).to_owned(), bytes(*value))).collect(),
        }
    }
}

impl OwnedRecord {
    pub(super) fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    pub(super) fn borrowed<'a>(&'a self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> ProducerRecord<'a> {
        ProducerRecord {
            topic: &self.topic,
            partition: self.partition,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
        }
    }
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset; -1 where the broker did not say (acks=0, or an acknowledgement that was lost and asked for again).
    pub offset: i64,
    /// ms since 1970: the record's own, or the broker's with `message.timestamp.type=LogAppendTime`.
    pub timestamp: i64,
}
