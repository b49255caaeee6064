//! Directories that brokers keep partitions in: what is where, and moving replicas between them (KIP-113).

use super::Admin;
use super::call::{At, Node, PerKey, all, by_topic, check_code, not_mentioned, text};
use crate::error::Error;
use ottla_model::TopicPartition;
use ottla_protocol::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_protocol::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use ottla_protocol::{AlterReplicaLogDirsResponse, DescribeLogDirsResponse};
use std::collections::{BTreeMap, BTreeSet};

/// One replica of a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartitionReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// The broker that has the replica.
    pub broker_id: i32,
}

/// A directory of a broker.
#[derive(Debug, Clone)]
pub struct LogDirDescription {
    /// Why it is not usable, as `KAFKA_STORAGE_ERROR`; `None` when it is.
    pub error: Option<Error>,
    /// What is in it.
    pub replicas: BTreeMap<TopicPartition, ReplicaInfo>,
    /// The size of its volume in bytes; `None` from brokers before 3.3 (KIP-827).
    pub total_bytes: Option<i64>,
    /// The free bytes of its volume; `None` from brokers before 3.3.
    pub usable_bytes: Option<i64>,
    /// Whether it takes no new replicas (KIP-1066; Apache Kafka from 4.3).
    pub cordoned: bool,
}

/// A replica in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// The bytes of its segments.
    pub size: i64,
    /// How far it is behind: the high watermark, or for a future replica the present one, less its end.
    pub offset_lag: i64,
    /// Whether it is on its way into this directory.
    pub future: bool,
}

/// In which directories a replica is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaLogDirInfo {
    /// Where it is; `None` when no directory that works has it.
    pub current_log_dir: Option<String>,
    /// How far it is behind the high watermark; -1 when unknown.
    pub current_offset_lag: i64,
    /// Where it is going; `None` when it is not moving.
    pub future_log_dir: Option<String>,
    /// How far the copy there is behind the present one; -1 when there is none.
    pub future_offset_lag: i64,
}

impl Admin {
    /// The directories of each broker with what is in them, by path.
    pub async fn describe_log_dirs(&self, brokers: &[i32]) -> PerKey<i32, BTreeMap<String, LogDirDescription>> {
        self.log_dirs(brokers, None).await
    }

    /// In which directories the given replicas are.
    pub async fn describe_replica_log_dirs(
        &self,
        replicas: &BTreeSet<TopicPartitionReplica>,
    ) -> PerKey<TopicPartitionReplica, ReplicaLogDirInfo> {
        let mut found = PerKey::new();
        for (broker, partitions) in by_broker(replicas.iter()) {
            let described = self.log_dirs(&[broker], Some(&partitions)).await.remove(&broker);
            let described = described.unwrap_or_else(|| Err(not_mentioned(&broker)));
            for partition in partitions {
                let result = described.as_ref().map(|dirs| locate(&partition, dirs)).map_err(Clone::clone);
                found.insert(TopicPartitionReplica { partition, broker_id: broker }, result);
            }
        }
        found
    }

    /// Moves replicas to other directories of their brokers. An answer means that the move has begun;
    /// [`Admin::describe_replica_log_dirs`] tells when it is over.
    ///
    /// # Errors
    /// Per replica `LOG_DIR_NOT_FOUND` when the broker has no such directory, `KAFKA_STORAGE_ERROR` when it is not usable;
    /// `REPLICA_NOT_AVAILABLE` when the broker will have a replica that is yet to be created: it is then created there.
    pub async fn alter_replica_log_dirs(
        &self,
        assignments: &BTreeMap<TopicPartitionReplica, String>,
    ) -> PerKey<TopicPartitionReplica, ()> {
        let mut results = PerKey::new();
        for (broker, partitions) in by_broker(assignments.keys()) {
            let path = |partition: &TopicPartition| {
                let replica = TopicPartitionReplica { partition: partition.clone(), broker_id: broker };
                assignments.get(&replica).map(String::as_str).unwrap_or_default()
            };
            let build = |_, keys: &[TopicPartition]| {
                let mut dirs: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
                for key in keys {
                    dirs.entry(path(key)).or_default().push(key);
                }
                let dirs = dirs.into_iter().map(|(path, keys)| AlterReplicaLogDir {
                    path: text(path),
                    topics: by_topic(keys)
                        .into_iter()
                        .map(|(name, partitions)| AlterReplicaLogDirTopic {
                            name: text(name),
                            partitions,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                });
                Ok(AlterReplicaLogDirsRequest { dirs: dirs.collect(), ..Default::default() })
            };
            let read = |response: AlterReplicaLogDirsResponse, _: &[TopicPartition]| {
                let mut results = PerKey::new();
                for topic in &response.results {
                    for partition in &topic.partitions {
                        let key = TopicPartition::new(&*topic.topic_name, partition.partition_index);
                        let what = format!("partition {key} on broker {broker}");
                        results.insert(key, check_code(partition.error_code, &what, None));
                    }
                }
                results
            };
            let answers = self.per_key(At(Some(broker)), partitions, usize::MAX, build, read).await;
            let replica = |partition| TopicPartitionReplica { partition, broker_id: broker };
            results.extend(answers.into_iter().map(|(partition, result)| (replica(partition), result)));
        }
        results
    }

    async fn log_dirs(
        &self,
        brokers: &[i32],
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> PerKey<i32, BTreeMap<String, LogDirDescription>> {
        let topic =
            |(topic, partitions)| DescribableLogDirTopic { topic: text(topic), partitions, ..Default::default() };
        let topics = partitions.map(|some| by_topic(some).into_iter().map(topic).collect());
        let request = DescribeLogDirsRequest { topics, ..Default::default() };
        let read = |response: DescribeLogDirsResponse, brokers: &[i32]| {
            let what = format!("the log directories of broker {}", brokers[0]);
            match check_code(response.error_code, &what, None) {
                Ok(()) => PerKey::from([(brokers[0], Ok(dirs(&response)))]),
                Err(error) => all(brokers, &error),
            }
        };
        self.per_key(Node, brokers.iter().copied(), 1, |_, _| Ok(request.clone()), read).await
    }
}

fn dirs(response: &DescribeLogDirsResponse) -> BTreeMap<String, LogDirDescription> {
    let dir = |result: &ottla_protocol::describe_log_dirs_response::DescribeLogDirsResult| {
        let mut replicas = BTreeMap::new();
        for topic in &result.topics {
            for partition in &topic.partitions {
                let info = ReplicaInfo {
                    size: partition.partition_size,
                    offset_lag: partition.offset_lag,
                    future: partition.is_future_key,
                };
                replicas.insert(TopicPartition::new(&*topic.name, partition.partition_index), info);
            }
        }
        LogDirDescription {
            error: check_code(result.error_code, &format!("directory {}", result.log_dir), None).err(),
            replicas,
            total_bytes: Some(result.total_bytes).filter(|bytes| *bytes >= 0),
            usable_bytes: Some(result.usable_bytes).filter(|bytes| *bytes >= 0),
            cordoned: result.is_cordoned,
        }
    };
    response.results.iter().map(|result| (result.log_dir.to_string(), dir(result))).collect()
}

fn locate(partition: &TopicPartition, dirs: &BTreeMap<String, LogDirDescription>) -> ReplicaLogDirInfo {
    let mut info = ReplicaLogDirInfo { current_offset_lag: -1, future_offset_lag: -1, ..Default::default() };
    for (path, dir) in dirs {
        let Some(replica) = dir.replicas.get(partition) else { continue };
        if replica.future {
            info.future_log_dir = Some(path.clone());
            info.future_offset_lag = replica.offset_lag;
        } else {
            info.current_log_dir = Some(path.clone());
            info.current_offset_lag = replica.offset_lag;
        }
    }
    info
}

fn by_broker<'a>(replicas: impl Iterator<Item = &'a TopicPartitionReplica>) -> BTreeMap<i32, BTreeSet<TopicPartition>> {
    let mut brokers: BTreeMap<i32, BTreeSet<TopicPartition>> = BTreeMap::new();
    for replica in replicas {
        brokers.entry(replica.broker_id).or_default().insert(replica.partition.clone());
    }
    brokers
}
