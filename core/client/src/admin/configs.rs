//! Reading configs, and changing single ones (KIP-339), of topics, brokers, their loggers, client metrics and groups.

use super::Admin;
use super::acls::coded;
use super::call::{Anyone, Locate, Node, PerKey, check_code, not_mentioned, owned, text};
use crate::broker::Broker;
use crate::error::{Error, Result};
use crate::retry::Deadline;
use ottla_protocol::create_topics_response::CreatableTopicConfigs;
use ottla_protocol::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_protocol::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use ottla_protocol::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_protocol::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use ottla_protocol::list_config_resources_request::ListConfigResourcesRequest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// One broker, by id, or with `None` the default of all brokers.
    Broker(Option<i32>),
    /// The log levels of one broker, by its id (KIP-412).
    BrokerLogger(i32),
    /// A subscription to client metrics, by name (KIP-714).
    ClientMetrics(String),
    /// A group, by its id (KIP-848, KIP-932, KIP-1071).
    Group(String),
}

coded! {
    /// The kind of a [`ConfigResource`].
    ConfigResourceType {
        /// Topics.
        Topic = 2 "TOPIC",
        /// Brokers.
        Broker = 4 "BROKER",
        /// Brokers' log levels.
        BrokerLogger = 8 "BROKER_LOGGER",
        /// Subscriptions to client metrics.
        ClientMetrics = 16 "CLIENT_METRICS",
        /// Groups.
        Group = 32 "GROUP",
    }
}

impl ConfigResource {
    /// The resource of this kind and name. Brokers are named by their id; an empty name is the default of all.
    ///
    /// # Errors
    /// `Invalid` when a broker's name is no id, or the kind is not one that this client knows.
    pub fn new(kind: ConfigResourceType, name: &str) -> Result<ConfigResource> {
        let id = || name.parse().map_err(|_| Error::invalid(format!("{name:?} is not the id of a broker")));
        match kind {
            ConfigResourceType::Topic => Ok(ConfigResource::Topic(name.to_owned())),
            ConfigResourceType::Broker if name.is_empty() => Ok(ConfigResource::Broker(None)),
            ConfigResourceType::Broker => id().map(|id| ConfigResource::Broker(Some(id))),
            ConfigResourceType::BrokerLogger => id().map(ConfigResource::BrokerLogger),
            ConfigResourceType::ClientMetrics => Ok(ConfigResource::ClientMetrics(name.to_owned())),
            ConfigResourceType::Group => Ok(ConfigResource::Group(name.to_owned())),
            ConfigResourceType::Unknown => {
                Err(Error::invalid("this client does not know this kind of config resource"))
            }
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ConfigResourceType {
        match self {
            ConfigResource::Topic(_) => ConfigResourceType::Topic,
            ConfigResource::Broker(_) => ConfigResourceType::Broker,
            ConfigResource::BrokerLogger(_) => ConfigResourceType::BrokerLogger,
            ConfigResource::ClientMetrics(_) => ConfigResourceType::ClientMetrics,
            ConfigResource::Group(_) => ConfigResourceType::Group,
        }
    }

    /// Its name as the protocol has it: a broker's is its id, that of all brokers' default is empty.
    pub fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name) | ConfigResource::ClientMetrics(name) | ConfigResource::Group(name) => {
                name.clone()
            }
            ConfigResource::Broker(id) => id.map(|id| id.to_string()).unwrap_or_default(),
            ConfigResource::BrokerLogger(id) => id.to_string(),
        }
    }

    fn label(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("topic {name}"),
            ConfigResource::Broker(Some(id)) => format!("broker {id}"),
            ConfigResource::Broker(None) => "the brokers' default".to_owned(),
            ConfigResource::BrokerLogger(id) => format!("the loggers of broker {id}"),
            ConfigResource::ClientMetrics(name) => format!("client metrics {name}"),
            ConfigResource::Group(name) => format!("group {name}"),
        }
    }

    /// The one broker that can answer for it: only that broker knows its file and its loggers.
    fn node(&self) -> Option<i32> {
        match self {
            ConfigResource::Broker(id) => *id,
            ConfigResource::BrokerLogger(id) => Some(*id),
            _ => None,
        }
    }
}

/// A broker's own configs at that broker, the others anywhere.
struct ConfigNode;

impl Locate<ConfigResource> for ConfigNode {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<ConfigResource>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<ConfigResource, Arc<Broker>> {
        let nodes: BTreeSet<i32> = keys.iter().filter_map(ConfigResource::node).collect();
        let nodes = Node.locate(admin, &nodes, attempt, deadline).await;
        let rest: BTreeSet<ConfigResource> = keys.iter().filter(|key| key.node().is_none()).cloned().collect();
        let mut located = match rest.is_empty() {
            true => PerKey::new(),
            false => Anyone.locate(admin, &rest, attempt, deadline).await,
        };
        let of_node = |key: &ConfigResource| Some((key.clone(), nodes.get(&key.node()?)?.clone()));
        located.extend(keys.iter().filter_map(of_node));
        located
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set on this topic.
    Topic,
    /// Set on this broker while it runs.
    DynamicBroker,
    /// Set for all brokers while they run.
    DynamicDefaultBroker,
    /// From the broker's properties file.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// A log level set on this broker while it runs.
    DynamicBrokerLogger,
    /// Set on this subscription to client metrics.
    ClientMetrics,
    /// Set on this group.
    Group,
    /// A source that this client does not know.
    Unknown,
}

impl ConfigSource {
    /// Kafka's name, as `DYNAMIC_TOPIC_CONFIG`.
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
            ConfigSource::Default => "DEFAULT_CONFIG",
            ConfigSource::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
            ConfigSource::Unknown => "UNKNOWN",
        }
    }

    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            6 => ConfigSource::DynamicBrokerLogger,
            7 => ConfigSource::ClientMetrics,
            8 => ConfigSource::Group,
            _ => ConfigSource::Unknown,
        }
    }
}

coded! {
    /// The type of a config's value.
    ConfigType {
        /// true or false.
        Boolean = 1 "BOOLEAN",
        /// Text.
        String = 2 "STRING",
        /// 32 bits.
        Int = 3 "INT",
        /// 16 bits.
        Short = 4 "SHORT",
        /// 64 bits.
        Long = 5 "LONG",
        /// A number with a fraction.
        Double = 6 "DOUBLE",
        /// Values separated by commas.
        List = 7 "LIST",
        /// The name of a class.
        Class = 8 "CLASS",
        /// Text that is not shown.
        Password = 9 "PASSWORD",
    }
}

/// One config with its value.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// `None` when there is no value or when it is sensitive.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it can only be set in a file.
    pub read_only: bool,
    /// Whether the value is hidden.
    pub sensitive: bool,
    /// The type of its value; `Unknown` from brokers before 2.6.
    pub config_type: ConfigType,
    /// Where else a value could come from, first what counts most; only where asked for.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does; only where asked for, and from Apache Kafka 2.6 on.
    pub documentation: Option<String>,
}

impl ConfigEntry {
    /// Whether nobody set it.
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }

    fn of(config: &DescribeConfigsResourceResult) -> ConfigEntry {
        let synonyms = config.synonyms.iter().map(|synonym| ConfigSynonym {
            name: synonym.name.to_string(),
            value: owned(&synonym.value),
            source: ConfigSource::from_code(synonym.source),
        });
        ConfigEntry {
            name: config.name.to_string(),
            value: owned(&config.value),
            source: ConfigSource::from_code(config.config_source),
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            config_type: ConfigType::from_code(config.config_type),
            synonyms: synonyms.collect(),
            documentation: owned(&config.documentation).filter(|text| !text.is_empty()),
        }
    }

    pub(super) fn of_new_topic(config: &CreatableTopicConfigs) -> ConfigEntry {
        ConfigEntry {
            name: config.name.to_string(),
            value: owned(&config.value),
            source: ConfigSource::from_code(config.config_source),
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            config_type: ConfigType::Unknown,
            synonyms: Vec::new(),
            documentation: None,
        }
    }
}

/// Another place that a config's value can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The config's name there.
    pub name: String,
    /// Its value there.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// What to tell of configs.
#[derive(Debug, Clone, Default)]
pub struct DescribeConfigsOptions {
    /// Where else values could come from; false.
    pub include_synonyms: bool,
    /// What each config does; false.
    pub include_documentation: bool,
    /// Only these; `None` is all.
    pub names: Option<Vec<String>>,
}

/// What to do with a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOp {
    /// Set it.
    Set,
    /// Back to the default.
    Delete,
    /// Add to a list.
    Append,
    /// Take from a list.
    Subtract,
}

/// One change.
#[derive(Debug, Clone)]
pub struct ConfigAlteration {
    /// Kafka's name.
    pub name: String,
    /// What to do.
    pub op: AlterOp,
    /// The value, except for `Delete`.
    pub value: Option<String>,
}

impl ConfigAlteration {
    /// Sets a config.
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> ConfigAlteration {
        ConfigAlteration { name: name.into(), op: AlterOp::Set, value: Some(value.into()) }
    }

    /// Returns a config to its default.
    pub fn delete(name: impl Into<String>) -> ConfigAlteration {
        ConfigAlteration { name: name.into(), op: AlterOp::Delete, value: None }
    }
}

impl Admin {
    /// All configs of `resource`, sorted by name.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>> {
        let resources = std::slice::from_ref(resource);
        let mut described = self.describe_configs_of(resources, &DescribeConfigsOptions::default()).await;
        described.remove(resource).unwrap_or_else(|| Err(not_mentioned(resource)))
    }

    /// The configs of several resources, sorted by name.
    pub async fn describe_configs_of(
        &self,
        resources: &[ConfigResource],
        options: &DescribeConfigsOptions,
    ) -> PerKey<ConfigResource, Vec<ConfigEntry>> {
        let build = |version: i16, resources: &[ConfigResource]| {
            let resource = |resource: &ConfigResource| DescribeConfigsResource {
                resource_type: resource.kind().code(),
                resource_name: text(resource.name()),
                configuration_keys: options.names.as_ref().map(|names| names.iter().map(text).collect()),
                ..Default::default()
            };
            Ok(DescribeConfigsRequest {
                resources: resources.iter().map(resource).collect(),
                include_synonyms: options.include_synonyms,
                // Brokers before 2.6 have no documentation to give.
                include_documentation: options.include_documentation && version >= 3,
                ..Default::default()
            })
        };
        let read = |response: DescribeConfigsResponse, resources: &[ConfigResource]| {
            let of = |resource: &ConfigResource| {
                let name = resource.name();
                let same = |result: &&DescribeConfigsResult| {
                    result.resource_type == resource.kind().code() && *result.resource_name == *name
                };
                let result = response.results.iter().find(same).ok_or_else(|| not_mentioned(resource))?;
                check_code(result.error_code, &resource.label(), result.error_message.as_deref())?;
                let mut entries: Vec<ConfigEntry> = result.configs.iter().map(ConfigEntry::of).collect();
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(entries)
            };
            resources.iter().map(|resource| (resource.clone(), of(resource))).collect()
        };
        self.per_key(ConfigNode, resources.iter().cloned(), usize::MAX, build, read).await
    }

    /// Changes the named configs of `resource` and leaves the others as they are. All or none take effect.
    pub async fn alter_configs(&self, resource: &ConfigResource, changes: &[ConfigAlteration]) -> Result<()> {
        let changes = BTreeMap::from([(resource.clone(), changes.to_vec())]);
        let mut results = self.incremental_alter_configs(&changes, false).await;
        results.remove(resource).unwrap_or_else(|| Err(not_mentioned(resource)))
    }

    /// Changes configs of several resources (KIP-339); `validate_only` only checks. Those of one resource take effect
    /// together or not at all; each resource stands for itself.
    pub async fn incremental_alter_configs(
        &self,
        changes: &BTreeMap<ConfigResource, Vec<ConfigAlteration>>,
        validate_only: bool,
    ) -> PerKey<ConfigResource, ()> {
        let build = |_, resources: &[ConfigResource]| {
            let resource = |resource: &ConfigResource| AlterConfigsResource {
                resource_type: resource.kind().code(),
                resource_name: text(resource.name()),
                configs: changes.get(resource).into_iter().flatten().map(alterable).collect(),
                ..Default::default()
            };
            let resources = resources.iter().map(resource).collect();
            Ok(IncrementalAlterConfigsRequest { resources, validate_only, ..Default::default() })
        };
        let read = |response: IncrementalAlterConfigsResponse, resources: &[ConfigResource]| {
            let of = |resource: &ConfigResource| {
                let (kind, name) = (resource.kind().code(), resource.name());
                let mut results = response.responses.iter();
                let result = results.find(|r| r.resource_type == kind && *r.resource_name == *name);
                let result = result.ok_or_else(|| not_mentioned(resource))?;
                check_code(result.error_code, &resource.label(), result.error_message.as_deref())
            };
            resources.iter().map(|resource| (resource.clone(), of(resource))).collect()
        };
        self.per_key(ConfigNode, changes.keys().cloned(), usize::MAX, build, read).await
    }

    /// The resources of these kinds that have or can have configs, sorted; no kinds means all that the broker has
    /// (KIP-1142).
    ///
    /// # Errors
    /// `UNSUPPORTED_VERSION` when a broker before 4.1 is asked for anything but client metrics.
    pub async fn list_config_resources(&self, kinds: &BTreeSet<ConfigResourceType>) -> Result<Vec<ConfigResource>> {
        let build = |version: i16| {
            let metrics_only = kinds.iter().eq([&ConfigResourceType::ClientMetrics]);
            if version == 0 && !metrics_only {
                return Err(Error::unsupported(
                    "ListConfigResources 0 lists client metrics only; other kinds need version 1 (Apache Kafka 4.1)",
                ));
            }
            let resource_types = if version == 0 { Vec::new() } else { kinds.iter().map(|kind| kind.code()).collect() };
            Ok(ListConfigResourcesRequest { resource_types, ..Default::default() })
        };
        let read = |response: ottla_protocol::ListConfigResourcesResponse| {
            check_code(response.error_code, "the config resources", None)?;
            let resources = response.config_resources.iter().filter_map(|resource| {
                let kind = ConfigResourceType::from_code(resource.resource_type);
                ConfigResource::new(kind, &resource.resource_name).ok()
            });
            let mut resources: Vec<ConfigResource> = resources.collect();
            resources.sort();
            Ok(resources)
        };
        self.one(Anyone, (), build, read).await
    }

    /// The names of all subscriptions to client metrics (KIP-714).
    pub async fn list_client_metrics_resources(&self) -> Result<Vec<String>> {
        let listed = self.list_config_resources(&BTreeSet::from([ConfigResourceType::ClientMetrics])).await?;
        Ok(listed.iter().map(ConfigResource::name).collect())
    }
}

fn alterable(change: &ConfigAlteration) -> AlterableConfig {
    AlterableConfig {
        name: text(&change.name),
        config_operation: match change.op {
            AlterOp::Set => 0,
            AlterOp::Delete => 1,
            AlterOp::Append => 2,
            AlterOp::Subtract => 3,
        },
        value: change.value.as_deref().map(text),
        ..Default::default()
    }
}
