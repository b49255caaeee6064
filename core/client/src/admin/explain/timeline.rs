//! What happened when: what the cluster remembers from before, and what changed between two looks.

use super::TimelineEntry;
use super::facts::{Facts, Sample};
use super::rules::members;
use ottla_model::TopicPartition;
use std::collections::BTreeMap;

/// Changes of partitions told one by one at most; more are summed up.
const PARTITIONS_MAX: usize = 5;

pub(super) fn entries(facts: &Facts) -> Vec<TimelineEntry> {
    let mut entries = Vec::new();
    let mut add = |at_ms: i64, what: String| entries.push(TimelineEntry { at_ms, what });
    for (partition, ms) in newest(&facts.last_record_ms) {
        add(*ms, format!("the last record of {partition} was written (by its timestamp)"));
    }
    for (partition, transactions) in &facts.open {
        for transaction in transactions {
            if let Some(ms) = transaction.since_ms {
                let id = transaction.transactional_id.as_deref().unwrap_or("?");
                add(ms, format!("transaction of transactional.id {id} began; it holds {partition}"));
            }
        }
    }
    add(facts.first().at_ms, summary(facts, facts.first()));
    for pair in facts.samples.windows(2) {
        let changes = changes(facts, &pair[0], &pair[1]);
        match changes.is_empty() {
            true => add(pair[1].at_ms, "no change".to_owned()),
            false => changes.into_iter().for_each(|change| add(pair[1].at_ms, change)),
        }
    }
    entries.sort_by_key(|entry| entry.at_ms);
    entries
}

/// The partitions that were written to last, a few.
fn newest(last: &BTreeMap<TopicPartition, i64>) -> Vec<(&TopicPartition, &i64)> {
    let mut last: Vec<_> = last.iter().collect();
    last.sort_by_key(|(_, ms)| std::cmp::Reverse(**ms));
    last.truncate(PARTITIONS_MAX);
    last
}

fn summary(facts: &Facts, sample: &Sample) -> String {
    let group = match &sample.group {
        Ok(group) => format!("{} {}, members: {}", group.group_type, group.state, group.members.len()),
        Err(error) => format!("the group cannot be described ({error})"),
    };
    let lag: i64 = sample
        .logs
        .iter()
        .filter_map(|(partition, log)| {
            let log = log.as_ref().ok()?;
            Some((log.end - facts.commit(sample, partition)?).max(0))
        })
        .sum();
    match &sample.commits {
        Ok(commits) => format!("{group}; {} committed offsets, lag {lag}", commits.len()),
        Err(error) => format!("{group}; committed offsets cannot be read ({error})"),
    }
}

fn changes(facts: &Facts, before: &Sample, after: &Sample) -> Vec<String> {
    let mut changes = Vec::new();
    match (&before.group, &after.group) {
        (Ok(old), Ok(new)) => {
            if old.state != new.state {
                changes.push(format!("the group went from {} to {}", old.state, new.state));
            }
            let (was, is) = (members(before), members(after));
            changes.extend(was.difference(&is).map(|id| format!("member {id} left")));
            changes.extend(is.difference(&was).map(|id| format!("member {id} joined")));
            if old.group_epoch != new.group_epoch {
                changes.push(format!("the group's epoch rose to {}", new.group_epoch.unwrap_or(-1)));
            }
        }
        (Ok(_), Err(error)) => changes.push(format!("the group cannot be described any more ({error})")),
        (Err(_), Ok(new)) => changes.push(format!("the group is there: {}", new.state)),
        (Err(_), Err(_)) => {}
    }
    let mut moved = Vec::new();
    for (partition, log) in &after.logs {
        let (Some(Ok(old)), Ok(new)) = (before.logs.get(partition), log) else { continue };
        let (was, is) = (facts.commit(before, partition), facts.commit(after, partition));
        let mut parts = Vec::new();
        if was != is {
            let text = |offset: Option<i64>| offset.map_or("nothing".to_owned(), |offset| offset.to_string());
            parts.push(format!("committed {} → {}", text(was), text(is)));
        }
        if old.end != new.end {
            parts.push(format!("end {} → {}", old.end, new.end));
        }
        if old.stable != new.stable && new.stable != new.end {
            parts.push(format!("stable end {} → {}", old.stable, new.stable));
        }
        if old.start != new.start {
            parts.push(format!("first record {} → {}", old.start, new.start));
        }
        if !parts.is_empty() {
            moved.push(format!("{partition}: {}", parts.join(", ")));
        }
    }
    if moved.len() > PARTITIONS_MAX {
        let rest = moved.len() - PARTITIONS_MAX;
        moved.truncate(PARTITIONS_MAX);
        moved.push(format!("and {rest} more partitions changed"));
    }
    changes.extend(moved);
    changes
}
