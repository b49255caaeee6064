//! [`Log`]: one partition's log, from its start offset to its end offset. This file holds its state, how it is opened and
//! how it grows a new segment; the operations are in the files named after them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ottla_env::Env;
use ottla_model::{TopicPartition, Uuid};
use parking_lot::{Mutex, RwLock};

use crate::cleaner::CleanerState;
use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::lazy_file::LogDir;
use crate::leader_epoch::{EpochEntry, LeaderEpochCache};
use crate::partition_metadata::PartitionMetadata;
use crate::producer_state::{ProducerState, ProducerStateEntry};
use crate::recovery;
use crate::segment::{Segment, SegmentContext};

/// No transaction is open.
const NO_UNSTABLE: i64 = i64::MAX;

/// In what state the files are when a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The log was closed in order: its files are trusted.
    Clean,
    /// It may not have been: everything from the recovery point's segment on is read and checked. 0 checks all.
    Recover {
        /// The offset below which everything was flushed.
        recovery_point: i64,
    },
}

/// One partition's log.
pub struct Log {
    pub(crate) context: SegmentContext,
    pub(crate) partition: TopicPartition,
    topic_id: Mutex<Option<Uuid>>,
    config: RwLock<Arc<LogConfig>>,
    /// Guards everything that changes the log: appends, rolls, truncation, deletion. Held during a write of a batch.
    pub(crate) writer: Mutex<Writer>,
    /// The segments, the active one last. Replaced as a whole, so that readers hold the lock for an instant only.
    pub(crate) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// Where the log ends, as offset and as place, always of the same moment.
    end: Mutex<LogEnd>,
    pub(crate) epochs: RwLock<LeaderEpochCache>,
    log_start_offset: AtomicI64,
    log_end_offset: AtomicI64,
    high_watermark: AtomicI64,
    first_unstable_offset: AtomicI64,
    recovery_point: AtomicI64,
    /// Counts truncations: what was measured before one does not hold after it.
    pub(crate) truncations: AtomicU64,
    /// Counts replacements of segments by cleaned ones: what was found in an old one may be asked for again.
    pub(crate) replacements: AtomicU64,
    /// What the cleaner keeps of this log.
    pub(crate) cleaner: CleanerState,
    pub(crate) last_flush_ms: AtomicI64,
    /// Held during a flush, so that waiting ones share its result. Guards the base offset of the newest segment whose
    /// directory entry is on the disk.
    pub(crate) flushing: Mutex<i64>,
    /// Files that are renamed to `.deleted`, with the time (ms) from which they may go.
    pub(crate) trash: Mutex<Vec<(i64, PathBuf)>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("partition", &self.partition)
            .field("log_start_offset", &self.log_start_offset())
            .field("log_end_offset", &self.log_end_offset())
            .field("high_watermark", &self.high_watermark())
            .finish_non_exhaustive()
    }
}

/// What only the writer changes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) active: Arc<Segment>,
    pub(crate) producers: ProducerState,
    pub(crate) log_end_offset: i64,
    /// No append is accepted any more.
    pub(crate) closed: bool,
    /// The files have their final form, or are deleted.
    pub(crate) finished: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEnd {
    pub(crate) offset: i64,
    /// The active segment.
    pub(crate) base_offset: i64,
    /// Its size.
    pub(crate) position: u64,
}

/// What is needed to open a log; [`Log::open`] is the short form.
pub(crate) struct LogOpen<'a> {
    pub(crate) env: &'a Env,
    pub(crate) dir: &'a Path,
    pub(crate) partition: TopicPartition,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) mode: OpenMode,
    /// From the log directory's checkpoint.
    pub(crate) log_start_offset: i64,
}

impl Log {
    /// Opens the log in the directory `dir`, or makes an empty one. Blocks on the disk.
    ///
    /// A topic id is written to `partition.metadata` if the file is missing; if it names another one, that is an error. The
    /// high watermark is the log start offset until the owner sets it.
    pub fn open(
        env: &Env,
        dir: &Path,
        partition: TopicPartition,
        topic_id: Option<Uuid>,
        config: Arc<LogConfig>,
        mode: OpenMode,
    ) -> Result<Log, LogError> {
        Log::open_from(env, dir, partition, topic_id, config, mode, 0)
    }

    /// As [`Log::open`], for a log whose start offset was moved into its first segment (DeleteRecords); the owner keeps that
    /// offset in a checkpoint.
    pub fn open_from(
        env: &Env,
        dir: &Path,
        partition: TopicPartition,
        topic_id: Option<Uuid>,
        config: Arc<LogConfig>,
        mode: OpenMode,
        log_start_offset: i64,
    ) -> Result<Log, LogError> {
        LogOpen { env, dir, partition, topic_id, config, mode, log_start_offset }.open()
    }
}

impl LogOpen<'_> {
    pub(crate) fn open(self) -> Result<Log, LogError> {
        let env = self.env;
        let names = match env.fs().read_dir(self.dir) {
            Ok(entries) => entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                env.fs().create_dir_all(self.dir).context("create", self.dir)?;
                Vec::new()
            }
            Err(source) => return Err(LogError::Io { doing: "list", path: self.dir.into(), source }),
        };
        let is_new = names.is_empty();
        let topic_id = self.check_topic_id(is_new)?;
        let context = SegmentContext { env: env.clone(), dir: LogDir::new(self.dir) };
        let loaded = if is_new {
            recovery::create_empty(&context, &self.config, self.log_start_offset.max(0))?
        } else {
            recovery::load(&context, &self.config, names, self.mode, self.log_start_offset)?
        };
        let active = loaded.segments.last().expect("loading leaves at least one segment").clone();
        let position = active.size().context("open", active.path())?;
        let log = Log {
            context,
            partition: self.partition,
            topic_id: Mutex::new(topic_id),
            config: RwLock::new(self.config),
            end: Mutex::new(LogEnd { offset: loaded.log_end_offset, base_offset: active.base_offset, position }),
            segments: RwLock::new(Arc::new(loaded.segments)),
            epochs: RwLock::new(loaded.epochs),
            log_start_offset: AtomicI64::new(loaded.log_start_offset),
            log_end_offset: AtomicI64::new(loaded.log_end_offset),
            high_watermark: AtomicI64::new(loaded.log_start_offset),
            first_unstable_offset: AtomicI64::new(NO_UNSTABLE),
            recovery_point: AtomicI64::new(loaded.recovery_point),
            truncations: AtomicU64::new(0),
            replacements: AtomicU64::new(0),
            cleaner: CleanerState::default(),
            last_flush_ms: AtomicI64::new(env.now_ms()),
            flushing: Mutex::new(-1),
            trash: Mutex::new(Vec::new()),
            writer: Mutex::new(Writer {
                active,
                producers: loaded.producers,
                log_end_offset: loaded.log_end_offset,
                closed: false,
                finished: false,
            }),
        };
        log.publish_first_unstable(&log.writer.lock());
        Ok(log)
    }

    fn check_topic_id(&self, is_new: bool) -> Result<Option<Uuid>, LogError> {
        let stored = if is_new { None } else { PartitionMetadata::read(self.env, self.dir)? };
        match (stored, self.topic_id) {
            (Some(stored), Some(expected)) if stored.topic_id != expected => Err(LogError::corrupt(
                self.dir.join(crate::names::PARTITION_METADATA),
                format!("it names the topic id {}, expected {expected}", stored.topic_id),
            )),
            (None, Some(topic_id)) => {
                PartitionMetadata { topic_id }.write(self.env, self.dir)?;
                Ok(Some(topic_id))
            }
            (stored, _) => Ok(stored.map(|stored| stored.topic_id)),
        }
    }
}

impl Log {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The topic's id, if it is known.
    pub fn topic_id(&self) -> Option<Uuid> {
        *self.topic_id.lock()
    }

    /// Gives a log its topic's id, which is written to `partition.metadata`, if it has none yet; an error if it has another.
    pub fn assign_topic_id(&self, topic_id: Uuid) -> Result<(), LogError> {
        let mut known = self.topic_id.lock();
        match *known {
            Some(known) if known == topic_id => Ok(()),
            Some(known) => Err(LogError::corrupt(
                self.dir().join(crate::names::PARTITION_METADATA),
                format!("it names the topic id {known}, expected {topic_id}"),
            )),
            None => {
                PartitionMetadata { topic_id }.write(&self.context.env, &self.dir())?;
                *known = Some(topic_id);
                Ok(())
            }
        }
    }

    /// The directory, which a deletion renames.
    pub fn dir(&self) -> PathBuf {
        self.context.dir.path()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().clone()
    }

    /// Replaces the configuration; it holds from the next operation on.
    pub fn update_config(&self, config: Arc<LogConfig>) {
        *self.config.write() = config;
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset.load(Ordering::Acquire)
    }

    /// One past the last offset.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset.load(Ordering::Acquire)
    }

    /// One past the last offset that all in-sync replicas have, as the owner has set it.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Raises the high watermark to `high_watermark`, at most to the log end offset; returns the one in force. It never goes
    /// back, so that two appenders may report in either order; only a truncation lowers it.
    pub fn set_high_watermark(&self, high_watermark: i64) -> i64 {
        let high_watermark = high_watermark.min(self.log_end_offset());
        let high_watermark = self.high_watermark.fetch_max(high_watermark, Ordering::AcqRel).max(high_watermark);
        // Most logs have no transaction: then the writer's lock is not touched.
        if self.first_unstable_offset.load(Ordering::Acquire) != NO_UNSTABLE {
            let mut writer = self.writer.lock();
            if writer.producers.has_unreplicated() {
                writer.producers.on_high_watermark(high_watermark);
                self.publish_first_unstable(&writer);
            }
        }
        high_watermark
    }

    /// The end for read-committed consumers: the high watermark, or the first offset of an unfinished transaction below it.
    pub fn last_stable_offset(&self) -> i64 {
        self.high_watermark().min(self.first_unstable_offset.load(Ordering::Acquire)).max(self.log_start_offset())
    }

    /// Everything below is on the disk and is not checked again after a crash; goes into the recovery point checkpoint.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point.load(Ordering::Acquire)
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments().iter().filter_map(|segment| segment.size().ok()).sum()
    }

    /// The number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments().len()
    }

    /// The base offsets of the segments, ascending.
    pub fn segment_base_offsets(&self) -> Vec<i64> {
        self.segments().iter().map(|segment| segment.base_offset).collect()
    }

    /// The producers that the log knows of, by id.
    pub fn active_producers(&self) -> BTreeMap<i64, ProducerStateEntry> {
        self.writer.lock().producers.entries().map(|entry| (entry.producer_id, *entry)).collect()
    }

    /// Whether this producer has a transaction open here.
    pub fn has_ongoing_transaction(&self, producer_id: i64, producer_epoch: i16) -> bool {
        self.writer
            .lock()
            .producers
            .get(producer_id)
            .is_some_and(|entry| entry.producer_epoch == producer_epoch && entry.current_txn_first_offset.is_some())
    }

    /// Forgets producers that have been idle for `producer.id.expiration.ms`.
    pub fn remove_expired_producers(&self, now_ms: i64) {
        let expiration_ms = self.config().producer_id_expiration_ms;
        self.writer.lock().producers.remove_expired(now_ms, expiration_ms);
    }

    /// The latest leader epoch that the log holds.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.read().latest().map(|entry| entry.epoch)
    }

    /// The leader epochs of the log's offsets, ascending.
    pub fn epoch_entries(&self) -> Vec<EpochEntry> {
        self.epochs.read().entries().to_vec()
    }

    /// A new leader epoch begins at `start_offset` (a new leader's log end offset), before its first batch.
    pub fn assign_epoch_start_offset(&self, epoch: i32, start_offset: i64) {
        self.epochs.write().assign(epoch, start_offset);
    }

    /// The segments at this moment.
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.read().clone()
    }

    pub(crate) fn end(&self) -> LogEnd {
        *self.end.lock()
    }

    pub(crate) fn publish_end(&self, offset: i64, base_offset: i64, position: u64) {
        *self.end.lock() = LogEnd { offset, base_offset, position };
        self.log_end_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn publish_first_unstable(&self, writer: &Writer) {
        let offset = writer.producers.first_unstable_offset();
        let offset = offset.map_or(NO_UNSTABLE, |offset| offset.max(self.log_start_offset()));
        self.first_unstable_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn set_log_start_offset(&self, offset: i64) {
        self.log_start_offset.store(offset, Ordering::Release);
        self.high_watermark.fetch_max(offset, Ordering::AcqRel);
    }

    /// After a truncation.
    pub(crate) fn lower_to_end(&self, log_end_offset: i64) {
        self.high_watermark.fetch_min(log_end_offset, Ordering::AcqRel);
        self.recovery_point.fetch_min(log_end_offset, Ordering::AcqRel);
    }

    pub(crate) fn reset_log_start_offset(&self, offset: i64) {
        self.log_start_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn set_high_watermark_unclamped(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
    }

    pub(crate) fn raise_recovery_point(&self, offset: i64) {
        self.recovery_point.fetch_max(offset, Ordering::AcqRel);
    }

    pub(crate) fn reset_recovery_point(&self, offset: i64) {
        self.recovery_point.store(offset, Ordering::Release);
    }

    /// Begins a new segment if the active one is full or old (`segment.ms`), although nothing is appended; true if it did.
    pub fn maybe_roll(&self, now_ms: i64) -> Result<bool, LogError> {
        let config = self.config();
        let mut writer = self.writer.lock();
        let segment = writer.active.clone();
        let size = segment.size().context("open", segment.path())?;
        let due = size > 0
            && (size >= u64::from(config.segment_bytes)
                || segment.waited_ms(now_ms, now_ms)? > config.segment_ms_max() - segment.jitter_ms);
        if due && !writer.closed {
            let log_end_offset = writer.log_end_offset;
            self.roll(&mut writer, log_end_offset, now_ms)?;
        }
        Ok(due)
    }

    /// Begins a new segment at `base_offset`. The old one's indexes get their final form, and the producers' state is kept in
    /// a snapshot, so that recovery can start at the new segment.
    pub(crate) fn roll(&self, writer: &mut Writer, base_offset: i64, now_ms: i64) -> Result<(), LogError> {
        let config = self.config();
        let (env, dir) = (&self.context.env, self.dir());
        let base_offset = base_offset.max(writer.log_end_offset);
        let old = writer.active.clone();
        if old.base_offset == base_offset && old.size().context("open", old.path())? == 0 {
            return Ok(());
        }
        old.finish()?;
        let jitter_ms = config.draw_jitter_ms(env);
        let segment = Segment::create(&self.context, base_offset, config.index_interval_bytes, now_ms, jitter_ms)
            .context("create a segment in", &dir)?;
        writer.producers.set_map_end_offset(base_offset);
        if let Err(error) = writer.producers.take_snapshot(env, &dir, false) {
            tracing::warn!(dir = %dir.display(), %error, "cannot write a producer snapshot");
        }
        let segment = Arc::new(segment);
        writer.active = segment.clone();
        {
            let mut segments = self.segments.write();
            let mut list = Vec::with_capacity(segments.len() + 1);
            list.extend(segments.iter().cloned());
            list.push(segment);
            *segments = Arc::new(list);
        }
        self.publish_end(writer.log_end_offset, base_offset, 0);
        Ok(())
    }
}
