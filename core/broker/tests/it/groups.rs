//! The group APIs, each at every version that is served, and groups across a restart.

use crate::support::{LIMIT, connect, start};
use bytes::Bytes;
use ottla_broker::Broker;
use ottla_env::Env;
use ottla_protocol::create_topics_request::CreatableTopic;
use ottla_protocol::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::leave_group_request::MemberIdentity;
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_protocol::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::*;
use ottla_wire::ClientConnection;
use std::time::Duration;

struct Harness {
    env: Env,
    broker: Broker,
    client: ClientConnection,
    topic_id: Uuid,
}

impl Harness {
    /// A broker with the topic `t` of two partitions.
    async fn new(configs: &[(&str, &str)]) -> Harness {
        let env = Env::memory();
        let (broker, client) = start(env.clone(), configs).await;
        let mut harness = Harness { env, broker, client, topic_id: Uuid::ZERO };
        harness.create("t").await;
        harness.find(6, "g").await;
        harness
    }

    async fn restart(self, configs: &[(&str, &str)]) -> Harness {
        self.broker.close().await.unwrap();
        let (broker, client) = start(self.env.clone(), configs).await;
        Harness { broker, client, ..self }
    }

    async fn create(&mut self, name: &str) {
        let topic =
            CreatableTopic { name: name.into(), num_partitions: 2, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let created = self.ask(&request, 7).await;
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        self.topic_id = created.topics[0].topic_id;
    }

    async fn ask<R: Request>(&self, request: &R, version: i16) -> R::Response {
        self.client.request(request, version, LIMIT).await.unwrap()
    }

    async fn find(&self, version: i16, group: &str) -> i16 {
        let mut request = FindCoordinatorRequest::default();
        if version < 4 {
            request.key = group.into();
        } else {
            request.coordinator_keys = vec![group.into(), "other".into()];
        }
        let found = self.ask(&request, version).await;
        match version {
            0..4 => found.error_code,
            _ => {
                assert_eq!(found.coordinators.len(), 2);
                found.coordinators[0].error_code
            }
        }
    }

    async fn join(&self, version: i16, group: &str, member: &str) -> JoinGroupResponse {
        self.ask(&join(group, member), version).await
    }

    /// Joins as the only member and syncs; the member's id and generation.
    async fn member(&self, version: i16, group: &str) -> (String, i32) {
        let mut joined = self.join(version, group, "").await;
        if joined.error_code == 79 {
            joined = self.join(version, group, &joined.member_id).await;
        }
        assert_eq!((joined.error_code, joined.members.len()), (0, 1), "{joined:?}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        let assignment = SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(b"mine"),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: group.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            // v5 has to say what it believes was chosen.
            protocol_type: Some("consumer".into()),
            protocol_name: joined.protocol_name.clone(),
            assignments: vec![assignment],
            ..Default::default()
        };
        let synced = self.ask(&request, version.min(5)).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
        (joined.member_id.to_string(), joined.generation_id)
    }

    async fn heartbeat(&self, version: i16, group: &str, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest {
            group_id: group.into(),
            member_id: member.into(),
            generation_id: generation,
            ..Default::default()
        };
        self.ask(&request, version).await.error_code
    }

    async fn leave(&self, version: i16, group: &str, member: &str) -> i16 {
        let mut request = LeaveGroupRequest { group_id: group.into(), ..Default::default() };
        if version < 3 {
            request.member_id = member.into();
        } else {
            request.members = vec![MemberIdentity { member_id: member.into(), ..Default::default() }];
        }
        let left = self.ask(&request, version).await;
        left.error_code + left.members.first().map_or(0, |member| member.error_code)
    }

    /// Commits partitions 0 and 7 of `t`; their errors.
    async fn commit(&self, version: i16, group: &str, offset: i64) -> Vec<i16> {
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: offset,
            committed_metadata: Some("m".into()),
            ..Default::default()
        };
        let mut topic = OffsetCommitRequestTopic { partitions: vec![partition(7), partition(0)], ..Default::default() };
        if version < 10 {
            topic.name = "t".into();
        } else {
            topic.topic_id = self.topic_id;
        }
        let request = OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() };
        let committed = self.ask(&request, version).await;
        let topic = &committed.topics[0];
        assert_eq!(topic.topic_id, if version < 10 { Uuid::ZERO } else { self.topic_id });
        topic.partitions.iter().map(|partition| partition.error_code).collect()
    }

    /// The offset of partition 0 of `t`; with `all`, without saying which partition.
    async fn fetch(&self, version: i16, group: &str, all: bool) -> i64 {
        let mut request = OffsetFetchRequest::default();
        if version < 8 {
            request.group_id = group.into();
            let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
            request.topics = (!all).then(|| vec![topic]);
            let found = self.ask(&request, version).await;
            assert_eq!(found.error_code, 0);
            return found.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
        }
        let mut topic = OffsetFetchRequestTopics { partition_indexes: vec![0], ..Default::default() };
        if version < 10 {
            topic.name = "t".into();
        } else {
            topic.topic_id = self.topic_id;
        }
        let topics = (!all).then(|| vec![topic]);
        request.groups = vec![OffsetFetchRequestGroup { group_id: group.into(), topics, ..Default::default() }];
        request.require_stable = true;
        let found = self.ask(&request, version).await;
        let group = &found.groups[0];
        assert_eq!(group.error_code, 0);
        group.topics.first().map_or(-1, |topic| {
            assert_eq!(topic.topic_id, if version < 10 { Uuid::ZERO } else { self.topic_id });
            topic.partitions[0].committed_offset
        })
    }
}

fn join(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0"),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_every_group_api() {
    let h = Harness::new(&[]).await;
    for version in 0..=6 {
        assert_eq!(h.find(version, "g").await, 0, "FindCoordinator v{version}");
    }
    for version in 0..=9 {
        let group = format!("join-{version}");
        let (member, generation) = h.member(version, &group).await;
        let other = version.min(4);
        assert_eq!(h.heartbeat(other, &group, &member, generation).await, 0);
        assert_eq!(h.heartbeat(other, &group, &member, generation + 1).await, 22);
        assert_eq!(h.leave(version.min(5), &group, &member).await, 0);
        assert_eq!(h.leave(version.min(5), &group, &member).await, 25);
    }
    for version in 2..=10 {
        assert_eq!(h.commit(version, "simple", i64::from(version)).await, [3, 0], "OffsetCommit v{version}");
        assert_eq!(h.fetch(10, "simple", false).await, i64::from(version));
    }
    for version in 1..=10 {
        assert_eq!(h.fetch(version, "simple", false).await, 10, "OffsetFetch v{version}");
        assert_eq!(h.fetch(version, "none", false).await, -1);
        if version > 1 {
            assert_eq!(h.fetch(version, "simple", true).await, 10, "OffsetFetch v{version} of all");
        }
    }
    h.member(9, "alive").await;
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["alive".into(), "none".into()],
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let described = h.ask(&request, version).await;
        let alive = &described.groups[0];
        assert_eq!((&*alive.group_state, &*alive.protocol_data, alive.members.len()), ("Stable", "range", 1));
        assert_eq!(&*alive.members[0].client_id, "test");
        assert_eq!(described.groups[1].error_code, if version < 6 { 0 } else { 69 });
    }
    for version in 0..=5 {
        let mut request = ListGroupsRequest::default();
        if version >= 4 {
            request.states_filter = vec!["stable".into()];
        }
        if version >= 5 {
            request.types_filter = vec!["classic".into()];
        }
        let listed = h.ask(&request, version).await;
        assert_eq!(listed.groups.len(), if version >= 4 { 1 } else { 12 }, "{listed:?}");
    }
    for version in 0..=3 {
        let groups_names = vec![format!("join-{version}").into(), "alive".into(), "none".into()];
        let deleted = h.ask(&DeleteGroupsRequest { groups_names, ..Default::default() }, version).await;
        let mut results: Vec<_> =
            deleted.results.iter().map(|result| (result.group_id.to_string(), result.error_code)).collect();
        results.sort();
        assert_eq!(results, [("alive".into(), 68), (format!("join-{version}"), 0), ("none".into(), 69)]);
    }
    h.broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_their_group_after_a_restart() {
    let h = Harness::new(&[]).await;
    let (member, generation) = h.member(9, "g").await;
    h.commit(10, "simple", 42).await;
    let h = h.restart(&[]).await;
    assert_eq!(h.heartbeat(4, "g", &member, generation).await, 0);
    assert_eq!(h.fetch(10, "simple", false).await, 42);
    h.broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_waits_for_the_others_and_deadlines_come_by_themselves() {
    let h = Harness::new(&[]).await;
    let (first, generation) = h.member(3, "g").await;
    // A second member waits for the first one, which never comes back: its rebalance timeout ends the wait.
    let second = connect(&h.env, &h.broker).await;
    let mut request = join("g", "");
    request.rebalance_timeout_ms = 300;
    let joining = second.start(&request, 3).await.unwrap();
    // The join travels on a connection of its own: heartbeats are in order until it has arrived.
    let told = loop {
        match h.heartbeat(4, "g", &first, generation).await {
            0 => h.env.sleep(Duration::from_millis(5)).await,
            told => break told,
        }
    };
    assert_eq!(told, 27);
    let rejoin = JoinGroupRequest { rebalance_timeout_ms: 300, ..join("g", &first) };
    let joined = h.ask(&rejoin, 3).await;
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    assert_eq!(joining.wait(LIMIT).await.unwrap().generation_id, 2);
    // Neither sends SyncGroup, so both are lost after the rebalance timeout, without anybody asking.
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    for _ in 0..100 {
        h.env.sleep(Duration::from_millis(50)).await;
        if &*h.ask(&request, 5).await.groups[0].group_state == "Empty" {
            return h.broker.close().await.unwrap();
        }
    }
    panic!("the members are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_go_with_their_topic() {
    let h = Harness::new(&[]).await;
    h.commit(9, "simple", 5).await;
    let delete = OffsetDeleteRequest {
        group_id: "simple".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: [0, 9]
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index, ..Default::default() })
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let deleted = h.ask(&delete, 0).await;
    let mut partitions: Vec<_> = (deleted.topics[0].partitions.iter())
        .map(|partition| (partition.partition_index, partition.error_code))
        .collect();
    partitions.sort();
    assert_eq!(partitions, [(0, 0), (9, 3)]);
    assert_eq!(h.fetch(9, "simple", false).await, -1);

    h.commit(9, "simple", 6).await;
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 1000, ..Default::default() };
    assert_eq!(h.ask(&request, 5).await.responses[0].error_code, 0);
    assert_eq!(h.commit(9, "simple", 7).await, [3, 3]);
    assert_eq!(h.fetch(9, "simple", false).await, -1);
    h.broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_come_from_the_config() {
    let configs = [
        ("group.max.size", "1"),
        ("group.max.session.timeout.ms", "30000"),
        ("group.min.session.timeout.ms", "20000"),
        ("offset.metadata.max.bytes", "0"),
    ];
    let h = Harness::new(&configs).await;
    h.member(3, "g").await;
    assert_eq!(h.join(3, "g", "").await.error_code, 81);
    for (session_timeout_ms, error) in [(19_999, 26), (30_001, 26)] {
        let request = JoinGroupRequest { session_timeout_ms, ..join("other", "") };
        assert_eq!(h.ask(&request, 3).await.error_code, error);
    }
    assert_eq!(h.commit(9, "simple", 1).await, [3, 12]);
    h.broker.close().await.unwrap();

    let delay = [("group.initial.rebalance.delay.ms", "400")];
    let h = Harness::new(&delay).await;
    let before = h.env.monotonic();
    h.member(3, "g").await;
    assert!(h.env.monotonic() - before >= Duration::from_millis(400));
    h.broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_offsets_expire() {
    let configs = [("offsets.retention.check.interval.ms", "50")];
    let h = Harness::new(&configs).await;
    let partition = OffsetCommitRequestPartition { committed_offset: 3, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "simple".into(),
        retention_time_ms: 1,
        topics: vec![topic],
        ..Default::default()
    };
    h.ask(&request, 4).await;
    for _ in 0..100 {
        if h.fetch(9, "simple", false).await == -1 {
            return h.broker.close().await.unwrap();
        }
        h.env.sleep(Duration::from_millis(50)).await;
    }
    panic!("the offset is still there");
}
