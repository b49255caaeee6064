//! The controllers' quorum: who votes, who leads, who is behind (KIP-836), and changing it (KIP-853).

use super::Admin;
use super::call::{check_code, not_mentioned, text};
use crate::error::Result;
use ottla_model::{Str, Uuid};
use ottla_protocol::add_raft_voter_request::{AddRaftVoterRequest, Listener};
use ottla_protocol::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use ottla_protocol::describe_quorum_response::{DescribeQuorumResponse, ReplicaState};
use ottla_protocol::remove_raft_voter_request::RemoveRaftVoterRequest;
use ottla_protocol::{AddRaftVoterResponse, RemoveRaftVoterResponse};
use std::collections::BTreeMap;

/// The name of the topic that the controllers agree on.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The quorum as its leader sees it.
#[derive(Debug, Clone, Default)]
pub struct QuorumInfo {
    /// The active controller's node id; -1 while there is none.
    pub leader_id: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// Up to where the quorum agrees.
    pub high_watermark: i64,
    /// Controllers that vote.
    pub voters: Vec<QuorumReplica>,
    /// Brokers and controllers that only read.
    pub observers: Vec<QuorumReplica>,
    /// Where the voters listen; empty from brokers before 3.9.
    pub nodes: BTreeMap<i32, Vec<RaftVoterEndpoint>>,
}

/// How far a node of the quorum is.
#[derive(Debug, Clone)]
pub struct QuorumReplica {
    /// Its node id.
    pub replica_id: i32,
    /// The id of its metadata directory; zero when it is not known.
    pub replica_directory_id: Uuid,
    /// The end of its log; -1 when it is not known.
    pub log_end_offset: i64,
    /// When the leader last heard from it, ms since 1970.
    pub last_fetch_timestamp: Option<i64>,
    /// When it last had all there was, ms since 1970.
    pub last_caught_up_timestamp: Option<i64>,
}

/// Where a controller listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftVoterEndpoint {
    /// The listener's name, as CONTROLLER.
    pub name: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Admin {
    /// Describes the controllers' quorum.
    pub async fn describe_metadata_quorum(&self) -> Result<QuorumInfo> {
        let partitions = vec![PartitionData { partition_index: 0, ..Default::default() }];
        let topics = vec![TopicData { topic_name: Str::from(METADATA_TOPIC), partitions, ..Default::default() }];
        let request = DescribeQuorumRequest { topics, ..Default::default() };
        let read = |response: DescribeQuorumResponse| {
            check_code(response.error_code, "the quorum", response.error_message.as_deref())?;
            let partition = response.topics.first().and_then(|topic| topic.partitions.first());
            let partition = partition.ok_or_else(|| not_mentioned(METADATA_TOPIC))?;
            check_code(partition.error_code, "the quorum", partition.error_message.as_deref())?;
            let nodes = response.nodes.iter().map(|node| {
                let endpoints = node.listeners.iter().map(|listener| RaftVoterEndpoint {
                    name: listener.name.to_string(),
                    host: listener.host.to_string(),
                    port: listener.port,
                });
                (node.node_id, endpoints.collect())
            });
            Ok(QuorumInfo {
                leader_id: partition.leader_id,
                leader_epoch: partition.leader_epoch,
                high_watermark: partition.high_watermark,
                voters: partition.current_voters.iter().map(replica).collect(),
                observers: partition.observers.iter().map(replica).collect(),
                nodes: nodes.collect(),
            })
        };
        self.controller(|_| Ok(request.clone()), read).await
    }

    /// Lets a controller vote; it must be running and have caught up. With `cluster_id` only in that cluster.
    ///
    /// # Errors
    /// `DUPLICATE_VOTER`, `INCONSISTENT_CLUSTER_ID`, `UNSUPPORTED_VERSION` where the quorum is not dynamic
    /// (`kraft.version` 0).
    pub async fn add_raft_voter(
        &self,
        voter_id: i32,
        voter_directory_id: Uuid,
        endpoints: &[RaftVoterEndpoint],
        cluster_id: Option<&str>,
    ) -> Result<()> {
        let listener = |endpoint: &RaftVoterEndpoint| Listener {
            name: text(&endpoint.name),
            host: text(&endpoint.host),
            port: endpoint.port,
            ..Default::default()
        };
        let request = AddRaftVoterRequest {
            cluster_id: cluster_id.map(text),
            timeout_ms: self.timeout_ms(),
            voter_id,
            voter_directory_id,
            listeners: endpoints.iter().map(listener).collect(),
            ..Default::default()
        };
        let read = |response: AddRaftVoterResponse| {
            check_code(response.error_code, &format!("voter {voter_id}"), response.error_message.as_deref())
        };
        self.controller(|_| Ok(request.clone()), read).await
    }

    /// Takes a controller's vote away. With `cluster_id` only in that cluster.
    ///
    /// # Errors
    /// `VOTER_NOT_FOUND`, `INCONSISTENT_CLUSTER_ID`, `UNSUPPORTED_VERSION` where the quorum is not dynamic.
    pub async fn remove_raft_voter(
        &self,
        voter_id: i32,
        voter_directory_id: Uuid,
        cluster_id: Option<&str>,
    ) -> Result<()> {
        let cluster_id = cluster_id.map(text);
        let request = RemoveRaftVoterRequest { cluster_id, voter_id, voter_directory_id, ..Default::default() };
        let read = |response: RemoveRaftVoterResponse| {
            check_code(response.error_code, &format!("voter {voter_id}"), response.error_message.as_deref())
        };
        self.controller(|_| Ok(request.clone()), read).await
    }
}

fn replica(state: &ReplicaState) -> QuorumReplica {
    QuorumReplica {
        replica_id: state.replica_id,
        replica_directory_id: state.replica_directory_id,
        log_end_offset: state.log_end_offset,
        last_fetch_timestamp: Some(state.last_fetch_timestamp).filter(|ms| *ms >= 0),
        last_caught_up_timestamp: Some(state.last_caught_up_timestamp).filter(|ms| *ms >= 0),
    }
}
