//! What a consumer measures, under the Java consumer's names: groups `consumer-metrics`, `consumer-coordinator-metrics` and
//! `consumer-fetch-manager-metrics`. Measured by poll and by request, never by record.

use super::Shared;
use super::options::IsolationLevel;
use super::position::Assigned;
use super::records::Fetched;
use crate::metrics::{Metric, MetricName, MetricValue, Metrics, Sensor, Stat};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct ConsumerMetrics {
    pub(super) registry: Metrics,
    between_polls: Sensor,
    idle_ratio: Sensor,
    commit_sync_time: Sensor,
    committed_time: Sensor,
    commit: Sensor,
    heartbeat: Sensor,
    join: Sensor,
    sync: Sensor,
    rebalance: Sensor,
    failed: Sensor,
    revoked: Sensor,
    assigned: Sensor,
    lost: Sensor,
    fetch: Sensor,
    throttle: Sensor,
    size: Sensor,
    bytes: Sensor,
    per_request: Sensor,
    records: Sensor,
    lag_max: Sensor,
    lead_min: Sensor,
    topics: Mutex<HashMap<Arc<str>, Topic>>,
    times: Mutex<Times>,
}

#[derive(Debug, Clone)]
struct Topic {
    size: Sensor,
    bytes: Sensor,
    per_request: Sensor,
    records: Sensor,
}

#[derive(Debug, Default)]
struct Times {
    /// When the last poll began, and how long it took.
    poll_began: Option<Duration>,
    last_rebalance: Option<Duration>,
}

/// Topics with metrics of their own; more would make a metric per topic of a consumer of all.
const TOPICS_MAX: usize = 1000;

impl ConsumerMetrics {
    pub(super) fn new(registry: Metrics) -> ConsumerMetrics {
        let own = registry.group("-metrics");
        let coordinator = registry.group("-coordinator-metrics");
        let fetch = registry.group("-fetch-manager-metrics");
        let of = |group: &str, stats: &[(&'static str, Stat)]| registry.sensor(group, &[], stats);
        ConsumerMetrics {
            between_polls: of(&own, &[("time-between-poll-avg", Stat::Avg), ("time-between-poll-max", Stat::Max)]),
            idle_ratio: of(&own, &[("poll-idle-ratio-avg", Stat::Avg)]),
            commit_sync_time: of(&own, &[("commit-sync-time-ns-total", Stat::Total)]),
            committed_time: of(&own, &[("committed-time-ns-total", Stat::Total)]),
            commit: of(
                &coordinator,
                &[
                    ("commit-latency-avg", Stat::Avg),
                    ("commit-latency-max", Stat::Max),
                    ("commit-rate", Stat::CountRate),
                    ("commit-total", Stat::CountTotal),
                ],
            ),
            heartbeat: of(
                &coordinator,
                &[
                    ("heartbeat-response-time-max", Stat::Max),
                    ("heartbeat-rate", Stat::CountRate),
                    ("heartbeat-total", Stat::CountTotal),
                ],
            ),
            join: of(
                &coordinator,
                &[
                    ("join-time-avg", Stat::Avg),
                    ("join-time-max", Stat::Max),
                    ("join-rate", Stat::CountRate),
                    ("join-total", Stat::CountTotal),
                ],
            ),
            sync: of(
                &coordinator,
                &[
                    ("sync-time-avg", Stat::Avg),
                    ("sync-time-max", Stat::Max),
                    ("sync-rate", Stat::CountRate),
                    ("sync-total", Stat::CountTotal),
                ],
            ),
            rebalance: of(
                &coordinator,
                &[
                    ("rebalance-latency-avg", Stat::Avg),
                    ("rebalance-latency-max", Stat::Max),
                    ("rebalance-latency-total", Stat::Total),
                    ("rebalance-total", Stat::CountTotal),
                ],
            ),
            failed: of(&coordinator, &[("failed-rebalance-total", Stat::CountTotal)]),
            revoked: of(
                &coordinator,
                &[("partition-revoked-latency-avg", Stat::Avg), ("partition-revoked-latency-max", Stat::Max)],
            ),
            assigned: of(
                &coordinator,
                &[("partition-assigned-latency-avg", Stat::Avg), ("partition-assigned-latency-max", Stat::Max)],
            ),
            lost: of(
                &coordinator,
                &[("partition-lost-latency-avg", Stat::Avg), ("partition-lost-latency-max", Stat::Max)],
            ),
            fetch: of(
                &fetch,
                &[
                    ("fetch-latency-avg", Stat::Avg),
                    ("fetch-latency-max", Stat::Max),
                    ("fetch-rate", Stat::CountRate),
                    ("fetch-total", Stat::CountTotal),
                ],
            ),
            throttle: of(&fetch, &[("fetch-throttle-time-avg", Stat::Avg), ("fetch-throttle-time-max", Stat::Max)]),
            size: of(&fetch, &[("fetch-size-avg", Stat::Avg), ("fetch-size-max", Stat::Max)]),
            bytes: of(&fetch, &[("bytes-consumed-rate", Stat::Rate), ("bytes-consumed-total", Stat::Total)]),
            per_request: of(&fetch, &[("records-per-request-avg", Stat::Avg)]),
            records: of(&fetch, &[("records-consumed-rate", Stat::Rate), ("records-consumed-total", Stat::Total)]),
            lag_max: of(&fetch, &[("records-lag-max", Stat::Max)]),
            lead_min: of(&fetch, &[("records-lead-min", Stat::Min)]),
            topics: Mutex::default(),
            times: Mutex::default(),
            registry,
        }
    }

    /// Adds the metrics that are read off the consumer itself.
    pub(super) fn watch(shared: &Arc<Shared>) {
        let registry = &shared.metrics.registry;
        let gauge = |group: &str, name: &'static str, read: fn(&Shared, Duration) -> f64| {
            // The registry is the consumer's own: it must not keep it alive.
            let shared: Weak<Shared> = Arc::downgrade(shared);
            let read =
                move || shared.upgrade().map_or(f64::NAN, |shared| read(&shared, shared.client.env().monotonic()));
            registry.gauge(registry.name(name, &registry.group(group), &[]), read);
        };
        gauge("-metrics", "last-poll-seconds-ago", |shared, now| ago(shared.metrics.times.lock().poll_began, now));
        gauge("-coordinator-metrics", "assigned-partitions", |shared, _| shared.state.lock().partitions.len() as f64);
        gauge("-coordinator-metrics", "last-rebalance-seconds-ago", |shared, now| {
            ago(shared.metrics.times.lock().last_rebalance, now)
        });
        gauge("-coordinator-metrics", "last-heartbeat-seconds-ago", |shared, now| {
            let last = shared.group.as_ref().map(|group| group.member.lock().last_heartbeat());
            ago(last.filter(|last| !last.is_zero()), now)
        });
    }

    /// A poll begins.
    pub(super) fn poll_began(&self, now: Duration) {
        let last = self.times.lock().poll_began.replace(now);
        if let Some(last) = last {
            self.between_polls.record_at(millis(now.saturating_sub(last)), now);
        }
    }

    /// A poll that began at `began` ends at `now`: how much of the time since the one before was spent in it.
    pub(super) fn poll_ended(&self, before: Option<Duration>, began: Duration, now: Duration) {
        let all = before.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        if !all.is_zero() {
            self.idle_ratio.record_at(now.saturating_sub(began).as_secs_f64() / all.as_secs_f64(), now);
        }
    }

    pub(super) fn committed_sync(&self, took: Duration) {
        self.commit_sync_time.record(took.as_nanos() as f64);
    }

    pub(super) fn asked_committed(&self, took: Duration) {
        self.committed_time.record(took.as_nanos() as f64);
    }

    pub(super) fn commit(&self, took: Duration) {
        self.commit.record(millis(took));
    }

    pub(super) fn heartbeat(&self, took: Duration) {
        self.heartbeat.record(millis(took));
    }

    pub(super) fn joined(&self, took: Duration) {
        self.join.record(millis(took));
    }

    pub(super) fn synced(&self, took: Duration) {
        self.sync.record(millis(took));
    }

    /// A rebalance is over: from JoinGroup to the answer to SyncGroup, or from the assignment to its end (KIP-848).
    pub(super) fn rebalanced(&self, took: Duration, now: Duration) {
        self.rebalance.record(millis(took));
        self.times.lock().last_rebalance = Some(now);
    }

    pub(super) fn rebalance_failed(&self) {
        self.failed.count();
    }

    pub(super) fn called(&self, change: super::group::Change, took: Duration) {
        match change {
            super::group::Change::Revoked => self.revoked.record(millis(took)),
            super::group::Change::Assigned => self.assigned.record(millis(took)),
            super::group::Change::Lost => self.lost.record(millis(took)),
        }
    }

    /// A fetch was answered, `now`.
    pub(super) fn fetched(&self, took: Duration, throttle_ms: i32, now: Duration) {
        self.fetch.record_at(millis(took), now);
        self.throttle.record_at(f64::from(throttle_ms), now);
    }

    /// What an answer brought in all.
    pub(super) fn fetched_size(&self, bytes: usize, now: Duration) {
        self.size.record_at(bytes as f64, now);
    }

    /// Records of one fetched partition are handed out `now`.
    pub(super) fn consumed(
        &self,
        fetched: &Fetched,
        records: usize,
        assigned: &Assigned,
        isolation: IsolationLevel,
        now: Duration,
    ) {
        if records == 0 {
            return;
        }
        // Java counts the records' own bytes; here it is their share of the batches.
        let offsets = (fetched.next_offset - fetched.fetch_offset).max(1) as f64;
        let bytes = fetched.bytes.len() as f64 * (records as f64 / offsets).min(1.0);
        self.bytes.record_at(bytes, now);
        self.records.record_at(records as f64, now);
        self.per_request.record_at(records as f64, now);
        if let Some(lag) = lag(assigned, isolation) {
            self.lag_max.record_at(lag, now);
        }
        if let Some(lead) = lead(assigned) {
            self.lead_min.record_at(lead, now);
        }
        let topic = {
            let mut topics = self.topics.lock();
            match topics.get(&fetched.topic) {
                Some(topic) => topic.clone(),
                None if topics.len() >= TOPICS_MAX => return,
                None => topics.entry(fetched.topic.clone()).or_insert(self.topic(&fetched.topic)).clone(),
            }
        };
        topic.size.record_at(fetched.bytes.len() as f64, now);
        topic.bytes.record_at(bytes, now);
        topic.records.record_at(records as f64, now);
        topic.per_request.record_at(records as f64, now);
    }

    fn topic(&self, topic: &str) -> Topic {
        let group = self.registry.group("-fetch-manager-metrics");
        let sensor = |stats: &[(&'static str, Stat)]| self.registry.sensor(&group, &[("topic", topic)], stats);
        Topic {
            size: sensor(&[("fetch-size-avg", Stat::Avg), ("fetch-size-max", Stat::Max)]),
            bytes: sensor(&[("bytes-consumed-rate", Stat::Rate), ("bytes-consumed-total", Stat::Total)]),
            per_request: sensor(&[("records-per-request-avg", Stat::Avg)]),
            records: sensor(&[("records-consumed-rate", Stat::Rate), ("records-consumed-total", Stat::Total)]),
        }
    }

    /// All metrics as they are now; those of the partitions are read off them.
    pub(super) fn snapshot(&self, shared: &Shared) -> Vec<Metric> {
        let mut metrics = self.registry.snapshot();
        let group = self.registry.group("-fetch-manager-metrics");
        let isolation = shared.options.isolation_level;
        let now = shared.client.env().monotonic();
        let state = shared.state.lock();
        for (partition, assigned) in &state.partitions {
            let index = partition.partition.to_string();
            let tags = [("topic", &*partition.topic), ("partition", index.as_str())];
            let mut add = |name: &'static str, value: Option<f64>| {
                let name: MetricName = self.registry.name(name, &group, &tags);
                metrics.extend(value.map(|value| Metric { name, value: MetricValue::Double(value), is_total: false }));
            };
            add("records-lag", lag(assigned, isolation));
            add("records-lead", lead(assigned));
            let preferred = assigned.preferred.filter(|(_, until)| now < *until).map_or(-1, |(node, _)| node);
            add("preferred-read-replica", Some(f64::from(preferred)));
        }
        metrics
    }

    pub(super) fn last_poll(&self) -> Option<Duration> {
        self.times.lock().poll_began
    }
}

fn ago(at: Option<Duration>, now: Duration) -> f64 {
    at.map_or(-1.0, |at| now.saturating_sub(at).as_secs() as f64)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Offsets between the position and the end.
pub(super) fn lag(assigned: &Assigned, isolation: IsolationLevel) -> Option<f64> {
    let end = match isolation {
        IsolationLevel::ReadUncommitted => assigned.high_watermark,
        IsolationLevel::ReadCommitted => assigned.last_stable_offset,
    };
    let position = assigned.position()?;
    (end >= 0).then(|| (end - position).max(0) as f64)
}

/// Offsets between the beginning of the log and the position: what is left before retention would cut off.
fn lead(assigned: &Assigned) -> Option<f64> {
    let position = assigned.position()?;
    (assigned.log_start_offset >= 0).then(|| (position - assigned.log_start_offset).max(0) as f64)
}
