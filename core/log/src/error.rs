//! What can go wrong with a log, as values. Says nothing about what a client is told beyond Kafka's error code.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ottla_model::ErrorCode;

/// A failure to open, recover or maintain a log or its directory.
#[derive(Debug)]
pub enum LogError {
    /// The file system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds what this format does not allow, and repairing it by itself would lose data.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operation is not allowed in the log's state, for example deleting records above the high watermark.
    OffsetOutOfRange {
        /// What was asked and what the log has.
        message: String,
    },
    /// Another process uses the directory.
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, where the system tells it.
        pid: Option<u32>,
    },
}

impl LogError {
    /// The error code a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            LogError::Io { .. } | LogError::Corrupt { .. } | LogError::Locked { .. } => ErrorCode::KafkaStorageError,
        }
    }

    pub(crate) fn corrupt(path: impl Into<PathBuf>, reason: impl Into<String>) -> LogError {
        LogError::Corrupt { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            LogError::Corrupt { path, reason } => write!(f, "{} is damaged: {reason}", path.display()),
            LogError::OffsetOutOfRange { message } => f.write_str(message),
            LogError::Locked { path, pid: Some(pid) } => {
                write!(f, "the log directory {} is in use by process {pid}", path.display())
            }
            LogError::Locked { path, pid: None } => {
                write!(f, "the log directory {} is in use by another process", path.display())
            }
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Adds what was being done, and to what, to an I/O error.
pub(crate) trait IoContext<T> {
    fn context(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { doing, path: path.into(), source })
    }
}

/// One record of a refused batch (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's place in the batch, from 0.
    pub batch_index: i32,
    /// Why it was refused.
    pub message: String,
}

/// An append that was refused; nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// What the client is told.
    pub code: ErrorCode,
    /// Why, for a person.
    pub message: String,
    /// The records at fault, where single ones are.
    pub record_errors: Vec<RecordError>,
}

impl AppendError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> AppendError {
        AppendError { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for AppendError {}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> AppendError {
        AppendError::new(error.code(), error.to_string())
    }
}

/// A read that could not be answered.
#[derive(Debug)]
pub enum ReadError {
    /// The offset lies outside the log.
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset of the log.
        log_start_offset: i64,
        /// One past the last offset of the log.
        log_end_offset: i64,
    },
    /// The disk failed, or what it holds is damaged.
    Storage(LogError),
}

impl ReadError {
    /// The error code a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Storage(error) => error.code(),
        }
    }
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> ReadError {
        ReadError::Storage(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::OffsetOutOfRange { offset, log_start_offset, log_end_offset } => {
                write!(f, "offset {offset} is outside the log, which has {log_start_offset} to {log_end_offset}")
            }
            ReadError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
