//! The topic configs: every name Apache Kafka 4.4 knows, and what Ottla does with it.
//!
//! One row is: name, type, default, validator, importance, where it may be changed, status, and a few words of what it
//! does. The row is the only place a config exists; its documentation is printed from here.
//!
//! Deliberately not here: the broker configs that stand behind a topic's (see [`crate::synonyms`]).

pub use crate::topic_config::TopicConfig;

table! {
    /// The rows, sorted by name.
    ROWS;
    "cleanup.policy" List "delete" ListOf(&["compact", "delete"]), Medium PerTopic Implemented "What happens to old segments: delete, compact, both, or nothing when empty.";
    "compression.gzip.level" Int "-1" GzipLevel, Medium PerTopic Implemented "Level used when the broker itself compresses with gzip; -1 is the library's own.";
    "compression.lz4.level" Int "9" Between(1, 17), Medium PerTopic Ignored "Level used when the broker itself compresses with lz4.";
    "compression.type" String "producer" OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium PerTopic Implemented "Codec stored on disk; producer keeps what the producer sent.";
    "compression.zstd.level" Int "3" Between(-131072, 22), Medium PerTopic Implemented "Level used when the broker itself compresses with zstd.";
    "delete.retention.ms" Long "86400000" AtLeast(0), Medium PerTopic Implemented "How long tombstones stay readable after compaction.";
    "errors.deadletterqueue.group.enable" Boolean "false" Any, Medium PerTopic Ignored "Let share groups use this topic for dead letters.";
    "file.delete.delay.ms" Long "60000" AtLeast(0), Medium PerTopic Implemented "Delay before a deleted segment's files leave the disk.";
    "flush.messages" Long "9223372036854775807" AtLeast(1), Medium PerTopic Implemented "Sync to disk after this many records; 1 is after every batch.";
    "flush.ms" Long "9223372036854775807" AtLeast(0), Medium PerTopic Implemented "Sync to disk after this time.";
    "follower.replication.throttled.replicas" List "" ThrottledReplicas, Medium PerTopic Ignored "Replicas throttled on the follower's side, partition:broker each, or *.";
    "index.interval.bytes" Int "4096" AtLeast(0), Medium PerTopic Implemented "Bytes of log between two index entries.";
    "internal.segment.bytes" Int null Any, Internal PerTopic Implemented "Segment size below segment.bytes' minimum, for tests.";
    "leader.replication.throttled.replicas" List "" ThrottledReplicas, Medium PerTopic Ignored "Replicas throttled on the leader's side, partition:broker each, or *.";
    "local.retention.bytes" Long "-2" AtLeast(-2), Medium PerTopic Ignored "Local bytes kept when tiered; -2 follows retention.bytes.";
    "local.retention.ms" Long "-2" AtLeast(-2), Medium PerTopic Ignored "Local time kept when tiered; -2 follows retention.ms.";
    "max.compaction.lag.ms" Long "9223372036854775807" AtLeast(1), Medium PerTopic Implemented "Longest a record may wait for compaction.";
    "max.decompressed.message.bytes" Int "2147483639" Between(1, 2147483639), Medium PerTopic Ignored "Largest record after decompression, bytes.";
    "max.message.bytes" Int "1048588" AtLeast(0), Medium PerTopic Implemented "Largest record batch accepted, bytes.";
    "message.timestamp.after.max.ms" Long "3600000" AtLeast(0), Medium PerTopic Implemented "How far a record's timestamp may lie in the future.";
    "message.timestamp.before.max.ms" Long "9223372036854775807" AtLeast(0), Medium PerTopic Implemented "How far a record's timestamp may lie in the past.";
    "message.timestamp.type" String "CreateTime" OneOf(&["CreateTime", "LogAppendTime"]), Medium PerTopic Implemented "CreateTime keeps the producer's timestamp, LogAppendTime sets the broker's.";
    "min.cleanable.dirty.ratio" Double "0.5" BetweenF(0.0, 1.0), Medium PerTopic Implemented "Dirty share of the log from which it is compacted.";
    "min.compaction.lag.ms" Long "0" AtLeast(0), Medium PerTopic Implemented "Shortest time a record stays uncompacted.";
    "min.insync.replicas" Int "1" AtLeast(1), Medium PerTopic Ignored "Replicas that must have a record before acks=all succeeds.";
    "preallocate" Boolean "false" Any, Medium PerTopic Ignored "Reserve a new segment's full size at once.";
    "remote.copy.lag.bytes" Long "-1" AtLeast(-1), Medium PerTopic Ignored "Bytes behind the log end from which a segment is copied to remote storage.";
    "remote.copy.lag.ms" Long "0" AtLeast(-1), Medium PerTopic Ignored "Age from which a segment is copied to remote storage.";
    "remote.log.copy.disable" Boolean "false" Any, Medium PerTopic Ignored "Stop copying to remote storage; what is there stays readable.";
    "remote.log.delete.on.disable" Boolean "false" Any, Medium PerTopic Ignored "Delete the remote segments when tiering is switched off.";
    "remote.storage.enable" Boolean "false" Any, Medium PerTopic Ignored "Tier this topic to remote storage.";
    "retention.bytes" Long "-1" Any, Medium PerTopic Implemented "Bytes kept per partition; -1 is no limit.";
    "retention.ms" Long "604800000" AtLeast(-1), Medium PerTopic Implemented "Milliseconds records are kept; -1 is for ever.";
    "segment.bytes" Int "1073741824" AtLeast(1048576), Medium PerTopic Implemented "Largest segment file, bytes.";
    "segment.index.bytes" Int "10485760" AtLeast(4), Medium PerTopic Implemented "Largest index file, bytes.";
    "segment.jitter.ms" Long "0" AtLeast(0), Medium PerTopic Implemented "Largest random part taken off segment.ms.";
    "segment.ms" Long "604800000" AtLeast(1), Medium PerTopic Implemented "Milliseconds until a segment is rolled.";
    "unclean.leader.election.enable" Boolean "false" Any, Medium PerTopic Ignored "Allow a replica outside the ISR to lead, at the cost of records.";
}
