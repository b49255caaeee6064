//! The consumer's commands.

use super::pairs;
use crate::protocol::consumer::{Incoming, Polled};
use crate::protocol::{Blob, Configs, ConsumerCommand, Failure, FailureKind, Partition, PartitionOffset, Reply};
use ottla::client::{
    Client, ClientOptions, Configs as Parsed, Consumer, ConsumerOptions, Fetched, OffsetReset, Position, Scope,
    TopicPartition,
};
use ottla::env::Env;
use std::time::Duration;

/// A consumer and its client.
#[derive(Debug)]
pub(super) struct Held {
    client: Client,
    consumer: Consumer,
    reset: OffsetReset,
}

pub(super) fn open(env: &Env, configs: &Configs) -> Result<Held, Failure> {
    let invalid = |error: ottla::config::ConfigError| Failure::new(FailureKind::Invalid, error.to_string());
    let (parsed, _) = Parsed::parse(Scope::Consumer, pairs(configs)).map_err(invalid)?;
    let client = Client::new(env.clone(), ClientOptions::from_configs(&parsed))?;
    let options = options(&parsed);
    let reset = options.offset_reset;
    Ok(Held { consumer: client.consumer(options), client, reset })
}

fn options(configs: &Parsed) -> ConsumerOptions {
    let default = ConsumerOptions::default();
    ConsumerOptions {
        fetch_min_bytes: configs.size("fetch.min.bytes").unwrap_or(default.fetch_min_bytes),
        fetch_max_wait: configs.ms("fetch.max.wait.ms").unwrap_or(default.fetch_max_wait),
        fetch_max_bytes: configs.size("fetch.max.bytes").unwrap_or(default.fetch_max_bytes),
        max_partition_fetch_bytes: configs
            .size("max.partition.fetch.bytes")
            .unwrap_or(default.max_partition_fetch_bytes),
        offset_reset: match configs.text("auto.offset.reset").as_deref() {
            Some("earliest") => OffsetReset::Earliest,
            Some("none") => OffsetReset::None,
            _ => OffsetReset::Latest,
        },
        check_crcs: configs.flag("check.crcs"),
        ..default
    }
}

impl Held {
    pub(super) async fn carry_out(&self, command: ConsumerCommand) -> Result<Reply, Failure> {
        let consumer = &self.consumer;
        match command {
            ConsumerCommand::Assign { partitions } => {
                let start = match self.reset {
                    OffsetReset::Earliest => Position::Earliest,
                    _ => Position::Latest,
                };
                let wanted: Vec<_> = partitions.iter().map(|partition| (of(partition), start)).collect();
                consumer.assign(&wanted).await?;
                Ok(Reply::Done {})
            }
            ConsumerCommand::Seek { at } => {
                let partition = TopicPartition::new(at.topic, at.partition);
                consumer.seek(&partition, Position::Offset(at.offset.unwrap_or(0))).await?;
                Ok(Reply::Done {})
            }
            ConsumerCommand::SeekToBeginning { partitions } => self.seek_all(&partitions, Position::Earliest).await,
            ConsumerCommand::SeekToEnd { partitions } => self.seek_all(&partitions, Position::Latest).await,
            ConsumerCommand::Poll { timeout_ms } => {
                let mut polled = Polled::default();
                for fetched in consumer.poll_batches(Duration::from_millis(timeout_ms)).await? {
                    take(&fetched, &mut polled.records)?;
                }
                Ok(Reply::Polled(polled))
            }
            ConsumerCommand::Position { partitions } => {
                let offset = |partition: Partition| {
                    let offset = consumer.position(&of(&partition));
                    PartitionOffset { topic: partition.topic, partition: partition.partition, offset, metadata: None }
                };
                Ok(Reply::Offsets(partitions.into_iter().map(offset).collect()))
            }
            ConsumerCommand::BeginningOffsets { partitions } => self.offsets(partitions, Position::Earliest).await,
            ConsumerCommand::EndOffsets { partitions } => self.offsets(partitions, Position::Latest).await,
            ConsumerCommand::OffsetsForTimes { times } => {
                let position = |time: &PartitionOffset| {
                    let partition = TopicPartition::new(time.topic.as_str(), time.partition);
                    (partition, Position::Timestamp(time.offset.unwrap_or(0)))
                };
                let wanted: Vec<_> = times.iter().map(position).collect();
                let found = consumer.offsets(&wanted).await?;
                let pairs = times.into_iter().zip(found);
                let offset = |(it, offset): (PartitionOffset, i64)| PartitionOffset::new(&it.topic, it.partition, offset);
                Ok(Reply::Offsets(pairs.map(offset).collect()))
            }
            ConsumerCommand::PartitionsFor { topic } => {
                let partitions = consumer.partitions_for(&topic).await?;
                let partition = |it: &TopicPartition| Partition::new(&it.topic, it.partition);
                Ok(Reply::Partitions(partitions.iter().map(partition).collect()))
            }
            ConsumerCommand::Close { .. } => {
                self.client.close();
                Ok(Reply::Polled(Polled::default()))
            }
            other => Err(Failure::unsupported(&format!("{other:?}"))),
        }
    }

    async fn seek_all(&self, partitions: &[Partition], position: Position) -> Result<Reply, Failure> {
        for partition in partitions {
            self.consumer.seek(&of(partition), position).await?;
        }
        Ok(Reply::Done {})
    }

    async fn offsets(&self, partitions: Vec<Partition>, position: Position) -> Result<Reply, Failure> {
        let wanted: Vec<_> = partitions.iter().map(|partition| (of(partition), position)).collect();
        let found = self.consumer.offsets(&wanted).await?;
        let pairs = partitions.into_iter().zip(found);
        Ok(Reply::Offsets(pairs.map(|(it, offset)| PartitionOffset::new(&it.topic, it.partition, offset)).collect()))
    }
}

fn of(partition: &Partition) -> TopicPartition {
    TopicPartition::new(partition.topic.as_str(), partition.partition)
}

fn take(fetched: &Fetched, into: &mut Vec<Incoming>) -> Result<(), Failure> {
    for record in fetched.records() {
        let record = record?;
        let blob = |bytes: &[u8]| Blob(bytes.to_vec());
        into.push(Incoming {
            topic: fetched.topic.to_string(),
            partition: fetched.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref().map(blob),
            value: record.value.as_deref().map(blob),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_deref().map(blob)))
                .collect(),
        });
    }
    Ok(())
}
