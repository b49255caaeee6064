//! A request whose body is bytes already: for what passes requests on without knowing which they are.

use super::{ClientConnection, ClientError, Inner};
use bytes::Bytes;
use ottla_model::Str;
use ottla_protocol::{ApiKey, Frame, Message, RequestHeader, Writer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The body of a request that is sent as it is.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// Which request it is.
    pub api: ApiKey,
    /// The version that the body has.
    pub version: i16,
    /// `client.id` for the header, instead of the connection's.
    pub client_id: Option<Str>,
    /// What follows the header.
    pub body: Bytes,
}

/// A [`RawRequest`] on its way; dropping it forgets the answer.
#[derive(Debug)]
pub struct RawPending {
    inner: Arc<Inner>,
    api: ApiKey,
    id: i32,
    answer: oneshot::Receiver<Frame>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for RawPending {
    fn drop(&mut self) {
        self.inner.waiting.by_id.lock().remove(&self.id);
    }
}

impl RawPending {
    /// Waits for the answer, header and body, at most `timeout`; may be called again after a [`ClientError::Timeout`], and not
    /// after anything else.
    ///
    /// # Errors
    /// The connection ended, or the time limit did.
    pub async fn frame(&mut self, timeout: Duration) -> Result<Frame, ClientError> {
        let env = self.inner.env.clone();
        match env.timeout(timeout, &mut self.answer).await {
            Ok(answer) => answer.map_err(|_| self.inner.waiting.disconnected()),
            Err(_) => Err(ClientError::Timeout { api: self.api, after: timeout }),
        }
    }
}

impl ClientConnection {
    /// As [`ClientConnection::start`], for a body that is bytes already.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn start_raw(&self, request: &RawRequest) -> Result<RawPending, ClientError> {
        let _admitted = self.admit().await?;
        let inner = &self.inner;
        let _permit = inner.in_flight.clone().acquire_owned().await.map_err(|_| inner.waiting.disconnected())?;
        let id = inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = frame_of(request, id)?;
        let now = inner.env.monotonic();
        let registered = inner.waiting.register(id, now);
        let answer = registered.ok_or_else(|| inner.waiting.disconnected())?;
        let pending = RawPending { inner: inner.clone(), api: request.api, id, answer, _permit };
        inner.sent(&frame, now);
        inner.push(frame).await?;
        Ok(pending)
    }

    /// As [`ClientConnection::send`], for a body that is bytes already.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send_raw(&self, request: &RawRequest) -> Result<(), ClientError> {
        let _admitted = self.admit().await?;
        let inner = &self.inner;
        let frame = frame_of(request, inner.next_correlation_id.fetch_add(1, Ordering::Relaxed))?;
        if self.is_closed() {
            return Err(inner.waiting.disconnected());
        }
        let now = inner.env.monotonic();
        inner.waiting.active(now);
        inner.sent(&frame, now);
        inner.push(frame).await
    }
}

fn frame_of(request: &RawRequest, correlation_id: i32) -> Result<Frame, ClientError> {
    let header = RequestHeader {
        request_api_key: request.api.code(),
        request_api_version: request.version,
        correlation_id,
        client_id: request.client_id.clone(),
        ..Default::default()
    };
    let mut writer = Writer::new();
    header
        .encode(&mut writer, request.api.request_header_version(request.version))
        .map_err(|error| ClientError::Encode(error.to_string()))?;
    writer.raw(&request.body);
    Ok(writer.into_frame())
}
