//! The in-process transport beside loopback TCP, to the same broker in memory:
//! `cargo run --release -p ottla --example inproc_cost -- [rounds]`.
//!
//! One round trip is a record that is produced while a fetch waits for it, until that fetch is answered. The second figure is
//! the processor time that a record costs in large batches, both ends and the broker together.

use ottla::Broker;
use ottla::client::Env;
use ottla_model::Records;
use ottla_model::record_batch::{BatchBuilder, BatchOptions};
use ottla_protocol::{
    CreateTopicsRequest, FetchRequest, ProduceRequest, create_topics_request, fetch_request, produce_request,
};
use ottla_wire::{ClientConnection, ConnectOptions};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const BATCH_RECORDS: usize = 1000;
const BATCHES: usize = 1000;

#[tokio::main]
#[allow(clippy::disallowed_methods)] // A measurement of the machine, outside the engine.
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5000), |text| text.parse())?;
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await?;
    let mut medians = Vec::new();
    let mut costs = Vec::new();
    for (name, address) in
        [("loopback TCP", broker.bootstrap_servers()), ("in process", broker.inproc_address().into())]
    {
        let options = ConnectOptions {
            client_id: "inproc_cost".into(),
            connect_timeout: PATIENCE,
            in_flight_max: 5,
            ..ConnectOptions::default()
        };
        let producer = ClientConnection::connect(&Env::real(), &address, &options).await?;
        let consumer = ClientConnection::connect(&Env::real(), &address, &options).await?;
        let topic = name.replace(' ', "-");
        create(&producer, &topic).await?;
        let mut times = Vec::with_capacity(rounds);
        let mut offset = 0;
        for _ in 0..rounds {
            let waiting = consumer.start(&fetch(&topic, offset), 12).await?;
            let started = Instant::now();
            producer.request(&produce(&topic, batch(1, 100)?), 9, PATIENCE).await?;
            waiting.wait(PATIENCE).await?;
            times.push(started.elapsed());
            offset += 1;
        }
        times.sort();
        let median = times[rounds / 2];
        println!("{name}: a round trip takes {:.1} µs (median of {rounds})", median.as_secs_f64() * 1e6);
        medians.push(median.as_secs_f64());

        let large = batch(BATCH_RECORDS, 1000)?;
        let before = processor();
        for _ in 0..BATCHES {
            producer.request(&produce(&topic, large.clone()), 9, PATIENCE).await?;
            let answer = consumer.request(&fetch(&topic, offset), 12, PATIENCE).await?;
            assert!(answer.responses[0].partitions[0].records.as_ref().is_some_and(|it| it.len() >= large.len()));
            offset += BATCH_RECORDS as i64;
        }
        let cost = (processor() - before) / (BATCH_RECORDS * BATCHES) as f64;
        println!("{name}: a record of 1000 bytes costs {:.3} µs of processor time", cost * 1e6);
        costs.push(cost);
    }
    println!(
        "in process: {:.1} times as fast, {:.2} of the processor time",
        medians[0] / medians[1],
        costs[1] / costs[0]
    );
    broker.close().await?;
    Ok(())
}

async fn create(connection: &ClientConnection, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    // Little stays: the measurement moves a gigabyte.
    let config = |name: &str, value: &str| create_topics_request::CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let topic = create_topics_request::CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config("max.message.bytes", "10000000"), config("segment.bytes", "100000000")],
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let answer = connection.request(&create, 5, PATIENCE).await?;
    assert_eq!(answer.topics[0].error_code, 0);
    Ok(())
}

fn batch(records: usize, size: usize) -> Result<bytes::Bytes, Box<dyn std::error::Error>> {
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let value = vec![7u8; size];
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(Env::real().now_ms(), None, Some(&value), none)?;
    }
    Ok(builder.build()?)
}

fn produce(topic: &str, batch: bytes::Bytes) -> ProduceRequest {
    let data = produce_request::PartitionProduceData { records: Some(Records::from(batch)), ..Default::default() };
    let topic =
        produce_request::TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

fn fetch(topic: &str, offset: i64) -> FetchRequest {
    let partition = fetch_request::FetchPartition {
        fetch_offset: offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 8 << 20,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 60_000,
        min_bytes: 1,
        max_bytes: 8 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// Seconds of processor time that this process has taken; 0 where the system does not say.
#[allow(clippy::disallowed_methods)]
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}
