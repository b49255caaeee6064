//! Opening a log's files. After a clean stop the files are trusted: only the end of the last segment is looked at. Otherwise
//! every batch from the recovery point's segment on is read and checked; at the first bad one the log is cut, what follows
//! is deleted, and indexes, leader epochs and producers are rebuilt on the way. What was cut is reported in a warning.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_env::Env;
use ottla_model::record_batch::{self, BatchError, BatchHeader, HEADER_SIZE, MAGIC, MAGIC_OFFSET};

use crate::append::AppendOrigin;
use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::leader_epoch::LeaderEpochCache;
use crate::names::{
    CLEANED, DELETED, INDEX, LOG, SNAPSHOT, SWAP, TIME_INDEX, TXN_INDEX, parse_segment_file, segment_file,
};
use crate::producer_append::ProducerAppend;
use crate::producer_state::{ProducerState, remove_file};
use crate::segment::{BULK_SCAN_BYTES, Found, SCAN_BYTES, Scanner, Segment, SegmentContext};
use crate::segment_index::AbsentIndexes;
use crate::time_index::TimestampOffset;
use crate::transaction_index::AbortedTxn;
use crate::unified_log::OpenMode;

/// How much recovery reads at once; a larger batch is read whole.
const READ_BYTES: usize = 1024 * 1024;

/// An opened log's state.
pub(crate) struct Loaded {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) producers: ProducerState,
    pub(crate) epochs: LeaderEpochCache,
    pub(crate) log_start_offset: i64,
    pub(crate) log_end_offset: i64,
    pub(crate) recovery_point: i64,
}

/// A log without records that starts at `offset`.
pub(crate) fn create_empty(context: &SegmentContext, config: &LogConfig, offset: i64) -> Result<Loaded, LogError> {
    let now_ms = context.env.now_ms();
    let jitter_ms = config.draw_jitter_ms(&context.env);
    let segment = Segment::create(context, offset, config.index_interval_bytes, now_ms, jitter_ms)
        .context("create a segment in", context.dir.path())?;
    let mut producers = ProducerState::default();
    producers.set_map_end_offset(offset);
    Ok(Loaded {
        segments: vec![Arc::new(segment)],
        producers,
        epochs: LeaderEpochCache::default(),
        log_start_offset: offset,
        log_end_offset: offset,
        recovery_point: offset,
    })
}

/// Opens the files with these names in the log's directory.
pub(crate) fn load(
    context: &SegmentContext,
    config: &LogConfig,
    names: Vec<String>,
    mode: OpenMode,
    log_start_checkpoint: i64,
) -> Result<Loaded, LogError> {
    let dir = context.dir.path();
    let env = &context.env;
    let files = Files::sweep(context, config, names)?;
    let now_ms = env.now_ms();
    let mut segments: Vec<Arc<Segment>> = files
        .logs
        .iter()
        .map(|&base_offset| {
            let absent = files.absent_indexes(base_offset);
            Arc::new(Segment::existing(context, base_offset, config, now_ms, absent))
        })
        .collect();
    let mut loader = Loader {
        context,
        config,
        dir: &dir,
        producers: ProducerState::with_snapshots(files.snapshots),
        epochs: LeaderEpochCache::load(env, &dir).context("read the leader epochs of", &dir)?,
        log_start_offset: log_start_checkpoint.max(segments.first().map_or(0, |first| first.base_offset)),
    };
    let log_end_offset = match (segments.last(), mode) {
        (None, _) => None,
        (Some(_), OpenMode::Recover { recovery_point }) => Some(loader.recover(&mut segments, recovery_point)?),
        (Some(last), OpenMode::Clean) => match read_end(last)? {
            Some(log_end_offset) => {
                loader.load_producers(&segments, log_end_offset)?;
                Some(log_end_offset)
            }
            None => {
                tracing::warn!(
                    path = %last.path().display(),
                    "the last segment ends with an incomplete batch although the log was closed; checking it"
                );
                let base_offset = last.base_offset;
                Some(loader.recover(&mut segments, base_offset)?)
            }
        },
    };
    let Some(log_end_offset) = log_end_offset.filter(|end| *end >= log_start_checkpoint) else {
        return loader.start_over(&segments, log_start_checkpoint.max(0));
    };
    loader.finish(segments, log_end_offset, mode)
}

/// What lies in a log's directory.
struct Files {
    logs: BTreeSet<i64>,
    snapshots: BTreeSet<i64>,
    indexes: BTreeSet<String>,
}

impl Files {
    /// Sorts the names, and deletes or completes what a crash has left: deleted and half-written files go, a swap of cleaned
    /// segments (from Apache Kafka's cleaner) is brought to its end.
    fn sweep(context: &SegmentContext, config: &LogConfig, mut names: Vec<String>) -> Result<Files, LogError> {
        let dir = context.dir.path();
        if names.iter().any(|name| name.ends_with(SWAP) || name.ends_with(CLEANED)) {
            names = complete_swaps(context, config, &dir, names)?;
        }
        let mut files = Files { logs: BTreeSet::new(), snapshots: BTreeSet::new(), indexes: BTreeSet::new() };
        for name in names {
            let Some((offset, extension)) = parse_segment_file(&name) else { continue };
            match extension {
                LOG => drop(files.logs.insert(offset)),
                SNAPSHOT => drop(files.snapshots.insert(offset)),
                INDEX | TIME_INDEX | TXN_INDEX => drop(files.indexes.insert(name)),
                other if other.ends_with(DELETED) || other.ends_with(".tmp") => {
                    remove_file(&context.env, &dir.join(&name));
                }
                _ => {}
            }
        }
        let orphan = |name: &String| parse_segment_file(name).is_some_and(|(offset, _)| !files.logs.contains(&offset));
        for name in files.indexes.iter().filter(|name| orphan(name)) {
            tracing::warn!(path = %dir.join(name).display(), "index without a segment, deleting it");
            remove_file(&context.env, &dir.join(name));
        }
        Ok(files)
    }

    fn absent_indexes(&self, base_offset: i64) -> AbsentIndexes {
        let absent = |extension: &str| !self.indexes.contains(&format!("{base_offset:020}.{extension}"));
        AbsentIndexes { offsets: absent(INDEX), times: absent(TIME_INDEX), txns: absent(TXN_INDEX) }
    }
}

/// A cleaner writes `.cleaned` files, renames them to `.swap`, deletes what they replace and gives them their final names.
/// Before the first rename its work is void, after that it is completed.
fn complete_swaps(
    context: &SegmentContext,
    config: &LogConfig,
    dir: &Path,
    names: Vec<String>,
) -> Result<Vec<String>, LogError> {
    let env = &context.env;
    let offset_of = |name: &str| parse_segment_file(name).map(|(offset, _)| offset);
    let cleaned_min = names.iter().filter(|name| name.ends_with(CLEANED)).filter_map(|name| offset_of(name)).min();
    let mut kept = Vec::with_capacity(names.len());
    let mut swaps = Vec::new();
    let mut voids = Vec::new();
    for name in names {
        let void = name.ends_with(CLEANED)
            || (name.ends_with(SWAP) && cleaned_min.is_some_and(|min| offset_of(&name).is_some_and(|at| at >= min)));
        if void {
            voids.push(name);
        } else if name.ends_with(SWAP) {
            swaps.push(name);
        } else {
            kept.push(name);
        }
    }
    // Those with `.swap` first: without a `.cleaned` beside them they would be taken for good.
    voids.sort_by_key(|name| name.ends_with(CLEANED));
    voids.iter().for_each(|name| remove_file(env, &dir.join(name)));
    // First what is replaced goes, then the swap's files take their names, the `.log` first: each time that this is cut
    // short, the rest is done by the next start.
    let is_log = |name: &&String| parse_segment_file(name).is_some_and(|(_, rest)| rest == format!("{LOG}{SWAP}"));
    let mut replaced = (i64::MAX, i64::MIN);
    for name in swaps.iter().filter(is_log) {
        let Some((base_offset, _)) = parse_segment_file(name) else { continue };
        let next_offset = end_of_swap(context, config, base_offset)?;
        // One that holds nothing any more replaces the segment whose name it has, at least.
        replaced = (replaced.0.min(base_offset), replaced.1.max(next_offset).max(base_offset + 1));
        tracing::info!(path = %dir.join(name).display(), "completing an interrupted swap of a cleaned segment");
    }
    kept.retain(|name| {
        let inside = offset_of(name).is_some_and(|offset| offset >= replaced.0 && offset < replaced.1);
        let goes = inside && !is_snapshot_of(name, replaced.0);
        if goes {
            remove_file(env, &dir.join(name));
        }
        !goes
    });
    let (logs, indexes): (Vec<String>, Vec<String>) = swaps.into_iter().partition(|name| is_log(&name));
    for name in logs.into_iter().chain(indexes) {
        let target = name.strip_suffix(SWAP).expect("only such names were collected").to_owned();
        env.fs().rename(&dir.join(&name), &dir.join(&target)).context("complete the swap of", dir.join(&name))?;
        kept.push(target);
    }
    Ok(kept)
}

/// Whether this is the producer snapshot at an offset; the one at a cleaned segment's start belongs to it.
fn is_snapshot_of(name: &str, base_offset: i64) -> bool {
    parse_segment_file(name) == Some((base_offset, SNAPSHOT))
}

/// The offset behind the last batch of a cleaned segment.
fn end_of_swap(context: &SegmentContext, config: &LogConfig, base_offset: i64) -> Result<i64, LogError> {
    let segment = Segment::beside(context, base_offset, config, context.env.now_ms(), SWAP, true)
        .context("open a cleaned segment in", context.dir.path())?;
    let size = segment.size().context("open", segment.path())?;
    let mut scanner = segment.scan(0, size, BULK_SCAN_BYTES)?;
    let mut next_offset = base_offset;
    while let Some(found) = scanner.next()? {
        next_offset = found.header.next_offset();
    }
    Ok(next_offset)
}

/// Reads the end of a segment that was closed in order; `None` if it does not end with a whole batch.
fn read_end(segment: &Segment) -> Result<Option<i64>, LogError> {
    let size = segment.size().context("open", segment.path())?;
    if size == 0 {
        let mut index = segment.index_unchecked();
        index.reset(true).context("reset the index of", segment.path())?;
        return Ok(Some(segment.base_offset));
    }
    let mut index = match segment.index() {
        Ok(index) => index,
        Err(LogError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let last = index.offsets.last().context("read the index of", segment.path())?;
    let times = index.times.last().context("read the index of", segment.path())?;
    let position = last.map_or(0, |last| u64::from(last.position));
    let mut largest = times.unwrap_or(TimestampOffset { timestamp: -1, offset: segment.base_offset });
    let mut scanner = segment.scan(position, size, SCAN_BYTES)?;
    let mut next_offset = segment.base_offset;
    loop {
        match scanner.try_next() {
            Ok(Some(Found { header, .. })) => {
                next_offset = header.next_offset();
                if header.max_timestamp > largest.timestamp {
                    largest = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
                }
            }
            Ok(None) => break,
            Err(crate::segment::ScanError::Batch(_)) => return Ok(None),
            Err(crate::segment::ScanError::Io(source)) => {
                return Err(LogError::Io { doing: "read", path: segment.path(), source });
            }
        }
    }
    index.set_largest(largest);
    index.set_bytes_since_last_entry(size - position);
    Ok((scanner.position() == size).then_some(next_offset))
}

struct Loader<'a> {
    context: &'a SegmentContext,
    config: &'a LogConfig,
    dir: &'a Path,
    producers: ProducerState,
    epochs: LeaderEpochCache,
    log_start_offset: i64,
}

impl Loader<'_> {
    fn env(&self) -> &Env {
        &self.context.env
    }

    fn reload_producers(&mut self, end_offset: i64) {
        let times = (self.env().now_ms(), self.config.producer_id_expiration_ms);
        let range = (self.log_start_offset, end_offset);
        self.producers.truncate_and_reload(&self.context.env, self.dir, range, times);
    }

    fn load_producers(&mut self, segments: &[Arc<Segment>], log_end_offset: i64) -> Result<(), LogError> {
        let had_snapshots = !self.producers.snapshot_offsets().is_empty();
        self.reload_producers(log_end_offset);
        if had_snapshots {
            replay_producers(&mut self.producers, segments, log_end_offset)?;
        }
        self.producers.set_map_end_offset(log_end_offset);
        Ok(())
    }

    /// Checks the segments from the recovery point's on; returns the log end offset. `segments` loses those behind a cut.
    fn recover(&mut self, segments: &mut Vec<Arc<Segment>>, recovery_point: i64) -> Result<i64, LogError> {
        let first = segments.partition_point(|segment| segment.base_offset <= recovery_point).saturating_sub(1);
        let start_offset = segments[first].base_offset;
        self.reload_producers(start_offset);
        replay_producers(&mut self.producers, &segments[..first], start_offset)?;
        self.producers.set_map_end_offset(start_offset);

        let mut log_end_offset = start_offset;
        for at in first..segments.len() {
            let segment = segments[at].clone();
            let next_base_offset = segments.get(at + 1).map(|next| next.base_offset);
            // Compaction may have emptied what lies before the segment.
            let recovered = self.recover_segment(&segment, log_end_offset.max(segment.base_offset))?;
            log_end_offset = recovered.next_offset;
            // A cut at the end of a segment that is not the last leaves a hole, and so does a segment that reaches into
            // the next one: what follows cannot be trusted.
            if recovered.bytes_cut > 0 || next_base_offset.is_some_and(|next| next < log_end_offset) {
                for later in segments.drain(at + 1..) {
                    tracing::warn!(path = %later.path().display(), "deleting the segment behind the cut");
                    delete_files(self.env(), self.dir, later.base_offset);
                }
                break;
            }
            if let Some(next_base_offset) = next_base_offset {
                if let Err(error) = segment.finish() {
                    // The entries stay in memory; a flush or the close writes them once there is room again.
                    tracing::warn!(path = %segment.path().display(), %error, "cannot write the rebuilt index");
                }
                self.producers.set_map_end_offset(next_base_offset);
                if let Err(error) = self.producers.take_snapshot(&self.context.env, self.dir, false) {
                    tracing::warn!(dir = %self.dir.display(), %error, "cannot write a producer snapshot");
                }
            }
        }
        Ok(log_end_offset)
    }

    fn recover_segment(&mut self, segment: &Segment, next_offset: i64) -> Result<Recovered, LogError> {
        let mut index = segment.index_unchecked();
        index.reset(true).context("reset the index of", segment.path())?;
        let size = segment.size().context("open", segment.path())?;
        let mut reader = CheckedReader { segment, size, position: 0, next_offset, chunk: Bytes::new() };
        let mut reason = None;
        loop {
            let position = reader.position;
            match reader.next()? {
                Step::Batch(header, batch) => {
                    index.on_batch(position, &header, self.config.index_interval_bytes);
                    let epoch = header.partition_leader_epoch;
                    if epoch >= 0 && self.epochs.latest().is_none_or(|latest| epoch > latest.epoch) {
                        self.epochs.assign(epoch, header.base_offset);
                    }
                    let aborted = replay_batch(&mut self.producers, &header, || Some(batch));
                    if let Some(aborted) = aborted
                        && let Err(error) = index.txns.append(&aborted)
                    {
                        tracing::warn!(path = %segment.path().display(), %error, "cannot write the transaction index");
                    }
                }
                Step::End => break,
                Step::Bad(error) => {
                    reason = Some(error);
                    break;
                }
            }
        }
        let recovered = Recovered { next_offset: reader.next_offset, bytes_cut: size - reader.position };
        drop(index);
        if let Some(reason) = reason {
            tracing::warn!(
                path = %segment.path().display(),
                position = reader.position,
                bytes = recovered.bytes_cut,
                log_end_offset = recovered.next_offset,
                %reason,
                "cutting the log before a damaged batch"
            );
            segment.cut(reader.position)?;
        }
        Ok(recovered)
    }

    /// The log's offsets moved on without its files: they are void.
    fn start_over(mut self, segments: &[Arc<Segment>], offset: i64) -> Result<Loaded, LogError> {
        if !segments.is_empty() {
            tracing::warn!(
                dir = %self.dir.display(),
                log_start_offset = offset,
                "the log ends before its checkpointed start offset; starting empty there"
            );
        }
        for segment in segments {
            segment.close_files();
            delete_files(self.env(), self.dir, segment.base_offset);
        }
        self.producers.truncate_fully(&self.context.env, self.dir, offset);
        self.epochs.clear();
        let empty = create_empty(self.context, self.config, offset)?;
        Ok(Loaded { epochs: self.epochs, ..empty })
    }

    fn finish(mut self, segments: Vec<Arc<Segment>>, log_end_offset: i64, mode: OpenMode) -> Result<Loaded, LogError> {
        self.epochs.truncate_from_end(log_end_offset);
        self.epochs.truncate_from_start(self.log_start_offset);
        self.producers.set_map_end_offset(log_end_offset);
        let is_segment = |offset| segments.binary_search_by_key(&offset, |segment| segment.base_offset).is_ok();
        self.producers.remove_strays(&self.context.env, self.dir, is_segment);
        if let (OpenMode::Recover { .. }, Some(active)) = (mode, segments.last()) {
            // A cut may have made a sealed segment the active one, which is written in place.
            active.unshare(active.size().context("open", active.path())?)?;
        }
        let recovery_point = match mode {
            OpenMode::Clean => log_end_offset,
            // Read and found good is not the same as being on the disk.
            OpenMode::Recover { recovery_point } => recovery_point.min(log_end_offset),
        };
        Ok(Loaded {
            segments,
            producers: self.producers,
            epochs: self.epochs,
            log_start_offset: self.log_start_offset,
            log_end_offset,
            recovery_point,
        })
    }
}

struct Recovered {
    next_offset: i64,
    bytes_cut: u64,
}

enum Step {
    Batch(BatchHeader, Bytes),
    End,
    Bad(String),
}

/// Reads whole batches of a segment and checks each.
struct CheckedReader<'a> {
    segment: &'a Segment,
    size: u64,
    position: u64,
    /// No batch may begin below this.
    next_offset: i64,
    /// What was read at `position`.
    chunk: Bytes,
}

impl CheckedReader<'_> {
    fn next(&mut self) -> Result<Step, LogError> {
        let left = self.size - self.position;
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEADER_SIZE as u64 {
            return Ok(Step::Bad(format!("{left} bytes are too few for a batch")));
        }
        if self.chunk.len() < HEADER_SIZE {
            self.fill(READ_BYTES)?;
        }
        let header = match BatchHeader::parse(&self.chunk) {
            Ok(header) => header,
            Err(BatchError::UnsupportedMagic(magic @ (0 | 1))) if !self.is_damaged_magic()? => {
                return Err(LogError::corrupt(
                    self.segment.path(),
                    format!(
                        "it holds message format v{magic} at byte {}; rewrite the topic with Apache Kafka 3 first",
                        self.position
                    ),
                ));
            }
            Err(error) => return Ok(Step::Bad(error.to_string())),
        };
        let size = header.size_in_bytes();
        if size as u64 > left {
            return Ok(Step::Bad(format!("the batch has {size} bytes, but only {left} are there")));
        }
        if self.chunk.len() < size {
            self.fill(size.max(READ_BYTES))?;
        }
        let batch = self.chunk.slice(..size);
        if let Err(error) = record_batch::verify_crc(&batch).and_then(|()| header.validate()) {
            return Ok(Step::Bad(error.to_string()));
        }
        if header.base_offset < self.next_offset || !self.segment.fits(header.last_offset()) {
            let next_offset = self.next_offset;
            return Ok(Step::Bad(format!("base offset {} where {next_offset} is due", header.base_offset)));
        }
        self.chunk = self.chunk.slice(size..);
        self.position += size as u64;
        self.next_offset = header.next_offset();
        Ok(Step::Batch(header, batch))
    }

    fn fill(&mut self, bytes: usize) -> Result<(), LogError> {
        let len = (bytes as u64).min(self.size - self.position) as usize;
        let file = self.segment.file().context("open", self.segment.path())?;
        self.chunk = file.read_at(self.position, len).context("read", self.segment.path())?;
        if self.chunk.len() < len {
            return Err(LogError::corrupt(self.segment.path(), "the file shrinks while it is read"));
        }
        Ok(())
    }

    /// Whether only the magic byte is wrong, which the checksum does not cover, and this is not an old Kafka's file.
    fn is_damaged_magic(&mut self) -> Result<bool, LogError> {
        let Some(length) = self.chunk.get(8..12) else { return Ok(false) };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let size = match usize::try_from(length) {
            Ok(length) if (length + 12) as u64 <= self.size - self.position => length + 12,
            // Torn or senseless in any format.
            _ => return Ok(true),
        };
        if self.chunk.len() < size {
            self.fill(size.max(READ_BYTES))?;
        }
        let mut batch = self.chunk[..size].to_vec();
        batch[MAGIC_OFFSET] = MAGIC as u8;
        Ok(record_batch::verify_crc(&batch).is_ok())
    }
}

/// Takes the batches from the producers' end offset up to `end_offset` into the producers' state.
pub(crate) fn replay_producers(
    producers: &mut ProducerState,
    segments: &[Arc<Segment>],
    end_offset: i64,
) -> Result<(), LogError> {
    let from = producers.map_end_offset();
    if from >= end_offset {
        return Ok(());
    }
    let first = segments.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
    for segment in segments.iter().skip(first).take_while(|segment| segment.base_offset < end_offset) {
        let size = segment.size().context("open", segment.path())?;
        let Some(start) = segment.find(from, size)? else { continue };
        let mut scanner: Scanner = segment.scan(start.position, size, BULK_SCAN_BYTES)?;
        while let Some(found) = scanner.next()? {
            if found.header.base_offset >= end_offset {
                break;
            }
            let body = if found.header.is_control() { Some(scanner.read(&found)?) } else { None };
            replay_batch(producers, &found.header, || body);
        }
    }
    Ok(())
}

/// Takes a batch of the log into the producers' state; returns the transaction that it aborted.
fn replay_batch(
    producers: &mut ProducerState,
    header: &BatchHeader,
    body: impl FnOnce() -> Option<Bytes>,
) -> Option<AbortedTxn> {
    producers.set_map_end_offset(header.next_offset());
    if !header.has_producer_id() {
        return None;
    }
    let known = producers.get(header.producer_id);
    let mut append = ProducerAppend::new(known, header.producer_id, AppendOrigin::Replication);
    // What is in the log was checked before it came there; replication refuses nothing.
    let completed = append.append(header, header.base_offset, body).ok().flatten();
    producers.update(&append);
    let txn = completed?;
    let last_stable_offset = producers.last_stable_offset(&txn);
    producers.complete(&txn);
    txn.is_aborted.then_some(AbortedTxn {
        producer_id: txn.producer_id,
        first_offset: txn.first_offset,
        last_offset: txn.last_offset,
        last_stable_offset,
    })
}

/// Deletes all files of a segment, also its producer snapshot.
pub(crate) fn delete_files(env: &Env, dir: &Path, base_offset: i64) {
    for extension in [LOG, INDEX, TIME_INDEX, TXN_INDEX, SNAPSHOT] {
        remove_file(env, &segment_file(dir, base_offset, extension));
    }
}
