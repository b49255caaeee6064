//! Which broker coordinates a group or a transactional id. The answer is kept until a caller finds that it is wrong.

use crate::broker::Broker;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::address;
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::find_coordinator_request::FindCoordinatorRequest;
use ottla_protocol::find_coordinator_response::FindCoordinatorResponse;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Coordinators kept at most; an admin client may ask for thousands of groups. Past it, all are asked for again.
const KNOWN_MAX: usize = 10_000;

/// What is coordinated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coordinator {
    /// A consumer, classic, streams or share group by its `group.id`.
    Group(Arc<str>),
    /// A producer by its `transactional.id`.
    Transaction(Arc<str>),
}

impl Coordinator {
    fn wire(&self) -> (i8, &str) {
        match self {
            Coordinator::Group(id) => (0, id),
            Coordinator::Transaction(id) => (1, id),
        }
    }

    fn label(&self) -> String {
        match self {
            Coordinator::Group(id) => format!("group {id}"),
            Coordinator::Transaction(id) => format!("transactional.id {id}"),
        }
    }
}

/// The answers so far.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    /// Node ids with the address that was named for them. Locked before nothing else.
    known: Mutex<BTreeMap<Coordinator, (i32, String)>>,
}

impl Client {
    /// The broker that coordinates `of`, asked for when it is not known. Tries again while there is none.
    ///
    /// # Errors
    /// At the deadline, or when the cluster refuses: what it answered.
    pub(crate) async fn coordinator(&self, of: &Coordinator, deadline: &Deadline) -> Result<Arc<Broker>> {
        let mut backoff = self.backoff();
        loop {
            let known = self.coordinators().known.lock().get(of).cloned();
            if let Some((node, address)) = known {
                return Ok(self.broker_at(node, &address));
            }
            let error = match self.find_coordinator(of, deadline).await {
                Ok(found) => {
                    let mut known = self.coordinators().known.lock();
                    if known.len() >= KNOWN_MAX {
                        known.clear();
                    }
                    known.insert(of.clone(), found);
                    continue;
                }
                Err(error) => error,
            };
            if !error.is_retriable() || !backoff.pause(self.env(), deadline).await {
                return Err(error);
            }
        }
    }

    /// The next [`Client::coordinator`] asks again: the one known refused, or is gone.
    pub(crate) fn forget_coordinator(&self, of: &Coordinator) {
        self.coordinators().known.lock().remove(of);
    }

    /// As [`Client::forget_coordinator`] for all.
    pub(crate) fn forget_coordinators(&self) {
        self.coordinators().known.lock().clear();
    }

    async fn find_coordinator(&self, of: &Coordinator, deadline: &Deadline) -> Result<(i32, String)> {
        let (key_type, key) = of.wire();
        let request = |version: i16| {
            // One key on its own until version 4, a list from there on (KIP-699).
            let (key, coordinator_keys) = match version {
                ..4 => (Str::from(key), Vec::new()),
                4.. => (Str::default(), vec![Str::from(key)]),
            };
            // Version 0 knows groups only and has no field for the type.
            let key_type = if version == 0 { 0 } else { key_type };
            Ok(FindCoordinatorRequest { key, key_type, coordinator_keys, ..Default::default() })
        };
        let response: FindCoordinatorResponse = self.any_with(request, deadline).await?;
        let what = || format!("the coordinator of {}", of.label());
        let (code, message, node, host, port) = match response.coordinators.first() {
            Some(found) => {
                (found.error_code, found.error_message.as_deref(), found.node_id, found.host.as_ref(), found.port)
            }
            None => {
                let message = response.error_message.as_deref();
                (response.error_code, message, response.node_id, response.host.as_ref(), response.port)
            }
        };
        match ErrorCode::from_code(code) {
            ErrorCode::None if node >= 0 => Ok((node, address(host, port))),
            ErrorCode::None => Err(Error::new(ErrorKind::Data, format!("{}: the answer names no broker", what()))),
            code => Err(Error::from_code(code, &what(), message)),
        }
    }
}
