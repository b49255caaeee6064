//! What the sender has done by tasks of their own: a producer id, the transaction's requests, metadata.

use super::{Progress, Sender};
use crate::error::{Error, Result};
use crate::metadata::Snapshot;
use crate::producer::accumulator::Accumulator;
use crate::producer::batch::ProducerId;
use crate::producer::coordinator_calls::Call;
use crate::producer::transaction::{Next, Request};
use crate::retry::Deadline;
use ottla_model::ErrorCode;
use ottla_protocol::init_producer_id_request::InitProducerIdRequest;
use ottla_protocol::init_producer_id_response::InitProducerIdResponse;
use std::sync::Arc;
use std::time::Duration;

impl Sender {
    /// Has a task fetch a producer id when records wait for one.
    pub(super) fn ensure_producer_id(&self, accumulator: &mut Accumulator, progress: &mut Progress, now: Duration) {
        if accumulator.is_empty() || progress.initializing {
            return;
        }
        progress.initializing = true;
        let not_before = progress.id_not_before;
        let this = self.clone();
        self.shared.client.env().spawn("producer id", async move {
            let client = &this.shared.client;
            let env = client.env();
            env.sleep(not_before.saturating_sub(now)).await;
            let result = this.init_producer_id().await;
            {
                let mut accumulator = this.shared.accumulator.lock();
                let mut progress = this.progress.lock();
                progress.initializing = false;
                match result {
                    Ok(producer_id) => {
                        progress.id_backoff = None;
                        progress.id_error = None;
                        accumulator.set_producer_id(producer_id);
                    }
                    Err(error) if error.is_retriable() => {
                        tracing::debug!(%error, "no producer id yet");
                        progress.id_error = Some(error);
                        let wait = progress.id_backoff.get_or_insert_with(|| client.backoff()).next(env);
                        progress.id_not_before = env.monotonic() + wait;
                    }
                    Err(error) => accumulator.fail_queued(&error.context("no producer id"), true),
                }
            }
            this.shared.doorbell.notify_one();
        });
    }

    async fn init_producer_id(&self) -> Result<ProducerId> {
        let client = &self.shared.client;
        let deadline = Deadline::after(client.env(), client.options().request_timeout);
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let response: InitProducerIdResponse = client.any(&request, &deadline).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch }),
            code => Err(Error::from_code(code, "InitProducerId", None)),
        }
    }

    /// Has a task send the transaction's next request; says how long there is none.
    pub(super) fn drive_transaction(
        &self,
        accumulator: &mut Accumulator,
        progress: &mut Progress,
        now: Duration,
    ) -> Option<Duration> {
        let transaction = accumulator.transaction.as_ref()?;
        if let Some(error) = transaction.doomed() {
            let all = transaction.is_fatal();
            accumulator.fail_queued(&error, all);
        }
        let unsettled = accumulator.transaction.as_ref()?.is_completing() && accumulator.has_unsettled();
        let transaction = accumulator.transaction.as_mut()?;
        let next = transaction.next(unsettled, now);
        let (id, version_2) = (transaction.id().clone(), transaction.version_2());
        accumulator.sync_producer_id();
        match next {
            Next::Nothing => None,
            Next::Wait(wait) => Some(wait),
            Next::Send(request) => {
                let wait = progress
                    .transaction_backoff
                    .get_or_insert_with(|| self.shared.client.backoff())
                    .next(self.shared.client.env());
                self.call_coordinator(request, id, version_2, wait);
                None
            }
        }
    }

    fn call_coordinator(&self, request: Request, transactional_id: Arc<str>, version_2: bool, wait: Duration) {
        let this = self.clone();
        self.shared.client.env().spawn("transaction request", async move {
            let shared = &this.shared;
            let (client, options) = (&shared.client, &shared.options);
            let limit = client.options().request_timeout;
            let call = Call { client, options, transactional_id: &transactional_id, version_2, limit };
            let (answer, features) = call.send(&request).await;
            tracing::debug!(request = request.name(), ?answer, "the coordinator answered");
            {
                let mut accumulator = shared.accumulator.lock();
                let now = client.env().monotonic();
                if let Some(transaction) = &mut accumulator.transaction {
                    transaction.answered(&request, answer, features, now, wait);
                    if transaction.trouble().is_none() {
                        this.progress.lock().transaction_backoff = None;
                    }
                }
                accumulator.sync_producer_id();
            }
            shared.doorbell.notify_one();
        });
    }

    /// Has a task fetch metadata when it is stale, with a pause after each attempt.
    pub(super) fn refresh_if_stale(&self, snapshot: &Snapshot) {
        let client = &self.shared.client;
        let env = client.env();
        {
            let mut progress = self.progress.lock();
            if !progress.stale || progress.refreshing {
                return;
            }
            progress.refreshing = true;
            progress.stale = false;
        }
        let this = self.clone();
        let version = snapshot.version;
        env.spawn("producer metadata", async move {
            let client = &this.shared.client;
            let env = client.env();
            let not_before = this.progress.lock().refresh_not_before;
            env.sleep(not_before.saturating_sub(env.monotonic())).await;
            let deadline = Deadline::after(env, client.options().request_timeout);
            let refreshed = client.refresh(version, &deadline).await;
            {
                let mut progress = this.progress.lock();
                progress.refreshing = false;
                progress.refresh_not_before = env.monotonic() + client.options().retry_backoff;
                progress.metadata_error = refreshed.err();
            }
            this.shared.doorbell.notify_one();
        });
    }
}
