//! When compacted logs are cleaned, by how many at a time (`log.cleaner.threads`), and how fast
//! (`log.cleaner.io.max.bytes.per.second`). A cleaning runs on the blocking pool, a buffer's size at a time, and waits
//! between two such steps, never within one; no lock that produce or fetch needs is held but for the swap at a group's end.
//!
//! All values are read anew before each look and each pause, so that dynamic ones hold from then on.

use std::sync::Arc;
use std::time::Duration;

use ottla_config::{BrokerConfig, Value};
use ottla_env::Task;
use ottla_log::{CleaningOptions, CleaningReport, CleaningStep};
use parking_lot::Mutex;

use super::{millis, report};
use crate::node::Node;

/// A longer pause is cut into these, so that values that change meanwhile are noticed.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The same while a cleaning is held back.
const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A cleaning that is less than this ahead goes on at once.
const THROTTLE_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Starts the cleaner, unless `log.cleaner.enable` is off.
pub(super) fn start(node: &Arc<Node>) -> Option<Task> {
    if node.config().get("log.cleaner.enable") != Some(Value::Bool(true)) {
        return None;
    }
    let (first, throttle) = (node.clone(), Arc::new(Throttle::new(node.env.monotonic())));
    Some(node.env.spawn("cleaner", async move {
        // Declared after the node, so that they are ended before it goes.
        let node = first;
        let mut others = Others(Vec::new());
        loop {
            let threads = threads(&node.config());
            others.0.retain(|task| !task.is_finished());
            for number in others.0.len() + 1..threads {
                others.0.push(spawn_other(&node, number, &throttle));
            }
            let cleaned = threads > 0 && clean_one(&node, &throttle).await;
            delete_old_segments(&node).await;
            if !cleaned {
                pause(&node).await;
            }
        }
    }))
}

/// The cleaners beside the first one; they end with it.
struct Others(Vec<Task>);

impl Drop for Others {
    fn drop(&mut self) {
        self.0.iter().for_each(Task::abort);
    }
}

/// A cleaner that goes on for as long as so many are wanted.
fn spawn_other(node: &Arc<Node>, number: usize, throttle: &Arc<Throttle>) -> Task {
    let (own, throttle) = (node.clone(), throttle.clone());
    node.env.spawn(format!("cleaner {number}"), async move {
        let node = own;
        while number < threads(&node.config()) {
            if !clean_one(&node, &throttle).await {
                pause(&node).await;
            }
        }
    })
}

/// Waits for `log.cleaner.backoff.ms`.
async fn pause(node: &Arc<Node>) {
    let begin = node.env.monotonic();
    loop {
        let backoff = millis(int(&node.config(), "log.cleaner.backoff.ms"));
        let left = backoff.saturating_sub(node.env.monotonic().saturating_sub(begin));
        if left.is_zero() {
            return;
        }
        node.env.sleep(left.min(PAUSE_MAX)).await;
    }
}

/// Cleans the log that needs it most; false if none does, or it could not be cleaned to the end.
async fn clean_one(node: &Arc<Node>, throttle: &Throttle) -> bool {
    if !node.logs.may_be_dirty() {
        return false;
    }
    let (worker, options) = (node.clone(), options(&node.config()));
    let begin = move || worker.logs.clean_filthiest(options, worker.env.now_ms());
    let Some(mut cleaning) = node.env.blocking(begin).await else { return false };
    let begun = node.env.monotonic();
    loop {
        let worker = node.clone();
        let (next, step, _worker) = node
            .env
            .blocking(move || {
                let step = cleaning.step();
                // The node goes last: who waits for it may open the directories anew.
                (cleaning, step, worker)
            })
            .await;
        cleaning = next;
        match step {
            Ok(CleaningStep::More { io_bytes }) => throttle.wait(node, io_bytes).await,
            Ok(CleaningStep::Done(done)) => {
                let elapsed = node.env.monotonic().saturating_sub(begun);
                say(&done, elapsed);
                let worker = node.clone();
                node.env.blocking(move || report(worker.logs.checkpoint_cleaner_offsets())).await;
                return true;
            }
            // What went wrong was said.
            Ok(CleaningStep::GivenUp) | Err(_) => return false,
        }
    }
}

fn say(done: &CleaningReport, elapsed: Duration) {
    tracing::info!(
        partition = %done.partition,
        from = done.first_dirty_offset,
        to = done.end_offset,
        bytes_before = done.bytes_read,
        bytes_after = done.bytes_written,
        records_before = done.records.read,
        records_after = done.records.kept,
        buffer_utilization = done.buffer_utilization,
        ?elapsed,
        "cleaned a log"
    );
    if done.records.keyless > 0 {
        let records = done.records.keyless;
        tracing::warn!(partition = %done.partition, records, "records without a key were dropped from a compacted log");
    }
}

/// Logs that are compacted and whose old segments are deleted are looked at as often as they are cleaned.
async fn delete_old_segments(node: &Arc<Node>) {
    if node.logs.has_compacted_and_deleted() {
        let worker = node.clone();
        node.env.blocking(move || worker.logs.delete_old_compacted_segments(worker.env.now_ms())).await;
    }
}

fn int(config: &BrokerConfig, name: &str) -> i64 {
    match config.get(name) {
        Some(Value::Int(value)) => value,
        _ => 0,
    }
}

fn double(config: &BrokerConfig, name: &str) -> f64 {
    match config.get(name) {
        Some(Value::Double(value)) => value,
        _ => 0.0,
    }
}

fn threads(config: &BrokerConfig) -> usize {
    usize::try_from(int(config, "log.cleaner.threads")).unwrap_or(0)
}

/// What one of the cleaners may use.
fn options(config: &BrokerConfig) -> CleaningOptions {
    let share = |name: &str| int(config, name).max(0) as u64 / threads(config).max(1) as u64;
    CleaningOptions {
        dedupe_buffer_bytes: share("log.cleaner.dedupe.buffer.size").min(i32::MAX as u64),
        dedupe_buffer_load_factor: double(config, "log.cleaner.io.buffer.load.factor"),
        // Half of it is for what is written.
        io_buffer_bytes: usize::try_from(share("log.cleaner.io.buffer.size") / 2).unwrap_or(usize::MAX),
        ..CleaningOptions::default()
    }
}

/// The bytes that all cleaners together have read and written and that the rate has not allowed yet.
#[derive(Debug)]
struct Throttle(Mutex<Debt>);

#[derive(Debug)]
struct Debt {
    bytes: f64,
    /// When it was last looked at.
    at: Duration,
}

impl Throttle {
    fn new(at: Duration) -> Throttle {
        Throttle(Mutex::new(Debt { bytes: 0.0, at }))
    }

    /// Notes bytes, and waits until the rate allows them.
    async fn wait(&self, node: &Arc<Node>, bytes: u64) {
        self.0.lock().bytes += bytes as f64;
        loop {
            let rate = double(&node.config(), "log.cleaner.io.max.bytes.per.second");
            let left = self.0.lock().pay(rate, node.env.monotonic());
            if left < THROTTLE_PAUSE_MIN {
                return;
            }
            node.env.sleep(left.min(THROTTLE_PAUSE_MAX)).await;
        }
    }
}

impl Debt {
    /// Takes off what `rate` has allowed since the last look; how long the rest will take.
    fn pay(&mut self, rate: f64, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.at);
        self.at = now;
        // Time without work is not saved up.
        self.bytes = (self.bytes - rate.max(0.0) * elapsed.as_secs_f64()).max(0.0);
        if self.bytes == 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(self.bytes / rate.max(0.0)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_idle_time_is_not_saved() {
        let seconds = Duration::from_secs;
        let mut debt = Debt { bytes: 3000.0, at: seconds(0) };
        assert_eq!(debt.pay(1000.0, seconds(0)), seconds(3));
        assert_eq!(debt.pay(1000.0, seconds(2)), seconds(1));
        // A rate that changes holds at once.
        assert_eq!(debt.pay(100.0, seconds(2)), seconds(10));
        assert_eq!(debt.pay(100.0, seconds(500)), seconds(0));
        debt.bytes += 1000.0;
        assert_eq!(debt.pay(1000.0, seconds(500)), seconds(1));
        assert!(debt.pay(f64::MAX, seconds(500)) < THROTTLE_PAUSE_MIN, "the default holds nobody back");
        let mut stopped = Debt { bytes: 1.0, at: seconds(0) };
        assert_eq!(stopped.pay(0.0, seconds(9)), Duration::MAX);
    }
}
