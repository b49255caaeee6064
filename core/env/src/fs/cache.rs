//! The bound on open descriptors. Files enter when they open; when there are too many, those that were not used since the
//! last look are closed, the one that has been open longest first (second chance).
//!
//! The bound is a soft one: a descriptor that someone holds (a read under way, a response waiting to be sent) is not closed,
//! and if all are held, one more is opened all the same.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use super::real::Inner;
use super::sys;

/// How many files the process keeps open by default, where its descriptor limit allows twice as many: 10,000 partitions
/// then fit 20,000 descriptors, with room for as many connections.
pub const DEFAULT_OPEN_FILES_MAX: usize = 8192;

/// Fewer would close files between two uses of the same request.
const OPEN_FILES_MIN: usize = 8;

/// The open descriptors of real files, within a bound.
#[derive(Debug)]
pub struct FileCache {
    max: AtomicUsize,
    /// The open files, the one opened longest ago first; entries of dropped files are swept in passing. Lock order: a file's
    /// slot, then this; the other way round only `try_lock`.
    open: Mutex<VecDeque<Weak<Inner>>>,
}

impl FileCache {
    /// A cache that keeps at most `max` files open (at least 8).
    pub fn new(max: usize) -> Arc<FileCache> {
        Arc::new(FileCache { max: AtomicUsize::new(max.max(OPEN_FILES_MIN)), open: Mutex::default() })
    }

    /// The cache that the whole process shares: [`DEFAULT_OPEN_FILES_MAX`], or half of the process's descriptor limit if
    /// that is less.
    pub fn shared() -> &'static Arc<FileCache> {
        static SHARED: LazyLock<Arc<FileCache>> = LazyLock::new(|| {
            let half = sys::descriptor_limit().map_or(usize::MAX, |limit| limit / 2);
            FileCache::new(DEFAULT_OPEN_FILES_MAX.min(half))
        });
        &SHARED
    }

    /// The bound.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the bound (at least 8); a lower one takes effect at once.
    pub fn set_max(&self, max: usize) {
        self.max.store(max.max(OPEN_FILES_MIN), Ordering::Relaxed);
        self.shrink_to(self.max());
    }

    /// How many files are open now.
    pub fn open_count(&self) -> usize {
        let open: Vec<_> = self.open.lock().iter().cloned().collect();
        open.iter().filter_map(Weak::upgrade).filter(|file| file.slot.lock().file.is_some()).count()
    }

    /// Notes that a file has opened; its slot's lock is held by the caller, who has marked it as listed.
    pub(super) fn admit(&self, file: &Arc<Inner>) {
        let mut open = self.open.lock();
        evict(&mut open, self.max() - 1);
        open.push_back(Arc::downgrade(file));
    }

    /// Closes what it can until `count` are left.
    pub(super) fn shrink_to(&self, count: usize) {
        evict(&mut self.open.lock(), count);
    }

    /// Closes some, for when the system has no descriptor left although the bound is not reached.
    pub(super) fn relieve(&self) {
        let mut open = self.open.lock();
        let count = open.len() / 2;
        evict(&mut open, count);
    }
}

fn evict(open: &mut VecDeque<Weak<Inner>>, count: usize) {
    // A turn removes an entry or clears a mark, so that two rounds see everything; held ones stay.
    let mut turns = open.len() * 2;
    while open.len() > count && turns > 0 {
        turns -= 1;
        let Some(entry) = open.pop_front() else { return };
        let Some(file) = entry.upgrade() else { continue };
        if file.used.swap(false, Ordering::Relaxed) {
            open.push_back(entry);
            continue;
        }
        let closed = match file.slot.try_lock() {
            Some(mut slot) if slot.may_close() => {
                slot.file = None;
                slot.listed = false;
                true
            }
            // Someone reads from it, it has no name any more, or it is being opened at this moment.
            _ => false,
        };
        if !closed {
            open.push_back(entry);
        }
        // Dropping the last reference to a file here frees its memory only: the slot's lock has been let go of.
    }
}
