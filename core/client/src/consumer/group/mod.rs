//! Being a member of a group: what `poll` does for it, and the connection to its coordinator.
//!
//! Of the classic protocol the state machine is in `classic`, the tasks that join and send heartbeats in `join` and
//! `heartbeat`; of KIP-848 they are in `kip848` and `heartbeat848`. `membership` is what both have in common.

pub(super) mod classic;
mod clock;
mod heartbeat;
mod heartbeat848;
mod join;
mod kip848;
pub(super) mod membership;

use super::listener::RebalanceListener;
use super::options::{ConsumerOptions, GroupProtocol};
use super::position::Place;
use super::{Consumer, GroupMembership, Shared};
use crate::broker::{Broker, Connection, Purpose};
use crate::client::Client;
use crate::consumer::assignor::{self, Assignment, RebalanceProtocol};
use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use crate::retry::Deadline;
use classic::{Action, Classic, Completion, Identity};
use kip848::Modern;
use membership::Membership;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::Request;
use ottla_protocol::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::leave_group_response::LeaveGroupResponse;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long leaving waits at most for the answer that tells this member its id.
const NAMELESS_MAX: Duration = Duration::from_secs(10);

/// A consumer's part in its group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<String>,
    /// Locked after nothing and before nothing.
    pub(super) member: Mutex<Membership>,
    /// Of KIP-848 as good as cooperative.
    pub(super) protocol: RebalanceProtocol,
    is_classic: bool,
    /// Connections to the coordinator of this consumer's own: JoinGroup waits for other members, and what is behind it
    /// on its connection waits too.
    link: Mutex<Option<Link>>,
    /// A JoinGroup is under way that gives this member its id. The group waits for whoever has been given one, so that
    /// leaving has to wait for it as well.
    asking: AtomicBool,
    /// The tasks for heartbeats and metadata look again.
    changed: Notify,
}

#[derive(Debug, Clone)]
struct Link {
    address: String,
    calls: Arc<Broker>,
    joins: Arc<Broker>,
}

/// Which connection to the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Heartbeats, commits, leaving.
    Calls,
    /// JoinGroup and SyncGroup.
    Joins,
}

impl Group {
    /// `options` that do not fit together are found when something is subscribed to.
    pub(super) fn new(id: &str, options: &ConsumerOptions) -> Group {
        let is_classic = options.group_protocol == GroupProtocol::Classic;
        let (member, protocol) = match is_classic {
            true => {
                let protocol = assignor::rebalance_protocol(&options.assignors).unwrap_or(RebalanceProtocol::Eager);
                (Membership::Classic(Classic::new(options.max_poll_interval)), protocol)
            }
            false => {
                let modern = Modern::new(options.max_poll_interval, options.heartbeat_interval);
                (Membership::Modern(modern), RebalanceProtocol::Cooperative)
            }
        };
        Group {
            id: Arc::from(id),
            instance_id: options.group_instance_id.clone(),
            member: Mutex::new(member),
            protocol,
            is_classic,
            link: Mutex::default(),
            asking: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(super) fn label(&self) -> String {
        format!("group {}", self.id)
    }

    pub(super) fn instance(&self) -> Option<Str> {
        self.instance_id.as_deref().map(Str::from)
    }

    fn coordinator_of(&self) -> Coordinator {
        Coordinator::Group(self.id.clone())
    }

    /// The next call looks for the coordinator anew.
    pub(super) fn forget_coordinator(&self, client: &Client) {
        client.forget_coordinator(&self.coordinator_of());
    }

    /// A connection to the coordinator.
    pub(super) async fn connection(&self, client: &Client, lane: Lane, deadline: &Deadline) -> Result<Arc<Connection>> {
        let coordinator = client.coordinator(&self.coordinator_of(), deadline).await?;
        let link = {
            let mut link = self.link.lock();
            let fits = |link: &Link| link.address == coordinator.address && link.calls.node() == coordinator.node();
            if !link.as_ref().is_some_and(fits) {
                if let Some(old) = link.take() {
                    old.close();
                }
                let address = || coordinator.address.clone();
                let broker = || match coordinator.node() {
                    Some(node) => Arc::new(Broker::coordinator(node, address())),
                    None => Arc::new(Broker::new(address())),
                };
                *link = Some(Link { address: address(), calls: broker(), joins: broker() });
            }
            link.clone().expect("set above")
        };
        let broker = if lane == Lane::Joins { link.joins } else { link.calls };
        let left = deadline.left(client.env()).unwrap_or_default();
        broker.connection(client.env(), client.options(), Purpose::General, left).await
    }

    /// One request to the coordinator, at most at version `highest`. A connection that fails sends the next request to
    /// look for the coordinator.
    pub(super) async fn ask<R: Request>(
        &self,
        client: &Client,
        lane: Lane,
        request: impl FnOnce(i16) -> R,
        highest: i16,
        timeout: Duration,
        deadline: &Deadline,
    ) -> Result<R::Response> {
        let result = async {
            let connection = self.connection(client, lane, deadline).await?;
            let version = connection.version::<R>()?.min(highest);
            connection.request_at(&request(version), version, timeout).await
        };
        let result = result.await;
        if let Err(error) = &result
            && error.is_retriable()
        {
            self.forget_coordinator(client);
        }
        result
    }

    /// The error of an answer; a coordinator that is none any more is looked for anew by the next call.
    fn refused(&self, client: &Client, code: ErrorCode, message: Option<&str>) -> Error {
        if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            self.forget_coordinator(client);
        }
        Error::from_code(code, &self.label(), message)
    }

    pub(super) fn close_links(&self) {
        if let Some(link) = self.link.lock().take() {
            link.close();
        }
        self.changed.notify_waiters();
    }

    /// Waits while an id is asked for.
    async fn asked(&self, shared: &Shared, deadline: &Deadline) {
        let env = shared.client.env();
        let patience = Deadline::after(env, deadline.left(env).unwrap_or_default().min(NAMELESS_MAX));
        loop {
            let changed = self.changed.notified();
            let Some(left) = patience.left(env).filter(|_| self.asking.load(Ordering::Acquire)) else { return };
            let _ = env.timeout(left, changed).await;
        }
    }

    /// Another task has to look at `member` again.
    pub(super) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Asks for a rebalance at the next poll.
    pub(super) fn request_rejoin(&self, shared: &Shared, reason: &str) {
        if self.member.lock().request_rejoin(reason) {
            tracing::debug!(group = &*self.id, reason, "will join again");
            self.notify();
            shared.arrived.notify_waiters();
        }
    }
}

impl Link {
    fn close(&self) {
        self.calls.close();
        self.joins.close();
    }
}

/// Marks the time in which the application is inside a poll.
pub(super) struct InPoll<'a>(pub(super) &'a Shared);

impl InPoll<'_> {
    pub(super) fn enter(shared: &Shared) -> InPoll<'_> {
        if let Some(group) = &shared.group {
            group.member.lock().enter(shared.client.env().monotonic());
        }
        InPoll(shared)
    }
}

impl Drop for InPoll<'_> {
    fn drop(&mut self) {
        if let Some(group) = &self.0.group {
            // The heartbeat task is not woken: it looks at least once per heartbeat.interval.ms.
            group.member.lock().exit(self.0.client.env().monotonic());
        }
    }
}

/// Marks the time in which the application's own code runs inside a poll: it counts as time between polls.
struct OutOfPoll<'a>(&'a Shared, &'a Group);

impl<'a> OutOfPoll<'a> {
    fn new(shared: &'a Shared, group: &'a Group) -> OutOfPoll<'a> {
        group.member.lock().exit(shared.client.env().monotonic());
        OutOfPoll(shared, group)
    }
}

impl Drop for OutOfPoll<'_> {
    fn drop(&mut self) {
        self.1.member.lock().enter(self.0.client.env().monotonic());
    }
}

/// What happened to partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Revoked,
    Assigned,
    Lost,
}

/// Calls the application's listener, outside of the lock. `polling`: from within a poll.
async fn call(consumer: &Consumer, change: Change, partitions: &[TopicPartition], polling: bool) -> Result<()> {
    let shared = &consumer.shared;
    let Some(listener) = shared.state.lock().subscription.listener.clone() else { return Ok(()) };
    let group = shared.group.as_ref().filter(|_| polling);
    let _out = group.map(|group| OutOfPoll::new(shared, group));
    let listener: &dyn RebalanceListener = &*listener;
    let env = shared.client.env();
    let began = env.monotonic();
    let called = match change {
        Change::Revoked => listener.on_partitions_revoked(consumer, partitions).await,
        Change::Assigned => listener.on_partitions_assigned(consumer, partitions).await,
        Change::Lost => listener.on_partitions_lost(consumer, partitions).await,
    };
    shared.metrics.called(change, env.monotonic().saturating_sub(began));
    called
}

fn sorted(partitions: impl IntoIterator<Item = TopicPartition>) -> Vec<TopicPartition> {
    let set: BTreeSet<TopicPartition> = partitions.into_iter().collect();
    set.into_iter().collect()
}

/// Does what the group needs poll for. Calls the application; does not wait for other members.
pub(super) async fn drive(consumer: &Consumer, group: &Group) -> Result<()> {
    let shared = &consumer.shared;
    if !shared.state.lock().subscription.is_group() {
        return Ok(());
    }
    let mut result = Ok(());
    loop {
        let action = group.member.lock().action();
        let step = match action {
            Action::None => return result,
            Action::Fail(error) => return result.and(Err(error)),
            Action::Prepare { lost } => {
                let prepared = prepare(consumer, group, lost).await;
                let (attempt, reason) = group.member.lock().prepared();
                match reason {
                    Some(reason) => join::start(shared, attempt, reason),
                    None => group.notify(),
                }
                prepared
            }
            Action::Complete(completion) => {
                let attempt = group.member.lock().attempt();
                complete(consumer, group, attempt, completion).await
            }
        };
        result = result.and(step);
    }
}

/// Before joining: commits, and has the application give up what it must.
async fn prepare(consumer: &Consumer, group: &Group, lost: bool) -> Result<()> {
    let shared = &consumer.shared;
    if !lost && group.is_classic {
        commit_first(shared, group).await;
    }
    let owned = sorted(shared.state.lock().partitions.keys().cloned());
    if lost {
        if owned.is_empty() {
            return Ok(());
        }
        let called = call(consumer, Change::Lost, &owned, true).await;
        shared.state.lock().unassign(&owned);
        return called;
    }
    if !group.is_classic {
        // The broker says what to give up, once this is a member.
        return Ok(());
    }
    let given_up = match group.protocol {
        // A member that is new has nothing, and hears nothing.
        RebalanceProtocol::Eager if group.member.lock().identity().generation < 0 => return Ok(()),
        RebalanceProtocol::Eager => owned,
        RebalanceProtocol::Cooperative => {
            let subscription = shared.state.lock().subscription.clone();
            let gone: Vec<_> = owned.into_iter().filter(|partition| !subscription.covers(partition)).collect();
            if gone.is_empty() {
                return Ok(());
            }
            gone
        }
    };
    let called = call(consumer, Change::Revoked, &given_up, true).await;
    shared.state.lock().unassign(&given_up);
    called
}

/// Commits what was read of partitions that may go.
async fn commit_first(shared: &Arc<Shared>, group: &Group) {
    if shared.options.enable_auto_commit && !shared.state.lock().partitions.is_empty() {
        let limit = shared.options.max_poll_interval.min(shared.client.options().request_timeout);
        if let Err(error) = shared.commit_positions(limit).await {
            tracing::warn!(group = &*group.id, %error, "the offsets were not committed before the rebalance");
        }
    }
}

/// After joining: takes over the assignment and tells the application.
async fn complete(consumer: &Consumer, group: &Group, attempt: u64, completion: Completion) -> Result<()> {
    let shared = &consumer.shared;
    let mut result = Ok(());
    let began = shared.client.env().monotonic();
    let added = match completion.added {
        // An earlier poll was dropped while the application was told.
        Some(added) => added,
        None => {
            let (owned, fits) = {
                let state = shared.state.lock();
                let fits = completion.assigned.iter().all(|partition| state.subscription.covers(partition));
                (sorted(state.partitions.keys().cloned()), fits)
            };
            if !fits && group.is_classic {
                group.request_rejoin(shared, "the subscription changed while joining");
                group.member.lock().completed(attempt);
                return Ok(());
            }
            let revoked: Vec<_> = owned.iter().filter(|p| !completion.assigned.contains(p)).cloned().collect();
            let added = sorted(completion.assigned.iter().filter(|p| !owned.contains(p)).cloned());
            if !revoked.is_empty() {
                if group.is_classic {
                    group.request_rejoin(shared, "need to revoke partitions and re-join");
                }
                commit_first(shared, group).await;
                result = call(consumer, Change::Revoked, &revoked, true).await;
            }
            if group.is_classic {
                tell_assignor(shared, group, &completion);
            }
            shared.auto_commit_later();
            let assigned = completion.assigned.iter().map(|partition| (partition.clone(), Place::Committed));
            shared.state.lock().assign(assigned, true);
            group.member.lock().progress(attempt, added.clone());
            added
        }
    };
    result = result.and(call(consumer, Change::Assigned, &added, true).await);
    shared.release();
    group.member.lock().completed(attempt);
    if !group.is_classic {
        let now = shared.client.env().monotonic();
        shared.metrics.rebalanced(now.saturating_sub(began), now);
    }
    group.notify();
    tracing::debug!(group = &*group.id, assigned = completion.assigned.len(), added = added.len(), "joined");
    result
}

fn tell_assignor(shared: &Shared, group: &Group, completion: &Completion) {
    let (chosen, generation) = {
        let mut member = group.member.lock();
        let member = member.classic();
        (member.protocol.clone(), member.identity().generation)
    };
    if let Some(assignor) = shared.options.assignors.iter().find(|a| Some(a.name()) == chosen.as_deref()) {
        let assignment =
            Assignment { partitions: completion.assigned.clone(), user_data: completion.user_data.clone() };
        assignor.on_assignment(&assignment, generation);
    }
}

/// Gives up the membership: the application hears that its partitions go, then the coordinator, as `how` says.
pub(super) async fn leave(
    consumer: &Consumer,
    group: &Group,
    how: GroupMembership,
    reason: &str,
    deadline: &Deadline,
) -> Result<()> {
    let shared = &consumer.shared;
    let owned = sorted(shared.state.lock().partitions.keys().cloned());
    let lost = group.member.lock().is_lost();
    let mut result = Ok(());
    if !owned.is_empty() {
        result = call(consumer, if lost { Change::Lost } else { Change::Revoked }, &owned, false).await;
        shared.state.lock().unassign(&owned);
    }
    let identity = group.member.lock().leave();
    group.notify();
    group.asked(shared, deadline).await;
    let Some(identity) = identity else { return result };
    let fixed = group.instance_id.is_some();
    let client = &shared.client;
    let mut backoff = client.backoff();
    loop {
        let told = match (how, group.is_classic) {
            // A static member's absence is left to its session timeout.
            (GroupMembership::Default, true) if fixed => Ok(()),
            // KIP-848 knows a static member that will come back.
            (GroupMembership::Remain, _) if !fixed || group.is_classic => Ok(()),
            (_, true) => send_leave(client, group, &identity, reason, deadline).await,
            (how, false) => {
                let for_good = !fixed || how == GroupMembership::Leave;
                heartbeat848::leave(shared, group, &identity, for_good, deadline).await
            }
        };
        // A connection that another request has ended, a coordinator that has moved: otherwise the others would wait for
        // session.timeout.ms. To leave twice does no harm.
        match told {
            Err(error) if error.is_retriable() && backoff.pause(client.env(), deadline).await => {}
            told => return result.and(told),
        }
    }
}

async fn send_leave(client: &Client, group: &Group, who: &Identity, reason: &str, deadline: &Deadline) -> Result<()> {
    let timeout = deadline.left(client.env()).unwrap_or_default().min(client.options().request_timeout);
    let request = |version: i16| {
        let member = MemberIdentity {
            member_id: Str::from(who.member_id.as_str()),
            group_instance_id: group.instance(),
            // Cut as Kafka's clients do.
            reason: Some(Str::from(reason.chars().take(255).collect::<String>())),
            ..Default::default()
        };
        let (member_id, members) = match version {
            ..3 => (member.member_id.clone(), Vec::new()),
            3.. => (Str::default(), vec![member]),
        };
        LeaveGroupRequest { group_id: Str::from(&*group.id), member_id, members, ..Default::default() }
    };
    let response: LeaveGroupResponse = group.ask(client, Lane::Calls, request, i16::MAX, timeout, deadline).await?;
    let code =
        response.members.first().map_or(response.error_code, |member| member.error_code.max(response.error_code));
    match ErrorCode::from_code(code) {
        // Gone already is gone.
        ErrorCode::None | ErrorCode::UnknownMemberId => Ok(()),
        code => Err(group.refused(client, code, None)),
    }
}

/// Starts the task that sends heartbeats.
pub(super) fn start_heartbeats(shared: &Arc<Shared>, group: &Group) {
    match group.is_classic {
        true => heartbeat::start(shared),
        false => heartbeat848::start(shared),
    }
}
