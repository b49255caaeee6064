//! The client's end of a connection: many requests in flight, each answered by its correlation id.

mod options;
mod raw;
mod reading;
#[cfg(test)]
mod tests;

pub use options::{ClientError, ConnectOptions, Traffic};
pub use raw::{RawPending, RawRequest};

use crate::dial::{self, Dialled};
use crate::inproc::Way;
use crate::security::Security;
use crate::session::Session;
use crate::stream::WriteHalf;
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::Str;
use ottla_protocol::{Frame, Message, Reader, Request, RequestHeader, ResponseHeader, Writer};
use parking_lot::{Mutex, RwLock};
use reading::Reading;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, RwLockReadGuard, Semaphore, mpsc, oneshot, watch};

/// A connection to one broker; clones share it. Dropping the last clone closes it once its queued requests are sent.
#[derive(Debug, Clone)]
pub struct ClientConnection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env,
    address: String,
    client_id: Str,
    outgoing: Outgoing,
    /// Of a connection in process, to whom its requests go.
    way: Option<Arc<Way>>,
    waiting: Arc<Waiting>,
    next_correlation_id: AtomicI32,
    in_flight: Arc<Semaphore>,
    security: Arc<Security>,
    /// Set once the connection has authenticated.
    session: OnceLock<Session>,
    traffic: Option<Arc<dyn Traffic>>,
    /// Ends the reader: a value closes the connection at once, its drop lets the writer send what is queued first.
    end: watch::Sender<()>,
}

/// Where requests are queued; `None` once the connection has ended.
type Outgoing = Arc<RwLock<Option<mpsc::Sender<Frame>>>>;

/// Requests whose answer is outstanding.
#[derive(Debug, Default)]
struct Waiting {
    /// Guards the map; `closed` is set under it, so that no request registers after the last sweep.
    by_id: Mutex<HashMap<i32, Waiter>>,
    closed: AtomicBool,
    /// Why the connection ended; the first reason stays.
    reason: OnceLock<String>,
    /// Whether that reason will be there again on the next connection: the broker refused this client.
    refused: AtomicBool,
    /// Answers that came.
    answers: AtomicU64,
    /// When something last passed, by the monotonic clock in milliseconds.
    active_ms: AtomicU64,
    /// Tells the writer, or in process the task that waits for the end, that the connection broke; a stored permit, as only
    /// one of them waits.
    broke: Notify,
}

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Frame>,
    /// When the request was queued, by the monotonic clock.
    since: Duration,
}

impl Waiting {
    fn register(&self, id: i32, now: Duration) -> Option<oneshot::Receiver<Frame>> {
        let (answer, receiver) = oneshot::channel();
        self.active(now);
        let mut by_id = self.by_id.lock();
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        by_id.insert(id, Waiter { answer, since: now });
        Some(receiver)
    }

    fn active(&self, now: Duration) {
        self.active_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// How long nothing has passed; nothing while an answer is outstanding.
    fn idle(&self, now: Duration) -> Duration {
        match self.by_id.lock().is_empty() {
            true => now.saturating_sub(Duration::from_millis(self.active_ms.load(Ordering::Relaxed))),
            false => Duration::ZERO,
        }
    }

    fn close(&self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        let mut by_id = self.by_id.lock();
        self.closed.store(true, Ordering::Relaxed);
        by_id.clear();
    }

    fn disconnected(&self) -> ClientError {
        let reason = self.reason.get().map_or("the connection was closed", String::as_str).to_owned();
        match self.refused.load(Ordering::Relaxed) {
            true => ClientError::Security(reason),
            false => ClientError::Disconnected(reason),
        }
    }
}

/// A request on its way; dropping it forgets the answer.
#[derive(Debug)]
pub struct Pending<R> {
    inner: Arc<Inner>,
    id: i32,
    version: i16,
    answer: oneshot::Receiver<Frame>,
    _permit: OwnedSemaphorePermit,
    request: PhantomData<fn() -> R>,
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        // Answered requests are gone from the map already; one that timed out or was cancelled would stay for ever.
        self.inner.waiting.by_id.lock().remove(&self.id);
    }
}

impl<R: Request> Pending<R> {
    /// Waits for the answer, at most `timeout`.
    pub async fn wait(self, timeout: Duration) -> Result<R::Response, ClientError> {
        let version = self.version;
        decode::<R>(self.in_time(timeout).await?, version)
    }

    /// As [`Pending::wait`], but the answer as it came: response header and body.
    pub async fn frame(self, timeout: Duration) -> Result<Bytes, ClientError> {
        let frame = self.in_time(timeout).await?;
        frame.into_bytes().map_err(|error| ClientError::Disconnected(error.to_string()))
    }

    /// The answer, if it has come already. May be called again after `None` only.
    pub fn try_take(&mut self) -> Option<Result<R::Response, ClientError>> {
        let frame = self.try_frame()?;
        let version = self.version;
        Some(frame.and_then(|frame| decode::<R>(frame, version)))
    }

    fn try_frame(&mut self) -> Option<Result<Frame, ClientError>> {
        match self.answer.try_recv() {
            Ok(frame) => Some(Ok(frame)),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(self.inner.waiting.disconnected())),
        }
    }

    async fn in_time(mut self, timeout: Duration) -> Result<Frame, ClientError> {
        if let Some(frame) = self.try_frame() {
            return frame;
        }
        let env = self.inner.env.clone();
        let limited = env.timeout(timeout, self.answer()).await;
        limited.map_err(|_| ClientError::Timeout { api: R::API_KEY, after: timeout })?
    }

    async fn answer(&mut self) -> Result<Frame, ClientError> {
        (&mut self.answer).await.map_err(|_| self.inner.waiting.disconnected())
    }
}

impl ClientConnection {
    /// Dials `host:port`, or `ottla-inproc:<id>` for a broker in this process.
    pub async fn connect(env: &Env, address: &str, options: &ConnectOptions) -> Result<ClientConnection, ClientError> {
        let dialled = dial::dial(env, address, options).await?;
        let (end, ended) = watch::channel(());
        let waiting = Arc::new(Waiting::default());
        waiting.active(env.monotonic());
        if let Some(traffic) = &options.traffic {
            traffic.opened();
        }
        let outgoing = Outgoing::default();
        let reader = Reading {
            env: env.clone(),
            waiting: waiting.clone(),
            outgoing: outgoing.clone(),
            traffic: options.traffic.clone(),
            tls: options.security.tls.clone(),
            idle_max: options.idle_max.filter(|idle| !idle.is_zero()),
        };
        let way = match dialled {
            Dialled::Stream(stream) => {
                let (read, write) = stream.split();
                let (sender, frames) = mpsc::channel(options.in_flight_max.max(1));
                *outgoing.write() = Some(sender);
                env.spawn("client writer", write_loop(write, frames, waiting.clone()));
                env.spawn("client reader", reader.run(read, ended));
                None
            }
            Dialled::InProc(to_server) => {
                *outgoing.write() = Some(to_server.requests);
                let reader = Arc::new(reader);
                to_server.way.answer_to(reader.clone());
                env.spawn("client connection", reader.attend(ended));
                Some(to_server.way)
            }
        };
        Ok(ClientConnection {
            inner: Arc::new(Inner {
                env: env.clone(),
                address: address.to_owned(),
                client_id: options.client_id.clone(),
                outgoing,
                way,
                waiting,
                next_correlation_id: AtomicI32::new(0),
                in_flight: Arc::new(Semaphore::new(options.in_flight_max.max(1))),
                security: options.security.clone(),
                session: OnceLock::new(),
                traffic: options.traffic.clone(),
                end,
            }),
        })
    }

    /// Authenticates by SASL, where the security of this connection has it; before anything else is sent but ApiVersions.
    /// `version` is that of SaslAuthenticate, 1 or later. From then on the connection authenticates again by itself before
    /// the broker ends the session.
    ///
    /// # Errors
    /// [`ClientError::Authentication`] with the broker's reason; the connection is closed.
    pub async fn authenticate(&self, version: i16, timeout: Duration) -> Result<(), ClientError> {
        let inner = &self.inner;
        let Some(sasl) = inner.security.sasl.clone() else { return Ok(()) };
        let started = inner.env.monotonic();
        let established = Session::establish(self, &inner.env, sasl, version, timeout).await;
        if let Some(traffic) = &inner.traffic {
            traffic.authenticated(false, established.is_ok(), inner.env.monotonic().saturating_sub(started));
        }
        match established {
            Ok(session) => {
                let _ = inner.session.set(session);
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    pub(crate) fn traffic(&self) -> Option<&Arc<dyn Traffic>> {
        self.inner.traffic.as_ref()
    }

    /// The address that was dialled.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Whether the connection has ended; a request on it would fail with [`ClientError::Disconnected`].
    pub fn is_closed(&self) -> bool {
        self.inner.waiting.closed.load(Ordering::Relaxed)
    }

    /// How many answers have come, those of [`ClientConnection::authenticate`] included.
    pub fn answers(&self) -> u64 {
        self.inner.waiting.answers.load(Ordering::Relaxed)
    }

    /// Why the connection ended, once it has.
    pub fn closed_because(&self) -> Option<&str> {
        self.inner.waiting.reason.get().map(String::as_str)
    }

    /// Closes the connection at once; outstanding requests fail with [`ClientError::Disconnected`].
    pub fn close(&self) {
        let _ = self.inner.end.send(());
    }

    /// Sends `request` at `version` and waits for its answer, at most `timeout`.
    pub async fn request<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        // One limit over both steps: a full connection and a silent broker look the same to the caller.
        let exchange = async {
            let mut pending = self.start(request, version).await?;
            match pending.try_frame() {
                Some(frame) => frame,
                None => pending.answer().await,
            }
        };
        let limited = self.inner.env.timeout(timeout, exchange).await;
        let frame = limited.map_err(|_| ClientError::Timeout { api: R::API_KEY, after: timeout })??;
        decode::<R>(frame, version)
    }

    /// As [`ClientConnection::request`] while the connection authenticates.
    pub(crate) async fn request_ungated<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let exchange = async { self.queue(request, version).await?.answer().await };
        let limited = self.inner.env.timeout(timeout, exchange).await;
        let frame = limited.map_err(|_| ClientError::Timeout { api: R::API_KEY, after: timeout })??;
        decode::<R>(frame, version)
    }

    /// Queues `request` for sending and returns before its answer. Requests leave in the order of these calls, which
    /// is what an idempotent producer relies on. Waits while `in_flight_max` requests are outstanding.
    pub async fn start<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R>, ClientError> {
        let _admitted = self.admit().await?;
        self.queue(request, version).await
    }

    /// Waits while the connection authenticates again.
    async fn admit(&self) -> Result<Option<RwLockReadGuard<'_, ()>>, ClientError> {
        match self.inner.session.get() {
            Some(session) => session.admit(self, &self.inner.env).await.map(Some),
            None => Ok(None),
        }
    }

    async fn queue<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R>, ClientError> {
        let inner = &self.inner;
        let _permit = match inner.in_flight.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => inner.in_flight.clone().acquire_owned().await.map_err(|_| inner.waiting.disconnected())?,
        };
        let id = inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = inner.encode(request, version, id)?;
        let now = inner.env.monotonic();
        let answer = inner.waiting.register(id, now).ok_or_else(|| inner.waiting.disconnected())?;
        let pending = Pending { inner: inner.clone(), id, version, answer, _permit, request: PhantomData };
        inner.sent(&frame, now);
        inner.push(frame).await?;
        Ok(pending)
    }

    /// Sends `request` without expecting an answer (Produce with acks=0). Waits only for room in the queue.
    pub async fn send<R: Request>(&self, request: &R, version: i16) -> Result<(), ClientError> {
        let _admitted = self.admit().await?;
        let inner = &self.inner;
        let id = inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = inner.encode(request, version, id)?;
        if self.is_closed() {
            return Err(inner.waiting.disconnected());
        }
        let now = inner.env.monotonic();
        inner.waiting.active(now);
        inner.sent(&frame, now);
        inner.push(frame).await
    }
}

impl Inner {
    fn sent(&self, frame: &Frame, now: Duration) {
        if let Some(traffic) = &self.traffic {
            // With the length in front.
            traffic.sent(frame.len() + 4, now);
        }
    }

    /// Queues a request, in the order of these calls. Where the broker is in this process and free, it is answered before
    /// this returns.
    async fn push(&self, frame: Frame) -> Result<(), ClientError> {
        let offer = || match &*self.outgoing.read() {
            Some(sender) => sender.try_send(frame),
            None => Err(TrySendError::Closed(frame)),
        };
        let mut offered = Ok(());
        match &self.way {
            Some(way) => way.feed(|| offered = offer()),
            None => offered = offer(),
        }
        let frame = match offered {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(frame)) => frame,
            Err(TrySendError::Closed(_)) => return Err(self.waiting.disconnected()),
        };
        // Behind those that wait already: while there are any, the queue takes none at once.
        let sender = self.outgoing.read().clone().ok_or_else(|| self.waiting.disconnected())?;
        sender.send(frame).await.map_err(|_| self.waiting.disconnected())
    }

    fn encode<R: Request>(&self, request: &R, version: i16, correlation_id: i32) -> Result<Frame, ClientError> {
        let mut writer = Writer::new();
        let header = RequestHeader {
            request_api_key: R::API_KEY.code(),
            request_api_version: version,
            correlation_id,
            client_id: Some(self.client_id.clone()),
            ..Default::default()
        };
        let encoded = header
            .encode(&mut writer, R::API_KEY.request_header_version(version))
            .and_then(|()| request.encode(&mut writer, version));
        encoded.map_err(|error| ClientError::Encode(error.to_string()))?;
        Ok(writer.into_frame())
    }
}

fn decode<R: Request>(frame: Frame, version: i16) -> Result<R::Response, ClientError> {
    let unreadable = |error: ottla_protocol::DecodeError| ClientError::Decode(error.to_string());
    let mut reader = Reader::of(frame);
    ResponseHeader::decode(&mut reader, R::API_KEY.response_header_version(version)).map_err(unreadable)?;
    R::Response::decode(&mut reader, version).map_err(unreadable)
}

async fn write_loop(mut stream: WriteHalf, mut frames: mpsc::Receiver<Frame>, waiting: Arc<Waiting>) {
    loop {
        let frame = tokio::select! {
            biased;
            () = waiting.broke.notified() => return,
            frame = frames.recv() => frame,
        };
        let Some(frame) = frame else { return };
        let written = tokio::select! {
            biased;
            // A write into a full socket would otherwise outlive its connection. Nothing is written after it.
            () = waiting.broke.notified() => return,
            written = stream.write_frame(frame) => written,
        };
        if let Err(error) = written {
            waiting.close(&format!("a request could not be sent: {error}"));
            return;
        }
    }
}
