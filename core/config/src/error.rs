//! What can be wrong with a config (an error), and what is only worth saying (a warning).

use std::fmt;

/// A config that cannot be used. The text names the key and says what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The config's name, empty when the error is about several at once.
    pub key: String,
    /// A whole sentence for people, in Kafka's wording where Kafka has one.
    pub message: String,
}

impl ConfigError {
    /// An error about `key` whose text is `message` alone.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { key: key.into(), message: message.into() }
    }

    /// The whole sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// An error about a value that cannot be used: what it was and what was expected.
    pub fn value(key: &str, value: &str, expected: impl fmt::Display) -> ConfigError {
        ConfigError::new(key, format!("Invalid value {value} for configuration {key}: {expected}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Something a user should know at start: an unknown name, or a config that has no effect here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The config's name as it was written.
    pub key: String,
    /// A whole sentence for people.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(key: &str, message: String) -> Warning {
        Warning { key: key.to_owned(), message }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
