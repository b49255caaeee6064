//! Compaction on the virtual clock, beside all else that takes its time; and of the coordinators' own topics.

use super::*;
use crate::support::Folder;
use ottla_model::ErrorCode;
use ottla_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

const SECOND: Duration = Duration::from_secs(1);
/// A compacted topic of segments of about one record.
const TABLE: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("internal.segment.bytes", "150")];

async fn put(client: &Client, topic: &str, key: &str, value: Option<&str>) {
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let record = ProducerRecord::new(topic, Some(key.as_bytes()), value.map(str::as_bytes));
    producer.send(record).await.expect("has room").wait().await.expect("acknowledged");
}

/// The offsets and keys of a topic.
async fn content(client: &Client, topic: &str) -> Vec<(i64, String)> {
    let partition = TopicPartition::new(topic, 0);
    let consumer = client.consumer(ConsumerOptions::default());
    let end = consumer.end_offsets(std::slice::from_ref(&partition)).await.expect("the broker answers")[&partition];
    consumer.assign(&[(partition.clone(), ottla::client::Position::Earliest)]).await.expect("it exists");
    let mut found = Vec::new();
    while consumer.position(&partition).await.expect("it has one") < end {
        for record in consumer.poll(Duration::from_millis(100)).await.expect("polls").iter() {
            let key = record.key.as_deref().expect("all have one");
            found.push((record.offset, String::from_utf8(key.to_vec()).expect("text")));
        }
    }
    found
}

fn row(offset: i64, key: &str) -> (i64, String) {
    (offset, key.to_owned())
}

/// A broker's first week: what is due is over when its time has come, and nothing is before.
struct Week {
    clock: VirtualClock,
    broker: Broker,
    client: Client,
    producer: Producer,
    value: String,
}

impl Week {
    async fn begin() -> Week {
        let clock = VirtualClock::new();
        let broker = start(&clock, &[]).await;
        let client = client(&broker);
        create(&client, "orders", &[("retention.ms", "604800000")]).await;
        create(&client, "table", &TABLE).await;
        create(&client, "payments", &[]).await;
        produce(&client, "orders", 10).await;
        let value = "v".repeat(60);
        for (key, value) in [("a", Some(&*value)), ("a", None), ("b", Some(&value)), ("b", Some(&value))] {
            put(&client, "table", key, value).await;
        }
        let address = broker.bootstrap_servers();
        let configs =
            [("bootstrap.servers", address.as_str()), ("transactional.id", "t"), ("transaction.timeout.ms", "60000")];
        let producer = Producer::from_configs(broker.env(), configs).expect("they fit together");
        producer.init_transactions().await.expect("the broker answers");
        producer.begin_transaction().expect("none is open");
        let sent = producer.send(ProducerRecord::new("payments", None, Some(b"0"))).await.expect("has room");
        sent.wait().await.expect("acked");
        let member = raw(&broker.env(), &broker, "member").await;
        assert_eq!(member.find_coordinator("readers").await, 0);
        member.join("readers").await;
        Week { clock, broker, client, producer, value }
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time).await.expect("comes to rest");
    }

    async fn members(&self) -> usize {
        members(&raw(&self.broker.env(), &self.broker, "watcher").await, "readers").await
    }

    async fn stable(&self) -> i64 {
        let reader = consumer(&self.client, &[("isolation.level", "read_committed")]);
        let partition = TopicPartition::new("payments", 0);
        reader.end_offsets(std::slice::from_ref(&partition)).await.expect("the broker answers")[&partition]
    }

    async fn table(&self) -> Vec<(i64, String)> {
        content(&self.client, "table").await
    }

    async fn put(&self, key: &str) {
        put(&self.client, "table", key, Some(&self.value)).await;
    }
}

#[tokio::test]
async fn a_week_with_compaction_a_session_a_transaction_and_retention_in_order() {
    let week = Week::begin().await;
    let dirty = vec![row(0, "a"), row(1, "a"), row(2, "b"), row(3, "b")];
    assert_eq!(week.table().await, dirty);
    // Nobody has taken part in the clock since its start: log.cleaner.backoff.ms is 15 s.
    week.advance(15 * SECOND - MS).await;
    assert_eq!(week.table().await, dirty);
    week.advance(MS).await;
    let clean = vec![row(1, "a"), row(2, "b"), row(3, "b")];
    assert_eq!(week.table().await, clean, "the tombstone stays for delete.retention.ms, a day");

    week.advance(15 * SECOND - MS).await;
    assert_eq!(week.members().await, 1);
    week.advance(MS).await;
    assert_eq!(week.members().await, 0, "session.timeout.ms is 30 s");

    week.advance(40 * SECOND - MS).await;
    assert_eq!(week.stable().await, 0);
    week.advance(MS).await;
    assert_eq!(week.stable().await, 2, "transaction.timeout.ms is 60 s, and the next look is at 70 s");

    // A cleaning half a day later finds the horizon ahead; one after the day, behind.
    week.advance(DAY / 2).await;
    for key in ["b", "c", "c"] {
        week.put(key).await;
    }
    week.advance(15 * SECOND).await;
    assert_eq!(week.table().await, [row(1, "a"), row(4, "b"), row(5, "c"), row(6, "c")]);
    week.advance(DAY / 2).await;
    for key in ["d", "d", "d", "d"] {
        week.put(key).await;
    }
    week.advance(15 * SECOND).await;
    assert_eq!(week.table().await, [row(4, "b"), row(6, "c"), row(9, "d"), row(10, "d")]);

    let left = WEEK - week.clock.elapsed();
    week.advance(left + 5 * MINUTE - MS).await;
    assert_eq!(log_start(&week.client, "orders").await, 0);
    week.advance(MS).await;
    assert_eq!(log_start(&week.client, "orders").await, 10);
    assert_eq!(week.table().await, [row(4, "b"), row(6, "c"), row(9, "d"), row(10, "d")]);
    week.producer.commit_transaction().await.expect_err("it was aborted long ago");
    week.broker.close().await.expect("closes");
}

/// The same in one step, with a writer that runs by the clock.
#[tokio::test]
async fn a_week_in_one_step() {
    let week = Week::begin().await;
    let (env, writer, value) = (week.broker.env(), client(&week.broker), week.value.clone());
    let writing = week.broker.env().spawn("writes", async move {
        loop {
            env.sleep(6 * HOUR).await;
            for key in ["b", "c"] {
                put(&writer, "table", key, Some(&value)).await;
            }
        }
    });
    week.advance(WEEK + 5 * MINUTE).await;
    writing.abort();
    assert_eq!((week.members().await, week.stable().await), (0, 2));
    assert_eq!(log_start(&week.client, "orders").await, 10);
    // What the writes of a week have made superfluous is gone; a last part is too small a share to be cleaned yet.
    let table = week.table().await;
    assert!(table.len() <= 8 && table.iter().all(|(offset, key)| *offset > 50 && key != "a"), "{table:?}");
    week.broker.close().await.expect("closes");
}

/// Kafka's own topics are compacted, too; what coordinators load from what is left is what they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_load_from_cleaned_topics() {
    let folder = Folder::new();
    let clock = VirtualClock::new();
    let configs = [
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("log.cleaner.delete.retention.ms", "1000"),
        ("file.delete.delay.ms", "0"),
        ("connections.max.idle.ms", "86400000000"),
    ];
    let begin = || Broker::builder().virtual_clock(&clock).directory(&folder.0).configs(configs).start();
    let broker = begin().await.expect("starts");
    let client = client(&broker);
    create(&client, "orders", &[]).await;
    let connection = raw(&broker.env(), &broker, "a").await;
    for group in ["kept", "gone"] {
        assert_eq!(connection.find_coordinator(group).await, 0);
        assert_eq!(connection.commit(group, "orders", 1).await, 0);
    }
    let transact = async |broker: &Broker, count: usize| {
        let address = broker.bootstrap_servers();
        let configs = [("bootstrap.servers", address.as_str()), ("transactional.id", "t")];
        let producer = Producer::from_configs(broker.env(), configs).expect("they fit together");
        producer.init_transactions().await.expect("the broker answers");
        for _ in 0..count {
            producer.begin_transaction().expect("none is open");
            producer.send(ProducerRecord::new("orders", None, Some(b"0"))).await.expect("has room");
            producer.commit_transaction().await.expect("commits");
        }
    };
    transact(&broker, 1).await;
    for topic in ["__consumer_offsets", "__transaction_state"] {
        let config =
            AlterableConfig { name: "internal.segment.bytes".into(), value: Some("1000".into()), ..Default::default() };
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: topic.into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let altered = connection.ask(request, 1).await.expect("the broker answers");
        assert_eq!(altered.responses[0].error_code, ErrorCode::None.code());
    }
    for offset in 0..200 {
        assert_eq!(connection.commit("kept", "orders", offset).await, 0);
    }
    let deletion = DeleteGroupsRequest { groups_names: vec!["gone".into()], ..Default::default() };
    assert_eq!(connection.ask(deletion, 2).await.expect("the broker answers").results[0].error_code, 0);
    transact(&broker, 60).await;
    // Twice, so that the tombstones of the deleted group go as well.
    for round in 0..2 {
        clock.advance(Duration::from_secs(30)).await.expect("comes to rest");
        for offset in 200..300 {
            assert_eq!(connection.commit("kept", "orders", offset + round).await, 0);
        }
        transact(&broker, 20).await;
    }
    clock.advance(Duration::from_secs(30)).await.expect("comes to rest");
    let first = |topic: &str| folder.0.join(format!("{topic}-0/00000000000000000000.log"));
    #[allow(clippy::disallowed_methods)] // A test's own folder, outside the engine.
    for topic in ["__consumer_offsets", "__transaction_state"] {
        let size = std::fs::metadata(first(topic)).expect("the first segment stays").len();
        assert!(size < 500, "{topic}: {size} bytes are left of its first segment");
    }
    broker.close().await.expect("closes");

    let broker = begin().await.expect("starts again");
    let connection = raw(&broker.env(), &broker, "b").await;
    assert_eq!(connection.committed("kept", "orders").await, 300);
    assert_eq!(connection.committed("gone", "orders").await, -1);
    transact(&broker, 3).await;
    broker.close().await.expect("closes");
}
