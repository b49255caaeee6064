//! A classic group in memory: its members, its state, and the votes for a protocol.
//!
//! This is the soft side: who is alive and who waits. What has to survive is written as a [`GroupImage`] when a
//! generation becomes stable or empty. The rules that move a group from state to state are in `join`, `rebalance`,
//! `sync` and `leave`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use ottla_model::ErrorCode;

use super::image::{GroupImage, MemberImage};
use super::member::Member;
use super::shard::{Cx, TimerKey};
use super::step::{Now, Reply, join_error, sync_error};

/// The protocol type of ordinary consumers, whose subscriptions the coordinator can read.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a classic group stands.
///
/// ```text
/// Empty → PreparingRebalance → CompletingRebalance → Stable
///   ↑              ↑ ↓                 ↓                ↓
///   └── nobody ────┘ └── a member joined, left, or was lost
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// The name in DescribeGroups and ListGroups.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What is left of the initial rebalance delay: the group's first generation waits for stragglers, in rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialDelay {
    pub(crate) delay_ms: i64,
    pub(crate) remaining_ms: i64,
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(crate) id: Arc<str>,
    pub(crate) state: GroupState,
    /// The rebalance under way is the first one after the group was empty; only its delay ends it.
    pub(crate) was_empty: bool,
    /// When the state was entered; `None` for a group loaded from an old record.
    pub(crate) state_timestamp_ms: Option<i64>,
    /// `None` until a first member joins: a group that only stores offsets.
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// `group.instance.id` → member id.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Member ids that were handed out (MEMBER_ID_REQUIRED) and have not come back yet.
    pub(crate) pending_join: BTreeSet<Arc<str>>,
    /// Members of the current generation that have not sent SyncGroup yet.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    /// How many members have a parked JoinGroup.
    pub(crate) awaiting_join: usize,
    /// Protocol → how many members support it.
    supported: BTreeMap<Arc<str>, usize>,
    /// `None`: not known, because the protocol is not the consumers' or could not be read.
    pub(crate) subscribed_topics: Option<BTreeSet<Arc<str>>>,
    pub(crate) new_member_added: bool,
    pub(crate) initial_delay: Option<InitialDelay>,
}

impl ClassicGroup {
    pub(crate) fn new(id: Arc<str>, wall_ms: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            was_empty: false,
            state_timestamp_ms: Some(wall_ms),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            supported: BTreeMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            initial_delay: None,
        }
    }

    /// The group as its last record left it, as after a restart.
    pub(crate) fn from_image(id: Arc<str>, image: &GroupImage) -> Self {
        let mut group = Self::new(id, image.state_timestamp_ms);
        group.state = if image.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_timestamp_ms = (image.state_timestamp_ms != -1).then_some(image.state_timestamp_ms);
        group.protocol_type = (!image.protocol_type.is_empty()).then(|| image.protocol_type.clone());
        group.protocol = image.protocol.clone();
        group.generation = image.generation;
        group.leader = image.leader.clone();
        for member in &image.members {
            let protocol = image.protocol.clone().unwrap_or_else(|| "".into());
            group.add(Member::from_image(member, protocol), None);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// What has to be written for this generation.
    pub(crate) fn to_image(&self) -> GroupImage {
        let member = |member: &Member| MemberImage {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: self.protocol.as_ref().and_then(|name| member.metadata(name)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        };
        GroupImage {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| "".into()),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.state_timestamp_ms.unwrap_or(-1),
            members: self.members.values().map(member).collect(),
        }
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn transition_to(&mut self, state: GroupState, now: Now) {
        self.was_empty = self.state == GroupState::Empty;
        self.state = state;
        self.state_timestamp_ms = Some(now.wall_ms);
    }

    /// Adds a member; the first one gives the group its protocol type, and leads it.
    pub(crate) fn add(&mut self, mut member: Member, ticket: Option<crate::Ticket>) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.members.is_empty()
            && let Some(protocol_type) = &member.protocol_type
        {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.count_protocols(&member, true);
        self.awaiting_join += usize::from(ticket.is_some());
        member.awaiting_join = ticket;
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member, pending or full, out of the group. Requests that it had parked are told that it is unknown, so
    /// that a client that is still there joins again.
    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        if let Some(member) = self.members.remove(member_id) {
            self.count_protocols(&member, false);
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
            if let Some(ticket) = member.awaiting_join {
                self.awaiting_join -= 1;
                cx.reply(ticket, Reply::Join(join_error("", ErrorCode::UnknownMemberId)));
            }
            if let Some(ticket) = member.awaiting_sync {
                cx.reply(ticket, Reply::Sync(sync_error(ErrorCode::UnknownMemberId)));
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        cx.timers.cancel(&TimerKey::Session(self.id.clone(), member_id.into()));
    }

    /// Counts a member's protocols in or out. Called around every change of [`Member::protocols`].
    pub(crate) fn count_protocols(&mut self, member: &Member, add: bool) {
        for (name, _) in &member.protocols {
            let count = self.supported.entry(name.clone()).or_default();
            if add {
                *count += 1;
            } else {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Whether a member with these protocols can be in this group: the type is the same, and one protocol is common to
    /// all. An empty group takes any member that names a type and a protocol.
    pub(crate) fn supports_protocols<'a>(&self, protocol_type: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && names.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && names.any(|name| self.supported.get(name).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol that most members like best among those that all support; a tie goes to the first name in order.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let is_candidate = |name: &Arc<str>| self.supported.get(name) == Some(&self.members.len());
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| is_candidate(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    pub(crate) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest rebalance timeout of any member, milliseconds.
    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    /// Checks who speaks: UNKNOWN_MEMBER_ID, or FENCED_INSTANCE_ID for a static member that another one has replaced.
    pub(crate) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(existing) if &**existing != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// (Re)starts the member's session timeout.
    pub(crate) fn touch(&self, cx: &mut Cx<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            self.expire_in(cx, &member.id, i64::from(member.session_timeout_ms));
        }
    }

    pub(crate) fn expire_in(&self, cx: &mut Cx<'_>, member_id: &Arc<str>, timeout_ms: i64) {
        let key = TimerKey::Session(self.id.clone(), member_id.clone());
        cx.timers.schedule(key, cx.now.steady_ms.saturating_add(timeout_ms));
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether a member reads `topic`; when that cannot be known, a consumer group is taken to read everything.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(crate) fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            if parse_subscription(&member.metadata(protocol)?, &mut topics).is_none() {
                tracing::warn!(group = &*self.id, "a member's subscription cannot be read; its topics are not known");
                return None;
            }
        }
        Some(topics)
    }
}

/// Reads the topics of a ConsumerProtocolSubscription. Every version begins as version 0 does:
/// `i16 version | i32 count | count × (i16 length | UTF-8)`.
fn parse_subscription(metadata: &Bytes, topics: &mut BTreeSet<Arc<str>>) -> Option<()> {
    let mut rest: &[u8] = metadata;
    rest.try_get_i16().ok()?;
    let count = rest.try_get_i32().ok()?;
    for _ in 0..count {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        let (name, tail) = rest.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?.into());
        rest = tail;
    }
    Some(())
}
