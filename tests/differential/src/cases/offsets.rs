//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use crate::ask::{fetch, from, produce, topic};
use crate::records::{EPOCH_MS, batch_at};
use crate::side::{Side, all_versions};
use ottla_model::Compression;
use ottla_model::record_batch::BatchOptions;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_protocol::*;

fn list(topic: &str, partitions: &[(i32, i64)]) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|(partition_index, timestamp)| ListOffsetsPartition {
        partition_index: *partition_index,
        current_leader_epoch: -1,
        timestamp: *timestamp,
        ..Default::default()
    });
    let topic = ListOffsetsTopic { name: topic.into(), partitions: partitions.collect(), ..Default::default() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

fn delete(topic: &str, partitions: &[(i32, i64)]) -> DeleteRecordsRequest {
    let partitions = partitions.iter().map(|(partition_index, offset)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
        ..Default::default()
    });
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: partitions.collect(), ..Default::default() };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: 2_000, ..Default::default() }
}

pub async fn list_offsets(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let unknown = side.name("unknown");
    let packed = || BatchOptions { compression: Compression::Lz4, ..Default::default() };
    side.quiet(9, &produce(&a, 0, Some(batch_at(packed(), EPOCH_MS, &["a", "b", "c"])))).await;
    side.quiet(9, &produce(&a, 0, Some(batch_at(BatchOptions::default(), EPOCH_MS + 100, &["d", "e"])))).await;
    side.quiet(9, &produce(&a, 0, Some(batch_at(BatchOptions::default(), EPOCH_MS + 50, &["f"])))).await;
    side.quiet(9, &produce(&a, 0, Some(batch_at(packed(), EPOCH_MS + 200, &["g", "h"])))).await;
    side.quiet(9, &produce(&a, 0, Some(batch_at(BatchOptions::default(), -1, &["none"])))).await;
    for round in 0..2 {
        for version in all_versions::<ListOffsetsRequest>() {
            for special in [-1, -2, -3, -4, -5, -6, -7, i64::MIN] {
                side.ask(&format!("{round} special {special}"), version, &list(&a.0, &[(0, special), (1, special)]))
                    .await;
            }
            for at in [-50, -1, 0, 1, 2, 3, 50, 51, 99, 100, 101, 102, 200, 201, 202, 1_000_000] {
                side.ask(&format!("{round} {at} ms"), version, &list(&a.0, &[(0, EPOCH_MS + at), (1, EPOCH_MS)])).await;
            }
            side.ask("zero", version, &list(&a.0, &[(0, 0), (1, i64::MAX)])).await;
            side.ask("unknown", version, &list(&unknown, &[(0, -1)])).await;
            side.ask("unknown partition", version, &list(&a.0, &[(2, -1), (-1, -1)])).await;
            side.ask("twice", version, &list(&a.0, &[(0, -1), (1, -1), (0, -2)])).await;
            let mut topics = list(&a.0, &[(0, -1)]);
            topics.topics.extend(list(&a.0, &[(1, -1), (0, -1)]).topics);
            side.ask("topic twice, each apart", version, &topics).await;
            side.ask("nothing", version, &ListOffsetsRequest { replica_id: -1, ..Default::default() }).await;
            for replica_id in [-2, -3, 5] {
                let request = ListOffsetsRequest { replica_id, ..list(&a.0, &[(0, -1)]) };
                side.ask(&format!("replica {replica_id}"), version, &request).await;
            }
            if version >= 2 {
                for isolation_level in [1, 3] {
                    let request = ListOffsetsRequest { isolation_level, ..list(&a.0, &[(0, -1), (1, EPOCH_MS)]) };
                    side.ask(&format!("isolation {isolation_level}"), version, &request).await;
                }
            }
            if version >= 4 {
                for epoch in [-2, 0, 1] {
                    let mut request = list(&a.0, &[(0, -1), (0, EPOCH_MS)]);
                    request.topics[0].partitions.truncate(1);
                    request.topics[0].partitions[0].current_leader_epoch = epoch;
                    side.ask(&format!("leader epoch {epoch}"), version, &request).await;
                }
            }
        }
        side.quiet(2, &delete(&a.0, &[(0, 4)])).await;
    }
}

pub async fn leader_epochs(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let unknown = side.name("unknown");
    side.quiet(9, &produce(&a, 0, Some(batch_at(BatchOptions::default(), EPOCH_MS, &["a"])))).await;
    let ask = |name: &str, partition, current_leader_epoch, leader_epoch| {
        let partition =
            OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch, ..Default::default() };
        let topic = OffsetForLeaderTopic { topic: name.into(), partitions: vec![partition], ..Default::default() };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    for version in all_versions::<OffsetForLeaderEpochRequest>() {
        for current in [-1, 0, 1, -2] {
            for epoch in [-1, 0, 1, 9] {
                for partition in [0, 1] {
                    let label = format!("epoch {epoch} of {partition}, current {current}");
                    side.ask(&label, version, &ask(&a.0, partition, current, epoch)).await;
                }
            }
        }
        side.ask("unknown partition", version, &ask(&a.0, 5, -1, 0)).await;
        side.ask("unknown topic", version, &ask(&unknown, 0, -1, 0)).await;
        let mut twice = ask(&a.0, 0, -1, 0);
        twice.topics.extend(ask(&unknown, 0, -1, 0).topics);
        side.ask("two topics", version, &twice).await;
    }
}

pub async fn delete_records(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let compact = topic(side, "compact", 1, &[("cleanup.policy", "compact")]).await;
    let unknown = side.name("unknown");
    for version in all_versions::<DeleteRecordsRequest>() {
        for topic in [&a, &compact] {
            let records = batch_at(BatchOptions::default(), EPOCH_MS, &["a", "b", "c"]);
            side.quiet(9, &produce(topic, 0, Some(records))).await;
            for offset in [-3, -2, 0, 1, 1, 0, 2, 99] {
                side.ask(&format!("{} to {offset}", topic.0), version, &delete(&topic.0, &[(0, offset)])).await;
            }
            side.ask("to the end", version, &delete(&topic.0, &[(0, -1)])).await;
        }
        side.ask("empty", version, &delete(&a.0, &[(1, -1)])).await;
        side.ask("several", version, &delete(&a.0, &[(1, 0), (0, 1), (5, 0), (-1, 0)])).await;
        side.ask("partition twice", version, &delete(&a.0, &[(1, 0), (1, 5)])).await;
        side.ask("unknown", version, &delete(&unknown, &[(0, 0)])).await;
        side.ask("bad name", version, &delete("a b", &[(0, 0)])).await;
        side.ask("none", version, &DeleteRecordsRequest { timeout_ms: 100, ..Default::default() }).await;
        side.ask("internal", version, &delete("__consumer_offsets", &[(0, 0)])).await;
    }
    side.ask("what is left", 12, &fetch(&a, vec![from(0, 0)])).await;
}
