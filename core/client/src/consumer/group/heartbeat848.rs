//! The task that sends the heartbeats of a member under KIP-848, which join, tell what changed, bring assignments and
//! leave. One per consumer, from the first subscription until it is closed.

use super::classic::{Identity, unavailable};
use super::kip848::{ById, EPOCH_LEAVE, EPOCH_LEAVE_STATIC, Profile};
use super::{Group, Lane};
use crate::consumer::Shared;
use crate::error::{Error, Result};
use crate::retry::{Backoff, Deadline};
use ottla_model::{ErrorCode, Str, TopicPartition, Uuid};
use ottla_protocol::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ottla_protocol::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From this version on topics can be asked for by id.
const METADATA_BY_ID_FROM: i16 = 12;
/// From this version on the broker matches patterns.
const PATTERN_FROM: i16 = 1;

/// Starts the task.
pub(in crate::consumer) fn start(shared: &Arc<Shared>) {
    shared.client.env().spawn("consumer heartbeat", run(shared.clone()));
}

/// What the task keeps between heartbeats.
struct Progress {
    backoff: Backoff,
    /// When the coordinator last answered, or the task began to ask.
    answering: Deadline,
    /// Names by id of topics that were asked for.
    names: BTreeMap<Uuid, Arc<str>>,
}

async fn run(shared: Arc<Shared>) {
    let Some(group) = &shared.group else { return };
    let client = &shared.client;
    let env = client.env();
    let options = &shared.options;
    let profile = Profile {
        group_id: group.id.to_string(),
        instance_id: group.instance_id.clone(),
        rack: options.client_rack.clone(),
        assignor: options.group_remote_assignor.clone(),
        rebalance_timeout: options.max_poll_interval,
    };
    group.member.lock().modern().name(|| env.random_uuid().to_string());
    let mut progress = Progress { backoff: client.backoff(), answering: client.deadline(), names: BTreeMap::new() };
    loop {
        let changed = group.changed.notified();
        if shared.state.lock().closed {
            return;
        }
        let now = env.monotonic();
        let (expired, wait) = {
            let mut member = group.member.lock();
            let member = member.modern();
            let expired = member.expire(now);
            let late = member.poll_due().unwrap_or(now.saturating_add(options.max_poll_interval));
            let wait = member.beats().then(|| (member.heartbeat_due(), late));
            (expired, wait)
        };
        if let Some(identity) = expired {
            tracing::warn!(
                group = &*group.id,
                "max.poll.interval.ms ({}) passed without a poll: this consumer leaves its group until the next one",
                options.max_poll_interval.as_millis()
            );
            shared.arrived.notify_waiters();
            let deadline = Deadline::after(env, client.options().request_timeout);
            if let Err(error) = leave(&shared, group, &identity, false, &deadline).await {
                tracing::debug!(%error, "the coordinator does not know that this member left");
            }
            continue;
        }
        let Some((due, late)) = wait else {
            progress.answering = client.deadline();
            changed.await;
            continue;
        };
        if due > now {
            let _ = env.timeout(due.min(late).saturating_sub(now), changed).await;
            continue;
        }
        beat(&shared, group, &profile, &mut progress).await;
    }
}

/// One heartbeat and its answer.
async fn beat(shared: &Arc<Shared>, group: &Group, profile: &Profile, progress: &mut Progress) {
    let client = &shared.client;
    let env = client.env();
    let subscription = shared.state.lock().subscription.clone();
    let (request, sent) = {
        let mut member = group.member.lock();
        let member = member.modern();
        (member.heartbeat(profile, &subscription), member.identity().clone())
    };
    let began = env.monotonic();
    let answer = ask(shared, group, request).await;
    let now = env.monotonic();
    shared.metrics.heartbeat(now.saturating_sub(began));
    let label = group.label();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(group = &*group.id, %error, "a heartbeat failed");
            let mut member = group.member.lock();
            member.modern().missed(now, progress.backoff.next(env));
            if !error.is_retriable() {
                member.modern().failed(error);
            } else if progress.answering.left(env).is_none() {
                member.modern().failed(unavailable(&group.id, progress.answering.limit, &error));
                progress.answering = client.deadline();
            }
            drop(member);
            return shared.arrived.notify_waiters();
        }
    };
    progress.answering = client.deadline();
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => {
            progress.backoff.reset();
            let assignment = answer.assignment.map(|assignment| {
                let topics = assignment.topic_partitions.into_iter();
                topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect::<ById>()
            });
            let interval = Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0));
            let unnamed = {
                let mut member = group.member.lock();
                let member = member.modern();
                member.beaten(&sent, answer.member_id.as_deref(), answer.member_epoch, interval, assignment, now);
                member.unnamed.clone()
            };
            if let Some(unnamed) = unnamed {
                name(shared, group, unnamed, progress).await;
            }
        }
        code => {
            tracing::debug!(group = &*group.id, code = code.name(), "a heartbeat was refused");
            let news = {
                let mut member = group.member.lock();
                let member = member.modern();
                member.missed(now, progress.backoff.next(env));
                member.answered(&sent, code, &label, answer.error_message.as_deref())
            };
            if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
                group.forget_coordinator(client);
            }
            if news {
                shared.arrived.notify_waiters();
            }
        }
    }
}

async fn ask(
    shared: &Shared,
    group: &Group,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse> {
    let client = &shared.client;
    let timeout = client.options().request_timeout;
    let deadline = Deadline::after(client.env(), timeout);
    let connection = group.connection(client, Lane::Calls, &deadline).await?;
    let version = connection.version::<ConsumerGroupHeartbeatRequest>().map_err(|error| {
        let text = format!("{error}; group.protocol=consumer needs a broker that has it, use group.protocol=classic");
        Error::new(error.kind(), text)
    })?;
    if version < PATTERN_FROM && request.subscribed_topic_regex.as_ref().is_some_and(|regex| !regex.is_empty()) {
        return Err(Error::invalid("the broker does not match patterns; subscribe to topics by name"));
    }
    drop(connection);
    group.ask(client, Lane::Calls, |_| request, i16::MAX, timeout, &deadline).await
}

/// Finds the names of an assignment's topics. What is not known yet waits for the next heartbeat.
async fn name(shared: &Arc<Shared>, group: &Group, ids: ById, progress: &mut Progress) {
    let client = &shared.client;
    let snapshot = client.snapshot();
    for id in ids.keys() {
        if let Some(name) = snapshot.names.get(id) {
            progress.names.insert(*id, name.clone());
        }
    }
    let unknown: Vec<Uuid> = ids.keys().filter(|id| !progress.names.contains_key(id)).copied().collect();
    if !unknown.is_empty() {
        match ask_names(shared, &unknown).await {
            Ok(names) => progress.names.extend(names),
            Err(error) => tracing::debug!(%error, "the names of assigned topics are not known yet"),
        }
    }
    let complete = ids.keys().all(|id| progress.names.contains_key(id));
    let mut partitions = Vec::new();
    for (id, indexes) in &ids {
        if let Some(name) = progress.names.get(id) {
            partitions.extend(indexes.iter().map(|index| TopicPartition::new(name.clone(), *index)));
        }
    }
    let known: ById =
        ids.iter().filter(|(id, _)| progress.names.contains_key(id)).map(|(id, p)| (*id, p.clone())).collect();
    {
        let mut member = group.member.lock();
        let member = member.modern();
        // Meanwhile this member may have lost it.
        if member.unnamed.as_ref() != Some(&ids) {
            return;
        }
        member.named(partitions, known);
        if !complete {
            let soon = client.env().monotonic() + client.options().retry_backoff_max;
            member.next_heartbeat = member.next_heartbeat.min(soon);
        }
    }
    progress.names.retain(|id, _| ids.contains_key(id));
    shared.arrived.notify_waiters();
}

async fn ask_names(shared: &Shared, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Arc<str>>> {
    let deadline = Deadline::after(shared.client.env(), shared.client.options().request_timeout);
    let request = |version: i16| {
        if version < METADATA_BY_ID_FROM {
            return Err(Error::invalid("the broker does not tell topics by id"));
        }
        let topic = |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() };
        Ok(MetadataRequest { topics: Some(ids.iter().map(topic).collect()), ..Default::default() })
    };
    let response: MetadataResponse = shared.client.any_with(request, &deadline).await?;
    let named = response.topics.iter().filter_map(|topic| Some((topic.topic_id, Arc::from(topic.name.as_deref()?))));
    Ok(named.collect())
}

/// Tells the coordinator that `who` is out: for good, or, a static member, until it comes back.
pub(super) async fn leave(
    shared: &Shared,
    group: &Group,
    who: &Identity,
    for_good: bool,
    deadline: &Deadline,
) -> Result<()> {
    let client = &shared.client;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: Str::from(&*group.id),
        member_id: Str::from(who.member_id.as_str()),
        member_epoch: if group.instance_id.is_some() && !for_good { EPOCH_LEAVE_STATIC } else { EPOCH_LEAVE },
        instance_id: group.instance(),
        rebalance_timeout_ms: -1,
        ..Default::default()
    };
    let timeout = deadline.left(client.env()).unwrap_or_default().min(client.options().request_timeout);
    let answer: ConsumerGroupHeartbeatResponse =
        group.ask(client, Lane::Calls, |_| request, i16::MAX, timeout, deadline).await?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None | ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => Ok(()),
        code => Err(group.refused(client, code, answer.error_message.as_deref())),
    }
}
