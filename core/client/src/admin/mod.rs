//! Administration: one file per noun. Calls go to the controller's id as the cluster names it (in KRaft any broker
//! takes them) and are tried again with backoff until `default.api.timeout.ms`.

mod cluster;
mod configs;
mod topics;

pub use cluster::{BrokerInfo, ClusterDescription};
pub use configs::{AlterOp, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource};
pub use topics::{NewTopic, PartitionDescription, TopicDescription, TopicListing};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::retry::Deadline;
use ottla_model::ErrorCode;
use ottla_protocol::Request;

/// Administers topics, configs and the cluster.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Admin {
        Admin { client }
    }

    /// Sends `request` to the controller until `check` accepts the answer or gives an error that stays.
    async fn controller<R: Request, T>(
        &self,
        request: &R,
        deadline: &Deadline,
        mut check: impl FnMut(R::Response) -> Result<T>,
    ) -> Result<T> {
        let client = &self.client;
        let mut backoff = client.backoff();
        let mut snapshot = client.snapshot();
        loop {
            if snapshot.version == 0 {
                snapshot = client.refresh(0, deadline).await?;
            }
            let answer = match client.broker(snapshot.controller_id) {
                Some(controller) => client.on(&controller, request, deadline).await,
                None => client.any(request, deadline).await,
            };
            let error = match answer.and_then(&mut check) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !worth_retrying(&error) || !backoff.pause(client.env(), deadline).await {
                return Err(error);
            }
            snapshot = client.refresh(snapshot.version, deadline).await?;
        }
    }

    /// Sends `request` to any broker until `check` accepts the answer or gives an error that stays.
    async fn any<R: Request, T>(
        &self,
        request: &R,
        deadline: &Deadline,
        mut check: impl FnMut(R::Response) -> Result<T>,
    ) -> Result<T> {
        let mut backoff = self.client.backoff();
        loop {
            let error = match self.client.any(request, deadline).await.and_then(&mut check) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !worth_retrying(&error) || !backoff.pause(self.client.env(), deadline).await {
                return Err(error);
            }
        }
    }

    fn deadline(&self) -> Deadline {
        self.client.deadline()
    }

    /// How long a broker may take for the work itself, as requests carry it.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.options().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

/// Waiting does not make a missing topic appear that an administrator named, and work that a broker could not finish in
/// its time may have been done all the same.
fn worth_retrying(error: &Error) -> bool {
    let final_here = [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId, ErrorCode::RequestTimedOut];
    error.is_retriable() && !error.code().is_some_and(|code| final_here.contains(&code))
}

/// The error in a broker's answer about `what`, if it has one.
fn check_code(code: i16, what: &str, message: Option<&str>) -> Result<()> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(Error::from_code(code, what, message)),
    }
}
