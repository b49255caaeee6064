//! `ottla group`: list, describe, members, reset-offsets, delete, delete-offsets, explain. Option names are those of
//! Kafka's own kafka-consumer-groups.

mod describe;
mod explain;
mod plan;
mod reset;

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use crate::output;
use clap::Subcommand;
use ottla::client::admin::{GroupState, GroupType, ListGroupsOptions};
use ottla::client::{Admin, TopicPartition};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EXAMPLES: &str = "\
Examples:
  ottla group list
  ottla group describe readers
  ottla group explain readers
  ottla group reset-offsets readers --topic flights --to-earliest --execute
  ottla group delete readers";

/// Shows groups, their members and offsets, and changes them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct GroupArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    List(ListArgs),
    Describe(describe::DescribeArgs),
    Members(describe::MembersArgs),
    ResetOffsets(reset::ResetArgs),
    Delete(DeleteArgs),
    DeleteOffsets(DeleteOffsetsArgs),
    Explain(explain::ExplainArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  ottla group list
  ottla group list --state Stable,Empty --type consumer,classic
  ottla group list --json | jq -r '.[].group'";

/// Lists the groups of all brokers.
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// Only groups in these states (Stable, Empty, PreparingRebalance …), separated by commas.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    state: Vec<GroupState>,
    /// Only groups of these types (classic, consumer, share, streams), separated by commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = kind)]
    kind: Vec<GroupType>,
    /// Only groups whose members call their protocol so (consumer, connect …), separated by commas.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    protocol: Vec<String>,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  ottla group delete readers
  ottla group delete old-1 old-2 --if-exists";

/// Deletes groups with their offsets. They must have no members.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_EXAMPLES)]
struct DeleteArgs {
    /// Groups.
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    /// Accept that a group does not exist.
    #[arg(long)]
    if_exists: bool,
}

const DELETE_OFFSETS_EXAMPLES: &str = "\
Examples:
  ottla group delete-offsets readers --topic flights
  ottla group delete-offsets readers --topic flights:0,1";

/// Deletes a group's offsets for topics that its members do not read.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_OFFSETS_EXAMPLES)]
struct DeleteOffsetsArgs {
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// A topic, or some of its partitions as TOPIC:0,1; may be repeated.
    #[arg(long, value_name = "TOPIC[:PARTITIONS]", required = true)]
    topic: Vec<String>,
}

fn state(text: &str) -> Result<GroupState, String> {
    match GroupState::from_name(text) {
        GroupState::Unknown => Err("expected a state such as Stable, Empty, Dead, PreparingRebalance".to_owned()),
        state => Ok(state),
    }
}

fn kind(text: &str) -> Result<GroupType, String> {
    match GroupType::from_name(text) {
        GroupType::Unknown => Err("expected classic, consumer, share or streams".to_owned()),
        kind => Ok(kind),
    }
}

/// Runs the command.
pub fn run(args: GroupArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let client = args.connect.client().await?;
        let admin = client.admin();
        match &args.command {
            GroupCommand::List(list) => self::list(&admin, list, args.json).await,
            GroupCommand::Describe(describe) => describe::describe(&admin, describe, args.json).await,
            GroupCommand::Members(members) => describe::members(&admin, members, args.json).await,
            GroupCommand::ResetOffsets(reset) => reset::run(&admin, reset, args.json).await,
            GroupCommand::Delete(delete) => self::delete(&admin, delete, args.json).await,
            GroupCommand::DeleteOffsets(delete) => delete_offsets(&admin, delete, args.json).await,
            GroupCommand::Explain(explain) => explain::run(&admin, explain, args.json).await,
        }
    })
}

async fn list(admin: &Admin, args: &ListArgs, json: bool) -> Result<(), CliError> {
    let options = ListGroupsOptions {
        states: args.state.iter().copied().collect(),
        types: args.kind.iter().copied().collect(),
        protocols: args.protocol.iter().cloned().collect(),
    };
    let listed = admin.list_groups(&options).await?;
    for (broker, error) in &listed.errors {
        output::complain(&format!("broker {broker} does not tell its groups: {error}"));
    }
    if json {
        let groups = listed.groups.iter().map(|group| {
            json!({
                "group": group.group_id,
                "type": group.group_type.map(GroupType::name),
                "protocol": group.protocol,
                "state": group.state.map(GroupState::name),
            })
        });
        output::json(&Value::from(groups.collect::<Vec<_>>()))?;
    } else if listed.groups.is_empty() {
        output::line("There are no such groups.")?;
    } else {
        let mut table = output::table(&["group", "type", "protocol", "state"]);
        for group in &listed.groups {
            table.add_row([
                group.group_id.clone(),
                group.group_type.map_or("", GroupType::name).to_owned(),
                if group.protocol.is_empty() { "(offsets only)".to_owned() } else { group.protocol.clone() },
                group.state.map_or("", GroupState::name).to_owned(),
            ]);
        }
        output::print(&table)?;
    }
    match listed.errors.into_values().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

async fn delete(admin: &Admin, args: &DeleteArgs, json: bool) -> Result<(), CliError> {
    use ottla::client::ErrorCode;
    let mut told = Vec::new();
    let mut failure = None;
    for (group, result) in admin.delete_consumer_groups(&args.groups).await {
        match result {
            Ok(()) => told.push((group, "deleted")),
            Err(error) if args.if_exists && error.code() == Some(ErrorCode::GroupIdNotFound) => {
                told.push((group, "absent"));
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if json {
        let told = told.iter().map(|(group, what)| json!({"group": group, "result": what}));
        output::json(&Value::from(told.collect::<Vec<_>>()))?;
    } else {
        for (group, what) in told {
            output::line(&format!("{group} {what}"))?;
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

async fn delete_offsets(admin: &Admin, args: &DeleteOffsetsArgs, json: bool) -> Result<(), CliError> {
    let partitions = partitions_of(admin, &args.topic).await?;
    let mut told = Vec::new();
    let mut failure = None;
    for (partition, result) in admin.delete_consumer_group_offsets(&args.group, &partitions).await {
        match result {
            Ok(()) => told.push(partition),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if json {
        let told = told.iter().map(|it| json!({"topic": &*it.topic, "partition": it.partition, "result": "deleted"}));
        output::json(&Value::from(told.collect::<Vec<_>>()))?;
    } else {
        for partition in told {
            output::line(&format!("{partition} deleted"))?;
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// The partitions that `TOPIC` or `TOPIC:0,1` stand for.
async fn partitions_of(admin: &Admin, specs: &[String]) -> Result<BTreeSet<TopicPartition>, CliError> {
    let mut partitions = BTreeSet::new();
    for spec in specs {
        match plan::topic_spec(spec).map_err(CliError::Usage)? {
            (topic, Some(indexes)) => {
                partitions.extend(indexes.into_iter().map(|index| TopicPartition::new(topic, index)));
            }
            (topic, None) => {
                let described = admin.describe_topics(&[topic.to_owned()]).await?.remove(0)?;
                let indexes = described.partitions.iter().map(|partition| partition.partition);
                partitions.extend(indexes.map(|index| TopicPartition::new(topic, index)));
            }
        }
    }
    Ok(partitions)
}
