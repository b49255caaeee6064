//! Which broker is asked for what any of them answers.

use super::Client;
use crate::broker::{Broker, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use std::sync::Arc;

impl Client {
    /// Sends `request` to whichever broker answers: the known ones from a random one on, then the bootstrap servers.
    pub(crate) async fn any<R: ottla_protocol::Request>(
        &self,
        request: &R,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        let mut worst = None;
        for broker in self.candidates() {
            match self.on(&broker, request, deadline).await {
                Ok(response) => return Ok(response),
                Err(error) => worst = Some(weightier(worst, error)),
            }
        }
        Err(worst.unwrap_or_else(Error::closed))
    }

    /// As [`Client::any`], with a request made for the version that the broker at hand takes.
    pub(crate) async fn any_with<R: ottla_protocol::Request>(
        &self,
        request: impl Fn(i16) -> Result<R>,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        let mut worst = None;
        for broker in self.candidates() {
            match self.on_with(&broker, &request, deadline).await {
                Ok(response) => return Ok(response),
                Err(error) => worst = Some(weightier(worst, error)),
            }
        }
        Err(worst.unwrap_or_else(Error::closed))
    }

    /// The brokers in the order in which to ask them for what anyone answers.
    fn candidates(&self) -> Vec<Arc<Broker>> {
        let mut candidates: Vec<Arc<Broker>> = self.inner.brokers.lock().values().cloned().collect();
        candidates.sort_by(|a, b| a.address.cmp(&b.address));
        if !candidates.is_empty() {
            let first = self.env().random_u64() as usize % candidates.len();
            candidates.rotate_left(first);
        }
        // Open connections first: no reason to dial another broker for a question that anyone answers.
        candidates.sort_by_key(|broker| broker.ready(Purpose::General).is_none());
        // Where no known broker answers. Without a way back (`metadata.recovery.strategy` none) they serve once, at the
        // start.
        let bootstrap = if candidates.is_empty() || self.options().rebootstrap { &*self.inner.bootstrap } else { &[] };
        for broker in bootstrap {
            if !candidates.iter().any(|known| known.address == broker.address) {
                candidates.push(broker.clone());
            }
        }
        candidates
    }
}

/// Of what two brokers said, what counts: refused credentials before what may pass, and that before the rest.
fn weightier(known: Option<Error>, error: Error) -> Error {
    let weight = |error: &Error| match error.kind() {
        ErrorKind::Auth => 2,
        _ if error.is_retriable() => 1,
        _ => 0,
    };
    match known {
        Some(known) if weight(&known) > weight(&error) => known,
        _ => error,
    }
}
