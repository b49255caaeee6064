//! All logs of a broker's log directories: locking the directories, loading the partitions in parallel, checkpoints, the
//! clean-shutdown marker, retention, deletion, closing. Which partitions the broker should have is not decided here.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ottla_env::{DirLock, Env, LockError};
use ottla_model::{TopicPartition, Uuid};
use parking_lot::{Mutex, RwLock};

use crate::checkpoint::OffsetCheckpoint;
use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::log_checkpoints::Written;
use crate::names::{DELETE_DIR, dir_name, parse_dir_name};
use crate::unified_log::{Log, LogOpen, OpenMode};

pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Not a partition of the broker's: its log belongs to the metadata quorum.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Up to so many logs are synced one by one when they are closed; more are synced together.
const SYNC_EACH_MAX: usize = 16;

/// How a [`LogManager`] works; the defaults are Kafka's where it has such a config.
#[derive(Clone, Debug)]
pub struct LogManagerOptions {
    /// `num.recovery.threads.per.data.dir`, for all directories together: threads that load and close logs.
    pub threads: usize,
    /// Whether checkpoints, the clean-shutdown marker and closed logs are synced to the disk. Off, they survive the process
    /// but not a power failure.
    pub sync: bool,
    /// Which configuration a log found on the disk gets; may be replaced later ([`Log::update_config`]).
    pub default_config: Arc<LogConfig>,
}

impl Default for LogManagerOptions {
    fn default() -> Self {
        LogManagerOptions { threads: 2, sync: true, default_config: Arc::default() }
    }
}

/// What the last run left in a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanShutdown {
    /// There was no marker: a crash, or a new directory.
    No,
    /// The last run closed its logs.
    Yes {
        /// Its broker epoch (KIP-966), −1 if it wrote none.
        broker_epoch: i64,
    },
}

#[derive(Debug)]
struct LogDirectory {
    path: PathBuf,
    clean_shutdown: CleanShutdown,
    /// Held until the manager is closed or dropped.
    _lock: DirLock,
}

/// What loading did.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// How many logs are open.
    pub logs: usize,
    /// How many of them were recovered, their directory having no clean-shutdown marker.
    pub recovered: usize,
    /// Partitions that could not be opened; their files are as they were.
    pub failed: Vec<(TopicPartition, LogError)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// All logs of a broker.
#[derive(Debug)]
pub struct LogManager {
    env: Env,
    options: LogManagerOptions,
    dirs: Vec<LogDirectory>,
    logs: RwLock<BTreeMap<TopicPartition, Arc<Log>>>,
    /// Held while a log is made, so that two callers do not make the same one.
    creating: Mutex<()>,
    /// What the checkpoints hold.
    pub(crate) written: Written,
    /// Deleted logs with the time (ms) from which their files may go.
    deleted: Mutex<Vec<(i64, Arc<Log>)>>,
}

struct LoadJob {
    partition: TopicPartition,
    dir: PathBuf,
    mode: OpenMode,
    log_start_offset: i64,
    high_watermark: i64,
    first_dirty_offset: Option<i64>,
}

impl LogManager {
    /// Creates and locks the log directories (`log.dirs`); nothing is loaded yet. A directory that another process uses is an
    /// error that names its pid.
    pub fn open(env: &Env, dirs: &[PathBuf], options: LogManagerOptions) -> Result<LogManager, LogError> {
        let mut opened = Vec::with_capacity(dirs.len());
        for path in dirs {
            env.fs().create_dir_all(path).context("create", path)?;
            let lock = env.fs().lock(path).map_err(|error| match error {
                LockError::Held { dir, pid } => LogError::Locked { path: dir, pid },
                LockError::Io { dir, source } => LogError::Io { doing: "lock", path: dir, source },
            })?;
            let clean_shutdown = read_clean_shutdown(env, path);
            opened.push(LogDirectory { path: path.clone(), clean_shutdown, _lock: lock });
        }
        Ok(LogManager {
            env: env.clone(),
            options,
            dirs: opened,
            logs: RwLock::default(),
            creating: Mutex::new(()),
            written: Written::default(),
            deleted: Mutex::default(),
        })
    }

    /// The log directories.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|dir| dir.path.as_path())
    }

    /// What the last run left in each log directory, in their order.
    pub fn clean_shutdowns(&self) -> Vec<CleanShutdown> {
        self.dirs.iter().map(|dir| dir.clean_shutdown).collect()
    }

    /// The broker epoch of the last run if it closed all directories in order, else −1.
    pub fn previous_broker_epoch(&self) -> i64 {
        let epochs = self.dirs.iter().map(|dir| match dir.clean_shutdown {
            CleanShutdown::No => -1,
            CleanShutdown::Yes { broker_epoch } => broker_epoch,
        });
        epochs.min().unwrap_or(-1)
    }

    /// Opens all partitions in the log directories, on a bounded number of threads. The clean-shutdown markers are removed
    /// first, so that a crash from here on is seen by the next run. High watermarks are set from their checkpoint.
    ///
    /// `config_of` gives a log's configuration; `None` is the default one.
    pub async fn load(
        self: &Arc<Self>,
        config_of: impl Fn(&TopicPartition) -> Option<Arc<LogConfig>> + Send + Sync + 'static,
    ) -> Result<LoadReport, LogError> {
        let started = self.env.monotonic();
        let jobs = self.find_logs()?;
        let mut report = LoadReport { recovered: 0, ..LoadReport::default() };
        report.recovered = jobs.iter().filter(|job| job.mode != OpenMode::Clean).count();
        let config_of = Arc::new(config_of);
        let manager = self.clone();
        let results = self
            .on_threads(jobs, move |job| {
                let config = config_of(&job.partition).unwrap_or_else(|| manager.options.default_config.clone());
                let opened = LogOpen {
                    env: &manager.env,
                    dir: &job.dir,
                    partition: job.partition.clone(),
                    topic_id: None,
                    config,
                    mode: job.mode,
                    log_start_offset: job.log_start_offset,
                }
                .open();
                match opened {
                    Ok(log) => {
                        log.set_high_watermark(job.high_watermark);
                        if let Some(offset) = job.first_dirty_offset {
                            log.set_first_dirty_offset(offset);
                        }
                        Ok(Arc::new(log))
                    }
                    Err(error) => Err((job.partition, error)),
                }
            })
            .await;
        let mut logs = self.logs.write();
        for result in results {
            match result {
                Ok(log) => drop(logs.insert(log.topic_partition().clone(), log)),
                Err(failed) => report.failed.push(failed),
            }
        }
        report.logs = logs.len();
        report.elapsed = self.env.monotonic().saturating_sub(started);
        Ok(report)
    }

    fn find_logs(&self) -> Result<Vec<LoadJob>, LogError> {
        let mut jobs = Vec::new();
        for dir in &self.dirs {
            let fs = self.env.fs();
            match fs.remove_file(&dir.path.join(CLEAN_SHUTDOWN)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context("remove the clean-shutdown marker of", &dir.path);
                }
                _ => {}
            }
            let recovery_points = self.read_checkpoint(&dir.path, OffsetCheckpoint::RECOVERY_POINT);
            let log_starts = self.read_checkpoint(&dir.path, OffsetCheckpoint::LOG_START);
            let high_watermarks = self.read_checkpoint(&dir.path, OffsetCheckpoint::REPLICATION);
            let cleaned = self.read_checkpoint(&dir.path, OffsetCheckpoint::CLEANER);
            for entry in fs.read_dir(&dir.path).context("list", &dir.path)? {
                if !entry.is_dir {
                    continue;
                }
                let path = dir.path.join(&entry.name);
                if entry.name.ends_with(DELETE_DIR) {
                    if let Err(error) = fs.remove_dir_all(&path) {
                        tracing::warn!(path = %path.display(), %error, "cannot remove a deleted partition");
                    }
                    continue;
                }
                let Some(partition) = parse_dir_name(&entry.name) else { continue };
                if &*partition.topic == METADATA_TOPIC {
                    continue;
                }
                let mode = match dir.clean_shutdown {
                    CleanShutdown::Yes { .. } => OpenMode::Clean,
                    CleanShutdown::No => {
                        OpenMode::Recover { recovery_point: recovery_points.get(&partition).copied().unwrap_or(0) }
                    }
                };
                jobs.push(LoadJob {
                    mode,
                    log_start_offset: log_starts.get(&partition).copied().unwrap_or(0),
                    high_watermark: high_watermarks.get(&partition).copied().unwrap_or(0),
                    first_dirty_offset: cleaned.get(&partition).copied(),
                    dir: path,
                    partition,
                });
            }
        }
        Ok(jobs)
    }

    /// A checkpoint that cannot be read is as good as none: recovery then reads more than it would have to.
    fn read_checkpoint(&self, dir: &Path, name: &str) -> BTreeMap<TopicPartition, i64> {
        let checkpoint = OffsetCheckpoint::new(dir, name);
        checkpoint.read(&self.env).unwrap_or_else(|error| {
            tracing::warn!(path = %checkpoint.path().display(), %error, "checkpoint is damaged, going on without it");
            BTreeMap::new()
        })
    }

    /// Runs `work` on each job, on at most as many threads as the options say; the results come in no particular order.
    async fn on_threads<J: Send + 'static, R: Send + 'static>(
        &self,
        jobs: Vec<J>,
        work: impl Fn(J) -> R + Send + Sync + 'static,
    ) -> Vec<R> {
        let threads = self.options.threads.clamp(1, jobs.len().max(1));
        let queue = Arc::new(Mutex::new(jobs));
        let work = Arc::new(work);
        let workers = (0..threads).map(|_| {
            let (queue, work) = (queue.clone(), work.clone());
            self.env.blocking(move || {
                let mut results = Vec::new();
                // The lock is let go before the work begins.
                while let Some(job) = { queue.lock().pop() } {
                    results.push(work(job));
                }
                results
            })
        });
        join_all(workers).await.into_iter().flatten().collect()
    }

    /// The log of this partition, if there is one.
    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().get(partition).cloned()
    }

    /// All logs, in the order of their partitions.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.read().values().cloned().collect()
    }

    /// The log of this partition; made in the directory with the fewest logs if there is none. One that was loaded without a
    /// topic id gets this one; another id than the one it has is an error. Blocks on the disk, for a few files; nothing is
    /// synced.
    pub fn get_or_create(
        &self,
        partition: &TopicPartition,
        topic_id: Option<Uuid>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, LogError> {
        let existing = |log: Arc<Log>| match topic_id {
            Some(topic_id) => log.assign_topic_id(topic_id).map(|()| log),
            None => Ok(log),
        };
        if let Some(log) = self.get(partition) {
            return existing(log);
        }
        let _creating = self.creating.lock();
        if let Some(log) = self.get(partition) {
            return existing(log);
        }
        let dir = self.emptiest_dir().join(dir_name(partition));
        let log = LogOpen {
            env: &self.env,
            dir: &dir,
            partition: partition.clone(),
            topic_id,
            config,
            // Whatever may lie there was not loaded, so nothing is known of it.
            mode: OpenMode::Recover { recovery_point: 0 },
            log_start_offset: 0,
        }
        .open()?;
        let log = Arc::new(log);
        self.insert(log.clone());
        Ok(log)
    }

    /// Whether some log is so.
    pub(crate) fn any(&self, is_so: impl Fn(&Log) -> bool) -> bool {
        self.logs.read().values().any(|log| is_so(log))
    }

    /// [`LogManagerOptions::sync`].
    pub(crate) fn syncs(&self) -> bool {
        self.options.sync
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// Adds a log that is open.
    pub(crate) fn insert(&self, log: Arc<Log>) {
        self.logs.write().insert(log.topic_partition().clone(), log);
        self.written.lock().clear();
    }

    fn emptiest_dir(&self) -> &Path {
        if let [only] = &self.dirs[..] {
            return &only.path;
        }
        let logs = self.logs.read();
        let count = |dir: &LogDirectory| logs.values().filter(|log| log.dir().parent() == Some(&dir.path)).count();
        &self.dirs.iter().min_by_key(|dir| count(dir)).expect("a broker has a log directory").path
    }

    /// Deletes a partition's log: its directory is renamed now and removed after `file.delete.delay.ms`, in memory at once.
    /// False if there is no such log.
    pub fn delete(&self, partition: &TopicPartition, now_ms: i64) -> Result<bool, LogError> {
        let Some(log) = self.logs.write().remove(partition) else { return Ok(false) };
        self.written.lock().clear();
        if log.first_dirty_offset().is_some() {
            // A topic of the same name will have another log.
            if let Err(error) = self.checkpoint_cleaner_offsets() {
                tracing::warn!(%partition, %error, "cannot take a deleted partition out of the cleaner's checkpoint");
            }
        }
        let delay_ms = if self.env.fs().is_memory() { 0 } else { log.config().file_delete_delay_ms };
        if delay_ms <= 0 {
            log.delete()?;
            return Ok(true);
        }
        log.rename_to_delete(self.env.random_uuid())?;
        self.deleted.lock().push((now_ms.saturating_add(delay_ms), log));
        Ok(true)
    }

    /// Removes the directories of deleted logs whose delay is over.
    pub fn remove_deleted(&self, now_ms: i64) {
        let due: Vec<Arc<Log>> = {
            let mut deleted = self.deleted.lock();
            let (due, later) = deleted.drain(..).partition(|(due_ms, _)| *due_ms <= now_ms);
            *deleted = later;
            due.into_iter().map(|(_, log): (i64, Arc<Log>)| log).collect()
        };
        for log in due {
            if let Err(error) = log.delete() {
                tracing::warn!(%error, "cannot remove a deleted partition");
            }
        }
    }

    /// One round of retention over all logs; returns how many segments were deleted. What fails is reported and left for the
    /// next round.
    pub fn delete_old_segments(&self, now_ms: i64) -> usize {
        self.remove_deleted(now_ms);
        self.delete_old_segments_of(now_ms, |_| true)
    }

    pub(crate) fn delete_old_segments_of(&self, now_ms: i64, wanted: impl Fn(&Log) -> bool) -> usize {
        let mut deleted = 0;
        for log in self.logs().into_iter().filter(|log| wanted(log)) {
            match log.delete_old_segments(now_ms) {
                Ok(count) => deleted += count,
                Err(error) => tracing::warn!(partition = %log.topic_partition(), %error, "cannot delete old segments"),
            }
        }
        deleted
    }

    /// Flushes the logs whose `flush.ms` is over.
    pub fn flush_due(&self, now_ms: i64) {
        for log in self.logs().into_iter().filter(|log| log.is_flush_due(now_ms)) {
            if let Err(error) = log.flush() {
                tracing::warn!(partition = %log.topic_partition(), %error, "cannot flush");
            }
        }
    }

    /// Ends all logs as a crash would; see [`Log::abandon`].
    pub fn abandon(&self) {
        self.logs().iter().for_each(|log| log.abandon());
    }

    /// Closes all logs in parallel, writes the checkpoints, and marks each directory as closed in order, unless one of its
    /// logs could not be closed. `broker_epoch` goes into the marker (KIP-966). Later appends are refused.
    pub async fn close(&self, broker_epoch: Option<i64>) -> Result<(), LogError> {
        let logs = self.logs();
        // A sync per file of a thousand logs would take seconds; one for the file system takes as long as its data does.
        let together = self.options.sync && logs.len() > SYNC_EACH_MAX;
        let sync_each = self.options.sync && !together;
        let mut failed: Vec<PathBuf> = self
            .on_threads(logs, move |log| match log.close(sync_each) {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(partition = %log.topic_partition(), %error, "cannot close the log in order");
                    log.dir().parent().map(Path::to_path_buf)
                }
            })
            .await
            .into_iter()
            .flatten()
            .collect();
        for (_, log) in self.deleted.lock().drain(..) {
            // What stays is removed at the next start.
            let _ = log.delete();
        }
        if together {
            failed.extend(self.sync_together().await);
        }
        self.checkpoint_recovery_points()?;
        self.checkpoint_log_start_offsets()?;
        self.checkpoint_high_watermarks()?;
        let sync = self.options.sync;
        for dir in self.dirs.iter().filter(|dir| !failed.contains(&dir.path)) {
            let path = dir.path.join(CLEAN_SHUTDOWN);
            let content = format!("{{\"version\":0,\"brokerEpoch\":{}}}", broker_epoch.unwrap_or(-1));
            self.env.fs().write_atomic(&path, content.as_bytes(), sync).context("write", path)?;
        }
        Ok(())
    }

    /// Makes all closed logs durable at once; returns the directories for which that failed.
    async fn sync_together(&self) -> Vec<PathBuf> {
        let mut failed = Vec::new();
        for dir in self.dirs.iter().map(|dir| dir.path.clone()) {
            let (env, path) = (self.env.clone(), dir.clone());
            let synced = self.env.blocking(move || env.fs().sync_file_system(&path)).await;
            let mut logs = self.logs();
            logs.retain(|log| log.dir().parent() == Some(&dir));
            let durable = match synced {
                Ok(true) => {
                    logs.iter().for_each(|log| log.raise_recovery_point(log.log_end_offset()));
                    true
                }
                Ok(false) => self.on_threads(logs, |log| log.flush().is_ok()).await.into_iter().all(|flushed| flushed),
                Err(error) => {
                    tracing::error!(path = %dir.display(), %error, "cannot sync the log directory");
                    false
                }
            };
            if !durable {
                failed.push(dir);
            }
        }
        failed
    }
}

fn read_clean_shutdown(env: &Env, dir: &Path) -> CleanShutdown {
    let Ok(content) = env.fs().read(&dir.join(CLEAN_SHUTDOWN)) else { return CleanShutdown::No };
    // The file was empty before KIP-966; that it exists is what counts.
    let content = String::from_utf8_lossy(&content);
    let epoch = content.split("\"brokerEpoch\":").nth(1).map(|rest| {
        rest.trim_start().chars().take_while(|char| char.is_ascii_digit() || *char == '-').collect::<String>()
    });
    CleanShutdown::Yes { broker_epoch: epoch.and_then(|epoch| epoch.parse().ok()).unwrap_or(-1) }
}

/// Waits for all futures, running them side by side; the outputs are in their order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut pending = false;
        for (future, output) in waiting.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
