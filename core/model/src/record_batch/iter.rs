//! Walks the batches of a run of bytes, as a fetch response or a segment read brings them.

use bytes::Bytes;

use super::{BatchError, BatchHeader};

/// One whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The parsed header.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

/// Iterates over the whole batches in `bytes`, without a copy.
///
/// A batch that is cut off at the end is not an error: fetch responses may end so. The iterator stops there, and
/// `remainder` says what it left. An unreadable header is yielded as an error, after which the iterator is at its end.
#[derive(Clone, Debug)]
pub struct BatchIter {
    bytes: Bytes,
    position: usize,
    failed: bool,
}

impl BatchIter {
    /// Starts at the first byte.
    pub fn new(bytes: Bytes) -> BatchIter {
        BatchIter { bytes, position: 0, failed: false }
    }

    /// The bytes before the next batch.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What has not been yielded yet; after the end, the cut-off batch if there is one.
    pub fn remainder(&self) -> Bytes {
        self.bytes.slice(self.position..)
    }
}

impl Iterator for BatchIter {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.position == self.bytes.len() {
            return None;
        }
        let header = match BatchHeader::parse(&self.bytes[self.position..]) {
            Ok(header) => header,
            Err(BatchError::Truncated { .. }) => return None,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        if header.size_in_bytes() > self.bytes.len() - self.position {
            return None;
        }
        let end = self.position + header.size_in_bytes();
        let bytes = self.bytes.slice(self.position..end);
        self.position = end;
        Some(Ok(Batch { header, bytes }))
    }
}
