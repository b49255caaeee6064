//! The checkpoints of a broker's log directories: for each kind one file a directory, with an offset for each of its
//! partitions. A file that would be written as it is already is left alone, so that a broker at rest does not write.

use std::collections::BTreeMap;

use ottla_model::TopicPartition;
use parking_lot::Mutex;

use crate::checkpoint::OffsetCheckpoint;
use crate::error::{IoContext, LogError};
use crate::log_manager::LogManager;
use crate::unified_log::Log;

/// What was written last to each file of each directory, by the directory's number and the file's name.
pub(crate) type Written = Mutex<BTreeMap<(usize, &'static str), BTreeMap<TopicPartition, i64>>>;

impl LogManager {
    /// Writes `recovery-point-offset-checkpoint` of each directory.
    pub fn checkpoint_recovery_points(&self) -> Result<(), LogError> {
        self.write_checkpoints(OffsetCheckpoint::RECOVERY_POINT, |log| Some(log.recovery_point()))
    }

    /// Writes `log-start-offset-checkpoint`: the logs that start within a segment.
    pub fn checkpoint_log_start_offsets(&self) -> Result<(), LogError> {
        self.write_checkpoints(OffsetCheckpoint::LOG_START, |log| {
            let offset = log.log_start_offset();
            let first = log.segments().first().map_or(0, |segment| segment.base_offset);
            (offset > first).then_some(offset)
        })
    }

    /// Writes `replication-offset-checkpoint`: the high watermarks.
    pub fn checkpoint_high_watermarks(&self) -> Result<(), LogError> {
        self.write_checkpoints(OffsetCheckpoint::REPLICATION, |log| Some(log.high_watermark()))
    }

    /// Writes `cleaner-offset-checkpoint`: up to where each compacted log was cleaned.
    pub fn checkpoint_cleaner_offsets(&self) -> Result<(), LogError> {
        self.write_checkpoints(OffsetCheckpoint::CLEANER, |log| log.first_dirty_offset())
    }

    fn write_checkpoints(&self, name: &'static str, offset_of: impl Fn(&Log) -> Option<i64>) -> Result<(), LogError> {
        let logs = self.logs();
        // Held while the file is written, so that the newer of two writers is the later one.
        let mut written = self.written.lock();
        for (at, dir) in self.dirs().enumerate() {
            let mut entries = BTreeMap::new();
            for log in logs.iter().filter(|log| log.dir().parent() == Some(dir)) {
                if let Some(offset) = offset_of(log) {
                    entries.insert(log.topic_partition().clone(), offset);
                }
            }
            if written.get(&(at, name)) == Some(&entries) {
                continue;
            }
            let checkpoint = OffsetCheckpoint::new(dir, name);
            checkpoint.write(self.env(), &entries, self.syncs()).context("write", checkpoint.path())?;
            written.insert((at, name), entries);
        }
        Ok(())
    }
}
