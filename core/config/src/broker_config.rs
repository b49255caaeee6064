//! A broker's config as a whole: what was set, what it comes to, and whether it fits together.
//!
//! Values count in Kafka's order: dynamic for this broker, dynamic for all brokers, the file, the profile's default,
//! Kafka's default. Deliberately not here: topic configs ([`crate::TopicConfig`] reads its defaults from here).

use std::path::PathBuf;
use std::sync::Arc;

use crate::listener::{self, Listener, SecurityProtocol};
use crate::{ConfigDef, ConfigError, DefaultValue, Profile, Props, Scope, Status, TopicConfig, Type, Value, Warning};

/// The protocols this build can serve; a listener with another one is refused rather than opened unprotected.
const SERVED_PROTOCOLS: &[SecurityProtocol] = &[SecurityProtocol::Plaintext];

/// The broker's config, typed where the engine reads it and by name for everything else.
///
/// Field names are Kafka's with `_` for `.`; units are in the names. Cheap enough to rebuild on every dynamic change.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    profile: Profile,
    statics: Arc<Props>,
    dynamic_defaults: Arc<Props>,
    dynamic: Arc<Props>,

    pub node_id: i32,
    pub broker_rack: Option<String>,
    /// At least one.
    pub log_dirs: Vec<PathBuf>,
    /// Where `__cluster_metadata-0` is; the first of `log_dirs` unless set.
    pub metadata_log_dir: PathBuf,
    /// Without the controller's. May be empty in the embedded profile only.
    pub listeners: Vec<Listener>,
    /// What clients are told. An empty host is the machine's name, port 0 the port that was bound.
    pub advertised_listeners: Vec<Listener>,
    pub inter_broker_listener_name: String,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub log_retention_check_interval_ms: i64,
    pub log_flush_scheduler_interval_ms: i64,
    pub num_recovery_threads_per_data_dir: i32,
    pub producer_id_expiration_ms: i64,
    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: i64,
    pub offset_metadata_max_bytes: i32,
    pub transaction_state_log_num_partitions: i32,
    pub transaction_state_log_replication_factor: i16,
    pub transaction_state_log_segment_bytes: i32,
    pub transaction_max_timeout_ms: i32,
    pub transactional_id_expiration_ms: i64,
    pub transaction_abort_timed_out_transaction_cleanup_interval_ms: i32,
    pub transaction_remove_expired_transaction_cleanup_interval_ms: i32,
    pub transaction_partition_verification_enable: bool,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_max_size: i32,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    /// Negative is no limit.
    pub connections_max_idle_ms: i64,
    pub socket_request_max_bytes: i32,
    /// -1 leaves the system's.
    pub socket_send_buffer_bytes: i32,
    /// -1 leaves the system's.
    pub socket_receive_buffer_bytes: i32,
    pub socket_listen_backlog_size: i32,
    pub queued_max_requests: i32,
    /// -1 is no limit.
    pub queued_max_request_bytes: i64,
    pub fetch_max_bytes: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub max_request_partition_size_limit: i32,
    pub metadata_log_max_record_bytes_between_snapshots: i64,
    /// 0 is never.
    pub metadata_log_max_snapshot_interval_ms: i64,
    pub metadata_log_segment_bytes: i32,
}

impl BrokerConfig {
    /// The profile's defaults.
    pub fn new(profile: Profile) -> BrokerConfig {
        Self::build(profile, Arc::default(), Arc::default(), Arc::default())
            .expect("the defaults of a profile fit together, as a test checks")
    }

    /// Reads and checks what was set. Of a key that comes twice the last one counts, so that overrides go to the end.
    ///
    /// Unknown and ineffective keys are warnings; a bad value, or values that do not fit together, an error.
    pub fn parse<K: Into<String>, V: Into<String>>(
        profile: Profile,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(BrokerConfig, Vec<Warning>), ConfigError> {
        let mut statics: Props = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        // One id under two names, as in Kafka: whichever is set stands for both.
        for (from, to) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
            if let (Some(id), false) = (statics.get(from).cloned(), statics.contains_key(to)) {
                statics.insert(to.to_owned(), id);
            }
        }
        let mut warnings = Vec::new();
        for (key, value) in &statics {
            check_key(profile, key, value, &mut warnings)?;
        }
        let config = Self::build(profile, Arc::new(statics), Arc::default(), Arc::default())?;
        check_cleaner(&config)?;
        let all = config.text("listeners").unwrap_or_default();
        for item in all.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let name = item.split("://").next().unwrap_or_default().to_uppercase();
            if config.controller_listener_names().contains(&name) {
                let why = format!(
                    "Listener {item} belongs to the controller; Ottla's controller runs inside the broker, so it is not opened"
                );
                warnings.push(Warning::new("listeners", why));
            }
        }
        Ok((config, warnings))
    }

    /// The same config with other dynamic values: `defaults` for all brokers, `own` for this one. A value that cannot
    /// be used (written by another version, say) is passed over, so that it cannot stop a broker.
    pub fn with_dynamic(&self, defaults: Props, own: Props) -> BrokerConfig {
        let usable = |props: Props| -> Arc<Props> {
            let fits = |(k, v): &(String, String)| Scope::Broker.find(k).is_some_and(|row| row.parse(v).is_ok());
            Arc::new(props.into_iter().filter(fits).collect())
        };
        Self::build(self.profile, self.statics.clone(), usable(defaults), usable(own)).unwrap_or_else(|_| self.clone())
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What the file and the command line set, known or not.
    pub fn statics(&self) -> &Props {
        &self.statics
    }

    /// Dynamic values for all brokers.
    pub fn dynamic_defaults(&self) -> &Props {
        &self.dynamic_defaults
    }

    /// Dynamic values for this broker alone.
    pub fn dynamic(&self) -> &Props {
        &self.dynamic
    }

    /// The value of any known config, read by its type; None when it is unset and has no default, or is unknown.
    pub fn get(&self, name: &str) -> Option<Value> {
        let row = Scope::Broker.find(name)?;
        row.parse(self.text(name)?).ok().or_else(|| row.parse(default_text(self.profile, row)?).ok())
    }

    /// What a topic without overrides gets.
    pub fn topic_defaults(&self) -> TopicConfig {
        TopicConfig::resolve(self, &Props::new())
    }

    /// Upper-case names of the controller's listeners.
    pub fn controller_listener_names(&self) -> Vec<String> {
        self.list("controller.listener.names").iter().map(|name| name.to_uppercase()).collect()
    }

    /// The text of a value that somebody set, not a default.
    pub(crate) fn set_text(&self, name: &str) -> Option<&str> {
        [&self.dynamic, &self.dynamic_defaults, &self.statics]
            .into_iter()
            .find_map(|props| props.get(name))
            .map(String::as_str)
    }

    /// The text that counts for `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.set_text(name).or_else(|| default_text(self.profile, Scope::Broker.find(name)?))
    }

    fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Int(n)) => n,
            _ => unreachable!("{name} is a number with a default, as a test checks"),
        }
    }

    fn i32(&self, name: &str) -> i32 {
        i32::try_from(self.int(name)).expect("the row's type is int or short")
    }

    fn i16(&self, name: &str) -> i16 {
        self.int(name).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }

    fn bool(&self, name: &str) -> bool {
        self.get(name) == Some(Value::Bool(true))
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    fn string(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::Str(s)) => Some(s),
            _ => None,
        }
    }

    fn build(
        profile: Profile,
        statics: Arc<Props>,
        dynamic_defaults: Arc<Props>,
        dynamic: Arc<Props>,
    ) -> Result<BrokerConfig, ConfigError> {
        let mut c = Self::empty(profile, statics, dynamic_defaults, dynamic);
        c.node_id = node_id(&c)?;
        check_roles(&c)?;
        c.read_numbers();
        let dirs = Some(c.list("log.dirs")).filter(|dirs| !dirs.is_empty()).unwrap_or_else(|| c.list("log.dir"));
        c.log_dirs = dirs.into_iter().map(PathBuf::from).collect();
        c.metadata_log_dir = match c.string("metadata.log.dir") {
            Some(dir) => PathBuf::from(dir),
            None => c.log_dirs.first().cloned().unwrap_or_default(),
        };
        c.broker_rack = c.string("broker.rack");
        c.read_listeners()?;
        check_times(&c)?;
        Ok(c)
    }

    fn read_numbers(&mut self) {
        self.num_partitions = self.i32("num.partitions");
        self.default_replication_factor = self.i16("default.replication.factor");
        self.auto_create_topics_enable = self.bool("auto.create.topics.enable");
        self.delete_topic_enable = self.bool("delete.topic.enable");
        self.log_retention_check_interval_ms = self.int("log.retention.check.interval.ms");
        self.log_flush_scheduler_interval_ms = self.int("log.flush.scheduler.interval.ms");
        self.num_recovery_threads_per_data_dir = self.i32("num.recovery.threads.per.data.dir");
        self.producer_id_expiration_ms = self.int("producer.id.expiration.ms");
        self.offsets_topic_num_partitions = self.i32("offsets.topic.num.partitions");
        self.offsets_topic_replication_factor = self.i16("offsets.topic.replication.factor");
        self.offsets_topic_segment_bytes = self.i32("offsets.topic.segment.bytes");
        self.offsets_retention_ms = self.int("offsets.retention.minutes") * 60_000;
        self.offsets_retention_check_interval_ms = self.int("offsets.retention.check.interval.ms");
        self.offset_metadata_max_bytes = self.i32("offset.metadata.max.bytes");
        self.transaction_state_log_num_partitions = self.i32("transaction.state.log.num.partitions");
        self.transaction_state_log_replication_factor = self.i16("transaction.state.log.replication.factor");
        self.transaction_state_log_segment_bytes = self.i32("transaction.state.log.segment.bytes");
        self.transaction_max_timeout_ms = self.i32("transaction.max.timeout.ms");
        self.transactional_id_expiration_ms = self.int("transactional.id.expiration.ms");
        self.transaction_abort_timed_out_transaction_cleanup_interval_ms =
            self.i32("transaction.abort.timed.out.transaction.cleanup.interval.ms");
        self.transaction_remove_expired_transaction_cleanup_interval_ms =
            self.i32("transaction.remove.expired.transaction.cleanup.interval.ms");
        self.transaction_partition_verification_enable = self.bool("transaction.partition.verification.enable");
        self.group_initial_rebalance_delay_ms = self.i32("group.initial.rebalance.delay.ms");
        self.group_min_session_timeout_ms = self.i32("group.min.session.timeout.ms");
        self.group_max_session_timeout_ms = self.i32("group.max.session.timeout.ms");
        self.group_max_size = self.i32("group.max.size");
        self.max_connections = self.i32("max.connections");
        self.max_connections_per_ip = self.i32("max.connections.per.ip");
        self.connections_max_idle_ms = self.int("connections.max.idle.ms");
        self.socket_request_max_bytes = self.i32("socket.request.max.bytes");
        self.socket_send_buffer_bytes = self.i32("socket.send.buffer.bytes");
        self.socket_receive_buffer_bytes = self.i32("socket.receive.buffer.bytes");
        self.socket_listen_backlog_size = self.i32("socket.listen.backlog.size");
        self.queued_max_requests = self.i32("queued.max.requests");
        self.queued_max_request_bytes = self.int("queued.max.request.bytes");
        self.fetch_max_bytes = self.i32("fetch.max.bytes");
        self.max_incremental_fetch_session_cache_slots = self.i32("max.incremental.fetch.session.cache.slots");
        self.max_request_partition_size_limit = self.i32("max.request.partition.size.limit");
        self.metadata_log_max_record_bytes_between_snapshots =
            self.int("metadata.log.max.record.bytes.between.snapshots");
        self.metadata_log_max_snapshot_interval_ms = self.int("metadata.log.max.snapshot.interval.ms");
        self.metadata_log_segment_bytes = self.i32("metadata.log.segment.bytes");
    }

    fn read_listeners(&mut self) -> Result<(), ConfigError> {
        let map_text = self.text("listener.security.protocol.map").unwrap_or_default();
        let map = listener::parse_map("listener.security.protocol.map", map_text)?;
        let controllers = self.controller_listener_names();
        let text = self.text("listeners").unwrap_or_default().to_owned();
        let all = listener::parse_list("listeners", &text, &map, &controllers)?;
        listener::check_unique("listeners", &text, &all, true)?;
        let any = !all.is_empty();
        self.listeners = all.into_iter().filter(|l| !controllers.contains(&l.name)).collect();
        if any && self.listeners.is_empty() {
            return Err(ConfigError::value(
                "listeners",
                &text,
                "Expected a listener besides the controller's, such as PLAINTEXT://127.0.0.1:9092",
            ));
        }
        if let Some(l) = self.listeners.iter().find(|l| !SERVED_PROTOCOLS.contains(&l.protocol)) {
            let why = format!(
                "Listener {} is {}, which this version of Ottla does not serve; use PLAINTEXT",
                l.name,
                l.protocol.name()
            );
            return Err(ConfigError::value("listeners", &text, why));
        }
        self.advertised_listeners = self.read_advertised(&map, &controllers)?;
        self.inter_broker_listener_name = self.read_inter_broker_name()?;
        Ok(())
    }

    fn read_advertised(
        &self,
        map: &listener::ProtocolMap,
        controllers: &[String],
    ) -> Result<Vec<Listener>, ConfigError> {
        const KEY: &str = "advertised.listeners";
        let Some(text) = self.text(KEY) else {
            if let Some(l) = self.listeners.iter().find(|l| listener::is_wildcard(&l.host)) {
                let why = format!("Clients cannot connect to {}; set {KEY} to an address they can reach", l.host);
                return Err(ConfigError::value("listeners", &l.to_string(), why));
            }
            return Ok(self.listeners.clone());
        };
        let mut list = listener::parse_list(KEY, text, map, controllers)?;
        list.retain(|l| !controllers.contains(&l.name));
        listener::check_unique(KEY, text, &list, false)?;
        for l in &list {
            if listener::is_wildcard(&l.host) {
                let why = format!(
                    "{KEY} cannot use the nonroutable meta-address {}; use an address clients can reach",
                    l.host
                );
                return Err(ConfigError::value(KEY, text, why));
            }
            if !self.listeners.iter().any(|own| own.name == l.name) {
                let names: Vec<_> = self.listeners.iter().map(|l| l.name.as_str()).collect();
                let why = format!("Listener {} is not one of listeners ({})", l.name, names.join(", "));
                return Err(ConfigError::value(KEY, text, why));
            }
        }
        Ok(list)
    }

    fn read_inter_broker_name(&self) -> Result<String, ConfigError> {
        let known = |name: &str| self.advertised_listeners.iter().any(|l| l.name == name);
        match self.string("inter.broker.listener.name") {
            Some(name) if known(&name.to_uppercase()) || self.listeners.is_empty() => Ok(name.to_uppercase()),
            Some(name) => Err(ConfigError::value(
                "inter.broker.listener.name",
                &name,
                "Expected the name of an advertised listener",
            )),
            None => {
                let protocol = self.string("security.inter.broker.protocol").unwrap_or_default();
                let by_protocol = self.advertised_listeners.iter().find(|l| l.protocol.name() == protocol);
                Ok(by_protocol.map_or(protocol.clone(), |l| l.name.clone()))
            }
        }
    }

    /// Everything unread; `build` fills it.
    fn empty(profile: Profile, statics: Arc<Props>, dynamic_defaults: Arc<Props>, dynamic: Arc<Props>) -> BrokerConfig {
        BrokerConfig {
            profile,
            statics,
            dynamic_defaults,
            dynamic,
            node_id: 0,
            broker_rack: None,
            log_dirs: Vec::new(),
            metadata_log_dir: PathBuf::new(),
            listeners: Vec::new(),
            advertised_listeners: Vec::new(),
            inter_broker_listener_name: String::new(),
            num_partitions: 0,
            default_replication_factor: 0,
            auto_create_topics_enable: false,
            delete_topic_enable: false,
            log_retention_check_interval_ms: 0,
            log_flush_scheduler_interval_ms: 0,
            num_recovery_threads_per_data_dir: 0,
            producer_id_expiration_ms: 0,
            offsets_topic_num_partitions: 0,
            offsets_topic_replication_factor: 0,
            offsets_topic_segment_bytes: 0,
            offsets_retention_ms: 0,
            offsets_retention_check_interval_ms: 0,
            offset_metadata_max_bytes: 0,
            transaction_state_log_num_partitions: 0,
            transaction_state_log_replication_factor: 0,
            transaction_state_log_segment_bytes: 0,
            transaction_max_timeout_ms: 0,
            transactional_id_expiration_ms: 0,
            transaction_abort_timed_out_transaction_cleanup_interval_ms: 0,
            transaction_remove_expired_transaction_cleanup_interval_ms: 0,
            transaction_partition_verification_enable: false,
            group_initial_rebalance_delay_ms: 0,
            group_min_session_timeout_ms: 0,
            group_max_session_timeout_ms: 0,
            group_max_size: 0,
            max_connections: 0,
            max_connections_per_ip: 0,
            connections_max_idle_ms: 0,
            socket_request_max_bytes: 0,
            socket_send_buffer_bytes: 0,
            socket_receive_buffer_bytes: 0,
            socket_listen_backlog_size: 0,
            queued_max_requests: 0,
            queued_max_request_bytes: 0,
            fetch_max_bytes: 0,
            max_incremental_fetch_session_cache_slots: 0,
            max_request_partition_size_limit: 0,
            metadata_log_max_record_bytes_between_snapshots: 0,
            metadata_log_max_snapshot_interval_ms: 0,
            metadata_log_segment_bytes: 0,
        }
    }
}

/// A row's default text under a profile.
pub(crate) fn default_text(profile: Profile, row: &ConfigDef) -> Option<&'static str> {
    profile.default_of(row.name).or(match row.default {
        DefaultValue::Value(text) => Some(text),
        DefaultValue::Null | DefaultValue::Required => None,
    })
}

/// Prefixes under which Kafka passes configs on to plugins that only it has.
const PLUGIN_PREFIXES: &[&str] = &["rlmm.config.", "rsm.config.", "config.providers."];

/// Names that older Kafka versions knew; their users should hear that, not a guess at a typo.
const REMOVED: &[&str] = &[
    "advertised.host.name",
    "advertised.port",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "delegation.token.master.key",
    "host.name",
    "inter.broker.protocol.version",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "password.encoder.secret",
    "port",
    "reserved.broker.max.id",
    "zookeeper.connect",
    "zookeeper.connection.timeout.ms",
    "zookeeper.metadata.migration.enable",
    "zookeeper.session.timeout.ms",
    "zookeeper.set.acl",
];

fn check_key(profile: Profile, key: &str, value: &str, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    if let Some(row) = listener_override(key) {
        row.parse(value)?;
        warnings.push(Warning::new(key, format!("{key} has no effect in this version of Ottla")));
        return Ok(());
    }
    let Some(row) = Scope::Broker.find(key) else {
        let message = if REMOVED.contains(&key) {
            format!("{key} was removed from Apache Kafka; it has no effect")
        } else if PLUGIN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            format!("{key} configures a plugin that Ottla does not have; it has no effect")
        } else if let Some(near) = Scope::Broker.nearest(key) {
            format!("Unknown config {key} has no effect; did you mean {near}?")
        } else {
            format!("Unknown config {key} has no effect")
        };
        warnings.push(Warning::new(key, message));
        return Ok(());
    };
    let parsed = row.parse(value)?;
    let is_default = [default_text(profile, row), default_text_of_kafka(row)]
        .into_iter()
        .flatten()
        .any(|default| row.parse(default).is_ok_and(|default| default == parsed));
    if row.status == Status::Ignored && !is_default {
        let message = if key.starts_with("controller.quorum.") {
            format!("{key} has no effect: Ottla's controller runs inside the broker and needs no quorum")
        } else if row.kind == Type::Password {
            format!("{key} has no effect in this version of Ottla")
        } else {
            format!("{key}={value} has no effect in this version of Ottla")
        };
        warnings.push(Warning::new(key, message));
    }
    Ok(())
}

fn default_text_of_kafka(row: &ConfigDef) -> Option<&'static str> {
    match row.default {
        DefaultValue::Value(text) => Some(text),
        DefaultValue::Null | DefaultValue::Required => None,
    }
}

/// The row behind `listener.name.<listener>.[<mechanism>.]<config>`.
fn listener_override(key: &str) -> Option<&'static ConfigDef> {
    let mut rest = key.strip_prefix("listener.name.")?;
    while let Some((_, tail)) = rest.split_once('.') {
        if let Some(row) = Scope::Broker.find(tail) {
            return Some(row);
        }
        rest = tail;
    }
    None
}

fn node_id(c: &BrokerConfig) -> Result<i32, ConfigError> {
    let set = |name| c.set_text(name).is_some();
    let (node, broker) = (c.i32("node.id"), c.i32("broker.id"));
    match (set("node.id"), set("broker.id")) {
        (true, true) if node != broker => Err(ConfigError::new(
            "broker.id",
            format!("You must set `node.id` to the same value as `broker.id`, but they are {node} and {broker}."),
        )),
        _ => Ok(node),
    }
}

fn check_roles(c: &BrokerConfig) -> Result<(), ConfigError> {
    let roles = c.list("process.roles");
    let has = |role: &str| roles.iter().any(|r| r == role);
    let why = match (has("broker"), has("controller")) {
        (true, true) => return Ok(()),
        (true, false) => {
            "Joining the controllers of an Apache Kafka cluster does not work yet; leave process.roles unset or set broker,controller"
        }
        _ => "Ottla is always a broker too; leave process.roles unset or set broker,controller",
    };
    Err(ConfigError::value("process.roles", &roles.join(","), why))
}

/// The cleaner's memory. Only at the start: a value that is changed later holds as it is.
fn check_cleaner(c: &BrokerConfig) -> Result<(), ConfigError> {
    const NAME: &str = "log.cleaner.dedupe.buffer.size";
    let int = |name: &str| if let Some(Value::Int(value)) = c.get(name) { value } else { 0 };
    if int(NAME) / int("log.cleaner.threads").max(1) > 1024 * 1024 {
        return Ok(());
    }
    Err(ConfigError::value(NAME, c.text(NAME).unwrap_or("null"), "Must be at least 1 MB per cleaner thread"))
}

/// Times whose rule is about several configs.
fn check_times(c: &BrokerConfig) -> Result<(), ConfigError> {
    let defaults = c.topic_defaults();
    let rules = [
        (defaults.retention_ms == 0, "log.retention.ms", "Expected -1 (for ever) or at least 1"),
        (defaults.segment_ms < 1, "log.roll.ms", "Value must be at least 1"),
        (defaults.segment_jitter_ms < 0, "log.roll.jitter.ms", "Value must be at least 0"),
        (
            c.group_min_session_timeout_ms > c.group_max_session_timeout_ms,
            "group.min.session.timeout.ms",
            "Expected at most group.max.session.timeout.ms",
        ),
        (
            defaults.min_compaction_lag_ms > defaults.max_compaction_lag_ms,
            "log.cleaner.min.compaction.lag.ms",
            "Expected at most log.cleaner.max.compaction.lag.ms",
        ),
        (c.default_replication_factor < 1, "default.replication.factor", "Value must be at least 1"),
    ];
    match rules.into_iter().find(|(broken, ..)| *broken) {
        Some((_, key, expected)) => Err(ConfigError::value(key, c.text(key).unwrap_or("null"), expected)),
        None => Ok(()),
    }
}
