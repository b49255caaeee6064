//! How a command reaches a cluster, and the runtime that it runs on.

use crate::error::CliError;
use ottla::client::{Client, ClientOptions, Env};
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Where the cluster is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// Brokers to ask first, as host:port, separated by commas.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", global = true)]
    pub bootstrap_server: String,
    /// How long the command may take in all to get an answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000, global = true)]
    pub timeout_ms: u64,
}

/// How long a command knocks at an address that refuses it: long enough for a broker that is just starting.
const KNOCK: Duration = Duration::from_secs(2);

impl ConnectArgs {
    /// A client that has reached the cluster once, so that a wrong address shows at once.
    pub async fn client(&self) -> Result<Client, CliError> {
        let timeout = Duration::from_millis(self.timeout_ms);
        let mut options = ClientOptions::new(&self.bootstrap_server);
        options.client_id = "ottla-cli".to_owned();
        options.default_api_timeout = timeout;
        options.request_timeout = options.request_timeout.min(timeout);
        options.connection_setup_timeout = options.connection_setup_timeout.min(timeout);
        let client = Client::new(Env::real(), options)?;
        client.ready(timeout.min(KNOCK)).await?;
        Ok(client)
    }
}

/// Runs `work` to its end. Results go to stdout, logs to stderr: those from `level` up, or what OTTLA_LOG says.
pub fn block_on<T>(level: &str, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let filter = EnvFilter::try_from_env("OTTLA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Tasks that still wait for a broker must not hold the process back.
    runtime.shutdown_background();
    result
}
