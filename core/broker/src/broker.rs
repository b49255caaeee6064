//! A broker's life: take the directories, replay the metadata, open the logs, listen; and all of it back at the end.

use crate::background;
use crate::dispatch::Dispatcher;
use crate::faults::Faults;
use crate::fork::OwnedDir;
use crate::node::{Endpoint, Node, NodeParts};
use ottla_config::{BrokerConfig, Warning};
use ottla_env::{Env, Task};
use ottla_log::{CleanShutdown, LogConfig, LogError, LogManager, LogManagerOptions, MetaProperties};
use ottla_metadata::{BrokerSpec, MetadataError, MetadataStore, StoreOptions, controller};
use ottla_model::Uuid;
use ottla_protocol::register_broker_record::BrokerEndpoint;
use ottla_wire::{InProcListener, Limits, Listener, ListenerOptions, inproc_name};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
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
    warnings: Vec<Warning>,
    again: Again,
}

/// What it takes to start the same broker once more.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) env: Env,
    /// With the ports that were drawn.
    pub(crate) config: BrokerConfig,
    pub(crate) inproc_id: String,
    /// The directory of a fork, which goes with it.
    pub(crate) owned: Option<Arc<OwnedDir>>,
}

/// A broker that runs no more and can be started again, with its data: also one in memory.
#[derive(Debug)]
pub struct StoppedBroker(Again);

impl StoppedBroker {
    /// Starts it under the same addresses, as a new process on the same directories would. Faults are not taken along.
    ///
    /// # Errors
    /// See [`StartError`]; a port may have been taken by someone else meanwhile.
    pub async fn restart(self) -> Result<Broker, StartError> {
        loop {
            match Broker::start_as(self.0.clone(), false).await {
                // The last thread of the broker before is letting go of it.
                Err(StartError::Directory(LogError::Locked { pid: Some(pid), .. })) if pid == std::process::id() => {
                    tokio::task::yield_now().await;
                }
                started => return started,
            }
        }
    }
}

impl Broker {
    /// Starts a broker on the runtime of the caller and returns once it accepts connections. `env` decides whether its
    /// directories are on the disk or in memory.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind but, perhaps, empty directories.
    pub async fn start(env: Env, config: BrokerConfig) -> Result<Broker, StartError> {
        let inproc_id = env.random_uuid().to_string();
        Broker::start_as(Again { env, config, inproc_id, owned: None }, false).await
    }

    /// As [`Broker::start`], under a given in-process address. For a fork, the members of its groups are forgotten.
    pub(crate) async fn start_as(mut again: Again, is_fork: bool) -> Result<Broker, StartError> {
        let (env, inproc_id) = (again.env.clone(), again.inproc_id.clone());
        let sockets = bind(&again.config)?;
        let config = &mut again.config;
        let endpoints = endpoints(config, &sockets, &inproc_id);
        // A restart takes the ports that were drawn.
        for (listener, (_, socket)) in config.listeners.iter_mut().zip(&sockets) {
            listener.port = socket.local_addr().map_or(listener.port, |address| address.port());
        }
        let node = prepare(&env, config.clone(), endpoints, again.owned.clone()).await?;
        let limits = limits(&node);
        node.groups.load(&node).await;
        if is_fork {
            node.groups.members_gone(&node);
        }
        node.transactions.load(&node).await;
        let listener = Listener::new(env, Dispatcher::new(node.clone()), limits);
        let inproc = InProcListener::bind_in(&node.env, &inproc_id)
            .map_err(|error| StartError::Listen { address: inproc_name(&inproc_id), reason: error.to_string() })?;
        listener.inproc(Arc::from(INPROC_LISTENER), inproc);
        for (name, socket) in sockets {
            listener
                .tcp(Arc::from(name.as_str()), socket)
                .map_err(|error| StartError::Listen { address: name, reason: error.to_string() })?;
        }
        node.faults.on_crash(listener.stopper());
        let background = background::start(&node);
        let warnings = node.stored_warnings();
        Ok(Broker { warnings, node, listener, background, inproc: inproc_name(&inproc_id), again })
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

    /// The environment that it runs in.
    pub fn env(&self) -> &Env {
        &self.node.env
    }

    /// What is stored for topics and brokers and has no effect here, as of the start.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
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
        // Nothing of it is left at return: the directories may be opened again.
        self.stop_cleanly().await.map(drop)
    }

    async fn close_node(&self) -> Result<(), LogError> {
        self.node.faults.close();
        self.listener.close().await;
        self.stop();
        let node = self.node.clone();
        node.transactions.close().await;
        node.groups.close().await;
        let metadata = node.clone();
        if let Err(error) = node.env.blocking(move || metadata.metadata.close()).await {
            tracing::error!(%error, "closing the metadata log failed");
        }
        node.logs.close(Some(node.broker_epoch())).await
    }
}

impl Broker {
    /// What is asked to go wrong.
    pub fn faults(&self) -> Faults {
        Faults::new(&self.node)
    }

    /// Ends the broker as a crash of its process would: connections end unanswered, nothing is flushed, written to its end
    /// or marked as clean. Returns once nothing of it runs.
    pub async fn crash(self) -> StoppedBroker {
        self.node.faults.crash(&self.node);
        self.listener.close().await;
        for task in &self.background {
            task.abort();
        }
        self.node.transactions.close().await;
        self.node.groups.close().await;
        self.gone().await
    }

    /// As [`Broker::close`], for a broker that is to be started again.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn stop_cleanly(self) -> Result<StoppedBroker, LogError> {
        self.close_node().await?;
        Ok(self.gone().await)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn started_with(&self) -> &Again {
        &self.again
    }

    async fn gone(self) -> StoppedBroker {
        let again = self.again.clone();
        let node = Arc::downgrade(&self.node);
        drop(self);
        // Work on the blocking pool goes on to its end.
        while node.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        StoppedBroker(again)
    }

    fn stop(&self) {
        self.listener.stop();
        for task in &self.background {
            task.abort();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
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

fn limits(node: &Node) -> Limits {
    let config = node.config();
    let count = |value: i32| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        connections: node.connection_limits.clone(),
        idle: u64::try_from(config.connections_max_idle_ms).map_or(Duration::MAX, Duration::from_millis),
        request_size_max: count(config.socket_request_max_bytes),
        requests_max: count(config.queued_max_requests),
        request_bytes_max: u64::try_from(config.queued_max_request_bytes).ok().filter(|bytes| *bytes > 0),
    }
}

/// Everything that touches the directories, before the first connection.
async fn prepare(
    env: &Env,
    config: BrokerConfig,
    endpoints: Vec<Endpoint>,
    owned: Option<Arc<OwnedDir>>,
) -> Result<Arc<Node>, StartError> {
    // An embedded broker is as durable as its process; a server syncs what must survive a power failure.
    let sync = config.profile() == ottla_config::Profile::Server;
    let threads = usize::try_from(config.num_recovery_threads_per_data_dir).unwrap_or(1);
    let options = LogManagerOptions { threads: threads.max(1) * config.log_dirs.len(), sync, ..Default::default() };
    let logs = LogManager::open(env, &config.log_dirs, options).map_err(StartError::Directory)?;
    let logs = Arc::new(logs);
    let identity = Identity::of(env, &logs, config.node_id).map_err(StartError::Directory)?;
    let options = StoreOptions::new(&config, sync);
    let metadata = MetadataStore::open(env, &config.metadata_log_dir, options).map_err(StartError::Metadata)?;
    let unclean = logs.clean_shutdowns().contains(&CleanShutdown::No);
    let spec = broker_spec(&config, env, &endpoints, &identity, unclean);
    metadata.append(controller::register_broker(&metadata.image(), &spec)).map_err(StartError::Metadata)?;
    let node = Node::new(NodeParts {
        env: env.clone(),
        config,
        cluster_id: identity.cluster_id,
        directory_id: identity.directory_ids.first().copied().unwrap_or(Uuid::ZERO),
        endpoints,
        metadata,
        logs: logs.clone(),
        owned,
    });
    let node = Arc::new(node);
    let configs = node.clone();
    // A topic's config is resolved once, not for each of its partitions: that was a fifth of the start with a thousand.
    let resolved: Mutex<HashMap<Arc<str>, Arc<LogConfig>>> = Mutex::default();
    let report = logs
        .load(move |partition| {
            let resolve = || Arc::new(configs.topic_config(&partition.topic));
            Some(resolved.lock().entry(partition.topic.clone()).or_insert_with(resolve).clone())
        })
        .await
        .map_err(StartError::Directory)?;
    if report.recovered > 0 {
        tracing::info!(logs = report.logs, recovered = report.recovered, elapsed = ?report.elapsed, "recovered after a crash");
    }
    if let Some((partition, error)) = report.failed.into_iter().next() {
        return Err(StartError::Open(format!("the log of {partition} cannot be opened: {error}")));
    }
    let opening = node.clone();
    env.blocking(move || opening.open_all_partitions()).await.map_err(|(_, reason)| StartError::Open(reason))?;
    Ok(node)
}

/// Who the directories say this broker is.
struct Identity {
    cluster_id: String,
    /// One per log directory, in their order.
    directory_ids: Vec<Uuid>,
}

impl Identity {
    /// Reads `meta.properties` of every log directory and writes those that are missing.
    ///
    /// # Errors
    /// Directories that belong to another node, or to different clusters.
    fn of(env: &Env, logs: &LogManager, node_id: i32) -> Result<Identity, LogError> {
        let mut found = Vec::new();
        for dir in logs.dirs() {
            found.push((dir, MetaProperties::read(env, dir)?));
        }
        let mut cluster_id: Option<String> = None;
        for (dir, properties) in &found {
            let Some(properties) = properties else { continue };
            if properties.node_id != node_id {
                let reason = format!("it belongs to node.id {}, but this broker is {node_id}", properties.node_id);
                return Err(LogError::Corrupt { path: dir.join("meta.properties"), reason });
            }
            let expected = cluster_id.get_or_insert_with(|| properties.cluster_id.clone());
            if *expected != properties.cluster_id {
                let reason =
                    format!("its cluster is {}, that of another log directory {expected}", properties.cluster_id);
                return Err(LogError::Corrupt { path: dir.join("meta.properties"), reason });
            }
        }
        let cluster_id = cluster_id.unwrap_or_else(|| env.random_uuid().to_string());
        let mut directory_ids = Vec::new();
        for (dir, properties) in &found {
            if let Some(id) = properties.as_ref().and_then(|properties| properties.directory_id) {
                directory_ids.push(id);
                continue;
            }
            let id = env.random_uuid();
            let properties = MetaProperties { cluster_id: cluster_id.clone(), node_id, directory_id: Some(id) };
            properties.write(env, dir)?;
            directory_ids.push(id);
        }
        Ok(Identity { cluster_id, directory_ids })
    }
}

/// This broker as the cluster is to know it.
fn broker_spec(
    config: &BrokerConfig,
    env: &Env,
    endpoints: &[Endpoint],
    identity: &Identity,
    unclean: bool,
) -> BrokerSpec {
    let feature = |&(name, lowest, highest): &(&str, i16, i16)| (name.to_owned(), lowest, highest);
    let protocol_of =
        |name: &str| config.listeners.iter().find(|it| it.name == name).map_or(0, |it| it.protocol.code());
    let on_network = endpoints.iter().filter(|endpoint| endpoint.port != 0);
    let end_points = on_network.map(|endpoint| BrokerEndpoint {
        name: (&*endpoint.listener).into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: protocol_of(&endpoint.listener),
        ..Default::default()
    });
    BrokerSpec {
        node_id: config.node_id,
        incarnation_id: env.random_uuid(),
        endpoints: end_points.collect(),
        features: ottla_metadata::FEATURES.iter().map(feature).collect(),
        rack: config.broker_rack.clone(),
        log_dirs: identity.directory_ids.clone(),
        unclean,
    }
}
