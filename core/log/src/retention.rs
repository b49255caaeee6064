//! What leaves a log at its start: segments that are too old, that are too much, or that lie before the log start offset.
//! Nothing at or above the high watermark is deleted. Files are renamed to `.deleted` first and go after
//! `file.delete.delay.ms`, so that readers that are still at them can finish; in memory they go at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoContext, LogError};
use crate::names::{DELETED, SNAPSHOT, segment_file};
use crate::producer_state::remove_file;
use crate::segment::Segment;
use crate::unified_log::{Log, Writer};

impl Log {
    /// Deletes the segments that retention no longer wants at time `now_ms`; returns how many. Also removes files whose
    /// delayed deletion is due, and forgets idle producers.
    pub fn delete_old_segments(&self, now_ms: i64) -> Result<usize, LogError> {
        let config = self.config();
        self.remove_expired_producers(now_ms);
        self.remove_trash(now_ms);
        let mut writer = self.writer.lock();
        if writer.closed {
            return Ok(0);
        }
        let log_start_offset = self.log_start_offset();
        let mut deleted = self.delete_while(&mut writer, now_ms, |_, next_base_offset| {
            Ok(next_base_offset.is_some_and(|next| next <= log_start_offset))
        })?;
        if !config.cleanup_policy.delete {
            return Ok(deleted);
        }
        if config.retention_bytes >= 0 {
            let mut excess = self.size() as i64 - config.retention_bytes;
            deleted += self.delete_while(&mut writer, now_ms, |segment, _| {
                excess -= segment.size().context("open", segment.path())? as i64;
                Ok(excess >= 0)
            })?;
        }
        if config.retention_ms >= 0 {
            deleted += self.delete_while(&mut writer, now_ms, |segment, _| {
                Ok(now_ms.saturating_sub(segment.largest_timestamp_or_created()?) > config.retention_ms)
            })?;
        }
        Ok(deleted)
    }

    /// Moves the log start offset up to `offset` (DeleteRecords), at most to the high watermark; −1 means up to it. Returns the
    /// log start offset in force. Segments that lie before it go with the next [`Log::delete_old_segments`]; the owner writes
    /// the offset to its checkpoint.
    pub fn delete_records_to(&self, offset: i64) -> Result<i64, LogError> {
        let writer = self.writer.lock();
        let high_watermark = self.high_watermark();
        let offset = if offset == -1 { high_watermark } else { offset };
        if offset > high_watermark || offset < 0 {
            return Err(LogError::OffsetOutOfRange {
                message: format!("cannot delete records up to {offset}: the high watermark is {high_watermark}"),
            });
        }
        let mut writer = writer;
        self.raise_log_start_offset(&mut writer, offset);
        Ok(self.log_start_offset())
    }

    fn raise_log_start_offset(&self, writer: &mut Writer, offset: i64) {
        if offset <= self.log_start_offset() {
            return;
        }
        self.set_log_start_offset(offset);
        self.epochs.write().truncate_from_start(offset);
        writer.producers.on_log_start_offset(offset);
        self.publish_first_unstable(writer);
    }

    /// Deletes segments from the start on, as long as `wants` says so. It is given the base offset of the next segment.
    fn delete_while(
        &self,
        writer: &mut Writer,
        now_ms: i64,
        mut wants: impl FnMut(&Segment, Option<i64>) -> Result<bool, LogError>,
    ) -> Result<usize, LogError> {
        let segments = self.segments();
        let high_watermark = self.high_watermark();
        let mut count = 0;
        for (at, segment) in segments.iter().enumerate() {
            let next_base_offset = segments.get(at + 1).map(|next| next.base_offset);
            let upper = next_base_offset.unwrap_or(writer.log_end_offset);
            let is_empty_active = next_base_offset.is_none() && segment.size().context("open", segment.path())? == 0;
            if high_watermark < upper || is_empty_active || !wants(segment, next_base_offset)? {
                break;
            }
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        if count == segments.len() {
            // A log always has a segment.
            let log_end_offset = writer.log_end_offset;
            self.roll(writer, log_end_offset, now_ms)?;
        }
        let removed: Vec<Arc<Segment>> = {
            let mut segments = self.segments.write();
            let mut list = segments.to_vec();
            let removed = list.drain(..count).collect();
            *segments = Arc::new(list);
            removed
        };
        let new_start = self.segments()[0].base_offset;
        self.raise_log_start_offset(writer, new_start);
        tracing::info!(partition = %self.partition, segments = count, log_start_offset = new_start, "deleted old segments");
        self.discard(writer, &removed, now_ms);
        Ok(count)
    }

    /// Renames the files of segments that are no longer listed, to remove them later.
    pub(crate) fn discard(&self, writer: &mut Writer, removed: &[Arc<Segment>], now_ms: i64) {
        let env = &self.context.env;
        let dir = self.dir();
        let delay_ms = if env.fs().is_memory() { 0 } else { self.config().file_delete_delay_ms };
        let mut trash = self.trash.lock();
        for segment in removed {
            for file in segment.files() {
                match file.rename(&unused_suffix(&trash, &file.path())) {
                    Ok(path) => trash.push((now_ms.saturating_add(delay_ms), path)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(path = %file.path().display(), %error, "cannot rename a file for deletion");
                    }
                }
            }
            // Nobody reads a snapshot later, unless another segment begins there.
            let is_replaced =
                self.segments().binary_search_by_key(&segment.base_offset, |other| other.base_offset).is_ok();
            if !is_replaced && writer.producers.forget_snapshot(segment.base_offset) {
                remove_file(env, &segment_file(&dir, segment.base_offset, SNAPSHOT));
            }
        }
        drop(trash);
        if delay_ms == 0 {
            self.remove_trash(now_ms);
        }
    }

    /// Removes files whose delayed deletion is due; returns how many still wait.
    pub fn remove_trash(&self, now_ms: i64) -> usize {
        let mut trash = self.trash.lock();
        trash.retain(|(due_ms, path)| {
            let due = *due_ms <= now_ms;
            if due {
                remove_file(&self.context.env, path);
            }
            !due
        });
        trash.len()
    }
}

/// What to put behind a file's name for its deletion: `.deleted`, with a number before it if an earlier file of this name
/// still waits for its own. Whatever ends like this is swept when the log is opened, by Apache Kafka, too.
fn unused_suffix(trash: &[(i64, PathBuf)], path: &Path) -> String {
    let mut suffix = DELETED.to_owned();
    let mut number = 0;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(&suffix);
        if !trash.iter().any(|(_, waiting)| waiting.as_os_str() == name) {
            return suffix;
        }
        number += 1;
        suffix = format!(".{number}{DELETED}");
    }
}
