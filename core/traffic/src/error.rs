//! What can be wrong with a recording, in sentences.

use std::fmt;
use std::path::PathBuf;

/// Why traffic could not be recorded, read or replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrafficError {
    /// The file cannot be made, read or written.
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The broker is being recorded already.
    Busy {
        /// Where to.
        path: PathBuf,
    },
    /// The recording ended before it was asked to: what came later is not in the file, and the file says so.
    Incomplete {
        /// Why.
        gap: Gap,
        /// Requests, answers and ends of connections that are in the file.
        entries: u64,
        /// Those that are not.
        lost: u64,
    },
    /// The task that writes the file is gone: its runtime has ended. The file has a readable beginning.
    Aborted,
    /// The file is none of this kind, or of a version that this program does not know.
    Format(String),
    /// The file ends in the middle, or without its end mark: whoever recorded has crashed, or still records.
    Truncated {
        /// Where the last whole entry ends, in bytes.
        position: u64,
        /// What is missing.
        reason: String,
    },
    /// Bytes are not those that were written.
    Corrupt {
        /// Where the entry begins, in bytes.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The target of a replay cannot be reached, or is closed.
    Target(String),
}

impl fmt::Display for TrafficError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrafficError::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            TrafficError::Busy { path } => {
                write!(f, "this broker is being recorded to {} already: finish that recording first", path.display())
            }
            TrafficError::Incomplete { gap, entries, lost } => write!(
                f,
                "the recording ended early: {gap}; {entries} entries are in the file and {lost} were lost after them"
            ),
            TrafficError::Aborted => f.write_str("the recording was cut off: the runtime that wrote it has ended"),
            TrafficError::Format(reason) => f.write_str(reason),
            TrafficError::Truncated { position, reason } => {
                write!(f, "the recording ends early, at byte {position}: {reason}; what stands before is whole")
            }
            TrafficError::Corrupt { position, reason } => {
                write!(f, "the recording is damaged at byte {position}: {reason}; what stands before is whole")
            }
            TrafficError::Target(reason) => write!(f, "the target of the replay: {reason}"),
        }
    }
}

impl std::error::Error for TrafficError {}

/// Why a recording has a gap at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// The file could not be written as fast as requests came.
    QueueFull,
    /// The file has the size that it was allowed.
    SizeMax,
    /// The disk refused, for this reason.
    Disk(String),
}

impl Gap {
    pub(crate) fn code(&self) -> i8 {
        match self {
            Gap::QueueFull => 1,
            Gap::SizeMax => 2,
            Gap::Disk(_) => 3,
        }
    }

    pub(crate) fn of(code: i8, text: &str) -> Option<Gap> {
        match code {
            1 => Some(Gap::QueueFull),
            2 => Some(Gap::SizeMax),
            3 => Some(Gap::Disk(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::QueueFull => f.write_str(
                "requests came faster than the file could be written (a larger queue_bytes, or a faster disk, takes more)",
            ),
            Gap::SizeMax => f.write_str("the file has reached its size_max"),
            Gap::Disk(reason) => write!(f, "the file could not be written: {reason}"),
        }
    }
}
