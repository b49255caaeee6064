//! A file system in memory: a map of paths. It has no links, rights or current directory; a relative path simply is another
//! path. Files keep what was appended by reference, so a broker in memory stores a batch without copying it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_model::{Chunk, Records};
use parking_lot::{Mutex, RwLock};

use super::{DirEntry, OpenMode};

/// Buffers below this size are copied together (index entries, say), as long as the chunk they make is below the other one:
/// a reference would take more memory than the bytes.
const JOINED_BUFFER_MAX: usize = 256;
const JOINED_CHUNK_MAX: usize = 4096;

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<MemFile>),
}

/// How many more changes a file system takes, if that is bounded: see [`super::Fs::crash_after`].
#[derive(Default)]
pub(super) struct Crash(Mutex<Option<u64>>);

impl Crash {
    pub(super) fn after(&self, changes: Option<u64>) {
        *self.0.lock() = changes;
    }

    /// Counts a change; an error if it is one too many, with whether it is the first one.
    fn change(&self) -> Result<(), (bool, io::Error)> {
        let mut left = self.0.lock();
        let Some(count) = *left else { return Ok(()) };
        // Two states behind the last change: the next one is cut short, the others do not happen.
        match count {
            0 | u64::MAX => {
                *left = Some(u64::MAX);
                Err((count == 0, io::Error::other("the file system has crashed, as it was told to")))
            }
            count => {
                *left = Some(count - 1);
                Ok(())
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        self.change().map_err(|(_, error)| error)
    }
}

/// The paths. A directory is there if it was made; the root always is.
#[derive(Default)]
pub(super) struct MemFs {
    pub(super) crash: Arc<Crash>,
    /// Lock order: this, then a file's path or content.
    nodes: Mutex<BTreeMap<PathBuf, Node>>,
    /// The directories that are locked.
    pub(super) locked: Mutex<BTreeSet<PathBuf>>,
}

/// Without the `.` and `..` that std's paths keep.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none() || path.as_os_str().is_empty()
}

fn is_dir(nodes: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    is_root(path) || matches!(nodes.get(path), Some(Node::Dir))
}

/// The error for a path whose parent is not a directory.
fn check_parent(nodes: &BTreeMap<PathBuf, Node>, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Err(io::ErrorKind::IsADirectory.into()) };
    match nodes.get(parent) {
        Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
        _ if is_dir(nodes, parent) => Ok(()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// What lies below a directory, at any depth. Paths are ordered by component, so these follow the directory.
fn below(nodes: &BTreeMap<PathBuf, Node>, dir: &Path) -> Vec<PathBuf> {
    let from = (std::ops::Bound::Excluded(dir.to_path_buf()), std::ops::Bound::Unbounded);
    nodes.range(from).map(|(path, _)| path.clone()).take_while(|path| path.starts_with(dir)).collect()
}

impl MemFs {
    pub(super) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<MemFile>> {
        let path = normal(path);
        let mut nodes = self.nodes.lock();
        match nodes.get(&path) {
            Some(Node::File(_)) if mode == OpenMode::CreateNew => Err(io::ErrorKind::AlreadyExists.into()),
            Some(Node::File(file)) => Ok(file.clone()),
            Some(Node::Dir) if mode == OpenMode::CreateNew => Err(io::ErrorKind::AlreadyExists.into()),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => {
                check_parent(&nodes, &path)?;
                if matches!(mode, OpenMode::Read | OpenMode::ReadWrite) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                self.crash.check()?;
                let file = Arc::new(MemFile::new(path.clone(), self.crash.clone()));
                nodes.insert(path, Node::File(file.clone()));
                Ok(file)
            }
        }
    }

    /// A new file `to` with the first `len` bytes of this one, shared until either is written.
    pub(super) fn link(&self, from: &Path, to_fs: &MemFs, to: &Path, len: u64) -> io::Result<()> {
        let content = self.open(from, OpenMode::Read)?.content.read().clone();
        let file = to_fs.open(to, OpenMode::CreateNew)?;
        let shorter = len < content.len;
        *file.content.write() = content;
        if shorter { file.set_len(len) } else { Ok(()) }
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.crash.check()?;
        let path = normal(path);
        let mut nodes = self.nodes.lock();
        let missing: Vec<PathBuf> = path.ancestors().filter(|dir| !is_root(dir)).map(Path::to_path_buf).collect();
        for (depth, dir) in missing.iter().enumerate() {
            if matches!(nodes.get(dir), Some(Node::File(_))) {
                let kind = if depth == 0 { io::ErrorKind::AlreadyExists } else { io::ErrorKind::NotADirectory };
                return Err(kind.into());
            }
        }
        nodes.extend(missing.into_iter().map(|dir| (dir, Node::Dir)));
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.crash.check()?;
        let path = normal(path);
        let mut nodes = self.nodes.lock();
        match nodes.get(&path) {
            Some(Node::File(_)) => {
                nodes.remove(&path);
                Ok(())
            }
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(check_parent(&nodes, &path).err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }

    /// Removes this very file, unless its name has gone to another one.
    pub(super) fn remove_open(&self, file: &Arc<MemFile>) -> io::Result<()> {
        self.crash.check()?;
        let mut nodes = self.nodes.lock();
        let path = file.path();
        match nodes.get(&path) {
            Some(Node::File(named)) if Arc::ptr_eq(named, file) => {
                nodes.remove(&path);
                Ok(())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.crash.check()?;
        let path = normal(path);
        let mut nodes = self.nodes.lock();
        match nodes.get(&path) {
            Some(Node::Dir) => {
                for inner in below(&nodes, &path) {
                    nodes.remove(&inner);
                }
                nodes.remove(&path);
                Ok(())
            }
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(check_parent(&nodes, &path).err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.crash.check()?;
        let (from, to) = (normal(from), normal(to));
        rename(&mut self.nodes.lock(), &from, &to)
    }

    pub(super) fn rename_open(&self, file: &Arc<MemFile>, to: &Path) -> io::Result<()> {
        self.crash.check()?;
        let mut nodes = self.nodes.lock();
        let from = file.path();
        match nodes.get(&from) {
            Some(Node::File(named)) if Arc::ptr_eq(named, file) => rename(&mut nodes, &from, &normal(to)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = normal(path);
        let nodes = self.nodes.lock();
        if let Some(Node::File(_)) = nodes.get(&path) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !is_dir(&nodes, &path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let from = (std::ops::Bound::Excluded(path.clone()), std::ops::Bound::Unbounded);
        let mut entries: Vec<DirEntry> = nodes
            .range(from)
            .take_while(|(inner, _)| inner.starts_with(&path))
            .filter(|(inner, _)| inner.parent() == Some(&path))
            .filter_map(|(inner, node)| {
                let name = inner.file_name()?.to_str()?.to_owned();
                Some(DirEntry { name, is_dir: matches!(node, Node::Dir) })
            })
            .collect();
        entries.sort();
        Ok(entries)
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        let path = normal(path);
        is_root(&path) || self.nodes.lock().contains_key(&path)
    }

    pub(super) fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.crash.check()?;
        let path = normal(path);
        let mut nodes = self.nodes.lock();
        check_parent(&nodes, &path)?;
        if matches!(nodes.get(&path), Some(Node::Dir)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A new file, as a rename brings it: who has the old one open keeps its content.
        let file = MemFile::new(path.clone(), self.crash.clone());
        file.write(0, &[Bytes::copy_from_slice(content)])?;
        nodes.insert(path, Node::File(Arc::new(file)));
        Ok(())
    }
}

fn rename(nodes: &mut BTreeMap<PathBuf, Node>, from: &Path, to: &Path) -> io::Result<()> {
    let Some(node) = nodes.get(from).cloned() else { return Err(io::ErrorKind::NotFound.into()) };
    check_parent(nodes, to)?;
    if from == to {
        return Ok(());
    }
    match (&node, nodes.get(to)) {
        (Node::File(_), Some(Node::Dir)) => return Err(io::ErrorKind::IsADirectory.into()),
        (Node::Dir, Some(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
        (Node::Dir, _) if to.starts_with(from) => return Err(io::ErrorKind::InvalidInput.into()),
        (Node::Dir, Some(Node::Dir)) if !below(nodes, to).is_empty() => {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        _ => {}
    }
    let mut moved = vec![from.to_path_buf()];
    if let Node::Dir = node {
        moved.extend(below(nodes, from));
    }
    for old in moved {
        let Some(node) = nodes.remove(&old) else { continue };
        let rest = old.strip_prefix(from).expect("only what lies below is moved");
        let new = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
        if let Node::File(file) = &node {
            *file.path.lock() = new.clone();
        }
        nodes.insert(new, node);
    }
    Ok(())
}

/// A file in memory. Lives as long as someone has it open, also without a name.
pub(super) struct MemFile {
    path: Mutex<PathBuf>,
    crash: Arc<Crash>,
    /// Shared by the files that were linked, until one of them is written.
    content: RwLock<Arc<Content>>,
}

/// Chunks behind one another, none of them empty.
#[derive(Clone, Default)]
struct Content {
    /// Where each chunk starts, and its bytes; positions rise.
    chunks: Vec<(u64, Bytes)>,
    len: u64,
}

impl MemFile {
    fn new(path: PathBuf, crash: Arc<Crash>) -> MemFile {
        MemFile { path: Mutex::new(path), crash, content: RwLock::default() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.content.read().len)
    }

    /// Up to `len` bytes from `position` on, as they were appended.
    pub(super) fn pieces(&self, position: u64, len: usize) -> Records {
        self.content.read().slices(position, len).map(Chunk::Bytes).collect()
    }

    pub(super) fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let content = self.content.read();
        let mut pieces = content.slices(position, len);
        let Some(first) = pieces.next() else { return Ok(Bytes::new()) };
        let Some(second) = pieces.next() else { return Ok(first) };
        let available = usize::try_from(content.len - position).unwrap_or(usize::MAX).min(len);
        let mut out = BytesMut::with_capacity(available);
        for piece in [first, second].into_iter().chain(pieces) {
            out.extend_from_slice(&piece);
        }
        Ok(out.freeze())
    }

    pub(super) fn read_into(&self, position: u64, buf: &mut [u8]) -> usize {
        let content = self.content.read();
        let mut done = 0;
        for piece in content.slices(position, buf.len()) {
            buf[done..done + piece.len()].copy_from_slice(&piece);
            done += piece.len();
        }
        done
    }

    pub(super) fn write_at(&self, position: u64, buffers: &[Bytes]) -> io::Result<()> {
        let Err((is_torn, error)) = self.crash.change() else { return self.write(position, buffers) };
        if is_torn && let Some(first) = buffers.first() {
            self.write(position, &[first.slice(..first.len() / 2)])?;
        }
        Err(error)
    }

    fn write(&self, position: u64, buffers: &[Bytes]) -> io::Result<()> {
        let mut content = self.content.write();
        let content = Arc::make_mut(&mut content);
        let size: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        let end = position.checked_add(size).ok_or(io::ErrorKind::FileTooLarge)?;
        if size == 0 {
            return Ok(());
        }
        // What lies behind an overwritten part is put aside and follows the new bytes.
        let behind = if end < content.len {
            let len = usize::try_from(content.len - end).map_err(|_| io::ErrorKind::FileTooLarge)?;
            content.slices(end, len).collect()
        } else {
            Vec::new()
        };
        content.set_len(position)?;
        for buffer in buffers {
            content.push(buffer.clone());
        }
        for chunk in behind {
            content.push(chunk);
        }
        Ok(())
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.crash.check()?;
        Arc::make_mut(&mut self.content.write()).set_len(len)
    }
}

impl Content {
    /// The parts of the chunks that lie in the range, as far as the file goes.
    fn slices(&self, position: u64, len: usize) -> impl Iterator<Item = Bytes> {
        let end = position.saturating_add(len as u64);
        // The chunk before the first one that starts behind the position.
        let first = self.chunks.partition_point(|(start, _)| *start <= position).saturating_sub(1);
        self.chunks[first..].iter().take_while(move |(start, _)| *start < end).filter_map(move |(start, chunk)| {
            let from = position.saturating_sub(*start).min(chunk.len() as u64) as usize;
            let to = (end - start).min(chunk.len() as u64) as usize;
            (from < to).then(|| chunk.slice(from..to))
        })
    }

    fn push(&mut self, buffer: Bytes) {
        if buffer.is_empty() {
            return;
        }
        self.len += buffer.len() as u64;
        if buffer.len() <= JOINED_BUFFER_MAX
            && let Some((_, last)) = self.chunks.last_mut()
            && last.len() + buffer.len() <= JOINED_CHUNK_MAX
        {
            let joined = std::mem::take(last);
            // Grows in place while nobody else has a slice of it.
            let mut joined = joined.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            joined.extend_from_slice(&buffer);
            *last = joined.freeze();
            return;
        }
        let start = self.len - buffer.len() as u64;
        self.chunks.push((start, buffer));
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > self.len {
            let zeros = usize::try_from(len - self.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(zeros).map_err(|_| io::ErrorKind::OutOfMemory)?;
            chunk.resize(zeros, 0);
            self.push(Bytes::from(chunk));
            return Ok(());
        }
        let keep = self.chunks.partition_point(|(start, _)| *start < len);
        self.chunks.truncate(keep);
        if let Some((start, last)) = self.chunks.last_mut() {
            last.truncate((len - *start) as usize);
        }
        self.len = len;
        Ok(())
    }
}
