//! Requests as they are on the wire, for tests that look at single answers.

use crate::support::PATIENCE;
use bytes::Bytes;
use ottla::client::Env;
use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions, records};
use ottla_model::{Records, Str};
use ottla_protocol::*;
use ottla_wire::{ClientConnection, ClientError, ConnectOptions};

/// A connection that sends what it is told and retries nothing.
pub struct Raw(pub ClientConnection);

impl Raw {
    pub async fn connect(address: &str, client_id: &str) -> Raw {
        let options = ConnectOptions {
            client_id: client_id.into(),
            connect_timeout: PATIENCE,
            in_flight_max: 5,
            ..Default::default()
        };
        Raw(ClientConnection::connect(&Env::real(), address, &options).await.expect("the broker accepts"))
    }

    pub async fn ask<R: Request>(&self, request: R, version: i16) -> Result<R::Response, ClientError> {
        self.0.request(&request, version, PATIENCE).await
    }

    /// Produces one record to each of the partitions; gives their error codes and base offsets, in the order of the
    /// partitions.
    pub async fn produce(&self, topic: &str, partitions: &[i32], value: &str) -> Result<Vec<(i16, i64)>, ClientError> {
        let answer = self.ask(produce(topic, partitions, value), 9).await?;
        let mut answers: Vec<_> = answer.responses.into_iter().flat_map(|topic| topic.partition_responses).collect();
        answers.sort_by_key(|answer| answer.index);
        assert_eq!(answers.len(), partitions.len());
        Ok(answers.into_iter().map(|answer| (answer.error_code, answer.base_offset)).collect())
    }

    /// The values in a partition, from its start.
    pub async fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let mut request = fetch(topic, &[(partition, 0)]);
        (request.max_wait_ms, request.session_epoch) = (0, -1);
        let mut out = Vec::new();
        loop {
            request.topics[0].partitions[0].fetch_offset = out.len() as i64;
            let answer = self.ask(request.clone(), 12).await.expect("the broker answers");
            let data = &answer.responses[0].partitions[0];
            assert_eq!(data.error_code, 0);
            let bytes = data.records.as_ref().map(|records| records.to_bytes().expect("in memory")).unwrap_or_default();
            if bytes.is_empty() {
                return out;
            }
            out.extend(values_of(bytes));
        }
    }

    pub async fn create_topic(&self, name: &str, partitions: i32) {
        let topic = create_topics_request::CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.ask(request, 5).await.expect("the broker answers");
        assert_eq!(answer.topics[0].error_code, 0);
    }

    /// Asks for the coordinator, which creates `__consumer_offsets`; gives the error.
    pub async fn find_coordinator(&self, group: &str) -> i16 {
        let request = FindCoordinatorRequest { key: group.into(), ..Default::default() };
        self.ask(request, 3).await.expect("the broker answers").error_code
    }

    /// Commits without being a member; gives the error.
    pub async fn commit(&self, group: &str, topic: &str, offset: i64) -> i16 {
        let partition = offset_commit_request::OffsetCommitRequestPartition {
            committed_offset: offset,
            committed_leader_epoch: -1,
            ..Default::default()
        };
        let topic = offset_commit_request::OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: -1,
            retention_time_ms: -1,
            topics: vec![topic],
            ..Default::default()
        };
        self.ask(request, 7).await.expect("the broker answers").topics[0].partitions[0].error_code
    }

    /// The committed offset of partition 0.
    pub async fn committed(&self, group: &str, topic: &str) -> i64 {
        let topic = offset_fetch_request::OffsetFetchRequestTopic {
            name: topic.into(),
            partition_indexes: vec![0],
            ..Default::default()
        };
        let request = OffsetFetchRequest { group_id: group.into(), topics: Some(vec![topic]), ..Default::default() };
        self.ask(request, 5).await.expect("the broker answers").topics[0].partitions[0].committed_offset
    }

    /// Joins a group alone and takes the assignment; gives the member id and generation.
    pub async fn join(&self, group: &str) -> (Str, i32) {
        self.join_again(group, Str::default()).await
    }

    pub async fn join_again(&self, group: &str, member_id: Str) -> (Str, i32) {
        let protocol = || join_group_request::JoinGroupRequestProtocol {
            name: "range".into(),
            // A subscription to nothing.
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
            ..Default::default()
        };
        let request = |member_id: Str| JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            member_id,
            protocol_type: "consumer".into(),
            protocols: vec![protocol()],
            ..Default::default()
        };
        let joined = self.ask(request(member_id), 3).await.expect("the broker answers");
        assert_eq!(joined.error_code, 0);
        let sync = SyncGroupRequest {
            group_id: group.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            assignments: vec![sync_group_request::SyncGroupRequestAssignment {
                member_id: joined.member_id.clone(),
                assignment: Bytes::from_static(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(self.ask(sync, 2).await.expect("the broker answers").error_code, 0);
        (joined.member_id, joined.generation_id)
    }

    pub async fn heartbeat(&self, group: &str, member: &(Str, i32)) -> i16 {
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation_id: member.1,
            member_id: member.0.clone(),
            ..Default::default()
        };
        self.ask(request, 2).await.expect("the broker answers").error_code
    }
}

pub fn values_of(bytes: Bytes) -> Vec<String> {
    let mut values = Vec::new();
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("whole");
        for record in records(&batch.bytes).expect("readable") {
            let value = record.expect("sound").value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    values
}

pub fn batch(value: &str) -> Bytes {
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let now_ms = Env::real().now_ms();
    builder.append(now_ms, None, Some(value.as_bytes()), none).expect("it fits");
    let mut out = Vec::new();
    builder.build_into(&mut out).expect("it can be built");
    out.into()
}

pub fn produce(topic: &str, partitions: &[i32], value: &str) -> ProduceRequest {
    let data = partitions.iter().map(|index| produce_request::PartitionProduceData {
        index: *index,
        records: Some(Records::from(batch(value))),
        ..Default::default()
    });
    let topic =
        produce_request::TopicProduceData { name: topic.into(), partition_data: data.collect(), ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

/// Waits a minute for data and asks for a session.
pub fn fetch(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, offset)| fetch_request::FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic =
        fetch_request::FetchTopic { topic: topic.into(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 60_000,
        session_epoch: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}
