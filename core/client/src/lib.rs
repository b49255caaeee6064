//! The client: one [`Client`] with a metadata cache and a connection set per broker, and on top of it an [`Admin`],
//! a batching idempotent [`Producer`] and a [`Consumer`], by hand or in a group.
//!
//! In a record's walk it is both ends: `Producer::send` → accumulator → sender → wire ⇒ broker, and
//! broker ⇒ wire → fetcher → `Consumer::poll`. This crate never sees the broker crate: over TCP and in process it speaks the
//! same protocol through ottla-wire.

pub mod admin;
mod broker;
mod client;
mod consumer;
mod coordinator;
mod error;
mod metadata;
mod metrics;
pub mod mock;
mod options;
mod producer;
mod retry;
mod security;
mod telemetry;

pub use admin::{
    Admin, AlterOp, BrokerInfo, ClusterDescription, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource,
    NewTopic, PartitionDescription, TopicDescription, TopicListing,
};
pub use client::Client;
pub use consumer::assignor;
pub use consumer::{
    Batch, BoxFuture, CloseOptions, Consumer, ConsumerInterceptor, ConsumerOptions, ConsumerRecord, ConsumerRecords,
    ConsumerStream, Fetched, GroupMembership, GroupMetadata, GroupProtocol, IsolationLevel, OffsetAndMetadata,
    OffsetReset, Offsets, Position, RebalanceListener, Record, Records, TimestampType,
};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use metrics::{Metric, MetricName, MetricValue, MetricsOptions, RecordingLevel};
pub use options::ClientOptions;
pub use ottla_config::{Configs, Scope};
pub use ottla_env::Env;
pub use ottla_model::{Compression, ErrorCode, TopicPartition, Uuid};
pub use ottla_wire::{
    OauthToken, OauthTokenFuture, OauthTokenProvider, SaslOptions, Secret, SecurityOptions, SecurityProtocol,
    TlsOptions,
};
pub use producer::{
    Acks, DeliveredRecords, Delivery, DeliverySink, OwnedRecord, Partitioner, Producer, ProducerInterceptor,
    ProducerOptions, ProducerRecord, RecordMetadata, RoundRobinPartitioner, TopicPartitions,
};
