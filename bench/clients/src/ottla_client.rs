//! Ottla's own client: one `send` per record with its delivery looked at, one record looked at per step of reading.

use crate::{Clock, Load, Result, fill};
use ottla::client::{Consumer, Delivery, Producer, ProducerRecord, TopicPartition};
use ottla::env::Env;
use std::collections::VecDeque;
use std::time::Duration;

/// Deliveries that are looked at later, so that the loop does not wait for each.
const OUTSTANDING: usize = 50_000;

pub fn producer(broker: &str) -> Result<Producer> {
    let configs = [("bootstrap.servers", broker), ("batch.size", "524288"), ("linger.ms", "5")];
    Ok(Producer::from_configs(Env::real(), configs)?)
}

pub async fn produce(load: Load) -> Result<()> {
    let producer = producer(&load.broker)?;
    producer.partitions_for(&load.topic).await?;
    let mut value = vec![b'x'; load.size];
    let clock = Clock::start();
    let mut outstanding: VecDeque<Delivery> = VecDeque::with_capacity(OUTSTANDING);
    for number in 0..load.records {
        if outstanding.len() == OUTSTANDING
            && let Some(delivery) = outstanding.pop_front()
        {
            delivery.wait_lingering().await?;
        }
        fill(&mut value, number);
        outstanding.push_back(producer.send(ProducerRecord::new(&load.topic, None, Some(&value))).await?);
    }
    producer.flush().await;
    for delivery in outstanding {
        delivery.wait().await?;
    }
    clock.print(load.records);
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

pub fn consumer(broker: &str) -> Result<Consumer> {
    let configs = [
        ("bootstrap.servers", broker),
        ("auto.offset.reset", "earliest"),
        ("max.poll.records", "10000"),
        ("max.partition.fetch.bytes", "1048576"),
    ];
    Ok(Consumer::from_configs(Env::real(), configs)?)
}

pub async fn consume(load: Load) -> Result<()> {
    let consumer = consumer(&load.broker)?;
    consumer.assign_committed(&[TopicPartition::new(load.topic.as_str(), 0)])?;
    let clock = Clock::start();
    let (mut records, mut bytes) = (0, 0);
    while records < load.records {
        for record in consumer.poll(Duration::from_secs(5)).await?.iter() {
            records += 1;
            bytes += record.value.as_ref().map_or(0, |value| value.len());
        }
    }
    clock.print(records);
    if bytes != records * load.size {
        return Err(format!("{bytes} bytes in {records} records of {}", load.size).into());
    }
    consumer.close(Duration::from_secs(5)).await?;
    Ok(())
}
