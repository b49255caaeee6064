//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups, DeleteGroups.

use crate::ask::pause;
use crate::side::{Side, all_versions, versions};
use bytes::Bytes;
use ottla_model::Str;
use ottla_protocol::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::leave_group_request::MemberIdentity;
use ottla_protocol::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::*;

/// Loads the coordinator of a group.
pub async fn found(side: &mut Side, group: &str) -> String {
    let group = side.name(group);
    let request = FindCoordinatorRequest { key: group.as_str().into(), ..Default::default() };
    for _ in 0..100 {
        let found = side.quiet(2, &request).await.error_code == 0;
        let beat = HeartbeatRequest { group_id: group.as_str().into(), ..Default::default() };
        if found && !matches!(side.quiet(3, &beat).await.error_code, 14..=16) {
            break;
        }
        pause(side).await;
    }
    group
}

/// A member that joins.
pub fn joining(group: &str, member: &str, instance: Option<&str>, protocols: &[&str]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member.into(),
        group_instance_id: instance.map(Str::from),
        protocol_type: "consumer".into(),
        protocols: protocols
            .iter()
            .map(|name| JoinGroupRequestProtocol {
                name: (*name).into(),
                metadata: Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0"),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// The member's sync, with assignments when it leads.
pub fn syncing(group: &str, generation: i32, member: &str, assigned: &[&str]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assigned
            .iter()
            .map(|member| SyncGroupRequestAssignment {
                member_id: (*member).into(),
                assignment: Bytes::from_static(b"mine"),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn beat(group: &str, generation: i32, member: &str, instance: Option<&str>) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: instance.map(Str::from),
        ..Default::default()
    }
}

/// Joins alone and syncs; returns the member id and the generation.
pub async fn alone(side: &mut Side, group: &str) -> (String, i32) {
    let first = side.ask("joins", 3, &joining(group, "", None, &["range"])).await;
    let member = first.member_id.to_string();
    side.ask("syncs", 3, &syncing(group, first.generation_id, &member, &[&member])).await;
    (member, first.generation_id)
}

fn leaving(group: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: group.into(),
        members: members
            .iter()
            .map(|(member_id, instance)| MemberIdentity {
                member_id: (*member_id).into(),
                group_instance_id: instance.map(Str::from),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

async fn leave(side: &mut Side, group: &str, member: &str) {
    side.ask("leaves", 4, &leaving(group, &[(member, None)])).await;
}

pub async fn join(side: &mut Side) {
    for version in all_versions::<JoinGroupRequest>() {
        let group = found(side, &format!("g{version}")).await;
        let plain = joining(&group, "", None, &["range", "roundrobin"]);
        side.ask("unknown member", version, &joining(&group, "nobody", None, &["range"])).await;
        side.ask("no protocol", version, &joining(&group, "", None, &[])).await;
        side.ask("empty group", version, &joining("", "", None, &["range"])).await;
        let untyped = JoinGroupRequest { protocol_type: "".into(), ..plain.clone() };
        side.ask("no protocol type", version, &untyped).await;
        for timeout in [0, -1, 1, 5_999, 1_800_001] {
            let request = JoinGroupRequest { session_timeout_ms: timeout, ..plain.clone() };
            side.ask(&format!("session timeout {timeout}"), version, &request).await;
        }
        let first = side.ask("first", version, &plain).await;
        let mut member = first.member_id.to_string();
        let mut generation = first.generation_id;
        if first.error_code == 79 {
            let request = JoinGroupRequest { member_id: member.as_str().into(), ..plain.clone() };
            let joined = side.ask("with its id", version, &request).await;
            (member, generation) = (joined.member_id.to_string(), joined.generation_id);
        }
        let known = |protocols: &[&str]| joining(&group, &member, None, protocols);
        side.ask("the same again before sync", version, &known(&["range", "roundrobin"])).await;
        side.ask("heartbeat before sync", 4, &beat(&group, generation, &member, None)).await;
        let again = side.ask("other order", version, &known(&["roundrobin", "range"])).await;
        let other_type = JoinGroupRequest { protocol_type: "connect".into(), ..plain.clone() };
        side.ask("other type", version, &other_type).await;
        side.ask("other protocol", version, &joining(&group, "", None, &["sticky"])).await;
        side.ask(
            "sync",
            5.min(version),
            &SyncGroupRequest {
                protocol_name: Some(again.protocol_name.clone().unwrap_or_default()),
                ..syncing(&group, again.generation_id, &member, &[&member])
            },
        )
        .await;
        generation = generation.max(again.generation_id);
        let stable = side.ask("leader again when stable", version, &known(&["roundrobin", "range"])).await;
        generation = generation.max(stable.generation_id);
        side.ask("sync again", 3, &syncing(&group, generation, &member, &[&member])).await;
        side.ask("describe", 6, &described(&[&group])).await;
        leave(side, &group, &member).await;
        side.ask("describe", 6, &described(&[&group])).await;
        side.ask("back", version, &known(&["range"])).await;
        side.ask(
            "other type after all have left",
            version,
            &JoinGroupRequest { protocol_type: "connect".into(), ..plain.clone() },
        )
        .await;
        side.ask("describe", 6, &described(&[&group])).await;
    }
}

fn described(groups: &[&str]) -> DescribeGroupsRequest {
    DescribeGroupsRequest { groups: groups.iter().map(|group| Str::from(*group)).collect(), ..Default::default() }
}

pub async fn static_members(side: &mut Side) {
    for version in 5..=9 {
        let group = found(side, &format!("g{version}")).await;
        let plain = joining(&group, "", Some("i1"), &["range"]);
        side.ask("unknown id of an instance", version, &joining(&group, "nobody", Some("i1"), &["range"])).await;
        let first = side.ask("first", version, &plain).await;
        let (member, generation) = (first.member_id.to_string(), first.generation_id);
        side.ask("syncs", 3, &syncing(&group, generation, &member, &[&member])).await;
        side.ask("beats", 4, &beat(&group, generation, &member, Some("i1"))).await;
        side.ask("beats with another id", 4, &beat(&group, generation, "other", Some("i1"))).await;
        side.ask("beats as another instance", 4, &beat(&group, generation, &member, Some("i2"))).await;
        side.ask("beats in another generation", 4, &beat(&group, generation + 1, &member, Some("i1"))).await;
        let back = side.ask("comes back", version, &plain).await;
        let (second, generation) = (back.member_id.to_string(), back.generation_id);
        side.ask("syncs", 3, &syncing(&group, generation, &second, &[&second])).await;
        side.ask("fenced beat", 4, &beat(&group, generation, &member, Some("i1"))).await;
        let mut fenced = syncing(&group, generation, &member, &[]);
        fenced.group_instance_id = Some("i1".into());
        side.ask("fenced sync", 5, &fenced).await;
        side.ask("fenced join", version, &joining(&group, &member, Some("i1"), &["range"])).await;
        side.ask("old id without instance", version, &joining(&group, &member, None, &["range"])).await;
        side.ask("describe", 5, &described(&[&group])).await;
        side.ask("changes its protocols", version, &joining(&group, "", Some("i1"), &["roundrobin", "range"])).await;
        side.ask("describe", 5, &described(&[&group])).await;
        side.ask("nobody leaves", 5, &leaving(&group, &[])).await;
        let members = [("", Some("i9")), ("nobody", None), ("other", Some("i1")), ("", Some("i1")), ("", Some("i1"))];
        side.ask("leave", 5, &leaving(&group, &members)).await;
        side.ask("describe", 5, &described(&[&group])).await;
    }
}

pub async fn generations(side: &mut Side) {
    for round in 0..2 {
        let group = found(side, &format!("g{round}")).await;
        for version in versions::<HeartbeatRequest>() {
            side.ask("beat of no group", version, &beat(&group, 1, "a", None)).await;
            side.ask("beat of an empty group", version, &beat("", 1, "a", None)).await;
        }
        for version in all_versions::<SyncGroupRequest>() {
            side.ask("sync of no group", version, &syncing(&group, 1, "a", &[])).await;
            side.ask("sync of an empty group", version, &syncing("", 1, "a", &[])).await;
        }
        for version in all_versions::<LeaveGroupRequest>() {
            let request =
                LeaveGroupRequest { member_id: "a".into(), ..leaving(&group, &[("a", None), ("", Some("i"))]) };
            let request = match version {
                0..=2 => LeaveGroupRequest { members: Vec::new(), ..request },
                _ => LeaveGroupRequest { member_id: "".into(), ..request },
            };
            side.ask("leave no group", version, &request).await;
            side.ask("leave an empty group", version, &LeaveGroupRequest { group_id: "".into(), ..request }).await;
        }
        let (first, generation) = alone(side, &group).await;
        for version in all_versions::<HeartbeatRequest>() {
            for (label, generation, member) in [
                ("good", generation, first.as_str()),
                ("old", generation - 1, &first),
                ("new", generation + 1, &first),
                ("none", -1, &first),
                ("nobody", generation, "nobody"),
                ("empty", generation, ""),
            ] {
                side.ask(label, version, &beat(&group, generation, member, None)).await;
            }
        }
        for version in all_versions::<SyncGroupRequest>() {
            side.ask("sync again", version, &syncing(&group, generation, &first, &[])).await;
            side.ask("old sync", version, &syncing(&group, generation - 1, &first, &[])).await;
            side.ask("new sync", version, &syncing(&group, generation + 1, &first, &[])).await;
            side.ask("sync of nobody", version, &syncing(&group, generation, "nobody", &[])).await;
            if version >= 5 {
                let other =
                    SyncGroupRequest { protocol_name: Some("x".into()), ..syncing(&group, generation, &first, &[]) };
                side.ask("sync of another protocol", version, &other).await;
                let other =
                    SyncGroupRequest { protocol_type: Some("x".into()), ..syncing(&group, generation, &first, &[]) };
                side.ask("sync of another type", version, &other).await;
                let other = SyncGroupRequest { protocol_type: None, ..syncing(&group, generation, &first, &[]) };
                side.ask("sync of no type", version, &other).await;
            }
        }
        // A second member: the first learns of the rebalance by its heartbeat.
        let second = side.start(3, &joining(&group, "", None, &["range"])).await;
        side.env.sleep(std::time::Duration::from_millis(150)).await;
        side.ask("beat in a rebalance", 4, &beat(&group, generation, &first, None)).await;
        side.ask("sync in a rebalance", 3, &syncing(&group, generation, &first, &[])).await;
        side.ask("describe", 5, &described(&[&group])).await;
        let again = side.start(3, &joining(&group, &first, None, &["range"])).await;
        let second = side.finish("second", 3, second).await;
        let joined = side.finish("first again", 3, again).await;
        let generation = joined.generation_id;
        let other = second.member_id.to_string();
        side.ask("beat before sync", 4, &beat(&group, generation, &first, None)).await;
        let parked = side.start(3, &syncing(&group, generation, &other, &[])).await;
        side.env.sleep(std::time::Duration::from_millis(100)).await;
        side.ask("describe", 5, &described(&[&group])).await;
        side.ask("leader's sync", 3, &syncing(&group, generation, &first, &[&first, "stranger"])).await;
        side.finish("second's sync", 3, parked).await;
        side.ask("describe", 5, &described(&[&group])).await;
        if round == 0 {
            side.ask(
                "leader leaves",
                2,
                &LeaveGroupRequest { member_id: first.as_str().into(), ..leaving(&group, &[]) },
            )
            .await;
            side.ask("beat after it", 4, &beat(&group, generation, &other, None)).await;
            side.ask("beat of the one that left", 4, &beat(&group, generation, &first, None)).await;
            let rejoined = side.ask("second again", 3, &joining(&group, &other, None, &["range"])).await;
            side.ask("sync without assignment", 3, &syncing(&group, rejoined.generation_id, &other, &[])).await;
        }
        side.ask(
            "not empty",
            2,
            &DeleteGroupsRequest { groups_names: vec![group.as_str().into()], ..Default::default() },
        )
        .await;
        side.ask("all leave", 5, &leaving(&group, &[(&first, None), (&other, None), (&other, None)])).await;
        side.ask("describe", 6, &described(&[&group])).await;
        for _ in 0..2 {
            let group = Str::from(group.as_str());
            let groups_names = vec![group.clone(), "no-such".into(), "".into(), group];
            side.ask("delete", 2, &DeleteGroupsRequest { groups_names, ..Default::default() }).await;
        }
        side.ask("describe", 6, &described(&[&group])).await;
    }
}

pub async fn list_and_describe(side: &mut Side) {
    let empty = found(side, "empty").await;
    let stable = found(side, "stable").await;
    let (member, _) = alone(side, &empty).await;
    leave(side, &empty, &member).await;
    alone(side, &stable).await;
    let fresh = found(side, "syncs").await;
    side.ask("joins only", 3, &joining(&fresh, "", None, &["range"])).await;
    for version in all_versions::<ListGroupsRequest>() {
        side.ask_all("all", version, &ListGroupsRequest::default()).await;
        if version >= 4 {
            let states: [&[&str]; 7] = [
                &["Stable"],
                &["stable"],
                &["Empty", "Stable"],
                &["nothing"],
                &["COMPLETINGREBALANCE"],
                &["Dead"],
                &[""],
            ];
            for states in states {
                let states_filter = states.iter().map(|state| Str::from(*state)).collect();
                let request = ListGroupsRequest { states_filter, ..Default::default() };
                side.ask_all(&format!("states {states:?}"), version, &request).await;
            }
        }
        if version >= 5 {
            let types: [&[&str]; 6] =
                [&["classic"], &["Classic"], &["consumer"], &["nothing"], &["classic", "consumer"], &[""]];
            for types in types {
                let types_filter = types.iter().map(|it| Str::from(*it)).collect();
                let request = ListGroupsRequest { types_filter, ..Default::default() };
                side.ask_all(&format!("types {types:?}"), version, &request).await;
            }
        }
    }
    for version in all_versions::<DescribeGroupsRequest>() {
        let request = described(&[&stable, &empty, "no-such", "", &stable]);
        side.ask("several", version, &request).await;
        let request = DescribeGroupsRequest { include_authorized_operations: version >= 3, ..request };
        side.ask("operations", version, &request).await;
        side.ask("none", version, &described(&[])).await;
    }
    for version in all_versions::<DeleteGroupsRequest>() {
        let names = |names: &[&str]| DeleteGroupsRequest {
            groups_names: names.iter().map(|name| Str::from(*name)).collect(),
            ..Default::default()
        };
        side.ask("stable", version, &names(&[&stable])).await;
        side.ask("unknown", version, &names(&["no-such"])).await;
        side.ask("empty name", version, &names(&[""])).await;
        side.ask("none", version, &names(&[])).await;
    }
}
