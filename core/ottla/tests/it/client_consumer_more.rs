//! What a consumer offers beside polling: pausing, waking up, streams, interceptors, times, lag, resets, metrics.

use crate::client_group::{SHORT, member, numbers, options, read, value};
use crate::support::{PATIENCE, client, create_topic, on_tcp, produce};
use ottla::client::{
    Configs, Consumer, ConsumerInterceptor, ConsumerOptions, ConsumerRecords, Env, ErrorKind, OffsetAndMetadata,
    Offsets, Position, ProducerOptions, ProducerRecord, Scope, TopicPartition,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_are_bounded_and_positions_are_behind_what_was_returned() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..25)).await;
    let consumer = member(&client, "g", &[("max.poll.records", "10"), ("enable.auto.commit", "false")]);
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    for (expected, position) in [(10, 10), (10, 20), (5, 25)] {
        let records = consumer.poll(PATIENCE).await.expect("records");
        assert_eq!(records.len(), expected);
        assert_eq!(consumer.position(&partition("t")).await.expect("known"), position);
        assert_eq!(records.next_offsets()[&partition("t")].offset, position);
        assert_eq!(consumer.current_lag(&partition("t")), Some(25 - position));
    }
    // Pausing keeps what was fetched; seeking drops it.
    consumer.seek(&partition("t"), Position::Offset(3)).await.expect("sought");
    assert_eq!(consumer.poll(PATIENCE).await.expect("records").len(), 10);
    consumer.pause(&[partition("t")]).expect("assigned");
    assert_eq!(consumer.paused(), [partition("t")].into());
    assert!(consumer.poll(SHORT).await.expect("paused").is_empty());
    consumer.resume(&[partition("t")]).expect("assigned");
    let records = consumer.poll(PATIENCE).await.expect("records");
    assert_eq!(records.iter().next().map(|record| record.offset), Some(13));
    consumer.seek_to_end(&[]).expect("assigned");
    assert_eq!(consumer.position(&partition("t")).await.expect("found"), 25);
    consumer.seek_to_beginning(&[partition("t")]).expect("assigned");
    assert_eq!(consumer.position(&partition("t")).await.expect("found"), 0);
    let error = consumer.position(&partition("u")).await.expect_err("not assigned");
    assert!(error.message().contains("u-0"), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wakeup_ends_the_poll_that_waits_or_the_next_one() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let consumer = Arc::new(member(&client, "g", &[]));
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    consumer.wakeup();
    assert_eq!(consumer.poll(PATIENCE).await.expect_err("woken").kind(), ErrorKind::Wakeup);
    assert!(consumer.poll(SHORT).await.expect("once").is_empty());
    let polling = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.poll(PATIENCE * 10).await }
    });
    tokio::task::yield_now().await;
    consumer.wakeup();
    assert_eq!(polling.await.expect("no panic").expect_err("woken").kind(), ErrorKind::Wakeup);
    broker.close().await.expect("closes");
}

#[derive(Debug, Default)]
struct Watch {
    committed: Mutex<Vec<Offsets>>,
}

impl ConsumerInterceptor for Watch {
    fn on_consume(&self, mut records: ConsumerRecords) -> ConsumerRecords {
        records.retain(|record| record.offset % 2 == 0);
        records
    }

    fn on_commit(&self, offsets: &Offsets) {
        self.committed.lock().expect("no panic").push(offsets.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interceptors_see_records_and_commits_and_commits_keep_their_order() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..10)).await;
    let watch = Arc::new(Watch::default());
    let consumer = client.consumer(ConsumerOptions {
        interceptors: vec![watch.clone()],
        enable_auto_commit: false,
        ..options("g", &[])
    });
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    assert_eq!(read(&consumer, 5).await, ["00000", "00002", "00004", "00006", "00008"]);
    let told: Arc<Mutex<Vec<i64>>> = Arc::default();
    for offset in 1..=50 {
        let told = told.clone();
        let offsets = Offsets::from([(partition("t"), OffsetAndMetadata { metadata: "m".into(), ..offset.into() })]);
        consumer.commit_async_with(Some(offsets), move |offsets, result| {
            result.expect("committed");
            told.lock().expect("no panic").push(offsets.values().next().expect("one").offset);
        });
    }
    // Waits for those before it.
    consumer.commit_sync().await.expect("committed");
    assert_eq!(*told.lock().expect("no panic"), (1..=50).collect::<Vec<i64>>());
    assert_eq!(watch.committed.lock().expect("no panic").len(), 51);
    let committed = consumer.committed(&[partition("t")]).await.expect("asked");
    assert_eq!(committed[&partition("t")].offset, 10);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_has_lost_nothing() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..20)).await;
    let consumer = member(&client, "g", &[("enable.auto.commit", "false")]);
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    let mut values = Vec::new();
    for taken in [3, 1, 16] {
        let mut stream = Box::pin(consumer.stream());
        for _ in 0..taken {
            let next = std::future::poll_fn(|context| futures_core::Stream::poll_next(stream.as_mut(), context));
            values.push(value(&next.await.expect("it goes on").expect("a record")));
        }
        assert_eq!(consumer.position_now(&partition("t")), Some(values.len() as i64));
    }
    assert_eq!(values, numbers(0..20));
    consumer.close(PATIENCE).await.expect("closes");
    let mut stream = Box::pin(consumer.stream());
    assert!(std::future::poll_fn(|context| futures_core::Stream::poll_next(stream.as_mut(), context)).await.is_none());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_by_duration_and_none_and_offsets_for_times() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let now = Env::real().now_ms();
    let hour = 3_600_000;
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    for age in [3 * hour, 2 * hour, hour / 2, 0] {
        let record = ProducerRecord::new("t", None, Some(b"x"));
        let record = ProducerRecord { timestamp: Some(now - age), ..record };
        producer.send(record).await.expect("sent").wait().await.expect("acknowledged");
    }
    let of = |reset: &str| options("g", &[("auto.offset.reset", reset)]);
    for (reset, position) in [("earliest", 0), ("latest", 4), ("by_duration:PT1H", 2), ("by_duration:P1D", 0)] {
        let consumer = client.consumer(of(reset));
        consumer.assign_committed(&[partition("t")]).expect("by hand");
        assert_eq!(consumer.position(&partition("t")).await.expect("found"), position, "{reset}");
    }
    let strict = client.consumer(of("none"));
    strict.assign_committed(&[partition("t")]).expect("by hand");
    let error = strict.poll(PATIENCE).await.expect_err("nothing is committed");
    assert!(error.message().contains("auto.offset.reset is none"), "{error}");
    strict.seek(&partition("t"), Position::Earliest).await.expect("sought");
    assert_eq!(read(&strict, 4).await.len(), 4);

    let times = |time: i64| BTreeMap::from([(partition("t"), time)]);
    let found = strict.offsets_for_times(&times(now - hour)).await.expect("asked");
    assert_eq!(found[&partition("t")], Some((2, now - hour / 2)));
    assert_eq!(strict.offsets_for_times(&times(now + hour)).await.expect("asked")[&partition("t")], None);
    assert_eq!(strict.beginning_offsets(&[partition("t")]).await.expect("asked")[&partition("t")], 0);
    assert_eq!(strict.end_offsets(&[partition("t")]).await.expect("asked")[&partition("t")], 4);
    let both = [(partition("t"), Position::Earliest), (partition("t"), Position::Latest)];
    assert_eq!(strict.offsets(&both).await.expect("asked"), [0, 4], "one partition may be asked for twice");
    assert!(strict.list_topics().await.expect("asked").contains_key("t"));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn automatic_commits_by_the_interval() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..10)).await;
    let consumer = member(&client, "g", &[("auto.commit.interval.ms", "50")]);
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    read(&consumer, 10).await;
    let other = member(&client, "g", &[]);
    loop {
        // A poll that waits commits in the middle of it.
        consumer.poll(SHORT * 3).await.expect("nothing new");
        let committed = other.committed(&[partition("t")]).await.expect("asked");
        if committed.get(&partition("t")).is_some_and(|offset| offset.offset == 10) {
            break;
        }
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_kafkas_names() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..10)).await;
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("valid");
    read(&consumer, 10).await;
    consumer.commit_sync().await.expect("committed");
    let metrics = consumer.metrics();
    let number = |group: &str, name: &str, tag: Option<(&str, &str)>| {
        let found = metrics.iter().find(|metric| {
            let tags = &metric.name.tags;
            let fits = tag.is_none_or(|(key, value)| tags.iter().any(|(k, v)| *k == key && *v == value));
            metric.name.group == group && metric.name.name == name && fits
        });
        found.and_then(|metric| metric.value.as_f64()).unwrap_or_else(|| panic!("there is no {group} {name}"))
    };
    assert_eq!(number("consumer-fetch-manager-metrics", "records-consumed-total", None), 10.0);
    assert_eq!(number("consumer-fetch-manager-metrics", "records-consumed-total", Some(("topic", "t"))), 10.0);
    assert_eq!(number("consumer-fetch-manager-metrics", "records-lag", Some(("partition", "0"))), 0.0);
    assert_eq!(number("consumer-fetch-manager-metrics", "records-lead", Some(("topic", "t"))), 10.0);
    assert!(number("consumer-fetch-manager-metrics", "fetch-total", None) >= 1.0);
    assert_eq!(number("consumer-coordinator-metrics", "assigned-partitions", None), 1.0);
    assert_eq!(number("consumer-coordinator-metrics", "rebalance-total", None), 1.0);
    assert!(number("consumer-coordinator-metrics", "commit-total", None) >= 1.0);
    assert!(number("consumer-metrics", "last-poll-seconds-ago", None) >= 0.0);
    assert!(number("consumer-coordinator-metrics", "last-heartbeat-seconds-ago", None) >= 0.0);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_of_one_client_do_not_hold_each_other_up() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "empty", 1).await;
    create_topic(&client, "full", 1).await;
    produce(&client, "full", numbers(0..100)).await;
    let long = [("fetch.max.wait.ms", "30000"), ("max.partition.fetch.bytes", "100")];
    let (waits, reads) = (member(&client, "a", &long), member(&client, "b", &long));
    waits.assign_committed(&[partition("empty")]).expect("by hand");
    assert!(waits.poll(SHORT).await.expect("nothing").is_empty());
    reads.assign_committed(&[partition("full")]).expect("by hand");
    let all = tokio::time::timeout(std::time::Duration::from_secs(20), read(&reads, 100)).await;
    assert_eq!(all.expect("before the other's fetch ends"), numbers(0..100));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_has_no_coordinator_is_said_in_time() {
    let configs = [
        ("bootstrap.servers", "127.0.0.1:1"),
        ("group.id", "g"),
        ("default.api.timeout.ms", "300"),
        ("request.timeout.ms", "200"),
    ];
    let consumer = Consumer::from_configs(Env::real(), configs).expect("valid");
    consumer.subscribe(["t"]).expect("valid");
    let error = consumer.poll(PATIENCE).await.expect_err("nobody there");
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
    let (configs, _) =
        Configs::parse(Scope::Consumer, [("group.protocol", "consumer"), ("group.id", "g")]).expect("valid");
    assert!(ConsumerOptions::from_configs(&configs).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_is_read_anew() {
    let broker = on_tcp().await;
    let address = broker.bootstrap_servers();
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..20)).await;
    let configs = [
        ("bootstrap.servers", address.as_str()),
        ("auto.offset.reset", "earliest"),
        ("group.id", "g"),
        ("enable.auto.commit", "false"),
    ];
    let consumer = Consumer::from_configs(Env::real(), configs).expect("valid");
    consumer.assign_committed(&[partition("t")]).expect("by hand");
    read(&consumer, 20).await;
    client
        .admin()
        .delete_topics(&["t".to_owned()])
        .await
        .expect("asked")
        .into_iter()
        .for_each(|it| it.expect("deleted"));
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..5)).await;
    // Position 20 is not in it.
    assert_eq!(read(&consumer, 5).await, numbers(0..5));
    broker.close().await.expect("closes");
}
