//! The client's end of a connection: many requests in flight, each answered by its correlation id.

use crate::dial;
use crate::frame::FrameError;
use crate::security::{Security, TlsClient};
use crate::session::Session;
use crate::stream::{ReadHalf, WriteHalf};
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::{ErrorCode, Records, Str};
use ottla_protocol::{ApiKey, Message, Reader, Request, RequestHeader, ResponseHeader, Writer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, RwLockReadGuard, Semaphore, mpsc, oneshot, watch};

/// Answers larger than this are refused: no broker sends them (`fetch.max.bytes` is a fraction of it).
const RESPONSE_SIZE_MAX: usize = 1 << 30;

/// The first answer on a connection is one to ApiVersions; what claims more is another protocol's greeting (a TLS alert
/// read as a length is 352 MB).
const FIRST_RESPONSE_SIZE_MAX: usize = 16 << 20;

/// How to dial.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `client.id`, sent with each request.
    pub client_id: Str,
    /// How long the TCP handshake may take (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// Requests on the wire at once; a further one waits.
    pub in_flight_max: usize,
    /// TLS and SASL; for SASL, [`ClientConnection::authenticate`] has to be called too.
    pub security: Arc<Security>,
    /// `send.buffer.bytes`; `None` is the system's.
    pub send_buffer: Option<u32>,
    /// `receive.buffer.bytes`; `None` is the system's.
    pub receive_buffer: Option<u32>,
    /// `connections.max.idle.ms`: the connection is closed once it has carried nothing for so long; `None` is never.
    pub idle_max: Option<Duration>,
    /// Told what passes.
    pub traffic: Option<Arc<dyn Traffic>>,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            client_id: Str::default(),
            connect_timeout: dial::CONNECT_TIMEOUT,
            in_flight_max: 5,
            security: Arc::default(),
            send_buffer: None,
            receive_buffer: None,
            idle_max: None,
            traffic: None,
        }
    }
}

/// Is told what passes over a connection, for metrics. Called on the connection's own tasks: it must not wait.
pub trait Traffic: std::fmt::Debug + Send + Sync {
    /// The connection was made; TLS has been spoken, SASL not yet.
    fn opened(&self);
    /// A request of this many bytes was queued.
    fn sent(&self, bytes: usize);
    /// An answer of this many bytes came, so long after its request; `None` when no one waits for it any more.
    fn received(&self, bytes: usize, latency: Option<Duration>);
    /// SASL was spoken, for the first time or again (KIP-368).
    fn authenticated(&self, again: bool, well: bool, took: Duration);
    /// The connection ended.
    fn closed(&self);
}

/// Why a request got no answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientError {
    /// The address did not accept a connection.
    Connect { address: String, reason: String },
    /// The address has a name that is not known.
    Resolve { address: String, reason: String },
    /// TLS was refused, by this side or by the other; dialling again gives the same.
    Security(String),
    /// SASL was refused; dialling again gives the same.
    Authentication { code: ErrorCode, message: String },
    /// The connection ended before the answer came.
    Disconnected(String),
    /// No answer within the time limit.
    Timeout { api: ApiKey, after: Duration },
    /// The request cannot be written at this version.
    Encode(String),
    /// The answer is not what the protocol says.
    Decode(String),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::Connect { address, reason } => write!(f, "cannot connect to {address}: {reason}"),
            ClientError::Resolve { address, reason } => {
                write!(f, "cannot connect to {address}: its name cannot be resolved: {reason}")
            }
            ClientError::Security(message) | ClientError::Authentication { message, .. } => f.write_str(message),
            ClientError::Disconnected(reason) => write!(f, "disconnected: {reason}"),
            ClientError::Timeout { api, after } => {
                write!(f, "no answer to {} within {} ms", api.name(), after.as_millis())
            }
            ClientError::Encode(reason) => write!(f, "cannot write the request: {reason}"),
            ClientError::Decode(reason) => write!(f, "cannot read the answer: {reason}"),
        }
    }
}

impl std::error::Error for ClientError {}

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
    outgoing: mpsc::Sender<Records>,
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
    /// Tells the writer that the connection broke; a stored permit, as only the writer waits.
    broke: Notify,
}

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Bytes>,
    /// When the request was queued, by the monotonic clock.
    since: Duration,
}

impl Waiting {
    fn register(&self, id: i32, now: Duration) -> Option<oneshot::Receiver<Bytes>> {
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
    answer: oneshot::Receiver<Bytes>,
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
        decode::<R>(self.frame(timeout).await?, version)
    }

    /// As [`Pending::wait`], but the answer as it came: response header and body.
    pub async fn frame(mut self, timeout: Duration) -> Result<Bytes, ClientError> {
        let env = self.inner.env.clone();
        let limited = env.timeout(timeout, self.answer()).await;
        limited.map_err(|_| ClientError::Timeout { api: R::API_KEY, after: timeout })?
    }

    async fn answer(&mut self) -> Result<Bytes, ClientError> {
        (&mut self.answer).await.map_err(|_| self.inner.waiting.disconnected())
    }
}

impl ClientConnection {
    /// Dials `host:port`, or `ottla-inproc:<id>` for a broker in this process.
    pub async fn connect(env: &Env, address: &str, options: &ConnectOptions) -> Result<ClientConnection, ClientError> {
        let stream = dial::dial(env, address, options).await?;
        let (read, write) = stream.split();
        let (outgoing, frames) = mpsc::channel(options.in_flight_max.max(1));
        let (end, ended) = watch::channel(());
        let waiting = Arc::new(Waiting::default());
        waiting.active(env.monotonic());
        if let Some(traffic) = &options.traffic {
            traffic.opened();
        }
        env.spawn("client writer", write_loop(write, frames, waiting.clone()));
        let reader = Reading {
            env: env.clone(),
            waiting: waiting.clone(),
            traffic: options.traffic.clone(),
            tls: options.security.tls.clone(),
            idle_max: options.idle_max.filter(|idle| !idle.is_zero()),
        };
        env.spawn("client reader", reader.run(read, ended));
        Ok(ClientConnection {
            inner: Arc::new(Inner {
                env: env.clone(),
                address: address.to_owned(),
                client_id: options.client_id.clone(),
                outgoing,
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
        let exchange = async { self.start(request, version).await?.answer().await };
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
        let _permit = inner.in_flight.clone().acquire_owned().await.map_err(|_| inner.waiting.disconnected())?;
        let id = inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = inner.encode(request, version, id)?;
        let now = inner.env.monotonic();
        let answer = inner.waiting.register(id, now).ok_or_else(|| inner.waiting.disconnected())?;
        let pending = Pending { inner: inner.clone(), id, version, answer, _permit, request: PhantomData };
        inner.sent(&frame);
        inner.outgoing.send(frame).await.map_err(|_| inner.waiting.disconnected())?;
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
        inner.waiting.active(inner.env.monotonic());
        inner.sent(&frame);
        inner.outgoing.send(frame).await.map_err(|_| inner.waiting.disconnected())
    }
}

impl Inner {
    fn sent(&self, frame: &Records) {
        if let Some(traffic) = &self.traffic {
            // With the length in front.
            traffic.sent(frame.len() + 4);
        }
    }

    fn encode<R: Request>(&self, request: &R, version: i16, correlation_id: i32) -> Result<Records, ClientError> {
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
        Ok(writer.into_chunks())
    }
}

fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
    let unreadable = |error: ottla_protocol::DecodeError| ClientError::Decode(error.to_string());
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, R::API_KEY.response_header_version(version)).map_err(unreadable)?;
    R::Response::decode(&mut reader, version).map_err(unreadable)
}

async fn write_loop(mut stream: WriteHalf, mut frames: mpsc::Receiver<Records>, waiting: Arc<Waiting>) {
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

/// What the reading side of a connection needs.
struct Reading {
    env: Env,
    waiting: Arc<Waiting>,
    traffic: Option<Arc<dyn Traffic>>,
    tls: Option<TlsClient>,
    idle_max: Option<Duration>,
}

impl Reading {
    async fn run(self, stream: ReadHalf, ended: watch::Receiver<()>) {
        self.read(stream, ended).await;
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
                    waiting.close("it was idle for connections.max.idle.ms");
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
                    None => "the broker sent an answer without a correlation id".to_owned(),
                },
                Err(FrameError::Closed) => "the broker closed the connection".to_owned(),
                // TLS without its farewell; brokers that die say none.
                Err(FrameError::Io(error)) if self.tls.is_some() && error.kind() == ErrorKind::UnexpectedEof => {
                    "the broker closed the connection".to_owned()
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

    fn deliver(&self, id: i32, frame: Bytes) {
        let now = self.env.monotonic();
        self.waiting.active(now);
        self.waiting.answers.fetch_add(1, Ordering::Relaxed);
        // An answer whose request has timed out meanwhile has no one waiting: it is dropped.
        let waiter = self.waiting.by_id.lock().remove(&id);
        if let Some(traffic) = &self.traffic {
            let latency = waiter.as_ref().map(|waiter| now.saturating_sub(waiter.since));
            traffic.received(frame.len() + 4, latency);
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

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::ApiVersionsRequest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    async fn dial(address: &str) -> ClientConnection {
        let options = ConnectOptions {
            client_id: Str::from("test"),
            connect_timeout: LONG,
            in_flight_max: 2,
            ..Default::default()
        };
        ClientConnection::connect(&Env::real(), address, &options).await.unwrap()
    }

    /// Reads one request and gives its correlation id.
    async fn read_request(socket: &mut TcpStream) -> i32 {
        let size = socket.read_i32().await.unwrap() as usize;
        let mut frame = vec![0; size];
        socket.read_exact(&mut frame).await.unwrap();
        i32::from_be_bytes(frame[4..8].try_into().unwrap())
    }

    /// Answers ApiVersions 0 with an empty list and this error code.
    async fn answer(socket: &mut TcpStream, id: i32, code: i16) {
        let mut frame = 10i32.to_be_bytes().to_vec();
        frame.extend(id.to_be_bytes());
        frame.extend(code.to_be_bytes());
        frame.extend(0i32.to_be_bytes());
        socket.write_all(&frame).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_timed_out_is_forgotten() {
        let (listener, address) = listen().await;
        let connection = dial(&address).await;
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = ApiVersionsRequest::default();
        let late = connection.request(&request, 0, SHORT).await;
        assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
        assert!(connection.inner.waiting.by_id.lock().is_empty());
        // So is one whose future was dropped.
        let pending = connection.start(&request, 0).await.unwrap();
        assert_eq!(connection.inner.waiting.by_id.lock().len(), 1);
        drop(pending);
        assert!(connection.inner.waiting.by_id.lock().is_empty());
        // Their answers come late and go nowhere; the permits are back, and the next request gets its own answer.
        let third = connection.start(&request, 0).await.unwrap();
        for code in [1, 2, 3] {
            let id = read_request(&mut socket).await;
            answer(&mut socket, id, code).await;
        }
        assert_eq!(third.wait(LONG).await.unwrap().error_code, 3);
    }

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order() {
        let (listener, address) = listen().await;
        let connection = dial(&address).await;
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = ApiVersionsRequest::default();
        let first = connection.start(&request, 0).await.unwrap();
        let second = connection.start(&request, 0).await.unwrap();
        let ids = [read_request(&mut socket).await, read_request(&mut socket).await];
        answer(&mut socket, ids[1], 12).await;
        answer(&mut socket, ids[0], 11).await;
        assert_eq!(first.wait(LONG).await.unwrap().error_code, 11);
        assert_eq!(second.wait(LONG).await.unwrap().error_code, 12);
    }

    #[tokio::test]
    async fn a_peer_of_another_protocol_is_named() {
        for (said, name) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"), (&[0x15, 3, 3, 0, 2, 2, 10], "TLS")] {
            let (listener, address) = listen().await;
            let connection = dial(&address).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            let pending = connection.start(&ApiVersionsRequest::default(), 0).await.unwrap();
            socket.write_all(said).await.unwrap();
            match pending.wait(LONG).await {
                Err(ClientError::Disconnected(reason)) => assert!(reason.contains(name), "{reason}"),
                other => panic!("{other:?}"),
            }
            assert!(connection.is_closed());
        }
    }

    #[tokio::test]
    async fn closing_fails_what_is_outstanding_and_what_comes_after() {
        let (listener, address) = listen().await;
        let connection = dial(&address).await;
        let (_socket, _) = listener.accept().await.unwrap();
        let request = ApiVersionsRequest::default();
        let pending = connection.start(&request, 0).await.unwrap();
        connection.close();
        assert!(matches!(pending.wait(LONG).await, Err(ClientError::Disconnected(_))));
        assert!(matches!(connection.start(&request, 0).await, Err(ClientError::Disconnected(_))));
    }

    #[tokio::test]
    async fn a_dropped_connection_still_sends_what_was_queued() {
        let (listener, address) = listen().await;
        let connection = dial(&address).await;
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            connection.send(&ApiVersionsRequest::default(), 0).await.unwrap();
        }
        drop(connection);
        read_request(&mut socket).await;
        read_request(&mut socket).await;
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let (listener, address) = listen().await;
        drop(listener);
        let options = ConnectOptions {
            client_id: Str::from("test"),
            connect_timeout: LONG,
            in_flight_max: 1,
            ..Default::default()
        };
        let error = ClientConnection::connect(&Env::real(), &address, &options).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
