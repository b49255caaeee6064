//! `ottla config`: configs of topics, brokers, their loggers, client metrics and groups. Option names are those of Kafka's
//! own kafka-configs.

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use crate::output;
use clap::{Subcommand, ValueEnum};
use ottla::client::admin::{ConfigResourceType, DescribeConfigsOptions};
use ottla::client::{Admin, AlterOp, ConfigAlteration, ConfigEntry, ConfigResource};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const EXAMPLES: &str = "\
Examples:
  ottla config describe topic flights
  ottla config alter topic flights --add-config retention.ms=3600000
  ottla config describe broker 1 --all --json
  ottla config list";

/// Shows and changes configs of topics, brokers, groups and more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Describe(DescribeArgs),
    Alter(AlterArgs),
    List(ListArgs),
}

/// What has configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A topic.
    #[value(alias = "topics")]
    Topic,
    /// A broker by its id, or without a name the default of all.
    #[value(alias = "brokers")]
    Broker,
    /// The log levels of a broker, by its id.
    #[value(alias = "broker-loggers")]
    BrokerLogger,
    /// A subscription to client metrics.
    ClientMetrics,
    /// A group.
    #[value(alias = "groups")]
    Group,
}

impl Kind {
    fn resource(self) -> ConfigResourceType {
        match self {
            Kind::Topic => ConfigResourceType::Topic,
            Kind::Broker => ConfigResourceType::Broker,
            Kind::BrokerLogger => ConfigResourceType::BrokerLogger,
            Kind::ClientMetrics => ConfigResourceType::ClientMetrics,
            Kind::Group => ConfigResourceType::Group,
        }
    }
}

/// One thing that has configs.
#[derive(Debug, clap::Args)]
struct Target {
    /// What has the configs.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Its name; a broker's is its id, and may be left out for the default of all brokers.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Target {
    fn resource(&self) -> Result<ConfigResource, CliError> {
        let name = match (&self.name, self.kind) {
            (Some(name), _) => name.as_str(),
            (None, Kind::Broker) => "",
            (None, _) => {
                return Err(CliError::Usage("name what has the configs, for example: topic flights".to_owned()));
            }
        };
        ConfigResource::new(self.kind.resource(), name).map_err(|error| CliError::Usage(error.to_string()))
    }
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  ottla config describe topic flights              what was set on the topic
  ottla config describe topic flights --all        all of them, with where each value comes from
  ottla config describe broker 1 --config log.retention.hours --doc
  ottla config describe broker                     the default of all brokers";

/// Shows configs: those that were set, or all.
#[derive(Debug, clap::Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
struct DescribeArgs {
    #[command(flatten)]
    target: Target,
    /// Show those that nobody set, too.
    #[arg(long)]
    all: bool,
    /// Show only this config; may be repeated.
    #[arg(long, value_name = "NAME")]
    config: Vec<String>,
    /// Say what each config does.
    #[arg(long)]
    doc: bool,
}

const ALTER_EXAMPLES: &str = "\
Examples:
  ottla config alter topic flights --add-config retention.ms=3600000 --delete-config segment.bytes
  ottla config alter topic flights --append-config cleanup.policy=compact
  ottla config alter broker-logger 1 --add-config kafka.request.logger=DEBUG
  ottla config alter group readers --add-config consumer.session.timeout.ms=50000 --validate-only";

/// Changes configs.
#[derive(Debug, clap::Args)]
#[command(after_help = ALTER_EXAMPLES)]
struct AlterArgs {
    #[command(flatten)]
    target: Target,
    /// Set a config; may be repeated.
    #[arg(long, alias = "config", value_name = "NAME=VALUE", value_parser = name_and_value)]
    add_config: Vec<(String, String)>,
    /// Return a config to its default; may be repeated.
    #[arg(long, value_name = "NAME")]
    delete_config: Vec<String>,
    /// Add to a list; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    append_config: Vec<(String, String)>,
    /// Take from a list; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    subtract_config: Vec<(String, String)>,
    /// Check only, change nothing.
    #[arg(long)]
    validate_only: bool,
}

const LIST_EXAMPLES: &str = "\
Examples:
  ottla config list
  ottla config list group client-metrics --json";

/// Lists what has configs.
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// Only these kinds; without any, all.
    #[arg(value_name = "KIND")]
    kinds: Vec<Kind>,
}

/// `NAME=VALUE`.
pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, for example retention.ms=3600000".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: ConfigArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let client = args.connect.client().await?;
        let admin = client.admin();
        match &args.command {
            ConfigCommand::Describe(describe) => self::describe(&admin, describe, args.json).await,
            ConfigCommand::Alter(alter) => self::alter(&admin, alter, args.json).await,
            ConfigCommand::List(list) => self::list(&admin, list, args.json).await,
        }
    })
}

async fn describe(admin: &Admin, args: &DescribeArgs, json: bool) -> Result<(), CliError> {
    let resource = args.target.resource()?;
    let options = DescribeConfigsOptions {
        include_synonyms: true,
        include_documentation: args.doc,
        names: Some(args.config.clone()).filter(|names| !names.is_empty()),
    };
    let mut described = admin.describe_configs_of(std::slice::from_ref(&resource), &options).await;
    let mut entries = described.remove(&resource).transpose()?.unwrap_or_default();
    entries.retain(|entry| args.all || !args.config.is_empty() || is_set(entry));
    if json {
        return output::json(&Value::from(entries.iter().map(entry_json).collect::<Vec<_>>()));
    }
    if entries.is_empty() {
        return output::line("Nothing was set here; --all shows the defaults.");
    }
    let mut table = output::table(&["config", "value", "from"]);
    for entry in &entries {
        let from = entry.source.name().to_lowercase().replace('_', " ").replace(" config", "");
        table.add_row([entry.name.clone(), value(entry), from]);
        if let Some(doc) = entry.documentation.as_deref().filter(|_| args.doc) {
            table.add_row(["".to_owned(), doc.to_owned(), String::new()]);
        }
    }
    output::print(&table)
}

/// Whether somebody set it here, or in a file of the broker.
fn is_set(entry: &ConfigEntry) -> bool {
    use ottla::client::ConfigSource;
    !matches!(entry.source, ConfigSource::Default | ConfigSource::StaticBroker | ConfigSource::Unknown)
        || entry.source == ConfigSource::StaticBroker && entry.synonyms.first().is_some_and(|s| s.name == entry.name)
}

fn value(entry: &ConfigEntry) -> String {
    match &entry.value {
        Some(value) => value.clone(),
        None if entry.sensitive => "(hidden)".to_owned(),
        None => "(none)".to_owned(),
    }
}

fn entry_json(entry: &ConfigEntry) -> Value {
    let synonyms = entry
        .synonyms
        .iter()
        .map(|synonym| json!({"name": synonym.name, "value": synonym.value, "source": synonym.source.name()}));
    json!({
        "name": entry.name,
        "value": entry.value,
        "source": entry.source.name(),
        "type": entry.config_type.name(),
        "readOnly": entry.read_only,
        "sensitive": entry.sensitive,
        "documentation": entry.documentation,
        "synonyms": synonyms.collect::<Vec<_>>(),
    })
}

async fn alter(admin: &Admin, args: &AlterArgs, json: bool) -> Result<(), CliError> {
    let resource = args.target.resource()?;
    let with = |op: AlterOp| {
        move |(name, value): &(String, String)| ConfigAlteration { name: name.clone(), op, value: Some(value.clone()) }
    };
    let mut changes: Vec<ConfigAlteration> = args.add_config.iter().map(with(AlterOp::Set)).collect();
    changes.extend(args.append_config.iter().map(with(AlterOp::Append)));
    changes.extend(args.subtract_config.iter().map(with(AlterOp::Subtract)));
    changes.extend(args.delete_config.iter().map(|name| ConfigAlteration::delete(name.as_str())));
    if changes.is_empty() {
        let text = "nothing to alter: give --add-config, --delete-config, --append-config or --subtract-config";
        return Err(CliError::Usage(text.to_owned()));
    }
    let changes = BTreeMap::from([(resource.clone(), changes)]);
    admin.incremental_alter_configs(&changes, args.validate_only).await.remove(&resource).transpose()?;
    let done = if args.validate_only { "valid" } else { "altered" };
    let name = resource.name();
    match json {
        true => output::json(&json!({"kind": resource.kind().name(), "name": name, "result": done})),
        false => output::line(format!("{name} {done}").trim_start()),
    }
}

async fn list(admin: &Admin, args: &ListArgs, json: bool) -> Result<(), CliError> {
    let kinds: BTreeSet<ConfigResourceType> = args.kinds.iter().map(|kind| kind.resource()).collect();
    let listed = admin.list_config_resources(&kinds).await?;
    if json {
        let listed = listed.iter().map(|resource| json!({"kind": resource.kind().name(), "name": resource.name()}));
        return output::json(&Value::from(listed.collect::<Vec<_>>()));
    }
    let mut table = output::table(&["kind", "name"]);
    for resource in &listed {
        table.add_row([resource.kind().name().to_lowercase().replace('_', "-"), resource.name()]);
    }
    output::print(&table)
}
