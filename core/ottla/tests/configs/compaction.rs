//! When and how compacted topics are cleaned, on a clock that is moved.

use crate::support::*;
use bytes::Bytes;
use ottla::{Broker, VirtualClock};
use ottla_model::ErrorCode;
use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions, records};
use ottla_wire::{ClientConnection, ConnectOptions};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// `log.cleaner.backoff.ms`: the cleaner looks this often.
const BACKOFF: Duration = Duration::from_secs(15);

/// A broker with a compacted topic of segments of one batch, and its clock.
struct Cleaned {
    node: Node,
    clock: VirtualClock,
}

impl Cleaned {
    async fn start(configs: &[(&str, &str)], overrides: &[(&str, &str)]) -> Cleaned {
        let clock = VirtualClock::new();
        let builder = Broker::builder().virtual_clock(&clock).config("connections.max.idle.ms", "86400000000");
        let builder = builder.configs(configs.iter().copied());
        let broker = builder.start().await.expect("the broker starts");
        let options = ConnectOptions { client_id: "configs".into(), ..Default::default() };
        let connection = ClientConnection::connect(&broker.env(), broker.inproc_address(), &options).await;
        let node = Node { connection: connection.expect("the broker accepts"), broker };
        let mut all = vec![("cleanup.policy", "compact"), ("internal.segment.bytes", "150")];
        all.extend_from_slice(overrides);
        node.create(TOPIC, 1, &all).await;
        Cleaned { node, clock }
    }

    /// With one config, set on the broker or on the topic.
    async fn with(set: Set<'_>) -> Cleaned {
        match set {
            Set::Broker(name, value) => Cleaned::start(&[(name, value)], &[]).await,
            Set::Topic(name, value) => Cleaned::start(&[], &[(name, value)]).await,
        }
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time).await.expect("comes to rest");
    }

    /// Produces one record; without a value, a tombstone. The time is that of the clock.
    async fn put(&self, key: &str, value: Option<&str>) {
        let value = value.map(str::as_bytes);
        assert_eq!(self.node.produce(self.batch(&[(key, value)])).await, ErrorCode::None);
    }

    fn batch(&self, records: &[(&str, Option<&[u8]>)]) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let none: &[(&[u8], Option<&[u8]>)] = &[];
        for (key, value) in records {
            let appended = builder.append(self.clock.now_ms(), Some(key.as_bytes()), *value, none);
            appended.expect("a small record");
        }
        builder.build().expect("a small batch")
    }

    /// Three values of a key and one of another, in four segments, the last of which is active.
    async fn fill(&self) {
        let value = "v".repeat(50);
        for key in ["a", "a", "a", "b"] {
            self.put(key, Some(&value)).await;
        }
    }

    /// The offsets that are there.
    async fn offsets(&self) -> Vec<i64> {
        let (mut offsets, mut next) = (Vec::new(), 0);
        loop {
            // One answer is of one segment.
            let found = self.node.read_from(next).await;
            let bytes = found.records.expect("records").to_bytes().expect("they are readable");
            for batch in BatchIter::new(bytes).map(|batch| batch.expect("it is sound")) {
                next = batch.header.next_offset();
                let records = records(&batch.bytes).expect("readable");
                offsets.extend(records.map(|record| record.expect("a sound record").offset));
            }
            if next >= found.high_watermark {
                return offsets;
            }
        }
    }

    async fn is_clean(&self) -> bool {
        let offsets = self.offsets().await;
        assert!(offsets == [2, 3] || offsets == [0, 1, 2, 3], "{offsets:?}");
        offsets == [2, 3]
    }

    async fn close(self) {
        self.node.close().await;
    }
}

#[tokio::test]
pub async fn log_cleaner_backoff_ms() {
    for (configs, backoff) in [(&[][..], BACKOFF), (&[("log.cleaner.backoff.ms", "60000")][..], 60 * SECOND)] {
        let it = Cleaned::start(configs, &[]).await;
        it.fill().await;
        it.advance(backoff - SECOND).await;
        assert!(!it.is_clean().await);
        it.advance(SECOND).await;
        assert!(it.is_clean().await);
        it.close().await;
    }
    // It is dynamic.
    let it = Cleaned::start(&[("log.cleaner.backoff.ms", "86400000")], &[]).await;
    it.fill().await;
    it.advance(HOUR).await;
    assert!(!it.is_clean().await);
    assert_eq!(it.node.alter(None, "log.cleaner.backoff.ms", "5000").await, ErrorCode::None);
    it.advance(BACKOFF).await;
    assert!(it.is_clean().await);
    it.close().await;
}

#[tokio::test]
pub async fn log_cleaner_enable() {
    let it = Cleaned::start(&[("log.cleaner.enable", "false")], &[]).await;
    it.fill().await;
    it.advance(HOUR).await;
    assert!(!it.is_clean().await);
    it.close().await;
}

#[tokio::test]
pub async fn log_cleaner_threads() {
    let it = Cleaned::start(&[("log.cleaner.threads", "0")], &[]).await;
    it.fill().await;
    it.advance(HOUR).await;
    assert!(!it.is_clean().await);
    // Kafka starts and stops threads while it runs.
    for threads in ["3", "1"] {
        assert_eq!(it.node.alter(None, "log.cleaner.threads", threads).await, ErrorCode::None);
        it.advance(BACKOFF).await;
        assert!(it.is_clean().await, "{threads}");
    }
    it.close().await;
}

/// More keys than a small memory holds: the first round takes in the first of them only, and what is left is too little
/// for a second one.
async fn early_keys_stay(configs: &[(&str, &str)]) -> bool {
    const KEYS: usize = 60_000;
    let it = Cleaned::start(configs, &[("internal.segment.bytes", "20000")]).await;
    let keys: Vec<String> = (0..KEYS).chain(0..10).map(|key| key.to_string()).collect();
    for keys in keys.chunks(1000) {
        let records: Vec<(&str, Option<&[u8]>)> = keys.iter().map(|key| (key.as_str(), Some(&b""[..]))).collect();
        assert_eq!(it.node.produce(it.batch(&records)).await, ErrorCode::None);
    }
    for _ in 0..2 {
        // For the next segment.
        assert_eq!(it.node.produce(it.batch(&[("last", Some(&[0; 15_000]))])).await, ErrorCode::None);
    }
    it.advance(BACKOFF).await;
    let first = it.node.first_batch().await;
    it.close().await;
    first.count == 1000
}

#[tokio::test]
pub async fn log_cleaner_dedupe_buffer() {
    assert!(!early_keys_stay(&[]).await);
    assert!(early_keys_stay(&[("log.cleaner.dedupe.buffer.size", "1048600")]).await);
    let large = ("log.cleaner.dedupe.buffer.size", "2097152");
    assert!(!early_keys_stay(&[large]).await);
    assert!(early_keys_stay(&[large, ("log.cleaner.io.buffer.load.factor", "0.4")]).await);
}

/// What Kafka does not start with either.
#[tokio::test]
async fn a_thread_needs_a_megabyte() {
    for configs in [
        [("log.cleaner.dedupe.buffer.size", "1048576"), ("log.cleaner.threads", "1")],
        [("log.cleaner.dedupe.buffer.size", "4000000"), ("log.cleaner.threads", "4")],
    ] {
        let error = Broker::builder().configs(configs).start().await.expect_err("too small").to_string();
        assert!(error.contains("log.cleaner.dedupe.buffer.size") && error.contains("1 MB"), "{error}");
    }
}

#[tokio::test]
pub async fn log_cleaner_io_max_bytes_per_second() {
    let rate = ("log.cleaner.io.max.bytes.per.second", "2.0");
    let it = Cleaned::start(&[rate], &[]).await;
    it.fill().await;
    // Three segments of some 120 bytes, read twice, and one of them written.
    it.advance(BACKOFF + 200 * SECOND).await;
    assert!(!it.is_clean().await);
    // Produce and fetch went on; and a new rate holds at once.
    assert_eq!(it.node.alter(None, rate.0, "100.0").await, ErrorCode::None);
    it.advance(10 * SECOND).await;
    assert!(it.is_clean().await);
    it.close().await;
}

#[tokio::test]
pub async fn delete_retention_ms() {
    for set in [Set::Broker("log.cleaner.delete.retention.ms", "3600000"), Set::Topic("delete.retention.ms", "3600000")]
    {
        let it = Cleaned::with(set).await;
        let value = "v".repeat(60);
        it.put("a", Some(&value)).await;
        it.put("a", None).await;
        it.put("b", Some(&value)).await;
        it.advance(BACKOFF).await;
        assert_eq!(it.offsets().await, [1, 2], "{set:?}");
        // A cleaning before its hour is over leaves the tombstone, one after it does not.
        it.advance(HOUR - 2 * BACKOFF).await;
        for _ in 0..4 {
            it.put("b", Some(&value)).await;
        }
        it.advance(BACKOFF).await;
        assert_eq!(it.offsets().await, [1, 5, 6], "{set:?}");
        it.advance(BACKOFF).await;
        for _ in 0..4 {
            it.put("b", Some(&value)).await;
        }
        it.advance(BACKOFF).await;
        assert_eq!(it.offsets().await, [9, 10], "{set:?}");
        it.close().await;
    }
}

#[tokio::test]
pub async fn min_cleanable_dirty_ratio() {
    for set in [Set::Broker("log.cleaner.min.cleanable.ratio", "1.0"), Set::Topic("min.cleanable.dirty.ratio", "1.0")] {
        let it = Cleaned::with(set).await;
        it.fill().await;
        it.advance(HOUR).await;
        // All of it is dirty, which is not more than all.
        assert!(!it.is_clean().await, "{set:?}");
        let altered = match set {
            Set::Broker(name, _) => it.node.alter(None, name, "0.9").await,
            Set::Topic(name, _) => it.node.alter(Some(TOPIC), name, "0.9").await,
        };
        assert_eq!(altered, ErrorCode::None);
        it.advance(BACKOFF).await;
        assert!(it.is_clean().await, "{set:?}");
        it.close().await;
    }
}

#[tokio::test]
pub async fn min_compaction_lag_ms() {
    for set in
        [Set::Broker("log.cleaner.min.compaction.lag.ms", "3600000"), Set::Topic("min.compaction.lag.ms", "3600000")]
    {
        let it = Cleaned::with(set).await;
        it.fill().await;
        it.advance(HOUR - SECOND).await;
        assert!(!it.is_clean().await, "{set:?}");
        it.advance(BACKOFF).await;
        assert!(it.is_clean().await, "{set:?}");
        it.close().await;
    }
}

#[tokio::test]
pub async fn max_compaction_lag_ms() {
    for set in
        [Set::Broker("log.cleaner.max.compaction.lag.ms", "3600000"), Set::Topic("max.compaction.lag.ms", "3600000")]
    {
        let it = Cleaned::with(set).await;
        assert_eq!(it.node.alter(Some(TOPIC), "min.cleanable.dirty.ratio", "1.0").await, ErrorCode::None);
        it.fill().await;
        it.advance(HOUR).await;
        assert!(!it.is_clean().await, "{set:?}");
        it.advance(BACKOFF).await;
        assert!(it.is_clean().await, "{set:?}");
        it.close().await;
    }
}
