//! One partition of `__consumer_offsets`: loading, events in, steps out, deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::{HeartbeatResponse, JoinGroupRequest};

use super::classic::{ClassicGroup, GroupState};
use super::config::GroupConfig;
use super::image::Image;
use super::records::CoordinatorRecord;
use super::step::{Event, JoinContext, Now, Reply, Step, append_error, join_error, sync_error};
use crate::Ticket;
use crate::timer::Timers;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// Look for expired offsets and for groups that nobody needs.
    Expiration,
    /// The join phase of a group ends.
    Join(Arc<str>),
    /// Members that have not sent SyncGroup are lost.
    Sync(Arc<str>),
    /// A member's session ends; also for member ids that were handed out and never used.
    Session(Arc<str>, Arc<str>),
}

/// What the rules of one group need from the shard while an event is handled.
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupConfig,
    pub(crate) timers: &'a mut Timers<TimerKey>,
    pub(crate) step: &'a mut Step,
}

impl Cx<'_> {
    pub(crate) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.step.replies.push((ticket, reply));
    }

    pub(crate) fn write(&mut self, record: CoordinatorRecord) {
        self.step.records.push(record);
    }
}

/// The groups and offsets of one partition of `__consumer_offsets`.
///
/// # Use
/// Load: [`replay`](Self::replay) every record of the log (and [`replay_marker`](Self::replay_marker) its transaction
/// markers), then [`loaded`](Self::loaded). Then, under one lock and without waiting in between: [`step`](Self::step),
/// append the step's records, `replay` them, and release the step's replies once the append is committed. When an append
/// fails, [`fail`](Self::fail) ends the shard, and loading starts over.
///
/// Time is what the caller says it is: see [`Now`].
#[derive(Debug)]
pub struct GroupShard {
    pub(crate) config: GroupConfig,
    pub(crate) image: Image,
    pub(crate) groups: BTreeMap<Arc<str>, ClassicGroup>,
    pub(crate) timers: Timers<TimerKey>,
}

impl GroupShard {
    /// An empty shard, ready for [`replay`](Self::replay).
    pub fn new(config: GroupConfig) -> Self {
        Self { config, image: Image::default(), groups: BTreeMap::new(), timers: Timers::new() }
    }

    /// Applies one record: `offset` is where it lies in the log, `producer_id` that of a transactional batch, or -1.
    pub fn replay(&mut self, offset: i64, producer_id: i64, record: &CoordinatorRecord) {
        self.image.replay(offset, producer_id, record);
    }

    /// Applies a transaction marker of the log: the producer's offsets are committed, or dropped.
    pub fn replay_marker(&mut self, producer_id: i64, committed: bool) {
        self.image.end_transaction(producer_id, committed);
    }

    /// The log has been read: members of loaded groups get one session timeout to show up.
    pub fn loaded(&mut self, now: Now) -> Step {
        let mut step = Step::default();
        for (id, image) in &self.image.groups {
            self.groups.insert(id.clone(), ClassicGroup::from_image(id.clone(), image));
        }
        for id in self.image.groups_with_offsets() {
            self.groups.entry(id.clone()).or_insert_with(|| ClassicGroup::new(id, now.wall_ms));
        }
        let Self { config, groups, timers, .. } = self;
        let cx = &mut Cx { now, config, timers, step: &mut step };
        for group in groups.values_mut() {
            for member_id in group.members.keys() {
                group.touch(cx, member_id);
            }
            if group.members.len() > cx.config.max_size {
                // group.max.size has become smaller: a rebalance lets the members commit, then turns some away.
                group.prepare_rebalance(cx, "the loaded group is larger than group.max.size");
            }
        }
        timers.schedule(TimerKey::Expiration, now.steady_ms.saturating_add(config.offsets_retention_check_interval_ms));
        step
    }

    /// Handles one event. See the type for what the caller does with the result.
    pub fn step(&mut self, now: Now, event: Event) -> Step {
        let mut step = Step::default();
        match event {
            Event::JoinGroup { ticket, context, request } => {
                self.join_group(now, &mut step, ticket, &context, &request);
            }
            Event::SyncGroup { ticket, request } => match self.group_cx(now, &mut step, &request.group_id) {
                (Some(group), mut cx) => group.sync(&mut cx, ticket, &request),
                (None, mut cx) => {
                    let error = group_error(&request.group_id);
                    cx.reply(ticket, Reply::Sync(sync_error(error)));
                }
            },
            Event::Heartbeat { ticket, request } => {
                let (group, mut cx) = self.group_cx(now, &mut step, &request.group_id);
                let error = match group {
                    Some(group) => group.heartbeat(&mut cx, &request),
                    None => group_error(&request.group_id),
                };
                let reply = HeartbeatResponse { error_code: error.code(), ..Default::default() };
                cx.reply(ticket, Reply::Heartbeat(reply));
            }
            Event::LeaveGroup { ticket, api_version, request } => {
                let (group, mut cx) = self.group_cx(now, &mut step, &request.group_id);
                let reply = super::leave::leave_group(group, &mut cx, api_version, &request);
                cx.reply(ticket, Reply::Leave(reply));
            }
            Event::OffsetCommit { ticket, api_version, request } => {
                let reply = self.commit_offsets(now, &mut step, api_version, &request);
                step.replies.push((ticket, Reply::OffsetCommit(reply)));
            }
            Event::TxnOffsetCommit { ticket, request } => {
                let reply = self.commit_offsets_of_transaction(now, &mut step, &request);
                step.replies.push((ticket, Reply::TxnOffsetCommit(reply)));
            }
            Event::OffsetDelete { ticket, request } => {
                let reply = self.delete_offsets(&mut step, &request);
                step.replies.push((ticket, Reply::OffsetDelete(reply)));
            }
            Event::DeleteGroups { ticket, groups } => {
                let reply = self.delete_groups(&mut step, groups);
                step.replies.push((ticket, Reply::DeleteGroups(reply)));
            }
            Event::MembersGone => {
                let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
                for id in ids {
                    if let (Some(group), mut cx) = self.group_cx(now, &mut step, &id) {
                        group.lose_all(&mut cx);
                    }
                }
            }
            Event::Rebalance(group_id) => {
                if let (Some(group), mut cx) = self.group_cx(now, &mut step, &group_id)
                    && matches!(group.state, GroupState::Stable | GroupState::CompletingRebalance)
                {
                    group.prepare_rebalance(&mut cx, "asked for from outside the group");
                }
            }
            Event::TopicDeleted(topic) => self.topic_deleted(&mut step, &topic),
            Event::Tick => self.tick(now, &mut step),
        }
        step
    }

    /// Whether the group exists and has members.
    pub fn has_members(&self, group_id: &str) -> bool {
        self.groups.get(group_id).is_some_and(|group| !group.members.is_empty())
    }

    /// When the next [`Event::Tick`] is due, on the steady clock; it may get earlier with every step.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// The records of `step` could not be appended: everybody who waits is told, and the shard is over.
    pub fn fail(self, step: Step, error: ErrorCode) -> Vec<(Ticket, Reply)> {
        let error = append_error(error);
        let failed = step.replies.into_iter().map(|(ticket, reply)| (ticket, reply.into_error(error)));
        failed.chain(self.unload()).collect()
    }

    /// The partition has moved, or the broker closes: everybody who waits is sent to look for the coordinator.
    pub fn unload(self) -> Vec<(Ticket, Reply)> {
        let mut replies = Vec::new();
        for member in self.groups.into_values().flat_map(|group| group.members.into_values()) {
            if let Some(ticket) = member.awaiting_join {
                replies.push((ticket, Reply::Join(join_error(&member.id, ErrorCode::NotCoordinator))));
            }
            if let Some(ticket) = member.awaiting_sync {
                replies.push((ticket, Reply::Sync(sync_error(ErrorCode::NotCoordinator))));
            }
        }
        replies
    }

    /// Records of kinds that this version does not serve, as they are in the log.
    pub fn other_records(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.image.others()
    }

    fn group_cx<'a>(
        &'a mut self,
        now: Now,
        step: &'a mut Step,
        group_id: &str,
    ) -> (Option<&'a mut ClassicGroup>, Cx<'a>) {
        let Self { config, groups, timers, .. } = self;
        (groups.get_mut(group_id), Cx { now, config, timers, step })
    }

    fn join_group(
        &mut self,
        now: Now,
        step: &mut Step,
        ticket: Ticket,
        context: &JoinContext,
        request: &JoinGroupRequest,
    ) {
        let sessions = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        let is_new_group = !self.groups.contains_key(&*request.group_id);
        let refusal = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !sessions.contains(&request.session_timeout_ms) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if is_new_group && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refusal {
            step.replies.push((ticket, Reply::Join(join_error(&request.member_id, error))));
            return;
        }
        let id: Arc<str> = (&request.group_id).into();
        let Self { config, groups, timers, .. } = self;
        let group = groups.entry(id.clone()).or_insert_with(|| ClassicGroup::new(id.clone(), now.wall_ms));
        let new_image = is_new_group.then(|| group.to_image());
        let mut cx = Cx { now, config, timers, step };
        group.join(&mut cx, ticket, context, request);
        if let Some(image) = new_image.filter(|_| cx.step.records.is_empty()) {
            // The group exists from now on, also after a restart.
            cx.write(CoordinatorRecord::GroupMetadata { group: id, value: Some(image) });
        }
    }

    fn tick(&mut self, now: Now, step: &mut Step) {
        let mark = self.timers.mark();
        while let Some(key) = self.timers.pop_due(now.steady_ms, mark) {
            match key {
                TimerKey::Expiration => {
                    self.expire_offsets(now.wall_ms, step);
                    let interval_ms = self.config.offsets_retention_check_interval_ms.max(1);
                    self.timers.schedule(TimerKey::Expiration, now.steady_ms.saturating_add(interval_ms));
                }
                TimerKey::Join(id) => {
                    if let (Some(group), mut cx) = self.group_cx(now, step, &id) {
                        group.join_deadline(&mut cx);
                    }
                }
                TimerKey::Sync(id) => {
                    if let (Some(group), mut cx) = self.group_cx(now, step, &id) {
                        group.sync_deadline(&mut cx);
                    }
                }
                TimerKey::Session(id, member_id) => {
                    if let (Some(group), mut cx) = self.group_cx(now, step, &id) {
                        group.session_deadline(&mut cx, &member_id);
                    }
                }
            }
        }
    }

    /// Takes an empty group out of memory, with its deadlines, and writes its tombstone.
    pub(crate) fn remove_group(&mut self, step: &mut Step, id: &str) {
        let Some((id, group)) = self.groups.remove_entry(id) else { return };
        debug_assert_eq!(group.state, GroupState::Empty, "only empty groups are removed");
        for member_id in group.pending_join {
            self.timers.cancel(&TimerKey::Session(id.clone(), member_id));
        }
        self.timers.cancel(&TimerKey::Join(id.clone()));
        self.timers.cancel(&TimerKey::Sync(id.clone()));
        step.records.push(CoordinatorRecord::GroupMetadata { group: id, value: None });
    }
}

/// What a request about a group that does not exist gets, where the protocol only knows members.
fn group_error(group_id: &str) -> ErrorCode {
    if group_id.is_empty() { ErrorCode::InvalidGroupId } else { ErrorCode::UnknownMemberId }
}
