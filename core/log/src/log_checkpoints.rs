//! The checkpoints of a broker's log directories: for each kind one file a directory, with an offset for each of its
//! partitions. A file that would be written as it is already is left alone, so that a broker at rest does not write.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicPartition;
use parking_lot::Mutex;

use crate::checkpoint::OffsetCheckpoint;
use crate::error::{IoContext, LogError};
use crate::log_manager::LogManager;
use crate::unified_log::Log;

/// What was written last, by the file's name: the offset of each log, in their order. Forgotten when a log comes or goes.
pub(crate) type Written = Mutex<BTreeMap<&'static str, Vec<Option<i64>>>>;

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
        // Held while the file is written, so that the newer of two writers is the later one.
        let mut written = self.written.lock();
        let logs = self.logs();
        let offsets = logs.iter().map(|log| offset_of(log));
        if let Some(last) = written.get(name)
            && offsets.clone().eq(last.iter().copied())
        {
            return Ok(());
        }
        let offsets: Vec<Option<i64>> = offsets.collect();
        written.remove(name);
        for dir in self.dirs() {
            let of_dir = logs.iter().zip(&offsets).filter(|(log, _)| log.dir().parent() == Some(dir));
            let entry = |(log, offset): (&Arc<Log>, &Option<i64>)| Some((log.topic_partition().clone(), (*offset)?));
            let entries: BTreeMap<TopicPartition, i64> = of_dir.filter_map(entry).collect();
            let checkpoint = OffsetCheckpoint::new(dir, name);
            checkpoint.write(self.env(), &entries, self.syncs()).context("write", checkpoint.path())?;
        }
        written.insert(name, offsets);
        Ok(())
    }
}
