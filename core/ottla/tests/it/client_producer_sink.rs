//! Deliveries told by the batch: each record's number comes back exactly once, with its offset or why it failed.

use crate::support::{client, create_topic, on_tcp};
use ottla::client::{
    Client, Compression, ConsumerOptions, DeliveredRecords, DeliverySink, ErrorCode, ErrorKind, Position, Producer,
    ProducerOptions, ProducerRecord, TopicPartition,
};
use ottla::faults::ApiKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Default)]
struct Told(Mutex<Vec<DeliveredRecords>>);

impl DeliverySink for Told {
    fn delivered(&self, records: DeliveredRecords) {
        self.0.lock().expect("no panic under it").push(records);
    }
}

impl Told {
    /// Of each number its partition, and its offset or the error.
    fn by_tag(&self) -> BTreeMap<u64, (i32, Result<i64, ErrorKind>)> {
        let mut all = BTreeMap::new();
        for batch in self.0.lock().expect("no panic under it").iter() {
            for (index, (tag, timestamp)) in batch.records.iter().enumerate() {
                assert!(*timestamp > 0);
                let offset = batch.result.as_ref().map(|base| base + index as i64).map_err(|error| error.kind());
                assert!(all.insert(*tag, (batch.partition, offset)).is_none(), "record {tag} was told of twice");
            }
        }
        all
    }
}

fn producer(client: &Client, options: ProducerOptions) -> (Producer, Arc<Told>) {
    let told = Arc::new(Told::default());
    let options = ProducerOptions { delivery_sink: Some(told.clone()), ..options };
    (client.producer(options).expect("they fit together"), told)
}

/// The value at each offset of a partition.
async fn values(client: &Client, partition: i32, count: usize) -> BTreeMap<i64, Vec<u8>> {
    let consumer = client.consumer(ConsumerOptions::default());
    consumer.assign(&[(TopicPartition::new("t", partition), Position::Earliest)]).await.expect("exists");
    let mut values = BTreeMap::new();
    while values.len() < count {
        for record in consumer.poll(Duration::from_secs(5)).await.expect("polls") {
            values.insert(record.offset, record.value.expect("a value").to_vec());
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_comes_back_with_the_offset_of_its_record() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 3).await;
    let (producer, told) = producer(&client, ProducerOptions { batch_size: 512, ..ProducerOptions::default() });
    let bytes: Vec<Vec<u8>> = (0..5000_u32).map(|number| number.to_string().into_bytes()).collect();
    let record = |bytes| ProducerRecord::new("t", Some(bytes), Some(bytes));
    let mut records: Vec<ProducerRecord> = bytes.iter().map(|bytes| record(bytes.as_slice())).collect();
    records[4321].partition = Some(9);
    // Nothing is known of the topic yet, so that nothing can be taken without waiting.
    assert_eq!(producer.try_send_tagged(&records, 0), 0);
    let sent = producer.send_tagged(&records[..100], 0).await;
    assert!(sent.iter().all(Result::is_ok));
    let taken = producer.try_send_tagged(&records[100..4400], 100);
    assert!(taken <= 4221, "the record with a partition that does not exist was taken");
    let from = 100 + taken;
    let sent = producer.send_tagged(&records[from..], from as u64).await;
    let refused: Vec<usize> = (0..sent.len()).filter(|index| sent[*index].is_err()).map(|index| from + index).collect();
    assert_eq!(refused, [4321]);
    producer.flush().await;
    let told = told.by_tag();
    let all: Vec<u64> = (0..5000).filter(|tag| *tag != 4321).collect();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), all);
    for partition in 0..3 {
        let mine: Vec<_> = told.iter().filter(|(_, (at, _))| *at == partition).collect();
        let values = values(&client, partition, mine.len()).await;
        for (tag, (_, offset)) in mine {
            assert_eq!(values[&offset.expect("written")], tag.to_string().into_bytes());
        }
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_follow_their_records_into_the_parts_of_a_batch_that_was_too_large() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let options = ProducerOptions { batch_size: 1 << 20, compression: Compression::Lz4, ..ProducerOptions::default() };
    let (producer, told) = producer(&client, ProducerOptions { linger: Duration::from_secs(60), ..options });
    let once = broker.faults().on(ApiKey::Produce).topic("t").times(1);
    let _fault = once.error(ErrorCode::MessageTooLarge).expect("a fault that can strike");
    let bytes: Vec<Vec<u8>> = (0..60_000_u32).map(|number| number.to_string().into_bytes()).collect();
    let records: Vec<ProducerRecord> = bytes.iter().map(|bytes| ProducerRecord::new("t", None, Some(bytes))).collect();
    assert!(producer.send_tagged(&records, 7).await.iter().all(Result::is_ok));
    producer.flush().await;
    let splits = producer.metrics().into_iter().find(|metric| metric.name.name == "batch-split-total");
    assert!(splits.and_then(|metric| metric.value.as_f64()).is_some_and(|splits| splits >= 1.0));
    let told = told.by_tag();
    let offsets: Vec<_> = told.iter().map(|(tag, (_, offset))| (*tag, offset.expect("written"))).collect();
    assert_eq!(offsets, (0..60_000).map(|number| (number + 7, number as i64)).collect::<Vec<_>>());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_records_that_are_given_up_come_back_with_the_error() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let fault = broker.faults().on(ApiKey::Produce).topic("t").always();
    let _fault = fault.error(ErrorCode::NotLeaderOrFollower).expect("a fault that can strike");
    let (producer, told) = producer(&client, ProducerOptions::default());
    let records = [ProducerRecord::new("t", None, Some(b"lost")); 20];
    assert!(producer.send_tagged(&records, 0).await.iter().all(Result::is_ok));
    producer.close(Duration::from_millis(50)).await.expect_err("records are left");
    let told = told.by_tag();
    assert_eq!(told, (0..20).map(|tag| (tag, (0, Err(ErrorKind::Closed)))).collect());
    broker.close().await.expect("closes");
}
