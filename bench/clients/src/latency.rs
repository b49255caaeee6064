//! One record at a time with Ottla's client: until it is acknowledged, until it is consumed, in process and over loopback
//! TCP; and the fork of a large topic.

use crate::{Load, Result, cpu, fill};
use ottla::client::{Consumer, Producer, ProducerRecord, TopicPartition};
use ottla::env::Env;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rounds that are thrown away.
const WARM: usize = 500;

fn producer(broker: &str) -> Result<Producer> {
    Ok(Producer::from_configs(Env::real(), [("bootstrap.servers", broker), ("linger.ms", "0")])?)
}

fn reader(broker: &str, topic: &str) -> Result<Consumer> {
    let configs = [("bootstrap.servers", broker), ("auto.offset.reset", "earliest")];
    let consumer = Consumer::from_configs(Env::real(), configs)?;
    consumer.assign_committed(&[TopicPartition::new(topic, 0)])?;
    Ok(consumer)
}

fn print(mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{{\"p50_us\": {:.1}, \"p99_us\": {:.1}}}", at(0.5), at(0.99));
}

/// From `send` to the acknowledgement.
pub async fn ack(load: Load) -> Result<()> {
    let producer = producer(&load.broker)?;
    let times = acks(&producer, &load).await?;
    print(times);
    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}

async fn acks(producer: &Producer, load: &Load) -> Result<Vec<Duration>> {
    let mut value = vec![b'x'; load.size];
    let mut times = Vec::with_capacity(load.records);
    for number in 0..load.records + WARM {
        fill(&mut value, number);
        let start = Instant::now();
        producer.send(ProducerRecord::new(&load.topic, None, Some(&value))).await?.wait().await?;
        if number >= WARM {
            times.push(start.elapsed());
        }
    }
    Ok(times)
}

/// From `send` until a consumer in this process has the record.
pub async fn trip(load: Load) -> Result<()> {
    let (producer, consumer) = (producer(&load.broker)?, reader(&load.broker, &load.topic)?);
    let times = trips(&producer, &consumer, &load).await?;
    print(times);
    producer.close(Duration::from_secs(5)).await?;
    consumer.close(Duration::from_secs(5)).await?;
    Ok(())
}

async fn trips(producer: &Producer, consumer: &Consumer, load: &Load) -> Result<Vec<Duration>> {
    let mut value = vec![b'x'; load.size];
    let mut times = Vec::with_capacity(load.records);
    for number in 0..load.records + WARM {
        fill(&mut value, number);
        let start = Instant::now();
        let delivery = producer.send(ProducerRecord::new(&load.topic, None, Some(&value))).await?;
        let polled = consumer.poll(Duration::from_secs(10));
        let (acknowledged, polled) = tokio::join!(delivery.wait(), polled);
        let (took, polled) = (start.elapsed(), polled?);
        acknowledged?;
        if polled.len() != 1 {
            return Err(format!("a poll returned {} records instead of one", polled.len()).into());
        }
        if number >= WARM {
            times.push(took);
        }
    }
    Ok(times)
}

/// One embedded broker, the same load in process and over loopback TCP: acknowledgements and round trips one at a time, and
/// CPU time per record (broker and clients together) under load. `--topic inproc` or `--topic tcp` runs that one alone, for
/// a profile.
pub async fn transports(load: Load) -> Result<()> {
    let broker = ottla::Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await?;
    let addresses = [("inproc", broker.inproc_address().to_owned()), ("tcp", broker.bootstrap_servers())];
    let mut measured = Vec::new();
    for (name, address) in addresses.iter().filter(|(name, _)| load.topic.is_empty() || load.topic == *name) {
        let one_by_one = |topic: String| Load { topic, records: load.records.min(20_000), ..load.clone() };
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1e6
        };
        let first = producer(address)?;
        let ack = median(acks(&first, &one_by_one(format!("{name}-ack"))).await?);
        first.close(Duration::from_secs(5)).await?;
        let (producer, consumer) = (producer(address)?, reader(address, name)?);
        let trip = median(trips(&producer, &consumer, &one_by_one((*name).to_owned())).await?);
        producer.close(Duration::from_secs(5)).await?;
        consumer.close(Duration::from_secs(5)).await?;
        let cpu = streamed(address, &format!("{name}-stream"), &load).await?;
        measured.push((name, ack, trip, cpu));
    }
    let numbers = measured.iter().map(|(name, ack, trip, cpu)| {
        format!("\"{name}_ack_us\": {ack:.2}, \"{name}_p50_us\": {trip:.2}, \"{name}_cpu_s_per_million\": {cpu:.4}")
    });
    let mut numbers: Vec<String> = numbers.collect();
    if let [(_, in_ack, in_trip, in_cpu), (_, tcp_ack, tcp_trip, tcp_cpu)] = measured[..] {
        let (faster_ack, faster, ratio) = (tcp_ack / in_ack, tcp_trip / in_trip, in_cpu / tcp_cpu);
        numbers.push(format!("\"faster_ack\": {faster_ack:.3}, \"faster\": {faster:.3}, \"cpu_ratio\": {ratio:.4}"));
    }
    println!("{{{}}}", numbers.join(", "));
    broker.close().await?;
    Ok(())
}

/// Produces and consumes the records at once; CPU seconds of this whole process per million.
async fn streamed(address: &str, topic: &str, load: &Load) -> Result<f64> {
    let producer = crate::ottla_client::producer(address)?;
    producer.partitions_for(topic).await?;
    let consumer = crate::ottla_client::consumer(address)?;
    consumer.assign_committed(&[TopicPartition::new(topic, 0)])?;
    let mut value = vec![b'x'; load.size];
    let before = cpu();
    let sending = async {
        let mut last = None;
        for number in 0..load.records {
            fill(&mut value, number);
            last = Some(producer.send(ProducerRecord::new(topic, None, Some(&value))).await?);
        }
        producer.flush().await;
        if let Some(last) = last {
            last.wait().await?;
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let reading = async {
        let mut seen = 0;
        while seen < load.records {
            seen += consumer.poll(Duration::from_secs(5)).await?.len();
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let (sent, read) = tokio::join!(sending, reading);
    sent?;
    read?;
    let used = (cpu() - before).as_secs_f64() / load.records as f64 * 1e6;
    producer.close(Duration::from_secs(10)).await?;
    consumer.close(Duration::from_secs(5)).await?;
    Ok(used)
}

/// Fills a topic on disk with so many bytes and forks it five times: the median time, and the disk that a fork takes.
pub async fn fork(load: Load) -> Result<()> {
    let directory = PathBuf::from(&load.dir);
    let broker = ottla::Broker::builder().directory(&directory).start().await?;
    let producer = crate::ottla_client::producer(broker.inproc_address())?;
    let value = vec![b'x'; 100_000];
    for _ in 0..load.bytes / value.len() as u64 + 1 {
        drop(producer.send(ProducerRecord::new("big", None, Some(&value))).await?);
    }
    producer.flush().await;
    producer.close(Duration::from_secs(60)).await?;
    let mut times = Vec::new();
    let before = disk(&directory)?;
    for number in 0..5 {
        let start = Instant::now();
        broker.fork_topic("big", &format!("fork-{number}")).await?;
        times.push(start.elapsed());
    }
    times.sort();
    let (ms, mib) = (times[2].as_secs_f64() * 1e3, (disk(&directory)? - before) as f64 / 5.0 / 1_048_576.0);
    println!("{{\"fork_ms\": {ms:.3}, \"fork_mib\": {mib:.3}}}");
    broker.close().await?;
    Ok(())
}

/// The bytes on disk below a folder, each file once however many names it has.
fn disk(directory: &Path) -> Result<u64> {
    let (mut seen, mut bytes, mut folders) = (BTreeSet::new(), 0, vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata()))?;
            let metadata = metadata?;
            if metadata.is_dir() {
                folders.push(path);
            } else if seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}
