//! The requests of a transactional producer, as [`super::transaction`] asks for them: finds the coordinator, picks a
//! version that follows the transaction's rules, and reads the answer into that module's words.

use super::batch::ProducerId;
use super::options::ProducerOptions;
use super::transaction::{Answer, Features, Offsets, Partitions, Request};
use crate::GroupMetadata;
use crate::broker::Connection;
use crate::client::Client;
use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use ottla_protocol::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use ottla_protocol::end_txn_request::EndTxnRequest;
use ottla_protocol::init_producer_id_request::InitProducerIdRequest;
use ottla_protocol::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use std::sync::Arc;
use std::time::Duration;

/// From 4 on AddPartitionsToTxn is the brokers' own form.
const ADD_PARTITIONS_LAST: i16 = 3;
/// The last version before EndTxn gives the next epoch (KIP-890).
const END_TXN_V1_LAST: i16 = 4;
/// The last version before TxnOffsetCommit adds the group to the transaction (KIP-890).
const OFFSET_COMMIT_V1_LAST: i16 = 4;
/// The last version that names topics.
const OFFSET_COMMIT_NAMES_LAST: i16 = 5;
/// From here on a live producer may ask for the next epoch (KIP-360).
const EPOCH_BUMP_FROM: i16 = 3;
/// The feature whose level 2 is KIP-890.
const TRANSACTION_VERSION: &str = "transaction.version";

/// One request of a transactional producer.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) client: &'a Client,
    pub(super) options: &'a ProducerOptions,
    pub(super) transactional_id: &'a Arc<str>,
    /// Whether the current transaction follows the rules of version 2.
    pub(super) version_2: bool,
    /// For the call with the search for its coordinator.
    pub(super) limit: Duration,
}

impl Call<'_> {
    /// Sends `request` once. A coordinator that is gone, or is none any more, is looked up anew the next time.
    pub(super) async fn send(&self, request: &Request) -> (Result<Answer>, Option<Features>) {
        let coordinator = match request {
            Request::CommitOffsets { group, .. } => Coordinator::Group(Arc::from(&*group.group_id)),
            _ => Coordinator::Transaction(self.transactional_id.clone()),
        };
        let deadline = Deadline::after(self.client.env(), self.limit);
        let connected = match self.client.coordinator(&coordinator, &deadline).await {
            Ok(broker) => self.client.connected(&broker, &deadline).await,
            Err(error) => Err(error),
        };
        let (connection, left) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.client.forget_coordinator(&coordinator);
                return (Err(error), None);
            }
        };
        let features = matches!(coordinator, Coordinator::Transaction(_)).then(|| features(&connection));
        let answer = self.ask(request, &connection, left).await;
        let wrong = match &answer {
            Ok(answer) => {
                let codes = answer.partitions.iter().map(|(_, code)| *code).chain(answer.code);
                codes.into_iter().any(|code| {
                    matches!(
                        code,
                        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::RequestTimedOut
                    )
                })
            }
            Err(_) => true,
        };
        if wrong {
            self.client.forget_coordinator(&coordinator);
        }
        (answer, features)
    }

    async fn ask(&self, request: &Request, connection: &Connection, left: Duration) -> Result<Answer> {
        let id = Str::from(&**self.transactional_id);
        match request {
            Request::Init { current } => self.init(id, *current, connection, left).await,
            Request::AddPartitions { producer, partitions } => {
                let request = AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: id,
                    v3_and_below_producer_id: producer.id,
                    v3_and_below_producer_epoch: producer.epoch,
                    v3_and_below_topics: topics(partitions),
                    ..Default::default()
                };
                let version = connection.version::<AddPartitionsToTxnRequest>()?.min(ADD_PARTITIONS_LAST);
                let response = connection.request_at(&request, version, left).await?;
                let results = response.results_by_topic_v3_and_below.iter();
                let partitions = results.flat_map(|topic| {
                    topic.results_by_partition.iter().map(|partition| {
                        let code = ErrorCode::from_code(partition.partition_error_code);
                        (TopicPartition::new(&*topic.name, partition.partition_index), code)
                    })
                });
                Ok(Answer { partitions: partitions.collect(), ..Answer::default() })
            }
            Request::AddOffsets { producer, group_id } => {
                let request = AddOffsetsToTxnRequest {
                    transactional_id: id,
                    producer_id: producer.id,
                    producer_epoch: producer.epoch,
                    group_id: Str::from(group_id.as_str()),
                    ..Default::default()
                };
                let version = connection.version::<AddOffsetsToTxnRequest>()?;
                let response = connection.request_at(&request, version, left).await?;
                Ok(Answer { code: Some(ErrorCode::from_code(response.error_code)), ..Answer::default() })
            }
            Request::CommitOffsets { producer, group, offsets } => {
                self.commit_offsets(id, *producer, group, offsets, connection, left).await
            }
            Request::End { producer, commit } => {
                let request = EndTxnRequest {
                    transactional_id: id,
                    producer_id: producer.id,
                    producer_epoch: producer.epoch,
                    committed: *commit,
                    ..Default::default()
                };
                let version = connection.version::<EndTxnRequest>()?;
                let version = if self.version_2 { version } else { version.min(END_TXN_V1_LAST) };
                let response = connection.request_at(&request, version, left).await?;
                Ok(Answer {
                    code: Some(ErrorCode::from_code(response.error_code)),
                    producer: Some(ProducerId { id: response.producer_id, epoch: response.producer_epoch }),
                    ..Answer::default()
                })
            }
        }
    }

    async fn init(
        &self,
        id: Str,
        current: Option<ProducerId>,
        connection: &Connection,
        left: Duration,
    ) -> Result<Answer> {
        let version = connection.version::<InitProducerIdRequest>()?;
        if self.options.transaction_two_phase_commit && version < 6 {
            return Err(Error::unsupported(format!(
                "transaction.two.phase.commit.enable needs InitProducerId 6, which {} does not serve",
                connection.address()
            )));
        }
        let (producer_id, producer_epoch) = current.map_or((-1, -1), |current| (current.id, current.epoch));
        let timeout = self.options.transaction_timeout.as_millis();
        let request = InitProducerIdRequest {
            transactional_id: Some(id),
            transaction_timeout_ms: match self.options.transaction_two_phase_commit {
                true => i32::MAX,
                false => i32::try_from(timeout).unwrap_or(i32::MAX),
            },
            producer_id,
            producer_epoch,
            enable2_pc: self.options.transaction_two_phase_commit,
            ..Default::default()
        };
        let response = connection.request_at(&request, version, left).await?;
        Ok(Answer {
            code: Some(ErrorCode::from_code(response.error_code)),
            producer: Some(ProducerId { id: response.producer_id, epoch: response.producer_epoch }),
            ..Answer::default()
        })
    }

    async fn commit_offsets(
        &self,
        id: Str,
        producer: ProducerId,
        group: &GroupMetadata,
        offsets: &Offsets,
        connection: &Connection,
        left: Duration,
    ) -> Result<Answer> {
        let version = connection.version::<TxnOffsetCommitRequest>()?;
        let last = if self.version_2 { OFFSET_COMMIT_NAMES_LAST } else { OFFSET_COMMIT_V1_LAST };
        let version = version.min(last);
        let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
        for (partition, offset) in offsets {
            if topics.last().is_none_or(|topic| *topic.name != *partition.topic) {
                let name = Str::from(&*partition.topic);
                topics.push(TxnOffsetCommitRequestTopic { name, ..Default::default() });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(TxnOffsetCommitRequestPartition {
                    partition_index: partition.partition,
                    committed_offset: offset.offset,
                    committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                    committed_metadata: Some(Str::from(offset.metadata.as_str())),
                    ..Default::default()
                });
            }
        }
        let mut request = TxnOffsetCommitRequest {
            transactional_id: id,
            group_id: Str::from(group.group_id.as_str()),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            topics,
            ..Default::default()
        };
        // Before version 3 a group's members were not told apart (KIP-447).
        if version >= 3 {
            request.generation_id_or_member_epoch = group.generation_id;
            request.member_id = Str::from(group.member_id.as_str());
            request.group_instance_id = group.group_instance_id.as_deref().map(Str::from);
        }
        let response = connection.request_at(&request, version, left).await?;
        let partitions = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let code = ErrorCode::from_code(partition.error_code);
                (TopicPartition::new(&*topic.name, partition.partition_index), code)
            })
        });
        Ok(Answer { partitions: partitions.collect(), ..Answer::default() })
    }
}

fn features(connection: &Connection) -> Features {
    Features {
        version_2: connection.finalized(TRANSACTION_VERSION).is_some_and(|level| level >= 2),
        epoch_bump: connection.version::<InitProducerIdRequest>().is_ok_and(|version| version >= EPOCH_BUMP_FROM),
    }
}

fn topics(partitions: &Partitions) -> Vec<AddPartitionsToTxnTopic> {
    let topic = |(name, partitions): (&Arc<str>, &std::collections::BTreeSet<i32>)| AddPartitionsToTxnTopic {
        name: Str::from(&**name),
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    partitions.iter().map(topic).collect()
}
