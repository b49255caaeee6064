//! What producers write is what consumers read.

use super::scenarios;
use crate::context::{Consumer, Context, Outcome, Wrong, written};
use crate::protocol::Each;
use crate::protocol::admin::{NewTopic, Resource};
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, Blob, FailureKind};
use crate::{check, same};
use std::collections::BTreeSet;

scenarios! { "produce":
    every_codec;
    codecs_take_turns;
    topic_codec_wins;
    keys_choose_partitions;
    records_without_key_spread;
    nulls_headers_and_empty_bytes;
    one_large_record;
    timestamps_are_kept;
    log_append_time;
    @calm acks_zero;
    acks_one_and_all;
    order_with_five_in_flight;
    order_of_many_batches;
    batches_smaller_than_a_record;
    reading_from_inside_a_batch;
    flush_waits_for_all;
    a_buffer_that_fills;
    many_partitions;
    many_producers;
    topic_is_created_by_the_first_record;
    close_delivers_what_was_sent;
    @calm too_large_for_the_client;
    @calm too_large_for_the_topic;
    @calm partition_that_is_not_there;
    @calm topic_with_a_bad_name;
    @calm compacted_topic_wants_keys;
    @calm timestamp_too_far_ahead;
    @calm wrong_configs;
    @calm send_after_close;
}

/// A consumer that reads `topic`'s first `partitions` from the start.
async fn reader(cx: &Context, topic: &str, partitions: i32) -> Outcome<Consumer> {
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest")]).await?;
    consumer.assign(topic, &(0..partitions).collect::<Vec<_>>()).await?;
    Ok(consumer)
}

/// With each codec a hundred records come back whole, in order, and at the offsets that the producer was told.
async fn every_codec(cx: Context) -> Outcome {
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let topic = cx.topic("codecs", codecs.len() as i32).await?;
    for (partition, codec) in codecs.iter().enumerate() {
        let partition = partition as i32;
        let producer = cx.producer(&[("compression.type", codec)]).await?;
        let value = |i: usize| format!("{codec} {i} {}", "compressible ".repeat(i % 20));
        let records = (0..100).map(|i| Outgoing::value(&topic, value(i)).to(partition)).collect();
        let written = producer.write(records).await?;
        for (i, written) in written.iter().enumerate() {
            same!((written.partition, written.offset), (partition, i as i64), "{codec}: where record {i} went");
        }
        producer.close().await?;
        let consumer = cx.consumer(&[("auto.offset.reset", "earliest")]).await?;
        consumer.assign(&topic, &[partition]).await?;
        for (i, record) in consumer.read(100).await?.iter().enumerate() {
            same!(record.text(), value(i), "{codec}: the value of record {i}");
            same!(record.offset, i as i64, "{codec}: the offset of record {i}");
            check!(record.key.is_none() && record.headers.is_empty(), "{codec}: record {i} has more than was sent");
        }
        consumer.close().await?;
    }
    Ok(())
}

/// Batches of different codecs follow each other in one partition.
async fn codecs_take_turns(cx: Context) -> Outcome {
    let topic = cx.topic("turns", 1).await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        for codec in ["zstd", "none", "lz4", "gzip", "snappy"] {
            let producer = cx.producer(&[("compression.type", codec)]).await?;
            let values: Vec<String> = (0..10).map(|i| format!("{round} {codec} {i}")).collect();
            producer.write(values.iter().map(|value| Outgoing::value(&topic, value.as_str())).collect()).await?;
            producer.close().await?;
            expected.extend(values);
        }
    }
    let consumer = reader(&cx, &topic, 1).await?;
    same!(consumer.read_texts(expected.len()).await?, expected, "the values");
    consumer.close().await?;
    Ok(())
}

/// A topic with a codec of its own stores with that one, whatever the producer uses; readers see the same records.
async fn topic_codec_wins(cx: Context) -> Outcome {
    let topic = cx.topic_with("codec", 1, &[("compression.type", "zstd")]).await?;
    let producer = cx.producer(&[("compression.type", "gzip")]).await?;
    let values: Vec<String> = (0..50).map(|i| format!("value {i}")).collect();
    let written = producer.write(values.iter().map(|value| Outgoing::value(&topic, value.as_str())).collect()).await?;
    same!(written.iter().map(|it| it.offset).collect::<Vec<_>>(), (0..50).collect::<Vec<i64>>(), "the offsets");
    let consumer = reader(&cx, &topic, 1).await?;
    same!(consumer.read_texts(50).await?, values, "the values");
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A key's partition is murmur2 of its bytes, so that all clients agree where a key lives.
async fn keys_choose_partitions(cx: Context) -> Outcome {
    let partitions = 7;
    let topic = cx.topic("keys", partitions).await?;
    let producer = cx.producer(&[]).await?;
    let mut keys: Vec<Blob> = (0..200).map(|i| Blob::from(format!("key-{i}"))).collect();
    keys.extend((0u8..40).map(|length| Blob((0..length).map(|i| i.wrapping_mul(37) ^ 0xa5).collect())));
    let records = keys.iter().map(|key| Outgoing::keyed(&topic, key.clone(), "v")).collect();
    for (key, written) in keys.iter().zip(producer.write(records).await?) {
        let expected = (murmur2(&key.0) & 0x7fff_ffff) % partitions;
        same!(written.partition, expected, "the partition of key {key:?}");
    }
    producer.close().await
}

/// Kafka's hash of keys (MurmurHash2, seed 0x9747b28c), written down here a second time.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0u32, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    (hash ^ hash >> 15) as i32
}

/// Records without a key fill a batch of one partition, then of another (KIP-794): over many batches all have some.
async fn records_without_key_spread(cx: Context) -> Outcome {
    let topic = cx.topic("spread", 4).await?;
    let producer = cx.producer(&[("batch.size", "512"), ("linger.ms", "1")]).await?;
    let records = (0..800).map(|i| Outgoing::value(&topic, format!("{i:0>100}"))).collect();
    let used: BTreeSet<i32> = producer.write(records).await?.iter().map(|it| it.partition).collect();
    same!(used, (0..4).collect(), "the partitions that 800 records went to");
    producer.close().await
}

/// Null and empty keys, values and headers are told apart; headers keep their order and may repeat.
async fn nulls_headers_and_empty_bytes(cx: Context) -> Outcome {
    let topic = cx.topic("nulls", 1).await?;
    let some = |bytes: &[u8]| Some(Blob(bytes.to_vec()));
    let mut all: Vec<Outgoing> = Vec::new();
    for key in [None, some(b""), some(b"key"), some(&[0, 255, 128, 7])] {
        for value in [None, some(b""), some(b"value"), some("größer ✓".as_bytes())] {
            all.push(Outgoing { topic: topic.clone(), key: key.clone(), value, ..Outgoing::default() });
        }
    }
    all.push(
        Outgoing::value(&topic, "headers")
            .header("a", Some("1"))
            .header("b", None)
            .header("a", Some(""))
            .header("", Some("empty name"))
            .header("ключ", Some("значение")),
    );
    let many = (0..100).fold(Outgoing::value(&topic, "many headers"), |it, i| it.header(&format!("h{i}"), Some("x")));
    all.push(many);
    let producer = cx.producer(&[("compression.type", "lz4")]).await?;
    producer.write(all.clone()).await?;
    let consumer = reader(&cx, &topic, 1).await?;
    for (i, (sent, read)) in all.iter().zip(consumer.read(all.len()).await?).enumerate() {
        same!(read.key, sent.key, "the key of record {i}");
        same!(read.value, sent.value, "the value of record {i}");
        same!(read.headers, sent.headers, "the headers of record {i}");
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A record above every consumer's fetch sizes is delivered all the same, and so are those around it.
async fn one_large_record(cx: Context) -> Outcome {
    let topic = cx.topic_with("large", 1, &[("max.message.bytes", "4000000")]).await?;
    let producer = cx.producer(&[("max.request.size", "4000000")]).await?;
    // Bytes without a pattern, so that a byte out of place shows.
    let large = Blob((0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    let all = vec![
        Outgoing::value(&topic, "before"),
        Outgoing::value(&topic, large.clone()),
        Outgoing::value(&topic, "after"),
    ];
    producer.write(all).await?;
    let small = [("auto.offset.reset", "earliest"), ("max.partition.fetch.bytes", "1000"), ("fetch.max.bytes", "1000")];
    let consumer = cx.consumer(&small).await?;
    consumer.assign(&topic, &[0]).await?;
    let read = consumer.read(3).await?;
    same!((read[0].text(), read[2].text()), ("before".to_owned(), "after".to_owned()), "the small records");
    check!(read[1].value.as_ref() == Some(&large), "the large record is not what was sent");
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A record's own time is kept to the millisecond, in any order.
async fn timestamps_are_kept(cx: Context) -> Outcome {
    let topic = cx.topic("times", 1).await?;
    let now = cx.env().now_ms();
    let times = [now, now - 86_400_000, 1, now - 1, 0, now + 1000];
    let producer = cx.producer(&[]).await?;
    let records = times.iter().map(|time| Outgoing::value(&topic, time.to_string()).at(*time)).collect();
    let told: Vec<i64> = producer.write(records).await?.iter().map(|it| it.timestamp).collect();
    same!(told, times, "the times that the producer was told");
    let consumer = reader(&cx, &topic, 1).await?;
    let read: Vec<i64> = consumer.read(times.len()).await?.iter().map(|it| it.timestamp).collect();
    same!(read, times, "the times that the consumer read");
    let before = cx.env().now_ms();
    let written = producer.write(vec![Outgoing::value(&topic, "now")]).await?;
    check!((written[0].timestamp - before).abs() < 60_000, "a record without a time has {}", written[0].timestamp);
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// With LogAppendTime the broker's time replaces the record's, for the producer and for the consumer.
async fn log_append_time(cx: Context) -> Outcome {
    let topic = cx.topic_with("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    let before = cx.env().now_ms();
    let producer = cx.producer(&[]).await?;
    let records = (0..20).map(|i| Outgoing::value(&topic, "v").at(1000 + i)).collect();
    let written = producer.write(records).await?;
    let consumer = reader(&cx, &topic, 1).await?;
    let read = consumer.read(20).await?;
    for (i, (written, read)) in written.iter().zip(&read).enumerate() {
        same!(read.timestamp, written.timestamp, "the time of record {i}, read and told");
        check!((read.timestamp - before).abs() < 120_000, "record {i} has the time {}", read.timestamp);
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// With acks=0 nobody waits: the offset is not known, and the records are there in order.
async fn acks_zero(cx: Context) -> Outcome {
    let topic = cx.topic("acks", 1).await?;
    let producer = cx.producer(&[("acks", "0")]).await?;
    let values: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    let written = producer.write(values.iter().map(|value| Outgoing::value(&topic, value.as_str())).collect()).await?;
    check!(written.iter().all(|it| it.offset == -1), "with acks=0 an offset is known: {written:?}");
    producer.close().await?;
    let consumer = reader(&cx, &topic, 1).await?;
    same!(consumer.read_texts(100).await?, values, "the values");
    consumer.close().await?;
    Ok(())
}

/// acks=1 and acks=all tell the offsets.
async fn acks_one_and_all(cx: Context) -> Outcome {
    let topic = cx.topic("acks", 2).await?;
    for (partition, acks) in ["1", "all"].into_iter().enumerate() {
        let producer = cx.producer(&[("acks", acks)]).await?;
        let partition = partition as i32;
        let records = (0..20).map(|i| Outgoing::value(&topic, i.to_string()).to(partition)).collect();
        let written = producer.write(records).await?;
        check!(written.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets go up: {written:?}");
        producer.close().await?;
    }
    Ok(())
}

/// Idempotent by default: with small batches and five requests in flight the order and the number stay, retries or not.
async fn order_with_five_in_flight(cx: Context) -> Outcome {
    let topic = cx.topic("order", 1).await?;
    let configs = [("batch.size", "200"), ("linger.ms", "0"), ("max.in.flight.requests.per.connection", "5")];
    let producer = cx.producer(&configs).await?;
    let values: Vec<String> = (0..1000).map(|i| format!("value {i}")).collect();
    let written = producer.write(values.iter().map(|value| Outgoing::value(&topic, value.as_str())).collect()).await?;
    let offsets: Vec<i64> = written.iter().map(|it| it.offset).collect();
    same!(offsets, (0..1000).collect::<Vec<i64>>(), "the offsets in the order of sending");
    let consumer = reader(&cx, &topic, 1).await?;
    same!(consumer.read_texts(1000).await?, values, "the values in the order of the log");
    consumer.nothing_comes(300).await?;
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// The same over several partitions, each with an order of its own.
async fn order_of_many_batches(cx: Context) -> Outcome {
    let topic = cx.topic("order", 3).await?;
    let producer = cx.producer(&[("batch.size", "1000"), ("linger.ms", "1"), ("compression.type", "lz4")]).await?;
    let records = (0..3000).map(|i| Outgoing::value(&topic, i.to_string()).to(i % 3)).collect();
    producer.write(records).await?;
    let consumer = reader(&cx, &topic, 3).await?;
    let mut next = [0, 1, 2];
    for record in consumer.read(3000).await? {
        let next = &mut next[record.partition as usize];
        same!(record.text(), next.to_string(), "the next value of partition {}", record.partition);
        *next += 3;
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A record larger than batch.size gets a batch of its own; batch.size=0 puts each record into its own.
async fn batches_smaller_than_a_record(cx: Context) -> Outcome {
    let topic = cx.topic("batches", 1).await?;
    let mut expected = Vec::new();
    for size in ["0", "1", "100", "16384"] {
        let producer = cx.producer(&[("batch.size", size)]).await?;
        let values: Vec<String> = [1, 50, 99, 100, 101, 5000, 1].iter().map(|n| size.repeat(*n)).collect();
        producer.write(values.iter().map(|value| Outgoing::value(&topic, value.as_str())).collect()).await?;
        producer.close().await?;
        expected.extend(values);
    }
    let consumer = reader(&cx, &topic, 1).await?;
    same!(consumer.read_texts(expected.len()).await?, expected, "the values");
    consumer.close().await?;
    Ok(())
}

/// A position in the middle of a compressed batch yields the records from there on, no earlier ones.
async fn reading_from_inside_a_batch(cx: Context) -> Outcome {
    let topic = cx.topic("inside", 1).await?;
    let producer = cx.producer(&[("compression.type", "zstd"), ("linger.ms", "100")]).await?;
    producer.write((0..100).map(|i| Outgoing::value(&topic, i.to_string())).collect()).await?;
    let consumer = reader(&cx, &topic, 1).await?;
    for from in [0, 1, 37, 98, 99] {
        consumer.seek(&topic, 0, from).await?;
        let read = consumer.read(100 - from as usize).await?;
        same!(read[0].offset, from, "the first offset after seeking to {from}");
        same!(read[0].text(), from.to_string(), "the first value after seeking to {from}");
    }
    consumer.seek(&topic, 0, 100).await?;
    consumer.nothing_comes(300).await?;
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// Flush ends the lingering, and has the results in the order of sending.
async fn flush_waits_for_all(cx: Context) -> Outcome {
    let topic = cx.topic("flush", 3).await?;
    let producer = cx.producer(&[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]).await?;
    for round in 0..3 {
        let records = (0..30).map(|i| Outgoing::value(&topic, format!("{round} {i}")).to(i % 3)).collect();
        producer.enqueue(records).await?;
        let sent: Vec<_> = producer.flush().await?.into_iter().map(written).collect::<Result<_, Wrong>>()?;
        let expected: Vec<(i32, i64)> = (0..30).map(|i| (i % 3, i64::from(round * 10 + i / 3))).collect();
        let found: Vec<(i32, i64)> = sent.iter().map(|it| (it.partition, it.offset)).collect();
        same!(found, expected, "where the records of round {round} went");
    }
    producer.close().await
}

/// A buffer smaller than what is sent makes send wait, and loses nothing.
async fn a_buffer_that_fills(cx: Context) -> Outcome {
    let topic = cx.topic("buffer", 2).await?;
    let producer = cx.producer(&[("buffer.memory", "65536"), ("batch.size", "8192"), ("linger.ms", "50")]).await?;
    let records = (0..1000).map(|i| Outgoing::value(&topic, format!("{i:0>1000}")).to(i % 2)).collect();
    same!(producer.write(records).await?.len(), 1000, "the records written");
    let consumer = reader(&cx, &topic, 2).await?;
    let values: BTreeSet<String> = consumer.read_texts(1000).await?.into_iter().collect();
    same!(values.len(), 1000, "the different values");
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A hundred partitions at once, from one producer to one consumer.
async fn many_partitions(cx: Context) -> Outcome {
    let topic = cx.topic("partitions", 100).await?;
    let producer = cx.producer(&[]).await?;
    same!(producer.partitions_for(&topic).await?, 100, "the partitions that the producer knows");
    producer.write((0..1000).map(|i| Outgoing::value(&topic, i.to_string()).to(i % 100)).collect()).await?;
    let consumer = reader(&cx, &topic, 100).await?;
    let mut next = vec![0; 100];
    for record in consumer.read(1000).await? {
        let (partition, next) = (record.partition, &mut next[record.partition as usize]);
        same!(record.offset, *next, "the next offset of partition {partition}");
        same!(record.text(), (i64::from(partition) + 100 * *next).to_string(), "the value at that place");
        *next += 1;
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// Several producers into one partition: nothing is lost or doubled, and each one's order stays.
async fn many_producers(cx: Context) -> Outcome {
    let topic = cx.topic("producers", 1).await?;
    let mut producers = Vec::new();
    for _ in 0..5 {
        producers.push(cx.producer(&[("batch.size", "500"), ("linger.ms", "0")]).await?);
    }
    for round in 0..4 {
        for (which, producer) in producers.iter().enumerate() {
            let records = (0..50).map(|i| Outgoing::keyed(&topic, which.to_string(), (round * 50 + i).to_string()));
            producer.enqueue(records.collect()).await?;
        }
    }
    for producer in &producers {
        for sent in producer.flush().await? {
            written(sent)?;
        }
    }
    let consumer = reader(&cx, &topic, 1).await?;
    let mut next = [0; 5];
    for record in consumer.read(1000).await? {
        let key = String::from_utf8_lossy(&record.key.clone().unwrap_or_default().0).into_owned();
        let which: usize = key.parse().map_err(|_| format!("an unknown key {key:?}"))?;
        same!(record.text(), next[which].to_string(), "the next value of producer {which}");
        next[which] += 1;
    }
    consumer.close().await?;
    for producer in producers {
        producer.close().await?;
    }
    Ok(())
}

/// auto.create.topics.enable: a topic comes into being with its first record.
async fn topic_is_created_by_the_first_record(cx: Context) -> Outcome {
    let topic = cx.name("by-itself");
    let producer = cx.producer(&[]).await?;
    let written = producer.write(vec![Outgoing::value(&topic, "first")]).await?;
    same!((written[0].partition, written[0].offset), (0, 0), "where the first record went");
    let admin = cx.admin().await?;
    cx.eventually("the topic in the list", || async { Ok(admin.names().await?.contains(&topic).then_some(())) })
        .await?;
    producer.close().await?;
    admin.close().await
}

/// Close delivers what still lingers.
async fn close_delivers_what_was_sent(cx: Context) -> Outcome {
    let topic = cx.topic("close", 2).await?;
    let producer = cx.producer(&[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]).await?;
    producer.enqueue((0..40).map(|i| Outgoing::value(&topic, i.to_string()).to(i % 2)).collect()).await?;
    producer.close().await?;
    let consumer = reader(&cx, &topic, 2).await?;
    same!(consumer.read(40).await?.len(), 40, "the records after close");
    consumer.close().await?;
    // Closing what never sent anything is no error either.
    cx.producer(&[]).await?.close().await
}

/// Larger than max.request.size: the client refuses, and goes on with others.
async fn too_large_for_the_client(cx: Context) -> Outcome {
    let topic = cx.topic("too-large", 1).await?;
    let producer = cx.producer(&[("max.request.size", "10000")]).await?;
    let failure = producer.refused(Outgoing::value(&topic, vec![b'x'; 20_000])).await?;
    check!(failure.kind == FailureKind::Invalid, "expected invalid, found {failure}");
    check!(failure.message.contains("max.request.size"), "the message does not name the config: {failure}");
    same!(producer.write(vec![Outgoing::value(&topic, "small")]).await?[0].offset, 0, "the offset of the next record");
    producer.close().await
}

/// Larger than the topic's max.message.bytes: the broker refuses, and takes others.
async fn too_large_for_the_topic(cx: Context) -> Outcome {
    let topic = cx.topic_with("too-large", 1, &[("max.message.bytes", "1000")]).await?;
    let producer = cx.producer(&[]).await?;
    let failure = producer.refused(Outgoing::value(&topic, vec![b'x'; 2000])).await?;
    check!(failure.is("MESSAGE_TOO_LARGE"), "expected MESSAGE_TOO_LARGE, found {failure}");
    same!(producer.write(vec![Outgoing::value(&topic, "small")]).await?[0].offset, 0, "the offset of the next record");
    producer.close().await
}

/// A partition that the topic does not have ends in an error within max.block.ms.
async fn partition_that_is_not_there(cx: Context) -> Outcome {
    let topic = cx.topic("partition", 2).await?;
    let producer = cx.producer(&[("max.block.ms", "2000")]).await?;
    let start = cx.env().monotonic();
    let failure = producer.refused(Outgoing::value(&topic, "v").to(2)).await?;
    check!(failure.kind != FailureKind::Internal, "a readable error: {failure}");
    check!((cx.env().monotonic() - start).as_secs() < 20, "the refusal took more than max.block.ms");
    same!(producer.write(vec![Outgoing::value(&topic, "v").to(1)]).await?[0].offset, 0, "the other partition's offset");
    producer.close().await
}

/// A name that no topic can have is refused, not waited for.
async fn topic_with_a_bad_name(cx: Context) -> Outcome {
    let producer = cx.producer(&[("max.block.ms", "5000")]).await?;
    let failure = producer.refused(Outgoing::value("no topic/can be named this", "v")).await?;
    check!(failure.is("INVALID_TOPIC_EXCEPTION"), "expected INVALID_TOPIC_EXCEPTION, found {failure}");
    producer.close().await
}

/// Compaction needs keys, so records without one are refused.
async fn compacted_topic_wants_keys(cx: Context) -> Outcome {
    let topic = cx.topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await?;
    let producer = cx.producer(&[]).await?;
    let failure = producer.refused(Outgoing::value(&topic, "without a key")).await?;
    check!(failure.is("INVALID_RECORD"), "expected INVALID_RECORD, found {failure}");
    let tombstone = Outgoing { topic: topic.clone(), key: Some("k".into()), ..Outgoing::default() };
    let written = producer.write(vec![Outgoing::keyed(&topic, "k", "v"), tombstone]).await?;
    same!(written.len(), 2, "a keyed record and its tombstone");
    producer.close().await
}

/// message.timestamp.after.max.ms keeps records from the future away.
async fn timestamp_too_far_ahead(cx: Context) -> Outcome {
    let topic = cx.topic_with("future", 1, &[("message.timestamp.after.max.ms", "3600000")]).await?;
    let producer = cx.producer(&[]).await?;
    let now = cx.env().now_ms();
    let failure = producer.refused(Outgoing::value(&topic, "v").at(now + 86_400_000)).await?;
    check!(failure.is("INVALID_TIMESTAMP"), "expected INVALID_TIMESTAMP, found {failure}");
    same!(producer.write(vec![Outgoing::value(&topic, "v").at(now)]).await?[0].offset, 0, "the next record's offset");
    let admin = cx.admin().await?;
    let configs = admin.configs(Resource::Topic(topic)).await?;
    same!(configs["message.timestamp.after.max.ms"].value.as_deref(), Some("3600000"), "the config");
    admin.close().await?;
    producer.close().await
}

/// Configs that cannot be are refused when the producer is made.
async fn wrong_configs(cx: Context) -> Outcome {
    let wrong: [&[(&str, &str)]; 6] = [
        &[("acks", "2")],
        &[("acks", "1"), ("enable.idempotence", "true")],
        &[("enable.idempotence", "true"), ("max.in.flight.requests.per.connection", "6")],
        &[("compression.type", "rar")],
        &[("linger.ms", "-1")],
        &[("bootstrap.servers", "")],
    ];
    for configs in wrong {
        match cx.try_producer(configs).await {
            Err(failure) => check!(failure.kind == FailureKind::Invalid, "{configs:?}: expected invalid: {failure}"),
            Ok(_) => return Err(format!("a producer with {configs:?} was made").into()),
        }
    }
    Ok(())
}

/// A closed producer takes nothing.
async fn send_after_close(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.name("closed");
    let new = NewTopic { name: topic.clone(), partitions: Some(1), ..NewTopic::default() };
    let created = admin.results(AdminCommand::CreateTopics { topics: vec![new], validate_only: false }).await?;
    same!(created, vec![Each::Ok(())], "the new topic");
    let producer = cx.producer(&[]).await?;
    producer.write(vec![Outgoing::value(&topic, "before")]).await?;
    producer.close().await?;
    let failure = producer.refused(Outgoing::value(&topic, "after")).await?;
    check!(failure.kind == FailureKind::Closed, "expected closed, found {failure}");
    producer.close().await?;
    admin.close().await
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn the_hash_is_kafkas() {
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
        assert_eq!(murmur2(b"a-little-bit-longer-string"), -1_486_304_829);
        assert_eq!(murmur2(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58_897_971);
        assert_eq!(murmur2(b"abc"), 479_470_107);
    }
}
