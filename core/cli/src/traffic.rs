//! `ottla traffic`: what is in a recording of a broker's traffic, and the same requests sent to another broker.

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use crate::output;
use ottla::client::{ClientOptions, Env, Scope};
use ottla::traffic::{
    Entry, Outcome, RecordedAnswer, RecordedRequest, ReplayOptions, ReplayReport, Security, Speed, Target, Traffic,
    TrafficError,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ottla traffic show session.traffic
  ottla traffic replay session.traffic --bootstrap-server localhost:9092

A recording is made by ottla serve --record-traffic session.traffic, or by a program that embeds a broker.
It has the records that were produced: it is as confidential as the topics. Passwords and tokens are not in it.";

const SHOW_EXAMPLES: &str = "\
Examples:
  ottla traffic show session.traffic
  ottla traffic show session.traffic --api Produce --api Fetch --bodies
  ottla traffic show session.traffic --connection 3 | head
  ottla traffic show session.traffic --json | jq 'select(.outcome == \"closed\")'

Each line is a request with its answer, in the order in which they were answered: seconds since the beginning, how long
it took, connection, API and version, client.id, sizes. A recording that is cut off is shown to where it is whole.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  ottla traffic replay session.traffic --bootstrap-server localhost:9092
  ottla traffic replay session.traffic --recorded-pace --bootstrap-server kafka:9092
  ottla traffic replay session.traffic --json | jq .differences

Ids that the broker makes up (members, producers, topics, sessions) take the place of the recorded ones. What is answered
otherwise is listed field by field, and the exit code is 1 then. All requests go to the one broker at the address.
--timeout-ms is the time for each answer, beyond what it took when it was recorded.";

/// Shows recorded traffic, and replays it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TrafficArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(ShowArgs),
    Replay(ReplayArgs),
}

/// Shows the requests and answers in a recording.
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only requests of this API, by Kafka's name; may be repeated.
    #[arg(long, value_name = "API")]
    api: Vec<String>,
    /// Only this connection.
    #[arg(long, value_name = "NUMBER")]
    connection: Option<u64>,
    /// Show what is in requests and answers too, records included.
    #[arg(long)]
    bodies: bool,
    /// Print JSON, one value per line.
    #[arg(long)]
    json: bool,
}

/// Sends the requests in a recording to a broker and compares the answers.
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_EXAMPLES)]
struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Send no request earlier than it was sent in the recording, instead of as soon as the answers before it are there.
    #[arg(long)]
    recorded_pace: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: TrafficArgs) -> Result<(), CliError> {
    match args.command {
        Command::Show(args) => show(&args),
        Command::Replay(args) => block_on("warn", replay(args)),
    }
}

fn failed(error: TrafficError) -> CliError {
    CliError::Failed(error.to_string())
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    let traffic = Traffic::open(&args.file).map_err(failed)?;
    let known = |name: &String| ottla::faults::ApiKey::ALL.iter().any(|api| api.name().eq_ignore_ascii_case(name));
    if let Some(unknown) = args.api.iter().find(|name| !known(name)) {
        return Err(CliError::Usage(format!(
            "there is no API called {unknown}; Produce, Fetch or CreateTopics are some"
        )));
    }
    let mut out = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    if !args.json {
        let (cluster, software) = (traffic.cluster_id(), traffic.software());
        writeln!(out, "cluster {cluster}, recorded by {software}, from {} ms on", traffic.started_ms())?;
    }
    let started_ms = traffic.started_ms();
    // One a connection: its next request comes after its answer.
    let mut open: HashMap<u64, RecordedRequest> = HashMap::new();
    for entry in traffic.entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                // What was found so far stays readable in front of the error.
                out.flush()?;
                return Err(failed(error));
            }
        };
        match entry {
            Entry::Request(request) => drop(open.insert(request.connection, request)),
            Entry::Answer(answer) => {
                if let Some(request) = open.remove(&answer.connection).filter(|request| args.shows(request)) {
                    args.print(&mut out, started_ms, &request, Some(&answer))?;
                }
            }
            Entry::Closed { connection, .. } => {
                if let Some(request) = open.remove(&connection).filter(|request| args.shows(request)) {
                    args.print(&mut out, started_ms, &request, None)?;
                }
            }
            Entry::Gap { gap, .. } => {
                out.flush()?;
                return Err(CliError::Failed(format!("the recording ends early: {gap}")));
            }
            _ => {}
        }
    }
    let mut left: Vec<RecordedRequest> = open.into_values().filter(|request| args.shows(request)).collect();
    left.sort_by_key(|request| (request.time_ms, request.connection));
    for request in left {
        args.print(&mut out, started_ms, &request, None)?;
    }
    out.flush()?;
    Ok(())
}

impl ShowArgs {
    fn shows(&self, request: &RecordedRequest) -> bool {
        let name = request.api().map_or("unknown", |api| api.name());
        (self.api.is_empty() || self.api.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
            && self.connection.is_none_or(|wanted| wanted == request.connection)
    }

    fn print(
        &self,
        out: &mut impl Write,
        started_ms: i64,
        request: &RecordedRequest,
        answer: Option<&RecordedAnswer>,
    ) -> Result<(), CliError> {
        let api = request.api().map_or("unknown", |api| api.name());
        let outcome = match answer.map(|answer| answer.outcome) {
            Some(Outcome::Answered) => "answered",
            Some(Outcome::Nothing) => "nothing",
            Some(Outcome::Closed) => "closed",
            Some(Outcome::Silence) => "silence",
            None => "unanswered",
        };
        let took = answer.map(|answer| answer.time_ms.saturating_sub(request.time_ms));
        let since = request.time_ms.saturating_sub(started_ms);
        let client_id = request.client_id.as_deref().unwrap_or("");
        let text = |text: Result<String, String>| text.unwrap_or_else(|reason| format!("({reason})"));
        let bodies = self.bodies.then(|| {
            let answered = answer.filter(|answer| answer.outcome == Outcome::Answered);
            (text(request.text()), answered.map(|answer| text(answer.text(request))))
        });
        if self.json {
            let mut value = json!({
                "time_ms": request.time_ms,
                "took_ms": took,
                "connection": request.connection,
                "in_process": request.in_process,
                "listener": request.listener.as_str(),
                "api": api,
                "api_key": request.api_key,
                "version": request.api_version,
                "correlation_id": request.correlation_id,
                "client_id": request.client_id.as_deref(),
                "request_bytes": request.size,
                "answer_bytes": answer.map(|answer| answer.size),
                "outcome": outcome,
            });
            if let Some((request, answer)) = bodies {
                value["request"] = Value::from(request);
                value["answer"] = Value::from(answer);
            }
            writeln!(out, "{value}")?;
            return Ok(());
        }
        let (seconds, millis) = (since.div_euclid(1000), since.rem_euclid(1000));
        let took = took.map_or_else(|| "-".to_owned(), |took| format!("{took} ms"));
        let became = match answer.filter(|answer| answer.outcome == Outcome::Answered) {
            Some(answer) => format!("{} bytes", answer.size),
            None => outcome.to_owned(),
        };
        writeln!(
            out,
            "{seconds}.{millis:03} {took:>8} #{} {api} v{} of {client_id}: {} bytes -> {became}",
            request.connection, request.api_version, request.size
        )?;
        if let Some((request, answer)) = bodies {
            writeln!(out, "    {request}")?;
            if let Some(answer) = answer {
                writeln!(out, "    {answer}")?;
            }
        }
        Ok(())
    }
}

async fn replay(args: ReplayArgs) -> Result<(), CliError> {
    let traffic = Traffic::open(&args.file).map_err(failed)?;
    let options = ClientOptions::from_configs(&args.connect.configs(Scope::Admin, &[])?);
    let env = Env::real();
    let security = Security::new(&env, &options.security).map_err(CliError::Usage)?;
    let servers = options.bootstrap_servers.join(",");
    let target = Target::at(env, &servers).security(Arc::new(security));
    let options = ReplayOptions {
        speed: if args.recorded_pace { Speed::Recorded } else { Speed::Fast },
        request_timeout: Duration::from_millis(args.connect.timeout_ms),
        ..ReplayOptions::default()
    };
    let report = traffic.replay_with(target, options).await.map_err(failed)?;
    match args.json {
        true => output::json(&to_json(&report))?,
        false => output::line(&report.to_string())?,
    }
    match (report.is_same(), report.different) {
        (true, _) => Ok(()),
        (false, 0) => Err(CliError::Failed("the recording is not whole".to_owned())),
        (false, 1) => Err(CliError::Failed("1 request was answered differently".to_owned())),
        (false, n) => Err(CliError::Failed(format!("{n} requests were answered differently"))),
    }
}

fn to_json(report: &ReplayReport) -> Value {
    let differences = report.differences.iter().map(|it| {
        json!({
            "request": it.request,
            "connection": it.connection,
            "client_id": it.client_id,
            "api": it.api.name(),
            "version": it.version,
            "path": it.path,
            "recorded": it.recorded,
            "replayed": it.replayed,
        })
    });
    json!({
        "requests": report.requests,
        "sent": report.sent,
        "same": report.same,
        "by_timing": report.by_timing,
        "different": report.different,
        "not_compared": report.not_compared,
        "skipped": report.skipped,
        "skipped_because": report.skipped_because,
        "connections": report.connections,
        "retries": report.retries,
        "incomplete": report.incomplete,
        "more_differences": report.more_differences,
        "differences": differences.collect::<Vec<Value>>(),
    })
}
