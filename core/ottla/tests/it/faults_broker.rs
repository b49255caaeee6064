//! Faults of the broker itself: full disks, torn writes, crashes, coordinators that move.

use crate::raw::Raw;
use crate::support::{Folder, client};
use ottla::client::{ProducerOptions, ProducerRecord};
use ottla::faults::ErrorCode;
use ottla::{Broker, BrokerBuilder};
use ottla_protocol::{CreateTopicsRequest, create_topics_request};
use ottla_wire::ClientError;

const STORAGE: i16 = 56;
const NOT_COORDINATOR: i16 = 16;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// In memory, and on a directory.
fn both(folder: &Folder) -> [BrokerBuilder; 2] {
    let builder = || Broker::builder().listener("PLAINTEXT://127.0.0.1:0");
    [builder(), builder().directory(&folder.0)]
}

async fn connect(broker: &Broker) -> Raw {
    Raw::connect(&broker.bootstrap_servers(), "raw").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_the_append_and_leaves_nothing_of_it() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 2).await;
        raw.produce("t", &[0], "a").await.expect("answered");
        let fault = broker.faults().on_append().topic("t").partition(0).times(2).disk_full().expect("possible");
        assert_eq!(raw.produce("t", &[0, 1], "b").await.expect("answered"), [(STORAGE, -1), (0, 0)]);
        assert_eq!(raw.produce("t", &[0], "c").await.expect("answered"), [(STORAGE, -1)]);
        assert_eq!(fault.fired(), 2);
        // There is room again.
        assert_eq!(raw.produce("t", &[0], "d").await.expect("answered"), [(0, 1)]);
        assert_eq!(raw.values("t", 0).await, ["a", "d"]);
        let broker = broker.stop().await.expect("stops").restart().await.expect("starts again");
        assert_eq!(connect(&broker).await.values("t", 0).await, ["a", "d"]);
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_directory_refuses_topics_and_commits_too() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    let raw = connect(&broker).await;
    raw.create_topic("t", 1).await;
    assert_eq!(raw.find_coordinator("g").await, 0);
    assert_eq!(raw.commit("g", "t", 5).await, 0);
    let fault = broker.faults().on_append().disk_full().expect("possible");
    let topic = create_topics_request::CreatableTopic {
        name: "u".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    assert_eq!(raw.ask(create.clone(), 5).await.expect("answered").topics[0].error_code, STORAGE);
    assert_eq!(raw.produce("t", &[0], "a").await.expect("answered"), [(STORAGE, -1)]);
    assert_eq!(raw.commit("g", "t", 6).await, NOT_COORDINATOR);
    fault.remove();
    assert_eq!(raw.ask(create, 5).await.expect("answered").topics[0].error_code, 0);
    assert_eq!(raw.produce("t", &[0], "a").await.expect("answered"), [(0, 0)]);
    assert_eq!(raw.find_coordinator("g").await, 0);
    assert_eq!(raw.committed("g", "t").await, 5);
    assert_eq!(raw.commit("g", "t", 7).await, 0);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_write_is_a_crash_that_recovery_heals() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 1).await;
        raw.produce("t", &[0], "a").await.expect("answered");
        let idle = connect(&broker).await;
        idle.values("t", 0).await;
        let fault = broker.faults().on_append().topic("t").after(1).torn_write().expect("possible");
        raw.produce("t", &[0], "b").await.expect("the first passes");
        let torn = raw.produce("t", &[0], "c").await;
        assert!(matches!(torn, Err(ClientError::Disconnected(_))), "{torn:?}");
        assert_eq!(fault.fired(), 1);
        assert!(broker.faults().has_crashed());
        // The others are gone with it, and nobody gets in.
        let gone = idle.produce("t", &[0], "d").await;
        assert!(matches!(gone, Err(ClientError::Disconnected(_))), "{gone:?}");
        let address = broker.bootstrap_servers();

        let broker = broker.crash().await.restart().await.expect("recovers");
        assert_eq!(broker.bootstrap_servers(), address);
        let raw = connect(&broker).await;
        assert_eq!(raw.values("t", 0).await, ["a", "b"]);
        assert_eq!(raw.produce("t", &[0], "e").await.expect("answered"), [(0, 2)]);
        broker.close().await.expect("closes");
    }
}

/// The half-written batch is there when recovery begins: without a torn write this test's directory would not be longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // Looks at the files from outside.
async fn the_torn_half_is_in_the_file_until_it_is_recovered() {
    let folder = Folder::new();
    let builder = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").directory(&folder.0);
    let broker = builder.start().await.expect("starts");
    let raw = connect(&broker).await;
    raw.create_topic("t", 1).await;
    raw.produce("t", &[0], "a").await.expect("answered");
    let file = folder.0.join("t-0").join("00000000000000000000.log");
    let size = || std::fs::metadata(&file).expect("the segment is there").len();
    let whole = size();
    broker.faults().on_append().torn_write().expect("possible");
    assert!(raw.produce("t", &[0], "b").await.is_err());
    let stopped = broker.crash().await;
    assert!(size() > whole && size() < 2 * whole, "{} of {whole}", size());
    let broker = stopped.restart().await.expect("recovers");
    assert_eq!(size(), whole);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_goes_on_after_a_crash() {
    let broker = Broker::builder().start().await.expect("starts");
    let client = client(&broker);
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let send = async |value: &str| {
        let record = ProducerRecord::new("t", None, Some(value.as_bytes()));
        producer.send(record).await.expect("there is room")
    };
    send("a").await.wait().await.expect("delivered");
    let fault = broker.faults().on_append().topic("t").torn_write().expect("possible");
    let delivery = send("b").await;
    fault.wait_fired(1).await;
    let broker = broker.crash().await.restart().await.expect("recovers");
    delivery.wait().await.expect("delivered after the restart");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    assert_eq!(raw.values("t", 0).await, ["a", "b"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_nothing_that_was_written() {
    let folder = Folder::new();
    for builder in both(&folder) {
        let broker = builder.start().await.expect("starts");
        let raw = connect(&broker).await;
        raw.create_topic("t", 1).await;
        assert_eq!(raw.find_coordinator("g").await, 0);
        for number in 0..50 {
            raw.produce("t", &[0], &number.to_string()).await.expect("answered");
        }
        assert_eq!(raw.commit("g", "t", 33).await, 0);
        let broker = broker.crash().await.restart().await.expect("recovers");
        let raw = connect(&broker).await;
        assert_eq!(raw.values("t", 0).await.len(), 50);
        assert_eq!(raw.find_coordinator("g").await, 0);
        assert_eq!(raw.committed("g", "t").await, 33);
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_rebalances_when_told_to() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    let raw = connect(&broker).await;
    assert_eq!(raw.find_coordinator("g").await, 0);
    let member = raw.join("g").await;
    assert_eq!(raw.heartbeat("g", &member).await, 0);
    broker.faults().rebalance("g").expect("it has a member");
    assert_eq!(raw.heartbeat("g", &member).await, REBALANCE_IN_PROGRESS);
    let again = raw.join_again("g", member.0.clone()).await;
    assert!(again.1 > member.1, "{again:?} after {member:?}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_moved_is_there_once_it_is_looked_for() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    let raw = connect(&broker).await;
    raw.create_topic("t", 1).await;
    assert_eq!(raw.find_coordinator("g").await, 0);
    let member = raw.join("g").await;
    assert_eq!(raw.commit("other", "t", 4).await, 0);
    broker.faults().move_coordinator("g").expect("there is one");
    for _ in 0..3 {
        assert_eq!(raw.heartbeat("g", &member).await, NOT_COORDINATOR);
    }
    assert_eq!(raw.find_coordinator("g").await, 0);
    // Read from the log anew: the member and the offsets are known.
    assert_eq!(raw.heartbeat("g", &member).await, 0);
    assert_eq!(raw.committed("other", "t").await, 4);
    assert_eq!(ErrorCode::NotCoordinator.code(), NOT_COORDINATOR);
    broker.close().await.expect("closes");
}
