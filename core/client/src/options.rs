//! Settings that producer, consumer and admin share. Names and defaults are rows of ottla-config; this is their typed form.

use crate::error::{Error, Result};
use crate::metrics::{Metrics, MetricsOptions, Network};
use crate::security;
use ottla_config::{ConfigError, Configs, Scope};
use ottla_env::Env;
use ottla_model::Str;
use ottla_wire::{Security, SecurityOptions};
use parking_lot::RwLock;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    /// `socket.connection.setup.timeout.max.ms`, 30 s: it doubles up to this while a broker cannot be reached (KIP-601).
    pub connection_setup_timeout_max: Duration,
    /// `connections.max.idle.ms`, 9 min (5 min for an admin client): an idle connection is closed; zero is never.
    pub connections_max_idle: Duration,
    /// `send.buffer.bytes`, 128 KiB; `None` (-1) is the system's.
    pub send_buffer: Option<u32>,
    /// `receive.buffer.bytes`, 64 KiB (32 KiB for a producer); `None` (-1) is the system's.
    pub receive_buffer: Option<u32>,
    /// `client.dns.lookup`: `use_all_dns_ips`; what Java has beside it serves Kerberos only and is refused.
    pub dns_lookup: String,
    /// `bootstrap.resolve.timeout.ms`, 0: how long to go on when no bootstrap name can be resolved.
    pub bootstrap_resolve_timeout: Duration,
    /// `metadata.recovery.strategy`: whether to go back to the bootstrap servers when no known broker answers (KIP-899).
    pub rebootstrap: bool,
    /// `metadata.recovery.rebootstrap.trigger.ms`, 5 min: go back to them after so long without metadata (KIP-1102).
    pub rebootstrap_trigger: Duration,
    /// `metadata.cluster.check.enable`: let a broker refuse a connection that was meant for another cluster or node.
    pub cluster_check: bool,
    /// `enable.metrics.push`: send metrics to the cluster where it asks for them (KIP-714).
    pub metrics_push: bool,
    /// `security.protocol`, `ssl.*` and `sasl.*`.
    pub security: SecurityOptions,
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
            connection_setup_timeout_max: ms("socket.connection.setup.timeout.max.ms"),
            connections_max_idle: ms("connections.max.idle.ms"),
            send_buffer: configs.size("send.buffer.bytes").and_then(|bytes| u32::try_from(bytes).ok()),
            receive_buffer: configs.size("receive.buffer.bytes").and_then(|bytes| u32::try_from(bytes).ok()),
            dns_lookup: configs.text("client.dns.lookup").unwrap_or_default(),
            bootstrap_resolve_timeout: ms("bootstrap.resolve.timeout.ms"),
            rebootstrap: configs
                .text("metadata.recovery.strategy")
                .is_some_and(|strategy| strategy.eq_ignore_ascii_case("rebootstrap")),
            rebootstrap_trigger: ms("metadata.recovery.rebootstrap.trigger.ms"),
            cluster_check: configs.flag("metadata.cluster.check.enable"),
            metrics_push: configs.flag("enable.metrics.push"),
            security: security::options(configs),
            metrics: MetricsOptions::from_configs(configs),
        }
    }
}

/// A client's options and what was made of them at its start, for all of its connections.
#[derive(Debug)]
pub(crate) struct Settings {
    options: ClientOptions,
    pub(crate) security: Arc<Security>,
    pub(crate) network: Arc<Network>,
    /// The cluster that the bootstrap servers belong to, once it is known.
    pub(crate) cluster_id: RwLock<Option<Str>>,
    /// Whether metadata was ever fetched: from then on the names have been good.
    pub(crate) bootstrapped: AtomicBool,
    /// Set when a broker said that a connection was meant for another node or cluster: the metadata is of no use.
    pub(crate) stale: AtomicBool,
    /// When the client was made, by the monotonic clock.
    pub(crate) created: Duration,
}

impl Settings {
    /// Reads key stores and credentials. `metrics` is where the connections count.
    pub(crate) fn new(env: &Env, options: ClientOptions, metrics: Metrics) -> Result<Settings> {
        if options.dns_lookup != "use_all_dns_ips" {
            return Err(Error::invalid(format!(
                "client.dns.lookup={} serves Kerberos, which this client does not speak; use use_all_dns_ips",
                options.dns_lookup
            )));
        }
        let security = Security::new(env, &options.security).map_err(Error::invalid)?;
        Ok(Settings {
            options,
            security: Arc::new(security),
            network: Arc::new(Network::new(metrics)),
            cluster_id: RwLock::default(),
            bootstrapped: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            created: env.monotonic(),
        })
    }
}

impl Deref for Settings {
    type Target = ClientOptions;

    fn deref(&self) -> &ClientOptions {
        &self.options
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RecordingLevel;

    fn set(scope: Scope, name: &str, value: &str) -> ClientOptions {
        let (configs, warnings) = Configs::parse(scope, [(name, value)]).unwrap();
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
        ClientOptions::from_configs(&configs)
    }

    #[test]
    fn buffers_of_minus_one_are_the_systems() {
        for scope in [Scope::Producer, Scope::Consumer, Scope::Admin] {
            let sizes = |options: ClientOptions| (options.send_buffer, options.receive_buffer);
            let received = if scope == Scope::Producer { 32_768 } else { 65_536 };
            assert_eq!(sizes(ClientOptions::from_configs(&Configs::defaults(scope))), (Some(131_072), Some(received)));
            assert_eq!(sizes(set(scope, "send.buffer.bytes", "-1")).0, None);
            assert_eq!(sizes(set(scope, "receive.buffer.bytes", "-1")).1, None);
            assert_eq!(sizes(set(scope, "receive.buffer.bytes", "9000")).1, Some(9000));
        }
    }

    #[test]
    fn levels_of_metrics() {
        for (value, level) in
            [("INFO", RecordingLevel::Info), ("DEBUG", RecordingLevel::Debug), ("TRACE", RecordingLevel::Trace)]
        {
            assert_eq!(set(Scope::Consumer, "metrics.recording.level", value).metrics.level, level);
        }
    }
}
