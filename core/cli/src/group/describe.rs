//! `ottla group describe` and `members`: where a group is, who is in it, and how far behind.

use crate::error::CliError;
use crate::output;
use ottla::client::admin::{ConsumerGroupDescription, GroupState, ListGroupsOptions, MemberDescription, OffsetSpec};
use ottla::client::{Admin, IsolationLevel, TopicPartition};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const EXAMPLES: &str = "\
Examples:
  ottla group describe readers                     offsets and lag of each partition
  ottla group describe readers --state             the group as a whole
  ottla group describe --all-groups --json | jq '.[] | {group, lag}'";

/// Shows where groups are and how far behind.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DescribeArgs {
    /// Groups.
    #[arg(value_name = "GROUP", required_unless_present = "all_groups")]
    groups: Vec<String>,
    /// All groups of consumers.
    #[arg(long)]
    all_groups: bool,
    /// Only the group as a whole, without its partitions.
    #[arg(long)]
    state: bool,
    /// Only the members, as ottla group members.
    #[arg(long)]
    members: bool,
}

const MEMBERS_EXAMPLES: &str = "\
Examples:
  ottla group members readers
  ottla group members readers --verbose            with the partitions of each";

/// Shows who is in groups.
#[derive(Debug, clap::Args)]
#[command(after_help = MEMBERS_EXAMPLES)]
pub struct MembersArgs {
    /// Groups.
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    /// Show the partitions of each member.
    #[arg(long)]
    verbose: bool,
}

/// Where a group is in a partition.
struct Row {
    partition: TopicPartition,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<MemberDescription>,
}

impl Row {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

pub async fn describe(admin: &Admin, args: &DescribeArgs, json: bool) -> Result<(), CliError> {
    let groups = match args.all_groups {
        true => {
            let listed = admin.list_groups(&ListGroupsOptions::for_consumer_groups()).await?;
            listed.groups.into_iter().map(|group| group.group_id).collect()
        }
        false => args.groups.clone(),
    };
    if args.members {
        return members(admin, &MembersArgs { groups, verbose: false }, json).await;
    }
    let mut shown = Vec::new();
    let mut failure = None;
    let mut described = admin.describe_consumer_groups(&groups, false).await;
    for (index, id) in groups.iter().enumerate() {
        let group = match described.remove(id) {
            Some(Ok(group)) => group,
            Some(Err(error)) => {
                failure = failure.or(Some(error));
                continue;
            }
            None => continue,
        };
        let rows = rows(admin, &group).await?;
        if json {
            shown.push(group_json(&group, &rows));
            continue;
        }
        if index > 0 {
            output::line("")?;
        }
        output::line(&headline(&group, &rows))?;
        if !args.state && !rows.is_empty() {
            table(&rows)?;
        }
    }
    if json {
        output::json(&Value::from(shown))?;
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn headline(group: &ConsumerGroupDescription, rows: &[Row]) -> String {
    let lag: i64 = rows.iter().filter_map(Row::lag).sum();
    let assignor = match group.partition_assignor.is_empty() {
        true => String::new(),
        false => format!(", assignor {}", group.partition_assignor),
    };
    let coordinator = group.coordinator.map_or(String::new(), |id| format!(", coordinator {id}"));
    format!(
        "{} ({}): {}, {} member{}{assignor}{coordinator}, lag {}",
        group.group_id,
        group.group_type.name().to_lowercase(),
        group.state,
        group.members.len(),
        if group.members.len() == 1 { "" } else { "s" },
        output::thousands(lag as u64),
    )
}

/// All partitions that the group has committed or reads.
async fn rows(admin: &Admin, group: &ConsumerGroupDescription) -> Result<Vec<Row>, CliError> {
    let mut rows: BTreeMap<TopicPartition, Row> = BTreeMap::new();
    let row = |partition: &TopicPartition, committed| Row {
        partition: partition.clone(),
        committed,
        end: None,
        member: None,
    };
    for (partition, offset) in admin.consumer_group_offsets(&group.group_id, None).await? {
        let committed = offset.ok().flatten().map(|offset| offset.offset);
        rows.insert(partition.clone(), row(&partition, committed));
    }
    for member in &group.members {
        for partition in &member.assignment {
            let row = rows.entry(partition.clone()).or_insert_with(|| row(partition, None));
            row.member = Some(member.clone());
        }
    }
    let latest = rows.keys().map(|partition| (partition.clone(), OffsetSpec::Latest)).collect();
    for (partition, listed) in admin.list_offsets(&latest, IsolationLevel::ReadUncommitted).await {
        if let (Some(row), Ok(listed)) = (rows.get_mut(&partition), listed) {
            row.end = listed.offset;
        }
    }
    Ok(rows.into_values().collect())
}

fn table(rows: &[Row]) -> Result<(), CliError> {
    let mut table = output::table(&["topic", "partition", "committed", "end", "lag", "member", "host", "client"]);
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for row in rows {
        let member = row.member.as_ref();
        table.add_row([
            row.partition.topic.to_string(),
            row.partition.partition.to_string(),
            number(row.committed),
            number(row.end),
            number(row.lag()),
            member.map_or("-".to_owned(), |member| member.member_id.clone()),
            member.map_or("-".to_owned(), |member| member.host.clone()),
            member.map_or("-".to_owned(), |member| member.client_id.clone()),
        ]);
    }
    output::numbers(&mut table, 1..=4);
    output::print(&table)
}

fn group_json(group: &ConsumerGroupDescription, rows: &[Row]) -> Value {
    let partitions = rows.iter().map(|row| {
        let member = row.member.as_ref();
        json!({
            "topic": &*row.partition.topic,
            "partition": row.partition.partition,
            "committed": row.committed,
            "end": row.end,
            "lag": row.lag(),
            "member": member.map(|member| &member.member_id),
            "host": member.map(|member| &member.host),
            "client": member.map(|member| &member.client_id),
        })
    });
    json!({
        "group": group.group_id,
        "type": group.group_type.name(),
        "state": group.state.name(),
        "assignor": group.partition_assignor,
        "coordinator": group.coordinator,
        "members": group.members.iter().map(member_json).collect::<Vec<_>>(),
        "lag": rows.iter().filter_map(Row::lag).sum::<i64>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn member_json(member: &MemberDescription) -> Value {
    let partitions = |partitions: &BTreeSet<TopicPartition>| {
        Value::from(
            partitions.iter().map(|it| json!({"topic": &*it.topic, "partition": it.partition})).collect::<Vec<_>>(),
        )
    };
    json!({
        "member": member.member_id,
        "instance": member.group_instance_id,
        "client": member.client_id,
        "host": member.host,
        "epoch": member.member_epoch,
        "assignment": partitions(&member.assignment),
        "target": member.target_assignment.as_ref().map(partitions),
        "topics": member.subscribed_topics,
        "regex": member.subscribed_topic_regex,
    })
}

pub async fn members(admin: &Admin, args: &MembersArgs, json: bool) -> Result<(), CliError> {
    let mut shown = Vec::new();
    let mut failure = None;
    for (id, described) in admin.describe_consumer_groups(&args.groups, false).await {
        let group = match described {
            Ok(group) => group,
            Err(error) => {
                failure = failure.or(Some(error));
                continue;
            }
        };
        if json {
            let members = group.members.iter().map(member_json).collect::<Vec<_>>();
            shown.push(json!({"group": id, "state": group.state.name(), "members": members}));
            continue;
        }
        if group.members.is_empty() {
            let why = if group.state == GroupState::Dead { "does not exist" } else { "has no members" };
            output::line(&format!("{id} {why}"))?;
            continue;
        }
        output::line(&headline(&group, &[]).replace(", lag 0", ""))?;
        let mut table = output::table(&["member", "instance", "client", "host", "epoch", "partitions"]);
        for member in &group.members {
            table.add_row([
                member.member_id.clone(),
                member.group_instance_id.clone().unwrap_or_else(|| "-".to_owned()),
                member.client_id.clone(),
                member.host.clone(),
                member.member_epoch.map_or("-".to_owned(), |epoch| epoch.to_string()),
                match args.verbose {
                    true => by_topic(&member.assignment),
                    false => member.assignment.len().to_string(),
                },
            ]);
        }
        output::print(&table)?;
    }
    if json {
        output::json(&Value::from(shown))?;
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// `flights(0,1), weather(3)`.
fn by_topic(partitions: &BTreeSet<TopicPartition>) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    let topics = topics.iter().map(|(topic, indexes)| format!("{topic}({})", indexes.join(",")));
    topics.collect::<Vec<_>>().join(", ")
}
