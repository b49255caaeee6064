//! A broker with the configs under test, spoken to in plain requests; and what its directory holds.

use bytes::Bytes;
use ottla::Broker;
use ottla::env::Env;
use ottla_model::record_batch::{BatchBuilder, BatchHeader, BatchIter, BatchOptions};
use ottla_model::{Compression, ErrorCode, Records};
use ottla_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::fetch_response::PartitionData;
use ottla_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::metadata_request::MetadataRequestTopic;
use ottla_protocol::metadata_response::MetadataResponseTopic;
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::produce_response::PartitionProduceResponse;
use ottla_protocol::{
    CreateTopicsRequest, FetchRequest, FetchResponse, IncrementalAlterConfigsRequest, ListOffsetsRequest,
    MetadataRequest, MetadataResponse, ProduceRequest, Request,
};
use ottla_wire::{ClientConnection, ConnectOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than anything here takes; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The topic of most tests.
pub const TOPIC: &str = "t";
/// The last Produce and Fetch versions that name topics.
const BY_NAME: i16 = 12;
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

/// Where a config is set: on the broker, or on [`TOPIC`].
#[derive(Clone, Copy, Debug)]
pub enum Set<'a> {
    Broker(&'a str, &'a str),
    Topic(&'a str, &'a str),
}

/// A folder of its own, removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("ottla-configs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Folder(std::env::temp_dir().join(unique))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path as a config value.
    pub fn text(&self, name: &str) -> String {
        self.join(name).to_str().expect("a path of letters").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The names of the files and folders in `dir`, sorted; none when there is no such folder.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// How many files in `dir` end in `suffix`.
pub fn count(dir: &Path, suffix: &str) -> usize {
    names(dir).iter().filter(|name| name.ends_with(suffix)).count()
}

/// Bytes of the first file of `dir` with this ending.
pub fn size_of_first(dir: &Path, suffix: &str) -> u64 {
    let name = names(dir).into_iter().find(|name| name.ends_with(suffix)).expect("a file with this ending");
    std::fs::metadata(dir.join(name)).expect("the file is there").len()
}

pub fn now_ms() -> i64 {
    Env::real().now_ms()
}

/// Waits until `check` says yes; a test that has to wait for long has failed.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let env = Env::real();
    let deadline = env.monotonic() + PATIENCE;
    while !check().await {
        assert!(env.monotonic() < deadline, "never happened: {what}");
        env.sleep(Duration::from_millis(10)).await;
    }
}

/// A broker and a connection to its first listener.
#[derive(Debug)]
pub struct Node {
    pub broker: Broker,
    pub connection: ClientConnection,
}

/// A broker in memory with these configs.
pub async fn start(configs: &[(&str, &str)]) -> Node {
    on(Broker::builder(), configs).await
}

/// A broker with its data in `folder`.
pub async fn start_in(folder: &Folder, configs: &[(&str, &str)]) -> Node {
    on(Broker::builder().directory(folder.path()), configs).await
}

/// A broker on the disk that is told by configs alone where its data is.
pub async fn start_server(configs: &[(&str, &str)]) -> Node {
    on(Broker::builder().server(), configs).await
}

async fn on(builder: ottla::BrokerBuilder, configs: &[(&str, &str)]) -> Node {
    let builder = match configs.iter().any(|(name, _)| *name == "listeners") {
        true => builder.configs(configs.iter().copied()),
        false => builder.config("listeners", "PLAINTEXT://127.0.0.1:0").configs(configs.iter().copied()),
    };
    let broker = builder.start().await.expect("the broker starts");
    let connection = dial(&address(&broker, 0)).await;
    Node { broker, connection }
}

/// Where listener number `index` is to be found from here, whatever it advertises as its host.
pub fn address(broker: &Broker, index: usize) -> String {
    format!("127.0.0.1:{}", broker.endpoints()[index].port)
}

/// As [`start`] with `set` in its place; [`TOPIC`] exists.
pub async fn with(set: Set<'_>, configs: &[(&str, &str)]) -> Node {
    let (configs, overrides) = place(set, configs);
    let node = start(&configs).await;
    node.create(TOPIC, 1, &overrides).await;
    node
}

/// As [`with`], with the data in `folder`.
pub async fn with_in(folder: &Folder, set: Set<'_>, configs: &[(&str, &str)]) -> Node {
    let (configs, overrides) = place(set, configs);
    let node = start_in(folder, &configs).await;
    node.create(TOPIC, 1, &overrides).await;
    node
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

fn place<'a>(set: Set<'a>, configs: &[(&'a str, &'a str)]) -> (Pairs<'a>, Pairs<'a>) {
    let mut configs = configs.to_vec();
    match set {
        Set::Broker(name, value) => {
            configs.push((name, value));
            (configs, Vec::new())
        }
        Set::Topic(name, value) => (configs, vec![(name, value)]),
    }
}

pub async fn dial(address: &str) -> ClientConnection {
    let options = ConnectOptions {
        client_id: "configs".into(),
        connect_timeout: PATIENCE,
        in_flight_max: 100,
        ..Default::default()
    };
    ClientConnection::connect(&Env::real(), address, &options).await.expect("the address accepts")
}

/// Sends a request at its newest version.
pub async fn ask<R: Request>(connection: &ClientConnection, request: &R) -> R::Response {
    ask_at(connection, request, R::API_KEY.versions().1).await
}

pub async fn ask_at<R: Request>(connection: &ClientConnection, request: &R, version: i16) -> R::Response {
    connection.request(request, version, PATIENCE).await.expect("an answer")
}

pub async fn metadata(connection: &ClientConnection) -> MetadataResponse {
    ask(connection, &MetadataRequest { topics: None, ..Default::default() }).await
}

impl Node {
    pub async fn ask<R: Request>(&self, request: &R) -> R::Response {
        ask(&self.connection, request).await
    }

    pub async fn ask_at<R: Request>(&self, request: &R, version: i16) -> R::Response {
        ask_at(&self.connection, request, version).await
    }

    /// One more connection to the first listener.
    pub async fn dial(&self) -> ClientConnection {
        dial(self.connection.address()).await
    }

    pub async fn try_create(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> ErrorCode {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
            ..Default::default()
        });
        let topic = CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        };
        let created = self.ask(&CreateTopicsRequest { topics: vec![topic], ..Default::default() }).await;
        ErrorCode::from_code(created.topics[0].error_code)
    }

    pub async fn create(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        assert_eq!(self.try_create(topic, partitions, configs).await, ErrorCode::None, "creating {topic} {configs:?}");
    }

    /// The topic's metadata; `create` lets the broker create it.
    pub async fn topic(&self, topic: &str, create: bool) -> MetadataResponseTopic {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![wanted]), allow_auto_topic_creation: create, ..Default::default() };
        self.ask(&request).await.topics.remove(0)
    }

    /// Produces with acks=all.
    pub async fn produce_to(&self, topic: &str, partition: i32, batch: Bytes) -> PartitionProduceResponse {
        let mut answer = self.ask_at(&produce_request(topic, partition, batch), BY_NAME).await;
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Produces to [`TOPIC`]: the error.
    pub async fn produce(&self, batch: Bytes) -> ErrorCode {
        ErrorCode::from_code(self.produce_to(TOPIC, 0, batch).await.error_code)
    }

    /// Produces one record with this timestamp to [`TOPIC`], which has to take it.
    pub async fn produce_at(&self, timestamp: i64) {
        assert_eq!(self.produce(batch(timestamp, b"value")).await, ErrorCode::None);
    }

    pub async fn fetch(&self, partitions: &[i32], session: (i32, i32)) -> FetchResponse {
        self.fetch_from(0, partitions, session).await
    }

    async fn fetch_from(&self, fetch_offset: i64, partitions: &[i32], session: (i32, i32)) -> FetchResponse {
        let partitions = partitions.iter().map(|partition| FetchPartition {
            partition: *partition,
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        });
        let topic = FetchTopic { topic: TOPIC.into(), partitions: partitions.collect(), ..Default::default() };
        let request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 1,
            session_id: session.0,
            session_epoch: session.1,
            topics: vec![topic],
            ..Default::default()
        };
        self.ask_at(&request, BY_NAME).await
    }

    /// What partition 0 of [`TOPIC`] holds from its start on.
    pub async fn read(&self) -> PartitionData {
        self.fetch(&[0], (0, -1)).await.responses.remove(0).partitions.remove(0)
    }

    /// What it holds from this offset on.
    pub async fn read_from(&self, offset: i64) -> PartitionData {
        self.fetch_from(offset, &[0], (0, -1)).await.responses.remove(0).partitions.remove(0)
    }

    /// The header of the first batch of [`TOPIC`].
    pub async fn first_batch(&self) -> BatchHeader {
        let records = self.read().await.records.expect("records").to_bytes().expect("they are readable");
        BatchIter::new(records).next().expect("a batch").expect("it is sound").header
    }

    /// The first offset of partition 0 of `topic`.
    pub async fn log_start(&self, topic: &str) -> i64 {
        let partition = ListOffsetsPartition { timestamp: -2, ..Default::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
        self.ask(&request).await.topics[0].partitions[0].offset
    }

    /// Sets a config of a topic, or (`topic` none) of this broker, while it runs.
    pub async fn alter(&self, topic: Option<&str>, name: &str, value: &str) -> ErrorCode {
        let config =
            AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()), ..Default::default() };
        let resource = AlterConfigsResource {
            resource_type: if topic.is_some() { TOPIC_RESOURCE } else { BROKER_RESOURCE },
            resource_name: topic.unwrap_or("1").into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        ErrorCode::from_code(self.ask(&request).await.responses[0].error_code)
    }

    pub async fn close(self) {
        self.broker.close().await.expect("closes");
    }
}

pub fn produce_request(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::from(batch)), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// A batch of one record without a key.
pub fn batch(timestamp: i64, value: &[u8]) -> Bytes {
    batch_with(BatchOptions::default(), timestamp, value)
}

/// As [`batch`], by an idempotent producer.
pub fn batch_by(producer_id: i64, sequence: i32) -> Bytes {
    let options = BatchOptions { producer_id, producer_epoch: 0, base_sequence: sequence, ..BatchOptions::default() };
    batch_with(options, now_ms(), b"value")
}

pub fn batch_with(options: BatchOptions, timestamp: i64, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression: Compression::None, ..options });
    let headers: &[(&[u8], Option<&[u8]>)] = &[];
    let key: Option<&[u8]> = None;
    builder.append(timestamp, key, Some(value), headers).expect("a small record");
    builder.build().expect("a small batch")
}
