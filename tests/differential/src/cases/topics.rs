//! CreateTopics, DeleteTopics, CreatePartitions, DescribeTopicPartitions.

use crate::ask::{assigned, creatable, create, pause, topic, with_config};
use crate::side::{Side, all_versions, versions};
use ottla_model::{Str, Uuid};
use ottla_protocol::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use ottla_protocol::create_topics_request::CreatableTopic;
use ottla_protocol::delete_topics_request::DeleteTopicState;
use ottla_protocol::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla_protocol::*;

pub async fn create_topics(side: &mut Side) {
    for version in versions::<CreateTopicsRequest>() {
        let name = |side: &Side, name: &str| side.name(&format!("{version}{name}"));
        let n = name(side, "x");
        let mut tries: Vec<(&str, CreatableTopic)> = vec![
            ("0 partitions", creatable(&n, 0, 1)),
            ("-2 partitions", creatable(&n, -2, 1)),
            ("factor 0", creatable(&n, 1, 0)),
            ("factor 3", creatable(&n, 1, 3)),
            ("factor -2", creatable(&n, 1, -2)),
            ("unknown config", with_config(creatable(&n, 1, 1), "no.such", Some("1"))),
            ("bad config", with_config(creatable(&n, 1, 1), "retention.ms", Some("soon"))),
            ("config out of range", with_config(creatable(&n, 1, 1), "segment.bytes", Some("1"))),
            ("null config", with_config(creatable(&n, 1, 1), "retention.ms", None)),
            ("bad policy", with_config(creatable(&n, 1, 1), "cleanup.policy", Some("delete,nothing"))),
            ("empty policy", with_config(creatable(&n, 1, 1), "cleanup.policy", Some(""))),
            ("bad codec", with_config(creatable(&n, 1, 1), "compression.type", Some("brotli"))),
            ("empty name", creatable("", 1, 1)),
            ("dot", creatable(".", 1, 1)),
            ("dots", creatable("..", 1, 1)),
            ("space", creatable("a b", 1, 1)),
            ("umlaut", creatable("ä", 1, 1)),
            ("long name", creatable(&"n".repeat(250), 1, 1)),
            ("metadata topic", creatable("__cluster_metadata", 1, 1)),
            ("assignment and count", assigned(creatable(&n, 1, -1), &[(0, &[1])])),
            ("assignment and factor", assigned(creatable(&n, -1, 1), &[(0, &[1])])),
            ("assignment to unknown broker", assigned(creatable(&n, -1, -1), &[(0, &[9])])),
            ("assignment with duplicate broker", assigned(creatable(&n, -1, -1), &[(0, &[1, 1])])),
            ("empty assignment", assigned(creatable(&n, -1, -1), &[(0, &[])])),
            ("negative broker", assigned(creatable(&n, -1, -1), &[(0, &[-1])])),
            ("assignment with a gap", assigned(creatable(&n, -1, -1), &[(1, &[1])])),
            ("assignment of uneven length", assigned(creatable(&n, -1, -1), &[(0, &[1]), (1, &[1, 2])])),
            ("partition twice", assigned(creatable(&n, -1, -1), &[(0, &[1]), (0, &[1])])),
            (
                "config twice",
                with_config(with_config(creatable(&n, 1, 1), "retention.ms", Some("1")), "retention.ms", Some("2")),
            ),
        ];
        for (label, topic) in &tries {
            let request = CreateTopicsRequest { validate_only: true, ..create(vec![topic.clone()]) };
            side.ask(&format!("{label}, validate only"), version, &request).await;
        }
        tries.truncate(12);
        tries.push(("duplicate config value", with_config(creatable(&n, 1, 1), "retention.ms", Some("5"))));
        for (label, topic) in tries {
            side.ask(label, version, &create(vec![topic])).await;
        }
        side.ask("again", version, &create(vec![creatable(&n, 1, 1)])).await;
        side.ask("again with bad count", version, &create(vec![creatable(&n, 0, 5)])).await;
        let request = CreateTopicsRequest { validate_only: true, ..create(vec![creatable(&n, 1, 1)]) };
        side.ask("again, validate only", version, &request).await;
        let (dot, bar) = (name(side, "c.d_e"), name(side, "c_d_e"));
        side.ask("with a dot", version, &create(vec![creatable(&dot, 1, 1)])).await;
        side.ask("collides", version, &create(vec![creatable(&bar, 1, 1)])).await;
        if version >= 4 {
            side.ask("defaults", version, &create(vec![creatable(&name(side, "d"), -1, -1)])).await;
        }
        let twice = vec![
            creatable(&name(side, "t"), 1, 1),
            creatable(&name(side, "t"), 2, 1),
            creatable(&name(side, "u"), 2, 1),
        ];
        side.ask("one twice and another", version, &create(twice)).await;
        let by_hand = assigned(creatable(&name(side, "h"), -1, -1), &[(1, &[1]), (0, &[1])]);
        let configured = with_config(by_hand, "cleanup.policy", Some("compact,delete"));
        side.ask("by hand", version, &create(vec![configured])).await;
        side.ask("nothing", version, &create(Vec::new())).await;
        let spaces = with_config(creatable(&name(side, "s"), 1, 1), "cleanup.policy", Some(" compact , delete "));
        side.ask("policy with spaces", version, &create(vec![spaces])).await;
        side.ask("many partitions", version, &create(vec![creatable(&name(side, "m"), 20_000, 1)])).await;
        let pair = vec![creatable(&name(side, "p.q"), 1, 1), creatable(&name(side, "p_q"), 1, 1)];
        side.ask("two that collide", version, &create(pair)).await;
    }
}

pub async fn delete_topics(side: &mut Side) {
    let first = topic(side, "a", 1, &[]).await;
    let second = topic(side, "b", 1, &[]).await;
    let third = topic(side, "c", 1, &[]).await;
    let unknown = side.name("unknown");
    let by_name = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| Str::from(*name)).collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    let by_state = |topics: &[(Option<&str>, Uuid)]| DeleteTopicsRequest {
        topics: topics
            .iter()
            .map(|(name, topic_id)| DeleteTopicState {
                name: name.map(Str::from),
                topic_id: *topic_id,
                ..Default::default()
            })
            .collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    for version in [1, 3, 5] {
        side.ask("unknown", version, &by_name(&[&unknown])).await;
        side.ask("bad names", version, &by_name(&["", "a b", ".."])).await;
        side.ask("unknown twice", version, &by_name(&[&unknown, &unknown])).await;
        side.ask("none", version, &by_name(&[])).await;
    }
    side.ask("twice", 5, &by_name(&[&first.0, &first.0])).await;
    side.ask("one", 1, &by_name(&[&first.0])).await;
    pause(side).await;
    side.ask("again", 5, &by_name(&[&first.0])).await;
    let strange = Uuid([9; 16]);
    side.ask("unknown name", 6, &by_state(&[(Some(&unknown), Uuid::ZERO)])).await;
    side.ask("unknown id", 6, &by_state(&[(None, strange)])).await;
    side.ask("neither", 6, &by_state(&[(None, Uuid::ZERO)])).await;
    side.ask("both", 6, &by_state(&[(Some(&second.0), second.1)])).await;
    side.ask("id twice", 6, &by_state(&[(None, second.1), (None, second.1)])).await;
    side.ask("unknown id twice", 6, &by_state(&[(None, strange), (None, strange)])).await;
    side.ask("name twice", 6, &by_state(&[(Some(&third.0), Uuid::ZERO), (Some(&third.0), Uuid::ZERO)])).await;
    side.ask("name and id of one", 6, &by_state(&[(Some(&third.0), Uuid::ZERO), (None, third.1)])).await;
    side.ask("by id", 6, &by_state(&[(None, second.1)])).await;
    let rest = [(Some(third.0.as_str()), Uuid::ZERO), (None, strange), (Some(""), Uuid::ZERO)];
    side.ask("mixed", 6, &by_state(&rest)).await;
    pause(side).await;
    side.ask("id that is gone", 6, &by_state(&[(None, second.1)])).await;
}

/// A topic's name, its new partition count, and the replicas of the new ones.
type Wish<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>);

pub async fn create_partitions(side: &mut Side) {
    let (name, _) = topic(side, "a", 2, &[]).await;
    let unknown = side.name("unknown");
    let ask = |topics: &[Wish<'_>]| CreatePartitionsRequest {
        topics: topics
            .iter()
            .map(|(name, count, assignments)| CreatePartitionsTopic {
                name: (*name).into(),
                count: *count,
                assignments: assignments.map(|lists| {
                    let list = |brokers: &&[i32]| CreatePartitionsAssignment {
                        broker_ids: brokers.to_vec(),
                        ..Default::default()
                    };
                    lists.iter().map(list).collect()
                }),
                ..Default::default()
            })
            .collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    let mut count = 2;
    for version in all_versions::<CreatePartitionsRequest>() {
        for less in [-1, 0, 1] {
            side.ask(&format!("down to {less}"), version, &ask(&[(&name, less, None)])).await;
        }
        side.ask("equal", version, &ask(&[(&name, count, None)])).await;
        side.ask("unknown", version, &ask(&[(&unknown, 3, None)])).await;
        side.ask("bad name", version, &ask(&[("a b", 3, None)])).await;
        side.ask("empty name", version, &ask(&[("", 3, None)])).await;
        side.ask("twice", version, &ask(&[(&name, count + 1, None), (&name, count + 2, None)])).await;
        let bad: [(&str, &[&[i32]]); 6] = [
            ("too few", &[]),
            ("too many", &[&[1], &[1]]),
            ("unknown broker", &[&[9]]),
            ("factor 2", &[&[1, 1]]),
            ("empty", &[&[]]),
            ("other factor", &[&[1, 2]]),
        ];
        for (label, assignments) in bad {
            side.ask(label, version, &ask(&[(&name, count + 1, Some(assignments))])).await;
        }
        let only = CreatePartitionsRequest { validate_only: true, ..ask(&[(&name, count + 1, None)]) };
        side.ask("validate only", version, &only).await;
        side.ask("by hand", version, &ask(&[(&name, count + 1, Some(&[&[1]]))])).await;
        side.ask("more", version, &ask(&[(&name, count + 3, None), (&unknown, 1, None)])).await;
        count += 3;
        side.ask("none", version, &ask(&[])).await;
        side.ask("very many", version, &ask(&[(&name, 20_000, None)])).await;
    }
}

pub async fn describe_topic_partitions(side: &mut Side) {
    let (a, _) = topic(side, "a", 3, &[]).await;
    let (b, _) = topic(side, "b", 2, &[]).await;
    let unknown = side.name("ab");
    let ask = |names: &[&str], limit: i32, cursor: Option<(&str, i32)>| DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).into(), ..Default::default() }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition_index)| Cursor {
            topic_name: name.into(),
            partition_index,
            ..Default::default()
        }),
        ..Default::default()
    };
    let all = [b.as_str(), &a, &unknown, &a];
    for limit in [-1, 0, 1, 2, 3, 4, 5, 100] {
        side.ask(&format!("limit {limit}"), 0, &ask(&all, limit, None)).await;
        side.ask(&format!("limit {limit} from a 1"), 0, &ask(&all, limit, Some((&a, 1)))).await;
        side.ask(&format!("limit {limit} from unknown"), 0, &ask(&all, limit, Some((&unknown, 1)))).await;
    }
    for (at, partition) in [(&a, -1), (&a, 3), (&a, 99), (&b, 1), (&b, 2)] {
        side.ask(&format!("from {at} {partition}"), 0, &ask(&all, 100, Some((at, partition)))).await;
    }
    side.ask("from what is not asked", 0, &ask(&[&b], 100, Some((&a, 1)))).await;
    side.ask("from behind all", 0, &ask(&[&a], 100, Some(("zzz", 0)))).await;
    side.ask("from an empty name", 0, &ask(&[&a], 100, Some(("", 0)))).await;
    side.ask("bad names", 0, &ask(&["", "a b", ".."], 100, None)).await;
    let last = side.name("zz");
    side.ask("unknown last", 0, &ask(&[&a, &last], 3, None)).await;
    side.ask("unknown only", 0, &ask(&[&last], 1, None)).await;
}
