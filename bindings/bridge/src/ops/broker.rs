//! The embedded broker: `broker.start` on a queue, then `describe` and `close`.

use super::{Base, Timeout, Work, later, now, read, value};
use crate::error::{Error, Kind};
use crate::queue::{Answer, Queue};
use crate::runtime::Runtime;
use crate::state::state;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) base: Base,
    /// Gone once `close` was called.
    running: Mutex<Option<ottla::Broker>>,
}

/// `broker.start`: all are optional.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Start {
    /// Where the data is kept; nothing keeps it in memory.
    directory: Option<String>,
    /// TCP listeners, `PLAINTEXT://127.0.0.1:0`; none lets only clients in this process in.
    listeners: Vec<String>,
    /// Broker configs under Kafka's names.
    configs: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Endpoint {
    listener: String,
    host: String,
    port: u16,
}

#[derive(Serialize)]
struct Description {
    /// What clients take as `bootstrap.servers`.
    bootstrap_servers: String,
    /// The same for clients in this process, which works beside TCP.
    inproc_address: String,
    cluster_id: String,
    endpoints: Vec<Endpoint>,
    /// What was odd about the configs.
    warnings: Vec<String>,
}

pub(super) fn start(queue: Arc<Queue>, runtime: Arc<Runtime>, start: Start) -> Work {
    Box::pin(async move {
        let mut builder = ottla::Broker::builder().configs(start.configs);
        if let Some(directory) = start.directory {
            builder = builder.directory(directory);
        }
        for listener in start.listeners {
            builder = builder.listener(listener);
        }
        let mut running = Some(builder.start().await?);
        let insert = state()?.insert(|handle| {
            let base = Base::new(handle, &queue, &runtime);
            super::Object::Broker(Arc::new(Broker { base, running: Mutex::new(running.take()) }))
        });
        insert.map(Answer::Handle)
    })
}

pub(super) fn call(broker: &Arc<Broker>, method: &str, arguments: &[u8]) -> Result<Option<Work>, Error> {
    Ok(match method {
        "describe" => Some(now(broker.describe()?)),
        "close" => {
            let timeout: Timeout = read(arguments)?;
            let Some(running) = broker.running.lock().take() else { return Ok(Some(now(Answer::Done))) };
            later(async move {
                let closed = tokio::time::timeout(timeout.duration(), running.close()).await;
                let late = || Error::new(Kind::Timeout, "the broker did not close in time; its next start recovers");
                closed.map_err(|_| late())??;
                Ok(Answer::Done)
            })
        }
        _ => None,
    })
}

impl Broker {
    fn describe(&self) -> Result<Answer, Error> {
        let running = self.running.lock();
        let running = running.as_ref().ok_or_else(|| Error::new(Kind::Closed, "the broker is closed"))?;
        let endpoint = |of: ottla::Endpoint| Endpoint {
            listener: of.listener.to_string(),
            host: of.host.to_string(),
            port: of.port,
        };
        value(&Description {
            bootstrap_servers: running.bootstrap_servers(),
            inproc_address: running.inproc_address().to_owned(),
            cluster_id: running.cluster_id().to_owned(),
            endpoints: running.endpoints().into_iter().map(endpoint).collect(),
            warnings: running.warnings().iter().map(|warning| warning.message.clone()).collect(),
        })
    }

    /// Without a close it ends as a crash would.
    pub(super) fn let_go(&self) {
        if let Some(running) = self.running.lock().take() {
            let _on = self.base.runtime.handle().enter();
            drop(running);
        }
    }
}
