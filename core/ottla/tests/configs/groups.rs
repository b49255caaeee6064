//! Consumer groups and their offsets.

use crate::support::*;
use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_model::record_batch::{self, BatchBuilder, BatchIter, BatchOptions};
use ottla_protocol::find_coordinator_request::FindCoordinatorRequest;
use ottla_protocol::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_protocol::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::{DescribeGroupsRequest, Message, OffsetCommitValue, Reader, Writer};

const GROUP: &str = "g";
const OFFSETS: &str = "__consumer_offsets";
/// Versions with topic names.
const COMMIT_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 9;

async fn find_coordinator(node: &Node) -> ErrorCode {
    let request = FindCoordinatorRequest { coordinator_keys: vec![GROUP.into()], ..Default::default() };
    ErrorCode::from_code(node.ask(&request).await.coordinators[0].error_code)
}

async fn with_groups(configs: &[(&str, &str)]) -> Node {
    let node = start(configs).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::None);
    node
}

fn join_request(session_timeout_ms: i32) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Joins at a version without the round trip for the member id.
async fn join(node: &Node, session_timeout_ms: i32) -> ErrorCode {
    ErrorCode::from_code(node.ask_at(&join_request(session_timeout_ms), 3).await.error_code)
}

#[tokio::test]
pub async fn group_session_timeouts() {
    let node = with_groups(&[("group.min.session.timeout.ms", "8000"), ("group.max.session.timeout.ms", "9000")]).await;
    assert_eq!(join(&node, 7_999).await, ErrorCode::InvalidSessionTimeout);
    assert_eq!(join(&node, 9_001).await, ErrorCode::InvalidSessionTimeout);
    assert_eq!(join(&node, 8_500).await, ErrorCode::None);
    node.close().await;
    // Below the default of six seconds.
    let node = with_groups(&[("group.min.session.timeout.ms", "10")]).await;
    assert_eq!(join(&node, 100).await, ErrorCode::None);
    node.close().await;
}

#[tokio::test]
pub async fn group_max_size() {
    let node = with_groups(&[("group.max.size", "1")]).await;
    assert_eq!(join(&node, 30_000).await, ErrorCode::None);
    assert_eq!(join(&node, 30_000).await, ErrorCode::GroupMaxSizeReached);
    node.close().await;
}

async fn state(node: &Node) -> String {
    let request = DescribeGroupsRequest { groups: vec![GROUP.into()], ..Default::default() };
    node.ask(&request).await.groups[0].group_state.to_string()
}

/// With a delay the first member waits for others; without one it is alone in its generation at once.
#[tokio::test]
pub async fn group_initial_rebalance_delay_ms() {
    let node = with_groups(&[("group.initial.rebalance.delay.ms", "60000")]).await;
    let (first, second) = (node.dial().await, node.dial().await);
    let _first = first.start(&join_request(30_000), 3).await.expect("sent");
    eventually("the group waits", async || state(&node).await == "PreparingRebalance").await;
    let _second = second.start(&join_request(30_000), 3).await.expect("sent");
    node.close().await;

    let node = with_groups(&[]).await;
    assert_eq!(node.ask_at(&join_request(30_000), 3).await.generation_id, 1);
    assert_eq!(state(&node).await, "CompletingRebalance");
    node.close().await;
}

async fn commit(node: &Node, metadata: &str) -> ErrorCode {
    commit_for(node, TOPIC, metadata, None).await
}

/// With a time to live at a version that still has one.
async fn commit_for(node: &Node, topic: &str, metadata: &str, retention_ms: Option<i64>) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 5,
        committed_metadata: Some(metadata.into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: GROUP.into(),
        retention_time_ms: retention_ms.unwrap_or(-1),
        topics: vec![topic],
        ..Default::default()
    };
    let version = if retention_ms.is_some() { 2 } else { COMMIT_VERSION };
    ErrorCode::from_code(node.ask_at(&request, version).await.topics[0].partitions[0].error_code)
}

async fn committed(node: &Node, topic: &str) -> i64 {
    let topic = OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: GROUP.into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    node.ask_at(&request, FETCH_VERSION).await.groups[0].topics[0].partitions[0].committed_offset
}

#[tokio::test]
pub async fn offset_metadata_max_bytes() {
    let node = with_groups(&[("offset.metadata.max.bytes", "10")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(commit(&node, "0123456789+").await, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(commit(&node, "0123456789").await, ErrorCode::None);
    node.close().await;
}

#[tokio::test]
pub async fn offsets_topic_num_partitions() {
    let node = with_groups(&[("offsets.topic.num.partitions", "3")]).await;
    assert_eq!(node.topic(OFFSETS, false).await.partitions.len(), 3);
    node.close().await;
}

#[tokio::test]
pub async fn offsets_topic_replication_factor() {
    let node = start(&[("offsets.topic.replication.factor", "2")]).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::CoordinatorNotAvailable);
    node.close().await;
}

#[tokio::test]
pub async fn offsets_topic_segment_bytes() {
    let folder = Folder::new();
    let configs = [("offsets.topic.segment.bytes", "1048576"), ("offset.metadata.max.bytes", "32000")];
    let node = start_in(&folder, &configs).await;
    assert_eq!(find_coordinator(&node).await, ErrorCode::None);
    node.create(TOPIC, 1, &[]).await;
    let metadata = "m".repeat(32_000);
    for _ in 0..40 {
        assert_eq!(commit(&node, &metadata).await, ErrorCode::None);
    }
    assert_eq!(count(&folder.join("__consumer_offsets-0"), ".log"), 2);
    node.close().await;
}

/// A commit may bring its own time to live; when it is over the next look takes the offset.
#[tokio::test]
pub async fn offsets_retention_check_interval_ms() {
    let node = with_groups(&[("offsets.retention.check.interval.ms", "20")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(commit_for(&node, TOPIC, "", Some(1)).await, ErrorCode::None);
    eventually("the offset is gone", async || committed(&node, TOPIC).await == -1).await;
    node.close().await;
}

/// The commit is made two minutes old on the disk, between two runs: one minute does not keep it, an hour does.
#[tokio::test]
pub async fn offsets_retention_minutes() {
    for (minutes, kept) in [("1", false), ("60", true)] {
        let folder = Folder::new();
        let node = start_in(&folder, &[]).await;
        assert_eq!(find_coordinator(&node).await, ErrorCode::None);
        node.create(TOPIC, 1, &[]).await;
        node.create("other", 1, &[]).await;
        assert_eq!(commit(&node, "").await, ErrorCode::None);
        node.close().await;
        let log = folder.join("__consumer_offsets-0").join("00000000000000000000.log");
        let aged = age(std::fs::read(&log).expect("the log is there").into(), 2 * 60 * 1000);
        std::fs::write(&log, aged).expect("the log is ours");

        let configs = [("offsets.retention.minutes", minutes), ("offsets.retention.check.interval.ms", "20")];
        let node = start_in(&folder, &configs).await;
        // When this one is gone the broker has looked.
        assert_eq!(commit_for(&node, "other", "", Some(1)).await, ErrorCode::None);
        eventually("the short-lived offset is gone", async || committed(&node, "other").await == -1).await;
        match kept {
            true => assert_eq!(committed(&node, TOPIC).await, 5),
            false => eventually("the offset is gone", async || committed(&node, TOPIC).await == -1).await,
        }
        node.close().await;
    }
}

/// The same records, committed earlier.
fn age(log: Bytes, by_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for batch in BatchIter::new(log) {
        let batch = batch.expect("a sound batch");
        let options = BatchOptions {
            base_offset: batch.header.base_offset,
            partition_leader_epoch: batch.header.partition_leader_epoch,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for record in record_batch::records(&batch.bytes).expect("records") {
            let record = record.expect("a sound record");
            let value = record.value.map(|value| {
                let mut reader = Reader::new(value.slice(2..));
                let version = i16::from_be_bytes([value[0], value[1]]);
                let mut commit = OffsetCommitValue::decode(&mut reader, version).expect("a commit");
                commit.commit_timestamp -= by_ms;
                let mut writer = Writer::new();
                commit.encode(&mut writer, version).expect("it fits");
                let body = writer.into_chunks().to_bytes().expect("in memory");
                [&value[..2], &body[..]].concat()
            });
            let headers: &[(&[u8], Option<&[u8]>)] = &[];
            builder.append(record.timestamp, record.key.as_deref(), value.as_deref(), headers).expect("it fits");
        }
        builder.build_into(&mut out).expect("it fits");
    }
    out
}
