//! OffsetCommit, OffsetFetch, OffsetDelete.

use crate::ask::topic;
use crate::cases::groups::{alone, found};
use crate::side::{Side, all_versions, versions};
use ottla_model::{Str, Uuid};
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_protocol::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::*;

type Topic = (String, Uuid);
type Parts<'a> = &'a [(&'a Topic, &'a [i32])];

fn committing(
    group: &str,
    member: &str,
    generation: i32,
    topic: &Topic,
    offsets: &[(i32, i64, Option<&str>)],
) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition_index, committed_offset, metadata)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_metadata: metadata.map(Str::from),
        ..Default::default()
    });
    let topic = OffsetCommitRequestTopic {
        name: topic.0.as_str().into(),
        topic_id: topic.1,
        partitions: partitions.collect(),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![topic],
        ..Default::default()
    }
}

/// OffsetFetch of one group in the shape of any version; `None` is everything.
pub fn fetching(version: i16, group: &str, topics: Option<&[(&Topic, &[i32])]>) -> OffsetFetchRequest {
    if version < 8 {
        let topics = topics.map(|topics| {
            let topic = |(topic, partitions): &(&Topic, &[i32])| OffsetFetchRequestTopic {
                name: topic.0.as_str().into(),
                partition_indexes: partitions.to_vec(),
                ..Default::default()
            };
            topics.iter().map(topic).collect()
        });
        return OffsetFetchRequest { group_id: group.into(), topics, ..Default::default() };
    }
    OffsetFetchRequest { groups: vec![fetching_group(group, topics)], ..Default::default() }
}

fn fetching_group(group: &str, topics: Option<&[(&Topic, &[i32])]>) -> OffsetFetchRequestGroup {
    let topics = topics.map(|topics| {
        let topic = |(topic, partitions): &(&Topic, &[i32])| OffsetFetchRequestTopics {
            name: topic.0.as_str().into(),
            topic_id: topic.1,
            partition_indexes: partitions.to_vec(),
            ..Default::default()
        };
        topics.iter().map(topic).collect()
    });
    OffsetFetchRequestGroup { group_id: group.into(), member_epoch: -1, topics, ..Default::default() }
}

pub async fn commit(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let none = (String::new(), Uuid::ZERO);
    let long = "m".repeat(5_000);
    for version in all_versions::<OffsetCommitRequest>() {
        let group = found(side, &format!("g{version}")).await;
        side.ask("generation 1 of no group", version, &committing(&group, "a", 1, &a, &[(0, 1, None)])).await;
        side.ask("member of no group", version, &committing(&group, "a", -1, &a, &[(0, 1, None)])).await;
        side.ask("empty group", version, &committing("", "", -1, &a, &[(0, 1, None)])).await;
        side.ask("simple", version, &committing(&group, "", -1, &a, &[(0, 5, Some("note")), (1, 6, None)])).await;
        side.ask("what is there", 9, &fetching(9, &group, None)).await;
        side.ask("member of an empty group", version, &committing(&group, "a", 1, &a, &[(0, 1, None)])).await;
        side.ask("negative", version, &committing(&group, "", -1, &a, &[(0, -1, None), (1, -5, Some(""))])).await;
        side.ask("unknown topic", version, &committing(&group, "", -1, &unknown, &[(0, 1, None)])).await;
        side.ask("no topic", version, &committing(&group, "", -1, &none, &[(0, 1, None)])).await;
        side.ask(
            "unknown partition",
            version,
            &committing(&group, "", -1, &a, &[(7, 1, None), (0, 8, None), (-1, 0, None)]),
        )
        .await;
        side.ask("long text", version, &committing(&group, "", -1, &a, &[(0, 9, Some(&long)), (1, 9, Some("ok"))]))
            .await;
        side.ask("twice", version, &committing(&group, "", -1, &a, &[(0, 10, None), (0, 11, None)])).await;
        side.ask("no partition", version, &committing(&group, "", -1, &a, &[])).await;
        let empty = OffsetCommitRequest { topics: Vec::new(), ..committing(&group, "", -1, &a, &[]) };
        side.ask("nothing", version, &empty).await;
        let mut several = committing(&group, "", -1, &unknown, &[(0, 1, None)]);
        several.topics.extend(committing(&group, "", -1, &a, &[(0, 12, None)]).topics);
        several.topics.extend(committing(&group, "", -1, &none, &[(0, 12, None)]).topics);
        side.ask("several", version, &several).await;
        several.topics.extend(committing(&group, "", -1, &a, &[(1, 13, None)]).topics);
        side.ask("topic twice", version, &several).await;
        let (member, generation) = alone(side, &group).await;
        side.ask("good", version, &committing(&group, &member, generation, &a, &[(0, 20, None)])).await;
        side.ask("old", version, &committing(&group, &member, generation - 1, &a, &[(0, 21, None)])).await;
        side.ask("new", version, &committing(&group, &member, generation + 1, &a, &[(0, 21, None)])).await;
        side.ask("nobody", version, &committing(&group, "nobody", generation, &a, &[(0, 21, None)])).await;
        side.ask("no member", version, &committing(&group, "", generation, &a, &[(0, 21, None)])).await;
        side.ask("simple in a group with members", version, &committing(&group, "", -1, &a, &[(0, 22, None)])).await;
        side.ask("member without generation", version, &committing(&group, &member, -1, &a, &[(0, 22, None)])).await;
        side.ask(
            "unknown topic of nobody",
            version,
            &committing(&group, "nobody", generation, &unknown, &[(0, 1, None)]),
        )
        .await;
        side.ask(
            "unknown partition of nobody",
            version,
            &committing(&group, "nobody", generation, &a, &[(0, 1, None), (9, 1, None)]),
        )
        .await;
        if version >= 7 {
            let instance = OffsetCommitRequest {
                group_instance_id: Some("i".into()),
                ..committing(&group, &member, generation, &a, &[(0, 23, None)])
            };
            side.ask("unknown instance", version, &instance).await;
        }
        if version >= 6 {
            let mut epochs = committing(&group, &member, generation, &a, &[(0, 24, None)]);
            epochs.topics[0].partitions[0].committed_leader_epoch = 5;
            side.ask("with an epoch", version, &epochs).await;
        }
        if version <= 4 {
            let kept = OffsetCommitRequest {
                retention_time_ms: 1_000_000,
                ..committing(&group, &member, generation, &a, &[(1, 25, None)])
            };
            side.ask("with retention", version, &kept).await;
        }
        side.ask("what is there", 9, &fetching(9, &group, None)).await;
    }
    // The group without a name is everybody's: the next run finds none.
    side.quiet(2, &DeleteGroupsRequest { groups_names: vec!["".into()], ..Default::default() }).await;
}

pub async fn fetch(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let b = topic(side, "b", 1, &[]).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let none = (String::new(), Uuid::ZERO);
    let group = found(side, "g").await;
    let other = found(side, "other").await;
    let nobody = found(side, "nobody").await;
    side.quiet(9, &committing(&group, "", -1, &a, &[(0, 5, Some("note")), (1, 6, None)])).await;
    side.quiet(9, &committing(&group, "", -1, &b, &[(0, 7, Some(""))])).await;
    side.quiet(9, &committing(&other, "", -1, &b, &[(0, 8, None)])).await;
    for version in all_versions::<OffsetFetchRequest>() {
        if version >= 2 {
            side.ask("all", version, &fetching(version, &group, None)).await;
            side.ask("all of nobody", version, &fetching(version, &nobody, None)).await;
            side.ask("all of an empty name", version, &fetching(version, "", None)).await;
        }
        let parts: [(&str, Parts<'_>); 9] = [
            ("nothing", &[]),
            ("one", &[(&a, &[0])]),
            ("some", &[(&a, &[1, 2, 9, -1]), (&b, &[0])]),
            ("twice", &[(&a, &[0, 0])]),
            ("topic twice", &[(&a, &[0]), (&a, &[1])]),
            ("unknown", &[(&unknown, &[0, 1])]),
            ("no topic", &[(&none, &[0])]),
            ("known and unknown", &[(&unknown, &[0]), (&a, &[0])]),
            ("no partition", &[(&a, &[])]),
        ];
        for (label, parts) in parts {
            side.ask(label, version, &fetching(version, &group, Some(parts))).await;
            side.ask(&format!("{label} of nobody"), version, &fetching(version, &nobody, Some(parts))).await;
            side.ask(&format!("{label} of an empty name"), version, &fetching(version, "", Some(parts))).await;
        }
        if version >= 7 {
            let request = OffsetFetchRequest { require_stable: true, ..fetching(version, &group, Some(&[(&a, &[0])])) };
            side.ask("stable", version, &request).await;
        }
        if version >= 8 {
            let mut several = fetching(version, &group, None);
            several.groups.push(fetching_group(&other, Some(&[(&a, &[0]), (&b, &[0])])));
            several.groups.push(fetching_group(&nobody, Some(&[(&unknown, &[0])])));
            several.groups.push(fetching_group(&group, Some(&[(&a, &[1])])));
            side.ask("several", version, &several).await;
            side.ask("no group", version, &OffsetFetchRequest::default()).await;
        }
        if version >= 9 {
            for (member, epoch) in [("m", -1), ("", 5), ("m", 5)] {
                let mut request = fetching(version, &group, Some(&[(&a, &[0])]));
                request.groups[0].member_id = Some(member.into());
                request.groups[0].member_epoch = epoch;
                side.ask(&format!("member {member:?} epoch {epoch}"), version, &request).await;
            }
        }
    }
    let (member, _) = alone(side, &group).await;
    for version in versions::<OffsetFetchRequest>() {
        let mut request = fetching(version, &group, Some(&[(&a, &[0])]));
        side.ask("with members", version, &request).await;
        if version >= 9 {
            request.groups[0].member_id = Some(member.as_str().into());
            request.groups[0].member_epoch = 1;
            side.ask("as a member", version, &request).await;
        }
    }
}

pub async fn delete(side: &mut Side) {
    // The members of `alone` subscribe to a topic called t, which is not this one.
    let a = topic(side, "a", 2, &[]).await;
    let unknown = (side.name("unknown"), Uuid::ZERO);
    let group = found(side, "g").await;
    let nobody = found(side, "nobody").await;
    let ask = |group: &str, topics: &[(&Topic, &[i32])]| OffsetDeleteRequest {
        group_id: group.into(),
        topics: topics
            .iter()
            .map(|(topic, partitions)| OffsetDeleteRequestTopic {
                name: topic.0.as_str().into(),
                partitions: partitions
                    .iter()
                    .map(|index| OffsetDeleteRequestPartition { partition_index: *index, ..Default::default() })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let named = ("t".to_owned(), Uuid::ZERO);
    for members in [false, true] {
        if members {
            alone(side, &group).await;
        } else {
            side.quiet(9, &committing(&group, "", -1, &a, &[(0, 5, None), (1, 6, None)])).await;
        }
        side.ask("unknown group", 0, &ask(&nobody, &[(&a, &[0])])).await;
        side.ask("empty group", 0, &ask("", &[(&a, &[0])])).await;
        side.ask("nothing", 0, &ask(&group, &[])).await;
        side.ask("no partition", 0, &ask(&group, &[(&a, &[])])).await;
        side.ask("unknown", 0, &ask(&group, &[(&unknown, &[0]), (&a, &[7])])).await;
        side.ask("unknown of nobody", 0, &ask(&nobody, &[(&unknown, &[0])])).await;
        side.ask("subscribed", 0, &ask(&group, &[(&named, &[0])])).await;
        side.ask("one", 0, &ask(&group, &[(&a, &[0]), (&unknown, &[0])])).await;
        side.ask("what is left", 9, &fetching(9, &group, None)).await;
        side.ask("again", 0, &ask(&group, &[(&a, &[0, 1, 1])])).await;
        side.ask("what is left", 9, &fetching(9, &group, None)).await;
    }
}
