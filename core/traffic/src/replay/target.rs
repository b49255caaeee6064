//! What a recording is replayed against.

use crate::error::TrafficError;
use crate::tap::{Begun, Tap};
use ottla_env::Env;
use ottla_model::Str;
use ottla_protocol::{ApiKey, ApiVersionsRequest, MetadataRequest};
use ottla_wire::{ClientConnection, ConnectOptions, Security};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The versions of ApiVersions that all brokers from Apache Kafka 2.4 on know.
const API_VERSIONS: i16 = 3;
/// A version of Metadata with the cluster's id.
const METADATA: i16 = 9;
/// The newest version of SaslAuthenticate that this side speaks.
const SASL_AUTHENTICATE: i16 = 2;

/// A broker to replay against: one in this process, or one at an address. All requests go to this one broker, as they all went
/// to one when they were recorded.
#[derive(Clone)]
pub struct Target {
    env: Env,
    addresses: Vec<String>,
    security: Arc<Security>,
    tap: Option<Arc<Tap>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Target {
    /// The broker at one of these addresses (`host:port`, separated by commas; the first that accepts a connection).
    pub fn at(env: Env, bootstrap_servers: &str) -> Target {
        let addresses = bootstrap_servers.split(',').map(|address| address.trim().to_owned()).collect();
        Target { env, addresses, security: Arc::default(), tap: None }
    }

    /// The same over TLS and SASL. What was recorded of SASL is never replayed: connections authenticate by this.
    #[must_use]
    pub fn security(mut self, security: Arc<Security>) -> Target {
        self.security = security;
        self
    }

    /// The same, where the broker of this tap is at the address: then it is known when it has taken a request up.
    #[doc(hidden)]
    #[must_use]
    pub fn in_process(mut self, tap: &Arc<Tap>) -> Target {
        self.tap = Some(tap.clone());
        self
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        self.tap.as_ref().map(Tap::watch)
    }

    /// The cluster's id.
    pub(super) async fn cluster_id(
        connection: &ClientConnection,
        served: &Served,
        timeout: Duration,
    ) -> Result<Option<Str>, TrafficError> {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let highest = served.get(&ApiKey::Metadata).map_or(0, |(_, highest)| *highest).min(METADATA);
        let answer = connection.request(&request, highest, timeout).await;
        answer.map(|answer| answer.cluster_id).map_err(|error| TrafficError::Target(error.to_string()))
    }

    /// A connection that has authenticated, and what the broker serves.
    pub(super) async fn connect(&mut self, timeout: Duration) -> Result<(ClientConnection, Served), TrafficError> {
        let options = ConnectOptions {
            client_id: "ottla-replay".into(),
            connect_timeout: timeout,
            security: self.security.clone(),
            ..Default::default()
        };
        let mut failure = TrafficError::Target("it has no address".to_owned());
        for address in self.addresses.clone() {
            let connecting = async {
                let connection = ClientConnection::connect(&self.env, &address, &options).await?;
                let request = ApiVersionsRequest {
                    client_software_name: "ottla".into(),
                    client_software_version: env!("CARGO_PKG_VERSION").into(),
                    ..Default::default()
                };
                let answer = connection.request(&request, API_VERSIONS, timeout).await?;
                let served: Served = answer
                    .api_keys
                    .iter()
                    .filter_map(|it| Some((ApiKey::from_code(it.api_key)?, (it.min_version, it.max_version))))
                    .collect();
                let highest = served.get(&ApiKey::SaslAuthenticate).map_or(1, |(_, highest)| *highest);
                connection.authenticate(highest.clamp(1, SASL_AUTHENTICATE), timeout).await?;
                Ok::<_, ottla_wire::ClientError>((connection, served))
            };
            match connecting.await {
                Ok(connected) => {
                    // All connections go to the same broker.
                    self.addresses = vec![address];
                    return Ok(connected);
                }
                Err(error) => failure = TrafficError::Target(format!("{address}: {error}")),
            }
        }
        Err(failure)
    }
}

impl From<&str> for Target {
    /// As [`Target::at`], by the real clock.
    fn from(bootstrap_servers: &str) -> Target {
        Target::at(Env::real(), bootstrap_servers)
    }
}

impl From<String> for Target {
    fn from(bootstrap_servers: String) -> Target {
        Target::from(bootstrap_servers.as_str())
    }
}

/// The lowest and the highest version that a broker serves of each API.
pub(super) type Served = HashMap<ApiKey, (i16, i16)>;
