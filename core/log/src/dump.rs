//! The library side of `ottla dump-log`: reads the files of a segment into rows, whether a broker made them or Apache Kafka,
//! and checks the indexes against the batches. Changes nothing, and repairs nothing.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_env::{Env, File, OpenMode};
use ottla_model::record_batch::{self, BatchError, BatchHeader, HEADER_SIZE, Record};

use crate::error::{IoContext, LogError};
use crate::names::{LOG, parse_segment_file, segment_file};
use crate::offset_index::{self, OffsetPosition};
use crate::producer_snapshot;
use crate::producer_state::ProducerStateEntry;
use crate::time_index::{self, TimestampOffset};
use crate::transaction_index::{self, AbortedTxn};

/// One batch of a `.log`.
#[derive(Clone, Debug)]
pub struct BatchRow {
    /// Where it begins in the file.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// Whether the checksum fits.
    pub is_valid: bool,
    bytes: Bytes,
}

impl BatchRow {
    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its records, decompressed.
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        record_batch::records(&self.bytes)?.collect()
    }
}

/// An entry of a `.index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetIndexRow {
    /// The last offset of a batch.
    pub offset: i64,
    /// Where that batch begins.
    pub position: u32,
}

/// An entry of a `.timeindex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeIndexRow {
    /// The largest timestamp so far, ms.
    pub timestamp: i64,
    /// The last offset of the batch that holds it.
    pub offset: i64,
}

/// Walks over the batches of a `.log`. After the last one, [`LogDump::trailing`] says what is left.
#[derive(Debug)]
pub struct LogDump {
    file: File,
    path: PathBuf,
    size: u64,
    position: u64,
    failed: bool,
}

impl LogDump {
    /// Opens a `.log` for reading.
    pub fn open(env: &Env, path: &Path) -> Result<LogDump, LogError> {
        let file = env.fs().open(path, OpenMode::Read).context("open", path)?;
        let size = file.len().context("open", path)?;
        Ok(LogDump { file, path: path.into(), size, position: 0, failed: false })
    }

    /// The bytes behind the last whole batch: 0 in a sound file.
    pub fn trailing(&self) -> u64 {
        self.size - self.position
    }

    fn read(&self) -> Result<Option<BatchRow>, LogError> {
        let left = self.size - self.position;
        if left < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_SIZE];
        self.file.read_exact_at(self.position, &mut header).context("read", &self.path)?;
        let header = BatchHeader::parse(&header)
            .map_err(|error| LogError::corrupt(&self.path, format!("at byte {}: {error}", self.position)))?;
        let size = header.size_in_bytes();
        if size as u64 > left {
            return Ok(None);
        }
        let bytes = self.file.read_at(self.position, size).context("read", &self.path)?;
        let is_valid = record_batch::verify_crc(&bytes).is_ok();
        Ok(Some(BatchRow { position: self.position, header, is_valid, bytes }))
    }
}

impl Iterator for LogDump {
    type Item = Result<BatchRow, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose()?;
        match &row {
            Ok(row) => self.position += row.header.size_in_bytes() as u64,
            Err(_) => self.failed = true,
        }
        Some(row)
    }
}

/// The base offset in a segment file's name.
pub fn base_offset(path: &Path) -> Result<i64, LogError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(parse_segment_file) {
        Some((base_offset, _)) => Ok(base_offset),
        None => Err(LogError::corrupt(path, "its name is not that of a segment's file, 20 digits and an extension")),
    }
}

/// The entries of a `.index`.
pub fn offset_index(env: &Env, path: &Path) -> Result<Vec<OffsetIndexRow>, LogError> {
    let base_offset = base_offset(path)?;
    Ok(entries::<{ offset_index::ENTRY_SIZE as usize }>(env, path)?
        .iter()
        .take_while(|entry| is_used(&entry[..]))
        .map(|entry| {
            let OffsetPosition { offset, position } = offset_index::decode(entry, base_offset);
            OffsetIndexRow { offset, position }
        })
        .collect())
}

/// The entries of a `.timeindex`.
pub fn time_index(env: &Env, path: &Path) -> Result<Vec<TimeIndexRow>, LogError> {
    let base_offset = base_offset(path)?;
    Ok(entries::<{ time_index::ENTRY_SIZE as usize }>(env, path)?
        .iter()
        .take_while(|entry| is_used(&entry[..]))
        .map(|entry| {
            let TimestampOffset { timestamp, offset } = time_index::decode(entry, base_offset);
            TimeIndexRow { timestamp, offset }
        })
        .collect())
}

/// The entries of a `.txnindex`.
pub fn transaction_index(env: &Env, path: &Path) -> Result<Vec<AbortedTxn>, LogError> {
    entries::<{ transaction_index::ENTRY_SIZE as usize }>(env, path)?
        .iter()
        .map(|entry| {
            AbortedTxn::decode(entry).ok_or_else(|| LogError::corrupt(path, "an entry has an unknown version"))
        })
        .collect()
}

/// The producers in a `.snapshot`.
pub fn producer_snapshot(env: &Env, path: &Path) -> Result<Vec<ProducerStateEntry>, LogError> {
    let bytes = env.fs().read(path).context("read", path)?;
    producer_snapshot::decode(&bytes).map_err(|reason| LogError::corrupt(path, reason))
}

/// The indexes of a segment that is still written to are larger than what is in them: the rest is zeros.
fn is_used(entry: &[u8]) -> bool {
    entry.iter().any(|byte| *byte != 0)
}

fn entries<const N: usize>(env: &Env, path: &Path) -> Result<Vec<[u8; N]>, LogError> {
    let bytes = env.fs().read(path).context("read", path)?;
    let (entries, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        let reason = format!("its size of {} bytes is not a multiple of {N}", bytes.len());
        return Err(LogError::corrupt(path, reason));
    }
    Ok(entries.to_vec())
}

/// Checks a `.index` against the `.log` beside it; returns what is wrong, one sentence each.
pub fn check_offset_index(env: &Env, path: &Path) -> Result<Vec<String>, LogError> {
    let batches = batches_beside(env, path)?;
    let mut problems = Vec::new();
    let mut previous: Option<OffsetIndexRow> = None;
    for row in offset_index(env, path)? {
        let OffsetIndexRow { offset, position } = row;
        match batches.binary_search_by_key(&u64::from(position), |(position, _)| *position) {
            Ok(at) if batches[at].1.last_offset() == offset => {}
            Ok(at) => problems.push(format!(
                "the entry for offset {offset} points to byte {position}, whose batch ends with offset {}",
                batches[at].1.last_offset()
            )),
            Err(_) => {
                problems.push(format!("the entry for offset {offset} points to byte {position}, where no batch begins"))
            }
        }
        if previous.is_some_and(|previous| previous.offset >= offset || previous.position >= position) {
            problems.push(format!("the entry for offset {offset} is not above the one before it"));
        }
        previous = Some(row);
    }
    Ok(problems)
}

/// Checks a `.timeindex` against the `.log` beside it; returns what is wrong, one sentence each.
pub fn check_time_index(env: &Env, path: &Path) -> Result<Vec<String>, LogError> {
    let batches = batches_beside(env, path)?;
    let mut problems = Vec::new();
    let mut previous: Option<TimeIndexRow> = None;
    for row in time_index(env, path)? {
        let TimeIndexRow { timestamp, offset } = row;
        let found = batches.iter().find(|(_, header)| header.last_offset() >= offset);
        match found {
            Some((_, header)) if header.max_timestamp == timestamp => {}
            Some((_, header)) => problems.push(format!(
                "the entry for time {timestamp} names offset {offset}, whose batch has the time {}",
                header.max_timestamp
            )),
            None => problems.push(format!("the entry for time {timestamp} names offset {offset}, which the log lacks")),
        }
        if previous.is_some_and(|previous| previous.timestamp >= timestamp || previous.offset > offset) {
            problems.push(format!("the entry for time {timestamp} is not above the one before it"));
        }
        previous = Some(row);
    }
    Ok(problems)
}

fn batches_beside(env: &Env, path: &Path) -> Result<Vec<(u64, BatchHeader)>, LogError> {
    let log = segment_file(path.parent().unwrap_or(Path::new("")), base_offset(path)?, LOG);
    LogDump::open(env, &log)?.map(|row| row.map(|row| (row.position, row.header))).collect()
}
