//! A second log with the same content, at hardly any cost: sealed segments and their indexes are shared, the rest is small.
//!
//! What may be shared is what is never written in place any more. Appends go to the active segment only, which is not
//! shared: if it is small it is copied, else it is rolled first and then is a sealed one. The other writes in place are cuts
//! (truncation, recovery) and rebuilt indexes; they take a file for themselves first ([`ottla_env::Fs::unshare`]), on either
//! side. Deletion only takes names away. Files that are replaced as a whole (checkpoints, producer snapshots) are written anew.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_env::{Env, OpenMode as FileMode};
use ottla_model::{TopicPartition, Uuid};

use crate::checkpoint::OffsetCheckpoint;
use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::log_manager::{CLEAN_SHUTDOWN, LogManager};
use crate::names::{INDEX, LEADER_EPOCH_CHECKPOINT, LOG, TIME_INDEX, TXN_INDEX, dir_name, segment_file};
use crate::partition_metadata::PartitionMetadata;
use crate::unified_log::{Log, LogOpen, OpenMode, Writer};

/// An active segment up to this size is copied rather than rolled, so that forking often does not cut a log to pieces.
const COPIED_BYTES_MAX: u64 = 64 * 1024;

/// What was forked: what belongs into the checkpoints of the new log's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkedLog {
    /// The first offset that can be read.
    pub log_start_offset: i64,
    /// The base offset of the first segment.
    pub first_base_offset: i64,
    /// One past the last offset.
    pub log_end_offset: i64,
    /// Everything below was on the disk.
    pub recovery_point: i64,
    /// Up to where the log was cleaned, if it ever was.
    pub first_dirty_offset: Option<i64>,
}

impl Log {
    /// Makes a log with the same records, producers and leader epochs in the directory `dir` of `env`, which must not exist
    /// or be empty; to be opened with [`OpenMode::Clean`]. Appends wait meanwhile: every record that was acknowledged before
    /// this call is in it. `topic_id` replaces the topic's own.
    ///
    /// Blocks on the disk: for a link per file, and at most a roll. Where files cannot be linked, for copies.
    pub fn fork_into(&self, env: &Env, dir: &Path, topic_id: Option<Uuid>) -> Result<ForkedLog, LogError> {
        let mut writer = self.writer.lock();
        if writer.closed {
            let source = io::Error::other("the log is closed");
            return Err(LogError::Io { doing: "fork", path: self.dir(), source });
        }
        let log_end_offset = writer.log_end_offset;
        let size = writer.active.size().context("open", writer.active.path())?;
        if size > COPIED_BYTES_MAX {
            self.roll(&mut writer, log_end_offset, self.context.env.now_ms())?;
        }
        env.fs().create_dir_all(dir).context("create", dir)?;
        let segments = self.segments();
        for segment in segments.iter().filter(|segment| segment.base_offset != writer.active.base_offset) {
            if !segment.index_unchecked().is_written() {
                segment.finish()?;
            }
            for file in segment.files() {
                let from = file.path();
                let Some(name) = from.file_name() else { continue };
                match self.context.env.fs().link(&from, env.fs(), &dir.join(name)) {
                    // Not every segment has every index.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !has_extension(&from, LOG) => {}
                    linked => linked.context("link", from)?,
                }
            }
        }
        self.copy_active(&writer, env, dir)?;
        if !writer.producers.is_pristine() {
            writer.producers.write_to(env, dir).context("write a producer snapshot to", dir)?;
        }
        let epochs = self.epochs.read().text();
        let path = dir.join(LEADER_EPOCH_CHECKPOINT);
        env.fs().write_atomic(&path, epochs.as_bytes(), false).context("write", path)?;
        if let Some(topic_id) = topic_id.or_else(|| self.topic_id()) {
            PartitionMetadata { topic_id }.write(env, dir)?;
        }
        Ok(ForkedLog {
            log_start_offset: self.log_start_offset(),
            first_base_offset: segments.first().map_or(0, |segment| segment.base_offset),
            log_end_offset,
            recovery_point: self.recovery_point().min(log_end_offset),
            first_dirty_offset: self.first_dirty_offset(),
        })
    }

    /// The active segment's whole batches, in a file of its own. Its indexes begin empty: a lookup scans what there is.
    fn copy_active(&self, writer: &Writer, env: &Env, dir: &Path) -> Result<(), LogError> {
        let active = &writer.active;
        let path = active.path();
        let size = active.size().context("open", &path)?;
        let to = segment_file(dir, active.base_offset, LOG);
        self.context.env.fs().copy(&path, env.fs(), &to, size).context("copy", &path)?;
        if size > 0 {
            for extension in [INDEX, TIME_INDEX] {
                let path = segment_file(dir, active.base_offset, extension);
                env.fs().open(&path, FileMode::CreateNew).context("create", path)?;
            }
            // Aborted transactions are written at once, so the file has them all.
            let (from, to) = (path.with_extension(TXN_INDEX), segment_file(dir, active.base_offset, TXN_INDEX));
            match self.context.env.fs().copy(&from, env.fs(), &to, u64::MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied.context("copy", from)?,
            }
        }
        Ok(())
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

impl LogManager {
    /// Forks the logs that `wanted` wants into the directories of another broker, one for each of this one's, in their order;
    /// with checkpoints, and marked as closed in order. `meta.properties` is the caller's. Blocks on the disk.
    ///
    /// Log by log, internal topics first: what is committed or decided in them is there in the topics it is about.
    pub fn fork_into(
        &self,
        env: &Env,
        dirs: &[PathBuf],
        wanted: impl Fn(&TopicPartition) -> bool,
        broker_epoch: i64,
    ) -> Result<(), LogError> {
        let mut logs = self.logs();
        logs.retain(|log| wanted(log.topic_partition()));
        logs.sort_by_key(|log| !log.topic_partition().topic.starts_with("__"));
        let own: Vec<PathBuf> = self.dirs().map(Path::to_path_buf).collect();
        let mut forked: Vec<BTreeMap<TopicPartition, ForkedLog>> = vec![BTreeMap::new(); dirs.len()];
        for log in logs {
            let at = own.iter().position(|dir| log.dir().parent() == Some(dir)).unwrap_or(0);
            let (Some(dir), Some(forked)) = (dirs.get(at), forked.get_mut(at)) else { continue };
            let partition = log.topic_partition().clone();
            let log = log.fork_into(env, &dir.join(dir_name(&partition)), None)?;
            forked.insert(partition, log);
        }
        for (dir, forked) in dirs.iter().zip(&forked) {
            env.fs().create_dir_all(dir).context("create", dir)?;
            let write = |name: &str, offset: &dyn Fn(&ForkedLog) -> Option<i64>| {
                let entry = |(partition, log): (&TopicPartition, &ForkedLog)| Some((partition.clone(), offset(log)?));
                let checkpoint = OffsetCheckpoint::new(dir, name);
                let entries = forked.iter().filter_map(entry).collect();
                checkpoint.write(env, &entries, false).context("write", checkpoint.path())
            };
            write(OffsetCheckpoint::RECOVERY_POINT, &|log| Some(log.recovery_point))?;
            write(OffsetCheckpoint::REPLICATION, &|log| Some(log.log_end_offset))?;
            write(OffsetCheckpoint::CLEANER, &|log| log.first_dirty_offset)?;
            write(OffsetCheckpoint::LOG_START, &|log| {
                (log.log_start_offset > log.first_base_offset).then_some(log.log_start_offset)
            })?;
            let path = dir.join(CLEAN_SHUTDOWN);
            let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
            env.fs().write_atomic(&path, content.as_bytes(), false).context("write", path)?;
        }
        Ok(())
    }

    /// Forks `source`, a log of this manager, as the log of `partition` beside it, and opens that one. An error where there is
    /// such a log or directory already.
    pub fn fork_log(
        &self,
        source: &Log,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, LogError> {
        let env = self.env();
        let dir = source.dir().with_file_name(dir_name(partition));
        if self.get(partition).is_some() || env.fs().exists(&dir) {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(LogError::Io { doing: "fork into", path: dir, source });
        }
        let opened = source.fork_into(env, &dir, Some(topic_id)).and_then(|forked| {
            let log_start_offset = forked.log_start_offset;
            let (partition, topic_id, mode) = (partition.clone(), Some(topic_id), OpenMode::Clean);
            let log = LogOpen { env, dir: &dir, partition, topic_id, config, mode, log_start_offset }.open()?;
            log.set_high_watermark(forked.log_end_offset);
            if let Some(offset) = forked.first_dirty_offset {
                log.set_first_dirty_offset(offset);
            }
            Ok(Arc::new(log))
        });
        match opened {
            Ok(log) => {
                self.insert(log.clone());
                Ok(log)
            }
            Err(error) => {
                let _ = env.fs().remove_dir_all(&dir);
                Err(error)
            }
        }
    }
}
