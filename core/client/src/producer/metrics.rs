//! What a producer measures, under the Java producer's names: groups `producer-metrics` and `producer-topic-metrics`.
//! Measured by batch and by request, never by record; what the connections count is `crate::metrics`' matter.

use super::Shared;
use super::accumulator::Due;
use crate::metrics::{Metrics, Sensor, Stat};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct ProducerMetrics {
    pub(super) registry: Metrics,
    batch_size: Sensor,
    compression: Sensor,
    queue_time: Sensor,
    latency: Sensor,
    throttle: Sensor,
    sent: Sensor,
    per_request: Sensor,
    retries: Sensor,
    errors: Sensor,
    record_size: Sensor,
    splits: Sensor,
    exhausted: Sensor,
    buffer_wait: Sensor,
    pub(super) flush_time: Sensor,
    pub(super) metadata_wait: Sensor,
    pub(super) init_time: Sensor,
    pub(super) begin_time: Sensor,
    pub(super) offsets_time: Sensor,
    pub(super) commit_time: Sensor,
    pub(super) abort_time: Sensor,
    in_flight: AtomicI64,
    topics: Mutex<HashMap<Arc<str>, Arc<TopicMetrics>>>,
}

#[derive(Debug)]
struct TopicMetrics {
    sent: Sensor,
    bytes: Sensor,
    compression: Sensor,
    retries: Sensor,
    errors: Sensor,
}

impl ProducerMetrics {
    pub(super) fn new(registry: Metrics) -> ProducerMetrics {
        let group = registry.group("-metrics");
        let sensor = |stats: &[(&'static str, Stat)]| registry.sensor(&group, &[], stats);
        let total = |name: &'static str| sensor(&[(name, Stat::Total)]);
        ProducerMetrics {
            batch_size: sensor(&[("batch-size-avg", Stat::Avg), ("batch-size-max", Stat::Max)]),
            compression: sensor(&[("compression-rate-avg", Stat::Avg)]),
            queue_time: sensor(&[("record-queue-time-avg", Stat::Avg), ("record-queue-time-max", Stat::Max)]),
            latency: sensor(&[("request-latency-avg", Stat::Avg), ("request-latency-max", Stat::Max)]),
            throttle: sensor(&[("produce-throttle-time-avg", Stat::Avg), ("produce-throttle-time-max", Stat::Max)]),
            sent: sensor(&[("record-send-rate", Stat::Rate), ("record-send-total", Stat::Total)]),
            per_request: sensor(&[("records-per-request-avg", Stat::Avg)]),
            retries: sensor(&[("record-retry-rate", Stat::Rate), ("record-retry-total", Stat::Total)]),
            errors: sensor(&[("record-error-rate", Stat::Rate), ("record-error-total", Stat::Total)]),
            record_size: sensor(&[("record-size-avg", Stat::Avg), ("record-size-max", Stat::Max)]),
            splits: sensor(&[("batch-split-rate", Stat::Rate), ("batch-split-total", Stat::Total)]),
            exhausted: sensor(&[("buffer-exhausted-rate", Stat::Rate), ("buffer-exhausted-total", Stat::Total)]),
            buffer_wait: sensor(&[
                ("bufferpool-wait-time-ns-total", Stat::Total),
                ("bufferpool-wait-ratio", Stat::Rate),
            ]),
            flush_time: total("flush-time-ns-total"),
            metadata_wait: total("metadata-wait-time-ns-total"),
            init_time: total("txn-init-time-ns-total"),
            begin_time: total("txn-begin-time-ns-total"),
            offsets_time: total("txn-send-offsets-time-ns-total"),
            commit_time: total("txn-commit-time-ns-total"),
            abort_time: total("txn-abort-time-ns-total"),
            in_flight: AtomicI64::new(0),
            topics: Mutex::default(),
            registry,
        }
    }

    /// Adds the metrics that are read off the producer itself.
    pub(super) fn watch(shared: &Arc<Shared>) {
        let metrics = &shared.metrics;
        let gauge = |name: &'static str, read: fn(&Shared) -> f64| {
            // The registry is the producer's own: it must not keep it alive.
            let shared: Weak<Shared> = Arc::downgrade(shared);
            let name = metrics.registry.name(name, &metrics.registry.group("-metrics"), &[]);
            metrics.registry.gauge(name, move || shared.upgrade().map_or(f64::NAN, |shared| read(&shared)));
        };
        gauge("requests-in-flight", |shared| shared.metrics.in_flight.load(Ordering::Relaxed) as f64);
        gauge("buffer-total-bytes", |shared| shared.options.buffer_memory as f64);
        gauge("buffer-available-bytes", |shared| shared.memory.available_permits() as f64);
        gauge("waiting-threads", |shared| shared.pressed.load(Ordering::Relaxed) as f64);
        gauge("metadata-age", |shared| {
            let fetched_at = shared.client.snapshot().fetched_at;
            shared.client.env().monotonic().saturating_sub(fetched_at).as_secs_f64()
        });
    }

    /// A request leaves with these batches, which are encoded.
    pub(super) fn request_sent(&self, due: &[Due], now: Duration) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut records = 0.0;
        for due in due {
            let batch = &due.batch;
            let (count, size) = (batch.count as f64, batch.size() as f64);
            let compression = size / batch.uncompressed.max(1) as f64;
            self.batch_size.record_at(size, now);
            self.compression.record_at(compression, now);
            self.queue_time.record_at(now.saturating_sub(batch.created).as_secs_f64() * 1000.0, now);
            let each = batch.uncompressed as f64 / count.max(1.0);
            self.record_size.record_many(batch.uncompressed as f64, count, each, batch.record_max as f64, now);
            let topic = self.topic(&due.topic);
            topic.sent.record_at(count, now);
            topic.bytes.record_at(size, now);
            topic.compression.record_at(compression, now);
            records += count;
        }
        self.sent.record_at(records, now);
        self.per_request.record_at(records, now);
    }

    /// Its answer came, or will not come any more.
    pub(super) fn request_done(&self, took: Duration, throttle_ms: i32, now: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.latency.record_at(took.as_secs_f64() * 1000.0, now);
        self.throttle.record_at(f64::from(throttle_ms), now);
    }

    pub(super) fn retried(&self, topic: &Arc<str>, records: usize) {
        self.retries.record(records as f64);
        self.topic(topic).retries.record(records as f64);
    }

    pub(super) fn failed(&self, topic: &Arc<str>, records: usize) {
        self.errors.record(records as f64);
        self.topic(topic).errors.record(records as f64);
    }

    pub(super) fn split(&self) {
        self.splits.record(1.0);
    }

    pub(super) fn buffer_waited(&self, waited: Duration, exhausted: bool) {
        self.buffer_wait.record(waited.as_nanos() as f64);
        if exhausted {
            self.exhausted.record(1.0);
        }
    }

    /// A topic is no longer used.
    pub(super) fn forget(&self, topic: &str) {
        self.topics.lock().remove(topic);
    }

    fn topic(&self, name: &Arc<str>) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock();
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let group = self.registry.group("-topic-metrics");
        let sensor = |stats: &[(&'static str, Stat)]| self.registry.sensor(&group, &[("topic", &**name)], stats);
        let topic = Arc::new(TopicMetrics {
            sent: sensor(&[("record-send-rate", Stat::Rate), ("record-send-total", Stat::Total)]),
            bytes: sensor(&[("byte-rate", Stat::Rate), ("byte-total", Stat::Total)]),
            compression: sensor(&[("compression-rate", Stat::Avg)]),
            retries: sensor(&[("record-retry-rate", Stat::Rate), ("record-retry-total", Stat::Total)]),
            errors: sensor(&[("record-error-rate", Stat::Rate), ("record-error-total", Stat::Total)]),
        });
        topics.insert(name.clone(), topic.clone());
        topic
    }
}

/// Adds the time from its creation to its end to a sensor, however the end comes.
pub(super) struct Timed<'a> {
    pub(super) shared: &'a Shared,
    pub(super) sensor: &'a Sensor,
    pub(super) since: Duration,
}

impl<'a> Timed<'a> {
    pub(super) fn new(shared: &'a Shared, sensor: &'a Sensor) -> Timed<'a> {
        Timed { shared, sensor, since: shared.client.env().monotonic() }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = self.shared.client.env().monotonic().saturating_sub(self.since);
        self.sensor.record(took.as_nanos() as f64);
    }
}
