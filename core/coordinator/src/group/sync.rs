//! SyncGroup v0-5 and Heartbeat v0-4: the assignment, and staying alive.
//!
//! SyncGroup v5 repeats the protocol (KIP-559), which then has to be the group's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};

use super::classic::{ClassicGroup, GroupState};
use super::records::CoordinatorRecord;
use super::shard::{Cx, TimerKey};
use super::step::{Reply, sync_error};
use crate::Ticket;

impl ClassicGroup {
    pub(crate) fn sync(&mut self, cx: &mut Cx<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        let member_id = &*request.member_id;
        if let Err(error) = self.validate_sync(request) {
            return cx.reply(ticket, Reply::Sync(sync_error(error)));
        }
        match self.state {
            GroupState::Empty => cx.reply(ticket, Reply::Sync(sync_error(ErrorCode::UnknownMemberId))),
            GroupState::PreparingRebalance => {
                cx.reply(ticket, Reply::Sync(sync_error(ErrorCode::RebalanceInProgress)));
            }
            GroupState::CompletingRebalance => {
                self.sync_received(cx, member_id);
                self.park_sync(cx, member_id, ticket);
                if self.is_leader(member_id) {
                    self.assign(cx, request);
                }
            }
            GroupState::Stable => {
                self.sync_received(cx, member_id);
                cx.reply(ticket, Reply::Sync(self.sync_reply(member_id)));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.state == GroupState::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |said: Option<&str>, ours: &Option<Arc<str>>| match (said, ours) {
            (Some(said), Some(ours)) => said != &**ours,
            _ => false,
        };
        if differs(request.protocol_type.as_deref(), &self.protocol_type)
            || differs(request.protocol_name.as_deref(), &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_received(&mut self, cx: &mut Cx<'_>, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(&TimerKey::Sync(self.id.clone()));
        }
    }

    /// Parks a SyncGroup until the leader has sent the assignment; see [`ClassicGroup::join`] for repeated ones.
    fn park_sync(&mut self, cx: &mut Cx<'_>, member_id: &str, ticket: Ticket) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        if let Some(old) = member.awaiting_sync.replace(ticket) {
            cx.reply(old, Reply::Sync(sync_error(ErrorCode::RebalanceInProgress)));
        }
    }

    /// The leader's assignment: written, then given to whoever waits for it. Members that it left out get an empty one.
    fn assign(&mut self, cx: &mut Cx<'_>, request: &SyncGroupRequest) {
        let mut assignments: BTreeMap<&str, &Bytes> =
            request.assignments.iter().map(|entry| (&*entry.member_id, &entry.assignment)).collect();
        for member in self.members.values_mut() {
            let assignment = assignments.remove(&*member.id);
            member.assignment = assignment.map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
        let value = Some(self.to_image());
        cx.write(CoordinatorRecord::GroupMetadata { group: self.id.clone(), value });
        self.transition_to(GroupState::Stable, cx.now);
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let ticket = self.members.get_mut(&member_id).and_then(|member| member.awaiting_sync.take());
            if let Some(ticket) = ticket {
                cx.reply(ticket, Reply::Sync(self.sync_reply(&member_id)));
                // Its session may have run out while it waited here; that was not its fault.
                self.touch(cx, &member_id);
            }
        }
    }

    fn sync_reply(&self, member_id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.as_ref().map(Into::into),
            protocol_name: self.protocol.as_ref().map(Into::into),
            assignment: self.members.get(member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
            ..Default::default()
        }
    }

    pub(crate) fn heartbeat(&mut self, cx: &mut Cx<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if let Err(error) = self.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            GroupState::Empty => ErrorCode::UnknownMemberId,
            GroupState::PreparingRebalance => {
                self.touch(cx, &request.member_id);
                ErrorCode::RebalanceInProgress
            }
            // Clients begin to send heartbeats right after JoinGroup, before there is an assignment.
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.touch(cx, &request.member_id);
                ErrorCode::None
            }
        }
    }
}
