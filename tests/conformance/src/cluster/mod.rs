//! An Apache Kafka of three nodes that scenarios may stop, kill and move, for what one broker cannot show: followers that
//! are read from, leaders and coordinators that go elsewhere, logs that get shorter.
//!
//! Node 1 is the controller too; nodes 2 and 3 are brokers alone, so that they can die without an election among
//! controllers. Each is a rack of its own. The JVMs are set for few seconds of processor time and little memory.

mod followers;
mod moves;
mod names;
mod outages;
mod truncation;

use crate::context::{Context, Outcome, Wrong};
use crate::driver::Driver;
use crate::targets::{Addresses, PLAINTEXT, Target};
use ottla::client::admin::{ElectionType, NewTopic, OffsetSpec, PartitionDescription};
use ottla::client::{
    Admin, Client, ClientOptions, Configs, Error, ErrorCode, ErrorKind, IsolationLevel, Scope, TopicPartition,
};
use ottla::env::Env;
use ottla_model::Str;
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;
use ottla_wire::{ClientConnection, ClientError, ConnectOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Their node ids.
pub const NODES: [i32; 3] = [1, 2, 3];
/// How long a node may take to start or to stop, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Partitions of `__consumer_offsets` and of `__transaction_state`: enough for each node to have one.
const INTERNAL_PARTITIONS: i32 = 3;

/// What all nodes are set to.
const CONFIGS: &str = "\
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
offsets.topic.num.partitions=3
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
default.replication.factor=3
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=8000
replica.fetch.wait.max.ms=100
controlled.shutdown.enable=true
num.network.threads=2
num.io.threads=3
log.cleaner.dedupe.buffer.size=2097152
log.segment.bytes=16777216
log.index.size.max.bytes=262144
";

/// The cluster; its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    env: Env,
    jars: String,
    directory: PathBuf,
    controller: u16,
    nodes: Mutex<BTreeMap<i32, Node>>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    /// Where it will be after [`Cluster::move_all`].
    next_port: u16,
    process: Option<Child>,
}

impl Cluster {
    /// Formats three directories under `directory` and starts the nodes from the class path `jars`.
    pub async fn start(env: &Env, jars: &str, directory: &Path) -> Outcome<Cluster> {
        let fs = env.fs();
        fs.remove_dir_all(directory).ok();
        let mut nodes = BTreeMap::new();
        for node in NODES {
            nodes.insert(node, Node { port: free_port()?, next_port: free_port()?, process: None });
        }
        let cluster = Cluster {
            env: env.clone(),
            jars: jars.to_owned(),
            directory: directory.to_owned(),
            controller: free_port()?,
            nodes: Mutex::new(nodes),
        };
        cluster.format()?;
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// One run of Kafka's tool, for the controller, which has what the cluster begins with. The others know by two lines
    /// who they are, and a JVM takes its time.
    fn format(&self) -> Outcome {
        let properties = self.configure(NODES[0])?;
        let mut format = self.java("kafka.tools.StorageTool", "64m");
        format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(properties);
        let formatted = format.output().map_err(|error| format!("cannot run java: {error}"))?;
        if !formatted.status.success() {
            let text = String::from_utf8_lossy(&formatted.stderr).into_owned();
            return Err(Wrong(format!("Apache Kafka's storage cannot be formatted: {text}")));
        }
        let first = self.logs(NODES[0]).join("meta.properties");
        let meta = self.env.fs().read(&first).map_err(|error| format!("cannot read {}: {error}", first.display()))?;
        let meta = String::from_utf8_lossy(&meta).into_owned();
        for node in &NODES[1..] {
            let lines = meta.lines().map(|line| match line.split_once('=') {
                Some(("node.id", _)) => format!("node.id={node}\n"),
                Some(("directory.id", _)) => format!("directory.id={}\n", self.env.random_uuid()),
                _ => format!("{line}\n"),
            });
            self.write(&self.logs(*node).join("meta.properties"), lines.collect::<String>().as_bytes())?;
        }
        Ok(())
    }

    fn logs(&self, node: i32) -> PathBuf {
        self.directory.join(format!("node-{node}")).join("logs")
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Outcome {
        let fs = self.env.fs();
        let wrong = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        fs.create_dir_all(path.parent().unwrap_or(path)).map_err(wrong)?;
        Ok(fs.write_atomic(path, bytes, false).map_err(wrong)?)
    }

    fn java(&self, class: &str, heap: &str) -> Command {
        let mut java = Command::new("java");
        java.args([&format!("-Xmx{heap}"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]);
        java.args(["-cp", &self.jars, class]);
        java
    }

    /// Writes the properties of a node, as its ports are now.
    fn configure(&self, node: i32) -> Outcome<PathBuf> {
        let port = self.port(node);
        let controller = self.controller;
        let (roles, listener) = match node == NODES[0] {
            true => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            false => ("broker", String::new()),
        };
        let text = format!(
            "process.roles={roles}\nnode.id={node}\nbroker.rack=rack-{node}\nlog.dirs={}\n\
             controller.quorum.voters={}@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{listener}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listener}\n{CONFIGS}",
            self.logs(node).display(),
            NODES[0],
        );
        let path = self.directory.join(format!("node-{node}.properties"));
        self.write(&path, text.as_bytes())?;
        Ok(path)
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<i32, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn port(&self, node: i32) -> u16 {
        self.nodes().get(&node).map_or(0, |node| node.port)
    }

    /// `bootstrap.servers`, all nodes.
    pub fn bootstrap(&self) -> String {
        let nodes = self.nodes();
        let addresses: Vec<String> = nodes.values().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// Where the nodes will be after [`Cluster::move_all`].
    pub fn next_bootstrap(&self) -> String {
        let nodes = self.nodes();
        let addresses: Vec<String> = nodes.values().map(|node| format!("127.0.0.1:{}", node.next_port)).collect();
        addresses.join(",")
    }

    fn launch(&self, node: i32) -> Outcome {
        let properties = self.configure(node)?;
        let log = self.directory.join(format!("node-{node}.log"));
        let wrong = |error: std::io::Error| format!("cannot write {}: {error}", log.display());
        let log_file = std::fs::File::options().create(true).append(true).open(&log).map_err(wrong)?;
        let errors = log_file.try_clone().map_err(wrong)?;
        let mut java = self.java("kafka.Kafka", "256m");
        java.arg(properties).stdin(Stdio::null()).stdout(log_file).stderr(errors).current_dir(&self.directory);
        let process = java.spawn().map_err(|error| format!("cannot run java: {error}"))?;
        if let Some(node) = self.nodes().get_mut(&node) {
            node.process = Some(process);
        }
        Ok(())
    }

    /// Starts a node that does not run, and waits until it serves clients.
    pub async fn start_node(&self, node: i32) -> Outcome {
        self.launch(node)?;
        self.serving(node).await
    }

    async fn start_all(&self) -> Outcome {
        NODES.iter().try_for_each(|node| self.launch(*node))?;
        for node in NODES {
            self.serving(node).await?;
        }
        self.until("all nodes are in the cluster", async |admin| {
            let cluster = admin.describe_cluster().await?;
            Ok((cluster.brokers.len() == NODES.len()).then_some(()))
        })
        .await
    }

    /// Starts the nodes that do not run, after a scenario that failed half-way.
    pub async fn repair(&self) -> Outcome {
        for node in NODES {
            let runs = self.nodes().get_mut(&node).and_then(|node| node.process.as_mut()?.try_wait().ok());
            if !matches!(runs, Some(None)) {
                self.start_node(node).await?;
            }
        }
        self.in_sync(&["__consumer_offsets", "__transaction_state"]).await
    }

    async fn serving(&self, node: i32) -> Outcome {
        let address = format!("127.0.0.1:{}", self.port(node));
        let end = self.env.monotonic() + PATIENCE;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            let ended = self.nodes().get_mut(&node).and_then(|node| node.process.as_mut()?.try_wait().ok()?);
            if ended.is_some() || self.env.monotonic() > end {
                let log = self.env.fs().read(&self.directory.join(format!("node-{node}.log"))).unwrap_or_default();
                let text = String::from_utf8_lossy(&log).into_owned();
                let tail = text.len().saturating_sub(2000);
                return Err(Wrong(format!("node {node} does not start: {}", text.get(tail..).unwrap_or(&text))));
            }
            self.env.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// SIGKILL: nothing is said, nothing is flushed.
    pub fn kill(&self, node: i32) {
        if let Some(mut process) = self.nodes().get_mut(&node).and_then(|node| node.process.take()) {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// SIGTERM, and waits for the end: leaders are handed over first.
    pub async fn stop(&self, node: i32) -> Outcome {
        let Some(mut process) = self.nodes().get_mut(&node).and_then(|node| node.process.take()) else { return Ok(()) };
        let sent = Command::new("kill").arg(process.id().to_string()).status();
        sent.map_err(|error| format!("cannot run kill: {error}"))?;
        let end = self.env.monotonic() + PATIENCE;
        while matches!(process.try_wait(), Ok(None)) {
            if self.env.monotonic() > end {
                process.kill().ok();
                process.wait().ok();
                return Err(Wrong(format!("node {node} did not stop within {} s", PATIENCE.as_secs())));
            }
            self.env.sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills all nodes at once and starts them on other ports.
    pub async fn move_all(&self) -> Outcome {
        for node in NODES {
            self.kill(node);
        }
        for node in self.nodes().values_mut() {
            std::mem::swap(&mut node.port, &mut node.next_port);
        }
        self.start_all().await
    }

    /// What a scenario named `name` holds: clients through `driver`, all nodes as its bootstrap servers.
    pub async fn context(&self, driver: &Arc<dyn Driver>, name: &str) -> Outcome<Context> {
        let addresses = Addresses::from([(PLAINTEXT.to_owned(), self.bootstrap())]);
        let target = Target::remote(&self.env, "cluster", addresses, None).await?;
        let running = target.open(&self.env, false).await?;
        Ok(Context::new(&self.env, driver.clone(), running, name.replace('/', "."), &[]))
    }

    /// An admin client of the harness.
    pub fn admin(&self) -> Outcome<Admin> {
        let bootstrap = self.bootstrap();
        let (configs, _) = Configs::parse(Scope::Admin, [("bootstrap.servers", bootstrap.as_str())])
            .map_err(|error| error.to_string())?;
        let client = Client::new(self.env.clone(), ClientOptions::from_configs(&configs))?;
        Ok(client.admin().timeout(Duration::from_secs(20)))
    }

    /// Asks until `look` finds something; what fails on the way is asked again.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn(&Admin) -> Result<Option<T>, Error>) -> Outcome<T> {
        let admin = self.admin()?;
        let end = self.env.monotonic() + PATIENCE;
        loop {
            let found = look(&admin).await;
            match found {
                Ok(Some(found)) => return Ok(found),
                other if self.env.monotonic() > end => {
                    let error = other.err().map(|error| error.to_string()).unwrap_or_default();
                    return Err(Wrong(format!("{what}: not within {} s {error}", PATIENCE.as_secs())));
                }
                _ => self.env.sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Makes a topic whose partitions live on these nodes, the leader first, and waits until all nodes know it.
    pub async fn topic(
        &self,
        cx: &Context,
        name: &str,
        replicas: &[&[i32]],
        configs: &[(&str, &str)],
    ) -> Outcome<String> {
        let name = cx.name(name);
        let assignments = (0..).zip(replicas).map(|(partition, replicas)| (partition, replicas.to_vec())).collect();
        let mut topic = NewTopic { name: name.clone(), assignments, ..NewTopic::default() };
        for (config, value) in configs {
            topic = topic.config(*config, *value);
        }
        self.admin()?.create_topics(&[topic], false).await?.remove(0)?;
        for (partition, replicas) in (0..).zip(replicas) {
            self.led_by(&name, partition, replicas[0]).await?;
        }
        Ok(name)
    }

    /// The state of a partition as the cluster tells it.
    pub async fn partition(&self, topic: &str, partition: i32) -> Outcome<PartitionDescription> {
        self.until(&format!("{topic}-{partition} is there"), async |admin| {
            Ok(Some(describe(admin, topic, partition).await?))
        })
        .await
    }

    /// Waits until `leader` leads a partition.
    pub async fn led_by(&self, topic: &str, partition: i32, leader: i32) -> Outcome {
        self.until(&format!("{topic}-{partition} is led by {leader}"), async |admin| {
            Ok((describe(admin, topic, partition).await?.leader == Some(leader)).then_some(()))
        })
        .await
    }

    /// Waits until all replicas of all partitions of `topics` are in sync; the internal ones need not exist.
    pub async fn in_sync(&self, topics: &[&str]) -> Outcome {
        let names: Vec<String> = topics.iter().map(|name| (*name).to_owned()).collect();
        self.until("all replicas are in sync", async |admin| {
            for (name, topic) in names.iter().zip(admin.describe_topics(&names).await?) {
                let missing = matches!(&topic, Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition));
                if missing && name.starts_with("__") {
                    continue;
                }
                if topic?.partitions.iter().any(|it| it.isr.len() < it.replicas.len()) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until all nodes that run know who leads a partition, and the leader itself serves it.
    async fn known_everywhere(&self, topic: &str, partition: i32, leader: i32) -> Outcome {
        let running: Vec<u16> = self.nodes().values().filter(|it| it.process.is_some()).map(|it| it.port).collect();
        let key = TopicPartition::new(topic, partition);
        self.until(&format!("all nodes know that {leader} leads {key}"), async |admin| {
            for port in &running {
                if told_leader(&self.env, *port, topic, partition).await? != Some(leader) {
                    return Ok(None);
                }
            }
            let wanted = BTreeMap::from([(key.clone(), OffsetSpec::Latest)]);
            let mut ends = admin.list_offsets(&wanted, IsolationLevel::ReadUncommitted).await;
            ends.remove(&key).transpose().map(|end| end.map(drop))
        })
        .await
    }

    /// Gives a partition to another of its replicas, without a move of data.
    pub async fn lead(&self, topic: &str, partition: i32, leader: i32) -> Outcome {
        let key = TopicPartition::new(topic, partition);
        let mut replicas = self.partition(topic, partition).await?.replicas;
        replicas.sort_by_key(|replica| *replica != leader);
        let admin = self.admin()?;
        let moves = BTreeMap::from([(key.clone(), Some(replicas))]);
        let mut moved = admin.alter_partition_reassignments(&moves).await;
        moved.remove(&key).ok_or("no result of the reassignment")??;
        let keys = BTreeSet::from([key.clone()]);
        self.until(&format!("{topic}-{partition} is led by {leader}"), async |admin| {
            // Not needed once it is done.
            let _ = admin.elect_leaders(ElectionType::Preferred, Some(&keys)).await?;
            Ok((describe(admin, topic, partition).await?.leader == Some(leader)).then_some(()))
        })
        .await?;
        self.known_everywhere(topic, partition, leader).await
    }

    /// A group's or a transactional id's name that begins with `name` and is coordinated by `node`, of `topic`.
    pub async fn coordinated_by(&self, topic: &str, node: i32, name: &str) -> Outcome<String> {
        for number in 0..1000 {
            let id = format!("{name}-{number}");
            let hash = id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
            let partition = (hash & i32::MAX) % INTERNAL_PARTITIONS;
            if self.partition(topic, partition).await?.leader == Some(node) {
                return Ok(id);
            }
        }
        Err(Wrong(format!("node {node} leads no partition of {topic}")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in NODES {
            self.kill(node);
        }
    }
}

async fn describe(admin: &Admin, topic: &str, partition: i32) -> Result<PartitionDescription, Error> {
    let described = admin.describe_topics(&[topic.to_owned()]).await?.remove(0)?;
    let missing = || Error::new(ErrorKind::Retriable, "the partition is not there yet");
    described.partitions.into_iter().find(|it| it.partition == partition).ok_or_else(missing)
}

/// Who leads a partition, by the node at `port` itself.
async fn told_leader(env: &Env, port: u16, topic: &str, partition: i32) -> Result<Option<i32>, Error> {
    let limit = Duration::from_secs(5);
    let options = ConnectOptions { client_id: "cluster".into(), connect_timeout: limit, ..ConnectOptions::default() };
    let asked = MetadataRequestTopic { name: Some(Str::from(topic)), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
    let gone = |error: ClientError| Error::new(ErrorKind::Retriable, error.to_string());
    let connection = ClientConnection::connect(env, &format!("127.0.0.1:{port}"), &options).await.map_err(gone)?;
    let answer: Result<MetadataResponse, _> = connection.request(&request, 9, limit).await;
    connection.close();
    let answer = answer.map_err(gone)?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.filter(|it| it.partition_index == partition).map(|it| it.leader_id).next())
}

/// A port that nobody listens on now.
fn free_port() -> Outcome<u16> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(address.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))?)
}

/// A scenario on the cluster.
pub type Play = fn(Arc<Cluster>, Context) -> std::pin::Pin<Box<dyn Future<Output = Outcome>>>;

/// All of them, in the order in which they are played, each alone: `theme/what_it_shows`. Those that move all nodes come
/// last.
pub fn all() -> Vec<(&'static str, Play)> {
    [names::SCENARIOS, followers::SCENARIOS, moves::SCENARIOS, truncation::SCENARIOS, outages::SCENARIOS].concat()
}

/// Makes a file's `SCENARIOS`.
macro_rules! scenarios {
    ($theme:literal: $($name:ident;)+) => {
        /// The scenarios of this file.
        pub(super) const SCENARIOS: &[(&str, crate::cluster::Play)] = &[
            $((concat!($theme, "/", stringify!($name)), |cluster, context| Box::pin($name(cluster, context)))),+
        ];
    };
}
use scenarios;
