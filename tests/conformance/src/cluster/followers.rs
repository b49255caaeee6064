//! Fetching from the replica that is nearest (KIP-392).

use super::{Cluster, scenarios};
use crate::context::{Consumer, Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::protocol::{ConsumerCommand, Reply};
use crate::{check, same};
use std::collections::BTreeMap;
use std::sync::Arc;

scenarios! { "followers":
    records_come_from_the_replica_in_the_rack;
    a_replica_that_dies_is_replaced_by_the_leader;
}

async fn metrics(consumer: &Consumer) -> Outcome<BTreeMap<String, f64>> {
    match consumer.ask(ConsumerCommand::Metrics).await? {
        Reply::Metrics(metrics) => Ok(metrics),
        other => Err(format!("no metrics: {other:?}").into()),
    }
}

/// Bytes that came over the connections to `node`.
async fn bytes_from(consumer: &Consumer, node: i32) -> Outcome<f64> {
    let name = format!("consumer-node-metrics.incoming-byte-total.node-{node}");
    Ok(metrics(consumer).await?.get(&name).copied().unwrap_or_default())
}

/// Polls until the consumer has been told to read from `node`.
async fn reads_from(cx: &Context, consumer: &Consumer, node: i32) -> Outcome {
    cx.eventually(&format!("reading from node {node}"), || async {
        check!(consumer.poll(100).await?.records.is_empty(), "a record that nobody wrote");
        let preferred = metrics(consumer).await?.get("consumer-fetch-manager-metrics.preferred-read-replica").copied();
        Ok((preferred == Some(f64::from(node))).then_some(()))
    })
    .await
}

fn padded(topic: &str, values: std::ops::Range<i32>) -> Vec<Outgoing> {
    values.map(|i| Outgoing::value(topic, format!("{i:01000}"))).collect()
}

async fn read(consumer: &Consumer, values: std::ops::Range<i32>) -> Outcome {
    let expected: Vec<String> = values.map(|i| format!("{i:01000}")).collect();
    same!(consumer.read_texts(expected.len()).await?, expected, "the records");
    Ok(())
}

/// The leader sends the reader to the follower of its rack, which goes on when the leader is another one.
async fn records_come_from_the_replica_in_the_rack(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cluster.topic(&cx, "t", &[&[1, 2, 3]], &[]).await?;
    let producer = cx.producer(&[]).await?;
    let consumer = cx.consumer(&[("client.rack", "rack-3"), ("auto.offset.reset", "earliest")]).await?;
    let elsewhere = cx.consumer(&[("client.rack", "rack-9"), ("auto.offset.reset", "earliest")]).await?;
    for reader in [&consumer, &elsewhere] {
        reader.assign(&topic, &[0]).await?;
    }
    producer.write(padded(&topic, 0..20)).await?;
    read(&consumer, 0..20).await?;
    read(&elsewhere, 0..20).await?;
    reads_from(&cx, &consumer, 3).await?;
    let before = bytes_from(&consumer, 3).await?;
    producer.write(padded(&topic, 20..60)).await?;
    read(&consumer, 20..60).await?;
    read(&elsewhere, 20..60).await?;
    let by_follower = bytes_from(&consumer, 3).await? - before;
    check!(by_follower > 40_000.0, "the follower sent {by_follower} bytes of forty records of 1000");
    same!(bytes_from(&elsewhere, 3).await?, 0.0, "bytes from a follower of another rack");
    // Another leader: the follower refuses the old epoch once, and the new leader sends the reader back to it.
    cluster.lead(&topic, 0, 2).await?;
    producer.write(padded(&topic, 60..80)).await?;
    read(&consumer, 60..80).await?;
    read(&elsewhere, 60..80).await?;
    reads_from(&cx, &consumer, 3).await?;
    // The follower itself leads.
    cluster.lead(&topic, 0, 3).await?;
    producer.write(padded(&topic, 80..100)).await?;
    read(&consumer, 80..100).await?;
    read(&elsewhere, 80..100).await?;
    consumer.close().await?;
    elsewhere.close().await?;
    producer.close().await
}

/// Whoever reads from a follower that dies goes on with the leader, and comes back with it.
async fn a_replica_that_dies_is_replaced_by_the_leader(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cluster.topic(&cx, "t", &[&[1, 3]], &[]).await?;
    let producer = cx.producer(&[]).await?;
    let short = [("client.rack", "rack-3"), ("auto.offset.reset", "earliest"), ("metadata.max.age.ms", "3000")];
    let consumer = cx.consumer(&short).await?;
    consumer.assign(&topic, &[0]).await?;
    producer.write(padded(&topic, 0..10)).await?;
    read(&consumer, 0..10).await?;
    reads_from(&cx, &consumer, 3).await?;
    cluster.kill(3);
    producer.write(padded(&topic, 10..30)).await?;
    read(&consumer, 10..30).await?;
    cluster.start_node(3).await?;
    cluster.in_sync(&[&topic]).await?;
    reads_from(&cx, &consumer, 3).await?;
    producer.write(padded(&topic, 30..40)).await?;
    read(&consumer, 30..40).await?;
    consumer.close().await?;
    producer.close().await
}
