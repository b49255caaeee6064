//! Consumers in a classic group: joining, rebalancing, committing, leaving.

use crate::support::{PATIENCE, client, create_topic, on_tcp, produce};
use ottla::client::{
    BoxFuture, Client, Configs, Consumer, ConsumerOptions, ErrorKind, OffsetReset, RebalanceListener, Result, Scope,
    TopicPartition,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const SHORT: Duration = Duration::from_millis(50);

pub fn options(group: &str, pairs: &[(&str, &str)]) -> ConsumerOptions {
    let base = [("group.id", group), ("auto.offset.reset", "earliest"), ("heartbeat.interval.ms", "100")];
    let pairs: Vec<(&str, &str)> = base.into_iter().chain(pairs.iter().copied()).collect();
    let (configs, _) = Configs::parse(Scope::Consumer, pairs).expect("each is valid");
    ConsumerOptions::from_configs(&configs).expect("they fit together")
}

pub fn member(client: &Client, group: &str, pairs: &[(&str, &str)]) -> Consumer {
    client.consumer(options(group, pairs))
}

pub fn value(record: &ottla::client::ConsumerRecord) -> String {
    String::from_utf8_lossy(record.value.as_ref().expect("a value")).into_owned()
}

/// Polls until `count` records came.
pub async fn read(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let records = consumer.poll(PATIENCE).await.expect("the group goes on");
        assert!(!records.is_empty(), "nothing came");
        values.extend(records.iter().map(value));
    }
    values
}

/// Polls all of them in turn until `done`; what came is appended to `values`.
pub async fn poll_until(consumers: &[&Consumer], values: &mut Vec<String>, mut done: impl FnMut(&[String]) -> bool) {
    let limit = std::time::Instant::now() + PATIENCE;
    while !done(values) {
        assert!(std::time::Instant::now() < limit, "the group does not get there");
        for consumer in consumers {
            let records = consumer.poll(SHORT).await.expect("the group goes on");
            values.extend(records.iter().map(value));
        }
    }
}

pub fn settled(consumers: &[&Consumer], partitions: usize) -> bool {
    let sizes: Vec<usize> = consumers.iter().map(|consumer| consumer.assignment().len()).collect();
    let all: BTreeSet<TopicPartition> = consumers.iter().flat_map(|consumer| consumer.assignment()).collect();
    let spread = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0);
    all.len() == partitions && sizes.iter().sum::<usize>() == partitions && spread <= 1
}

/// What a listener heard, in order.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Vec<(&'static str, Vec<i32>)>>);

impl Heard {
    fn note(&self, what: &'static str, partitions: &[TopicPartition]) -> BoxFuture<'static, Result<()>> {
        let mut indexes: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
        indexes.sort_unstable();
        self.0.lock().expect("no panic").push((what, indexes));
        Box::pin(std::future::ready(Ok(())))
    }

    pub fn take(&self) -> Vec<(&'static str, Vec<i32>)> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl RebalanceListener for Heard {
    fn on_partitions_revoked<'a>(
        &'a self,
        _: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.note("revoked", partitions)
    }
    fn on_partitions_assigned<'a>(
        &'a self,
        _: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.note("assigned", partitions)
    }
    fn on_partitions_lost<'a>(
        &'a self,
        _: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.note("lost", partitions)
    }
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{number:05}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_reads_commits_and_comes_back_where_it_was() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "alone", 3).await;
    produce(&client, "alone", numbers(0..100)).await;
    let heard = Arc::new(Heard::default());
    let first = member(&client, "g", &[("enable.auto.commit", "false")]);
    first.subscribe_with(["alone"], heard.clone()).expect("valid");
    let mut values = read(&first, 100).await;
    values.sort();
    assert_eq!(values, numbers(0..100));
    assert_eq!(heard.take(), [("assigned", vec![0, 1, 2])]);
    assert!(first.group_metadata().expect("a group").generation_id >= 1);
    first.commit_sync().await.expect("committed");
    let partitions: Vec<TopicPartition> = first.assignment().into_iter().collect();
    let committed = first.committed(&partitions).await.expect("asked");
    assert_eq!(committed.values().map(|offset| offset.offset).sum::<i64>(), 100);
    first.close(PATIENCE).await.expect("closes");
    assert_eq!(heard.take(), [("revoked", vec![0, 1, 2])]);
    assert_eq!(first.poll(SHORT).await.expect_err("closed").kind(), ErrorKind::Closed);

    produce(&client, "alone", numbers(100..110)).await;
    let second = member(&client, "g", &[]);
    second.subscribe(["alone"]).expect("valid");
    let mut values = read(&second, 10).await;
    values.sort();
    assert_eq!(values, numbers(100..110));
    // Committed by closing.
    second.close(PATIENCE).await.expect("closes");
    let third = member(&client, "g", &[]);
    let committed = third.committed(&partitions).await.expect("asked");
    assert_eq!(committed.values().map(|offset| offset.offset).sum::<i64>(), 110);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_no_record_is_lost() {
    for strategy in ["range", "cooperative-sticky", "sticky,roundrobin"] {
        let broker = on_tcp().await;
        let client = client(&broker);
        create_topic(&client, "shared", 6).await;
        produce(&client, "shared", numbers(0..200)).await;
        let pairs = [("partition.assignment.strategy", strategy)];
        let a = member(&client, "g", &pairs);
        let b = member(&client, "g", &pairs);
        let c = member(&client, "g", &pairs);
        let mut values = Vec::new();
        a.subscribe(["shared"]).expect("valid");
        poll_until(&[&a], &mut values, |values| values.len() >= 50).await;
        b.subscribe(["shared"]).expect("valid");
        poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 6)).await;
        c.subscribe(["shared"]).expect("valid");
        poll_until(&[&a, &b, &c], &mut values, |_| settled(&[&a, &b, &c], 6)).await;
        produce(&client, "shared", numbers(200..400)).await;
        poll_until(&[&a, &b, &c], &mut values, |values| values.len() >= 300).await;
        b.close(PATIENCE).await.expect("closes");
        poll_until(&[&a, &c], &mut values, |_| settled(&[&a, &c], 6)).await;
        poll_until(&[&a, &c], &mut values, |values| values.len() >= 400).await;
        // Each was committed before its partition went elsewhere: none comes twice either.
        values.sort();
        assert_eq!(values, numbers(0..400), "{strategy}");
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cooperative_rebalance_leaves_what_stays_alone() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "calm", 4).await;
    let pairs = [("partition.assignment.strategy", "cooperative-sticky")];
    let (a, b) = (member(&client, "g", &pairs), member(&client, "g", &pairs));
    let (heard_a, heard_b) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
    a.subscribe_with(["calm"], heard_a.clone()).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&a], &mut values, |_| settled(&[&a], 4)).await;
    assert_eq!(heard_a.take(), [("assigned", vec![0, 1, 2, 3])]);
    b.subscribe_with(["calm"], heard_b.clone()).expect("valid");
    poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 4)).await;
    let revoked: Vec<_> = heard_a.take().into_iter().filter(|(_, partitions)| !partitions.is_empty()).collect();
    assert_eq!(revoked, [("revoked", vec![2, 3])], "only what goes is given up");
    let assigned: Vec<_> = heard_b.take().into_iter().filter(|(_, partitions)| !partitions.is_empty()).collect();
    assert_eq!(assigned, [("assigned", vec![2, 3])]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_a_name_and_what_excludes_each_other() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let nameless =
        client.consumer(ConsumerOptions { offset_reset: OffsetReset::Earliest, ..ConsumerOptions::default() });
    let error = nameless.subscribe(["t"]).expect_err("no group");
    assert!(error.message().contains("group.id"), "{error}");
    assert!(nameless.commit_sync().await.expect_err("no group").message().contains("group.id"));
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("valid");
    assert!(
        consumer
            .assign_committed(&[TopicPartition::new("t", 0)])
            .expect_err("subscribed")
            .message()
            .contains("subscribed")
    );
    consumer.unsubscribe().await.expect("nothing to leave");
    consumer.assign_committed(&[TopicPartition::new("t", 0)]).expect("by hand");
    assert!(consumer.subscribe(["t"]).expect_err("by hand").message().contains("by hand"));
    broker.close().await.expect("closes");
}
