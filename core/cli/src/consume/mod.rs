//! `ottla consume`: records of a topic to standard output, by assignment or as a member of a group.

mod ends;
mod format;
mod reading;

use crate::connect::{ConnectArgs, block_on};
use crate::error::CliError;
use crate::time::timestamp;
use clap::ValueEnum;
use format::Printer;
use ottla::client::{ConsumerOptions, ConsumerRecord, Scope};
use regex::bytes::Regex;

const EXAMPLES: &str = "\
Examples:
  ottla consume flights                                        what comes from now on
  ottla consume flights --from-beginning --exit-at-end --json
  ottla consume flights --offset -100 --format '%p:%o %k = %v\\n' the last 100 of each partition
  ottla consume flights --from-time 2026-11-24T12:00:00Z --to-time 2026-11-24T13:00:00Z
  ottla consume flights --from-beginning --key-regex '^EDDF' --max-messages 10
  ottla consume flights --group readers                        as a member of a group, committing what was printed

Templates: %t topic, %p partition, %o offset, %T timestamp (ms), %D timestamp (ISO), %k key, %v value, %h headers,
%K and %V sizes of key and value, %% a percent sign, \\n and \\t.

Exit codes: 0 when what was asked for was printed or Ctrl-C came, 1 on errors, 2 for wrong arguments, 3 when --idle-ms
passed before --max-messages came.";

/// Prints records of a topic.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConsumeArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The topic.
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Only these partitions, separated by commas.
    #[arg(long, short, value_name = "N", value_delimiter = ',', conflicts_with = "group")]
    partition: Vec<i32>,
    /// From the first record there is; with --group where the group has no offset.
    #[arg(long, conflicts_with_all = ["offset", "from_time"])]
    from_beginning: bool,
    /// From this offset, or so many before the end where it is negative, or earliest, or latest.
    #[arg(long, short, value_name = "OFFSET", allow_hyphen_values = true, value_parser = start, conflicts_with_all = ["group", "from_time"])]
    offset: Option<Start>,
    /// From the first record of this time or later: 2026-11-24T12:00:00Z or ms since 1970.
    #[arg(long, value_name = "TIME", value_parser = timestamp, conflicts_with = "group")]
    from_time: Option<i64>,
    /// Up to the first record of this time or later, and then exit.
    #[arg(long, value_name = "TIME", value_parser = timestamp, conflicts_with = "group")]
    to_time: Option<i64>,
    /// Exit at the end that the partitions have now.
    #[arg(long, short = 'e', conflicts_with = "group")]
    exit_at_end: bool,
    /// Exit after so many records.
    #[arg(long, short = 'n', value_name = "N")]
    max_messages: Option<u64>,
    /// Exit when no record came for so long, in milliseconds.
    #[arg(long, value_name = "MS")]
    idle_ms: Option<u64>,
    /// Only records with this key.
    #[arg(long, value_name = "KEY", conflicts_with = "key_regex")]
    key: Option<String>,
    /// Only records whose key matches this regular expression somewhere.
    #[arg(long, value_name = "REGEX", value_parser = Regex::new)]
    key_regex: Option<Regex>,
    /// Join this group, and commit what was printed.
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// Leave out records of open and aborted transactions (isolation.level=read_committed).
    #[arg(long)]
    read_committed: bool,
    /// How to print a record: a template, or json.
    #[arg(long, short, value_name = "TEMPLATE", default_value = "%v\\n")]
    format: String,
    /// Print each record as a line of JSON; the same as --format json.
    #[arg(long)]
    json: bool,
    /// How to print bytes.
    #[arg(long, value_enum, default_value_t = Binary::Text)]
    binary: Binary,
    /// Any config of the consumer; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::config::name_and_value)]
    consumer_property: Vec<(String, String)>,
}

/// How bytes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Binary {
    /// As they are; in JSON what is no text as base64.
    Text,
    /// Two hexadecimal digits each.
    Hex,
    /// Base64.
    Base64,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
    BeforeEnd(i64),
}

fn start(text: &str) -> Result<Start, String> {
    match (text, text.parse::<i64>()) {
        ("earliest" | "beginning", _) => Ok(Start::Earliest),
        ("latest" | "end", _) => Ok(Start::Latest),
        (_, Ok(offset)) if offset < 0 => Ok(Start::BeforeEnd(-offset)),
        (_, Ok(offset)) => Ok(Start::At(offset)),
        _ => Err("expected an offset, -N for N before the end, earliest or latest".to_owned()),
    }
}

impl ConsumeArgs {
    fn properties(&self) -> Vec<(String, String)> {
        let mut properties = self.consumer_property.clone();
        let mut add = |name: &str, value: &str| properties.push((name.to_owned(), value.to_owned()));
        if let Some(group) = &self.group {
            add("group.id", group);
        }
        if self.from_beginning {
            add("auto.offset.reset", "earliest");
        }
        if self.read_committed {
            add("isolation.level", "read_committed");
        }
        // What was printed is committed, neither more nor less.
        add("enable.auto.commit", "false");
        properties
    }

    fn printer(&self) -> Printer {
        let json = self.json || self.format == "json";
        Printer::new(if json { None } else { Some(&self.format) }, self.binary)
    }

    fn wants(&self, record: &ConsumerRecord) -> bool {
        match (&self.key, &self.key_regex) {
            (Some(key), _) => record.key.as_deref() == Some(key.as_bytes()),
            (None, Some(regex)) => record.key.as_deref().is_some_and(|key| regex.is_match(key)),
            (None, None) => true,
        }
    }
}

/// Runs the command.
pub fn run(args: ConsumeArgs) -> Result<(), CliError> {
    block_on("warn", async {
        let configs = args.connect.configs(Scope::Consumer, &args.properties())?;
        let options = ConsumerOptions::from_configs(&configs).map_err(|error| CliError::Usage(error.to_string()))?;
        let client = args.connect.client_of(&configs).await?;
        reading::run(&client, options, &args).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!((start("0"), start("-5")), (Ok(Start::At(0)), Ok(Start::BeforeEnd(5))));
        assert!(start("soon").is_err());
    }
}
