//! Files, real or in memory, with one behaviour: the same tests run on both. Synchronous.
//!
//! A real [`File`] is a name that opens its descriptor when it is used; the open ones are bounded by a [`FileCache`], so that
//! ten thousand partitions with three files each need no thirty thousand descriptors. A file in memory keeps appended bytes
//! by reference and hands them out again without a copy.

mod cache;
mod lock;
mod memory;
mod real;
mod sys;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{Chunk, Records};

pub use cache::{DEFAULT_OPEN_FILES_MAX, FileCache};
pub use lock::{DirLock, LockError};
use memory::{MemFile, MemFs};
pub use real::RealFile;
use real::RealFs;

/// What is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// How a file is opened. Every mode can read; all but `Read` can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// The file must exist; writes fail.
    Read,
    /// The file must exist.
    ReadWrite,
    /// The file is made if it does not exist, and keeps its content if it does.
    Create,
    /// The file must not exist.
    CreateNew,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// A file system: the machine's own, or one in memory. Cloning shares it.
#[derive(Clone)]
pub struct Fs(Kind);

#[derive(Clone)]
enum Kind {
    Real(RealFs),
    Memory(Arc<MemFs>),
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Real(_) => "Fs(real)",
            Kind::Memory(_) => "Fs(memory)",
        })
    }
}

impl Fs {
    /// The machine's files, with the descriptor cache that the whole process shares.
    pub fn real() -> Fs {
        Fs::real_with_cache(FileCache::shared().clone())
    }

    /// The machine's files, with a descriptor cache of its own.
    pub fn real_with_cache(cache: Arc<FileCache>) -> Fs {
        Fs(Kind::Real(RealFs::new(cache)))
    }

    /// A new, empty file system in memory.
    pub fn memory() -> Fs {
        Fs(Kind::Memory(Arc::default()))
    }

    /// Whether the files are in memory only.
    pub fn is_memory(&self) -> bool {
        matches!(self.0, Kind::Memory(_))
    }

    /// For tests of crashes, in memory only: lets so many more changes through (a file made, written, cut, renamed or
    /// removed; a directory likewise), cuts the next write in half, and refuses whatever comes then. Reads go on. `None` ends
    /// that: what a restart finds is what there was at the crash.
    pub fn crash_after(&self, changes: Option<u64>) {
        if let Kind::Memory(fs) = &self.0 {
            fs.crash.after(changes);
        }
    }

    /// The descriptor cache; none in memory.
    pub fn file_cache(&self) -> Option<&Arc<FileCache>> {
        match &self.0 {
            Kind::Real(fs) => Some(fs.cache()),
            Kind::Memory(_) => None,
        }
    }

    /// Opens a file. The directory must exist.
    pub fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        match &self.0 {
            Kind::Real(fs) => fs.open(path, mode).map(FileKind::Real),
            Kind::Memory(fs) => {
                fs.open(path, mode).map(|file| FileKind::Memory { file, writable: mode != OpenMode::Read })
            }
        }
        .map(File)
    }

    /// Makes a directory and those above it; no error if it exists.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => std::fs::create_dir_all(path),
            Kind::Memory(fs) => fs.create_dir_all(path),
        }
    }

    /// Removes a file by its name. A [`File`] of it that has to stay readable goes through [`Fs::remove_open`].
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => std::fs::remove_file(path),
            Kind::Memory(fs) => fs.remove_file(path),
        }
    }

    /// Removes an open file. Whoever has it, or a region of it, can go on reading: its descriptor stays open until then.
    pub fn remove_open(&self, file: &File) -> io::Result<()> {
        match (&self.0, &file.0) {
            (Kind::Real(_), FileKind::Real(file)) => file.remove(),
            (Kind::Memory(fs), FileKind::Memory { file, .. }) => fs.remove_open(file),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the file belongs to another file system")),
        }
    }

    /// Removes a directory with all that is in it.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => std::fs::remove_dir_all(path),
            Kind::Memory(fs) => fs.remove_dir_all(path),
        }
    }

    /// Renames a file (replacing what has the new name) or a directory (which must not replace one with content).
    ///
    /// Open real files learn of it by [`File::set_path`] or [`Fs::rename_open`]; those in memory follow by themselves.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => std::fs::rename(from, to),
            Kind::Memory(fs) => fs.rename(from, to),
        }
    }

    /// Renames an open file, which keeps working under its new name.
    pub fn rename_open(&self, file: &File, to: &Path) -> io::Result<()> {
        match (&self.0, &file.0) {
            (Kind::Real(_), FileKind::Real(file)) => file.rename(to),
            (Kind::Memory(fs), FileKind::Memory { file, .. }) => fs.rename_open(file, to),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the file belongs to another file system")),
        }
    }

    /// Gives a file a second name, in this file system or another one of the same kind, without copying its bytes. In memory
    /// both are files of their own from then on, that share what neither has written since. Real ones are one file with two
    /// names (a hard link), so whoever writes has to [`unshare`](Fs::unshare) first; where the system has no link between
    /// the two places, and between memory and disk, the bytes are copied (as a reflink where the file system has them).
    pub fn link(&self, from: &Path, to_fs: &Fs, to: &Path) -> io::Result<()> {
        match (&self.0, &to_fs.0) {
            (Kind::Real(_), Kind::Real(_)) => real::link(from, to),
            (Kind::Memory(fs), Kind::Memory(to_fs)) => fs.link(from, to_fs, to, u64::MAX),
            _ => self.copy(from, to_fs, to, u64::MAX),
        }
    }

    /// Copies the first `len` bytes of a file (all, if it has fewer) to a new one; in memory by reference.
    pub fn copy(&self, from: &Path, to_fs: &Fs, to: &Path, len: u64) -> io::Result<()> {
        if let (Kind::Memory(fs), Kind::Memory(to_fs)) = (&self.0, &to_fs.0) {
            return fs.link(from, to_fs, to, len);
        }
        let (source, target) = (self.open(from, OpenMode::Read)?, to_fs.open(to, OpenMode::CreateNew)?);
        let len = source.len()?.min(len);
        let mut done = 0;
        while done < len {
            let piece = source.read_at(done, usize::try_from(len - done).unwrap_or(usize::MAX).min(COPY_BYTES))?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let size = piece.len() as u64;
            target.write_at(done, &[piece])?;
            done += size;
        }
        Ok(())
    }

    /// Makes sure that this name is the only one of its file, so that it may be written in place: if it is not, it becomes
    /// that of a copy of the first `keep` bytes. Returns whether it did; an open [`File`] is still that of the old one then.
    pub fn unshare(&self, path: &Path, keep: u64) -> io::Result<bool> {
        match &self.0 {
            Kind::Real(_) => {
                if !sys::has_other_names(path)? {
                    return Ok(false);
                }
                let mut name = path.as_os_str().to_owned();
                name.push(".tmp");
                let tmp = PathBuf::from(name);
                match std::fs::remove_file(&tmp) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                self.copy(path, self, &tmp, keep)?;
                std::fs::rename(&tmp, path)?;
                Ok(true)
            }
            Kind::Memory(_) => Ok(false),
        }
    }

    /// What is in a directory, by name. Names that are not UTF-8 are left out: no file of Kafka has one.
    pub fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match &self.0 {
            Kind::Real(fs) => fs.read_dir(path),
            Kind::Memory(fs) => fs.read_dir(path),
        }
    }

    /// Whether a file or directory has this name.
    pub fn exists(&self, path: &Path) -> bool {
        match &self.0 {
            Kind::Real(_) => path.exists(),
            Kind::Memory(fs) => fs.exists(path),
        }
    }

    /// The size in bytes of a file that need not be open.
    pub fn file_len(&self, path: &Path) -> io::Result<u64> {
        match &self.0 {
            Kind::Real(_) => std::fs::metadata(path).map(|metadata| metadata.len()),
            Kind::Memory(fs) => fs.open(path, OpenMode::Read)?.len(),
        }
    }

    /// A whole file; for small ones.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.0 {
            Kind::Real(_) => std::fs::read(path),
            Kind::Memory(fs) => {
                let file = fs.open(path, OpenMode::Read)?;
                let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
                file.read_at(0, len).map(Vec::from)
            }
        }
    }

    /// Replaces a small file as a whole: readers find the old content or the new one, also after a crash. Goes through
    /// `<path>.tmp` and a rename; with `sync`, content and name are on the disk at return.
    pub fn write_atomic(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        match &self.0 {
            Kind::Real(fs) => fs.write_atomic(path, content, sync),
            Kind::Memory(fs) => fs.write_atomic(path, content),
        }
    }

    /// Brings the names in a directory to the disk. Does nothing where directories cannot be synced.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => sys::sync_dir(path),
            Kind::Memory(fs) => fs.read_dir(path).map(drop),
        }
    }

    /// Brings everything that was written to the file system of `path` to the disk, in one call; `false` where that cannot
    /// be asked for, and nothing was done. Cheaper than a sync per file once there are many.
    pub fn sync_file_system(&self, path: &Path) -> io::Result<bool> {
        match &self.0 {
            Kind::Real(_) => sys::sync_file_system(path),
            Kind::Memory(_) => Ok(true),
        }
    }

    /// Takes a directory for this process alone, by the lock on `.lock` that Apache Kafka takes too. Held until the
    /// [`DirLock`] is dropped.
    pub fn lock(&self, dir: &Path) -> Result<DirLock, LockError> {
        match &self.0 {
            Kind::Real(_) => lock::lock_real(dir),
            Kind::Memory(fs) => lock::lock_memory(fs, dir),
        }
    }
}

/// A file to read from and write to at any position. Cloning costs a reference count. Concurrent writes are up to the caller
/// to order; reads may run beside them.
#[derive(Clone)]
pub struct File(FileKind);

#[derive(Clone)]
enum FileKind {
    Real(RealFile),
    Memory { file: Arc<MemFile>, writable: bool },
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            FileKind::Real(file) => file.fmt(f),
            FileKind::Memory { file, .. } => write!(f, "MemFile({})", file.path().display()),
        }
    }
}

impl File {
    /// The size in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            FileKind::Real(file) => file.len(),
            FileKind::Memory { file, .. } => file.len(),
        }
    }

    /// Up to `len` bytes from `position` on; fewer only at the end of the file. In memory this is a slice without a copy
    /// when it lies within one append.
    pub fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        match &self.0 {
            FileKind::Real(file) => file.read_at(position, len),
            FileKind::Memory { file, .. } => file.read_at(position, len),
        }
    }

    /// Fills `buf` from `position` on; `UnexpectedEof` if the file ends before.
    pub fn read_exact_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = match &self.0 {
            FileKind::Real(file) => file.read_into(position, buf)?,
            FileKind::Memory { file, .. } => file.read_into(position, buf),
        };
        if read < buf.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Writes all buffers behind one another at the file's end, and returns where that was. See `write_at`.
    pub fn append(&self, buffers: &[Bytes]) -> io::Result<u64> {
        let position = self.len()?;
        self.write_at(position, buffers)?;
        Ok(position)
    }

    /// Writes all buffers behind one another from `position` on, with one system call where the system allows. In memory,
    /// large buffers are kept by reference.
    ///
    /// After an error (a full disk, say) a part may have been written; `set_len` removes it.
    pub fn write_at(&self, position: u64, buffers: &[Bytes]) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(file) => file.write_at(position, buffers),
            FileKind::Memory { file, writable: true } => file.write_at(position, buffers),
            FileKind::Memory { .. } => Err(read_only()),
        }
    }

    /// Cuts the file, or extends it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(file) => file.set_len(len),
            FileKind::Memory { file, writable: true } => file.set_len(len),
            FileKind::Memory { .. } => Err(read_only()),
        }
    }

    /// Brings the content and size to the disk (fdatasync).
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            FileKind::Real(file) => file.sync_data(),
            FileKind::Memory { .. } => Ok(()),
        }
    }

    /// A part of the file for a response: a region of a real file, which keeps the descriptor open, or the bytes of one in
    /// memory. `UnexpectedEof` if a file in memory ends before; a real one is not asked.
    pub fn chunk(&self, position: u64, len: usize) -> io::Result<Chunk> {
        match &self.0 {
            FileKind::Real(file) => file.region(position, len).map(Chunk::Region),
            FileKind::Memory { file, .. } => {
                let bytes = file.read_at(position, len)?;
                if bytes.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Chunk::Bytes(bytes)) }
            }
        }
    }

    /// As [`File::chunk`], without a copy in memory either: the pieces are those that were appended.
    pub fn records(&self, position: u64, len: usize) -> io::Result<Records> {
        match &self.0 {
            FileKind::Real(file) => file.region(position, len).map(|region| Records::from(Chunk::Region(region))),
            FileKind::Memory { file, .. } => {
                let records = file.pieces(position, len);
                if records.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(records) }
            }
        }
    }

    /// The name under which the file would be opened again.
    pub fn path(&self) -> PathBuf {
        match &self.0 {
            FileKind::Real(file) => file.path(),
            FileKind::Memory { file, .. } => file.path(),
        }
    }

    /// Tells a real file that it, or a directory above it, was renamed. Files in memory know.
    pub fn set_path(&self, path: &Path) {
        if let FileKind::Real(file) = &self.0 {
            file.set_path(path);
        }
    }

    /// The real file, if it is one.
    pub fn as_real(&self) -> Option<&RealFile> {
        match &self.0 {
            FileKind::Real(file) => Some(file),
            FileKind::Memory { .. } => None,
        }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened for reading only")
}
