//! What a fork costs: `cargo run --release -p ottla --example fork_cost -- [mebibytes] [memory|disk]`.
//!
//! Fills a topic (1 GiB if not told otherwise), then forks the topic and the broker several times, and prints the median and
//! the worst time, and what memory and disk each took.

use ottla::Broker;
use ottla::client::Env;
use ottla_model::Records;
use ottla_model::record_batch::{BatchBuilder, BatchOptions};
use ottla_protocol::{CreateTopicsRequest, ProduceRequest, create_topics_request, produce_request};
use ottla_wire::{ClientConnection, ConnectOptions};
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
#[allow(clippy::disallowed_methods)] // A measurement of the machine, outside the engine.
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let in_memory = arguments.next().as_deref() == Some("memory");
    let folder = std::env::current_dir()?.join(format!("fork-cost-{}", std::process::id()));
    let builder = Broker::builder();
    let builder = if in_memory { builder } else { builder.directory(folder.join("data")) };
    let broker = builder.start().await?;
    let options = ConnectOptions {
        client_id: "fork_cost".into(),
        connect_timeout: PATIENCE,
        in_flight_max: 5,
        ..ConnectOptions::default()
    };
    let connection = ClientConnection::connect(&Env::real(), broker.inproc_address(), &options).await?;
    fill(&connection, mebibytes).await?;

    println!("a topic of {mebibytes} MiB, {}", if in_memory { "in memory" } else { "on disk" });
    let mut times = Vec::new();
    let (memory, disk) = (resident(), used(&folder));
    for round in 0..ROUNDS {
        let started = Instant::now();
        broker.fork_topic("t", &format!("t{round}")).await?;
        times.push(started.elapsed());
    }
    report("fork of the topic", times, (memory, resident()), (disk, used(&folder)));

    let (mut times, mut forks) = (Vec::new(), Vec::new());
    let small = Broker::builder();
    let small = if in_memory { small } else { small.directory(folder.join("small")) };
    let small = small.start().await?;
    let connection = ClientConnection::connect(&Env::real(), small.inproc_address(), &options).await?;
    fill(&connection, mebibytes).await?;
    let (memory, disk) = (resident(), used(&folder));
    for _ in 0..ROUNDS {
        let started = Instant::now();
        forks.push(small.fork().await?);
        times.push(started.elapsed());
    }
    report("fork of the broker", times, (memory, resident()), (disk, used(&folder)));
    for fork in forks {
        fork.close().await?;
    }
    small.close().await?;
    broker.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

async fn fill(connection: &ClientConnection, mebibytes: usize) -> Result<(), Box<dyn std::error::Error>> {
    let topic = create_topics_request::CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    connection.request(&create, 5, PATIENCE).await?;
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let value = vec![7u8; 1000];
    let mut written = 0;
    while written < mebibytes << 20 {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..256 {
            builder.append(Env::real().now_ms(), None, Some(&value), none)?;
        }
        let batch = builder.build()?;
        written += batch.len();
        let data = produce_request::PartitionProduceData { records: Some(Records::from(batch)), ..Default::default() };
        let topic =
            produce_request::TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() };
        let answer = connection.request(&request, 9, PATIENCE).await?;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>, memory: (u64, u64), disk: (u64, u64)) {
    times.sort();
    let each = |(before, after): (u64, u64)| (after.saturating_sub(before)) as f64 / 1024.0 / ROUNDS as f64;
    println!(
        "{what}: median {:.2} ms, worst {:.2} ms; each {:.0} KiB of memory, {:.0} KiB of disk",
        times[ROUNDS / 2].as_secs_f64() * 1e3,
        times[ROUNDS - 1].as_secs_f64() * 1e3,
        each(memory),
        each(disk)
    );
}

/// Resident bytes of this process; 0 where the system does not say.
#[allow(clippy::disallowed_methods)]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Blocks taken below a folder and beside it, each file counted once.
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
fn used(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fn walk(dir: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        let mut sum = 0;
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if seen.insert(metadata.ino()) {
                sum += metadata.blocks() * 512;
            }
            if metadata.is_dir() {
                sum += walk(&entry.path(), seen);
            }
        }
        sum
    }
    walk(folder, &mut std::collections::HashSet::new())
}

#[cfg(not(unix))]
fn used(_: &Path) -> u64 {
    0
}
