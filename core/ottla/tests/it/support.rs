//! Shared by the tests of the embedded broker.

use ottla::Broker;
use ottla::client::{
    Client, ClientOptions, ConsumerOptions, Env, NewTopic, Position, ProducerOptions, ProducerRecord, TopicPartition,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than anything here takes; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("ottla-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Folder(std::env::temp_dir().join(unique))
    }
}

impl Drop for Folder {
    #[allow(clippy::disallowed_methods)] // A test's own folder, outside the engine.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn on_tcp() -> Broker {
    Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("a broker in memory starts")
}

pub fn client(broker: &Broker) -> Client {
    Client::new(Env::real(), ClientOptions::new(&broker.bootstrap_servers())).expect("the address is well formed")
}

pub async fn create_topic(client: &Client, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions);
    let created = client.admin().create_topics(&[topic], false).await.expect("the broker answers");
    created.into_iter().for_each(|created| drop(created.expect("the topic is new")));
}

/// Sends the values and waits until all are acknowledged; returns their offsets.
pub async fn produce(client: &Client, topic: &str, values: impl IntoIterator<Item = String>) -> Vec<i64> {
    let producer = client.producer(ProducerOptions::default()).expect("the defaults fit together");
    let mut deliveries = Vec::new();
    for value in values {
        let record = ProducerRecord::new(topic, None, Some(value.as_bytes()));
        deliveries.push(producer.send(record).await.expect("there is room"));
    }
    producer.flush().await;
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.wait().await.expect("acknowledged").offset);
    }
    offsets
}

/// Reads partition 0 of a topic from the start until `count` records are there.
pub async fn consume(client: &Client, topic: &str, count: usize) -> Vec<String> {
    let consumer = client.consumer(ConsumerOptions::default());
    let partition = TopicPartition::new(topic, 0);
    consumer.assign(&[(partition, Position::Earliest)]).await.expect("the partition exists");
    let mut values = Vec::new();
    while values.len() < count {
        for fetched in consumer.poll_batches(PATIENCE).await.expect("the broker answers") {
            for record in fetched.records() {
                let record = record.expect("the batch is sound");
                values.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
            }
        }
    }
    values
}
