//! Files of the machine.

use std::any::Any;
use std::fmt;
use std::fs::{File as StdFile, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ottla_model::{Region, RegionSource};
use parking_lot::Mutex;

use super::{DirEntry, FileCache, OpenMode, sys};

#[derive(Clone)]
pub(super) struct RealFs {
    cache: Arc<FileCache>,
}

impl RealFs {
    pub(super) fn new(cache: Arc<FileCache>) -> RealFs {
        RealFs { cache }
    }

    pub(super) fn cache(&self) -> &Arc<FileCache> {
        &self.cache
    }

    pub(super) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<RealFile> {
        let inner = Arc::new(Inner {
            cache: self.cache.clone(),
            writable: mode != OpenMode::Read,
            used: AtomicBool::new(false),
            slot: Mutex::new(Slot { path: path.to_path_buf(), file: None, listed: false, removed: false }),
        });
        // Opened at once, so that a missing file or right shows here and a new file exists.
        inner.descriptor(mode)?;
        Ok(RealFile { inner, held: None })
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            // A log directory may be a link to one.
            let is_dir = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            entries.push(DirEntry { name, is_dir });
        }
        entries.sort();
        Ok(entries)
    }

    pub(super) fn write_atomic(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let tmp = PathBuf::from(name);
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = self.cache_relieved(|| options.write(true).create(true).truncate(true).open(&tmp))?;
            io::Write::write_all(&mut file, content)?;
            if sync {
                file.sync_all()?;
            }
            std::fs::rename(&tmp, path)
        })();
        if let Err(error) = written {
            // The old file stands; what is left of the new one would only take room on a full disk.
            let _ = std::fs::remove_file(&tmp);
            return Err(error);
        }
        if sync {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sys::sync_dir(parent)?;
        }
        Ok(())
    }

    fn cache_relieved(&self, open: impl FnMut() -> io::Result<StdFile>) -> io::Result<StdFile> {
        relieved(&self.cache, open)
    }
}

/// Opens, once more after closing some cached files if there was no descriptor left.
fn relieved(cache: &FileCache, mut open: impl FnMut() -> io::Result<StdFile>) -> io::Result<StdFile> {
    match open() {
        Err(error) if sys::is_out_of_descriptors(&error) => {
            cache.relieve();
            open()
        }
        result => result,
    }
}

/// A second name for a file, or a copy where there can be none.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    match sys::link(from, to) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => Err(error),
        // Another file system, one without links, or a file with as many as it may have. `copy` clones where it can.
        Err(_) => std::fs::copy(from, to).map(drop),
        linked => linked,
    }
}

/// What all clones of a file share.
#[derive(Debug)]
pub(super) struct Inner {
    cache: Arc<FileCache>,
    writable: bool,
    /// Set at each use, cleared when the cache looks for files to close.
    pub(super) used: AtomicBool,
    /// Guards the name and the descriptor. Held while the file is opened, renamed or removed; never while it is read or written.
    pub(super) slot: Mutex<Slot>,
}

#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    /// The descriptor while the file is open; others hold it while they use it.
    pub(super) file: Option<Arc<StdFile>>,
    /// Whether the cache's queue has an entry for this file.
    pub(super) listed: bool,
    /// The file has no name any more, so its descriptor is the only way to it.
    removed: bool,
}

impl Slot {
    /// Whether nobody uses the descriptor and it can be opened again.
    pub(super) fn may_close(&self) -> bool {
        !self.removed && self.file.as_ref().is_none_or(|file| Arc::strong_count(file) == 1)
    }
}

impl Inner {
    fn descriptor(self: &Arc<Self>, mode: OpenMode) -> io::Result<Arc<StdFile>> {
        self.used.store(true, Ordering::Relaxed);
        let mut slot = self.slot.lock();
        self.open_slot(&mut slot, mode)
    }

    /// For a file that was opened before, and so must exist.
    fn again(self: &Arc<Self>) -> io::Result<Arc<StdFile>> {
        self.descriptor(if self.writable { OpenMode::ReadWrite } else { OpenMode::Read })
    }

    fn open_slot(self: &Arc<Self>, slot: &mut Slot, mode: OpenMode) -> io::Result<Arc<StdFile>> {
        if let Some(file) = &slot.file {
            return Ok(file.clone());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create(mode == OpenMode::Create).create_new(mode == OpenMode::CreateNew);
        if !slot.listed {
            // First, so that the bound holds when the descriptor is there.
            slot.listed = true;
            self.cache.admit(self);
        }
        let file = Arc::new(relieved(&self.cache, || options.open(&slot.path))?);
        slot.file = Some(file.clone());
        Ok(file)
    }
}

/// A file of the machine: a name, and a descriptor while it is in use. Cloning costs a reference count.
///
/// It is the source of the regions of a `Records` rope, where it holds its descriptor, so that the region stays readable
/// whatever happens to the name.
#[derive(Clone)]
pub struct RealFile {
    inner: Arc<Inner>,
    /// The descriptor, if it must stay open as long as this value lives.
    held: Option<Arc<StdFile>>,
}

impl fmt::Debug for RealFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealFile({})", self.path().display())
    }
}

impl RealFile {
    /// The descriptor, for sendfile and the like; opens the file if the cache has closed it. It stays open as long as the
    /// result lives.
    pub fn fd(&self) -> io::Result<Arc<StdFile>> {
        match &self.held {
            Some(file) => Ok(file.clone()),
            None => self.inner.again(),
        }
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.fd()?.metadata().map(|metadata| metadata.len())
    }

    pub(super) fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        sys::read_at(&*self.fd()?, position, len).map(Bytes::from)
    }

    pub(super) fn read_into(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        sys::read_into(&*self.fd()?, position, buf)
    }

    pub(super) fn write_at(&self, position: u64, buffers: &[Bytes]) -> io::Result<()> {
        if !self.inner.writable {
            return Err(super::read_only());
        }
        sys::write_at(&*self.fd()?, position, buffers)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.inner.writable {
            return Err(super::read_only());
        }
        self.fd()?.set_len(len)
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.fd()?.sync_data()
    }

    pub(super) fn region(&self, position: u64, len: usize) -> io::Result<Region> {
        let source = RealFile { inner: self.inner.clone(), held: Some(self.fd()?) };
        Ok(Region { source: Arc::new(source), position, len })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.inner.slot.lock().path.clone()
    }

    pub(super) fn set_path(&self, path: &Path) {
        self.inner.slot.lock().path = path.to_path_buf();
    }

    pub(super) fn rename(&self, to: &Path) -> io::Result<()> {
        // Under the lock: between the two steps nobody may look for the file under its old name.
        let mut slot = self.inner.slot.lock();
        std::fs::rename(&slot.path, to)?;
        slot.path = to.to_path_buf();
        Ok(())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        let mut slot = self.inner.slot.lock();
        let mode = if self.inner.writable { OpenMode::ReadWrite } else { OpenMode::Read };
        self.inner.open_slot(&mut slot, mode)?;
        std::fs::remove_file(&slot.path)?;
        slot.removed = true;
        Ok(())
    }
}

impl RegionSource for RealFile {
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_into(position, buf)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
