//! What leaves a log at its end: records that a follower has and its leader does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{IoContext, LogError};
use crate::recovery::replay_producers;
use crate::segment::Segment;
use crate::unified_log::Log;

impl Log {
    /// Cuts the log so that it ends at `offset`; returns whether anything was cut. A batch that holds `offset` goes as a
    /// whole. The high watermark goes back if it must.
    pub fn truncate_to(&self, offset: i64) -> Result<bool, LogError> {
        let mut writer = self.writer.lock();
        if offset >= writer.log_end_offset {
            // The leader may have another epoch at this very offset.
            self.epochs.write().truncate_from_end(offset);
            return Ok(false);
        }
        if offset < self.segments()[0].base_offset {
            drop(writer);
            self.truncate_fully_and_start_at(offset.max(0))?;
            return Ok(true);
        }
        tracing::info!(partition = %self.partition, from = writer.log_end_offset, to = offset, "truncating the log");
        self.truncations.fetch_add(1, Ordering::AcqRel);
        let now_ms = self.context.env.now_ms();
        let (active, removed) = {
            let mut segments = self.segments.write();
            let mut list = segments.to_vec();
            let keep = list.partition_point(|segment| segment.base_offset <= offset);
            let removed = list.split_off(keep);
            let active = list.last().expect("the first segment's base offset is at most `offset`").clone();
            *segments = Arc::new(list);
            (active, removed)
        };
        writer.active = active.clone();
        writer.log_end_offset = offset;
        self.discard(&mut writer, &removed, now_ms);
        active.truncate_to(offset)?;
        self.publish_end(offset, active.base_offset, active.size().context("open", active.path())?);
        self.lower_to_end(offset);
        self.cleaner.on_truncate(offset);
        let log_start_offset = self.log_start_offset().min(offset);
        self.reset_log_start_offset(log_start_offset);
        self.epochs.write().truncate_from_end(offset);

        let config = self.config();
        let times = (now_ms, config.producer_id_expiration_ms);
        let range = (log_start_offset, offset);
        writer.producers.truncate_and_reload(&self.context.env, &self.dir(), range, times);
        replay_producers(&mut writer.producers, &self.segments(), offset)?;
        writer.producers.set_map_end_offset(offset);
        self.publish_first_unstable(&writer);
        Ok(true)
    }

    /// Deletes everything; the log goes on, empty, at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), LogError> {
        let mut writer = self.writer.lock();
        tracing::info!(partition = %self.partition, offset, "truncating the log fully");
        self.truncations.fetch_add(1, Ordering::AcqRel);
        let now_ms = self.context.env.now_ms();
        let dir = self.dir();
        let removed = self.segments().to_vec();
        // First the old names go: the new segment may have one of them.
        self.discard(&mut writer, &removed, now_ms);
        let config = self.config();
        let (interval, jitter_ms) = (config.index_interval_bytes, config.draw_jitter_ms(&self.context.env));
        let segment =
            Segment::create(&self.context, offset, interval, now_ms, jitter_ms).context("create a segment in", &dir)?;
        let segment = Arc::new(segment);
        *self.segments.write() = Arc::new(vec![segment.clone()]);
        writer.active = segment;
        writer.log_end_offset = offset;
        writer.producers.truncate_fully(&self.context.env, &dir, offset);
        self.publish_end(offset, offset, 0);
        self.reset_log_start_offset(offset);
        self.set_high_watermark_unclamped(offset);
        self.reset_recovery_point(offset);
        self.cleaner.on_truncate(offset);
        self.epochs.write().clear();
        self.publish_first_unstable(&writer);
        Ok(())
    }
}
