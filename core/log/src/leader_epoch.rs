//! Which leader epoch each offset was written in, as (epoch, start offset) pairs, and `leader-epoch-checkpoint`, where they
//! are kept. The file is written when the log is flushed, rolled or closed: what a crash loses is in the batches that
//! recovery reads again.

use std::fmt;
use std::io;
use std::path::Path;

use ottla_env::Env;

use crate::checkpoint::{format_lines, parse_lines};
use crate::names::LEADER_EPOCH_CHECKPOINT;

/// A leader epoch and the first offset written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch, from 0.
    pub epoch: i32,
    /// The first offset.
    pub start_offset: i64,
}

impl fmt::Display for EpochEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.epoch, self.start_offset)
    }
}

#[derive(Debug, Default)]
pub(crate) struct LeaderEpochCache {
    /// Epochs and start offsets both grow.
    entries: Vec<EpochEntry>,
    /// Whether the file is behind.
    dirty: bool,
}

impl LeaderEpochCache {
    /// Reads the file of a partition's directory; a damaged one is reported and counts as empty.
    pub(crate) fn load(env: &Env, dir: &Path) -> io::Result<LeaderEpochCache> {
        let path = dir.join(LEADER_EPOCH_CHECKPOINT);
        let text = match env.fs().read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LeaderEpochCache::default()),
            Err(error) => return Err(error),
        };
        let mut cache = LeaderEpochCache::default();
        match parse(&text) {
            Ok(entries) => entries.into_iter().for_each(|entry| {
                cache.assign(entry.epoch, entry.start_offset);
            }),
            Err(reason) => tracing::warn!(path = %path.display(), reason, "leader epochs are damaged, starting empty"),
        }
        cache.dirty = false;
        Ok(cache)
    }

    /// The file's new content if the file is behind; the caller writes it, without the lock on this cache.
    pub(crate) fn take_dirty(&mut self) -> Option<String> {
        std::mem::take(&mut self.dirty).then(|| format_lines(self.entries.iter()))
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        format_lines(self.entries.iter())
    }

    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    pub(crate) fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// `epoch` starts at `start_offset`. Entries that contradict it (from a leader that lost) are dropped.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        let needed = self.entries.last().is_none_or(|last| epoch != last.epoch || start_offset < last.start_offset);
        if !needed {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        self.dirty = true;
        true
    }

    /// The largest known epoch at or below `epoch` and the offset where it ends; `None` if that is not known.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        let latest = self.latest()?;
        if epoch < 0 || epoch > latest.epoch {
            return None;
        }
        if epoch == latest.epoch {
            return Some((epoch, log_end_offset));
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries[higher].start_offset;
        // Below all known epochs: their data is gone, so the caller goes on at the first offset that is known.
        let epoch = higher.checked_sub(1).map_or(epoch, |floor| self.entries[floor].epoch);
        Some((epoch, end_offset))
    }

    pub(crate) fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Drops what starts at or above `end_offset`.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        if keep < self.entries.len() {
            self.entries.truncate(keep);
            self.dirty = true;
        }
    }

    /// Nothing below `start_offset` is in the log any more.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) {
        let below = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        if below > 0 && self.entries[below - 1].start_offset != start_offset {
            self.entries[below - 1].start_offset = start_offset;
            self.dirty = true;
        }
        if below > 1 {
            self.entries.drain(..below - 1);
            self.dirty = true;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.dirty |= !self.entries.is_empty();
        self.entries.clear();
    }
}

fn parse(text: &[u8]) -> Result<Vec<EpochEntry>, String> {
    let lines = parse_lines(text).map_err(|error| error.to_string())?;
    let parse_line = |line: &&str| {
        let (epoch, start_offset) = line.split_once(' ')?;
        Some(EpochEntry { epoch: epoch.parse().ok()?, start_offset: start_offset.trim().parse().ok()? })
    };
    lines.iter().map(|line| parse_line(line).ok_or_else(|| format!("line {line:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::default();
        for &(epoch, start_offset) in entries {
            assert!(cache.assign(epoch, start_offset));
        }
        cache
    }

    fn pairs(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }

    #[test]
    fn end_offsets() {
        let cache = cache(&[(2, 10), (4, 20), (7, 35)]);
        assert_eq!(cache.end_offset_for(7, 50), Some((7, 50)));
        assert_eq!(cache.end_offset_for(4, 50), Some((4, 35)));
        assert_eq!(cache.end_offset_for(6, 50), Some((4, 35)));
        assert_eq!(cache.end_offset_for(1, 50), Some((1, 10)));
        assert_eq!(cache.end_offset_for(8, 50), None);
        assert_eq!(cache.end_offset_for(-1, 50), None);
        assert_eq!(cache.epoch_for_offset(9), None);
        assert_eq!(cache.epoch_for_offset(19), Some(2));
        assert_eq!(cache.epoch_for_offset(35), Some(7));
    }

    #[test]
    fn assignment_drops_what_contradicts_it() {
        let mut cache = cache(&[(2, 10), (4, 20), (7, 35)]);
        assert!(!cache.assign(7, 40));
        assert!(cache.assign(8, 20));
        assert_eq!(pairs(&cache), [(2, 10), (8, 20)]);
        assert!(cache.assign(3, 25));
        assert_eq!(pairs(&cache), [(2, 10), (3, 25)]);
    }

    #[test]
    fn truncation_and_file() {
        let env = Env::memory();
        let dir = Path::new("/t-0");
        env.fs().create_dir_all(dir).unwrap();
        let mut cache = cache(&[(2, 10), (4, 20), (7, 35)]);
        cache.truncate_from_end(35);
        assert_eq!(pairs(&cache), [(2, 10), (4, 20)]);
        cache.truncate_from_start(22);
        assert_eq!(pairs(&cache), [(4, 22)]);
        let text = cache.take_dirty().unwrap();
        assert_eq!(text, "0\n1\n4 22\n");
        assert_eq!(cache.take_dirty(), None);
        env.fs().write_atomic(&dir.join(LEADER_EPOCH_CHECKPOINT), text.as_bytes(), false).unwrap();
        assert_eq!(pairs(&LeaderEpochCache::load(&env, dir).unwrap()), [(4, 22)]);
        env.fs().write_atomic(&dir.join(LEADER_EPOCH_CHECKPOINT), b"0\n1\nfour 22\n", false).unwrap();
        assert!(LeaderEpochCache::load(&env, dir).unwrap().entries().is_empty());
    }
}
