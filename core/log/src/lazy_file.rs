//! A file of a log by its name in the log's directory, opened when it is first used. How many descriptors are open at a time
//! is bounded by the environment; here only the opening of files that nobody asks for is saved: a partition is created and
//! opened without touching its indexes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_env::{Env, File, OpenMode};
use parking_lot::{Mutex, RwLock};

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
}

/// A file that may or may not exist, and is open only once it was used.
pub(crate) struct LazyFile {
    env: Env,
    dir: Arc<LogDir>,
    /// Held while the file is opened or renamed, never while it is read or written.
    slot: Mutex<Slot>,
}

impl fmt::Debug for LazyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazyFile({})", self.path().display())
    }
}

impl LazyFile {
    pub(crate) fn new(env: &Env, dir: &Arc<LogDir>, name: String) -> Arc<LazyFile> {
        Arc::new(LazyFile { env: env.clone(), dir: dir.clone(), slot: Mutex::new(Slot { name, file: None }) })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(&self.slot.lock().name)
    }

    /// The open file; an error of kind `NotFound` if there is none.
    pub(crate) fn get(&self) -> io::Result<File> {
        self.open(OpenMode::ReadWrite)
    }

    /// The open file, created if there is none.
    pub(crate) fn get_or_create(&self) -> io::Result<File> {
        self.open(OpenMode::Create)
    }

    fn open(&self, mode: OpenMode) -> io::Result<File> {
        let mut slot = self.slot.lock();
        if let Some(file) = &slot.file {
            return Ok(file.clone());
        }
        let file = self.env.fs().open(&self.dir.path().join(&slot.name), mode)?;
        slot.file = Some(file.clone());
        Ok(file)
    }

    /// Appends `suffix` to the name and returns the new path; an error of kind `NotFound` if there is no file. Who reads it
    /// goes on.
    pub(crate) fn rename(&self, suffix: &str) -> io::Result<PathBuf> {
        self.rename_by(|name| format!("{name}{suffix}"))
    }

    /// Takes `suffix` off the name's end and puts another one there; see [`LazyFile::rename`].
    pub(crate) fn replace_suffix(&self, suffix: &str, by: &str) -> io::Result<PathBuf> {
        self.rename_by(|name| format!("{}{by}", name.strip_suffix(suffix).unwrap_or(name)))
    }

    fn rename_by(&self, name: impl FnOnce(&str) -> String) -> io::Result<PathBuf> {
        let mut slot = self.slot.lock();
        let dir = self.dir.path();
        let name = name(&slot.name);
        let to = dir.join(&name);
        match &slot.file {
            Some(file) => self.env.fs().rename_open(file, &to)?,
            None => self.env.fs().rename(&dir.join(&slot.name), &to)?,
        }
        slot.name = name;
        Ok(to)
    }

    /// The directory has been renamed.
    pub(crate) fn follow_dir(&self) {
        let slot = self.slot.lock();
        if let Some(file) = &slot.file {
            file.set_path(&self.dir.path().join(&slot.name));
        }
    }

    /// Makes sure that nobody else has the file, before it is written in place: see [`ottla_env::Fs::unshare`]. Nothing
    /// happens where there is no file.
    pub(crate) fn unshare(&self, keep: u64) -> io::Result<()> {
        let mut slot = self.slot.lock();
        match self.env.fs().unshare(&self.dir.path().join(&slot.name), keep) {
            Ok(false) => Ok(()),
            Ok(true) => {
                slot.file = None;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Closes it, once nobody reads it any more; it opens again when it is used.
    pub(crate) fn close(&self) {
        self.slot.lock().file = None;
    }
}
