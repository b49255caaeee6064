//! Every producer config that is said to do something is set here to something else, and the difference is seen.
//!
//! Method: one function per config, listed with the name in [`COVERED`]; a last test holds the list against the tables.

use crate::client_producer::read;
use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::Broker;
use ottla::client::{Client, Delivery, Env, ErrorCode, ErrorKind, Producer, ProducerRecord, Result};
use ottla::config::{Status, producer::ROWS};
use ottla::faults::ApiKey;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a test gets: a broker, and a topic `t` with 3 partitions on it.
struct Stage {
    broker: Broker,
    client: Client,
}

impl Stage {
    async fn new() -> Stage {
        let broker = on_tcp().await;
        let client = client(&broker);
        create_topic(&client, "t", 3).await;
        Stage { broker, client }
    }

    fn producer(&self, configs: &[(&str, &str)]) -> Producer {
        self.try_producer(configs).expect("the configs fit together")
    }

    fn try_producer(&self, configs: &[(&str, &str)]) -> Result<Producer> {
        let bootstrap = self.broker.bootstrap_servers();
        let mut all = vec![("bootstrap.servers", bootstrap.as_str())];
        all.extend_from_slice(configs);
        Producer::from_configs(Env::real(), all)
    }

    /// Refuses all that is produced to a partition of `t`, as if it were led elsewhere.
    fn refuse(&self, partition: i32) -> ottla::faults::Fault {
        let fault = self.broker.faults().on(ApiKey::Produce).topic("t").partition(partition).always();
        fault.error(ErrorCode::NotLeaderOrFollower).expect("a fault that can strike")
    }
}

fn to(partition: i32, value: &[u8]) -> ProducerRecord<'_> {
    ProducerRecord { partition: Some(partition), ..ProducerRecord::new("t", None, Some(value)) }
}

async fn send(producer: &Producer, partition: i32, value: &[u8]) -> Delivery {
    producer.send(to(partition, value)).await.expect("taken")
}

/// The sum of a metric of the group over its tags.
fn metric(producer: &Producer, group: &str, name: &str) -> f64 {
    let metrics = producer.metrics();
    let found: Vec<f64> = metrics
        .iter()
        .filter(|metric| metric.name.group == group && metric.name.name == name)
        .filter_map(|metric| metric.value.as_f64())
        .collect();
    assert!(!found.is_empty(), "no metric {group} {name}");
    found.iter().sum()
}

/// Waits for something that the producer does on its own.
async fn until(mut what: impl FnMut() -> bool) {
    let env = Env::real();
    let waiting = async {
        while !what() {
            env.sleep(Duration::from_millis(2)).await;
        }
    };
    env.timeout(PATIENCE, waiting).await.expect("it comes about");
}

type Test = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! covered {
    ($($name:literal $test:ident)+) => {
        const COVERED: &[(&str, Test)] = &[$(($name, |stage| Box::pin($test(stage)))),+];
    };
}

covered! {
    "acks" acks
    "batch.size" batch_size
    "bootstrap.servers" bootstrap_servers
    "buffer.memory" buffer_memory
    "client.id" client_id
    "compression.gzip.level" gzip_level
    "compression.type" compression_type
    "compression.zstd.level" zstd_level
    "delivery.timeout.ms" delivery_timeout
    "enable.idempotence" idempotence
    "linger.ms" linger
    "max.block.ms" max_block
    "max.in.flight.requests.per.connection" max_in_flight
    "max.request.size" max_request_size
    "metadata.max.idle.ms" metadata_max_idle
    "partitioner.adaptive.partitioning.enable" adaptive
    "partitioner.class" partitioner_class
    "partitioner.ignore.keys" ignore_keys
    "retries" retries
    "transactional.id" transactional_id
}

/// What needs two brokers, or one that has transactions: where it is tested instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("partitioner.availability.timeout.ms", "core/client/src/producer/accumulator.rs"),
    ("transaction.timeout.ms", "tests/conformance/src/scenarios/transactions.rs"),
    ("transaction.two.phase.commit.enable", "core/client/src/producer/options.rs"),
    // The connections' own, with their tests.
    ("connections.max.idle.ms", "core/client/src/broker.rs"),
    ("receive.buffer.bytes", "core/client/src/broker.rs"),
    ("enable.metrics.push", "core/client/src/telemetry"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_config_makes_its_difference() {
    for (name, test) in COVERED {
        let stage = Stage::new().await;
        println!("{name}");
        Env::real().timeout(PATIENCE, test(stage)).await.unwrap_or_else(|_| panic!("{name} hangs"));
    }
}

#[test]
fn every_config_that_does_something_is_covered() {
    let done = ROWS.iter().filter(|row| row.status == Status::Implemented).map(|row| row.name);
    let known: BTreeSet<&str> =
        COVERED.iter().map(|(name, _)| *name).chain(ELSEWHERE.iter().map(|(name, _)| *name)).collect();
    let missing: Vec<&str> = done.filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "no test sets {missing:?}");
    for (name, _) in COVERED {
        let row = ROWS.iter().find(|row| row.name == *name).expect("a config of the producer");
        assert_eq!(row.status, Status::Implemented, "{name} has a test and is listed as without effect");
    }
}

async fn acks(stage: Stage) {
    for (acks, offset) in [("all", 0), ("-1", 1), ("1", 2), ("0", -1)] {
        let producer = stage.producer(&[("acks", acks)]);
        let written = send(&producer, 0, b"x").await.wait().await.expect("delivered");
        assert_eq!(written.offset, offset, "acks={acks}");
        producer.close(PATIENCE).await.expect("closes");
    }
}

async fn batch_size(stage: Stage) {
    for (size, per_request) in [("0", 1.0), ("16384", 10.0)] {
        let producer = stage.producer(&[("batch.size", size), ("linger.ms", "50000")]);
        // The next request takes what is there of a partition, one batch of it.
        producer.partitions_for("t").await.expect("known");
        for _ in 0..10 {
            send(&producer, 0, b"x").await;
        }
        producer.flush().await;
        assert_eq!(metric(&producer, "producer-metrics", "records-per-request-avg"), per_request, "batch.size={size}");
    }
}

async fn bootstrap_servers(stage: Stage) {
    let two = format!("127.0.0.1:1,{}", stage.broker.bootstrap_servers());
    let producer = Producer::from_configs(Env::real(), [("bootstrap.servers", two)]).expect("well formed");
    send(&producer, 0, b"x").await.wait().await.expect("the second one answers");
    let none: [(&str, &str); 0] = [];
    assert_eq!(Producer::from_configs(Env::real(), none).expect_err("refused").kind(), ErrorKind::Invalid);
}

async fn buffer_memory(stage: Stage) {
    let _refused = stage.refuse(0);
    let producer = stage.producer(&[
        ("buffer.memory", "2048"),
        ("batch.size", "1024"),
        ("max.block.ms", "100"),
        ("linger.ms", "0"),
    ]);
    send(&producer, 0, &[0; 900]).await;
    send(&producer, 0, &[0; 900]).await;
    let error = producer.send(to(0, &[0; 900])).await.expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("buffer.memory (2048 bytes)"), "{error}");
    assert_eq!(metric(&producer, "producer-metrics", "buffer-available-bytes"), 0.0);
    assert_eq!(metric(&producer, "producer-metrics", "buffer-exhausted-total"), 1.0);
    let error = producer.send(to(0, &[0; 3000])).await.expect_err("never any room");
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge), "{error}");
    assert!(stage.try_producer(&[("buffer.memory", "100")]).is_err());
}

async fn client_id(stage: Stage) {
    let producer = stage.producer(&[("client.id", "me")]);
    let fault = stage.broker.faults().on(ApiKey::Produce).client_id("me").times(1);
    let fault = fault.error(ErrorCode::InvalidRecord).expect("a fault that can strike");
    send(&producer, 0, b"x").await.wait().await.expect_err("the broker knows the name");
    assert_eq!(fault.fired(), 1);
    assert!(producer.metrics().iter().all(|metric| metric.name.tags["client-id"] == "me"));
}

/// How many bytes 100 kB of text become with these configs.
async fn compressed(stage: &Stage, configs: &[(&str, &str)]) -> f64 {
    let mut all = vec![("batch.size", "200000"), ("linger.ms", "50000")];
    all.extend_from_slice(configs);
    let producer = stage.producer(&all);
    for number in 0..2000 {
        let text = format!("flight {} of {} to {}, gate {}", number * 7919, number % 31, number % 17, number * 31 % 97);
        // The same bytes each time.
        let record = ProducerRecord { timestamp: Some(1000), ..to(0, text.as_bytes()) };
        producer.send(record).await.expect("taken");
    }
    producer.flush().await;
    metric(&producer, "producer-topic-metrics", "byte-total")
}

async fn compression_type(stage: Stage) {
    let plain = compressed(&stage, &[]).await;
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let bytes = compressed(&stage, &[("compression.type", codec)]).await;
        assert!(bytes < plain * 0.7, "{codec}: {bytes} of {plain}");
    }
    assert!(stage.try_producer(&[("compression.type", "rar")]).is_err());
}

async fn gzip_level(stage: Stage) {
    let at = async |level| compressed(&stage, &[("compression.type", "gzip"), ("compression.gzip.level", level)]).await;
    assert!(at("9").await < at("1").await);
    assert_eq!(at("-1").await, at("6").await);
    assert!(stage.try_producer(&[("compression.gzip.level", "10")]).is_err());
}

async fn zstd_level(stage: Stage) {
    let at = async |level| compressed(&stage, &[("compression.type", "zstd"), ("compression.zstd.level", level)]).await;
    assert!(at("19").await < at("1").await);
}

async fn delivery_timeout(stage: Stage) {
    let _refused = stage.refuse(0);
    let short = [("delivery.timeout.ms", "300"), ("request.timeout.ms", "200"), ("linger.ms", "0")];
    let producer = stage.producer(&short);
    let error = send(&producer, 0, b"x").await.wait().await.expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.message().contains("within 300 ms"), "{error}");
    until(|| metric(&producer, "producer-topic-metrics", "record-error-total") == 1.0).await;
    let error = stage.try_producer(&[("delivery.timeout.ms", "30004")]).expect_err("too short");
    let text = "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms";
    assert_eq!(error.message(), text);
    // What nobody set gives way.
    stage.producer(&[("linger.ms", "500000")]);
}

async fn idempotence(stage: Stage) {
    for (idempotent, copies) in [("true", 1), ("false", 2)] {
        let partition = i32::from(copies == 2);
        let producer = stage.producer(&[("enable.idempotence", idempotent)]);
        let lost = stage.broker.faults().on(ApiKey::Produce).topic("t").partition(partition).times(1);
        let lost = lost.lose_answer(ottla::faults::LostAnswer::Close).expect("a fault that can strike");
        send(&producer, partition, b"once").await.wait().await.expect("sent again");
        assert_eq!(lost.fired(), 1);
        assert_eq!(read(&stage.client, "t", partition).await.len(), copies, "enable.idempotence={idempotent}");
    }
    for (configs, text) in [
        (
            &[("enable.idempotence", "true"), ("acks", "1")][..],
            "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.",
        ),
        (
            &[("enable.idempotence", "true"), ("retries", "0")],
            "Must set retries to non-zero when using the idempotent producer.",
        ),
        (
            &[("max.in.flight.requests.per.connection", "6")],
            "To use the idempotent producer, max.in.flight.requests.per.connection must be set to at most 5. \
             Current value is 6.",
        ),
        (
            &[("enable.idempotence", "false"), ("transactional.id", "tx")],
            "Cannot set a transactional.id without also enabling idempotence.",
        ),
        (
            &[("acks", "1"), ("transactional.id", "tx")],
            "Cannot set a transactional.id without also enabling idempotence.",
        ),
    ] {
        assert_eq!(stage.try_producer(configs).expect_err("refused").message(), text);
    }
    // Not asked for, it gives way.
    stage.producer(&[("acks", "1"), ("max.in.flight.requests.per.connection", "6")]);
    stage.producer(&[("retries", "0")]);
}

async fn linger(stage: Stage) {
    let lingers = stage.producer(&[("linger.ms", "500000")]);
    let delivery = send(&lingers, 0, b"x").await;
    let goes = stage.producer(&[("linger.ms", "0")]);
    send(&goes, 0, b"y").await.wait_lingering().await.expect("delivered");
    assert!(delivery.get().is_none(), "it waits for more");
    lingers.flush().await;
    assert_eq!(delivery.get().expect("flushed").expect("written").offset, 1);
}

async fn max_block(stage: Stage) {
    let producer = stage.producer(&[("max.block.ms", "150")]);
    let _refused = stage.broker.faults().on(ApiKey::Metadata).always().error(ErrorCode::LeaderNotAvailable);
    let error = producer.send(ProducerRecord::new("elsewhere", None, None)).await.expect_err("no metadata");
    assert!(error.message().contains("within 150 ms (max.block.ms)"), "{error}");
}

async fn max_in_flight(stage: Stage) {
    for limit in [1, 3] {
        let configs =
            [("max.in.flight.requests.per.connection", &*limit.to_string()), ("batch.size", "0"), ("linger.ms", "0")];
        let producer = stage.producer(&configs);
        // Held up long enough to be seen together.
        let slow = stage.broker.faults().on(ApiKey::Produce).always().delay(Duration::from_millis(30));
        let slow = slow.expect("a fault that can strike");
        let mut deliveries = Vec::new();
        for _ in 0..8 {
            deliveries.push(send(&producer, 0, b"x").await);
        }
        let mut most: f64 = 0.0;
        until(|| {
            most = most.max(metric(&producer, "producer-metrics", "requests-in-flight"));
            deliveries.iter().all(|delivery| delivery.get().is_some())
        })
        .await;
        assert_eq!(most, f64::from(limit));
        slow.remove();
    }
}

async fn max_request_size(stage: Stage) {
    let producer = stage.producer(&[("max.request.size", "1000")]);
    let error = producer.send(to(0, &[0; 1000])).await.expect_err("too large");
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    assert!(error.message().contains("max.request.size, which is 1000"), "{error}");
    send(&producer, 0, &[0; 900]).await.wait().await.expect("fits");
}

async fn metadata_max_idle(stage: Stage) {
    // The config's least is 5 s.
    assert!(stage.try_producer(&[("metadata.max.idle.ms", "4999")]).is_err());
    let options = ottla::client::ProducerOptions { metadata_max_idle: Duration::from_millis(5), ..Default::default() };
    let producer = stage.client.producer(options).expect("the options fit together");
    create_topic(&stage.client, "idle", 1).await;
    producer.send(ProducerRecord::new("idle", None, None)).await.expect("taken").wait().await.expect("delivered");
    let has = || producer.metrics().iter().any(|m| m.name.tags.get("topic").is_some_and(|topic| topic == "idle"));
    assert!(has());
    while has() {
        send(&producer, 0, b"x").await.wait().await.expect("delivered");
        Env::real().sleep(Duration::from_millis(5)).await;
    }
    // It is learnt again.
    producer.send(ProducerRecord::new("idle", None, None)).await.expect("taken").wait().await.expect("delivered");
}

async fn adaptive(stage: Stage) {
    let _refused = stage.refuse(0);
    for (adaptive, least, most) in [("true", 0, 40), ("false", 60, 300)] {
        let configs =
            [("partitioner.adaptive.partitioning.enable", adaptive), ("batch.size", "100"), ("linger.ms", "0")];
        let producer = stage.producer(&configs);
        for _ in 0..300 {
            send(&producer, 0, &[0; 60]).await;
        }
        let mut there = 0;
        for _ in 0..600 {
            let record = ProducerRecord::new("t", None, Some(&[0; 60]));
            let delivery = producer.send(record).await.expect("taken");
            there += u32::from(delivery.partition() == 0);
        }
        assert!((least..=most).contains(&there), "{adaptive}: {there} of 600 to the partition that stands still");
        let _ = producer.close(Duration::ZERO).await;
    }
}

async fn partitioner_class(stage: Stage) {
    let producer = stage.producer(&[("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner")]);
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let record = ProducerRecord::new("t", Some(b"the same key"), None);
        chosen.push(producer.send(record).await.expect("taken").partition());
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    let error = stage.try_producer(&[("partitioner.class", "com.example.Mine")]).expect_err("unknown");
    assert!(error.message().contains("com.example.Mine"), "{error}");
}

async fn ignore_keys(stage: Stage) {
    for (ignored, partitions) in [("false", 1), ("true", 3)] {
        let producer = stage.producer(&[("partitioner.ignore.keys", ignored), ("batch.size", "100")]);
        let mut chosen: BTreeMap<i32, u32> = BTreeMap::new();
        for _ in 0..300 {
            let record = ProducerRecord::new("t", Some(b"the same key"), None);
            *chosen.entry(producer.send(record).await.expect("taken").partition()).or_default() += 1;
        }
        assert_eq!(chosen.len(), partitions, "partitioner.ignore.keys={ignored}: {chosen:?}");
        producer.close(PATIENCE).await.expect("all delivered");
    }
}

async fn retries(stage: Stage) {
    for (retries, sent) in [("0", 1), ("2", 3)] {
        let refused = stage.refuse(0);
        let producer = stage.producer(&[("retries", retries), ("retry.backoff.ms", "1")]);
        let error = send(&producer, 0, b"x").await.wait().await.expect_err("given up");
        assert_eq!(error.code(), Some(ErrorCode::NotLeaderOrFollower), "{error}");
        assert_eq!(refused.fired(), sent, "retries={retries}");
        let retried = metric(&producer, "producer-metrics", "record-retry-total");
        assert_eq!(retried, f64::from(sent as u32 - 1));
        refused.remove();
    }
}

async fn transactional_id(stage: Stage) {
    let producer = stage.producer(&[("transactional.id", "tx")]);
    let error = producer.send(to(0, b"x")).await.expect_err("no transaction");
    assert!(error.message().contains("init_transactions"), "{error}");
    let plain = stage.producer(&[]);
    let error = plain.begin_transaction().expect_err("not transactional");
    assert!(error.message().contains("Transactional method invoked on a non-transactional producer"), "{error}");
}
