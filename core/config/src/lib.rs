//! Kafka's configs as data: one table per scope, and the typed views the engine works with.
//!
//! A row says name, type, default, validator, importance, where it may be changed, and whether Ottla does what it says
//! ([`Status`]). On top: [`BrokerConfig`] (a `server.properties`, checked as a whole), [`TopicConfig`] (a topic's
//! overrides over the broker's `log.*`), [`describe`] (what DescribeConfigs answers) and [`alter`] (what
//! IncrementalAlterConfigs may change).
//!
//! Deliberately not here: files, the clock and the network. A caller reads the file and passes the text to
//! [`properties::parse`].

#[macro_use]
mod def;
pub mod admin;
pub mod alter;
pub mod broker;
mod broker_config;
pub mod client;
mod configs;
pub mod consumer;
pub mod describe;
pub mod effect;
mod error;
pub mod listener;
pub mod producer;
mod profile;
pub mod properties;
mod scope;
mod suggest;
pub mod synonyms;
pub mod topic;
mod topic_config;

pub use broker_config::BrokerConfig;
pub use configs::Configs;
pub use def::{ConfigDef, DefaultValue, Dynamic, Importance, Status, Type, Validator, Value};
pub use error::{ConfigError, Warning};
pub use listener::{Listener, SecurityProtocol};
pub use profile::{Profile, ProfileDefault};
pub use scope::Scope;
pub use topic_config::{CompressionType, TimestampType, TopicConfig};

/// Config values by name, in name order; what was set, before types and defaults.
pub type Props = std::collections::BTreeMap<String, String>;
