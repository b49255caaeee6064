//! What administrators ask: DescribeGroups v0-6, ListGroups v0-5, DeleteGroups v0-3.
//!
//! ListGroups v4 filters by state (KIP-518), v5 by type (KIP-848). DescribeGroups v6 says that a group does not exist
//! where older versions show it as Dead (KIP-1043).

use std::sync::Arc;

use ottla_model::{ErrorCode, Str};
use ottla_protocol::delete_groups_response::DeletableGroupResult;
use ottla_protocol::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla_protocol::list_groups_response::ListedGroup;

use super::GroupShard;
use super::classic::{ClassicGroup, GroupState};
use super::offsets::tombstone;
use super::step::Step;

/// The group type in ListGroups.
const CLASSIC: &str = "classic";
/// The state that a group which does not exist is shown in.
const DEAD: &str = "Dead";
/// From this version on DescribeGroups has an error for a group that does not exist.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 6;

impl GroupShard {
    /// One group with its members; their metadata only when the group is stable.
    pub fn describe_group(&self, group_id: &Str, api_version: i16) -> DescribedGroup {
        let Some(group) = self.groups.get(&**group_id) else {
            let mut described =
                DescribedGroup { group_id: group_id.clone(), group_state: DEAD.into(), ..Default::default() };
            if api_version >= GROUP_ID_NOT_FOUND_VERSION {
                described.error_code = ErrorCode::GroupIdNotFound.code();
                described.error_message = Some(format!("Group {} not found.", &**group_id).into());
            }
            return described;
        };
        let protocol = group.protocol.clone().filter(|_| group.state == GroupState::Stable);
        let member = |member: &super::member::Member| DescribedGroupMember {
            member_id: (&member.id).into(),
            group_instance_id: member.instance_id.as_ref().map(Into::into),
            client_id: (&member.client_id).into(),
            client_host: (&member.client_host).into(),
            member_metadata: protocol.as_ref().and_then(|name| member.metadata(name)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
            ..Default::default()
        };
        DescribedGroup {
            group_id: group_id.clone(),
            group_state: group.state.name().into(),
            protocol_type: group.protocol_type.as_ref().map(Into::into).unwrap_or_default(),
            protocol_data: protocol.as_ref().map(Into::into).unwrap_or_default(),
            members: group.members.values().map(member).collect(),
            ..Default::default()
        }
    }

    /// The groups in one of `states` and of one of `types`, both without regard to case; an empty filter lets all pass.
    pub fn list_groups(&self, states: &[Str], types: &[Str]) -> Vec<ListedGroup> {
        let passes = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        if !passes(types, CLASSIC) {
            return Vec::new();
        }
        let listed = |(id, group): (&Arc<str>, &ClassicGroup)| ListedGroup {
            group_id: id.into(),
            protocol_type: group.protocol_type.as_ref().map(Into::into).unwrap_or_default(),
            group_state: group.state.name().into(),
            group_type: CLASSIC.into(),
            ..Default::default()
        };
        self.groups.iter().filter(|(_, group)| passes(states, group.state.name())).map(listed).collect()
    }

    /// Deletes empty groups with their offsets.
    pub(crate) fn delete_groups(&mut self, step: &mut Step, groups: Vec<Str>) -> Vec<DeletableGroupResult> {
        let mut results = Vec::with_capacity(groups.len());
        for group_id in groups {
            let error = match self.groups.get(&*group_id).map(|group| group.state) {
                None => ErrorCode::GroupIdNotFound,
                Some(GroupState::Empty) => ErrorCode::None,
                Some(_) => ErrorCode::NonEmptyGroup,
            };
            if error == ErrorCode::None {
                let id: Arc<str> = (&group_id).into();
                for (topic, partition) in self.image.partitions_of(&id) {
                    step.records.push(tombstone(&id, &topic, partition));
                }
                self.remove_group(step, &id);
            }
            results.push(DeletableGroupResult { group_id, error_code: error.code(), ..Default::default() });
        }
        results
    }
}
