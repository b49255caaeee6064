//! A log that gets shorter, since a replica that was behind became the leader (KIP-320).

use super::{Cluster, scenarios};
use crate::context::{Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::protocol::{ConsumerCommand, FailureKind};
use crate::{check, same};
use ottla::client::TopicPartition;
use ottla::client::admin::ElectionType;
use std::collections::BTreeSet;
use std::sync::Arc;

scenarios! { "truncation":
    an_unclean_leader_cuts_the_log_off;
}

/// A group that has read the first `count` records, and nothing more.
async fn commit_at(cx: &Context, group: &str, topic: &str, count: usize) -> Outcome {
    let reader = cx.member(&cx.name(group), &[]).await?;
    reader.assign(topic, &[0]).await?;
    same!(reader.read(count).await?.len(), count, "the records");
    reader.commit().await?;
    reader.close().await?;
    Ok(())
}

/// A reader that stands behind the new end is told so where it may not choose, and else goes to where the logs part; what
/// is written from there on it reads.
async fn an_unclean_leader_cuts_the_log_off(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let configs = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    let topic = cluster.topic(&cx, "t", &[&[2, 3]], &configs).await?;
    let value = |i: i32| Outgoing::value(&topic, i.to_string());
    let producer = cx.producer(&[]).await?;
    let earliest = cx.consumer(&[("auto.offset.reset", "earliest")]).await?;
    let latest = cx.consumer(&[("auto.offset.reset", "latest")]).await?;
    let none = cx.consumer(&[("auto.offset.reset", "none")]).await?;
    for reader in [&earliest, &latest, &none] {
        reader.assign(&topic, &[0]).await?;
        reader.seek(&topic, 0, 0).await?;
    }
    producer.write((0..10).map(value).collect()).await?;
    producer.close().await?;
    commit_at(&cx, "behind", &topic, 10).await?;
    cluster.stop(3).await?;
    let producer = cx.producer(&[]).await?;
    producer.write((10..20).map(value).collect()).await?;
    producer.close().await?;
    for reader in [&earliest, &latest, &none] {
        let texts = reader.read_texts(20).await?;
        same!(texts, (0..20).map(|i: i32| i.to_string()).collect::<Vec<_>>(), "the records before the loss");
    }
    commit_at(&cx, "ahead", &topic, 20).await?;
    cluster.kill(2);
    cluster.start_node(3).await?;
    let partition = BTreeSet::from([TopicPartition::new(topic.as_str(), 0)]);
    cluster
        .until("node 3 leads, out of sync as it was", async |admin| {
            // The controller does so by itself where the topic allows for it, sooner or later.
            let _ = admin.elect_leaders(ElectionType::Unclean, Some(&partition)).await?;
            let described = admin.describe_topics(std::slice::from_ref(&topic)).await?.remove(0)?;
            Ok((described.partitions[0].leader == Some(3)).then_some(()))
        })
        .await?;
    let producer = cx.producer(&[]).await?;
    let written = producer.write((100..115).map(value).collect()).await?;
    same!(written[0].offset, 10, "where the new leader's records begin");
    producer.close().await?;
    let expected: Vec<String> = (100..115).map(|i: i32| i.to_string()).collect();
    for (reader, policy) in [(&earliest, "earliest"), (&latest, "latest")] {
        same!(reader.read_texts(15).await?, expected, "what is read from where the logs part on, with {policy}");
    }
    let told = loop {
        match none.poll(500).await {
            Ok(polled) => check!(polled.records.is_empty(), "records of another log: {:?}", polled.records.first()),
            Err(wrong) => break wrong.0,
        }
    };
    check!(told.contains("truncat"), "with auto.offset.reset=none: {told}");
    none.seek(&topic, 0, 10).await?;
    same!(none.read_texts(15).await?, expected, "what is read after seek");
    // Committed offsets know the epoch of the record before them. A group that stood before the cut notices nothing.
    let behind = cx.member(&cx.name("behind"), &[("auto.offset.reset", "none")]).await?;
    let ahead = cx.member(&cx.name("ahead"), &[]).await?;
    for (reader, group) in [(&behind, "behind"), (&ahead, "ahead")] {
        reader.assign(&topic, &[0]).await?;
        same!(reader.read_texts(15).await?, expected, "what the group reads that stood {group} the cut");
    }
    for reader in [&earliest, &latest, &none, &behind, &ahead] {
        reader.close().await?;
    }
    let unknown = cx.consumer(&[("auto.offset.reset", "none")]).await?;
    unknown.assign(&topic, &[0]).await?;
    unknown.seek(&topic, 0, 26).await?;
    let outside = unknown.ask(ConsumerCommand::Poll { timeout_ms: 10_000 }).await;
    check!(outside.is_err_and(|it| it.is("OFFSET_OUT_OF_RANGE") && it.kind != FailureKind::Internal), "beyond the end");
    unknown.close().await?;
    cluster.start_node(2).await?;
    cluster.in_sync(&[&topic, "__consumer_offsets", "__transaction_state"]).await
}
