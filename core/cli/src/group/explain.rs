//! `ottla group explain`: why nothing arrives, in a sentence and a timeline.

use crate::error::CliError;
use crate::output;
use crate::time::clock;
use ottla::client::Admin;
use ottla::client::admin::{ExplainOptions, Explanation, Finding};
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ottla group explain readers
  ottla group explain readers --topic flights --seconds 10
  ottla group explain readers --json | jq -r .sentence

It looks at the group for a few seconds: state, members, committed offsets, ends of the log, open transactions,
access rules. What only the consumer itself knows is concluded from what it does not do, and said so.";

/// Says why nothing arrives in a group.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Only about this topic; may be repeated.
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// How long to look.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
}

pub async fn run(admin: &Admin, args: &ExplainArgs, json: bool) -> Result<(), CliError> {
    let duration = Duration::try_from_secs_f64(args.seconds)
        .map_err(|_| CliError::Usage("--seconds must be a number from 0 up".to_owned()))?;
    let options = ExplainOptions {
        topics: args.topic.iter().cloned().collect(),
        duration,
        // A look a second, and a few at least.
        samples: (args.seconds.min(600.0) as u32 + 1).max(4),
        ..ExplainOptions::default()
    };
    let explanation = admin.explain_group(&args.group, &options).await;
    match json {
        true => output::json(&to_json(&explanation)),
        false => output::write_all(to_text(&explanation).as_bytes()),
    }
}

fn to_json(explanation: &Explanation) -> Value {
    let finding = |finding: &Finding| {
        let partitions = finding.partitions.iter().map(|it| json!({"topic": &*it.topic, "partition": it.partition}));
        json!({
            "cause": finding.cause.name(),
            "certainty": finding.certainty.name(),
            "what": finding.what,
            "evidence": finding.evidence,
            "advice": finding.advice,
            "partitions": partitions.collect::<Vec<_>>(),
        })
    };
    let timeline = explanation.timeline.iter().map(|entry| json!({"atMs": entry.at_ms, "what": entry.what}));
    json!({
        "group": explanation.group_id,
        "sentence": explanation.sentence,
        "findings": explanation.findings.iter().map(finding).collect::<Vec<_>>(),
        "timeline": timeline.collect::<Vec<_>>(),
    })
}

fn to_text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.sentence);
    for (index, finding) in explanation.findings.iter().enumerate() {
        text.push('\n');
        match index {
            0 => text.push_str(&format!("{} ({})\n", finding.cause, finding.certainty.name())),
            _ => text.push_str(&format!("{} ({}): {}\n", finding.cause, finding.certainty.name(), finding.what)),
        }
        for evidence in &finding.evidence {
            text.push_str(&format!("  - {evidence}\n"));
        }
        text.push_str(&format!("  What to do: {}\n", finding.advice));
    }
    text.push_str("\nTimeline (UTC)\n");
    for entry in &explanation.timeline {
        text.push_str(&format!("  {}  {}\n", clock(entry.at_ms), entry.what));
    }
    text
}
