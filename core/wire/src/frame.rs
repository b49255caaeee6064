//! Reading frames off a byte stream, with a bound on what a peer can make this side allocate.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio_rustls::client::TlsStream;

/// First read of a frame: most requests fit, so that length and body cost one system call.
const FIRST_READ: usize = 8 * 1024;
/// What is allocated on the peer's word alone. A larger frame grows as its bytes arrive, so that a thousand
/// connections that each claim `socket.request.max.bytes` cost nothing until they send.
const ALLOCATE_ON_TRUST: usize = 1024 * 1024;

/// Why a connection can no longer be read.
#[derive(Debug)]
pub enum FrameError {
    /// The peer closed between two frames.
    Closed,
    /// The peer closed, or the socket failed, inside a frame.
    Io(io::Error),
    /// The length is negative or above the limit (`socket.request.max.bytes` on a broker).
    Size { claimed: i32, limit: usize, first_bytes: [u8; 4] },
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Closed => f.write_str("the peer closed the connection"),
            FrameError::Io(error) => write!(f, "{error}"),
            FrameError::Size { claimed, limit, first_bytes } => {
                write!(f, "a frame of {claimed} bytes, allowed are 0 to {limit}")?;
                match guess_protocol(first_bytes) {
                    Some(protocol) => write!(f, ": the peer speaks {protocol}, not Kafka, to this port"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// The protocols that are most often spoken to a Kafka port by mistake.
fn guess_protocol(first: &[u8; 4]) -> Option<&'static str> {
    match first {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PRI " => Some("HTTP"),
        b"HTTP" => Some("HTTP"),
        [0x16, 0x03, _, _] | [0x15, 0x03, _, _] => Some("TLS"),
        b"SSH-" => Some("SSH"),
        _ => None,
    }
}

/// Where frames are read from.
pub(crate) trait Source: AsyncRead + Unpin {
    /// Waits until there may be something to read, before memory is taken for it.
    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Source for OwnedReadHalf {
    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }
}

impl Source for tokio::io::ReadHalf<TlsStream<TcpStream>> {
    /// What is readable below is not yet a record that can be decrypted: the read itself waits.
    fn wait(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The reading half's state: what arrived beyond the last frame.
///
/// An idle connection holds no buffer: memory is taken when bytes are there to be read.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    pending: BytesMut,
}

impl FrameReader {
    /// The next frame's content, without its length. Cancel safe: what was read stays in `self`.
    pub(crate) async fn next(&mut self, socket: &mut impl Source, limit: usize) -> Result<Bytes, FrameError> {
        loop {
            if let Some(frame) = self.take_frame(limit)? {
                return Ok(frame);
            }
            if self.pending.is_empty() {
                // Memory is taken only once there is something to put into it.
                socket.wait().await.map_err(FrameError::Io)?;
            }
            self.make_room();
            // A read that fills less than it could has emptied the socket; tokio then waits without asking once more,
            // which a try_read would not know.
            match socket.read_buf(&mut self.pending).await {
                Ok(0) if self.pending.is_empty() => return Err(FrameError::Closed),
                Ok(0) => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(FrameError::Io(error)),
            }
        }
    }

    fn take_frame(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        let Some(first_bytes) = self.pending.first_chunk::<4>().copied() else { return Ok(None) };
        let claimed = i32::from_be_bytes(first_bytes);
        if claimed < 0 || claimed as usize > limit {
            return Err(FrameError::Size { claimed, limit, first_bytes });
        }
        let size = claimed as usize;
        if self.pending.len() < 4 + size {
            return Ok(None);
        }
        self.pending.advance(4);
        let frame = self.pending.split_to(size).freeze();
        if self.pending.is_empty() {
            // The frame owns the allocation now; keeping the empty tail would keep its memory alive.
            self.pending = BytesMut::new();
        }
        Ok(Some(frame))
    }

    fn make_room(&mut self) {
        let missing = match self.pending.first_chunk::<4>() {
            Some(length) => (4 + i32::from_be_bytes(*length) as usize).saturating_sub(self.pending.len()),
            None => FIRST_READ,
        };
        let spare = self.pending.capacity() - self.pending.len();
        if spare >= missing && spare > 0 {
            return;
        }
        // Twice what has arrived, so that growing copies each byte at most once on average.
        self.pending.reserve(missing.min(ALLOCATE_ON_TRUST.max(self.pending.len())).max(1));
    }
}
