//! One cleaning of one log, cut into steps of about a buffer's size, so that who drives it can pause between them. Two walks:
//! the first, over the part that is not clean yet, notes each key's latest offset; the second, over everything up to there,
//! writes what stays into new segments, which take the old ones' place group by group.
//!
//! Appends and reads go on all the time. If the log changes under it (retention takes a segment away, the log is closed or
//! deleted, its policy changes), the cleaning gives up; what it has finished holds, and the next one begins again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_model::TopicPartition;

use super::filter::{CleanedRecords, Kept, Rules};
use super::groups::group_segments;
use super::offset_map::OffsetMap;
use super::reader::ChunkReader;
use super::transactions::TransactionWalk;
use crate::error::{IoContext, LogError};
use crate::names::CLEANED;
use crate::producer_state::remove_file;
use crate::segment::Segment;
use crate::unified_log::Log;

/// How a cleaning works; the defaults are Kafka's, for one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleaningOptions {
    /// The thread's share of `log.cleaner.dedupe.buffer.size`: memory for keys. It is taken as far as it is needed.
    pub dedupe_buffer_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full that may get.
    pub dedupe_buffer_load_factor: f64,
    /// The thread's share of `log.cleaner.io.buffer.size`: about so much is read in a step.
    pub io_buffer_bytes: usize,
    /// Whether what replaces something is synced to the disk first.
    pub sync: bool,
}

impl Default for CleaningOptions {
    fn default() -> Self {
        CleaningOptions {
            dedupe_buffer_bytes: 128 * 1024 * 1024,
            dedupe_buffer_load_factor: 0.9,
            io_buffer_bytes: 256 * 1024,
            sync: true,
        }
    }
}

/// Where a cleaning is.
#[derive(Clone, Debug, PartialEq)]
pub enum CleaningStep {
    /// There is more to do.
    More {
        /// Bytes that this step read and wrote: what `log.cleaner.io.max.bytes.per.second` bounds.
        io_bytes: u64,
    },
    /// All is done, and the log's first dirty offset has moved.
    Done(CleaningReport),
    /// The log has changed under it. It may be cleaned again.
    GivenUp,
}

/// What a cleaning did.
#[derive(Clone, Debug, PartialEq)]
pub struct CleaningReport {
    /// Whose log.
    pub partition: TopicPartition,
    /// The part that was not clean: from here,
    pub first_dirty_offset: i64,
    /// to here, exclusive; where the next cleaning begins.
    pub end_offset: i64,
    /// Bytes of the segments that were written anew, before,
    pub bytes_read: u64,
    /// and after.
    pub bytes_written: u64,
    /// Their records.
    pub records: CleanedRecords,
    /// How full the memory for keys was, 0 to 1.
    pub buffer_utilization: f64,
}

#[derive(Debug)]
enum Phase {
    Map { segments: VecDeque<Arc<Segment>>, reader: Option<ChunkReader> },
    Clean { groups: VecDeque<Vec<Arc<Segment>>>, group: Option<Group> },
    Over,
}

/// Segments that become one.
#[derive(Debug)]
struct Group {
    segments: Vec<Arc<Segment>>,
    /// The one that is read.
    at: usize,
    reader: ChunkReader,
    cleaned: Arc<Segment>,
}

/// A cleaning under way. Dropping it before its end gives it up.
#[derive(Debug)]
pub struct Cleaning {
    log: Arc<Log>,
    options: CleaningOptions,
    first_dirty_offset: i64,
    first_uncleanable_offset: i64,
    rules: Rules,
    txns: TransactionWalk,
    phase: Phase,
    report: CleaningReport,
}

impl Cleaning {
    /// Begins; the caller has made sure that no other cleaning of this log is under way.
    pub(crate) fn begin(
        log: Arc<Log>,
        (first_dirty_offset, first_uncleanable_offset): (i64, i64),
        options: CleaningOptions,
        now_ms: i64,
    ) -> Result<Cleaning, LogError> {
        let keys = (first_uncleanable_offset - first_dirty_offset).max(0) as u64;
        let seed = log.context.env.random_u64();
        let map = OffsetMap::new(options.dedupe_buffer_bytes, options.dedupe_buffer_load_factor, keys, seed);
        let rules = Rules {
            map,
            now_ms,
            delete_retention_ms: log.config().delete_retention_ms,
            round_end: first_uncleanable_offset,
            last_of_producers: Default::default(),
        };
        let report = CleaningReport {
            partition: log.partition.clone(),
            first_dirty_offset,
            end_offset: first_dirty_offset,
            bytes_read: 0,
            bytes_written: 0,
            records: CleanedRecords::default(),
            buffer_utilization: 0.0,
        };
        let segments = VecDeque::from(segments_between(&log, first_dirty_offset, first_uncleanable_offset));
        let phase = Phase::Map { segments, reader: None };
        let txns = TransactionWalk::default();
        let mut cleaning =
            Cleaning { log, options, first_dirty_offset, first_uncleanable_offset, rules, txns, phase, report };
        let aborted = cleaning.log.aborted_transactions(first_dirty_offset, first_uncleanable_offset)?;
        cleaning.txns.announce(&aborted);
        Ok(cleaning)
    }

    /// The log that is cleaned.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Does the next piece of work. Blocks on the disk for about a buffer, at the end of a group also on a sync; decompresses
    /// and compresses what it reads.
    ///
    /// # Errors
    /// The disk refused, or a batch is damaged. What was finished before holds. After damage the log is not cleaned again
    /// until it is opened anew.
    pub fn step(&mut self) -> Result<CleaningStep, LogError> {
        if !self.log.config().cleanup_policy.compact || self.log.writer.lock().closed {
            self.give_up_group();
        }
        let step = match &mut self.phase {
            Phase::Map { .. } => self.map_step(),
            Phase::Clean { .. } => self.clean_step(),
            Phase::Over => Ok(CleaningStep::GivenUp),
        };
        if let Err(error) = &step {
            self.give_up_group();
            self.log.cleaner.report(&self.log.partition, error);
        }
        step
    }

    fn map_step(&mut self) -> Result<CleaningStep, LogError> {
        let Phase::Map { segments, reader } = &mut self.phase else { return Ok(CleaningStep::GivenUp) };
        let Some(segment) = segments.front() else { return self.begin_cleaning() };
        let chunks = match reader {
            Some(reader) => reader,
            None => {
                let position = segment.index()?.offsets.lookup(self.first_dirty_offset);
                let position = position.context("read the index of", segment.path())?;
                reader.insert(ChunkReader::new(segment.clone(), u64::from(position))?)
            }
        };
        let bytes = chunks.fill(self.options.io_buffer_bytes)?;
        if bytes == 0 {
            // Offsets that no batch has any more are known, too.
            segments.pop_front();
            let next = segments.front().map_or(self.first_uncleanable_offset, |next| next.base_offset);
            self.rules.map.raise_latest_offset(next - 1);
            *reader = None;
            return Ok(CleaningStep::More { io_bytes: 0 });
        }
        while let Some((header, batch)) = chunks.next()? {
            let damaged = |error| chunks.damaged(error);
            if header.is_control() {
                self.txns.on_control(&header, &batch).map_err(damaged)?;
            } else if !self.txns.on_batch(&header) {
                let records = ottla_model::record_batch::records(&batch).map_err(damaged)?;
                for record in records.views() {
                    let record = record.map_err(damaged)?;
                    let Some(key) = record.key.filter(|_| record.offset >= self.first_dirty_offset) else { continue };
                    if !self.rules.map.put(key, record.offset) {
                        // What comes behind is left to the next round.
                        return self.begin_cleaning();
                    }
                }
            }
            if header.last_offset() >= self.first_dirty_offset {
                self.rules.map.raise_latest_offset(header.last_offset());
            }
        }
        Ok(CleaningStep::More { io_bytes: bytes as u64 })
    }

    fn begin_cleaning(&mut self) -> Result<CleaningStep, LogError> {
        let end_offset = self.rules.map.latest_offset() + 1;
        if end_offset <= self.first_dirty_offset {
            let reason = format!(
                "the keys of one batch do not fit the cleaner's memory of {} bytes; raise log.cleaner.dedupe.buffer.size",
                self.options.dedupe_buffer_bytes
            );
            return Err(LogError::corrupt(self.log.dir(), reason));
        }
        self.report.end_offset = end_offset;
        self.report.buffer_utilization = self.rules.map.utilization();
        let segments = segments_between(&self.log, i64::MIN, end_offset);
        let groups = group_segments(&segments, &self.log.config(), self.first_uncleanable_offset)?;
        self.txns = TransactionWalk::default();
        self.phase = Phase::Clean { groups: groups.into(), group: None };
        Ok(CleaningStep::More { io_bytes: 0 })
    }

    fn clean_step(&mut self) -> Result<CleaningStep, LogError> {
        let Phase::Clean { groups, group } = &mut self.phase else { return Ok(CleaningStep::GivenUp) };
        let Some(open) = group else {
            let Some(segments) = groups.pop_front() else { return Ok(self.finish()) };
            let opened = self.open_group(segments)?;
            if let Phase::Clean { group, .. } = &mut self.phase {
                *group = Some(opened);
            }
            return Ok(CleaningStep::More { io_bytes: 0 });
        };
        let bytes = open.reader.fill(self.options.io_buffer_bytes)?;
        if bytes > 0 {
            let written = write_kept(open, &self.rules, &mut self.txns, &mut self.report)?;
            return Ok(CleaningStep::More { io_bytes: bytes as u64 + written });
        }
        if let Some(next) = open.segments.get(open.at + 1).cloned() {
            open.at += 1;
            announce(&self.log, &open.segments, open.at, &mut self.txns)?;
            open.reader = ChunkReader::new(next, 0)?;
            return Ok(CleaningStep::More { io_bytes: 0 });
        }
        let Some(done) = group.take() else { return Ok(CleaningStep::GivenUp) };
        if self.close_group(&done).inspect_err(|_| self.log.remove_cleaned_if_unused(&done.cleaned))? {
            return Ok(CleaningStep::More { io_bytes: 0 });
        }
        self.log.remove_cleaned_if_unused(&done.cleaned);
        self.phase = Phase::Over;
        Ok(CleaningStep::GivenUp)
    }

    fn open_group(&mut self, segments: Vec<Arc<Segment>>) -> Result<Group, LogError> {
        let (first, last) = (&segments[0], &segments[segments.len() - 1]);
        let context = &self.log.context;
        let config = self.log.config();
        let create = || Segment::beside(context, first.base_offset, &config, last.created_ms, CLEANED, false);
        let cleaned = Arc::new(create().context("create a cleaned segment in", self.log.dir())?);
        for index in cleaned.files().iter().skip(1) {
            // Of a cleaning that a crash of Apache Kafka, or an error, left behind.
            remove_file(&context.env, &index.path());
        }
        self.rules.last_of_producers = Rules::last_of_producers(&self.log.writer.lock().producers);
        announce(&self.log, &segments, 0, &mut self.txns)?;
        let reader = ChunkReader::new(segments[0].clone(), 0)?;
        Ok(Group { segments, at: 0, reader, cleaned })
    }

    /// Brings the cleaned segment to its final form and puts it in the place of the others.
    fn close_group(&self, group: &Group) -> Result<bool, LogError> {
        let cleaned = &group.cleaned;
        cleaned.finish()?;
        if self.options.sync {
            let path = || cleaned.path();
            cleaned.file().and_then(|file| file.sync_data()).context("sync", path())?;
            for file in cleaned.index()?.files_to_sync().context("write the index of", path())? {
                file.sync_data().context("sync the index of", path())?;
            }
            let dir = self.log.dir();
            self.log.context.env.fs().sync_dir(&dir).context("sync", dir)?;
            cleaned.synced.store(true, Ordering::Relaxed);
        }
        self.log.replace_segments(&group.segments, cleaned, self.options.sync)
    }

    fn finish(&mut self) -> CleaningStep {
        self.phase = Phase::Over;
        self.log.cleaner.set_first_dirty_offset(self.report.end_offset);
        CleaningStep::Done(self.report.clone())
    }

    fn give_up_group(&mut self) {
        if let Phase::Clean { group: Some(group), .. } = std::mem::replace(&mut self.phase, Phase::Over) {
            self.log.remove_cleaned_if_unused(&group.cleaned);
        }
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        self.give_up_group();
        self.log.cleaner.leave();
    }
}

impl Log {
    /// Removes a cleaned segment's files, unless it is one of the log's.
    fn remove_cleaned_if_unused(&self, cleaned: &Arc<Segment>) {
        if !self.segments().iter().any(|segment| Arc::ptr_eq(segment, cleaned)) {
            self.remove_cleaned(cleaned);
        }
    }
}

/// The sealed segments that hold offsets of `[from, to)`.
pub(crate) fn segments_between(log: &Log, from: i64, to: i64) -> Vec<Arc<Segment>> {
    let segments = log.segments();
    let sealed = &segments[..segments.len() - 1];
    let first = sealed.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
    sealed.iter().skip(first).take_while(|segment| segment.base_offset < to).cloned().collect()
}

/// Tells the walk of the aborted transactions that overlap the group's segment `at`.
fn announce(log: &Log, segments: &[Arc<Segment>], at: usize, txns: &mut TransactionWalk) -> Result<(), LogError> {
    let from = segments[at].base_offset;
    let to = match segments.get(at + 1) {
        Some(next) => next.base_offset,
        None => next_base_offset(log, from),
    };
    txns.announce(&log.aborted_transactions(from, to)?);
    Ok(())
}

/// Where the segment behind the one at `base_offset` begins.
fn next_base_offset(log: &Log, base_offset: i64) -> i64 {
    let segments = log.segments();
    let next = segments.partition_point(|segment| segment.base_offset <= base_offset);
    segments.get(next).map_or(i64::MAX, |next| next.base_offset)
}

/// Writes what stays of the chunk that was read; returns how many bytes.
fn write_kept(
    group: &mut Group,
    rules: &Rules,
    txns: &mut TransactionWalk,
    report: &mut CleaningReport,
) -> Result<u64, LogError> {
    let mut headers = Vec::new();
    // One buffer of exactly what stays: a slice of the chunk would keep all of it in memory.
    let mut bytes = Vec::new();
    while let Some((header, batch)) = group.reader.next()? {
        let kept = rules.filter(txns, &header, &batch, &mut report.records);
        report.bytes_read += batch.len() as u64;
        match kept.map_err(|error| group.reader.damaged(error))? {
            Kept::Nothing => {}
            Kept::Whole => {
                headers.push(header);
                bytes.extend_from_slice(&batch);
            }
            Kept::Rewritten(batch) => {
                let parsed = ottla_model::record_batch::BatchHeader::parse(&batch);
                headers.push(parsed.map_err(|error| group.reader.damaged(error))?);
                bytes.extend_from_slice(&batch);
            }
        }
    }
    let written = bytes.len() as u64;
    if written > 0 {
        let path = || group.cleaned.path();
        group.cleaned.append_cleaned(&headers, Bytes::from(bytes)).context("write", path())?;
    }
    for aborted in txns.take_kept() {
        group.cleaned.index_unchecked().txns.file().push(aborted.encode());
    }
    report.bytes_written += written;
    Ok(written)
}
