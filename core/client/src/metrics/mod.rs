//! Metrics under the names, groups and tags of the Java clients.
//!
//! Each producer, consumer and admin client has a registry of its own ([`Metrics`]), made by `Client::metrics`; what
//! the connections count belongs to the client that they share, and shows in each of its registries under their prefix.
//! Deliberately not here: reporters. Whoever wants the numbers takes a snapshot; the cluster gets them by KIP-714.

mod network;
mod sensor;

pub(crate) use network::Network;
pub(crate) use sensor::{Sensor, Stat};

use ottla_config::Configs;
use ottla_env::Env;
use parking_lot::Mutex;
use sensor::SensorInner;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What identifies a metric, as in the Java clients: name, group and tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName {
    /// `producer-metrics`, `consumer-fetch-manager-metrics` and so on.
    pub group: Cow<'static, str>,
    /// `record-send-rate` and so on.
    pub name: Cow<'static, str>,
    /// `client-id`, and where they apply `node-id`, `topic`, `partition`.
    pub tags: BTreeMap<Cow<'static, str>, String>,
}

/// A metric's value when the snapshot was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValue {
    /// A number; NaN where nothing was measured in the last windows.
    Double(f64),
    /// A text, such as a version.
    Text(String),
}

impl MetricValue {
    /// The number, unless it is a text.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            MetricValue::Double(value) => Some(*value),
            MetricValue::Text(_) => None,
        }
    }
}

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricValue::Double(value) => write!(f, "{value}"),
            MetricValue::Text(text) => f.write_str(text),
        }
    }
}

/// A metric and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What it measures.
    pub name: MetricName,
    /// What it measured.
    pub value: MetricValue,
    /// Whether it counts up from the start, so that the difference of two snapshots says what happened between them.
    pub is_total: bool,
}

/// How much is recorded (`metrics.recording.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum RecordingLevel {
    /// The usual metrics.
    #[default]
    Info,
    /// Also what costs more than it usually tells.
    Debug,
    /// All.
    Trace,
}

/// How metrics are sampled.
#[derive(Debug, Clone)]
pub struct MetricsOptions {
    /// `metrics.sample.window.ms`, 30 s.
    pub window: Duration,
    /// `metrics.num.samples`, 2.
    pub samples: usize,
    /// `metrics.recording.level`, INFO.
    pub level: RecordingLevel,
}

impl MetricsOptions {
    /// From a client's configs.
    pub fn from_configs(configs: &Configs) -> MetricsOptions {
        let level = match configs.text("metrics.recording.level").as_deref() {
            Some("DEBUG") => RecordingLevel::Debug,
            Some("TRACE") => RecordingLevel::Trace,
            _ => RecordingLevel::Info,
        };
        MetricsOptions {
            window: configs.ms("metrics.sample.window.ms").unwrap_or(Duration::from_secs(30)),
            samples: configs.size("metrics.num.samples").unwrap_or(2),
            level,
        }
    }
}

/// A registry; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Registry>);

pub(crate) struct Registry {
    env: Env,
    options: MetricsOptions,
    /// `producer`, `consumer`, `admin-client`; empty for what the connections count, which takes its reader's.
    prefix: &'static str,
    client_id: String,
    sources: Mutex<BTreeMap<MetricName, Source>>,
    /// Shown here as well, under this registry's prefix.
    shared: Option<Metrics>,
}

enum Source {
    Sensor(Weak<SensorInner>),
    Gauge(Box<dyn Fn() -> MetricValue + Send + Sync>),
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.sources.lock().len();
        f.debug_struct("Registry").field("prefix", &self.prefix).field("metrics", &metrics).finish_non_exhaustive()
    }
}

impl Metrics {
    /// A registry for the groups that begin with `prefix`, and `shared` under that prefix.
    pub(crate) fn new(
        env: &Env,
        options: &MetricsOptions,
        prefix: &'static str,
        client_id: &str,
        shared: Option<Metrics>,
    ) -> Metrics {
        Metrics(Arc::new(Registry {
            env: env.clone(),
            options: options.clone(),
            prefix,
            client_id: client_id.to_owned(),
            sources: Mutex::default(),
            shared,
        }))
    }

    /// The registry, if it is still there, for whoever must not keep it.
    pub(crate) fn downgrade(&self) -> Weak<Registry> {
        Arc::downgrade(&self.0)
    }

    /// The way back from [`Metrics::downgrade`].
    pub(crate) fn upgrade(weak: &Weak<Registry>) -> Option<Metrics> {
        weak.upgrade().map(Metrics)
    }

    /// `producer-metrics` where the registry's prefix is `producer` and `suffix` is `-metrics`.
    pub(crate) fn group(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.0.prefix)
    }

    /// A name in `group` with the tag `client-id` and `tags`.
    pub(crate) fn name(&self, name: &'static str, group: &str, tags: &[(&'static str, &str)]) -> MetricName {
        let client_id = (Cow::Borrowed("client-id"), self.0.client_id.clone());
        let tags = tags.iter().map(|(key, value)| (Cow::Borrowed(*key), (*value).to_owned()));
        MetricName {
            group: Cow::Owned(group.to_owned()),
            name: Cow::Borrowed(name),
            tags: tags.chain([client_id]).collect(),
        }
    }

    /// A sensor whose `stats` show in `group` under these names and `tags`; the one that shows there already, if any.
    pub(crate) fn sensor(&self, group: &str, tags: &[(&'static str, &str)], stats: &[(&'static str, Stat)]) -> Sensor {
        self.sensor_at(RecordingLevel::Info, group, tags, stats)
    }

    /// As [`Metrics::sensor`], which records only from `level` on.
    pub(crate) fn sensor_at(
        &self,
        level: RecordingLevel,
        group: &str,
        tags: &[(&'static str, &str)],
        stats: &[(&'static str, Stat)],
    ) -> Sensor {
        let metrics: Vec<(MetricName, Stat)> =
            stats.iter().map(|(name, stat)| (self.name(name, group, tags), *stat)).collect();
        let mut sources = self.0.sources.lock();
        if let Some((first, _)) = metrics.first()
            && let Some(Source::Sensor(sensor)) = sources.get(first)
            && let Some(sensor) = sensor.upgrade()
        {
            return Sensor(sensor);
        }
        let MetricsOptions { window, samples, level: recorded } = self.0.options;
        let sensor = Sensor::new(self.0.env.clone(), level <= recorded, window, samples, metrics);
        for (name, _) in &sensor.0.metrics {
            sources.insert(name.clone(), Source::Sensor(Arc::downgrade(&sensor.0)));
        }
        sensor
    }

    /// A metric that is asked for when a snapshot is taken. It stays until the registry is dropped,
    /// and must not hold what holds the registry.
    pub(crate) fn gauge(&self, name: MetricName, read: impl Fn() -> f64 + Send + Sync + 'static) {
        let read = Box::new(move || MetricValue::Double(read()));
        self.0.sources.lock().insert(name, Source::Gauge(read));
    }

    /// A metric whose value is a text that does not change.
    pub(crate) fn text(&self, name: MetricName, text: impl Into<String>) {
        let text = MetricValue::Text(text.into());
        self.0.sources.lock().insert(name, Source::Gauge(Box::new(move || text.clone())));
    }

    /// All metrics as they are now, by group, name and tags.
    pub(crate) fn snapshot(&self) -> Vec<Metric> {
        let mut found = self.read(self.0.prefix);
        if let Some(shared) = &self.0.shared {
            found.extend(shared.read(self.0.prefix));
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        found
    }

    fn read(&self, prefix: &str) -> Vec<Metric> {
        let own = self.0.prefix;
        let named = |name: &MetricName| {
            let mut name = name.clone();
            if own.is_empty() {
                name.group = Cow::Owned(format!("{prefix}{}", name.group));
            }
            name
        };
        let mut sensors: Vec<Arc<SensorInner>> = Vec::new();
        let mut found = Vec::new();
        self.0.sources.lock().retain(|name, source| match source {
            Source::Sensor(sensor) => match sensor.upgrade() {
                // Each once, at the first of its metrics.
                Some(sensor) if sensor.metrics.first().is_some_and(|(first, _)| first == name) => {
                    sensors.push(sensor);
                    true
                }
                Some(_) => true,
                None => false,
            },
            Source::Gauge(read) => {
                found.push(Metric { name: named(name), value: read(), is_total: false });
                true
            }
        });
        for sensor in sensors {
            let stats: Vec<bool> =
                sensor.metrics.iter().map(|(_, stat)| matches!(stat, Stat::Total | Stat::CountTotal)).collect();
            let measured = sensor.measure().zip(stats);
            found.extend(measured.map(|((name, value), is_total)| Metric { name: named(name), value, is_total }));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(window_ms: u64, prefix: &'static str, shared: Option<Metrics>) -> Metrics {
        let options =
            MetricsOptions { window: Duration::from_millis(window_ms), samples: 2, level: RecordingLevel::Info };
        Metrics::new(&Env::memory(), &options, prefix, "c1", shared)
    }

    fn value(metrics: &Metrics, name: &str) -> f64 {
        let found = metrics.snapshot().into_iter().find(|metric| metric.name.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).value.as_f64().unwrap()
    }

    const ALL: &[(&str, Stat)] = &[
        ("x-avg", Stat::Avg),
        ("x-max", Stat::Max),
        ("x-min", Stat::Min),
        ("x-rate", Stat::Rate),
        ("x-count-rate", Stat::CountRate),
        ("x-total", Stat::Total),
        ("x-count", Stat::CountTotal),
    ];

    #[test]
    fn every_stat_of_the_same_events() {
        let metrics = registry(30_000, "producer", None);
        let sensor = metrics.sensor("producer-metrics", &[], ALL);
        assert!(value(&metrics, "x-avg").is_nan() && value(&metrics, "x-max").is_nan());
        assert_eq!(value(&metrics, "x-rate"), 0.0);
        sensor.record(2.0);
        sensor.record(4.0);
        sensor.record_many(30.0, 3.0, 9.0, 11.0, Duration::ZERO);
        for (name, expected) in [("x-avg", 7.2), ("x-max", 11.0), ("x-min", 2.0), ("x-total", 36.0), ("x-count", 5.0)] {
            assert_eq!(value(&metrics, name), expected, "{name}");
        }
        // One of two windows is assumed to have passed, so that a rate does not start at infinity.
        let rate = value(&metrics, "x-rate");
        assert!(rate > 1.0 && rate <= 36.0 / 30.0, "{rate}");
        let rate = value(&metrics, "x-count-rate");
        assert!(rate > 0.1 && rate <= 5.0 / 30.0, "{rate}");
    }

    #[tokio::test]
    async fn events_leave_with_their_window_and_totals_stay() {
        let env = Env::memory();
        let options = MetricsOptions { window: Duration::from_millis(2), samples: 2, level: RecordingLevel::Info };
        let metrics = Metrics::new(&env, &options, "consumer", "c1", None);
        let sensor = metrics.sensor("g", &[], ALL);
        sensor.record(100.0);
        let recorded = env.monotonic();
        while env.monotonic() - recorded < Duration::from_millis(8) {
            env.sleep(Duration::from_millis(1)).await;
        }
        assert!(value(&metrics, "x-max").is_nan());
        assert_eq!(value(&metrics, "x-total"), 100.0);
        sensor.record(1.0);
        assert_eq!(value(&metrics, "x-total"), 101.0);
    }

    #[test]
    fn a_sensor_is_found_again_by_its_name_and_gone_with_its_last_holder() {
        let metrics = registry(1000, "consumer", None);
        let one = metrics.sensor("g", &[("topic", "a")], ALL);
        let same = metrics.sensor("g", &[("topic", "a")], ALL);
        let other = metrics.sensor("g", &[("topic", "b")], ALL);
        one.count();
        same.count();
        other.count();
        let totals = || {
            let totals = metrics.snapshot().into_iter().filter(|metric| metric.name.name == "x-total");
            totals.map(|m| (m.name.tags["topic"].clone(), m.value.as_f64().unwrap(), m.is_total)).collect::<Vec<_>>()
        };
        assert_eq!(totals(), [("a".to_owned(), 2.0, true), ("b".to_owned(), 1.0, true)]);
        drop((one, same));
        assert_eq!(totals(), [("b".to_owned(), 1.0, true)]);
        assert_eq!(metrics.snapshot()[0].name.tags["client-id"], "c1");
    }

    #[test]
    fn shared_metrics_show_under_the_readers_prefix() {
        let shared = registry(1000, "", None);
        let requests = shared.sensor("-metrics", &[], &[("request-total", Stat::CountTotal)]);
        requests.count();
        for prefix in ["producer", "admin-client"] {
            let metrics = registry(1000, prefix, Some(shared.clone()));
            let name = metrics.name("waiting", &metrics.group("-metrics"), &[]);
            metrics.gauge(name, || 3.0);
            let names: Vec<String> =
                metrics.snapshot().iter().map(|m| format!("{}/{}", m.name.group, m.name.name)).collect();
            assert_eq!(names, [format!("{prefix}-metrics/request-total"), format!("{prefix}-metrics/waiting")]);
        }
    }

    #[test]
    fn below_its_level_nothing_is_recorded() {
        let metrics = registry(1000, "consumer", None);
        let sensor = metrics.sensor_at(RecordingLevel::Debug, "g", &[], ALL);
        sensor.count();
        assert_eq!(value(&metrics, "x-total"), 0.0);
    }
}
