//! AddOffsetsToTxn and TxnOffsetCommit: offsets that wait for the end of a transaction.

use crate::ask::{pause, topic};
use crate::cases::group_offsets::fetching;
use crate::cases::groups::{alone, found};
use crate::side::{Side, all_versions};
use crate::transact::{Producer, adding_offsets, at_rest, committing, end, producer};
use ottla_model::Uuid;
use ottla_protocol::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_protocol::*;

/// The group's offsets, those that are stable and those that may change.
async fn look(side: &mut Side, when: &str, group: &str) {
    for require_stable in [false, true] {
        let request = OffsetFetchRequest { require_stable, ..fetching(9, group, None) };
        side.ask(&format!("{when}, stable {require_stable}"), 9, &request).await;
    }
}

/// AddOffsetsToTxn and TxnOffsetCommit at every version.
pub async fn commit(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let none = (String::new(), Uuid::ZERO);
    for version in all_versions::<AddOffsetsToTxnRequest>() {
        let group = found(side, &format!("add{version}")).await;
        let it = producer(side, &format!("add{version}")).await;
        side.ask("an old epoch", version, &adding_offsets(&Producer { epoch: it.epoch - 1, ..it.clone() }, &group))
            .await;
        side.ask("a new epoch", version, &adding_offsets(&Producer { epoch: it.epoch + 1, ..it.clone() }, &group))
            .await;
        side.ask("another id", version, &adding_offsets(&Producer { id: it.id + 90_000, ..it.clone() }, &group)).await;
        let nameless = Producer { name: String::new(), ..it.clone() };
        side.ask("an empty name", version, &adding_offsets(&nameless, &group)).await;
        let nobody = Producer { name: side.name("nobody"), ..it.clone() };
        side.ask("an unknown name", version, &adding_offsets(&nobody, &group)).await;
        side.ask("good", version, &adding_offsets(&it, &group)).await;
        side.ask("again", version, &adding_offsets(&it, &group)).await;
        let mut it = it;
        end(side, "the end", 3, &mut it, false).await;
        look(side, "nothing committed", &group).await;
    }
    for version in all_versions::<TxnOffsetCommitRequest>() {
        let group = found(side, &format!("g{version}")).await;
        let mut it = producer(side, &format!("t{version}")).await;
        let ended = if version >= 5 { 5 } else { 4 };
        if version < 5 {
            side.ask("without having added", version, &committing(&it, &group, &a, &[(0, 1)])).await;
            side.ask("adds", 3, &adding_offsets(&it, &group)).await;
        }
        side.ask("good", version, &committing(&it, &group, &a, &[(0, 5), (1, 6)])).await;
        look(side, "pending", &group).await;
        side.ask("the same again", version, &committing(&it, &group, &a, &[(0, 7)])).await;
        for (label, of) in [
            ("an old epoch", Producer { epoch: it.epoch - 1, ..it.clone() }),
            ("a new epoch", Producer { epoch: it.epoch + 1, ..it.clone() }),
            ("another id", Producer { id: it.id + 90_000, ..it.clone() }),
            ("an empty name of the right id", Producer { name: String::new(), ..it.clone() }),
            ("an unknown name of the right id", Producer { name: side.name("nobody"), ..it.clone() }),
        ] {
            side.ask(label, version, &committing(&of, &group, &a, &[(0, 9)])).await;
        }
        side.ask("empty group", version, &committing(&it, "", &a, &[(0, 9)])).await;
        side.ask("unknown topic", version, &committing(&it, &group, &unknown, &[(0, 9)])).await;
        side.ask("no topic", version, &committing(&it, &group, &none, &[(0, 9)])).await;
        side.ask("unknown partition", version, &committing(&it, &group, &a, &[(7, 9), (2, 9), (-1, 9)])).await;
        side.ask("twice", version, &committing(&it, &group, &a, &[(2, 10), (2, 11)])).await;
        side.ask("negative", version, &committing(&it, &group, &a, &[(2, -1)])).await;
        let mut long = committing(&it, &group, &a, &[(2, 12), (1, 13)]);
        long.topics[0].partitions[0].committed_metadata = Some("m".repeat(5_000).as_str().into());
        long.topics[0].partitions[1].committed_metadata = Some("note".into());
        side.ask("long text", version, &long).await;
        side.ask("no partition", version, &committing(&it, &group, &a, &[])).await;
        let nothing = TxnOffsetCommitRequest { topics: Vec::new(), ..committing(&it, &group, &a, &[]) };
        side.ask("nothing", version, &nothing).await;
        let mut several = committing(&it, &group, &a, &[(0, 14)]);
        several.topics.extend(committing(&it, &group, &unknown, &[(0, 1)]).topics);
        several.topics.extend(committing(&it, &group, &a, &[(1, 15)]).topics);
        side.ask("several", version, &several).await;
        if version >= 3 {
            for (label, member, generation) in
                [("a member", "m", 1), ("a generation", "", 1), ("a member's name", "m", -1)]
            {
                let mut request = committing(&it, &group, &a, &[(0, 16)]);
                request.generation_id_or_member_epoch = generation;
                request.member_id = member.into();
                side.ask(&format!("{label} of an empty group"), version, &request).await;
            }
        }
        look(side, "all pending", &group).await;
        end(side, "commits", ended, &mut it, true).await;
        look(side, "committed", &group).await;
        if version < 5 {
            side.ask("after the end", version, &committing(&it, &group, &a, &[(0, 20)])).await;
            side.ask("adds", 3, &adding_offsets(&it, &group)).await;
        }
        let (member, generation) = alone(side, &group).await;
        side.ask("without a member", version, &committing(&it, &group, &a, &[(0, 21)])).await;
        if version >= 3 {
            for (label, member, generation) in [
                ("the member", member.as_str(), generation),
                ("an old generation", &member, generation - 1),
                ("a new generation", &member, generation + 1),
                ("nobody", "nobody", generation),
                ("no member", "", generation),
                ("no generation", &member, -1),
            ] {
                let mut request = committing(&it, &group, &a, &[(0, 22), (1, 23)]);
                request.generation_id_or_member_epoch = generation;
                request.member_id = member.into();
                side.ask(label, version, &request).await;
                request.group_instance_id = Some("i".into());
                side.ask(&format!("{label}, an unknown instance"), version, &request).await;
            }
        }
        look(side, "pending again", &group).await;
        end(side, "aborts", ended, &mut it, false).await;
        look(side, "aborted", &group).await;
    }
}

/// Offsets that are pending beside those that are not, and what deletes them.
pub async fn stable(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    for (at, commits) in [(0, true), (1, false)] {
        let group = found(side, &format!("g{at}")).await;
        let mut first = producer(side, &format!("first{at}")).await;
        let mut second = producer(side, &format!("second{at}")).await;
        let plain = |index: i32, offset: i64| OffsetCommitRequest {
            group_id: group.as_str().into(),
            generation_id_or_member_epoch: -1,
            topics: vec![offset_commit_request::OffsetCommitRequestTopic {
                name: a.0.as_str().into(),
                topic_id: a.1,
                partitions: vec![offset_commit_request::OffsetCommitRequestPartition {
                    partition_index: index,
                    committed_offset: offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        side.ask("plain", 9, &plain(0, 1)).await;
        side.ask("plain", 9, &plain(2, 2)).await;
        side.ask("first", 5, &committing(&first, &group, &a, &[(0, 10), (1, 11)])).await;
        look(side, "first", &group).await;
        side.ask("second", 5, &committing(&second, &group, &a, &[(1, 21)])).await;
        side.ask("plain over a pending one", 9, &plain(0, 3)).await;
        look(side, "both", &group).await;
        let partition = OffsetDeleteRequestPartition { partition_index: 1, ..Default::default() };
        let gone =
            OffsetDeleteRequestTopic { name: a.0.as_str().into(), partitions: vec![partition], ..Default::default() };
        let gone = OffsetDeleteRequest { group_id: group.as_str().into(), topics: vec![gone], ..Default::default() };
        side.ask("deletes a pending one", 0, &gone).await;
        look(side, "after the deletion", &group).await;
        end(side, "second", 5, &mut second, true).await;
        look(side, "second ended", &group).await;
        end(side, "first", 5, &mut first, commits).await;
        look(side, "first ended", &group).await;
        side.ask("pending in a group that goes", 5, &committing(&first, &group, &a, &[(0, 30)])).await;
        let groups_names = vec![group.as_str().into()];
        side.ask("deletes the group", 2, &DeleteGroupsRequest { groups_names, ..Default::default() }).await;
        look(side, "without the group", &group).await;
        end(side, "after the group", 5, &mut first, commits).await;
        pause(side).await;
        look(side, "ended", &group).await;
        at_rest(side, &first.name).await;
    }
}
