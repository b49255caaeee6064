//! Joining, syncing, heartbeats, leaving, and every way to be lost.

use ottla_coordinator::group::{Event, GroupConfig, Reply};
use ottla_protocol::LeaveGroupRequest;

use crate::harness::{GROUP, Harness, Member};

const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;

#[test]
fn first_generation_waits_for_the_initial_delay() {
    let mut h = Harness::new();
    let (a, a_id) = h.join_twice(&Member::new());
    h.advance(2_000);
    let (b, b_id) = h.join_twice(&Member::new());
    h.advance(1_000);
    assert!(h.is_parked(a), "a newcomer extends the delay");
    h.advance(3_000);
    let (a, b) = (h.joined(a), h.joined(b));
    assert_eq!((a.generation_id, b.generation_id), (1, 1));
    assert_eq!(a.leader.to_string(), a_id);
    assert_eq!(b.leader.to_string(), a_id);
    assert_eq!((a.members.len(), b.members.len()), (2, 0), "only the leader gets the members");
    assert!(a.members.iter().any(|member| member.member_id == b_id));
    assert_eq!(a.protocol_name.unwrap().to_string(), "range");
    assert_eq!(h.state(), "CompletingRebalance");
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout() {
    let mut h = Harness::new();
    let slow = Member { rebalance_ms: 7_000, ..Member::new() };
    let (first, _) = h.join_twice(&slow);
    for _ in 0..6 {
        h.advance(1_000);
        h.join_twice(&slow);
    }
    h.advance(1_000);
    assert!(!h.is_parked(first), "newcomers extend the delay up to the rebalance timeout");
}

#[test]
fn without_delay_a_first_member_has_its_generation_at_once() {
    let mut h = Harness::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() });
    let (a, id) = h.join_twice(&Member::new());
    assert_eq!(h.joined(a).leader.to_string(), id);
    // The second one makes the first come back.
    let (b, _) = h.join_twice(&Member::new());
    assert!(h.is_parked(b));
    assert_eq!(h.heartbeat(&id, 1), REBALANCE_IN_PROGRESS);
    let a = h.join(&Member::new().id(&id));
    assert_eq!((h.joined(a).generation_id, h.joined(b).generation_id), (2, 2));
}

#[test]
fn member_ids_are_required_from_version_4_on() {
    let mut h = Harness::new();
    let old = h.join(&Member::new().version(3));
    assert!(h.is_parked(old), "an old client is taken in at once");
    let new = h.join(&Member::new().version(4));
    let id = h.join_error(new, 79);
    assert!(id.starts_with("client-"), "{id}");
    let wrong = h.join(&Member::new().id("client-invented"));
    h.join_error(wrong, UNKNOWN_MEMBER_ID);
    // An id that is never used expires with its session, and the rebalance no longer waits for it.
    h.advance(10_000);
    let late = h.join(&Member::new().id(&id));
    h.join_error(late, UNKNOWN_MEMBER_ID);
    assert!(!h.is_parked(old));
}

#[test]
fn refusals() {
    let mut h = Harness::new();
    let ticket = h.join_group("", &Member::new());
    h.join_error(ticket, 24);
    for session_ms in [5_999, 1_800_001] {
        let ticket = h.join(&Member { session_ms, ..Member::new() });
        h.join_error(ticket, 26);
    }
    let ticket = h.join(&Member::new().id("nobody"));
    h.join_error(ticket, UNKNOWN_MEMBER_ID);
    for member in [Member { protocol_type: String::new(), ..Member::new() }, Member::new().protocols(&[])] {
        let ticket = h.join(&member);
        h.join_error(ticket, 23);
    }
    h.stable(2);
    for member in [Member { protocol_type: "connect".into(), ..Member::new() }, Member::new().protocols(&["other"])] {
        let ticket = h.join(&member);
        h.join_error(ticket, 23);
    }
    let sync = h.sync("nobody", 1, &[]);
    assert_eq!(h.sync_error(sync), UNKNOWN_MEMBER_ID);
}

#[test]
fn the_protocol_is_the_one_that_most_prefer_among_those_that_all_support() {
    let mut h = Harness::new();
    let tickets = [["a", "b", "c"], ["b", "c", "x"], ["c", "b", "y"]].map(|names| {
        let member = Member { protocol_type: "connect".into(), ..Member::new().protocols(&names) };
        h.join_twice(&member).0
    });
    h.advance(60_000);
    let names = tickets.map(|ticket| h.joined(ticket).protocol_name.unwrap().to_string());
    assert_eq!(names, ["b", "b", "b"]);
}

#[test]
fn a_full_group_turns_newcomers_away() {
    let mut h = Harness::with(GroupConfig { max_size: 2, ..GroupConfig::default() });
    let (ids, generation) = h.stable(2);
    let ticket = h.join(&Member::new());
    h.join_error(ticket, 81);
    assert_eq!(h.heartbeat(&ids[1], generation), 0, "those who are in stay in");
}

#[test]
fn the_leaders_assignment_reaches_all() {
    let mut h = Harness::new();
    let a = h.join_twice(&Member::new());
    let b = h.join_twice(&Member::new());
    h.advance(6_000);
    h.joined(a.0);
    h.joined(b.0);
    let (leader, follower) = (a.1, b.1);
    assert_eq!(h.heartbeat(&follower, 1), 0, "heartbeats begin before the assignment");
    assert_eq!(h.commit(GROUP, &follower, 1, "t", 5), REBALANCE_IN_PROGRESS);
    let waiting = h.sync(&follower, 1, &[]);
    assert!(h.is_parked(waiting));
    let wrong = h.sync(&follower, 0, &[]);
    assert_eq!(h.sync_error(wrong), ILLEGAL_GENERATION);
    let records = h.log.len();
    let first = h.sync(&leader, 1, &[(&follower, "F")]);
    assert_eq!(h.log.len(), records + 1);
    assert_eq!(&h.synced(first).assignment[..], b"", "whom the leader leaves out gets nothing");
    assert_eq!(&h.synced(waiting).assignment[..], b"F");
    let again = h.sync(&follower, 1, &[]);
    assert_eq!(&h.synced(again).assignment[..], b"F");
    assert_eq!(h.state(), "Stable");
}

#[test]
fn a_repeated_sync_answers_the_first_one() {
    let mut h = Harness::new();
    let a = h.join_twice(&Member::new());
    let b = h.join_twice(&Member::new());
    h.advance(6_000);
    h.joined(a.0);
    h.joined(b.0);
    let first = h.sync(&b.1, 1, &[]);
    let second = h.sync(&b.1, 1, &[]);
    assert_eq!(h.sync_error(first), REBALANCE_IN_PROGRESS);
    h.sync(&a.1, 1, &[(&b.1, "F")]);
    assert_eq!(&h.synced(second).assignment[..], b"F");
}

#[test]
fn rejoining_without_a_change_only_repeats_the_generation() {
    let mut h = Harness::new();
    let (ids, generation) = h.stable(2);
    let ticket = h.join(&Member::new().id(&ids[1]));
    let reply = h.joined(ticket);
    assert_eq!((reply.generation_id, h.state().as_str()), (generation, "Stable"));
    // The leader rebalances by joining, and so does a changed subscription.
    let leader = h.join(&Member::new().id(&ids[0]));
    assert_eq!(h.state(), "PreparingRebalance");
    let follower = h.join(&Member::new().id(&ids[1]));
    assert_eq!((h.joined(leader).generation_id, h.joined(follower).generation_id), (2, 2));
    let changed = h.join(&Member::new().protocols(&["sticky"]).id(&ids[1]));
    assert_eq!(h.state(), "PreparingRebalance");
    let leader = h.join(&Member::new().id(&ids[0]));
    assert_eq!(h.joined(leader).protocol_name.unwrap().to_string(), "sticky");
    h.joined(changed);
}

#[test]
fn a_join_during_the_assignment_sends_waiting_members_back() {
    let mut h = Harness::new();
    let a = h.join_twice(&Member::new());
    let b = h.join_twice(&Member::new());
    h.advance(6_000);
    h.joined(a.0);
    h.joined(b.0);
    let waiting = h.sync(&b.1, 1, &[]);
    let c = h.join_twice(&Member::new());
    assert_eq!(h.sync_error(waiting), REBALANCE_IN_PROGRESS);
    let late = h.sync(&a.1, 1, &[]);
    assert_eq!(h.sync_error(late), REBALANCE_IN_PROGRESS);
    assert_eq!(h.commit(GROUP, &a.1, 1, "t", 5), 0, "commits are still taken while members gather");
    let a2 = h.join(&Member::new().id(&a.1));
    let b2 = h.join(&Member::new().id(&b.1));
    assert_eq!([a2, b2, c.0].map(|ticket| h.joined(ticket).generation_id), [2, 2, 2]);
}

#[test]
fn members_that_do_not_rejoin_in_time_are_out() {
    let mut h = Harness::new();
    let (ids, _) = h.stable(3);
    let newcomer = h.join_twice(&Member::new());
    let back = h.join(&Member::new().id(&ids[2]));
    for _ in 0..59 {
        h.advance(1_000);
        assert_eq!(h.heartbeat(&ids[0], 1), REBALANCE_IN_PROGRESS);
    }
    assert!(h.is_parked(back));
    h.advance(1_000);
    let back = h.joined(back);
    assert_eq!(back.generation_id, 2);
    let leader = back.leader.to_string();
    assert!(leader == ids[2] || leader == newcomer.1, "the silent leader {} is replaced by {leader}", ids[0]);
    assert_eq!(h.heartbeat(&ids[0], 1), UNKNOWN_MEMBER_ID);
    h.joined(newcomer.0);
}

#[test]
fn a_silent_member_is_lost_after_its_session() {
    let mut h = Harness::new();
    let (ids, _) = h.stable(2);
    h.advance(9_999);
    assert_eq!(h.heartbeat(&ids[0], 1), 0);
    h.advance(1);
    assert_eq!(h.heartbeat(&ids[0], 1), REBALANCE_IN_PROGRESS);
    let ticket = h.join(&Member::new().id(&ids[0]));
    let reply = h.joined(ticket);
    assert_eq!((reply.generation_id, reply.members.len()), (2, 1));
    // Nobody is left: the group becomes empty, with a record.
    let records = h.log.len();
    h.advance(10_000);
    assert_eq!((h.state().as_str(), h.log.len()), ("Empty", records + 1));
    assert_eq!(h.heartbeat(&ids[0], 2), UNKNOWN_MEMBER_ID);
}

#[test]
fn members_that_wait_need_no_heartbeats_but_new_ones_do_not_wait_for_ever() {
    let mut h = Harness::new();
    let (ids, _) = h.stable(2);
    let new = h.join(&Member { rebalance_ms: 1_000_000, ..Member::new().version(3) });
    for _ in 0..299 {
        h.advance(1_000);
        h.heartbeat(&ids[0], 1);
        h.heartbeat(&ids[1], 1);
    }
    assert!(h.is_parked(new));
    h.advance(1_000);
    h.join_error(new, UNKNOWN_MEMBER_ID);
}

#[test]
fn members_that_do_not_sync_are_lost() {
    let mut h = Harness::new();
    let a = h.join_twice(&Member::new());
    let b = h.join_twice(&Member::new());
    h.advance(6_000);
    h.joined(a.0);
    h.joined(b.0);
    let sync = h.sync(&a.1, 1, &[]);
    h.synced(sync);
    for _ in 0..59 {
        h.advance(1_000);
        assert_eq!(h.heartbeat(&a.1, 1) + h.heartbeat(&b.1, 1), 0);
    }
    h.advance(1_000);
    assert_eq!(h.heartbeat(&b.1, 1), UNKNOWN_MEMBER_ID);
    assert_eq!(h.heartbeat(&a.1, 1), REBALANCE_IN_PROGRESS);
}

#[test]
fn leaving_ends_membership_at_once() {
    let mut h = Harness::new();
    let (ids, generation) = h.stable(2);
    assert_eq!(h.leave(&[(&ids[0], None)]).members[0].error_code, 0);
    assert_eq!(h.heartbeat(&ids[1], generation), REBALANCE_IN_PROGRESS);
    assert_eq!(h.heartbeat(&ids[0], generation), UNKNOWN_MEMBER_ID);
    assert_eq!(h.leave(&[(&ids[0], None)]).members[0].error_code, UNKNOWN_MEMBER_ID);
    h.leave(&[(&ids[1], None)]);
    assert_eq!(h.state(), "Empty");

    // Version 2 has one member and one error.
    let ticket = h.ticket();
    let request = LeaveGroupRequest { group_id: GROUP.into(), member_id: "x".into(), ..Default::default() };
    h.event(Event::LeaveGroup { ticket, api_version: 2, request });
    assert!(matches!(h.reply(ticket), Reply::Leave(reply) if reply.error_code == UNKNOWN_MEMBER_ID));
}

#[test]
fn leaving_with_a_parked_request_answers_it() {
    let mut h = Harness::new();
    let (parked, id) = h.join_twice(&Member::new());
    h.leave(&[(&id, None)]);
    h.join_error(parked, UNKNOWN_MEMBER_ID);
    let pending = h.join(&Member::new());
    let id = h.join_error(pending, 79);
    assert_eq!(h.leave(&[(&id, None)]).members[0].error_code, 0, "an id that was handed out can leave");
    h.advance(100_000);
    assert_eq!(h.state(), "Empty");
}

#[test]
fn sync_checks_the_protocol_when_it_is_said() {
    let mut h = Harness::new();
    let (ids, generation) = h.stable(1);
    for (protocol_type, name, error) in [("consumer", "range", 0), ("connect", "range", 23), ("consumer", "x", 23)] {
        let ticket = h.ticket();
        let request = ottla_protocol::SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: (&ids[0]).into(),
            protocol_type: Some(protocol_type.into()),
            protocol_name: Some(name.into()),
            ..Default::default()
        };
        h.event(Event::SyncGroup { ticket, request });
        assert_eq!(h.sync_error(ticket), error);
    }
}
