//! `ottla serve`: a broker until SIGTERM or Ctrl-C.

use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  ottla serve                                          127.0.0.1:9092, data in ./ottla-data
  ottla serve server.properties                        a file for Apache Kafka works as it is
  ottla serve --override listeners=PLAINTEXT://127.0.0.1:0 --override log.dirs=/var/lib/ottla
  ottla serve --record-traffic session.traffic         with a recording of all requests, for ottla traffic
  ottla serve server.properties --override num.partitions=6 --override log.retention.hours=24

One line on stdout says when the broker accepts connections:
  ottla ready: PLAINTEXT://127.0.0.1:9092

Logs go to stderr; OTTLA_LOG=debug (or a filter as ottla_broker=debug,ottla_log=info) says how much.";

/// Run a broker.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    /// A server.properties with Kafka's config names; without one, sensible defaults
    pub properties: Option<PathBuf>,

    /// Set a config, over what the file says; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,

    /// Record every request and its answer, with the records in them, into this new file; see ottla traffic --help
    #[arg(long, value_name = "FILE")]
    pub record_traffic: Option<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("expected KEY=VALUE, as in num.partitions=3, but got '{text}'")),
    }
}

/// Runs until a signal ends it. Returns what the process exits with; an error is one sentence.
pub async fn run(serve: Serve) -> Result<ExitCode, String> {
    let mut configs: Vec<(String, String)> = Vec::new();
    if let Some(path) = &serve.properties {
        let bytes = ottla::env::Env::real().fs().read(path);
        let bytes = bytes.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
        let parsed = ottla::config::properties::parse(&text);
        configs.extend(parsed.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    configs.extend(serve.overrides);
    let mut signals = Signals::new()?;
    let mut builder = ottla::Broker::builder().server().configs(configs);
    if let Some(file) = serve.record_traffic {
        builder = builder.record_traffic(file);
    }
    let broker = builder.start().await.map_err(|error| error.to_string())?;
    announce(&broker);
    signals.received().await;
    tracing::info!("closing");
    broker.close().await.map_err(|error| match error {
        ottla::Error::Traffic(error) => error.to_string(),
        error => format!("the shutdown was not clean: {error}"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The one line on stdout; whoever started the process may wait for it.
fn announce(broker: &ottla::Broker) {
    use std::io::Write;
    let endpoints = broker.endpoints();
    let listeners: Vec<String> =
        endpoints.iter().map(|it| format!("{}://{}:{}", it.listener, it.host, it.port)).collect();
    let mut out = std::io::stdout().lock();
    // A closed stdout is no reason to stop serving.
    let _ = writeln!(out, "ottla ready: {}", listeners.join(" ")).and_then(|()| out.flush());
}

/// SIGTERM and SIGINT, caught from before the start, so that one that comes early is not lost.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Signals, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let handler = |kind| signal(kind).map_err(|error| format!("cannot watch for signals: {error}"));
        Ok(Signals { terminate: handler(SignalKind::terminate())?, interrupt: handler(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Signals, String> {
        Ok(Signals {})
    }

    #[cfg(unix)]
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn received(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
