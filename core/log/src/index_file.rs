//! An append-only array of entries of one size in a file, the last few of them still in memory. The file is created when
//! the first entries are written out, at the latest when the segment is closed or rolled: entries that a crash loses are
//! rebuilt by recovery, so they need not reach the file one by one. It is neither preallocated nor mapped.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::lazy_file::LazyFile;

/// So many entries wait in memory before they are written out with one call.
const TAIL_ENTRIES_MAX: usize = 512;

#[derive(Debug)]
pub(crate) struct IndexFile<const N: usize> {
    file: Arc<LazyFile>,
    /// Entries in the file; `None` until it was looked at.
    in_file: Option<u64>,
    /// Whether the file was there when it was looked at, or has been created since.
    exists: bool,
    /// The file's size was no multiple of an entry's: it cannot be trusted.
    ragged: bool,
    tail: Vec<[u8; N]>,
}

impl<const N: usize> IndexFile<N> {
    /// A file that may exist; it is looked at when it is first needed.
    pub(crate) fn unopened(file: Arc<LazyFile>) -> Self {
        IndexFile { file, in_file: None, exists: false, ragged: false, tail: Vec::new() }
    }

    /// A file that is known not to exist.
    pub(crate) fn absent(file: Arc<LazyFile>) -> Self {
        IndexFile { in_file: Some(0), ..Self::unopened(file) }
    }

    pub(crate) fn file(&self) -> &Arc<LazyFile> {
        &self.file
    }

    fn load(&mut self) -> io::Result<u64> {
        if let Some(entries) = self.in_file {
            return Ok(entries);
        }
        let len = match self.file.get() {
            Ok(file) => {
                self.exists = true;
                file.len()?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        self.ragged = len % N as u64 != 0;
        let entries = len / N as u64;
        self.in_file = Some(entries);
        Ok(entries)
    }

    /// Whether the file exists and its size fits its entries. An absent file has no entries but is not sound.
    pub(crate) fn is_sound(&mut self) -> io::Result<bool> {
        self.load()?;
        Ok(self.exists && !self.ragged)
    }

    /// Whether there is a file.
    pub(crate) fn exists(&mut self) -> io::Result<bool> {
        self.load()?;
        Ok(self.exists)
    }

    /// The number of entries.
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        Ok(self.load()? + self.tail.len() as u64)
    }

    /// The entry at `slot`, which must be below the length.
    pub(crate) fn get(&mut self, slot: u64) -> io::Result<[u8; N]> {
        let in_file = self.load()?;
        if slot >= in_file {
            return self.tail.get((slot - in_file) as usize).copied().ok_or(io::ErrorKind::UnexpectedEof.into());
        }
        let mut entry = [0; N];
        self.file.get()?.read_exact_at(slot * N as u64, &mut entry)?;
        Ok(entry)
    }

    /// The number of leading entries for which `holds` is true; `holds` must be true for a prefix only.
    pub(crate) fn partition_point(&mut self, holds: impl Fn(&[u8; N]) -> bool) -> io::Result<u64> {
        let in_file = self.load()?;
        if self.tail.first().is_some_and(&holds) {
            return Ok(in_file + self.tail.partition_point(&holds) as u64);
        }
        let (mut low, mut high) = (0, in_file);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&self.get(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Adds an entry. It stays in memory if the disk refuses; the next write tries again.
    pub(crate) fn push(&mut self, entry: [u8; N]) {
        self.tail.push(entry);
        if self.tail.len().is_multiple_of(TAIL_ENTRIES_MAX) {
            // Losing an index entry loses no record: the write is repeated at the next spill, roll or close, which reports.
            let _ = self.write_out();
        }
    }

    /// Whether nothing is to be written. `required` says whether a file must be there without entries, too.
    pub(crate) fn is_written(&self, required: bool) -> bool {
        self.tail.is_empty() && (self.exists || self.in_file.is_none() || !required)
    }

    /// Writes what is in memory to the file, and creates it if there is none yet.
    pub(crate) fn write_out(&mut self) -> io::Result<()> {
        let in_file = self.load()?;
        if self.tail.is_empty() && self.exists {
            return Ok(());
        }
        self.file.get_or_create()?;
        self.exists = true;
        if !self.tail.is_empty() {
            self.file.unshare(in_file * N as u64)?;
            let file = self.file.get()?;
            let mut bytes = BytesMut::with_capacity(self.tail.len() * N);
            self.tail.iter().for_each(|entry| bytes.extend_from_slice(entry));
            file.write_at(in_file * N as u64, &[bytes.freeze()])?;
            self.in_file = Some(in_file + self.tail.len() as u64);
            self.tail.clear();
        }
        Ok(())
    }

    /// Keeps the first `len` entries only.
    pub(crate) fn truncate(&mut self, len: u64) -> io::Result<()> {
        let in_file = self.load()?;
        if len >= in_file {
            self.tail.truncate((len - in_file) as usize);
            if !self.ragged {
                return Ok(());
            }
        } else {
            self.tail.clear();
        }
        if self.exists {
            self.file.unshare(len.min(in_file) * N as u64)?;
            self.file.get()?.set_len(len.min(in_file) * N as u64)?;
        }
        self.ragged = false;
        self.in_file = Some(len.min(in_file));
        Ok(())
    }

    /// All entries, read at once.
    pub(crate) fn read_all(&mut self) -> io::Result<Vec<[u8; N]>> {
        let in_file = self.load()?;
        let bytes = if in_file == 0 { Bytes::new() } else { self.file.get()?.read_at(0, in_file as usize * N)? };
        let (entries, _) = bytes.as_chunks::<N>();
        let mut entries = entries.to_vec();
        entries.extend_from_slice(&self.tail);
        Ok(entries)
    }
}
