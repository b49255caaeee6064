//! The questions of the cases, short enough that a case reads as what it tries.

use crate::side::Side;
use bytes::Bytes;
use ottla_model::{Records, Str, Uuid};
use ottla_protocol::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use ottla_protocol::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::*;

/// A topic to create.
pub fn creatable(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions, replication_factor, ..Default::default() }
}

/// The same with one config.
pub fn with_config(mut topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(CreatableTopicConfig { name: name.into(), value: value.map(Str::from), ..Default::default() });
    topic
}

/// The same with replicas by hand.
pub fn assigned(mut topic: CreatableTopic, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    topic.assignments.extend(replicas.iter().map(|(partition_index, brokers)| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
        ..Default::default()
    }));
    topic
}

/// CreateTopics.
pub fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() }
}

/// Creates a topic of this case and returns its name and id. Its records live for ever.
pub async fn topic(side: &mut Side, name: &str, partitions: i32, configs: &[(&str, &str)]) -> (String, Uuid) {
    let name = side.name(name);
    let mut topic = with_config(creatable(&name, partitions, 1), "retention.ms", Some("-1"));
    for (config, value) in configs {
        topic = with_config(topic, config, Some(value));
    }
    let created = side.ask("preparing a topic", 7, &create(vec![topic])).await;
    let id = created.topics.first().map(|topic| topic.topic_id).unwrap_or_default();
    // Kafka answers when the controller has it; the broker may learn of it, and lead it, later.
    let wanted = (0..partitions).map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        current_leader_epoch: -1,
        ..Default::default()
    });
    let wanted = ListOffsetsTopic { name: name.as_str().into(), partitions: wanted.collect(), ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![wanted], ..Default::default() };
    for _ in 0..100 {
        let found = side.quiet(7, &request).await;
        let mut found = found.topics.iter().flat_map(|topic| &topic.partitions);
        if found.clone().count() == partitions as usize && found.all(|partition| partition.error_code == 0) {
            break;
        }
        pause(side).await;
    }
    (name, id)
}

/// Gives Kafka's broker the time to hear of what its controller has done.
pub async fn pause(side: &Side) {
    side.env.sleep(std::time::Duration::from_millis(60)).await;
}

/// Produce to one partition, by name and id (the version decides which is sent).
pub fn produce(topic: &(String, Uuid), partition: i32, records: Option<Bytes>) -> ProduceRequest {
    produce_acks(topic, partition, records, -1)
}

/// The same with other acks.
pub fn produce_acks(topic: &(String, Uuid), index: i32, records: Option<Bytes>, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index, records: records.map(Records::from), ..Default::default() };
    let topic = TopicProduceData {
        name: topic.0.as_str().into(),
        topic_id: topic.1,
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() }
}

/// Fetch of some partitions of one topic, outside a session, that does not wait.
pub fn fetch(topic: &(String, Uuid), partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic { topic: topic.0.as_str().into(), topic_id: topic.1, partitions, ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A partition to fetch from.
pub fn from(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }
}
