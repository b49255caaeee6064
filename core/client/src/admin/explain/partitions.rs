//! Rules about single partitions: each one that matters is in exactly one class, and each class is a finding.

use super::facts::{Facts, Log, OpenTransaction};
use super::rules::{all_of, name, several};
use super::{Cause, Certainty, Finding};
use crate::admin::{GroupState, MemberDescription};
use ottla_model::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

/// What is the case with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The committed offset moved.
    Moving,
    /// Never a record.
    Empty,
    /// All records are deleted.
    Expired,
    /// The committed offset is the end.
    CaughtUp,
    /// The committed offset is before the first record.
    Behind,
    /// The committed offset is after the last record.
    Beyond,
    /// The committed offset is where an open transaction begins.
    Held,
    /// No committed offset.
    Uncommitted,
    /// Lag, a member, and no movement.
    Still,
    /// Lag, members, and nobody has it.
    Nobodys,
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut classes: BTreeMap<Class, BTreeSet<TopicPartition>> = BTreeMap::new();
    for (partition, log) in &facts.last().logs {
        let Ok(log) = log else { continue };
        if let Some(class) = class(facts, partition, *log) {
            classes.entry(class).or_default().insert(partition.clone());
        }
    }
    let others_move = classes.contains_key(&Class::Moving);
    let mut found = Vec::new();
    for (class, partitions) in classes {
        let first = partitions.first().expect("a class has a partition").clone();
        found.push(match class {
            Class::Moving => moving(facts, partitions),
            Class::Empty | Class::Expired | Class::CaughtUp => no_data(facts, class, partitions, &first),
            Class::Behind | Class::Beyond => out_of_range(facts, class, partitions, &first),
            Class::Held => held(facts, partitions, &first),
            Class::Uncommitted => uncommitted(facts, partitions, &first),
            Class::Still => still(facts, partitions, &first, others_move),
            Class::Nobodys => nobodys(facts, partitions, &first),
        });
    }
    found
}

/// Records behind the committed offsets.
pub(super) fn lag(facts: &Facts) -> i64 {
    let last = facts.last();
    let of = |(partition, log): (&TopicPartition, &crate::error::Result<Log>)| {
        let log = log.as_ref().ok()?;
        Some((log.end - facts.commit(last, partition)?.max(log.start)).max(0))
    };
    last.logs.iter().filter_map(of).sum()
}

fn holder<'f>(facts: &'f Facts, partition: &TopicPartition) -> Option<&'f MemberDescription> {
    facts.group()?.members.iter().find(|member| member.assignment.contains(partition))
}

fn class(facts: &Facts, partition: &TopicPartition, log: Log) -> Option<Class> {
    let members = facts.group().is_some_and(|group| !group.members.is_empty());
    let before = facts.samples.iter().find_map(|sample| facts.commit(sample, partition));
    let Some(committed) = facts.commit(facts.last(), partition) else {
        return match log {
            Log { end: 0, .. } => Some(Class::Empty),
            log if log.start == log.end => Some(Class::Expired),
            _ => holder(facts, partition).map(|_| Class::Uncommitted),
        };
    };
    if before.is_some_and(|before| before < committed) {
        return Some(Class::Moving);
    }
    if committed < log.start {
        return Some(if log.start == log.end { Class::Expired } else { Class::Behind });
    }
    if committed > log.end {
        return Some(Class::Beyond);
    }
    if log.stable < log.end && committed >= log.stable {
        return Some(Class::Held);
    }
    if committed == log.end {
        return Some(Class::CaughtUp);
    }
    let settled = facts.group().is_some_and(|group| group.state == GroupState::Stable);
    match holder(facts, partition) {
        Some(_) if settled => Some(Class::Still),
        None if settled && members => Some(Class::Nobodys),
        // Without members, or while they rebalance, that is the reason.
        _ => None,
    }
}

fn moving(facts: &Facts, partitions: BTreeSet<TopicPartition>) -> Finding {
    let first = |partition: &TopicPartition| {
        facts.samples.iter().find_map(|sample| facts.commit(sample, partition)).unwrap_or(0)
    };
    let step = |partition: &TopicPartition| (first(partition), facts.commit(facts.last(), partition).unwrap_or(0));
    let records: i64 = partitions.iter().map(|partition| step(partition).1 - step(partition).0).sum();
    let evidence = partitions.iter().map(|partition| {
        let (from, to) = step(partition);
        format!("{partition}: committed {from} → {to}")
    });
    let left = lag(facts);
    Finding {
        cause: Cause::Arriving,
        certainty: Certainty::Certain,
        what: format!(
            "Records do arrive: group {} committed {records} of them within {}, and {left} are left.",
            facts.group_id,
            facts.span()
        ),
        evidence: evidence.collect(),
        advice: match left {
            0 => "Nothing is wrong here.".to_owned(),
            _ => "If the lag grows all the same, the consumers are slower than the producers: add members up to the number \
                  of partitions, or make processing faster."
                .to_owned(),
        },
        partitions,
    }
}

fn no_data(facts: &Facts, class: Class, partitions: BTreeSet<TopicPartition>, first: &TopicPartition) -> Finding {
    let (what, advice) = match class {
        Class::Empty => (
            format!("There is no data: {} has never had a record.", several(&partitions, first)),
            "Check that the producer writes to this topic and this cluster, and that its sends succeed (flush, callbacks).",
        ),
        Class::Expired => (
            format!(
                "There is no data any more: {} has lost all its records to retention.",
                several(&partitions, first)
            ),
            "Raise retention.ms or retention.bytes if consumers come later than that.",
        ),
        _ => (
            format!(
                "There is no new data: group {} has read all that {} holds.",
                facts.group_id,
                several(&partitions, first)
            ),
            "Check that the producer is running, that it writes to this topic and this cluster, and that its sends succeed.",
        ),
    };
    let evidence = partitions.iter().map(|partition| {
        let log = facts.last().logs.get(partition).and_then(|log| log.as_ref().ok());
        let range = log.map(|log| format!("records {} to {}", log.start, log.end)).unwrap_or_default();
        match facts.commit(facts.last(), partition) {
            Some(committed) => format!("{partition}: {range}, committed {committed}, unchanged for {}", facts.span()),
            None => format!("{partition}: {range}, unchanged for {}", facts.span()),
        }
    });
    Finding {
        cause: Cause::NoData,
        certainty: Certainty::Certain,
        what,
        evidence: evidence.collect(),
        advice: advice.to_owned(),
        partitions,
    }
}

fn out_of_range(facts: &Facts, class: Class, partitions: BTreeSet<TopicPartition>, first: &TopicPartition) -> Finding {
    let (why, advice) = match class {
        Class::Behind => (
            "the records there have been deleted",
            "auto.offset.reset decides: earliest goes on at the first record there is, latest jumps to the end, none fails. \
             Raise retention.ms if consumers need longer than that; ottla group reset-offsets sets another offset.",
        ),
        _ => (
            "the topic has been made anew, or lost its end in an unclean election",
            "auto.offset.reset decides: with latest the consumer waits at the end, earliest begins anew, none fails; ottla \
             group reset-offsets --to-earliest makes the consumer begin anew.",
        ),
    };
    let evidence = partitions.iter().map(|partition| {
        let log = facts.last().logs.get(partition).and_then(|log| log.as_ref().ok());
        let committed = facts.commit(facts.last(), partition).unwrap_or(-1);
        let (start, end) = log.map_or((-1, -1), |log| (log.start, log.end));
        format!("{partition}: committed {committed}, records {start} to {end}")
    });
    Finding {
        cause: Cause::OffsetOutOfRange,
        certainty: Certainty::Certain,
        what: format!(
            "The committed offset of {} does not exist: {why}, and what happens then is up to auto.offset.reset.",
            several(&partitions, first)
        ),
        evidence: evidence.collect(),
        advice: advice.to_owned(),
        partitions,
    }
}

fn held(facts: &Facts, partitions: BTreeSet<TopicPartition>, first: &TopicPartition) -> Finding {
    let now = facts.last().at_ms;
    let mut evidence = Vec::new();
    let mut abandoned = false;
    for partition in &partitions {
        if let Some(Ok(log)) = facts.last().logs.get(partition) {
            evidence.push(format!(
                "{partition}: last stable offset {}, high watermark {}: {} records wait",
                log.stable,
                log.end,
                log.end - log.stable
            ));
        }
        for transaction in facts.open.get(partition).into_iter().flatten() {
            abandoned |= transaction.known == Some(false);
            evidence.push(format!("{partition}: {}", tell(transaction, now)));
        }
    }
    let advice = if abandoned {
        "No coordinator knows this transaction any more, so nobody will end it: abort it (abort_transaction with the \
         producer's id and epoch, or Apache Kafka's kafka-transactions.sh abort)."
    } else {
        "The producer has to commit or abort; if it is gone, its coordinator aborts after transaction.timeout.ms. Waiting no \
         longer: force_terminate_transaction. Consumers with isolation.level=read_uncommitted are not held up."
    };
    Finding {
        cause: Cause::OpenTransaction,
        certainty: Certainty::Likely,
        what: format!(
            "{} is held up by an open transaction: consumers with isolation.level=read_committed get nothing beyond its \
             beginning until it ends.",
            all_of(&partitions, first)
        ),
        evidence,
        advice: advice.to_owned(),
        partitions,
    }
}

fn tell(transaction: &OpenTransaction, now: i64) -> String {
    let mut text = format!("producer {} began at offset {}", transaction.producer_id, transaction.start_offset);
    if let Some(id) = &transaction.transactional_id {
        text.push_str(&format!(", transactional.id {id}"));
    }
    if let Some(since) = transaction.since_ms {
        text.push_str(&format!(", open for {} s", (now - since).max(0) / 1000));
    }
    if let Some(timeout) = transaction.timeout_ms {
        text.push_str(&format!(" of at most {} s", timeout / 1000));
    }
    if transaction.known == Some(false) {
        text.push_str(", known to no coordinator");
    }
    text
}

fn uncommitted(facts: &Facts, partitions: BTreeSet<TopicPartition>, first: &TopicPartition) -> Finding {
    let end = |sample: &super::facts::Sample, partition| match sample.logs.get(partition) {
        Some(Ok(log)) => log.end,
        _ => -1,
    };
    let grows = partitions.iter().any(|partition| end(facts.first(), partition) < end(facts.last(), partition));
    let evidence = partitions.iter().map(|partition| {
        let log = facts.last().logs.get(partition).and_then(|log| log.as_ref().ok());
        let (start, end) = log.map_or((-1, -1), |log| (log.start, log.end));
        let who = holder(facts, partition).map(name).unwrap_or_default();
        format!("{partition}: records {start} to {end}, no committed offset, read by {who}")
    });
    let (certainty, rest) = match grows {
        true => (Certainty::Possible, ", although records are being written: it does not commit, or not yet"),
        false => (Certainty::Likely, " and nothing has been written since"),
    };
    Finding {
        cause: Cause::ResetPolicy,
        certainty,
        what: format!(
            "{} has records, but group {} has committed no offset there{rest}; a consumer without one begins where \
             auto.offset.reset says, by default (latest) after the last record.",
            all_of(&partitions, first),
            facts.group_id
        ),
        evidence: evidence.collect(),
        advice:
            "Set auto.offset.reset=earliest for consumers that should get what is there already, or set offsets with \
                 ottla group reset-offsets --to-earliest while the group has no members."
                .to_owned(),
        partitions,
    }
}

fn still(facts: &Facts, partitions: BTreeSet<TopicPartition>, first: &TopicPartition, others_move: bool) -> Finding {
    let mut members: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    for partition in &partitions {
        let (Some(member), Some(Ok(log))) = (holder(facts, partition), facts.last().logs.get(partition)) else {
            continue;
        };
        let committed = facts.commit(facts.last(), partition).unwrap_or(log.start);
        let (lag, list) = members.entry(name(member)).or_default();
        *lag += log.end - committed;
        list.push(format!("{partition} at {committed} of {}", log.end));
    }
    let evidence = members.iter().map(|(member, (lag, list))| {
        format!(
            "{member} is in the group and has {}; {lag} records wait, no commit for {}",
            list.join(", "),
            facts.span()
        )
    });
    let evidence: Vec<String> = evidence.collect();
    let (certainty, what) = match others_move {
        true => (
            Certainty::Likely,
            format!(
                "{} has a reader that stands still while other partitions move: the consumer has probably paused it.",
                all_of(&partitions, first)
            ),
        ),
        false => (
            Certainty::Possible,
            format!(
                "{} has a reader that is in the group, has records to read, and does not move: it is paused, or busy with \
                 what it got, or does not commit.",
                all_of(&partitions, first)
            ),
        ),
    };
    Finding {
        cause: Cause::Paused,
        certainty,
        what,
        evidence,
        advice:
            "Look in the consumer's code for pause without resume, and what it is doing now (a thread dump): a member \
                 that does not call poll within max.poll.interval.ms (5 min) is thrown out. If it processes without \
                 committing, records arrive and only the offsets stand still."
                .to_owned(),
        partitions,
    }
}

fn nobodys(facts: &Facts, partitions: BTreeSet<TopicPartition>, first: &TopicPartition) -> Finding {
    let evidence = partitions.iter().map(|partition| {
        let committed = facts.commit(facts.last(), partition).unwrap_or(-1);
        let end = facts.last().logs.get(partition).and_then(|log| log.as_ref().ok()).map_or(-1, |log| log.end);
        format!("{partition}: committed {committed} of {end}, no member has it")
    });
    Finding {
        cause: Cause::NotAssigned,
        certainty: Certainty::Certain,
        what: format!("{} is read by no member of group {}.", all_of(&partitions, first), facts.group_id),
        evidence: evidence.collect(),
        advice: "The members do not subscribe to this topic any more, or use assign for a part of it; check what they \
                 subscribe to (ottla group describe GROUP --members)."
            .to_owned(),
        partitions,
    }
}
