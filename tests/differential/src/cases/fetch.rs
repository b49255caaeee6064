//! Fetch outside sessions.

use crate::ask::{fetch, from, produce, topic};
use crate::records::batch;
use crate::side::{Side, all_versions, versions};
use ottla_model::Uuid;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::fetch_request::{FetchPartition, ReplicaState};
use ottla_protocol::*;

pub async fn plain(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let b = topic(side, "b", 1, &[]).await;
    for values in [vec!["a", "b", "c"], vec!["d"], vec!["e", "f"]] {
        side.quiet(12, &produce(&a, 0, Some(batch(&values)))).await;
        side.quiet(12, &produce(&b, 0, Some(batch(&values)))).await;
    }
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 2, ..Default::default() };
    let cut = DeleteRecordsTopic { name: b.0.as_str().into(), partitions: vec![partition], ..Default::default() };
    side.quiet(2, &DeleteRecordsRequest { topics: vec![cut], timeout_ms: 1000, ..Default::default() }).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let none = (String::new(), Uuid::ZERO);
    for version in all_versions::<FetchRequest>() {
        for offset in [-2, -1, 0, 1, 2, 3, 5, 6, 7, 100] {
            side.ask(&format!("a from {offset}"), version, &fetch(&a, vec![from(0, offset)])).await;
            side.ask(&format!("b from {offset}"), version, &fetch(&b, vec![from(0, offset)])).await;
        }
        for partition in [2, -1] {
            side.ask(&format!("partition {partition}"), version, &fetch(&a, vec![from(partition, 0)])).await;
        }
        side.ask("unknown", version, &fetch(&unknown, vec![from(0, 0)])).await;
        side.ask("no topic", version, &fetch(&none, vec![from(0, 0)])).await;
        side.ask("nothing", version, &FetchRequest { topics: Vec::new(), ..fetch(&a, Vec::new()) }).await;
        side.ask("no partition", version, &fetch(&a, Vec::new())).await;
        side.ask("partition twice", version, &fetch(&a, vec![from(0, 0), from(0, 3)])).await;
        let mut several = fetch(&b, vec![from(0, 2)]);
        several.topics.extend(fetch(&unknown, vec![from(0, 0)]).topics);
        several.topics.extend(fetch(&a, vec![from(1, 0), from(0, 4), from(9, 0)]).topics);
        side.ask("several", version, &several).await;
        several.topics.extend(fetch(&b, vec![from(0, 3)]).topics);
        side.ask("topic twice", version, &several).await;
        for isolation_level in [1, 2, -1] {
            let request = FetchRequest { isolation_level, ..fetch(&a, vec![from(0, 0)]) };
            side.ask(&format!("isolation {isolation_level}"), version, &request).await;
            let request = FetchRequest { isolation_level, ..fetch(&a, vec![from(0, 77)]) };
            side.ask(&format!("isolation {isolation_level} out of range"), version, &request).await;
        }
        for replica_id in [-2, 5] {
            let request = match version {
                ..=14 => FetchRequest { replica_id, ..fetch(&a, vec![from(0, 0)]) },
                _ => FetchRequest {
                    replica_state: ReplicaState { replica_id, ..Default::default() },
                    ..fetch(&a, vec![from(0, 0)])
                },
            };
            side.ask(&format!("replica {replica_id}"), version, &request).await;
        }
        let waiting = FetchRequest { max_wait_ms: 100, min_bytes: 1, ..fetch(&a, vec![from(0, 6), from(1, 0)]) };
        side.ask("waits for nothing", version, &waiting).await;
        let waiting = FetchRequest { max_wait_ms: 100, min_bytes: 100_000, ..fetch(&a, vec![from(0, 0)]) };
        side.ask("waits for more", version, &waiting).await;
        let waiting = FetchRequest { max_wait_ms: -1, min_bytes: 100_000, ..fetch(&a, vec![from(0, 0)]) };
        side.ask("negative wait", version, &waiting).await;
        let waiting = FetchRequest { max_wait_ms: 10_000, min_bytes: 1, ..fetch(&a, vec![from(0, 77)]) };
        side.ask("an error does not wait", version, &waiting).await;
    }
    let mut waiting = fetch(&a, vec![from(1, 0)]);
    (waiting.max_wait_ms, waiting.min_bytes) = (4_000, 1);
    let pending = side.start(12, &waiting).await;
    side.env.sleep(std::time::Duration::from_millis(100)).await;
    side.quiet(12, &produce(&a, 1, Some(batch(&["late"])))).await;
    side.finish("woken", 12, pending).await;
}

pub async fn limits(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let text = "z".repeat(100);
    for partition in [0, 1] {
        for _ in 0..4 {
            side.quiet(12, &produce(&a, partition, Some(batch(&[&text])))).await;
        }
    }
    let limited = |bytes: i32, offset| FetchPartition { partition_max_bytes: bytes, ..from(0, offset) };
    let second = |bytes: i32| FetchPartition { partition: 1, ..limited(bytes, 0) };
    for version in versions::<FetchRequest>() {
        for bytes in [-1, 0, 1, 100, 170, 175, 180, 350, 10_000] {
            side.ask(&format!("limit {bytes} of one"), version, &fetch(&a, vec![limited(bytes, 1)])).await;
            let both = fetch(&a, vec![limited(bytes, 1), second(bytes)]);
            side.ask(&format!("limit {bytes} of both"), version, &both).await;
            let whole = FetchRequest { max_bytes: bytes, ..fetch(&a, vec![limited(400, 1), second(400)]) };
            side.ask(&format!("limit {bytes} of all"), version, &whole).await;
            let whole = FetchRequest { max_bytes: bytes, ..fetch(&a, vec![limited(400, 4), second(400)]) };
            side.ask(&format!("limit {bytes} of all, first empty"), version, &whole).await;
        }
    }
}

pub async fn epochs(side: &mut Side) {
    let a = topic(side, "a", 1, &[]).await;
    side.quiet(12, &produce(&a, 0, Some(batch(&["a", "b"])))).await;
    for version in 9..=18 {
        for epoch in [-2, -1, 0, 1, 5] {
            let partition = FetchPartition { current_leader_epoch: epoch, ..from(0, 0) };
            side.ask(&format!("leader epoch {epoch}"), version, &fetch(&a, vec![partition])).await;
        }
        if version >= 12 {
            for (epoch, offset) in [(-1, 0), (0, 0), (0, 2), (0, 3), (1, 1), (5, 2), (5, 9)] {
                let partition = FetchPartition { last_fetched_epoch: epoch, ..from(0, offset) };
                let label = format!("last fetched epoch {epoch} at {offset}");
                side.ask(&label, version, &fetch(&a, vec![partition])).await;
            }
        }
    }
}
