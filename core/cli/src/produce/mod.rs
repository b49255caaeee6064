//! `ottla produce`: records from lines of standard input or a file.

mod input;
mod lines;

use crate::connect::ConnectArgs;
use crate::connect::block_on;
use crate::error::CliError;
use crate::output;
use crate::time::timestamp;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use input::Lines;
use lines::{LineFormat, Parsed, Reader};
use ottla::client::{Delivery, Env, Error, OwnedRecord, Producer, ProducerOptions, Scope};
use serde_json::json;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  echo hello | ottla produce flights
  ottla produce flights --key-separator : --file flights.txt --compression zstd
  ottla produce flights --format json < flights.jsonl
  ottla consume flights --from-beginning --exit-at-end --json | ottla produce copy --format json
  ottla produce flights --header source=test --acks 1 --producer-property linger.ms=50

Formats of a line:
  raw    the value
  kv     the key, the separator, the value; without a separator in it the line is a value
  json   {\"key\": …, \"value\": …, \"headers\": {…}, \"partition\": …, \"timestamp\": …}, all but the value optional;
         keyBase64 and valueBase64 for bytes; a value that is no string is sent as JSON; null is a tombstone";

/// The lines that wait for their acknowledgements at most.
const WAITING_MAX: usize = 10_000;
/// The errors of records that are told one by one.
const ERRORS_TOLD: u64 = 10;

/// Sends lines of standard input or a file as records.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ProduceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The topic.
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Read this file instead of standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What a line is; kv where --key-separator is given, raw otherwise.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between key and value; a tab where only --format kv is given.
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = unescaped)]
    key_separator: Option<String>,
    /// A line, key or value that is this text stands for null.
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// A header for every record; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = crate::config::name_and_value)]
    header: Vec<(String, String)>,
    /// Lines begin with headers, name:value pairs with commas between them and a tab behind.
    #[arg(long)]
    parse_headers: bool,
    /// Send all records to this partition.
    #[arg(long, short, value_name = "N")]
    partition: Option<i32>,
    /// The timestamp of all records, as 2026-11-24T12:00:00Z or ms since 1970; without it the present.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<i64>,
    /// compression.type: none, gzip, snappy, lz4 or zstd.
    #[arg(long, short = 'z', value_name = "CODEC")]
    compression: Option<String>,
    /// acks: 0, 1 or all.
    #[arg(long, value_name = "ACKS")]
    acks: Option<String>,
    /// Any config of the producer; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::config::name_and_value)]
    producer_property: Vec<(String, String)>,
    /// Go on behind a line that cannot be read; it is told, and the exit code is 1 in the end.
    #[arg(long)]
    ignore_errors: bool,
    /// Print what was sent as JSON.
    #[arg(long)]
    json: bool,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A value.
    Raw,
    /// A key and a value.
    Kv,
    /// A JSON object.
    Json,
}

/// `\t`, `\n` and `\0` as they are written in a shell.
fn unescaped(text: &str) -> Result<String, String> {
    let text = text.replace("\\t", "\t").replace("\\n", "\n").replace("\\0", "\0");
    if text.is_empty() { Err("a separator has at least one character".to_owned()) } else { Ok(text) }
}

impl ProduceArgs {
    fn reader(&self) -> Reader {
        let format = match (self.format, &self.key_separator) {
            (Some(Format::Json), _) => LineFormat::Json,
            (Some(Format::Raw), _) | (None, None) => LineFormat::Raw,
            (Some(Format::Kv), None) => LineFormat::KeyValue("\t".to_owned()),
            (_, Some(separator)) => LineFormat::KeyValue(separator.clone()),
        };
        Reader { format, parse_headers: self.parse_headers, null_marker: self.null_marker.clone() }
    }

    fn properties(&self) -> Vec<(String, String)> {
        let mut properties = self.producer_property.clone();
        let given = [("compression.type", &self.compression), ("acks", &self.acks)];
        properties.extend(given.iter().filter_map(|(name, value)| Some((name.to_string(), (*value).clone()?))));
        // Idempotence needs acks=all; who asks for less does not ask for it.
        let named = |name: &str| properties.iter().any(|(key, _)| key == name);
        if self.acks.as_deref().is_some_and(|acks| acks != "all" && acks != "-1") && !named("enable.idempotence") {
            properties.push(("enable.idempotence".to_owned(), "false".to_owned()));
        }
        properties
    }
}

/// Runs the command.
pub fn run(args: ProduceArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let configs = args.connect.configs(Scope::Producer, &args.properties())?;
        let options = ProducerOptions::from_configs(&configs).map_err(|error| CliError::Usage(error.to_string()))?;
        let client = args.connect.client_of(&configs).await?;
        let producer = client.producer(options)?;
        let lines = Lines::open(args.file.as_deref())?;
        let mut sending = Sending::new(&args);
        let ended = tokio::select! {
            biased;
            sent = sending.all(&producer, lines) => sent,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        };
        // What was taken is sent, whatever ended the input.
        producer.flush().await;
        sending.settle(0).await;
        producer.close(Duration::from_secs(5)).await?;
        sending.finish()?;
        ended
    })
}

struct Sending<'a> {
    args: &'a ProduceArgs,
    /// In order, with the number of their line.
    waiting: VecDeque<(u64, Delivery)>,
    env: Env,
    started: Duration,
    line: u64,
    sent: u64,
    bytes: u64,
    failed: u64,
    bar: ProgressBar,
}

impl<'a> Sending<'a> {
    fn new(args: &'a ProduceArgs) -> Sending<'a> {
        let typed = args.file.is_none() && std::io::stdin().is_terminal();
        let bar = match typed || args.json || !std::io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
                let style = ProgressStyle::with_template("{spinner} {human_pos} records  {per_sec}");
                bar.set_style(style.expect("the template above is well-formed"));
                bar
            }
        };
        let env = Env::real();
        let started = env.monotonic();
        Sending { args, waiting: VecDeque::new(), env, started, line: 0, sent: 0, bytes: 0, failed: 0, bar }
    }

    /// Sends until the input ends.
    async fn all(&mut self, producer: &Producer, mut lines: Lines) -> Result<(), CliError> {
        let reader = self.args.reader();
        while let Some(some) = lines.next().await? {
            for line in some {
                self.line += 1;
                match reader.read(&line) {
                    Ok(parsed) => self.send(producer, parsed).await?,
                    Err(reason) if self.args.ignore_errors => self.refuse(self.line, &reason),
                    Err(reason) => {
                        let line = self.line;
                        let text = format!("line {line}: {reason}; --ignore-errors goes on behind such lines");
                        return Err(CliError::Failed(text));
                    }
                }
            }
            self.bar.set_position(self.sent);
        }
        Ok(())
    }

    async fn send(&mut self, producer: &Producer, parsed: Parsed) -> Result<(), CliError> {
        let mut headers = parsed.headers;
        let given = self.args.header.iter();
        headers.extend(given.map(|(name, value)| (name.clone(), Some(value.clone().into_bytes().into()))));
        let size = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.bytes += size(&parsed.key) + size(&parsed.value);
        let record = OwnedRecord {
            topic: self.args.topic.clone(),
            partition: self.args.partition.or(parsed.partition),
            timestamp: self.args.timestamp.or(parsed.timestamp),
            key: parsed.key,
            value: parsed.value,
            headers,
        };
        let header_refs: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let borrowed = ottla::client::ProducerRecord {
            partition: record.partition,
            timestamp: record.timestamp,
            headers: &header_refs,
            ..ottla::client::ProducerRecord::new(&record.topic, record.key.as_deref(), record.value.as_deref())
        };
        match producer.send(borrowed).await {
            Ok(delivery) => {
                self.sent += 1;
                self.waiting.push_back((self.line, delivery));
            }
            // What is wrong with one record says nothing of the next; what is wrong with the topic does.
            Err(error) if concerns_record(&error) => self.refuse(self.line, &error.to_string()),
            Err(error) => return Err(error.into()),
        }
        self.settle(WAITING_MAX).await;
        Ok(())
    }

    /// Waits until at most `left` records are unanswered.
    async fn settle(&mut self, left: usize) {
        while let Some((line, delivery)) = self.waiting.front() {
            let result = match delivery.get() {
                Some(result) => result,
                None if self.waiting.len() > left => delivery.wait().await,
                None => return,
            };
            let line = *line;
            self.waiting.pop_front();
            if let Err(error) = result {
                self.sent -= 1;
                self.refuse(line, &error.to_string());
            }
        }
    }

    fn refuse(&mut self, line: u64, reason: &str) {
        self.failed += 1;
        if self.failed <= ERRORS_TOLD {
            self.bar.suspend(|| output::complain(&format!("line {line}: {reason}")));
        }
    }

    fn finish(self) -> Result<(), CliError> {
        self.bar.finish_and_clear();
        let seconds = (self.env.monotonic() - self.started).as_secs_f64();
        if self.args.json {
            output::json(&json!({
                "records": self.sent,
                "bytes": self.bytes,
                "failed": self.failed,
                "seconds": seconds,
            }))?;
        } else if std::io::stderr().is_terminal() {
            let records = output::thousands(self.sent);
            output::complain(&format!("{records} records, {} bytes, {seconds:.1} s", output::thousands(self.bytes)));
        }
        match self.failed {
            0 => Ok(()),
            failed => Err(CliError::Failed(format!("{failed} of {} records were not written", self.sent + failed))),
        }
    }
}

/// Whether an error of `send` is about this record alone.
fn concerns_record(error: &Error) -> bool {
    use ottla::client::ErrorCode;
    matches!(error.code(), Some(ErrorCode::MessageTooLarge | ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp))
}
