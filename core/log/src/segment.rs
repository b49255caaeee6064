//! One segment: a `.log` of batches and its indexes. Appends come from the log's writer, one at a time; reads may run at the
//! same time, they see the size that was published after the last complete write.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use ottla_env::{Env, File};
use ottla_model::record_batch::{BatchError, BatchHeader, HEADER_SIZE};
use parking_lot::{Mutex, MutexGuard};

use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::fault::WriteFault;
use crate::lazy_file::{LazyFile, LogDir};
use crate::names::LOG;
use crate::segment_index::{AbsentIndexes, SegmentIndex};
use crate::time_index::TimestampOffset;

const SIZE_UNKNOWN: u64 = u64::MAX;
const TIMESTAMP_UNKNOWN: i64 = i64::MIN;
/// How much a scan for one batch reads at once: about one index interval.
pub(crate) const SCAN_BYTES: usize = 4096;
/// How much a scan over a whole segment reads at once.
pub(crate) const BULK_SCAN_BYTES: usize = 64 * 1024;

pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    log: Arc<LazyFile>,
    /// Bytes of complete batches.
    size: AtomicU64,
    /// Guards the indexes; held for an entry or a lookup, not while the `.log` is read or written.
    index: Mutex<SegmentIndex>,
    index_interval_bytes: u32,
    /// When the segment was made or opened, ms: its age while no record gives one.
    pub(crate) created_ms: i64,
    /// The first batch's largest timestamp; −1 if it has none.
    first_timestamp: AtomicI64,
    /// What `segment.jitter.ms` takes off this segment's time, ms.
    pub(crate) jitter_ms: i64,
    /// Whether all files are on the disk, also the indexes; set for segments that no longer grow.
    pub(crate) synced: AtomicBool,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("base_offset", &self.base_offset).field("size", &self.size).finish()
    }
}

/// What all segments of a log share.
#[derive(Clone, Debug)]
pub(crate) struct SegmentContext {
    pub(crate) env: Env,
    pub(crate) dir: Arc<LogDir>,
}

/// A batch found by its offset or time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

impl Segment {
    /// A new segment; creates its `.log`, the indexes follow when they have something to say.
    pub(crate) fn create(
        context: &SegmentContext,
        base_offset: i64,
        index_interval_bytes: u32,
        now_ms: i64,
        jitter_ms: i64,
    ) -> io::Result<Segment> {
        let ages = (now_ms, jitter_ms);
        let segment = Segment::new(context, base_offset, index_interval_bytes, ages, AbsentIndexes::ALL, "");
        segment.index.lock().checked = true;
        let file = segment.log.get_or_create()?;
        if file.len()? > 0 {
            // A leftover of a failed roll: nothing in it was acknowledged.
            file.set_len(0)?;
        }
        segment.size.store(0, Ordering::Release);
        Ok(segment)
    }

    /// A segment whose files exist. Nothing is opened before it is needed.
    pub(crate) fn existing(
        context: &SegmentContext,
        base_offset: i64,
        config: &LogConfig,
        now_ms: i64,
        absent: AbsentIndexes,
    ) -> Segment {
        // Only an active segment rolls, but which one that is shows later.
        let ages = (now_ms, config.draw_jitter_ms(&context.env));
        Segment::new(context, base_offset, config.index_interval_bytes, ages, absent, "")
    }

    /// A segment with other names, which nobody else knows: as [`Segment::create`] with `suffix` behind all names, or, with
    /// `exists`, one whose `.log` is there.
    pub(crate) fn beside(
        context: &SegmentContext,
        base_offset: i64,
        config: &LogConfig,
        created_ms: i64,
        suffix: &str,
        exists: bool,
    ) -> io::Result<Segment> {
        let ages = (created_ms, 0);
        let segment = Segment::new(context, base_offset, config.index_interval_bytes, ages, AbsentIndexes::ALL, suffix);
        segment.index.lock().checked = true;
        if !exists {
            segment.log.get_or_create()?.set_len(0)?;
            segment.size.store(0, Ordering::Release);
        }
        Ok(segment)
    }

    fn new(
        context: &SegmentContext,
        base_offset: i64,
        index_interval_bytes: u32,
        (created_ms, jitter_ms): (i64, i64),
        absent: AbsentIndexes,
        suffix: &str,
    ) -> Segment {
        let SegmentContext { env, dir } = context;
        Segment {
            base_offset,
            log: LazyFile::new(env, dir, format!("{base_offset:020}.{LOG}{suffix}")),
            size: AtomicU64::new(SIZE_UNKNOWN),
            index: Mutex::new(SegmentIndex::new(env, dir, base_offset, absent, suffix)),
            index_interval_bytes,
            created_ms,
            first_timestamp: AtomicI64::new(TIMESTAMP_UNKNOWN),
            jitter_ms,
            synced: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.log.path()
    }

    pub(crate) fn file(&self) -> io::Result<File> {
        self.log.get()
    }

    /// Bytes of complete batches.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self.size.load(Ordering::Acquire) {
            SIZE_UNKNOWN => {
                let size = self.log.get()?.len()?;
                self.size.store(size, Ordering::Release);
                Ok(size)
            }
            size => Ok(size),
        }
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Whether an offset can be told from the base offset by 31 bits.
    pub(crate) fn fits(&self, offset: i64) -> bool {
        let relative = offset - self.base_offset;
        (0..=i64::from(i32::MAX)).contains(&relative)
    }

    /// Writes batches behind the last ones with one call, then notes them in the indexes and publishes the new size. After
    /// an error the segment is as it was before.
    pub(crate) fn append(
        &self,
        buffers: &[Bytes],
        last_offset: i64,
        largest: (i64, i64),
        interval: u32,
        fault: Option<WriteFault>,
    ) -> io::Result<u64> {
        let position = self.size()?;
        let added: usize = buffers.iter().map(Bytes::len).sum();
        let file = self.log.get()?;
        let written = match fault {
            None => file.write_at(position, buffers),
            Some(fault) => Err(fault.write(&file, position, buffers)),
        };
        if let Err(error) = written {
            if fault == Some(WriteFault::Torn) {
                return Err(error);
            }
            // What was written in part lies behind the published size. If it cannot be cut off now, the next append
            // overwrites it, a close cuts it off, and recovery would find it damaged.
            let _ = file.set_len(position);
            return Err(error);
        }
        if position == 0 {
            self.first_timestamp.store(largest.0, Ordering::Relaxed);
        }
        self.index.lock().on_append(position, added as u64, last_offset, largest, interval);
        self.size.store(position + added as u64, Ordering::Release);
        Ok(position + added as u64)
    }

    /// Writes batches that keep their offsets, given with their headers, behind the last ones. Only for a segment that nobody
    /// else knows: after an error it is of no use.
    pub(crate) fn append_cleaned(&self, headers: &[BatchHeader], bytes: Bytes) -> io::Result<()> {
        let mut position = self.size()?;
        let end = position + bytes.len() as u64;
        self.log.get()?.write_at(position, &[bytes])?;
        let mut index = self.index.lock();
        for header in headers {
            index.on_batch(position, header, self.index_interval_bytes);
            position += header.size_in_bytes() as u64;
        }
        self.size.store(end, Ordering::Release);
        Ok(())
    }

    /// The indexes, rebuilt first if their files cannot be right.
    pub(crate) fn index(&self) -> Result<MutexGuard<'_, SegmentIndex>, LogError> {
        let mut index = self.index.lock();
        if !index.checked {
            let size = self.size().context("open", self.path())?;
            if index.looks_sound(size).context("read the index of", self.path())? {
                index.checked = true;
            } else {
                tracing::warn!(path = %self.path().display(), "index is missing or damaged, rebuilding it");
                self.rebuild(&mut index, size)?;
            }
        }
        Ok(index)
    }

    /// The indexes as they are, for recovery, which rebuilds them.
    pub(crate) fn index_unchecked(&self) -> MutexGuard<'_, SegmentIndex> {
        self.index.lock()
    }

    fn rebuild(&self, index: &mut SegmentIndex, size: u64) -> Result<(), LogError> {
        index.reset(false).context("reset the index of", self.path())?;
        let mut scanner = self.scan(0, size, BULK_SCAN_BYTES)?;
        while let Some(Found { position, header }) = scanner.next()? {
            index.on_batch(position, &header, self.index_interval_bytes);
        }
        index.finish().context("write the index of", self.path())
    }

    /// Walks over the headers of the batches from `position`, a batch's first byte, up to `end`.
    pub(crate) fn scan(&self, position: u64, end: u64, buffer_bytes: usize) -> Result<Scanner, LogError> {
        let file = self.file().context("open", self.path())?;
        Ok(Scanner { file, path: self.path(), position, end, buffer: vec![0; buffer_bytes], start: 0, filled: 0 })
    }

    /// The first batch whose last offset is at or above `offset`, among the first `end` bytes.
    pub(crate) fn find(&self, offset: i64, end: u64) -> Result<Option<Found>, LogError> {
        let position = self.index()?.offsets.lookup(offset).context("read the index of", self.path())?;
        let mut scanner = self.scan(u64::from(position), end, SCAN_BYTES)?;
        while let Some(found) = scanner.next()? {
            if found.header.last_offset() >= offset {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The largest timestamp and the last offset of the batch that holds it; −1 if no record has one.
    pub(crate) fn largest_timestamp(&self) -> Result<TimestampOffset, LogError> {
        let mut index = self.index()?;
        if let Some(largest) = index.largest() {
            return Ok(largest);
        }
        let indexed = index.times.last().context("read the index of", self.path())?;
        let mut largest = indexed.unwrap_or(TimestampOffset { timestamp: -1, offset: self.base_offset });
        let position = index.offsets.lookup(largest.offset).context("read the index of", self.path())?;
        let size = self.size().context("open", self.path())?;
        let mut scanner = self.scan(u64::from(position), size, SCAN_BYTES)?;
        while let Some(Found { header, .. }) = scanner.next()? {
            if header.max_timestamp > largest.timestamp {
                largest = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
            }
        }
        index.set_largest(largest);
        Ok(largest)
    }

    /// What retention by time compares: the largest timestamp, or the segment's own age if its records have none.
    pub(crate) fn largest_timestamp_or_created(&self) -> Result<i64, LogError> {
        let largest = self.largest_timestamp()?.timestamp;
        Ok(if largest >= 0 { largest } else { self.created_ms })
    }

    /// How long the first record has waited for a roll, ms.
    pub(crate) fn waited_ms(&self, now_ms: i64, message_timestamp: i64) -> Result<i64, LogError> {
        let first = self.first_batch_timestamp()?;
        Ok(if first >= 0 { message_timestamp - first } else { now_ms - self.created_ms })
    }

    /// The first batch's largest timestamp, ms; negative if there is none.
    pub(crate) fn first_batch_timestamp(&self) -> Result<i64, LogError> {
        let mut first = self.first_timestamp.load(Ordering::Relaxed);
        if first == TIMESTAMP_UNKNOWN {
            let size = self.size().context("open", self.path())?;
            first = match self.scan(0, size, SCAN_BYTES)?.next()? {
                Some(found) => found.header.max_timestamp,
                None => TIMESTAMP_UNKNOWN,
            };
            self.first_timestamp.store(first, Ordering::Relaxed);
        }
        Ok(first)
    }

    /// Cuts the segment before the first batch that holds `offset` or a later one; returns the bytes that are gone.
    pub(crate) fn truncate_to(&self, offset: i64) -> Result<u64, LogError> {
        let size = self.size().context("open", self.path())?;
        let keep = self.find(offset, size)?.map_or(size, |found| found.position);
        self.index()?.truncate_to(offset).context("truncate the index of", self.path())?;
        self.cut(keep)?;
        Ok(size - keep)
    }

    /// Cuts the `.log` to its first `size` bytes.
    pub(crate) fn cut(&self, size: u64) -> Result<(), LogError> {
        self.set_size(size);
        self.unshare(size)?;
        self.file().and_then(|file| file.set_len(size)).context("truncate", self.path())?;
        if size == 0 {
            self.first_timestamp.store(TIMESTAMP_UNKNOWN, Ordering::Relaxed);
        }
        self.synced.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Before the `.log` is written in place: a fork may have it too.
    pub(crate) fn unshare(&self, keep: u64) -> Result<(), LogError> {
        self.log.unshare(keep).context("copy", self.path())
    }

    /// The segment will not grow any more, or the log is closed: its files get their final form.
    pub(crate) fn finish(&self) -> Result<(), LogError> {
        let largest = self.largest_timestamp()?;
        let mut index = self.index()?;
        index.set_largest(largest);
        index.finish().context("write the index of", self.path())
    }

    /// All files of the segment, whether they exist or not.
    pub(crate) fn files(&self) -> [Arc<LazyFile>; 4] {
        let [offsets, times, txns] = self.index.lock().files();
        [self.log.clone(), offsets, times, txns]
    }

    /// Gives all files another suffix, the `.log` first.
    pub(crate) fn replace_suffix(&self, suffix: &str, by: &str) -> Result<(), LogError> {
        for (at, file) in self.files().iter().enumerate() {
            match file.replace_suffix(suffix, by) {
                // Not every segment has every index, but each has a `.log`.
                Err(error) if at > 0 && error.kind() == io::ErrorKind::NotFound => {}
                renamed => drop(renamed.context("rename", file.path())?),
            }
        }
        Ok(())
    }

    /// Opens all files and looks at the indexes, so that who has the segment can go on when their names are gone.
    pub(crate) fn pin(&self) -> Result<(), LogError> {
        self.size().context("open", self.path())?;
        let mut index = self.index()?;
        index.load().context("read the index of", self.path())
    }

    /// Closes the files; they open again when they are used.
    pub(crate) fn close_files(&self) {
        self.log.close();
        self.index.lock().files().iter().for_each(|file| file.close());
    }
}

/// Walks over batch headers without reading the records. Ends at an incomplete batch; an unreadable one is an error.
pub(crate) struct Scanner {
    file: File,
    path: PathBuf,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The position of the buffer's first byte, and how many bytes of it count.
    start: u64,
    filled: usize,
}

impl Scanner {
    pub(crate) fn next(&mut self) -> Result<Option<Found>, LogError> {
        match self.try_next() {
            Ok(found) => Ok(found),
            Err(ScanError::Io(source)) => Err(LogError::Io { doing: "read", path: self.path.clone(), source }),
            Err(ScanError::Batch(error)) => {
                Err(LogError::corrupt(&self.path, format!("the batch at byte {} : {error}", self.position)))
            }
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn try_next(&mut self) -> Result<Option<Found>, ScanError> {
        let left = self.end.saturating_sub(self.position);
        if left < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let in_buffer =
            self.position >= self.start && self.position + HEADER_SIZE as u64 <= self.start + self.filled as u64;
        if !in_buffer {
            let wanted = (self.buffer.len() as u64).min(left) as usize;
            self.file.read_exact_at(self.position, &mut self.buffer[..wanted])?;
            self.start = self.position;
            self.filled = wanted;
        }
        let at = (self.position - self.start) as usize;
        let header = BatchHeader::parse(&self.buffer[at..self.filled]).map_err(ScanError::Batch)?;
        if header.last_offset_delta < 0 {
            return Err(ScanError::Batch(BatchError::InvalidHeader("the last offset delta is negative")));
        }
        let size = header.size_in_bytes() as u64;
        if size > left {
            return Ok(None);
        }
        let found = Found { position: self.position, header };
        self.position += size;
        Ok(Some(found))
    }

    /// The bytes of a batch that was found.
    pub(crate) fn read(&self, found: &Found) -> Result<Bytes, LogError> {
        self.file.read_at(found.position, found.header.size_in_bytes()).context("read", self.path.clone())
    }
}

#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    Batch(BatchError),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        ScanError::Io(error)
    }
}
