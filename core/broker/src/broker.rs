//! A broker's life: take the directories, replay the metadata, open the logs, listen; and all of it back at the end.

use crate::background;
use crate::dispatch::Dispatcher;
use crate::node::{Endpoint, Node, NodeParts};
use ottla_config::BrokerConfig;
use ottla_env::{Env, Task};
use ottla_log::{LogError, LogManager, LogManagerOptions};
use ottla_metadata::{MetadataError, MetadataOptions, MetadataStore};
use ottla_model::Uuid;
use ottla_protocol::register_broker_record::{BrokerEndpoint, BrokerFeature, RegisterBrokerRecord};
use ottla_wire::{InProcListener, Limits, Listener, ListenerOptions, inproc_name};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The name of the listener that in-process clients come in by.
const INPROC_LISTENER: &str = "INPROC";

/// Why a broker did not start. Each says what was expected and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A log directory cannot be used: another broker has it, it belongs to another cluster, or the disk refuses.
    Directory(LogError),
    /// The metadata log cannot be read or written.
    Metadata(MetadataError),
    /// An address in `listeners` cannot be bound.
    Listen {
        /// As configured.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// A topic's log cannot be opened.
    Open(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Directory(error) => write!(f, "log directory: {error}"),
            StartError::Metadata(error) => write!(f, "metadata log: {error}"),
            StartError::Listen { address, reason } => write!(f, "cannot listen on {address}: {reason}"),
            StartError::Open(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StartError {}

/// A running broker. Dropping it without [`Broker::close`] ends its tasks as a crash would: the next start recovers.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    listener: Listener<Dispatcher>,
    background: Vec<Task>,
    inproc: String,
}

impl Broker {
    /// Starts a broker on the runtime of the caller and returns once it accepts connections. `env` decides whether its
    /// directories are on the disk or in memory.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind but, perhaps, empty directories.
    pub async fn start(env: Env, config: BrokerConfig) -> Result<Broker, StartError> {
        let sockets = bind(&config)?;
        let inproc_id = env.random_uuid().to_string();
        let endpoints = endpoints(&config, &sockets, &inproc_id);
        let limits = limits(&config);
        let (prepare_env, prepare_endpoints) = (env.clone(), endpoints.clone());
        let node = env.blocking(move || prepare(prepare_env, config, prepare_endpoints)).await?;
        let node = Arc::new(node);
        node.groups.load(&node).await;
        let listener = Listener::new(env, Dispatcher::new(node.clone()), limits);
        let inproc = InProcListener::bind(&inproc_id)
            .map_err(|error| StartError::Listen { address: inproc_name(&inproc_id), reason: error.to_string() })?;
        listener.inproc(Arc::from(INPROC_LISTENER), inproc);
        for (name, socket) in sockets {
            listener
                .tcp(Arc::from(name.as_str()), socket)
                .map_err(|error| StartError::Listen { address: name, reason: error.to_string() })?;
        }
        let background = background::start(&node);
        Ok(Broker { node, listener, background, inproc: inproc_name(&inproc_id) })
    }

    /// Where clients are told to connect, a row per TCP listener.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.node.endpoints().iter().filter(|endpoint| &*endpoint.listener != INPROC_LISTENER).cloned().collect()
    }

    /// The address that clients in this process dial: `ottla-inproc:<id>`.
    pub fn inproc_address(&self) -> &str {
        &self.inproc
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        self.node.cluster_id()
    }

    /// Open connections over all listeners.
    pub fn connections(&self) -> usize {
        self.listener.stats().connections.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Closes every connection, flushes the logs and marks the shutdown as clean. Does not wait for clients: a request that
    /// waits for data or for other members is dropped unanswered.
    ///
    /// # Errors
    /// The disk refused; the next start then recovers as after a crash.
    pub async fn close(self) -> Result<(), LogError> {
        self.listener.close().await;
        for task in &self.background {
            task.abort();
        }
        let node = self.node.clone();
        node.groups.close().await;
        let env = node.env.clone();
        env.blocking(move || {
            let partitions = node.partitions.all();
            node.metadata.close()?;
            node.logs.close(partitions.iter().map(|partition| partition.log()))
        })
        .await
    }
}

/// Binds every TCP listener before anything is opened, so that a port in use is found first and costs nothing.
fn bind(config: &BrokerConfig) -> Result<Vec<(String, std::net::TcpListener)>, StartError> {
    let size = |bytes: i32| usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let options = ListenerOptions {
        send_buffer_bytes: size(config.socket_send_buffer_bytes),
        receive_buffer_bytes: size(config.socket_receive_buffer_bytes),
        backlog: config.socket_listen_backlog_size,
    };
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let shown = format!("{host}:{}", listener.port);
        let refused = |reason: String| StartError::Listen { address: shown.clone(), reason };
        let addresses: Vec<SocketAddr> = (host, listener.port)
            .to_socket_addrs()
            .map_err(|error| refused(format!("the host name does not resolve: {error}")))?
            .collect();
        let address = addresses.first().ok_or_else(|| refused("the host name has no address".to_owned()))?;
        let socket = Listener::<Dispatcher>::bind(*address, &options).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                refused("the port is in use by another process; stop it or choose another port in listeners".to_owned())
            }
            _ => refused(error.to_string()),
        })?;
        sockets.push((listener.name.clone(), socket));
    }
    Ok(sockets)
}

fn endpoints(config: &BrokerConfig, sockets: &[(String, std::net::TcpListener)], inproc_id: &str) -> Vec<Endpoint> {
    let mut endpoints = vec![Endpoint { listener: Arc::from(INPROC_LISTENER), host: inproc_name(inproc_id), port: 0 }];
    for (name, socket) in sockets {
        let bound = socket.local_addr().map_or(0, |address| address.port());
        let advertised = config.advertised_listeners.iter().find(|listener| listener.name == *name);
        let host = advertised.map(|listener| listener.host.clone()).filter(|host| !host.is_empty());
        let port = advertised.map(|listener| listener.port).filter(|port| *port != 0);
        endpoints.push(Endpoint {
            listener: Arc::from(name.as_str()),
            host: host.unwrap_or_else(host_name),
            port: port.unwrap_or(bound),
        });
    }
    endpoints
}

/// What an empty host in `listeners` is advertised as.
fn host_name() -> String {
    rustix::system::uname().nodename().to_str().map_or_else(|_| "localhost".to_owned(), str::to_owned)
}

fn limits(config: &BrokerConfig) -> Limits {
    let count = |value: i32| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        connections_max: count(config.max_connections),
        connections_per_ip_max: count(config.max_connections_per_ip),
        idle: u64::try_from(config.connections_max_idle_ms).map_or(Duration::MAX, Duration::from_millis),
        request_size_max: count(config.socket_request_max_bytes),
        requests_max: count(config.queued_max_requests),
        request_bytes_max: u64::try_from(config.queued_max_request_bytes).ok().filter(|bytes| *bytes > 0),
    }
}

/// Everything that touches the directories, before the first connection.
fn prepare(env: Env, config: BrokerConfig, endpoints: Vec<Endpoint>) -> Result<Node, StartError> {
    let log_dirs: Vec<PathBuf> = config.log_dirs.clone();
    let options = LogManagerOptions {
        recovery_threads: usize::try_from(config.num_recovery_threads_per_data_dir).unwrap_or(1).max(1),
        node_id: config.node_id,
        ..Default::default()
    };
    let logs = LogManager::open(&env, &log_dirs, options).map_err(StartError::Directory)?;
    let options = MetadataOptions {
        node_id: config.node_id,
        segment_bytes: config.metadata_log_segment_bytes,
        snapshot_bytes: config.metadata_log_max_record_bytes_between_snapshots,
        snapshot_interval_ms: config.metadata_log_max_snapshot_interval_ms,
    };
    let metadata = MetadataStore::open(&env, &config.metadata_log_dir, options).map_err(StartError::Metadata)?;
    let directory_id = logs.directory_id();
    metadata
        .append(vec![registration(&config, &env, &metadata, &endpoints, directory_id).into()])
        .map_err(StartError::Metadata)?;
    let cluster_id = logs.cluster_id().to_owned();
    let node = Node::new(NodeParts { env, config, cluster_id, directory_id, endpoints, metadata, logs });
    node.open_all_partitions().map_err(StartError::Open)?;
    Ok(node)
}

/// This broker as the cluster knows it. Its epoch is the offset at which the record will be.
fn registration(
    config: &BrokerConfig,
    env: &Env,
    metadata: &MetadataStore,
    endpoints: &[Endpoint],
    directory_id: Uuid,
) -> RegisterBrokerRecord {
    let range = ottla_metadata::METADATA_VERSION_RANGE;
    let protocol_of = |name: &str| config.listeners.iter().find(|it| it.name == name).map_or(0, |it| it.protocol.code());
    let on_network = endpoints.iter().filter(|endpoint| endpoint.port != 0);
    let end_points = on_network.map(|endpoint| BrokerEndpoint {
        name: (&*endpoint.listener).into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: protocol_of(&endpoint.listener),
        ..Default::default()
    });
    RegisterBrokerRecord {
        broker_id: config.node_id,
        incarnation_id: env.random_uuid(),
        broker_epoch: metadata.image().offset() + 1,
        end_points: end_points.collect(),
        features: vec![BrokerFeature {
            name: ottla_metadata::METADATA_VERSION.into(),
            min_supported_version: *range.start(),
            max_supported_version: *range.end(),
            ..Default::default()
        }],
        rack: config.broker_rack.as_deref().map(Into::into),
        fenced: false,
        log_dirs: vec![directory_id],
        ..Default::default()
    }
}
