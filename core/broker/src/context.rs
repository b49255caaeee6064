//! What a handler may know about where a request came from.

use crate::faults::InjectedError;
use ottla_model::Str;
use ottla_wire::Admission;
use std::net::SocketAddr;
use std::sync::Arc;

/// A request's surroundings.
#[derive(Debug)]
pub(crate) struct RequestContext {
    /// The version the request was encoded at.
    pub(crate) api_version: i16,
    /// `client.id` from the header.
    pub(crate) client_id: Option<Str>,
    /// The listener it came in on, whose advertised addresses it is to see.
    pub(crate) listener: Arc<str>,
    /// The remote address; `None` in process.
    pub(crate) address: Option<SocketAddr>,
    /// The seat under `queued.max.requests` and `queued.max.request.bytes`.
    pub(crate) admission: Option<Admission>,
    /// Errors that the handler is to answer for partitions; see `faults`.
    pub(crate) injected: Vec<InjectedError>,
}

impl RequestContext {
    /// The client's host as Kafka shows it in group descriptions: `/127.0.0.1`.
    pub(crate) fn client_host(&self) -> String {
        match self.address {
            Some(address) => format!("/{}", address.ip()),
            None => "/in-process".to_owned(),
        }
    }

    /// `client.id`, empty when there is none.
    pub(crate) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }
}
