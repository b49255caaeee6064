//! One broker as the client sees it: a connection for requests that are answered at once, others for those that wait
//! (produce, fetch), each dialled when first needed, its versions negotiated, and redialled with backoff after it ended.

use crate::error::{Error, ErrorKind, Result};
use crate::options::Settings;
use crate::retry::{Backoff, Deadline};
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, Message, Reader, Request, ResponseHeader};
use ottla_wire::{ClientConnection, ClientError, ConnectOptions, Pending};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests on one connection at once; the producer keeps to its own, smaller limit.
const IN_FLIGHT_MAX: usize = 64;
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);
/// The ApiVersions version to start with: what every broker since 2.4 answers or declines in a readable way.
const API_VERSIONS_FIRST: i16 = 4;
/// From this version on ApiVersions says which node of which cluster is meant (KIP-1242).
const API_VERSIONS_CHECKED: i16 = 5;
/// The highest version of SaslAuthenticate.
const SASL_AUTHENTICATE: i16 = 2;

/// Which of a broker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whatever is answered at once.
    General,
    /// Produce requests: with acks=all they wait for replicas.
    Produce,
    /// Fetches: a long poll would delay everything behind it, as a broker answers a connection in order.
    Fetch,
}

/// A broker's address and its connections.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: String,
    /// `None` for a bootstrap server.
    node: Option<i32>,
    /// The number under which metrics show it.
    shown: Option<i32>,
    general: Slot,
    produce: Slot,
    fetch: Slot,
}

#[derive(Debug, Default)]
struct Slot {
    /// The connection in use; read on each request, written by the task that holds `dialling`.
    current: RwLock<Option<Arc<Connection>>>,
    /// Held while dialling, so that one task dials and the others wait for it. Guards when to dial again.
    dialling: tokio::sync::Mutex<Redial>,
}

#[derive(Debug, Default)]
struct Redial {
    backoff: Option<Backoff>,
    /// Attempts in a row that ended with nothing.
    failures: u32,
    not_before: Duration,
    /// What the last of them said, for those who have no time for another.
    last: Option<Error>,
}

impl Broker {
    /// A bootstrap server: which node it is, is not known.
    pub(crate) fn new(address: String) -> Broker {
        let (general, produce, fetch) = (Slot::default(), Slot::default(), Slot::default());
        Broker { address, node: None, shown: None, general, produce, fetch }
    }

    /// Node `node` of the cluster.
    pub(crate) fn at(node: i32, address: String) -> Broker {
        Broker { node: Some(node), shown: Some(node), ..Broker::new(address) }
    }

    /// Node `node` as the coordinator of a group, with connections beside those to the same node as a leader. In metrics
    /// it has a number of its own, as in Kafka's clients.
    pub(crate) fn coordinator(node: i32, address: String) -> Broker {
        Broker { shown: Some(i32::MAX - node), ..Broker::at(node, address) }
    }

    /// Which node it is; `None` for a bootstrap server.
    pub(crate) fn node(&self) -> Option<i32> {
        self.node
    }

    fn slot(&self, purpose: Purpose) -> &Slot {
        match purpose {
            Purpose::General => &self.general,
            Purpose::Produce => &self.produce,
            Purpose::Fetch => &self.fetch,
        }
    }

    /// The open connection, if there is one.
    pub(crate) fn ready(&self, purpose: Purpose) -> Option<Arc<Connection>> {
        self.slot(purpose).current.read().clone().filter(|connection| !connection.wire.is_closed())
    }

    /// The open connection, dialled first if need be, within `limit`, the backoff after a failure included, and within
    /// `socket.connection.setup.timeout.ms`.
    pub(crate) async fn connection(
        &self,
        env: &Env,
        options: &Settings,
        purpose: Purpose,
        limit: Duration,
    ) -> Result<Arc<Connection>> {
        if let Some(connection) = self.ready(purpose) {
            return Ok(connection);
        }
        let slot = self.slot(purpose);
        let mut redial = slot.dialling.lock().await;
        if let Some(connection) = self.ready(purpose) {
            return Ok(connection);
        }
        let wait = redial.not_before.saturating_sub(env.monotonic());
        env.sleep(wait.min(limit)).await;
        let limit = match (limit.checked_sub(wait).filter(|left| !left.is_zero()), &redial.last) {
            (None, Some(error)) => return Err(error.clone()),
            (left, _) => left.unwrap_or_default().min(setup_timeout(env, options, redial.failures)),
        };
        match self.open(env, options, limit).await {
            Ok(connection) => {
                redial.backoff = None;
                redial.failures = 0;
                redial.not_before = Duration::ZERO;
                redial.last = None;
                let connection = Arc::new(connection);
                *slot.current.write() = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let backoff = redial
                    .backoff
                    .get_or_insert_with(|| Backoff::new(options.reconnect_backoff, options.reconnect_backoff_max));
                let wait = backoff.next(env);
                redial.failures = redial.failures.saturating_add(1);
                redial.not_before = env.monotonic() + wait;
                redial.last = Some(error.clone());
                *slot.current.write() = None;
                Err(error)
            }
        }
    }

    async fn open(&self, env: &Env, options: &Settings, limit: Duration) -> Result<Connection> {
        let deadline = Deadline::after(env, limit);
        let dial = ConnectOptions {
            client_id: Str::from(options.client_id.as_str()),
            connect_timeout: limit,
            in_flight_max: IN_FLIGHT_MAX,
            security: options.security.clone(),
            send_buffer: options.send_buffer,
            receive_buffer: options.receive_buffer,
            idle_max: Some(options.connections_max_idle),
            traffic: Some(options.network.connection(self.shown)),
        };
        let wire = match ClientConnection::connect(env, &self.address, &dial).await {
            Ok(wire) => wire,
            Err(error) => return Err(self.unreachable(env, options, error)),
        };
        let meant = self.node.filter(|_| options.cluster_check).zip(options.cluster_id.read().clone());
        let left = || deadline.left(env).unwrap_or_default();
        let (versions, finalized) = negotiate(&wire, meant, left()).await.map_err(|error| {
            if error.code() != Some(ErrorCode::RebootstrapRequired) {
                return error;
            }
            // The next refresh goes back to the bootstrap servers; after it the call may succeed.
            options.stale.store(true, Ordering::Relaxed);
            if options.rebootstrap { error.retriable() } else { error }
        })?;
        if options.security.has_sasl() {
            let highest = versions.get(&ApiKey::SaslAuthenticate.code()).map_or(1, |(_, highest)| *highest);
            let spoken = wire.authenticate(highest.min(SASL_AUTHENTICATE), left()).await;
            spoken.map_err(|error| not_kafka(&wire, error))?;
        }
        Ok(Connection { id: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed), wire, versions, finalized })
    }

    fn unreachable(&self, env: &Env, options: &Settings, error: ClientError) -> Error {
        if matches!(error, ClientError::Security(_)) {
            options.network.refused();
        }
        // A bootstrap name that does not exist is a mistake, unless the user allows for a late name service.
        let mistake = matches!(error, ClientError::Resolve { .. })
            && self.node.is_none()
            && !options.bootstrapped.load(Ordering::Relaxed)
            && env.monotonic().saturating_sub(options.created) >= options.bootstrap_resolve_timeout;
        match mistake {
            true => Error::invalid(format!("bootstrap.servers: {error}")),
            false => Error::from(error),
        }
    }

    /// Closes its connections at once.
    pub(crate) fn close(&self) {
        for slot in [&self.general, &self.produce, &self.fetch] {
            if let Some(connection) = slot.current.write().take() {
                connection.wire.close();
            }
        }
    }
}

/// How long the next attempt may take: it doubles with each that failed, a fifth more or less by chance (KIP-601).
fn setup_timeout(env: &Env, options: &Settings, failures: u32) -> Duration {
    let (initial, max) = (options.connection_setup_timeout, options.connection_setup_timeout_max);
    if failures == 0 || initial >= max {
        return initial;
    }
    let percent = 80 + env.random_u64() % 41;
    initial.saturating_mul(1 << failures.min(16)).min(max).mul_f64(percent as f64 / 100.0)
}

/// An open connection and what the broker behind it understands.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Unique in this process.
    pub(crate) id: u64,
    wire: ClientConnection,
    /// Lowest and highest version by API key.
    versions: BTreeMap<i16, (i16, i16)>,
    /// Levels of the features that the cluster has finalized (KIP-584).
    finalized: BTreeMap<String, i16>,
}

impl Connection {
    /// `host:port` of the broker.
    pub(crate) fn address(&self) -> &str {
        self.wire.address()
    }

    /// The level of a feature that was finalized when the connection was made (KIP-584).
    pub(crate) fn finalized(&self, feature: &str) -> Option<i16> {
        self.finalized.get(feature).copied()
    }

    /// The highest version of `R` that both sides know.
    pub(crate) fn version<R: Request>(&self) -> Result<i16> {
        let (own_lowest, own_highest) = own_versions(R::API_KEY);
        let name = R::API_KEY.name();
        let Some(&(lowest, highest)) = self.versions.get(&R::API_KEY.code()) else {
            return Err(Error::unsupported(format!("the broker at {} does not serve {name}", self.wire.address())));
        };
        let version = own_highest.min(highest);
        if version < own_lowest.max(lowest) {
            return Err(Error::unsupported(format!(
                "the broker at {} serves {name} {lowest} to {highest}, this client knows {own_lowest} to {own_highest}",
                self.wire.address()
            )));
        }
        Ok(version)
    }

    /// Sends `request` at the highest common version and waits for the answer.
    pub(crate) async fn request<R: Request>(&self, request: &R, timeout: Duration) -> Result<R::Response> {
        self.request_at(request, self.version::<R>()?, timeout).await
    }

    /// Sends `request` at `version` and waits for the answer. A broker that does not answer in time loses the
    /// connection, as it would hold up all later requests too.
    pub(crate) async fn request_at<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response> {
        let answer = self.wire.request(request, version, timeout).await;
        answer.map_err(|error| self.failed(error))
    }

    /// Queues `request`, in order with other calls of this.
    pub(crate) async fn start<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R>> {
        self.wire.start(request, version).await.map_err(|error| self.failed(error))
    }

    /// Queues `request` that has no answer.
    pub(crate) async fn send<R: Request>(&self, request: &R, version: i16) -> Result<()> {
        self.wire.send(request, version).await.map_err(|error| self.failed(error))
    }

    /// Turns the wire's error into the client's, closing the connection after a timeout.
    pub(crate) fn failed(&self, error: ClientError) -> Error {
        if matches!(error, ClientError::Timeout { .. }) {
            self.wire.close();
        }
        // These name the address themselves.
        if matches!(error, ClientError::Authentication { .. }) {
            return Error::from(error);
        }
        // A listener with SASL answers ApiVersions and hangs up at the first request proper.
        let hint = matches!(&error, ClientError::Disconnected(reason) if !reason.contains("this client"))
            && self.wire.answers() == 1;
        let error = Error::from(error).context(self.wire.address());
        if hint { error.hint("does this listener want SASL? see security.protocol") } else { error }
    }
}

/// The versions whose fields this client fills in.
fn own_versions(api: ApiKey) -> (i16, i16) {
    api.versions()
}

/// Asks for the broker's versions, from the newest form of the question down to the oldest.
async fn negotiate(
    wire: &ClientConnection,
    meant: Option<(i32, Str)>,
    timeout: Duration,
) -> Result<(BTreeMap<i16, (i16, i16)>, BTreeMap<String, i16>)> {
    let mut version = if meant.is_some() { API_VERSIONS_CHECKED } else { API_VERSIONS_FIRST };
    loop {
        let mut request = ApiVersionsRequest {
            client_software_name: Str::from_static("ottla"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        // Below that version the fields cannot be said.
        if let Some((node, cluster)) = meant.as_ref().filter(|_| version >= API_VERSIONS_CHECKED) {
            request.node_id = *node;
            request.cluster_id = Some(cluster.clone());
        }
        let pending = wire.start(&request, version).await.map_err(|error| not_kafka(wire, error))?;
        let frame = pending.frame(timeout).await.map_err(|error| not_kafka(wire, error))?;
        let response = decode_versions(frame, version).map_err(|error| {
            Error::new(ErrorKind::Data, format!("{}: cannot read the answer: {error}", wire.address()))
        })?;
        let versions: BTreeMap<i16, (i16, i16)> =
            response.api_keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version))).collect();
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                let finalized = response.finalized_features.iter();
                let finalized = finalized.map(|feature| (feature.name.to_string(), feature.max_version_level));
                return Ok((versions, finalized.collect()));
            }
            ErrorCode::UnsupportedVersion if version > 0 => {
                // KIP-511: the refusal carries the range that would have been understood; before 2.4 it does not.
                let range = versions.get(&ApiKey::ApiVersions.code());
                version = range.map_or(0, |&(_, highest)| highest.clamp(0, version - 1));
            }
            code => {
                wire.close();
                return Err(Error::from_code(code, wire.address(), None));
            }
        }
    }
}

/// Reads an answer to ApiVersions. A refusal comes in the body of version 0 whatever was asked (KIP-511).
fn decode_versions(
    frame: Bytes,
    version: i16,
) -> std::result::Result<ApiVersionsResponse, ottla_protocol::DecodeError> {
    let code = frame.get(4..6).map_or(0, |code| i16::from_be_bytes([code[0], code[1]]));
    let refused = code == ErrorCode::UnsupportedVersion.code();
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, ApiKey::ApiVersions.response_header_version(version))?;
    ApiVersionsResponse::decode(&mut reader, if refused { 0 } else { version })
}

/// The first exchange failed: most often the port belongs to something else, which is worth saying.
fn not_kafka(wire: &ClientConnection, error: ClientError) -> Error {
    wire.close();
    let address = wire.address();
    let message = match &error {
        // It names the address, and is not about what the port is.
        ClientError::Authentication { .. } => return Error::from(error),
        ClientError::Timeout { after, .. } => format!(
            "{address} accepted the connection but did not answer within {} ms; is a Kafka listener on this port?",
            after.as_millis()
        ),
        ClientError::Disconnected(reason) if reason.contains("not Kafka") => format!("{address}: {reason}"),
        ClientError::Disconnected(reason) => format!(
            "{address} accepted the connection and then ended it ({reason}); \
             is this a TLS listener, or not a Kafka port at all?"
        ),
        other => format!("{address}: {other}"),
    };
    Error::new(Error::from(error).kind(), message)
}
