//! The task that joins a classic group: JoinGroup, the leader's assignment, SyncGroup, until the state machine says that
//! it is `poll`'s turn again; and the task in which the leader, and whoever subscribed by pattern, watches the topics.

use super::classic::{Identity, Next, unavailable};
use super::{Group, Lane, send_leave};
use crate::consumer::Shared;
use crate::consumer::assignor::{
    self, Assignment, Assignor, Member, RebalanceProtocol, Subscription as MemberSubscription,
};
use crate::consumer::subscription::{Described, Wanted, describe};
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_protocol::join_group_response::JoinGroupResponse;
use ottla_protocol::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_protocol::sync_group_response::SyncGroupResponse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a coordinator may take longer than the rebalance it waits for.
const JOIN_EXTRA: Duration = Duration::from_secs(5);

/// Begins `attempt`.
pub(super) fn start(shared: &Arc<Shared>, attempt: u64, reason: String) {
    let task = run(shared.clone(), attempt, reason);
    shared.client.env().spawn("consumer group join", task);
}

async fn run(shared: Arc<Shared>, attempt: u64, reason: String) {
    let Some(group) = &shared.group else { return };
    let client = &shared.client;
    let env = client.env();
    let mut backoff = client.backoff();
    let mut deadline = client.deadline();
    let mut known = false;
    while group.member.lock().classic().is_current(attempt) {
        let round = async {
            if !known {
                topics(&shared).await?;
                known = true;
            }
            round(&shared, group, attempt, &reason).await
        };
        let next = match round.await {
            Ok(next) => {
                // The coordinator answers.
                deadline = client.deadline();
                next
            }
            Err(error) if error.is_retriable() && deadline.left(env).is_some() => {
                tracing::debug!(group = &*group.id, %error, "joining failed, trying again");
                Next::Later
            }
            Err(error) if error.is_retriable() => {
                shared.metrics.rebalance_failed();
                let error = unavailable(&group.id, deadline.limit, &error);
                group.member.lock().classic().join_failed(attempt, error);
                Next::Stop
            }
            Err(error) => {
                shared.metrics.rebalance_failed();
                group.member.lock().classic().join_failed(attempt, error);
                Next::Stop
            }
        };
        match next {
            Next::Again => {}
            Next::Later => env.sleep(backoff.next(env)).await,
            Next::Elsewhere => {
                group.forget_coordinator(client);
                env.sleep(backoff.next(env)).await;
            }
            Next::Stop => break,
        }
    }
    group.notify();
    shared.arrived.notify_waiters();
}

/// Looks at the subscribed topics: has missing ones created, finds those that match.
async fn topics(shared: &Shared) -> Result<()> {
    let wanted = shared.state.lock().subscription.wanted.clone();
    let deadline = shared.client.deadline();
    let options = &shared.options;
    match wanted {
        Wanted::Topics(topics) => {
            let found = describe(&shared.client, Some(&topics), options.allow_auto_create_topics, &deadline).await?;
            found.refused().map_or(Ok(()), Err)
        }
        Wanted::Pattern(pattern, _) => {
            let found = describe(&shared.client, None, false, &deadline).await?;
            let matching = found.matching(&pattern, options.exclude_internal_topics);
            if let Wanted::Pattern(_, topics) = &mut shared.state.lock().subscription.wanted {
                *topics = matching;
            }
            Ok(())
        }
        Wanted::Nothing | Wanted::BrokerPattern(_) => Ok(()),
    }
}

/// One JoinGroup and what follows from it.
async fn round(shared: &Arc<Shared>, group: &Group, attempt: u64, reason: &str) -> Result<Next> {
    let client = &shared.client;
    let options = &shared.options;
    let before = group.member.lock().identity().clone();
    let (subscribed, owned) = {
        let state = shared.state.lock();
        let owned: BTreeSet<TopicPartition> = match group.protocol {
            RebalanceProtocol::Eager => BTreeSet::new(),
            RebalanceProtocol::Cooperative => state.partitions.keys().cloned().collect(),
        };
        (state.subscription.topics(), owned)
    };
    let protocols = protocols(&options.assignors, &subscribed, owned, before.generation, &options.client_rack)?;
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    let nameless = before.member_id.is_empty();
    let request = |_| {
        group.asking.store(nameless, Ordering::Release);
        JoinGroupRequest {
            group_id: Str::from(&*group.id),
            session_timeout_ms: millis(options.session_timeout),
            rebalance_timeout_ms: millis(options.max_poll_interval),
            member_id: Str::from(before.member_id.as_str()),
            group_instance_id: group.instance(),
            protocol_type: Str::from_static(assignor::PROTOCOL_TYPE),
            protocols,
            reason: Some(Str::from(reason.chars().take(255).collect::<String>())),
            ..Default::default()
        }
    };
    let timeout = client.options().request_timeout.max(options.max_poll_interval.saturating_add(JOIN_EXTRA));
    // Finding the coordinator and dialling it do not wait for members.
    let deadline = client.deadline();
    let begun = client.env().monotonic();
    let answer: Result<JoinGroupResponse> = group.ask(client, Lane::Joins, request, i16::MAX, timeout, &deadline).await;
    let stale = !group.member.lock().classic().is_current(attempt);
    if let Ok(answer) = &answer
        && stale
        && nameless
        && !answer.member_id.is_empty()
    {
        // Left meanwhile: the id that came too late has to be given back.
        let who = Identity { generation: answer.generation_id, member_id: answer.member_id.to_string() };
        if let Err(error) = send_leave(client, group, &who, "the consumer left while joining", &deadline).await {
            tracing::debug!(%error, "the coordinator does not know that this member left");
        }
    }
    group.asking.store(false, Ordering::Release);
    group.notify();
    let response = answer?;
    shared.metrics.joined(client.env().monotonic().saturating_sub(begun));
    let label = group.label();
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        code => {
            let next = group.member.lock().classic().join_refused(attempt, code, &response.member_id, &label);
            return Ok(next);
        }
    }
    let identity = Identity { generation: response.generation_id, member_id: response.member_id.to_string() };
    let protocol = response.protocol_name.as_deref().unwrap_or_default().to_owned();
    let now = client.env().monotonic();
    {
        let mut member = group.member.lock();
        let member = member.classic();
        if !member.joined(attempt, identity.clone(), protocol.clone(), now) {
            return Ok(Next::Stop);
        }
        member.next_heartbeat = now + options.heartbeat_interval;
    }
    group.notify();
    let leads = response.leader == response.member_id;
    let (assignments, described) = match leads && !response.skip_assignment {
        true => assign(shared, &response, &protocol).await?,
        false => (Vec::new(), None),
    };
    let request = |_| SyncGroupRequest {
        group_id: Str::from(&*group.id),
        generation_id: identity.generation,
        member_id: Str::from(identity.member_id.as_str()),
        group_instance_id: group.instance(),
        protocol_type: Some(Str::from_static(assignor::PROTOCOL_TYPE)),
        protocol_name: Some(Str::from(protocol.as_str())),
        assignments,
        ..Default::default()
    };
    let deadline = client.deadline();
    let sync_begun = client.env().monotonic();
    // As in Java, other than JoinGroup it has the usual limit: joining again mends an answer that never comes.
    let timeout = client.options().request_timeout;
    let response: SyncGroupResponse = group.ask(client, Lane::Joins, request, i16::MAX, timeout, &deadline).await?;
    shared.metrics.synced(client.env().monotonic().saturating_sub(sync_begun));
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        code => return Ok(group.member.lock().classic().sync_refused(attempt, code, &label)),
    }
    // A leader that forgets a member sends it no bytes.
    let assignment = match response.assignment.is_empty() {
        true => Assignment::default(),
        false => assignor::decode_assignment(&response.assignment)?,
    };
    if group.member.lock().classic().synced(attempt, assignment.partitions, assignment.user_data) {
        let now = client.env().monotonic();
        shared.metrics.rebalanced(now.saturating_sub(begun), now);
        let by_pattern = matches!(shared.state.lock().subscription.wanted, Wanted::Pattern(..));
        if described.is_some() || by_pattern {
            client.env().spawn("consumer group topics", watch(shared.clone(), attempt, described));
        }
    }
    Ok(Next::Stop)
}

/// What this member tells the leader, for each assignor.
fn protocols(
    assignors: &[Arc<dyn Assignor>],
    topics: &BTreeSet<Arc<str>>,
    owned: BTreeSet<TopicPartition>,
    generation: i32,
    rack: &str,
) -> Result<Vec<JoinGroupRequestProtocol>> {
    let topics: Vec<Arc<str>> = topics.iter().cloned().collect();
    let mut protocols = Vec::new();
    for assignor in assignors {
        let subscription = MemberSubscription {
            user_data: assignor.user_data(&topics),
            topics: topics.clone(),
            owned_partitions: owned.iter().cloned().collect(),
            generation_id: Some(generation).filter(|generation| *generation >= 0),
            rack_id: Some(rack.to_owned()).filter(|rack| !rack.is_empty()),
        };
        protocols.push(JoinGroupRequestProtocol {
            name: Str::from(assignor.name()),
            metadata: assignor::encode_subscription(&subscription, assignor::SUBSCRIPTION_VERSION)?,
            ..Default::default()
        });
    }
    Ok(protocols)
}

/// The topics that an assignment was made from.
struct AssignedFrom {
    names: BTreeSet<Arc<str>>,
    described: Described,
}

/// The leader's work.
async fn assign(
    shared: &Shared,
    response: &JoinGroupResponse,
    protocol: &str,
) -> Result<(Vec<SyncGroupRequestAssignment>, Option<AssignedFrom>)> {
    let unknown = || {
        let message = format!("the coordinator chose the assignor {protocol:?}, which this consumer does not have");
        Error::new(ErrorKind::Internal, message)
    };
    let assignor = shared.options.assignors.iter().find(|a| a.name() == protocol).ok_or_else(unknown)?;
    let mut members = Vec::new();
    for member in &response.members {
        members.push(Member {
            id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.as_deref().map(str::to_owned),
            subscription: assignor::decode_subscription(&member.metadata)?,
        });
    }
    let names: BTreeSet<Arc<str>> = members.iter().flat_map(|m| m.subscription.topics.iter().cloned()).collect();
    let described = describe(&shared.client, Some(&names), false, &shared.client.deadline()).await?;
    let assignments = assignor.assign(&described.cluster(), &members)?;
    if assignor.supported_protocols().contains(&RebalanceProtocol::Cooperative)
        && assignor.name() != "cooperative-sticky"
        && shared.group.as_ref().is_some_and(|group| group.protocol == RebalanceProtocol::Cooperative)
    {
        assignor::validate_cooperative(&members, &assignments)?;
    }
    let mut encoded = Vec::new();
    for (member, assignment) in &assignments {
        encoded.push(SyncGroupRequestAssignment {
            member_id: Str::from(member.as_str()),
            assignment: assignor::encode_assignment(assignment, assignor::ASSIGNMENT_VERSION)?,
            ..Default::default()
        });
    }
    Ok((encoded, Some(AssignedFrom { names, described })))
}

/// Asks for a rebalance when topics, partitions or racks are not what the assignment of `attempt` was made from.
async fn watch(shared: Arc<Shared>, attempt: u64, made_from: Option<AssignedFrom>) {
    let Some(group) = &shared.group else { return };
    let client = &shared.client;
    let env = client.env();
    let mut incomplete = made_from.as_ref().is_some_and(|made| made.described.is_incomplete());
    loop {
        // A topic that is missing is looked for more often than one that may change.
        let wait = match incomplete {
            true => client.options().retry_backoff_max.min(client.options().metadata_max_age),
            false => client.options().metadata_max_age,
        };
        let due = env.monotonic().saturating_add(wait);
        while env.monotonic() < due {
            let changed = group.changed.notified();
            if !group.member.lock().classic().is_current(attempt) || shared.state.lock().closed {
                return;
            }
            let _ = env.timeout(due.saturating_sub(env.monotonic()), changed).await;
        }
        let wanted = shared.state.lock().subscription.wanted.clone();
        let deadline = client.deadline();
        if let Wanted::Pattern(pattern, topics) = &wanted {
            match describe(client, None, false, &deadline).await {
                Ok(found) if found.matching(pattern, shared.options.exclude_internal_topics) != *topics => {
                    return group.request_rejoin(&shared, "the topics that match the pattern changed");
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the topics of the group cannot be looked at"),
            }
        }
        if let Some(made) = &made_from {
            let create = shared.options.allow_auto_create_topics && !matches!(wanted, Wanted::Pattern(..));
            match describe(client, Some(&made.names), create && incomplete, &deadline).await {
                Ok(found) if found.cluster() != made.described.cluster() => {
                    return group.request_rejoin(&shared, "topics of the group changed");
                }
                Ok(found) => incomplete = found.is_incomplete(),
                Err(error) => tracing::debug!(%error, "the topics of the group cannot be looked at"),
            }
        }
    }
}
