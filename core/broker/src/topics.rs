//! Changes to topics: decide by the controller, append to the metadata log, then open or delete the logs.
//!
//! All of it runs under one lock, so that two changes never look at the same image, and on the blocking pool, because it
//! makes and removes directories.

use crate::node::Node;
use crate::partition::Partition;
use ottla_config::describe::{self, ConfigSource};
use ottla_config::{BrokerConfig, ConfigError, Props, Scope, TopicConfig, alter};
use ottla_log::{CleanupPolicy, Log, LogConfig, LogError, TimestampType};
use ottla_metadata::{
    MetadataImage, MetadataRecord, Refusal as ControllerRefusal, TOPIC_RESOURCE, TopicDefaults, TopicImage, TopicSpec,
    controller,
};
use ottla_model::{Compression, ErrorCode, TopicPartition, Uuid};
use std::sync::Arc;

/// Why a change is refused: the error and what the client is told.
pub(crate) type Refusal = ControllerRefusal;

/// A topic that a client asks for, as it asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// -1 is the default.
    pub(crate) partitions: i32,
    /// -1 is the default.
    pub(crate) replication_factor: i16,
    pub(crate) assignments: Vec<(i32, Vec<i32>)>,
    /// A null value is refused.
    pub(crate) configs: Vec<(String, Option<String>)>,
}

/// A topic that was created, or would have been.
#[derive(Debug)]
pub(crate) struct CreatedTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Vec<describe::Entry>,
}

/// A change of one resource's configs, as a client asks for it.
#[derive(Debug)]
pub(crate) enum ConfigChange {
    /// IncrementalAlterConfigs: name, operation and value of each.
    Incremental(Vec<(String, alter::AlterOp, Option<String>)>),
    /// AlterConfigs: these are all overrides there are to be.
    Replace(Props),
}

impl ConfigChange {
    fn of_topic(&self, broker: &BrokerConfig, current: &Props) -> Result<Vec<alter::Change>, ConfigError> {
        match self {
            ConfigChange::Incremental(operations) => alter::alter_topic(broker, current, &borrowed(operations)),
            ConfigChange::Replace(wanted) => {
                alter::validate_topic(broker, wanted)?;
                Ok(alter::replace(current, wanted))
            }
        }
    }

    /// `node` says whether it is about one broker or all.
    pub(crate) fn of_broker(&self, current: &Props, node: bool) -> Result<Vec<alter::Change>, ConfigError> {
        match self {
            ConfigChange::Incremental(operations) => alter::alter_broker(current, &borrowed(operations), node),
            ConfigChange::Replace(wanted) => {
                alter::validate_broker(wanted, node)?;
                Ok(alter::replace(current, wanted))
            }
        }
    }
}

fn borrowed(operations: &[(String, alter::AlterOp, Option<String>)]) -> Vec<alter::Request<'_>> {
    operations.iter().map(|(name, operation, value)| (name.as_str(), *operation, value.as_deref())).collect()
}

impl Node {
    /// Creates topics; the answers stand in the order of `wanted`. With `validate_only` nothing changes.
    pub(crate) async fn create_topics(
        self: &Arc<Node>,
        wanted: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, Refusal>> {
        let node = self.clone();
        self.env.blocking(move || node.create_topics_now(&wanted, validate_only)).await
    }

    fn create_topics_now(&self, wanted: &[NewTopic], validate_only: bool) -> Vec<Result<CreatedTopic, Refusal>> {
        let _changing = self.controller.lock();
        let create = |topic| self.create_topic(topic, validate_only);
        wanted.iter().map(create).collect()
    }

    fn create_topic(&self, wanted: &NewTopic, validate_only: bool) -> Result<CreatedTopic, Refusal> {
        let config = self.config();
        let image = self.metadata.image();
        let id = self.env.random_uuid();
        if wanted.name == METADATA_TOPIC {
            return Err((
                ErrorCode::InvalidRequest,
                format!("Creation of internal topic {METADATA_TOPIC} is prohibited."),
            ));
        }
        let mut overrides = Props::new();
        for (name, value) in &wanted.configs {
            let value = value.clone().ok_or_else(|| {
                (ErrorCode::InvalidConfig, format!("Null value not supported for topic configs: {name}"))
            })?;
            overrides.insert(name.clone(), value);
        }
        let spec = TopicSpec {
            name: wanted.name.clone(),
            partitions: wanted.partitions,
            replication_factor: wanted.replication_factor,
            assignments: wanted.assignments.clone(),
            configs: overrides.clone().into_iter().collect(),
        };
        let defaults =
            TopicDefaults { partitions: config.num_partitions, replication_factor: config.default_replication_factor };
        let records = controller::create_topic(&image, &spec, defaults, id, &|broker| self.directory_of(broker))?;
        alter::validate_topic(&config, &overrides)
            .map_err(|error| (ErrorCode::InvalidConfig, error.message().to_owned()))?;
        let placed: Vec<usize> = records
            .iter()
            .filter_map(|record| match record {
                MetadataRecord::PartitionRecord(partition) => Some(partition.replicas.len()),
                _ => None,
            })
            .collect();
        if !validate_only {
            let image = self.append_metadata(records)?;
            let topic = image.topic(&wanted.name);
            topic.map_or(Ok(()), |topic| self.open_partitions(topic, &overrides))?;
            tracing::info!(topic = wanted.name, partitions = placed.len(), "created a topic");
            self.warn_of(Scope::Topic, &wanted.name, &overrides);
        }
        Ok(CreatedTopic {
            // With validate_only too, as Kafka has it: the id that is then not used.
            id,
            partitions: i32::try_from(placed.len()).unwrap_or(i32::MAX),
            replication_factor: placed.first().and_then(|count| i16::try_from(*count).ok()).unwrap_or(0),
            configs: described_as_asked(&config, &overrides),
        })
    }

    /// Creates a topic that a client named without asking for it, with the broker's defaults; an internal one with its own.
    ///
    /// # Errors
    /// What CreateTopics would answer. That another client was faster is not an error.
    pub(crate) async fn auto_create_topic(self: &Arc<Node>, name: &str) -> Result<(), Refusal> {
        let mut topic =
            NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..Default::default() };
        if name == OFFSETS_TOPIC {
            let config = self.config();
            topic.partitions = config.offsets_topic_num_partitions;
            topic.replication_factor = config.offsets_topic_replication_factor;
            let segment_bytes = config.offsets_topic_segment_bytes.to_string();
            let overrides =
                [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", &segment_bytes)];
            topic.configs = overrides.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        }
        if name == TRANSACTIONS_TOPIC {
            let config = self.config();
            topic.partitions = config.transaction_state_log_num_partitions;
            topic.replication_factor = config.transaction_state_log_replication_factor;
            let segment_bytes = config.transaction_state_log_segment_bytes.to_string();
            let overrides = [
                ("cleanup.policy", "compact"),
                ("compression.type", "uncompressed"),
                ("segment.bytes", &segment_bytes),
            ];
            topic.configs = overrides.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        }
        match self.create_topics(vec![topic], false).await.pop() {
            Some(Err((ErrorCode::TopicAlreadyExists, _))) | None | Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(refusal),
        }
    }

    /// Deletes a topic; returns its id.
    pub(crate) async fn delete_topic(self: &Arc<Node>, name: &str) -> Result<Uuid, Refusal> {
        let (node, name) = (self.clone(), name.to_owned());
        let deleted = self.env.blocking(move || node.delete_topic_now(&name)).await?;
        self.groups.topic_deleted(self, &deleted.0).await;
        self.transactions.topic_deleted(self, &deleted.0).await;
        Ok(deleted.1)
    }

    fn delete_topic_now(&self, name: &str) -> Result<(String, Uuid), Refusal> {
        let _changing = self.controller.lock();
        if !self.config().delete_topic_enable {
            return Err((ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false".to_owned()));
        }
        let image = self.metadata.image();
        let records = controller::delete_topic(&image, name)?;
        let id = image.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
        self.append_metadata(records)?;
        for partition in self.partitions.remove(name) {
            partition.mark_deleted();
            if let Err(error) = self.logs.delete(partition.log().topic_partition(), self.env.now_ms()) {
                tracing::error!(topic = name, partition = partition.id(), %error, "deleting a log failed");
            }
        }
        tracing::info!(topic = name, "deleted a topic");
        Ok((name.to_owned(), id))
    }

    /// Raises a topic's partition count.
    pub(crate) async fn create_partitions(
        self: &Arc<Node>,
        name: &str,
        count: i32,
        assignments: Option<Vec<Vec<i32>>>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (node, name) = (self.clone(), name.to_owned());
        let create = move || {
            let _changing = node.controller.lock();
            let image = node.metadata.image();
            let directories = |broker| node.directory_of(broker);
            let records = controller::create_partitions(&image, &name, count, assignments.as_deref(), &directories)?;
            if validate_only {
                return Ok(());
            }
            let image = node.append_metadata(records)?;
            let overrides = image.configs(TOPIC_RESOURCE, &name);
            image.topic(&name).map_or(Ok(()), |topic| node.open_partitions(topic, &overrides))
        };
        self.env.blocking(create).await
    }

    /// Changes what a topic overrides; its logs follow at once.
    pub(crate) async fn alter_topic_configs(
        self: &Arc<Node>,
        name: &str,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (node, name) = (self.clone(), name.to_owned());
        let change = move || {
            let _changing = node.controller.lock();
            let image = node.metadata.image();
            if name.is_empty() {
                return Err((ErrorCode::InvalidRequest, "Default topic resources are not allowed.".to_owned()));
            }
            ottla_metadata::validate_topic_name(&name).map_err(|reason| (ErrorCode::InvalidTopicException, reason))?;
            if image.topic(&name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
            }
            let changes = change
                .of_topic(&node.config(), &image.configs(TOPIC_RESOURCE, &name))
                .map_err(|error| (ErrorCode::InvalidConfig, error.message().to_owned()))?;
            if validate_only || changes.is_empty() {
                return Ok(());
            }
            let record =
                |(key, value): &alter::Change| controller::set_config(TOPIC_RESOURCE, &name, key, value.as_deref());
            let image = node.append_metadata(changes.iter().map(record).collect())?;
            node.refresh_topic_config(&image, &name);
            node.warn_of(Scope::Topic, &name, &changes.iter().filter_map(crate::node::set).collect());
            Ok(())
        };
        self.env.blocking(change).await
    }

    /// Appends records to the metadata log and returns the image with them.
    pub(crate) fn append_metadata(&self, records: Vec<MetadataRecord>) -> Result<Arc<MetadataImage>, Refusal> {
        if self.faults.refuses_metadata() {
            return Err((
                ErrorCode::KafkaStorageError,
                "the metadata log cannot be written: the disk is full".to_owned(),
            ));
        }
        self.metadata.append(records).map_err(|error| {
            tracing::error!(%error, "the metadata log cannot be written");
            (ErrorCode::KafkaStorageError, format!("the metadata log cannot be written: {error}"))
        })
    }

    /// Opens the logs of a topic's partitions that are not open yet.
    pub(crate) fn open_partitions(&self, topic: &TopicImage, overrides: &Props) -> Result<(), Refusal> {
        let config = Arc::new(self.log_config(overrides));
        let known = self.partitions.of_topic(&topic.name).len();
        let mut opened = Vec::new();
        let mut failed = None;
        for (id, partition) in topic.partitions.iter().skip(known) {
            match self.open_log(topic, *id, &config) {
                Ok(log) => {
                    opened.push(Arc::new(Partition::new(
                        topic.name.clone(),
                        *id,
                        topic.id,
                        log,
                        partition.leader_epoch,
                    )));
                }
                Err(error) => {
                    tracing::error!(topic = %topic.name, partition = id, %error, "opening a log failed");
                    failed = Some((ErrorCode::KafkaStorageError, error.to_string()));
                    break;
                }
            }
        }
        self.partitions.add(opened);
        failed.map_or(Ok(()), Err)
    }

    /// A partition's log. One that a topic of the same name left behind, deleted just before a crash, makes way.
    fn open_log(&self, topic: &TopicImage, id: i32, config: &Arc<LogConfig>) -> Result<Arc<Log>, LogError> {
        let name = TopicPartition { topic: topic.name.clone(), partition: id };
        let stale = self.logs.get(&name).is_some_and(|log| log.topic_id().is_some_and(|id| id != topic.id));
        if stale {
            tracing::warn!(partition = %name, "deleting the log of an earlier topic with this name");
            self.logs.delete(&name, self.env.now_ms())?;
        }
        self.logs.get_or_create(&name, Some(topic.id), config.clone())
    }

    /// Opens the logs of all topics in the image, at start.
    ///
    /// # Errors
    /// The first log that cannot be opened: a broker that starts without one would answer that the topic's data is gone.
    pub(crate) fn open_all_partitions(&self) -> Result<(), Refusal> {
        let image = self.metadata.image();
        for topic in image.topics() {
            self.open_partitions(topic, &image.configs(TOPIC_RESOURCE, &topic.name))?;
        }
        let homeless = |log: &Arc<Log>| image.topic(&log.topic_partition().topic).is_none();
        for log in self.logs.logs().into_iter().filter(homeless) {
            tracing::warn!(partition = %log.topic_partition(), "a log without a topic is left as it is and not served");
        }
        Ok(())
    }

    /// Gives the logs of a topic its present config.
    pub(crate) fn refresh_topic_config(&self, image: &MetadataImage, name: &str) {
        let config = Arc::new(self.log_config(&image.configs(TOPIC_RESOURCE, name)));
        for partition in self.partitions.of_topic(name) {
            partition.log().update_config(config.clone());
        }
    }

    /// A topic's config with the broker's values for what it does not override.
    pub(crate) fn log_config(&self, overrides: &Props) -> LogConfig {
        let config = self.config();
        log_config(&TopicConfig::resolve(&config, overrides), config.producer_id_expiration_ms)
    }
}

/// The metadata log's own name; no client may make a topic of it.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A new topic's configs; those it overrides as the client wrote them, as in the record.
fn described_as_asked(config: &BrokerConfig, overrides: &Props) -> Vec<describe::Entry> {
    let mut entries = describe::topic(config, overrides);
    for entry in entries.iter_mut().filter(|entry| !entry.sensitive) {
        if let Some(value) = overrides.get(&entry.name) {
            entry.value = Some(value.clone());
        }
    }
    entries
}

/// Where consumer groups are kept.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Where transactional ids are kept.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// What core/log needs of a topic's config.
fn log_config(topic: &TopicConfig, producer_id_expiration_ms: i64) -> LogConfig {
    use ottla_config::CompressionType as Codec;
    let unsigned = |value: i32| u32::try_from(value).unwrap_or(0);
    let (compression, compression_level) = match topic.compression_type {
        Codec::Producer => (None, None),
        Codec::Uncompressed => (Some(Compression::None), None),
        Codec::Gzip => (Some(Compression::Gzip), Some(topic.compression_gzip_level)),
        Codec::Snappy => (Some(Compression::Snappy), None),
        Codec::Lz4 => (Some(Compression::Lz4), Some(topic.compression_lz4_level)),
        Codec::Zstd => (Some(Compression::Zstd), Some(topic.compression_zstd_level)),
    };
    LogConfig {
        segment_bytes: unsigned(topic.segment_bytes),
        segment_ms: topic.segment_ms,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_index_bytes: unsigned(topic.segment_index_bytes),
        index_interval_bytes: unsigned(topic.index_interval_bytes),
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        max_message_bytes: unsigned(topic.max_message_bytes),
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        delete_retention_ms: topic.delete_retention_ms,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        cleanup_policy: CleanupPolicy { delete: topic.delete, compact: topic.compact },
        compression,
        compression_level,
        message_timestamp_type: match topic.message_timestamp_type {
            ottla_config::TimestampType::CreateTime => TimestampType::CreateTime,
            ottla_config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        message_timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        message_timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        producer_id_expiration_ms,
    }
}

/// DescribeConfigs' number for a source.
pub(crate) fn source_code(source: ConfigSource) -> i8 {
    source as i8
}
