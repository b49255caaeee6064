//! The cluster's state: what replaying all metadata records gives.
//!
//! An image never changes; a change is a new image that shares what stayed the same. Readers take one and work on it
//! without a lock. [`Replayer`] makes the next one.

use crate::record::{MetadataRecord, RecordError};
use ottla_model::{Str, Uuid};
use ottla_protocol::partition_record::PartitionRecord;
use ottla_protocol::register_broker_record::RegisterBrokerRecord;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// `ConfigResource` type codes.
pub const TOPIC_RESOURCE: i8 = 2;
/// See [`TOPIC_RESOURCE`]; the name is the node id, or empty for the defaults of all brokers.
pub const BROKER_RESOURCE: i8 = 4;

/// The feature that says which records may be written.
pub const METADATA_VERSION: &str = "metadata.version";
/// The metadata.version of a new cluster: 4.3-IV0.
pub const METADATA_VERSION_NEW: i16 = 30;
/// What can be read: 3.3-IV3 up to 4.4.
pub const METADATA_VERSION_RANGE: std::ops::RangeInclusive<i16> = 7..=33;
/// The feature that says by which rules transactions end (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// The level at which a new cluster starts.
pub const TRANSACTION_VERSION_NEW: i16 = 2;
/// The features that this broker serves, with the lowest and highest level.
pub const FEATURES: &[(&str, i16, i16)] = &[
    (METADATA_VERSION, *METADATA_VERSION_RANGE.start(), *METADATA_VERSION_RANGE.end()),
    (TRANSACTION_VERSION, 0, TRANSACTION_VERSION_NEW),
];

/// Overridden configs of one resource, by name.
pub type Configs = BTreeMap<String, String>;

/// One partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionImage {
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Replicas in sync.
    pub isr: Vec<i32>,
    /// The leading broker; -1 when there is none.
    pub leader: i32,
    /// Raised with each election.
    pub leader_epoch: i32,
    /// Raised with each change.
    pub partition_epoch: i32,
    /// The log directory of each replica.
    pub directories: Vec<Uuid>,
    /// The record as it came, with what a single broker does not use.
    record: PartitionRecord,
}

impl PartitionImage {
    /// Replicas outside the ISR that hold everything committed (KIP-966); empty when the cluster has no such.
    pub fn eligible_leader_replicas(&self) -> &[i32] {
        self.record.eligible_leader_replicas.as_deref().unwrap_or_default()
    }
}

impl PartitionImage {
    fn new(record: PartitionRecord) -> PartitionImage {
        PartitionImage {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            record,
        }
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, new for each topic that ever had the name.
    pub id: Uuid,
    /// By partition id, 0 and up without gaps.
    pub partitions: BTreeMap<i32, PartitionImage>,
}

/// The state of the cluster at one offset of `__cluster_metadata-0`.
#[derive(Debug, Clone, Default)]
pub struct MetadataImage {
    offset: i64,
    epoch: i32,
    topics: Arc<BTreeMap<Arc<str>, Arc<TopicImage>>>,
    names: Arc<HashMap<Uuid, Arc<str>>>,
    configs: Arc<BTreeMap<(i8, String), Arc<Configs>>>,
    brokers: Arc<BTreeMap<i32, RegisterBrokerRecord>>,
    features: Arc<BTreeMap<String, i16>>,
    next_producer_id: Option<ottla_protocol::ProducerIdsRecord>,
    /// Records that are kept for those who will use them (ACLs, quotas, SCRAM, tokens, controllers), by what they name.
    kept: Arc<BTreeMap<String, MetadataRecord>>,
}

impl MetadataImage {
    /// The offset of the last record in the image; -1 for an empty one.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The leader epoch of the last record.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// All topics in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.topics.values().map(|topic| &**topic)
    }

    /// The topic called `name`.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.topics.get(name).map(|topic| &**topic)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.names.get(&id).and_then(|name| self.topic(name))
    }

    /// What is overridden for a resource; empty when nothing is.
    pub fn configs(&self, resource_type: i8, name: &str) -> Arc<Configs> {
        self.configs.get(&(resource_type, name.to_owned())).cloned().unwrap_or_default()
    }

    /// Names of the resources of a type that override something.
    pub fn configured(&self, resource_type: i8) -> impl Iterator<Item = &str> {
        self.configs.keys().filter(move |(kind, _)| *kind == resource_type).map(|(_, name)| name.as_str())
    }

    /// Registered brokers by node id.
    pub fn brokers(&self) -> &BTreeMap<i32, RegisterBrokerRecord> {
        &self.brokers
    }

    /// Finalised features and their levels.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The finalised metadata.version: which records and versions of them may be written. None before the first record.
    pub fn metadata_version(&self) -> Option<i16> {
        self.features.get(METADATA_VERSION).copied()
    }

    /// The first producer id that no block holds yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id.as_ref().map_or(0, |record| record.next_producer_id)
    }

    /// The records that give this image on an empty one, in an order in which each finds what it names.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for (name, feature_level) in self.features.iter() {
            let record = ottla_protocol::FeatureLevelRecord {
                name: name.as_str().into(),
                feature_level: *feature_level,
                ..Default::default()
            };
            // metadata.version is the first record of every snapshot: it says how to read the others.
            let at = if name == METADATA_VERSION { 0 } else { records.len() };
            records.insert(at, record.into());
        }
        records.extend(self.brokers.values().cloned().map(MetadataRecord::from));
        for topic in self.topics() {
            let (name, topic_id) = (Str::from(&*topic.name), topic.id);
            records.push(ottla_protocol::TopicRecord { name, topic_id, ..Default::default() }.into());
            records.extend(topic.partitions.values().map(|partition| partition.record.clone().into()));
        }
        for ((resource_type, resource_name), configs) in self.configs.iter() {
            records.extend(configs.iter().map(|(name, value)| {
                let record = ottla_protocol::ConfigRecord {
                    resource_type: *resource_type,
                    resource_name: resource_name.as_str().into(),
                    name: name.as_str().into(),
                    value: Some(value.as_str().into()),
                    ..Default::default()
                };
                MetadataRecord::from(record)
            }));
        }
        records.extend(self.next_producer_id.clone().map(MetadataRecord::from));
        records.extend(self.kept.values().cloned());
        records
    }

    fn replay(&mut self, record: MetadataRecord) -> Result<(), RecordError> {
        use MetadataRecord as R;
        match record {
            R::TopicRecord(record) => self.replay_topic(&record.name, record.topic_id)?,
            R::PartitionRecord(record) => self.replay_partition(record)?,
            R::PartitionChangeRecord(record) => self.replay_partition_change(record)?,
            R::RemoveTopicRecord(record) => self.replay_remove_topic(record.topic_id)?,
            R::ConfigRecord(record) => self.replay_config(record),
            R::FeatureLevelRecord(record) => self.replay_feature(&record.name, record.feature_level)?,
            R::RegisterBrokerRecord(record) => {
                Arc::make_mut(&mut self.brokers).insert(record.broker_id, record);
            }
            R::UnregisterBrokerRecord(record) => {
                Arc::make_mut(&mut self.brokers).remove(&record.broker_id);
            }
            R::FenceBrokerRecord(record) => self.change_broker(record.id, |broker| broker.fenced = true)?,
            R::UnfenceBrokerRecord(record) => self.change_broker(record.id, |broker| broker.fenced = false)?,
            R::BrokerRegistrationChangeRecord(record) => self.change_broker(record.broker_id, |broker| {
                match record.fenced {
                    0 => {}
                    fenced => broker.fenced = fenced > 0,
                }
                broker.in_controlled_shutdown |= record.in_controlled_shutdown > 0;
                if !record.log_dirs.is_empty() {
                    broker.log_dirs = record.log_dirs;
                }
                broker.cordoned_log_dirs = record.cordoned_log_dirs.or(broker.cordoned_log_dirs.take());
            })?,
            R::ProducerIdsRecord(record) => self.next_producer_id = Some(record),
            R::ClearElrRecord(record) => self.replay_clear_elr(&record.topic_name)?,
            R::NoOpRecord(_) | R::ZkMigrationStateRecord(_) => {}
            R::BeginTransactionRecord(_) | R::EndTransactionRecord(_) | R::AbortTransactionRecord(_) => {}
            kept => self.replay_kept(kept),
        }
        Ok(())
    }

    fn replay_topic(&mut self, name: &str, id: Uuid) -> Result<(), RecordError> {
        if self.topic(name).is_some() || self.names.contains_key(&id) {
            return Err(RecordError(format!("a metadata record creates the topic {name} ({id}), which exists")));
        }
        let name: Arc<str> = Arc::from(name);
        let topic = TopicImage { name: name.clone(), id, partitions: BTreeMap::new() };
        Arc::make_mut(&mut self.topics).insert(name.clone(), Arc::new(topic));
        Arc::make_mut(&mut self.names).insert(id, name);
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, RecordError> {
        let unknown = || RecordError(format!("a metadata record names the topic {id}, which does not exist"));
        let name = self.names.get(&id).ok_or_else(unknown)?;
        let topic = Arc::make_mut(&mut self.topics).get_mut(name).ok_or_else(unknown)?;
        Ok(Arc::make_mut(topic))
    }

    fn replay_partition(&mut self, record: PartitionRecord) -> Result<(), RecordError> {
        let topic = self.topic_mut(record.topic_id)?;
        topic.partitions.insert(record.partition_id, PartitionImage::new(record));
        Ok(())
    }

    fn replay_partition_change(&mut self, change: ottla_protocol::PartitionChangeRecord) -> Result<(), RecordError> {
        let topic = self.topic_mut(change.topic_id)?;
        let Some(partition) = topic.partitions.get_mut(&change.partition_id) else {
            let (name, id) = (&topic.name, change.partition_id);
            return Err(RecordError(format!("a metadata record changes {name}-{id}, which does not exist")));
        };
        /// In a change record -2 leaves the leader as it is; any other value is an election.
        const NO_LEADER_CHANGE: i32 = -2;
        const NO_RECOVERY_CHANGE: i8 = -1;
        let mut record = partition.record.clone();
        record.isr = change.isr.unwrap_or(record.isr);
        record.replicas = change.replicas.unwrap_or(record.replicas);
        record.removing_replicas = change.removing_replicas.unwrap_or(record.removing_replicas);
        record.adding_replicas = change.adding_replicas.unwrap_or(record.adding_replicas);
        record.directories = change.directories.unwrap_or(record.directories);
        record.eligible_leader_replicas = change.eligible_leader_replicas.or(record.eligible_leader_replicas);
        record.last_known_elr = change.last_known_elr.or(record.last_known_elr);
        if change.leader_recovery_state != NO_RECOVERY_CHANGE {
            record.leader_recovery_state = change.leader_recovery_state;
        }
        if change.leader != NO_LEADER_CHANGE {
            record.leader = change.leader;
            record.leader_epoch += 1;
        }
        record.partition_epoch += 1;
        *partition = PartitionImage::new(record);
        Ok(())
    }

    /// Forgets the eligible leader replicas (KIP-966) of a topic, or of all when `name` is empty.
    fn replay_clear_elr(&mut self, name: &str) -> Result<(), RecordError> {
        if !name.is_empty() && self.topic(name).is_none() {
            return Err(RecordError(format!("a metadata record changes the topic {name}, which does not exist")));
        }
        let topics = Arc::make_mut(&mut self.topics);
        for topic in topics.values_mut().filter(|topic| name.is_empty() || *topic.name == *name) {
            for partition in Arc::make_mut(topic).partitions.values_mut() {
                partition.record.eligible_leader_replicas = None;
                partition.record.last_known_elr = None;
            }
        }
        Ok(())
    }

    fn replay_remove_topic(&mut self, id: Uuid) -> Result<(), RecordError> {
        let removed = Arc::make_mut(&mut self.names).remove(&id);
        let name =
            removed.ok_or_else(|| RecordError(format!("a metadata record removes the topic {id}, which is gone")))?;
        Arc::make_mut(&mut self.topics).remove(&name);
        Arc::make_mut(&mut self.configs).remove(&(TOPIC_RESOURCE, name.to_string()));
        Ok(())
    }

    fn replay_config(&mut self, record: ottla_protocol::ConfigRecord) {
        let all = Arc::make_mut(&mut self.configs);
        let resource = (record.resource_type, record.resource_name.to_string());
        let configs = Arc::make_mut(all.entry(resource.clone()).or_default());
        match record.value {
            Some(value) => configs.insert(record.name.to_string(), value.to_string()),
            None => configs.remove(&*record.name),
        };
        if configs.is_empty() {
            all.remove(&resource);
        }
    }

    fn replay_feature(&mut self, name: &str, level: i16) -> Result<(), RecordError> {
        if name == METADATA_VERSION && !METADATA_VERSION_RANGE.contains(&level) {
            let (lowest, highest) = (METADATA_VERSION_RANGE.start(), METADATA_VERSION_RANGE.end());
            return Err(RecordError(format!(
                "the directory has metadata.version {level}; this version of Ottla opens {lowest} to {highest}"
            )));
        }
        let features = Arc::make_mut(&mut self.features);
        match level {
            0 => features.remove(name),
            level => features.insert(name.to_owned(), level),
        };
        Ok(())
    }

    fn change_broker(&mut self, id: i32, change: impl FnOnce(&mut RegisterBrokerRecord)) -> Result<(), RecordError> {
        let broker = Arc::make_mut(&mut self.brokers).get_mut(&id);
        let broker =
            broker.ok_or_else(|| RecordError(format!("a metadata record changes broker {id}, which is gone")))?;
        change(broker);
        Ok(())
    }

    fn replay_kept(&mut self, record: MetadataRecord) {
        use MetadataRecord as R;
        let (name, removes) = match &record {
            R::AccessControlEntryRecord(record) => (format!("acl {}", record.id), false),
            R::RemoveAccessControlEntryRecord(record) => (format!("acl {}", record.id), true),
            R::UserScramCredentialRecord(record) => (format!("scram {} {}", record.mechanism, &*record.name), false),
            R::RemoveUserScramCredentialRecord(record) => {
                (format!("scram {} {}", record.mechanism, &*record.name), true)
            }
            R::DelegationTokenRecord(record) => (format!("token {}", &*record.token_id), false),
            R::RemoveDelegationTokenRecord(record) => (format!("token {}", &*record.token_id), true),
            R::RegisterControllerRecord(record) => (format!("controller {}", record.controller_id), false),
            R::UnregisterControllerRecord(record) => (format!("controller {}", record.controller_id), true),
            R::ClientQuotaRecord(record) => (format!("quota {:?} {}", record.entity, &*record.key), record.remove),
            _ => return,
        };
        let kept = Arc::make_mut(&mut self.kept);
        match removes {
            true => kept.remove(&name),
            false => kept.insert(name, record),
        };
    }
}

/// Turns records into images. Records between BeginTransaction and EndTransaction become visible together, or not at
/// all when AbortTransaction ends them.
#[derive(Debug, Clone)]
pub struct Replayer {
    visible: Arc<MetadataImage>,
    next: MetadataImage,
    in_transaction: bool,
}

impl Default for Replayer {
    fn default() -> Self {
        let empty = MetadataImage { offset: -1, ..Default::default() };
        Replayer { visible: Arc::new(empty.clone()), next: empty, in_transaction: false }
    }
}

impl Replayer {
    /// Applies the record at `offset`, written in leader epoch `epoch`.
    ///
    /// # Errors
    /// The record names something that does not exist, or a metadata.version that cannot be read. The replayer must not
    /// be used further.
    pub fn replay(&mut self, offset: i64, epoch: i32, record: MetadataRecord) -> Result<(), RecordError> {
        match record {
            MetadataRecord::BeginTransactionRecord(_) => {
                // What an abort goes back to.
                self.visible = Arc::new(self.next.clone());
                self.in_transaction = true;
            }
            MetadataRecord::EndTransactionRecord(_) => self.in_transaction = false,
            MetadataRecord::AbortTransactionRecord(_) => {
                self.in_transaction = false;
                self.next = (*self.visible).clone();
            }
            record => self.next.replay(record)?,
        }
        self.next.offset = offset;
        self.next.epoch = epoch;
        Ok(())
    }

    /// Control records (a new leader epoch) move the offset as well.
    pub fn skip_to(&mut self, offset: i64, epoch: i32) {
        self.next.offset = offset;
        self.next.epoch = epoch;
    }

    /// The offset of the last record, also one of an open transaction; -1 before the first.
    pub fn offset(&self) -> i64 {
        self.next.offset
    }

    /// Whether a transaction was begun and not ended: what a crash in the middle of a large append leaves.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Starts from an empty image at an offset, for the records of a snapshot, which all belong to that offset.
    pub fn at(offset: i64, epoch: i32) -> Replayer {
        let mut replayer = Replayer::default();
        replayer.skip_to(offset, epoch);
        replayer
    }

    /// The image after all records so far, those of an open transaction apart.
    pub fn publish(&mut self) -> Arc<MetadataImage> {
        if !self.in_transaction {
            self.visible = Arc::new(self.next.clone());
        }
        self.visible.clone()
    }
}
