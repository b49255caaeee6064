//! What the listeners let in.

use crate::support::*;
use ottla_model::ErrorCode;
use ottla_protocol::ApiVersionsRequest;
use ottla_protocol::CreateTopicsRequest;
use ottla_protocol::create_topics_request::CreatableTopic;
use ottla_wire::ClientConnection;
use std::time::Duration;

/// Whether the broker lets this connection ask anything.
async fn is_let_in(connection: &ClientConnection) -> bool {
    let request = ApiVersionsRequest {
        client_software_name: "configs".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    connection.request(&request, 3, PATIENCE).await.is_ok()
}

async fn only_two_are_let_in(name: &str) {
    let node = start(&[(name, "2")]).await;
    assert!(is_let_in(&node.connection).await);
    let second = node.dial().await;
    assert!(is_let_in(&second).await);
    assert!(!is_let_in(&node.dial().await).await, "{name}");
    // In-process clients have no address, but they are connections.
    let inside = dial(node.broker.inproc_address()).await;
    assert_eq!(is_let_in(&inside).await, name == "max.connections.per.ip");
    // A place that became free is taken again.
    second.close();
    eventually("the place is free", async || is_let_in(&node.dial().await).await).await;
    // More, without a restart.
    let held = node.dial().await;
    eventually("the place is taken", async || is_let_in(&held).await || held.is_closed()).await;
    assert_eq!(node.alter(None, name, "100").await, ErrorCode::None);
    for _ in 0..5 {
        assert!(is_let_in(&node.dial().await).await, "{name}");
    }
    node.close().await;
}

#[tokio::test]
pub async fn max_connections() {
    only_two_are_let_in("max.connections").await;
}

#[tokio::test]
pub async fn max_connections_per_ip() {
    only_two_are_let_in("max.connections.per.ip").await;
}

#[tokio::test]
pub async fn connections_max_idle_ms() {
    let node = start(&[("connections.max.idle.ms", "50")]).await;
    eventually("the idle connection is closed", async || node.connection.is_closed()).await;
    node.close().await;
}

#[tokio::test]
pub async fn socket_request_max_bytes() {
    let node = start(&[("socket.request.max.bytes", "1000")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_eq!(node.produce(batch(now_ms(), &[0; 500])).await, ErrorCode::None);
    let request = produce_request(TOPIC, 0, batch(now_ms(), &[0; 1000]));
    let answer = node.connection.request(&request, 12, PATIENCE).await;
    assert!(answer.is_err(), "{answer:?}");
    node.close().await;
}

/// While the only place is taken by the creation of many partitions, nobody sees half of them.
async fn one_at_a_time(config: (&str, &str)) {
    const PARTITIONS: i32 = 1000;
    let node = start(&[config]).await;
    let topic =
        CreatableTopic { name: TOPIC.into(), num_partitions: PARTITIONS, replication_factor: -1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let creating = node.dial().await;
    let created = creating.start(&request, 7).await.expect("sent");
    eventually("the topic is there", async || node.topic(TOPIC, false).await.error_code == 0).await;
    // The metadata come first, the logs after them: the last one is there only when the request is through.
    let answer = node.produce_to(TOPIC, PARTITIONS - 1, batch(now_ms(), b"value")).await;
    assert_eq!(answer.error_code, ErrorCode::None.code(), "{config:?}");
    assert_eq!(created.wait(PATIENCE).await.expect("an answer").topics[0].error_code, 0);
    // A fetch that waits for records takes no place from the producer that it waits for.
    let waiting = node.dial().await;
    let fetch = fetch_request(Duration::from_secs(30));
    let fetched = waiting.start(&fetch, 12).await.expect("sent");
    // By now and then some it waits; were it not, the test would still be right.
    for _ in 0..20 {
        node.topic(TOPIC, false).await;
    }
    assert_eq!(node.produce(batch(now_ms(), b"value")).await, ErrorCode::None);
    let fetched = fetched.wait(PATIENCE).await.expect("an answer");
    assert!(fetched.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
    node.close().await;
}

fn fetch_request(wait: Duration) -> ottla_protocol::FetchRequest {
    use ottla_protocol::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    let max_wait_ms = i32::try_from(wait.as_millis()).expect("short");
    FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn queued_max_requests() {
    one_at_a_time(("queued.max.requests", "1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn queued_max_request_bytes() {
    one_at_a_time(("queued.max.request.bytes", "1")).await;
}

/// The answer ends once it has this much; the first batch comes whole.
#[tokio::test]
pub async fn fetch_max_bytes() {
    let fetched = async |configs: &[(&str, &str)]| {
        let node = start(configs).await;
        node.create(TOPIC, 3, &[]).await;
        for partition in 0..3 {
            node.produce_to(TOPIC, partition, batch(now_ms(), &[0; 1500])).await;
        }
        let answer = node.fetch(&[0, 1, 2], (0, -1)).await;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let full = partitions.filter(|it| it.records.as_ref().is_some_and(|records| records.len() > 1500)).count();
        node.close().await;
        full
    };
    assert_eq!(fetched(&[("fetch.max.bytes", "1024")]).await, 1);
    assert_eq!(fetched(&[]).await, 3);
}

#[tokio::test]
pub async fn max_incremental_fetch_session_cache_slots() {
    let node = start(&[("max.incremental.fetch.session.cache.slots", "1")]).await;
    node.create(TOPIC, 1, &[]).await;
    assert_ne!(node.fetch(&[0], (0, 0)).await.session_id, 0);
    assert_eq!(node.fetch(&[0], (0, 0)).await.session_id, 0, "the only slot is taken");
    node.close().await;
}
