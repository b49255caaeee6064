//! The producer's commands.

use super::{consumer, lock, metrics, pairs};
use crate::protocol::producer::{Outgoing, Written};
use crate::protocol::{Configs, Each, Failure, ProducerCommand, Reply};
use ottla::client::{Delivery, Error, Producer, ProducerRecord};
use ottla::env::Env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A producer and what was enqueued.
#[derive(Debug)]
pub(super) struct Held {
    producer: Producer,
    enqueued: Mutex<Vec<Result<Delivery, Error>>>,
}

pub(super) fn open(env: &Env, configs: &Configs) -> Result<Held, Failure> {
    Ok(Held { producer: Producer::from_configs(env.clone(), pairs(configs))?, enqueued: Mutex::default() })
}

impl Held {
    pub(super) async fn carry_out(
        &self,
        command: ProducerCommand,
        consumer: impl Fn(&str) -> Result<Arc<consumer::Held>, Failure>,
    ) -> Result<Reply, Failure> {
        let producer = &self.producer;
        match command {
            ProducerCommand::Open { .. } => return Err(Failure::unsupported("to open it twice")),
            ProducerCommand::Send { records } => {
                let sent = self.send_all(&records).await;
                return Ok(Reply::Sent(results(sent).await));
            }
            ProducerCommand::Enqueue { records } => {
                let sent = self.send_all(&records).await;
                lock(&self.enqueued).extend(sent);
            }
            ProducerCommand::Flush => {
                let sent = std::mem::take(&mut *lock(&self.enqueued));
                producer.flush().await;
                return Ok(Reply::Sent(results(sent).await));
            }
            ProducerCommand::PartitionsFor { topic } => {
                return Ok(Reply::Count(producer.partitions_for(&topic).await?));
            }
            ProducerCommand::InitTransactions => producer.init_transactions().await?,
            ProducerCommand::BeginTransaction => producer.begin_transaction()?,
            ProducerCommand::SendOffsets { offsets, consumer: name } => {
                let group = consumer(&name)?.group_metadata()?;
                producer.send_offsets_to_transaction(&consumer::offsets(offsets), &group).await?;
            }
            ProducerCommand::CommitTransaction => producer.commit_transaction().await?,
            ProducerCommand::AbortTransaction => producer.abort_transaction().await?,
            ProducerCommand::Metrics => return Ok(metrics(&producer.metrics())),
            ProducerCommand::Close { timeout_ms } => producer.close(Duration::from_millis(timeout_ms)).await?,
        }
        Ok(Reply::Done {})
    }

    async fn send_all(&self, records: &[Outgoing]) -> Vec<Result<Delivery, Error>> {
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            let headers: Vec<(&str, Option<&[u8]>)> = record
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_ref().map(|value| value.0.as_slice())))
                .collect();
            let record = ProducerRecord {
                topic: &record.topic,
                partition: record.partition,
                timestamp: record.timestamp,
                key: record.key.as_ref().map(|key| key.0.as_slice()),
                value: record.value.as_ref().map(|value| value.0.as_slice()),
                headers: &headers,
            };
            sent.push(self.producer.send(record).await);
        }
        sent
    }
}

async fn results(sent: Vec<Result<Delivery, Error>>) -> Vec<Each<Written>> {
    let mut results = Vec::with_capacity(sent.len());
    for delivery in sent {
        let result = match delivery {
            Ok(delivery) => delivery.wait().await,
            Err(error) => Err(error),
        };
        let written = result.map(|metadata| Written {
            topic: metadata.topic.to_string(),
            partition: metadata.partition,
            offset: metadata.offset,
            timestamp: metadata.timestamp,
        });
        results.push(Each::from(written.map_err(Failure::from)));
    }
    results
}
