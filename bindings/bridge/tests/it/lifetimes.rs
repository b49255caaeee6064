//! What ends: calls that are taken back, objects that are closed under a call, panics, wrong calls, forks.

use crate::host::{Host, of_values};
use ottla_bridge::{Answer, Handle, Kind};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_panic_ends_its_call_and_nothing_else() {
    let mut host = Host::new();
    let error = host.call(host.on, "panic", ()).expect_err("it panicked");
    assert!(error.kind == Kind::Internal && error.message.contains("as the test asked"), "{error}");
    let (broker, _) = host.broker(&[]);
    host.done(broker, "close", ());
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn what_is_wrong_with_a_call_is_said_in_a_sentence() {
    let mut host = Host::new();
    let (broker, address) = host.broker(&[]);
    let on = host.on;
    let told = |host: &mut Host, of: Handle, method: &str, arguments: serde_json::Value, words: &str| {
        let error = host.call(of, method, arguments).expect_err(method);
        assert!(error.kind == Kind::Invalid && error.message.contains(words), "{method}: {error:?}");
    };
    told(&mut host, broker, "fly", json!({}), "a broker has no method \"fly\"");
    told(&mut host, on, "broker.start", json!({"directori": "x"}), "directori");
    told(&mut host, on, "broker.start", json!({"configs": {"num.partitions": "many"}}), "num.partitions");
    told(&mut host, on, "producer.open", json!({"configs": {"bootstrap.servers": address, "acks": "some"}}), "acks");
    told(&mut host, on, "consumer.open", json!({"configs": {}}), "bootstrap.servers");
    told(&mut host, on, "producer.open", json!([1, 2]), "arguments");
    // Not MessagePack at all.
    ottla_bridge::call(host.on, 999, "producer.open", &[0xc1]).expect("begun");
    assert_eq!(host.end(999).expect_err("no arguments").kind, Kind::Invalid);
    assert_eq!(ottla_bridge::send(broker, &[], 0).expect_err("a broker").kind, Kind::Invalid);
    let producer = host.client("producer.open", &[("bootstrap.servers", &address)]);
    let error = ottla_bridge::send(producer, &[1, 2, 3], 0).expect_err("no frame");
    assert!(error.kind == Kind::Invalid && error.message.contains("record 0"), "{error}");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn a_call_that_is_taken_back_ends_once() {
    let mut host = Host::new();
    let (address, _) = host.stage(1);
    let consumer = host.client("consumer.open", &[("bootstrap.servers", &address)]);
    host.done(consumer, "assign", json!({"partitions": [{"topic": "t", "partition": 0}]}));
    let call = host.begin(consumer, "poll", json!({"timeout_ms": 600_000})).expect("open");
    ottla_bridge::cancel(host.on, call).expect("open");
    ottla_bridge::cancel(host.on, call).expect("open");
    assert_eq!(host.end(call).expect_err("taken back").kind, Kind::Cancelled);
    ottla_bridge::cancel(host.on, call).expect("it has ended, which is fine");
    host.call(consumer, "poll", json!({"timeout_ms": 1})).expect("goes on");
    let call = host.begin(consumer, "poll", json!({"timeout_ms": 600_000})).expect("open");
    host.done(consumer, "wakeup", ());
    assert_eq!(host.end(call).expect_err("woken").kind, Kind::Wakeup);
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn closing_under_a_call_ends_it_and_use_after_close_is_an_error() {
    let mut host = Host::new();
    let (address, producer) = host.stage(1);
    let consumer = host.client("consumer.open", &[("bootstrap.servers", &address)]);
    host.done(consumer, "assign", json!({"partitions": [{"topic": "t", "partition": 0}]}));
    let call = host.begin(consumer, "poll", json!({"timeout_ms": 600_000})).expect("open");
    ottla_bridge::close(consumer).expect("this process");
    assert_eq!(host.end(call).expect_err("closed under it").kind, Kind::Closed);
    assert_eq!(host.begin(consumer, "poll", json!({"timeout_ms": 1})).expect_err("closed").kind, Kind::Closed);
    ottla_bridge::close(consumer).expect("once more is fine");
    host.done(producer, "close", ());
    assert_eq!(ottla_bridge::send(producer, &of_values(&["x"]), 0).expect_err("closed").kind, Kind::Closed);
    ottla_bridge::close(producer).expect("this process");
    assert_eq!(ottla_bridge::send(producer, &of_values(&["x"]), 0).expect_err("closed").kind, Kind::Closed);
    ottla_bridge::close(host.on).expect("this process");
    assert!(ottla_bridge::queue(host.on).is_err());
}

#[test]
fn records_of_a_producer_that_is_let_go_come_back_as_failed() {
    let mut host = Host::new();
    // Nobody is at home, so that they wait for the topic's metadata.
    let producer = host.client("producer.open", &[("bootstrap.servers", "127.0.0.1:1"), ("max.block.ms", "600000")]);
    for first in 0..3 {
        ottla_bridge::send(producer, &of_values(&["x"]), first).expect("open");
    }
    let limit = json!({"timeout_ms": 50});
    let closed = host.call(producer, "close", limit);
    drop(closed);
    let results = host.deliveries(producer, 1, 2);
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.contains("closed"))), "{results:?}");
    ottla_bridge::close(host.on).expect("this process");
}

#[test]
fn closing_the_queue_ends_all_that_was_opened_on_it() {
    let mut host = Host::new();
    let (address, producer) = host.stage(1);
    let consumer = host.client("consumer.open", &[("bootstrap.servers", &address), ("group.id", "g")]);
    host.begin(consumer, "poll", json!({"timeout_ms": 600_000})).expect("open");
    let waiting = host.queue.clone();
    let waited = std::thread::spawn(move || {
        while !waiting.is_closed() {
            waiting.wait(16, Duration::from_secs(60));
        }
    });
    ottla_bridge::close(host.on).expect("this process");
    waited.join().expect("woken by the close");
    for handle in [producer, consumer, host.on] {
        assert_eq!(ottla_bridge::call(handle, 1, "metrics", &[]).expect_err("closed").kind, Kind::Closed);
    }
}

#[test]
fn the_threads_end_with_the_last_object() {
    let threads = || {
        let all = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
        let name = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        all.filter(|_| true).map(name).filter(|name| name.starts_with("ottla-")).count()
    };
    // Other tests of this process have threads of the same runtime, so that it is another process that looks.
    if std::env::var_os("OTTLA_COUNT_THREADS").is_none() {
        let this = std::env::current_exe().expect("a test has a file");
        let name = "lifetimes::the_threads_end_with_the_last_object";
        let child = std::process::Command::new(this).args([name, "--exact"]).env("OTTLA_COUNT_THREADS", "1").status();
        assert!(child.expect("starts").success());
        return;
    }
    for _ in 0..3 {
        let mut host = Host::new();
        let (broker, _) = host.broker(&[]);
        assert!(threads() > 0);
        host.done(broker, "close", ());
        ottla_bridge::close(host.on).expect("this process");
        let end = std::time::Instant::now() + crate::host::PATIENCE;
        while threads() > 0 {
            assert!(std::time::Instant::now() < end, "{} threads are left", threads());
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_thousand_brokers_leave_nothing_behind() {
    let mut host = Host::new();
    let count = || std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    let mut before = 0;
    for round in 0..1000 {
        let (broker, address) = host.broker(&[]);
        if round % 100 == 0 {
            let producer = host.client("producer.open", &[("bootstrap.servers", &address)]);
            assert_eq!(host.produce(producer, 0, &["x"]), [Ok(0)]);
            host.done(producer, "close", ());
            ottla_bridge::close(producer).expect("this process");
        }
        assert_eq!(host.call(broker, "close", ()).expect("closes"), Answer::Done);
        ottla_bridge::close(broker).expect("this process");
        if round == 10 {
            before = count();
        }
    }
    // Tests beside this one open some too.
    assert!(count() < before + 200, "{} file descriptors, {before} before", count());
    ottla_bridge::close(host.on).expect("this process");
}
