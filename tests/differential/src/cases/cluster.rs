//! ApiVersions, Metadata, DescribeCluster, FindCoordinator, InitProducerId.

use crate::ask::{pause, topic};
use crate::side::{Side, all_versions, versions};
use crate::transact::initialising;
use ottla_model::{Str, Uuid};
use ottla_protocol::metadata_request::MetadataRequestTopic;
use ottla_protocol::*;

pub async fn api_versions(side: &mut Side) {
    let named = |name: &str, version: &str| ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: version.into(),
        node_id: -1,
        ..Default::default()
    };
    for version in all_versions::<ApiVersionsRequest>() {
        side.ask("plain", version, &named("ottla", "1.0")).await;
        side.ask("empty names", version, &named("", "")).await;
    }
    for name in ["-a", "a-", "a b", "a.b-c", "ü", "a_b", &"x".repeat(300)] {
        side.ask(name, 3, &named(name, "1")).await;
        side.ask("as the version", 4, &named("a", name)).await;
    }
    for (cluster_id, node_id) in [(None, 1), (None, 7), (Some("other"), -1), (Some("other"), 1)] {
        let request = ApiVersionsRequest { cluster_id: cluster_id.map(Str::from), node_id, ..named("a", "1") };
        side.ask(&format!("{cluster_id:?} node {node_id}"), 5, &request).await;
    }
}

fn wanted(name: Option<&str>, topic_id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic { name: name.map(Str::from), topic_id, ..Default::default() }
}

pub async fn metadata(side: &mut Side) {
    let (name, id) = topic(side, "a", 3, &[]).await;
    let unknown = side.name("unknown");
    let ask = |topics: Option<Vec<MetadataRequestTopic>>| MetadataRequest { topics, ..Default::default() };
    for version in all_versions::<MetadataRequest>() {
        side.ask_all("all", version, &ask(if version == 0 { Some(Vec::new()) } else { None })).await;
        if version > 0 {
            side.ask("none", version, &ask(Some(Vec::new()))).await;
        }
        let names = [name.as_str(), &unknown, &name];
        let auto = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
        if version >= 4 {
            let topics = names.iter().map(|name| wanted(Some(name), Uuid::ZERO)).collect();
            side.ask("known, unknown, known", version, &MetadataRequest { topics: Some(topics), ..auto.clone() }).await;
            for bad in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
                let topics = Some(vec![wanted(Some(bad), Uuid::ZERO)]);
                side.ask(&format!("bad name {bad:?}"), version, &MetadataRequest { topics, ..auto.clone() }).await;
            }
            let topics = Some(vec![wanted(Some("__consumer_offsets"), Uuid::ZERO), wanted(Some(&name), Uuid::ZERO)]);
            let request = MetadataRequest {
                include_topic_authorized_operations: version >= 8,
                include_cluster_authorized_operations: (8..=10).contains(&version),
                topics,
                ..auto.clone()
            };
            side.quiet(version, &request).await;
            let topics = Some(vec![wanted(Some(&name), Uuid::ZERO), wanted(Some(&unknown), Uuid::ZERO)]);
            side.ask("operations", version, &MetadataRequest { topics, ..request }).await;
        }
        if version >= 10 {
            let topics = vec![
                wanted(None, id),
                wanted(None, Uuid([7; 16])),
                wanted(None, Uuid::ZERO),
                wanted(Some(&name), id),
                wanted(Some("other"), id),
                wanted(Some(&name), Uuid([7; 16])),
                wanted(Some(&unknown), Uuid::ZERO),
            ];
            side.ask("ids together", version, &MetadataRequest { topics: Some(topics.clone()), ..auto.clone() }).await;
            for topic in topics {
                let label = format!("id {:?}", topic.name);
                side.ask(&label, version, &MetadataRequest { topics: Some(vec![topic]), ..auto.clone() }).await;
            }
        }
    }
    // Auto-creation: Kafka answers UNKNOWN_TOPIC_OR_PARTITION or LEADER_NOT_AVAILABLE at first; a bad name is refused at once.
    for (at, version) in versions::<MetadataRequest>().into_iter().enumerate() {
        let made = side.name(&format!("made-{at}"));
        let request = MetadataRequest {
            topics: Some(vec![wanted(Some(&made), Uuid::ZERO)]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        side.quiet(version, &request).await;
        for _ in 0..10 {
            pause(side).await;
        }
        side.ask("auto-created", version, &request).await;
        let topics = Some(["a b", "", "__transaction_state_x"].map(|name| wanted(Some(name), Uuid::ZERO)).to_vec());
        if version < 13 {
            let topics = topics.map(|topics| topics[..2].to_vec());
            side.ask("auto-creation of bad names", version, &MetadataRequest { topics, ..request }).await;
        }
    }
}

pub async fn describe_cluster(side: &mut Side) {
    for version in all_versions::<DescribeClusterRequest>() {
        for endpoint_type in [0, 1, 2, 3] {
            for operations in [false, true] {
                let request = DescribeClusterRequest {
                    endpoint_type: if version == 0 { 1 } else { endpoint_type },
                    include_cluster_authorized_operations: operations,
                    include_fenced_brokers: version >= 2 && operations,
                    ..Default::default()
                };
                side.ask(&format!("type {endpoint_type} operations {operations}"), version, &request).await;
            }
        }
    }
}

pub async fn find_coordinator(side: &mut Side) {
    let request = FindCoordinatorRequest { key: side.name("warm").as_str().into(), ..Default::default() };
    for _ in 0..100 {
        if side.quiet(2, &request).await.error_code == 0 {
            break;
        }
        pause(side).await;
    }
    for version in all_versions::<FindCoordinatorRequest>() {
        for key_type in [0, 2, 3, -1] {
            if version == 0 && key_type != 0 {
                continue;
            }
            for keys in [vec!["g"], vec![""], vec![], vec!["g", "h", "g"]] {
                let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
                if version >= 4 {
                    request.coordinator_keys = keys.iter().map(|key| Str::from(*key)).collect();
                } else if let [key] = keys[..] {
                    request.key = key.into();
                } else {
                    continue;
                }
                side.ask(&format!("type {key_type} keys {keys:?}"), version, &request).await;
            }
        }
    }
}

pub async fn init_producer_id(side: &mut Side) {
    for version in all_versions::<InitProducerIdRequest>() {
        let plain = initialising(None, 60_000, -1, -1);
        side.ask("new", version, &plain).await;
        side.ask("timeout -1", version, &InitProducerIdRequest { transaction_timeout_ms: -1, ..plain.clone() }).await;
        let empty = InitProducerIdRequest { transactional_id: Some("".into()), ..plain.clone() };
        side.ask("empty transactional id", version, &empty).await;
        if version >= 3 {
            for (producer_id, producer_epoch) in [(5, 3), (5, -1), (-1, 3)] {
                let request = InitProducerIdRequest { producer_id, producer_epoch, ..plain.clone() };
                side.ask(&format!("id {producer_id} epoch {producer_epoch}"), version, &request).await;
            }
        }
    }
}
