//! Kafka's text checkpoint files: a version line, a count line, then one entry a line. [`OffsetCheckpoint`] is the kind that
//! lies in a log directory and maps partitions to offsets (`recovery-point-offset-checkpoint`,
//! `log-start-offset-checkpoint`, `replication-offset-checkpoint`, `cleaner-offset-checkpoint`); the leader epochs of a
//! partition use the same frame.
//!
//! ```text
//! 0
//! 2
//! orders 0 1734
//! orders 1 1689
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ottla_env::Env;
use ottla_model::TopicPartition;

const VERSION: &str = "0";
/// A checkpoint larger than this is not read: 64 MiB hold a million partitions.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a checkpoint could not be read or written.
#[derive(Debug)]
pub enum CheckpointError {
    /// The file system refused.
    Io(io::Error),
    /// The file's text is not a checkpoint.
    Malformed(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Io(error) => error.fmt(f),
            CheckpointError::Malformed(reason) => write!(f, "not a checkpoint: {reason}"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl From<io::Error> for CheckpointError {
    fn from(error: io::Error) -> Self {
        CheckpointError::Io(error)
    }
}

/// The entry lines of a checkpoint's text, counted and version checked.
pub(crate) fn parse_lines(text: &[u8]) -> Result<Vec<&str>, CheckpointError> {
    let malformed = |reason: String| CheckpointError::Malformed(reason);
    if text.len() > FILE_BYTES_MAX {
        return Err(malformed(format!("{} bytes long", text.len())));
    }
    let text = std::str::from_utf8(text).map_err(|_| malformed("not UTF-8".into()))?;
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => {}
        Some(other) => return Err(malformed(format!("version {other:?}, expected {VERSION}"))),
        None => return Err(malformed("empty file".into())),
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| malformed("no number of entries".into()))?;
    let entries: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if entries.len() != count {
        return Err(malformed(format!("{} entries, expected {count}", entries.len())));
    }
    Ok(entries)
}

/// The text of a checkpoint with these entry lines.
pub(crate) fn format_lines(entries: impl ExactSizeIterator<Item = impl fmt::Display>) -> String {
    use std::fmt::Write;
    let mut text = format!("{VERSION}\n{}\n", entries.len());
    for entry in entries {
        writeln!(text, "{entry}").expect("writing to a String cannot fail");
    }
    text
}

/// A file of partitions and offsets.
#[derive(Clone, Debug)]
pub struct OffsetCheckpoint {
    path: PathBuf,
}

impl OffsetCheckpoint {
    /// Up to where each partition's log is flushed and need not be recovered.
    pub const RECOVERY_POINT: &'static str = "recovery-point-offset-checkpoint";
    /// Where each partition's log starts, if that is not where its first segment does.
    pub const LOG_START: &'static str = "log-start-offset-checkpoint";
    /// Each partition's high watermark.
    pub const REPLICATION: &'static str = "replication-offset-checkpoint";
    /// Up to where each compacted partition was cleaned.
    pub const CLEANER: &'static str = "cleaner-offset-checkpoint";

    /// The checkpoint of this name in a log directory; nothing is opened yet.
    pub fn new(log_dir: &Path, name: &str) -> OffsetCheckpoint {
        OffsetCheckpoint { path: log_dir.join(name) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All entries; none if there is no file.
    pub fn read(&self, env: &Env) -> Result<BTreeMap<TopicPartition, i64>, CheckpointError> {
        let text = match env.fs().read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let mut entries = BTreeMap::new();
        for line in parse_lines(&text)? {
            let mut parts = line.rsplitn(3, ' ');
            let entry = (|| {
                let offset = parts.next()?.parse::<i64>().ok()?;
                let partition = parts.next()?.parse().ok()?;
                let topic = parts.next()?;
                Some((TopicPartition { topic: topic.into(), partition }, offset))
            })();
            let (partition, offset) = entry.ok_or_else(|| CheckpointError::Malformed(format!("line {line:?}")))?;
            entries.insert(partition, offset);
        }
        Ok(entries)
    }

    /// Replaces the file as a whole; with `sync` it is on the disk when this returns.
    pub fn write(&self, env: &Env, entries: &BTreeMap<TopicPartition, i64>, sync: bool) -> io::Result<()> {
        let lines =
            entries.iter().map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition));
        env.fs().write_atomic(&self.path, format_lines(lines).as_bytes(), sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let env = Env::memory();
        let dir = Path::new("/data");
        env.fs().create_dir_all(dir).unwrap();
        let checkpoint = OffsetCheckpoint::new(dir, OffsetCheckpoint::LOG_START);
        assert!(checkpoint.read(&env).unwrap().is_empty());
        let mut entries = BTreeMap::new();
        entries.insert(TopicPartition { topic: "orders".into(), partition: 1 }, 1689);
        entries.insert(TopicPartition { topic: "orders".into(), partition: 0 }, 1734);
        checkpoint.write(&env, &entries, true).unwrap();
        assert_eq!(env.fs().read(checkpoint.path()).unwrap(), b"0\n2\norders 0 1734\norders 1 1689\n");
        assert_eq!(checkpoint.read(&env).unwrap(), entries);

        for bad in ["", "1\n0\n", "0\n2\norders 0 1\n", "0\n1\norders zero 1\n", "0\nx\n", "0\n1\norders 1\n"] {
            env.fs().write_atomic(checkpoint.path(), bad.as_bytes(), false).unwrap();
            assert!(matches!(checkpoint.read(&env), Err(CheckpointError::Malformed(_))), "{bad:?}");
        }
    }
}
