//! JoinGroup v0-9: what a join request means for its group.
//!
//! v4: a new dynamic member is given a member id and asked to come back (KIP-394). v5: static members (KIP-345). v9: a
//! replaced static leader learns the members and that it must not assign (KIP-814).

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::join_group_response::JoinGroupResponseMember;
use ottla_protocol::{JoinGroupRequest, JoinGroupResponse};

use super::classic::{ClassicGroup, GroupState};
use super::member::{self, Member};
use super::records::CoordinatorRecord;
use super::shard::{Cx, TimerKey};
use super::step::{JoinContext, Reply, join_error, sync_error};
use crate::Ticket;

/// From this version on a new dynamic member has to come back with the id it was given.
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// From this version on a client understands `SkipAssignment`.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// One JoinGroup on its way through the rules.
pub(crate) struct Join<'a> {
    pub(crate) ticket: Ticket,
    pub(crate) context: &'a JoinContext,
    pub(crate) request: &'a JoinGroupRequest,
}

impl ClassicGroup {
    pub(crate) fn join(&mut self, cx: &mut Cx<'_>, ticket: Ticket, context: &JoinContext, request: &JoinGroupRequest) {
        let join = &Join { ticket, context, request };
        let member_id = &*request.member_id;
        if !self.accepts(cx, member_id) {
            self.remove(cx, member_id);
            return cx.reply(ticket, Reply::Join(join_error("", ErrorCode::GroupMaxSizeReached)));
        }
        let names = request.protocols.iter().map(|protocol| &*protocol.name);
        if !self.supports_protocols(&request.protocol_type, names) {
            return cx.reply(ticket, Reply::Join(join_error(member_id, ErrorCode::InconsistentGroupProtocol)));
        }
        if member_id.is_empty() { self.join_new(cx, join) } else { self.join_existing(cx, join) }
    }

    /// Whether there is room. While members gather, those who wait are counted, so that a group that has become too
    /// large sheds whoever comes last; afterwards, all members are.
    fn accepts(&self, cx: &Cx<'_>, member_id: &str) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some()) || self.awaiting_join < cx.config.max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < cx.config.max_size
            }
        }
    }

    fn join_new(&mut self, cx: &mut Cx<'_>, join: &Join<'_>) {
        let instance_id = join.request.group_instance_id.as_deref();
        let new_id: Arc<str> = {
            let prefix = instance_id.unwrap_or(&join.context.client_id);
            format!("{prefix}-{}", uuid_text(join.context.random)).into()
        };
        match instance_id {
            Some(instance_id) => match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static(cx, join, instance_id, &old_id, new_id),
                None => self.add_member(cx, join, new_id),
            },
            None if join.context.api_version >= MEMBER_ID_REQUIRED_VERSION => {
                self.pending_join.insert(new_id.clone());
                self.expire_in(cx, &new_id, i64::from(join.request.session_timeout_ms));
                cx.reply(join.ticket, Reply::Join(join_error(&new_id, ErrorCode::MemberIdRequired)));
            }
            None => self.add_member(cx, join, new_id),
        }
    }

    fn join_existing(&mut self, cx: &mut Cx<'_>, join: &Join<'_>) {
        let member_id = &*join.request.member_id;
        let instance_id = join.request.group_instance_id.as_deref();
        if self.pending_join.contains(member_id) && instance_id.is_none() {
            return self.add_member(cx, join, member_id.into());
        }
        if let Err(error) = self.validate_member(member_id, instance_id) {
            return cx.reply(join.ticket, Reply::Join(join_error(member_id, error)));
        }
        let is_unchanged = self.members.get(member_id).is_some_and(|member| member.matches(join.request));
        match self.state {
            GroupState::PreparingRebalance => self.rejoin(cx, join, "a member rejoins"),
            // The member may have missed the reply to its first JoinGroup: it gets it again.
            GroupState::CompletingRebalance if is_unchanged => {
                let reply = self.join_reply(member_id, self.is_leader(member_id));
                cx.reply(join.ticket, Reply::Join(reply));
            }
            GroupState::CompletingRebalance => self.rejoin(cx, join, "a member changed its metadata"),
            // A leader that joins again wants a new assignment, for instance because its topics changed.
            GroupState::Stable if self.is_leader(member_id) => self.rejoin(cx, join, "the leader rejoins"),
            GroupState::Stable if !is_unchanged => self.rejoin(cx, join, "a member changed its metadata"),
            GroupState::Stable => cx.reply(join.ticket, Reply::Join(self.join_reply(member_id, false))),
            GroupState::Empty => {
                cx.reply(join.ticket, Reply::Join(join_error(member_id, ErrorCode::UnknownMemberId)));
            }
        }
    }

    fn add_member(&mut self, cx: &mut Cx<'_>, join: &Join<'_>, id: Arc<str>) {
        if self.state == GroupState::PreparingRebalance && self.was_empty {
            self.new_member_added = true;
        }
        self.add(Member::new(id.clone(), join.context, join.request), Some(join.ticket));
        // A new member has no id to send heartbeats with, and its connection is silent while the request is parked. So
        // a client that went away is only found by this timeout; one that is still there joins again.
        self.expire_in(cx, &id, i64::from(cx.config.new_member_join_timeout_ms));
        self.rebalance_or_complete(cx, "a new member joined");
    }

    fn rejoin(&mut self, cx: &mut Cx<'_>, join: &Join<'_>, reason: &str) {
        self.update_member(&join.request.member_id, join);
        self.park_join(cx, &join.request.member_id, join.ticket);
        self.rebalance_or_complete(cx, reason);
    }

    fn update_member(&mut self, member_id: &str, join: &Join<'_>) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        self.count_protocols(&member, false);
        member.protocols = member::protocols(join.request);
        member.rebalance_timeout_ms = member::rebalance_timeout_ms(join.context, join.request);
        member.session_timeout_ms = join.request.session_timeout_ms;
        self.count_protocols(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Parks a JoinGroup until the generation is complete. A request of the same member that is parked already comes
    /// from a connection that the client has given up; it is answered so that nothing waits for ever.
    fn park_join(&mut self, cx: &mut Cx<'_>, member_id: &str, ticket: Ticket) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        match member.awaiting_join.replace(ticket) {
            Some(old) => cx.reply(old, Reply::Join(join_error(member_id, ErrorCode::RebalanceInProgress))),
            None => self.awaiting_join += 1,
        }
    }

    /// A static member comes back without its member id, as after a restart: it takes the place of its predecessor,
    /// and, if nothing changes for the others, without a rebalance.
    fn replace_static(
        &mut self,
        cx: &mut Cx<'_>,
        join: &Join<'_>,
        instance_id: &str,
        old_id: &Arc<str>,
        new_id: Arc<str>,
    ) {
        let old_leader = self.leader.clone();
        let Some(mut member) = self.members.remove(old_id) else { return };
        // Whoever still uses the old id is fenced at once.
        if let Some(ticket) = member.awaiting_join.take() {
            self.awaiting_join -= 1;
            cx.reply(ticket, Reply::Join(join_error(old_id, ErrorCode::FencedInstanceId)));
        }
        if let Some(ticket) = member.awaiting_sync.take() {
            cx.reply(ticket, Reply::Sync(sync_error(ErrorCode::FencedInstanceId)));
        }
        cx.timers.cancel(&TimerKey::Session(self.id.clone(), old_id.clone()));
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        member.id = new_id.clone();
        member.is_new = false;
        self.members.insert(new_id.clone(), member);
        self.static_members.insert(instance_id.into(), new_id.clone());
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        self.update_member(&new_id, join);
        self.touch(cx, &new_id);

        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol => {
                let value = Some(self.to_image());
                cx.write(CoordinatorRecord::GroupMetadata { group: self.id.clone(), value });
                let is_leader = self.is_leader(&new_id);
                let reply = if join.context.api_version >= SKIP_ASSIGNMENT_VERSION {
                    let reply = self.join_reply(&new_id, is_leader);
                    JoinGroupResponse { skip_assignment: is_leader, ..reply }
                } else {
                    // An older client that is told that it leads would assign again. So it hears the old leader's id.
                    let leader = old_leader.as_ref().map(Into::into).unwrap_or_default();
                    JoinGroupResponse { leader, ..self.join_reply(&new_id, false) }
                };
                cx.reply(join.ticket, Reply::Join(reply));
            }
            GroupState::Stable => {
                self.park_join(cx, &new_id, join.ticket);
                self.rebalance_or_complete(cx, "a static member came back with other protocols");
            }
            // The leader may be assigning to the old id right now, so the generation is void.
            GroupState::CompletingRebalance => {
                self.park_join(cx, &new_id, join.ticket);
                self.prepare_rebalance(cx, "a static member came back during the assignment");
            }
            GroupState::PreparingRebalance | GroupState::Empty => {
                self.park_join(cx, &new_id, join.ticket);
                self.maybe_complete_join(cx);
            }
        }
    }

    /// The current generation, as a member is told about it; only the leader gets the members.
    pub(crate) fn join_reply(&self, member_id: &str, with_members: bool) -> JoinGroupResponse {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let entry = |member: &Member| JoinGroupResponseMember {
            member_id: (&member.id).into(),
            group_instance_id: member.instance_id.as_ref().map(Into::into),
            metadata: member.metadata(protocol).unwrap_or_default(),
            ..Default::default()
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_ref().map(Into::into),
            protocol_name: self.protocol.as_ref().map(Into::into),
            leader: self.leader.as_ref().map(Into::into).unwrap_or_default(),
            member_id: member_id.into(),
            members: if with_members { self.members.values().map(entry).collect() } else { Vec::new() },
            ..Default::default()
        }
    }
}

/// Random bits as Java prints a random (version 4) UUID.
fn uuid_text(bits: u128) -> String {
    let bits = (bits & !(0xF000 << 64) & !(0b11 << 62)) | (0x4000 << 64) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn member_ids_end_in_a_random_uuid() {
        assert_eq!(super::uuid_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(super::uuid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
