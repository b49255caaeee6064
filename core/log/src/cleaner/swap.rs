//! A cleaned segment takes the place of those it was made of, in steps of which each can be the last before a crash:
//!
//! 1. it is written beside them with `.cleaned` behind its names, and synced: void until then;
//! 2. `.cleaned` becomes `.swap`: while one `.cleaned` is left, all of it is void; after that the swap is completed at the
//!    next start (see `recovery`);
//! 3. the old ones become `.deleted`;
//! 4. `.swap` is taken off, the `.log` first.
//!
//! Only steps 2 to 4, a few renames, hold the writer's lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{IoContext, LogError};
use crate::names::{CLEANED, SWAP};
use crate::producer_state::remove_file;
use crate::segment::Segment;
use crate::unified_log::Log;

impl Log {
    /// Puts `cleaned` in the place of `old`, which follow each other. False, and nothing has happened, if they are not all
    /// there any more, or the log is closed. With `sync` the new names are on the disk when this returns.
    pub(crate) fn replace_segments(
        &self,
        old: &[Arc<Segment>],
        cleaned: &Arc<Segment>,
        sync: bool,
    ) -> Result<bool, LogError> {
        let mut writer = self.writer.lock();
        let segments = self.segments();
        let Some(at) = old.first().and_then(|first| segments.iter().position(|segment| Arc::ptr_eq(segment, first)))
        else {
            return Ok(false);
        };
        let until = at + old.len();
        // The active segment is never among them.
        let are_there =
            segments.len() > until && segments[at..until].iter().zip(old).all(|(has, had)| Arc::ptr_eq(has, had));
        if writer.closed || !are_there {
            return Ok(false);
        }
        let now_ms = self.context.env.now_ms();
        if self.context.env.fs().is_memory() || self.config().file_delete_delay_ms <= 0 {
            // Their names go at once; who is at them goes on with the open files.
            old.iter().try_for_each(|segment| segment.pin())?;
        }
        if let Err(error) = cleaned.replace_suffix(CLEANED, SWAP) {
            self.remove_cleaned(cleaned);
            return Err(error);
        }
        {
            let mut list = segments.to_vec();
            list.splice(at..until, [cleaned.clone()]);
            *self.segments.write() = Arc::new(list);
        }
        self.discard(&mut writer, old, now_ms);
        // After the discard: until then a reader that finds an old file gone is right to ask again.
        self.replacements.fetch_add(1, Ordering::AcqRel);
        cleaned.replace_suffix(SWAP, "")?;
        drop(writer);
        if sync {
            let dir = self.dir();
            self.context.env.fs().sync_dir(&dir).context("sync", dir)?;
        }
        Ok(true)
    }

    /// Removes the files of a cleaned segment that took nobody's place. Those with `.swap` go first: without a `.cleaned`
    /// beside them, they would be taken for good.
    pub(crate) fn remove_cleaned(&self, cleaned: &Segment) {
        cleaned.close_files();
        let paths = cleaned.files().map(|file| file.path());
        let (swaps, rest): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.to_string_lossy().ends_with(SWAP));
        swaps.into_iter().chain(rest).for_each(|path| remove_file(&self.context.env, path));
    }
}
