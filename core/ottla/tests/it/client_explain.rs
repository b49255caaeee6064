//! `explain_group`: each reason why nothing arrives is made for real, and told.

use crate::client_group::{SHORT, member, numbers, poll_until, read, settled};
use crate::support::{client, create_topic, on_tcp, produce};
use ottla::client::admin::{Cause, Certainty, ExplainOptions, Explanation, GroupState, ListGroupsOptions};
use ottla::client::{Client, Env, ErrorCode, Producer, ProducerRecord, TopicPartition};
use ottla::faults::ApiKey;
use std::time::Duration;

async fn explain(client: &Client) -> Explanation {
    let options = ExplainOptions {
        duration: Duration::from_millis(200),
        samples: 3,
        patience: Duration::from_millis(2000),
        ..ExplainOptions::default()
    };
    client.admin().explain_group("g", &options).await
}

fn told(explanation: &Explanation, cause: Cause, certainty: Certainty) {
    let first = &explanation.findings[0];
    assert_eq!((first.cause, first.certainty), (cause, certainty), "{explanation:#?}");
    assert_eq!(explanation.sentence, first.what);
    assert!(!first.evidence.is_empty() && !first.advice.is_empty(), "{explanation:#?}");
    assert!(explanation.timeline.len() >= 2, "{explanation:#?}");
    assert!(explanation.timeline.is_sorted_by_key(|entry| entry.at_ms), "{explanation:#?}");
}

/// What the group is doing; `None` while there is none.
async fn state(client: &Client) -> Option<GroupState> {
    let listed = client.admin().list_groups(&ListGroupsOptions::default()).await.expect("listed");
    listed.groups.first().and_then(|group| group.state)
}

/// Waits until the group is in this state with so many members.
async fn group_is(client: &Client, state: GroupState, members: usize) {
    let id = "g".to_owned();
    loop {
        let described = client.admin().describe_consumer_groups(std::slice::from_ref(&id), false).await;
        if described[&id].as_ref().is_ok_and(|group| group.state == state && group.members.len() == members) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_to_read() {
    let broker = on_tcp().await;
    let client = client(&broker);
    told(&explain(&client).await, Cause::NoSuchGroup, Certainty::Certain);
    create_topic(&client, "t", 1).await;
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("by group");
    poll_until(&[&consumer], &mut Vec::new(), |_| settled(&[&consumer], 1)).await;
    let empty = explain(&client).await;
    told(&empty, Cause::NoData, Certainty::Certain);
    assert!(empty.sentence.contains("never had a record"), "{}", empty.sentence);
    produce(&client, "t", numbers(0..5)).await;
    read(&consumer, 5).await;
    consumer.commit_sync().await.expect("a member");
    let caught_up = explain(&client).await;
    told(&caught_up, Cause::NoData, Certainty::Certain);
    assert!(caught_up.sentence.contains("has read all"), "{}", caught_up.sentence);
    consumer.close(Duration::from_secs(10)).await.expect("leaves");
    produce(&client, "t", numbers(0..5)).await;
    told(&explain(&client).await, Cause::NoMembers, Certainty::Certain);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..5)).await;
    let bootstrap = broker.bootstrap_servers();
    let configs = [("bootstrap.servers", bootstrap.as_str()), ("transactional.id", "payments")];
    let producer = Producer::from_configs(Env::real(), configs).expect("the configs fit together");
    producer.init_transactions().await.expect("the coordinator answers");
    producer.begin_transaction().expect("none is open");
    let record = producer.send(ProducerRecord::new("t", None, Some(b"held"))).await.expect("taken");
    record.wait().await.expect("written");
    let consumer = member(&client, "g", &[("isolation.level", "read_committed")]);
    consumer.subscribe(["t"]).expect("by group");
    read(&consumer, 5).await;
    consumer.commit_sync().await.expect("a member");
    let held = explain(&client).await;
    told(&held, Cause::OpenTransaction, Certainty::Likely);
    let evidence = held.findings[0].evidence.join("\n");
    assert!(evidence.contains("transactional.id payments"), "{evidence}");
    assert!(evidence.contains("last stable offset 5, high watermark 6"), "{evidence}");
    assert!(held.timeline[0].what.contains("payments") || held.timeline[1].what.contains("payments"), "{held:#?}");
    producer.commit_transaction().await.expect("committed");
    read(&consumer, 1).await;
    consumer.commit_sync().await.expect("a member");
    told(&explain(&client).await, Cause::NoData, Certainty::Certain);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_members_than_partitions() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let (one, two) = (member(&client, "g", &[]), member(&client, "g", &[]));
    for consumer in [&one, &two] {
        consumer.subscribe(["t"]).expect("by group");
    }
    let both = [&one, &two];
    let joined =
        |consumer: &&ottla::client::Consumer| !consumer.group_metadata().expect("a group").member_id.is_empty();
    poll_until(&both, &mut Vec::new(), |_| settled(&both, 1) && both.iter().all(joined)).await;
    group_is(&client, GroupState::Stable, 2).await;
    let explained = explain(&client).await;
    told(&explained, Cause::MoreMembersThanPartitions, Certainty::Certain);
    assert!(explained.sentence.starts_with("1 of the 2 members"), "{}", explained.sentence);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_match_nothing() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let consumer = member(&client, "g", &[]);
    consumer.subscribe_pattern("^orders-.*").expect("by group");
    while state(&client).await != Some(GroupState::Stable) {
        consumer.poll(SHORT).await.expect("nothing to read");
    }
    told(&explain(&client).await, Cause::PatternMatchesNothing, Certainty::Likely);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reset_policy() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..5)).await;
    let latest = [("auto.offset.reset", "latest"), ("enable.auto.commit", "false")];
    let consumer = member(&client, "g", &latest);
    consumer.subscribe(["t"]).expect("by group");
    poll_until(&[&consumer], &mut Vec::new(), |_| settled(&[&consumer], 1)).await;
    told(&explain(&client).await, Cause::ResetPolicy, Certainty::Likely);
    // An offset whose records are deleted meanwhile.
    consumer.seek(&TopicPartition::new("t", 0), ottla::client::Position::Offset(1)).await.expect("assigned");
    consumer.commit_sync().await.expect("a member");
    let before = [(TopicPartition::new("t", 0), 3)].into();
    client.admin().delete_records(&before).await.pop_first().expect("answered").1.expect("deleted");
    let deleted = explain(&client).await;
    told(&deleted, Cause::OffsetOutOfRange, Certainty::Certain);
    assert!(deleted.findings[0].evidence[0].contains("committed 1, records 3 to 5"), "{deleted:#?}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_paused() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    let consumer = member(&client, "g", &[("enable.auto.commit", "false")]);
    consumer.subscribe(["t"]).expect("by group");
    poll_until(&[&consumer], &mut Vec::new(), |_| settled(&[&consumer], 2)).await;
    consumer.commit_sync().await.expect("a member");
    let producer = client.producer(Default::default()).expect("the defaults fit together");
    let send = async |partition: i32| {
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new("t", None, Some(b"v")) };
        producer.send(record).await.expect("taken").wait().await.expect("written");
    };
    let stuck = TopicPartition::new("t", 0);
    consumer.pause(std::slice::from_ref(&stuck)).expect("assigned");
    send(0).await;
    let alone = explain(&client).await;
    told(&alone, Cause::Paused, Certainty::Possible);
    let others_go_on = async {
        loop {
            send(1).await;
            consumer.poll(SHORT).await.expect("it is assigned");
            consumer.commit_sync().await.expect("a member");
        }
    };
    let explained: Explanation = tokio::select! {
        explained = explain(&client) => explained,
        () = others_go_on => unreachable!("it goes on"),
    };
    told(&explained, Cause::Paused, Certainty::Likely);
    assert_eq!(explained.findings[0].partitions, [stuck].into());
    assert!(explained.findings.iter().any(|finding| finding.cause == Cause::Arriving), "{explained:#?}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_does_not_poll() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    let busy = member(&client, "g", &[]);
    busy.subscribe(["t"]).expect("by group");
    poll_until(&[&busy], &mut Vec::new(), |_| settled(&[&busy], 2)).await;
    let newcomer = member(&client, "g", &[]);
    newcomer.subscribe(["t"]).expect("by group");
    let waits = async {
        loop {
            newcomer.poll(SHORT).await.expect("it waits for the other");
        }
    };
    let look = async {
        // The rebalance has begun once the newcomer has asked to join.
        while state(&client).await != Some(GroupState::PreparingRebalance) {
            tokio::task::yield_now().await;
        }
        explain(&client).await
    };
    let explained: Explanation = tokio::select! {
        explained = look => explained,
        () = waits => unreachable!("it waits"),
    };
    told(&explained, Cause::MaxPollExceeded, Certainty::Likely);
    assert!(explained.sentence.contains("does not come back to poll"), "{}", explained.sentence);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_and_unavailable() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let fault = broker.faults().on(ApiKey::DescribeGroups).always().error(ErrorCode::GroupAuthorizationFailed);
    let fault = fault.expect("the API has errors");
    told(&explain(&client).await, Cause::Denied, Certainty::Certain);
    fault.remove();
    let fault = broker.faults().on(ApiKey::FindCoordinator).always().error(ErrorCode::CoordinatorNotAvailable);
    let fault = fault.expect("the API has errors");
    // Not the client that has found the coordinator already.
    let other = crate::support::client(&broker);
    told(&explain(&other).await, Cause::CoordinatorUnavailable, Certainty::Certain);
    fault.remove();
    told(&explain(&other).await, Cause::NoSuchGroup, Certainty::Certain);
    broker.close().await.expect("closes");
}
