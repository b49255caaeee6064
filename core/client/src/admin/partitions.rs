//! Replicas of partitions: elections (KIP-183, KIP-460) and moves to other brokers (KIP-455).

use super::Admin;
use super::call::{Controller, PerKey, by_topic, check_code, text};
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use ottla_protocol::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use ottla_protocol::{AlterPartitionReassignmentsResponse, ElectLeadersResponse, ListPartitionReassignmentsResponse};
use std::collections::{BTreeMap, BTreeSet};

/// Which replica an election makes the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ElectionType {
    /// The first of the replicas, if it is in sync.
    #[default]
    Preferred,
    /// Any that lives, in sync or not, where there is no leader: records may be lost.
    Unclean,
}

/// A move that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReassignment {
    /// All replicas at present, old and new.
    pub replicas: Vec<i32>,
    /// Those that come.
    pub adding_replicas: Vec<i32>,
    /// Those that go.
    pub removing_replicas: Vec<i32>,
}

impl Admin {
    /// Elects leaders of `partitions`, or with `None` of all that need it. A result per partition: of all partitions only
    /// those where something was done.
    ///
    /// # Errors
    /// Per partition `ELECTION_NOT_NEEDED` where the preferred replica leads already, `PREFERRED_LEADER_NOT_AVAILABLE`,
    /// `ELIGIBLE_LEADERS_NOT_AVAILABLE`; the outer one when the election as a whole was refused.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<PerKey<TopicPartition, ()>> {
        let build = |version: i16| {
            if version == 0 && election == ElectionType::Unclean {
                return Err(Error::unsupported(
                    "ElectLeaders 0 knows preferred leaders only; unclean ones need version 1 (Apache Kafka 2.4)",
                ));
            }
            let topic = |(topic, partitions)| TopicPartitions { topic: text(topic), partitions, ..Default::default() };
            Ok(ElectLeadersRequest {
                election_type: i8::from(election == ElectionType::Unclean),
                topic_partitions: partitions.map(|some| by_topic(some).into_iter().map(topic).collect()),
                timeout_ms: self.timeout_ms(),
                ..Default::default()
            })
        };
        let read = |response: ElectLeadersResponse| {
            check_code(response.error_code, "the election", None)?;
            let mut results = PerKey::new();
            for topic in &response.replica_election_results {
                for partition in &topic.partition_result {
                    let key = TopicPartition::new(&*topic.topic, partition.partition_id);
                    let what = format!("partition {key}");
                    let message = partition.error_message.as_deref();
                    // A controller that changes says so per partition; asking the next one is the outer loop's work.
                    if partition.error_code == ErrorCode::NotController.code() {
                        return Err(Error::from_code(ErrorCode::NotController, &what, message));
                    }
                    results.insert(key, check_code(partition.error_code, &what, message));
                }
            }
            Ok(results)
        };
        self.controller(build, read).await
    }

    /// Moves partitions to other brokers, the preferred leader first; `None` cancels a move that is going on. An answer
    /// means that the move has begun: [`Admin::list_partition_reassignments`] tells when it is over.
    ///
    /// # Errors
    /// Per partition `NO_REASSIGNMENT_IN_PROGRESS` when there is none to cancel, `INVALID_REPLICA_ASSIGNMENT` when a
    /// broker does not exist.
    pub async fn alter_partition_reassignments(
        &self,
        reassignments: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> PerKey<TopicPartition, ()> {
        self.reassign(reassignments, true).await
    }

    /// As [`Admin::alter_partition_reassignments`], and refuses any that changes how many replicas there are (KIP-860,
    /// Apache Kafka from 4.1).
    pub async fn alter_partition_reassignments_keeping_replication_factor(
        &self,
        reassignments: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> PerKey<TopicPartition, ()> {
        self.reassign(reassignments, false).await
    }

    async fn reassign(
        &self,
        reassignments: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
        allow_replication_factor_change: bool,
    ) -> PerKey<TopicPartition, ()> {
        let build = |version: i16, keys: &[TopicPartition]| {
            if version == 0 && !allow_replication_factor_change {
                return Err(Error::unsupported(
                    "AlterPartitionReassignments 0 cannot keep the replication factor; that needs version 1 (Apache Kafka 4.1)",
                ));
            }
            let partition = |topic: &str, index: i32| ReassignablePartition {
                partition_index: index,
                replicas: reassignments.get(&TopicPartition::new(topic, index)).cloned().flatten(),
                ..Default::default()
            };
            let topic = |(name, indexes): (&str, Vec<i32>)| ReassignableTopic {
                name: text(name),
                partitions: indexes.into_iter().map(|index| partition(name, index)).collect(),
                ..Default::default()
            };
            Ok(AlterPartitionReassignmentsRequest {
                timeout_ms: self.timeout_ms(),
                allow_replication_factor_change,
                topics: by_topic(keys).into_iter().map(topic).collect(),
                ..Default::default()
            })
        };
        let read = |response: AlterPartitionReassignmentsResponse, keys: &[TopicPartition]| {
            if let Err(error) = check_code(response.error_code, "the reassignment", response.error_message.as_deref()) {
                return super::call::all(keys, &error);
            }
            let mut results = PerKey::new();
            for topic in &response.responses {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let what = format!("partition {key}");
                    let result = check_code(partition.error_code, &what, partition.error_message.as_deref());
                    results.insert(key, result);
                }
            }
            results
        };
        self.per_key(Controller, reassignments.keys().cloned(), usize::MAX, build, read).await
    }

    /// The moves that are going on, of `partitions` or with `None` of all.
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<BTreeMap<TopicPartition, PartitionReassignment>> {
        let topic = |(name, partition_indexes)| ListPartitionReassignmentsTopics {
            name: text(name),
            partition_indexes,
            ..Default::default()
        };
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: partitions.map(|some| by_topic(some).into_iter().map(topic).collect()),
            ..Default::default()
        };
        let read = |response: ListPartitionReassignmentsResponse| {
            check_code(response.error_code, "the reassignments", response.error_message.as_deref())?;
            let mut moves = BTreeMap::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let reassignment = PartitionReassignment {
                        replicas: partition.replicas,
                        adding_replicas: partition.adding_replicas,
                        removing_replicas: partition.removing_replicas,
                    };
                    moves.insert(TopicPartition::new(&*topic.name, partition.partition_index), reassignment);
                }
            }
            Ok(moves)
        };
        self.controller(|_| Ok(request.clone()), read).await
    }
}
