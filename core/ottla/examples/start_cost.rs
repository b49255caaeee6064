//! What an embedded broker costs a test suite: `cargo run --release -p ottla --example start_cost`.
//!
//! Prints one JSON object: milliseconds from `start()` to the first consumed record, for the first broker of the process
//! (`first_ms`) and for the median of fifty later ones (`warm_ms`), and the seconds that starting and closing a thousand
//! brokers takes (`thousand_s`). `cargo xtask bench` reads it.

#![allow(clippy::disallowed_methods)] // A stopwatch outside of the engine.

use ottla::client::{Client, ClientOptions, ConsumerOptions, Position, ProducerOptions, ProducerRecord};
use ottla::env::Env;
use std::error::Error;
use std::time::{Duration, Instant};

const WARM_RUNS: usize = 50;
const BROKERS: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let first = start_to_consumed().await?;
    let mut warm = Vec::with_capacity(WARM_RUNS);
    for _ in 0..WARM_RUNS {
        warm.push(start_to_consumed().await?);
    }
    warm.sort();
    let start = Instant::now();
    for _ in 0..BROKERS {
        ottla::Broker::builder().start().await?.close().await?;
    }
    let thousand = start.elapsed();
    println!(
        "{{\"first_ms\":{:.3},\"warm_ms\":{:.3},\"thousand_s\":{:.3}}}",
        first.as_secs_f64() * 1e3,
        warm[WARM_RUNS / 2].as_secs_f64() * 1e3,
        thousand.as_secs_f64()
    );
    Ok(())
}

/// Starts a broker in memory, lets it create a topic by a produced record, consumes that record; closing is not counted.
async fn start_to_consumed() -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let broker = ottla::Broker::builder().start().await?;
    let client = Client::new(Env::real(), ClientOptions::new(broker.inproc_address()))?;
    let producer = client.producer(ProducerOptions::default())?;
    producer.send(ProducerRecord::new("events", None, Some(b"hello"))).await?.wait().await?;
    let consumer = client.consumer(ConsumerOptions::default());
    let partitions = consumer.partitions_for("events").await?;
    let assignment: Vec<_> = partitions.into_iter().map(|partition| (partition, Position::Earliest)).collect();
    consumer.assign(&assignment).await?;
    let mut seen = 0;
    while seen == 0 {
        for fetched in consumer.poll_batches(Duration::from_secs(10)).await? {
            seen += fetched.records().filter(Result::is_ok).count();
        }
    }
    let elapsed = start.elapsed();
    client.close();
    broker.close().await?;
    Ok(elapsed)
}
