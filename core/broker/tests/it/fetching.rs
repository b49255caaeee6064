//! When a waiting fetch is answered. Each waits far longer than the test's patience, so an answer at all is the proof.

use crate::support::{LIMIT, connect, start};
use ottla_env::Env;
use ottla_model::record_batch::{BatchBuilder, BatchOptions};
use ottla_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::*;
use ottla_wire::ClientConnection;

const FOR_EVER_MS: i32 = 3_600_000;

async fn create(client: &ClientConnection, segment_bytes: &str) {
    let config =
        CreatableTopicConfig { name: "segment.bytes".into(), value: Some(segment_bytes.into()), ..Default::default() };
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let created = client.request(&request, 7, LIMIT).await.unwrap();
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
}

/// One batch of one record of `size` bytes.
async fn produce(client: &ClientConnection, size: usize) {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let none: &[(&str, Option<&[u8]>)] = &[];
    batch.append(1, None, Some(&vec![7; size]), none).unwrap();
    let data = PartitionProduceData { index: 0, records: Some(batch.build().unwrap().into()), ..Default::default() };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let produced = client.request(&request, 9, LIMIT).await.unwrap();
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0, "{produced:?}");
}

fn fetch(min_bytes: i32, max_bytes: i32) -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: i32::MAX, ..Default::default() };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms: FOR_EVER_MS, min_bytes, max_bytes, topics: vec![topic], ..Default::default() }
}

async fn fetched(client: &ClientConnection, request: &FetchRequest) -> usize {
    let answer = client.request(request, 12, LIMIT).await.expect("an answer before the wait is over");
    answer.responses[0].partitions[0].records.as_ref().map_or(0, |records| records.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_segment_is_answered_although_min_bytes_are_not_there() {
    let (broker, client) = start(Env::memory(), &[]).await;
    create(&client, "1048576").await;
    for _ in 0..3 {
        produce(&client, 700_000).await;
    }
    // Each batch fills a segment, and a read ends with its segment.
    let bytes = fetched(&client, &fetch(5_000_000, 50_000_000)).await;
    assert!((700_000..1_400_000).contains(&bytes), "{bytes}");
    broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_max_bytes_is_never_waited_for() {
    let (broker, client) = start(Env::memory(), &[]).await;
    create(&client, "104857600").await;
    for _ in 0..4 {
        produce(&client, 1000).await;
    }
    let bytes = fetched(&client, &fetch(1_000_000, 2000)).await;
    assert_eq!(bytes, 2000);
    broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_append_that_brings_min_bytes_wakes_the_fetch() {
    let env = Env::memory();
    let (broker, client) = start(env.clone(), &[]).await;
    create(&client, "104857600").await;
    let other = connect(&env, &broker).await;
    let waiting = client.start(&fetch(3000, 50_000_000), 12).await.unwrap();
    for _ in 0..3 {
        produce(&other, 1200).await;
    }
    let answer = waiting.wait(LIMIT).await.expect("an answer before the wait is over");
    let bytes = answer.responses[0].partitions[0].records.as_ref().map_or(0, |records| records.len());
    assert!(bytes >= 3000, "{bytes}");
    broker.close().await.unwrap();
}
