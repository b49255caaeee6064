//! Brokers out of brokers: a snapshot of all a broker has, forks of it that go on by themselves, and forks of one topic.
//!
//! Sealed segments are shared (see core/log's `fork`), so a fork costs a few small files. What comes along:
//!
//! - The cluster's metadata: topics with their ids and configs, dynamic broker configs.
//! - Every record that was acknowledged before the call. Each partition is cut under its writer's lock, one after the other:
//!   between partitions nothing is atomic unless producers pause. But internal topics are cut first, so an offset that a
//!   fork has committed is never behind what its topics have.
//! - Committed offsets and groups, without members: those are connections to the other broker. Groups are empty and their
//!   next members need not wait for them.
//! - Producer ids and sequences (the last batch of each producer, as after a restart), transactions as the logs have them.
//!
//! A fork is a cluster of its own, with an id of its own: what tells clusters apart must not take two for one that
//! differ from the first record on. Topic ids and `node.id` stay. Faults and connections do not come along.

use crate::broker::{Again, Broker, StartError};
use crate::node::Node;
use crate::topics::Refusal;
use ottla_config::{BrokerConfig, Props};
use ottla_env::{Env, Fs};
use ottla_log::{Log, LogError, MetaProperties};
use ottla_metadata::{MetadataRecord, TOPIC_RESOURCE, TopicDefaults, TopicSpec, controller};
use ottla_model::{ErrorCode, TopicPartition, Uuid};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that goes when nobody needs it any more.
#[derive(Debug)]
pub(crate) struct OwnedDir {
    env: Env,
    path: PathBuf,
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        if let Err(error) = self.env.fs().remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the directory of a fork");
        }
    }
}

/// Why a topic was not forked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkError {
    /// What a client would be told.
    pub code: ErrorCode,
    /// Why, for a person.
    pub message: String,
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for ForkError {}

/// Where the files of a broker lie.
#[derive(Debug, Clone)]
struct Layout {
    dirs: Vec<PathBuf>,
    metadata_dir: PathBuf,
}

impl Layout {
    fn of(config: &BrokerConfig) -> Layout {
        Layout { dirs: config.log_dirs.clone(), metadata_dir: config.metadata_log_dir.clone() }
    }

    /// The same layout below `base`.
    fn below(&self, base: &Path) -> Layout {
        let dirs: Vec<PathBuf> = match &self.dirs[..] {
            [_] => vec![base.to_path_buf()],
            many => (0..many.len()).map(|at| base.join(format!("log-{at}"))).collect(),
        };
        let with_data = self.dirs.iter().position(|dir| *dir == self.metadata_dir);
        let metadata_dir = with_data.map_or_else(|| base.join("metadata"), |at| dirs[at].clone());
        Layout { dirs, metadata_dir }
    }

    fn has_metadata_apart(&self) -> bool {
        !self.dirs.contains(&self.metadata_dir)
    }

    fn create(&self, env: &Env) -> Result<(), StartError> {
        for dir in self.dirs.iter().chain([&self.metadata_dir]) {
            env.fs().create_dir_all(dir).map_err(|error| refused("create", dir, error))?;
        }
        Ok(())
    }
}

fn refused(doing: &'static str, path: &Path, source: io::Error) -> StartError {
    StartError::Directory(LogError::Io { doing, path: path.to_path_buf(), source })
}

/// Where a fork goes: its environment, its files, and whether they go with it.
struct Place {
    env: Env,
    layout: Layout,
    owned: Option<Arc<OwnedDir>>,
}

impl Place {
    /// `base` is a new or empty directory. Without one it is memory for a broker in memory, and else a directory beside the
    /// first of the log directories, which goes with the fork.
    fn new(env: &Env, layout: &Layout, base: Option<PathBuf>) -> Result<Place, StartError> {
        if let Some(base) = base {
            let env = if env.fs().is_memory() { env.with_fs(Fs::real()) } else { env.clone() };
            let is_free = env.fs().read_dir(&base).map_or(true, |entries| entries.is_empty());
            if !is_free {
                return Err(refused("fork into", &base, io::ErrorKind::DirectoryNotEmpty.into()));
            }
            return Ok(Place { env, layout: layout.below(&base), owned: None });
        }
        if env.fs().is_memory() {
            return Ok(Place { env: env.with_fs(Fs::memory()), layout: layout.clone(), owned: None });
        }
        let first = layout.dirs.first().cloned().unwrap_or_default();
        let mut name = first.file_name().unwrap_or_default().to_owned();
        name.push(format!(".fork-{}", env.random_uuid()));
        let path = first.with_file_name(name);
        let owned = Some(Arc::new(OwnedDir { env: env.clone(), path: path.clone() }));
        Ok(Place { env: env.clone(), layout: layout.below(&path), owned })
    }

    /// Starts a broker there.
    async fn start(self, config: &BrokerConfig) -> Result<Broker, StartError> {
        let Place { env, layout, owned } = self;
        let config = config_of(config, &layout).map_err(StartError::Open)?;
        let inproc_id = env.random_uuid().to_string();
        Broker::start_as(Again { env, config, inproc_id, owned }, true).await
    }
}

/// The config of a fork: the same but for its directories and ports, which are free ones.
fn config_of(config: &BrokerConfig, layout: &Layout) -> Result<BrokerConfig, String> {
    let text = |dir: &PathBuf| dir.to_string_lossy().into_owned();
    let mut props: Props = config.statics().clone();
    props.remove("log.dir");
    props.insert("log.dirs".to_owned(), layout.dirs.iter().map(text).collect::<Vec<_>>().join(","));
    match layout.has_metadata_apart() {
        true => drop(props.insert("metadata.log.dir".to_owned(), text(&layout.metadata_dir))),
        false if props.contains_key("metadata.log.dir") => {
            props.insert("metadata.log.dir".to_owned(), text(&layout.metadata_dir));
        }
        false => {}
    }
    // Ports are given below: a list of listeners in which two have port 0 is as good as any.
    let parsed = BrokerConfig::parse(config.profile(), props).map_err(|error| error.to_string())?;
    let mut forked = parsed.0;
    for listener in forked.listeners.iter_mut().chain(&mut forked.advertised_listeners) {
        listener.port = 0;
    }
    Ok(forked)
}

/// All that a broker had at one time; as many forks of it can be started as wanted, also after the broker is gone. It takes
/// what has been deleted or compacted there since, and a few small files.
#[derive(Debug)]
pub struct Snapshot {
    env: Env,
    config: BrokerConfig,
    layout: Layout,
    /// Goes with the snapshot.
    _owned: Option<Arc<OwnedDir>>,
}

impl Snapshot {
    /// Starts a broker with what the snapshot has. `base` is where its files are to be: see [`Broker::fork`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn fork(&self, base: Option<PathBuf>) -> Result<Broker, StartError> {
        let place = Place::new(&self.env, &self.layout, base)?;
        let (from, to) = ((self.env.clone(), self.layout.clone()), (place.env.clone(), place.layout.clone()));
        self.env.blocking(move || copy(&from.0, &from.1, &to.0, &to.1)).await?;
        place.start(&self.config).await
    }
}

/// Copies a snapshot, sharing what is never written in place again.
fn copy(from_env: &Env, from: &Layout, to_env: &Env, to: &Layout) -> Result<(), StartError> {
    to.create(to_env)?;
    let mut pairs: Vec<(&PathBuf, &PathBuf)> = from.dirs.iter().zip(&to.dirs).collect();
    if from.has_metadata_apart() {
        pairs.push((&from.metadata_dir, &to.metadata_dir));
    }
    for (from, to) in pairs {
        copy_tree(from_env, from, to_env, to).map_err(|error| refused("copy the snapshot in", from, error))?;
    }
    rename_cluster(to_env, to, &to_env.random_uuid().to_string())
}

fn copy_tree(from_env: &Env, from: &Path, to_env: &Env, to: &Path) -> io::Result<()> {
    to_env.fs().create_dir_all(to)?;
    let entries = from_env.fs().read_dir(from)?;
    let names = || entries.iter().filter(|entry| !entry.is_dir).map(|entry| entry.name.as_str());
    // The last segment of a log is written in place.
    let active = names().filter(|name| name.ends_with(".log")).max().map(|name| name.trim_end_matches(".log"));
    for entry in &entries {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy_tree(from_env, &source, to_env, &target)?;
        } else if active.is_some_and(|active| entry.name.starts_with(active)) || !is_of_segment(&entry.name) {
            from_env.fs().copy(&source, to_env.fs(), &target, u64::MAX)?;
        } else {
            from_env.fs().link(&source, to_env.fs(), &target)?;
        }
    }
    Ok(())
}

fn is_of_segment(name: &str) -> bool {
    [".log", "index", ".checkpoint"].iter().any(|end| name.ends_with(end))
}

/// Makes the directories those of a cluster of its own.
fn rename_cluster(env: &Env, layout: &Layout, cluster_id: &str) -> Result<(), StartError> {
    for dir in &layout.dirs {
        if let Some(properties) = MetaProperties::read(env, dir).map_err(StartError::Directory)? {
            let properties = MetaProperties { cluster_id: cluster_id.to_owned(), ..properties };
            properties.write_with(env, dir, false).map_err(StartError::Directory)?;
        }
    }
    Ok(())
}

impl Broker {
    /// Starts a broker that has all that this one has now, and goes on by itself: see the head of this file for what that is.
    ///
    /// `base` is a new or empty directory for its files, on the same file system if they are to be shared. Without one a
    /// broker in memory has its fork in memory, and one on disk has it beside its first log directory
    /// (`<log dir>.fork-<id>`), until the fork is dropped.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn fork(&self, base: Option<PathBuf>) -> Result<Broker, StartError> {
        let place = Place::new(&self.node().env, &Layout::of(&self.node().config()), base)?;
        let (node, env, layout) = (self.node().clone(), place.env.clone(), place.layout.clone());
        self.node().env.blocking(move || node.fork_into(&env, &layout)).await?;
        place.start(&self.started_with().config).await
    }

    /// Keeps all that this broker has now, for forks that are started later. `base` as for [`Broker::fork`].
    ///
    /// # Errors
    /// The disk refused.
    pub async fn snapshot(&self, base: Option<PathBuf>) -> Result<Snapshot, StartError> {
        let Place { env, layout, owned } = Place::new(&self.node().env, &Layout::of(&self.node().config()), base)?;
        let (node, to, dirs) = (self.node().clone(), env.clone(), layout.clone());
        self.node().env.blocking(move || node.fork_into(&to, &dirs)).await?;
        Ok(Snapshot { env, config: self.started_with().config.clone(), layout, _owned: owned })
    }

    /// Makes the topic `to` with the partitions, records, configs and producers of `from`; both go on by themselves.
    ///
    /// # Errors
    /// As creating the topic: it exists, or its name is none; and there is no topic `from`, or it is internal.
    pub async fn fork_topic(&self, from: &str, to: &str) -> Result<(), ForkError> {
        let (node, from, to) = (self.node().clone(), from.to_owned(), to.to_owned());
        let forked = self.node().env.blocking(move || node.fork_topic(&from, &to)).await;
        forked.map_err(|(code, message)| ForkError { code, message })
    }
}

impl Node {
    fn fork_into(&self, env: &Env, layout: &Layout) -> Result<(), StartError> {
        // No topic comes or goes meanwhile.
        let _changing = self.controller.lock();
        layout.create(env)?;
        self.metadata.fork_into(env, &layout.metadata_dir).map_err(StartError::Metadata)?;
        let image = self.metadata.image();
        let is_known = |partition: &TopicPartition| image.topic(&partition.topic).is_some();
        let forked = self.logs.fork_into(env, &layout.dirs, is_known, self.broker_epoch());
        forked.map_err(StartError::Directory)?;
        let cluster_id = self.env.random_uuid().to_string();
        for (own, dir) in self.logs.dirs().zip(&layout.dirs) {
            if let Some(properties) = MetaProperties::read(&self.env, own).map_err(StartError::Directory)? {
                let properties = MetaProperties { cluster_id: cluster_id.clone(), ..properties };
                properties.write_with(env, dir, false).map_err(StartError::Directory)?;
            }
        }
        Ok(())
    }

    fn fork_topic(&self, from: &str, to: &str) -> Result<(), Refusal> {
        let _changing = self.controller.lock();
        let image = self.metadata.image();
        let unknown = || (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {from}"));
        let source = image.topic(from).ok_or_else(unknown)?;
        if self.is_internal_topic(from) || self.is_internal_topic(to) {
            return Err((ErrorCode::InvalidTopicException, "internal topics are forked with their broker".to_owned()));
        }
        let id = self.env.random_uuid();
        let overrides = image.configs(TOPIC_RESOURCE, from);
        let spec = TopicSpec {
            name: to.to_owned(),
            partitions: -1,
            replication_factor: -1,
            assignments: source.partitions.iter().map(|(id, it)| (*id, it.replicas.clone())).collect(),
            configs: (*overrides).clone().into_iter().collect(),
        };
        let defaults = TopicDefaults { partitions: 1, replication_factor: 1 };
        let mut records = controller::create_topic(&image, &spec, defaults, id, &|broker| self.directory_of(broker))?;
        for record in &mut records {
            if let MetadataRecord::PartitionRecord(new) = record {
                // The log has this epoch's batches already; a lower one would be a step back.
                let known = source.partitions.get(&new.partition_id);
                new.leader_epoch = known.map_or(new.leader_epoch, |it| it.leader_epoch);
            }
        }
        let forked = self.fork_logs(from, to, id, &overrides).and_then(|()| self.append_metadata(records));
        let image = match forked {
            Ok(image) => image,
            Err(refusal) => {
                self.drop_logs(to);
                return Err(refusal);
            }
        };
        let topic = image.topic(to);
        topic.map_or(Ok(()), |topic| self.open_partitions(topic, &overrides))?;
        tracing::info!(from, topic = to, "forked a topic");
        Ok(())
    }

    fn fork_logs(&self, from: &str, to: &str, id: Uuid, overrides: &Props) -> Result<(), Refusal> {
        let config = Arc::new(self.log_config(overrides));
        for partition in self.partitions.of_topic(from) {
            let name = TopicPartition { topic: to.into(), partition: partition.id() };
            let log: &Log = partition.log();
            self.logs.fork_log(log, &name, id, config.clone()).map_err(|error| {
                tracing::error!(topic = from, partition = partition.id(), %error, "forking a log failed");
                (ErrorCode::KafkaStorageError, error.to_string())
            })?;
        }
        Ok(())
    }

    /// Takes back the logs of a topic that did not come to be.
    fn drop_logs(&self, topic: &str) {
        let logs = self.logs.logs();
        for log in logs.iter().filter(|log| &*log.topic_partition().topic == topic) {
            if let Err(error) = self.logs.delete(log.topic_partition(), self.env.now_ms()) {
                tracing::error!(topic, %error, "deleting a log failed");
            }
        }
    }
}
