//! The names of a partition's directory and files: `<topic>-<partition>/`, in it files named by the 20-digit base offset of
//! their segment. Only names; nothing is opened here.

use std::path::{Path, PathBuf};

use ottla_model::{TopicPartition, Uuid};

pub(crate) const LOG: &str = "log";
pub(crate) const INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const SNAPSHOT: &str = "snapshot";
pub(crate) const DELETED: &str = ".deleted";
pub(crate) const CLEANED: &str = ".cleaned";
pub(crate) const SWAP: &str = ".swap";
pub(crate) const DELETE_DIR: &str = "-delete";
const FUTURE_DIR: &str = "-future";
const STRAY_DIR: &str = "-stray";
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// The longest name that Kafka gives to a partition's directory, also with `.<uuid>-delete` behind it.
const DIR_NAME_MAX: usize = 255;

/// The path of a segment's file.
pub(crate) fn segment_file(dir: &Path, base_offset: i64, extension: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}.{extension}"))
}

/// The base offset and what follows it (`log`, `index`, `log.deleted` …), if the name is a segment's file.
pub(crate) fn parse_segment_file(name: &str) -> Option<(i64, &str)> {
    let (digits, rest) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

/// The name of a partition's directory.
pub fn dir_name(partition: &TopicPartition) -> String {
    format!("{}-{}", partition.topic, partition.partition)
}

/// The partition that a directory of this name holds; `None` for other names and for `-delete`, `-future` and `-stray`
/// directories.
pub fn parse_dir_name(name: &str) -> Option<TopicPartition> {
    if name.ends_with(DELETE_DIR) || name.ends_with(FUTURE_DIR) || name.ends_with(STRAY_DIR) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() || partition.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition { topic: topic.into(), partition: partition.parse().ok()? })
}

/// The name a partition's directory takes while its deletion is pending: `<topic>-<partition>.<uuid without dashes>-delete`,
/// the front cut so that the whole fits a file name.
pub(crate) fn delete_dir_name(partition: &TopicPartition, unique: Uuid) -> String {
    let hex: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{}.{hex}{DELETE_DIR}", partition.partition);
    let topic_len = partition.topic.len().min(DIR_NAME_MAX - suffix.len());
    format!("{}{suffix}", &partition.topic[..topic_len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert_eq!(segment_file(Path::new("d"), 170, LOG), Path::new("d/00000000000000000170.log"));
        assert_eq!(parse_segment_file("00000000000000000170.index"), Some((170, "index")));
        assert_eq!(parse_segment_file("00000000000000000170.log.deleted"), Some((170, "log.deleted")));
        assert_eq!(parse_segment_file("170.log"), None);
        assert_eq!(parse_segment_file("leader-epoch-checkpoint"), None);

        let partition = TopicPartition { topic: "a-b-1".into(), partition: 12 };
        assert_eq!(dir_name(&partition), "a-b-1-12");
        assert_eq!(parse_dir_name("a-b-1-12"), Some(partition.clone()));
        assert_eq!(parse_dir_name("a-1.0123-delete"), None);
        assert_eq!(parse_dir_name("lost+found"), None);
        assert!(
            delete_dir_name(&partition, Uuid::METADATA_TOPIC_ID)
                .ends_with("-12.00000000000000000000000000000001-delete")
        );
        let long = TopicPartition { topic: "x".repeat(249).as_str().into(), partition: 7 };
        assert_eq!(delete_dir_name(&long, Uuid::ZERO).len(), DIR_NAME_MAX);
    }
}
