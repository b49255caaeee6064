//! rskafka: its `PartitionClient::produce` takes a batch per call, which is its cheapest way; chunks stay below the 1 MiB
//! above which it fails. Reading is its `StreamConsumer`.

use crate::{Clock, Load, Result, fill};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use rskafka::client::ClientBuilder;
use rskafka::client::consumer::{StartOffset, StreamConsumerBuilder};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use std::collections::BTreeMap;
use std::sync::Arc;

const CHUNK_BYTES: usize = 900_000;

async fn partition(load: &Load) -> Result<PartitionClient> {
    let client = ClientBuilder::new(vec![load.broker.clone()]).build().await?;
    Ok(client.partition_client(load.topic.clone(), 0, UnknownTopicHandling::Retry).await?)
}

pub async fn produce(load: Load) -> Result<()> {
    let partition = Arc::new(partition(&load).await?);
    let per_chunk = (CHUNK_BYTES / (load.size + 20)).max(1);
    let clock = Clock::start();
    let (mut number, mut outstanding) = (0, tokio::task::JoinSet::new());
    while number < load.records {
        let count = per_chunk.min(load.records - number);
        let records = (number..number + count).map(|number| {
            let mut value = vec![b'x'; load.size];
            fill(&mut value, number);
            Record { key: None, value: Some(value), headers: BTreeMap::new(), timestamp: now() }
        });
        let (partition, records) = (partition.clone(), records.collect());
        // Five requests in flight, as the others have.
        while outstanding.len() >= 5 {
            outstanding.join_next().await.ok_or("no request is outstanding")???;
        }
        outstanding.spawn(async move { partition.produce(records, Compression::NoCompression).await.map(drop) });
        number += count;
    }
    while let Some(done) = outstanding.join_next().await {
        done??;
    }
    clock.print(load.records);
    Ok(())
}

pub async fn consume(load: Load) -> Result<()> {
    let partition = Arc::new(partition(&load).await?);
    let clock = Clock::start();
    let mut stream = StreamConsumerBuilder::new(partition, StartOffset::Earliest)
        .with_max_batch_size(1_048_576)
        .with_max_wait_ms(500)
        .build();
    let (mut records, mut bytes) = (0, 0);
    while records < load.records {
        let (record, _) = stream.next().await.ok_or("the stream ended")??;
        records += 1;
        bytes += record.record.value.as_ref().map_or(0, Vec::len);
    }
    clock.print(records);
    if bytes != records * load.size {
        return Err(format!("{bytes} bytes in {records} records of {}", load.size).into());
    }
    Ok(())
}

fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}
