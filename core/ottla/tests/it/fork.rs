//! Forks and snapshots: the same data, two ways on.
//!
//! Goal: what the documentation of `Broker::fork`, `snapshot` and `fork_topic` promises, in memory and on a directory.

use crate::raw::Raw;
use crate::support::Folder;
use ottla::{Broker, BrokerBuilder};
use ottla_model::record_batch::{BatchBuilder, BatchOptions};
use ottla_protocol::{DeleteTopicsRequest, MetadataRequest};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// In memory, and on a directory; with segments so small that most records are in sealed ones.
fn both(folder: &Folder) -> [BrokerBuilder; 2] {
    let builder = || {
        Broker::builder()
            .listener("PLAINTEXT://127.0.0.1:0")
            .config("log.segment.bytes", "1048576")
            .config("log.index.interval.bytes", "40000")
    };
    [builder(), builder().directory(&folder.0)]
}

async fn connect(broker: &Broker) -> Raw {
    Raw::connect(&broker.bootstrap_servers(), "raw").await
}

async fn fill(raw: &Raw, topic: &str, from: usize, to: usize) {
    for number in from..to {
        let answer = raw.produce(topic, &[0], &format!("{number:030000}")).await.expect("answered");
        assert_eq!(answer, [(0, number as i64)]);
    }
}

fn numbers(values: Vec<String>) -> Vec<usize> {
    values.iter().map(|value| value.parse().expect("a number")).collect()
}

async fn read(broker: &Broker, topic: &str) -> Vec<usize> {
    numbers(connect(broker).await.values(topic, 0).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_has_everything_and_goes_its_own_way() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let parent = builder.start().await.expect("starts");
        let raw = connect(&parent).await;
        raw.create_topic("t", 2).await;
        fill(&raw, "t", 0, 100).await;
        assert_eq!(raw.find_coordinator("g").await, 0);
        assert_eq!(raw.commit("g", "t", 42).await, 0);

        let fork = parent.fork().await.expect("forks");
        assert_ne!(fork.cluster_id(), parent.cluster_id());
        assert_ne!(fork.bootstrap_servers(), parent.bootstrap_servers());
        let of_fork = connect(&fork).await;
        assert_eq!(numbers(of_fork.values("t", 0).await), (0..100).collect::<Vec<_>>());
        assert_eq!(of_fork.find_coordinator("g").await, 0);
        assert_eq!(of_fork.committed("g", "t").await, 42);
        let id = async |raw: &Raw| {
            raw.ask(MetadataRequest { topics: None, ..Default::default() }, 12).await.expect("answered").topics[0]
                .topic_id
        };
        assert_eq!(id(&raw).await, id(&of_fork).await);

        // Both go on, from the same offset.
        fill(&raw, "t", 100, 130).await;
        fill(&of_fork, "t", 100, 150).await;
        assert_eq!(of_fork.commit("g", "t", 99).await, 0);
        assert_eq!(raw.committed("g", "t").await, 42);
        let parent = parent.stop().await.expect("stops").restart().await.expect("starts");
        let fork = fork.stop().await.expect("stops").restart().await.expect("starts");
        assert_eq!(read(&parent, "t").await, (0..130).collect::<Vec<_>>());
        assert_eq!(read(&fork, "t").await, (0..150).collect::<Vec<_>>());

        // Crashes of either: recovery rebuilds indexes, which the other one shares.
        let fork = fork.crash().await.restart().await.expect("recovers");
        assert_eq!(read(&parent, "t").await, (0..130).collect::<Vec<_>>());
        let parent = parent.crash().await.restart().await.expect("recovers");
        assert_eq!(read(&parent, "t").await, (0..130).collect::<Vec<_>>());
        assert_eq!(read(&fork, "t").await, (0..150).collect::<Vec<_>>());

        // What one deletes the other one has.
        let raw = connect(&parent).await;
        let delete = DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(raw.ask(delete, 5).await.expect("answered").responses[0].error_code, 0);
        parent.close().await.expect("closes");
        assert_eq!(read(&fork, "t").await, (0..150).collect::<Vec<_>>());
        let fork = fork.stop().await.expect("stops").restart().await.expect("starts");
        assert_eq!(read(&fork, "t").await, (0..150).collect::<Vec<_>>());
        fork.close().await.expect("closes");
    }
    assert_eq!(beside(&folder), 0, "the forks' directories are gone");
}

/// How many directories of forks lie beside this one.
#[allow(clippy::disallowed_methods)] // Looks at the files from outside.
fn beside(folder: &Folder) -> usize {
    let name = format!("{}.fork-", folder.0.file_name().expect("a name").to_str().expect("text"));
    let entries = std::fs::read_dir(folder.0.parent().expect("a parent")).expect("it can be listed");
    entries.filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().starts_with(&name))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_a_fork_that_is_made_under_load() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let parent = builder.start().await.expect("starts");
        let raw = connect(&parent).await;
        raw.create_topic("t", 1).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (count, address) = (acknowledged.clone(), parent.bootstrap_servers());
        let load = ottla::client::Env::real().spawn("load", async move {
            let raw = Raw::connect(&address, "load").await;
            for number in 0.. {
                raw.produce("t", &[0], &format!("{number:030000}")).await.expect("answered");
                count.store(number + 1, Ordering::SeqCst);
            }
        });
        let mut forks = Vec::new();
        for _ in 0..8 {
            let known = acknowledged.load(Ordering::SeqCst);
            while acknowledged.load(Ordering::SeqCst) < known + 25 {
                tokio::task::yield_now().await;
            }
            let before = acknowledged.load(Ordering::SeqCst) as usize;
            forks.push((before, parent.fork().await.expect("forks")));
        }
        load.abort();
        load.join().await;
        let all = read(&parent, "t").await;
        assert_eq!(all, (0..all.len()).collect::<Vec<_>>());
        for (before, fork) in forks {
            let values = read(&fork, "t").await;
            assert!(values.len() >= before, "{} of {before}", values.len());
            assert_eq!(values, all[..values.len()]);
            let next = connect(&fork).await.produce("t", &[0], "1").await.expect("answered");
            assert_eq!(next, [(0, values.len() as i64)]);
            fork.close().await.expect("closes");
        }
        parent.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forked_topic_lives_beside_its_source() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("a", 2).await;
        fill(&raw, "a", 0, 80).await;
        assert_eq!(raw.find_coordinator("g").await, 0);
        assert_eq!(raw.commit("g", "a", 7).await, 0);
        broker.fork_topic("a", "b").await.expect("forks");
        assert_eq!(numbers(raw.values("b", 0).await), (0..80).collect::<Vec<_>>());
        assert!(raw.values("b", 1).await.is_empty());
        assert_eq!(raw.committed("g", "b").await, -1);
        fill(&raw, "a", 80, 90).await;
        fill(&raw, "b", 80, 120).await;
        for (from, to, reason) in [("a", "b", "exists"), ("none", "c", "no topic"), ("a", "no good", "name")] {
            let error = broker.fork_topic(from, to).await.expect_err("it cannot be").to_string();
            assert!(error.contains(reason) || error.contains("INVALID"), "{error}");
        }
        assert!(broker.fork_topic("__consumer_offsets", "c").await.is_err());
        let broker = broker.crash().await.restart().await.expect("recovers");
        let raw = connect(&broker).await;
        let delete = DeleteTopicsRequest { topic_names: vec!["a".into()], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(raw.ask(delete, 5).await.expect("answered").responses[0].error_code, 0);
        assert_eq!(numbers(raw.values("b", 0).await), (0..120).collect::<Vec<_>>());
        let broker = broker.stop().await.expect("stops").restart().await.expect("starts");
        assert_eq!(read(&broker, "b").await, (0..120).collect::<Vec<_>>());
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_outlives_its_broker() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 1).await;
        fill(&raw, "t", 0, 60).await;
        let snapshot = broker.snapshot().await.expect("kept");
        fill(&raw, "t", 60, 70).await;
        broker.close().await.expect("closes");
        let first = snapshot.fork().await.expect("forks");
        fill(&connect(&first).await, "t", 60, 65).await;
        let second = snapshot.fork().await.expect("forks");
        assert_ne!(first.cluster_id(), second.cluster_id());
        drop(snapshot);
        assert_eq!(read(&first, "t").await, (0..65).collect::<Vec<_>>());
        assert_eq!(read(&second, "t").await, (0..60).collect::<Vec<_>>());
        first.close().await.expect("closes");
        second.close().await.expect("closes");
    }
    assert_eq!(beside(&folder), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_come_without_their_members() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    let raw = connect(&broker).await;
    assert_eq!(raw.find_coordinator("g").await, 0);
    let member = raw.join("g").await;
    let fork = broker.fork().await.expect("forks");
    let of_fork = connect(&fork).await;
    assert_eq!(of_fork.find_coordinator("g").await, 0);
    const UNKNOWN_MEMBER_ID: i16 = 25;
    assert_eq!(of_fork.heartbeat("g", &member).await, UNKNOWN_MEMBER_ID);
    assert_eq!(raw.heartbeat("g", &member).await, 0);
    // Nobody is waited for: with a member of the other broker this would take its rebalance timeout.
    let own = of_fork.join("g").await;
    assert!(own.1 > member.1, "generations go on: {own:?} after {member:?}");
    fork.close().await.expect("closes");
    broker.close().await.expect("closes");
}

/// One record of an idempotent producer.
fn batch(producer_id: i64, sequence: i32) -> ottla_model::Records {
    let options = BatchOptions { producer_id, producer_epoch: 0, base_sequence: sequence, ..Default::default() };
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let mut builder = BatchBuilder::new(options);
    // A producer whose last batch is old is forgotten.
    let now_ms = ottla::client::Env::real().now_ms();
    builder.append(now_ms, None, Some(sequence.to_string().as_bytes()), none).expect("it fits");
    builder.build().expect("it can be built").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_come_with_their_last_batch() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 1).await;
        let send = async |raw: &Raw, topic: &str, sequence: i32| {
            let mut request = crate::raw::produce(topic, &[0], "");
            request.topic_data[0].partition_data[0].records = Some(batch(4000, sequence));
            let answer = raw.ask(request, 9).await.expect("answered");
            let partition = &answer.responses[0].partition_responses[0];
            (partition.error_code, partition.base_offset)
        };
        assert_eq!(send(&raw, "t", 0).await, (0, 0));
        assert_eq!(send(&raw, "t", 1).await, (0, 1));
        broker.fork_topic("t", "u").await.expect("forks");
        let fork = broker.fork().await.expect("forks");
        let of_fork = connect(&fork).await;
        const OUT_OF_ORDER: i16 = 45;
        for (raw, topic) in [(&of_fork, "t"), (&raw, "u")] {
            assert_eq!(send(raw, topic, 1).await, (0, 1), "a repetition");
            assert_eq!(send(raw, topic, 5).await, (OUT_OF_ORDER, -1));
            assert_eq!(send(raw, topic, 2).await, (0, 2));
        }
        assert_eq!(raw.values("t", 0).await, ["0", "1"]);
        fork.close().await.expect("closes");
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_in_memory_is_forked_to_the_disk() {
    let folder = Folder::new();
    let broker = Broker::builder().start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    fill(&raw, "t", 0, 40).await;
    let fork = broker.fork_to(&folder.0).await.expect("forks");
    let cluster_id = fork.cluster_id().to_owned();
    fill(&Raw::connect(fork.inproc_address(), "raw").await, "t", 40, 50).await;
    fork.close().await.expect("closes");
    let error = broker.fork_to(&folder.0).await.expect_err("there is something").to_string();
    assert!(error.contains(folder.0.to_str().expect("text")), "{error}");
    let again = Broker::builder().directory(&folder.0).start().await.expect("starts on the directory");
    assert_eq!(again.cluster_id(), cluster_id);
    assert_eq!(numbers(Raw::connect(again.inproc_address(), "raw").await.values("t", 0).await).len(), 50);
    again.close().await.expect("closes");
    broker.close().await.expect("closes");
}

#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)] // Counts what the process has open.
fn open_things() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(Path::new(path)).expect("on Linux").count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// The other tests of this process open and close things too, so the measure is coarse: a leak of one per fork shows.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_forks_leave_nothing_behind() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 1).await;
        fill(&raw, "t", 0, 50).await;
        let snapshot = broker.snapshot().await.expect("kept");
        let before = open_things();
        for round in 0..250 {
            let forks = [snapshot.fork().await.expect("forks"), broker.fork().await.expect("forks")];
            for fork in forks {
                match round % 3 {
                    // Ends by itself.
                    0 => drop(fork),
                    _ => fork.close().await.expect("closes"),
                }
            }
        }
        let after = loop {
            let after = open_things();
            if after.0 < before.0 + 200 && after.1 < before.1 + 200 && beside(&folder) <= 1 {
                break after;
            }
            tokio::task::yield_now().await;
        };
        assert!(after.0 < before.0 + 200, "descriptors: {before:?}, then {after:?}");
        drop(snapshot);
        broker.close().await.expect("closes");
    }
    assert_eq!(beside(&folder), 0);
}
