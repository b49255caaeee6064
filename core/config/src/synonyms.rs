//! Which broker configs stand behind a topic's config, in the order they count.

/// A broker config that sets a topic config, and what its value is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// Milliseconds per unit for hours and minutes, otherwise 1.
    pub factor: i64,
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn times(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The broker configs behind a topic config; the first one that is set counts. Empty for configs with no broker-wide
/// value.
pub fn of_topic_config(name: &str) -> &'static [Synonym] {
    match name {
        "cleanup.policy" => const { &[same("log.cleanup.policy")] },
        "compression.gzip.level" => const { &[same("compression.gzip.level")] },
        "compression.lz4.level" => const { &[same("compression.lz4.level")] },
        "compression.type" => const { &[same("compression.type")] },
        "compression.zstd.level" => const { &[same("compression.zstd.level")] },
        "delete.retention.ms" => const { &[same("log.cleaner.delete.retention.ms")] },
        "file.delete.delay.ms" => const { &[same("log.segment.delete.delay.ms")] },
        "flush.messages" => const { &[same("log.flush.interval.messages")] },
        "flush.ms" => const { &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")] },
        "index.interval.bytes" => const { &[same("log.index.interval.bytes")] },
        "local.retention.bytes" => const { &[same("log.local.retention.bytes")] },
        "local.retention.ms" => const { &[same("log.local.retention.ms")] },
        "max.compaction.lag.ms" => const { &[same("log.cleaner.max.compaction.lag.ms")] },
        "max.decompressed.message.bytes" => const { &[same("max.decompressed.message.bytes")] },
        "max.message.bytes" => const { &[same("message.max.bytes")] },
        "message.timestamp.after.max.ms" => const { &[same("log.message.timestamp.after.max.ms")] },
        "message.timestamp.before.max.ms" => const { &[same("log.message.timestamp.before.max.ms")] },
        "message.timestamp.type" => const { &[same("log.message.timestamp.type")] },
        "min.cleanable.dirty.ratio" => const { &[same("log.cleaner.min.cleanable.ratio")] },
        "min.compaction.lag.ms" => const { &[same("log.cleaner.min.compaction.lag.ms")] },
        "min.insync.replicas" => const { &[same("min.insync.replicas")] },
        "preallocate" => const { &[same("log.preallocate")] },
        "remote.copy.lag.bytes" => const { &[same("log.remote.copy.lag.bytes")] },
        "remote.copy.lag.ms" => const { &[same("log.remote.copy.lag.ms")] },
        "retention.bytes" => const { &[same("log.retention.bytes")] },
        "retention.ms" => {
            const { &[same("log.retention.ms"), times("log.retention.minutes", MINUTE), times("log.retention.hours", HOUR)] }
        }
        "segment.bytes" => const { &[same("log.segment.bytes")] },
        "segment.index.bytes" => const { &[same("log.index.size.max.bytes")] },
        "segment.jitter.ms" => const { &[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR)] },
        "segment.ms" => const { &[same("log.roll.ms"), times("log.roll.hours", HOUR)] },
        "unclean.leader.election.enable" => const { &[same("unclean.leader.election.enable")] },
        _ => &[],
    }
}

/// The broker configs that set the same thing as `name`, in the order they count; empty when there is
/// only `name` itself.
pub fn of_broker_config(name: &str) -> &'static [&'static str] {
    match name {
        "log.roll.ms" | "log.roll.hours" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            &["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    #[test]
    fn every_synonym_is_a_broker_config() {
        let mut with_synonym = 0;
        for row in Scope::Topic.rows() {
            for synonym in of_topic_config(row.name) {
                assert!(Scope::Broker.find(synonym.name).is_some(), "{}", synonym.name);
            }
            with_synonym += usize::from(!of_topic_config(row.name).is_empty());
        }
        assert_eq!(with_synonym, 31);
    }
}
