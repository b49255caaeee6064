//! The local controller: decides what a change to the cluster is, as records.
//!
//! Every function is pure: it looks at an image and returns the records of the change, or why it is refused, in the error
//! code and much the words that Apache Kafka's controller uses. Nothing changes until the records are appended and
//! replayed. Config values are checked by core/config before they come here.

use crate::image::{
    METADATA_VERSION, METADATA_VERSION_NEW, MetadataImage, PartitionImage, TOPIC_RESOURCE, TRANSACTION_VERSION,
    TRANSACTION_VERSION_NEW,
};
use crate::record::MetadataRecord;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::partition_record::PartitionRecord;
use ottla_protocol::register_broker_record::{BrokerEndpoint, BrokerFeature};
use ottla_protocol::{
    BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord, ProducerIdsRecord,
    RegisterBrokerRecord, RemoveTopicRecord, TopicRecord,
};
use std::collections::BTreeSet;

/// Why a change is refused: what the client is told.
pub type Refusal = (ErrorCode, String);

/// Longest topic name: with `-<partition>` behind it a directory name stays below 255.
pub const TOPIC_NAME_LEN_MAX: usize = 249;
/// Records that one request may lead to, as in Apache Kafka's controller.
pub const RECORDS_PER_CHANGE_MAX: usize = 10_000;
/// Producer ids handed out in one record.
pub const PRODUCER_ID_BLOCK_SIZE: i64 = 1000;
/// How an unset count arrives in requests.
const DEFAULT: i32 = -1;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Partition count; -1 is the default.
    pub partitions: i32,
    /// Replicas of each partition; -1 is the default.
    pub replication_factor: i16,
    /// Brokers by partition, instead of a count and factor; empty when the controller places.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Overridden configs, checked.
    pub configs: Vec<(String, String)>,
}

/// What an unset count means: `num.partitions` and `default.replication.factor`.
#[derive(Debug, Clone, Copy)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// Checks a topic name.
///
/// # Errors
/// What is wrong with it, in words.
pub fn validate_topic_name(name: &str) -> Result<(), String> {
    match name {
        "" => return Err("Topic name is invalid: the empty string is not allowed".to_owned()),
        "." | ".." => return Err(format!("Topic name is invalid: '{name}' is not allowed")),
        _ => {}
    }
    if name.len() > TOPIC_NAME_LEN_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Creates a topic with the id `id`; `directory` is the log directory for replicas on `node_id`.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR,
/// INVALID_REPLICA_ASSIGNMENT, INVALID_REQUEST, POLICY_VIOLATION.
pub fn create_topic(
    image: &MetadataImage,
    spec: &TopicSpec,
    defaults: TopicDefaults,
    id: Uuid,
    directories: &dyn Fn(i32) -> Uuid,
) -> Result<Vec<MetadataRecord>, Refusal> {
    validate_topic_name(&spec.name).map_err(|reason| (ErrorCode::InvalidTopicException, reason))?;
    if image.topic(&spec.name).is_some() {
        return Err((ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", spec.name)));
    }
    refuse_collision(image, &spec.name)?;
    let replicas =
        if spec.assignments.is_empty() { place(image, spec, defaults)? } else { check_assignments(image, spec)? };
    let mut records = Vec::with_capacity(1 + replicas.len() + spec.configs.len());
    records.push(TopicRecord { name: spec.name.as_str().into(), topic_id: id, ..Default::default() }.into());
    records.extend(spec.configs.iter().map(|(name, value)| set_config(TOPIC_RESOURCE, &spec.name, name, Some(value))));
    let partitions =
        (0..).zip(replicas).map(|(partition, replicas)| new_partition(id, partition, replicas, directories));
    records.extend(partitions);
    Ok(records)
}

/// Names that differ only in '.' and '_' share their metric names, so Kafka refuses the second.
fn refuse_collision(image: &MetadataImage, name: &str) -> Result<(), Refusal> {
    if !name.contains(['.', '_']) {
        return Ok(());
    }
    let unified = |byte: u8| if byte == b'.' { b'_' } else { byte };
    let collides = |other: &str| name.bytes().map(unified).eq(other.bytes().map(unified));
    match image.topics().find(|topic| topic.name.len() == name.len() && collides(&topic.name)) {
        Some(topic) => Err((
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {}", topic.name),
        )),
        None => Ok(()),
    }
}

fn place(image: &MetadataImage, spec: &TopicSpec, defaults: TopicDefaults) -> Result<Vec<Vec<i32>>, Refusal> {
    let partitions = match spec.partitions {
        DEFAULT => defaults.partitions,
        count => count,
    };
    let count = usize::try_from(partitions).ok().filter(|count| *count > 0).ok_or_else(|| {
        (ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.".to_owned())
    })?;
    refuse_excess(count)?;
    let factor = match i32::from(spec.replication_factor) {
        DEFAULT => defaults.replication_factor,
        _ => spec.replication_factor,
    };
    place_partitions(image, 0, count, factor)
}

fn refuse_excess(records: usize) -> Result<(), Refusal> {
    if records <= RECORDS_PER_CHANGE_MAX {
        return Ok(());
    }
    let reason = format!("Unable to perform excessively large batch operation: {records} of {RECORDS_PER_CHANGE_MAX}");
    Err((ErrorCode::PolicyViolation, reason))
}

/// Spreads partitions over the unfenced brokers in turn, the leaders first.
fn place_partitions(
    image: &MetadataImage,
    first: usize,
    count: usize,
    replication_factor: i16,
) -> Result<Vec<Vec<i32>>, Refusal> {
    let brokers: Vec<i32> = image.brokers().values().filter(|it| !it.fenced).map(|it| it.broker_id).collect();
    let factor = usize::try_from(replication_factor).ok().filter(|factor| *factor > 0).ok_or_else(|| {
        let reason = "Replication factor must be larger than 0, or -1 to use the default value.";
        (ErrorCode::InvalidReplicationFactor, reason.to_owned())
    })?;
    if factor > brokers.len() {
        let reason = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {} broker(s) are registered.",
            brokers.len()
        );
        return Err((ErrorCode::InvalidReplicationFactor, reason));
    }
    let replicas =
        |partition: usize| (0..factor).map(|replica| brokers[(partition + replica) % brokers.len()]).collect();
    Ok((first..first + count).map(replicas).collect())
}

fn check_assignments(image: &MetadataImage, spec: &TopicSpec) -> Result<Vec<Vec<i32>>, Refusal> {
    if i32::from(spec.replication_factor) != DEFAULT {
        let reason = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err((ErrorCode::InvalidRequest, reason.to_owned()));
    }
    if spec.partitions != DEFAULT {
        let reason = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err((ErrorCode::InvalidRequest, reason.to_owned()));
    }
    refuse_excess(spec.assignments.len())?;
    let mut sorted = spec.assignments.clone();
    sorted.sort_by_key(|(partition, _)| *partition);
    let consecutive = (0..).zip(&sorted).all(|(expected, (partition, _))| expected == *partition);
    if !consecutive {
        let reason = "partitions should be a consecutive 0-based integer sequence";
        return Err((ErrorCode::InvalidReplicaAssignment, reason.to_owned()));
    }
    let replicas: Vec<Vec<i32>> = sorted.into_iter().map(|(_, replicas)| replicas).collect();
    check_replicas(image, &replicas)?;
    Ok(replicas)
}

fn check_replicas(image: &MetadataImage, partitions: &[Vec<i32>]) -> Result<(), Refusal> {
    let refused = |reason: String| Err((ErrorCode::InvalidReplicaAssignment, reason));
    let factor = partitions.first().map_or(0, Vec::len);
    for replicas in partitions {
        if replicas.is_empty() {
            return refused("The manual partition assignment includes an empty replica list.".to_owned());
        }
        if replicas.len() != factor {
            return refused("The manual partition assignment includes replica lists of different lengths.".to_owned());
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return refused("The manual partition assignment includes the same broker more than once.".to_owned());
        }
        if let Some(unknown) = replicas.iter().find(|broker| !image.brokers().contains_key(broker)) {
            return refused(format!(
                "The manual partition assignment includes broker {unknown}, but no such broker is registered."
            ));
        }
    }
    Ok(())
}

fn new_partition(
    topic_id: Uuid,
    partition_id: i32,
    replicas: Vec<i32>,
    directories: &dyn Fn(i32) -> Uuid,
) -> MetadataRecord {
    PartitionRecord {
        partition_id,
        topic_id,
        isr: replicas.clone(),
        leader: replicas.first().copied().unwrap_or(-1),
        // The schema's defaults are -1, which clients take for "unknown".
        leader_epoch: 0,
        partition_epoch: 0,
        directories: replicas.iter().map(|broker| directories(*broker)).collect(),
        replicas,
        ..Default::default()
    }
    .into()
}

/// Deletes a topic with its configs.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION.
pub fn delete_topic(image: &MetadataImage, name: &str) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = image.topic(name).ok_or_else(|| unknown_topic(name))?;
    // Replaying it removes the topic's configs too, but Apache Kafka writes only this one record as well.
    Ok(vec![RemoveTopicRecord { topic_id: topic.id, ..Default::default() }.into()])
}

fn unknown_topic(name: &str) -> Refusal {
    (ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))
}

/// Raises a topic's partition count to `count`; `assignments` places the new ones.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT, POLICY_VIOLATION.
pub fn create_partitions(
    image: &MetadataImage,
    name: &str,
    count: i32,
    assignments: Option<&[Vec<i32>]>,
    directories: &dyn Fn(i32) -> Uuid,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = image.topic(name).ok_or_else(|| unknown_topic(name))?;
    let invalid = |reason: String| (ErrorCode::InvalidPartitions, reason);
    let existing = topic.partitions.len();
    let wanted = usize::try_from(count).ok().filter(|count| *count > 0);
    let wanted = wanted.ok_or_else(|| invalid("The number of partitions has to be above 0.".to_owned()))?;
    if wanted == existing {
        return Err(invalid(format!("Topic already has {existing} partition(s).")));
    }
    if wanted < existing {
        return Err(invalid(format!(
            "The topic {name} currently has {existing} partition(s); {wanted} would not be an increase."
        )));
    }
    let added = wanted - existing;
    refuse_excess(added)?;
    let replicas = match assignments {
        Some(assignments) => {
            if assignments.len() != added {
                let given = assignments.len();
                let reason = format!(
                    "Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified."
                );
                return Err((ErrorCode::InvalidReplicaAssignment, reason));
            }
            check_replicas(image, assignments)?;
            assignments.to_vec()
        }
        None => {
            let factor = topic.partitions.values().next().map_or(1, |partition| partition.replicas.len());
            place_partitions(image, existing, added, i16::try_from(factor).unwrap_or(1))?
        }
    };
    let first = i32::try_from(existing).map_err(|_| invalid("too many partitions".to_owned()))?;
    let numbered = (first..).zip(replicas);
    Ok(numbered.map(|(partition, replicas)| new_partition(topic.id, partition, replicas, directories)).collect())
}

/// Sets (`Some`) or removes (`None`) one config of a resource.
pub fn set_config(resource_type: i8, resource_name: &str, name: &str, value: Option<&str>) -> MetadataRecord {
    ConfigRecord {
        resource_type,
        resource_name: resource_name.into(),
        name: name.into(),
        value: value.map(Into::into),
        ..Default::default()
    }
    .into()
}

/// Takes the next block of [`PRODUCER_ID_BLOCK_SIZE`] producer ids; returns its first id and the record.
///
/// # Errors
/// UNKNOWN_SERVER_ERROR once all ids have been handed out.
pub fn allocate_producer_ids(
    image: &MetadataImage,
    broker_id: i32,
    broker_epoch: i64,
) -> Result<(i64, MetadataRecord), Refusal> {
    let first = image.next_producer_id();
    let next_producer_id = first.checked_add(PRODUCER_ID_BLOCK_SIZE).ok_or_else(|| {
        (
            ErrorCode::UnknownServerError,
            "Exhausted all producer IDs as the next block would exceed the range.".to_owned(),
        )
    })?;
    let record = ProducerIdsRecord { broker_id, broker_epoch, next_producer_id, ..Default::default() };
    Ok((first, record.into()))
}

/// A broker that starts.
#[derive(Debug, Clone, Default)]
pub struct BrokerSpec {
    /// `node.id`.
    pub node_id: i32,
    /// Of this process, new at each start.
    pub incarnation_id: Uuid,
    /// Where clients and brokers find it.
    pub endpoints: Vec<BrokerEndpoint>,
    /// Features it supports, with the lowest and highest level.
    pub features: Vec<(String, i16, i16)>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of its log directories.
    pub log_dirs: Vec<Uuid>,
    /// Whether the last run may have lost records that it had not synced; its partitions then get a new leader epoch,
    /// so that clients can tell the lost records from those that follow (KIP-101).
    pub unclean: bool,
}

/// Registers a broker that starts, unfences it, and gives it the partitions that it can lead.
///
/// The broker epoch is the offset of the registration, as in Apache Kafka: the records must be appended right after
/// `image`, and alone.
pub fn register_broker(image: &MetadataImage, spec: &BrokerSpec) -> Vec<MetadataRecord> {
    let broker_epoch = image.offset() + 1;
    let feature = |(name, min, max): &(String, i16, i16)| BrokerFeature {
        name: name.as_str().into(),
        min_supported_version: *min,
        max_supported_version: *max,
        ..Default::default()
    };
    let mut log_dirs = spec.log_dirs.clone();
    log_dirs.sort_unstable();
    let registration = RegisterBrokerRecord {
        broker_id: spec.node_id,
        incarnation_id: spec.incarnation_id,
        broker_epoch,
        end_points: spec.endpoints.clone(),
        features: spec.features.iter().map(feature).collect(),
        rack: spec.rack.as_deref().map(Into::into),
        fenced: true,
        log_dirs,
        ..Default::default()
    };
    let unfenced =
        BrokerRegistrationChangeRecord { broker_id: spec.node_id, broker_epoch, fenced: -1, ..Default::default() };
    let mut records = vec![registration.into(), unfenced.into()];
    for topic in image.topics() {
        for (partition_id, partition) in &topic.partitions {
            records.extend(take_lead(topic.id, *partition_id, partition, spec).map(MetadataRecord::from));
        }
    }
    records
}

/// An election of the starting broker, where one is needed and it has all committed records.
fn take_lead(
    topic_id: Uuid,
    partition_id: i32,
    partition: &PartitionImage,
    spec: &BrokerSpec,
) -> Option<PartitionChangeRecord> {
    let needs_leader = partition.leader == -1 || (spec.unclean && partition.leader == spec.node_id);
    let in_isr = partition.isr.contains(&spec.node_id);
    let eligible = in_isr || partition.eligible_leader_replicas().contains(&spec.node_id);
    (needs_leader && eligible).then(|| PartitionChangeRecord {
        partition_id,
        topic_id,
        leader: spec.node_id,
        isr: (!in_isr).then(|| vec![spec.node_id]),
        eligible_leader_replicas: (!in_isr).then(Vec::new),
        ..Default::default()
    })
}

/// The first records of a new cluster: its metadata.version, and the features that it has from the start.
pub fn bootstrap() -> Vec<MetadataRecord> {
    let feature =
        |name: &str, feature_level| FeatureLevelRecord { name: name.into(), feature_level, ..Default::default() };
    vec![
        feature(METADATA_VERSION, METADATA_VERSION_NEW).into(),
        feature(TRANSACTION_VERSION, TRANSACTION_VERSION_NEW).into(),
    ]
}
