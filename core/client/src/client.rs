//! The client that owns the metadata and the brokers' connections; producer, consumer and admin are views of it.
//!
//! Metadata is fetched when someone needs it: when a topic is first used, and when an answer said that it is stale; and by
//! `upkeep` when it is older than `metadata.max.age.ms`. One fetch serves everyone who waits for it.

mod route;
mod upkeep;

use crate::admin::Admin;
use crate::broker::{Broker, Connection, Purpose};
use crate::consumer::{Consumer, ConsumerOptions};
use crate::coordinator::Coordinators;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Leader, Snapshot, TopicMetadata};
use crate::metrics::{Metrics, Registry};
use crate::options::{ClientOptions, Settings};
use crate::producer::{Producer, ProducerOptions};
use crate::retry::{Backoff, Deadline};
use crate::telemetry::Telemetry;
use ottla_env::{Env, Task};
use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// A client of one cluster; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env,
    options: Settings,
    /// What is known; swapped whole by the task that holds `refreshing`.
    snapshot: RwLock<Arc<Snapshot>>,
    /// Held while metadata is fetched.
    refreshing: tokio::sync::Mutex<()>,
    /// Topics to keep metadata of; true where a missing one may be created (`allow.auto.create.topics`).
    topics: Mutex<BTreeMap<Arc<str>, bool>>,
    /// Connections by node id. Locked before nothing else.
    brokers: Mutex<BTreeMap<i32, Arc<Broker>>>,
    /// Connections to the bootstrap servers, kept for when no broker of the last answer is reachable.
    bootstrap: Vec<Arc<Broker>>,
    /// Which broker coordinates a group or a transactional id.
    coordinators: Coordinators,
    /// What the connections count, for the registries of producer, consumer and admin.
    metrics: Metrics,
    /// The registries of producers, consumers and admin clients.
    registries: Mutex<Vec<Weak<Registry>>>,
    /// Pushes metrics, from the first metadata on.
    telemetry: OnceLock<Telemetry>,
    /// Refreshes metadata by age.
    upkeep: OnceLock<Task>,
    /// When metadata could first not be fetched since it last could, by the monotonic clock.
    failing_since: Mutex<Option<Duration>>,
    closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.upkeep.get() {
            task.abort();
        }
        if let Some(telemetry) = self.telemetry.get() {
            telemetry.abort();
        }
    }
}

/// A client that does not keep itself alive, for its own tasks.
#[derive(Debug, Clone)]
pub(crate) struct WeakClient(Weak<Inner>);

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        self.0.upgrade().map(|inner| Client { inner })
    }
}

impl Client {
    /// A client of the cluster that `options.bootstrap_servers` belong to. Nothing is dialled yet.
    ///
    /// # Errors
    /// `Invalid` when there is no bootstrap server or one is not `host:port`.
    pub fn new(env: Env, options: ClientOptions) -> Result<Client> {
        if options.bootstrap_servers.is_empty() {
            return Err(Error::invalid("bootstrap.servers is empty; give at least one host:port"));
        }
        for server in &options.bootstrap_servers {
            let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !server.starts_with("ottla-inproc:") && !matches!(port, Some(Ok(_))) {
                return Err(Error::invalid(format!("bootstrap.servers has {server:?}, expected host:port")));
            }
        }
        let bootstrap =
            options.bootstrap_servers.iter().map(|address| Arc::new(Broker::new(address.clone()))).collect();
        let metrics = Metrics::new(&env, &options.metrics, "", &options.client_id, None);
        Ok(Client {
            inner: Arc::new(Inner {
                options: Settings::new(&env, options, metrics.clone())?,
                env,
                metrics,
                snapshot: RwLock::default(),
                refreshing: tokio::sync::Mutex::new(()),
                topics: Mutex::default(),
                brokers: Mutex::default(),
                bootstrap,
                coordinators: Coordinators::default(),
                registries: Mutex::default(),
                telemetry: OnceLock::new(),
                upkeep: OnceLock::new(),
                failing_since: Mutex::default(),
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// Reaches the cluster once, at most `timeout`, so that a wrong address shows at once.
    ///
    /// # Errors
    /// What the bootstrap servers answered instead.
    pub async fn ready(&self, timeout: Duration) -> Result<()> {
        let deadline = Deadline::after(self.env(), timeout);
        self.refresh(0, &deadline).await.map(|_| ())
    }

    /// Topics, configs and cluster administration.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// A producer. Its background task ends with [`Producer::close`] or when it is dropped.
    pub fn producer(&self, options: ProducerOptions) -> Result<Producer> {
        Producer::start(self.clone(), options)
    }

    /// A consumer without assignment.
    pub fn consumer(&self, options: ConsumerOptions) -> Consumer {
        Consumer::new(self.clone(), options)
    }

    /// Closes all connections; whatever is outstanding fails. Where the cluster takes metrics (KIP-714), a task sends the
    /// last ones first; [`Client::shutdown`] waits for it.
    pub fn close(&self) {
        if let Some(farewell) = self.closing() {
            self.env().spawn("telemetry farewell", farewell);
        }
    }

    /// As [`Client::close`], and returns when all is sent and closed, at most a second later.
    pub async fn shutdown(&self) {
        if let Some(farewell) = self.closing() {
            farewell.await;
        }
    }

    /// The cluster's name for this client as a source of metrics (KIP-714).
    ///
    /// # Errors
    /// `Invalid` when `enable.metrics.push` is false or the cluster takes no metrics; `Timeout`.
    pub async fn client_instance_id(&self, timeout: Duration) -> Result<Uuid> {
        if !self.options().metrics_push {
            return Err(Error::invalid("there is no client instance id, as enable.metrics.push is false"));
        }
        let deadline = Deadline::after(self.env(), timeout);
        if self.snapshot().version == 0 {
            self.refresh(0, &deadline).await?;
        }
        match self.inner.telemetry.get() {
            Some(telemetry) => telemetry.id(self.env(), &deadline).await,
            None => Err(Error::closed()),
        }
    }

    pub(crate) fn coordinators(&self) -> &Coordinators {
        &self.inner.coordinators
    }

    /// A registry for the groups of `prefix` (`producer`, `consumer`, `admin-client`), which shows the connections' too.
    pub(crate) fn metrics(&self, prefix: &'static str) -> Metrics {
        let (env, options) = (self.env(), self.options());
        let shared = Some(self.inner.metrics.clone());
        let metrics = Metrics::new(env, &options.metrics, prefix, &options.client_id, shared);
        metrics.text(metrics.name("version", "app-info", &[]), env!("CARGO_PKG_VERSION"));
        let mut registries = self.inner.registries.lock();
        registries.retain(|registry| registry.strong_count() > 0);
        registries.push(metrics.downgrade());
        metrics
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    pub(crate) fn options(&self) -> &Settings {
        &self.inner.options
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.options.retry_backoff, self.inner.options.retry_backoff_max)
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.env(), self.inner.options.default_api_timeout)
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.read().clone()
    }

    /// A snapshot later than `version`: fetched now, unless someone else's fetch was.
    pub(crate) async fn refresh(&self, version: u64, deadline: &Deadline) -> Result<Arc<Snapshot>> {
        let _refreshing = self.inner.refreshing.lock().await;
        let mut backoff = self.backoff();
        let mut earlier: Option<Error> = None;
        loop {
            let current = self.snapshot();
            if current.version > version {
                return Ok(current);
            }
            let error = match self.fetch_metadata(&current, deadline).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => error,
            };
            // What an attempt that was cut short by the deadline says is less than what the one before it said.
            let cut_short = deadline.left(self.env()).is_none();
            let error = earlier.take().filter(|_| cut_short).unwrap_or(error);
            let again = self.metadata_failed(&error);
            let worth_it = (again || error.is_retriable()) && !self.inner.closed.load(Ordering::Relaxed);
            if !worth_it || !backoff.pause(self.env(), deadline).await {
                return Err(error);
            }
            earlier = Some(error);
        }
    }

    async fn fetch_metadata(&self, current: &Arc<Snapshot>, deadline: &Deadline) -> Result<Arc<Snapshot>> {
        let topics: Vec<(Arc<str>, bool)> =
            self.inner.topics.lock().iter().map(|(name, create)| (name.clone(), *create)).collect();
        let request = metadata_request(topics.iter().map(|(name, _)| name), false);
        let response: MetadataResponse = self.any(&request, deadline).await?;
        if response.error_code != 0 {
            return Err(Error::from_code(ErrorCode::from_code(response.error_code), "the cluster's metadata", None));
        }
        let mut next = current.merge(&response, self.env().monotonic());
        // Asked for without creation first: the flag is for the whole request, the permission is not.
        let missing = |name: &Arc<str>| {
            next.topics.get(name).is_some_and(|topic| topic.error == ErrorCode::UnknownTopicOrPartition)
        };
        let create: Vec<Arc<str>> =
            topics.iter().filter(|(name, create)| *create && missing(name)).map(|(name, _)| name.clone()).collect();
        if !create.is_empty() {
            let request = metadata_request(create.iter(), true);
            let response: MetadataResponse = self.any(&request, deadline).await?;
            next = next.merge(&response, self.env().monotonic());
        }
        *self.inner.options.cluster_id.write() = response.cluster_id.clone().map(|id| Str::from(&*id));
        self.update_brokers(&next);
        let next = Arc::new(next);
        *self.inner.snapshot.write() = next.clone();
        self.metadata_fetched();
        Ok(next)
    }

    fn update_brokers(&self, snapshot: &Snapshot) {
        let mut brokers = self.inner.brokers.lock();
        brokers.retain(|id, broker| snapshot.brokers.get(id) == Some(&broker.address));
        for (id, address) in &snapshot.brokers {
            // A bootstrap server that calls itself by the dialled address is the same broker: one connection serves.
            let known = || self.inner.bootstrap.iter().find(|broker| broker.address == *address).cloned();
            brokers.entry(*id).or_insert_with(|| known().unwrap_or_else(|| Arc::new(Broker::at(*id, address.clone()))));
        }
    }

    /// Sends `request` to one broker within `request.timeout.ms` and `deadline`.
    pub(crate) async fn on<R: ottla_protocol::Request>(
        &self,
        broker: &Broker,
        request: &R,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        let (connection, left) = self.connected(broker, deadline).await?;
        connection.request(request, left).await
    }

    /// As [`Client::on`], with a request made for the version that the broker takes.
    pub(crate) async fn on_with<R: ottla_protocol::Request>(
        &self,
        broker: &Broker,
        request: impl Fn(i16) -> Result<R>,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        self.on_with_at_most(i16::MAX, broker, request, deadline).await
    }

    /// As [`Client::on_with`], at no higher version than `highest`: for requests whose newer form cannot say the same.
    pub(crate) async fn on_with_at_most<R: ottla_protocol::Request>(
        &self,
        highest: i16,
        broker: &Broker,
        request: impl Fn(i16) -> Result<R>,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        let (connection, left) = self.connected(broker, deadline).await?;
        let version = connection.version::<R>()?.min(highest);
        connection.request_at(&request(version)?, version, left).await
    }

    /// The connection for single questions to `broker`, and how long an answer may take.
    pub(crate) async fn connected(&self, broker: &Broker, deadline: &Deadline) -> Result<(Arc<Connection>, Duration)> {
        if self.inner.closed.load(Ordering::Relaxed) {
            return Err(Error::closed());
        }
        let env = self.env();
        let too_late = || {
            Error::new(
                ErrorKind::Timeout,
                format!("{} did not answer within {} ms", broker.address, deadline.limit.as_millis()),
            )
        };
        let left = deadline.left(env).ok_or_else(too_late)?;
        // The attempt knows its limit, and better what to say when it is over; this timeout is for waiting on another's.
        let connecting = broker.connection(env, self.options(), Purpose::General, left);
        let patience = left + Duration::from_millis(100);
        let connection = env.timeout(patience, connecting).await.map_err(|_| too_late())??;
        let left = deadline.left(env).ok_or_else(too_late)?;
        Ok((connection, left.min(self.inner.options.request_timeout)))
    }

    /// The broker with this id, if the cluster has it.
    pub(crate) fn broker(&self, id: i32) -> Option<Arc<Broker>> {
        self.inner.brokers.lock().get(&id).cloned()
    }

    /// Broker `id` at `address`: the known one where they agree, as it has open connections.
    pub(crate) fn broker_at(&self, id: i32, address: &str) -> Arc<Broker> {
        let mut brokers = self.inner.brokers.lock();
        match brokers.get(&id) {
            Some(known) if known.address == address => known.clone(),
            _ => {
                let broker = Arc::new(Broker::at(id, address.to_owned()));
                brokers.insert(id, broker.clone());
                broker
            }
        }
    }

    /// An open or new connection to broker `id`.
    pub(crate) async fn connection(&self, id: i32, purpose: Purpose) -> Result<Arc<Connection>> {
        if self.inner.closed.load(Ordering::Relaxed) {
            return Err(Error::closed());
        }
        let gone = || Error::new(ErrorKind::Retriable, format!("broker {id} is not in the cluster"));
        let broker = self.broker(id).ok_or_else(gone)?;
        broker.connection(self.env(), self.options(), purpose, self.options().connection_setup_timeout_max).await
    }

    /// The metadata of `topic`, waiting until it exists and can be described; `create` lets the broker create it.
    ///
    /// # Errors
    /// At the deadline: why the topic could not be described, which for an unknown one says so.
    pub(crate) async fn topic(&self, topic: &str, create: bool, deadline: &Deadline) -> Result<Arc<TopicMetadata>> {
        let mut snapshot = self.snapshot();
        self.interest(topic, create);
        let mut backoff = self.backoff();
        loop {
            let age = self.env().monotonic().saturating_sub(snapshot.fetched_at);
            let found = snapshot.topics.get(topic);
            let error = match found.map(|found| found.error) {
                Some(ErrorCode::None) if age < self.inner.options.metadata_max_age => {
                    return Ok(found.expect("matched above").clone());
                }
                Some(ErrorCode::None) | None => None,
                Some(code @ ErrorCode::UnknownTopicOrPartition) => {
                    Some(Error::from_code(code, &format!("topic {topic}"), Some("the topic does not exist")))
                }
                Some(code) => Some(Error::from_code(code, &format!("topic {topic}"), None)),
            };
            let wait = match &error {
                Some(error) => error.is_retriable() && backoff.pause(self.env(), deadline).await,
                None => true,
            };
            let refreshed = if wait { self.refresh(snapshot.version, deadline).await } else { Ok(snapshot.clone()) };
            snapshot = match (refreshed, error) {
                (Ok(refreshed), Some(_)) if wait => refreshed,
                (Ok(refreshed), None) => refreshed,
                // What the cluster said of the topic tells more than that the time ran out asking again.
                (_, Some(error)) | (Err(error), None) => {
                    self.inner.topics.lock().remove(topic);
                    return Err(error);
                }
            };
        }
    }

    /// Keeps metadata of `topic` from the next refresh on.
    pub(crate) fn interest(&self, topic: &str, create: bool) {
        let mut topics = self.inner.topics.lock();
        match topics.get_mut(topic) {
            Some(may_create) => *may_create |= create,
            None => {
                topics.insert(Arc::from(topic), create);
            }
        }
    }

    /// Takes over leaders that a broker named when it refused as it leads no more (KIP-951), with the addresses that
    /// came with them. Until the next refresh it is what [`Client::snapshot`] says; the version stays.
    pub(crate) fn leaders_moved(&self, moves: &[(Arc<str>, i32, Leader)], endpoints: &[(i32, String)]) {
        let next = {
            let mut snapshot = self.inner.snapshot.write();
            *snapshot = Arc::new(snapshot.moved(moves, endpoints));
            snapshot.clone()
        };
        self.update_brokers(&next);
    }

    /// The topic's metadata is no longer fetched, until someone asks for it again.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.inner.topics.lock().remove(topic);
    }
}

fn metadata_request<'a>(topics: impl Iterator<Item = &'a Arc<str>>, create: bool) -> MetadataRequest {
    let topics =
        topics.map(|name| MetadataRequestTopic { name: Some(Str::from(&**name)), ..Default::default() }).collect();
    MetadataRequest { topics: Some(topics), allow_auto_topic_creation: create, ..Default::default() }
}
