//! Committed offsets: OffsetCommit v2-10, OffsetFetch v1-10, OffsetDelete, expiry, and topics that go away.
//!
//! OffsetCommit v9 tells a group that does not exist from a wrong generation (KIP-848); v10 of both APIs names topics by
//! id (KIP-848), which the caller has resolved; OffsetFetch v8 asks for several groups at once (KIP-709), each of which
//! is one call here; v7 can insist on offsets that no open transaction may still change (KIP-447).

use std::sync::Arc;

use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::offset_commit_request::OffsetCommitRequestPartition;
use ottla_protocol::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla_protocol::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ottla_protocol::{OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse};

use super::GroupShard;
use super::classic::{ClassicGroup, GroupState};
use super::image::{Committed, OffsetImage};
use super::records::CoordinatorRecord;
use super::shard::Cx;
use super::step::{Now, Step};

/// From this version on GROUP_ID_NOT_FOUND is a possible answer to a commit.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 9;
/// What a client sees where there is no offset.
const NO_OFFSET: i64 = -1;

impl GroupShard {
    pub(crate) fn commit_offsets(
        &mut self,
        now: Now,
        step: &mut Step,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let refusal = self.validate_commit(api_version, request).err();
        let group_id: Arc<str> = (&request.group_id).into();
        let expire_timestamp_ms =
            (request.retention_time_ms != -1).then(|| now.wall_ms.saturating_add(request.retention_time_ms));
        let mut commit = |topic: &Arc<str>, topic_id: Uuid, partition: &OffsetCommitRequestPartition| {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            let error = match refusal {
                Some(error) => error,
                // Kafka counts the characters of a Java string.
                None if metadata.encode_utf16().count() > self.config.offset_metadata_max_bytes => {
                    ErrorCode::OffsetMetadataTooLarge
                }
                None => ErrorCode::None,
            };
            if error == ErrorCode::None {
                step.records.push(CoordinatorRecord::OffsetCommit {
                    group: group_id.clone(),
                    topic: topic.clone(),
                    partition: partition.partition_index,
                    value: Some(OffsetImage {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: metadata.into(),
                        commit_timestamp_ms: now.wall_ms,
                        expire_timestamp_ms,
                        topic_id,
                    }),
                });
            }
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            }
        };
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name: Arc<str> = (&topic.name).into();
            topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: topic.partitions.iter().map(|partition| commit(&name, topic.topic_id, partition)).collect(),
                ..Default::default()
            });
        }
        if refusal.is_none() {
            let Self { config, groups, timers, .. } = self;
            match groups.get_mut(&group_id) {
                // A commit of a member says as much as a heartbeat.
                Some(group) if matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance) => {
                    group.touch(&mut Cx { now, config, timers, step }, &request.member_id);
                }
                Some(_) => {}
                // A group without members, that only stores offsets.
                None if !step.records.is_empty() => {
                    groups.insert(group_id.clone(), ClassicGroup::new(group_id, now.wall_ms));
                }
                None => {}
            }
        }
        OffsetCommitResponse { topics, ..Default::default() }
    }

    fn validate_commit(&self, api_version: i16, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let Some(group) = self.groups.get(&*request.group_id) else {
            return if generation < 0 {
                Ok(())
            } else if api_version >= GROUP_ID_NOT_FOUND_VERSION {
                Err(ErrorCode::GroupIdNotFound)
            } else {
                Err(ErrorCode::IllegalGeneration)
            };
        };
        let is_empty = group.state == GroupState::Empty;
        if generation < 0 && is_empty {
            // The admin client, or a consumer that assigns its partitions itself.
            return Ok(());
        }
        let instance_id = request.group_instance_id.as_deref();
        if generation >= 0 || !request.member_id.is_empty() || instance_id.is_some() {
            group.validate_member(&request.member_id, instance_id)?;
            if generation != group.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !is_empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if group.state == GroupState::CompletingRebalance {
            // The member is right about the generation, which has no assignment yet.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// The committed offsets of one group: those asked for, or all of them when the request has no topics.
    ///
    /// Topics carry their names; an offset that was committed for another incarnation of a topic id is not found. With
    /// `require_stable`, partitions with an offset in an open transaction answer UNSTABLE_OFFSET_COMMIT.
    pub fn fetch_offsets(&self, request: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        let group_id = &*request.group_id;
        let answer = |topic: &str, topic_id: Uuid, partition: i32| {
            if require_stable && self.image.has_pending_offset(group_id, topic, partition) {
                return OffsetFetchResponsePartitions {
                    error_code: ErrorCode::UnstableOffsetCommit.code(),
                    ..no_offset(partition)
                };
            }
            let is_of_topic = |committed: &&Committed| {
                let stored = committed.value.topic_id;
                topic_id == Uuid::ZERO || stored == Uuid::ZERO || stored == topic_id
            };
            match self.image.offset(group_id, topic, partition).filter(is_of_topic) {
                None => no_offset(partition),
                Some(committed) => OffsetFetchResponsePartitions {
                    partition_index: partition,
                    committed_offset: committed.value.offset,
                    committed_leader_epoch: committed.value.leader_epoch,
                    metadata: Some((&committed.value.metadata).into()),
                    ..Default::default()
                },
            }
        };
        let topics = match &request.topics {
            Some(topics) => (topics.iter())
                .map(|topic| OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: (topic.partition_indexes.iter())
                        .map(|&partition| answer(&topic.name, topic.topic_id, partition))
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            None => (self.image.offsets.get(group_id).into_iter().flatten())
                .map(|(name, partitions)| OffsetFetchResponseTopics {
                    name: name.into(),
                    partitions: partitions.keys().map(|&partition| answer(name, Uuid::ZERO, partition)).collect(),
                    ..Default::default()
                })
                .collect(),
        };
        OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, ..Default::default() }
    }

    pub(crate) fn delete_offsets(&self, step: &mut Step, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        let refuse = |error: ErrorCode| OffsetDeleteResponse { error_code: error.code(), ..Default::default() };
        if request.group_id.is_empty() {
            return refuse(ErrorCode::InvalidGroupId);
        }
        let Some((group_id, group)) = self.groups.get_key_value(&*request.group_id) else {
            return refuse(ErrorCode::GroupIdNotFound);
        };
        if group.state != GroupState::Empty && !group.uses_consumer_protocol() {
            return refuse(ErrorCode::NonEmptyGroup);
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let error = match group.is_subscribed_to(&topic.name) {
                true => ErrorCode::GroupSubscribedToTopic,
                false => ErrorCode::None,
            };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index,
                    error_code: error.code(),
                    ..Default::default()
                });
                let exists = self.image.offset(group_id, &topic.name, partition_index).is_some()
                    || self.image.has_pending_offset(group_id, &topic.name, partition_index);
                if error == ErrorCode::None && exists {
                    step.records.push(tombstone(group_id, &(&topic.name).into(), partition_index));
                }
            }
            let topic = OffsetDeleteResponseTopic { name: topic.name.clone(), partitions, ..Default::default() };
            topics.push(topic);
        }
        OffsetDeleteResponse { topics, ..Default::default() }
    }

    pub(crate) fn topic_deleted(&self, step: &mut Step, topic: &Arc<str>) {
        for group_id in self.image.groups_with_offsets() {
            for (_, partition) in self.image.partitions_of(&group_id).iter().filter(|(name, _)| name == topic) {
                step.records.push(tombstone(&group_id, topic, *partition));
            }
        }
    }

    /// Drops offsets that nobody has needed for `offsets.retention.minutes`, and groups that have nothing left.
    pub(crate) fn expire_offsets(&mut self, wall_ms: i64, step: &mut Step) {
        let mut unused = Vec::new();
        for (group_id, group) in &self.groups {
            let mut all_expired = !self.image.has_open_transaction(group_id);
            for (topic, partitions) in self.image.offsets.get(group_id).into_iter().flatten() {
                for (&partition, committed) in partitions {
                    if self.is_expired(wall_ms, group, topic, committed)
                        && !self.image.has_pending_offset(group_id, topic, partition)
                    {
                        step.records.push(tombstone(group_id, topic, partition));
                    } else {
                        all_expired = false;
                    }
                }
            }
            if all_expired && group.state == GroupState::Empty {
                unused.push(group_id.clone());
            }
        }
        for group_id in unused {
            self.remove_group(step, &group_id);
        }
    }

    fn is_expired(&self, wall_ms: i64, group: &ClassicGroup, topic: &str, committed: &Committed) -> bool {
        let committed_ms = committed.value.commit_timestamp_ms;
        let unused_since_ms = match (&group.protocol_type, group.state) {
            // No member has ever been here.
            (None, _) => committed_ms,
            (Some(_), GroupState::Empty) => group.state_timestamp_ms.unwrap_or(committed_ms),
            (Some(_), GroupState::Stable) if group.subscribed_topics.is_some() => committed_ms,
            _ => return false,
        };
        if group.is_subscribed_to(topic) {
            return false;
        }
        match committed.value.expire_timestamp_ms {
            Some(expire_ms) => wall_ms >= expire_ms,
            None => wall_ms.saturating_sub(unused_since_ms) >= self.config.offsets_retention_ms,
        }
    }
}

pub(crate) fn tombstone(group: &Arc<str>, topic: &Arc<str>, partition: i32) -> CoordinatorRecord {
    CoordinatorRecord::OffsetCommit { group: group.clone(), topic: topic.clone(), partition, value: None }
}

fn no_offset(partition: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: NO_OFFSET,
        committed_leader_epoch: -1,
        metadata: Some("".into()),
        ..Default::default()
    }
}
