//! The producer: what is sent arrives once, in order, whatever the codec, and mistakes are told at once.

use crate::support::{PATIENCE, client, consume, create_topic, on_tcp};
use ottla::client::{
    Acks, Client, Compression, ConsumerOptions, Env, ErrorCode, ErrorKind, Position, Producer, ProducerOptions,
    ProducerRecord, Record, TopicPartition,
};
use std::time::Duration;

/// All records of a topic's partition that were written so far.
pub async fn read(client: &Client, topic: &str, partition: i32) -> Vec<Record> {
    let consumer = client.consumer(ConsumerOptions::default());
    let partition = TopicPartition::new(topic, partition);
    let end = consumer.offsets(&[(partition.clone(), Position::Latest)]).await.expect("the partition exists")[0];
    consumer.assign(&[(partition.clone(), Position::Earliest)]).await.expect("the partition exists");
    let mut records = Vec::new();
    while consumer.position_now(&partition).expect("assigned") < end {
        for fetched in consumer.poll_batches(PATIENCE).await.expect("the broker answers") {
            records.extend(fetched.records().map(|record| record.expect("the batch is sound")));
        }
    }
    records
}

fn producer(client: &Client, options: ProducerOptions) -> Producer {
    client.producer(options).expect("the options fit together")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_and_every_part_of_a_record() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "records", 1).await;
    let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("a", None), ("empty", Some(b""))];
    let long = vec![b'x'; 50_000];
    let mut expected = Vec::new();
    for compression in Compression::ALL {
        let producer = producer(&client, ProducerOptions { compression, ..ProducerOptions::default() });
        for value in [Some(&b"value"[..]), None, Some(b""), Some(&long)] {
            let record = ProducerRecord {
                timestamp: Some(1_359_676_799_999),
                headers,
                ..ProducerRecord::new("records", Some(b"key"), value)
            };
            producer.send(record).await.expect("it fits");
            expected.push(value.map(<[u8]>::to_vec));
        }
        producer.flush().await;
    }
    let records = read(&client, "records", 0).await;
    let values: Vec<_> = records.iter().map(|record| record.value.as_ref().map(|value| value.to_vec())).collect();
    assert_eq!(values, expected);
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.offset, index as i64);
        assert_eq!(record.timestamp, 1_359_676_799_999);
        assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
        let read: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        assert_eq!(read, headers);
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_where_java_puts_them_and_the_rest_is_spread() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "spread", 7).await;
    let options = ProducerOptions { batch_size: 1000, ..ProducerOptions::default() };
    let producer = producer(&client, options);
    let key = producer.send(ProducerRecord::new("spread", Some(b"AA"), None)).await.expect("sent");
    assert_eq!(key.partition(), java_partition(b"AA", 7));
    let fixed = ProducerRecord { partition: Some(6), ..ProducerRecord::new("spread", Some(b"AA"), None) };
    assert_eq!(producer.send(fixed).await.expect("sent").partition(), 6);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        let delivery = producer.send(ProducerRecord::new("spread", None, Some(&[0; 100]))).await.expect("sent");
        seen.insert(delivery.partition());
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    producer.close(PATIENCE).await.expect("all delivered");
    let mut total = 0;
    for partition in 0..7 {
        total += read(&client, "spread", partition).await.len();
    }
    assert_eq!(total, 2002);
    broker.close().await.expect("closes");
}

/// Kafka's default partitioner, written down once more for the test: murmur2 with Kafka's seed, sign bit dropped.
fn java_partition(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        word = (word ^ (word >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ word;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as i32 % partitions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awaited_single_sends_do_not_linger() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "singles", 1).await;
    let options = ProducerOptions { linger: Duration::from_secs(30), ..ProducerOptions::default() };
    let producer = producer(&client, options);
    let all = async {
        for offset in 0..100 {
            let delivery = producer.send(ProducerRecord::new("singles", None, Some(b"x"))).await.expect("sent");
            assert_eq!(delivery.wait().await.expect("acknowledged").offset, offset);
        }
    };
    Env::real().timeout(Duration::from_secs(20), all).await.expect("none of them waited for the linger");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_buffer_slows_down_and_loses_nothing() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "slow", 3).await;
    let options = ProducerOptions {
        buffer_memory: 4096,
        batch_size: 1024,
        linger: Duration::from_secs(3600),
        ..ProducerOptions::default()
    };
    let producer = producer(&client, options);
    for number in 0..1000 {
        let value = format!("{number:0100}");
        producer.send(ProducerRecord::new("slow", None, Some(value.as_bytes()))).await.expect("memory comes back");
    }
    producer.close(PATIENCE).await.expect("all delivered");
    let mut values = Vec::new();
    for partition in 0..3 {
        values.extend(read(&client, "slow", partition).await.into_iter().map(|record| record.value.expect("a value")));
    }
    values.sort();
    let expected: Vec<String> = (0..1000).map(|number| format!("{number:0100}")).collect();
    assert!(values.iter().map(|value| &value[..]).eq(expected.iter().map(String::as_bytes)));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_none_and_leader() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "acks", 1).await;
    for (acks, offset) in [(Acks::Leader, 0), (Acks::None, -1)] {
        let producer = producer(&client, ProducerOptions { acks, ..ProducerOptions::default() });
        let delivery = producer.send(ProducerRecord::new("acks", None, Some(b"x"))).await.expect("sent");
        assert_eq!(delivery.wait().await.expect("delivered").offset, offset);
        producer.close(PATIENCE).await.expect("closes");
    }
    assert_eq!(consume(&client, "acks", 2).await, ["x", "x"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_by_send() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "strict", 2).await;
    let options = ProducerOptions {
        allow_auto_create_topics: false,
        max_block: Duration::from_millis(300),
        ..ProducerOptions::default()
    };
    let producer = producer(&client, options);
    let large = vec![0; 2 * 1024 * 1024];
    let error = producer.send(ProducerRecord::new("strict", None, Some(&large))).await.expect_err("too large");
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge), "{error}");
    let elsewhere = ProducerRecord { partition: Some(2), ..ProducerRecord::new("strict", None, None) };
    let error = producer.send(elsewhere).await.expect_err("no such partition");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("0 to 1"), "{error}");
    let error = producer.send(ProducerRecord::new("missing", None, None)).await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition), "{error}");
    assert!(error.message().contains("topic missing"), "{error}");
    let error = producer.send(ProducerRecord::new("not/a/name", None, None)).await.expect_err("no such name");
    assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException), "{error}");
    producer.close(PATIENCE).await.expect("closes");
    let error = producer.send(ProducerRecord::new("strict", None, None)).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    for wrong in [
        ProducerOptions { acks: Acks::Leader, enable_idempotence: Some(true), ..ProducerOptions::default() },
        ProducerOptions { max_in_flight: 6, ..ProducerOptions::default() },
        ProducerOptions { buffer_memory: 1000, ..ProducerOptions::default() },
    ] {
        assert_eq!(client.producer(wrong).expect_err("refused").kind(), ErrorKind::Invalid);
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_producer_delivers_what_it_took() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "left", 1).await;
    let options = ProducerOptions { linger: Duration::from_secs(3600), ..ProducerOptions::default() };
    let producer = producer(&client, options);
    producer.send(ProducerRecord::new("left", None, Some(b"behind"))).await.expect("sent");
    drop(producer);
    assert_eq!(consume(&client, "left", 1).await, ["behind"]);
    broker.close().await.expect("closes");
}
