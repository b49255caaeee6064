//! Produce.

use crate::ask::{fetch, from, produce, produce_acks, topic};
use crate::records::{EPOCH_MS, batch, batch_at, sequenced};
use crate::side::{Side, all_versions, versions};
use crate::transact::initialising;
use bytes::Bytes;
use ottla_model::record_batch::{BatchBuilder, BatchOptions, TimestampType};
use ottla_model::{Compression, Records, Uuid};
use ottla_protocol::produce_request::PartitionProduceData;
use ottla_protocol::*;

pub async fn plain(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    crate::cases::groups::found(side, "g").await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let zero = (String::new(), Uuid::ZERO);
    for version in all_versions::<ProduceRequest>() {
        side.ask("one", version, &produce(&a, 0, Some(batch(&["a", "b"])))).await;
        side.ask("acks 1", version, &produce_acks(&a, 1, Some(batch(&["c"])), 1)).await;
        for acks in [5, -2] {
            side.ask(&format!("acks {acks}"), version, &produce_acks(&a, 0, Some(batch(&["x"])), acks)).await;
        }
        side.ask("unknown topic", version, &produce(&unknown, 0, Some(batch(&["x"])))).await;
        side.ask("no topic", version, &produce(&zero, 0, Some(batch(&["x"])))).await;
        for partition in [2, -1] {
            side.ask(&format!("partition {partition}"), version, &produce(&a, partition, Some(batch(&["x"])))).await;
        }
        if matches!(version, 9 | 13) {
            side.ask("null records", version, &produce(&a, 0, None)).await;
            side.ask("empty records", version, &produce(&a, 0, Some(Bytes::new()))).await;
        }
        side.ask("nothing", version, &ProduceRequest { acks: -1, timeout_ms: 1000, ..Default::default() }).await;
        let mut several = produce(&a, 0, Some(batch(&["d"])));
        let more = |index, records| PartitionProduceData { index, records, ..Default::default() };
        several.topic_data[0].partition_data.push(more(1, Some(Records::from(batch(&["e"])))));
        several.topic_data[0].partition_data.push(more(7, Some(Records::from(batch(&["f"])))));
        several.topic_data.extend(produce(&unknown, 0, Some(batch(&["g"]))).topic_data);
        side.ask("several", version, &several).await;
        let mut transactional = produce(&a, 0, Some(batch(&["t"])));
        transactional.transactional_id = Some("tx".into());
        side.ask("a transactional id but no transactional batch", version, &transactional).await;
    }
    side.ask("all of it", 12, &fetch(&a, vec![from(0, 0), from(1, 0)])).await;
    let internal = ("__consumer_offsets".to_owned(), Uuid::ZERO);
    side.ask("internal topic", 9, &produce(&internal, 0, Some(batch(&["x"])))).await;
}

fn edited(mut bytes: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>), crc: bool) -> Bytes {
    edit(&mut bytes);
    if crc && bytes.len() > 21 {
        let sum = ottla_model::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&sum.to_be_bytes());
    }
    Bytes::from(bytes)
}

fn compressed(compression: Compression) -> Bytes {
    batch_at(BatchOptions { compression, ..Default::default() }, EPOCH_MS, &["some text some text", "some text"])
}

fn keyless() -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let none: &[(Bytes, Option<Bytes>)] = &[];
    builder.append(EPOCH_MS, Some(b"k"), Some(b"keyed"), none).expect("fits");
    builder.append(EPOCH_MS, None, Some(b"a"), none).expect("fits");
    builder.append(EPOCH_MS, None, Some(b"b"), none).expect("fits");
    builder.into_bytes().expect("fits")
}

pub async fn formats(side: &mut Side) {
    let a = topic(side, "a", 1, &[]).await;
    let compact = topic(side, "compact", 1, &[("cleanup.policy", "compact")]).await;
    let small = topic(side, "small", 1, &[("max.message.bytes", "200")]).await;
    let tiny_segments = topic(side, "segments", 1, &[("segment.bytes", "1048576")]).await;
    let gzip = topic(side, "gzip", 1, &[("compression.type", "gzip")]).await;
    let raw = topic(side, "raw", 1, &[("compression.type", "uncompressed")]).await;
    let good = || batch(&["a", "b"]).to_vec();
    let two = || [good(), good()].concat();
    let set = |at: usize, value: u8| move |bytes: &mut Vec<u8>| bytes[at] = value;
    let int =
        |at: usize, value: i32| move |bytes: &mut Vec<u8>| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    let long = "x".repeat(400);
    let tries: Vec<(&str, Bytes)> = vec![
        ("bad crc", edited(good(), set(70, 0xff), false)),
        ("magic 0", edited(good(), set(16, 0), true)),
        ("magic 1", edited(good(), set(16, 1), true)),
        ("magic 3", edited(good(), set(16, 3), true)),
        ("magic -1", edited(good(), set(16, 0xff), true)),
        ("two batches", Bytes::from(two())),
        ("cut", Bytes::from(good()[..50].to_vec())),
        ("cut header", Bytes::from(good()[..10].to_vec())),
        ("cut by one", Bytes::from(good()[..good().len() - 1].to_vec())),
        ("bytes behind", Bytes::from([good(), vec![0, 0, 0]].concat())),
        ("second cut", Bytes::from(two()[..good().len() + 30].to_vec())),
        ("length too small", edited(good(), int(8, 20), true)),
        ("length negative", edited(good(), int(8, -5), true)),
        ("length too large", edited(good(), int(8, 5_000), true)),
        ("count 3", edited(good(), int(57, 3), true)),
        ("count 1", edited(good(), int(57, 1), true)),
        ("count 0", edited(good(), int(57, 0), true)),
        ("count -1", edited(good(), int(57, -1), true)),
        ("last delta 5", edited(good(), int(23, 5), true)),
        ("last delta 0", edited(good(), int(23, 0), true)),
        ("last delta -1", edited(good(), int(23, -1), true)),
        ("base offset 7", edited(good(), set(7, 7), true)),
        ("leader epoch 9", edited(good(), int(12, 9), true)),
        ("control", edited(good(), set(22, 0x20), true)),
        ("transactional", edited(good(), set(22, 0x10), true)),
        ("transactional of a producer", edited(sequenced(4000, 0, 0, &["a"]).to_vec(), set(22, 0x10), true)),
        ("delete horizon", edited(good(), set(22, 0x40), true)),
        ("LogAppendTime", edited(good(), set(22, 0x08), true)),
        ("codec 5", edited(good(), set(22, 5), true)),
        ("codec 7", edited(good(), set(22, 7), true)),
        ("gzip that is none", edited(good(), set(22, 1), true)),
        ("snappy that is none", edited(good(), set(22, 2), true)),
        ("lz4 that is none", edited(good(), set(22, 3), true)),
        ("zstd that is none", edited(good(), set(22, 4), true)),
        ("unused attribute", edited(good(), set(21, 0x80), true)),
        ("gzip", compressed(Compression::Gzip)),
        ("snappy", compressed(Compression::Snappy)),
        ("lz4", compressed(Compression::Lz4)),
        ("zstd", compressed(Compression::Zstd)),
        ("keyless", keyless()),
        ("long", batch(&[&long])),
        ("two with a long one", Bytes::from([good(), batch(&[&long]).to_vec()].concat())),
        ("record length 1", edited(good(), set(61, 2), true)),
        ("record length 63", edited(good(), set(61, 126), true)),
        ("record attributes", edited(good(), set(62, 1), true)),
        ("record delta 3", edited(good(), set(64, 6), true)),
        ("negative key length", edited(good(), set(65, 3), true)),
        (
            "producer id without epoch",
            edited(good(), |bytes| bytes[43..51].copy_from_slice(&5_i64.to_be_bytes()), true),
        ),
        ("zeros", Bytes::from(vec![0; 100])),
    ];
    for version in versions::<ProduceRequest>() {
        for (label, records) in &tries {
            for topic in [&a, &compact, &small, &gzip, &raw] {
                // Ottla unpacks a batch only where it has to know the records; Kafka always does.
                if label.ends_with("that is none") && (topic == &a || topic == &small || topic == &gzip) {
                    continue;
                }
                let label = format!("{label} to {}", topic.0.rsplit('-').next().unwrap_or_default());
                side.ask(&label, version, &produce(topic, 0, Some(records.clone()))).await;
            }
        }
    }
    for version in 3..=7 {
        side.ask("zstd", version, &produce(&a, 0, Some(compressed(Compression::Zstd)))).await;
        side.ask("zstd to gzip", version, &produce(&gzip, 0, Some(compressed(Compression::Zstd)))).await;
    }
    let big = "y".repeat(1_048_600);
    side.ask("above the segment", 9, &produce(&tiny_segments, 0, Some(batch(&[&big])))).await;
    side.ask("above a megabyte", 9, &produce(&a, 0, Some(batch(&[&big])))).await;
    for topic in [&a, &compact, &small, &gzip, &raw] {
        for offset in [0, 20, 40, 60] {
            side.ask("what is there", 12, &fetch(topic, vec![from(0, offset)])).await;
        }
    }
}

pub async fn sequences(side: &mut Side) {
    let a = topic(side, "a", 1, &[]).await;
    let new = initialising(None, 1000, -1, -1);
    for version in versions::<ProduceRequest>() {
        let id = side.quiet(4, &new).await.producer_id;
        let other = side.quiet(4, &new).await.producer_id;
        let third = side.quiet(4, &new).await.producer_id;
        let tries: Vec<(&str, Bytes)> = vec![
            ("first", sequenced(id, 0, 0, &["a", "b"])),
            ("duplicate", sequenced(id, 0, 0, &["a", "b"])),
            ("part of a duplicate", sequenced(id, 0, 0, &["a"])),
            ("next", sequenced(id, 0, 2, &["c"])),
            ("gap", sequenced(id, 0, 5, &["d"])),
            ("back", sequenced(id, 0, 1, &["b"])),
            ("duplicate of the first", sequenced(id, 0, 0, &["a", "b"])),
            ("epoch 1 from 3", sequenced(id, 1, 3, &["e"])),
            ("epoch 1 from 0", sequenced(id, 1, 0, &["e"])),
            ("epoch 0 again", sequenced(id, 0, 3, &["f"])),
            ("epoch 0 duplicate", sequenced(id, 0, 2, &["c"])),
            ("epoch 1 next", sequenced(id, 1, 1, &["g"])),
            ("2", sequenced(id, 1, 2, &["h"])),
            ("3", sequenced(id, 1, 3, &["h"])),
            ("4", sequenced(id, 1, 4, &["h"])),
            ("5", sequenced(id, 1, 5, &["h"])),
            ("6", sequenced(id, 1, 6, &["h"])),
            ("duplicate of 2", sequenced(id, 1, 2, &["h"])),
            ("duplicate of 1", sequenced(id, 1, 1, &["g"])),
            ("unknown producer from 7", sequenced(other, 0, 7, &["i"])),
            ("its next", sequenced(other, 0, 8, &["i"])),
            ("two batches", Bytes::from([sequenced(other, 0, 9, &["j"]), sequenced(other, 0, 10, &["k"])].concat())),
            ("sequence -1", sequenced(other, 0, -1, &["l"])),
            ("sequence -2", sequenced(other, 0, -2, &["l"])),
            ("epoch -1", sequenced(other, -1, 11, &["l"])),
            ("a high epoch", sequenced(third, 5, 0, &["m"])),
            ("a lower epoch", sequenced(third, 4, 1, &["n"])),
            ("largest sequence", sequenced(third, 6, 0, &["o"])),
        ];
        for (label, records) in tries {
            side.ask(label, version, &produce(&a, 0, Some(records))).await;
        }
        let last = side.quiet(4, &new).await.producer_id;
        side.ask("near the end", version, &produce(&a, 0, Some(sequenced(last, 0, i32::MAX - 1, &["p", "q"])))).await;
        side.ask("wraps", version, &produce(&a, 0, Some(sequenced(last, 0, 0, &["r"])))).await;
        let wrapping = side.quiet(4, &new).await.producer_id;
        side.ask("inside", version, &produce(&a, 0, Some(sequenced(wrapping, 0, i32::MAX, &["p", "q"])))).await;
        side.ask("behind", version, &produce(&a, 0, Some(sequenced(wrapping, 0, 1, &["r"])))).await;
    }
    side.ask("all of it", 12, &fetch(&a, vec![from(0, 0)])).await;
}

pub async fn timestamps(side: &mut Side) {
    let create = topic(side, "create", 1, &[]).await;
    let append = topic(side, "append", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let narrow = [("message.timestamp.before.max.ms", "1000000"), ("message.timestamp.after.max.ms", "1000000")];
    let narrow = topic(side, "narrow", 1, &narrow).await;
    let now = side.env.now_ms();
    let by_broker =
        BatchOptions { timestamp_type: TimestampType::LogAppendTime, log_append_time: EPOCH_MS, ..Default::default() };
    for version in versions::<ProduceRequest>() {
        for (label, timestamp) in [
            ("now", now),
            ("old", EPOCH_MS),
            ("an hour and a bit ahead", now + 3_700_000),
            ("half an hour ahead", now + 1_800_000),
            ("twenty minutes back", now - 1_200_000),
            ("ten minutes back", now - 600_000),
            ("ten minutes ahead", now + 600_000),
            ("zero", 0),
            ("none", -1),
            ("below", -100),
        ] {
            for topic in [&create, &append, &narrow] {
                let records = batch_at(BatchOptions::default(), timestamp, &["a", "b"]);
                let answer = side.quiet(version, &produce(topic, 0, Some(records))).await;
                // Append times are the broker's own: only whether there is one can be compared.
                let mut answer = answer;
                for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                    partition.log_append_time_ms = partition.log_append_time_ms.signum();
                }
                side.note(&format!("{label} to {}", topic.0), &answer);
            }
        }
        let marked = batch_at(by_broker.clone(), EPOCH_MS, &["a"]);
        side.ask("marked as LogAppendTime", version, &produce(&create, 0, Some(marked.clone()))).await;
        let packed = BatchOptions { compression: Compression::Lz4, ..Default::default() };
        let packed = batch_at(packed, now + 3_700_000, &["a", "b", "c"]);
        side.ask("compressed, ahead", version, &produce(&create, 0, Some(packed.clone()))).await;
    }
}
