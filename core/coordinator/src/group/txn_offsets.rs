//! TxnOffsetCommit: offsets that count once a producer's transaction is committed (KIP-98, KIP-447).
//!
//! They are written in a transactional batch of the producer and stay pending until the transaction's marker is in the
//! same partition. A producer that names a member must name the group's generation too; one that names none is trusted,
//! as before KIP-447.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use ottla_protocol::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::GroupShard;
use super::classic::{ClassicGroup, GroupState};
use super::image::OffsetImage;
use super::records::CoordinatorRecord;
use super::step::{Now, Step};

impl GroupShard {
    pub(crate) fn commit_offsets_of_transaction(
        &mut self,
        now: Now,
        step: &mut Step,
        request: &TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let refusal = self.validate_commit_of_transaction(request).err();
        let group: Arc<str> = (&request.group_id).into();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name: Arc<str> = (&topic.name).into();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
                let error = match refusal {
                    Some(error) => error,
                    None if metadata.encode_utf16().count() > self.config.offset_metadata_max_bytes => {
                        ErrorCode::OffsetMetadataTooLarge
                    }
                    None => ErrorCode::None,
                };
                if error == ErrorCode::None {
                    step.records.push(CoordinatorRecord::OffsetCommit {
                        group: group.clone(),
                        topic: name.clone(),
                        partition: partition.partition_index,
                        value: Some(OffsetImage {
                            offset: partition.committed_offset,
                            leader_epoch: partition.committed_leader_epoch,
                            metadata: metadata.into(),
                            commit_timestamp_ms: now.wall_ms,
                            expire_timestamp_ms: None,
                            topic_id: topic.topic_id,
                        }),
                    });
                }
                partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                    ..Default::default()
                });
            }
            topics.push(TxnOffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
                ..Default::default()
            });
        }
        if !step.records.is_empty() {
            step.producer = Some((request.producer_id, request.producer_epoch));
            self.groups.entry(group.clone()).or_insert_with(|| ClassicGroup::new(group, now.wall_ms));
        }
        TxnOffsetCommitResponse { topics, ..Default::default() }
    }

    fn validate_commit_of_transaction(&self, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let instance_id = request.group_instance_id.as_deref();
        let Some(group) = self.groups.get(&*request.group_id) else {
            return if generation < 0 { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
        };
        if generation < 0 && request.member_id.is_empty() && instance_id.is_none() {
            return Ok(());
        }
        if generation < 0 && group.state == GroupState::Empty {
            return Ok(());
        }
        group.validate_member(&request.member_id, instance_id)?;
        if generation != group.generation { Err(ErrorCode::IllegalGeneration) } else { Ok(()) }
    }
}
