//! When records are on the disk: read off the recovery point, which is where a crash would make recovery begin.

use crate::support::Set;
use crate::support::*;
use ottla_protocol::DeleteRecordsRequest;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

/// Writes the recovery points often; the default is a minute.
const OFTEN: (&str, &str) = ("log.flush.offset.checkpoint.interval.ms", "20");

/// The offset that a checkpoint file has for partition 0 of [`TOPIC`].
fn checkpoint(folder: &Folder, file: &str) -> Option<i64> {
    let text = std::fs::read_to_string(folder.join(file)).ok()?;
    let line = text.lines().find(|line| line.starts_with(&format!("{TOPIC} 0 ")))?;
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

#[tokio::test]
pub async fn flush_ms() {
    let scheduler = ("log.flush.scheduler.interval.ms", "20");
    for set in [Set::Broker("log.flush.interval.ms", "10"), Set::Topic("flush.ms", "10")] {
        is_flushed(&Folder::new(), set, &[OFTEN, scheduler]).await;
    }
    // Without an interval the scheduler's own is it.
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
