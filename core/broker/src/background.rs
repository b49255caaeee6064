//! What a broker does by itself: retention, compaction, flushing by time, checkpoints, idle offsets. Each task sleeps until its next
//! turn and does its file work on the blocking pool; all of them end with the broker.

mod cleaner;

use crate::node::Node;
use ottla_config::{BrokerConfig, Value};
use ottla_env::Task;
use ottla_log::LogError;
use std::sync::Arc;
use std::time::Duration;

/// How often the metadata store is asked whether it has regular work; a shorter `metadata.log.max.snapshot.interval.ms` counts.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// How often files of deleted topics are looked at; they wait for `file.delete.delay.ms`.
const DELETION_INTERVAL: Duration = Duration::from_secs(15);
/// Longer sleeps are cut into these, so that no sum overflows; a task that wakes early sleeps on.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the tasks; dropping or aborting them ends them.
pub(crate) fn start(node: &Arc<Node>) -> Vec<Task> {
    let config = node.config();
    let retention = millis(config.log_retention_check_interval_ms);
    let flush = millis(config.log_flush_scheduler_interval_ms);
    let metadata = match config.metadata_log_max_snapshot_interval_ms {
        0 => METADATA_INTERVAL,
        ms => millis(ms).min(METADATA_INTERVAL),
    };
    let mut tasks = vec![
        every(node, "retention", retention, |node| {
            let deleted = node.logs.delete_old_segments(node.env.now_ms());
            if deleted > 0 {
                tracing::info!(segments = deleted, "retention");
            }
        }),
        every(node, "flush", flush, |node| node.logs.flush_due(node.env.now_ms())),
        every(node, "deletion", DELETION_INTERVAL, |node| node.logs.remove_deleted(node.env.now_ms())),
        every(node, "metadata", metadata, |node| node.metadata.tick()),
        every(node, "recovery points", setting(&config, "log.flush.offset.checkpoint.interval.ms"), |node| {
            report(node.logs.checkpoint_recovery_points());
        }),
        every(node, "log start offsets", setting(&config, "log.flush.start.offset.checkpoint.interval.ms"), |node| {
            report(node.logs.checkpoint_log_start_offsets());
        }),
        every(node, "high watermarks", setting(&config, "replica.high.watermark.checkpoint.interval.ms"), |node| {
            report(node.logs.checkpoint_high_watermarks());
        }),
    ];
    tasks.extend(cleaner::start(node));
    tasks
}

fn report(written: Result<(), LogError>) {
    if let Err(error) = written {
        tracing::error!(%error, "writing a checkpoint failed");
    }
}

fn setting(config: &BrokerConfig, name: &str) -> Duration {
    match config.get(name) {
        Some(Value::Int(ms)) => millis(ms),
        _ => SLEEP_MAX,
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
}

fn every(node: &Arc<Node>, name: &'static str, interval: Duration, work: fn(&Node)) -> Task {
    let task_node = node.clone();
    node.env.spawn(name, async move {
        let node = task_node;
        loop {
            let due = node.env.monotonic().saturating_add(interval);
            loop {
                let left = due.saturating_sub(node.env.monotonic());
                if left.is_zero() {
                    break;
                }
                node.env.sleep(left.min(SLEEP_MAX)).await;
            }
            let worker = node.clone();
            node.env.blocking(move || work(&worker)).await;
        }
    })
}
