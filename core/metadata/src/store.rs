//! The metadata log with its snapshots, and the image they give: the one place where the cluster's state changes.
//!
//! An append is: encode, apply to a copy of the state (so that nothing unreadable gets into the log), append to the log,
//! make the copy the state. At start the latest snapshot is loaded, the log after it replayed, and a new leader epoch
//! begun, whose first record says who leads.
//!
//! Two snapshots are kept and the log from the older one on, so that a damaged snapshot is not the end.

use crate::control::{self, Content, KRaft, Place};
use crate::controller;
use crate::error::MetadataError;
use crate::image::{METADATA_VERSION_NEW, MetadataImage, Replayer};
use crate::quorum_state::{self, QuorumState};
use crate::record::MetadataRecord;
use crate::snapshot::{self, FORMATTED, SnapshotId};
use bytes::Bytes;
use ottla_config::BrokerConfig;
use ottla_env::Env;
use ottla_log::{AppendOrigin, Log, LogConfig, OpenMode};
use ottla_model::record_batch::BatchIter;
use ottla_model::{TopicPartition, Uuid};
use ottla_protocol::{AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord};
use parking_lot::{Mutex, RwLock};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The metadata topic's name.
const TOPIC: &str = "__cluster_metadata";
/// What an older Kafka reads the first records from; the same bytes as the snapshot at offset 0.
const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
/// The largest batch, bytes of records (Kafka's `internal.metadata.max.batch.size.in.bytes`). More is several batches
/// within a transaction.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// What a record takes in a batch besides its value, at most: its length, attributes, deltas, and lengths of key and value.
const RECORD_OVERHEAD: usize = 28;
/// Metadata transactions (KIP-868) exist from this metadata.version on (3.6-IV2).
const TRANSACTIONS_FROM: i16 = 14;
/// Snapshots that are kept.
const SNAPSHOTS_KEPT: usize = 2;
/// What one read of the log brings at most, bytes; a larger batch comes whole.
const READ_BYTES: usize = 1 << 20;
/// A smaller segment would make a log of very many files.
const SEGMENT_BYTES_MIN: u32 = 1 << 20;

/// How a store works.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The broker's own id, which is the one voter's.
    pub node_id: i32,
    /// Whether an append is on the disk when it returns.
    pub sync: bool,
    /// `metadata.log.segment.bytes`; rolled earlier when a snapshot can free it.
    pub segment_bytes: u32,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub max_record_bytes_between_snapshots: i64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 is never.
    pub max_snapshot_interval_ms: i64,
}

impl StoreOptions {
    /// From a broker's config; `sync` is the caller's choice (a server: yes; a broker in a test: no).
    pub fn new(config: &BrokerConfig, sync: bool) -> StoreOptions {
        StoreOptions {
            node_id: config.node_id,
            sync,
            segment_bytes: u32::try_from(config.metadata_log_segment_bytes).unwrap_or(u32::MAX),
            max_record_bytes_between_snapshots: config.metadata_log_max_record_bytes_between_snapshots,
            max_snapshot_interval_ms: config.metadata_log_max_snapshot_interval_ms,
        }
    }
}

/// The cluster's metadata on disk, or in the environment's memory.
#[derive(Debug)]
pub struct MetadataStore {
    env: Env,
    /// `__cluster_metadata-0`.
    dir: PathBuf,
    options: StoreOptions,
    log: Log,
    /// A batch must fit a segment.
    batch_bytes_max: usize,
    epoch: i32,
    /// Guards the order of appends and snapshots. Taken before `image`.
    writer: Mutex<Writer>,
    /// Guards the pointer to the latest image.
    image: RwLock<Arc<MetadataImage>>,
}

#[derive(Debug)]
struct Writer {
    replayer: Replayer,
    kraft: KRaft,
    /// Bytes appended since the last snapshot.
    bytes_since_snapshot: i64,
    last_snapshot_ms: i64,
    last_append_ms: i64,
}

impl MetadataStore {
    /// Opens the metadata in `dir` (`metadata.log.dir`), or begins a new cluster's. Blocks on the disk.
    ///
    /// # Errors
    /// A directory of a quorum with other voters, a metadata.version that is too new, and damage that cannot be
    /// repaired; a torn end of the log is cut off.
    pub fn open(env: &Env, dir: &Path, options: StoreOptions) -> Result<MetadataStore, MetadataError> {
        let log_dir = dir.join(format!("{TOPIC}-0"));
        env.fs().create_dir_all(&log_dir).map_err(MetadataError::io("create", &log_dir))?;
        let quorum = QuorumState::read(env, &log_dir.join(quorum_state::FILE))?;
        let log = open_log(env, &log_dir, &options)?;
        let Loaded { mut replayer, mut kraft, formatted } = load_snapshot(env, dir, &log_dir, &log)?;
        let replayed_bytes = replay_log(&log, &mut replayer, &mut kraft)?;
        refuse_other_voters(quorum.as_ref(), &kraft, options.node_id)?;

        let last_epoch = quorum.as_ref().map_or(0, |state| state.leader_epoch);
        let epoch = last_epoch.max(log.latest_epoch().unwrap_or(0)).max(replayer.publish().epoch()) + 1;
        let voters = quorum.map_or_else(|| kraft.voters.is_none().then(|| vec![options.node_id]), |state| state.voters);
        let path = log_dir.join(quorum_state::FILE);
        QuorumState { leader_epoch: epoch, voters }.write(env, &path, options.node_id, options.sync)?;

        let now_ms = env.now_ms();
        let image = RwLock::new(replayer.publish());
        let writer = Writer {
            replayer,
            kraft,
            bytes_since_snapshot: replayed_bytes,
            last_snapshot_ms: now_ms,
            last_append_ms: now_ms,
        };
        let env = env.clone();
        let batch_bytes_max = BATCH_BYTES_MAX.min(log.config().segment_bytes as usize / 2);
        let writer = Mutex::new(writer);
        let store = MetadataStore { env, dir: log_dir, options, log, batch_bytes_max, epoch, writer, image };
        store.begin_epoch(dir, formatted)?;
        Ok(store)
    }

    /// The latest state. It never changes; take it once per request.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.read().clone()
    }

    /// The leader epoch that this run of the broker writes in.
    pub fn leader_epoch(&self) -> i32 {
        self.epoch
    }

    /// Appends records, all or none of which take effect, and returns the state with them. Blocks on the disk.
    ///
    /// # Errors
    /// Nothing has changed then, except after a failed sync, where the records hold but may not survive a power failure.
    pub fn append(&self, records: Vec<MetadataRecord>) -> Result<Arc<MetadataImage>, MetadataError> {
        if records.is_empty() {
            return Ok(self.image());
        }
        let mut writer = self.writer.lock();
        let appended = self.append_locked(&mut writer, records);
        if appended.is_ok() && writer.bytes_since_snapshot >= self.options.max_record_bytes_between_snapshots {
            self.snapshot_or_warn(&mut writer);
        }
        appended
    }

    /// Regular work: a snapshot when its time has come, and files whose delayed deletion is due. Call it every minute or so.
    pub fn tick(&self) {
        let now_ms = self.env.now_ms();
        let interval_ms = self.options.max_snapshot_interval_ms;
        let mut writer = self.writer.lock();
        let due = interval_ms > 0 && now_ms - writer.last_snapshot_ms >= interval_ms;
        if due && writer.bytes_since_snapshot > 0 {
            self.snapshot_or_warn(&mut writer);
        }
        self.log.remove_trash(now_ms);
    }

    /// Writes a snapshot of the present state, and lets go of the log that is no longer needed. Returns its id.
    pub fn snapshot(&self) -> Result<SnapshotId, MetadataError> {
        self.snapshot_locked(&mut self.writer.lock())
    }

    /// Puts the present state into `dir`, the `metadata.log.dir` of another broker, which goes on from there by itself. Blocks
    /// on the disk.
    pub fn fork_into(&self, env: &Env, dir: &Path) -> Result<(), MetadataError> {
        let log_dir = dir.join(format!("{TOPIC}-0"));
        env.fs().create_dir_all(&log_dir).map_err(MetadataError::io("create", &log_dir))?;
        let _writer = self.writer.lock();
        self.log.fork_into(env, &log_dir, Some(Uuid::METADATA_TOPIC_ID))?;
        let path = self.dir.join(quorum_state::FILE);
        let quorum = self.env.fs().read(&path).map_err(MetadataError::io("read", &path))?;
        let path = log_dir.join(quorum_state::FILE);
        env.fs().write_atomic(&path, &quorum, false).map_err(MetadataError::io("write", &path))?;
        // Snapshots are written once.
        for id in snapshot::list(&self.env, &self.dir)? {
            let path = id.path(&self.dir);
            self.env.fs().link(&path, env.fs(), &id.path(&log_dir)).map_err(MetadataError::io("link", &path))?;
        }
        let bootstrap = self.dir.parent().map(|dir| dir.join(BOOTSTRAP_FILE)).filter(|path| self.env.fs().exists(path));
        if let Some(path) = bootstrap {
            let copied = self.env.fs().link(&path, env.fs(), &dir.join(BOOTSTRAP_FILE));
            copied.map_err(MetadataError::io("link", &path))?;
        }
        Ok(())
    }

    /// Closes the log in order; appends are refused from now on. Idempotent.
    pub fn close(&self) -> Result<(), MetadataError> {
        let _writer = self.writer.lock();
        Ok(self.log.close(self.options.sync)?)
    }

    /// The first records of an epoch: who leads; the end of a transaction that a crash left open; a new cluster's own, as
    /// it was `formatted` or else by our own choice.
    fn begin_epoch(&self, dir: &Path, formatted: Option<Vec<MetadataRecord>>) -> Result<(), MetadataError> {
        let mut writer = self.writer.lock();
        let offset = self.log.log_end_offset();
        let voters = writer.kraft.voters.clone();
        let leader_change = control::leader_change(self.place(offset), self.options.node_id, voters.as_ref())?;
        self.write(leader_change)?;
        writer.replayer.skip_to(offset, self.epoch);
        if writer.replayer.in_transaction() {
            let reason = Some("the leader stopped before it was ended".into());
            self.append_locked(&mut writer, vec![AbortTransactionRecord { reason, ..Default::default() }.into()])?;
        }
        if writer.replayer.publish().metadata_version().is_none() {
            let first = match formatted {
                Some(records) => records,
                None => {
                    self.write_bootstrap_files(dir)?;
                    controller::bootstrap()
                }
            };
            let mut records = vec![begin_transaction("Bootstrap records")];
            records.extend(first);
            records.push(EndTransactionRecord::default().into());
            self.append_locked(&mut writer, records)?;
        }
        *self.image.write() = writer.replayer.publish();
        Ok(())
    }

    /// What Apache Kafka's `format` leaves in a new directory: up to 4.3 one file, since then a snapshot at offset 0.
    fn write_bootstrap_files(&self, dir: &Path) -> Result<(), MetadataError> {
        let mut replayer = Replayer::at(-1, 0);
        for record in controller::bootstrap() {
            replayer.replay(-1, 0, record)?;
        }
        let now_ms = self.env.now_ms();
        let batches = snapshot::encode(&replayer.publish(), &KRaft::default(), 0, now_ms, now_ms)?;
        snapshot::write(&self.env, &dir.join(BOOTSTRAP_FILE), &batches, self.options.sync)?;
        snapshot::write(&self.env, &FORMATTED.path(&self.dir), &batches, self.options.sync)
    }

    fn append_locked(
        &self,
        writer: &mut Writer,
        records: Vec<MetadataRecord>,
    ) -> Result<Arc<MetadataImage>, MetadataError> {
        let start = self.log.log_end_offset();
        let metadata_version = writer.replayer.publish().metadata_version().unwrap_or(METADATA_VERSION_NEW);
        let (records, batches) = split(records, metadata_version, self.batch_bytes_max)?;
        let mut replayer = writer.replayer.clone();
        for (offset, record) in (start..).zip(records) {
            replayer.replay(offset, self.epoch, record)?;
        }
        let size = self.write_all(start, &batches)?;

        // The log has them: from here on they hold, whatever a sync says.
        writer.bytes_since_snapshot += size;
        writer.last_append_ms = self.env.now_ms();
        writer.replayer = replayer;
        let image = writer.replayer.publish();
        *self.image.write() = image.clone();
        if self.options.sync {
            self.log.flush()?;
        }
        Ok(image)
    }

    /// Writes all batches or none; returns their bytes.
    fn write_all(&self, start: i64, batches: &[Vec<Bytes>]) -> Result<i64, MetadataError> {
        let mut offset = start;
        let mut size = 0;
        let written = batches.iter().try_for_each(|values| {
            let batch = control::data_batch(self.place(offset), values)?;
            size += batch.len() as i64;
            offset += values.len() as i64;
            self.write(batch)
        });
        if let Err(error) = written {
            // What was written began a transaction that nothing would end.
            if self.log.log_end_offset() > start
                && let Err(undo) = self.log.truncate_to(start)
            {
                // The state and the log differ: only a restart, which ends the transaction, brings them together.
                tracing::error!(error = %undo, "cannot take back a part of a metadata append; no more are taken");
                self.log.close(false)?;
            }
            return Err(error);
        }
        Ok(size)
    }

    fn write(&self, bytes: Bytes) -> Result<(), MetadataError> {
        self.log.append_as_leader(bytes, self.epoch, AppendOrigin::Raft, self.env.now_ms())?;
        // One voter: what it has is committed.
        self.log.set_high_watermark(self.log.log_end_offset());
        Ok(())
    }

    fn place(&self, base_offset: i64) -> Place {
        Place { base_offset, epoch: self.epoch, now_ms: self.env.now_ms() }
    }

    /// A snapshot that cannot be written is no reason to refuse the append before it; the log has everything.
    fn snapshot_or_warn(&self, writer: &mut Writer) {
        if let Err(error) = self.snapshot_locked(writer) {
            tracing::warn!(%error, "cannot write a metadata snapshot");
            // Not with every append: the next try is a snapshot's worth of records, or its time, away.
            writer.bytes_since_snapshot = 0;
            writer.last_snapshot_ms = self.env.now_ms();
        }
    }

    fn snapshot_locked(&self, writer: &mut Writer) -> Result<SnapshotId, MetadataError> {
        let image = writer.replayer.publish();
        let id = SnapshotId { end_offset: image.offset() + 1, epoch: image.epoch() };
        let now_ms = self.env.now_ms();
        let batches = snapshot::encode(&image, &writer.kraft, id.epoch, writer.last_append_ms, now_ms)?;
        // Always synced: the log before it is going to be deleted.
        snapshot::write(&self.env, &id.path(&self.dir), &batches, true)?;
        writer.bytes_since_snapshot = 0;
        writer.last_snapshot_ms = now_ms;

        let all = snapshot::list(&self.env, &self.dir)?;
        for old in all.iter().skip(SNAPSHOTS_KEPT) {
            let path = old.path(&self.dir);
            self.env.fs().remove_file(&path).map_err(MetadataError::io("delete", &path))?;
        }
        if let Some(oldest) = all.get(SNAPSHOTS_KEPT - 1) {
            self.log.delete_records_to(oldest.end_offset)?;
            self.log.delete_old_segments(now_ms)?;
        }
        tracing::info!(%id, records = image.offset() + 1, "wrote a metadata snapshot");
        Ok(id)
    }
}

fn open_log(env: &Env, dir: &Path, options: &StoreOptions) -> Result<Log, MetadataError> {
    let rolled_by = u32::try_from(options.max_record_bytes_between_snapshots).unwrap_or(u32::MAX);
    let config = LogConfig {
        // A segment per snapshot, so that the next one can free it.
        segment_bytes: options.segment_bytes.min(rolled_by).max(SEGMENT_BYTES_MIN),
        retention_ms: -1,
        retention_bytes: -1,
        ..LogConfig::default()
    };
    let partition = TopicPartition::new(TOPIC, 0);
    // Everything is checked: there is at most a few snapshots' worth.
    let mode = OpenMode::Recover { recovery_point: 0 };
    Ok(Log::open(env, dir, partition, Some(Uuid::METADATA_TOPIC_ID), Arc::new(config), mode)?)
}

/// What the files besides the log say.
#[derive(Default)]
struct Loaded {
    /// The state in the latest snapshot.
    replayer: Replayer,
    kraft: KRaft,
    /// What the cluster was formatted with, if that is still to be written to the log.
    formatted: Option<Vec<MetadataRecord>>,
}

/// Loads the latest snapshot that can be read and that the log can follow.
fn load_snapshot(env: &Env, dir: &Path, log_dir: &Path, log: &Log) -> Result<Loaded, MetadataError> {
    let mut failed = None;
    for id in snapshot::list(env, log_dir)? {
        if id.end_offset < log.log_start_offset() || id == FORMATTED {
            break;
        }
        match snapshot::read(env, &id.path(log_dir), id) {
            Ok((replayer, kraft)) => {
                if id.end_offset > log.log_end_offset() {
                    tracing::warn!(%id, log_end_offset = log.log_end_offset(), "the metadata log ends before its snapshot");
                    log.truncate_fully_and_start_at(id.end_offset)?;
                }
                return Ok(Loaded { replayer, kraft, formatted: None });
            }
            Err(error @ MetadataError::Damaged { .. }) => {
                tracing::warn!(%error, "passing over a metadata snapshot");
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        _ if log.log_start_offset() == 0 => load_formatted(env, dir, log_dir, log.log_end_offset() == 0),
        Some(error) => Err(error),
        None => {
            let reason = format!("the log begins at offset {}, and no snapshot goes that far", log.log_start_offset());
            Err(MetadataError::damaged(log_dir, reason))
        }
    }
}

/// A log that has all records from the first one: what formatting left matters only before that one is written, apart
/// from the voters, which the log does not repeat.
fn load_formatted(env: &Env, dir: &Path, log_dir: &Path, is_empty: bool) -> Result<Loaded, MetadataError> {
    let paths = [FORMATTED.path(log_dir), dir.join(BOOTSTRAP_FILE)];
    let Some(path) = paths.iter().find(|path| env.fs().exists(path)) else { return Ok(Loaded::default()) };
    match snapshot::read(env, path, FORMATTED) {
        Ok((mut replayer, kraft)) => {
            let formatted = is_empty.then(|| replayer.publish().to_records());
            Ok(Loaded { kraft, formatted, ..Loaded::default() })
        }
        Err(error @ MetadataError::Damaged { .. }) if !is_empty => {
            tracing::warn!(%error, "passing over what the cluster was formatted with");
            Ok(Loaded::default())
        }
        Err(error) => Err(error),
    }
}

/// Replays the log after what `replayer` holds; returns how many bytes that were.
fn replay_log(log: &Log, replayer: &mut Replayer, kraft: &mut KRaft) -> Result<i64, MetadataError> {
    log.set_high_watermark(log.log_end_offset());
    let mut offset = (replayer.offset() + 1).max(log.log_start_offset());
    let mut size = 0;
    while offset < log.log_end_offset() {
        let data = log.read(offset, READ_BYTES, log.log_end_offset(), true);
        let data = data.map_err(|error| MetadataError::damaged(&log.dir(), error))?;
        let bytes = data.records.to_bytes().map_err(MetadataError::io("read", &log.dir()))?;
        let before = offset;
        for batch in BatchIter::new(bytes) {
            let batch = batch.map_err(|error| MetadataError::damaged(&log.dir(), error))?;
            if batch.header.next_offset() <= offset {
                continue;
            }
            replay_batch(&batch, replayer, kraft)?;
            offset = batch.header.next_offset();
            size += batch.bytes.len() as i64;
        }
        if offset == before {
            return Err(MetadataError::damaged(&log.dir(), format!("there is no batch at offset {offset}")));
        }
    }
    Ok(size)
}

fn replay_batch(
    batch: &ottla_model::record_batch::Batch,
    replayer: &mut Replayer,
    kraft: &mut KRaft,
) -> Result<(), MetadataError> {
    let epoch = batch.header.partition_leader_epoch;
    match control::content(&batch.header, &batch.bytes)? {
        Content::Control(kind, value) => {
            kraft.replay(kind, &value)?;
            replayer.skip_to(batch.header.last_offset(), epoch);
        }
        Content::Data(records) => {
            let first = replayer.offset() + 1;
            for (offset, value) in records.into_iter().filter(|(offset, _)| *offset >= first) {
                replayer.replay(offset, epoch, MetadataRecord::decode(value)?)?;
            }
        }
    }
    Ok(())
}

/// A directory whose quorum has other members must not get a second leader.
fn refuse_other_voters(quorum: Option<&QuorumState>, kraft: &KRaft, node_id: i32) -> Result<(), MetadataError> {
    let voters: Vec<i32> = match (&kraft.voters, quorum.and_then(|state| state.voters.as_ref())) {
        (Some(record), _) => record.voters.iter().map(|voter| voter.voter_id).collect(),
        (None, Some(voters)) => voters.clone(),
        (None, None) => return Ok(()),
    };
    if voters == [node_id] || voters.is_empty() {
        return Ok(());
    }
    let voters: Vec<String> = voters.iter().map(i32::to_string).collect();
    Err(MetadataError::Refused(format!(
        "the directory belongs to a controller quorum of node {}; Ottla with node.id {node_id} can only open one whose \
         single voter is itself",
        voters.join(", ")
    )))
}

fn begin_transaction(name: &str) -> MetadataRecord {
    BeginTransactionRecord { name: Some(name.into()), ..Default::default() }.into()
}

/// The records, and their encoded values by batch. One batch takes effect as a whole; what does not fit into one is put
/// between the records that begin and end a transaction.
fn split(
    mut records: Vec<MetadataRecord>,
    metadata_version: i16,
    batch_bytes_max: usize,
) -> Result<(Vec<MetadataRecord>, Vec<Vec<Bytes>>), MetadataError> {
    let encode = |record: &MetadataRecord| record.encode(metadata_version);
    let mut values = records.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let size_of = |value: &Bytes| value.len() + RECORD_OVERHEAD;
    let total: usize = values.iter().map(size_of).sum();
    if total <= batch_bytes_max {
        return Ok((records, vec![values]));
    }
    if metadata_version >= TRANSACTIONS_FROM {
        let (begin, end) = (begin_transaction("Large append"), EndTransactionRecord::default().into());
        values.insert(0, encode(&begin)?);
        values.push(encode(&end)?);
        records.insert(0, begin);
        records.push(end);
    }
    let mut batches: Vec<Vec<Bytes>> = vec![Vec::new()];
    let mut size = 0;
    for value in values {
        if size + size_of(&value) > batch_bytes_max && size > 0 {
            batches.push(Vec::new());
            size = 0;
        }
        size += size_of(&value);
        batches.last_mut().expect("there is always one").push(value);
    }
    Ok((records, batches))
}
