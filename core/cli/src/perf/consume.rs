//! `ottla perf consume`: reads a topic from its beginning as fast as it comes.

use super::progress;
use super::stats::Throughput;
use crate::error::CliError;
use crate::output;
use ottla::client::{Client, ConsumerOptions, Env, Position, TopicPartition};
use serde_json::json;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ottla perf consume --topic perf
  ottla perf consume --topic perf --num-records 1000000 --fetch-size 4194304 --json";

/// Reads records from the beginning and measures throughput.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConsumeArgs {
    /// The topic.
    #[arg(long, value_name = "TOPIC", default_value = "perf")]
    topic: String,
    /// How many records to read; without it all that were there at the start.
    #[arg(long, value_name = "N", alias = "messages")]
    num_records: Option<u64>,
    /// max.partition.fetch.bytes: bytes of one partition in a fetch.
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    fetch_size: usize,
    /// fetch.min.bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1)]
    fetch_min_bytes: usize,
    /// Count batches without reading the records in them.
    #[arg(long)]
    batches_only: bool,
}

/// Runs the command.
pub async fn run(client: &Client, args: ConsumeArgs, json: bool) -> Result<(), CliError> {
    // A consumer would wait for the topic to appear; here it is a slip of the pen.
    for described in client.admin().describe_topics(std::slice::from_ref(&args.topic)).await? {
        described?;
    }
    let consumer = client.consumer(ConsumerOptions {
        max_partition_fetch_bytes: args.fetch_size,
        fetch_min_bytes: args.fetch_min_bytes,
        ..ConsumerOptions::default()
    });
    let partitions = consumer.partitions_for(&args.topic).await?;
    let at = |position: Position| -> Vec<(TopicPartition, Position)> {
        partitions.iter().map(|partition| (partition.clone(), position)).collect()
    };
    let begins = consumer.offsets(&at(Position::Earliest)).await?;
    let ends = consumer.offsets(&at(Position::Latest)).await?;
    let available: u64 = begins.iter().zip(&ends).map(|(begin, end)| (end - begin).max(0) as u64).sum();
    let wanted = args.num_records.unwrap_or(available);
    let env = Env::real();
    let bar = progress(wanted, json);
    let started = env.monotonic();
    let mut last = started;
    let (mut records, mut bytes, mut fetches) = (0u64, 0u64, 0u64);
    if wanted > 0 {
        consumer.assign(&at(Position::Earliest)).await?;
    }
    while records < wanted {
        // Compacted topics have fewer records than offsets: at the ends there is nothing to wait for.
        let at_end =
            || partitions.iter().zip(&ends).all(|(p, end)| consumer.position_now(p).is_some_and(|at| at >= *end));
        if args.num_records.is_none() && at_end() {
            break;
        }
        for fetched in consumer.poll_batches(Duration::from_millis(500)).await? {
            fetches += 1;
            if args.batches_only {
                for batch in fetched.batches() {
                    let header = batch.map_err(|error| CliError::Failed(error.to_string()))?.header;
                    records += header.count.max(0) as u64;
                    bytes += header.size_in_bytes() as u64;
                }
            } else {
                for record in fetched.records() {
                    let record = record?;
                    records += 1;
                    bytes +=
                        (record.key.map_or(0, |key| key.len()) + record.value.map_or(0, |value| value.len())) as u64;
                }
            }
            last = env.monotonic();
        }
        bar.set_position(records);
    }
    bar.finish_and_clear();
    let throughput = Throughput { records, bytes, elapsed: last - started };
    if json {
        return output::json(&json!({
            "topic": args.topic,
            "partitions": partitions.len(),
            "partitionFetches": fetches,
            "throughput": throughput.json(),
        }));
    }
    throughput.print("read")
}
