//! What readers see of transactions: Fetch and ListOffsets of both isolation levels, open, committed and aborted.

use crate::ask::{fetch, from, pause, produce, topic};
use crate::records::{EPOCH_MS, batch};
use crate::side::{Side, all_versions};
use crate::transact::{Producer, adding, at_rest, end, producer, writing};
use ottla_model::Uuid;
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::fetch_request::FetchPartition;
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::*;

type Topic = (String, Uuid);

/// Every version, both isolation levels, from several offsets.
async fn look(side: &mut Side, when: &str, a: &Topic) {
    for version in all_versions::<FetchRequest>() {
        for isolation_level in [0, 1] {
            for offset in [0, 1, 4, 8, 12, 100] {
                let request = FetchRequest { isolation_level, ..fetch(a, vec![from(0, offset), from(1, 0)]) };
                let label = format!("{when}: level {isolation_level} from {offset}");
                side.ask(&label, version, &request).await;
            }
            let small = FetchPartition { partition_max_bytes: 90, ..from(0, 2) };
            let request = FetchRequest { isolation_level, ..fetch(a, vec![small]) };
            side.ask(&format!("{when}: level {isolation_level}, few bytes"), version, &request).await;
        }
    }
    for version in all_versions::<ListOffsetsRequest>().filter(|version| *version >= 2) {
        for isolation_level in [0, 1] {
            for timestamp in [-1, -2, -3, EPOCH_MS, EPOCH_MS + 1, EPOCH_MS + 2, EPOCH_MS + 100] {
                let partition = |partition_index| ListOffsetsPartition {
                    partition_index,
                    timestamp,
                    current_leader_epoch: -1,
                    ..Default::default()
                };
                let topic = ListOffsetsTopic {
                    name: a.0.as_str().into(),
                    partitions: vec![partition(0), partition(1)],
                    ..Default::default()
                };
                let request =
                    ListOffsetsRequest { replica_id: -1, isolation_level, topics: vec![topic], ..Default::default() };
                side.ask(&format!("{when}: level {isolation_level} time {timestamp}"), version, &request).await;
            }
        }
    }
}

/// Interleaved transactions of three producers, looked at after each step.
pub async fn isolation(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let mut first = producer(side, "first").await;
    let mut second = producer(side, "second").await;
    let mut third = producer(side, "third").await;
    side.quiet(11, &produce(&a, 0, Some(batch(&["plain", "plain"])))).await;
    side.ask("adds", 3, &adding(3, &first, &[(&a, &[0, 1])], false)).await;
    side.ask("writes", 11, &writing(&first, &a, 0, 0, &["1a", "1b"])).await;
    side.ask("writes", 12, &writing(&second, &a, 0, 0, &["2a"])).await;
    look(side, "two open", &a).await;
    side.quiet(11, &produce(&a, 0, Some(batch(&["plain"])))).await;
    end(side, "aborts", 5, &mut second, false).await;
    look(side, "the later aborted", &a).await;
    side.ask("writes", 13, &writing(&second, &a, 0, 0, &["2b"])).await;
    side.ask("writes", 13, &writing(&third, &a, 0, 0, &["3a"])).await;
    end(side, "commits", 4, &mut first, true).await;
    look(side, "the first committed", &a).await;
    side.ask("adds", 3, &adding(3, &first, &[(&a, &[0])], false)).await;
    side.ask("writes", 11, &writing(&first, &a, 0, 2, &["1c"])).await;
    for (version, of) in [(5, &mut third), (4, &mut first), (5, &mut second)] {
        end(side, "aborts", version, of, false).await;
        // ListOffsets tells the markers apart by their times.
        pause(side).await;
    }
    look(side, "all ended", &a).await;
    let cut = DeleteRecordsPartition { partition_index: 0, offset: 7, ..Default::default() };
    let cut = DeleteRecordsTopic { name: a.0.as_str().into(), partitions: vec![cut], ..Default::default() };
    side.ask("cut", 2, &DeleteRecordsRequest { topics: vec![cut], timeout_ms: 2_000, ..Default::default() }).await;
    for offset in [6, 7, 8] {
        let request = FetchRequest { isolation_level: 1, ..fetch(&a, vec![from(0, offset)]) };
        side.ask(&format!("after the cut from {offset}"), 12, &request).await;
    }
    // A reader of what is committed waits for the end of the transaction, and is woken by it.
    side.ask("writes", 12, &writing(&third, &a, 1, 0, &["3b"])).await;
    let isolated = FetchRequest { isolation_level: 1, ..fetch(&a, vec![from(1, 1)]) };
    let found = side.ask("before the end", 12, &isolated).await;
    let stable =
        found.responses.first().and_then(|topic| topic.partitions.first()).map_or(0, |it| it.last_stable_offset);
    let waiting =
        FetchRequest { max_wait_ms: 4_000, min_bytes: 1, isolation_level: 1, ..fetch(&a, vec![from(1, stable)]) };
    let pending = side.start(12, &waiting).await;
    side.env.sleep(std::time::Duration::from_millis(100)).await;
    let commit = crate::transact::ending(&third, true);
    side.quiet(5, &commit).await;
    side.finish("woken by the commit", 12, pending).await;
    at_rest(side, &third.name).await;
    end(side, "unused", 5, &mut Producer { epoch: third.epoch + 1, ..third }, false).await;
}
