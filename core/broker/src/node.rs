//! Everything a handler can reach: one broker's state.

use crate::authorizer::{Authorized, Authorizer};
use crate::context::RequestContext;
use crate::coordinators::{Groups, Transactions};
use crate::faults;
use crate::fetch_session::FetchSessions;
use crate::fork::OwnedDir;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::quota::Quotas;
use crate::topics::{ConfigChange, OFFSETS_TOPIC, Refusal, TRANSACTIONS_TOPIC};
use ottla_config::{BrokerConfig, Props, Scope, Warning, alter, effect};
use ottla_env::Env;
use ottla_log::{LogConfig, LogManager};
use ottla_metadata::{BROKER_RESOURCE, MetadataImage, MetadataStore, TOPIC_RESOURCE, controller};
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::ApiKey;
use ottla_traffic::Tap;
use ottla_wire::ConnectionLimits;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bits of the operations on a topic: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// Bits of those on the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(crate) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// Bits of those on a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) const GROUP_OPERATIONS: i32 = bits(&[3, 6, 8, 10, 11]);

const fn bits(operations: &[u8]) -> i32 {
    let mut all = 0;
    let mut at = 0;
    while at < operations.len() {
        all |= 1 << operations[at];
        at += 1;
    }
    all
}

/// Topics that only brokers write to.
const INTERNAL_TOPICS: &[&str] = &[OFFSETS_TOPIC, TRANSACTIONS_TOPIC, "__share_group_state"];

/// Where clients of one listener are told to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, as in `listeners`.
    pub listener: Arc<str>,
    /// The advertised host; `ottla-inproc:<id>` for the in-process listener.
    pub host: String,
    /// The advertised port; 0 in process.
    pub port: u16,
}

/// One broker's state, shared by its connections and background tasks.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) env: Env,
    /// Guards the pointer: dynamic configs replace the whole.
    config: RwLock<Arc<BrokerConfig>>,
    cluster_id: String,
    /// The id of the log directory that new partitions go to.
    directory_id: Uuid,
    endpoints: Vec<Endpoint>,
    pub(crate) metadata: MetadataStore,
    /// Guards changes to the cluster, from looking at the image to replaying the records.
    pub(crate) controller: Mutex<()>,
    pub(crate) logs: Arc<LogManager>,
    pub(crate) partitions: Partitions,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) faults: Arc<faults::Table>,
    /// Who looks at requests and answers.
    pub(crate) tap: Arc<Tap>,
    /// The listeners look here for each new connection.
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    authorizer: Authorizer,
    quotas: Quotas,
    /// The directory of a fork. The last field, so that it is removed when nothing uses it any more.
    _owned: Option<Arc<OwnedDir>>,
}

/// What a node is made of.
#[derive(Debug)]
pub(crate) struct NodeParts {
    pub(crate) env: Env,
    pub(crate) config: BrokerConfig,
    pub(crate) cluster_id: String,
    pub(crate) directory_id: Uuid,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) metadata: MetadataStore,
    pub(crate) logs: Arc<LogManager>,
    /// See [`Node`].
    pub(crate) owned: Option<Arc<OwnedDir>>,
}

impl Node {
    pub(crate) fn new(parts: NodeParts) -> Node {
        let NodeParts { env, config, cluster_id, directory_id, endpoints, metadata, logs, owned } = parts;
        let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0);
        let node = Node {
            fetch_sessions: FetchSessions::new(env.clone(), slots),
            groups: Groups::new(env.clone(), &config),
            transactions: Transactions::new(env.clone(), &config),
            env,
            config: RwLock::new(Arc::new(config)),
            cluster_id,
            directory_id,
            endpoints,
            metadata,
            controller: Mutex::default(),
            logs,
            partitions: Partitions::default(),
            producer_ids: ProducerIds::default(),
            faults: Arc::default(),
            tap: Arc::default(),
            connection_limits: Arc::new(ConnectionLimits { max: AtomicUsize::new(0), per_ip: AtomicUsize::new(0) }),
            authorizer: Authorizer,
            quotas: Quotas,
            _owned: owned,
        };
        node.refresh_broker_config(&node.metadata.image());
        node
    }

    /// The broker's config as it is now.
    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.config.read().clone()
    }

    /// `node.id`.
    pub(crate) fn id(&self) -> i32 {
        self.config.read().node_id
    }

    /// The epoch of this broker's registration.
    pub(crate) fn broker_epoch(&self) -> i64 {
        self.metadata.image().brokers().get(&self.id()).map_or(-1, |broker| broker.broker_epoch)
    }

    /// The cluster's id, a base64 uuid.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// All endpoints, the in-process one first.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Where a client that came in by `listener` finds this broker.
    pub(crate) fn endpoint(&self, listener: &str) -> Option<(&str, i32)> {
        let endpoint = self.endpoints.iter().find(|endpoint| *endpoint.listener == *listener)?;
        Some((&endpoint.host, i32::from(endpoint.port)))
    }

    /// Whether only brokers may write to the topic.
    pub(crate) fn is_internal_topic(&self, topic: &str) -> bool {
        INTERNAL_TOPICS.contains(&topic)
    }

    /// The log directory of a replica; only this broker's are known.
    pub(crate) fn directory_of(&self, broker: i32) -> Uuid {
        if broker == self.id() { self.directory_id } else { Uuid::ZERO }
    }

    /// A topic's config as it is now.
    pub(crate) fn topic_config(&self, topic: &str) -> LogConfig {
        self.log_config(&self.metadata.image().configs(TOPIC_RESOURCE, topic))
    }

    /// Features that this broker serves, with the lowest and highest level. Kafka's clients look here before they use what
    /// depends on one; nothing is listed that is not served.
    pub(crate) fn supported_features(&self) -> Vec<(&'static str, i16, i16)> {
        ottla_metadata::FEATURES.to_vec()
    }

    /// The version of transactions that is finalised: 0 to 2 (KIP-890).
    pub(crate) fn transaction_version(&self) -> i16 {
        self.metadata.image().features().get(ottla_metadata::TRANSACTION_VERSION).copied().unwrap_or(0)
    }

    /// The one way from a decoded request to its handler: quota hook, then authorizer.
    pub(crate) fn admit<R>(&self, api: ApiKey, size: usize, context: RequestContext, request: R) -> Authorized<R> {
        self.quotas.record(api, &context, size);
        self.authorizer.authorize(context, request)
    }

    /// Changes the configs of a resource of DescribeConfigs' type `resource_type`.
    pub(crate) async fn alter_configs(
        self: &Arc<Node>,
        resource_type: i8,
        name: &str,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        match resource_type {
            TOPIC_RESOURCE => self.alter_topic_configs(name, change, validate_only).await,
            BROKER_RESOURCE if name.is_empty() || name.parse() == Ok(self.id()) => {
                self.alter_broker_configs(name, change, validate_only).await
            }
            BROKER_RESOURCE => Err((ErrorCode::InvalidRequest, format!("No broker with id {name} is registered."))),
            other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
        }
    }

    /// Changes dynamic broker configs: of this broker, or (`name` empty) of all.
    async fn alter_broker_configs(
        self: &Arc<Node>,
        name: &str,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (node, name) = (self.clone(), name.to_owned());
        let change = move || {
            let _changing = node.controller.lock();
            let current = node.metadata.image().configs(BROKER_RESOURCE, &name);
            let changes = change
                .of_broker(&current, !name.is_empty())
                .map_err(|error| (ErrorCode::InvalidRequest, error.message().to_owned()))?;
            if validate_only || changes.is_empty() {
                return Ok(());
            }
            let record =
                |(key, value): &alter::Change| controller::set_config(BROKER_RESOURCE, &name, key, value.as_deref());
            let image = node.append_metadata(changes.iter().map(record).collect())?;
            let owner = if name.is_empty() { "all brokers" } else { "this broker" };
            node.warn_of(Scope::Broker, owner, &changes.iter().filter_map(set).collect());
            node.refresh_broker_config(&image);
            for topic in image.topics() {
                node.refresh_topic_config(&image, &topic.name);
            }
            Ok(())
        };
        self.env.blocking(change).await
    }

    /// Stored configs that have no effect.
    pub(crate) fn stored_warnings(&self) -> Vec<Warning> {
        let image = self.metadata.image();
        let topics: Vec<_> =
            image.topics().map(|topic| (topic.name.clone(), image.configs(TOPIC_RESOURCE, &topic.name))).collect();
        let mut warnings = effect::warnings(Scope::Topic, topics.iter().map(|(name, props)| (&**name, &**props)));
        let own = image.configs(BROKER_RESOURCE, &self.id().to_string());
        let all = image.configs(BROKER_RESOURCE, "");
        warnings.extend(effect::warnings(Scope::Broker, [("this broker", &*own), ("all brokers", &*all)]));
        warnings
    }

    /// Says which of the configs that were just set have no effect.
    pub(crate) fn warn_of(&self, scope: Scope, owner: &str, set: &Props) {
        for warning in effect::warnings(scope, [(owner, set)]) {
            tracing::warn!(config = warning.key, "{}", warning.message);
        }
    }

    /// Takes the dynamic broker configs out of the image.
    fn refresh_broker_config(&self, image: &MetadataImage) {
        let defaults = (*image.configs(BROKER_RESOURCE, "")).clone();
        let own = (*image.configs(BROKER_RESOURCE, &self.id().to_string())).clone();
        let mut config = self.config.write();
        *config = Arc::new(config.with_dynamic(defaults, own));
        let count = |value: i32| usize::try_from(value).unwrap_or(0);
        self.connection_limits.max.store(count(config.max_connections), Ordering::Relaxed);
        self.connection_limits.per_ip.store(count(config.max_connections_per_ip), Ordering::Relaxed);
    }
}

/// A change that sets something, as what it sets.
pub(crate) fn set(change: &alter::Change) -> Option<(String, String)> {
    Some((change.0.clone(), change.1.clone()?))
}
