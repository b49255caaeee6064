//! What DescribeConfigs answers: every entry with its source and its synonyms, in Kafka's order.
//!
//! Deliberately not here: which entries a request asks for, and who may ask.

use crate::broker_config::default_text;
use crate::topic_config::resolve_value;
use crate::{BrokerConfig, ConfigDef, Dynamic, Props, Scope, Type, Value, synonyms};

/// Where a value comes from; the numbers are DescribeConfigs' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: String,
    /// None when unset, and always when `sensitive`.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    /// DescribeConfigs' code of the type, 0 for an unknown config.
    pub config_type: i8,
    pub doc: &'static str,
    /// Everything that has a say, the one that counts first.
    pub synonyms: Vec<EntrySynonym>,
}

/// One value with a say in an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct EntrySynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// The configs of a topic with these overrides, by name.
pub fn topic(broker: &BrokerConfig, overrides: &Props) -> Vec<Entry> {
    Scope::Topic
        .rows()
        .filter(|row| !row.is_internal() || overrides.contains_key(row.name))
        .map(|row| {
            let value = resolve_value(broker, overrides, row.name).map(|v| v.to_text());
            let mut list = Vec::new();
            if overrides.contains_key(row.name) {
                let own = EntrySynonym {
                    name: row.name.to_owned(),
                    value: value.clone(),
                    source: ConfigSource::DynamicTopic,
                };
                list.push(own);
            }
            if let Some(first) = synonyms::of_topic_config(row.name).first() {
                list.extend(broker_synonyms(broker, first.name, false));
            }
            entry(row.name, Some(row), value, list, false)
        })
        .collect()
}

/// The configs of this broker, by name; also those set without being known.
pub fn broker(config: &BrokerConfig) -> Vec<Entry> {
    let mut names: Vec<&str> = Scope::Broker.rows().filter(|row| !row.is_internal()).map(|row| row.name).collect();
    for props in [config.statics(), config.dynamic_defaults(), config.dynamic()] {
        names.extend(props.keys().map(String::as_str).filter(|name| !names.contains(name)).collect::<Vec<_>>());
    }
    names.sort_unstable();
    names.into_iter().map(|name| broker_entry(config, name)).collect()
}

/// The dynamic values for all brokers, by name: the answer for the broker whose name is empty.
pub fn broker_defaults(config: &BrokerConfig) -> Vec<Entry> {
    let only_dynamic = |name: &String| {
        let mut entry = broker_entry(config, name);
        entry.synonyms.retain(|s| s.source == ConfigSource::DynamicDefaultBroker);
        entry.source = ConfigSource::DynamicDefaultBroker;
        entry.value = entry.synonyms.first().and_then(|s| s.value.clone());
        entry
    };
    config.dynamic_defaults().keys().map(only_dynamic).collect()
}

fn broker_entry(config: &BrokerConfig, name: &str) -> Entry {
    let row = Scope::Broker.find(name);
    let value = match row {
        // Kafka shows one id under both names.
        Some(row) if matches!(row.name, "node.id" | "broker.id") => Some(config.node_id.to_string()),
        Some(_) => config.get(name).map(|v: Value| v.to_text()),
        None => config.text(name).or_else(|| config.set_text(name)).map(str::to_owned),
    };
    let read_only = row.is_none_or(|row| row.dynamic == Dynamic::ReadOnly);
    // A name that nobody knows may hold a secret.
    let sensitive = row.is_none_or(ConfigDef::is_sensitive);
    let list = broker_synonyms(config, name, sensitive);
    entry(name, row, value.filter(|_| !sensitive), list, read_only)
}

fn entry(
    name: &str,
    row: Option<&ConfigDef>,
    value: Option<String>,
    synonyms: Vec<EntrySynonym>,
    read_only: bool,
) -> Entry {
    Entry {
        name: name.to_owned(),
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |s| s.source),
        read_only,
        sensitive: row.is_none_or(|row| row.kind == Type::Password),
        config_type: row.map_or(0, |row| row.kind.code()),
        doc: row.map_or("", |row| row.doc),
        synonyms,
    }
}

/// All values with a say in a broker config: by source first, by synonym within a source. What comes before `name`
/// itself has no say in it.
fn broker_synonyms(config: &BrokerConfig, name: &str, sensitive: bool) -> Vec<EntrySynonym> {
    let own = [name];
    let names = match synonyms::of_broker_config(name) {
        [] => &own[..],
        names => names,
    };
    let mut list = Vec::new();
    let mut add = |name: &str, value: Option<&str>, source| {
        if let Some(value) = value {
            let value = (!sensitive).then(|| value.to_owned());
            list.push(EntrySynonym { name: name.to_owned(), value, source });
        }
    };
    let sources = [
        (config.dynamic(), ConfigSource::DynamicBroker),
        (config.dynamic_defaults(), ConfigSource::DynamicDefaultBroker),
        (config.statics(), ConfigSource::StaticBroker),
    ];
    for (props, source) in sources {
        for name in names {
            add(name, props.get(*name).map(String::as_str), source);
        }
    }
    for name in names {
        let default = Scope::Broker.find(name).and_then(|row| default_text(config.profile(), row));
        add(name, default, ConfigSource::Default);
    }
    list.into_iter().skip_while(|s| s.name != name).collect()
}
