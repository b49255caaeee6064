//! `ottla topic`: create, list, describe, alter, delete. Option names are those of Kafka's own kafka-topics.

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use crate::output;
use clap::Subcommand;
use ottla::client::{
    Admin, AlterOp, ConfigAlteration, ConfigResource, ConfigSource, ErrorCode, NewTopic, TopicDescription,
};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  ottla topic create flights --partitions 6 --config retention.ms=3600000
  ottla topic list
  ottla topic describe flights --json
  ottla topic alter flights --partitions 12 --config cleanup.policy=compact
  ottla topic delete flights --if-exists";

/// Creates, lists, describes, alters and deletes topics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TopicArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    Create(CreateArgs),
    List(ListArgs),
    Describe(DescribeArgs),
    Alter(AlterArgs),
    Delete(DeleteArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  ottla topic create flights
  ottla topic create flights weather --partitions 6 --replication-factor 1
  ottla topic create users --config cleanup.policy=compact --if-not-exists";

/// Creates topics.
#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    #[command(flatten)]
    topics: Topics,
    /// Partitions of each topic; without it the broker's num.partitions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; without it the broker's default.replication.factor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A topic config; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    config: Vec<(String, String)>,
    /// Leave a topic as it is when it exists already.
    #[arg(long)]
    if_not_exists: bool,
    /// Check only, create nothing.
    #[arg(long)]
    validate_only: bool,
}

const LIST_EXAMPLES: &str = "\
Examples:
  ottla topic list
  ottla topic list --exclude-internal --json | jq -r '.[].name'";

/// Lists the topics.
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// Leave out the brokers' own topics, such as __consumer_offsets.
    #[arg(long)]
    exclude_internal: bool,
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  ottla topic describe flights
  ottla topic describe --exclude-internal        all topics";

/// Shows where partitions are, and the configs that were set.
#[derive(Debug, clap::Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
struct DescribeArgs {
    /// Topics; without any, all.
    #[arg(value_name = "TOPIC")]
    names: Vec<String>,
    /// A topic, in Kafka's form; may be repeated.
    #[arg(long = "topic", value_name = "TOPIC")]
    more: Vec<String>,
    /// Leave out the brokers' own topics.
    #[arg(long)]
    exclude_internal: bool,
}

const ALTER_EXAMPLES: &str = "\
Examples:
  ottla topic alter flights --partitions 12
  ottla topic alter flights --config retention.ms=3600000 --delete-config segment.bytes";

/// Adds partitions and changes configs.
#[derive(Debug, clap::Args)]
#[command(after_help = ALTER_EXAMPLES)]
struct AlterArgs {
    #[command(flatten)]
    topics: Topics,
    /// The new number of partitions, above the present one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Set a topic config; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    config: Vec<(String, String)>,
    /// Return a topic config to its default; may be repeated.
    #[arg(long, value_name = "NAME")]
    delete_config: Vec<String>,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  ottla topic delete flights weather
  ottla topic delete flights --if-exists";

/// Deletes topics with their data.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_EXAMPLES)]
struct DeleteArgs {
    #[command(flatten)]
    topics: Topics,
    /// Accept that a topic does not exist.
    #[arg(long)]
    if_exists: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Topics {
    /// Topics.
    #[arg(value_name = "TOPIC")]
    names: Vec<String>,
    /// A topic, in Kafka's form; may be repeated.
    #[arg(long = "topic", value_name = "TOPIC")]
    more: Vec<String>,
}

impl Topics {
    fn all(&self) -> Vec<String> {
        self.names.iter().chain(&self.more).cloned().collect()
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, for example retention.ms=3600000".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: TopicArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let client = args.connect.client().await?;
        let admin = client.admin();
        match &args.command {
            TopicCommand::Create(create) => self::create(&admin, create, args.json).await,
            TopicCommand::List(list) => self::list(&admin, list, args.json).await,
            TopicCommand::Describe(describe) => self::describe(&admin, describe, args.json).await,
            TopicCommand::Alter(alter) => self::alter(&admin, alter, args.json).await,
            TopicCommand::Delete(delete) => self::delete(&admin, delete, args.json).await,
        }
    })
}

async fn create(admin: &Admin, args: &CreateArgs, json: bool) -> Result<(), CliError> {
    let names = args.topics.all();
    let topics: Vec<NewTopic> = names
        .iter()
        .map(|name| NewTopic {
            name: name.clone(),
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            configs: args.config.clone(),
            ..NewTopic::default()
        })
        .collect();
    let results = admin.create_topics(&topics, args.validate_only).await?;
    let accepted = args.if_not_exists.then_some(ErrorCode::TopicAlreadyExists);
    let done = if args.validate_only { "valid" } else { "created" };
    let results = results.into_iter().map(|result| result.map(|_| ())).collect();
    report(&names, results, done, accepted, "existed", json)
}

async fn delete(admin: &Admin, args: &DeleteArgs, json: bool) -> Result<(), CliError> {
    let names = args.topics.all();
    let results = admin.delete_topics(&names).await?;
    let accepted = args.if_exists.then_some(ErrorCode::UnknownTopicOrPartition);
    report(&names, results, "deleted", accepted, "absent", json)
}

/// Prints what became of each topic; the first error that is not accepted is the command's, after the others are told.
fn report(
    names: &[String],
    results: Vec<ottla::client::Result<()>>,
    done: &str,
    accepted: Option<ErrorCode>,
    accepted_as: &str,
    json: bool,
) -> Result<(), CliError> {
    let mut told = Vec::new();
    let mut failure = None;
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(()) => told.push((name, done)),
            Err(error) if accepted.is_some() && error.code() == accepted => told.push((name, accepted_as)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if json {
        let told: Vec<Value> = told.iter().map(|(name, what)| json!({"topic": name, "result": what})).collect();
        output::json(&Value::from(told))?;
    } else {
        for (name, what) in told {
            output::line(&format!("{name} {what}"))?;
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

async fn list(admin: &Admin, args: &ListArgs, json: bool) -> Result<(), CliError> {
    let mut topics = admin.list_topics().await?;
    topics.retain(|topic| !(args.exclude_internal && topic.internal));
    if json {
        let topics: Vec<Value> = topics
            .iter()
            .map(|topic| {
                json!({
                    "name": topic.name,
                    "id": topic.id.to_string(),
                    "partitions": topic.partitions,
                    "replicationFactor": topic.replication_factor,
                    "internal": topic.internal,
                })
            })
            .collect();
        return output::json(&Value::from(topics));
    }
    if topics.is_empty() {
        return output::line("There are no topics; `ottla topic create NAME` makes one.");
    }
    let mut table = output::table(&["topic", "partitions", "replicas", "id"]);
    for topic in &topics {
        table.add_row([
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.replication_factor.to_string(),
            topic.id.to_string(),
        ]);
    }
    output::numbers(&mut table, 1..=2);
    output::print(&table)
}

async fn describe(admin: &Admin, args: &DescribeArgs, json: bool) -> Result<(), CliError> {
    let mut names: Vec<String> = args.names.iter().chain(&args.more).cloned().collect();
    if names.is_empty() {
        let topics = admin.list_topics().await?;
        names = topics.into_iter().filter(|t| !(args.exclude_internal && t.internal)).map(|t| t.name).collect();
    }
    let mut described = Vec::new();
    for topic in admin.describe_topics(&names).await? {
        let topic = topic?;
        let configs = admin.describe_configs(&ConfigResource::Topic(topic.name.clone())).await?;
        let set: Vec<(String, String)> = configs
            .into_iter()
            .filter(|config| config.source == ConfigSource::Topic)
            .map(|config| (config.name, config.value.unwrap_or_default()))
            .collect();
        described.push((topic, set));
    }
    if json {
        let topics: Vec<Value> = described.iter().map(|(topic, configs)| describe_json(topic, configs)).collect();
        return output::json(&Value::from(topics));
    }
    for (index, (topic, configs)) in described.iter().enumerate() {
        if index > 0 {
            output::line("")?;
        }
        describe_table(topic, configs)?;
    }
    Ok(())
}

fn describe_json(topic: &TopicDescription, configs: &[(String, String)]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|partition| {
            json!({
                "partition": partition.partition,
                "leader": partition.leader,
                "leaderEpoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "offline": partition.offline,
            })
        })
        .collect();
    let configs: serde_json::Map<String, Value> =
        configs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "name": topic.name,
        "id": topic.id.to_string(),
        "internal": topic.internal,
        "configs": configs,
        "partitions": partitions,
    })
}

fn describe_table(topic: &TopicDescription, configs: &[(String, String)]) -> Result<(), CliError> {
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    output::line(&format!(
        "{} (id {}): {} partition{}, replication factor {replicas}",
        topic.name,
        topic.id,
        topic.partitions.len(),
        if topic.partitions.len() == 1 { "" } else { "s" },
    ))?;
    for (name, value) in configs {
        output::line(&format!("  {name}={value}"))?;
    }
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let mut table = output::table(&["partition", "leader", "replicas", "isr", "offline"]);
    for partition in &topic.partitions {
        table.add_row([
            partition.partition.to_string(),
            partition.leader.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            ids(&partition.replicas),
            ids(&partition.isr),
            ids(&partition.offline),
        ]);
    }
    output::numbers(&mut table, 0..=1);
    output::print(&table)
}

async fn alter(admin: &Admin, args: &AlterArgs, json: bool) -> Result<(), CliError> {
    if args.partitions.is_none() && args.config.is_empty() && args.delete_config.is_empty() {
        return Err(CliError::Usage(
            "nothing to alter: give --partitions, --config or --delete-config (see ottla topic alter --help)"
                .to_owned(),
        ));
    }
    let set = args.config.iter().map(|(name, value)| ConfigAlteration {
        name: name.clone(),
        op: AlterOp::Set,
        value: Some(value.clone()),
    });
    let delete =
        args.delete_config.iter().map(|name| ConfigAlteration { name: name.clone(), op: AlterOp::Delete, value: None });
    let changes: Vec<ConfigAlteration> = set.chain(delete).collect();
    let names = args.topics.all();
    for name in &names {
        // Configs first: they can be taken back, partitions cannot.
        if !changes.is_empty() {
            admin.alter_configs(&ConfigResource::Topic(name.clone()), &changes).await?;
        }
        if let Some(partitions) = args.partitions {
            admin.create_partitions(name, partitions).await?;
        }
    }
    report(&names, names.iter().map(|_| Ok(())).collect(), "altered", None, "", json)
}
