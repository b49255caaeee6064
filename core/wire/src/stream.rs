//! One connection's transport, the same to everything above it.

use crate::frame::{FrameError, FrameReader};
use crate::inproc::{Requests, ServerEnd, ToClient, Way};
use crate::send;
use ottla_protocol::Frame;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::client::TlsStream;

/// A connected transport that moves whole frames.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
    peer: Option<SocketAddr>,
}

impl Stream {
    pub(crate) fn tcp(socket: TcpStream, peer: SocketAddr) -> Stream {
        let (socket, write) = socket.into_split();
        let read = ReadHalf::Tcp { socket, reader: FrameReader::default() };
        Stream { read, write: WriteHalf::Tcp(write), peer: Some(peer) }
    }

    /// TLS on the client's side.
    pub(crate) fn tls(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Stream {
        let (socket, write) = tokio::io::split(stream);
        let read = ReadHalf::Tls { socket: Box::new(socket), reader: FrameReader::default() };
        Stream { read, write: WriteHalf::Tls(Box::new(write)), peer: Some(peer) }
    }

    /// The server's end of an in-process connection.
    pub(crate) fn inproc(end: ServerEnd) -> Stream {
        let (answers, requests) = end.split();
        Stream { read: ReadHalf::InProc(requests), write: WriteHalf::InProc(answers), peer: None }
    }

    /// What the client's end of an in-process connection knows of this one.
    pub(crate) fn way(&self) -> Option<Arc<Way>> {
        match &self.write {
            WriteHalf::InProc(answers) => Some(answers.way()),
            _ => None,
        }
    }

    /// The peer's address; `None` in process.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Waits for the next frame's content. Cancel safe.
    pub async fn read_frame(&mut self, limit: usize) -> Result<Frame, FrameError> {
        self.read.read_frame(limit).await
    }

    /// Writes one frame: the length, then `content`. Returns when the transport has taken all of it.
    /// Not cancel safe: a connection whose write was cancelled has to be closed.
    pub async fn write_frame(&mut self, content: Frame) -> io::Result<()> {
        self.write.write_frame(content).await
    }

    /// Splits for full-duplex use by a client.
    pub(crate) fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }
}

#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp { socket: OwnedReadHalf, reader: FrameReader },
    Tls { socket: Box<tokio::io::ReadHalf<TlsStream<TcpStream>>>, reader: FrameReader },
    InProc(Requests),
}

impl ReadHalf {
    pub(crate) async fn read_frame(&mut self, limit: usize) -> Result<Frame, FrameError> {
        match self {
            ReadHalf::Tcp { socket, reader } => reader.next(socket, limit).await.map(Frame::from),
            ReadHalf::Tls { socket, reader } => reader.next(socket.as_mut(), limit).await.map(Frame::from),
            ReadHalf::InProc(requests) => requests.read_frame(limit).await,
        }
    }
}

#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Tls(Box<tokio::io::WriteHalf<TlsStream<TcpStream>>>),
    InProc(ToClient),
}

impl WriteHalf {
    pub(crate) async fn write_frame(&mut self, content: Frame) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(socket) => send::send_frame(socket.as_ref(), content.into_chunks()).await,
            WriteHalf::Tls(socket) => send::write_frame(socket.as_mut(), content.into_chunks()).await,
            WriteHalf::InProc(answers) => answers.write_frame(content),
        }
    }
}
