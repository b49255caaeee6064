//! Open files of all logs, within a bound: ten thousand partitions must not need a descriptor for each of their files. A
//! [`CachedFile`] knows its name and opens itself when it is used; when too many are open, those not used lately are closed
//! (second chance). A file that someone is reading stays open until the reader lets go of it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ottla_env::{Env, File, OpenMode};
use parking_lot::{Mutex, RwLock};

/// The bound on the open files of the logs that share it.
#[derive(Debug)]
pub struct FileCache {
    max: usize,
    /// The open files, the one opened longest ago first. Guards nothing else.
    open: Mutex<VecDeque<Weak<CachedFile>>>,
}

impl FileCache {
    /// A cache that keeps at most `max` files open (at least 8).
    pub fn new(max: usize) -> Arc<FileCache> {
        Arc::new(FileCache { max: max.max(8), open: Mutex::new(VecDeque::new()) })
    }

    /// How many files are open, counting those whose log is gone and that were not swept yet.
    pub fn open_count(&self) -> usize {
        self.open.lock().len()
    }

    fn admit(&self, file: &Arc<CachedFile>) {
        let mut open = self.open.lock();
        // Each turn removes an entry or clears a mark, so twice the length is enough.
        let mut turns = open.len() * 2;
        while open.len() >= self.max && turns > 0 {
            turns -= 1;
            let Some(candidate) = open.pop_front() else { break };
            let Some(old) = candidate.upgrade() else { continue };
            if old.used.swap(false, Ordering::Relaxed) {
                open.push_back(candidate);
            } else {
                // try_lock: the owner may be opening it again at this moment, under its slot's lock, and wait for ours.
                match old.slot.try_lock() {
                    Some(mut slot) => {
                        slot.file = None;
                        slot.listed = false;
                    }
                    None => open.push_back(candidate),
                }
            }
        }
        open.push_back(Arc::downgrade(file));
    }
}

/// A partition's directory, which is renamed when the partition is deleted.
#[derive(Debug)]
pub(crate) struct LogDir(RwLock<PathBuf>);

impl LogDir {
    pub(crate) fn new(path: &Path) -> Arc<LogDir> {
        Arc::new(LogDir(RwLock::new(path.to_path_buf())))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.read().clone()
    }

    pub(crate) fn set(&self, path: PathBuf) {
        *self.0.write() = path;
    }
}

struct Slot {
    name: String,
    file: Option<File>,
    /// Whether the cache's queue names this file.
    listed: bool,
}

/// A file that is open only while it is used.
pub(crate) struct CachedFile {
    env: Env,
    cache: Arc<FileCache>,
    dir: Arc<LogDir>,
    /// Guards name and descriptor. Held while the file is opened or renamed, never while it is read or written.
    slot: Mutex<Slot>,
    used: AtomicBool,
}

impl fmt::Debug for CachedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedFile").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl CachedFile {
    pub(crate) fn new(env: &Env, cache: &Arc<FileCache>, dir: &Arc<LogDir>, name: String) -> Arc<CachedFile> {
        Arc::new(CachedFile {
            env: env.clone(),
            cache: cache.clone(),
            dir: dir.clone(),
            slot: Mutex::new(Slot { name, file: None, listed: false }),
            used: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(&self.slot.lock().name)
    }

    /// Appends `suffix` to the name and returns the new path; an error of kind `NotFound` if there is no file.
    pub(crate) fn rename(&self, suffix: &str) -> io::Result<PathBuf> {
        let mut slot = self.slot.lock();
        let dir = self.dir.path();
        let name = format!("{}{suffix}", slot.name);
        let to = dir.join(&name);
        self.env.fs().rename(&dir.join(&slot.name), &to)?;
        slot.name = name;
        Ok(to)
    }

    /// The open file; an error of kind `NotFound` if there is none.
    pub(crate) fn get(self: &Arc<Self>) -> io::Result<File> {
        self.open(OpenMode::ReadWrite)
    }

    /// The open file, created if there is none.
    pub(crate) fn get_or_create(self: &Arc<Self>) -> io::Result<File> {
        self.open(OpenMode::Create)
    }

    fn open(self: &Arc<Self>, mode: OpenMode) -> io::Result<File> {
        self.used.store(true, Ordering::Relaxed);
        let mut slot = self.slot.lock();
        if let Some(file) = &slot.file {
            return Ok(file.clone());
        }
        let file = self.env.fs().open(&self.dir.path().join(&slot.name), mode)?;
        slot.file = Some(file.clone());
        if !slot.listed {
            slot.listed = true;
            self.cache.admit(self);
        }
        Ok(file)
    }

    /// Closes it; it opens again when it is used.
    pub(crate) fn close(&self) {
        self.slot.lock().file = None;
    }
}
