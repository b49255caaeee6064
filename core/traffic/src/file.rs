//! Reading a recording: entry by entry, each checked before it is looked at. What is read into memory is one entry at a time,
//! and never more than the file has.

use crate::error::TrafficError;
use crate::format::{Begin, Content, ENTRY_BYTES_MAX, ENTRY_PREFIX_BYTES, Entry, MAGIC, PREFIX_BYTES, VERSION};
use ottla_env::{File, Fs, OpenMode};
use ottla_model::{Str, crc32c};
use std::path::{Path, PathBuf};

/// A recording that was opened for reading; clones share the file.
#[derive(Debug, Clone)]
pub struct Traffic {
    path: PathBuf,
    file: File,
    begin: Begin,
    first: u64,
}

impl Traffic {
    /// Opens a recording; it may still be written. Blocks on the disk for a moment.
    ///
    /// # Errors
    /// The file cannot be read, or is no recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Traffic, TrafficError> {
        Traffic::open_in(&Fs::real(), path.as_ref())
    }

    pub(crate) fn open_in(fs: &Fs, path: &Path) -> Result<Traffic, TrafficError> {
        let refused = |error: std::io::Error| TrafficError::File { path: path.to_owned(), reason: error.to_string() };
        let file = fs.open(path, OpenMode::Read).map_err(refused)?;
        let prefix = file.read_at(0, PREFIX_BYTES as usize).map_err(refused)?;
        let named = |what: &str| TrafficError::Format(format!("{} {what}", path.display()));
        if prefix.len() < MAGIC.len() || prefix[..MAGIC.len()] != MAGIC[..] {
            return Err(named("is no recording of traffic: it does not begin with OTTLATRF"));
        }
        let version = prefix.get(8..10).map(|version| i16::from_be_bytes([version[0], version[1]]));
        match version {
            Some(VERSION) => {}
            Some(other) => {
                return Err(named(&format!("has version {other} of the format; this program reads version {VERSION}")));
            }
            None => {
                return Err(TrafficError::Truncated { position: 0, reason: "it ends in its first bytes".to_owned() });
            }
        }
        match content_at(path, &file, PREFIX_BYTES)? {
            Some((Content::Begin(begin), first)) => Ok(Traffic { path: path.to_owned(), file, begin, first }),
            Some(_) => Err(TrafficError::Corrupt {
                position: PREFIX_BYTES,
                reason: "the first entry does not say whose recording it is".to_owned(),
            }),
            None => {
                let reason = "its first entry is missing".to_owned();
                Err(TrafficError::Truncated { position: PREFIX_BYTES, reason })
            }
        }
    }

    /// Where the recording is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When the recording began, in milliseconds since 1970 by the clock of the broker.
    pub fn started_ms(&self) -> i64 {
        self.begin.time_ms
    }

    /// The cluster that was recorded.
    pub fn cluster_id(&self) -> &str {
        &self.begin.cluster_id
    }

    /// Which program recorded, for people.
    pub fn software(&self) -> &Str {
        &self.begin.software
    }

    /// All entries from the first on. Blocks on the disk; bodies are not decoded. After an error nothing more comes; a
    /// recording that does not end with [`Entry::End`] or [`Entry::Gap`] ends with [`TrafficError::Truncated`].
    pub fn entries(&self) -> Entries {
        Entries { path: self.path.clone(), file: self.file.clone(), position: self.first, count: 0, over: false }
    }
}

/// Reads the entries of a recording; see [`Traffic::entries`].
#[derive(Debug)]
pub struct Entries {
    path: PathBuf,
    file: File,
    position: u64,
    count: u64,
    over: bool,
}

impl Entries {
    fn read(&mut self) -> Result<Entry, TrafficError> {
        let position = self.position;
        let corrupt = |reason: String| TrafficError::Corrupt { position, reason };
        let Some((content, next)) = content_at(&self.path, &self.file, position)? else {
            let reason = "its end mark is missing, so whoever recorded has not finished it".to_owned();
            return Err(TrafficError::Truncated { position, reason });
        };
        let Content::Entry(entry) = content else { return Err(corrupt("a second beginning".to_owned())) };
        self.position = next;
        match &entry {
            Entry::End { entries, .. } if *entries != self.count => {
                return Err(corrupt(format!("{entries} entries were written and {} are here", self.count)));
            }
            Entry::End { .. } | Entry::Gap { .. } => self.over = true,
            _ => self.count += 1,
        }
        Ok(entry)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, TrafficError>;

    fn next(&mut self) -> Option<Result<Entry, TrafficError>> {
        if self.over {
            return None;
        }
        let entry = self.read();
        self.over |= entry.is_err();
        Some(entry)
    }
}

/// The entry at `position` and where the next one begins; `None` at the end of the file.
fn content_at(path: &Path, file: &File, position: u64) -> Result<Option<(Content, u64)>, TrafficError> {
    let refused = |error: std::io::Error| TrafficError::File { path: path.to_owned(), reason: error.to_string() };
    let truncated = |reason: String| TrafficError::Truncated { position, reason };
    let corrupt = |reason: String| TrafficError::Corrupt { position, reason };
    let prefix = file.read_at(position, ENTRY_PREFIX_BYTES).map_err(refused)?;
    if prefix.is_empty() {
        return Ok(None);
    }
    let Some(prefix) = prefix.first_chunk::<ENTRY_PREFIX_BYTES>() else {
        return Err(truncated("an entry ends in its length".to_owned()));
    };
    let [a, b, c, d, crc @ ..] = *prefix;
    let (length, crc) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes(crc));
    if length > ENTRY_BYTES_MAX {
        return Err(corrupt(format!("an entry of {length} bytes, and none has more than {ENTRY_BYTES_MAX}")));
    }
    let start = position + ENTRY_PREFIX_BYTES as u64;
    // Asked before anything is allocated: a length may claim what it likes.
    let there = file.len().map_err(refused)?.saturating_sub(start);
    if there < length as u64 {
        return Err(truncated(format!("an entry of {length} bytes, of which {there} are there")));
    }
    let content = file.read_at(start, length).map_err(refused)?;
    if content.len() < length {
        return Err(truncated(format!("an entry of {length} bytes, of which {} are there", content.len())));
    }
    let found = crc32c(&content);
    if found != crc {
        return Err(corrupt(format!("the checksum of an entry is {crc:#010x}, and that of its bytes {found:#010x}")));
    }
    let content = Content::parse(content).map_err(corrupt)?;
    Ok(Some((content, start + length as u64)))
}

#[cfg(test)]
mod tests;
