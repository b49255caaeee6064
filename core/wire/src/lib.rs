//! A Kafka connection, both ends: frames, correlation ids, pipelining, and the in-process transport.
//!
//! In a record's walk this crate is the arrow `⇒` between client and broker. It moves whole frames and knows neither
//! what a request means nor what a topic is: the broker gives it a [`Service`], the client a request to send.
//! A client secures its connections here, by TLS and SASL ([`Security`]); a listener is plaintext or in-process as yet.
//!
//! A frame is a big-endian i32 length followed by that many bytes:
//!
//! ```text
//! | length i32 | header | body |        request and response alike
//! ```

mod client;
mod dial;
mod frame;
mod inproc;
mod listener;
mod sasl;
mod security;
mod send;
mod server;
mod session;
mod stream;

pub use client::{ClientConnection, ClientError, ConnectOptions, Pending, RawPending, RawRequest, Traffic};
pub use frame::FrameError;
pub use inproc::{InProcListener, inproc_name};
pub use listener::{Admission, ConnectionLimits, Limits, Listener, ListenerOptions, ListenerStats};
pub use sasl::{OauthToken, OauthTokenFuture, OauthTokenProvider, SaslOptions};
pub use security::{Secret, Security, SecurityOptions, SecurityProtocol, TlsOptions};
pub use server::{Answer, Peer, Service};
pub use stream::Stream;
