//! Static members (KIP-345, KIP-814): fencing, replacing, and no rebalance where none is needed.

use crate::harness::{GROUP, Harness, Member};

const UNKNOWN_MEMBER_ID: i16 = 25;
const FENCED_INSTANCE_ID: i16 = 82;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// Two static members "a" (the leader) and "b", stable at generation 1; their member ids.
fn stable() -> (Harness, String, String) {
    let mut h = Harness::new();
    let a = h.join(&Member::fixed("a"));
    let b = h.join(&Member::fixed("b"));
    h.advance(6_000);
    let (a, b) = (h.joined(a), h.joined(b));
    let (a, b) = (a.member_id.to_string(), b.member_id.to_string());
    assert!(a.starts_with("a-"), "{a}");
    let sync = h.sync(&a, 1, &[(&a, "A"), (&b, "B")]);
    h.synced(sync);
    let sync = h.sync(&b, 1, &[]);
    h.synced(sync);
    (h, a, b)
}

#[test]
fn a_follower_that_restarts_takes_its_place_without_a_rebalance() {
    let (mut h, a, b) = stable();
    let records = h.log.len();
    let back = h.join(&Member::fixed("b"));
    let reply = h.joined(back);
    let new = reply.member_id.to_string();
    assert_eq!((reply.generation_id, &*reply.leader, reply.skip_assignment), (1, &*a, false));
    assert_ne!(new, b);
    assert_eq!((h.state().as_str(), h.log.len()), ("Stable", records + 1));
    let sync = h.sync(&new, 1, &[]);
    assert_eq!(&h.synced(sync).assignment[..], b"B");
    assert_eq!(h.heartbeat_as(&b, Some("b"), 1), FENCED_INSTANCE_ID);
    assert_eq!(h.heartbeat_as(&b, None, 1), UNKNOWN_MEMBER_ID);
    assert_eq!(h.heartbeat_as(&new, Some("b"), 1), 0);
    // The place is kept over a restart of the broker.
    h.restart();
    assert_eq!(h.heartbeat_as(&new, Some("b"), 1), 0);
}

#[test]
fn a_leader_that_restarts_is_told_not_to_assign() {
    let (mut h, a, _) = stable();
    let back = h.join(&Member::fixed("a"));
    let reply = h.joined(back);
    assert_eq!(reply.leader, reply.member_id);
    assert_eq!((reply.skip_assignment, reply.members.len()), (true, 2));
    // A client that does not know SkipAssignment must not think that it leads.
    let old = h.join(&Member::fixed("a").version(8));
    let old = h.joined(old);
    assert_eq!((&old.leader, old.members.len()), (&reply.member_id, 0));
    assert_ne!(old.leader, old.member_id);
    assert_eq!(h.heartbeat_as(&a, Some("a"), 1), FENCED_INSTANCE_ID);
}

#[test]
fn a_change_of_protocol_rebalances() {
    let (mut h, _, b) = stable();
    let back = h.join(&Member::fixed("a").protocols(&["sticky"]));
    assert!(h.is_parked(back));
    assert_eq!(h.heartbeat_as(&b, Some("b"), 1), REBALANCE_IN_PROGRESS);
}

#[test]
fn parked_requests_of_the_replaced_are_fenced() {
    let mut h = Harness::new();
    let first = h.join(&Member::fixed("a"));
    let second = h.join(&Member::fixed("a"));
    h.join_error(first, FENCED_INSTANCE_ID);
    h.advance(6_000);
    let id = h.joined(second).member_id.to_string();
    // During the assignment: the generation is void, because it may contain the old id.
    let back = h.join(&Member::fixed("a"));
    let reply = h.joined(back);
    assert_eq!(reply.generation_id, 2);
    let sync = h.sync(&id, 1, &[]);
    assert_eq!(h.sync_error(sync), UNKNOWN_MEMBER_ID);
}

#[test]
fn static_members_keep_their_place_until_the_session_ends() {
    let (mut h, a, b) = stable();
    let c = h.join(&Member::fixed("c"));
    // "a" comes back, "b" stays silent but within its session (it heartbeats).
    let a = h.join(&Member::fixed("a").id(&a));
    for _ in 0..60 {
        h.heartbeat_as(&b, Some("b"), 1);
        h.advance(1_000);
    }
    let reply = h.joined(a);
    assert_eq!((reply.generation_id, reply.members.len()), (2, 3), "b is in the new generation");
    h.joined(c);
    h.advance(10_000);
    assert_eq!(h.heartbeat_as(&b, Some("b"), 2), UNKNOWN_MEMBER_ID);
}

#[test]
fn only_silent_static_members_postpone_the_generation() {
    let (mut h, a, b) = stable();
    let changed = h.join(&Member::fixed("a").protocols(&["sticky"]).id(&a));
    assert_eq!(h.leave(&[(&a, Some("a"))]).members[0].error_code, 0);
    h.join_error(changed, UNKNOWN_MEMBER_ID);
    // The one that is left only heartbeats: there is no generation without a member that joins.
    for _ in 0..200 {
        assert_eq!(h.heartbeat_as(&b, Some("b"), 1), REBALANCE_IN_PROGRESS);
        h.advance(1_000);
    }
    let back = h.join(&Member::fixed("b").id(&b));
    let reply = h.joined(back);
    assert_eq!((reply.generation_id, &*reply.leader), (2, &*b));
}

#[test]
fn administrators_remove_by_instance_id() {
    let (mut h, a, b) = stable();
    let reply = h.leave(&[("", Some("a")), ("", Some("nobody")), (&a, Some("b")), (&b, Some("b"))]);
    let errors: Vec<_> = reply.members.iter().map(|member| member.error_code).collect();
    assert_eq!(errors, [0, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, 0]);
    assert_eq!(h.state(), "Empty");
}

#[test]
fn commits_are_fenced_too() {
    let (mut h, _, b) = stable();
    let back = h.join(&Member::fixed("b"));
    h.joined(back);
    let request = ottla_protocol::OffsetCommitRequest {
        group_id: GROUP.into(),
        member_id: (&b).into(),
        group_instance_id: Some("b".into()),
        generation_id_or_member_epoch: 1,
        topics: vec![ottla_protocol::offset_commit_request::OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(h.commit_request(9, request), [FENCED_INSTANCE_ID]);
}
