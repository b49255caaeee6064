//! Leaders that move while clients work.

use super::{Cluster, scenarios};
use crate::context::{Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::same;
use std::sync::Arc;

scenarios! { "moves":
    the_old_leader_names_the_new_one;
    leaders_move_under_load;
}

/// A client that would have to ask for metadata, or wait before it tries again, would fail: both take a minute. Answers
/// of the old leader say who the new one is (KIP-951).
async fn the_old_leader_names_the_new_one(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cluster.topic(&cx, "t", &[&[2, 3]], &[]).await?;
    let patient = [
        ("retry.backoff.ms", "60000"),
        ("retry.backoff.max.ms", "60000"),
        ("metadata.max.age.ms", "600000"),
        ("request.timeout.ms", "20000"),
    ];
    // A broker that has just begun may have no producer ids yet, and says to come back later.
    let mut configs = vec![("delivery.timeout.ms", "30000"), ("enable.idempotence", "false")];
    configs.extend(patient);
    let producer = cx.producer(&configs).await?;
    let mut configs = vec![("auto.offset.reset", "earliest")];
    configs.extend(patient);
    let consumer = cx.consumer(&configs).await?;
    consumer.assign(&topic, &[0]).await?;
    let leaders = [2, 3, 2, 3];
    for (i, leader) in (0..).zip(leaders) {
        cluster.lead(&topic, 0, leader).await?;
        producer.write(vec![Outgoing::value(&topic, i.to_string())]).await?;
        same!(consumer.read_texts(1).await?, vec![i.to_string()], "the record under leader {leader}");
    }
    consumer.close().await?;
    producer.close().await
}

/// Batches of an idempotent producer, five in flight, keep their order while the leader changes.
async fn leaders_move_under_load(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cluster.topic(&cx, "t", &[&[1, 2], &[2, 3]], &[]).await?;
    let producer = cx.producer(&[("linger.ms", "1"), ("batch.size", "500")]).await?;
    let consumer = cx.consumer(&[("auto.offset.reset", "earliest")]).await?;
    consumer.assign(&topic, &[0, 1]).await?;
    let mut written = 0;
    for leaders in [[2, 3], [1, 2], [2, 3]] {
        let some = |count: i32, from: i32| -> Vec<Outgoing> {
            let values = from..from + count;
            values.flat_map(|i| [0, 1].map(|p| Outgoing::value(&topic, i.to_string()).to(p))).collect()
        };
        for (partition, leader) in (0..).zip(leaders) {
            producer.enqueue(some(200, written)).await?;
            written += 200;
            cluster.lead(&topic, partition, leader).await?;
        }
        producer.enqueue(some(200, written)).await?;
        written += 200;
    }
    for result in producer.flush().await? {
        crate::context::written(result)?;
    }
    let records = consumer.read(2 * written as usize).await?;
    let expected: Vec<String> = (0..written).map(|i| i.to_string()).collect();
    for partition in [0, 1] {
        let found: Vec<String> = records.iter().filter(|it| it.partition == partition).map(|it| it.text()).collect();
        same!(found, expected, "the records of partition {partition}");
    }
    consumer.close().await?;
    producer.close().await
}
