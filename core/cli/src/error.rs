//! Errors as a person reads them: one sentence, and what to do where that is known.

use ottla::client::{Error, ErrorCode};
use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// The arguments do not fit together; exit code 2, as clap's own.
    Usage(String),
    /// The work failed; exit code 1.
    Failed(String),
    /// Fewer records came than were asked for; exit code 3.
    Incomplete(String),
    /// Ctrl-C; exit code 130, as shells have it, and nothing to say.
    Interrupted,
    /// The output could not be written, or a file not be read; exit code 1.
    Io(std::io::Error),
}

impl CliError {
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => 2,
            CliError::Incomplete(_) => 3,
            CliError::Interrupted => 130,
            CliError::Failed(_) | CliError::Io(_) => 1,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Usage(text) | CliError::Failed(text) | CliError::Incomplete(text) => f.write_str(text),
            CliError::Interrupted => f.write_str("interrupted"),
            CliError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CliError {}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        CliError::Io(error)
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        let mut text = error.to_string();
        if let Some(advice) = advice(&error) {
            text.push_str("; ");
            text.push_str(advice);
        }
        CliError::Failed(text)
    }
}

/// What to do about an error of the client.
fn advice(error: &Error) -> Option<&'static str> {
    if error.message().contains("cannot connect to") {
        return Some("start a broker with `ottla serve`, or name another one with --bootstrap-server");
    }
    match error.code()? {
        ErrorCode::UnknownTopicOrPartition => Some("`ottla topic list` shows what there is"),
        ErrorCode::TopicAlreadyExists => Some("--if-not-exists accepts that"),
        ErrorCode::InvalidReplicationFactor => Some("--replication-factor may be at most the number of brokers"),
        ErrorCode::InvalidPartitions => Some("partitions can be added, never taken away"),
        _ => None,
    }
}
