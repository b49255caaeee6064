//! The admin client's commands.

use super::pairs;
use crate::protocol::admin::{
    Cluster, ConfigChange, ConfigValue, GroupDescription, GroupListing, Member, NewTopic, OffsetSpec, Resource,
    TopicDescription,
};
use crate::protocol::{AdminCommand, Configs, Each, Failure, FailureKind, Partition, PartitionOffset, Reply};
use ottla::client::admin::{self, ListGroupsOptions, MemberToRemove, PerKey};
use ottla::client::{
    Admin, AlterOp, Client, ClientOptions, ConfigAlteration, ConfigEntry, ConfigResource, Configs as Parsed, Error,
    IsolationLevel, OffsetAndMetadata, Scope, TopicPartition,
};
use ottla::env::Env;
use std::collections::BTreeSet;

pub(super) fn open(env: &Env, configs: &Configs) -> Result<(Client, Admin), Failure> {
    let (parsed, _) = Parsed::parse(Scope::Admin, pairs(configs)).map_err(Error::from)?;
    let client = Client::new(env.clone(), ClientOptions::from_configs(&parsed))?;
    let admin = client.admin();
    Ok((client, admin))
}

pub(super) async fn carry_out(admin: &Admin, command: AdminCommand) -> Result<Reply, Failure> {
    match command {
        AdminCommand::CreateTopics { topics, validate_only } => {
            let topics: Vec<_> = topics.into_iter().map(new_topic).collect();
            Ok(results(admin.create_topics(&topics, validate_only).await?))
        }
        AdminCommand::DeleteTopics { topics } => Ok(results(admin.delete_topics(&topics).await?)),
        AdminCommand::ListTopics => {
            let mut names: Vec<_> = admin.list_topics().await?.into_iter().map(|topic| topic.name).collect();
            names.sort();
            Ok(Reply::Names(names))
        }
        AdminCommand::DescribeTopics { topics } => {
            let described = admin.describe_topics(&topics).await?.into_iter();
            Ok(Reply::Topics(described.map(|topic| each(topic, description)).collect()))
        }
        AdminCommand::CreatePartitions { topic, count } => {
            admin.create_partitions(&topic, count).await?;
            Ok(Reply::Done {})
        }
        AdminCommand::DescribeConfigs { resource } => {
            let entries = admin.describe_configs(&config_resource(resource)).await?.into_iter();
            let value = |entry: ConfigEntry| {
                let default = entry.is_default();
                (entry.name, ConfigValue { value: entry.value, default })
            };
            Ok(Reply::Configs(entries.map(value).collect()))
        }
        AdminCommand::AlterConfigs { resource, changes } => {
            let changes: Vec<_> = changes.into_iter().map(alteration).collect::<Result<_, Failure>>()?;
            admin.alter_configs(&config_resource(resource), &changes).await?;
            Ok(Reply::Done {})
        }
        AdminCommand::DescribeCluster => {
            let cluster = admin.describe_cluster().await?;
            let brokers = cluster.brokers.iter().map(|broker| broker.id).collect();
            Ok(Reply::Cluster(Cluster { id: cluster.cluster_id, controller: cluster.controller_id, brokers }))
        }
        AdminCommand::DeleteRecords { before } => {
            let wanted = before.iter().map(|it| (at(it), it.offset.unwrap_or(-1))).collect();
            let found = admin.delete_records(&wanted).await;
            Ok(Reply::EachOffset(in_order(before.iter().map(at), found, |partition, offset| {
                PartitionOffset::new(&partition.topic, partition.partition, offset)
            })))
        }
        AdminCommand::ListOffsets { wanted } => {
            let keys: Vec<_> =
                wanted.iter().map(|(it, _)| TopicPartition::new(it.topic.as_str(), it.partition)).collect();
            let specs = keys.iter().cloned().zip(wanted.into_iter().map(|(_, spec)| offset_spec(spec))).collect();
            let found = admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
            Ok(Reply::EachOffset(in_order(keys.into_iter(), found, |partition, found| PartitionOffset {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                offset: found.offset,
                metadata: None,
            })))
        }
        other => groups(admin, other).await,
    }
}

/// The commands about groups.
async fn groups(admin: &Admin, command: AdminCommand) -> Result<Reply, Failure> {
    match command {
        AdminCommand::ListGroups => {
            let listings = admin.list_groups(&ListGroupsOptions::default()).await?;
            if let Some(error) = listings.errors.into_values().next() {
                return Err(error.into());
            }
            let listing = |group: admin::GroupListing| GroupListing {
                group: group.group_id,
                protocol: group.protocol,
                state: group.state.map(|state| state.name().to_owned()).unwrap_or_default(),
            };
            Ok(Reply::Groups(listings.groups.into_iter().map(listing).collect()))
        }
        AdminCommand::DescribeGroups { groups } => {
            let found = admin.describe_consumer_groups(&groups, false).await;
            Ok(Reply::GroupDescriptions(in_order(groups.into_iter(), found, |_, group| group_description(group))))
        }
        AdminCommand::ListGroupOffsets { group } => {
            let mut offsets = Vec::new();
            for (partition, offset) in admin.consumer_group_offsets(&group, None).await? {
                let offset = offset?;
                offsets.push(PartitionOffset {
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    offset: offset.as_ref().map(|it| it.offset),
                    metadata: offset.map(|it| it.metadata).filter(|it| !it.is_empty()),
                });
            }
            Ok(Reply::Offsets(offsets))
        }
        AdminCommand::AlterGroupOffsets { group, offsets } => {
            let wanted = offsets
                .iter()
                .map(|it| {
                    let mut offset = OffsetAndMetadata::from(it.offset.unwrap_or(0));
                    offset.metadata = it.metadata.clone().unwrap_or_default();
                    (at(it), offset)
                })
                .collect();
            let found = admin.alter_consumer_group_offsets(&group, &wanted).await;
            Ok(Reply::Results(in_order(offsets.iter().map(at), found, |_, ()| ())))
        }
        AdminCommand::DeleteGroupOffsets { group, partitions } => {
            let keys: Vec<_> =
                partitions.iter().map(|it| TopicPartition::new(it.topic.as_str(), it.partition)).collect();
            let wanted: BTreeSet<_> = keys.iter().cloned().collect();
            let found = admin.delete_consumer_group_offsets(&group, &wanted).await;
            Ok(Reply::Results(in_order(keys.into_iter(), found, |_, ()| ())))
        }
        AdminCommand::DeleteGroups { groups } => {
            let found = admin.delete_consumer_groups(&groups).await;
            Ok(Reply::Results(in_order(groups.into_iter(), found, |_, ()| ())))
        }
        AdminCommand::RemoveMembers { group, instances } => {
            let removed = match instances.is_empty() {
                true => admin.remove_all_members_from_consumer_group(&group, None).await?,
                false => {
                    let members = instances.into_iter().map(MemberToRemove::Instance).collect();
                    admin.remove_members_from_consumer_group(&group, &members, None).await?
                }
            };
            removed.into_values().collect::<Result<Vec<()>, Error>>()?;
            Ok(Reply::Done {})
        }
        other => Err(Failure::unsupported(&format!("{other:?}"))),
    }
}

fn at(offset: &PartitionOffset) -> TopicPartition {
    TopicPartition::new(offset.topic.as_str(), offset.partition)
}

/// One result per key, in the order asked.
fn in_order<K: Ord + Clone, V, T>(
    keys: impl Iterator<Item = K>,
    mut found: PerKey<K, V>,
    tell: impl Fn(K, V) -> T,
) -> Vec<Each<T>> {
    let missing = || Failure::new(FailureKind::Internal, "the client's results lack one that was asked for");
    let one = |key: K| match found.remove(&key) {
        Some(Ok(value)) => Each::Ok(tell(key, value)),
        Some(Err(error)) => Each::Error(error.into()),
        None => Each::Error(missing()),
    };
    keys.map(one).collect()
}

fn each<T, U>(result: Result<T, Error>, tell: impl Fn(T) -> U) -> Each<U> {
    Each::from(result.map(tell).map_err(Failure::from))
}

/// What is told of each is whether it was done.
fn results<T>(results: Vec<Result<T, Error>>) -> Reply {
    Reply::Results(results.into_iter().map(|result| each(result, |_| ())).collect())
}

fn new_topic(topic: NewTopic) -> ottla::client::NewTopic {
    ottla::client::NewTopic {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs.into_iter().collect(),
        ..Default::default()
    }
}

fn config_resource(resource: Resource) -> ConfigResource {
    match resource {
        Resource::Topic(name) => ConfigResource::Topic(name),
        Resource::Broker(id) => ConfigResource::Broker(id),
        Resource::Group(id) => ConfigResource::Group(id),
    }
}

fn alteration(change: ConfigChange) -> Result<ConfigAlteration, Failure> {
    let op = match change.op.as_str() {
        "set" => AlterOp::Set,
        "delete" => AlterOp::Delete,
        "append" => AlterOp::Append,
        "subtract" => AlterOp::Subtract,
        other => return Err(Failure::unsupported(&format!("to {other} a config"))),
    };
    Ok(ConfigAlteration { name: change.name, op, value: change.value })
}

fn offset_spec(spec: OffsetSpec) -> admin::OffsetSpec {
    match spec {
        OffsetSpec::Earliest => admin::OffsetSpec::Earliest,
        OffsetSpec::Latest => admin::OffsetSpec::Latest,
        OffsetSpec::MaxTimestamp => admin::OffsetSpec::MaxTimestamp,
        OffsetSpec::Timestamp(time) => admin::OffsetSpec::Timestamp(time),
    }
}

fn description(topic: ottla::client::TopicDescription) -> TopicDescription {
    TopicDescription {
        name: topic.name,
        id: topic.id.to_string(),
        internal: topic.internal,
        partitions: topic.partitions.into_iter().map(|partition| (partition.leader, partition.replicas)).collect(),
    }
}

fn group_description(group: admin::ConsumerGroupDescription) -> GroupDescription {
    let mut members: Vec<Member> = group
        .members
        .into_iter()
        .map(|member| Member {
            member: member.member_id,
            instance: member.group_instance_id,
            client: member.client_id,
            assignment: member.assignment.iter().map(|it| Partition::new(&it.topic, it.partition)).collect(),
        })
        .collect();
    members.sort_by(|a, b| a.member.cmp(&b.member));
    let state = group.state.name().to_owned();
    GroupDescription { group: group.group_id, state, assignor: group.partition_assignor, members }
}
