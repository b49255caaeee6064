//! What a log needs to know of its topic's configuration, resolved and typed. The broker builds it from core/config; the
//! defaults here are Kafka's.

use ottla_env::Env;
use ottla_model::Compression;
use ottla_model::record_batch::TimestampType;

/// `cleanup.policy`: both may be set, and both may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by time and size.
    pub delete: bool,
    /// Only the latest record of a key is kept; a record needs a key.
    pub compact: bool,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        CleanupPolicy { delete: true, compact: false }
    }
}

/// A log's configuration. Times are milliseconds, sizes bytes; fields are named as Kafka's configs are.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows beyond this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled when its first record is this old.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this much is taken off `segment.ms`, at random per segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is rolled when its offset index is this large.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: about one index entry per this many bytes of log.
    pub index_interval_bytes: u32,
    /// `retention.ms`; negative is no limit.
    pub retention_ms: i64,
    /// `retention.bytes`; negative is no limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long a deleted segment's files stay, renamed, for readers that are still at them.
    pub file_delete_delay_ms: i64,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: u32,
    /// `flush.messages`: after this many records an append asks for a flush.
    pub flush_messages: i64,
    /// `flush.ms`: the longest a record stays unflushed; `i64::MAX` leaves it to the operating system.
    pub flush_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays after the cleaning that first met it.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: from which share of not yet cleaned bytes on the log is cleaned.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: a segment is not cleaned before its newest record is this old.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a log is cleaned when its oldest uncleaned record is older, whatever the ratio; a compacted
    /// log's segments are rolled by then.
    pub max_compaction_lag_ms: i64,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`: `None` is `producer`, batches stay as they came.
    pub compression: Option<Compression>,
    /// `compression.<codec>.level` for `compression`; `None` is the codec's own default.
    pub compression_level: Option<i32>,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's time may lie behind the broker's.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie ahead.
    pub message_timestamp_after_max_ms: i64,
    /// `producer.id.expiration.ms` (a broker config): an idle producer is forgotten after this.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        const HOUR_MS: i64 = 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1024 * 1024 * 1024,
            segment_ms: 7 * 24 * HOUR_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 * 1024 * 1024,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * HOUR_MS,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            max_message_bytes: 1024 * 1024 + 12,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            delete_retention_ms: 24 * HOUR_MS,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            cleanup_policy: CleanupPolicy::default(),
            compression: None,
            compression_level: None,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: HOUR_MS,
            producer_id_expiration_ms: 24 * HOUR_MS,
        }
    }
}

impl LogConfig {
    /// What a new segment takes off `segment.ms`; a segment of an earlier run is given another.
    pub(crate) fn draw_jitter_ms(&self, env: &Env) -> i64 {
        match self.segment_jitter_ms.min(self.segment_ms) {
            max if max > 0 => (env.random_u64() % max as u64) as i64,
            _ => 0,
        }
    }

    /// After which time a segment is rolled: `segment.ms`, or `max.compaction.lag.ms` if that is less and the log is compacted.
    pub(crate) fn segment_ms_max(&self) -> i64 {
        match self.cleanup_policy.compact {
            true => self.segment_ms.min(self.max_compaction_lag_ms.max(0)),
            false => self.segment_ms,
        }
    }

    /// The offset index's largest number of entries.
    pub(crate) fn offset_index_entries_max(&self) -> u64 {
        (u64::from(self.segment_index_bytes) / crate::offset_index::ENTRY_SIZE).max(1)
    }

    /// The time index's largest number of entries; one is kept free for the entry at the roll.
    pub(crate) fn time_index_entries_max(&self) -> u64 {
        (u64::from(self.segment_index_bytes) / crate::time_index::ENTRY_SIZE).saturating_sub(1).max(1)
    }
}
