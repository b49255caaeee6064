//! One accepted connection: read a frame, have it answered, write the answer, in order, until someone closes.
//!
//! As in Kafka, a connection's requests are answered one after the other; the next ones wait in the socket. That is
//! what bounds the memory of one connection: one request and one answer, the latter mostly references into the log.

use crate::frame::FrameError;
use crate::listener::{Admission, Shared};
use crate::stream::Stream;
use ottla_protocol::Frame;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The remote address; `None` for the in-process transport.
    pub address: Option<SocketAddr>,
    /// The name of the listener that accepted it, as in `listeners`.
    pub listener: Arc<str>,
    /// Unique among the connections of this process.
    pub connection_id: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// Send this (response header and body).
    Frame(Frame),
    /// Nothing is sent (Produce with acks=0).
    Nothing,
    /// Close the connection: the request could not be understood.
    Close,
    /// Say nothing any more, and leave it to the peer to close. What it still sends is read and thrown away.
    Silence,
}

/// Answers the requests of all connections of a broker.
pub trait Service: Send + Sync + 'static {
    /// What is remembered per connection.
    type Session: Send;

    /// A connection was accepted.
    fn open(&self, peer: Peer) -> Self::Session;

    /// Answers one request frame. `admission` counts against `queued.max.requests` and `queued.max.request.bytes`: an
    /// answer that has to wait for something other than this broker's own work (new data, other group members) drops it
    /// first, or those who wait would keep out those they wait for.
    fn call(
        &self,
        session: &mut Self::Session,
        frame: Frame,
        admission: Admission,
    ) -> impl Future<Output = Answer> + Send;
}

/// Serves one connection to its end. Returns a reason when the peer broke the protocol.
pub(crate) async fn serve<S: Service>(shared: Arc<Shared<S>>, mut stream: Stream, peer: Peer) -> Option<FrameError> {
    let mut session = shared.service.open(peer);
    let limits = &shared.limits;
    loop {
        shared.budget.wait().await;
        let read = shared.env.timeout(limits.idle, stream.read_frame(limits.request_size_max)).await;
        let frame = match read {
            Err(_idle) => return None,
            Ok(Err(FrameError::Closed)) => return None,
            Ok(Err(error)) => return Some(error),
            Ok(Ok(frame)) => frame,
        };
        let bytes = shared.budget.hold(frame.len());
        let Ok(seat) = shared.admission.clone().acquire_owned().await else { return None };
        let admission = Admission { _seat: seat, _bytes: bytes };
        // Boxed: a connection that is idle shall not be as large as its largest request.
        match Box::pin(shared.service.call(&mut session, frame, admission)).await {
            Answer::Frame(content) => {
                // A peer that never reads is a peer that is idle: the same limit ends both.
                match shared.env.timeout(limits.idle, stream.write_frame(content)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "an answer could not be sent");
                        return None;
                    }
                    Err(_idle) => return None,
                }
            }
            Answer::Nothing => {}
            Answer::Close => return None,
            Answer::Silence => {
                while let Ok(Ok(_)) = shared.env.timeout(limits.idle, stream.read_frame(limits.request_size_max)).await
                {
                }
                return None;
            }
        }
    }
}
