//! Reading configs, and changing single ones (KIP-339).

use super::{Admin, check_code};
use crate::error::{Error, Result};
use ottla_model::Str;
use ottla_protocol::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_protocol::describe_configs_response::DescribeConfigsResponse;
use ottla_protocol::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_protocol::incremental_alter_configs_response::IncrementalAlterConfigsResponse;

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// One broker, by id, or with `None` the default of all brokers.
    Broker(Option<i32>),
}

impl ConfigResource {
    fn wire(&self) -> (i8, Str) {
        match self {
            ConfigResource::Topic(name) => (2, Str::from(name.as_str())),
            ConfigResource::Broker(id) => (4, Str::from(id.map(|id| id.to_string()).unwrap_or_default())),
        }
    }

    fn label(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("topic {name}"),
            ConfigResource::Broker(Some(id)) => format!("broker {id}"),
            ConfigResource::Broker(None) => "the brokers' default".to_owned(),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A source that this client does not know.
    Unknown,
}

impl ConfigSource {
    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            _ => ConfigSource::Unknown,
        }
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

impl Admin {
    /// All configs of `resource`, sorted by name.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>> {
        let (resource_type, resource_name) = resource.wire();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name,
                configuration_keys: None,
                ..Default::default()
            }],
            ..Default::default()
        };
        let check = |response: DescribeConfigsResponse| {
            let result = response.results.first().ok_or_else(|| no_answer(resource))?;
            check_code(result.error_code, &resource.label(), result.error_message.as_deref())?;
            let mut entries: Vec<ConfigEntry> = result
                .configs
                .iter()
                .map(|config| ConfigEntry {
                    name: config.name.to_string(),
                    value: config.value.as_deref().map(str::to_owned),
                    source: ConfigSource::from_code(config.config_source),
                    read_only: config.read_only,
                    sensitive: config.is_sensitive,
                })
                .collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        let deadline = self.deadline();
        match resource {
            ConfigResource::Broker(Some(id)) => {
                // Only the broker itself knows its file.
                self.client.refresh(0, &deadline).await?;
                let unknown = || Error::invalid(format!("broker {id} is not in the cluster"));
                let broker = self.client.broker(*id).ok_or_else(unknown)?;
                self.client.on(&broker, &request, &deadline).await.and_then(check)
            }
            _ => self.any(&request, &deadline, check).await,
        }
    }

    /// Changes the named configs of `resource` and leaves the others as they are. All or none take effect.
    pub async fn alter_configs(&self, resource: &ConfigResource, changes: &[ConfigAlteration]) -> Result<()> {
        let (resource_type, resource_name) = resource.wire();
        let configs = changes.iter().map(|change| AlterableConfig {
            name: Str::from(change.name.as_str()),
            config_operation: match change.op {
                AlterOp::Set => 0,
                AlterOp::Delete => 1,
                AlterOp::Append => 2,
                AlterOp::Subtract => 3,
            },
            value: change.value.as_deref().map(Str::from),
            ..Default::default()
        });
        let resources = vec![AlterConfigsResource {
            resource_type,
            resource_name,
            configs: configs.collect(),
            ..Default::default()
        }];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        self.controller(&request, &self.deadline(), |response: IncrementalAlterConfigsResponse| {
            let result = response.responses.first().ok_or_else(|| no_answer(resource))?;
            check_code(result.error_code, &resource.label(), result.error_message.as_deref())
        })
        .await
    }
}

fn no_answer(resource: &ConfigResource) -> Error {
    Error::new(crate::ErrorKind::Data, format!("the broker's answer does not mention {}", resource.label()))
}
