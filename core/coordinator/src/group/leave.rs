//! LeaveGroup v0-5: members that say goodbye, or that an administrator removes.
//!
//! v0-2 name one member at the top; from v3 on there is a list (KIP-345), in which a static member may be named by its
//! `group.instance.id` alone.

use std::sync::Arc;

use ottla_model::{ErrorCode, Str};
use ottla_protocol::leave_group_request::MemberIdentity;
use ottla_protocol::leave_group_response::MemberResponse;
use ottla_protocol::{LeaveGroupRequest, LeaveGroupResponse};

use super::classic::{ClassicGroup, GroupState};
use super::shard::Cx;

/// The first version with a list of members.
const MEMBERS_VERSION: i16 = 3;

pub(crate) fn leave_group(
    group: Option<&mut ClassicGroup>,
    cx: &mut Cx<'_>,
    api_version: i16,
    request: &LeaveGroupRequest,
) -> LeaveGroupResponse {
    if request.group_id.is_empty() {
        return LeaveGroupResponse { error_code: ErrorCode::InvalidGroupId.code(), ..Default::default() };
    }
    if api_version < MEMBERS_VERSION {
        let member = MemberIdentity { member_id: request.member_id.clone(), ..Default::default() };
        let left = leave(group, cx, std::slice::from_ref(&member));
        let error_code = left.first().map_or(0, |member| member.error_code);
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    LeaveGroupResponse { members: leave(group, cx, &request.members), ..Default::default() }
}

fn leave(group: Option<&mut ClassicGroup>, cx: &mut Cx<'_>, members: &[MemberIdentity]) -> Vec<MemberResponse> {
    // Replies outlive the request by a moment only, so its strings are shared.
    let response = |member: &MemberIdentity, error: ErrorCode| MemberResponse {
        member_id: Str::clone(&member.member_id),
        group_instance_id: member.group_instance_id.clone(),
        error_code: error.code(),
        ..Default::default()
    };
    let Some(group) = group else {
        return members.iter().map(|member| response(member, ErrorCode::UnknownMemberId)).collect();
    };
    let mut has_left = false;
    let mut responses = Vec::with_capacity(members.len());
    for member in members {
        let found = group.find_leaving(&member.member_id, member.group_instance_id.as_deref());
        if let Ok(member_id) = &found {
            tracing::info!(group = &*group.id, member = &**member_id, "left the group");
            group.remove(cx, member_id);
            has_left = true;
        }
        responses.push(response(member, found.err().unwrap_or(ErrorCode::None)));
    }
    if has_left {
        match group.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                group.prepare_rebalance(cx, "members have left");
            }
            GroupState::PreparingRebalance => group.maybe_complete_join(cx),
            GroupState::Empty => {}
        }
    }
    responses
}

impl ClassicGroup {
    fn find_leaving(&self, member_id: &str, instance_id: Option<&str>) -> Result<Arc<str>, ErrorCode> {
        if member_id.is_empty() {
            let found = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            return found.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        if !self.pending_join.contains(member_id) {
            self.validate_member(member_id, instance_id)?;
        }
        Ok(member_id.into())
    }
}
