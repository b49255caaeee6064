//! Faults of requests: what they hit, how often, and what becomes of the request.

use crate::raw::{Raw, fetch, produce, values_of};
use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::Broker;
use ottla::client::{ProducerOptions, ProducerRecord};
use ottla::faults::{ApiKey, ErrorCode, LostAnswer};
use ottla_protocol::{FetchRequest, MetadataRequest};
use ottla_wire::ClientError;
use std::time::Duration;

const MOVED: ErrorCode = ErrorCode::NotLeaderOrFollower;

async fn with_topic(partitions: i32) -> (Broker, Raw) {
    let broker = on_tcp().await;
    let raw = Raw::connect(&broker.bootstrap_servers(), "raw").await;
    raw.create_topic("t", partitions).await;
    (broker, raw)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_partitions_that_match_fail() {
    let (broker, raw) = with_topic(3).await;
    let faults = broker.faults();
    let fault = faults.on(ApiKey::Produce).topic("t").partition(1).times(1).error(MOVED).expect("possible");
    let answers = raw.produce("t", &[0, 1, 2], "a").await.expect("answered");
    assert_eq!(answers, [(0, 0), (MOVED.code(), -1), (0, 0)]);
    assert_eq!((fault.fired(), fault.matched()), (1, 1));
    // It has struck its last time.
    assert_eq!(raw.produce("t", &[0, 1, 2], "b").await.expect("answered"), [(0, 1), (0, 0), (0, 1)]);
    assert_eq!(raw.values("t", 1).await, ["b"]);
    assert_eq!(raw.values("t", 2).await, ["a", "b"]);
    // Another topic, another client, another API: nothing strikes.
    faults.on(ApiKey::Produce).topic("u").error(MOVED).expect("possible");
    faults.on(ApiKey::Produce).client_id("other").error(MOVED).expect("possible");
    faults.on(ApiKey::Metadata).topic("t").error(MOVED).expect("possible");
    assert_eq!(raw.produce("t", &[0], "c").await.expect("answered"), [(0, 2)]);
    let other = Raw::connect(&broker.bootstrap_servers(), "other").await;
    assert_eq!(other.produce("t", &[0], "c").await.expect("answered"), [(MOVED.code(), -1)]);
    faults.clear();
    assert_eq!(other.produce("t", &[0], "d").await.expect("answered"), [(0, 3)]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rules_each_take_their_own_partitions() {
    let (broker, raw) = with_topic(3).await;
    let faults = broker.faults();
    faults.on(ApiKey::Produce).topic("t").partition(0).error(MOVED).expect("possible");
    faults.on(ApiKey::Produce).topic("t").partition(2).error(ErrorCode::NotEnoughReplicas).expect("possible");
    let answers = raw.produce("t", &[0, 1, 2], "a").await.expect("answered");
    assert_eq!(answers, [(MOVED.code(), -1), (0, 0), (ErrorCode::NotEnoughReplicas.code(), -1)]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_session_is_told_of_a_partition_that_it_does_not_name() {
    let (broker, raw) = with_topic(2).await;
    raw.produce("t", &[0], "a").await.expect("answered");
    let first = raw.ask(fetch("t", &[(0, 0), (1, 0)]), 12).await.expect("answered");
    assert!(first.session_id > 0);
    // Nothing changed and nothing is there: without the fault this would wait for a minute.
    let fault = broker.faults().on(ApiKey::Fetch).topic("t").partition(1).times(1).error(MOVED).expect("possible");
    let mut next = FetchRequest { session_id: first.session_id, session_epoch: 1, ..fetch("t", &[(0, 1)]) };
    let answer = raw.ask(next.clone(), 12).await.expect("answered");
    assert_eq!(fault.fired(), 1);
    let told: Vec<_> = answer.responses.iter().flat_map(|it| &it.partitions).collect();
    assert_eq!(told.iter().map(|it| (it.partition_index, it.error_code)).collect::<Vec<_>>(), [(1, MOVED.code())]);
    // The session goes on, and the partition is in order again.
    (next.session_epoch, next.topics) = (2, Vec::new());
    raw.produce("t", &[1], "b").await.expect("answered");
    let answer = raw.ask(next, 12).await.expect("answered");
    let data = answer.responses.iter().flat_map(|it| &it.partitions).find(|it| it.partition_index == 1);
    let data = data.expect("partition 1 has news");
    assert_eq!(data.error_code, 0);
    let bytes = data.records.as_ref().expect("records").to_bytes().expect("in memory");
    assert_eq!(values_of(bytes), ["b"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_of_a_request_that_was_served() {
    let (broker, raw) = with_topic(1).await;
    let faults = broker.faults();
    faults.on(ApiKey::Produce).times(1).lose_answer(LostAnswer::Close).expect("possible");
    let lost = raw.produce("t", &[0], "a").await;
    assert!(matches!(lost, Err(ClientError::Disconnected(_))), "{lost:?}");
    let raw = Raw::connect(&broker.bootstrap_servers(), "raw").await;
    assert_eq!(raw.values("t", 0).await, ["a"]);

    let fault = faults.on(ApiKey::Produce).times(1).lose_answer(LostAnswer::Silence).expect("possible");
    let silent = raw.0.start(&produce("t", &[0], "b"), 9).await.expect("sent");
    // What comes after it on this connection is not answered either.
    let second = raw.0.start(&MetadataRequest::default(), 9).await.expect("sent");
    fault.wait_fired(1).await;
    let other = Raw::connect(&broker.bootstrap_servers(), "other").await;
    while other.values("t", 0).await != ["a", "b"] {}
    assert!(matches!(silent.frame(Duration::from_millis(20)).await, Err(ClientError::Timeout { .. })));
    assert!(matches!(second.frame(Duration::from_millis(20)).await, Err(ClientError::Timeout { .. })));
    assert!(!raw.0.is_closed());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_comes_before_the_request_is_served() {
    let (broker, raw) = with_topic(1).await;
    let fault = broker.faults().on_any().client_id("raw").after(1).times(1).disconnect().expect("possible");
    raw.produce("t", &[0], "a").await.expect("the first passes");
    let lost = raw.produce("t", &[0], "b").await;
    assert!(matches!(lost, Err(ClientError::Disconnected(_))), "{lost:?}");
    assert_eq!((fault.fired(), fault.matched()), (1, 2));
    let raw = Raw::connect(&broker.bootstrap_servers(), "raw").await;
    assert_eq!(raw.values("t", 0).await, ["a"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_0_learns_of_an_error_by_a_closed_connection() {
    let (broker, raw) = with_topic(2).await;
    let fault = broker.faults().on(ApiKey::Produce).topic("t").partition(0).error(MOVED).expect("possible");
    let mut request = produce("t", &[0, 1], "a");
    request.acks = 0;
    raw.0.send(&request, 9).await.expect("sent");
    fault.wait_fired(1).await;
    let next = raw.produce("t", &[1], "b").await;
    assert!(matches!(next, Err(ClientError::Disconnected(_))), "{next:?}");
    let raw = Raw::connect(&broker.bootstrap_servers(), "raw").await;
    assert_eq!(raw.values("t", 1).await, ["a"], "the other partition was served");
    assert!(raw.values("t", 0).await.is_empty());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_request_holds_up_nobody_else() {
    let (broker, raw) = with_topic(1).await;
    let hour = Duration::from_secs(3600);
    let fault = broker.faults().on(ApiKey::Produce).client_id("raw").delay(hour).expect("possible");
    let waiting = raw.0.start(&produce("t", &[0], "late"), 9).await.expect("sent");
    fault.wait_fired(1).await;
    let other = Raw::connect(&broker.bootstrap_servers(), "other").await;
    other.produce("t", &[0], "a").await.expect("answered");
    assert_eq!(other.values("t", 0).await, ["a"]);
    // A broker that closes does not wait for it.
    broker.close().await.expect("closes");
    assert!(matches!(waiting.frame(PATIENCE).await, Err(ClientError::Disconnected(_))));

    let (broker, raw) = with_topic(1).await;
    broker.faults().on(ApiKey::Produce).delay(Duration::from_millis(5)).expect("possible");
    raw.produce("t", &[0], "a").await.expect("answered in the end");
    assert_eq!(raw.values("t", 0).await, ["a"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_never_strike_is_refused() {
    let broker = on_tcp().await;
    let faults = broker.faults();
    let reason = |result: Result<ottla::faults::Fault, ottla::faults::FaultError>| {
        result.expect_err("it could never strike").to_string()
    };
    assert!(reason(faults.on(ApiKey::Heartbeat).topic("t").disconnect()).contains("Heartbeat"));
    assert!(reason(faults.on(ApiKey::Metadata).topic("t").partition(0).disconnect()).contains("partition"));
    assert!(reason(faults.on(ApiKey::Produce).group("g").disconnect()).contains("group"));
    assert!(reason(faults.on(ApiKey::Produce).partition(0).disconnect()).contains("topic"));
    assert!(reason(faults.on(ApiKey::Vote).disconnect()).contains("not served"));
    assert!(reason(faults.on(ApiKey::Produce).error(ErrorCode::None)).contains("NONE"));
    assert!(reason(faults.on(ApiKey::Produce).times(0).disconnect()).contains("never"));
    assert!(reason(faults.on(ApiKey::Produce).probability(1.5, 1).disconnect()).contains("probability"));
    assert!(reason(faults.on_append().partition(0).disk_full()).contains("topic"));
    assert!(faults.rebalance("nobody").is_err());
    assert!(faults.move_coordinator("nobody").is_err());
    broker.close().await.expect("closes");
    assert!(faults.rebalance("g").expect_err("closed").to_string().contains("closed"));
}

/// Answers get lost, connections break, leaders seem to move: the idempotent producer delivers each record once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_producer_gets_through_all_of_it() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let faults = broker.faults();
    let lost = faults.on(ApiKey::Produce).probability(0.1, 1).times(20).lose_answer(LostAnswer::Close);
    let broken = faults.on(ApiKey::Produce).probability(0.1, 2).times(20).disconnect();
    let moved = faults.on(ApiKey::Produce).probability(0.1, 3).times(20).error(MOVED);
    let set = [lost.expect("possible"), broken.expect("possible"), moved.expect("possible")];
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let mut sent = 0;
    while set.iter().map(|fault| fault.fired()).sum::<u64>() < 15 {
        let value = sent.to_string();
        let record = ProducerRecord::new("t", None, Some(value.as_bytes()));
        producer.send(record).await.expect("there is room").wait().await.expect("delivered in the end");
        sent += 1;
    }
    let raw = Raw::connect(&broker.bootstrap_servers(), "raw").await;
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(raw.values("t", 0).await, expected);
    broker.close().await.expect("closes");
}
