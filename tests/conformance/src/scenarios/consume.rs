//! Reading by assignment: positions, offsets, pauses, and what happens where there is nothing to read.

use super::scenarios;
use crate::context::{Consumer, Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::protocol::{
    AdminCommand, ConsumerCommand, Each, FailureKind, Partition, PartitionOffset, ProducerCommand, Reply,
};
use crate::{check, same};
use std::collections::BTreeSet;

scenarios! { "consume":
    from_the_beginning_and_from_the_end;
    position_follows_the_records;
    seek_back_and_forth;
    seek_to_beginning_and_end;
    seek_before_the_first_poll;
    offsets_of_the_log;
    offsets_for_times;
    a_new_assignment_replaces_the_old;
    two_readers_do_not_share;
    an_empty_partition_keeps_nobody;
    records_arrive_while_polling;
    small_fetches_lose_nothing;
    fetches_that_wait_for_more;
    partitions_of_a_topic;
    more_partitions_while_reading;
    poll_gives_at_most_max_poll_records [Groups];
    paused_partitions_are_silent [Groups];
    lag_is_end_minus_position [Groups];
    wakeup_ends_a_poll [Groups];
    reset_none_is_an_error [Groups];
    an_offset_that_is_gone_is_reset;
    reset_goes_back_by_a_duration [ResetByDuration];
    @calm metrics_of_what_was_read [Metrics, Groups];
    reading_after_deletion [DeleteRecords];
    isolation_without_transactions;
    many_consumers;
    @calm unknown_topic;
    close_in_every_state;
}

/// Ten records "0".."9" in each of the partitions.
async fn ten_each(cx: &Context, name: &str, partitions: i32) -> Outcome<String> {
    let topic = cx.topic(name, partitions).await?;
    append(cx, &topic, partitions, 0..10).await?;
    Ok(topic)
}

async fn append(cx: &Context, topic: &str, partitions: i32, values: std::ops::Range<i32>) -> Outcome {
    let producer = cx.producer(&[]).await?;
    let all = values.flat_map(|i| (0..partitions).map(move |partition| (i, partition)));
    producer.write(all.map(|(i, partition)| Outgoing::value(topic, i.to_string()).to(partition)).collect()).await?;
    producer.close().await
}

async fn earliest(cx: &Context) -> Outcome<Consumer> {
    cx.consumer(&[("auto.offset.reset", "earliest")]).await
}

fn texts(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

/// auto.offset.reset decides where a reader without a position begins; latest is the default.
async fn from_the_beginning_and_from_the_end(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "reset", 1).await?;
    let (old, new) = (earliest(&cx).await?, cx.consumer(&[]).await?);
    old.assign(&topic, &[0]).await?;
    new.assign(&topic, &[0]).await?;
    same!(old.read_texts(10).await?, texts(0..10), "from the beginning");
    same!(new.position(&topic, 0).await?, Some(10), "the position at the end");
    new.nothing_comes(300).await?;
    append(&cx, &topic, 1, 10..15).await?;
    same!(new.read_texts(5).await?, texts(10..15), "from the end");
    same!(old.read_texts(5).await?, texts(10..15), "the rest of the other reader");
    old.close().await?;
    new.close().await?;
    Ok(())
}

/// The position is the offset of the next record that poll will return.
async fn position_follows_the_records(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "position", 2).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0, 1]).await?;
    same!(consumer.position(&topic, 0).await?, Some(0), "the position before the first poll");
    let mut next = [0, 0];
    while next != [10, 10] {
        for record in consumer.poll(1000).await?.records {
            let next = &mut next[record.partition as usize];
            same!(record.offset, *next, "the next offset of partition {}", record.partition);
            *next += 1;
        }
        for (partition, next) in next.iter().enumerate() {
            same!(consumer.position(&topic, partition as i32).await?, Some(*next), "the position of {partition}");
        }
    }
    consumer.close().await?;
    Ok(())
}

/// After seek, poll goes on from there; what was fetched before is forgotten.
async fn seek_back_and_forth(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "seek", 1).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0]).await?;
    consumer.read(10).await?;
    for from in [7, 0, 9, 3, 10, 5] {
        consumer.seek(&topic, 0, from).await?;
        same!(consumer.position(&topic, 0).await?, Some(from), "the position after seek");
        if from < 10 {
            same!(consumer.read_texts(10 - from as usize).await?, texts(from as i32..10), "the records from {from} on");
        } else {
            consumer.nothing_comes(300).await?;
        }
    }
    consumer.close().await?;
    Ok(())
}

/// The two ends by name.
async fn seek_to_beginning_and_end(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "ends", 2).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0, 1]).await?;
    consumer.read(20).await?;
    consumer.ask(ConsumerCommand::SeekToBeginning { partitions: vec![Partition::new(&topic, 0)] }).await?;
    let again = consumer.read(10).await?;
    check!(again.iter().all(|record| record.partition == 0), "only partition 0 was sent back: {again:?}");
    let both = vec![Partition::new(&topic, 0), Partition::new(&topic, 1)];
    consumer.ask(ConsumerCommand::SeekToBeginning { partitions: both.clone() }).await?;
    consumer.ask(ConsumerCommand::SeekToEnd { partitions: both }).await?;
    same!(consumer.position(&topic, 1).await?, Some(10), "the position at the end");
    consumer.nothing_comes(300).await?;
    consumer.close().await?;
    Ok(())
}

/// A seek right after the assignment wins over auto.offset.reset.
async fn seek_before_the_first_poll(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "seek-first", 1).await?;
    let consumer = cx.consumer(&[]).await?;
    consumer.assign(&topic, &[0]).await?;
    consumer.seek(&topic, 0, 4).await?;
    same!(consumer.read_texts(6).await?, texts(4..10), "the records from 4 on");
    consumer.close().await?;
    Ok(())
}

/// beginningOffsets and endOffsets need no assignment.
async fn offsets_of_the_log(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "log", 3).await?;
    let consumer = cx.consumer(&[]).await?;
    let partitions: Vec<Partition> = (0..3).map(|partition| Partition::new(&topic, partition)).collect();
    let first = consumer.offsets(ConsumerCommand::BeginningOffsets { partitions: partitions.clone() }).await?;
    let end = consumer.offsets(ConsumerCommand::EndOffsets { partitions }).await?;
    same!(first, vec![Some(0); 3], "the first offsets");
    same!(end, vec![Some(10); 3], "the ends");
    append(&cx, &topic, 1, 10..12).await?;
    same!(consumer.end(&topic, 0).await?, Some(12), "the end after two more records");
    consumer.close().await?;
    Ok(())
}

/// The first record at or after a time.
async fn offsets_for_times(cx: Context) -> Outcome {
    let topic = cx.topic("times", 1).await?;
    let producer = cx.producer(&[]).await?;
    let base = cx.env().now_ms() - 3_600_000;
    // One batch each, so that every look-up has to find its batch first.
    for i in 0..10 {
        producer.write(vec![Outgoing::value(&topic, i.to_string()).at(base + i * 1000)]).await?;
    }
    let consumer = cx.consumer(&[]).await?;
    for (time, offset) in [(0, 0), (base, 0), (base + 1, 1), (base + 4000, 4), (base + 4001, 5), (base + 9000, 9)] {
        let times = vec![PartitionOffset::new(&topic, 0, time)];
        let found = consumer.one(ConsumerCommand::OffsetsForTimes { times }).await?;
        same!(found, Some(offset), "the offset for base + {}", time - base);
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// assign replaces; nothing of the former assignment is delivered afterwards.
async fn a_new_assignment_replaces_the_old(cx: Context) -> Outcome {
    let (first, second) = (ten_each(&cx, "first", 2).await?, ten_each(&cx, "second", 2).await?);
    let consumer = earliest(&cx).await?;
    consumer.assign(&first, &[0, 1]).await?;
    consumer.poll(200).await?;
    consumer.assign(&second, &[1]).await?;
    let read = consumer.read(10).await?;
    check!(read.iter().all(|record| record.at() == Partition::new(&second, 1)), "records of the old: {read:?}");
    consumer.nothing_comes(300).await?;
    consumer.close().await?;
    Ok(())
}

/// Readers without a group each see everything.
async fn two_readers_do_not_share(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "readers", 2).await?;
    let (one, other) = (earliest(&cx).await?, earliest(&cx).await?);
    one.assign(&topic, &[0, 1]).await?;
    other.assign(&topic, &[0, 1]).await?;
    same!(one.read(20).await?.len(), 20, "the first reader's records");
    same!(other.read(20).await?.len(), 20, "the second reader's records");
    one.close().await?;
    other.close().await?;
    Ok(())
}

/// A partition without records does not hold up the others.
async fn an_empty_partition_keeps_nobody(cx: Context) -> Outcome {
    let topic = cx.topic("empty", 3).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0, 1, 2]).await?;
    let start = cx.env().monotonic();
    check!(consumer.poll(500).await?.records.is_empty(), "an empty topic has records");
    check!((cx.env().monotonic() - start).as_millis() < 10_000, "poll outlasted its timeout by far");
    let producer = cx.producer(&[]).await?;
    producer.write(vec![Outgoing::value(&topic, "one").to(1)]).await?;
    same!(consumer.read_texts(1).await?, vec!["one".to_owned()], "the record of the one partition that has one");
    same!(consumer.position(&topic, 2).await?, Some(0), "the position of an empty partition");
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// A reader at the end gets each record soon after it is written.
async fn records_arrive_while_polling(cx: Context) -> Outcome {
    let topic = cx.topic("live", 1).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0]).await?;
    let producer = cx.producer(&[]).await?;
    for i in 0..50 {
        producer.enqueue(vec![Outgoing::value(&topic, i.to_string())]).await?;
        producer.flush().await?;
        same!(consumer.read_texts(1).await?, vec![i.to_string()], "the record just written");
    }
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// Fetch sizes far below a batch only mean more fetches.
async fn small_fetches_lose_nothing(cx: Context) -> Outcome {
    let topic = cx.topic("small", 4).await?;
    let producer = cx.producer(&[("batch.size", "2000")]).await?;
    producer.write((0..400).map(|i| Outgoing::value(&topic, format!("{i:0>200}")).to(i % 4)).collect()).await?;
    let consumer = cx
        .consumer(&[
            ("auto.offset.reset", "earliest"),
            ("fetch.max.bytes", "500"),
            ("max.partition.fetch.bytes", "300"),
        ])
        .await?;
    consumer.assign(&topic, &[0, 1, 2, 3]).await?;
    let values: BTreeSet<String> = consumer.read_texts(400).await?.into_iter().collect();
    same!(values.len(), 400, "the different values");
    producer.close().await?;
    consumer.close().await?;
    Ok(())
}

/// fetch.min.bytes waits for more, but never longer than fetch.max.wait.ms.
async fn fetches_that_wait_for_more(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "wait", 1).await?;
    let consumer = cx
        .consumer(&[("auto.offset.reset", "earliest"), ("fetch.min.bytes", "1000000"), ("fetch.max.wait.ms", "300")])
        .await?;
    consumer.assign(&topic, &[0]).await?;
    same!(consumer.read_texts(10).await?, texts(0..10), "the records, few as they are");
    consumer.close().await?;
    Ok(())
}

/// partitionsFor names them all.
async fn partitions_of_a_topic(cx: Context) -> Outcome {
    let topic = cx.topic("partitions", 5).await?;
    let consumer = cx.consumer(&[]).await?;
    let expected: Vec<Partition> = (0..5).map(|partition| Partition::new(&topic, partition)).collect();
    same!(consumer.partitions(ConsumerCommand::PartitionsFor { topic }).await?, expected, "the partitions");
    consumer.close().await?;
    Ok(())
}

/// Partitions that are added are found by producers and readers that run already.
async fn more_partitions_while_reading(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "grows", 1).await?;
    let producer = cx.producer(&[("metadata.max.age.ms", "200")]).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest"), ("metadata.max.age.ms", "200")]).await?;
    consumer.assign(&topic, &[0]).await?;
    consumer.read(10).await?;
    producer.write(vec![Outgoing::value(&topic, "10").to(0)]).await?;
    let admin = cx.admin().await?;
    let grown = admin.ask(AdminCommand::CreatePartitions { topic: topic.clone(), count: 3 }).await;
    check!(grown.as_ref().is_ok_and(|it| *it == Reply::Done {}), "the new partitions: {grown:?}");
    cx.eventually("the new partitions", || async { Ok((producer.partitions_for(&topic).await? == 3).then_some(())) })
        .await?;
    producer.write((1..3).map(|partition| Outgoing::value(&topic, "new").to(partition)).collect()).await?;
    consumer.assign(&topic, &[1, 2]).await?;
    same!(consumer.read_texts(2).await?, vec!["new".to_owned(); 2], "the records of the new partitions");
    producer.close().await?;
    consumer.close().await?;
    admin.close().await
}

/// max.poll.records bounds what one poll returns, and nothing is skipped.
async fn poll_gives_at_most_max_poll_records(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "max-poll", 3).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest"), ("max.poll.records", "7")]).await?;
    consumer.assign(&topic, &[0, 1, 2]).await?;
    let mut next = [0; 3];
    while next != [10; 3] {
        let records = consumer.poll(2000).await?.records;
        check!(!records.is_empty() && records.len() <= 7, "a poll returned {} records", records.len());
        for record in records {
            let next = &mut next[record.partition as usize];
            same!(record.offset, *next, "the next offset of partition {}", record.partition);
            *next += 1;
        }
    }
    consumer.close().await?;
    Ok(())
}

/// Poll returns nothing of a paused partition, and all of it after resume.
async fn paused_partitions_are_silent(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "pause", 2).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0, 1]).await?;
    let one = vec![Partition::new(&topic, 1)];
    consumer.ask(ConsumerCommand::Pause { partitions: one.clone() }).await?;
    same!(consumer.partitions(ConsumerCommand::Paused).await?, one, "what is paused");
    let read = consumer.read(10).await?;
    check!(read.iter().all(|record| record.partition == 0), "records of the paused partition: {read:?}");
    consumer.nothing_comes(300).await?;
    same!(consumer.position(&topic, 1).await?, Some(0), "the position of the paused partition");
    consumer.ask(ConsumerCommand::Resume { partitions: one }).await?;
    same!(consumer.partitions(ConsumerCommand::Paused).await?, vec![], "what is paused after resume");
    same!(consumer.read_texts(10).await?, texts(0..10), "the records of the resumed partition");
    // What was fetched already stays silent as well once it is paused.
    consumer.ask(ConsumerCommand::SeekToBeginning { partitions: vec![Partition::new(&topic, 0)] }).await?;
    consumer.ask(ConsumerCommand::Pause { partitions: vec![Partition::new(&topic, 0)] }).await?;
    consumer.nothing_comes(300).await?;
    let failure = consumer.ask(ConsumerCommand::Pause { partitions: vec![Partition::new(&topic, 7)] }).await;
    check!(failure.is_err_and(|it| it.kind == FailureKind::Invalid), "pausing what is not assigned is an error");
    consumer.close().await?;
    Ok(())
}

/// The lag is known once the end is, and shrinks with reading.
async fn lag_is_end_minus_position(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "lag", 1).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest"), ("max.poll.records", "4")]).await?;
    consumer.assign(&topic, &[0]).await?;
    let mut seen = 0;
    while seen < 10 {
        seen += consumer.poll(1000).await?.records.len() as i64;
        if seen > 0 {
            let lag = consumer.one(ConsumerCommand::CurrentLag { partitions: vec![Partition::new(&topic, 0)] }).await?;
            same!(lag, Some(10 - seen), "the lag after {seen} records");
        }
    }
    consumer.close().await?;
    Ok(())
}

/// Wakeup ends a poll at once, and only that one.
async fn wakeup_ends_a_poll(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "wakeup", 1).await?;
    let consumer = cx.consumer(&[]).await?;
    consumer.assign(&topic, &[0]).await?;
    let start = cx.env().monotonic();
    let (polled, woken) = tokio::join!(consumer.poll(60_000), async {
        cx.env().sleep(std::time::Duration::from_millis(300)).await;
        consumer.ask(ConsumerCommand::Wakeup).await
    });
    woken?;
    check!(polled.is_err(), "a poll that was woken up returned {polled:?}");
    check!((cx.env().monotonic() - start).as_secs() < 20, "the poll went on after wakeup");
    append(&cx, &topic, 1, 10..11).await?;
    same!(consumer.read_texts(1).await?, texts(10..11), "the record after wakeup");
    consumer.close().await?;
    Ok(())
}

/// auto.offset.reset=none: without a position poll fails, and goes on after a seek.
async fn reset_none_is_an_error(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "none", 1).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "none")]).await?;
    consumer.assign(&topic, &[0]).await?;
    let failure = consumer.ask(ConsumerCommand::Poll { timeout_ms: 5000 }).await;
    check!(failure.is_err_and(|it| it.kind == FailureKind::Invalid), "a poll without position and reset policy");
    consumer.seek(&topic, 0, 8).await?;
    same!(consumer.read_texts(2).await?, texts(8..10), "the records after a seek");
    consumer.seek(&topic, 0, 1000).await?;
    let failure = consumer.ask(ConsumerCommand::Poll { timeout_ms: 5000 }).await;
    check!(failure.is_err(), "a poll from behind the end: {failure:?}");
    consumer.close().await?;
    Ok(())
}

/// `by_duration` begins with the first record that is not older (KIP-1106).
async fn reset_goes_back_by_a_duration(cx: Context) -> Outcome {
    let topic = cx.topic("by-duration", 1).await?;
    let producer = cx.producer(&[]).await?;
    let now = cx.env().now_ms();
    let minutes = [180, 90, 70, 50, 10, 0];
    let record = |ago: &i64| Outgoing::value(&topic, ago.to_string()).at(now - ago * 60_000);
    producer.write(minutes.iter().map(record).collect()).await?;
    producer.close().await?;
    for (duration, first) in [("PT1H", 3), ("PT1H15M", 2), ("P1D", 0), ("PT100M30S", 1)] {
        let reset = format!("by_duration:{duration}");
        let consumer = cx.consumer(&[("auto.offset.reset", &reset)]).await?;
        consumer.assign(&topic, &[0]).await?;
        let expected: Vec<String> = minutes[first..].iter().map(i64::to_string).collect();
        same!(consumer.read_texts(expected.len()).await?, expected, "what is read with {reset}");
        consumer.close().await?;
    }
    // All of it is older: only what comes.
    let old = cx.topic("old", 1).await?;
    let producer = cx.producer(&[]).await?;
    producer.write(vec![Outgoing::value(&old, "old").at(now - 3_600_000)]).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "by_duration:PT10M")]).await?;
    consumer.assign(&old, &[0]).await?;
    same!(consumer.position(&old, 0).await?, Some(1), "the position in a log that is older");
    producer.write(vec![Outgoing::value(&old, "new")]).await?;
    same!(consumer.read_texts(1).await?, vec!["new".to_owned()], "what is read of it");
    consumer.close().await?;
    producer.close().await
}

/// Counters under Kafka's names, and the coordinator as a node of its own beside the brokers.
async fn metrics_of_what_was_read(cx: Context) -> Outcome {
    let topic = cx.topic("metrics", 2).await?;
    let producer = cx.producer(&[]).await?;
    producer.write((0..30).map(|i: i32| Outgoing::value(&topic, i.to_string()).to(i % 2)).collect()).await?;
    let Reply::Metrics(found) = producer.ask(ProducerCommand::Metrics).await? else { return Err("no metrics".into()) };
    let number = |name: &str| found.get(name).copied().unwrap_or(-1.0);
    same!(number("producer-metrics.record-send-total"), 30.0, "records sent");
    same!(number("producer-topic-metrics.record-send-total"), 30.0, "records sent, by topic");
    check!(number("producer-metrics.connection-count") >= 1.0, "the connection is not counted");
    producer.close().await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.subscribe(&topic).await?;
    member.read(30).await?;
    member.commit().await?;
    let Reply::Metrics(found) = member.ask(ConsumerCommand::Metrics).await? else { return Err("no metrics".into()) };
    let number = |name: &str| found.get(name).copied().unwrap_or(-1.0);
    // Once for the client and once for the topic.
    same!(number("consumer-fetch-manager-metrics.records-consumed-total"), 60.0, "records read");
    check!(number("consumer-coordinator-metrics.commit-total") >= 1.0, "the commit is not counted");
    check!(number("consumer-coordinator-metrics.rebalance-total") >= 1.0, "the rebalance is not counted");
    same!(number("consumer-coordinator-metrics.assigned-partitions"), 2.0, "assigned partitions");
    let nodes = found.iter().filter_map(|(name, value)| {
        let node: i32 = name.strip_prefix("consumer-node-metrics.request-total.node-")?.parse().ok()?;
        Some((node, *value))
    });
    let nodes: Vec<(i32, f64)> = nodes.collect();
    let coordinator = nodes.iter().find(|(node, _)| *node > i32::MAX / 2);
    check!(coordinator.is_some_and(|(_, asked)| *asked >= 4.0), "requests to the coordinator: {nodes:?}");
    check!(nodes.iter().any(|(node, asked)| *node < i32::MAX / 2 && *asked > 0.0), "requests to a broker: {nodes:?}");
    member.close().await?;
    Ok(())
}

/// A position outside the log goes where auto.offset.reset says.
async fn an_offset_that_is_gone_is_reset(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "gone", 1).await?;
    let consumer = earliest(&cx).await?;
    consumer.assign(&topic, &[0]).await?;
    consumer.seek(&topic, 0, 1_000_000).await?;
    same!(consumer.read_texts(10).await?, texts(0..10), "the records from the beginning");
    consumer.close().await?;
    Ok(())
}

/// DeleteRecords moves the beginning; readers before it are reset to it.
async fn reading_after_deletion(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "deleted", 1).await?;
    let admin = cx.admin().await?;
    let before = vec![PartitionOffset::new(&topic, 0, 6)];
    match admin.ask(AdminCommand::DeleteRecords { before }).await? {
        Reply::EachOffset(offsets) => {
            same!(offsets, vec![Each::Ok(PartitionOffset::new(&topic, 0, 6))], "the new beginning");
        }
        other => return Err(format!("expected offsets, found {other:?}").into()),
    }
    let consumer = earliest(&cx).await?;
    same!(consumer.beginning(&topic, 0).await?, Some(6), "the first offset");
    same!(consumer.end(&topic, 0).await?, Some(10), "the end");
    consumer.assign(&topic, &[0]).await?;
    same!(consumer.read_texts(4).await?, texts(6..10), "what is left");
    consumer.seek(&topic, 0, 2).await?;
    same!(consumer.read_texts(4).await?, texts(6..10), "what a reader from before the beginning gets");
    consumer.close().await?;
    admin.close().await
}

/// read_committed reads plain records like everybody.
async fn isolation_without_transactions(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "isolation", 1).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest"), ("isolation.level", "read_committed")]).await?;
    consumer.assign(&topic, &[0]).await?;
    same!(consumer.read_texts(10).await?, texts(0..10), "the records");
    same!(consumer.end(&topic, 0).await?, Some(10), "the end");
    consumer.close().await?;
    Ok(())
}

/// Twenty readers of one topic.
async fn many_consumers(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "many", 4).await?;
    let mut consumers = Vec::new();
    for _ in 0..20 {
        let consumer = earliest(&cx).await?;
        consumer.assign(&topic, &[0, 1, 2, 3]).await?;
        consumers.push(consumer);
    }
    for (i, consumer) in consumers.iter().enumerate() {
        same!(consumer.read(40).await?.len(), 40, "the records of reader {i}");
        consumer.close().await?;
    }
    Ok(())
}

/// A topic that does not exist ends in an error that names it, within the time limit.
async fn unknown_topic(cx: Context) -> Outcome {
    let topic = cx.name("nowhere");
    let consumer = cx.consumer(&[("default.api.timeout.ms", "2000"), ("allow.auto.create.topics", "false")]).await?;
    let start = cx.env().monotonic();
    let partitions = vec![Partition::new(&topic, 0)];
    match consumer.ask(ConsumerCommand::EndOffsets { partitions }).await {
        Err(failure) => {
            let known = failure.is("UNKNOWN_TOPIC_OR_PARTITION") || failure.kind == FailureKind::Timeout;
            check!(known, "expected an unknown topic, found {failure}");
            check!(failure.message.contains(&topic), "the message does not name the topic: {failure}");
        }
        Ok(reply) => return Err(format!("offsets of a topic that is not there: {reply:?}").into()),
    }
    check!((cx.env().monotonic() - start).as_secs() < 20, "the error took far longer than default.api.timeout.ms");
    let admin = cx.admin().await?;
    check!(!admin.names().await?.contains(&topic), "asking for the topic has created it");
    consumer.close().await?;
    admin.close().await
}

/// Close ends whatever is going on: nothing assigned, assigned, fetching, after an error, twice.
async fn close_in_every_state(cx: Context) -> Outcome {
    let topic = ten_each(&cx, "close", 1).await?;
    let fresh = cx.consumer(&[]).await?;
    fresh.close().await?;
    fresh.close().await?;
    let assigned = earliest(&cx).await?;
    assigned.assign(&topic, &[0]).await?;
    assigned.close().await?;
    let fetching = earliest(&cx).await?;
    fetching.assign(&topic, &[0]).await?;
    fetching.poll(100).await?;
    fetching.close().await?;
    let after = fetching.ask(ConsumerCommand::Poll { timeout_ms: 100 }).await;
    check!(after.is_err_and(|it| it.kind == FailureKind::Closed), "a poll after close is not an error of kind closed");
    Ok(())
}
