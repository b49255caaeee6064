//! What goes wrong between a producer and its broker, made to happen: nothing is lost, doubled or reordered, and what
//! cannot be mended is told to the record it happened to.

use crate::client_producer::read;
use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::Broker;
use ottla::client::admin::NewTopic;
use ottla::client::{
    Client, Compression, Delivery, Error, ErrorCode, ErrorKind, OwnedRecord, Partitioner, Producer,
    ProducerInterceptor, ProducerOptions, ProducerRecord, RecordMetadata, TopicPartitions,
};
use ottla::faults::{ApiKey, LostAnswer};
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn stage() -> (Broker, Client) {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 2).await;
    (broker, client)
}

fn producer(client: &Client, options: ProducerOptions) -> Producer {
    client.producer(options).expect("the options fit together")
}

fn small_batches() -> ProducerOptions {
    ProducerOptions { batch_size: 100, linger: Duration::ZERO, ..ProducerOptions::default() }
}

/// Sends numbers to partition 0.
async fn numbers(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in numbers {
        let value = number.to_string();
        let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new("t", None, Some(value.as_bytes())) };
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    deliveries
}

async fn written(client: &Client) -> Vec<u32> {
    let number = |value: &[u8]| std::str::from_utf8(value).expect("text").parse().expect("a number");
    read(client, "t", 0).await.iter().map(|record| number(record.value.as_deref().expect("a value"))).collect()
}

/// Each of these codes strikes some of many batches in flight; all arrive, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_mended_is_mended_in_order() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::RequestTimedOut,
        ErrorCode::CorruptMessage,
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::UnknownProducerId,
    ] {
        let (broker, client) = stage().await;
        let producer = producer(&client, small_batches());
        let fault = broker.faults().on(ApiKey::Produce).topic("t").after(3).times(4);
        let fault = fault.error(code).expect("a fault that can strike");
        let deliveries = numbers(&producer, 0..200).await;
        for delivery in &deliveries {
            delivery.wait().await.unwrap_or_else(|error| panic!("{code:?}: {error}"));
        }
        assert_eq!(fault.fired(), 4, "{code:?}");
        assert_eq!(written(&client).await, (0..200).collect::<Vec<_>>(), "{code:?}");
        broker.close().await.expect("closes");
    }
}

/// Answers that are lost after the broker has written: sent again, and known again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_double_nothing() {
    let (broker, client) = stage().await;
    let producer = producer(&client, small_batches());
    let fault = broker.faults().on(ApiKey::Produce).topic("t").after(2).times(5);
    let fault = fault.lose_answer(LostAnswer::Close).expect("a fault that can strike");
    for delivery in numbers(&producer, 0..200).await {
        delivery.wait().await.expect("delivered");
    }
    assert_eq!(fault.fired(), 5);
    assert_eq!(written(&client).await, (0..200).collect::<Vec<_>>());
    broker.close().await.expect("closes");
}

/// A batch that is given up uses up its sequence; what follows is written under the next epoch (KIP-360).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_batch_that_is_given_up_the_others_go_on() {
    let (broker, client) = stage().await;
    let producer = producer(&client, small_batches());
    for first in [0, 100, 200] {
        let fault = broker.faults().on(ApiKey::Produce).topic("t").partition(0).after(1).times(1);
        let fault = fault.error(ErrorCode::InvalidRecord).expect("a fault that can strike");
        let deliveries = numbers(&producer, first..first + 100).await;
        let mut failed = 0;
        for delivery in &deliveries {
            if let Err(error) = delivery.wait().await {
                assert_eq!(error.code(), Some(ErrorCode::InvalidRecord), "{error}");
                failed += 1;
            }
        }
        assert_eq!(fault.fired(), 1);
        assert!((1..100).contains(&failed), "{failed}");
    }
    let written = written(&client).await;
    assert!(written.is_sorted_by(|a, b| a < b), "in order and once: {written:?}");
    broker.close().await.expect("closes");
}

/// The broker takes less than the producer sends: the batch is divided until it fits; what never fits fails alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_batches_are_divided() {
    for compression in [Compression::None, Compression::Gzip] {
        let (broker, client) = stage().await;
        let topic = NewTopic {
            name: "tight".into(),
            partitions: Some(1),
            configs: vec![("max.message.bytes".into(), "1000".into())],
            ..NewTopic::default()
        };
        client.admin().create_topics(&[topic], false).await.expect("answers").remove(0).expect("new");
        let options = ProducerOptions { linger: Duration::from_secs(60), compression, ..ProducerOptions::default() };
        let producer = producer(&client, options);
        let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut deliveries = Vec::new();
        for number in 0..100_u8 {
            // One of them is too large by itself.
            let size = if number == 50 { 4000 } else { 80 };
            let mut value = noise[usize::from(number)..usize::from(number) + size].to_vec();
            value[0] = number;
            let record = ProducerRecord::new("tight", None, Some(&value));
            deliveries.push(producer.send(record).await.expect("taken"));
        }
        producer.flush().await;
        let mut offsets = Vec::new();
        for (number, delivery) in deliveries.iter().enumerate() {
            match delivery.get().expect("flushed") {
                Ok(metadata) => offsets.push(metadata.offset),
                Err(error) => assert_eq!((number, error.code()), (50, Some(ErrorCode::MessageTooLarge)), "{error}"),
            }
        }
        let records = read(&client, "tight", 0).await;
        let numbers: Vec<u8> = records.iter().map(|record| record.value.as_deref().expect("a value")[0]).collect();
        let expected: Vec<u8> = (0..100).filter(|number| *number != 50).collect();
        assert_eq!(numbers, expected, "{compression}");
        assert_eq!(offsets, records.iter().map(|record| record.offset).collect::<Vec<_>>(), "{compression}");
        let splits = producer.metrics().into_iter().find(|metric| metric.name.name == "batch-split-total");
        assert!(splits.and_then(|metric| metric.value.as_f64()).is_some_and(|splits| splits >= 1.0));
        broker.close().await.expect("closes");
    }
}

/// A topic is deleted and made anew with another id, and more partitions, under a running producer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_is_written_to() {
    let (broker, client) = stage().await;
    let producer = producer(&client, small_batches());
    for delivery in numbers(&producer, 0..10).await {
        delivery.wait().await.expect("delivered");
    }
    for deleted in client.admin().delete_topics(&["t".to_owned()]).await.expect("answers") {
        deleted.expect("deleted");
    }
    create_topic(&client, "t", 3).await;
    for delivery in numbers(&producer, 10..20).await {
        delivery.wait().await.expect("delivered");
    }
    assert_eq!(written(&client).await, (10..20).collect::<Vec<_>>());
    let third = ProducerRecord { partition: Some(2), ..ProducerRecord::new("t", None, Some(b"0")) };
    producer.send(third).await.expect("there by now").wait().await.expect("delivered");
    broker.close().await.expect("closes");
}

#[derive(Debug, Default)]
struct Notes {
    name: &'static str,
    sent: Mutex<Vec<String>>,
    acknowledged: Mutex<Vec<(i32, i64, Option<ErrorKind>)>>,
}

impl ProducerInterceptor for Notes {
    fn on_send(&self, mut record: OwnedRecord) -> Result<OwnedRecord, String> {
        let value = String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).expect("text");
        self.sent.lock().expect("no panic under it").push(value.clone());
        assert!(value != "panic", "as asked");
        if value == "error" {
            return Err("as asked".to_owned());
        }
        record.value = Some(format!("{value}{}", self.name).into());
        record.headers.push((self.name.to_owned(), None));
        Ok(record)
    }

    fn on_acknowledgement(&self, metadata: &RecordMetadata, error: Option<&Error>) {
        self.acknowledged.lock().expect("no panic under it").push((
            metadata.partition,
            metadata.offset,
            error.map(Error::kind),
        ));
        assert!(self.name != "b", "what one does wrong does not concern the others");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interceptors_see_and_replace_and_harm_nothing() {
    let (broker, client) = stage().await;
    let (first, second) =
        (Arc::new(Notes { name: "a", ..Notes::default() }), Arc::new(Notes { name: "b", ..Notes::default() }));
    let options = ProducerOptions { interceptors: vec![second.clone(), first.clone()], ..ProducerOptions::default() };
    let producer = producer(&client, options);
    for value in ["x", "panic", "error"] {
        let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new("t", None, Some(value.as_bytes())) };
        producer.send(record).await.expect("taken").wait().await.expect("delivered");
    }
    let nowhere = ProducerRecord { partition: Some(9), ..ProducerRecord::new("t", None, Some(b"y")) };
    producer.send(nowhere).await.expect_err("no such partition");
    producer.close(PATIENCE).await.expect("closes");
    let records = read(&client, "t", 0).await;
    let values: Vec<&[u8]> = records.iter().map(|record| record.value.as_deref().expect("a value")).collect();
    assert_eq!(values, [&b"xba"[..], b"panic", b"error"]);
    assert_eq!(records[0].headers.len(), 2);
    assert_eq!(*first.sent.lock().expect("no panic under it"), ["xb", "panic", "error", "yb"]);
    for notes in [first, second] {
        let told = notes.acknowledged.lock().expect("no panic under it");
        let expected = [(0, 0, None), (0, 1, None), (0, 2, None), (9, -1, Some(ErrorKind::Invalid))];
        let mut sorted = told.clone();
        sorted.sort_by_key(|(partition, offset, _)| (*partition, *offset));
        assert_eq!(sorted, expected, "each record once");
    }
    broker.close().await.expect("closes");
}

/// By the value's first byte; notes what it is told of new batches.
#[derive(Debug, Default)]
struct ByValue {
    batches: Mutex<Vec<i32>>,
}

impl Partitioner for ByValue {
    fn partition(&self, topic: &TopicPartitions<'_>, _key: Option<&[u8]>, value: Option<&[u8]>) -> i32 {
        assert_eq!((topic.topic(), topic.count(), topic.available().count()), ("t", 2, 2));
        i32::from(value.expect("a value")[0] - b'0')
    }

    fn on_new_batch(&self, _topic: &TopicPartitions<'_>, previous: i32) {
        self.batches.lock().expect("no panic under it").push(previous);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_partitioner_decides() {
    let (broker, client) = stage().await;
    let by_value = Arc::new(ByValue::default());
    let options = ProducerOptions {
        partitioner: Some(by_value.clone()),
        linger: Duration::from_secs(60),
        ..ProducerOptions::default()
    };
    let producer = producer(&client, options);
    for (value, partition) in [("1", 1), ("0", 0), ("1", 1), ("0", 0)] {
        let sent = producer.send(ProducerRecord::new("t", Some(b"k"), Some(value.as_bytes()))).await.expect("taken");
        assert_eq!(sent.partition(), partition);
    }
    assert_eq!(*by_value.batches.lock().expect("no panic under it"), [1, 0], "two batches were opened");
    let error = producer.send(ProducerRecord::new("t", None, Some(b"7"))).await.expect_err("no such partition");
    assert!(error.message().contains("chose partition 7"), "{error}");
    producer.close(PATIENCE).await.expect("closes");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_what_they_are_one_by_one() {
    let (broker, client) = stage().await;
    let options = ProducerOptions { buffer_memory: 40_000, ..ProducerOptions::default() };
    let producer = producer(&client, options);
    let values: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    let record = |value: &'static str| ProducerRecord::new("t", None, Some(value.as_bytes()));
    let mut records: Vec<ProducerRecord<'_>> = values
        .iter()
        .map(|value| ProducerRecord { partition: Some(0), ..ProducerRecord::new("t", None, Some(value.as_bytes())) })
        .collect();
    records.insert(7, ProducerRecord { partition: Some(5), ..record("nowhere") });
    records.insert(9, ProducerRecord { timestamp: Some(-5), ..record("never") });
    let sent = producer.send_all(&records).await;
    assert_eq!(sent.len(), records.len());
    let failed: Vec<usize> = (0..sent.len()).filter(|index| sent[*index].is_err()).collect();
    assert_eq!(failed, [7, 9]);
    let text = "Invalid timestamp: -5. Timestamp should always be non-negative or null.";
    assert_eq!(sent[9].as_ref().expect_err("refused").message(), text);
    producer.flush().await;
    for (offset, delivery) in sent.into_iter().filter_map(Result::ok).enumerate() {
        assert_eq!(delivery.get().expect("flushed").expect("written").offset, offset as i64);
    }
    assert_eq!(written(&client).await, (0..3000).collect::<Vec<_>>());
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_in_no_time_fails_what_is_left() {
    let (broker, client) = stage().await;
    let fault = broker.faults().on(ApiKey::Produce).topic("t").always();
    let _fault = fault.error(ErrorCode::NotLeaderOrFollower).expect("a fault that can strike");
    let producer = producer(&client, small_batches());
    let deliveries = numbers(&producer, 0..10).await;
    let error = producer.close(Duration::from_millis(50)).await.expect_err("records are left");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    for delivery in deliveries {
        assert_eq!(delivery.wait().await.expect_err("not delivered").kind(), ErrorKind::Closed);
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_kafkas_names() {
    let (broker, client) = stage().await;
    let producer = producer(&client, ProducerOptions::default());
    for delivery in numbers(&producer, 0..10).await {
        delivery.wait().await.expect("delivered");
    }
    producer.flush().await;
    let metrics = producer.metrics();
    let value = |group: &str, name: &str| {
        let found = metrics.iter().find(|metric| metric.name.group == group && metric.name.name == name);
        found.unwrap_or_else(|| panic!("no {group} {name}")).value.as_f64().expect("a number")
    };
    assert_eq!(value("producer-metrics", "record-send-total"), 10.0);
    assert_eq!(value("producer-topic-metrics", "record-send-total"), 10.0);
    assert_eq!(value("producer-metrics", "buffer-total-bytes"), 33_554_432.0);
    for name in [
        "batch-size-avg",
        "batch-size-max",
        "batch-split-rate",
        "batch-split-total",
        "buffer-available-bytes",
        "buffer-exhausted-rate",
        "buffer-exhausted-total",
        "bufferpool-wait-ratio",
        "bufferpool-wait-time-ns-total",
        "compression-rate-avg",
        "flush-time-ns-total",
        "metadata-age",
        "metadata-wait-time-ns-total",
        "produce-throttle-time-avg",
        "produce-throttle-time-max",
        "record-error-rate",
        "record-error-total",
        "record-queue-time-avg",
        "record-queue-time-max",
        "record-retry-rate",
        "record-retry-total",
        "record-send-rate",
        "record-size-avg",
        "record-size-max",
        "records-per-request-avg",
        "request-latency-avg",
        "request-latency-max",
        "requests-in-flight",
        "txn-abort-time-ns-total",
        "txn-begin-time-ns-total",
        "txn-commit-time-ns-total",
        "txn-init-time-ns-total",
        "txn-send-offsets-time-ns-total",
        "waiting-threads",
    ] {
        value("producer-metrics", name);
    }
    for name in [
        "byte-rate",
        "byte-total",
        "compression-rate",
        "record-error-rate",
        "record-error-total",
        "record-retry-rate",
        "record-retry-total",
        "record-send-rate",
    ] {
        value("producer-topic-metrics", name);
    }
    broker.close().await.expect("closes");
}
