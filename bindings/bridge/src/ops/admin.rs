//! An admin client: topics, configs, groups, offsets. Each call has a limit, `timeout_ms`, besides its own arguments; where one
//! of several fails, its part of the answer has `error` and the others are not hidden.

use super::{Answer, Base, Configs, Object, Offset, Partition, Work, later, metrics, now, read, value};
use crate::error::{Error, Wire};
use crate::queue::Queue;
use crate::runtime::Runtime;
use crate::state::state;
use ottla::client::admin::{
    ConfigResourceType, CreatedTopic, DescribeConfigsOptions, GroupListing, ListGroupsOptions, MemberDescription,
    NewPartitions, OffsetSpec,
};
use ottla::client::{
    self, AlterOp, Client, ClientOptions, ConfigAlteration, ConfigEntry, ConfigResource, Env, IsolationLevel, NewTopic,
    Scope, TopicDescription, TopicPartition,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) base: Base,
    client: Client,
}

pub(super) fn open(queue: &Arc<Queue>, runtime: &Arc<Runtime>, arguments: Configs) -> Result<Answer, Error> {
    let configs = super::configs(Scope::Admin, arguments)?;
    let client = Client::new(Env::real(), ClientOptions::from_configs(&configs))?;
    let handle = state()?.insert(|handle| {
        let base = Base::new(handle, queue, runtime);
        Object::Admin(Arc::new(Admin { base, client }))
    })?;
    Ok(Answer::Handle(handle))
}

impl Admin {
    pub(super) fn let_go(&self) {
        let _on = self.base.runtime.handle().enter();
        self.client.close();
    }
}

/// What every call may have.
#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// One of several results: `value`, or `error`.
#[derive(Serialize)]
struct Outcome<K: Serialize, T: Serialize> {
    key: K,
    value: Option<T>,
    error: Option<Wire>,
}

impl<K: Serialize, T: Serialize> Outcome<K, T> {
    fn new(key: K, result: client::Result<T>) -> Outcome<K, T> {
        match result {
            Ok(value) => Outcome { key, value: Some(value), error: None },
            Err(error) => Outcome { key, value: None, error: Some(Error::from(error).wire()) },
        }
    }
}

fn outcomes<K, T, L: Serialize, V: Serialize>(
    all: impl IntoIterator<Item = (K, client::Result<T>)>,
    key: impl Fn(K) -> L,
    result: impl Fn(T) -> V,
) -> Result<Answer, Error> {
    value(&all.into_iter().map(|(of, one)| Outcome::new(key(of), one.map(&result))).collect::<Vec<_>>())
}

/// Nothing but that it went well.
fn unit((): ()) -> bool {
    true
}

#[derive(Deserialize)]
struct CreateTopics {
    topics: Vec<Topic>,
    #[serde(default)]
    validate_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    name: String,
    #[serde(default)]
    partitions: Option<i32>,
    #[serde(default)]
    replication_factor: Option<i16>,
    /// By partition, the preferred leader first.
    #[serde(default)]
    assignments: BTreeMap<i32, Vec<i32>>,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

impl From<Topic> for NewTopic {
    fn from(of: Topic) -> NewTopic {
        let Topic { name, partitions, replication_factor, assignments, configs } = of;
        NewTopic { name, partitions, replication_factor, assignments, configs: configs.into_iter().collect() }
    }
}

#[derive(Serialize)]
struct Created {
    topic_id: String,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    configs: Option<Vec<Entry>>,
}

impl From<CreatedTopic> for Created {
    fn from(of: CreatedTopic) -> Created {
        let CreatedTopic { id, partitions, replication_factor, configs } = of;
        let configs = configs.map(|configs| configs.into_iter().map(Entry::from).collect());
        Created { topic_id: id.to_string(), partitions, replication_factor, configs }
    }
}

#[derive(Serialize)]
struct Entry {
    name: String,
    value: Option<String>,
    source: &'static str,
    is_default: bool,
    read_only: bool,
    sensitive: bool,
    config_type: &'static str,
    documentation: Option<String>,
}

impl From<ConfigEntry> for Entry {
    fn from(of: ConfigEntry) -> Entry {
        Entry {
            is_default: of.is_default(),
            name: of.name,
            value: of.value,
            source: of.source.name(),
            read_only: of.read_only,
            sensitive: of.sensitive,
            config_type: of.config_type.name(),
            documentation: of.documentation,
        }
    }
}

#[derive(Deserialize)]
struct Names {
    names: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    topic_id: String,
    internal: bool,
    partitions: usize,
    replication_factor: usize,
}

#[derive(Serialize)]
struct DescribedTopic {
    name: String,
    topic_id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    offline: Vec<i32>,
}

impl From<TopicDescription> for DescribedTopic {
    fn from(of: TopicDescription) -> DescribedTopic {
        let partition = |of: client::PartitionDescription| DescribedPartition {
            partition: of.partition,
            leader: of.leader,
            leader_epoch: of.leader_epoch,
            replicas: of.replicas,
            isr: of.isr,
            offline: of.offline,
        };
        DescribedTopic {
            name: of.name,
            topic_id: of.id.to_string(),
            internal: of.internal,
            partitions: of.partitions.into_iter().map(partition).collect(),
        }
    }
}

#[derive(Deserialize)]
struct CreatePartitions {
    topic: String,
    count: i32,
    #[serde(default)]
    assignments: Vec<Vec<i32>>,
    #[serde(default)]
    validate_only: bool,
}

#[derive(Serialize)]
struct Node {
    id: i32,
    host: String,
    port: i32,
    rack: Option<String>,
}

#[derive(Serialize)]
struct Cluster {
    cluster_id: String,
    controller_id: i32,
    nodes: Vec<Node>,
}

/// `type` is Kafka's: `TOPIC`, `BROKER`, `BROKER_LOGGER`, `CLIENT_METRICS`, `GROUP`.
#[derive(Deserialize, Serialize)]
struct Resource {
    r#type: String,
    name: String,
}

impl Resource {
    fn parse(&self) -> Result<ConfigResource, Error> {
        let kinds = [
            ConfigResourceType::Topic,
            ConfigResourceType::Broker,
            ConfigResourceType::BrokerLogger,
            ConfigResourceType::ClientMetrics,
            ConfigResourceType::Group,
        ];
        let kind = kinds.into_iter().find(|kind| kind.name() == self.r#type);
        let names = kinds.map(ConfigResourceType::name).join(", ");
        let kind =
            kind.ok_or_else(|| Error::invalid(format!("resource type {:?}: expected one of {names}", self.r#type)))?;
        Ok(ConfigResource::new(kind, &self.name)?)
    }

    fn of(of: ConfigResource) -> Resource {
        Resource { r#type: of.kind().name().to_owned(), name: of.name() }
    }
}

#[derive(Deserialize)]
struct DescribeConfigs {
    resources: Vec<Resource>,
    #[serde(default)]
    include_documentation: bool,
    #[serde(default)]
    names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct AlterConfigs {
    resources: Vec<Alter>,
    #[serde(default)]
    validate_only: bool,
}

#[derive(Deserialize)]
struct Alter {
    r#type: String,
    name: String,
    changes: Vec<Change>,
}

/// `op` is Kafka's: `SET`, `DELETE`, `APPEND`, `SUBTRACT`.
#[derive(Deserialize)]
struct Change {
    name: String,
    op: String,
    #[serde(default)]
    value: Option<String>,
}

impl Change {
    fn parse(&self) -> Result<ConfigAlteration, Error> {
        let op = match self.op.as_str() {
            "SET" => AlterOp::Set,
            "DELETE" => AlterOp::Delete,
            "APPEND" => AlterOp::Append,
            "SUBTRACT" => AlterOp::Subtract,
            other => return Err(Error::invalid(format!("op {other:?}: expected SET, DELETE, APPEND or SUBTRACT"))),
        };
        Ok(ConfigAlteration { name: self.name.clone(), op, value: self.value.clone() })
    }
}

/// `spec` is Kafka's: `EARLIEST`, `LATEST`, `MAX_TIMESTAMP`, or `TIMESTAMP` with `timestamp`.
#[derive(Deserialize)]
struct Wanted {
    topic: String,
    partition: i32,
    spec: String,
    #[serde(default)]
    timestamp: Option<i64>,
}

impl Wanted {
    fn parse(&self) -> Result<(TopicPartition, OffsetSpec), Error> {
        let spec = match (self.spec.as_str(), self.timestamp) {
            ("EARLIEST", _) => OffsetSpec::Earliest,
            ("LATEST", _) => OffsetSpec::Latest,
            ("MAX_TIMESTAMP", _) => OffsetSpec::MaxTimestamp,
            ("EARLIEST_LOCAL", _) => OffsetSpec::EarliestLocal,
            ("LATEST_TIERED", _) => OffsetSpec::LatestTiered,
            ("TIMESTAMP", Some(timestamp)) => OffsetSpec::Timestamp(timestamp),
            (other, _) => {
                let expected = "expected EARLIEST, LATEST, MAX_TIMESTAMP, or TIMESTAMP with a timestamp";
                return Err(Error::invalid(format!("spec {other:?}: {expected}")));
            }
        };
        Ok((TopicPartition::new(self.topic.as_str(), self.partition), spec))
    }
}

#[derive(Deserialize)]
struct ListOffsets {
    partitions: Vec<Wanted>,
    #[serde(default)]
    read_committed: bool,
}

/// -1 for what there is not.
#[derive(Serialize)]
struct ListedOffset {
    offset: i64,
    timestamp: i64,
    leader_epoch: Option<i32>,
}

#[derive(Deserialize)]
struct Offsets {
    offsets: Vec<Offset>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<String>,
}

#[derive(Deserialize)]
struct GroupPartitions {
    group: String,
    #[serde(default)]
    partitions: Option<Vec<Partition>>,
}

#[derive(Deserialize)]
struct GroupOffsets {
    group: String,
    offsets: Vec<Offset>,
}

#[derive(Serialize)]
struct ListedGroup {
    group_id: String,
    r#type: Option<&'static str>,
    state: Option<&'static str>,
    protocol: String,
    is_simple: bool,
}

impl From<GroupListing> for ListedGroup {
    fn from(of: GroupListing) -> ListedGroup {
        ListedGroup {
            is_simple: of.is_simple_consumer_group(),
            r#type: of.group_type.map(|kind| kind.name()),
            state: of.state.map(|state| state.name()),
            group_id: of.group_id,
            protocol: of.protocol,
        }
    }
}

#[derive(Serialize)]
struct DescribedGroup {
    group_id: String,
    r#type: &'static str,
    state: &'static str,
    partition_assignor: String,
    is_simple: bool,
    coordinator: Option<i32>,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    member_id: String,
    group_instance_id: Option<String>,
    client_id: String,
    host: String,
    rack_id: Option<String>,
    assignment: Vec<Partition>,
}

impl From<MemberDescription> for Member {
    fn from(of: MemberDescription) -> Member {
        Member {
            assignment: of.assignment.iter().map(Partition::from).collect(),
            member_id: of.member_id,
            group_instance_id: of.group_instance_id,
            client_id: of.client_id,
            host: of.host,
            rack_id: of.rack_id,
        }
    }
}

pub(super) fn call(admin: &Arc<Admin>, method: &str, arguments: &[u8]) -> Result<Option<Work>, Error> {
    let Common { timeout_ms } = read(arguments)?;
    let client = admin.client.clone();
    let mut of = client.admin();
    if let Some(limit) = timeout_ms {
        of = of.timeout(Duration::from_millis(limit));
    }
    Ok(match method {
        "create_topics" => {
            let CreateTopics { topics, validate_only } = read(arguments)?;
            let topics: Vec<NewTopic> = topics.into_iter().map(NewTopic::from).collect();
            later(async move {
                let created = of.create_topics(&topics, validate_only).await?;
                outcomes(topics.iter().zip(created), |topic| topic.name.clone(), Created::from)
            })
        }
        "delete_topics" => {
            let Names { names } = read(arguments)?;
            later(async move {
                let deleted = of.delete_topics(&names).await?;
                outcomes(names.iter().zip(deleted), |name| name.clone(), unit)
            })
        }
        "list_topics" => later(async move {
            let topics = of.list_topics().await?;
            let one = |of: client::TopicListing| Listed {
                name: of.name,
                topic_id: of.id.to_string(),
                internal: of.internal,
                partitions: of.partitions,
                replication_factor: of.replication_factor,
            };
            value(&topics.into_iter().map(one).collect::<Vec<_>>())
        }),
        "describe_topics" => {
            let Names { names } = read(arguments)?;
            later(async move {
                let described = of.describe_topics(&names).await?;
                outcomes(names.iter().zip(described), |name| name.clone(), DescribedTopic::from)
            })
        }
        "create_partitions" => {
            let CreatePartitions { topic, count, assignments, validate_only } = read(arguments)?;
            let topics = BTreeMap::from([(topic, NewPartitions { count, assignments })]);
            later(async move { outcomes(of.create_partitions_of(&topics, validate_only).await, |name| name, unit) })
        }
        "describe_cluster" => later(async move {
            let cluster = of.describe_cluster().await?;
            let node = |of: client::BrokerInfo| Node { id: of.id, host: of.host, port: of.port, rack: of.rack };
            let nodes = cluster.brokers.into_iter().map(node).collect();
            value(&Cluster { cluster_id: cluster.cluster_id, controller_id: cluster.controller_id, nodes })
        }),
        "describe_configs" => {
            let DescribeConfigs { resources, include_documentation, names } = read(arguments)?;
            let resources = resources.iter().map(Resource::parse).collect::<Result<Vec<_>, _>>()?;
            let options = DescribeConfigsOptions { include_documentation, names, ..Default::default() };
            later(async move {
                let described = of.describe_configs_of(&resources, &options).await;
                outcomes(described, Resource::of, |entries| entries.into_iter().map(Entry::from).collect::<Vec<_>>())
            })
        }
        "incremental_alter_configs" => {
            let AlterConfigs { resources, validate_only } = read(arguments)?;
            let mut changes = BTreeMap::new();
            for Alter { r#type, name, changes: of } in resources {
                let of = of.iter().map(Change::parse).collect::<Result<Vec<_>, _>>()?;
                changes.insert(Resource { r#type, name }.parse()?, of);
            }
            later(
                async move { outcomes(of.incremental_alter_configs(&changes, validate_only).await, Resource::of, unit) },
            )
        }
        "list_offsets" => {
            let ListOffsets { partitions, read_committed } = read(arguments)?;
            let specs = partitions.iter().map(Wanted::parse).collect::<Result<BTreeMap<_, _>, _>>()?;
            let isolation =
                if read_committed { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted };
            later(async move {
                let one = |of: client::admin::ListedOffset| ListedOffset {
                    offset: of.offset.unwrap_or(-1),
                    timestamp: of.timestamp.unwrap_or(-1),
                    leader_epoch: of.leader_epoch,
                };
                outcomes(of.list_offsets(&specs, isolation).await, |of| Partition::from(&of), one)
            })
        }
        "delete_records" => {
            let Offsets { offsets } = read(arguments)?;
            let before = offsets.iter().map(|offset| (offset.entry().0, offset.offset)).collect();
            later(async move { outcomes(of.delete_records(&before).await, |of| Partition::from(&of), |low| low) })
        }
        "list_groups" => later(async move {
            let listings = of.list_groups(&ListGroupsOptions::default()).await?;
            // One broker that does not answer hides its groups, which is worth an error.
            if let Some((_, error)) = listings.errors.into_iter().next() {
                return Err(error.into());
            }
            value(&listings.groups.into_iter().map(ListedGroup::from).collect::<Vec<_>>())
        }),
        "describe_consumer_groups" => {
            let Groups { groups } = read(arguments)?;
            later(async move {
                let described = of.describe_consumer_groups(&groups, false).await;
                outcomes(
                    described,
                    |id| id,
                    |of| DescribedGroup {
                        group_id: of.group_id,
                        r#type: of.group_type.name(),
                        state: of.state.name(),
                        partition_assignor: of.partition_assignor,
                        is_simple: of.is_simple_consumer_group,
                        coordinator: of.coordinator,
                        members: of.members.into_iter().map(Member::from).collect(),
                    },
                )
            })
        }
        "delete_consumer_groups" => {
            let Groups { groups } = read(arguments)?;
            later(async move { outcomes(of.delete_consumer_groups(&groups).await, |id| id, unit) })
        }
        "list_consumer_group_offsets" => {
            let GroupPartitions { group, partitions } = read(arguments)?;
            let partitions = partitions.map(|all| all.iter().map(TopicPartition::from).collect::<BTreeSet<_>>());
            later(async move {
                let offsets = of.consumer_group_offsets(&group, partitions).await?;
                let result = |(key, committed): (TopicPartition, client::Result<Option<_>>)| {
                    let found = committed.map(|committed| match committed {
                        Some(committed) => Offset::with(&key, &committed),
                        None => Offset::none(&key),
                    });
                    Outcome::new(Partition::from(&key), found)
                };
                value(&offsets.into_iter().map(result).collect::<Vec<_>>())
            })
        }
        "alter_consumer_group_offsets" => {
            let GroupOffsets { group, offsets } = read(arguments)?;
            let offsets = offsets.iter().map(Offset::entry).collect();
            later(async move {
                let altered = of.alter_consumer_group_offsets(&group, &offsets).await;
                outcomes(altered, |of| Partition::from(&of), unit)
            })
        }
        "delete_consumer_group_offsets" => {
            let GroupPartitions { group, partitions } = read(arguments)?;
            let partitions = partitions.unwrap_or_default().iter().map(TopicPartition::from).collect();
            later(async move {
                let deleted = of.delete_consumer_group_offsets(&group, &partitions).await;
                outcomes(deleted, |of| Partition::from(&of), unit)
            })
        }
        "metrics" => Some(now(metrics(&of.metrics())?)),
        "close" => later(async move {
            client.shutdown().await;
            Ok(Answer::Done)
        }),
        _ => None,
    })
}
