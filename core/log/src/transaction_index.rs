//! `.txnindex`: the aborted transactions whose marker lies in the segment. Only there if there are any. An entry is 34 bytes:
//!
//! ```text
//! 0   i16  version, 0
//! 2   i64  producer id
//! 10  i64  first offset of the transaction
//! 18  i64  last offset, its marker's
//! 26  i64  the last stable offset when the marker was written
//! ```

use std::io;
use std::sync::Arc;

use crate::index_file::IndexFile;
use crate::lazy_file::LazyFile;

pub(crate) const ENTRY_SIZE: u64 = 34;

/// An aborted transaction, as read-committed consumers are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose transaction.
    pub producer_id: i64,
    /// The offset of its first record in this partition.
    pub first_offset: i64,
    /// The offset of its abort marker.
    pub last_offset: i64,
    /// The last stable offset when the marker was written: no transaction that starts below it is still open.
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    pub(crate) fn encode(&self) -> [u8; 34] {
        let mut entry = [0; 34];
        entry[2..10].copy_from_slice(&self.producer_id.to_be_bytes());
        entry[10..18].copy_from_slice(&self.first_offset.to_be_bytes());
        entry[18..26].copy_from_slice(&self.last_offset.to_be_bytes());
        entry[26..34].copy_from_slice(&self.last_stable_offset.to_be_bytes());
        entry
    }

    pub(crate) fn decode(entry: &[u8; 34]) -> Option<AbortedTxn> {
        if entry[..2] != [0, 0] {
            return None;
        }
        let long = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        Some(AbortedTxn {
            producer_id: long(2),
            first_offset: long(10),
            last_offset: long(18),
            last_stable_offset: long(26),
        })
    }
}

#[derive(Debug)]
pub(crate) struct TransactionIndex {
    entries: IndexFile<34>,
}

impl TransactionIndex {
    pub(crate) fn new(file: Arc<LazyFile>, absent: bool) -> TransactionIndex {
        TransactionIndex { entries: if absent { IndexFile::absent(file) } else { IndexFile::unopened(file) } }
    }

    /// Whether there is nothing to write, so that no file is made.
    pub(crate) fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.entries.len()? == 0 && !self.entries.exists()?)
    }

    pub(crate) fn is_written(&self) -> bool {
        self.entries.is_written(false)
    }

    pub(crate) fn file(&mut self) -> &mut IndexFile<34> {
        &mut self.entries
    }

    /// Adds an entry and writes it at once: unlike the other indexes' entries, it is not only a shortcut.
    pub(crate) fn append(&mut self, txn: &AbortedTxn) -> io::Result<()> {
        self.entries.push(txn.encode());
        self.entries.write_out()
    }

    /// The entries; those that do not parse are skipped (a damaged index is rebuilt by recovery).
    pub(crate) fn all(&mut self) -> io::Result<Vec<AbortedTxn>> {
        Ok(self.entries.read_all()?.iter().filter_map(AbortedTxn::decode).collect())
    }

    /// Adds those that overlap `[from, upper)` to `found`; true if no later segment can hold any more of them.
    pub(crate) fn collect(&mut self, from: i64, upper: i64, found: &mut Vec<AbortedTxn>) -> io::Result<bool> {
        for txn in self.all()? {
            if txn.last_offset >= from && txn.first_offset < upper {
                found.push(txn);
            }
            if txn.last_stable_offset >= upper {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the entries whose marker is at or above `offset`.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> io::Result<()> {
        let keep = self.all()?.iter().take_while(|txn| txn.last_offset < offset).count();
        self.entries.truncate(keep as u64)
    }
}
