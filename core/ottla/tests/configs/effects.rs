//! Which test shows the effect of which config. A row that says Implemented and is not here fails, as does an entry
//! whose row says Ignored.

use crate::{
    compaction, connections, durability, groups, listeners, retention, segments, storage, topics, transactions,
};
use ottla::config::Scope::{self, Broker, Topic};
use ottla::config::Status;
use std::collections::BTreeSet;

/// The config, and the test in this binary that changes it and sees the effect.
const EFFECTS: &[(Scope, &str, fn())] = &[
    (Broker, "advertised.listeners", listeners::each_client_sees_its_own_listener),
    (Broker, "auto.create.topics.enable", topics::auto_create_topics_enable),
    (Broker, "broker.id", listeners::node_id),
    (Broker, "broker.rack", listeners::broker_rack),
    (Broker, "compression.gzip.level", topics::compression_gzip_level),
    (Broker, "compression.type", topics::compression_type),
    (Broker, "compression.zstd.level", topics::compression_zstd_level),
    (Broker, "connections.max.idle.ms", connections::connections_max_idle_ms),
    (Broker, "controller.listener.names", listeners::controller_listener_names),
    (Broker, "default.replication.factor", topics::default_replication_factor),
    (Broker, "delete.topic.enable", topics::delete_topic_enable),
    (Broker, "fetch.max.bytes", connections::fetch_max_bytes),
    (Broker, "group.initial.rebalance.delay.ms", groups::group_initial_rebalance_delay_ms),
    (Broker, "group.max.session.timeout.ms", groups::group_session_timeouts),
    (Broker, "group.max.size", groups::group_max_size),
    (Broker, "group.min.session.timeout.ms", groups::group_session_timeouts),
    (Broker, "inter.broker.listener.name", listeners::inter_broker_listener_name),
    (Broker, "listener.security.protocol.map", listeners::each_client_sees_its_own_listener),
    (Broker, "listeners", listeners::each_client_sees_its_own_listener),
    (Broker, "log.cleaner.backoff.ms", compaction::log_cleaner_backoff_ms),
    (Broker, "log.cleaner.dedupe.buffer.size", compaction::log_cleaner_dedupe_buffer),
    (Broker, "log.cleaner.delete.retention.ms", compaction::delete_retention_ms),
    (Broker, "log.cleaner.enable", compaction::log_cleaner_enable),
    (Broker, "log.cleaner.io.buffer.load.factor", compaction::log_cleaner_dedupe_buffer),
    (Broker, "log.cleaner.io.max.bytes.per.second", compaction::log_cleaner_io_max_bytes_per_second),
    (Broker, "log.cleaner.max.compaction.lag.ms", compaction::max_compaction_lag_ms),
    (Broker, "log.cleaner.min.cleanable.ratio", compaction::min_cleanable_dirty_ratio),
    (Broker, "log.cleaner.min.compaction.lag.ms", compaction::min_compaction_lag_ms),
    (Broker, "log.cleaner.threads", compaction::log_cleaner_threads),
    (Broker, "log.cleanup.policy", topics::cleanup_policy),
    (Broker, "log.dir", storage::log_dir),
    (Broker, "log.dirs", storage::log_dirs),
    (Broker, "log.flush.interval.messages", durability::flush_messages),
    (Broker, "log.flush.interval.ms", durability::flush_ms),
    (Broker, "log.flush.offset.checkpoint.interval.ms", durability::flush_messages),
    (Broker, "log.flush.scheduler.interval.ms", durability::flush_ms),
    (Broker, "log.flush.start.offset.checkpoint.interval.ms", durability::log_start_offset_checkpoint),
    (Broker, "log.index.interval.bytes", segments::index_interval_bytes),
    (Broker, "log.index.size.max.bytes", segments::segment_index_bytes),
    (Broker, "log.message.timestamp.after.max.ms", topics::message_timestamp_after_max_ms),
    (Broker, "log.message.timestamp.before.max.ms", topics::message_timestamp_before_max_ms),
    (Broker, "log.message.timestamp.type", topics::message_timestamp_type),
    (Broker, "log.retention.bytes", retention::retention_bytes),
    (Broker, "log.retention.check.interval.ms", retention::retention_ms),
    (Broker, "log.retention.hours", retention::retention_ms),
    (Broker, "log.retention.minutes", retention::retention_ms),
    (Broker, "log.retention.ms", retention::retention_ms),
    (Broker, "log.roll.hours", segments::segment_ms),
    (Broker, "log.roll.jitter.hours", segments::segment_jitter_ms),
    (Broker, "log.roll.jitter.ms", segments::segment_jitter_ms),
    (Broker, "log.roll.ms", segments::segment_ms),
    (Broker, "log.segment.bytes", segments::segment_bytes),
    (Broker, "log.segment.delete.delay.ms", topics::deleted_files_stay_for_the_delay),
    (Broker, "max.connections", connections::max_connections),
    (Broker, "max.connections.per.ip", connections::max_connections_per_ip),
    (Broker, "max.incremental.fetch.session.cache.slots", connections::max_incremental_fetch_session_cache_slots),
    (Broker, "max.request.partition.size.limit", topics::max_request_partition_size_limit),
    (Broker, "message.max.bytes", topics::max_message_bytes),
    (Broker, "metadata.log.dir", storage::metadata_log_dir),
    (
        Broker,
        "metadata.log.max.record.bytes.between.snapshots",
        storage::metadata_log_max_record_bytes_between_snapshots,
    ),
    (Broker, "metadata.log.max.snapshot.interval.ms", storage::metadata_log_max_snapshot_interval_ms),
    (Broker, "metadata.log.segment.bytes", storage::metadata_log_segment_bytes),
    (Broker, "node.id", listeners::node_id),
    (Broker, "num.partitions", topics::num_partitions),
    (Broker, "offset.metadata.max.bytes", groups::offset_metadata_max_bytes),
    (Broker, "offsets.retention.check.interval.ms", groups::offsets_retention_check_interval_ms),
    (Broker, "offsets.retention.minutes", groups::offsets_retention_minutes),
    (Broker, "offsets.topic.num.partitions", groups::offsets_topic_num_partitions),
    (Broker, "offsets.topic.replication.factor", groups::offsets_topic_replication_factor),
    (Broker, "offsets.topic.segment.bytes", groups::offsets_topic_segment_bytes),
    (Broker, "process.roles", listeners::process_roles),
    (Broker, "producer.id.expiration.ms", retention::producer_id_expiration_ms),
    (Broker, "queued.max.request.bytes", connections::queued_max_request_bytes),
    (Broker, "queued.max.requests", connections::queued_max_requests),
    (Broker, "replica.high.watermark.checkpoint.interval.ms", durability::high_watermark_checkpoint),
    (Broker, "socket.request.max.bytes", connections::socket_request_max_bytes),
    (
        Broker,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        transactions::transaction_abort_timed_out_transaction_cleanup_interval_ms,
    ),
    (Broker, "transaction.max.timeout.ms", transactions::transaction_max_timeout_ms),
    (Broker, "transaction.partition.verification.enable", transactions::transaction_partition_verification_enable),
    (Broker, "transaction.remove.expired.transaction.cleanup.interval.ms", transactions::transactional_ids_expire),
    (Broker, "transaction.state.log.num.partitions", transactions::transaction_state_log_num_partitions),
    (Broker, "transaction.state.log.replication.factor", transactions::transaction_state_log_replication_factor),
    (Broker, "transaction.state.log.segment.bytes", transactions::transaction_state_log_segment_bytes),
    (Broker, "transactional.id.expiration.ms", transactions::transactional_ids_expire),
    (Topic, "cleanup.policy", topics::cleanup_policy),
    (Topic, "compression.gzip.level", topics::compression_gzip_level),
    (Topic, "compression.type", topics::compression_type),
    (Topic, "compression.zstd.level", topics::compression_zstd_level),
    (Topic, "delete.retention.ms", compaction::delete_retention_ms),
    (Topic, "file.delete.delay.ms", topics::deleted_files_stay_for_the_delay),
    (Topic, "flush.messages", durability::flush_messages),
    (Topic, "flush.ms", durability::flush_ms),
    (Topic, "index.interval.bytes", segments::index_interval_bytes),
    (Topic, "internal.segment.bytes", segments::segment_bytes),
    (Topic, "max.compaction.lag.ms", compaction::max_compaction_lag_ms),
    (Topic, "max.message.bytes", topics::max_message_bytes),
    (Topic, "message.timestamp.after.max.ms", topics::message_timestamp_after_max_ms),
    (Topic, "message.timestamp.before.max.ms", topics::message_timestamp_before_max_ms),
    (Topic, "message.timestamp.type", topics::message_timestamp_type),
    (Topic, "min.cleanable.dirty.ratio", compaction::min_cleanable_dirty_ratio),
    (Topic, "min.compaction.lag.ms", compaction::min_compaction_lag_ms),
    (Topic, "retention.bytes", retention::retention_bytes),
    (Topic, "retention.ms", retention::retention_ms),
    (Topic, "segment.bytes", segments::segment_bytes),
    (Topic, "segment.index.bytes", segments::segment_index_bytes),
    (Topic, "segment.jitter.ms", segments::segment_jitter_ms),
    (Topic, "segment.ms", segments::segment_ms),
];

/// Configs whose effect a client cannot see: the test is one of the crate that does it.
const ELSEWHERE: &[(Scope, &str, &str, &str)] = &[
    (
        Broker,
        "log.cleaner.io.buffer.size",
        "core/log/tests/it/cleaner/schedule.rs",
        "a_step_reads_about_as_much_as_its_buffer_holds",
    ),
    (
        Broker,
        "num.recovery.threads.per.data.dir",
        "core/log/tests/it/manager.rs",
        "loading_uses_the_threads_it_is_given",
    ),
    (Broker, "socket.listen.backlog.size", "core/wire/tests/sockets.rs", "the_backlog_is_as_long_as_asked_for"),
    (Broker, "socket.receive.buffer.bytes", "core/wire/tests/sockets.rs", "the_buffers_are_as_large_as_asked_for"),
    (Broker, "socket.send.buffer.bytes", "core/wire/tests/sockets.rs", "the_buffers_are_as_large_as_asked_for"),
];

#[test]
fn every_implemented_row_has_a_test_and_no_other() {
    let here = EFFECTS.iter().map(|(scope, name, _)| (*scope, *name));
    let listed: Vec<(Scope, &str)> = here.chain(ELSEWHERE.iter().map(|(scope, name, ..)| (*scope, *name))).collect();
    for scope in [Broker, Topic] {
        let tested: BTreeSet<&str> = listed.iter().filter(|(of, _)| *of == scope).map(|(_, name)| *name).collect();
        let rows = scope.rows().filter(|row| row.status == Status::Implemented);
        let implemented: BTreeSet<&str> = rows.map(|row| row.name).collect();
        assert_eq!(tested, implemented, "{scope:?}");
        let count = listed.iter().filter(|(of, _)| *of == scope).count();
        assert_eq!(count, tested.len(), "{scope:?} has a config twice");
    }
}

#[test]
fn the_tests_in_other_crates_exist() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for (_, name, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(format!("{root}/{file}")).expect("the file is there");
        assert!(text.contains(&format!("fn {test}(")), "{name}: {file} has no test {test}");
    }
}
