//! `ottla perf latency`: one record at a time, from send to acknowledged and to consumed.

use super::stats::Histogram;
use super::{AcksArg, ensure_topic, letters};
use crate::error::CliError;
use crate::output;
use ottla::client::{Client, ConsumerOptions, Env, Position, ProducerOptions, ProducerRecord, TopicPartition};
use serde_json::json;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ottla perf latency
  ottla perf latency --topic ping --num-records 10000 --acks 1 --json";

/// Sends one record, waits until it was acknowledged and read back, and begins again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct LatencyArgs {
    /// The topic, made with one partition when it does not exist; its first partition is used.
    #[arg(long, value_name = "TOPIC", default_value = "perf-latency")]
    topic: String,
    /// How many records to send.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    num_records: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    record_size: usize,
    /// acks: who has to have a record before it counts.
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
}

/// Rounds before measuring begins: connections, metadata, producer id.
const WARM_UP: u64 = 10;
/// How long a record may take to come back.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn run(client: &Client, args: LatencyArgs, json: bool) -> Result<(), CliError> {
    ensure_topic(client, &args.topic, Some(1)).await?;
    let options = ProducerOptions { acks: args.acks.into(), linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = client.producer(options)?;
    let consumer = client.consumer(ConsumerOptions::default());
    let partition = TopicPartition::new(args.topic.as_str(), 0);
    consumer.assign(&[(partition, Position::Latest)]).await?;
    let env = Env::real();
    let value = letters(args.record_size);
    let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new(&args.topic, None, Some(&value)) };
    let (mut acknowledged, mut consumed) = (Histogram::default(), Histogram::default());
    for round in 0..args.num_records + WARM_UP {
        let sent = env.monotonic();
        let delivery = producer.send(record).await?;
        let ack = async {
            delivery.wait().await?;
            Ok::<_, CliError>(env.monotonic() - sent)
        };
        let read = async {
            loop {
                let fetched = consumer.poll_batches(LOST_AFTER).await?;
                if fetched.is_empty() {
                    return Err(CliError::Failed(format!("a record did not come back within {LOST_AFTER:?}")));
                }
                let read = env.monotonic() - sent;
                if fetched.iter().flat_map(|fetched| fetched.records()).filter_map(Result::ok).count() > 0 {
                    return Ok(read);
                }
            }
        };
        let (ack, read) = tokio::try_join!(ack, read)?;
        if round >= WARM_UP {
            acknowledged.record(ack);
            consumed.record(read);
        }
    }
    if json {
        return output::json(&json!({
            "topic": args.topic,
            "acknowledgedMs": acknowledged.json(),
            "consumedMs": consumed.json(),
        }));
    }
    output::line(&format!("{} records of {} bytes, one at a time", acknowledged.count(), args.record_size))?;
    output::line(&format!("send to acknowledged: {}", acknowledged.line()))?;
    output::line(&format!("send to consumed:     {}", consumed.line()))
}
