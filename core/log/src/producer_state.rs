//! What a partition knows of its idempotent and transactional producers: the last five batches of each (to recognise
//! repeated ones), its epoch, its open transaction; and from that the first offset that read-committed consumers must not
//! pass. The rules for one append are in `producer_append`, the file format in `producer_snapshot`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ottla_env::Env;

use crate::names::{SNAPSHOT, segment_file};
use crate::producer_append::{CompletedTxn, ProducerAppend};
use crate::producer_snapshot;

pub(crate) const NO_EPOCH: i16 = -1;
pub(crate) const NO_SEQUENCE: i32 = -1;
/// As many batches of a producer are kept as it may have in flight.
const BATCHES_KEPT: usize = 5;

/// A batch that a producer appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The sequence number of the last record.
    pub last_sequence: i32,
    /// The offset of the last record.
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// The batch's largest timestamp, ms.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// The sequence number of the first record; sequence numbers wrap from `i32::MAX` to 0.
    pub fn first_sequence(&self) -> i32 {
        if self.last_sequence >= self.offset_delta {
            self.last_sequence - self.offset_delta
        } else {
            i32::MAX - (self.offset_delta - self.last_sequence) + 1
        }
    }

    /// The offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStateEntry {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch; −1 if none is known.
    pub producer_epoch: i16,
    /// The epoch of the transaction coordinator that wrote its last marker; −1 if there was none.
    pub coordinator_epoch: i32,
    /// The largest timestamp of its last batch, or that of its marker; ms.
    pub last_timestamp: i64,
    /// Where its open transaction starts.
    pub current_txn_first_offset: Option<i64>,
    batches: [BatchMetadata; BATCHES_KEPT],
    batch_count: u8,
}

impl ProducerStateEntry {
    pub(crate) fn empty(producer_id: i64) -> ProducerStateEntry {
        ProducerStateEntry {
            producer_id,
            producer_epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            current_txn_first_offset: None,
            batches: [BatchMetadata::default(); BATCHES_KEPT],
            batch_count: 0,
        }
    }

    /// The batches that are remembered, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count)]
    }

    /// The sequence number of the last record; −1 if none is known.
    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// The offset of the last record; −1 if none is known.
    pub fn last_offset(&self) -> i64 {
        self.batches().last().map_or(-1, |batch| batch.last_offset)
    }

    pub(crate) fn last_offset_delta(&self) -> i32 {
        self.batches().last().map_or(0, |batch| batch.offset_delta)
    }

    pub(crate) fn set_epoch(&mut self, epoch: i16) {
        if self.producer_epoch != epoch {
            self.batch_count = 0;
            self.producer_epoch = epoch;
        }
    }

    pub(crate) fn push_batch(&mut self, batch: BatchMetadata) {
        if usize::from(self.batch_count) == BATCHES_KEPT {
            self.batches.copy_within(1.., 0);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
    }

    /// The batch with exactly these sequence numbers, if it was appended before.
    pub(crate) fn find_duplicate(&self, epoch: i16, first_sequence: i32, last_sequence: i32) -> Option<BatchMetadata> {
        if epoch != self.producer_epoch {
            return None;
        }
        let same =
            |batch: &&BatchMetadata| batch.last_sequence == last_sequence && batch.first_sequence() == first_sequence;
        self.batches().iter().find(same).copied()
    }

    fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.current_txn_first_offset.is_none() && now_ms.saturating_sub(self.last_timestamp) >= expiration_ms
    }
}

/// All producers of a partition. Guarded by the log's writer lock.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    producers: BTreeMap<i64, ProducerStateEntry>,
    /// Open transactions: first offset → producer id.
    ongoing: BTreeMap<i64, i64>,
    /// Ended transactions whose marker is not below the high watermark yet: first offset → the marker's offset.
    unreplicated: BTreeMap<i64, i64>,
    /// The offset up to which (exclusive) the log is reflected here.
    map_end_offset: i64,
    /// The offsets of the snapshot files.
    snapshots: BTreeSet<i64>,
    last_snapshot_offset: i64,
}

impl ProducerState {
    pub(crate) fn with_snapshots(snapshots: BTreeSet<i64>) -> ProducerState {
        ProducerState { snapshots, ..ProducerState::default() }
    }

    pub(crate) fn get(&self, producer_id: i64) -> Option<&ProducerStateEntry> {
        self.producers.get(&producer_id)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &ProducerStateEntry> {
        self.producers.values()
    }

    pub(crate) fn map_end_offset(&self) -> i64 {
        self.map_end_offset
    }

    pub(crate) fn set_map_end_offset(&mut self, offset: i64) {
        self.map_end_offset = offset;
    }

    /// Takes over what an append changed. Ended transactions are to be completed afterwards.
    pub(crate) fn update(&mut self, append: &ProducerAppend) {
        self.producers.insert(append.entry.producer_id, append.entry);
        for &first_offset in &append.started {
            self.ongoing.insert(first_offset, append.entry.producer_id);
        }
    }

    /// The last stable offset as it will be when `txn` is complete; it goes into the transaction index.
    pub(crate) fn last_stable_offset(&self, txn: &CompletedTxn) -> i64 {
        let other = self.ongoing.iter().find(|(_, producer_id)| **producer_id != txn.producer_id);
        other.map_or(txn.last_offset + 1, |(first_offset, _)| *first_offset)
    }

    /// The transaction is over; it stays unstable until the high watermark has passed its marker.
    pub(crate) fn complete(&mut self, txn: &CompletedTxn) {
        self.ongoing.remove(&txn.first_offset);
        self.unreplicated.insert(txn.first_offset, txn.last_offset);
    }

    pub(crate) fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, last_offset| *last_offset >= high_watermark);
    }

    pub(crate) fn has_unreplicated(&self) -> bool {
        !self.unreplicated.is_empty()
    }

    /// The first offset of an open transaction, or of one whose marker is not replicated yet.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next().copied();
        let unreplicated = self.unreplicated.keys().next().copied();
        match (ongoing, unreplicated) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| !entry.is_expired(now_ms, expiration_ms));
    }

    pub(crate) fn on_log_start_offset(&mut self, log_start_offset: i64) {
        self.on_high_watermark(log_start_offset);
        self.map_end_offset = self.map_end_offset.max(log_start_offset);
        self.last_snapshot_offset = self.snapshots.last().copied().unwrap_or(log_start_offset);
    }

    /// Forgets everything and loads the newest snapshot in `(log_start_offset, end_offset]`; snapshots outside of that range
    /// are deleted, and so are damaged ones. What lies behind [`Self::map_end_offset`] is then to be replayed.
    pub(crate) fn truncate_and_reload(
        &mut self,
        env: &Env,
        dir: &Path,
        (log_start_offset, end_offset): (i64, i64),
        (now_ms, expiration_ms): (i64, i64),
    ) {
        let outside = |offset: &i64| *offset > end_offset || *offset <= log_start_offset;
        for offset in self.snapshots.iter().copied().filter(outside).collect::<Vec<_>>() {
            self.delete_snapshot(env, dir, offset);
        }
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        while let Some(&offset) = self.snapshots.last() {
            let path = segment_file(dir, offset, SNAPSHOT);
            match producer_snapshot::read(env, &path) {
                Ok(entries) => {
                    for entry in entries.into_iter().filter(|entry| !entry.is_expired(now_ms, expiration_ms)) {
                        if let Some(first_offset) = entry.current_txn_first_offset {
                            self.ongoing.insert(first_offset, entry.producer_id);
                        }
                        self.producers.insert(entry.producer_id, entry);
                    }
                    self.last_snapshot_offset = offset;
                    self.map_end_offset = offset;
                    return;
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "producer snapshot is damaged, using an older one");
                    self.delete_snapshot(env, dir, offset);
                }
            }
        }
        self.last_snapshot_offset = log_start_offset;
        self.map_end_offset = log_start_offset;
    }

    /// Forgets everything, also the snapshot files, and goes on from `offset`.
    pub(crate) fn truncate_fully(&mut self, env: &Env, dir: &Path, offset: i64) {
        for snapshot in std::mem::take(&mut self.snapshots) {
            remove_file(env, &segment_file(dir, snapshot, SNAPSHOT));
        }
        *self = ProducerState { map_end_offset: offset, ..ProducerState::default() };
    }

    /// Writes a snapshot at the current end offset, unless there is one already. Also an empty one: it says where recovery
    /// may begin.
    pub(crate) fn take_snapshot(&mut self, env: &Env, dir: &Path, sync: bool) -> io::Result<()> {
        if self.map_end_offset <= self.last_snapshot_offset && !self.snapshots.is_empty() {
            return Ok(());
        }
        if self.map_end_offset == 0 {
            return Ok(());
        }
        let path = segment_file(dir, self.map_end_offset, SNAPSHOT);
        producer_snapshot::write(env, &path, self.producers.values(), sync)?;
        self.snapshots.insert(self.map_end_offset);
        self.last_snapshot_offset = self.map_end_offset;
        Ok(())
    }

    /// Writes the state, which is that at [`Self::map_end_offset`], to the directory of another log.
    pub(crate) fn write_to(&self, env: &Env, dir: &Path) -> io::Result<()> {
        if self.map_end_offset == 0 {
            return Ok(());
        }
        let path = segment_file(dir, self.map_end_offset, SNAPSHOT);
        producer_snapshot::write(env, &path, self.producers.values(), false)
    }

    /// Whether the log never had a producer or a snapshot. A log that is closed like this needs no snapshot: without any, the
    /// next start takes it to have no producers.
    pub(crate) fn is_pristine(&self) -> bool {
        self.producers.is_empty() && self.snapshots.is_empty()
    }

    pub(crate) fn snapshot_offsets(&self) -> &BTreeSet<i64> {
        &self.snapshots
    }

    /// Forgets a snapshot whose file the caller renames or deletes; false if there is none.
    pub(crate) fn forget_snapshot(&mut self, offset: i64) -> bool {
        self.snapshots.remove(&offset)
    }

    /// Deletes the snapshots that belong to no segment, except the newest if it lies behind all segments.
    pub(crate) fn remove_strays(&mut self, env: &Env, dir: &Path, is_segment: impl Fn(i64) -> bool) {
        let newest = self.snapshots.last().copied();
        let stray = |offset: &i64| !is_segment(*offset) && Some(*offset) != newest;
        for offset in self.snapshots.iter().copied().filter(stray).collect::<Vec<_>>() {
            self.delete_snapshot(env, dir, offset);
        }
    }

    fn delete_snapshot(&mut self, env: &Env, dir: &Path, offset: i64) {
        self.snapshots.remove(&offset);
        remove_file(env, &segment_file(dir, offset, SNAPSHOT));
    }
}

/// Removes a file that the log no longer needs; one that stays is removed when the log is opened next.
pub(crate) fn remove_file(env: &Env, path: &Path) {
    if let Err(error) = env.fs().remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot delete a file that is no longer needed");
    }
}
