//! `partition.metadata`, the file in a partition's directory that holds the topic's id:
//!
//! ```text
//! version: 0
//! topic_id: AAAAAAAAAAAAAAAAAAAAAQ
//! ```

use std::io;
use std::path::Path;

use ottla_env::Env;
use ottla_model::Uuid;

use crate::error::{IoContext, LogError};
use crate::names::PARTITION_METADATA;

/// The file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The id of the partition's topic.
    pub topic_id: Uuid,
}

impl PartitionMetadata {
    /// Reads the file of this partition's directory; `None` if there is none.
    pub fn read(env: &Env, dir: &Path) -> Result<Option<PartitionMetadata>, LogError> {
        let path = dir.join(PARTITION_METADATA);
        let text = match env.fs().read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LogError::Io { doing: "read", path, source }),
        };
        match Self::parse(&String::from_utf8_lossy(&text)) {
            Some(metadata) => Ok(Some(metadata)),
            None => Err(LogError::corrupt(path, "expected the lines `version: 0` and `topic_id: <id>`")),
        }
    }

    fn parse(text: &str) -> Option<PartitionMetadata> {
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version:")?.trim();
        let topic_id = lines.next()?.strip_prefix("topic_id:")?.trim();
        (version == "0").then_some(())?;
        Some(PartitionMetadata { topic_id: topic_id.parse().ok()? })
    }

    /// Writes the file; not synced, a missing one is written again when the partition is opened.
    pub fn write(&self, env: &Env, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(PARTITION_METADATA);
        let text = format!("version: 0\ntopic_id: {}", self.topic_id);
        env.fs().write_atomic(&path, text.as_bytes(), false).context("write", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let env = Env::memory();
        let dir = Path::new("/t-0");
        env.fs().create_dir_all(dir).unwrap();
        assert_eq!(PartitionMetadata::read(&env, dir).unwrap(), None);
        let metadata = PartitionMetadata { topic_id: Uuid::METADATA_TOPIC_ID };
        metadata.write(&env, dir).unwrap();
        assert_eq!(PartitionMetadata::read(&env, dir).unwrap(), Some(metadata));
        assert_eq!(
            env.fs().read(&dir.join(PARTITION_METADATA)).unwrap(),
            b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"
        );
        for bad in ["", "version: 0\n", "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", "version: 0\ntopic_id: ?"] {
            assert_eq!(PartitionMetadata::parse(bad), None, "{bad:?}");
        }
    }
}
