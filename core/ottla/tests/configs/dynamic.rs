//! IncrementalAlterConfigs: what it changes holds from the next request on, and after a restart.

use crate::support::*;
use ottla_model::{Compression, ErrorCode};

#[tokio::test]
pub async fn a_topic_config_changes_without_a_restart() {
    let node = start(&[]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.produce(batch(now_ms(), &[0; 1000])).await, ErrorCode::None);
    assert_eq!(node.alter(Some(TOPIC), "max.message.bytes", "500").await, ErrorCode::None);
    assert_eq!(node.produce(batch(now_ms(), &[0; 1000])).await, ErrorCode::MessageTooLarge);
    assert_eq!(node.alter(Some(TOPIC), "cleanup.policy", "compact").await, ErrorCode::None);
    assert_eq!(node.produce(batch(now_ms(), b"no key")).await, ErrorCode::InvalidRecord);
    node.close().await;
}

#[tokio::test]
pub async fn a_broker_config_changes_for_all_topics_that_do_not_override_it() {
    let node = start(&[]).await;
    node.create(TOPIC, 1, &[]).await;
    node.create("own", 1, &[("max.message.bytes", "2000")]).await;
    assert_eq!(node.alter(None, "message.max.bytes", "500").await, ErrorCode::None);
    assert_eq!(node.produce(batch(now_ms(), &[0; 1000])).await, ErrorCode::MessageTooLarge);
    let own = node.produce_to("own", 0, batch(now_ms(), &[0; 1000])).await;
    assert_eq!(own.error_code, ErrorCode::None.code());
    assert_eq!(node.alter(None, "compression.type", "zstd").await, ErrorCode::None);
    assert_eq!(node.produce(batch(now_ms(), &[0; 100])).await, ErrorCode::None);
    assert_eq!(node.first_batch().await.compression().expect("a codec"), Compression::Zstd);
    node.close().await;
}

#[tokio::test]
pub async fn it_holds_after_a_restart() {
    let folder = Folder::new();
    let node = start_in(&folder, &[("message.max.bytes", "5000")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.alter(None, "message.max.bytes", "500").await, ErrorCode::None);
    node.close().await;
    let node = start_in(&folder, &[("message.max.bytes", "5000")]).await;
    assert_eq!(node.produce(batch(now_ms(), &[0; 1000])).await, ErrorCode::MessageTooLarge);
    node.close().await;
}

#[tokio::test]
pub async fn what_only_a_restart_can_change_is_refused() {
    let node = start(&[]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.alter(None, "num.partitions", "3").await, ErrorCode::InvalidRequest);
    // Kafka changes this one; here it is not taken, rather than taken without effect.
    assert_eq!(node.alter(None, "listeners", "PLAINTEXT://127.0.0.1:0").await, ErrorCode::InvalidRequest);
    assert_eq!(node.alter(None, "message.max.bytes", "many").await, ErrorCode::InvalidRequest);
    assert_eq!(node.alter(Some(TOPIC), "retention.ms", "-2").await, ErrorCode::InvalidConfig);
    assert_eq!(node.alter(Some(TOPIC), "no.such.config", "1").await, ErrorCode::InvalidConfig);
    node.close().await;
}
