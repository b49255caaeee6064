//! The main job: produce, consume, groups with a listener, transactions, administration.

use crate::host::{Host, Map, of_values, read};
use ottla_bridge::{Answer, Event, Kind, Sent, Waited};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn records_go_in_and_come_out_over_tcp_and_in_process() {
    for listeners in [&[][..], &["PLAINTEXT://127.0.0.1:0"]] {
        let mut host = Host::new();
        let (broker, address) = host.broker(listeners);
        assert_eq!(address.starts_with("ottla-inproc:"), listeners.is_empty(), "{address}");
        let producer = host.client("producer.open", &[("bootstrap.servers", &address)]);
        let values: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        // The topic is created by the first; those that come meanwhile wait behind it in order.
        let mut first = 0;
        for part in values.chunks(700) {
            assert_eq!(ottla_bridge::send(producer, &of_values(part), first).expect("open"), Sent::Taken);
            first += part.len() as u64;
        }
        host.done(producer, "flush", ());
        let offsets = host.deliveries(producer, 0, 3000);
        assert_eq!(offsets, (0..3000).map(Ok).collect::<Vec<_>>());
        let configs = [("bootstrap.servers", &*address), ("auto.offset.reset", "earliest")];
        let consumer = host.client("consumer.open", &configs);
        host.done(consumer, "assign", json!({"partitions": [{"topic": "t", "partition": 0}]}));
        host.done(consumer, "seek_to_beginning", json!({"partitions": [{"topic": "t", "partition": 0}]}));
        let expected: Vec<_> = (0..3000).map(|number| (number, number.to_string())).collect();
        assert_eq!(host.consume(consumer, 3000), expected);
        let position: i64 = host.value(consumer, "position", json!({"topic": "t", "partition": 0}));
        assert_eq!(position, 3000);
        for client in [producer, consumer, broker] {
            host.done(client, "close", json!({"timeout_ms": 10_000}));
            ottla_bridge::close(client).expect("this process");
        }
        ottla_bridge::close(host.on).expect("this process");
    }
}

#[test]
fn a_listener_is_asked_and_may_commit_before_it_answers() {
    let mut host = Host::new();
    let (address, producer) = host.stage(2);
    host.produce(producer, 0, &["a", "b", "c"]);
    let configs = [
        ("bootstrap.servers", &*address),
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    let consumer = host.client("consumer.open", &configs);
    host.done(consumer, "subscribe", json!({"topics": ["t"], "listener": true}));
    let call = host.begin(consumer, "poll", json!({"timeout_ms": 30_000})).expect("open");
    let asked = |event: &mut Event| match event {
        Event::Question { question, about, arguments, .. } => Some((*question, *about, arguments.clone())),
        _ => None,
    };
    let (question, about, arguments) = host.next(asked);
    assert_eq!(about, "rebalance.assigned");
    let partitions: Vec<Map> = rmp_serde::from_slice(&arguments).expect("partitions");
    assert_eq!(partitions.len(), 2);
    ottla_bridge::answer(host.on, question, Ok(&[])).expect("somebody waits");
    let Answer::Records(frame) = host.end(call).expect("polls") else { panic!("no records") };
    let mut values = read(&frame);
    values.extend(host.consume(consumer, 3 - values.len()));
    assert_eq!(values.len(), 3);
    // Leaving asks again; the commit is made while it waits.
    let call = host.begin(consumer, "unsubscribe", ()).expect("open");
    let (question, about, _) = host.next(asked);
    assert_eq!(about, "rebalance.revoked");
    host.done(consumer, "commit", ());
    ottla_bridge::answer(host.on, question, Ok(&[])).expect("somebody waits");
    host.end(call).expect("left");
    let admin = host.client("admin.open", &[("bootstrap.servers", &address)]);
    let offsets: Vec<Map> = host.value(admin, "list_consumer_group_offsets", json!({"group": "g"}));
    let committed: Vec<_> = offsets.iter().map(|offset| offset["value"]["offset"].as_i64()).collect();
    assert!(committed.contains(&Some(3)), "{offsets:?}");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn a_listener_that_fails_ends_the_poll_with_its_words() {
    let mut host = Host::new();
    let (address, _) = host.stage(1);
    let consumer = host.client("consumer.open", &[("bootstrap.servers", &address), ("group.id", "g")]);
    host.done(consumer, "subscribe", json!({"topics": ["t"], "listener": true}));
    let call = host.begin(consumer, "poll", json!({"timeout_ms": 30_000})).expect("open");
    let question = host.next(|event| match event {
        Event::Question { question, .. } => Some(*question),
        _ => None,
    });
    let why = ottla_bridge::Error::invalid("the state could not be restored");
    ottla_bridge::answer(host.on, question, Err(why)).expect("somebody waits");
    let error = host.end(call).expect_err("the listener failed");
    assert!(error.message.contains("the state could not be restored"), "{error}");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn transactions_are_read_once_they_are_committed() {
    let mut host = Host::new();
    let (address, _) = host.stage(1);
    let configs = [("bootstrap.servers", &*address), ("transactional.id", "tx")];
    let producer = host.client("producer.open", &configs);
    host.done(producer, "init_transactions", ());
    let mut first = 0;
    for (end, values) in [("abort_transaction", ["a", "b"]), ("commit_transaction", ["c", "d"])] {
        host.done(producer, "begin_transaction", ());
        assert_eq!(ottla_bridge::send(producer, &of_values(&values), first).expect("open"), Sent::Taken);
        host.done(producer, "flush", ());
        host.done(producer, end, ());
        first += 2;
    }
    let configs =
        [("bootstrap.servers", &*address), ("isolation.level", "read_committed"), ("auto.offset.reset", "earliest")];
    let consumer = host.client("consumer.open", &configs);
    host.done(consumer, "assign", json!({"partitions": [{"topic": "t", "partition": 0}]}));
    let values: Vec<_> = host.consume(consumer, 2).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["c", "d"]);
    let error = host.call(producer, "commit_transaction", ()).expect_err("none is open");
    assert!(error.message.contains("COMMITTING_TRANSACTION"), "{error}");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn administration_hides_no_part_of_an_answer_behind_another() {
    let mut host = Host::new();
    let (address, _) = host.stage(1);
    let admin = host.client("admin.open", &[("bootstrap.servers", &address)]);
    let topics =
        json!({"topics": [{"name": "t"}, {"name": "new", "partitions": 3, "configs": {"retention.ms": "1000"}}]});
    let created: Vec<Map> = host.value(admin, "create_topics", topics);
    assert_eq!(created[0]["error"]["name"], "TOPIC_ALREADY_EXISTS");
    assert_eq!(created[0]["error"]["java_class"], "org.apache.kafka.common.errors.TopicExistsException");
    assert_eq!(created[1]["value"]["partitions"], 3);
    let listed: Vec<Map> = host.value(admin, "list_topics", ());
    assert_eq!(listed.iter().map(|topic| topic["name"].as_str().expect("text")).collect::<Vec<_>>(), ["new", "t"]);
    let configs = json!({"resources": [{"type": "TOPIC", "name": "new"}], "names": ["retention.ms"]});
    let described: Vec<Map> = host.value(admin, "describe_configs", &configs);
    assert_eq!(described[0]["value"][0]["value"], "1000");
    let change =
        json!({"resources": [{"type": "TOPIC", "name": "new", "changes": [{"name": "retention.ms", "op": "DELETE"}]}]});
    let altered: Vec<Map> = host.value(admin, "incremental_alter_configs", change);
    assert_eq!(altered[0]["value"], true);
    let described: Vec<Map> = host.value(admin, "describe_configs", &configs);
    assert_eq!(described[0]["value"][0]["is_default"], true);
    let error = host.call(admin, "describe_configs", json!({"resources": [{"type": "SHOE", "name": "x"}]}));
    let error = error.expect_err("no such type");
    assert!(error.kind == Kind::Invalid && error.message.contains("TOPIC, BROKER"), "{error}");
    let offsets = json!({"partitions": [{"topic": "t", "partition": 0, "spec": "LATEST"}]});
    let offsets: Vec<Map> = host.value(admin, "list_offsets", offsets);
    assert_eq!(offsets[0]["value"]["offset"], 0);
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn a_full_producer_says_so_and_says_when_there_is_room() {
    let mut host = Host::new();
    let (_, address) = host.broker(&[]);
    let configs = [("bootstrap.servers", &*address), ("buffer.memory", "65536"), ("batch.size", "1000")];
    let producer = host.client("producer.open", &configs);
    let value = "x".repeat(20_000);
    let frame = of_values(&[&value]);
    let (mut sent, mut full) = (0, 0);
    while full < 3 {
        match ottla_bridge::send(producer, &frame, sent).expect("open") {
            Sent::Taken => sent += 1,
            Sent::Full => {
                full += 1;
                host.next(|event| matches!(event, Event::Room { .. }).then_some(()));
            }
        }
    }
    host.done(producer, "flush", ());
    let offsets = host.deliveries(producer, 0, sent as usize);
    assert_eq!(offsets, (0..sent as i64).map(Ok).collect::<Vec<_>>());
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn log_lines_arrive_for_the_hosts_own_logger() {
    let mut host = Host::new();
    host.done(host.on, "log", json!({"level": 2}));
    let configs = BTreeMap::from([("configs", BTreeMap::from([("log.retention.mss", "1")]))]);
    let broker = host.open(host.on, "broker.start", configs);
    let line = host.next(|event| match event {
        Event::Log { level: 2, message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(line.contains("log.retention.mss"), "{line}");
    let error = host.call(host.on, "log", json!({"level": 9})).expect_err("no such level");
    assert_eq!(error.kind, Kind::Invalid);
    ottla_bridge::close(broker).expect("this process");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn a_thread_that_blocks_is_told_when_it_is_asked() {
    let mut host = Host::new();
    let (address, producer) = host.stage(1);
    host.produce(producer, 0, &["a"]);
    let configs = [("bootstrap.servers", &*address), ("group.id", "g"), ("auto.offset.reset", "earliest")];
    let consumer = host.client("consumer.open", &configs);
    host.done(consumer, "subscribe", json!({"topics": ["t"], "listener": true}));
    let arguments = rmp_serde::to_vec_named(&json!({"timeout_ms": 60_000})).expect("plain");
    let mut poll = ottla_bridge::call_and_wait(consumer, "poll", &arguments).expect("open");
    let mut asked = 0;
    let frame = loop {
        match poll.wait(Duration::from_millis(100)) {
            Waited::Ended(Ok(Answer::Records(frame))) => break frame,
            Waited::Ended(other) => panic!("{other:?}"),
            Waited::NotYet => {}
            Waited::Asked => {
                asked += 1;
                let question = host.next(|event| match event {
                    Event::Question { question, .. } => Some(*question),
                    _ => None,
                });
                ottla_bridge::answer(host.on, question, Ok(&[])).expect("it waits");
            }
        }
    };
    assert_eq!((asked, read(&frame)), (1, vec![(0, "a".to_owned())]));
    // Another thread closes it under the call.
    let mut poll = ottla_bridge::call_and_wait(consumer, "poll", &arguments).expect("open");
    assert!(matches!(poll.wait(Duration::from_millis(10)), Waited::NotYet));
    ottla_bridge::close(consumer).expect("this process");
    let ended = poll.wait(Duration::from_secs(60));
    assert!(matches!(&ended, Waited::Ended(Err(error)) if error.kind == Kind::Closed), "{ended:?}");
    assert!(ottla_bridge::call_and_wait(consumer, "poll", &arguments).is_err());
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn a_host_that_never_fetches_deliveries_is_stopped_and_goes_on_when_it_does() {
    let mut host = Host::new();
    let (_, producer) = host.stage(1);
    let values = vec![""; 10_000];
    let frame = of_values(&values);
    let mut sent = 0;
    // A million are kept; with those that are not delivered yet it is a few more.
    while sent < 4_000_000 && ottla_bridge::send(producer, &frame, sent).expect("open") == Sent::Taken {
        sent += 10_000;
        host.done(producer, "flush", ());
    }
    assert!((1_000_000..1_200_000).contains(&sent), "{sent}");
    host.deliveries(producer, 0, sent as usize);
    host.next(|event| matches!(event, Event::Room { .. }).then_some(()));
    assert_eq!(ottla_bridge::send(producer, &frame, sent).expect("open"), Sent::Taken);
    ottla_bridge::close(host.on).expect("this process");
}
