//! Consumers in a classic group when something happens: late polls, restarts, listeners with work to do, patterns, churn.

use crate::client_group::{Heard, SHORT, member, numbers, options, poll_until, read, settled, value};
use crate::support::{Folder, PATIENCE, client, create_topic, on_tcp, produce};
use ottla::Broker;
use ottla::client::{
    BoxFuture, Consumer, ErrorCode, ErrorKind, OffsetAndMetadata, Offsets, RebalanceListener, Result, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Commits when it has to give up, and begins where it is told to.
#[derive(Debug)]
struct Careful {
    begin_at: Option<i64>,
    committed: Mutex<Vec<BTreeSet<i32>>>,
}

impl RebalanceListener for Careful {
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            consumer.commit_sync().await?;
            let gone = partitions.iter().map(|partition| partition.partition).collect();
            self.committed.lock().expect("no panic").push(gone);
            Ok(())
        })
    }

    fn on_partitions_assigned<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for partition in partitions {
                if let Some(offset) = self.begin_at {
                    consumer.seek_to(partition, &OffsetAndMetadata::from(offset))?;
                    assert_eq!(consumer.position(partition).await?, offset);
                } else {
                    consumer.position(partition).await?;
                }
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_commits_what_it_gives_up_and_seeks_in_what_it_gets() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    produce(&client, "t", numbers(0..40)).await;
    let careful = |begin_at| Arc::new(Careful { begin_at, committed: Mutex::default() });
    let by_hand = [("enable.auto.commit", "false")];
    let (a, b) = (member(&client, "g", &by_hand), member(&client, "g", &by_hand));
    let (of_a, of_b) = (careful(None), careful(None));
    a.subscribe_with(["t"], of_a.clone()).expect("valid");
    let mut values = read(&a, 40).await;
    b.subscribe_with(["t"], of_b).expect("valid");
    poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 2)).await;
    assert_eq!(*of_a.committed.lock().expect("no panic"), [BTreeSet::from([0, 1])], "range gives up all");
    produce(&client, "t", numbers(40..50)).await;
    poll_until(&[&a, &b], &mut values, |values| values.len() >= 50).await;
    values.sort();
    assert_eq!(values, numbers(0..50), "committed before it went: nothing twice");
    b.close(PATIENCE).await.expect("closes");
    a.close(PATIENCE).await.expect("closes");

    let again = member(&client, "g", &by_hand);
    again.subscribe_with(["t"], careful(Some(0))).expect("valid");
    assert_eq!(read(&again, 50).await.len(), 50, "from the beginning, whatever is committed");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_polls_too_late_loses_its_partitions_and_comes_back() {
    for strategy in ["range", "cooperative-sticky"] {
        let broker = on_tcp().await;
        let client = client(&broker);
        create_topic(&client, "t", 2).await;
        let pairs = [("partition.assignment.strategy", strategy)];
        let late = [("partition.assignment.strategy", strategy), ("max.poll.interval.ms", "700")];
        let heard = Arc::new(Heard::default());
        let (a, b) = (member(&client, "g", &late), member(&client, "g", &pairs));
        a.subscribe_with(["t"], heard.clone()).expect("valid");
        b.subscribe(["t"]).expect("valid");
        let mut values = Vec::new();
        poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 2)).await;
        heard.take();
        // From here on only `b` polls.
        poll_until(&[&b], &mut values, |_| b.assignment().len() == 2).await;
        let error = a.commit_sync_offsets(&Offsets::from([(TopicPartition::new("t", 0), 0.into())])).await;
        let error = error.expect_err("not a member");
        assert_eq!(error.code(), Some(ErrorCode::UnknownMemberId), "{error}");
        assert!(error.message().contains("max.poll.interval.ms"), "{error}");
        poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 2)).await;
        let heard = heard.take();
        assert_eq!(heard.first().map(|(what, partitions)| (*what, partitions.len())), Some(("lost", 1)), "{heard:?}");
        assert_eq!(heard.last().map(|(what, _)| *what), Some("assigned"), "{heard:?}");
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_restarts_without_a_rebalance() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 4).await;
    produce(&client, "t", numbers(0..100)).await;
    let heard = Arc::new(Heard::default());
    let a = member(&client, "g", &[("group.instance.id", "a")]);
    let b = member(&client, "g", &[("group.instance.id", "b")]);
    a.subscribe_with(["t"], heard.clone()).expect("valid");
    b.subscribe(["t"]).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&a, &b], &mut values, |values| settled(&[&a, &b], 4) && values.len() >= 100).await;
    let had = b.assignment();
    let generation = a.group_metadata().expect("a group").generation_id;
    heard.take();
    b.close(PATIENCE).await.expect("closes");
    let b = member(&client, "g", &[("group.instance.id", "b")]);
    b.subscribe(["t"]).expect("valid");
    poll_until(&[&a, &b], &mut values, |_| !b.assignment().is_empty()).await;
    assert_eq!(b.assignment(), had);
    assert_eq!(a.group_metadata().expect("a group").generation_id, generation);
    assert!(heard.take().is_empty(), "the other member did not notice");

    // Another one under the same name takes over; the older hears it for as long as it polls.
    let usurper = member(&client, "g", &[("group.instance.id", "b")]);
    usurper.subscribe(["t"]).expect("valid");
    poll_until(&[&a, &usurper], &mut values, |_| !usurper.assignment().is_empty()).await;
    let fenced = async {
        loop {
            if let Err(error) = b.poll(SHORT).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, fenced).await.expect("it is told");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some(ErrorCode::FencedInstanceId)), "{error}");
    assert_eq!(b.poll(SHORT).await.expect_err("still").kind(), ErrorKind::Fenced);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_does_not_end_a_group() {
    let folder = Folder::new();
    let first =
        Broker::builder().directory(&folder.0).listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    let address = first.bootstrap_servers();
    let client = client(&first);
    create_topic(&client, "t", 3).await;
    produce(&client, "t", numbers(0..30)).await;
    let (a, b) = (member(&client, "g", &[]), member(&client, "g", &[]));
    a.subscribe(["t"]).expect("valid");
    b.subscribe(["t"]).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&a, &b], &mut values, |values| settled(&[&a, &b], 3) && values.len() >= 30).await;
    a.commit_sync().await.expect("committed");
    b.commit_sync().await.expect("committed");
    first.close().await.expect("closes");
    let again = Broker::builder().directory(&folder.0).listener(format!("PLAINTEXT://{address}"));
    let again = again.start().await.expect("starts again");
    produce(&client, "t", numbers(30..60)).await;
    poll_until(&[&a, &b], &mut values, |values| settled(&[&a, &b], 3) && values.len() >= 60).await;
    values.sort();
    assert_eq!(values, numbers(0..60));
    a.close(PATIENCE).await.expect("closes");
    b.close(PATIENCE).await.expect("closes");
    again.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_finds_topics_that_come_later() {
    let broker = on_tcp().await;
    let address = broker.bootstrap_servers();
    let client = client(&broker);
    create_topic(&client, "log-a", 1).await;
    create_topic(&client, "other", 1).await;
    let configs = [
        ("bootstrap.servers", address.as_str()),
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("heartbeat.interval.ms", "100"),
        ("metadata.max.age.ms", "200"),
    ];
    let consumer = Consumer::from_configs(ottla::client::Env::real(), configs).expect("valid");
    consumer.subscribe_pattern("log-.*|__consumer_offsets").expect("a pattern");
    assert!(consumer.subscribe_pattern("log-(").expect_err("no pattern").message().contains("log-("));
    let mut values = Vec::new();
    let topics = |consumer: &Consumer| -> BTreeSet<String> {
        consumer.assignment().iter().map(|partition| partition.topic.to_string()).collect()
    };
    poll_until(&[&consumer], &mut values, |_| topics(&consumer) == ["log-a".to_owned()].into()).await;
    create_topic(&client, "log-b", 2).await;
    produce(&client, "log-b", numbers(0..5)).await;
    poll_until(&[&consumer], &mut values, |values| values.len() >= 5).await;
    assert_eq!(topics(&consumer), ["log-a".to_owned(), "log-b".to_owned()].into());
    assert_eq!(consumer.subscription().len(), 2);
    consumer.close(PATIENCE).await.expect("closes");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_notices_new_partitions_and_a_topic_that_comes_late() {
    let broker = on_tcp().await;
    let address = broker.bootstrap_servers();
    let client = client(&broker);
    create_topic(&client, "grows", 1).await;
    let configs = [
        ("bootstrap.servers", address.as_str()),
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("metadata.max.age.ms", "200"),
        ("allow.auto.create.topics", "false"),
    ];
    let consumer = Consumer::from_configs(ottla::client::Env::real(), configs).expect("valid");
    consumer.subscribe(["grows", "late"]).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&consumer], &mut values, |_| consumer.assignment().len() == 1).await;
    create_topic(&client, "late", 2).await;
    poll_until(&[&consumer], &mut values, |_| consumer.assignment().len() == 3).await;
    consumer.close(PATIENCE).await.expect("closes");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_members_come_and_go_and_every_record_is_seen() {
    const MEMBERS: usize = 50;
    const RECORDS: usize = 3000;
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "busy", 60).await;
    let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = Vec::new();
    for index in 0..MEMBERS {
        let (client, seen, stop) = (client.clone(), seen.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            let pairs = [("partition.assignment.strategy", "cooperative-sticky"), ("max.poll.records", "20")];
            // Each leaves and comes back a few times while the records are read, some without saying so.
            let lives = 1 + index % 3;
            for life in 0..lives {
                let consumer = client.consumer(options("g", &pairs));
                consumer.subscribe(["busy"]).expect("valid");
                let mut polls = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) && (life + 1 == lives || polls < 20) {
                    let records = match consumer.poll(SHORT).await {
                        Ok(records) => records,
                        Err(error) => panic!("member {index}: {error}"),
                    };
                    let mut seen = seen.lock().expect("no panic");
                    records.iter().for_each(|record| *seen.entry(value(record)).or_default() += 1);
                    polls += 1;
                }
                consumer.close(PATIENCE).await.expect("closes");
            }
        }));
    }
    for chunk in 0..6 {
        produce(&client, "busy", numbers(chunk * RECORDS / 6..(chunk + 1) * RECORDS / 6)).await;
    }
    let limit = std::time::Instant::now() + PATIENCE;
    while seen.lock().expect("no panic").len() < RECORDS {
        assert!(std::time::Instant::now() < limit, "{} of {RECORDS} were seen", seen.lock().expect("no panic").len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no member panicked");
    }
    // Each gave up its partitions with a commit: nothing was read twice.
    let twice: Vec<_> =
        seen.lock().expect("no panic").iter().filter(|(_, count)| **count > 1).map(|(v, _)| v.clone()).collect();
    assert!(twice.is_empty(), "{} records were read twice: {twice:?}", twice.len());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_works_in_every_state() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    // Never used, subscribed but never polled, in the middle of joining, unsubscribed, twice.
    member(&client, "g", &[]).close(PATIENCE).await.expect("closes");
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("valid");
    consumer.close(PATIENCE).await.expect("closes");
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("valid");
    consumer.poll(Duration::ZERO).await.expect("joining");
    consumer.close(PATIENCE).await.expect("closes");
    consumer.close(PATIENCE).await.expect("closed already");
    let consumer = member(&client, "g", &[]);
    consumer.subscribe(["t"]).expect("valid");
    consumer.unsubscribe().await.expect("left");
    consumer.close(PATIENCE).await.expect("closes");
    // While another task polls.
    let consumer = Arc::new(member(&client, "g", &[]));
    consumer.subscribe(["t"]).expect("valid");
    let polling = tokio::spawn({
        let consumer = consumer.clone();
        async move {
            loop {
                if let Err(error) = consumer.poll(PATIENCE).await {
                    return error;
                }
            }
        }
    });
    while consumer.assignment().is_empty() {
        tokio::task::yield_now().await;
    }
    consumer.close(PATIENCE).await.expect("closes");
    assert_eq!(polling.await.expect("no panic").kind(), ErrorKind::Closed);
    // Without a broker it ends in time, and says what did not work.
    let consumer = member(&client, "h", &[]);
    consumer.subscribe(["t"]).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&consumer], &mut values, |_| settled(&[&consumer], 1)).await;
    broker.close().await.expect("closes");
    assert!(consumer.close(Duration::from_millis(300)).await.is_err());
}
