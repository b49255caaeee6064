//! `ottla group reset-offsets`: where a group goes on. Shows what it would do; `--execute` does it.

use super::partitions_of;
use super::plan::{bounded, duration, from_csv, to_csv};
use crate::connect::read;
use crate::error::CliError;
use crate::output;
use crate::time::timestamp;
use ottla::client::admin::{GroupState, ListedOffset, OffsetSpec};
use ottla::client::{Admin, Env, ErrorCode, IsolationLevel, OffsetAndMetadata, TopicPartition};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ottla group reset-offsets readers --topic flights --to-earliest            what would happen
  ottla group reset-offsets readers --topic flights --to-earliest --execute  do it
  ottla group reset-offsets readers --topic flights:0,1 --shift-by -100 --execute
  ottla group reset-offsets readers --all-topics --to-datetime 2026-11-24T12:00:00Z --execute
  ottla group reset-offsets readers --all-topics --by-duration PT1H --export > plan.csv
  ottla group reset-offsets readers --from-file plan.csv --execute

The group must have no members: stop the consumers first.";

/// Sets where a group goes on; without --execute it only shows it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub struct ResetArgs {
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// A topic, or some of its partitions as TOPIC:0,1; may be repeated.
    #[arg(long, value_name = "TOPIC[:PARTITIONS]", conflicts_with = "all_topics")]
    topic: Vec<String>,
    /// All partitions that the group has an offset of.
    #[arg(long)]
    all_topics: bool,
    /// To the first record there is.
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Behind the last record.
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To where the group is now; with --export to save it.
    #[arg(long, group = "to")]
    to_current: bool,
    /// To this offset.
    #[arg(long, group = "to", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// On by so many records, or back where it is negative.
    #[arg(long, group = "to", value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record that is at most this old: P7D, PT1H30M.
    #[arg(long, group = "to", value_name = "DURATION", value_parser = duration)]
    by_duration: Option<Duration>,
    /// To the first record of this time or later: 2026-11-24T12:00:00Z, with an offset from UTC, or ms since 1970.
    #[arg(long, group = "to", value_name = "TIME", value_parser = timestamp)]
    to_datetime: Option<i64>,
    /// To the offsets in a CSV file: topic,partition,offset.
    #[arg(long, group = "to", value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Do it.
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Only show it, which is the default.
    #[arg(long)]
    dry_run: bool,
    /// Print the new offsets as CSV, for --from-file.
    #[arg(long)]
    export: bool,
}

pub async fn run(admin: &Admin, args: &ResetArgs, json: bool) -> Result<(), CliError> {
    let current = current(admin, args).await?;
    let plan = plan(admin, args, &current).await?;
    if args.execute {
        execute(admin, args, &plan).await?;
    }
    if args.export {
        return output::write_all(to_csv(&plan).as_bytes());
    }
    if json {
        let rows = plan.iter().map(|(partition, offset)| {
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "current": current.get(partition),
                "new": offset,
                "executed": args.execute,
            })
        });
        return output::json(&Value::from(rows.collect::<Vec<_>>()));
    }
    let mut table = output::table(&["topic", "partition", "current", "new"]);
    for (partition, offset) in &plan {
        let current = current.get(partition).map_or("-".to_owned(), |offset| offset.to_string());
        table.add_row([partition.topic.to_string(), partition.partition.to_string(), current, offset.to_string()]);
    }
    output::numbers(&mut table, 1..=3);
    output::print(&table)?;
    if !args.execute {
        output::complain("nothing was changed; --execute does it");
    }
    Ok(())
}

/// The group's offsets now.
async fn current(admin: &Admin, args: &ResetArgs) -> Result<BTreeMap<TopicPartition, i64>, CliError> {
    let offsets = admin.consumer_group_offsets(&args.group, None).await?;
    Ok(offsets.into_iter().filter_map(|(partition, offset)| Some((partition, offset.ok()??.offset))).collect())
}

async fn plan(
    admin: &Admin,
    args: &ResetArgs,
    current: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, i64>, CliError> {
    let from_file = match &args.from_file {
        Some(path) => {
            let offsets = from_csv(&read(path)?, &args.group);
            Some(offsets.map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?)
        }
        None => None,
    };
    let scope: BTreeSet<TopicPartition> = match (&from_file, args.all_topics) {
        (Some(offsets), _) => offsets.keys().cloned().collect(),
        (None, true) => current.keys().cloned().collect(),
        (None, false) if args.topic.is_empty() => {
            return Err(CliError::Usage("say for which topics: --topic TOPIC or --all-topics".to_owned()));
        }
        (None, false) => partitions_of(admin, &args.topic).await?,
    };
    if scope.is_empty() {
        let text = format!("group {} has no offsets; name its topics with --topic", args.group);
        return Err(CliError::Failed(text));
    }
    let ask = async |spec: OffsetSpec| -> Result<BTreeMap<TopicPartition, ListedOffset>, CliError> {
        let specs = scope.iter().map(|partition| (partition.clone(), spec)).collect();
        let listed = admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        Ok(listed.into_iter().map(|(key, found)| Ok((key, found?))).collect::<Result<_, ottla::client::Error>>()?)
    };
    let earliest = ask(OffsetSpec::Earliest).await?;
    let latest = ask(OffsetSpec::Latest).await?;
    let time = match (args.to_datetime, args.by_duration) {
        (Some(ms), _) => Some(ms),
        (None, Some(ago)) => Some(Env::real().now_ms() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
        (None, None) => None,
    };
    let timed = match time {
        Some(ms) => ask(OffsetSpec::Timestamp(ms)).await?,
        None => BTreeMap::new(),
    };
    let mut plan = BTreeMap::new();
    for partition in &scope {
        let of = |listed: &BTreeMap<TopicPartition, ListedOffset>| listed.get(partition).and_then(|found| found.offset);
        let (first, end) = (of(&earliest).unwrap_or(0), of(&latest).unwrap_or(0));
        let wanted = if args.to_earliest {
            first
        } else if args.to_latest {
            end
        } else if time.is_some() {
            // Nothing is as late: what comes from now on.
            of(&timed).unwrap_or(end)
        } else if let Some(offsets) = &from_file {
            offsets.get(partition).copied().unwrap_or(end)
        } else if let Some(offset) = args.to_offset {
            offset
        } else {
            let now = current.get(partition).copied();
            let missing = || {
                let text = format!("group {} has no offset for {partition} to go on from", args.group);
                CliError::Failed(text)
            };
            match args.shift_by {
                Some(by) => now.ok_or_else(missing)?.saturating_add(by),
                None => now.unwrap_or(end),
            }
        };
        let new = bounded(wanted, first, end);
        if new != wanted {
            output::complain(&format!("{partition} has offsets {first} to {end}: {wanted} becomes {new}"));
        }
        plan.insert(partition.clone(), new);
    }
    Ok(plan)
}

async fn execute(admin: &Admin, args: &ResetArgs, plan: &BTreeMap<TopicPartition, i64>) -> Result<(), CliError> {
    let id = args.group.clone();
    // A group that there is not is made by this.
    if let Some(Ok(group)) = admin.describe_consumer_groups(std::slice::from_ref(&id), false).await.remove(&id)
        && !matches!(group.state, GroupState::Empty | GroupState::Dead)
    {
        let text = format!(
            "group {id} has {} members ({}); stop them first: their next commit would undo this",
            group.members.len(),
            group.state
        );
        return Err(CliError::Failed(text));
    }
    let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> =
        plan.iter().map(|(partition, offset)| (partition.clone(), OffsetAndMetadata::from(*offset))).collect();
    let mut failures = Vec::new();
    for (partition, result) in admin.alter_consumer_group_offsets(&id, &offsets).await {
        if let Err(error) = result {
            failures.push((partition, error));
        }
    }
    let Some((_, first)) = failures.first() else { return Ok(()) };
    let code = first.code();
    for (partition, error) in &failures[1..] {
        output::complain(&format!("{partition}: {error}"));
    }
    match code {
        Some(ErrorCode::UnknownMemberId | ErrorCode::RebalanceInProgress) => {
            Err(CliError::Failed(format!("group {id} has got members meanwhile; stop them first")))
        }
        _ => Err(failures.remove(0).1.into()),
    }
}
