//! Commits, fetches, deletion, expiry; describing, listing and deleting groups.

use ottla_coordinator::group::{CoordinatorRecord, Event, GroupConfig, OffsetImage, Reply};
use ottla_model::Uuid;
use ottla_protocol::OffsetCommitRequest;
use ottla_protocol::OffsetDeleteRequest;
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_protocol::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

use crate::harness::{GROUP, Harness, Member};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[test]
fn commits_of_members_and_of_nobody() {
    let mut h = Harness::new();
    assert_eq!(h.commit("simple", "", -1, "t", 7), 0, "a group without members only stores offsets");
    assert_eq!(h.fetch("simple", "t"), 7);
    assert_eq!(h.fetch("simple", "other"), -1);
    assert_eq!(h.fetch("other", "t"), -1);
    assert_eq!(h.commit("new", "m", 1, "t", 7), 69, "GROUP_ID_NOT_FOUND from v9 on");

    let (ids, generation) = h.stable(1);
    assert_eq!(h.commit(GROUP, &ids[0], generation, "t", 10), 0);
    assert_eq!(h.commit(GROUP, &ids[0], generation + 1, "t", 11), 22);
    assert_eq!(h.commit(GROUP, "nobody", generation, "t", 11), 25);
    assert_eq!(h.commit(GROUP, "", -1, "t", 11), 25, "a group with members takes no commits of others");
    assert_eq!(h.fetch(GROUP, "t"), 10);
    // A commit keeps a member alive.
    for _ in 0..5 {
        h.advance(8_000);
        assert_eq!(h.commit(GROUP, &ids[0], generation, "t", 10), 0);
    }
    h.leave(&[(&ids[0], None)]);
    assert_eq!(h.commit(GROUP, "", -1, "t", 12), 0);
}

fn request(partition: OffsetCommitRequestPartition, topic_id: Uuid) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            topic_id,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn metadata_is_limited_in_utf16_units() {
    let mut h = Harness::with(GroupConfig { offset_metadata_max_bytes: 4, ..GroupConfig::default() });
    for (metadata, error) in [("äöüß", 0), ("12345", 12), ("\u{1F600}\u{1F600}", 0), ("\u{1F600}\u{1F600}x", 12)] {
        let partition =
            OffsetCommitRequestPartition { committed_metadata: Some(metadata.into()), ..Default::default() };
        assert_eq!(h.commit_request(8, request(partition, Uuid::ZERO)), [error], "{metadata}");
    }
    let old = OffsetCommitRequest { generation_id_or_member_epoch: 1, ..request(Default::default(), Uuid::ZERO) };
    let old = OffsetCommitRequest { group_id: "new".into(), ..old };
    assert_eq!(h.commit_request(8, old), [22], "older clients know no GROUP_ID_NOT_FOUND");
}

#[test]
fn everything_about_an_offset_comes_back() {
    let mut h = Harness::new();
    let id = Uuid([7; 16]);
    let partition = OffsetCommitRequestPartition {
        committed_offset: 9,
        committed_leader_epoch: 4,
        committed_metadata: Some("m".into()),
        ..Default::default()
    };
    assert_eq!(h.commit_request(10, request(partition, id)), [0]);
    h.restart();
    let all = OffsetFetchRequestGroup { group_id: GROUP.into(), topics: None, ..Default::default() };
    let reply = h.shard.fetch_offsets(&all, true);
    let found = &reply.topics[0].partitions[0];
    assert_eq!((found.committed_offset, found.committed_leader_epoch), (9, 4));
    assert_eq!(found.metadata.as_ref().unwrap().to_string(), "m");
    // The same name with another topic id is another topic.
    for (topic_id, offset) in [(id, 9), (Uuid::ZERO, 9), (Uuid([8; 16]), -1)] {
        let topic = OffsetFetchRequestTopics {
            name: "t".into(),
            topic_id,
            partition_indexes: vec![0, 5],
            ..Default::default()
        };
        let some = OffsetFetchRequestGroup { topics: Some(vec![topic]), ..all.clone() };
        let reply = h.shard.fetch_offsets(&some, false);
        let offsets: Vec<_> = reply.topics[0].partitions.iter().map(|found| found.committed_offset).collect();
        assert_eq!((offsets, reply.topics[0].topic_id), (vec![offset, -1], topic_id));
    }
}

#[test]
fn offsets_of_open_transactions_are_neither_seen_nor_lost() {
    let mut h = Harness::new();
    h.commit("x", "", -1, "t", 1);
    let record = |offset| CoordinatorRecord::OffsetCommit {
        group: "x".into(),
        topic: "t".into(),
        partition: 0,
        value: Some(OffsetImage {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: None,
            topic_id: Uuid::ZERO,
        }),
    };
    h.shard.replay(10, 77, &record(50));
    h.shard.replay(11, 78, &record(60));
    assert_eq!(h.fetch("x", "t"), 1);
    let topic = OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let asked = OffsetFetchRequestGroup { group_id: "x".into(), topics: Some(vec![topic]), ..Default::default() };
    assert_eq!(h.shard.fetch_offsets(&asked, true).topics[0].partitions[0].error_code, 88);
    h.shard.replay_marker(78, false);
    h.shard.replay_marker(77, true);
    assert_eq!(h.fetch("x", "t"), 50);
    assert_eq!(h.shard.fetch_offsets(&asked, true).topics[0].partitions[0].error_code, 0);
    // A plain commit that came later in the log wins over the transaction that ended later.
    h.shard.replay(12, 77, &record(70));
    h.shard.replay(13, -1, &record(80));
    h.shard.replay_marker(77, true);
    assert_eq!(h.fetch("x", "t"), 80);
}

fn delete_offsets(h: &mut Harness, group: &str, topic: &str) -> (i16, Vec<i16>) {
    let ticket = h.ticket();
    let request = OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    h.event(Event::OffsetDelete { ticket, request });
    match h.reply(ticket) {
        Reply::OffsetDelete(reply) => {
            let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
            (reply.error_code, partitions.map(|partition| partition.error_code).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn offsets_are_deleted_unless_somebody_reads_the_topic() {
    let mut h = Harness::new();
    assert_eq!(delete_offsets(&mut h, "no", "t").0, 69);
    assert_eq!(delete_offsets(&mut h, "", "t").0, 24);
    let (ids, generation) = h.stable(1);
    h.commit(GROUP, &ids[0], generation, "t", 1);
    h.commit(GROUP, &ids[0], generation, "u", 2);
    assert_eq!(delete_offsets(&mut h, GROUP, "t"), (0, vec![86]), "GROUP_SUBSCRIBED_TO_TOPIC");
    assert_eq!(delete_offsets(&mut h, GROUP, "u"), (0, vec![0]));
    assert_eq!((h.fetch(GROUP, "t"), h.fetch(GROUP, "u")), (1, -1));

    let connect = Member { protocol_type: "connect".into(), ..Member::new().version(3) };
    h.join_group("c", &connect);
    assert_eq!(delete_offsets(&mut h, "c", "t").0, 68, "NON_EMPTY_GROUP: its subscription cannot be known");
}

#[test]
fn deleted_topics_take_their_offsets_along() {
    let mut h = Harness::new();
    h.commit("x", "", -1, "t", 1);
    h.commit("x", "", -1, "u", 2);
    h.event(Event::TopicDeleted("t".into()));
    assert_eq!((h.fetch("x", "t"), h.fetch("x", "u")), (-1, 2));
    h.restart();
    assert_eq!((h.fetch("x", "t"), h.fetch("x", "u")), (-1, 2));
}

#[test]
fn offsets_expire_when_nobody_needs_them() {
    let mut h = Harness::new();
    h.commit("simple", "", -1, "t", 1);
    let (ids, generation) = h.stable(1);
    h.commit(GROUP, &ids[0], generation, "t", 1);
    h.commit(GROUP, &ids[0], generation, "unread", 1);
    for _ in 0..(8 * DAY_MS / 9_000) {
        h.advance(9_000);
        h.heartbeat(&ids[0], generation);
    }
    assert_eq!(h.fetch("simple", "t"), -1, "seven days after the commit");
    assert_eq!(h.fetch(GROUP, "t"), 1, "a member reads it");
    assert_eq!(h.fetch(GROUP, "unread"), -1);
    h.leave(&[(&ids[0], None)]);
    h.advance(7 * DAY_MS - 1);
    assert_eq!(h.fetch(GROUP, "t"), 1);
    h.advance(DAY_MS);
    assert_eq!(h.fetch(GROUP, "t"), -1);
    assert!(h.shard.list_groups(&[], &[]).is_empty(), "groups with nothing left are gone");
    h.restart();
    assert!(h.shard.list_groups(&[], &[]).is_empty());
}

#[test]
fn a_retention_time_of_its_own() {
    let mut h = Harness::new();
    let asked = OffsetCommitRequest { retention_time_ms: 1_000, ..request(Default::default(), Uuid::ZERO) };
    h.commit_request(4, asked);
    h.restart();
    assert_eq!(h.fetch(GROUP, "t"), 0);
    h.advance(600_000);
    assert_eq!(h.fetch(GROUP, "t"), -1);
}

#[test]
fn describing_listing_and_deleting() {
    let mut h = Harness::new();
    h.commit("simple", "", -1, "t", 1);
    let (ids, _) = h.stable(1);
    let stable = h.shard.describe_group(&GROUP.into(), 6);
    assert_eq!((&*stable.group_state, &*stable.protocol_type, &*stable.protocol_data), ("Stable", "consumer", "range"));
    let member = &stable.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("client", "/127.0.0.1"));
    assert_eq!(&member.member_assignment[..], ids[0].as_bytes());
    assert!(!member.member_metadata.is_empty());
    let missing = h.shard.describe_group(&"no".into(), 5);
    assert_eq!((missing.error_code, &*missing.group_state), (0, "Dead"));
    assert_eq!(h.shard.describe_group(&"no".into(), 6).error_code, 69);

    let list = |h: &Harness, states: &[&str], types: &[&str]| -> Vec<String> {
        let filter = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        let listed = h.shard.list_groups(&filter(states), &filter(types));
        listed.iter().map(|group| format!("{}:{}", group.group_id, group.group_state)).collect()
    };
    assert_eq!(list(&h, &[], &[]), ["g:Stable", "simple:Empty"]);
    assert_eq!(list(&h, &[" stable"], &["Classic"]), ["g:Stable"]);
    assert!(list(&h, &[], &["consumer"]).is_empty());

    let ticket = h.ticket();
    let groups = ["simple", GROUP, "no"].map(Into::into).to_vec();
    h.event(Event::DeleteGroups { ticket, groups });
    let Reply::DeleteGroups(results) = h.reply(ticket) else { panic!() };
    assert_eq!(results.iter().map(|result| result.error_code).collect::<Vec<_>>(), [0, 68, 69]);
    assert_eq!((h.fetch("simple", "t"), list(&h, &[], &[])), (-1, vec!["g:Stable".to_string()]));
    h.restart();
    assert_eq!(list(&h, &[], &[]), ["g:Stable"]);
}
