//! One accepted connection: read a frame, have it answered, write the answer, in order, until someone closes.
//!
//! As in Kafka, a connection's requests are answered one after the other; the next ones wait in the socket. That is
//! what bounds the memory of one connection: one request and one answer, the latter mostly references into the log.

use crate::frame::FrameError;
use crate::listener::{Admission, Shared};
use crate::stream::Stream;
use ottla_env::Env;
use ottla_protocol::Frame;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

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

/// Serves one connection until it ends, is idle for too long, or the broker stops. Returns a reason when the peer broke the
/// protocol.
pub(crate) async fn serve<S: Service>(
    shared: Arc<Shared<S>>,
    stream: Stream,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) -> Option<FrameError> {
    let (env, idle_max) = (&shared.env, shared.limits.idle);
    let pulse = Pulse::default();
    pulse.rest(env);
    let mut talk = pin!(talk(&shared, stream, peer, &pulse));
    let stopping = stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    // One timer for the connection's life: it looks when it fires, and is not set anew by what passes.
    let mut silence = pin!(pulse.silence(env, idle_max));
    poll_fn(|context| {
        if *stopping.borrow() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(ended) = talk.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        if stopped.as_mut().poll(context).is_ready() || silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// Answers one request after the other.
async fn talk<S: Service>(shared: &Shared<S>, mut stream: Stream, peer: Peer, pulse: &Pulse) -> Option<FrameError> {
    let mut session = shared.service.open(peer);
    let limits = &shared.limits;
    let in_process = stream.way().is_some();
    loop {
        shared.budget.wait().await;
        let frame = match stream.read_frame(limits.request_size_max).await {
            Ok(frame) => frame,
            Err(FrameError::Closed) => return None,
            Err(error) => return Some(error),
        };
        pulse.work();
        let bytes = shared.budget.hold(frame.len());
        let seat = match shared.admission.clone().try_acquire_owned() {
            Ok(seat) => seat,
            Err(_) => shared.admission.clone().acquire_owned().await.ok()?,
        };
        let admission = Admission { _seat: seat, _bytes: bytes };
        // Boxed: a connection that is idle shall not be as large as its largest request.
        match Box::pin(shared.service.call(&mut session, frame, admission)).await {
            Answer::Frame(content) => {
                // A peer that never reads is a peer that is idle: the same limit ends both.
                if !in_process {
                    pulse.rest(&shared.env);
                }
                if let Err(error) = stream.write_frame(content).await {
                    tracing::debug!(%error, "an answer could not be sent");
                    return None;
                }
            }
            Answer::Nothing => {}
            Answer::Close => return None,
            Answer::Silence => {
                pulse.rest(&shared.env);
                while stream.read_frame(limits.request_size_max).await.is_ok() {
                    pulse.rest(&shared.env);
                }
                return None;
            }
        }
        pulse.rest(&shared.env);
    }
}

/// Since when a connection neither brings nor takes a byte. While a request is being answered it is not idle.
#[derive(Debug, Default)]
struct Pulse {
    busy: AtomicBool,
    /// By the monotonic clock.
    since_micros: AtomicU64,
}

impl Pulse {
    /// From now on the peer has its turn.
    fn rest(&self, env: &Env) {
        self.busy.store(false, Ordering::Relaxed);
        self.since_micros.store(env.monotonic().as_micros() as u64, Ordering::Relaxed);
    }

    /// A request has come.
    fn work(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Returns once the peer has had its turn for `idle_max`.
    async fn silence(&self, env: &Env, idle_max: Duration) {
        loop {
            let idle = match self.busy.load(Ordering::Relaxed) {
                true => Duration::ZERO,
                false => {
                    let since = Duration::from_micros(self.since_micros.load(Ordering::Relaxed));
                    env.monotonic().saturating_sub(since)
                }
            };
            if idle >= idle_max {
                return;
            }
            env.sleep(idle_max - idle).await;
        }
    }
}
