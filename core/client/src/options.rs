//! Settings that producer, consumer and admin share. Names and defaults are rows of ottla-config; this is their typed form.

use crate::error::{Error, Result};
use crate::metrics::MetricsOptions;
use ottla_config::{ConfigError, Configs, Scope};
use std::time::Duration;

/// Settings that producer, consumer and admin share, under Kafka's names.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `bootstrap.servers`: `host:port`, or `ottla-inproc:<id>` for a broker in this process.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`, which brokers log; "ottla" where it is not set.
    pub client_id: String,
    /// `request.timeout.ms`, 30 s: how long one request may take.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`, 60 s: how long one call may take with its retries.
    pub default_api_timeout: Duration,
    /// `retry.backoff.ms`, 100 ms: the first wait before trying again; it doubles up to the maximum.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`, 1 s.
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`, 50 ms: the first wait before dialling a broker again.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`, 1 s.
    pub reconnect_backoff_max: Duration,
    /// `socket.connection.setup.timeout.ms`, 10 s: TCP handshake, then again for the first answer.
    pub connection_setup_timeout: Duration,
    /// `metadata.max.age.ms`, 5 min.
    pub metadata_max_age: Duration,
    /// `metrics.sample.window.ms`, `metrics.num.samples`, `metrics.recording.level`.
    pub metrics: MetricsOptions,
}

impl ClientOptions {
    /// Kafka's defaults, with `bootstrap.servers` as a comma-separated list.
    pub fn new(bootstrap_servers: &str) -> ClientOptions {
        let servers = bootstrap_servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        let bootstrap_servers = servers.map(str::to_owned).collect();
        ClientOptions { bootstrap_servers, ..ClientOptions::from_configs(&Configs::defaults(Scope::Admin)) }
    }

    /// The shared part of a producer's, consumer's or admin client's configs.
    pub fn from_configs(configs: &Configs) -> ClientOptions {
        let ms = |name: &str| configs.ms(name).unwrap_or_default();
        ClientOptions {
            bootstrap_servers: configs.list("bootstrap.servers"),
            client_id: configs.text("client.id").filter(|id| !id.is_empty()).unwrap_or_else(|| "ottla".to_owned()),
            request_timeout: ms("request.timeout.ms"),
            // A producer has max.block.ms in its place.
            default_api_timeout: configs
                .ms("default.api.timeout.ms")
                .or(configs.ms("max.block.ms"))
                .unwrap_or(Duration::from_secs(60)),
            retry_backoff: ms("retry.backoff.ms"),
            retry_backoff_max: ms("retry.backoff.max.ms"),
            reconnect_backoff: ms("reconnect.backoff.ms"),
            reconnect_backoff_max: ms("reconnect.backoff.max.ms"),
            connection_setup_timeout: ms("socket.connection.setup.timeout.ms"),
            metadata_max_age: ms("metadata.max.age.ms"),
            metrics: MetricsOptions::from_configs(configs),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::invalid(error.message)
    }
}

/// Reads `pairs` as configs of `scope`; what has no effect is logged as a warning.
pub(crate) fn read<K: Into<String>, V: Into<String>>(
    scope: Scope,
    pairs: impl IntoIterator<Item = (K, V)>,
) -> Result<Configs> {
    let (configs, warnings) = Configs::parse(scope, pairs)?;
    for warning in warnings {
        tracing::warn!(config = warning.key, "{}", warning.message);
    }
    Ok(configs)
}
