//! Goal: what Kafka's documentation and Java's own tests promise of the mocks holds here, and code written against the
//! traits can be driven through them.

use super::*;
use crate::consumer::{BoxFuture, GroupMetadata, OffsetAndMetadata, OffsetReset, Offsets, Position};
use crate::error::{Error, ErrorKind, Result};
use crate::producer::{Partitioner, ProducerRecord, TopicPartitions};
use ottla_model::{ErrorCode, TopicPartition};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("flights", index)
}

fn failure() -> Error {
    Error::new(ErrorKind::Retriable, "as the test wants it")
}

async fn send(producer: &MockProducer, value: &str) -> MockDelivery {
    producer.send(ProducerRecord::new("flights", None, Some(value.as_bytes()))).await.unwrap()
}

fn values(records: &[crate::producer::OwnedRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn records_are_completed_by_themselves_or_one_by_one() {
    let producer = MockProducer::new(true);
    assert_eq!(send(&producer, "a").await.wait().await.unwrap().offset, 0);
    assert_eq!(send(&producer, "b").await.get().unwrap().unwrap().offset, 1);

    let producer = MockProducer::new(false);
    let (a, b, c) = (send(&producer, "a").await, send(&producer, "b").await, send(&producer, "c").await);
    assert!(a.get().is_none() && !producer.flushed());
    assert!(producer.complete_next());
    assert!(producer.error_next(failure()));
    assert_eq!(a.wait().await.unwrap().offset, 0);
    assert_eq!(b.wait().await.unwrap_err().kind(), ErrorKind::Retriable);
    assert!(c.get().is_none());
    producer.flush().await.unwrap();
    // A record that failed had an offset all the same, as in Java.
    assert_eq!(c.wait().await.unwrap().offset, 2);
    assert!(producer.flushed() && !producer.complete_next() && !producer.error_next(failure()));
    assert_eq!(values(&producer.history()), ["a", "b", "c"]);

    let forgotten = send(&producer, "d").await;
    producer.clear();
    assert!(producer.history().is_empty());
    assert_eq!(forgotten.wait().await.unwrap_err().kind(), ErrorKind::Closed);
    let next = send(&producer, "e").await;
    drop(producer);
    assert_eq!(next.wait().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn partitions_are_the_records_the_partitioners_or_the_keys() {
    #[derive(Debug)]
    struct Last;
    impl Partitioner for Last {
        fn partition(&self, topic: &TopicPartitions<'_>, _: Option<&[u8]>, _: Option<&[u8]>) -> i32 {
            topic.count() - 1
        }
    }
    let record = |partition, key| ProducerRecord { partition, ..ProducerRecord::new("flights", key, None) };
    let producer = MockProducer::new(true);
    assert_eq!(producer.send(record(Some(7), None)).await.unwrap().partition(), 7);
    assert_eq!(producer.partitions_for("flights").await.unwrap(), 0);
    producer.set_partitions("flights", 4);
    assert_eq!(producer.partitions_for("flights").await.unwrap(), 4);
    assert_eq!(producer.send(record(Some(7), None)).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(producer.send(record(None, None)).await.unwrap().partition(), 0);
    let by_key = producer.send(record(None, Some(b"LH 400"))).await.unwrap().partition();
    assert_eq!(by_key, ottla_model::partition_for_key(b"LH 400", 4));
    let producer = MockProducer::new(true).with_partitioner(Arc::new(Last));
    producer.set_partitions("flights", 4);
    assert_eq!(producer.send(record(None, Some(b"LH 400"))).await.unwrap().partition(), 3);
    assert_eq!(producer.send(record(Some(1), None)).await.unwrap().partition(), 1);
}

#[tokio::test]
async fn transactions_come_as_a_whole_or_not_at_all() {
    let producer = MockProducer::new(true);
    let group =
        GroupMetadata { group_id: "readers".into(), generation_id: 1, member_id: "m".into(), group_instance_id: None };
    let offsets: Offsets = [(partition(0), OffsetAndMetadata::from(5))].into();
    assert_eq!(producer.begin_transaction().unwrap_err().kind(), ErrorKind::Invalid);
    producer.init_transactions().await.unwrap();
    assert!(producer.init_transactions().await.is_err());
    assert!(producer.commit_transaction().await.is_err());

    producer.begin_transaction().unwrap();
    assert!(producer.begin_transaction().is_err());
    send(&producer, "a").await;
    producer.send_offsets_to_transaction(&Offsets::new(), &group).await.unwrap();
    assert!(!producer.sent_offsets());
    producer.send_offsets_to_transaction(&offsets, &group).await.unwrap();
    assert!(producer.sent_offsets() && producer.transaction_in_flight() && producer.history().is_empty());
    assert_eq!(values(&producer.uncommitted_records()), ["a"]);
    assert_eq!(producer.uncommitted_offsets()["readers"], offsets);
    producer.commit_transaction().await.unwrap();
    assert!(producer.transaction_committed() && !producer.transaction_in_flight());
    assert_eq!(values(&producer.history()), ["a"]);
    assert_eq!(producer.consumer_group_offsets_history()[0]["readers"], offsets);

    producer.begin_transaction().unwrap();
    send(&producer, "b").await;
    producer.send_offsets_to_transaction(&offsets, &group).await.unwrap();
    producer.abort_transaction().await.unwrap();
    assert!(producer.transaction_aborted() && !producer.transaction_committed());
    assert!(producer.uncommitted_records().is_empty() && producer.uncommitted_offsets().is_empty());
    assert_eq!((producer.history().len(), producer.commit_count()), (1, 1));

    producer.begin_transaction().unwrap();
    producer.fence_producer().unwrap();
    assert_eq!(producer.commit_transaction().await.unwrap_err().kind(), ErrorKind::Fenced);
    let sent = producer.send(ProducerRecord::new("flights", None, None)).await;
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Fenced);
    producer.close(NOW).await.unwrap();
    assert!(producer.closed());
    assert_eq!(producer.flush().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn every_call_of_a_producer_can_be_made_to_fail() {
    let producer = MockProducer::new(true);
    let fail = |call| producer.set_error(call, Some(failure()));
    let heal = |call| producer.set_error(call, None);
    let group = MockConsumer::new(OffsetReset::None).group_metadata().unwrap();

    fail(ProducerCall::InitTransactions);
    assert!(producer.init_transactions().await.is_err());
    heal(ProducerCall::InitTransactions);
    producer.init_transactions().await.unwrap();
    fail(ProducerCall::BeginTransaction);
    assert!(producer.begin_transaction().is_err());
    heal(ProducerCall::BeginTransaction);
    producer.begin_transaction().unwrap();
    fail(ProducerCall::Send);
    assert!(producer.send(ProducerRecord::new("flights", None, None)).await.is_err());
    heal(ProducerCall::Send);
    send(&producer, "a").await;
    fail(ProducerCall::SendOffsetsToTransaction);
    assert!(producer.send_offsets_to_transaction(&Offsets::new(), &group).await.is_err());
    fail(ProducerCall::Flush);
    assert!(producer.flush().await.is_err());
    assert!(producer.commit_transaction().await.is_err() && producer.transaction_in_flight());
    heal(ProducerCall::Flush);
    fail(ProducerCall::CommitTransaction);
    assert!(producer.commit_transaction().await.is_err());
    fail(ProducerCall::AbortTransaction);
    assert!(producer.abort_transaction().await.is_err());
    assert_eq!(values(&producer.uncommitted_records()), ["a"]);
    fail(ProducerCall::PartitionsFor);
    assert!(producer.partitions_for("flights").await.is_err());
    fail(ProducerCall::Close);
    assert!(producer.close(NOW).await.is_err() && !producer.closed());
}

/// Remembers what it heard, and commits before it gives partitions up.
#[derive(Debug, Default)]
struct Remembers(Mutex<Vec<String>>);

impl Remembers {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        self.0.lock().push(format!("{what} {partitions:?}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl<C: ConsumeClient> ConsumeListener<C> for Remembers {
    fn on_partitions_revoked<'a>(&'a self, consumer: &'a C, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        self.note("revoked", of);
        Box::pin(consumer.commit_sync())
    }

    fn on_partitions_assigned<'a>(&'a self, _: &'a C, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        self.note("assigned", of);
        Box::pin(async { Ok(()) })
    }

    fn on_partitions_lost<'a>(&'a self, _: &'a C, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        self.note("lost", of);
        Box::pin(async { Ok(()) })
    }
}

async fn offsets(consumer: &MockConsumer) -> Vec<(i32, i64)> {
    let records = consumer.poll(NOW).await.unwrap();
    records.iter().map(|record| (record.partition, record.offset)).collect()
}

fn add(consumer: &MockConsumer, index: i32, offset: i64) {
    consumer.add_record(record("flights", index, offset, None, Some(b"value"))).unwrap();
}

#[tokio::test]
async fn a_rebalance_tells_the_listener_and_keeps_positions() {
    let consumer = MockConsumer::new(OffsetReset::Earliest);
    let listener = Arc::new(Remembers::default());
    assert!(consumer.rebalance(&[partition(0)]).await.is_err(), "it is not subscribed");
    ConsumeClient::subscribe_with(&consumer, &["flights"], listener.clone()).unwrap();
    consumer.update_beginning_offsets((0..3).map(|index| (partition(index), 0)));
    consumer.rebalance(&[partition(0), partition(1)]).await.unwrap();
    assert_eq!(listener.take(), ["assigned [flights-0, flights-1]"]);
    add(&consumer, 0, 0);
    add(&consumer, 0, 1);
    add(&consumer, 1, 3);
    assert_eq!(offsets(&consumer).await, [(0, 0), (0, 1), (1, 3)]);
    add(&consumer, 0, 2);

    consumer.rebalance(&[partition(2), partition(0)]).await.unwrap();
    assert_eq!(listener.take(), ["revoked [flights-1]", "assigned [flights-2]"]);
    assert_eq!(consumer.assignment(), [partition(0), partition(2)].into());
    assert_eq!(consumer.committed(&[partition(1)]).await.unwrap()[&partition(1)].offset, 4);
    assert!(offsets(&consumer).await.is_empty(), "a rebalance forgets what was added");
    assert_eq!(consumer.position(&partition(0)).await.unwrap(), 2);
    assert_eq!(consumer.position(&partition(2)).await.unwrap(), 0);

    add(&consumer, 0, 2);
    consumer.lose_partitions(&[partition(0)]).await.unwrap();
    assert_eq!(listener.take(), ["lost [flights-0]"]);
    assert!(offsets(&consumer).await.is_empty() && consumer.lose_partitions(&[partition(0)]).await.is_err());
    consumer.rebalance(&[partition(1), partition(2)]).await.unwrap();
    assert_eq!(consumer.position(&partition(1)).await.unwrap(), 4, "from what was committed");
    consumer.unsubscribe().await.unwrap();
    assert!(consumer.assignment().is_empty() && consumer.subscription().is_empty());
}

#[tokio::test]
async fn positions_come_from_what_the_test_told() {
    let consumer = MockConsumer::new(OffsetReset::Latest);
    let of = partition(0);
    consumer.assign_committed(std::slice::from_ref(&of)).unwrap();
    assert!(consumer.subscribe(["flights"]).is_err());
    assert_eq!(consumer.current_lag(&of), Some(0));
    assert!(consumer.poll(NOW).await.unwrap_err().message().contains("update_end_offsets"));
    consumer.update_end_offsets([(of.clone(), 10)]);
    assert_eq!(consumer.current_lag(&of), None);
    assert_eq!(consumer.position(&of).await.unwrap(), 10);
    consumer.seek(&of, Position::Offset(4)).await.unwrap();
    assert_eq!(consumer.current_lag(&of), Some(6));
    add(&consumer, 0, 3);
    add(&consumer, 0, 7);
    assert_eq!(offsets(&consumer).await, [(0, 7)], "what is before the position is left out");
    assert_eq!(consumer.position(&of).await.unwrap(), 8);

    consumer.update_beginning_offsets([(of.clone(), 9)]);
    add(&consumer, 0, 9);
    assert_eq!(consumer.poll(NOW).await.unwrap_err().code(), Some(ErrorCode::OffsetOutOfRange));
    consumer.seek_to_beginning(&[]).unwrap();
    assert_eq!(offsets(&consumer).await, [(0, 9)]);
    consumer.seek_to_end(std::slice::from_ref(&of)).unwrap();
    assert_eq!(consumer.position(&of).await.unwrap(), 10);
    assert!(consumer.seek(&of, Position::Offset(-1)).await.is_err());
    assert!(consumer.seek(&partition(1), Position::Offset(0)).await.is_err());
    assert!(consumer.position(&partition(1)).await.is_err());

    assert_eq!(consumer.beginning_offsets(std::slice::from_ref(&of)).await.unwrap()[&of], 9);
    consumer.set_offsets_error(failure());
    assert!(consumer.end_offsets(std::slice::from_ref(&of)).await.is_err());
    assert_eq!(consumer.end_offsets(std::slice::from_ref(&of)).await.unwrap()[&of], 10);
    assert!(consumer.end_offsets(&[partition(1)]).await.is_err());

    let consumer = MockConsumer::new(OffsetReset::ByDuration(Duration::from_secs(60)));
    consumer.update_duration_offsets([(of.clone(), 6)]);
    consumer.assign_committed(std::slice::from_ref(&of)).unwrap();
    assert_eq!(consumer.position(&of).await.unwrap(), 6);
    let consumer = MockConsumer::new(OffsetReset::None);
    consumer.assign(&[(of.clone(), Position::Offset(2))]).await.unwrap();
    assert_eq!(consumer.position(&of).await.unwrap(), 2);
    consumer.assign_committed(&[]).unwrap();
    consumer.assign_committed(std::slice::from_ref(&of)).unwrap();
    assert!(consumer.position(&of).await.unwrap_err().message().contains("none"));
}

#[tokio::test]
async fn polls_run_tasks_fail_when_told_and_leave_out_what_is_paused() {
    let consumer = MockConsumer::new(OffsetReset::Earliest);
    consumer.update_beginning_offsets([(partition(0), 0), (partition(1), 0)]);
    consumer.assign_committed(&[partition(0), partition(1)]).unwrap();
    let clone = consumer.clone();
    consumer.schedule_nop_poll_task();
    consumer.schedule_poll_task(async move {
        (0..3).for_each(|offset| add(&clone, 0, offset));
        add(&clone, 1, 0);
    });
    assert!(offsets(&consumer).await.is_empty());
    consumer.pause(&[partition(1)]).unwrap();
    consumer.set_max_poll_records(2);
    assert_eq!(offsets(&consumer).await, [(0, 0), (0, 1)]);
    assert_eq!(offsets(&consumer).await, [(0, 2)]);
    assert_eq!(consumer.paused(), [partition(1)].into());
    consumer.resume(&[partition(1)]).unwrap();
    consumer.wakeup();
    consumer.set_poll_error(failure());
    assert_eq!(consumer.poll(NOW).await.unwrap_err().kind(), ErrorKind::Wakeup);
    assert_eq!(consumer.poll(NOW).await.unwrap_err().kind(), ErrorKind::Retriable);
    let records = consumer.poll(Duration::from_secs(3)).await.unwrap();
    assert_eq!(records.next_offsets(), [(partition(1), OffsetAndMetadata::from(1))].into());
    assert_eq!(consumer.last_poll_timeout(), Some(Duration::from_secs(3)));
    assert!(consumer.pause(&[partition(2)]).is_err() && consumer.resume(&[partition(2)]).is_err());
    assert!(consumer.add_record(record("flights", 2, 0, None, None)).is_err());

    consumer.enforce_rebalance("").unwrap();
    assert!(consumer.should_rebalance());
    consumer.reset_should_rebalance();
    assert!(!consumer.should_rebalance());
    consumer.close(NOW).await.unwrap();
    assert!(consumer.closed());
    assert_eq!(consumer.poll(NOW).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(consumer.commit_sync().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_pattern_subscribes_to_the_topics_told_of() {
    let consumer = MockConsumer::new(OffsetReset::Earliest);
    consumer.update_partitions("flights", 2);
    consumer.update_partitions("flights-old", 1);
    assert!(consumer.subscribe_pattern("fl(").is_err() && consumer.subscribe_pattern("trains").is_err());
    consumer.subscribe_pattern("fl.*s").unwrap();
    assert_eq!(consumer.subscription(), [Arc::from("flights")].into());
    assert_eq!(consumer.assignment(), [partition(0), partition(1)].into());
    assert_eq!(consumer.partitions_for("flights").await.unwrap(), [partition(0), partition(1)]);
    assert!(consumer.partitions_for("trains").await.unwrap().is_empty());
    assert!(consumer.assign_committed(&[partition(0)]).is_err());
}

#[tokio::test]
async fn commits_are_remembered_and_callbacks_called() {
    let consumer = MockConsumer::new(OffsetReset::Earliest);
    consumer.assign(&[(partition(0), Position::Offset(5))]).await.unwrap();
    let (heard, hear) = (Arc::new(Mutex::new(Vec::new())), |heard: &Arc<Mutex<Vec<_>>>| {
        let heard = heard.clone();
        move |offsets: &Offsets, result: Result<()>| heard.lock().push((offsets.clone(), result.is_ok()))
    });
    consumer.commit_async_with(None, hear(&heard));
    let mine: Offsets = [(partition(1), OffsetAndMetadata { metadata: "mine".into(), ..8.into() })].into();
    consumer.commit_async_with(Some(mine.clone()), hear(&heard));
    let all = consumer.committed(&[partition(0), partition(1), partition(2)]).await.unwrap();
    assert_eq!((all.len(), all[&partition(0)].offset, &all[&partition(1)]), (2, 5, &mine[&partition(1)]));
    consumer.close(NOW).await.unwrap();
    consumer.commit_async_with(Some(mine), hear(&heard));
    assert_eq!(heard.lock().iter().map(|(_, ok)| *ok).collect::<Vec<_>>(), [true, true, false]);
}

/// Reads, writes what it read in upper case, and commits both together: with mocks as with a cluster.
async fn shout(consumer: &impl ConsumeClient, producer: &impl ProduceClient) -> Result<usize> {
    let records = consumer.poll(NOW).await?;
    producer.begin_transaction()?;
    for record in &records {
        let value = record.value.as_ref().map(|value| value.to_ascii_uppercase());
        producer.send(ProducerRecord::new("shouts", record.key.as_deref(), value.as_deref())).await?;
    }
    producer.send_offsets_to_transaction(&records.next_offsets(), &consumer.group_metadata()?).await?;
    match producer.commit_transaction().await {
        Ok(()) => Ok(records.len()),
        Err(error) => producer.abort_transaction().await.and(Err(error)),
    }
}

#[tokio::test]
async fn code_against_the_traits_runs_with_both_mocks() {
    let (consumer, producer) = (MockConsumer::new(OffsetReset::Earliest), MockProducer::new(true));
    producer.init_transactions().await.unwrap();
    consumer.assign(&[(partition(0), Position::Offset(0))]).await.unwrap();
    add(&consumer, 0, 0);
    assert_eq!(shout(&consumer, &producer).await.unwrap(), 1);
    assert_eq!(values(&producer.history()), ["VALUE"]);
    assert_eq!(producer.consumer_group_offsets_history()[0]["dummy.group.id"][&partition(0)].offset, 1);

    add(&consumer, 0, 1);
    producer.set_error(ProducerCall::CommitTransaction, Some(Error::new(ErrorKind::Abortable, "abort me")));
    assert_eq!(shout(&consumer, &producer).await.unwrap_err().kind(), ErrorKind::Abortable);
    assert!(producer.transaction_aborted());
    assert_eq!(producer.history().len(), 1);
}
