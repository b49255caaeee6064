//! librdkafka through the crate rdkafka: a threaded producer with a delivery callback, and a base consumer that is polled.

use crate::{Clock, Load, Result, fill};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Counts {
    delivered: AtomicUsize,
    failed: AtomicUsize,
}

#[derive(Clone, Default)]
struct Callback(Arc<Counts>);

impl ClientContext for Callback {}

impl ProducerContext for Callback {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.delivered.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.0.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}

pub fn produce(load: &Load) -> Result<()> {
    let callback = Callback::default();
    let producer: ThreadedProducer<Callback> = ClientConfig::new()
        .set("bootstrap.servers", &load.broker)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "500000")
        .create_with_context(callback.clone())?;
    let mut value = vec![b'x'; load.size];
    let clock = Clock::start();
    for number in 0..load.records {
        fill(&mut value, number);
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&load.topic).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    std::thread::sleep(Duration::from_millis(1));
                    record = again;
                }
                other => return Err(other.into()),
            }
        }
    }
    producer.flush(Duration::from_secs(60))?;
    clock.print(load.records);
    let (delivered, failed) = (callback.0.delivered.load(Ordering::Relaxed), callback.0.failed.load(Ordering::Relaxed));
    if delivered != load.records || failed > 0 {
        return Err(format!("{delivered} of {} delivered, {failed} failed", load.records).into());
    }
    Ok(())
}

pub fn consume(load: &Load) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &load.broker)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "1048576")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(&load.topic, 0, Offset::Beginning)?;
    let clock = Clock::start();
    consumer.assign(&partitions)?;
    let (mut records, mut bytes) = (0, 0);
    while records < load.records {
        if let Some(message) = consumer.poll(Duration::from_secs(5)) {
            records += 1;
            bytes += message?.payload().map_or(0, <[u8]>::len);
        }
    }
    clock.print(records);
    if bytes != records * load.size {
        return Err(format!("{bytes} bytes in {records} records of {}", load.size).into());
    }
    Ok(())
}
