//! Share groups: several consumers of one partition, each record acknowledged on its own (KIP-932).

use super::acls::{AclOperation, authorized};
use super::call::{GroupCoordinator, PerKey, all, by_topic, check_code, not_mentioned, owned, text};
use super::group_offsets::spread;
use super::{Admin, GroupState, MemberDescription};
use crate::error::Result;
use ottla_model::TopicPartition;
use ottla_protocol::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla_protocol::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use ottla_protocol::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use ottla_protocol::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponseGroup;
use ottla_protocol::share_group_describe_response::{DescribedGroup, Member};
use ottla_protocol::{
    AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponse,
    ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};
use std::collections::{BTreeMap, BTreeSet};

/// A share group.
#[derive(Debug, Clone)]
pub struct ShareGroupDescription {
    /// `group.id`.
    pub group_id: String,
    /// What it is doing.
    pub state: GroupState,
    /// Counts changes of members and subscriptions.
    pub group_epoch: i32,
    /// The `group_epoch` that the target assignment was computed for.
    pub target_assignment_epoch: i32,
    /// The assignor's name.
    pub partition_assignor: String,
    /// Its members; they have no target assignment of their own.
    pub members: Vec<MemberDescription>,
    /// The coordinator's node id; `None` when it is not among the known brokers.
    pub coordinator: Option<i32>,
    /// What this client may do with it, where that was asked for.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// Where a share group is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharePartitionOffset {
    /// The first offset that is not yet done with.
    pub start_offset: i64,
    /// The leader's epoch; `None` when the broker does not tell.
    pub leader_epoch: Option<i32>,
    /// Records that are left to do; `None` from brokers before 4.2 (KIP-1226).
    pub lag: Option<i64>,
}

/// Of a share group, where it is in each partition: `None` where it has not begun.
pub type ShareGroupOffsets = PerKey<TopicPartition, Option<SharePartitionOffset>>;

impl Admin {
    /// Describes share groups.
    ///
    /// # Errors
    /// Per group `GROUP_ID_NOT_FOUND`, also when it is no share group.
    pub async fn describe_share_groups(
        &self,
        group_ids: &[String],
        include_authorized_operations: bool,
    ) -> PerKey<String, ShareGroupDescription> {
        let build = |_, ids: &[String]| {
            let group_ids = ids.iter().map(text).collect();
            Ok(ShareGroupDescribeRequest { group_ids, include_authorized_operations, ..Default::default() })
        };
        let read = |response: ShareGroupDescribeResponse, _: &[String]| {
            response.groups.iter().map(|group| (group.group_id.to_string(), described(group))).collect()
        };
        let ids = group_ids.iter().cloned();
        let mut results = self.per_key(GroupCoordinator, ids, usize::MAX, build, read).await;
        for (id, result) in &mut results {
            if let Ok(group) = result {
                group.coordinator = self.group_coordinator(id).await;
            }
        }
        results
    }

    /// Where share groups are: in the given partitions, or with `None` in all that they have begun.
    pub async fn list_share_group_offsets(
        &self,
        groups: &BTreeMap<String, Option<BTreeSet<TopicPartition>>>,
    ) -> PerKey<String, ShareGroupOffsets> {
        let build = |_, ids: &[String]| {
            let topic = |(name, partitions)| DescribeShareGroupOffsetsRequestTopic {
                topic_name: text(name),
                partitions,
                ..Default::default()
            };
            let group = |id: &String| {
                let wanted = groups.get(id).and_then(Option::as_ref);
                let topics = wanted.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
                DescribeShareGroupOffsetsRequestGroup { group_id: text(id), topics, ..Default::default() }
            };
            Ok(DescribeShareGroupOffsetsRequest { groups: ids.iter().map(group).collect(), ..Default::default() })
        };
        let read = |response: DescribeShareGroupOffsetsResponse, _: &[String]| {
            response.groups.iter().map(|group| (group.group_id.to_string(), offsets(group))).collect()
        };
        self.per_key(GroupCoordinator, groups.keys().cloned(), usize::MAX, build, read).await
    }

    /// Where one share group is: in the given partitions, or with `None` in all that it has begun.
    ///
    /// # Errors
    /// As the entry of [`Admin::list_share_group_offsets`].
    pub async fn share_group_offsets(
        &self,
        group_id: &str,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) -> Result<ShareGroupOffsets> {
        let groups = BTreeMap::from([(group_id.to_owned(), partitions)]);
        self.list_share_group_offsets(&groups).await.remove(group_id).unwrap_or_else(|| Err(not_mentioned(group_id)))
    }

    /// Sets where a share group goes on. It must have no members.
    ///
    /// # Errors
    /// Per partition `UNKNOWN_TOPIC_OR_PARTITION`; for all `NON_EMPTY_GROUP`, `GROUP_ID_NOT_FOUND`.
    pub async fn alter_share_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> PerKey<TopicPartition, ()> {
        let build = |_| {
            let partition = |name: &str, index: i32| AlterShareGroupOffsetsRequestPartition {
                partition_index: index,
                start_offset: offsets.get(&TopicPartition::new(name, index)).copied().unwrap_or_default(),
                ..Default::default()
            };
            let topic = |(name, indexes): (&str, Vec<i32>)| AlterShareGroupOffsetsRequestTopic {
                topic_name: text(name),
                partitions: indexes.into_iter().map(|index| partition(name, index)).collect(),
                ..Default::default()
            };
            let topics = by_topic(offsets.keys()).into_iter().map(topic).collect();
            Ok(AlterShareGroupOffsetsRequest { group_id: text(group_id), topics, ..Default::default() })
        };
        let read = |response: AlterShareGroupOffsetsResponse| {
            let what = format!("group {group_id}");
            check_code(response.error_code, &what, response.error_message.as_deref())?;
            let mut results = PerKey::new();
            for topic in &response.responses {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.topic_name, partition.partition_index);
                    let what = format!("the offset of group {group_id} for {key}");
                    let result = check_code(partition.error_code, &what, partition.error_message.as_deref());
                    results.insert(key, result);
                }
            }
            Ok(results)
        };
        let answer = self.one(GroupCoordinator, group_id.to_owned(), build, read).await;
        spread(offsets.keys(), Some(answer))
    }

    /// Forgets where a share group is in topics. It must have no members.
    pub async fn delete_share_group_offsets(&self, group_id: &str, topics: &BTreeSet<String>) -> PerKey<String, ()> {
        let build = |_| {
            let topic =
                |name: &String| DeleteShareGroupOffsetsRequestTopic { topic_name: text(name), ..Default::default() };
            let topics = topics.iter().map(topic).collect();
            Ok(DeleteShareGroupOffsetsRequest { group_id: text(group_id), topics, ..Default::default() })
        };
        let read = |response: DeleteShareGroupOffsetsResponse| {
            let what = format!("group {group_id}");
            check_code(response.error_code, &what, response.error_message.as_deref())?;
            let results = response.responses.iter().map(|topic| {
                let what = format!("the offsets of group {group_id} for topic {}", topic.topic_name);
                (topic.topic_name.to_string(), check_code(topic.error_code, &what, topic.error_message.as_deref()))
            });
            Ok(results.collect())
        };
        match self.one(GroupCoordinator, group_id.to_owned(), build, read).await {
            Ok(results) => spread(topics, Some(Ok(results))),
            Err(error) => all(topics, &error),
        }
    }
}

fn described(group: &DescribedGroup) -> Result<ShareGroupDescription> {
    check_code(group.error_code, &format!("group {}", group.group_id), group.error_message.as_deref())?;
    Ok(ShareGroupDescription {
        group_id: group.group_id.to_string(),
        state: GroupState::from_name(&group.group_state),
        group_epoch: group.group_epoch,
        target_assignment_epoch: group.assignment_epoch,
        partition_assignor: group.assignor_name.to_string(),
        members: group.members.iter().map(member).collect(),
        coordinator: None,
        authorized_operations: authorized(group.authorized_operations),
    })
}

fn member(member: &Member) -> MemberDescription {
    let mut assignment = BTreeSet::new();
    for topic in &member.assignment.topic_partitions {
        assignment.extend(topic.partitions.iter().map(|index| TopicPartition::new(&*topic.topic_name, *index)));
    }
    MemberDescription {
        member_id: member.member_id.to_string(),
        rack_id: owned(&member.rack_id),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment,
        member_epoch: Some(member.member_epoch),
        subscribed_topics: Some(member.subscribed_topic_names.iter().map(|topic| topic.to_string()).collect()),
        ..MemberDescription::default()
    }
}

fn offsets(group: &DescribeShareGroupOffsetsResponseGroup) -> Result<ShareGroupOffsets> {
    check_code(group.error_code, &format!("group {}", group.group_id), group.error_message.as_deref())?;
    let mut results = ShareGroupOffsets::new();
    for topic in &group.topics {
        for partition in &topic.partitions {
            let key = TopicPartition::new(&*topic.topic_name, partition.partition_index);
            let what = format!("the offset of group {} for {key}", group.group_id);
            let offset = SharePartitionOffset {
                start_offset: partition.start_offset,
                leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                lag: Some(partition.lag).filter(|lag| *lag >= 0),
            };
            let result = check_code(partition.error_code, &what, partition.error_message.as_deref());
            results.insert(key, result.map(|()| Some(offset).filter(|offset| offset.start_offset >= 0)));
        }
    }
    Ok(results)
}
