//! One measured thing and the numbers made of it: averages and rates over the last windows, totals for ever.
//!
//! An event costs one uncontended lock and no allocation. The windows are Kafka's: `metrics.num.samples` of
//! `metrics.sample.window.ms` each, and a rate assumes at least all but one of them to have passed.

use super::{MetricName, MetricValue};
use ottla_env::Env;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What is made of a sensor's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stat {
    /// The mean in the windows; NaN without events.
    Avg,
    /// The largest in the windows; NaN without events.
    Max,
    /// The smallest in the windows; NaN without events.
    Min,
    /// The sum per second in the windows.
    Rate,
    /// Events per second in the windows.
    CountRate,
    /// The sum since the start.
    Total,
    /// Events since the start.
    CountTotal,
}

/// Measures one thing; clones measure the same. Its metrics are gone once the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Sensor(pub(super) Arc<SensorInner>);

#[derive(Debug)]
pub(super) struct SensorInner {
    env: Env,
    enabled: bool,
    window: Duration,
    windows: usize,
    state: Mutex<State>,
    /// What the registry shows of it.
    pub(super) metrics: Vec<(MetricName, Stat)>,
}

#[derive(Debug, Default)]
struct State {
    /// At most one more than `windows`, for the one that overlaps the past.
    samples: Vec<Sample>,
    current: usize,
    count: f64,
    total: f64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: Duration,
    last_event: Duration,
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Sample {
    fn new(now: Duration) -> Sample {
        Sample { start: now, last_event: now, count: 0.0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Sensor {
    pub(super) fn new(
        env: Env,
        enabled: bool,
        window: Duration,
        windows: usize,
        metrics: Vec<(MetricName, Stat)>,
    ) -> Sensor {
        let windows = windows.max(1);
        let state = Mutex::new(State { samples: Vec::with_capacity(windows + 1), ..State::default() });
        Sensor(Arc::new(SensorInner { env, enabled, window, windows, state, metrics }))
    }

    /// One event of this value.
    pub(crate) fn record(&self, value: f64) {
        if self.0.enabled {
            self.record_at(value, self.0.env.monotonic());
        }
    }

    /// One event of this value, `now` by the monotonic clock: for those who tell several sensors of it, as a look at the clock
    /// costs more than all the rest.
    pub(crate) fn record_at(&self, value: f64, now: Duration) {
        self.record_many(value, 1.0, value, value, now);
    }

    /// One event without a value of its own.
    pub(crate) fn count(&self) {
        self.record(1.0);
    }

    /// `count` events at once, which sum up to `sum` and lie between `min` and `max`.
    pub(crate) fn record_many(&self, sum: f64, count: f64, min: f64, max: f64, now: Duration) {
        let inner = &*self.0;
        if !inner.enabled {
            return;
        }
        let mut state = inner.state.lock();
        let state = &mut *state;
        state.count += count;
        state.total += sum;
        if state.samples.is_empty() {
            state.samples.push(Sample::new(now));
        } else if now.saturating_sub(state.samples[state.current].start) >= inner.window {
            state.current = (state.current + 1) % (inner.windows + 1);
            match state.samples.get_mut(state.current) {
                Some(oldest) => *oldest = Sample::new(now),
                None => {
                    state.samples.push(Sample::new(now));
                    state.current = state.samples.len() - 1;
                }
            }
        }
        let sample = &mut state.samples[state.current];
        sample.count += count;
        sample.sum += sum;
        sample.min = sample.min.min(min);
        sample.max = sample.max.max(max);
        sample.last_event = now;
    }
}

impl SensorInner {
    /// The metrics as they are now.
    pub(super) fn measure(&self) -> impl Iterator<Item = (&MetricName, MetricValue)> {
        let now = self.env.monotonic();
        let mut state = self.state.lock();
        let age = self.window.saturating_mul(self.windows as u32);
        for sample in &mut state.samples {
            if now.saturating_sub(sample.last_event) >= age {
                *sample = Sample::new(now);
            }
        }
        let mut sum = Sample::new(state.samples.iter().map(|sample| sample.start).min().unwrap_or(now));
        for sample in &state.samples {
            sum.count += sample.count;
            sum.sum += sample.sum;
            sum.min = sum.min.min(sample.min);
            sum.max = sum.max.max(sample.max);
        }
        let mut elapsed = now.saturating_sub(sum.start);
        let full = elapsed.as_millis() / self.window.as_millis().max(1);
        let missing = (self.windows as u128 - 1).saturating_sub(full) as u32;
        elapsed = (elapsed + self.window.saturating_mul(missing)).max(Duration::from_millis(1));
        let (count, total) = (state.count, state.total);
        drop(state);
        let some = move |value: f64| if sum.count > 0.0 { value } else { f64::NAN };
        self.metrics.iter().map(move |(name, stat)| {
            let value = match stat {
                Stat::Avg => some(sum.sum / sum.count),
                Stat::Max => some(sum.max),
                Stat::Min => some(sum.min),
                Stat::Rate => sum.sum / elapsed.as_secs_f64(),
                Stat::CountRate => sum.count / elapsed.as_secs_f64(),
                Stat::Total => total,
                Stat::CountTotal => count,
            };
            (name, MetricValue::Double(value))
        })
    }
}
