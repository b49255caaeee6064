//! The admin client's commands.

use super::pairs;
use crate::protocol::admin::{Cluster, ConfigValue, NewTopic, Resource, TopicDescription};
use crate::protocol::{AdminCommand, Configs, Each, Failure, FailureKind, Reply};
use ottla::client::{
    Admin, AlterOp, Client, ClientOptions, ConfigAlteration, ConfigResource, ConfigSource, Configs as Parsed, Scope,
};
use ottla::env::Env;

pub(super) fn open(env: &Env, configs: &Configs) -> Result<(Client, Admin), Failure> {
    let invalid = |error: ottla::config::ConfigError| Failure::new(FailureKind::Invalid, error.to_string());
    let (parsed, _) = Parsed::parse(Scope::Admin, pairs(configs)).map_err(invalid)?;
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
            let each = |topic: Result<ottla::client::TopicDescription, ottla::client::Error>| {
                Each::from(topic.map(description).map_err(Failure::from))
            };
            Ok(Reply::Topics(described.map(each).collect()))
        }
        AdminCommand::CreatePartitions { topic, count } => {
            admin.create_partitions(&topic, count).await?;
            Ok(Reply::Done {})
        }
        AdminCommand::DescribeConfigs { resource } => {
            let entries = admin.describe_configs(&config_resource(resource)?).await?.into_iter();
            let value = |entry: ottla::client::ConfigEntry| {
                let default = matches!(entry.source, ConfigSource::Default | ConfigSource::StaticBroker);
                (entry.name, ConfigValue { value: entry.value, default })
            };
            Ok(Reply::Configs(entries.map(value).collect()))
        }
        AdminCommand::AlterConfigs { resource, changes } => {
            let changes: Result<Vec<_>, Failure> = changes
                .into_iter()
                .map(|change| {
                    let op = match change.op.as_str() {
                        "set" => AlterOp::Set,
                        "delete" => AlterOp::Delete,
                        "append" => AlterOp::Append,
                        "subtract" => AlterOp::Subtract,
                        other => return Err(Failure::unsupported(&format!("to {other} a config"))),
                    };
                    Ok(ConfigAlteration { name: change.name, op, value: change.value })
                })
                .collect();
            admin.alter_configs(&config_resource(resource)?, &changes?).await?;
            Ok(Reply::Done {})
        }
        AdminCommand::DescribeCluster => {
            let cluster = admin.describe_cluster().await?;
            let brokers = cluster.brokers.iter().map(|broker| broker.id).collect();
            Ok(Reply::Cluster(Cluster { id: cluster.cluster_id, controller: cluster.controller_id, brokers }))
        }
        other => Err(Failure::unsupported(&format!("{other:?}"))),
    }
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

fn config_resource(resource: Resource) -> Result<ConfigResource, Failure> {
    Ok(match resource {
        Resource::Topic(name) => ConfigResource::Topic(name),
        Resource::Broker(id) => ConfigResource::Broker(id),
        Resource::Group(_) => return Err(Failure::unsupported("configs of groups")),
    })
}

fn description(topic: ottla::client::TopicDescription) -> TopicDescription {
    TopicDescription {
        name: topic.name,
        id: topic.id.to_string(),
        internal: topic.internal,
        partitions: topic.partitions.into_iter().map(|partition| (partition.leader, partition.replicas)).collect(),
    }
}

/// What is told of each is whether it was done.
fn results<T>(results: Vec<Result<T, ottla::client::Error>>) -> Reply {
    let each = |result: Result<T, ottla::client::Error>| Each::from(result.map(|_| ()).map_err(Failure::from));
    Reply::Results(results.into_iter().map(each).collect())
}
