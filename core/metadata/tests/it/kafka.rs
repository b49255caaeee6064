//! A directory as Apache Kafka 4.4.0 left it: created a topic with a config, created and deleted another, stopped.

use crate::{DIR, LOG_DIR, create, open, options};
use ottla_env::Env;
use ottla_metadata::{BrokerSpec, MetadataStore, TOPIC_RESOURCE, controller};
use std::path::Path;

const FILES: &[(&str, &[u8])] = &[
    (
        "00000000000000000000-0000000000.checkpoint",
        include_bytes!("../data/kafka-4.4.0/00000000000000000000-0000000000.checkpoint"),
    ),
    ("00000000000000000000.log", include_bytes!("../data/kafka-4.4.0/00000000000000000000.log")),
    ("leader-epoch-checkpoint", include_bytes!("../data/kafka-4.4.0/leader-epoch-checkpoint")),
    ("partition.metadata", include_bytes!("../data/kafka-4.4.0/partition.metadata")),
    ("quorum-state", include_bytes!("../data/kafka-4.4.0/quorum-state")),
];

fn kafka_directory() -> Env {
    let env = Env::memory();
    env.fs().create_dir_all(Path::new(LOG_DIR)).unwrap();
    for (name, bytes) in FILES {
        env.fs().write_atomic(&Path::new(LOG_DIR).join(name), bytes, false).unwrap();
    }
    env
}

#[test]
fn opens_as_it_was() {
    let store = open(&kafka_directory());
    let image = store.image();
    assert_eq!(image.metadata_version(), Some(33));
    assert_eq!(image.features().get("transaction.version"), Some(&2));
    assert_eq!(store.leader_epoch(), 2);

    let topics: Vec<_> = image.topics().map(|topic| (&*topic.name, topic.partitions.len())).collect();
    assert_eq!(topics, [("flights", 3)]);
    assert_eq!(image.configs(TOPIC_RESOURCE, "flights").get("retention.ms").map(String::as_str), Some("1000"));
    assert!(image.configs(TOPIC_RESOURCE, "gone").is_empty());
    let broker = &image.brokers()[&1];
    assert!(broker.fenced, "it was stopped");
    let partition = &image.topic("flights").unwrap().partitions[&0];
    assert_eq!((partition.leader, partition.replicas.clone(), partition.directories.len()), (-1, vec![1], 1));
}

#[test]
fn goes_on_from_there_and_survives_a_snapshot() {
    let env = kafka_directory();
    let store = open(&env);
    let spec = BrokerSpec { node_id: 1, incarnation_id: env.random_uuid(), ..Default::default() };
    let before = store.image();
    let image = store.append(controller::register_broker(&before, &spec)).unwrap();
    assert!(!image.brokers()[&1].fenced);
    assert_eq!(image.brokers()[&1].broker_epoch, before.offset() + 1);
    for (id, partition) in &image.topic("flights").unwrap().partitions {
        let old = &before.topic("flights").unwrap().partitions[id];
        assert_eq!((partition.leader, partition.leader_epoch), (1, old.leader_epoch + 1));
        assert_eq!(partition.partition_epoch, old.partition_epoch + 1);
        assert_eq!(partition.isr, [1]);
    }
    create(&store, "new", 2);
    let records = store.image().to_records();
    store.snapshot().unwrap();
    drop(store);
    assert_eq!(open(&env).image().to_records(), records);
}

/// Formatted and never started: the features are Kafka's choice, not ours, and stay so after the next start.
#[test]
fn opens_a_formatted_directory() {
    for name in ["__cluster_metadata-0/00000000000000000000-0000000000.checkpoint", "bootstrap.checkpoint"] {
        let env = Env::memory();
        env.fs().create_dir_all(Path::new(LOG_DIR)).unwrap();
        env.fs().write_atomic(&Path::new(DIR).join(name), FILES[0].1, false).unwrap();
        for _ in 0..3 {
            let image = open(&env).image();
            assert_eq!(image.metadata_version(), Some(33), "{name}");
            assert_eq!(image.features().len(), 6);
        }
    }
}

#[test]
fn refuses_the_directory_of_another_node() {
    let options = ottla_metadata::StoreOptions { node_id: 2, ..options() };
    let error = MetadataStore::open(&kafka_directory(), Path::new(DIR), options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the directory belongs to a controller quorum of node 1; Ottla with node.id 2 can only open one whose single \
         voter is itself"
    );
}
