//! An admin client of a scenario.

use super::{Context, Outcome, unexpected};
use crate::protocol::admin::{ConfigChange, ConfigValue, GroupDescription, NewTopic, Resource, TopicDescription};
use crate::protocol::{AdminCommand, Each, Failure, Reply};
use std::collections::BTreeMap;

/// An admin client that a driver holds.
#[derive(Debug)]
pub struct Admin {
    context: Context,
    name: String,
}

impl Admin {
    pub(super) fn new(context: Context, name: String) -> Admin {
        Admin { context, name }
    }

    /// Any command.
    pub async fn ask(&self, command: AdminCommand) -> Result<Reply, Failure> {
        self.context.to_admin(&self.name, command).await
    }

    /// The results of a command about several things.
    pub async fn results(&self, command: AdminCommand) -> Outcome<Vec<Each<()>>> {
        match self.ask(command).await? {
            Reply::Results(results) => Ok(results),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Creates a topic, and waits until the brokers know it.
    pub async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Outcome {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), replication_factor: None, configs };
        let created = AdminCommand::CreateTopics { topics: vec![topic], validate_only: false };
        for result in self.results(created).await? {
            if let Each::Error(failure) = result {
                return Err(failure.into());
            }
        }
        self.context
            .eventually(&format!("topic {name}"), || async {
                let described = self.topics(&[name]).await?.pop();
                let led = |topic: &TopicDescription| {
                    topic.partitions.len() == partitions as usize
                        && topic.partitions.iter().all(|(leader, _)| leader.is_some())
                };
                Ok(matches!(described, Some(Each::Ok(topic)) if led(&topic)).then_some(()))
            })
            .await
    }

    /// Descriptions of topics, in the order asked.
    pub async fn topics(&self, names: &[&str]) -> Outcome<Vec<Each<TopicDescription>>> {
        let topics = names.iter().map(|name| (*name).to_owned()).collect();
        match self.ask(AdminCommand::DescribeTopics { topics }).await? {
            Reply::Topics(topics) => Ok(topics),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The names of all topics.
    pub async fn names(&self) -> Outcome<Vec<String>> {
        match self.ask(AdminCommand::ListTopics).await? {
            Reply::Names(names) => Ok(names),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The configs of `resource`.
    pub async fn configs(&self, resource: Resource) -> Outcome<BTreeMap<String, ConfigValue>> {
        match self.ask(AdminCommand::DescribeConfigs { resource }).await? {
            Reply::Configs(configs) => Ok(configs),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Changes one config of a topic.
    pub async fn alter(&self, topic: &str, name: &str, op: &str, value: Option<&str>) -> Result<Reply, Failure> {
        let change = ConfigChange { name: name.to_owned(), op: op.to_owned(), value: value.map(str::to_owned) };
        let resource = Resource::Topic(topic.to_owned());
        self.ask(AdminCommand::AlterConfigs { resource, changes: vec![change] }).await
    }

    /// The description of a group.
    pub async fn group(&self, group: &str) -> Outcome<GroupDescription> {
        match self.ask(AdminCommand::DescribeGroups { groups: vec![group.to_owned()] }).await? {
            Reply::GroupDescriptions(mut groups) => match groups.pop() {
                Some(Each::Ok(group)) => Ok(group),
                Some(Each::Error(failure)) => Err(failure.into()),
                None => Err("no description".into()),
            },
            other => Err(unexpected(&other).into()),
        }
    }

    /// Closes it.
    pub async fn close(&self) -> Outcome {
        self.ask(AdminCommand::Close).await?;
        Ok(())
    }
}
