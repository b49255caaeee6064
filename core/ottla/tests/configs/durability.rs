//! When records are on the disk: read off the recovery point, which is where a crash would make recovery begin.

use crate::support::Set;
use crate::support::*;
use ottla_protocol::DeleteRecordsRequest;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

/// Writes the recovery points often; the default is a minute.
const OFTEN: (&str, &str) = ("log.flush.offset.checkpoint.interval.ms", "20");

/// The offset that a checkpoint file has for partition 0 of [`TOPIC`].
fn checkpoint(folder: &Folder, file: &str) -> Option<i64> {
    checkpoint_of(folder, file, TOPIC)
}

fn checkpoint_of(folder: &Folder, file: &str, topic: &str) -> Option<i64> {
    let text = std::fs::read_to_string(folder.join(file)).ok()?;
    let line = text.lines().find(|line| line.starts_with(&format!("{topic} 0 ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn is_flushed(folder: &Folder, set: Set<'_>, configs: &[(&str, &str)]) {
    let node = with_in(folder, set, configs).await;
    node.produce_at(now_ms()).await;
    eventually("the record is flushed", async || checkpoint(folder, "recovery-point-offset-checkpoint") == Some(1))
        .await;
    node.close().await;
}

#[tokio::test]
pub async fn flush_messages() {
    for set in [Set::Broker("log.flush.interval.messages", "1"), Set::Topic("flush.messages", "1")] {
        is_flushed(&Folder::new(), set, &[OFTEN]).await;
    }
    // Two are asked for and one is there: written, and not flushed.
    let folder = Folder::new();
    let node = with_in(&folder, Set::Topic("flush.messages", "2"), &[OFTEN]).await;
    node.produce_at(now_ms()).await;
    eventually("the checkpoint is written", async || {
        checkpoint(&folder, "recovery-point-offset-checkpoint") == Some(0)
    })
    .await;
    node.close().await;
}

/// The scheduler looks often and one topic is flushed as often; the other is left alone as long as its time says.
#[tokio::test]
pub async fn flush_ms() {
    const FILE: &str = "recovery-point-offset-checkpoint";
    let scheduler = ("log.flush.scheduler.interval.ms", "10");
    for set in [Set::Broker("log.flush.interval.ms", "3600000"), Set::Topic("flush.ms", "3600000")] {
        let folder = Folder::new();
        let node = with_in(&folder, set, &[OFTEN, scheduler]).await;
        node.create("quick", 1, &[("flush.ms", "5")]).await;
        node.produce_at(now_ms()).await;
        for offset in 1..=3 {
            node.produce_to("quick", 0, batch(now_ms(), b"value")).await;
            let flushed = async || checkpoint_of(&folder, FILE, "quick") == Some(offset);
            eventually("the record is flushed", flushed).await;
        }
        assert_eq!(checkpoint(&folder, FILE), Some(0), "{set:?}");
        node.close().await;
    }
    // Without a time of its own a topic is flushed as often as the scheduler looks.
    is_flushed(&Folder::new(), Set::Broker("log.flush.scheduler.interval.ms", "20"), &[OFTEN]).await;
}

#[tokio::test]
pub async fn log_start_offset_checkpoint() {
    let folder = Folder::new();
    let set = Set::Broker("log.flush.start.offset.checkpoint.interval.ms", "20");
    let node = with_in(&folder, set, &[]).await;
    for _ in 0..3 {
        node.produce_at(now_ms()).await;
    }
    let partition = DeleteRecordsPartition { offset: 2, ..Default::default() };
    let topic = DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    node.ask(&DeleteRecordsRequest { topics: vec![topic], ..Default::default() }).await;
    eventually("the checkpoint is written", async || checkpoint(&folder, "log-start-offset-checkpoint") == Some(2))
        .await;
    node.close().await;
}

#[tokio::test]
pub async fn high_watermark_checkpoint() {
    let folder = Folder::new();
    let set = Set::Broker("replica.high.watermark.checkpoint.interval.ms", "20");
    let node = with_in(&folder, set, &[]).await;
    node.produce_at(now_ms()).await;
    eventually("the checkpoint is written", async || checkpoint(&folder, "replication-offset-checkpoint") == Some(1))
        .await;
    node.close().await;
}
