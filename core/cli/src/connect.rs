//! How a command reaches a cluster, and the runtime that it runs on.

use crate::error::CliError;
use ottla::client::{Client, ClientOptions, Configs, Env, Scope};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Where the cluster is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// Brokers to ask first, as host:port, separated by commas [default: 127.0.0.1:9092, or what --command-config says].
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub bootstrap_server: Option<String>,
    /// A file of Kafka client properties, for security.protocol, sasl.jaas.config, ssl.truststore.location and so on.
    #[arg(long, value_name = "FILE", global = true)]
    pub command_config: Option<PathBuf>,
    /// How long the command may take in all to get an answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000, global = true)]
    pub timeout_ms: u64,
}

/// How long a command knocks at an address that refuses it: long enough for a broker that is just starting.
const KNOCK: Duration = Duration::from_secs(2);
/// The address where nothing else is said: that of `ottla serve`.
const DEFAULT_SERVER: &str = "127.0.0.1:9092";

impl ConnectArgs {
    /// A client that has reached the cluster once, so that a wrong address shows at once.
    pub async fn client(&self) -> Result<Client, CliError> {
        let configs = self.configs(Scope::Admin, &[])?;
        let timeout = Duration::from_millis(self.timeout_ms);
        let mut options = ClientOptions::from_configs(&configs);
        options.default_api_timeout = timeout;
        self.reach(options, timeout).await
    }

    /// A client for a producer or consumer with these configs, that has reached the cluster once.
    pub async fn client_of(&self, configs: &Configs) -> Result<Client, CliError> {
        self.reach(ClientOptions::from_configs(configs), Duration::from_millis(self.timeout_ms)).await
    }

    /// The configs of the file, with `more` over them and the address over all.
    pub fn configs(&self, scope: Scope, more: &[(String, String)]) -> Result<Configs, CliError> {
        let mut pairs = match &self.command_config {
            Some(path) => properties(path)?,
            None => Vec::new(),
        };
        // One file may serve all commands: what another kind of client has is no mistake here.
        pairs.retain(|(name, _)| {
            scope.find(name).is_some()
                || ![Scope::Admin, Scope::Producer, Scope::Consumer].iter().any(|scope| scope.find(name).is_some())
        });
        pairs.extend(more.iter().cloned());
        let set = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(key, _)| key == name);
        match &self.bootstrap_server {
            Some(server) => pairs.push(("bootstrap.servers".to_owned(), server.clone())),
            None if set(&pairs, "bootstrap.servers") => {}
            None => pairs.push(("bootstrap.servers".to_owned(), DEFAULT_SERVER.to_owned())),
        }
        if !set(&pairs, "client.id") {
            pairs.push(("client.id".to_owned(), "ottla-cli".to_owned()));
        }
        let (configs, warnings) = Configs::parse(scope, pairs).map_err(|error| CliError::Usage(error.to_string()))?;
        for warning in warnings {
            tracing::warn!(config = warning.key, "{}", warning.message);
        }
        Ok(configs)
    }

    async fn reach(&self, mut options: ClientOptions, timeout: Duration) -> Result<Client, CliError> {
        options.request_timeout = options.request_timeout.min(timeout);
        options.connection_setup_timeout = options.connection_setup_timeout.min(timeout);
        let client = Client::new(Env::real(), options)?;
        client.ready(timeout.min(KNOCK)).await?;
        Ok(client)
    }
}

/// The pairs of a properties file.
pub fn properties(path: &Path) -> Result<Vec<(String, String)>, CliError> {
    let text = read(path)?;
    let parsed = ottla::config::properties::parse(&text);
    parsed.map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

/// A file as text.
pub fn read(path: &Path) -> Result<String, CliError> {
    let bytes = Env::real().fs().read(path);
    let bytes = bytes.map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| CliError::Usage(format!("{} is not UTF-8 text", path.display())))
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
