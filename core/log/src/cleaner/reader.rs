//! Reads a segment's whole batches, a chunk at a time, and verifies their checksums: what is damaged must not be written
//! anew with a checksum that says it is sound.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::record_batch::{self, BatchHeader, HEADER_SIZE};

use crate::error::{IoContext, LogError};
use crate::segment::Segment;

/// A place in a segment, whose end does not move.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    segment: Arc<Segment>,
    position: u64,
    size: u64,
    chunk: Bytes,
}

impl ChunkReader {
    pub(crate) fn new(segment: Arc<Segment>, position: u64) -> Result<ChunkReader, LogError> {
        let size = segment.size().context("open", segment.path())?;
        Ok(ChunkReader { segment, position, size, chunk: Bytes::new() })
    }

    /// Reads about `bytes`, at least one batch; how many were read, 0 at the segment's end.
    pub(crate) fn fill(&mut self, bytes: usize) -> Result<usize, LogError> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(0);
        }
        self.read(bytes.max(HEADER_SIZE).min(left))?;
        let size = self.header()?.size_in_bytes();
        if size > left {
            return Err(self.damaged(format!("it has {size} bytes, but only {left} are there")));
        }
        if size > self.chunk.len() {
            self.read(size)?;
        }
        Ok(self.chunk.len())
    }

    fn read(&mut self, len: usize) -> Result<(), LogError> {
        let file = self.segment.file().context("open", self.segment.path())?;
        self.chunk = file.read_at(self.position, len).context("read", self.segment.path())?;
        if self.chunk.len() < len {
            return Err(self.damaged("the file ends within it"));
        }
        Ok(())
    }

    /// The next batch that lies whole in what was read; `None` when it is time to `fill`.
    pub(crate) fn next(&mut self) -> Result<Option<(BatchHeader, Bytes)>, LogError> {
        if self.chunk.len() < HEADER_SIZE {
            return Ok(None);
        }
        let header = self.header()?;
        let size = header.size_in_bytes();
        if size > self.chunk.len() {
            return Ok(None);
        }
        let batch = self.chunk.slice(..size);
        record_batch::verify_crc(&batch).and_then(|()| header.validate()).map_err(|error| self.damaged(error))?;
        self.chunk = self.chunk.slice(size..);
        self.position += size as u64;
        Ok(Some((header, batch)))
    }

    fn header(&self) -> Result<BatchHeader, LogError> {
        BatchHeader::parse(&self.chunk).map_err(|error| self.damaged(error))
    }

    /// The batch that is being read cannot be used.
    pub(crate) fn damaged(&self, reason: impl std::fmt::Display) -> LogError {
        LogError::corrupt(self.segment.path(), format!("the batch at byte {}: {reason}", self.position))
    }
}
