//! Connections to brokers of this consumer's own. A broker answers a connection in order, so the long polls of two
//! consumers that share a client would hold each other up on a shared one.

use super::Shared;
use crate::broker::{Broker, Connection, Purpose};
use crate::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Brokers by node id. The lock is held for looks only.
#[derive(Debug, Default)]
pub(super) struct Links {
    brokers: Mutex<BTreeMap<i32, Arc<Broker>>>,
    /// Addresses that answers told before the metadata did (KIP-951).
    told: Mutex<BTreeMap<i32, String>>,
}

impl Links {
    /// Takes note of where a broker is.
    pub(super) fn learn(&self, node: i32, address: String) {
        self.told.lock().insert(node, address);
    }

    /// A connection to `node` for fetching.
    pub(super) async fn connection(&self, shared: &Shared, node: i32) -> Result<Arc<Connection>> {
        let client = &shared.client;
        let known = client.broker(node);
        if let Some(broker) = self.brokers.lock().get(&node)
            && known.as_ref().is_some_and(|known| known.address == broker.address)
            && let Some(connection) = broker.ready(Purpose::Fetch)
        {
            return Ok(connection);
        }
        let known = known.map(|broker| broker.address.clone());
        let address = known.or_else(|| self.told.lock().get(&node).cloned());
        let gone = || Error::new(ErrorKind::Retriable, format!("broker {node} is not in the cluster"));
        let address = address.ok_or_else(gone)?;
        let broker = {
            let mut brokers = self.brokers.lock();
            let broker = brokers.entry(node).or_insert_with(|| Arc::new(Broker::at(node, address.clone())));
            if broker.address != address {
                broker.close();
                *broker = Arc::new(Broker::at(node, address));
            }
            broker.clone()
        };
        let limit = client.options().connection_setup_timeout_max;
        broker.connection(client.env(), client.options(), Purpose::Fetch, limit).await
    }

    pub(super) fn close(&self) {
        for (_, broker) in std::mem::take(&mut *self.brokers.lock()) {
            broker.close();
        }
    }
}
