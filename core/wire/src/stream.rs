//! One connection's transport, the same to everything above it.

use crate::frame::{FrameError, FrameReader};
use crate::inproc::Pipe;
use crate::send;
use bytes::Bytes;
use ottla_model::Records;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// A connected transport that moves whole frames.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp { socket: TcpStream, reader: FrameReader, peer: SocketAddr },
    InProc(Pipe),
}

impl Stream {
    pub(crate) fn tcp(socket: TcpStream, peer: SocketAddr) -> Stream {
        Stream { kind: Kind::Tcp { socket, reader: FrameReader::default(), peer } }
    }

    pub(crate) fn inproc(pipe: Pipe) -> Stream {
        Stream { kind: Kind::InProc(pipe) }
    }

    /// The peer's address; `None` in process.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { peer, .. } => Some(*peer),
            Kind::InProc(_) => None,
        }
    }

    /// Waits for the next frame's content. Cancel safe.
    pub async fn read_frame(&mut self, limit: usize) -> Result<Bytes, FrameError> {
        match &mut self.kind {
            Kind::Tcp { socket, reader, .. } => reader.next(socket, limit).await,
            Kind::InProc(pipe) => pipe.read_frame(limit).await,
        }
    }

    /// Writes one frame: the length, then `content`. Returns when the transport has taken all of it.
    /// Not cancel safe: a connection whose write was cancelled has to be closed.
    pub async fn write_frame(&mut self, content: Records) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp { socket, .. } => send::send_frame(socket, content).await,
            Kind::InProc(pipe) => pipe.write_frame(content).await,
        }
    }

    /// Splits for full-duplex use by a client.
    pub(crate) fn split(self) -> (ReadHalf, WriteHalf) {
        match self.kind {
            Kind::Tcp { socket, reader, .. } => {
                let socket = std::sync::Arc::new(socket);
                (ReadHalf::Tcp { socket: socket.clone(), reader }, WriteHalf::Tcp(socket))
            }
            Kind::InProc(pipe) => {
                let (sender, receiver) = pipe.split();
                (ReadHalf::InProc(receiver), WriteHalf::InProc(sender))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp { socket: std::sync::Arc<TcpStream>, reader: FrameReader },
    InProc(crate::inproc::FrameReceiver),
}

impl ReadHalf {
    pub(crate) async fn read_frame(&mut self, limit: usize) -> Result<Bytes, FrameError> {
        match self {
            ReadHalf::Tcp { socket, reader } => reader.next(socket, limit).await,
            ReadHalf::InProc(receiver) => receiver.read_frame(limit).await,
        }
    }
}

#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(std::sync::Arc<TcpStream>),
    InProc(crate::inproc::FrameSender),
}

impl WriteHalf {
    pub(crate) async fn write_frame(&mut self, content: Records) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(socket) => send::send_frame(socket, content).await,
            WriteHalf::InProc(sender) => sender.write_frame(content).await,
        }
    }
}
