//! Groups of consumers, by the newer protocol or the classic one: describing them, and taking members out.

use super::acls::{AclOperation, authorized};
use super::call::{GroupCoordinator, PerKey, check_code, owned, text};
use super::groups::of_other_protocol;
use super::{Admin, ClassicGroupDescription, GroupState, GroupType};
use crate::consumer::assignor::{PROTOCOL_TYPE, decode_assignment, decode_subscription};
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::consumer_group_describe_response::{Assignment, DescribedGroup, Member};
use ottla_protocol::describe_groups_response::DescribedGroupMember;
use ottla_protocol::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, LeaveGroupResponse};
use std::collections::{BTreeMap, BTreeSet};

/// A group of consumers.
#[derive(Debug, Clone)]
pub struct ConsumerGroupDescription {
    /// `group.id`.
    pub group_id: String,
    /// By which protocol it works.
    pub group_type: GroupType,
    /// Whether it only stores offsets of consumers that assign partitions themselves.
    pub is_simple_consumer_group: bool,
    /// What it is doing.
    pub state: GroupState,
    /// Who assigns: an assignor's name.
    pub partition_assignor: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
    /// Counts changes of members and subscriptions; `None` for the classic protocol.
    pub group_epoch: Option<i32>,
    /// The `group_epoch` that the target assignment was computed for; `None` for the classic protocol.
    pub target_assignment_epoch: Option<i32>,
    /// The coordinator's node id; `None` when it is not among the known brokers.
    pub coordinator: Option<i32>,
    /// What this client may do with it, where that was asked for (KIP-430).
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A member of a group.
#[derive(Debug, Clone, Default)]
pub struct MemberDescription {
    /// Its id, which the coordinator or the member made.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
    /// `client.rack`; `None` when it has none or the broker does not tell.
    pub rack_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The address it is connected from.
    pub host: String,
    /// What it reads.
    pub assignment: BTreeSet<TopicPartition>,
    /// What it shall read; `None` for the classic protocol.
    pub target_assignment: Option<BTreeSet<TopicPartition>>,
    /// Its epoch; `None` for the classic protocol.
    pub member_epoch: Option<i32>,
    /// Whether a member of a consumer group speaks the newer protocol itself; `None` when the broker does not tell.
    pub upgraded: Option<bool>,
    /// The topics it asked for by name; `None` when the broker does not tell, as while a classic group rebalances.
    pub subscribed_topics: Option<BTreeSet<String>>,
    /// The pattern it asked for, which the coordinator matches (KIP-848).
    pub subscribed_topic_regex: Option<String>,
}

impl MemberDescription {
    /// A member of a classic group; those of consumers have a subscription and an assignment that can be read.
    pub(super) fn classic(member: &DescribedGroupMember, of_consumers: bool) -> Result<MemberDescription> {
        let mut described = MemberDescription {
            member_id: member.member_id.to_string(),
            group_instance_id: owned(&member.group_instance_id),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            ..MemberDescription::default()
        };
        if of_consumers && !member.member_assignment.is_empty() {
            described.assignment = decode_assignment(&member.member_assignment)?.partitions.into_iter().collect();
        }
        if of_consumers && !member.member_metadata.is_empty() {
            let subscription = decode_subscription(&member.member_metadata)?;
            described.subscribed_topics = Some(subscription.topics.iter().map(|topic| topic.to_string()).collect());
            described.rack_id = subscription.rack_id;
        }
        Ok(described)
    }

    fn consumer(member: &Member) -> MemberDescription {
        MemberDescription {
            member_id: member.member_id.to_string(),
            group_instance_id: owned(&member.instance_id),
            rack_id: owned(&member.rack_id),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: partitions(&member.assignment),
            target_assignment: Some(partitions(&member.target_assignment)),
            member_epoch: Some(member.member_epoch),
            upgraded: match member.member_type {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            subscribed_topics: Some(member.subscribed_topic_names.iter().map(|topic| topic.to_string()).collect()),
            subscribed_topic_regex: owned(&member.subscribed_topic_regex).filter(|regex| !regex.is_empty()),
        }
    }
}

/// A member to take out of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberToRemove {
    /// A static member, by its `group.instance.id`.
    Instance(String),
    /// A member by its id.
    Member(String),
}

impl Admin {
    /// Describes groups of consumers: with ConsumerGroupDescribe (KIP-848), and those that have the classic protocol, or
    /// where the broker has no other, with DescribeGroups.
    ///
    /// # Errors
    /// Per group `GROUP_ID_NOT_FOUND`, `INVALID_GROUP_ID` when its members are no consumers, `GROUP_AUTHORIZATION_FAILED`.
    pub async fn describe_consumer_groups(
        &self,
        group_ids: &[String],
        include_authorized_operations: bool,
    ) -> PerKey<String, ConsumerGroupDescription> {
        let build = |_, ids: &[String]| {
            let group_ids = ids.iter().map(text).collect();
            Ok(ConsumerGroupDescribeRequest { group_ids, include_authorized_operations, ..Default::default() })
        };
        let read = |response: ConsumerGroupDescribeResponse, _: &[String]| {
            response.groups.iter().map(|group| (group.group_id.to_string(), consumer(group))).collect()
        };
        let ids = group_ids.iter().cloned();
        let mut results = self.per_key(GroupCoordinator, ids, usize::MAX, build, read).await;
        for (id, result) in &mut results {
            if let Ok(group) = result {
                group.coordinator = self.group_coordinator(id).await;
            }
        }
        let classic: Vec<String> = results
            .iter()
            .filter(|(_, result)| result.as_ref().is_err_and(of_other_protocol))
            .map(|(id, _)| id.clone())
            .collect();
        if !classic.is_empty() {
            let described = self.describe_classic_groups(&classic, include_authorized_operations).await;
            results.extend(described.into_iter().map(|(id, result)| (id, result.and_then(of_consumers))));
        }
        results
    }

    /// Takes members out of a group, as if they had left; `reason` appears in the coordinator's log (KIP-571, KIP-800).
    ///
    /// # Errors
    /// Per member `UNKNOWN_MEMBER_ID`; the outer one when the group could not be reached.
    pub async fn remove_members_from_consumer_group(
        &self,
        group_id: &str,
        members: &BTreeSet<MemberToRemove>,
        reason: Option<&str>,
    ) -> Result<PerKey<MemberToRemove, ()>> {
        let build = |version: i16| {
            if version < 3 {
                return Err(Error::unsupported(format!(
                    "LeaveGroup {version} lets only a member itself leave; that needs version 3 (Apache Kafka 2.4)"
                )));
            }
            let reason = reason.filter(|_| version >= 5).map(text);
            let member = |member: &MemberToRemove| match member {
                MemberToRemove::Instance(id) => {
                    MemberIdentity { group_instance_id: Some(text(id)), reason: reason.clone(), ..Default::default() }
                }
                MemberToRemove::Member(id) => {
                    MemberIdentity { member_id: text(id), reason: reason.clone(), ..Default::default() }
                }
            };
            let members = members.iter().map(member).collect();
            Ok(LeaveGroupRequest { group_id: text(group_id), members, ..Default::default() })
        };
        let read = |response: LeaveGroupResponse| {
            check_code(response.error_code, &format!("group {group_id}"), None)?;
            let results = response.members.iter().map(|member| {
                let key = match &member.group_instance_id {
                    Some(id) => MemberToRemove::Instance(id.to_string()),
                    None => MemberToRemove::Member(member.member_id.to_string()),
                };
                let what = format!("a member of group {group_id}");
                (key, check_code(member.error_code, &what, None))
            });
            Ok(results.collect())
        };
        self.one(GroupCoordinator, group_id.to_owned(), build, read).await
    }

    /// Takes all members out of a group.
    ///
    /// # Errors
    /// As [`Admin::remove_members_from_consumer_group`], and when the group cannot be described.
    pub async fn remove_all_members_from_consumer_group(
        &self,
        group_id: &str,
        reason: Option<&str>,
    ) -> Result<PerKey<MemberToRemove, ()>> {
        let id = group_id.to_owned();
        let described = self.describe_consumer_groups(std::slice::from_ref(&id), false).await.remove(&id);
        let group = described.unwrap_or_else(|| Err(super::call::not_mentioned(&id)))?;
        let members: BTreeSet<MemberToRemove> = group.members.iter().map(to_remove).collect();
        match members.is_empty() {
            true => Ok(BTreeMap::new()),
            false => self.remove_members_from_consumer_group(group_id, &members, reason).await,
        }
    }
}

fn to_remove(member: &MemberDescription) -> MemberToRemove {
    match &member.group_instance_id {
        Some(id) => MemberToRemove::Instance(id.clone()),
        None => MemberToRemove::Member(member.member_id.clone()),
    }
}

fn consumer(group: &DescribedGroup) -> Result<ConsumerGroupDescription> {
    check_code(group.error_code, &format!("group {}", group.group_id), group.error_message.as_deref())?;
    Ok(ConsumerGroupDescription {
        group_id: group.group_id.to_string(),
        group_type: GroupType::Consumer,
        is_simple_consumer_group: false,
        state: GroupState::from_name(&group.group_state),
        partition_assignor: group.assignor_name.to_string(),
        members: group.members.iter().map(MemberDescription::consumer).collect(),
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        coordinator: None,
        authorized_operations: authorized(group.authorized_operations),
    })
}

fn of_consumers(group: ClassicGroupDescription) -> Result<ConsumerGroupDescription> {
    let what = format!("group {}", group.group_id);
    if group.state == GroupState::Dead {
        return Err(Error::from_code(ErrorCode::GroupIdNotFound, &what, None));
    }
    if !group.protocol.is_empty() && group.protocol != PROTOCOL_TYPE {
        let message = format!("its members are no consumers but {:?}", group.protocol);
        return Err(Error::from_code(ErrorCode::InvalidGroupId, &what, Some(&message)));
    }
    Ok(ConsumerGroupDescription {
        is_simple_consumer_group: group.is_simple_consumer_group(),
        group_id: group.group_id,
        group_type: GroupType::Classic,
        state: group.state,
        partition_assignor: group.protocol_data,
        members: group.members,
        group_epoch: None,
        target_assignment_epoch: None,
        coordinator: group.coordinator,
        authorized_operations: group.authorized_operations,
    })
}

fn partitions(assignment: &Assignment) -> BTreeSet<TopicPartition> {
    let mut partitions = BTreeSet::new();
    for topic in &assignment.topic_partitions {
        partitions.extend(topic.partitions.iter().map(|index| TopicPartition::new(&*topic.topic_name, *index)));
    }
    partitions
}
