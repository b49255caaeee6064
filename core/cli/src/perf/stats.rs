//! Latencies in a histogram of constant size, and how results are printed.

use crate::error::CliError;
use crate::output;
use serde_json::{Value, json};
use std::time::Duration;

/// Steps between two powers of two: results are at most 1/64 too high.
const STEPS: usize = 64;
/// Microseconds up to 2^40, twelve days.
const POWERS: usize = 40;

/// Counts durations to the microsecond, in steps of 1.6 %.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum_us: u128,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; STEPS * POWERS], count: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let us = duration.as_micros() as u64;
        self.counts[bucket(us)] += 1;
        self.count += 1;
        self.sum_us += u128::from(us);
        self.max_us = self.max_us.max(us);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The duration in ms that a share of all does not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max_us) as f64 / 1000.0;
            }
        }
        self.max_us as f64 / 1000.0
    }

    pub fn mean_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 / 1000.0 }
    }

    pub fn json(&self) -> Value {
        let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
        json!({
            "samples": self.count,
            "mean": rounded(self.mean_ms()),
            "p50": rounded(self.quantile_ms(0.5)),
            "p95": rounded(self.quantile_ms(0.95)),
            "p99": rounded(self.quantile_ms(0.99)),
            "p999": rounded(self.quantile_ms(0.999)),
            "max": rounded(self.max_us as f64 / 1000.0),
        })
    }

    /// One line: `p50 0.12 ms, p95 …`.
    pub fn line(&self) -> String {
        format!(
            "mean {:.3} ms, p50 {:.3}, p95 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
            self.mean_ms(),
            self.quantile_ms(0.5),
            self.quantile_ms(0.95),
            self.quantile_ms(0.99),
            self.quantile_ms(0.999),
            self.max_us as f64 / 1000.0
        )
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    // The power of two below, then 64 equal steps up to the next.
    let power = us.ilog2() as usize - STEPS.ilog2() as usize;
    let step = (us >> power) as usize - STEPS;
    ((power + 1) * STEPS + step).min(STEPS * POWERS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS + 1) as u64) << power) - 1
}

/// What was moved in which time.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub records: u64,
    /// Keys and values.
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Throughput {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn json(&self) -> Value {
        json!({
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "recordsPerSecond": self.records_per_second().round(),
            "megabytesPerSecond": (self.megabytes_per_second() * 100.0).round() / 100.0,
        })
    }

    pub fn print(&self, verb: &str) -> Result<(), CliError> {
        output::line(&format!(
            "{verb} {} records, {:.1} MB, in {:.2} s: {} records/s, {:.1} MB/s",
            output::thousands(self.records),
            self.bytes as f64 / 1e6,
            self.elapsed.as_secs_f64(),
            output::thousands(self.records_per_second() as u64),
            self.megabytes_per_second()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_falls_into_them() {
        for us in (0..5000).chain([65_535, 65_536, 1 << 30, (1 << 30) + 12_345]) {
            let bucket = bucket(us);
            assert!(upper(bucket) >= us, "{us}");
            assert!(upper(bucket) <= us + us / STEPS as u64, "{us}");
            assert!(bucket == 0 || upper(bucket - 1) < us, "{us}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        assert!((histogram.quantile_ms(0.5) - 0.5).abs() < 0.01);
        assert!((histogram.quantile_ms(0.99) - 0.99).abs() < 0.02);
        assert_eq!(histogram.quantile_ms(1.0), 1.0);
        assert!((histogram.mean_ms() - 0.5005).abs() < 0.001);
    }
}
