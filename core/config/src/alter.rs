//! What CreateTopics and IncrementalAlterConfigs may set.
//!
//! Pure: current values and changes in, records to write out. Deliberately not here: whether the topic exists, and
//! who may change it.

use crate::topic_config::resolve_value;
use crate::{BrokerConfig, ConfigError, DefaultValue, Dynamic, Props, Scope, Type, Value};

/// One operation of IncrementalAlterConfigs (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    /// Back to the default.
    Delete,
    /// Add to a list what it does not hold.
    Append,
    /// Take from a list what it holds.
    Subtract,
}

impl AlterOp {
    /// Kafka's code: 0 to 3.
    pub fn from_code(code: i8) -> Option<AlterOp> {
        Some(match code {
            0 => AlterOp::Set,
            1 => AlterOp::Delete,
            2 => AlterOp::Append,
            3 => AlterOp::Subtract,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            AlterOp::Set => "SET",
            AlterOp::Delete => "DELETE",
            AlterOp::Append => "APPEND",
            AlterOp::Subtract => "SUBTRACT",
        }
    }
}

/// A change to write: the name and its new value, None to remove it.
pub type Change = (String, Option<String>);

/// One requested change: name, operation and value (ignored by DELETE).
pub type Request<'a> = (&'a str, AlterOp, Option<&'a str>);

/// Checks the configs of a topic as a whole: names, values, and what must fit together. `broker` gives the values of
/// what the topic does not set.
pub fn validate_topic(broker: &BrokerConfig, configs: &Props) -> Result<(), ConfigError> {
    for (name, value) in configs {
        let row = Scope::Topic
            .find(name)
            .ok_or_else(|| ConfigError::new(name, format!("Unknown topic config name: {name}")))?;
        row.parse(value)?;
    }
    let long = |name: &str| match resolve_value(broker, configs, name) {
        Some(Value::Int(n)) => n,
        _ => 0,
    };
    let (min, max) = (long("min.compaction.lag.ms"), long("max.compaction.lag.ms"));
    if min > max {
        let message =
            format!("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})");
        return Err(ConfigError::new("min.compaction.lag.ms", message));
    }
    if resolve_value(broker, configs, "remote.storage.enable") == Some(Value::Bool(true)) {
        let message = "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";
        return Err(ConfigError::new("remote.storage.enable", message));
    }
    Ok(())
}

/// Dynamic in Kafka; here they are read once, from what the broker is started with. Taking them would be a lie.
pub(crate) const FIXED_AT_START: &[&str] =
    &["listener.security.protocol.map", "listeners", "num.recovery.threads.per.data.dir"];

/// Checks dynamic broker configs: `node` says for one broker (true) or for all (false).
pub fn validate_broker(configs: &Props, node: bool) -> Result<(), ConfigError> {
    for (name, value) in configs {
        // A listener's own overrides, and names of plugins, are stored as they are.
        let Some(row) = Scope::Broker.find(name) else { continue };
        let refused = match row.dynamic {
            Dynamic::ReadOnly | Dynamic::PerTopic => Some("Cannot update these configs dynamically"),
            Dynamic::PerBroker if !node => {
                Some("Cannot update these configs at default cluster level, broker id must be specified")
            }
            Dynamic::PerBroker | Dynamic::ClusterWide => None,
        };
        if let Some(why) = refused {
            return Err(ConfigError::new(name, format!("{why}: [{name}]")));
        }
        if FIXED_AT_START.contains(&name.as_str()) {
            let why = format!(
                "{name} cannot be changed while this version of Ottla runs; set it where the broker is started"
            );
            return Err(ConfigError::new(name, why));
        }
        row.parse(value)?;
    }
    Ok(())
}

/// Applies operations to a topic's overrides: the changes to write, or why not.
pub fn alter_topic(broker: &BrokerConfig, current: &Props, ops: &[Request<'_>]) -> Result<Vec<Change>, ConfigError> {
    let (after, changes) = apply(Scope::Topic, current, ops, false)?;
    validate_topic(broker, &after)?;
    Ok(changes)
}

/// Applies operations to dynamic broker values, of one broker (`node`) or of all.
pub fn alter_broker(current: &Props, ops: &[Request<'_>], node: bool) -> Result<Vec<Change>, ConfigError> {
    // Kafka writes a record even for an unchanged value here, so that brokers read key files anew (KAFKA-14136).
    let (after, changes) = apply(Scope::Broker, current, ops, true)?;
    let touched = after.into_iter().filter(|(name, _)| changes.iter().any(|(changed, _)| changed == name)).collect();
    validate_broker(&touched, node)?;
    Ok(changes)
}

/// Replaces all values at once (AlterConfigs): the changes to write, removals last.
pub fn replace(current: &Props, wanted: &Props) -> Vec<Change> {
    let set = wanted.iter().filter(|(name, value)| current.get(*name) != Some(value));
    let removed = current.keys().filter(|name| !wanted.contains_key(*name));
    set.map(|(name, value)| (name.clone(), Some(value.clone())))
        .chain(removed.map(|name| (name.clone(), None)))
        .collect()
}

fn apply(
    scope: Scope,
    current: &Props,
    ops: &[Request<'_>],
    keep_unchanged: bool,
) -> Result<(Props, Vec<Change>), ConfigError> {
    let mut after = current.clone();
    let mut changes = Vec::new();
    for (name, op, value) in ops {
        let missing = || ConfigError::new(*name, format!("Null value not supported for {name}"));
        let new = match op {
            AlterOp::Set => Some(value.ok_or_else(missing)?.to_owned()),
            AlterOp::Delete => None,
            AlterOp::Append | AlterOp::Subtract => {
                Some(edit_list(scope, current, name, *op, value.ok_or_else(missing)?)?)
            }
        };
        match &new {
            Some(value) => after.insert((*name).to_owned(), value.clone()),
            None => after.remove(*name),
        };
        if keep_unchanged || current.get(*name) != new.as_ref() {
            changes.push(((*name).to_owned(), new));
        }
    }
    Ok((after, changes))
}

fn edit_list(scope: Scope, current: &Props, name: &str, op: AlterOp, value: &str) -> Result<String, ConfigError> {
    let Some(row) = scope.find(name).filter(|row| row.kind == Type::List) else {
        let message = format!("Can't {} to key {name} because its type is not LIST.", op.name());
        return Err(ConfigError::new(name, message));
    };
    let default = match row.default {
        DefaultValue::Value(text) => text,
        DefaultValue::Null | DefaultValue::Required => "",
    };
    let old = current.get(name).map_or(default, String::as_str);
    let mut parts: Vec<&str> = old.split(',').filter(|part| !part.is_empty()).collect();
    for part in value.split(',') {
        match op {
            AlterOp::Append if !parts.contains(&part) => parts.push(part),
            AlterOp::Subtract => parts.retain(|old| *old != part),
            _ => {}
        }
    }
    Ok(parts.join(","))
}
