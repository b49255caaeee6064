//! What a user set for a producer, consumer or admin client, over the defaults of its tables.
//!
//! A client makes its typed options from this once, at start. Deliberately not here: what the values mean together.

use crate::{ConfigDef, ConfigError, DefaultValue, Props, Scope, Status, Type, Value, Warning};
use std::time::Duration;

/// Configs of one client by name, checked one by one.
#[derive(Debug, Clone, PartialEq)]
pub struct Configs {
    scope: Scope,
    set: Props,
}

impl Configs {
    /// The defaults of `scope`.
    pub fn defaults(scope: Scope) -> Configs {
        Configs { scope, set: Props::new() }
    }

    /// Reads and checks what was set; of a name that comes twice the last one counts.
    ///
    /// Unknown names and names without effect are warnings.
    ///
    /// # Errors
    /// A value that cannot be used; the text says what was expected.
    pub fn parse<K: Into<String>, V: Into<String>>(
        scope: Scope,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(Configs, Vec<Warning>), ConfigError> {
        let set: Props = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut warnings = Vec::new();
        for (name, value) in &set {
            let Some(row) = scope.find(name) else {
                let hint = scope.nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                warnings.push(Warning::new(name, format!("Unknown config {name} has no effect{hint}")));
                continue;
            };
            let parsed = row.parse(value)?;
            if row.status == Status::Ignored && default_of(row).as_ref() != Some(&parsed) {
                let shown = if row.kind == Type::Password { String::new() } else { format!("={value}") };
                warnings.push(Warning::new(name, format!("{name}{shown} has no effect in this client")));
            }
        }
        Ok((Configs { scope, set }, warnings))
    }

    /// Whose configs these are.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether the user set `name`, be it to its default.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// The value of `name`: what was set, else the default; `None` where there is neither, or the scope has no such row.
    pub fn value(&self, name: &str) -> Option<Value> {
        let row = self.scope.find(name)?;
        match self.set.get(name) {
            // Checked by `parse`.
            Some(text) => row.parse(text).ok(),
            None => default_of(row),
        }
    }

    /// A time in milliseconds; a negative or missing one is `None`.
    pub fn ms(&self, name: &str) -> Option<Duration> {
        self.number(name).and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis)
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// A number of bytes or things; a negative or missing one is `None`.
    pub fn size(&self, name: &str) -> Option<usize> {
        self.number(name).and_then(|number| usize::try_from(number).ok())
    }

    /// A fraction.
    pub fn double(&self, name: &str) -> Option<f64> {
        match self.value(name)? {
            Value::Double(double) => Some(double),
            _ => None,
        }
    }

    /// Yes or no; a missing one is no.
    pub fn flag(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Bool(true))
    }

    /// A text, class or password.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A list; a missing one is empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }
}

fn default_of(row: &ConfigDef) -> Option<Value> {
    match row.default {
        DefaultValue::Value(text) => row.parse(text).ok(),
        DefaultValue::Null | DefaultValue::Required => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_values_count_over_defaults() {
        let (configs, warnings) = Configs::parse(Scope::Producer, [("linger.ms", "7"), ("batch.sizes", "1")]).unwrap();
        assert_eq!(configs.ms("linger.ms"), Some(Duration::from_millis(7)));
        assert_eq!(configs.size("batch.size"), Some(16384));
        assert_eq!(configs.text("acks").as_deref(), Some("all"));
        assert!(configs.flag("enable.idempotence") && !configs.is_set("enable.idempotence"));
        assert!(warnings.iter().any(|w| w.message.contains("did you mean batch.size?")), "{warnings:?}");
        let error = Configs::parse(Scope::Producer, [("linger.ms", "soon")]).unwrap_err();
        assert!(error.message.contains("linger.ms"), "{error}");
    }

    #[test]
    fn passwords_are_not_shown() {
        let (_, warnings) = Configs::parse(Scope::Admin, [("ssl.key.password", "secret")]).unwrap();
        assert!(warnings.iter().all(|w| !w.message.contains("secret")), "{warnings:?}");
    }
}
