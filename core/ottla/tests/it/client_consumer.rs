//! The consumer by assignment: positions, seeks, many partitions in one fetch session, offsets that are gone.

use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::client::{
    Client, Consumer, ConsumerOptions, ErrorCode, OffsetReset, Position, ProducerOptions, ProducerRecord,
    TopicPartition,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Sends one record per timestamp to partition 0, each as a batch of its own; its value is the timestamp.
async fn send_at(client: &Client, topic: &str, timestamps: &[i64]) {
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    for timestamp in timestamps {
        let value = timestamp.to_string();
        let record = ProducerRecord::new(topic, None, Some(value.as_bytes()));
        let record = ProducerRecord { partition: Some(0), timestamp: Some(*timestamp), ..record };
        producer.send(record).await.expect("sent").wait().await.expect("acknowledged");
    }
}

/// The offsets of the next `count` records.
async fn next(consumer: &Consumer, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let polled = consumer.poll_batches(PATIENCE).await.expect("the broker answers");
        assert!(!polled.is_empty(), "nothing came");
        for fetched in polled {
            offsets.extend(fetched.records().map(|record| record.expect("the batch is sound").offset));
        }
    }
    offsets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_and_seeks() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "times", 1).await;
    send_at(&client, "times", &[1000, 2000, 3000, 4000]).await;
    let partition = TopicPartition::new("times", 0);
    let consumer = client.consumer(ConsumerOptions::default());
    let asked = [
        (Position::Earliest, 0),
        (Position::Latest, 4),
        (Position::Timestamp(1500), 1),
        (Position::Timestamp(3000), 2),
        (Position::Timestamp(9000), 4),
        (Position::Offset(3), 3),
    ];
    for (position, offset) in asked {
        assert_eq!(consumer.offsets(&[(partition.clone(), position)]).await.expect("found"), [offset], "{position:?}");
    }
    consumer.assign(&[(partition.clone(), Position::Timestamp(1500))]).await.expect("assigned");
    assert_eq!(next(&consumer, 3).await, [1, 2, 3]);
    assert_eq!(consumer.position_now(&partition), Some(4));
    consumer.seek(&partition, Position::Offset(2)).await.expect("sought");
    assert_eq!(next(&consumer, 2).await, [2, 3]);
    // At the end a poll waits for what comes.
    assert!(consumer.poll_batches(Duration::from_millis(50)).await.expect("quiet").is_empty());
    send_at(&client, "times", &[5000]).await;
    assert_eq!(next(&consumer, 1).await, [4]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_and_an_assignment_that_changes() {
    const PARTITIONS: i32 = 200;
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "wide", PARTITIONS).await;
    let consumer = client.consumer(ConsumerOptions::default());
    let all = consumer.partitions_for("wide").await.expect("the topic exists");
    assert_eq!(all.len(), PARTITIONS as usize);
    let from_start: Vec<_> = all.iter().map(|partition| (partition.clone(), Position::Earliest)).collect();
    consumer.assign(&from_start).await.expect("assigned");
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let mut expected: BTreeMap<i32, usize> = BTreeMap::new();
    let mut read: BTreeMap<i32, usize> = BTreeMap::new();
    for round in 0..10 {
        for partition in (0..PARTITIONS).filter(|partition| (partition + round) % 7 == 0) {
            let record = ProducerRecord::new("wide", None, Some(b"x"));
            producer.send(ProducerRecord { partition: Some(partition), ..record }).await.expect("sent");
            *expected.entry(partition).or_default() += 1;
        }
        producer.flush().await;
        while read != expected {
            let polled = consumer.poll_batches(PATIENCE).await.expect("the broker answers");
            assert!(!polled.is_empty(), "round {round}: {read:?}");
            for fetched in polled {
                *read.entry(fetched.partition).or_default() += fetched.records().count();
            }
        }
    }
    // Half of the partitions: nothing of the others may come.
    consumer.assign(&from_start[..100]).await.expect("assigned");
    let wanted: usize = expected.range(..100).map(|(_, count)| count).sum();
    let mut got = 0;
    while got < wanted {
        for fetched in consumer.poll_batches(PATIENCE).await.expect("the broker answers") {
            assert!(fetched.partition < 100);
            got += fetched.records().count();
        }
    }
    assert_eq!(got, wanted);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_is_not_there() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "gone", 1).await;
    send_at(&client, "gone", &[1, 2]).await;
    let partition = TopicPartition::new("gone", 0);
    let beyond = [(partition.clone(), Position::Offset(1000))];

    let strict = client.consumer(ConsumerOptions { offset_reset: OffsetReset::None, ..ConsumerOptions::default() });
    strict.assign(&beyond).await.expect("assigned");
    let error = strict.poll_batches(PATIENCE).await.expect_err("no such offset");
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange), "{error}");
    assert!(error.message().contains("offset 1000"), "{error}");
    strict.seek(&partition, Position::Earliest).await.expect("sought");
    assert_eq!(next(&strict, 2).await, [0, 1]);

    let from_start =
        client.consumer(ConsumerOptions { offset_reset: OffsetReset::Earliest, ..ConsumerOptions::default() });
    from_start.assign(&beyond).await.expect("assigned");
    assert_eq!(next(&from_start, 2).await, [0, 1]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_exist() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "small", 2).await;
    let consumer = client.consumer(ConsumerOptions::default());
    let error = consumer.assign(&[(TopicPartition::new("small", 2), Position::Latest)]).await.expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition), "{error}");
    assert!(error.message().contains("2 partitions"), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_slow_bounds_what_waits_for_it() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "big", 1).await;
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let value = vec![b'x'; 10_000];
    for _ in 0..500 {
        producer.send(ProducerRecord::new("big", None, Some(&value))).await.expect("sent");
    }
    producer.flush().await;
    let consumer = client.consumer(ConsumerOptions {
        buffered_bytes_max: 100_000,
        max_partition_fetch_bytes: 50_000,
        ..ConsumerOptions::default()
    });
    consumer.assign(&[(TopicPartition::new("big", 0), Position::Earliest)]).await.expect("assigned");
    let mut read = 0;
    while read < 500 {
        let polled = consumer.poll_batches(PATIENCE).await.expect("the broker answers");
        let waiting: usize = polled.iter().map(|fetched| fetched.bytes.len()).sum();
        assert!(waiting <= 100_000 + 50_000, "{waiting}");
        read += polled.iter().map(|fetched| fetched.records().count()).sum::<usize>();
    }
    assert_eq!(read, 500);
    broker.close().await.expect("closes");
}
