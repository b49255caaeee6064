//! `ottla perf`: how fast a cluster is, measured with Ottla's own client.

mod consume;
mod latency;
mod produce;
mod stats;

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ottla::client::{Acks, Client, ErrorCode, NewTopic};
use std::io::IsTerminal;

const EXAMPLES: &str = "\
Examples:
  ottla perf produce --topic perf --num-records 5000000 --record-size 100 --batch-size 262144
  ottla perf consume --topic perf --json
  ottla perf latency --topic ping --acks all";

/// Measures throughput and latency.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PerfArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print one JSON value instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: PerfCommand,
}

#[derive(Debug, Subcommand)]
enum PerfCommand {
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Latency(latency::LatencyArgs),
}

/// `acks` as Kafka writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AcksArg {
    /// Do not wait.
    #[value(name = "0")]
    None,
    /// The leader has it.
    #[value(name = "1")]
    Leader,
    /// All in-sync replicas have it.
    #[value(name = "all", alias = "-1")]
    All,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Acks {
        match acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        }
    }
}

/// Runs the command.
pub fn run(args: PerfArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let client = args.connect.client().await?;
        match args.command {
            PerfCommand::Produce(produce) => produce::run(&client, produce, args.json).await,
            PerfCommand::Consume(consume) => consume::run(&client, consume, args.json).await,
            PerfCommand::Latency(latency) => latency::run(&client, latency, args.json).await,
        }
    })
}

/// Makes the topic unless it exists, and says how many partitions it has.
async fn ensure_topic(client: &Client, topic: &str, partitions: Option<i32>) -> Result<(), CliError> {
    let new = NewTopic { name: topic.to_owned(), partitions, ..NewTopic::default() };
    for result in client.admin().create_topics(&[new], false).await? {
        match result {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// A progress bar on a terminal, nothing elsewhere.
fn progress(total: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {human_pos} records  {per_sec}  {eta} left");
    bar.set_style(style.expect("the template above is well-formed"));
    bar
}

/// Letters at random, from which values are cut: not worth compressing away, as Kafka's own tool sends.
fn letters(size: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..size)
        .map(|_| {
            // xorshift64: speed and no seed matter here, chance does not.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'A' + (state % 26) as u8
        })
        .collect()
}
