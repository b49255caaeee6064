//! The producer's commands.

use super::{consumer, pairs};
use crate::protocol::producer::{Outgoing, Written};
use crate::protocol::{Configs, Each, Failure, FailureKind, ProducerCommand, Reply};
use ottla::client::{
    Acks, Client, ClientOptions, Compression, Configs as Parsed, Delivery, Error, Producer, ProducerOptions,
    ProducerRecord, Scope,
};
use ottla::env::Env;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A producer and what was enqueued.
#[derive(Debug)]
pub(super) struct Held {
    client: Client,
    producer: Producer,
    enqueued: Mutex<Vec<Result<Delivery, Error>>>,
}

pub(super) fn open(env: &Env, configs: &Configs) -> Result<Held, Failure> {
    let invalid = |error: ottla::config::ConfigError| Failure::new(FailureKind::Invalid, error.to_string());
    let (parsed, _) = Parsed::parse(Scope::Producer, pairs(configs)).map_err(invalid)?;
    let client = Client::new(env.clone(), ClientOptions::from_configs(&parsed))?;
    let producer = client.producer(options(&parsed))?;
    Ok(Held { client, producer, enqueued: Mutex::default() })
}

fn options(configs: &Parsed) -> ProducerOptions {
    let default = ProducerOptions::default();
    let ms = |name: &str, default: Duration| configs.ms(name).unwrap_or(default);
    ProducerOptions {
        acks: match configs.text("acks").as_deref() {
            Some("0") => Acks::None,
            Some("1") => Acks::Leader,
            _ => Acks::All,
        },
        enable_idempotence: configs.is_set("enable.idempotence").then(|| configs.flag("enable.idempotence")),
        batch_size: configs.size("batch.size").unwrap_or(default.batch_size),
        linger: ms("linger.ms", default.linger),
        compression: match configs.text("compression.type").as_deref() {
            Some("gzip") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            Some("lz4") => Compression::Lz4,
            Some("zstd") => Compression::Zstd,
            _ => Compression::None,
        },
        max_in_flight: configs.size("max.in.flight.requests.per.connection").unwrap_or(default.max_in_flight),
        max_request_size: configs.size("max.request.size").unwrap_or(default.max_request_size),
        buffer_memory: configs.size("buffer.memory").unwrap_or(default.buffer_memory),
        max_block: ms("max.block.ms", default.max_block),
        delivery_timeout: ms("delivery.timeout.ms", default.delivery_timeout),
        ..default
    }
}

impl Held {
    pub(super) async fn carry_out(
        &self,
        command: ProducerCommand,
        _consumer: impl Fn(&str) -> Result<Arc<consumer::Held>, Failure>,
    ) -> Result<Reply, Failure> {
        match command {
            ProducerCommand::Send { records } => {
                let sent = self.send_all(&records).await;
                Ok(Reply::Sent(results(sent).await))
            }
            ProducerCommand::Enqueue { records } => {
                let sent = self.send_all(&records).await;
                self.enqueued.lock().unwrap_or_else(PoisonError::into_inner).extend(sent);
                Ok(Reply::Done {})
            }
            ProducerCommand::Flush => {
                let sent = std::mem::take(&mut *self.enqueued.lock().unwrap_or_else(PoisonError::into_inner));
                self.producer.flush().await;
                Ok(Reply::Sent(results(sent).await))
            }
            ProducerCommand::PartitionsFor { topic } => Ok(Reply::Count(self.producer.partitions_for(&topic).await?)),
            ProducerCommand::Close { timeout_ms } => {
                let closed = self.producer.close(Duration::from_millis(timeout_ms)).await;
                self.client.close();
                closed?;
                Ok(Reply::Done {})
            }
            other => Err(Failure::unsupported(&format!("{other:?}"))),
        }
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
