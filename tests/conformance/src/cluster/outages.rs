//! Nodes that die, restart and move under clients that work.

use super::{Cluster, NODES, scenarios};
use crate::context::{Consumer, Context, Outcome, Producer, written};
use crate::protocol::consumer::Incoming;
use crate::protocol::producer::Outgoing;
use crate::protocol::{PartitionOffset, ProducerCommand};
use crate::{check, same};
use std::sync::Arc;

scenarios! { "outages":
    the_coordinators_die;
    every_node_restarts_in_turn;
    all_nodes_move;
}

/// Writes these numbers to both partitions without waiting for the results.
async fn enqueue(producer: &Producer, topic: &str, values: std::ops::Range<i32>) -> Outcome {
    let records = values.flat_map(|i| [0, 1].map(|partition| Outgoing::value(topic, i.to_string()).to(partition)));
    producer.enqueue(records.collect()).await
}

async fn flush(producer: &Producer) -> Outcome {
    for result in producer.flush().await? {
        written(result)?;
    }
    Ok(())
}

/// Both partitions hold the numbers up to `count`, each once, in order.
fn whole(records: &[Incoming], count: i32, what: &str) -> Outcome {
    for partition in [0, 1] {
        let found = records.iter().filter(|it| it.partition == partition);
        let found: Vec<i32> = found.map(|it| it.text().parse().unwrap_or(-1)).collect();
        let first = (0..count).find(|i| found.get(*i as usize) != Some(i));
        if let Some(at) = first {
            let around = &found[found.len().min((at - 3).max(0) as usize)..found.len().min(at as usize + 5)];
            return Err(format!("{what}, partition {partition}: number {at} is not in its place: {around:?}").into());
        }
        same!(found.len(), count as usize, "{what}: records of partition {partition}");
    }
    Ok(())
}

async fn whole_topic(cx: &Context, topic: &str, count: i32) -> Outcome {
    let reader = cx.consumer(&[("auto.offset.reset", "earliest"), ("isolation.level", "read_committed")]).await?;
    reader.assign(topic, &[0, 1]).await?;
    whole(&reader.read(2 * count as usize).await?, count, "the topic")?;
    reader.close().await?;
    Ok(())
}

async fn poll_and_commit(member: &Consumer, into: &mut Vec<Incoming>) -> Outcome {
    into.extend(member.poll(100).await?.records);
    member.commit().await
}

/// The node that coordinates a group and a transaction, and leads partitions of both, is killed: the group goes on to
/// commit, the open transaction to its end, and records are written and read once, in order.
async fn the_coordinators_die(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let replicas: [&[i32]; 2] = [&[2, 1, 3], &[1, 2, 3]];
    let configs = [("min.insync.replicas", "2")];
    let topic = cluster.topic(&cx, "t", &replicas, &configs).await?;
    let other = cluster.topic(&cx, "transactional", &replicas, &configs).await?;
    // Both internal topics are made by their first use.
    let first = cx.member(&cx.name("first"), &[]).await?;
    first.subscribe(&topic).await?;
    first.poll(1000).await?;
    first.close().await?;
    let id = cx.name("first");
    let first = cx.producer(&[("transactional.id", &id)]).await?;
    first.ask(ProducerCommand::InitTransactions).await?;
    first.close().await?;
    // Whoever led them before: earlier scenarios restart nodes.
    cluster.lead("__consumer_offsets", 0, 2).await?;
    cluster.lead("__transaction_state", 0, 2).await?;
    let group = cluster.coordinated_by("__consumer_offsets", 2, &cx.name("g")).await?;
    let id = cluster.coordinated_by("__transaction_state", 2, &cx.name("x")).await?;

    let producer = cx.producer(&[("linger.ms", "1"), ("batch.size", "500")]).await?;
    let member = cx.member(&group, &[("heartbeat.interval.ms", "500")]).await?;
    member.subscribe(&topic).await?;
    let mut read = Vec::new();
    enqueue(&producer, &topic, 0..200).await?;
    while read.len() < 400 {
        poll_and_commit(&member, &mut read).await?;
    }
    let transactional = cx.producer(&[("transactional.id", &id)]).await?;
    transactional.ask(ProducerCommand::InitTransactions).await?;
    transactional.ask(ProducerCommand::BeginTransaction).await?;
    enqueue(&transactional, &other, 0..100).await?;
    flush(&transactional).await?;
    let offsets = vec![PartitionOffset::new(&other, 0, 100)];
    transactional.send_offsets(offsets, &member).await?;

    cluster.kill(2);
    enqueue(&producer, &topic, 200..400).await?;
    enqueue(&transactional, &other, 100..200).await?;
    while read.len() < 800 {
        poll_and_commit(&member, &mut read).await?;
    }
    transactional.ask(ProducerCommand::CommitTransaction).await?;
    flush(&transactional).await?;
    // And the next one, all of it with the new coordinator.
    transactional.ask(ProducerCommand::BeginTransaction).await?;
    enqueue(&transactional, &other, 200..300).await?;
    transactional.ask(ProducerCommand::CommitTransaction).await?;
    flush(&transactional).await?;
    flush(&producer).await?;
    whole(&read, 400, "what the group read")?;
    same!(member.committed(&topic, 0).await?, Some(400), "what the group has committed");
    same!(member.committed(&other, 0).await?, Some(100), "what the transaction has committed for the group");
    whole_topic(&cx, &topic, 400).await?;
    whole_topic(&cx, &other, 300).await?;

    cluster.start_node(2).await?;
    cluster.in_sync(&[&topic, &other, "__consumer_offsets", "__transaction_state"]).await?;
    member.close().await?;
    transactional.close().await?;
    producer.close().await
}

/// A rolling restart under a producer with acks=all, a transactional one and a group: nothing is lost, doubled or out of
/// its order, and nobody sees an error.
async fn every_node_restarts_in_turn(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let replicas: [&[i32]; 2] = [&[2, 1, 3], &[3, 1, 2]];
    let configs = [("min.insync.replicas", "2")];
    let topic = cluster.topic(&cx, "t", &replicas, &configs).await?;
    let other = cluster.topic(&cx, "transactional", &replicas, &configs).await?;
    let producer = cx.producer(&[("linger.ms", "1"), ("batch.size", "500"), ("acks", "all")]).await?;
    let id = cx.name("x");
    let transactional = cx.producer(&[("transactional.id", &id)]).await?;
    transactional.ask(ProducerCommand::InitTransactions).await?;
    let member = cx.member(&cx.name("g"), &[("heartbeat.interval.ms", "500")]).await?;
    member.subscribe(&topic).await?;
    let (mut read, mut count, mut in_transactions) = (Vec::new(), 0, 0);
    for node in NODES.into_iter().rev() {
        let restart = {
            let (cluster, topics) = (cluster.clone(), [topic.clone(), other.clone()]);
            async move {
                cluster.stop(node).await?;
                cluster.start_node(node).await?;
                cluster.in_sync(&[&topics[0], &topics[1], "__consumer_offsets", "__transaction_state"]).await
            }
        };
        let restarting = restart;
        tokio::pin!(restarting);
        loop {
            let work = async {
                enqueue(&producer, &topic, count..count + 10).await?;
                count += 10;
                transactional.ask(ProducerCommand::BeginTransaction).await?;
                enqueue(&transactional, &other, in_transactions..in_transactions + 2).await?;
                in_transactions += 2;
                transactional.ask(ProducerCommand::CommitTransaction).await?;
                poll_and_commit(&member, &mut read).await
            };
            tokio::pin!(work);
            let mut done = None;
            loop {
                tokio::select! {
                    biased;
                    worked = &mut work => {
                        worked?;
                        break;
                    }
                    restarted = &mut restarting, if done.is_none() => done = Some(restarted),
                }
            }
            if let Some(restarted) = done {
                restarted?;
                break;
            }
        }
    }
    flush(&producer).await?;
    flush(&transactional).await?;
    while read.len() < 2 * count as usize {
        poll_and_commit(&member, &mut read).await?;
    }
    check!(count >= 30 && in_transactions >= 6, "too little was written meanwhile: {count}, {in_transactions}");
    whole(&read, count, "what the group read")?;
    whole_topic(&cx, &topic, count).await?;
    whole_topic(&cx, &other, in_transactions).await?;
    member.close().await?;
    transactional.close().await?;
    producer.close().await
}

/// All nodes die and come back under other addresses: clients find them through their bootstrap servers (KIP-899), of
/// which half lead nowhere at any time.
async fn all_nodes_move(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cluster.topic(&cx, "t", &[&[2, 1, 3], &[3, 1, 2]], &[]).await?;
    let bootstrap = format!("{},{}", cluster.next_bootstrap(), cluster.bootstrap());
    let servers = ("bootstrap.servers", bootstrap.as_str());
    let producer = cx.producer(&[servers]).await?;
    let member = cx.member(&cx.name("g"), &[servers, ("heartbeat.interval.ms", "500")]).await?;
    member.subscribe(&topic).await?;
    let admin = cx.admin_with(&[servers]).await?;
    enqueue(&producer, &topic, 0..50).await?;
    flush(&producer).await?;
    let mut read = Vec::new();
    while read.len() < 100 {
        poll_and_commit(&member, &mut read).await?;
    }
    same!(admin.topics(&[&topic]).await?.len(), 1, "descriptions");
    // What is sent while there is nobody waits for somebody.
    let (moved, sent) = tokio::join!(cluster.move_all(), enqueue(&producer, &topic, 50..100));
    moved?;
    sent?;
    cluster.in_sync(&[&topic]).await?;
    flush(&producer).await?;
    while read.len() < 200 {
        read.extend(member.poll(100).await?.records);
    }
    member.commit().await?;
    whole(&read, 100, "what the group read")?;
    same!(admin.topics(&[&topic]).await?.len(), 1, "descriptions");
    enqueue(&producer, &topic, 100..110).await?;
    flush(&producer).await?;
    admin.close().await?;
    member.close().await?;
    producer.close().await
}
