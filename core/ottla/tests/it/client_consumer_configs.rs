//! Configs of the consumer that other tests do not change: each is changed here and its effect is seen.

use crate::client_group::{Heard, SHORT, member, numbers, poll_until, read};
use crate::support::{Folder, PATIENCE, client, create_topic, on_tcp, produce};
use ottla::Broker;
use ottla::client::assignor::{Assignment, Assignor, ClusterTopics, Member, RangeAssignor};
use ottla::client::{
    Client, Configs, ConsumerOptions, ErrorCode, ErrorKind, OffsetAndMetadata, Position, Producer, ProducerOptions,
    ProducerRecord, Result, Scope, TopicPartition,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

async fn transactional(client: &Client, id: &str) -> Producer {
    let options = ProducerOptions { transactional_id: Some(id.to_owned()), ..ProducerOptions::default() };
    let producer = client.producer(options).expect("they fit together");
    producer.init_transactions().await.expect("the coordinator answers");
    producer
}

async fn send(producer: &Producer, topic: &str, value: &str) {
    let record = ProducerRecord::new(topic, None, Some(value.as_bytes()));
    producer.send(record).await.expect("sent").wait().await.expect("acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_level() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let producer = transactional(&client, "x").await;
    let open = transactional(&client, "y").await;
    for round in 0..3 {
        producer.begin_transaction().expect("initialised");
        send(&producer, "t", &format!("aborted {round}")).await;
        send(&producer, "t", &format!("aborted {round}, too")).await;
        producer.abort_transaction().await.expect("aborted");
        producer.begin_transaction().expect("initialised");
        send(&producer, "t", &format!("committed {round}")).await;
        producer.commit_transaction().await.expect("committed");
    }
    open.begin_transaction().expect("initialised");
    send(&open, "t", "open").await;
    produce(&client, "t", ["behind".to_owned()]).await;

    let all = member(&client, "g", &[]);
    all.assign_committed(&[partition("t")]).expect("by hand");
    assert_eq!(read(&all, 11).await.len(), 11, "read_uncommitted");
    for max in ["500", "1"] {
        let committed = member(&client, "g", &[("isolation.level", "read_committed"), ("max.poll.records", max)]);
        committed.assign_committed(&[partition("t")]).expect("by hand");
        assert_eq!(read(&committed, 3).await, ["committed 0", "committed 1", "committed 2"]);
        assert!(
            committed.poll(SHORT).await.expect("nothing").is_empty(),
            "the open transaction holds up what is behind"
        );
        let end = committed.end_offsets(&[partition("t")]).await.expect("asked")[&partition("t")];
        assert_eq!(end, 15, "before the open transaction; each of the six others has a marker");
        assert_eq!(committed.position(&partition("t")).await.expect("known"), end, "markers are passed");
        assert_eq!(committed.current_lag(&partition("t")), Some(0));
    }
    let waits = member(&client, "g", &[("isolation.level", "read_committed"), ("enable.auto.commit", "false")]);
    waits.assign(&[(partition("t"), Position::Offset(15))]).await.expect("by hand");
    open.commit_transaction().await.expect("committed");
    assert_eq!(read(&waits, 2).await, ["open", "behind"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_a_transaction_commits() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..10)).await;
    let consumer = member(&client, "g", &[("enable.auto.commit", "false")]);
    consumer.subscribe(["t"]).expect("valid");
    read(&consumer, 10).await;
    let producer = transactional(&client, "x").await;
    for (offset, commits) in [(3, true), (7, false)] {
        producer.begin_transaction().expect("initialised");
        let offsets = [(partition("t"), OffsetAndMetadata::from(offset))];
        let group = consumer.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&offsets.into(), &group).await.expect("sent");
        if commits {
            producer.commit_transaction().await.expect("committed");
        } else {
            producer.abort_transaction().await.expect("aborted");
        }
        let committed = consumer.committed(&[partition("t")]).await.expect("asked");
        assert_eq!(committed[&partition("t")].offset, 3, "the aborted one does not count");
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_waits_of_fetches() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let value = vec![b'x'; 1000];
    for index in 0..200 {
        let record = ProducerRecord { partition: Some(index % 2), ..ProducerRecord::new("t", None, Some(&value)) };
        producer.send(record).await.expect("sent").wait().await.expect("acknowledged");
    }
    let both = [partition("t"), TopicPartition::new("t", 1)];
    // The largest lots of one partition, with a batch per record.
    for (name, bytes) in [("max.partition.fetch.bytes", "5000"), ("fetch.max.bytes", "7000")] {
        let consumer = member(&client, "g", &[(name, bytes)]);
        consumer.assign_committed(&both).expect("by hand");
        let (mut largest, mut total) = (0, 0);
        while total < 200 {
            for fetched in consumer.poll_batches(PATIENCE).await.expect("records") {
                largest = largest.max(fetched.bytes.len());
                total += fetched.records().count();
            }
        }
        assert!(largest <= bytes.parse().expect("a number"), "{name}: {largest}");
        assert!(largest > 3000, "{name}: {largest}");
    }
    // A record larger than all limits comes all the same.
    let small = member(&client, "g", &[("max.partition.fetch.bytes", "10"), ("fetch.max.bytes", "10")]);
    small.assign_committed(&both).expect("by hand");
    assert_eq!(read(&small, 200).await.len(), 200);
    // What is there waits for more, until the time is up.
    create_topic(&client, "few", 1).await;
    produce(&client, "few", numbers(0..1)).await;
    let waits = member(&client, "g", &[("fetch.min.bytes", "100000"), ("fetch.max.wait.ms", "25000")]);
    waits.assign_committed(&[partition("few")]).expect("by hand");
    assert!(waits.poll(SHORT * 10).await.expect("nothing").is_empty(), "fetch.min.bytes");
    let hasty = member(&client, "g", &[("fetch.min.bytes", "100000"), ("fetch.max.wait.ms", "100")]);
    hasty.assign_committed(&[partition("few")]).expect("by hand");
    assert_eq!(read(&hasty, 1).await, numbers(0..1), "fetch.max.wait.ms");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // Breaks a file of the broker's on purpose.
async fn check_crcs() {
    let folder = Folder::new();
    let on = || Broker::builder().directory(&folder.0).listener("PLAINTEXT://127.0.0.1:0").start();
    let broker = on().await.expect("starts");
    let first = client(&broker);
    create_topic(&first, "t", 1).await;
    for value in ["before", "needle", "behind"] {
        produce(&first, "t", [value.to_owned()]).await;
    }
    broker.close().await.expect("closes");
    let path = folder.0.join("t-0").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).expect("the log");
    let at = bytes.windows(6).position(|window| window == b"needle").expect("the record");
    bytes[at] = b'N';
    std::fs::write(&path, bytes).expect("written");
    let broker = on().await.expect("starts");
    let client = client(&broker);
    let consumer = member(&client, "g", &[]);
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    assert_eq!(read(&consumer, 1).await, ["before"]);
    for _ in 0..2 {
        let error = consumer.poll(PATIENCE).await.expect_err("as often as it is asked for");
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.message().contains("t-0") && error.message().contains("offset 1"), "{error}");
    }
    assert_eq!(consumer.position(&partition("t")).await.expect("known"), 1);
    consumer.seek(&partition("t"), Position::Offset(2)).await.expect("past it");
    assert_eq!(read(&consumer, 1).await, ["behind"]);
    let careless = member(&client, "g", &[("check.crcs", "false"), ("enable.auto.commit", "false")]);
    careless.assign(&[(partition("t"), Position::Earliest)]).await.expect("by hand");
    assert_eq!(read(&careless, 3).await, ["before", "Needle", "behind"]);
    broker.close().await.expect("closes");
}

/// As range, and remembers the racks that the members told.
#[derive(Debug, Default)]
struct Curious(RangeAssignor, Mutex<Vec<Option<String>>>);

impl Assignor for Curious {
    fn name(&self) -> &str {
        "curious"
    }

    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
        let racks = members.iter().map(|member| member.subscription.rack_id.clone());
        self.1.lock().expect("no panic").extend(racks);
        self.0.assign(cluster, members)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_rack_and_an_assignor_of_ones_own() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let curious: Arc<Curious> = Arc::default();
    let pairs = [("group.id", "g"), ("client.rack", "attic"), ("partition.assignment.strategy", "curious")];
    let (configs, _) = Configs::parse(Scope::Consumer, pairs).expect("each is valid");
    let assignors: [Arc<dyn Assignor>; 1] = [curious.clone()];
    let options = ConsumerOptions::with_assignors(&configs, &assignors).expect("they fit together");
    let consumer = client.consumer(options);
    consumer.subscribe(["t"]).expect("valid");
    poll_until(&[&consumer], &mut Vec::new(), |_| consumer.assignment().len() == 1).await;
    assert_eq!(*curious.1.lock().expect("no panic"), [Some("attic".to_owned())]);
    // Who has no assignor in common with the group hears it.
    let stranger = member(&client, "g", &[]);
    stranger.subscribe(["t"]).expect("valid");
    let error = stranger.poll(PATIENCE).await.expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::InconsistentGroupProtocol), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_missing_or_internal() {
    let broker = on_tcp().await;
    let client = client(&broker);
    let creates = member(&client, "g", &[]);
    creates.subscribe(["made"]).expect("valid");
    poll_until(&[&creates], &mut Vec::new(), |_| !creates.assignment().is_empty()).await;
    let does_not = member(&client, "h", &[("allow.auto.create.topics", "false")]);
    does_not.subscribe(["not-made"]).expect("valid");
    let heard = || does_not.group_metadata().expect("a group").generation_id;
    poll_until(&[&does_not], &mut Vec::new(), |_| heard() > 0).await;
    does_not.poll(SHORT).await.expect("a member without partitions");
    assert!(!does_not.list_topics().await.expect("asked").contains_key("not-made"));
    let error = member(&client, "i", &[]);
    error.subscribe(["not a name"]).expect("names are the broker's to judge");
    assert_eq!(error.poll(PATIENCE).await.expect_err("refused").code(), Some(ErrorCode::InvalidTopicException));

    for (excluded, topics) in [("true", 1), ("false", 2)] {
        let consumer = member(&client, excluded, &[("exclude.internal.topics", excluded)]);
        consumer.subscribe_pattern("made|__consumer_offsets").expect("a pattern");
        let count = || consumer.subscription().len();
        poll_until(&[&consumer], &mut Vec::new(), |_| !consumer.assignment().is_empty()).await;
        assert_eq!(count(), topics, "exclude.internal.topics={excluded}");
        consumer.close(PATIENCE).await.expect("closes");
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_timeouts_and_heartbeats() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let hasty = member(&client, "h", &[("session.timeout.ms", "1000")]);
    hasty.subscribe(["t"]).expect("valid");
    let error = hasty.poll(PATIENCE).await.expect_err("below group.min.session.timeout.ms");
    assert_eq!(error.code(), Some(ErrorCode::InvalidSessionTimeout), "{error}");

    let often = member(&client, "g", &[("heartbeat.interval.ms", "20")]);
    let heard = Arc::new(Heard::default());
    often.subscribe_with(["t"], heard.clone()).expect("valid");
    let beats = || {
        let metrics = often.metrics();
        let of = metrics.iter().find(|metric| metric.name.name == "heartbeat-total");
        of.and_then(|metric| metric.value.as_f64()).expect("measured")
    };
    poll_until(&[&often], &mut Vec::new(), |_| beats() >= 10.0).await;
    assert_eq!(heard.take(), [("assigned", vec![0])]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_protocol() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let pairs = [("group.id", "g"), ("group.protocol", "consumer"), ("group.remote.assignor", "range")];
    let (configs, _) = Configs::parse(Scope::Consumer, pairs).expect("each is valid");
    let consumer = client.consumer(ConsumerOptions::from_configs(&configs).expect("they fit together"));
    consumer.subscribe(["t"]).expect("valid");
    match consumer.poll(PATIENCE).await {
        // A broker without KIP-848: it says what to do.
        Err(error) => assert!(error.message().contains("group.protocol=classic"), "{error}"),
        // With it, this is a member: its epoch is that of the broker.
        Ok(_) => assert!(consumer.group_metadata().expect("a group").generation_id > 0),
    }
    broker.close().await.expect("closes");
}
