//! Fetch sessions (KIP-227).

use crate::ask::{fetch, from, produce, topic};
use crate::records::batch;
use crate::side::Side;
use ottla_model::Uuid;
use ottla_protocol::fetch_request::{FetchPartition, ForgottenTopic};
use ottla_protocol::*;

type Topic = (String, Uuid);

fn in_session(topic: &Topic, partitions: Vec<FetchPartition>, id: i32, epoch: i32) -> FetchRequest {
    let mut request = FetchRequest { session_id: id, session_epoch: epoch, ..fetch(topic, partitions) };
    request.topics.retain(|topic| !topic.partitions.is_empty());
    request
}

fn forgetting(topic: &Topic, partitions: &[i32], id: i32, epoch: i32) -> FetchRequest {
    let forgotten = ForgottenTopic {
        topic: topic.0.as_str().into(),
        topic_id: topic.1,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    FetchRequest { forgotten_topics_data: vec![forgotten], ..in_session(topic, Vec::new(), id, epoch) }
}

pub async fn sessions(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    for version in [7, 11, 12, 13, 16, 18] {
        let all = || vec![from(0, 0), from(1, 0), from(2, 0)];
        let id = side.ask("new", version, &in_session(&a, all(), 0, 0)).await.session_id;
        side.ask("no change", version, &in_session(&a, Vec::new(), id, 1)).await;
        side.ask("old epoch", version, &in_session(&a, Vec::new(), id, 1)).await;
        side.ask("far epoch", version, &in_session(&a, Vec::new(), id, 7)).await;
        side.ask("negative epoch", version, &in_session(&a, Vec::new(), id, -7)).await;
        side.ask("unknown session", version, &in_session(&a, Vec::new(), 12_345, 1)).await;
        side.ask("no session, epoch 1", version, &in_session(&a, Vec::new(), 0, 1)).await;
        side.quiet(9, &produce(&a, 1, Some(batch(&["x"])))).await;
        side.ask("news", version, &in_session(&a, Vec::new(), id, 2)).await;
        side.ask("again, not read", version, &in_session(&a, Vec::new(), id, 3)).await;
        let end = side.quiet(9, &produce(&a, 2, Some(batch(&["y"])))).await;
        let end = end.responses.first().map_or(0, |topic| topic.partition_responses[0].base_offset);
        side.ask("order after reading", version, &in_session(&a, Vec::new(), id, 4)).await;
        side.ask("moved on", version, &in_session(&a, vec![from(1, end + 1), from(2, end + 1)], id, 5)).await;
        side.ask("out of range", version, &in_session(&a, vec![from(0, 99)], id, 6)).await;
        side.ask("still out of range", version, &in_session(&a, Vec::new(), id, 7)).await;
        side.ask("well again", version, &in_session(&a, vec![from(0, 0)], id, 8)).await;
        side.ask("unknown partition", version, &in_session(&a, vec![from(9, 0)], id, 9)).await;
        side.ask("still there", version, &in_session(&a, Vec::new(), id, 10)).await;
        side.ask("in a session, unknown topic", version, &in_session(&unknown, vec![from(0, 0)], id, 11)).await;
        side.ask("in a session, unknown topic still there", version, &in_session(&a, Vec::new(), id, 12)).await;
        side.ask("forgotten", version, &forgetting(&a, &[9, 1, 2], id, 13)).await;
        side.ask("forgotten unknown", version, &forgetting(&unknown, &[0, 4], id, 14)).await;
        side.ask("last", version, &in_session(&a, Vec::new(), id, 15)).await;
        side.ask("all forgotten", version, &forgetting(&a, &[0], id, 16)).await;
        side.ask("is it gone", version, &in_session(&a, Vec::new(), id, 17)).await;
        let id = side.ask("another", version, &in_session(&a, all(), 0, 0)).await.session_id;
        let next = side.ask("replaced by a new one", version, &in_session(&a, all(), id, 0)).await.session_id;
        side.ask("the replaced one", version, &in_session(&a, Vec::new(), id, 1)).await;
        side.ask("closed", version, &in_session(&a, vec![from(0, 0)], next, -1)).await;
        side.ask("after it closed", version, &in_session(&a, Vec::new(), next, 1)).await;
        side.ask("close an unknown one", version, &in_session(&a, vec![from(0, 0)], 12345, -1)).await;
        side.ask("new in place of an unknown one", version, &in_session(&a, vec![from(0, 0)], 12345, 0)).await;
        side.ask("empty new", version, &in_session(&a, Vec::new(), 0, 0)).await;
        side.ask("new with an unknown topic", version, &in_session(&unknown, vec![from(0, 0)], 0, 0)).await;
        let only_errors =
            side.ask("new with errors", version, &in_session(&a, vec![from(9, 0)], 0, 0)).await.session_id;
        side.ask("errors go on", version, &in_session(&a, Vec::new(), only_errors, 1)).await;
    }
    let by_name = side.ask("by name", 12, &in_session(&a, vec![from(0, 0)], 0, 0)).await.session_id;
    side.ask("then by id", 13, &in_session(&a, vec![from(1, 0)], by_name, 1)).await;
    side.ask("by name again", 12, &in_session(&a, Vec::new(), by_name, 1)).await;
    side.ask("and again", 12, &in_session(&a, Vec::new(), by_name, 2)).await;
    let by_id = side.ask("by id", 13, &in_session(&a, vec![from(0, 0)], 0, 0)).await.session_id;
    side.ask("then by name", 12, &in_session(&a, vec![from(1, 0)], by_id, 1)).await;
    side.ask("by id, nothing new", 13, &in_session(&a, Vec::new(), by_id, 1)).await;
    // A session that waits answers empty.
    let waiting = side.ask("session", 13, &in_session(&a, vec![from(0, 0)], 0, 0)).await.session_id;
    let mut request = in_session(&a, Vec::new(), waiting, 1);
    (request.max_wait_ms, request.min_bytes) = (100, 1);
    side.ask("waited for nothing", 13, &request).await;
}
