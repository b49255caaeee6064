//! The rows of the table: what each is called, its unit and the goal. One row here is the only place a goal exists.

/// What Ottla's value is held against.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this share of the peer's value.
    AtMostTimes(f64),
    /// At least this multiple of the peer's value.
    AtLeastTimes(f64),
    /// At most this, in the row's unit.
    AtMost(f64),
    /// At least this, in the row's unit.
    AtLeast(f64),
    /// Shown without a goal.
    Open,
}

impl Goal {
    pub fn text(self, unit: &str) -> String {
        match self {
            Goal::AtMostTimes(x) => format!("≤ {x}×"),
            Goal::AtLeastTimes(x) => format!("≥ {x}×"),
            Goal::AtMost(x) => format!("≤ {x} {unit}"),
            Goal::AtLeast(x) => format!("≥ {x} {unit}"),
            Goal::Open => "–".into(),
        }
    }

    /// Whether the goal is reached; None when a value is missing.
    pub fn reached(self, peer: Option<f64>, ottla: Option<f64>) -> Option<bool> {
        let ottla = ottla?;
        match self {
            Goal::AtMostTimes(x) => Some(ottla <= x * peer?),
            Goal::AtLeastTimes(x) => Some(ottla >= x * peer?),
            Goal::AtMost(x) => Some(ottla <= x),
            Goal::AtLeast(x) => Some(ottla >= x),
            Goal::Open => None,
        }
    }
}

#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
}

const fn row(name: &'static str, title: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { name, title, unit, goal }
}

pub const ROWS: &[Row] = &[
    row("produce-1k", "broker CPU, produce 1 KiB, batches of 256 KiB", "s/GB", Goal::AtMostTimes(0.5)),
    row("produce-100", "broker CPU, produce 100 B, batches of 256 KiB", "s/GB", Goal::AtMostTimes(0.4)),
    row("consume-1k", "broker CPU, consume 1 KiB, page cache hot", "s/GB", Goal::AtMostTimes(0.7)),
    row("lz4", "broker CPU, lz4 passed through, produce and consume", "s/GB", Goal::AtMostTimes(0.5)),
    row("zstd", "broker CPU, zstd passed through, produce and consume", "s/GB", Goal::AtMostTimes(0.5)),
    row("rate-500k", "broker CPU at 500 k rec/s of 100 B, franz-go", "cores", Goal::AtMostTimes(0.4)),
    row("ack-p50", "produce → ack, one at a time, acks=all, franz-go, p50", "µs", Goal::AtMostTimes(0.5)),
    row("ack-p99", "the same, p99", "µs", Goal::AtMostTimes(0.5)),
    row("trip-p50", "produce → consumed, one at a time, franz-go, p50", "µs", Goal::AtMostTimes(0.5)),
    row("trip-p99", "the same, p99", "µs", Goal::AtMostTimes(0.5)),
    row("e2e-p99", "end to end at 100 k rec/s of 100 B, franz-go, p99", "ms", Goal::AtMost(4.0)),
    row("spread-1000", "1000 new partitions, produce over all, franz-go", "k rec/s", Goal::AtLeastTimes(5.0)),
    row("start-ms", "process start → first acknowledged record", "ms", Goal::AtMost(20.0)),
    row("start-cpu", "the same, CPU", "s", Goal::Open),
    row("rss-idle", "resident memory, idle", "MiB", Goal::AtMost(12.0)),
    row("rss-load", "resident memory, after all rows above", "MiB", Goal::AtMost(40.0)),
    row("create-1000", "1000 partitions: create, first acknowledgement on all", "s", Goal::AtMost(0.5)),
    row("restart-clean", "1000 partitions: clean restart, all acknowledged", "s", Goal::AtMost(0.15)),
    row("restart-kill", "1000 partitions: restart after kill -9, all acknowledged", "s", Goal::AtMost(0.25)),
    row("binary", "binary, stripped (the peer: its jars, without a JDK)", "MB", Goal::AtMost(15.0)),
    // The Rust client (`clients`); the peer's column is what the title says.
    row("own-produce-100", "client CPU per million, produce 100 B; peer: rskafka", "s", Goal::AtMostTimes(0.8)),
    row("own-produce-1k", "the same, 1 KiB", "s", Goal::AtMostTimes(0.8)),
    row("own-consume-100", "client CPU per million, consume 100 B; peer: rskafka", "s", Goal::AtMostTimes(0.8)),
    row("own-consume-1k", "the same, 1 KiB", "s", Goal::AtMostTimes(0.8)),
    row("own-c-produce-100", "client CPU per million, produce 100 B; peer: librdkafka", "s", Goal::AtMostTimes(0.6)),
    row("own-c-produce-1k", "the same, 1 KiB", "s", Goal::AtMostTimes(0.6)),
    row("own-c-consume-100", "client CPU per million, consume 100 B; peer: librdkafka", "s", Goal::AtMostTimes(0.6)),
    row("own-c-consume-1k", "the same, 1 KiB", "s", Goal::AtMostTimes(0.6)),
    row("own-ack-p50", "produce → ack, own client; peer: franz-go on Apache Kafka, p50", "µs", Goal::AtMostTimes(0.25)),
    row("own-ack-p99", "the same, p99", "µs", Goal::AtMostTimes(0.25)),
    row("own-trip-p50", "produce → consumed, own client; peer as above, p50", "µs", Goal::AtMostTimes(0.25)),
    row("own-trip-p99", "the same, p99", "µs", Goal::AtMostTimes(0.25)),
    row("inproc-trip", "produce → consumed in process: times faster than loopback TCP", "×", Goal::AtLeast(5.0)),
    row("inproc-cpu", "CPU per record in process, as a share of loopback TCP's", "×", Goal::AtMost(0.7)),
    row("fork-ms", "a topic of 1 GiB on disk forked", "ms", Goal::AtMost(5.0)),
    row("fork-mib", "the disk that the fork takes", "MiB", Goal::AtMost(1.0)),
    // Measured by a program that embeds the engine (`in_process`).
    row("inproc-first", "in-process start → first consumed record, first in a process", "ms", Goal::AtMost(5.0)),
    row("inproc-warm", "the same, later ones", "ms", Goal::AtMost(1.0)),
    row("inproc-1000", "1000 brokers started and stopped in one process", "s", Goal::AtMost(10.0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_only_when_its_values_are_there() {
        assert_eq!(Goal::AtMostTimes(0.5).reached(Some(2.0), Some(1.0)), Some(true));
        assert_eq!(Goal::AtMostTimes(0.5).reached(None, Some(1.0)), None);
        assert_eq!(Goal::AtLeastTimes(5.0).reached(Some(1.0), Some(4.9)), Some(false));
        assert_eq!(Goal::AtMost(20.0).reached(None, Some(19.0)), Some(true));
        assert_eq!(Goal::Open.reached(Some(1.0), Some(1.0)), None);
    }

    #[test]
    fn names_are_unique() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
