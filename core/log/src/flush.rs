//! Making a log durable, closing it, and deleting it as a whole. Flushes of one log run one after the other, and one that had
//! to wait finds its work done: so the appends of many clients share a sync.

use std::sync::atomic::Ordering;

use ottla_model::Uuid;

use crate::error::{IoContext, LogError};
use crate::names::{LEADER_EPOCH_CHECKPOINT, delete_dir_name};
use crate::unified_log::Log;

impl Log {
    /// Makes everything appended so far durable, and returns the new recovery point, the offset below which all is. Blocks on
    /// fdatasync, without any lock that an append or a read needs.
    pub fn flush(&self) -> Result<i64, LogError> {
        let wanted = self.log_end_offset();
        let mut dir_synced = self.flushing.lock();
        if self.recovery_point() >= wanted {
            return Ok(self.recovery_point());
        }
        let truncations = self.truncations.load(Ordering::Acquire);
        let end = self.end();
        let segments = self.segments();
        let from = self.recovery_point();
        let first = segments.partition_point(|segment| segment.base_offset <= from).saturating_sub(1);
        for segment in &segments[first..] {
            let is_active = segment.base_offset >= end.base_offset;
            if segment.synced.load(Ordering::Relaxed) {
                continue;
            }
            let path = || segment.path();
            segment.file().and_then(|file| file.sync_data()).context("sync", path())?;
            // The active segment's indexes need not be on the disk: recovery from a point within it rebuilds them.
            if !is_active {
                for file in segment.index()?.files_to_sync().context("write the index of", path())? {
                    file.sync_data().context("sync the index of", path())?;
                }
                segment.synced.store(true, Ordering::Relaxed);
            }
        }
        self.write_epochs(true)?;
        if *dir_synced < end.base_offset {
            let dir = self.dir();
            self.context.env.fs().sync_dir(&dir).context("sync", &dir)?;
            *dir_synced = end.base_offset;
        }
        // Under the writer's lock no truncation comes between the look and the step.
        let writer = self.writer.lock();
        if truncations == self.truncations.load(Ordering::Acquire) {
            self.raise_recovery_point(end.offset.min(writer.log_end_offset));
        }
        drop(writer);
        self.last_flush_ms.store(self.context.env.now_ms(), Ordering::Relaxed);
        Ok(self.recovery_point())
    }

    /// Whether `flush.messages` records or more are not flushed yet.
    pub fn needs_flush(&self) -> bool {
        self.log_end_offset() - self.recovery_point() >= self.config().flush_messages
    }

    /// Flushes if [`Log::is_flush_due`]; returns whether it did.
    pub fn flush_if_due(&self, now_ms: i64) -> Result<bool, LogError> {
        let due = self.is_flush_due(now_ms);
        if due {
            self.flush()?;
        }
        Ok(due)
    }

    /// Whether `flush.ms` has passed since the last flush and there is something to flush.
    pub fn is_flush_due(&self, now_ms: i64) -> bool {
        let flush_ms = self.config().flush_ms;
        self.recovery_point() < self.log_end_offset()
            && now_ms.saturating_sub(self.last_flush_ms.load(Ordering::Relaxed)) >= flush_ms
    }

    pub(crate) fn write_epochs(&self, sync: bool) -> Result<(), LogError> {
        let Some(text) = self.epochs.write().take_dirty() else { return Ok(()) };
        let path = self.dir().join(LEADER_EPOCH_CHECKPOINT);
        let written = self.context.env.fs().write_atomic(&path, text.as_bytes(), sync);
        if written.is_err() {
            self.epochs.write().mark_dirty();
        }
        written.context("write", path)
    }

    /// Brings all files to their final form and closes them; later appends are refused. With `sync` all of it is on the disk
    /// when this returns; without, it survives the process but not a power failure. May be repeated, also after an error.
    pub fn close(&self, sync: bool) -> Result<(), LogError> {
        if sync {
            self.flush()?;
        }
        let mut writer = self.writer.lock();
        writer.closed = true;
        if writer.finished {
            return Ok(());
        }
        let active = writer.active.clone();
        let size = active.size().context("open", active.path())?;
        let file = active.file().context("open", active.path())?;
        if file.len().context("open", active.path())? != size {
            // The rest of a write that failed.
            file.set_len(size).context("truncate", active.path())?;
        }
        let segments = self.segments();
        for segment in segments.iter() {
            if segment.base_offset == active.base_offset || !segment.index_unchecked().is_written() {
                segment.finish()?;
            }
        }
        let dir = self.dir();
        if !writer.producers.is_pristine() {
            let env = &self.context.env;
            writer.producers.take_snapshot(env, &dir, sync).context("write a producer snapshot to", &dir)?;
        }
        self.write_epochs(sync)?;
        if sync {
            // Appends that came after the flush above.
            file.sync_data().context("sync", active.path())?;
            for file in active.index()?.files_to_sync().context("write the index of", active.path())? {
                file.sync_data().context("sync the index of", active.path())?;
            }
            self.raise_recovery_point(writer.log_end_offset);
        }
        writer.finished = true;
        segments.iter().for_each(|segment| segment.close_files());
        Ok(())
    }

    /// Renames the directory to `<topic>-<partition>.<unique>-delete`; appends are refused from now on, reads that are under
    /// way go on. [`Log::delete`] removes it later.
    pub fn rename_to_delete(&self, unique: Uuid) -> Result<(), LogError> {
        let mut writer = self.writer.lock();
        (writer.closed, writer.finished) = (true, true);
        let from = self.dir();
        let to = from.with_file_name(delete_dir_name(&self.partition, unique));
        self.context.env.fs().rename(&from, &to).context("rename for deletion", &from)?;
        self.context.dir.set(to);
        self.segments().iter().flat_map(|segment| segment.files()).for_each(|file| file.follow_dir());
        Ok(())
    }

    /// Removes the directory with all files. Appends are refused from now on.
    pub fn delete(&self) -> Result<(), LogError> {
        let mut writer = self.writer.lock();
        (writer.closed, writer.finished) = (true, true);
        self.segments().iter().for_each(|segment| segment.close_files());
        let dir = self.dir();
        self.context.env.fs().remove_dir_all(&dir).context("delete", &dir)
    }
}
