//! What goes with time and size.

use crate::support::Set;
use crate::support::*;
use ottla_model::ErrorCode;

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Looks often; the default is five minutes, so that each test here shows this config too.
const OFTEN: (&str, &str) = ("log.retention.check.interval.ms", "20");

/// A record of two hours ago goes; a younger one in the next topic is still there then.
#[tokio::test]
pub async fn retention_ms() {
    let sets = [
        Set::Broker("log.retention.hours", "1"),
        Set::Broker("log.retention.minutes", "60"),
        Set::Broker("log.retention.ms", "3600000"),
        Set::Topic("retention.ms", "3600000"),
    ];
    for set in sets {
        let node = with(set, &[OFTEN]).await;
        let overrides: &[(&str, &str)] = match &set {
            Set::Topic(name, value) => &[(*name, *value)],
            Set::Broker(..) => &[],
        };
        node.create("young", 1, overrides).await;
        node.produce_to("young", 0, batch(now_ms() - 30 * MINUTE_MS, b"value")).await;
        node.produce_at(now_ms() - 2 * HOUR_MS).await;
        eventually("the old record goes", async || node.log_start(TOPIC).await == 1).await;
        assert_eq!(node.log_start("young").await, 0, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn retention_bytes() {
    for set in [Set::Broker("log.retention.bytes", "2500"), Set::Topic("retention.bytes", "2500")] {
        let node = with(set, &[OFTEN]).await;
        assert_eq!(node.alter(Some(TOPIC), "internal.segment.bytes", "1000").await, ErrorCode::None);
        for _ in 0..6 {
            assert_eq!(node.produce(batch(now_ms(), &[0; 800])).await, ErrorCode::None);
        }
        // Six segments of some 870 bytes: three of them are more than 2500, so that is how much stays.
        eventually("the log shrinks", async || node.log_start(TOPIC).await == 3).await;
        node.close().await;
    }
}

/// A producer that was idle for long is forgotten: any sequence number is good then.
#[tokio::test]
pub async fn producer_id_expiration_ms() {
    let gap = async |node: &Node| node.produce(batch_by(7, 100)).await;
    let node = start(&[OFTEN]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.produce(batch_by(7, 0)).await, ErrorCode::None);
    assert_eq!(gap(&node).await, ErrorCode::OutOfOrderSequenceNumber);
    // The same on the running broker: the config is dynamic.
    assert_eq!(node.alter(None, "producer.id.expiration.ms", "1").await, ErrorCode::None);
    eventually("the producer is forgotten", async || gap(&node).await == ErrorCode::None).await;
    node.close().await;

    let node = start(&[OFTEN, ("producer.id.expiration.ms", "1")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.produce(batch_by(7, 0)).await, ErrorCode::None);
    eventually("the producer is forgotten", async || gap(&node).await == ErrorCode::None).await;
    node.close().await;
}
