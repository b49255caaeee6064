//! A rope of record bytes: what a Produce request brings and a Fetch response carries, without copying. A chunk is bytes in
//! memory or a region of a file that the connection may hand to sendfile. It knows nothing of what the bytes mean.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// A file whose regions can be sent without reading them first.
pub trait RegionSource: Send + Sync + fmt::Debug {
    /// Reads from `position` on into `buf`; fewer bytes only where the file ends. Blocks on the disk.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The concrete type, so that a connection can take the descriptor out of it.
    fn as_any(&self) -> &dyn Any;
}

/// `len` bytes of a file from `position` on.
#[derive(Clone, Debug)]
pub struct Region {
    /// The file.
    pub source: Arc<dyn RegionSource>,
    /// The first byte, from the file's start.
    pub position: u64,
    /// The number of bytes.
    pub len: usize,
}

impl Region {
    /// Reads the region into memory. Blocks on the disk; a file that has become shorter is `UnexpectedEof`.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut buf = BytesMut::zeroed(self.len);
        self.read_into(&mut buf)?;
        Ok(buf.freeze())
    }

    fn read_into(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let read = self.source.read_at(self.position + done as u64, &mut buf[done..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += read;
        }
        Ok(())
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.position == other.position && self.len == other.len
    }
}

/// One piece of a rope.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes still in a file.
    Region(Region),
}

impl Chunk {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::Region(region) => region.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; a region is read from its file (blocks).
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        match self {
            Chunk::Bytes(bytes) => Ok(bytes.clone()),
            Chunk::Region(region) => region.read(),
        }
    }
}

impl From<Region> for Chunk {
    fn from(region: Region) -> Chunk {
        Chunk::Region(region)
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Chunk {
        Chunk::Bytes(bytes)
    }
}

/// Most ropes have one chunk, or none; those need no allocation.
#[derive(Clone, Default)]
enum Chunks {
    #[default]
    None,
    One([Chunk; 1]),
    Many(Vec<Chunk>),
}

/// A rope of record bytes. Cloning costs reference counts; equality compares the chunks, so two ropes of one chunk each are
/// equal when their bytes are.
#[derive(Clone, Default)]
pub struct Records {
    chunks: Chunks,
    len: usize,
}

impl Records {
    /// No bytes.
    pub fn empty() -> Records {
        Records::default()
    }

    /// The number of bytes in all chunks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, none of them empty.
    pub fn chunks(&self) -> &[Chunk] {
        match &self.chunks {
            Chunks::None => &[],
            Chunks::One(one) => one,
            Chunks::Many(many) => many,
        }
    }

    /// The pieces, by value.
    pub fn into_chunks(self) -> Vec<Chunk> {
        match self.chunks {
            Chunks::None => Vec::new(),
            Chunks::One(one) => one.into(),
            Chunks::Many(many) => many,
        }
    }

    /// Appends a piece; an empty one is dropped.
    pub fn push(&mut self, chunk: impl Into<Chunk>) {
        let chunk = chunk.into();
        if chunk.is_empty() {
            return;
        }
        self.len += chunk.len();
        self.chunks = match std::mem::take(&mut self.chunks) {
            Chunks::None => Chunks::One([chunk]),
            Chunks::One([first]) => Chunks::Many(vec![first, chunk]),
            Chunks::Many(mut many) => {
                many.push(chunk);
                Chunks::Many(many)
            }
        };
    }

    /// Appends all pieces of another rope.
    pub fn append(&mut self, other: Records) {
        for chunk in other.into_chunks() {
            self.push(chunk);
        }
    }

    /// All bytes in one piece. Copies only when there are several chunks; reads (and blocks) when one is a file region.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        match self.chunks() {
            [] => Ok(Bytes::new()),
            [one] => one.to_bytes(),
            many => {
                let mut out = BytesMut::with_capacity(self.len);
                for chunk in many {
                    match chunk {
                        Chunk::Bytes(bytes) => out.extend_from_slice(bytes),
                        Chunk::Region(region) => out.extend_from_slice(&region.read()?),
                    }
                }
                Ok(out.freeze())
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records::from(Chunk::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Records {
    fn from(bytes: Vec<u8>) -> Records {
        Records::from(Bytes::from(bytes))
    }
}

impl From<Chunk> for Records {
    fn from(chunk: Chunk) -> Records {
        let mut records = Records::empty();
        records.push(chunk);
        records
    }
}

impl FromIterator<Chunk> for Records {
    fn from_iter<I: IntoIterator<Item = Chunk>>(chunks: I) -> Records {
        let mut records = Records::empty();
        for chunk in chunks {
            records.push(chunk);
        }
        records
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        if self.len != other.len {
            return false;
        }
        if self.chunks() == other.chunks() {
            return true;
        }
        // The same bytes may be cut differently.
        let only_memory = |records: &Records| records.chunks().iter().all(|chunk| matches!(chunk, Chunk::Bytes(_)));
        only_memory(self)
            && only_memory(other)
            && matches!((self.to_bytes(), other.to_bytes()), (Ok(a), Ok(b)) if a == b)
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes in {} chunks)", self.len, self.chunks().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Pattern;

    impl RegionSource for Pattern {
        fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
            // Short reads on purpose.
            let len = buf.len().min(3).min(10usize.saturating_sub(position as usize));
            for (at, byte) in buf[..len].iter_mut().enumerate() {
                *byte = position as u8 + at as u8;
            }
            Ok(len)
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    #[test]
    fn one_chunk_is_not_copied() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let records = Records::from(bytes.clone());
        assert_eq!(records.to_bytes().unwrap().as_ptr(), bytes.as_ptr());
        assert!(Records::from(Bytes::new()).chunks().is_empty());
    }

    #[test]
    fn chunks_and_regions_join() {
        let mut records = Records::from(Bytes::from_static(b"ab"));
        records.push(Region { source: Arc::new(Pattern), position: 2, len: 8 });
        records.push(Bytes::from_static(b"z"));
        assert_eq!(records.len(), 11);
        assert_eq!(records.to_bytes().unwrap(), &b"ab\x02\x03\x04\x05\x06\x07\x08\x09z"[..]);
        let beyond = Region { source: Arc::new(Pattern), position: 2, len: 9 };
        assert_eq!(beyond.read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn equality_ignores_the_cuts() {
        let mut cut = Records::from(Bytes::from_static(b"ab"));
        cut.push(Bytes::from_static(b"c"));
        assert_eq!(cut, Records::from(Bytes::from_static(b"abc")));
        assert_ne!(cut, Records::from(Bytes::from_static(b"abd")));
    }
}
