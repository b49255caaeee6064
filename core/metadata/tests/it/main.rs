//! The store and the controller together: what survives a restart, a torn end, a damaged snapshot; what Apache Kafka wrote.
//! All on the in-memory file system, which runs the same code as the disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod controller;
mod kafka;
mod store;

use ottla_env::Env;
use ottla_metadata::{BrokerSpec, MetadataStore, StoreOptions, controller as decide};
use ottla_model::Uuid;
use std::path::Path;

const DIR: &str = "/data";
const LOG_DIR: &str = "/data/__cluster_metadata-0";
/// The log directory's id.
const DIRECTORY: Uuid = Uuid([7; 16]);

fn options() -> StoreOptions {
    StoreOptions {
        node_id: 1,
        sync: false,
        segment_bytes: 1 << 30,
        max_record_bytes_between_snapshots: 20 << 20,
        max_snapshot_interval_ms: 0,
    }
}

fn open(env: &Env) -> MetadataStore {
    MetadataStore::open(env, Path::new(DIR), options()).unwrap()
}

/// A store with broker 1 registered.
fn open_with_broker(env: &Env) -> MetadataStore {
    let store = open(env);
    let spec =
        BrokerSpec { node_id: 1, incarnation_id: env.random_uuid(), log_dirs: vec![DIRECTORY], ..Default::default() };
    store.append(decide::register_broker(&store.image(), &spec)).unwrap();
    store
}

fn create(store: &MetadataStore, name: &str, partitions: i32) -> Uuid {
    let id = Uuid::from_longs(store.image().offset() as u64, 1);
    let spec =
        ottla_metadata::TopicSpec { name: name.into(), partitions, replication_factor: -1, ..Default::default() };
    let defaults = ottla_metadata::TopicDefaults { partitions: 1, replication_factor: 1 };
    store.append(decide::create_topic(&store.image(), &spec, defaults, id, &|_| DIRECTORY).unwrap()).unwrap();
    id
}

fn topic_names(store: &MetadataStore) -> Vec<String> {
    store.image().topics().map(|topic| topic.name.to_string()).collect()
}
