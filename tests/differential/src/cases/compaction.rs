//! Compaction: the same log cleaned by Apache Kafka and by Ottla, batch by batch the same.
//!
//! When a cleaner runs would decide what it finds. So a topic is written while its policy is delete, with everything in it
//! that a cleaner treats in its own way; then its policy becomes compact, which is one round over all of it; twice.
//! Segments are rolled by the records' times, so both brokers have the same ones.

use super::configs::change;
use crate::ask::{fetch, from, pause, produce, topic};
use crate::side::Side;
use crate::transact::{Producer, adding, end, producer};
use bytes::Bytes;
use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions};
use ottla_model::{Compression, Uuid};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::*;

type Topic = (String, Uuid);

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const MINUTE_MS: i64 = 60_000;
const BACKOFF: &str = "log.cleaner.backoff.ms";
/// So often in a row the log has to look the same, for a cleaning to be over.
const SAME_LOOKS: usize = 15;

/// The producers that write, and the time that is written.
struct Writers {
    ours: Topic,
    at_ms: i64,
    /// The sequence of the one that is idempotent.
    sequence: i32,
    idempotent: (i64, i16),
    transactional: Producer,
    transactional_sequence: i32,
}

/// Records with these keys; a value that is missing is a tombstone, a key that is missing is none.
fn keyed(options: BatchOptions, at_ms: i64, records: &[(Option<&str>, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (at, (key, value)) in (at_ms..).zip(records) {
        let headers = [("header", value.map(str::as_bytes))];
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        builder.append(at, key, value, &headers).expect("a few small records fit");
    }
    builder.into_bytes().expect("a few small records fit")
}

impl Writers {
    async fn write(&mut self, side: &mut Side, options: BatchOptions, records: &[(Option<&str>, Option<&str>)]) {
        self.at_ms += 10;
        let mut request = produce(&self.ours, 0, Some(keyed(options.clone(), self.at_ms, records)));
        if options.transactional {
            request.transactional_id = Some(self.transactional.name.as_str().into());
        }
        side.ask("writes", 12, &request).await;
    }

    async fn plain(&mut self, side: &mut Side, compression: Compression, records: &[(&str, Option<&str>)]) {
        let records: Vec<_> = records.iter().map(|(key, value)| (Some(*key), *value)).collect();
        self.write(side, BatchOptions { compression, ..Default::default() }, &records).await;
    }

    async fn idempotent(&mut self, side: &mut Side, records: &[(&str, Option<&str>)]) {
        let records: Vec<_> = records.iter().map(|(key, value)| (Some(*key), *value)).collect();
        let (producer_id, producer_epoch) = self.idempotent;
        let options = BatchOptions { producer_id, producer_epoch, base_sequence: self.sequence, ..Default::default() };
        self.sequence += records.len() as i32;
        self.write(side, options, &records).await;
    }

    async fn transaction(&mut self, side: &mut Side, commit: bool, batches: &[&[(&str, Option<&str>)]]) {
        side.quiet(3, &adding(3, &self.transactional, &[(&self.ours, &[0])], false)).await;
        for records in batches {
            let records: Vec<_> = records.iter().map(|(key, value)| (Some(*key), *value)).collect();
            let options = BatchOptions {
                producer_id: self.transactional.id,
                producer_epoch: self.transactional.epoch,
                base_sequence: self.transactional_sequence,
                transactional: true,
                compression: Compression::Zstd,
                ..Default::default()
            };
            self.transactional_sequence += records.len() as i32;
            self.write(side, options, &records).await;
        }
        end(side, "ends", 3, &mut self.transactional, commit).await;
    }

    /// The next record begins a new segment.
    fn roll(&mut self) {
        self.at_ms += 2 * MINUTE_MS;
    }
}

/// All that is there, byte by byte; empty if it cannot be read now.
async fn bytes_of(side: &mut Side, ours: &Topic) -> Vec<u8> {
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let fetched = side.quiet(13, &fetch(ours, vec![from(0, next)])).await;
        let Some(partition) = fetched.responses.first().and_then(|topic| topic.partitions.first()) else {
            return Vec::new();
        };
        let bytes = partition.records.as_ref().and_then(|records| records.to_bytes().ok()).unwrap_or_default();
        for batch in BatchIter::new(bytes.clone()).flatten() {
            next = batch.header.next_offset();
        }
        all.extend_from_slice(&bytes);
        if bytes.is_empty() || next >= partition.high_watermark {
            return all;
        }
    }
}

/// Lets the cleaner have the topic, and takes it away when it is done.
async fn clean(side: &mut Side, ours: &Topic) {
    let before = bytes_of(side, ours).await;
    side.ask("becomes compact", 1, &change(TOPIC, &ours.0, &[("cleanup.policy", SET, Some("compact"))])).await;
    let (mut last, mut looks) = (before.clone(), 0);
    for _ in 0..1500 {
        pause(side).await;
        let now = bytes_of(side, ours).await;
        looks = if now == last && now != before { looks + 1 } else { 0 };
        last = now;
        if looks == SAME_LOOKS {
            break;
        }
    }
    if looks < SAME_LOOKS {
        // Unlike anything that the other side writes down, so that it is a difference even if neither has cleaned.
        side.note(&format!("never cleaned {}", side.env.random_uuid()), &FetchRequest::default());
    }
    side.ask("is compact no more", 1, &change(TOPIC, &ours.0, &[("cleanup.policy", SET, Some("delete"))])).await;
}

/// What each kind of reader finds, from every offset on.
async fn look(side: &mut Side, when: &str, ours: &Topic, end: i64) {
    for offset in 0..=end {
        side.ask(&format!("{when}: from {offset}"), 12, &fetch(ours, vec![from(0, offset)])).await;
    }
    for offset in [0, end / 2] {
        let request = FetchRequest { isolation_level: 1, ..fetch(ours, vec![from(0, offset)]) };
        side.ask(&format!("{when}: committed, from {offset}"), 12, &request).await;
    }
    for timestamp in [-1, -2, -3] {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topic =
            ListOffsetsTopic { name: ours.0.as_str().into(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        side.ask(&format!("{when}: time {timestamp}"), 2, &request).await;
    }
}

async fn round(side: &mut Side, writers: &mut Writers, number: i32) {
    let value = format!("value {number} ").repeat(4);
    let value = Some(value.as_str());
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        // One record stays, one goes, one is a tombstone, one has a key of its own.
        let own = format!("{codec} {number}");
        let records = [("a", value), ("kept", value), ("b", None), (own.as_str(), value), ("gone", None)];
        writers.plain(side, codec, &records).await;
        writers.plain(side, codec, &[("a", value), ("gone", value), ("c", None)]).await;
    }
    writers.idempotent(side, &[("a", value), ("d", value)]).await;
    writers.roll();
    writers.transaction(side, true, &[&[("a", value), ("t1", value)], &[("t2", value)]]).await;
    writers.transaction(side, false, &[&[("a", value), ("aborted", value)], &[("t2", None)]]).await;
    writers.roll();
    writers.idempotent(side, &[("d", value)]).await;
    writers.transaction(side, true, &[&[("t3", None), ("kept", value)]]).await;
    writers.transaction(side, false, &[&[("t1", value)]]).await;
    writers.write(side, BatchOptions::default(), &[(None, value), (Some("e"), value)]).await;
    writers.write(side, BatchOptions::default(), &[(None, value)]).await;
    writers.roll();
    writers.plain(side, Compression::None, &[("d", value), ("t3", value)]).await;
    // What is cleaned ends with records that go.
    writers.plain(side, Compression::None, &[("last", value)]).await;
    writers.roll();
    // Never cleaned.
    writers.plain(side, Compression::None, &[("last", value), ("a", value)]).await;
}

async fn compacted(side: &mut Side, name: &str, delete_retention_ms: &str) {
    let configs = [
        ("segment.ms", "60000"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("min.cleanable.dirty.ratio", "0.0001"),
        ("delete.retention.ms", delete_retention_ms),
        ("cleanup.policy", "delete"),
    ];
    let ours = topic(side, name, 1, &configs).await;
    let made =
        side.quiet(4, &InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..Default::default() }).await;
    let transactional = producer(side, name).await;
    // Ahead of the brokers' clocks, so that a marker, which has the broker's time, rolls no segment. It is the run's own time,
    // which both sides know: the second that is in its names.
    let run = i64::from_str_radix(side.name("").get(1..9).unwrap_or_default(), 16).unwrap_or_default() * 1000;
    let mut writers = Writers {
        ours: ours.clone(),
        at_ms: run + 60 * MINUTE_MS,
        sequence: 0,
        idempotent: (made.producer_id, made.producer_epoch),
        transactional,
        transactional_sequence: 0,
    };
    for number in 0..3 {
        round(side, &mut writers, number).await;
        let list = ListOffsetsPartition { timestamp: -1, current_leader_epoch: -1, ..Default::default() };
        let list = ListOffsetsTopic { name: ours.0.as_str().into(), partitions: vec![list], ..Default::default() };
        let list = ListOffsetsRequest { replica_id: -1, topics: vec![list], ..Default::default() };
        let end = side.ask("the end", 5, &list).await;
        let end = end.topics.first().and_then(|topic| topic.partitions.first()).map_or(0, |found| found.offset);
        clean(side, &ours).await;
        look(side, &format!("{name} {number}"), &ours, end).await;
    }
    // A repeated batch is still known, and so is where its producer is.
    writers.sequence -= 1;
    writers.idempotent(side, &[("d", Some("again"))]).await;
    writers.sequence += 5;
    writers.idempotent(side, &[("d", Some("a gap"))]).await;
}

pub async fn cleaned(side: &mut Side) {
    side.quiet(1, &change(BROKER, "", &[(BACKOFF, SET, Some("50"))])).await;
    compacted(side, "horizon", "86400000").await;
    compacted(side, "at-once", "0").await;
    side.quiet(1, &change(BROKER, "", &[(BACKOFF, DELETE, None)])).await;
}

/// A compacted topic wants keys.
pub async fn keyless(side: &mut Side) {
    let ours = topic(side, "a", 1, &[("cleanup.policy", "compact")]).await;
    let some = Some("value");
    for records in [
        &[(None, some)][..],
        &[(Some("a"), some), (None, some), (Some("b"), some), (None, None)],
        &[(None, some), (None, some), (None, some), (None, some), (None, some)],
        &[(Some(""), some)],
        &[(Some("a"), None)],
    ] {
        for version in [3, 8, 12] {
            for compression in [Compression::None, Compression::Gzip] {
                let options = BatchOptions { compression, ..Default::default() };
                let batch = keyed(options, crate::records::EPOCH_MS, records);
                side.ask(&format!("{records:?}"), version, &produce(&ours, 0, Some(batch))).await;
            }
        }
    }
}
