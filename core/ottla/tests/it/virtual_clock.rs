//! The virtual clock of the embedded broker.
//!
//! Goal: what takes days happens when a test says so, exactly at its time and not a millisecond before, and is over when
//! `advance` returns. Method: in-process clients that share the broker's clock; each limit is looked at before and after.
//! Nothing here sleeps, and no real time is measured.

mod compaction;

use crate::raw::{Raw, fetch};
use crate::support::PATIENCE;
use ottla::client::{
    Client, ClientOptions, Configs, Consumer, ConsumerOptions, Env, ErrorKind, NewTopic, Producer, ProducerOptions,
    ProducerRecord, Scope, TopicPartition,
};
use ottla::{Broker, BrokerBuilder, VirtualClock};
use ottla_model::Str;
use ottla_protocol::*;
use ottla_wire::{ClientConnection, ConnectOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

async fn start(clock: &VirtualClock, configs: &[(&str, &str)]) -> Broker {
    let builder: BrokerBuilder = Broker::builder().virtual_clock(clock);
    builder.configs(configs.iter().copied()).start().await.expect("a broker in memory starts")
}

fn client(broker: &Broker) -> Client {
    Client::new(broker.env(), ClientOptions::new(&broker.bootstrap_servers())).expect("the address is well formed")
}

async fn create(client: &Client, name: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let topic = NewTopic { name: name.into(), partitions: Some(1), configs, ..Default::default() };
    for created in client.admin().create_topics(&[topic], false).await.expect("the broker answers") {
        created.expect("the topic is new");
    }
}

async fn produce(client: &Client, topic: &str, count: usize) {
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    for number in 0..count {
        let value = number.to_string();
        let delivery = producer.send(ProducerRecord::new(topic, None, Some(value.as_bytes()))).await.expect("has room");
        delivery.wait().await.expect("acknowledged");
    }
}

async fn log_start(client: &Client, topic: &str) -> i64 {
    let partition = TopicPartition::new(topic, 0);
    let consumer = client.consumer(ConsumerOptions::default());
    consumer.beginning_offsets(std::slice::from_ref(&partition)).await.expect("the broker answers")[&partition]
}

/// A connection by the clock of `env`.
async fn raw(env: &Env, broker: &Broker, client_id: &str) -> Raw {
    let options = ConnectOptions { client_id: client_id.into(), ..Default::default() };
    Raw(ClientConnection::connect(env, broker.inproc_address(), &options).await.expect("the broker accepts"))
}

async fn members(raw: &Raw, group: &str) -> usize {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    raw.ask(request, 5).await.expect("the broker answers").groups[0].members.len()
}

fn consumer(client: &Client, pairs: &[(&str, &str)]) -> Consumer {
    let base = [("group.id", "readers"), ("auto.offset.reset", "earliest")];
    let pairs: Vec<(&str, &str)> = base.into_iter().chain(pairs.iter().copied()).collect();
    let (configs, _) = Configs::parse(Scope::Consumer, pairs).expect("each is valid");
    client.consumer(ConsumerOptions::from_configs(&configs).expect("they fit together"))
}

#[tokio::test]
async fn retention_deletes_at_the_check_after_its_time() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[("retention.ms", "604800000")]).await;
    produce(&client, "orders", 10).await;
    // The records have the time of the start. At seven days sharp they are not yet older than that; the next check is
    // log.retention.check.interval.ms later.
    clock.advance(WEEK + 5 * MINUTE - MS).await.expect("comes to rest");
    assert_eq!(log_start(&client, "orders").await, 0);
    clock.advance(MS).await.expect("comes to rest");
    assert_eq!(log_start(&client, "orders").await, 10);
    // What is produced now has the new time.
    produce(&client, "orders", 1).await;
    clock.advance(DAY).await.expect("comes to rest");
    assert_eq!(log_start(&client, "orders").await, 10);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_thrown_out_at_its_session_timeout() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let (member, watcher) = (raw(&broker.env(), &broker, "a").await, raw(&broker.env(), &broker, "b").await);
    assert_eq!(member.find_coordinator("readers").await, 0);
    // The session is of 30 s.
    let (id, generation) = member.join("readers").await;
    let heartbeat = async || {
        let request = HeartbeatRequest {
            group_id: "readers".into(),
            generation_id: generation,
            member_id: id.clone(),
            ..Default::default()
        };
        member.ask(request, 4).await.expect("the broker answers").error_code
    };
    clock.advance(Duration::from_secs(20)).await.expect("comes to rest");
    assert_eq!(heartbeat().await, 0);
    clock.advance(Duration::from_millis(29_999)).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 1);
    assert_eq!(heartbeat().await, 0);
    clock.advance(Duration::from_millis(29_999)).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 1);
    clock.advance(MS).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 0);
    assert_eq!(heartbeat().await, ottla_model::ErrorCode::UnknownMemberId.code());
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_polling_consumer_stays_a_member_and_commits_by_itself() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    produce(&client, "orders", 3).await;
    let consumer = consumer(&client, &[("session.timeout.ms", "10000"), ("auto.commit.interval.ms", "5000")]);
    consumer.subscribe(["orders"]).expect("a good name");
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let polling = broker.env().spawn("polls", async move {
        loop {
            count.fetch_add(consumer.poll(Duration::from_secs(1)).await.expect("polls").len(), Ordering::SeqCst);
        }
    });
    clock.advance(10 * MINUTE).await.expect("comes to rest");
    assert_eq!(read.load(Ordering::SeqCst), 3);
    let watcher = raw(&broker.env(), &broker, "watcher").await;
    assert_eq!(members(&watcher, "readers").await, 1);
    assert_eq!(watcher.committed("readers", "orders").await, 3);
    // Dropped, it neither polls nor sends heartbeats.
    polling.abort();
    clock.advance(Duration::from_secs(10)).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 0);
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_consumer_that_is_not_polled_leaves_at_max_poll_interval() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    produce(&client, "orders", 1).await;
    let consumer = consumer(&client, &[("max.poll.interval.ms", "300000")]);
    consumer.subscribe(["orders"]).expect("a good name");
    let records = clock.run(MINUTE, consumer.poll(MINUTE)).await.expect("in time").expect("polls");
    assert_eq!(records.len(), 1);
    let watcher = raw(&broker.env(), &broker, "watcher").await;
    clock.advance(5 * MINUTE - MS).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 1);
    // The heartbeat after that notices.
    clock.advance(Duration::from_secs(3)).await.expect("comes to rest");
    assert_eq!(members(&watcher, "readers").await, 0);
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn offsets_of_an_empty_group_expire() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[("offsets.retention.minutes", "120")]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    let env = broker.env();
    let connection = raw(&env, &broker, "a").await;
    assert_eq!(connection.find_coordinator("readers").await, 0);
    assert_eq!(connection.commit("readers", "orders", 7).await, 0);
    clock.advance(2 * HOUR - MS).await.expect("comes to rest");
    // An idle connection does not live as long.
    assert_eq!(raw(&env, &broker, "b").await.committed("readers", "orders").await, 7);
    // offsets.retention.check.interval.ms is ten minutes.
    clock.advance(10 * MINUTE + MS).await.expect("comes to rest");
    assert_eq!(raw(&env, &broker, "c").await.committed("readers", "orders").await, -1);
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_waiting_fetch_returns_at_max_wait_and_those_of_two_brokers_in_order() {
    let clock = VirtualClock::new();
    let brokers = [start(&clock, &[]).await, start(&clock, &[]).await];
    let ended: Arc<Mutex<Vec<(u128, i32)>>> = Arc::default();
    let mut tasks = Vec::new();
    // 500 connections whose limits are mixed up.
    for number in 0..500 {
        let broker = &brokers[number as usize % 2];
        let raw = raw(&broker.env(), broker, "waits").await;
        if number < 2 {
            raw.create_topic("orders", 1).await;
        }
        let (env, ended) = (broker.env(), ended.clone());
        tasks.push(env.clone().spawn("fetch", async move {
            let mut request = fetch("orders", &[(0, 0)]);
            (request.max_wait_ms, request.min_bytes, request.session_epoch) = (number * 271 % 500 + 1, 1, -1);
            let answer = raw.ask(request.clone(), 12).await.expect("the broker answers");
            assert_eq!(answer.responses[0].partitions[0].error_code, 0);
            ended.lock().expect("no panic").push((env.monotonic().as_millis(), request.max_wait_ms));
        }));
    }
    clock.settle().await.expect("comes to rest");
    assert!(tasks.iter().all(|task| !task.is_finished()));
    clock.advance(Duration::from_millis(499)).await.expect("comes to rest");
    assert_eq!(tasks.iter().filter(|task| !task.is_finished()).count(), 1);
    clock.advance(MS).await.expect("comes to rest");
    assert!(tasks.iter().all(|task| task.is_finished()));
    assert!(ended.lock().expect("no panic").iter().copied().eq((1..=500).map(|ms| (ms as u128, ms))));
    for broker in brokers {
        broker.close().await.expect("closes");
    }
}

#[tokio::test]
async fn an_abandoned_transaction_is_aborted_after_its_timeout() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    let address = broker.bootstrap_servers();
    let configs =
        [("bootstrap.servers", address.as_str()), ("transactional.id", "t"), ("transaction.timeout.ms", "60000")];
    let producer = Producer::from_configs(broker.env(), configs).expect("they fit together");
    producer.init_transactions().await.expect("the broker answers");
    producer.begin_transaction().expect("none is open");
    producer
        .send(ProducerRecord::new("orders", None, Some(b"0")))
        .await
        .expect("has room")
        .wait()
        .await
        .expect("acked");
    let reader = consumer(&client, &[("isolation.level", "read_committed")]);
    let partition = TopicPartition::new("orders", 0);
    let stable =
        async || reader.end_offsets(std::slice::from_ref(&partition)).await.expect("the broker answers")[&partition];
    clock.advance(MINUTE).await.expect("comes to rest");
    assert_eq!(stable().await, 0);
    // The next look at open transactions is ten seconds later; the record and the marker are stable then.
    clock.advance(Duration::from_secs(10)).await.expect("comes to rest");
    assert_eq!(stable().await, 2);
    producer.commit_transaction().await.expect_err("it is too late");
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_producer_lingers_for_its_time() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    let options = ProducerOptions { linger: Duration::from_millis(20), ..ProducerOptions::default() };
    let producer = client.producer(options).expect("they fit together");
    // The first one finds the metadata and the producer id.
    producer
        .send(ProducerRecord::new("orders", None, Some(b"0")))
        .await
        .expect("has room")
        .wait()
        .await
        .expect("acked");
    let deliveries = [
        producer.send(ProducerRecord::new("orders", None, Some(b"1"))).await.expect("has room"),
        producer.send(ProducerRecord::new("orders", None, Some(b"2"))).await.expect("has room"),
    ];
    clock.advance(Duration::from_millis(19)).await.expect("comes to rest");
    assert!(deliveries.iter().all(|delivery| delivery.get().is_none()));
    clock.advance(MS).await.expect("comes to rest");
    let offsets = deliveries.each_ref().map(|delivery| delivery.get().expect("ended").expect("acknowledged").offset);
    assert_eq!(offsets, [1, 2]);
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn delivery_times_out_while_the_broker_is_away() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let (env, address) = (broker.env(), broker.bootstrap_servers());
    let configs = [("bootstrap.servers", address.as_str()), ("linger.ms", "0"), ("delivery.timeout.ms", "120000")];
    let producer = Producer::from_configs(env, configs).expect("they fit together");
    producer
        .send(ProducerRecord::new("orders", None, Some(b"0")))
        .await
        .expect("has room")
        .wait()
        .await
        .expect("acked");
    broker.close().await.expect("closes");
    let delivery = producer.send(ProducerRecord::new("orders", None, Some(b"1"))).await.expect("has room");
    clock.advance(Duration::from_millis(119_999)).await.expect("comes to rest");
    assert!(delivery.get().is_none());
    clock.advance(MS).await.expect("comes to rest");
    let error = delivery.get().expect("given up").expect_err("nobody was there");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_its_time() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[("connections.max.idle.ms", "60000")]).await;
    let (idle, busy) = (raw(&broker.env(), &broker, "idle").await, raw(&broker.env(), &broker, "busy").await);
    let ask = async |raw: &Raw| raw.ask(ApiVersionsRequest::default(), 0).await.map(|answer| answer.error_code);
    assert_eq!((ask(&idle).await.expect("open"), ask(&busy).await.expect("open")), (0, 0));
    clock.advance(MINUTE - MS).await.expect("comes to rest");
    assert!(!idle.0.is_closed());
    assert_eq!(ask(&busy).await.expect("open"), 0);
    clock.advance(MS).await.expect("comes to rest");
    assert!(idle.0.is_closed() && !busy.0.is_closed());
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_consumer_waits_by_the_clock() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    let consumer = client.consumer(ConsumerOptions::default());
    let partition = TopicPartition::new("orders", 0);
    consumer.assign(&[(partition, ottla::client::Position::Earliest)]).await.expect("it exists");
    let before = clock.elapsed();
    let records = clock.run(PATIENCE, consumer.poll(Duration::from_secs(10))).await.expect("in time").expect("polls");
    assert!(records.is_empty());
    assert_eq!(clock.elapsed() - before, Duration::from_secs(10));
    // Beside the clock: data ends the wait before its time.
    let (polled, ()) = tokio::join!(consumer.poll(HOUR), async {
        clock.advance(Duration::from_secs(5)).await.expect("comes to rest");
        produce(&client, "orders", 1).await;
    });
    assert_eq!(polled.expect("polls").len(), 1);
    assert_eq!(clock.elapsed() - before, Duration::from_secs(15));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_on_a_directory_follows_the_clock_too() {
    let folder = crate::support::Folder::new();
    let clock = VirtualClock::new();
    let builder = || Broker::builder().virtual_clock(&clock).directory(&folder.0);
    let broker = builder().start().await.expect("starts");
    let client = client(&broker);
    create(&client, "orders", &[("retention.ms", "3600000")]).await;
    produce(&client, "orders", 5).await;
    broker.close().await.expect("closes");
    let broker = builder().start().await.expect("starts again");
    let client = self::client(&broker);
    clock.advance(HOUR).await.expect("comes to rest");
    assert_eq!(log_start(&client, "orders").await, 0);
    clock.advance(5 * MINUTE).await.expect("comes to rest");
    assert_eq!(log_start(&client, "orders").await, 5);
    broker.close().await.expect("closes");
}

#[tokio::test]
async fn a_correction_of_the_wall_clock_loses_no_member() {
    let clock = VirtualClock::new();
    let broker = start(&clock, &[]).await;
    let member = raw(&broker.env(), &broker, "a").await;
    assert_eq!(member.find_coordinator("readers").await, 0);
    let (_, _): (Str, i32) = member.join("readers").await;
    clock.step_wall(3_600_000);
    clock.advance(Duration::from_secs(29)).await.expect("comes to rest");
    assert_eq!(members(&member, "readers").await, 1);
    clock.jump(HOUR).await.expect("comes to rest");
    // The hour has ended the idle connection as well.
    assert_eq!(members(&raw(&broker.env(), &broker, "b").await, "readers").await, 0);
    broker.close().await.expect("closes");
}
