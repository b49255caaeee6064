//! What a connection is made with, who is told of it, and how it fails.

use crate::dial;
use crate::security::Security;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::ApiKey;
use std::sync::Arc;
use std::time::Duration;

/// How to dial.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `client.id`, sent with each request.
    pub client_id: Str,
    /// How long the TCP handshake may take (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// Requests on the wire at once; a further one waits.
    pub in_flight_max: usize,
    /// TLS and SASL; for SASL, [`authenticate`](crate::ClientConnection::authenticate) has to be called too.
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
    /// A request of this many bytes was queued; `now` by the monotonic clock.
    fn sent(&self, bytes: usize, now: Duration);
    /// An answer of this many bytes came, so long after its request; `None` when no one waits for it any more.
    fn received(&self, bytes: usize, latency: Option<Duration>, now: Duration);
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
