//! What survives, and what a failed append does.

use bytes::Bytes;
use ottla_coordinator::group::{CoordinatorRecord, Event, GroupConfig, GroupShard, Reply};
use ottla_model::ErrorCode;

use crate::harness::{GROUP, Harness, Member};

#[test]
fn members_go_on_after_a_restart() {
    let mut h = Harness::new();
    let (ids, generation) = h.stable(3);
    h.commit(GROUP, &ids[1], generation, "t", 42);
    h.restart();
    assert_eq!((h.state().as_str(), h.fetch(GROUP, "t")), ("Stable", 42));
    for id in &ids {
        assert_eq!(h.heartbeat(id, generation), 0);
        let sync = h.sync(id, generation, &[]);
        assert_eq!(&h.synced(sync).assignment[..], id.as_bytes());
    }
    // A new member joins the loaded group, and the old ones come back to it.
    let (ticket, _) = h.join_twice(&Member::new());
    let tickets: Vec<_> = ids.iter().map(|id| h.join(&Member::new().id(id))).collect();
    assert_eq!(h.joined(ticket).generation_id, generation + 1);
    for ticket in tickets {
        assert_eq!(h.joined(ticket).generation_id, generation + 1);
    }
}

#[test]
fn members_that_do_not_come_back_after_a_restart_are_lost() {
    let mut h = Harness::new();
    let (_, _) = h.stable(2);
    h.restart();
    h.advance(10_000);
    assert_eq!(h.state(), "Empty");
}

#[test]
fn a_restart_within_a_rebalance_goes_back_to_the_last_written_generation() {
    let mut h = Harness::new();
    let (ids, generation) = h.stable(2);
    let (parked, _) = h.join_twice(&Member::new());
    h.restart();
    h.join_error(parked, 16);
    assert_eq!((h.state().as_str(), h.heartbeat(&ids[0], generation)), ("Stable", 0));
}

#[test]
fn a_new_group_is_known_from_its_first_join_on() {
    let mut h = Harness::new();
    h.join(&Member::new());
    assert_eq!(h.log.len(), 1);
    h.restart();
    assert_eq!(h.state(), "Empty");
}

#[test]
fn a_smaller_maximum_takes_effect_at_load() {
    let mut h = Harness::new();
    let (ids, _) = h.stable(3);
    h.config = GroupConfig { max_size: 2, ..h.config };
    h.restart();
    assert_eq!(h.state(), "PreparingRebalance");
    let tickets: Vec<_> = ids.iter().map(|id| h.join(&Member::new().id(id))).collect();
    h.join_error(tickets[2], 81);
    h.advance(60_000);
    assert_eq!(h.joined(tickets[0]).generation_id, 2);
    assert_eq!(h.joined(tickets[1]).generation_id, 2);
}

#[test]
fn a_failed_append_tells_everybody() {
    let mut h = Harness::new();
    let a = h.join_twice(&Member::new());
    let b = h.join_twice(&Member::new());
    h.advance(6_000);
    h.joined(a.0);
    h.joined(b.0);
    let follower = h.sync(&b.1, 1, &[]);
    let leader = h.ticket();
    let request = ottla_protocol::SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: (&a.1).into(),
        ..Default::default()
    };
    let step = h.shard.step(h.now(), Event::SyncGroup { ticket: leader, request });
    assert_eq!((step.records.len(), step.replies.len()), (1, 2));
    let shard = std::mem::replace(&mut h.shard, GroupShard::new(h.config.clone()));
    let mut replies = shard.fail(step, ErrorCode::NotEnoughReplicas);
    replies.sort_by_key(|(ticket, _)| *ticket);
    let errors: Vec<_> = (replies.into_iter())
        .map(|(ticket, reply)| match reply {
            Reply::Sync(reply) => (ticket, reply.error_code, reply.assignment.is_empty()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(errors, [(follower, 15, true), (leader, 15, true)]);
}

#[test]
fn records_of_later_versions_are_kept() {
    let mut h = Harness::new();
    let key = Bytes::from_static(b"\0\x03\0\x01g");
    let record = CoordinatorRecord::decode(Some(&key), Some(&Bytes::from_static(b"\0\0xyz"))).unwrap();
    h.shard.replay(0, -1, &record);
    assert_eq!(h.shard.other_records().map(|(key, _)| key.clone()).collect::<Vec<_>>(), std::slice::from_ref(&key));
    h.shard.replay(1, -1, &CoordinatorRecord::decode(Some(&key), None).unwrap());
    assert_eq!(h.shard.other_records().count(), 0);
}
