//! What the scenarios about groups share.

use crate::check;
use crate::context::{Consumer, Context, Outcome};
use crate::protocol::Partition;
use crate::protocol::consumer::Incoming;
use crate::protocol::producer::Outgoing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Short enough that a lost member is noticed soon, long enough for a busy machine.
pub(super) const QUICK: [(&str, &str); 2] = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];

/// A topic with so many values in each of its partitions.
pub(super) async fn filled(cx: &Context, name: &str, partitions: i32, each: i32) -> Outcome<String> {
    let topic = cx.topic(name, partitions).await?;
    append(cx, &topic, partitions, 0..each).await?;
    Ok(topic)
}

/// Writes these values to each of the first partitions.
pub(super) async fn append(cx: &Context, topic: &str, partitions: i32, values: std::ops::Range<i32>) -> Outcome {
    let producer = cx.producer(&[]).await?;
    let all = values.flat_map(|i| (0..partitions).map(move |partition| (i, partition)));
    producer.write(all.map(|(i, partition)| Outgoing::value(topic, i.to_string()).to(partition)).collect()).await?;
    producer.close().await
}

/// Polls all members in turn until `settled` says that their assignments are as they should be; what came meanwhile.
pub(super) async fn settle(
    cx: &Context,
    members: &[&Consumer],
    what: &str,
    settled: impl Fn(&[Vec<Partition>]) -> bool,
) -> Outcome<Vec<Incoming>> {
    let end = cx.env().monotonic() + Duration::from_secs(30);
    let mut records = Vec::new();
    loop {
        let mut assignments = Vec::new();
        for member in members {
            records.extend(member.poll(100).await?.records);
        }
        for member in members {
            assignments.push(member.assignment().await?);
        }
        if settled(&assignments) {
            return Ok(records);
        }
        check!(cx.env().monotonic() < end, "{what} did not come about: {assignments:?}");
    }
}

/// Whether the assignments are disjoint, have `total` partitions together, and differ by at most one.
pub(super) fn fair(assignments: &[Vec<Partition>], total: usize) -> bool {
    let all: BTreeSet<&Partition> = assignments.iter().flatten().collect();
    let sizes = assignments.iter().map(Vec::len);
    let (least, most) = (sizes.clone().min().unwrap_or(0), sizes.clone().max().unwrap_or(0));
    all.len() == total && sizes.sum::<usize>() == total && most - least <= 1
}

/// Closes all of them.
pub(super) async fn leave_all(members: &[&Consumer]) -> Outcome {
    for member in members {
        member.close().await?;
    }
    Ok(())
}

/// How often each value of each partition was read.
pub(super) fn count(records: &[Incoming]) -> BTreeMap<(i32, String), usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry((record.partition, record.text())).or_insert(0) += 1;
    }
    counts
}
