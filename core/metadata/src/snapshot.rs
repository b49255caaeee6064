//! Snapshots: the whole state at one offset, so that the log before it can go.
//!
//! ```text
//! <end offset, 20 digits>-<epoch, 10 digits>.checkpoint:
//!   SnapshotHeader | [KRaftVersion | KRaftVoters] | batches of records, metadata.version first | SnapshotFooter
//! ```
//! Each is a record batch; offsets count from 0 within the file. A file without its footer is not a snapshot.

use crate::control::{self, Content, KRaft, Place};
use crate::error::MetadataError;
use crate::image::{METADATA_VERSION_NEW, MetadataImage, Replayer};
use crate::record::MetadataRecord;
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::record_batch::control::ControlType;
use ottla_model::record_batch::{BatchIter, verify_crc};
use std::fmt;
use std::path::{Path, PathBuf};

/// Records of a snapshot that share a batch, bytes.
const BATCH_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".checkpoint";

/// Which state a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// One past the last offset in it.
    pub end_offset: i64,
    /// The leader epoch of that last offset.
    pub epoch: i32,
}

/// The snapshot that Apache Kafka's `format` makes since 4.4: what an empty log is begun with.
pub(crate) const FORMATTED: SnapshotId = SnapshotId { end_offset: 0, epoch: 0 };

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.end_offset, self.epoch)
    }
}

impl SnapshotId {
    /// The file in the metadata log's directory.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}{SUFFIX}"))
    }

    fn parse(file_name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        (offset.len() == 20 && epoch.len() == 10)
            .then(|| Some(SnapshotId { end_offset: offset.parse().ok()?, epoch: epoch.parse().ok()? }))
            .flatten()
    }
}

/// The snapshots in a directory, the latest first.
pub(crate) fn list(env: &Env, dir: &Path) -> Result<Vec<SnapshotId>, MetadataError> {
    let entries = env.fs().read_dir(dir).map_err(MetadataError::io("list", dir))?;
    let mut ids: Vec<_> = entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name)).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// The bytes of a snapshot of an image.
pub(crate) fn encode(
    image: &MetadataImage,
    kraft: &KRaft,
    epoch: i32,
    last_contained_log_timestamp: i64,
    now_ms: i64,
) -> Result<Vec<Bytes>, MetadataError> {
    let metadata_version = image.metadata_version().unwrap_or(METADATA_VERSION_NEW);
    let mut place = Place { base_offset: 0, epoch, now_ms };
    let mut out = vec![control::snapshot_header(place, last_contained_log_timestamp)?];
    place.base_offset = kraft.write(Place { base_offset: 1, ..place }, &mut out)?;
    let mut pending = Vec::new();
    let mut pending_bytes = 0;
    let mut flush = |pending: &mut Vec<Bytes>, place: &mut Place| -> Result<(), MetadataError> {
        if !pending.is_empty() {
            out.push(control::data_batch(*place, pending)?);
            place.base_offset += pending.len() as i64;
            pending.clear();
        }
        Ok(())
    };
    for record in image.to_records() {
        let value = record.encode(metadata_version)?;
        pending_bytes += value.len();
        pending.push(value);
        if pending_bytes >= BATCH_BYTES {
            flush(&mut pending, &mut place)?;
            pending_bytes = 0;
        }
    }
    flush(&mut pending, &mut place)?;
    out.push(control::snapshot_footer(place)?);
    Ok(out)
}

/// Writes a snapshot's bytes so that the file is there whole or not at all.
pub(crate) fn write(env: &Env, path: &Path, batches: &[Bytes], sync: bool) -> Result<(), MetadataError> {
    env.fs().write_atomic(path, &batches.concat(), sync).map_err(MetadataError::io("write", path))
}

/// Reads a snapshot file: the state, and what Raft keeps.
pub(crate) fn read(env: &Env, path: &Path, id: SnapshotId) -> Result<(Replayer, KRaft), MetadataError> {
    let bytes = Bytes::from(env.fs().read(path).map_err(MetadataError::io("read", path))?);
    let mut replayer = Replayer::at(id.end_offset - 1, id.epoch);
    let mut kraft = KRaft::default();
    let mut last = None;
    let mut batches = BatchIter::new(bytes);
    for (number, batch) in batches.by_ref().enumerate() {
        let batch = batch.map_err(|error| MetadataError::damaged(path, error))?;
        verify_crc(&batch.bytes).map_err(|error| MetadataError::damaged(path, error))?;
        match control::content(&batch.header, &batch.bytes)? {
            Content::Control(kind, value) => {
                if (number == 0) != (kind == ControlType::SnapshotHeader) {
                    return Err(MetadataError::damaged(path, "its header is not where it should be"));
                }
                kraft.replay(kind, &value)?;
                last = Some(kind);
            }
            Content::Data(records) => {
                for (_, value) in records {
                    replayer.replay(id.end_offset - 1, id.epoch, MetadataRecord::decode(value)?)?;
                }
                last = None;
            }
        }
    }
    match last {
        Some(ControlType::SnapshotFooter) if batches.remainder().is_empty() => Ok((replayer, kraft)),
        _ => Err(MetadataError::damaged(path, "it ends before its footer")),
    }
}
