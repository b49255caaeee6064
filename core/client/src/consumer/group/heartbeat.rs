//! The task that sends a classic member's heartbeats, and takes the member out of the group when its application does not
//! poll. One per consumer, from the first subscription until it is closed.

use super::{Group, Lane, send_leave};
use crate::consumer::Shared;
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::heartbeat_request::HeartbeatRequest;
use ottla_protocol::heartbeat_response::HeartbeatResponse;
use std::sync::Arc;

/// Starts the task.
pub(in crate::consumer) fn start(shared: &Arc<Shared>) {
    let env = shared.client.env();
    env.spawn("consumer heartbeat", run(shared.clone()));
}

async fn run(shared: Arc<Shared>) {
    let Some(group) = &shared.group else { return };
    let env = shared.client.env();
    loop {
        let changed = group.changed.notified();
        if shared.state.lock().closed {
            return;
        }
        let now = env.monotonic();
        let (expired, beat_in) = {
            let mut member = group.member.lock();
            let member = member.classic();
            match member.expire(now) {
                Some(identity) => (Some(identity), None),
                None if member.beats() => {
                    // A poll that ends meanwhile wakes nobody; its limit is at least max.poll.interval.ms from now.
                    let late = member.poll_due().unwrap_or(now.saturating_add(shared.options.max_poll_interval));
                    let due = member.next_heartbeat.min(late);
                    (None, Some((due.saturating_sub(now), member.next_heartbeat <= now)))
                }
                None => (None, None),
            }
        };
        if let Some(identity) = expired {
            tracing::warn!(
                group = &*group.id,
                "max.poll.interval.ms ({}) passed without a poll: this consumer leaves its group until the next one; \
                 poll more often, raise max.poll.interval.ms or lower max.poll.records",
                shared.options.max_poll_interval.as_millis()
            );
            shared.arrived.notify_waiters();
            // As Kafka's clients: a static member's absence is left to its session timeout.
            if group.instance_id.is_none() {
                let deadline = Deadline::after(env, shared.client.options().request_timeout);
                let reason = "consumer poll timeout has expired.";
                if let Err(error) = send_leave(&shared.client, group, &identity, reason, &deadline).await {
                    tracing::debug!(%error, "the coordinator does not know that this member left");
                }
            }
            continue;
        }
        match beat_in {
            None => changed.await,
            Some((_, true)) => beat(&shared, group).await,
            Some((wait, false)) => {
                let _ = env.timeout(wait, changed).await;
            }
        }
    }
}

/// One heartbeat and its answer.
async fn beat(shared: &Shared, group: &Group) {
    let client = &shared.client;
    let env = client.env();
    let options = &shared.options;
    let sent = {
        let mut member = group.member.lock();
        let member = member.classic();
        member.next_heartbeat = env.monotonic() + options.heartbeat_interval;
        member.identity().clone()
    };
    let request = |_| HeartbeatRequest {
        group_id: Str::from(&*group.id),
        generation_id: sent.generation,
        member_id: Str::from(sent.member_id.as_str()),
        group_instance_id: group.instance(),
        ..Default::default()
    };
    let limit = options.session_timeout.min(client.options().request_timeout);
    let deadline = Deadline::after(env, limit);
    let began = env.monotonic();
    let answer: crate::error::Result<HeartbeatResponse> =
        group.ask(client, Lane::Calls, request, i16::MAX, limit, &deadline).await;
    shared.metrics.heartbeat(env.monotonic().saturating_sub(began));
    let code = match answer {
        Ok(answer) => ErrorCode::from_code(answer.error_code),
        Err(error) => {
            tracing::debug!(group = &*group.id, %error, "a heartbeat failed");
            let pause = client.options().retry_backoff;
            let mut member = group.member.lock();
            let member = member.classic();
            member.next_heartbeat = member.next_heartbeat.min(env.monotonic() + pause);
            return;
        }
    };
    let now = env.monotonic();
    let news = {
        let mut member = group.member.lock();
        let member = member.classic();
        if matches!(code, ErrorCode::None | ErrorCode::RebalanceInProgress) {
            member.last_heartbeat = now;
        }
        member.answered(&sent, code, &group.label())
    };
    match code {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
            group.forget_coordinator(client);
            group.member.lock().classic().next_heartbeat = now + client.options().retry_backoff;
        }
        _ => {}
    }
    if news {
        tracing::debug!(group = &*group.id, code = code.name(), "a heartbeat was answered");
        shared.arrived.notify_waiters();
    }
}
