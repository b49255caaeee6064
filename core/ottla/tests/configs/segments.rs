//! When a segment ends and how its indexes look: read off the files.

use crate::support::Set;
use crate::support::*;
use ottla_model::ErrorCode;

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

async fn rolls_after_two_batches(set: Set<'_>, size: usize) {
    let folder = Folder::new();
    let node = with_in(&folder, set, &[]).await;
    for _ in 0..2 {
        assert_eq!(node.produce(batch(now_ms(), &vec![0; size])).await, ErrorCode::None, "{set:?}");
    }
    assert_eq!(count(&folder.join("t-0"), ".log"), 2, "{set:?}");
    node.close().await;
}

#[tokio::test]
pub async fn segment_bytes() {
    rolls_after_two_batches(Set::Broker("log.segment.bytes", "1048576"), 700_000).await;
    rolls_after_two_batches(Set::Topic("segment.bytes", "1048576"), 700_000).await;
    rolls_after_two_batches(Set::Topic("internal.segment.bytes", "1000"), 700).await;
}

/// The time is that of the records: the second is two hours later than the first.
#[tokio::test]
pub async fn segment_ms() {
    let sets = [
        Set::Broker("log.roll.hours", "1"),
        Set::Broker("log.roll.ms", "3600000"),
        Set::Topic("segment.ms", "3600000"),
    ];
    for set in sets {
        let folder = Folder::new();
        let node = with_in(&folder, set, &[]).await;
        node.produce_at(now_ms() - 2 * HOUR_MS).await;
        node.produce_at(now_ms() - 2 * HOUR_MS + MINUTE_MS).await;
        assert_eq!(count(&folder.join("t-0"), ".log"), 1, "{set:?}");
        node.produce_at(now_ms()).await;
        assert_eq!(count(&folder.join("t-0"), ".log"), 2, "{set:?}");
        node.close().await;
    }
}

/// Records two minutes closer than the roll time: without jitter no partition rolls, with as much jitter as there is
/// time all but one in sixty do.
#[tokio::test]
pub async fn segment_jitter_ms() {
    let sets = [
        Set::Broker("log.roll.jitter.hours", "2"),
        Set::Broker("log.roll.jitter.ms", "7200000"),
        Set::Topic("segment.jitter.ms", "7200000"),
    ];
    for set in sets {
        let folder = Folder::new();
        let node = with_in(&folder, set, &[("log.roll.hours", "2")]).await;
        let mut rolled = 0;
        for turn in 0..10 {
            let topic = format!("jitter-{turn}");
            let overrides: &[(&str, &str)] = match &set {
                Set::Topic(name, value) => &[(*name, *value)],
                Set::Broker(..) => &[],
            };
            node.create(&topic, 1, overrides).await;
            // The first two are five hours apart: that rolls anyhow, into a segment with jitter of its own.
            for age_ms in [7 * HOUR_MS, 2 * HOUR_MS - 2 * MINUTE_MS, 0] {
                let answer = node.produce_to(&topic, 0, batch(now_ms() - age_ms, b"value")).await;
                assert_eq!(answer.error_code, ErrorCode::None.code());
            }
            rolled += count(&folder.join(&format!("{topic}-0")), ".log") - 2;
        }
        assert!(rolled > 0, "{set:?}");
        node.close().await;
    }
}

/// With room for one entry in the index each entry ends a segment.
#[tokio::test]
pub async fn segment_index_bytes() {
    for set in [Set::Broker("log.index.size.max.bytes", "12"), Set::Topic("segment.index.bytes", "12")] {
        let folder = Folder::new();
        let node = with_in(&folder, set, &[("log.index.interval.bytes", "1")]).await;
        for _ in 0..6 {
            node.produce_at(now_ms()).await;
        }
        assert!(count(&folder.join("t-0"), ".log") > 1, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn index_interval_bytes() {
    let entries = async |interval: &str, topic: bool| {
        let folder = Folder::new();
        let set = match topic {
            true => Set::Topic("index.interval.bytes", interval),
            false => Set::Broker("log.index.interval.bytes", interval),
        };
        let node = with_in(&folder, set, &[]).await;
        for _ in 0..10 {
            node.produce_at(now_ms()).await;
        }
        node.close().await;
        // A closed log's index has no room left over: eight bytes an entry.
        size_of_first(&folder.join("t-0"), ".index") / 8
    };
    for topic in [false, true] {
        assert_eq!(entries("4096", topic).await, 0);
        assert!(entries("1", topic).await >= 8);
    }
}
