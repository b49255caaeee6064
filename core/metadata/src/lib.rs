//! The cluster's state as Apache Kafka keeps it: KRaft records in `__cluster_metadata-0`.
//!
//! [`controller`] decides what a change is, as records; [`MetadataStore`] appends them; [`MetadataImage`] is what their
//! replay gives. State changes only by replay, one function for loading and for live. A topic's way: CreateTopics →
//! [`controller::create_topic`] → [`MetadataStore::append`] → the log, then [`MetadataImage::topic`].
//!
//! Deliberately not here: consensus (one voter needs none, and in a cluster it is Apache Kafka's), config rules
//! (core/config), and the logs of the topics.

mod control;
pub mod controller;
mod error;
mod image;
mod quorum_state;
mod record;
mod snapshot;
mod store;

pub use controller::{BrokerSpec, Refusal, TopicDefaults, TopicSpec, validate_topic_name};
pub use error::MetadataError;
pub use image::{
    BROKER_RESOURCE, Configs, FEATURES, METADATA_VERSION, METADATA_VERSION_NEW, METADATA_VERSION_RANGE, MetadataImage,
    PartitionImage, Replayer, TOPIC_RESOURCE, TRANSACTION_VERSION, TopicImage,
};
pub use record::{MetadataRecord, RecordError};
pub use snapshot::SnapshotId;
pub use store::{MetadataStore, StoreOptions};
