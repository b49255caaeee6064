//! What can go wrong with the cluster's metadata, as values.

use crate::record::RecordError;
use ottla_log::{AppendError, LogError};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure to open, read or write the metadata.
#[derive(Debug)]
pub enum MetadataError {
    /// The file system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The log cannot be opened or made durable.
    Log(LogError),
    /// The log does not take the records; nothing has changed.
    Append(AppendError),
    /// A record cannot be read, written or applied.
    Record(RecordError),
    /// A file does not hold what it should.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory is in order, but Ottla cannot open it; the sentence says why.
    Refused(String),
}

impl MetadataError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetadataError {
        let path = path.to_owned();
        move |source| MetadataError::Io { doing, path, source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl fmt::Display) -> MetadataError {
        MetadataError::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataError::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            MetadataError::Log(error) => error.fmt(f),
            MetadataError::Append(error) => write!(f, "cannot append to __cluster_metadata-0: {error}"),
            MetadataError::Record(error) => write!(f, "__cluster_metadata-0: {error}"),
            MetadataError::Damaged { path, reason } => write!(f, "{} is damaged: {reason}", path.display()),
            MetadataError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MetadataError::Io { source, .. } => Some(source),
            MetadataError::Log(error) => Some(error),
            MetadataError::Append(error) => Some(error),
            MetadataError::Record(error) => Some(error),
            MetadataError::Damaged { .. } | MetadataError::Refused(_) => None,
        }
    }
}

impl From<LogError> for MetadataError {
    fn from(error: LogError) -> Self {
        MetadataError::Log(error)
    }
}

impl From<AppendError> for MetadataError {
    fn from(error: AppendError) -> Self {
        MetadataError::Append(error)
    }
}

impl From<RecordError> for MetadataError {
    fn from(error: RecordError) -> Self {
        MetadataError::Record(error)
    }
}
