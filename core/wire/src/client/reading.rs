//! The reading side of a connection: answers to those who wait for them, until it ends or is idle for too long.

use super::{Outgoing, Traffic, Waiting};
use crate::frame::FrameError;
use crate::inproc::Answers;
use crate::security::TlsClient;
use crate::stream::ReadHalf;
use ottla_env::Env;
use ottla_protocol::Frame;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Answers larger than this are refused: no broker sends them (`fetch.max.bytes` is a fraction of it).
const RESPONSE_SIZE_MAX: usize = 1 << 30;

/// The first answer on a connection is one to ApiVersions; what claims more is another protocol's greeting (a TLS alert
/// read as a length is 352 MB).
const FIRST_RESPONSE_SIZE_MAX: usize = 16 << 20;

/// Why a connection ended that nothing passed over.
const IDLE: &str = "it was idle for connections.max.idle.ms";
/// Why one ended that nobody here wanted to end.
const CLOSED: &str = "the broker closed the connection";
/// Why one ended whose broker does not keep to the protocol.
const NO_ID: &str = "the broker sent an answer without a correlation id";

/// What the reading side of a connection needs.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) env: Env,
    pub(super) waiting: Arc<Waiting>,
    /// Closed when the connection ends.
    pub(super) outgoing: Outgoing,
    pub(super) traffic: Option<Arc<dyn Traffic>>,
    pub(super) tls: Option<TlsClient>,
    pub(super) idle_max: Option<Duration>,
}

impl Reading {
    pub(super) async fn run(self, stream: ReadHalf, ended: watch::Receiver<()>) {
        self.read(stream, ended).await;
        self.over();
    }

    /// In process answers come by [`Answers`]: what is left is to wait for the end.
    pub(super) async fn attend(self: Arc<Self>, mut ended: watch::Receiver<()>) {
        let waiting = &self.waiting;
        tokio::select! {
            biased;
            _ = ended.changed() => waiting.close("this client closed the connection"),
            () = waiting.broke.notified() => {}
            () = self.idle() => waiting.close(IDLE),
        }
        self.over();
    }

    fn over(&self) {
        drop(self.outgoing.write().take());
        if let Some(traffic) = &self.traffic {
            traffic.closed();
        }
    }

    async fn read(&self, mut stream: ReadHalf, mut ended: watch::Receiver<()>) {
        let waiting = &self.waiting;
        let mut limit = FIRST_RESPONSE_SIZE_MAX;
        // One timer for the connection's life: it looks when it fires, and is not set anew by what passes.
        let idle = self.idle();
        tokio::pin!(idle);
        loop {
            let read = tokio::select! {
                biased;
                asked = ended.changed() => {
                    waiting.close("this client closed the connection");
                    if asked.is_ok() {
                        waiting.broke.notify_one();
                    }
                    return;
                }
                read = stream.read_frame(limit) => read,
                () = &mut idle => {
                    waiting.close(IDLE);
                    waiting.broke.notify_one();
                    return;
                }
            };
            let reason = match read {
                Ok(frame) => match frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) {
                    Some(id) => {
                        limit = RESPONSE_SIZE_MAX;
                        self.deliver(id, frame);
                        continue;
                    }
                    None => NO_ID.to_owned(),
                },
                Err(FrameError::Closed) => CLOSED.to_owned(),
                // TLS without its farewell; brokers that die say none.
                Err(FrameError::Io(error)) if self.tls.is_some() && error.kind() == ErrorKind::UnexpectedEof => {
                    CLOSED.to_owned()
                }
                Err(FrameError::Io(error)) => match self.tls.as_ref().and_then(|tls| tls.refusal(&error)) {
                    Some(refusal) => {
                        waiting.refused.store(true, Ordering::Relaxed);
                        refusal
                    }
                    None => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            waiting.close(&reason);
            waiting.broke.notify_one();
            return;
        }
    }

    fn deliver(&self, id: i32, frame: Frame) {
        let now = self.env.monotonic();
        self.waiting.active(now);
        self.waiting.answers.fetch_add(1, Ordering::Relaxed);
        // An answer whose request has timed out meanwhile has no one waiting: it is dropped.
        let waiter = self.waiting.by_id.lock().remove(&id);
        if let Some(traffic) = &self.traffic {
            let latency = waiter.as_ref().map(|waiter| now.saturating_sub(waiter.since));
            traffic.received(frame.len() + 4, latency, now);
        }
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(frame);
        }
    }

    /// Returns once nothing has passed for `idle_max`.
    async fn idle(&self) {
        let Some(idle_max) = self.idle_max else { return std::future::pending().await };
        loop {
            let idle = self.waiting.idle(self.env.monotonic());
            if idle >= idle_max {
                return;
            }
            self.env.sleep(idle_max - idle).await;
        }
    }
}

impl Answers for Reading {
    fn answer(&self, frame: Frame) -> bool {
        if self.waiting.closed.load(Ordering::Relaxed) {
            // Nobody wants it; what was queued before the end is served all the same.
            return true;
        }
        let reason = match frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) {
            Some(_) if frame.len() > RESPONSE_SIZE_MAX => format!("an answer of {} bytes", frame.len()),
            Some(id) => {
                self.deliver(id, frame);
                return true;
            }
            None => NO_ID.to_owned(),
        };
        self.waiting.close(&reason);
        self.waiting.broke.notify_one();
        false
    }

    fn end(&self) {
        self.waiting.close(CLOSED);
        self.waiting.broke.notify_one();
    }
}
