//! What a broker does by itself: retention, flushing by time, checkpoints, idle offsets. Each task sleeps until its next
//! turn and does its file work on the blocking pool; all of them end with the broker.

use crate::node::Node;
use ottla_env::Task;
use std::sync::Arc;
use std::time::Duration;

/// Kafka's log.flush.offset.checkpoint.interval.ms.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// Longer sleeps are cut into these, so that no sum overflows; a task that wakes early sleeps on.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the tasks; dropping or aborting them ends them.
pub(crate) fn start(node: &Arc<Node>) -> Vec<Task> {
    let config = node.config();
    let retention = millis(config.log_retention_check_interval_ms);
    let flush = millis(config.log_flush_scheduler_interval_ms);
    vec![
        every(node, "retention", retention, |node| {
            let now = node.env.now_ms();
            for partition in node.partitions.all() {
                let (topic, id) = (partition.topic(), partition.id());
                match partition.log().delete_old_segments(now) {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(%topic, partition = id, count, "deleted segments by retention"),
                    Err(error) => tracing::error!(%topic, partition = id, %error, "retention failed"),
                }
            }
            node.logs.purge_deleted(now);
        }),
        every(node, "flush", flush, |node| {
            let now = node.env.now_ms();
            for partition in node.partitions.all() {
                if let Err(error) = partition.log().flush_if_due(now) {
                    tracing::error!(topic = %partition.topic(), partition = partition.id(), %error, "flushing failed");
                }
            }
        }),
        every(node, "checkpoint", CHECKPOINT_INTERVAL, |node| {
            let partitions = node.partitions.all();
            if let Err(error) = node.logs.write_checkpoints(partitions.iter().map(|partition| partition.log())) {
                tracing::error!(%error, "writing the checkpoints failed");
            }
        }),
    ]
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
