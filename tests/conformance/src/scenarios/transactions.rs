//! Transactions: what is committed is seen once, what is aborted never, and who was replaced can do nothing more.

use super::scenarios;
use crate::context::{Consumer, Context, Outcome, Producer};
use crate::protocol::producer::Outgoing;
use crate::protocol::{ConsumerCommand, Each, Failure, FailureKind, PartitionOffset, ProducerCommand, Reply};
use crate::{check, same};

scenarios! { "transactions":
    committed_records_are_seen [Transactions];
    aborted_records_are_not_seen [Transactions];
    an_open_transaction_holds_readers_back [Transactions];
    many_transactions_in_a_row [Transactions];
    several_topics_and_partitions [Transactions];
    two_producers_at_once [Transactions];
    every_codec_in_a_transaction [Transactions];
    offsets_are_part_of_it [Transactions, Groups];
    aborted_offsets_do_not_count [Transactions, Groups];
    copying_exactly_once [Transactions, Groups];
    close_aborts_what_is_open [Transactions];
    @calm the_later_producer_fences_the_earlier [Transactions];
    @calm a_new_instance_aborts_what_was_open [Transactions];
    @calm a_transaction_that_times_out_is_aborted [Transactions];
    @calm calls_out_of_turn [Transactions];
    @calm a_failed_record_fails_the_commit [Transactions];
    empty_transactions_are_fine [Transactions];
    transactions_survive_a_restart [Transactions, Restart];
}

/// A producer with this id, registered.
async fn producer(cx: &Context, id: &str, configs: &[(&str, &str)]) -> Outcome<Producer> {
    let id = cx.name(id);
    let mut all = vec![("transactional.id", id.as_str())];
    all.extend_from_slice(configs);
    let producer = cx.producer(&all).await?;
    producer.ask(ProducerCommand::InitTransactions).await?;
    Ok(producer)
}

async fn begin(producer: &Producer) -> Outcome {
    producer.ask(ProducerCommand::BeginTransaction).await?;
    Ok(())
}

async fn commit(producer: &Producer) -> Outcome {
    producer.ask(ProducerCommand::CommitTransaction).await?;
    Ok(())
}

async fn abort(producer: &Producer) -> Outcome {
    producer.ask(ProducerCommand::AbortTransaction).await?;
    Ok(())
}

fn values(topic: &str, partition: i32, prefix: &str, count: i32) -> Vec<Outgoing> {
    (0..count).map(|i| Outgoing::value(topic, format!("{prefix}{i}")).to(partition)).collect()
}

fn named(prefix: &str, count: i32) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i}")).collect()
}

async fn reader(cx: &Context, topic: &str, partitions: &[i32], isolation: &str) -> Outcome<Consumer> {
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest"), ("isolation.level", isolation)]).await?;
    consumer.assign(topic, partitions).await?;
    Ok(consumer)
}

/// After the commit both kinds of readers see the records; the marker takes an offset and is no record.
async fn committed_records_are_seen(cx: Context) -> Outcome {
    let topic = cx.topic("committed", 1).await?;
    let producer = producer(&cx, "tx", &[]).await?;
    begin(&producer).await?;
    producer.write(values(&topic, 0, "a", 10)).await?;
    commit(&producer).await?;
    begin(&producer).await?;
    let written = producer.write(values(&topic, 0, "b", 5)).await?;
    commit(&producer).await?;
    same!(written[0].offset, 11, "the offset behind the first marker");
    let expected = [named("a", 10), named("b", 5)].concat();
    for isolation in ["read_committed", "read_uncommitted"] {
        let reader = reader(&cx, &topic, &[0], isolation).await?;
        same!(reader.read_texts(15).await?, expected, "the values with {isolation}");
        reader.nothing_comes(300).await?;
        reader.close().await?;
    }
    producer.close().await
}

/// Aborted records stay in the log; read_committed skips them, and the position goes past them.
async fn aborted_records_are_not_seen(cx: Context) -> Outcome {
    let topic = cx.topic("aborted", 1).await?;
    let producer = producer(&cx, "tx", &[]).await?;
    for (prefix, keep) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        begin(&producer).await?;
        producer.write(values(&topic, 0, prefix, 4)).await?;
        if keep {
            commit(&producer).await?
        } else {
            abort(&producer).await?
        };
    }
    let committed = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(committed.read_texts(8).await?, [named("a", 4), named("c", 4)].concat(), "what read_committed sees");
    committed.nothing_comes(300).await?;
    same!(committed.position(&topic, 0).await?, Some(20), "the position behind all markers");
    let all = reader(&cx, &topic, &[0], "read_uncommitted").await?;
    same!(all.read(16).await?.len(), 16, "what read_uncommitted sees");
    committed.close().await?;
    all.close().await?;
    producer.close().await
}

/// The end for read_committed is before the first open transaction, whoever writes behind it.
async fn an_open_transaction_holds_readers_back(cx: Context) -> Outcome {
    let topic = cx.topic("open", 1).await?;
    let (open, other) = (producer(&cx, "open", &[]).await?, cx.producer(&[]).await?);
    other.write(values(&topic, 0, "before", 2)).await?;
    begin(&open).await?;
    open.write(values(&topic, 0, "inside", 2)).await?;
    other.write(values(&topic, 0, "behind", 2)).await?;
    let committed = reader(&cx, &topic, &[0], "read_committed").await?;
    let all = reader(&cx, &topic, &[0], "read_uncommitted").await?;
    same!(committed.read_texts(2).await?, named("before", 2), "what is before the transaction");
    committed.nothing_comes(300).await?;
    same!(committed.end(&topic, 0).await?, Some(2), "the end for read_committed");
    same!(all.end(&topic, 0).await?, Some(6), "the end for read_uncommitted");
    commit(&open).await?;
    let rest = [named("inside", 2), named("behind", 2)].concat();
    same!(committed.read_texts(4).await?, rest, "what comes with the commit");
    same!(all.read(6).await?.len(), 6, "what read_uncommitted sees");
    for consumer in [committed, all] {
        consumer.close().await?;
    }
    other.close().await?;
    open.close().await
}

/// Thirty transactions, every third aborted.
async fn many_transactions_in_a_row(cx: Context) -> Outcome {
    let topic = cx.topic("many", 3).await?;
    let producer = producer(&cx, "tx", &[("batch.size", "200")]).await?;
    let mut expected = Vec::new();
    for i in 0..30 {
        begin(&producer).await?;
        let text = i.to_string();
        producer
            .enqueue((0..3).map(|partition| Outgoing::value(&topic, text.as_str()).to(partition)).collect())
            .await?;
        if i % 3 == 2 {
            abort(&producer).await?;
        } else {
            commit(&producer).await?;
            expected.push(text);
        }
    }
    let reader = reader(&cx, &topic, &[0, 1, 2], "read_committed").await?;
    let records = reader.read(60).await?;
    for partition in 0..3 {
        let found: Vec<String> =
            records.iter().filter(|record| record.partition == partition).map(|record| record.text()).collect();
        same!(found, expected, "the values of partition {partition}");
    }
    reader.close().await?;
    producer.close().await
}

/// One transaction over several topics becomes visible in all of them.
async fn several_topics_and_partitions(cx: Context) -> Outcome {
    let (one, two) = (cx.topic("one", 2).await?, cx.topic("two", 3).await?);
    let producer = producer(&cx, "tx", &[]).await?;
    begin(&producer).await?;
    let records = [values(&one, 0, "x", 2), values(&one, 1, "x", 2), values(&two, 2, "x", 2)].concat();
    producer.write(records).await?;
    let readers =
        [reader(&cx, &one, &[0, 1], "read_committed").await?, reader(&cx, &two, &[0, 1, 2], "read_committed").await?];
    for reader in &readers {
        reader.nothing_comes(200).await?;
    }
    commit(&producer).await?;
    same!(readers[0].read(4).await?.len(), 4, "the first topic's records");
    same!(readers[1].read(2).await?.len(), 2, "the second topic's records");
    for reader in readers {
        reader.close().await?;
    }
    producer.close().await
}

/// Two transactional producers interleave in one partition; each decides for itself.
async fn two_producers_at_once(cx: Context) -> Outcome {
    let topic = cx.topic("two", 1).await?;
    let (keeps, drops) = (producer(&cx, "keeps", &[]).await?, producer(&cx, "drops", &[]).await?);
    begin(&keeps).await?;
    begin(&drops).await?;
    for i in 0..5 {
        keeps.write(vec![Outgoing::value(&topic, format!("keep{i}"))]).await?;
        drops.write(vec![Outgoing::value(&topic, format!("drop{i}"))]).await?;
    }
    abort(&drops).await?;
    commit(&keeps).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(5).await?, named("keep", 5), "the committed values");
    reader.nothing_comes(300).await?;
    reader.close().await?;
    keeps.close().await?;
    drops.close().await
}

/// Compressed batches are transactional as well.
async fn every_codec_in_a_transaction(cx: Context) -> Outcome {
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    let topic = cx.topic("codecs", 4).await?;
    for (partition, codec) in codecs.iter().enumerate() {
        let producer = producer(&cx, codec, &[("compression.type", codec)]).await?;
        for (prefix, keep) in [("no", false), ("yes", true)] {
            begin(&producer).await?;
            producer.write(values(&topic, partition as i32, prefix, 20)).await?;
            if keep {
                commit(&producer).await?
            } else {
                abort(&producer).await?
            };
        }
        producer.close().await?;
        let reader = reader(&cx, &topic, &[partition as i32], "read_committed").await?;
        same!(reader.read_texts(20).await?, named("yes", 20), "{codec}");
        reader.close().await?;
    }
    Ok(())
}

/// Offsets that are sent to the transaction are the group's with the commit, not before.
async fn offsets_are_part_of_it(cx: Context) -> Outcome {
    let topic = cx.topic("offsets", 1).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.assign(&topic, &[0]).await?;
    let producer = producer(&cx, "tx", &[]).await?;
    begin(&producer).await?;
    let mut offset = PartitionOffset::new(&topic, 0, 7);
    offset.metadata = Some("from a transaction".to_owned());
    producer.send_offsets(vec![offset.clone()], &member).await?;
    commit(&producer).await?;
    let partitions = vec![offset_partition(&topic)];
    let found = member.ask(ConsumerCommand::Committed { partitions }).await?;
    same!(found, Reply::Offsets(vec![offset]), "the committed offset");
    member.close().await?;
    producer.close().await
}

fn offset_partition(topic: &str) -> crate::protocol::Partition {
    crate::protocol::Partition::new(topic, 0)
}

/// Offsets of an aborted transaction never were.
async fn aborted_offsets_do_not_count(cx: Context) -> Outcome {
    let topic = cx.topic("offsets", 1).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.assign(&topic, &[0]).await?;
    let producer = producer(&cx, "tx", &[]).await?;
    for (offset, keep) in [(3, true), (8, false)] {
        begin(&producer).await?;
        producer.send_offsets(vec![PartitionOffset::new(&topic, 0, offset)], &member).await?;
        if keep {
            commit(&producer).await?
        } else {
            abort(&producer).await?
        };
    }
    same!(member.committed(&topic, 0).await?, Some(3), "the committed offset");
    member.close().await?;
    producer.close().await
}

/// Read, copy, commit offsets in the transaction; every other round is aborted and read again: each record is copied once.
async fn copying_exactly_once(cx: Context) -> Outcome {
    let (from, to) = (cx.topic("from", 2).await?, cx.topic("to", 2).await?);
    let plain = cx.producer(&[]).await?;
    plain.write((0..60).map(|i| Outgoing::value(&from, i.to_string()).to(i % 2)).collect()).await?;
    plain.close().await?;
    let group = cx.name("g");
    let producer = producer(&cx, "copy", &[]).await?;
    let mut fails = true;
    let mut done = 0;
    while done < 60 {
        let configs = [("isolation.level", "read_committed"), ("max.poll.records", "9")];
        let member = cx.member(&group, &configs).await?;
        member.subscribe(&from).await?;
        let records = member.poll_until("records to copy", |all| !all.records.is_empty()).await?.records;
        begin(&producer).await?;
        let copies = records.iter().map(|it| Outgoing::value(&to, it.text()).to(it.partition)).collect();
        producer.enqueue(copies).await?;
        let offsets = (0..2).filter_map(|partition| {
            let last = records.iter().rfind(|record| record.partition == partition)?;
            Some(PartitionOffset::new(&from, partition, last.offset + 1))
        });
        producer.send_offsets(offsets.collect(), &member).await?;
        if fails {
            abort(&producer).await?;
        } else {
            commit(&producer).await?;
            done += records.len();
        }
        fails = !fails;
        member.close().await?;
    }
    let reader = reader(&cx, &to, &[0, 1], "read_committed").await?;
    let records = reader.read(60).await?;
    for partition in 0..2 {
        let found: Vec<String> = records.iter().filter(|it| it.partition == partition).map(|it| it.text()).collect();
        let expected: Vec<String> = (0..60).filter(|i| i % 2 == partition).map(|i| i.to_string()).collect();
        same!(found, expected, "the copies of partition {partition}");
    }
    reader.nothing_comes(300).await?;
    reader.close().await?;
    producer.close().await
}

/// A producer that is closed in the middle leaves nothing behind.
async fn close_aborts_what_is_open(cx: Context) -> Outcome {
    let topic = cx.topic("close", 1).await?;
    let first = producer(&cx, "tx", &[]).await?;
    begin(&first).await?;
    first.write(values(&topic, 0, "lost", 3)).await?;
    first.close().await?;
    let second = producer(&cx, "tx", &[]).await?;
    begin(&second).await?;
    second.write(values(&topic, 0, "kept", 3)).await?;
    commit(&second).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(3).await?, named("kept", 3), "the committed values");
    reader.close().await?;
    second.close().await
}

/// initTransactions of a second producer with the id ends the first one's rights.
async fn the_later_producer_fences_the_earlier(cx: Context) -> Outcome {
    let topic = cx.topic("fenced", 1).await?;
    let first = producer(&cx, "tx", &[]).await?;
    begin(&first).await?;
    first.write(values(&topic, 0, "first", 2)).await?;
    let second = producer(&cx, "tx", &[]).await?;
    // The first answer may only say that the epoch is old, after which an abort tells the rest.
    let late = first.send(values(&topic, 0, "late", 1)).await?;
    check!(matches!(late.as_slice(), [Each::Error(_)]), "the replaced producer has written: {late:?}");
    let committed = first.ask(ProducerCommand::CommitTransaction).await;
    check!(committed.is_err(), "the replaced producer has committed");
    let aborted = first.ask(ProducerCommand::AbortTransaction).await;
    check!(aborted.as_ref().is_err_and(|it| it.kind == FailureKind::Fenced), "expected fenced, found {aborted:?}");
    let again = first.ask(ProducerCommand::BeginTransaction).await;
    check!(again.is_err(), "the replaced producer begins another transaction");
    begin(&second).await?;
    second.write(values(&topic, 0, "second", 2)).await?;
    commit(&second).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(2).await?, named("second", 2), "the committed values");
    reader.nothing_comes(300).await?;
    reader.close().await?;
    first.ask(ProducerCommand::Close { timeout_ms: 5000 }).await.ok();
    second.close().await
}

/// What a lost producer left open is aborted by its successor, so that readers go on.
async fn a_new_instance_aborts_what_was_open(cx: Context) -> Outcome {
    let topic = cx.topic("successor", 1).await?;
    let lost = producer(&cx, "tx", &[]).await?;
    begin(&lost).await?;
    lost.write(values(&topic, 0, "lost", 2)).await?;
    let plain = cx.producer(&[]).await?;
    plain.write(values(&topic, 0, "plain", 2)).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    reader.nothing_comes(300).await?;
    let successor = producer(&cx, "tx", &[]).await?;
    same!(reader.read_texts(2).await?, named("plain", 2), "what was held back");
    reader.close().await?;
    plain.close().await?;
    lost.ask(ProducerCommand::Close { timeout_ms: 5000 }).await.ok();
    successor.close().await
}

/// transaction.timeout.ms: the coordinator aborts by itself.
async fn a_transaction_that_times_out_is_aborted(cx: Context) -> Outcome {
    let topic = cx.topic("timeout", 1).await?;
    let slow = producer(&cx, "tx", &[("transaction.timeout.ms", "1500")]).await?;
    begin(&slow).await?;
    slow.write(values(&topic, 0, "slow", 2)).await?;
    let plain = cx.producer(&[]).await?;
    plain.write(values(&topic, 0, "plain", 2)).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(2).await?, named("plain", 2), "what was held back until the timeout");
    let late = slow.ask(ProducerCommand::CommitTransaction).await;
    check!(late.is_err(), "a transaction was committed that had timed out");
    reader.close().await?;
    plain.close().await?;
    slow.ask(ProducerCommand::Close { timeout_ms: 5000 }).await.ok();
    Ok(())
}

/// Calls in the wrong order are refused and change nothing.
async fn calls_out_of_turn(cx: Context) -> Outcome {
    let topic = cx.topic("turn", 1).await?;
    let id = cx.name("tx");
    let fresh = cx.producer(&[("transactional.id", id.as_str())]).await?;
    let refused = |answer: Result<Reply, Failure>| answer.is_err_and(|failure| failure.kind != FailureKind::Internal);
    check!(refused(fresh.ask(ProducerCommand::BeginTransaction).await), "begin before init");
    fresh.ask(ProducerCommand::InitTransactions).await?;
    check!(refused(fresh.ask(ProducerCommand::CommitTransaction).await), "commit before begin");
    check!(refused(fresh.ask(ProducerCommand::AbortTransaction).await), "abort before begin");
    let failure = fresh.refused(Outgoing::value(&topic, "outside")).await?;
    check!(failure.kind != FailureKind::Internal, "a record outside a transaction: {failure}");
    begin(&fresh).await?;
    check!(refused(fresh.ask(ProducerCommand::BeginTransaction).await), "begin twice");
    fresh.write(values(&topic, 0, "inside", 1)).await?;
    commit(&fresh).await?;
    let plain = cx.producer(&[]).await?;
    check!(refused(plain.ask(ProducerCommand::InitTransactions).await), "init without a transactional id");
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(1).await?, named("inside", 1), "the committed value");
    reader.close().await?;
    plain.close().await?;
    fresh.close().await
}

/// A record that was not written keeps the transaction from being committed; after the abort it goes on.
async fn a_failed_record_fails_the_commit(cx: Context) -> Outcome {
    let topic = cx.topic_with("failed", 1, &[("max.message.bytes", "1000")]).await?;
    let producer = producer(&cx, "tx", &[]).await?;
    begin(&producer).await?;
    producer.write(values(&topic, 0, "fine", 1)).await?;
    producer.refused(Outgoing::value(&topic, vec![b'x'; 5000]).to(0)).await?;
    let committed = producer.ask(ProducerCommand::CommitTransaction).await;
    check!(committed.is_err(), "a transaction was committed without one of its records");
    abort(&producer).await?;
    begin(&producer).await?;
    producer.write(values(&topic, 0, "next", 1)).await?;
    commit(&producer).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(1).await?, named("next", 1), "the committed values");
    reader.nothing_comes(300).await?;
    reader.close().await?;
    producer.close().await
}

/// Transactions without records are committed and aborted.
async fn empty_transactions_are_fine(cx: Context) -> Outcome {
    let producer = producer(&cx, "tx", &[]).await?;
    for _ in 0..3 {
        begin(&producer).await?;
        commit(&producer).await?;
        begin(&producer).await?;
        abort(&producer).await?;
    }
    producer.close().await
}

/// What was committed and aborted before a restart is so after it, and the ids are known.
async fn transactions_survive_a_restart(cx: Context) -> Outcome {
    let topic = cx.topic("restart", 1).await?;
    let first = producer(&cx, "tx", &[]).await?;
    for (prefix, keep) in [("kept", true), ("lost", false)] {
        begin(&first).await?;
        first.write(values(&topic, 0, prefix, 3)).await?;
        if keep {
            commit(&first).await?
        } else {
            abort(&first).await?
        };
    }
    first.close().await?;
    cx.broker().restart().await?;
    let second = producer(&cx, "tx", &[]).await?;
    begin(&second).await?;
    second.write(values(&topic, 0, "after", 3)).await?;
    commit(&second).await?;
    let reader = reader(&cx, &topic, &[0], "read_committed").await?;
    same!(reader.read_texts(6).await?, [named("kept", 3), named("after", 3)].concat(), "the committed values");
    reader.close().await?;
    second.close().await
}
