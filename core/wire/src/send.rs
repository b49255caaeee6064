//! Writing one frame to a socket: vectored for bytes in memory, `sendfile` for a region of a file.
//!
//! A fetch response is a few small header chunks with file regions between them. Headers go out with MSG_MORE where a
//! region follows, so that the kernel fills segments instead of sending tiny ones.

use bytes::{Buf, Bytes};
use ottla_env::RealFile;
use ottla_model::{Chunk, Records, Region};
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::{AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// Slices handed to one sendmsg; more than a response's headers and batches usually have.
const SLICES_MAX: usize = 64;
/// What one sendfile call may move before other tasks on this thread get a turn.
const SENDFILE_MAX: usize = 1024 * 1024;
/// Read size where a region has to be copied through memory.
const COPY_SIZE: usize = 128 * 1024;

/// Sends the length and `content`; returns when the socket buffer has taken all of it.
pub(crate) async fn send_frame(socket: &TcpStream, content: Records) -> io::Result<()> {
    let length = i32::try_from(content.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame above 2 GiB cannot be sent"))?;
    let mut queue: VecDeque<Chunk> = VecDeque::with_capacity(content.chunks().len() + 1);
    queue.push_back(Chunk::Bytes(Bytes::copy_from_slice(&length.to_be_bytes())));
    queue.extend(content.into_chunks().into_iter().filter(|chunk| !chunk.is_empty()));
    while let Some(front) = queue.front() {
        match front {
            Chunk::Bytes(_) => send_bytes(socket, &mut queue).await?,
            Chunk::Region(region) => {
                let region = region.clone();
                queue.pop_front();
                send_region(socket, region, !queue.is_empty()).await?;
            }
        }
    }
    Ok(())
}

/// As [`send_frame`] through something that takes bytes only (TLS). The chunks are handed over as they are; the one copy
/// is the encryption's own.
pub(crate) async fn write_frame(socket: &mut (impl AsyncWrite + Unpin), content: Records) -> io::Result<()> {
    let length = i32::try_from(content.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame above 2 GiB cannot be sent"))?;
    socket.write_all(&length.to_be_bytes()).await?;
    for chunk in content.into_chunks() {
        match chunk {
            Chunk::Bytes(bytes) => socket.write_all(&bytes).await?,
            Chunk::Region(region) => {
                let mut done = 0;
                let mut buffer = vec![0; COPY_SIZE.min(region.len)];
                while done < region.len {
                    let wanted = buffer.len().min(region.len - done);
                    let read = region.source.read_at(region.position + done as u64, &mut buffer[..wanted])?;
                    if read == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the region ends too early"));
                    }
                    socket.write_all(&buffer[..read]).await?;
                    done += read;
                }
            }
        }
    }
    // TLS keeps what did not fill a record until then.
    socket.flush().await
}

/// Sends a prefix of the queue's leading in-memory chunks.
async fn send_bytes(socket: &TcpStream, queue: &mut VecDeque<Chunk>) -> io::Result<()> {
    let sent = {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for chunk in queue.iter().take(SLICES_MAX) {
            let Chunk::Bytes(bytes) = chunk else { break };
            slices[count] = IoSlice::new(bytes);
            count += 1;
        }
        let flags = if count < queue.len() { SendFlags::MORE } else { SendFlags::empty() } | SendFlags::NOSIGNAL;
        let slices = &slices[..count];
        socket
            .async_io(Interest::WRITABLE, || {
                let mut control = rustix::net::SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, slices, &mut control, flags).map_err(io::Error::from)
            })
            .await?
    };
    advance(queue, sent);
    Ok(())
}

fn advance(queue: &mut VecDeque<Chunk>, mut sent: usize) {
    while sent > 0 {
        let Some(Chunk::Bytes(front)) = queue.front_mut() else { return };
        if front.len() > sent {
            front.advance(sent);
            return;
        }
        sent -= front.len();
        queue.pop_front();
    }
}

async fn send_region(socket: &TcpStream, region: Region, more: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(file) = region.source.as_any().downcast_ref::<RealFile>() {
        let fd = file.fd()?;
        let mut position = region.position;
        let end = region.position + region.len as u64;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(SENDFILE_MAX).min(SENDFILE_MAX);
            let sent = socket
                .async_io(Interest::WRITABLE, || {
                    let mut from = position;
                    rustix::fs::sendfile(socket, &*fd, Some(&mut from), wanted).map_err(io::Error::from)
                })
                .await?;
            if sent == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the log segment ends inside a fetch"));
            }
            position += sent as u64;
        }
        return Ok(());
    }
    copy_region(socket, region, more).await
}

/// The portable way: read into memory, then send.
async fn copy_region(socket: &TcpStream, region: Region, more: bool) -> io::Result<()> {
    let mut done = 0;
    let mut buffer = vec![0; COPY_SIZE.min(region.len)];
    while done < region.len {
        let wanted = buffer.len().min(region.len - done);
        let read = region.source.read_at(region.position + done as u64, &mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the log segment ends inside a fetch"));
        }
        done += read;
        let mut queue: VecDeque<Chunk> = VecDeque::from([Chunk::Bytes(Bytes::copy_from_slice(&buffer[..read]))]);
        if more || done < region.len {
            // An empty chunk behind it makes send_bytes say MSG_MORE.
            queue.push_back(Chunk::Region(region.clone()));
        }
        while matches!(queue.front(), Some(Chunk::Bytes(_))) {
            send_bytes(socket, &mut queue).await?;
        }
    }
    Ok(())
}
