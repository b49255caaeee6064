//! An injected error is a well-formed answer of its API, at every version that is served, for all APIs that are served.
//!
//! Method: raw frames over TCP. What is served is asked of the broker, so an API that is added without a sample here fails.

use crate::faults_answers_transactions::transactions;
use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::client::Env;
use ottla::faults::ErrorCode;
use ottla_model::{Records, Str, Uuid};
use ottla_protocol::*;
use ottla_wire::{ClientConnection, ConnectOptions};
use std::collections::BTreeSet;

/// An error that nothing here gives by itself.
const CODE: ErrorCode = ErrorCode::ThrottlingQuotaExceeded;
pub(crate) const TOPIC: &str = "t";

pub(crate) async fn connect(address: &str, client_id: &str) -> ClientConnection {
    let options = ConnectOptions {
        client_id: client_id.into(),
        connect_timeout: PATIENCE,
        in_flight_max: 5,
        ..Default::default()
    };
    ClientConnection::connect(&Env::real(), address, &options).await.expect("the broker accepts")
}

/// Sends the request and decodes its answer to the last byte.
async fn exchange<R: Request>(connection: &ClientConnection, request: &R, version: i16) -> R::Response {
    let api = R::API_KEY;
    let pending = connection.start(request, version).await.expect("sent");
    let frame = pending.frame(PATIENCE).await.unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name()));
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, api.response_header_version(version)).expect("a header");
    let decoded = R::Response::decode(&mut reader, version);
    let decoded = decoded.unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name()));
    assert_eq!(reader.remaining(), 0, "{} v{version} says more than its schema", api.name());
    decoded
}

pub(crate) struct Checker {
    broker: ottla::Broker,
    connection: ClientConnection,
    pub(crate) topic_id: Uuid,
    seen: BTreeSet<i16>,
}

impl Checker {
    /// `request` makes one for a version, `codes` says which errors its answer has, each in its place.
    pub(crate) async fn check<R: Request>(
        &mut self,
        request: impl Fn(i16) -> R,
        codes: impl Fn(R::Response) -> Vec<i16>,
    ) {
        let api = R::API_KEY;
        let (lowest, highest) = api.versions();
        for version in lowest..=highest {
            let fault = self.broker.faults().on(api).times(1).error(CODE).expect("every API can answer with an error");
            let answer = exchange(&self.connection, &request(version), version).await;
            assert_eq!(fault.fired(), 1, "{} v{version}", api.name());
            let codes = codes(answer);
            let where_it_counts = !codes.is_empty() && codes.iter().all(|code| *code == CODE.code());
            assert!(where_it_counts, "{} v{version} has {codes:?}", api.name());
        }
        self.seen.insert(api.code());
    }
}

pub(crate) fn topic_and_id(version: i16, since: i16, id: Uuid) -> (Str, Uuid) {
    if version >= since { (Str::default(), id) } else { (TOPIC.into(), Uuid::ZERO) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_answers_an_injected_error_at_every_version() {
    let broker = on_tcp().await;
    create_topic(&client(&broker), TOPIC, 2).await;
    let connection = connect(&broker.bootstrap_servers(), "raw").await;
    let names = MetadataRequest { topics: None, ..Default::default() };
    let topic_id = exchange(&connection, &names, 12).await.topics[0].topic_id;
    let versions = exchange(&connection, &ApiVersionsRequest::default(), 0).await;
    let served: BTreeSet<i16> = versions.api_keys.iter().map(|it| it.api_key).collect();
    let mut checker = Checker { broker, connection, topic_id, seen: BTreeSet::new() };
    partitions(&mut checker).await;
    topics(&mut checker).await;
    groups(&mut checker).await;
    transactions(&mut checker).await;
    checker
        .check(
            |_| ApiVersionsRequest {
                client_software_name: "t".into(),
                client_software_version: "1".into(),
                ..Default::default()
            },
            |it| vec![it.error_code],
        )
        .await;
    checker
        .check(
            |_| InitProducerIdRequest {
                transaction_timeout_ms: 1000,
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            },
            |it| vec![it.error_code],
        )
        .await;
    checker
        .check(|_| DescribeClusterRequest { endpoint_type: 1, ..Default::default() }, |it| vec![it.error_code])
        .await;
    assert_eq!(checker.seen, served, "an API is served of which no sample is here");
    // Not one of the faults is left, and the broker is in order.
    assert_eq!(exchange(&checker.connection, &names, 12).await.topics.len(), 1);
    checker.broker.close().await.expect("closes");
}

async fn partitions(checker: &mut Checker) {
    let id = checker.topic_id;
    checker
        .check(
            |version| {
                let (name, topic_id) = topic_and_id(version, 13, id);
                let data = |index| produce_request::PartitionProduceData {
                    index,
                    records: Some(Records::from(vec![0; 61])),
                    ..Default::default()
                };
                let partition_data = vec![data(0), data(1)];
                let topic = produce_request::TopicProduceData { name, topic_id, partition_data, ..Default::default() };
                ProduceRequest { acks: 1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
            },
            |it| it.responses.iter().flat_map(|it| &it.partition_responses).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |version| {
                let (topic, topic_id) = topic_and_id(version, 13, id);
                let of = |partition| fetch_request::FetchPartition {
                    partition,
                    partition_max_bytes: 1,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    ..Default::default()
                };
                let topic =
                    fetch_request::FetchTopic { topic, topic_id, partitions: vec![of(0), of(1)], ..Default::default() };
                FetchRequest {
                    max_wait_ms: 60_000,
                    min_bytes: 1,
                    max_bytes: 1,
                    session_epoch: -1,
                    topics: vec![topic],
                    replica_id: -1,
                    ..Default::default()
                }
            },
            |it| it.responses.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |partition_index| list_offsets_request::ListOffsetsPartition {
                    partition_index,
                    current_leader_epoch: -1,
                    timestamp: -1,
                    ..Default::default()
                };
                let partitions = vec![of(0), of(1)];
                let topic =
                    list_offsets_request::ListOffsetsTopic { name: TOPIC.into(), partitions, ..Default::default() };
                ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |partition| offset_for_leader_epoch_request::OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch: -1,
                    ..Default::default()
                };
                let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic {
                    topic: TOPIC.into(),
                    partitions: vec![of(0), of(1)],
                    ..Default::default()
                };
                OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |partition_index| delete_records_request::DeleteRecordsPartition {
                    partition_index,
                    offset: 0,
                    ..Default::default()
                };
                let partitions = vec![of(0), of(1)];
                let topic =
                    delete_records_request::DeleteRecordsTopic { name: TOPIC.into(), partitions, ..Default::default() };
                DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
}

async fn topics(checker: &mut Checker) {
    // All topics: null, and in v0 an empty list. v13 says it once more for the whole.
    checker
        .check(
            |version| MetadataRequest { topics: (version == 0).then(Vec::new), ..Default::default() },
            |it| match it.topics.is_empty() {
                true => vec![it.error_code],
                false => it.topics.iter().map(|it| it.error_code).collect(),
            },
        )
        .await;
    checker
        .check(
            |_| DescribeTopicPartitionsRequest { response_partition_limit: 100, ..Default::default() },
            |it| it.topics.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let new = |name: &str| create_topics_request::CreatableTopic {
                    name: name.into(),
                    num_partitions: 1,
                    replication_factor: 1,
                    ..Default::default()
                };
                CreateTopicsRequest { topics: vec![new("u"), new("v")], timeout_ms: 1000, ..Default::default() }
            },
            |it| it.topics.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |version| {
                let topic = delete_topics_request::DeleteTopicState { name: Some(TOPIC.into()), ..Default::default() };
                match version < 6 {
                    true => DeleteTopicsRequest { topic_names: vec![TOPIC.into()], ..Default::default() },
                    false => DeleteTopicsRequest { topics: vec![topic], ..Default::default() },
                }
            },
            |it| it.responses.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let topic = create_partitions_request::CreatePartitionsTopic {
                    name: TOPIC.into(),
                    count: 5,
                    ..Default::default()
                };
                CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }
            },
            |it| it.results.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |resource_type, name: &str| describe_configs_request::DescribeConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    ..Default::default()
                };
                DescribeConfigsRequest { resources: vec![of(2, TOPIC), of(4, "1")], ..Default::default() }
            },
            |it| it.results.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |resource_type, name: &str| alter_configs_request::AlterConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    ..Default::default()
                };
                AlterConfigsRequest { resources: vec![of(2, TOPIC), of(4, "1")], ..Default::default() }
            },
            |it| it.responses.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |resource_type, name: &str| incremental_alter_configs_request::AlterConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    ..Default::default()
                };
                IncrementalAlterConfigsRequest { resources: vec![of(2, TOPIC), of(4, "1")], ..Default::default() }
            },
            |it| it.responses.iter().map(|it| it.error_code).collect(),
        )
        .await;
}

async fn groups(checker: &mut Checker) {
    let group = || Str::from("g");
    let id = checker.topic_id;
    checker
        .check(
            |version| match version < 4 {
                true => FindCoordinatorRequest { key: group(), ..Default::default() },
                false => FindCoordinatorRequest { coordinator_keys: vec![group(), "h".into()], ..Default::default() },
            },
            |it| match it.coordinators.is_empty() {
                true => vec![it.error_code],
                false => it.coordinators.iter().map(|it| it.error_code).collect(),
            },
        )
        .await;
    checker.check(|_| JoinGroupRequest { group_id: group(), ..Default::default() }, |it| vec![it.error_code]).await;
    checker
        .check(
            |_| SyncGroupRequest {
                group_id: group(),
                protocol_type: Some("consumer".into()),
                protocol_name: Some("range".into()),
                ..Default::default()
            },
            |it| vec![it.error_code],
        )
        .await;
    checker.check(|_| HeartbeatRequest { group_id: group(), ..Default::default() }, |it| vec![it.error_code]).await;
    checker
        .check(
            |version| {
                let member = leave_group_request::MemberIdentity { member_id: "m".into(), ..Default::default() };
                match version < 3 {
                    true => LeaveGroupRequest { group_id: group(), member_id: "m".into(), ..Default::default() },
                    false => LeaveGroupRequest { group_id: group(), members: vec![member], ..Default::default() },
                }
            },
            |it| vec![it.error_code],
        )
        .await;
    checker.check(|_| ListGroupsRequest::default(), |it| vec![it.error_code]).await;
    checker
        .check(
            |_| DescribeGroupsRequest { groups: vec![group(), "h".into()], ..Default::default() },
            |it| it.groups.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| DeleteGroupsRequest { groups_names: vec![group(), "h".into()], ..Default::default() },
            |it| it.results.iter().map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |version| {
                let (name, topic_id) = topic_and_id(version, 10, id);
                let of = |partition_index| offset_commit_request::OffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: 1,
                    committed_leader_epoch: -1,
                    ..Default::default()
                };
                let partitions = vec![of(0), of(1)];
                let topic = offset_commit_request::OffsetCommitRequestTopic {
                    name,
                    topic_id,
                    partitions,
                    ..Default::default()
                };
                OffsetCommitRequest {
                    group_id: group(),
                    generation_id_or_member_epoch: -1,
                    retention_time_ms: -1,
                    topics: vec![topic],
                    ..Default::default()
                }
            },
            |it| it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect(),
        )
        .await;
    checker
        .check(
            |_| {
                let of = |partition_index| offset_delete_request::OffsetDeleteRequestPartition {
                    partition_index,
                    ..Default::default()
                };
                let partitions = vec![of(0), of(1)];
                let topic = offset_delete_request::OffsetDeleteRequestTopic {
                    name: TOPIC.into(),
                    partitions,
                    ..Default::default()
                };
                OffsetDeleteRequest { group_id: group(), topics: vec![topic], ..Default::default() }
            },
            |it| vec![it.error_code],
        )
        .await;
    checker
        .check(
            |version| {
                if version >= 8 {
                    let (name, topic_id) = topic_and_id(version, 10, id);
                    let topic = offset_fetch_request::OffsetFetchRequestTopics {
                        name,
                        topic_id,
                        partition_indexes: vec![0, 1],
                        ..Default::default()
                    };
                    let of = |group_id: &str, topics| offset_fetch_request::OffsetFetchRequestGroup {
                        group_id: group_id.into(),
                        member_epoch: -1,
                        topics,
                        ..Default::default()
                    };
                    let groups = vec![of("g", Some(vec![topic])), of("h", None)];
                    return OffsetFetchRequest { groups, ..Default::default() };
                }
                let topic = offset_fetch_request::OffsetFetchRequestTopic {
                    name: TOPIC.into(),
                    partition_indexes: vec![0, 1],
                    ..Default::default()
                };
                OffsetFetchRequest { group_id: group(), topics: Some(vec![topic]), ..Default::default() }
            },
            |it| {
                let partitions = it.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code);
                let groups = it.groups.iter().map(|it| it.error_code);
                let codes: Vec<i16> = partitions.chain(groups).collect();
                if codes.is_empty() { vec![it.error_code] } else { codes }
            },
        )
        .await;
}
