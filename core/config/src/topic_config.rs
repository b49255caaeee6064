//! A topic's config: its overrides over the broker's values, typed.

use crate::{BrokerConfig, DefaultValue, Props, Scope, Value, synonyms};

/// `compression.type`: the codec on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent it.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// What holds for one topic. Field names are Kafka's with `_` for `.`.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` contains delete.
    pub delete: bool,
    /// `cleanup.policy` contains compact.
    pub compact: bool,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    /// i64::MAX is never.
    pub flush_messages: i64,
    /// i64::MAX is never.
    pub flush_ms: i64,
    pub index_interval_bytes: i32,
    pub max_compaction_lag_ms: i64,
    pub max_decompressed_message_bytes: i32,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    /// Negative is no limit.
    pub retention_bytes: i64,
    /// -1 is for ever.
    pub retention_ms: i64,
    /// `internal.segment.bytes` when that is set, so that tests can have small segments.
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// The topic's config: each override where there is one, else the broker's value, else Kafka's default.
    ///
    /// An override that cannot be read (written by another version, say) counts as absent; what a user sets is
    /// checked before, by [`crate::alter`].
    pub fn resolve(broker: &BrokerConfig, overrides: &Props) -> TopicConfig {
        let get = |name: &str| resolve_value(broker, overrides, name);
        let long = |name: &str| match get(name) {
            Some(Value::Int(n)) => n,
            _ => unreachable!("{name} is a number with a default, as a test checks"),
        };
        let int = |name: &str| i32::try_from(long(name)).expect("the row's type is int");
        let bool = |name: &str| get(name) == Some(Value::Bool(true));
        let policy = match get("cleanup.policy") {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        };
        TopicConfig {
            delete: policy.iter().any(|p| p == "delete"),
            compact: policy.iter().any(|p| p == "compact"),
            compression_type: match get("compression.type") {
                Some(Value::Str(s)) => compression_type(&s),
                _ => CompressionType::Producer,
            },
            compression_gzip_level: int("compression.gzip.level"),
            compression_lz4_level: int("compression.lz4.level"),
            compression_zstd_level: int("compression.zstd.level"),
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            max_decompressed_message_bytes: int("max.decompressed.message.bytes"),
            max_message_bytes: int("max.message.bytes"),
            message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            message_timestamp_type: match get("message.timestamp.type") {
                Some(Value::Str(s)) if s == "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: match get("min.cleanable.dirty.ratio") {
                Some(Value::Double(ratio)) => ratio,
                _ => 0.5,
            },
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            preallocate: bool("preallocate"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: match get("internal.segment.bytes") {
                Some(Value::Int(bytes)) => i32::try_from(bytes).expect("the row's type is int"),
                _ => int("segment.bytes"),
            },
            segment_index_bytes: int("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
            unclean_leader_election_enable: bool("unclean.leader.election.enable"),
        }
    }
}

fn compression_type(name: &str) -> CompressionType {
    match name {
        "uncompressed" => CompressionType::Uncompressed,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}

/// The value of one topic config by [`TopicConfig::resolve`]'s order.
pub(crate) fn resolve_value(broker: &BrokerConfig, overrides: &Props, name: &str) -> Option<Value> {
    let row = Scope::Topic.find(name)?;
    overrides.get(name).and_then(|text| row.parse(text).ok()).or_else(|| broker_value(broker, name)).or_else(|| {
        match row.default {
            DefaultValue::Value(text) => row.parse(text).ok(),
            DefaultValue::Null | DefaultValue::Required => None,
        }
    })
}

/// What the broker's synonyms make of a topic config: the first one that has a value.
fn broker_value(broker: &BrokerConfig, name: &str) -> Option<Value> {
    let synonym = synonyms::of_topic_config(name).iter().find(|s| broker.text(s.name).is_some())?;
    match broker.get(synonym.name)? {
        Value::Int(n) => {
            let value = n.saturating_mul(synonym.factor);
            // Any negative retention is for ever, also one in hours.
            Some(Value::Int(if name == "retention.ms" { value.max(-1) } else { value }))
        }
        other => Some(other),
    }
}
