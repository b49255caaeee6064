//! Topics: how they come and go, and what they take.

use crate::support::Set;
use crate::support::*;
use ottla_model::record_batch::TimestampType;
use ottla_model::{Compression, ErrorCode};
use ottla_protocol::DeleteTopicsRequest;
use ottla_protocol::delete_topics_request::DeleteTopicState;
use ottla_protocol::describe_topic_partitions_request::DescribeTopicPartitionsRequest;

const HOUR_MS: i64 = 60 * 60 * 1000;

async fn delete(node: &Node, topic: &str) -> ErrorCode {
    let topic = DeleteTopicState { name: Some(topic.into()), ..Default::default() };
    let deleted = node.ask(&DeleteTopicsRequest { topics: vec![topic], ..Default::default() }).await;
    ErrorCode::from_code(deleted.responses[0].error_code)
}

#[tokio::test]
pub async fn auto_create_topics_enable() {
    let node = start(&[("auto.create.topics.enable", "false")]).await;
    assert_eq!(node.topic("missing", true).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
    node.close().await;
    let node = start(&[]).await;
    assert_eq!(node.topic("missing", true).await.error_code, ErrorCode::None.code());
    node.close().await;
}

#[tokio::test]
pub async fn num_partitions() {
    let node = start(&[("num.partitions", "3")]).await;
    assert_eq!(node.topic("auto", true).await.partitions.len(), 3);
    node.create("asked", -1, &[]).await;
    assert_eq!(node.topic("asked", false).await.partitions.len(), 3);
    node.close().await;
}

#[tokio::test]
pub async fn default_replication_factor() {
    let node = start(&[("default.replication.factor", "2")]).await;
    assert_eq!(node.try_create(TOPIC, 1, &[]).await, ErrorCode::InvalidReplicationFactor);
    node.close().await;
}

#[tokio::test]
pub async fn delete_topic_enable() {
    let node = start(&[("delete.topic.enable", "false")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(delete(&node, TOPIC).await, ErrorCode::TopicDeletionDisabled);
    assert_eq!(node.topic(TOPIC, false).await.error_code, ErrorCode::None.code());
    node.close().await;
}

/// A deleted topic's folder stays, renamed, for the delay.
#[tokio::test]
pub async fn deleted_files_stay_for_the_delay() {
    for (delay_ms, renamed) in [("0", 0), ("3600000", 1)] {
        for set in [Set::Broker("log.segment.delete.delay.ms", delay_ms), Set::Topic("file.delete.delay.ms", delay_ms)]
        {
            let folder = Folder::new();
            let node = with_in(&folder, set, &[]).await;
            assert_eq!(delete(&node, TOPIC).await, ErrorCode::None);
            assert_eq!(count(folder.path(), "-delete"), renamed, "{set:?}");
            assert!(!names(folder.path()).contains(&format!("{TOPIC}-0")), "{set:?}");
            node.close().await;
        }
    }
}

#[tokio::test]
pub async fn max_message_bytes() {
    for set in [Set::Broker("message.max.bytes", "500"), Set::Topic("max.message.bytes", "500")] {
        let node = with(set, &[]).await;
        assert_eq!(node.produce(batch(now_ms(), &[0; 600])).await, ErrorCode::MessageTooLarge, "{set:?}");
        assert_eq!(node.produce(batch(now_ms(), &[0; 100])).await, ErrorCode::None, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn compression_type() {
    let codecs = [
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
        ("producer", Compression::None),
        ("uncompressed", Compression::None),
    ];
    for (name, codec) in codecs {
        for set in [Set::Broker("compression.type", name), Set::Topic("compression.type", name)] {
            let node = with(set, &[]).await;
            assert_eq!(node.produce(batch(now_ms(), &[7; 1000])).await, ErrorCode::None);
            let header = node.first_batch().await;
            assert_eq!(header.compression().expect("a codec"), codec, "{set:?}");
            assert_eq!(header.size_in_bytes() < 1000, codec != Compression::None, "{set:?}");
            node.close().await;
        }
    }
}

/// Text with some regularity, so that levels differ.
fn text() -> Vec<u8> {
    let mut state = 1u32;
    let mut text = Vec::new();
    while text.len() < 60_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("{:x}, ", state >> 22).as_bytes());
        text.extend_from_slice(b"the same words again and again ");
    }
    text
}

async fn stored_size(codec: &str, set: Set<'_>) -> usize {
    let node = with(set, &[("compression.type", codec)]).await;
    assert_eq!(node.produce(batch(now_ms(), &text())).await, ErrorCode::None);
    let size = node.first_batch().await.size_in_bytes();
    node.close().await;
    size
}

async fn levels_differ(codec: &str, low: &str, high: &str) {
    let name = &format!("compression.{codec}.level");
    for (low, high) in
        [(Set::Broker(name, low), Set::Broker(name, high)), (Set::Topic(name, low), Set::Topic(name, high))]
    {
        let (low, high) = (stored_size(codec, low).await, stored_size(codec, high).await);
        assert!(high < low, "{codec}: {high} bytes at the high level, {low} at the low one");
    }
}

#[tokio::test]
pub async fn compression_gzip_level() {
    levels_differ("gzip", "1", "9").await;
}

#[tokio::test]
pub async fn compression_zstd_level() {
    levels_differ("zstd", "-50", "15").await;
}

#[tokio::test]
pub async fn cleanup_policy() {
    for set in [Set::Broker("log.cleanup.policy", "compact"), Set::Topic("cleanup.policy", "compact")] {
        let node = with(set, &[]).await;
        let answer = node.produce_to(TOPIC, 0, batch(now_ms(), b"no key")).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code(), "{set:?}");
        assert_eq!(answer.record_errors[0].batch_index, 0, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn message_timestamp_type() {
    let broker = Set::Broker("log.message.timestamp.type", "LogAppendTime");
    for set in [broker, Set::Topic("message.timestamp.type", "LogAppendTime")] {
        let node = with(set, &[]).await;
        let answer = node.produce_to(TOPIC, 0, batch(5, b"value")).await;
        assert!(answer.log_append_time_ms > 5, "{set:?}");
        let header = node.first_batch().await;
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime, "{set:?}");
        assert_eq!(header.max_timestamp, answer.log_append_time_ms, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn message_timestamp_before_max_ms() {
    let broker = Set::Broker("log.message.timestamp.before.max.ms", "3600000");
    for set in [broker, Set::Topic("message.timestamp.before.max.ms", "3600000")] {
        let node = with(set, &[]).await;
        assert_eq!(node.produce(batch(now_ms() - 2 * HOUR_MS, b"old")).await, ErrorCode::InvalidTimestamp, "{set:?}");
        assert_eq!(node.produce(batch(now_ms(), b"new")).await, ErrorCode::None, "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn message_timestamp_after_max_ms() {
    let later = || batch(now_ms() + 2 * HOUR_MS, b"from the future");
    let broker = Set::Broker("log.message.timestamp.after.max.ms", "10800000");
    for set in [broker, Set::Topic("message.timestamp.after.max.ms", "10800000")] {
        let node = with(set, &[]).await;
        assert_eq!(node.produce(later()).await, ErrorCode::None, "{set:?}");
        node.create("default", 1, &[("message.timestamp.after.max.ms", "3600000")]).await;
        let refused = node.produce_to("default", 0, later()).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidTimestamp.code(), "{set:?}");
        node.close().await;
    }
}

#[tokio::test]
pub async fn max_request_partition_size_limit() {
    let node = start(&[("max.request.partition.size.limit", "2")]).await;
    node.create(TOPIC, 5, &[]).await;
    let page = node.ask(&DescribeTopicPartitionsRequest::default()).await;
    assert_eq!(page.topics[0].partitions.len(), 2);
    assert_eq!(page.next_cursor.expect("there is more").partition_index, 2);
    node.close().await;
}

/// As Apache Kafka, which never asks for more replicas than a partition has: one is enough for one. The row says Ignored
/// until there are more.
#[tokio::test]
async fn min_insync_replicas_is_met_by_the_only_replica() {
    for set in [Set::Broker("min.insync.replicas", "2"), Set::Topic("min.insync.replicas", "2")] {
        let node = with(set, &[]).await;
        assert_eq!(node.produce(batch(now_ms(), b"value")).await, ErrorCode::None, "{set:?}");
        node.close().await;
    }
}
