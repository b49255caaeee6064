//! `ottla perf produce`: sends records as fast as they are taken, or at a given rate.

use super::stats::{Histogram, Throughput};
use super::{AcksArg, ensure_topic, letters, progress};
use crate::error::CliError;
use crate::output;
use indicatif::ProgressBar;
use ottla::client::{Client, Compression, Delivery, Env, Error, Producer, ProducerOptions, ProducerRecord};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const EXAMPLES: &str = "\
Examples:
  ottla perf produce --topic perf
  ottla perf produce --topic perf --num-records 1000000 --record-size 1024 --batch-size 262144 --compression-type lz4
  ottla perf produce --topic perf --throughput 10000 --acks 1 --json";

/// Sends records and measures throughput and the time from send to acknowledged.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ProduceArgs {
    /// The topic; made when it does not exist.
    #[arg(long, value_name = "TOPIC", default_value = "perf")]
    topic: String,
    /// Partitions of the topic if it is made; without it the broker's num.partitions.
    #[arg(long, value_name = "N")]
    partitions: Option<i32>,
    /// How many records to send.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    num_records: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    record_size: usize,
    /// Give records this many different keys; without it they have none.
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Records per second; without it as many as possible.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    throughput: Option<u64>,
    /// batch.size: bytes of a batch before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    batch_size: usize,
    /// linger.ms: how long a batch waits for more records.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u64,
    /// acks: who has to have a record before it counts.
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// compression.type: none, gzip, snappy, lz4 or zstd.
    #[arg(long, value_name = "TYPE", default_value = "none")]
    compression_type: Compression,
    /// max.in.flight.requests.per.connection.
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_in_flight: usize,
    /// buffer.memory: bytes of batches that are not acknowledged yet.
    #[arg(long, value_name = "BYTES", default_value_t = 32 * 1024 * 1024)]
    buffer_memory: usize,
    /// Tasks that send at the same time, through one producer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    tasks: u64,
}

/// Deliveries whose latency is measured; of more records, every so many-th.
const SAMPLES: u64 = 200_000;
/// Samples that may wait to be measured; further ones are left out.
const SAMPLES_WAITING: usize = 64 * 1024;
/// Records between two looks at the clock and the progress bar.
const STRIDE: u64 = 256;

/// What the sending tasks share.
#[derive(Debug)]
struct Work {
    args: ProduceArgs,
    env: Env,
    producer: Producer,
    letters: Vec<u8>,
    next: AtomicU64,
    /// The first error; the tasks stop.
    failure: Mutex<Option<Error>>,
    sample_every: u64,
    started: Duration,
}

/// Runs the command.
pub async fn run(client: &Client, args: ProduceArgs, json: bool) -> Result<(), CliError> {
    ensure_topic(client, &args.topic, args.partitions).await?;
    let options = ProducerOptions {
        acks: args.acks.into(),
        batch_size: args.batch_size,
        linger: Duration::from_millis(args.linger_ms),
        compression: args.compression_type,
        max_in_flight: args.max_in_flight,
        max_request_size: (args.record_size + 1024).max(args.batch_size * 2).max(1024 * 1024),
        buffer_memory: args.buffer_memory,
        ..ProducerOptions::default()
    };
    let producer = client.producer(options)?;
    // Metadata is not part of what is measured.
    producer.partitions_for(&args.topic).await?;
    let env = Env::real();
    let (samples, measured) = mpsc::channel(SAMPLES_WAITING);
    let (report, histogram) = oneshot::channel();
    env.spawn("latencies", measure(env.clone(), measured, report));
    let bar = progress(args.num_records, json);
    let tasks = args.tasks;
    let work = Arc::new(Work {
        letters: letters(args.record_size + 4096),
        sample_every: (args.num_records / SAMPLES).max(1),
        next: AtomicU64::new(0),
        failure: Mutex::new(None),
        started: env.monotonic(),
        env: env.clone(),
        producer: producer.clone(),
        args,
    });
    let sending: Vec<_> = (0..tasks)
        .map(|_| {
            let (work, samples, bar) = (work.clone(), samples.clone(), bar.clone());
            env.spawn("sending", async move {
                if let Err(error) = send(&work, samples, bar).await {
                    work.fail(error);
                }
            })
        })
        .collect();
    drop(samples);
    for task in sending {
        task.join().await;
    }
    producer.flush().await;
    let elapsed = env.monotonic() - work.started;
    bar.finish_and_clear();
    let (histogram, failed) = histogram.await.unwrap_or_default();
    if let Some(error) = work.failure.lock().map_or(None, |mut failure| failure.take()).or(failed) {
        return Err(error.into());
    }
    let records = work.args.num_records;
    let throughput = Throughput { records, bytes: records * work.args.record_size as u64, elapsed };
    if json {
        return output::json(&json!({
            "topic": work.args.topic,
            "throughput": throughput.json(),
            "latencyMs": histogram.json(),
        }));
    }
    throughput.print("sent")?;
    output::line(&format!("send to acknowledged: {}", histogram.line()))
}

impl Work {
    fn fail(&self, error: Error) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
    }

    fn failed(&self) -> bool {
        self.failure.lock().map_or(true, |failure| failure.is_some())
    }
}

/// Sends until all records are sent or something failed.
async fn send(work: &Work, samples: mpsc::Sender<(Delivery, Duration)>, bar: ProgressBar) -> Result<(), Error> {
    let args = &work.args;
    while !work.failed() {
        let first = work.next.fetch_add(STRIDE, Ordering::Relaxed);
        if first >= args.num_records {
            return Ok(());
        }
        let last = (first + STRIDE).min(args.num_records);
        for number in first..last {
            if let Some(rate) = args.throughput {
                let due = Duration::from_secs_f64(number as f64 / rate as f64);
                let early = due.saturating_sub(work.env.monotonic() - work.started);
                if early > Duration::from_millis(1) {
                    work.env.sleep(early).await;
                }
            }
            let start = (number % 4096) as usize;
            let key = args.keys.map(|keys| (number % keys.max(1)).to_be_bytes());
            let value = &work.letters[start..start + args.record_size];
            let record = ProducerRecord::new(&args.topic, key.as_ref().map(|key| key.as_slice()), Some(value));
            if number % work.sample_every == 0 {
                let sent = work.env.monotonic();
                let delivery = work.producer.send(record).await?;
                // A full queue means that acknowledgements come faster than they are looked at: enough samples.
                let _ = samples.try_send((delivery, sent));
            } else {
                work.producer.send(record).await?;
            }
        }
        bar.inc(last - first);
    }
    Ok(())
}

/// Waits for sampled deliveries, and tells the latencies and the first failure.
async fn measure(
    env: Env,
    mut samples: mpsc::Receiver<(Delivery, Duration)>,
    report: oneshot::Sender<(Histogram, Option<Error>)>,
) {
    let mut histogram = Histogram::default();
    let mut failure = None;
    while let Some((delivery, sent)) = samples.recv().await {
        match delivery.wait_lingering().await {
            Ok(_) => histogram.record(env.monotonic() - sent),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let _ = report.send((histogram, failure));
}
