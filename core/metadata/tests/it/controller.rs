//! What the controller refuses, with which error and words.

use crate::{DIRECTORY, create, open_with_broker};
use ottla_env::Env;
use ottla_metadata::{
    BrokerSpec, MetadataImage, MetadataRecord, TopicDefaults, TopicSpec, controller, validate_topic_name,
};
use ottla_model::{ErrorCode, Uuid};

const DEFAULTS: TopicDefaults = TopicDefaults { partitions: 2, replication_factor: 1 };

fn spec(name: &str) -> TopicSpec {
    TopicSpec { name: name.into(), partitions: -1, replication_factor: -1, ..Default::default() }
}

fn create_in(image: &MetadataImage, spec: &TopicSpec) -> Result<usize, (ErrorCode, String)> {
    let records = controller::create_topic(image, spec, DEFAULTS, Uuid([9; 16]), &|_| DIRECTORY)?;
    Ok(records.iter().filter(|record| matches!(record, MetadataRecord::PartitionRecord(_))).count())
}

#[test]
fn topic_names() {
    for good in ["a", "A-b_c.9", "__consumer_offsets", &"x".repeat(249), "..."] {
        assert_eq!(validate_topic_name(good), Ok(()), "{good}");
    }
    for bad in ["", ".", "..", "a b", "ä", "a/b", "a\0", &"x".repeat(250)] {
        assert!(validate_topic_name(bad).unwrap_err().starts_with("Topic name is invalid: "), "{bad}");
    }
}

#[test]
fn create_topic() {
    let store = open_with_broker(&Env::memory());
    create(&store, "my.topic", 1);
    let image = store.image();
    let refused = |spec: &TopicSpec| create_in(&image, spec).unwrap_err();

    assert_eq!(create_in(&image, &spec("new")), Ok(2));
    assert_eq!(create_in(&image, &TopicSpec { partitions: 5, ..spec("new") }), Ok(5));
    assert_eq!(refused(&spec("a b")).0, ErrorCode::InvalidTopicException);
    assert_eq!(refused(&spec("my.topic")), (ErrorCode::TopicAlreadyExists, "Topic 'my.topic' already exists.".into()));
    assert_eq!(
        refused(&spec("my_topic")),
        (ErrorCode::InvalidTopicException, "Topic 'my_topic' collides with existing topic: my.topic".into())
    );
    assert_eq!(create_in(&image, &spec("my-topic")), Ok(2));
    assert_eq!(refused(&TopicSpec { partitions: 0, ..spec("n") }).0, ErrorCode::InvalidPartitions);
    assert_eq!(refused(&TopicSpec { partitions: -2, ..spec("n") }).0, ErrorCode::InvalidPartitions);
    assert_eq!(refused(&TopicSpec { partitions: 10_001, ..spec("n") }).0, ErrorCode::PolicyViolation);
    assert_eq!(refused(&TopicSpec { replication_factor: 0, ..spec("n") }).0, ErrorCode::InvalidReplicationFactor);
    let (code, text) = refused(&TopicSpec { replication_factor: 3, ..spec("n") });
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert!(text.contains("target replication factor of 3 cannot be reached because only 1 broker(s)"), "{text}");
}

#[test]
fn manual_assignments() {
    let store = open_with_broker(&Env::memory());
    let image = store.image();
    let with = |assignments: &[(i32, &[i32])]| {
        let assignments = assignments.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect();
        TopicSpec { assignments, ..spec("n") }
    };
    let refused = |spec: &TopicSpec| create_in(&image, spec).unwrap_err().0;
    assert_eq!(create_in(&image, &with(&[(1, &[1]), (0, &[1])])), Ok(2));
    assert_eq!(refused(&with(&[(0, &[1]), (2, &[1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(refused(&with(&[(0, &[])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(refused(&with(&[(0, &[1, 1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(refused(&with(&[(0, &[2])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(refused(&TopicSpec { partitions: 1, ..with(&[(0, &[1])]) }), ErrorCode::InvalidRequest);
    assert_eq!(refused(&TopicSpec { replication_factor: 1, ..with(&[(0, &[1])]) }), ErrorCode::InvalidRequest);
}

#[test]
fn create_partitions() {
    let store = open_with_broker(&Env::memory());
    create(&store, "t", 2);
    let image = store.image();
    let raise = |name: &str, count, assignments: Option<&[Vec<i32>]>| {
        controller::create_partitions(&image, name, count, assignments, &|_| DIRECTORY).map(|records| records.len())
    };
    let code = |result: Result<usize, (ErrorCode, String)>| result.unwrap_err().0;
    assert_eq!(raise("t", 5, None), Ok(3));
    assert_eq!(raise("t", 3, Some(&[vec![1]])), Ok(1));
    assert_eq!(code(raise("t", 4, Some(&[vec![1]]))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(raise("t", 3, Some(&[vec![2]]))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(raise("t", 2, None)), ErrorCode::InvalidPartitions);
    assert_eq!(code(raise("t", 1, None)), ErrorCode::InvalidPartitions);
    assert_eq!(code(raise("t", 0, None)), ErrorCode::InvalidPartitions);
    assert_eq!(code(raise("u", 5, None)), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        controller::delete_topic(&image, "u").unwrap_err(),
        (ErrorCode::UnknownTopicOrPartition, "The topic 'u' does not exist.".into())
    );
}

#[test]
fn an_unclean_start_begins_new_leader_epochs() {
    let store = open_with_broker(&Env::memory());
    create(&store, "t", 2);
    let start = |unclean| {
        let spec = BrokerSpec { node_id: 1, unclean, ..Default::default() };
        store.append(controller::register_broker(&store.image(), &spec)).unwrap().topic("t").unwrap().partitions[&1]
            .leader_epoch
    };
    assert_eq!((start(false), start(true), start(true)), (0, 1, 2));
}
