//! Admin calls that go to partition leaders and group coordinators: offsets of partitions and of groups, groups
//! themselves; each key has its own result.

use crate::support::{client, create_topic, on_tcp, produce};
use ottla::client::admin::{GroupState, GroupType, ListGroupsOptions, MemberToRemove, OffsetSpec};
use ottla::client::{ErrorCode, IsolationLevel, OffsetAndMetadata, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_partitions() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", (0..10).map(|i| format!("v{i}"))).await;
    let admin = client.admin();

    let ask = async |spec: OffsetSpec| {
        let specs = BTreeMap::from([(tp("t", 0), spec)]);
        let mut found = admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        found.remove(&tp("t", 0)).expect("each key has a result").expect("it exists")
    };
    // What is wrong with the others does not touch the one that exists.
    let specs = [tp("t", 0), tp("t", 5), tp("no", 0)].map(|partition| (partition, OffsetSpec::Latest));
    let mut found = admin.list_offsets(&BTreeMap::from(specs), IsolationLevel::ReadCommitted).await;
    assert_eq!(found.remove(&tp("t", 0)).expect("each key has a result").expect("it exists").offset, Some(10));
    for (missing, result) in found {
        let error = result.expect_err("it does not exist");
        assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition), "{missing}: {error}");
    }
    assert_eq!(ask(OffsetSpec::Earliest).await.offset, Some(0));
    assert_eq!(ask(OffsetSpec::Latest).await.offset, Some(10));
    let first = ask(OffsetSpec::Timestamp(0)).await;
    assert_eq!(first.offset, Some(0));
    assert!(first.timestamp.is_some_and(|ms| ms > 1_700_000_000_000), "{first:?}");
    assert_eq!(ask(OffsetSpec::Timestamp(i64::MAX / 2)).await.offset, None, "nothing is as late");
    let latest = ask(OffsetSpec::MaxTimestamp).await;
    assert!(latest.offset.is_some() && latest.timestamp >= first.timestamp, "{latest:?}");

    let before = BTreeMap::from([(tp("t", 0), 4), (tp("t", 5), 1)]);
    let deleted = admin.delete_records(&before).await;
    assert_eq!(*deleted[&tp("t", 0)].as_ref().expect("deleted"), 4);
    assert_eq!(
        deleted[&tp("t", 5)].as_ref().expect_err("no such partition").code(),
        Some(ErrorCode::UnknownTopicOrPartition)
    );
    assert_eq!(ask(OffsetSpec::Earliest).await.offset, Some(4));
    let beyond = admin.delete_records(&BTreeMap::from([(tp("t", 0), 11)])).await;
    assert_eq!(beyond[&tp("t", 0)].as_ref().expect_err("beyond").code(), Some(ErrorCode::OffsetOutOfRange));
    let rest = admin.delete_records(&BTreeMap::from([(tp("t", 0), -1)])).await;
    assert_eq!(*rest[&tp("t", 0)].as_ref().expect("deleted"), 10);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_groups() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    let admin = client.admin();
    let five = OffsetAndMetadata { offset: 5, leader_epoch: Some(0), metadata: "note".to_owned() };
    let offsets = BTreeMap::from([
        (tp("t", 0), five.clone()),
        (tp("t", 1), OffsetAndMetadata::from(7)),
        (tp("no", 0), OffsetAndMetadata::from(1)),
    ]);
    let altered = admin.alter_consumer_group_offsets("g", &offsets).await;
    altered[&tp("t", 0)].as_ref().expect("set");
    altered[&tp("t", 1)].as_ref().expect("set");
    let error = altered[&tp("no", 0)].as_ref().expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));

    let groups = BTreeMap::from([
        ("g".to_owned(), None),
        ("h".to_owned(), Some(BTreeSet::from([tp("t", 0)]))),
        ("nobody".to_owned(), None),
    ]);
    let listed = admin.list_consumer_group_offsets(&groups, true).await;
    let of_g = listed["g"].as_ref().expect("listed");
    assert_eq!(of_g.len(), 2);
    assert_eq!(of_g[&tp("t", 0)].as_ref().expect("no error"), &Some(five));
    assert_eq!(of_g[&tp("t", 1)].as_ref().expect("no error"), &Some(OffsetAndMetadata::from(7)));
    assert_eq!(listed["h"].as_ref().expect("listed")[&tp("t", 0)].as_ref().expect("no error"), &None);
    assert!(listed["nobody"].as_ref().expect("listed").is_empty());

    let deleted = admin.delete_consumer_group_offsets("g", &BTreeSet::from([tp("t", 0)])).await;
    deleted[&tp("t", 0)].as_ref().expect("deleted");
    let left = admin.consumer_group_offsets("g", None).await.expect("listed");
    assert_eq!(left.keys().collect::<Vec<_>>(), [&tp("t", 1)]);
    let missing = admin.delete_consumer_group_offsets("nobody", &BTreeSet::from([tp("t", 0)])).await;
    let error = missing[&tp("t", 0)].as_ref().expect_err("no such group");
    assert_eq!(error.code(), Some(ErrorCode::GroupIdNotFound));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_described_and_deleted() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let admin = client.admin();
    for group in ["a", "b"] {
        let set = admin
            .alter_consumer_group_offsets(group, &BTreeMap::from([(tp("t", 0), OffsetAndMetadata::from(1))]))
            .await;
        set[&tp("t", 0)].as_ref().expect("set");
    }
    let listed = admin.list_groups(&ListGroupsOptions::for_consumer_groups()).await.expect("listed");
    assert!(listed.errors.is_empty());
    let groups: Vec<_> = listed.groups.iter().map(|group| (group.group_id.as_str(), group.state)).collect();
    assert_eq!(groups, [("a", Some(GroupState::Empty)), ("b", Some(GroupState::Empty))]);
    assert!(listed.groups[0].is_simple_consumer_group());
    let stable = ListGroupsOptions { states: BTreeSet::from([GroupState::Stable]), ..Default::default() };
    assert!(admin.list_groups(&stable).await.expect("listed").groups.is_empty());

    let ids = ["a".to_owned(), "nobody".to_owned()];
    let described = admin.describe_consumer_groups(&ids, false).await;
    let group = described["a"].as_ref().expect("described");
    assert_eq!((group.group_type, group.state, group.members.len()), (GroupType::Classic, GroupState::Empty, 0));
    assert!(group.coordinator.is_some());
    let error = described["nobody"].as_ref().expect_err("no such group");
    assert_eq!(error.code(), Some(ErrorCode::GroupIdNotFound), "{error}");

    let members = BTreeSet::from([MemberToRemove::Member("m".to_owned()), MemberToRemove::Instance("i".to_owned())]);
    let removed = admin.remove_members_from_consumer_group("a", &members, Some("a test")).await.expect("answered");
    for member in &members {
        let error = removed[member].as_ref().expect_err("no such member");
        assert_eq!(error.code(), Some(ErrorCode::UnknownMemberId), "{error}");
    }
    let deleted = admin.delete_consumer_groups(&ids).await;
    deleted["a"].as_ref().expect("deleted");
    assert_eq!(deleted["nobody"].as_ref().expect_err("no such group").code(), Some(ErrorCode::GroupIdNotFound));
    let left = admin.list_groups(&ListGroupsOptions::default()).await.expect("listed");
    assert_eq!(left.groups.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["b"]);
    broker.close().await.expect("closes");
}
