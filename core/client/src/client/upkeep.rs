//! What keeps a client's metadata good without anyone asking: a refresh at `metadata.max.age.ms`, and the way back to the
//! bootstrap servers when what is known is of no use any more (KIP-899, KIP-1102).

use super::{Client, Inner, WeakClient};
use crate::broker::{Broker, Purpose};
use crate::error::Error;
use crate::metrics::{Metric, Metrics};
use crate::retry::Deadline;
use crate::telemetry::Telemetry;
use ottla_model::ErrorCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

impl Client {
    /// Starts the task that refreshes metadata by age, once; it ends with the client.
    pub(super) fn keep_up(&self) {
        self.inner.upkeep.get_or_init(|| self.env().spawn("metadata upkeep", upkeep(Arc::downgrade(&self.inner))));
        if self.options().metrics_push {
            self.inner.telemetry.get_or_init(|| Telemetry::start(self));
        }
    }

    pub(crate) fn weak(&self) -> WeakClient {
        WeakClient(Arc::downgrade(&self.inner))
    }

    /// The metrics of all that use this client; of two of a kind the one that was made first.
    pub(crate) fn all_metrics(&self) -> Vec<Metric> {
        let registries: Vec<Metrics> = self.inner.registries.lock().iter().filter_map(Metrics::upgrade).collect();
        let mut found: Vec<Metric> = match registries.is_empty() {
            true => self.metrics("admin-client").snapshot(),
            false => registries.iter().flat_map(Metrics::snapshot).collect(),
        };
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|later, earlier| later.name == earlier.name);
        found
    }

    /// Closes at once, or gives what has to be waited for first.
    pub(super) fn closing(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if self.inner.closed.swap(true, Ordering::Relaxed) {
            return None;
        }
        let brokers: Vec<Arc<Broker>> =
            self.inner.brokers.lock().values().chain(&self.inner.bootstrap).cloned().collect();
        let connection = brokers.iter().find_map(|broker| broker.ready(Purpose::General));
        let last = self.inner.telemetry.get().and_then(|telemetry| telemetry.stop(self)).zip(connection);
        let Some(((request, limit), connection)) = last else {
            brokers.iter().for_each(|broker| broker.close());
            return None;
        };
        Some(async move {
            if let Err(error) = connection.request(&request, limit).await {
                tracing::debug!(%error, "the last metrics could not be pushed");
            }
            brokers.iter().for_each(|broker| broker.close());
        })
    }

    /// Forgets the brokers and closes their connections: the next question goes to the bootstrap servers. What is known
    /// of topics stays until they have answered.
    pub(super) fn rebootstrap(&self, why: &str) {
        tracing::info!(client_id = self.options().client_id, why, "going back to the bootstrap servers");
        let known = std::mem::take(&mut *self.inner.brokers.lock());
        for broker in known.values() {
            broker.close();
        }
        self.forget_coordinators();
        *self.options().cluster_id.write() = None;
    }

    /// Takes note of a failed fetch of metadata; true where the client went back to the bootstrap servers, which makes
    /// trying again worth it.
    pub(super) fn metadata_failed(&self, error: &Error) -> bool {
        let options = self.options();
        let now = self.env().monotonic();
        let since = *self.inner.failing_since.lock().get_or_insert(now);
        let told = options.stale.swap(false, Ordering::Relaxed) || error.code() == Some(ErrorCode::RebootstrapRequired);
        if !options.rebootstrap {
            return false;
        }
        if told {
            self.rebootstrap("a broker said that the metadata is of another cluster or node");
            return true;
        }
        if now.saturating_sub(since) >= options.rebootstrap_trigger {
            self.rebootstrap("no metadata for metadata.recovery.rebootstrap.trigger.ms");
            *self.inner.failing_since.lock() = Some(now);
        }
        false
    }

    /// Takes note of a successful one.
    pub(super) fn metadata_fetched(&self) {
        *self.inner.failing_since.lock() = None;
        self.options().bootstrapped.store(true, Ordering::Relaxed);
        self.keep_up();
    }
}

/// Holds the client only while it refreshes, so that a dropped client ends.
async fn upkeep(client: Weak<Inner>) {
    loop {
        let Some(inner) = client.upgrade() else { return };
        let env = inner.env.clone();
        let known = inner.snapshot.read().clone();
        let age = env.monotonic().saturating_sub(known.fetched_at);
        let left = inner.options.metadata_max_age.saturating_sub(age);
        if !left.is_zero() {
            drop(inner);
            env.sleep(left).await;
            continue;
        }
        if inner.closed.load(Ordering::Relaxed) {
            return;
        }
        let pause = inner.options.retry_backoff_max;
        let client = Client { inner };
        let deadline = Deadline::after(&env, client.options().default_api_timeout);
        let refreshed = client.refresh(known.version, &deadline).await;
        drop(client);
        if let Err(error) = refreshed {
            tracing::debug!(%error, "metadata could not be refreshed");
            env.sleep(pause).await;
        }
    }
}
