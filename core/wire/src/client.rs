//! The client's end of a connection: many requests in flight, each answered by its correlation id.

use crate::frame::FrameError;
use crate::inproc;
use crate::stream::{ReadHalf, Stream, WriteHalf};
use bytes::Bytes;
use ottla_env::Env;
use ottla_model::{Records, Str};
use ottla_protocol::{ApiKey, Message, Reader, Request, RequestHeader, ResponseHeader, Writer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Answers larger than this are refused: no broker sends them (`fetch.max.bytes` is a fraction of it).
const RESPONSE_SIZE_MAX: usize = 1 << 30;

/// How to dial.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `client.id`, sent with each request.
    pub client_id: Str,
    /// How long the TCP handshake may take (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// Requests on the wire at once; a further one waits.
    pub in_flight_max: usize,
}

/// Why a request got no answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientError {
    /// The address did not accept a connection.
    Connect { address: String, reason: String },
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

/// A connection to one broker; clones share it. Dropping the last clone closes it.
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
    in_flight: Semaphore,
    /// Ends both loops when this connection is dropped.
    _alive: watch::Sender<()>,
}

/// Requests whose answer is outstanding.
#[derive(Debug, Default)]
struct Waiting {
    /// Guards the map; `closed` is set under it, so that no request registers after the last sweep.
    by_id: Mutex<HashMap<i32, oneshot::Sender<Bytes>>>,
    closed: AtomicBool,
}

impl Waiting {
    fn register(&self, id: i32) -> Option<oneshot::Receiver<Bytes>> {
        let (sender, receiver) = oneshot::channel();
        let mut by_id = self.by_id.lock();
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        by_id.insert(id, sender);
        Some(receiver)
    }

    fn close(&self) {
        let mut by_id = self.by_id.lock();
        self.closed.store(true, Ordering::Relaxed);
        by_id.clear();
    }
}

impl ClientConnection {
    /// Dials `host:port`, or `ottla-inproc:<id>` for a broker in this process.
    pub async fn connect(env: &Env, address: &str, options: &ConnectOptions) -> Result<ClientConnection, ClientError> {
        let refused = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
        let dial = async {
            if inproc::is_inproc(address) {
                return inproc::connect(address).await;
            }
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let peer = socket.peer_addr()?;
            Ok(Stream::tcp(socket, peer))
        };
        let stream = match env.timeout(options.connect_timeout, dial).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused(format!("no answer within {} ms", options.connect_timeout.as_millis()))),
        };
        let (read, write) = stream.split();
        let (outgoing, frames) = mpsc::channel(options.in_flight_max.max(1));
        let (alive, ended) = watch::channel(());
        let waiting = Arc::new(Waiting::default());
        env.spawn("client writer", write_loop(write, frames, waiting.clone()));
        env.spawn("client reader", read_loop(read, waiting.clone(), ended));
        Ok(ClientConnection {
            inner: Arc::new(Inner {
                env: env.clone(),
                address: address.to_owned(),
                client_id: options.client_id.clone(),
                outgoing,
                waiting,
                next_correlation_id: AtomicI32::new(0),
                in_flight: Semaphore::new(options.in_flight_max.max(1)),
                _alive: alive,
            }),
        })
    }

    /// The address that was dialled.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Whether the connection has ended; a request on it would fail with [`ClientError::Disconnected`].
    pub fn is_closed(&self) -> bool {
        self.inner.waiting.closed.load(Ordering::Relaxed)
    }

    /// Sends `request` at `version` and waits for its answer, at most `timeout`.
    pub async fn request<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let inner = &*self.inner;
        let exchange = async {
            let _permit = inner.in_flight.acquire().await.map_err(|_| disconnected())?;
            let id = inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
            let frame = inner.encode(request, version, id)?;
            let answer = inner.waiting.register(id).ok_or_else(disconnected)?;
            inner.outgoing.send(frame).await.map_err(|_| disconnected())?;
            answer.await.map_err(|_| disconnected())
        };
        let frame = inner
            .env
            .timeout(timeout, exchange)
            .await
            .map_err(|_| ClientError::Timeout { api: R::API_KEY, after: timeout })??;
        decode::<R>(frame, version)
    }

    /// Sends `request` without expecting an answer (Produce with acks=0). Waits only for room in the queue.
    pub async fn send<R: Request>(&self, request: &R, version: i16) -> Result<(), ClientError> {
        let id = self.inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = self.inner.encode(request, version, id)?;
        if self.is_closed() {
            return Err(disconnected());
        }
        self.inner.outgoing.send(frame).await.map_err(|_| disconnected())
    }
}

impl Inner {
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

fn disconnected() -> ClientError {
    ClientError::Disconnected("the broker closed the connection".to_owned())
}

fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
    let unreadable = |error: ottla_protocol::DecodeError| ClientError::Decode(error.to_string());
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, R::API_KEY.response_header_version(version)).map_err(unreadable)?;
    R::Response::decode(&mut reader, version).map_err(unreadable)
}

async fn write_loop(mut stream: WriteHalf, mut frames: mpsc::Receiver<Records>, waiting: Arc<Waiting>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = stream.write_frame(frame).await {
            tracing::debug!(%error, "a request could not be sent");
            break;
        }
    }
    waiting.close();
}

async fn read_loop(mut stream: ReadHalf, waiting: Arc<Waiting>, mut ended: watch::Receiver<()>) {
    loop {
        let read = tokio::select! {
            biased;
            _ = ended.changed() => break,
            read = stream.read_frame(RESPONSE_SIZE_MAX) => read,
        };
        let frame = match read {
            Ok(frame) => frame,
            Err(FrameError::Closed) => break,
            Err(error) => {
                tracing::debug!(%error, "the connection broke");
                break;
            }
        };
        let Some(id) = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else { break };
        // An answer whose request has timed out meanwhile has no one waiting: it is dropped.
        if let Some(answer) = waiting.by_id.lock().remove(&id) {
            let _ = answer.send(frame);
        }
    }
    waiting.close();
}
