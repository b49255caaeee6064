//! The lock on a data directory: a record lock (fcntl) on its `.lock`, which is what Java's `FileChannel.tryLock` takes, so
//! that Apache Kafka and Ottla refuse each other. Such locks belong to a process and not to a descriptor, so a registry
//! refuses the second broker within this process. The file also holds our process id, for people.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::memory::{MemFs, normal};

/// The name that Apache Kafka gives its lock file.
const LOCK_FILE: &str = ".lock";

/// Directories that this process has locked, by their canonical path.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Why a directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another broker has it.
    Held {
        /// The directory.
        dir: PathBuf,
        /// The holder's process id, where the system tells it; our own if the broker is in this process.
        pid: Option<u32>,
    },
    /// The lock file could not be opened or locked.
    Io {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl LockError {
    fn io(dir: &Path, source: io::Error) -> LockError {
        LockError::Io { dir: dir.to_path_buf(), source }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { dir, pid: Some(pid) } if *pid == std::process::id() => {
                write!(f, "the directory {} is in use by another broker in this process ({pid})", dir.display())
            }
            LockError::Held { dir, pid: Some(pid) } => {
                write!(f, "the directory {} is in use by process {pid}", dir.display())
            }
            LockError::Held { dir, pid: None } => {
                write!(f, "the directory {} is in use by another process", dir.display())
            }
            LockError::Io { dir, source } => write!(f, "the directory {} could not be locked: {source}", dir.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Held { .. } => None,
            LockError::Io { source, .. } => Some(source),
        }
    }
}

/// A locked directory; dropping it gives the lock back. The file stays, as Apache Kafka leaves it.
pub struct DirLock(Holder);

enum Holder {
    Real { key: PathBuf, file: File },
    Memory { fs: Arc<MemFs>, key: PathBuf },
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Holder::Real { key, .. } | Holder::Memory { key, .. }) = &self.0;
        write!(f, "DirLock({})", key.display())
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        match &self.0 {
            Holder::Real { key, file } => {
                let mut held = HELD.lock();
                // The lock would go with the descriptor; it goes first, so that a taker in this process finds it free.
                let _ = file.set_len(0);
                let _ = unlock(file);
                held.remove(key);
            }
            Holder::Memory { fs, key } => {
                fs.locked.lock().remove(key);
            }
        }
    }
}

pub(super) fn lock_real(dir: &Path) -> Result<DirLock, LockError> {
    let key = dir.canonicalize().map_err(|error| LockError::io(dir, error))?;
    // Held throughout: closing any descriptor of the lock file would give up a lock that this process has on it, so nobody
    // here may open it while another one owns it.
    let mut held = HELD.lock();
    if held.contains(&key) {
        return Err(LockError::Held { dir: dir.to_path_buf(), pid: Some(std::process::id()) });
    }
    let path = key.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| LockError::io(dir, error))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(LockError::Held { dir: dir.to_path_buf(), pid: holder(&file) });
        }
        Err(error) => return Err(LockError::io(dir, error)),
    }
    // Only for people; a full disk is no reason to refuse.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    held.insert(key.clone());
    Ok(DirLock(Holder::Real { key, file }))
}

pub(super) fn lock_memory(fs: &Arc<MemFs>, dir: &Path) -> Result<DirLock, LockError> {
    let key = normal(dir);
    if !fs.exists(&key) {
        return Err(LockError::io(dir, io::ErrorKind::NotFound.into()));
    }
    if !fs.locked.lock().insert(key.clone()) {
        return Err(LockError::Held { dir: dir.to_path_buf(), pid: Some(std::process::id()) });
    }
    Ok(DirLock(Holder::Memory { fs: fs.clone(), key }))
}

#[cfg(unix)]
fn try_lock(file: &File) -> io::Result<()> {
    rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(Into::into)
}

#[cfg(unix)]
fn unlock(file: &File) -> io::Result<()> {
    rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingUnlock).map_err(Into::into)
}

/// Asks the system who has the lock: the file's content may be of an earlier holder, and Apache Kafka writes none.
#[cfg(unix)]
fn holder(file: &File) -> Option<u32> {
    let lock = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
    let holder = rustix::process::fcntl_getlk(file, &lock).ok()??.pid?;
    u32::try_from(holder.as_raw_nonzero().get()).ok()
}

#[cfg(not(unix))]
fn try_lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(io::Error::from)
}

#[cfg(not(unix))]
fn unlock(file: &File) -> io::Result<()> {
    file.unlock()
}

#[cfg(not(unix))]
fn holder(_file: &File) -> Option<u32> {
    None
}
