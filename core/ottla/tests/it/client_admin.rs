//! Administration through the client: topics, partitions, configs, the cluster.

use crate::support::{client, on_tcp};
use ottla::client::{AlterOp, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource, ErrorCode, NewTopic};

fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> NewTopic {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    NewTopic { configs, ..NewTopic::new(name, partitions) }
}

fn set(configs: &[ConfigEntry]) -> Vec<(&str, Option<&str>)> {
    let own = configs.iter().filter(|config| config.source == ConfigSource::Topic);
    own.map(|config| (config.name.as_str(), config.value.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topics_life() {
    let broker = on_tcp().await;
    let admin = client(&broker).admin();
    let names = ["a".to_owned(), "b".to_owned()];
    // Checking makes nothing.
    let checked = admin.create_topics(&[topic("a", 1, &[])], true).await.expect("answered");
    checked.into_iter().for_each(|result| drop(result.expect("valid")));
    assert!(admin.list_topics().await.expect("listed").is_empty());

    let new = [topic("a", 3, &[("retention.ms", "1000")]), topic("b", 1, &[]), topic("b!", 1, &[])];
    let results = admin.create_topics(&new, false).await.expect("answered");
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().err().and_then(|error| error.code())).collect();
    assert_eq!(codes, [None, None, Some(ErrorCode::InvalidTopicException)]);
    let again = admin.create_topics(&new[..1], false).await.expect("answered");
    assert_eq!(again[0].as_ref().expect_err("it exists").code(), Some(ErrorCode::TopicAlreadyExists));
    let wrong = admin.create_topics(&[topic("c", 1, &[("retention.ms", "soon")])], false).await.expect("answered");
    assert_eq!(wrong[0].as_ref().expect_err("not a number").code(), Some(ErrorCode::InvalidConfig));

    let listed = admin.list_topics().await.expect("listed");
    let listed: Vec<_> = listed.iter().map(|topic| (topic.name.as_str(), topic.partitions, topic.internal)).collect();
    assert_eq!(listed, [("a", 3, false), ("b", 1, false)]);

    admin.create_partitions("a", 5).await.expect("more");
    let fewer = admin.create_partitions("a", 2).await.expect_err("fewer");
    assert_eq!(fewer.code(), Some(ErrorCode::InvalidPartitions));
    let described = admin.describe_topics(&names).await.expect("described");
    let a = described[0].as_ref().expect("a exists");
    assert_eq!(a.partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(a.partitions.iter().all(|partition| partition.leader.is_some() && partition.isr.len() == 1));

    let deleted = admin.delete_topics(&names).await.expect("answered");
    deleted.into_iter().for_each(|result| result.expect("deleted"));
    let gone = admin.delete_topics(&names[..1]).await.expect("answered");
    assert_eq!(gone[0].as_ref().expect_err("gone").code(), Some(ErrorCode::UnknownTopicOrPartition));
    let described = admin.describe_topics(&names).await.expect("answered");
    assert_eq!(described[1].as_ref().expect_err("gone").code(), Some(ErrorCode::UnknownTopicOrPartition));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configs() {
    let broker = on_tcp().await;
    let admin = client(&broker).admin();
    admin.create_topics(&[topic("t", 1, &[("retention.ms", "1000")])], false).await.expect("answered");
    let of_topic = ConfigResource::Topic("t".to_owned());
    let configs = admin.describe_configs(&of_topic).await.expect("described");
    assert_eq!(set(&configs), [("retention.ms", Some("1000"))]);
    assert!(configs.iter().any(|config| config.name == "cleanup.policy" && config.source == ConfigSource::Default));

    let change = |name: &str, op, value: Option<&str>| ConfigAlteration {
        name: name.to_owned(),
        op,
        value: value.map(str::to_owned),
    };
    let changes = [
        change("cleanup.policy", AlterOp::Append, Some("compact")),
        change("segment.bytes", AlterOp::Set, Some("2000000")),
        change("retention.ms", AlterOp::Delete, None),
    ];
    admin.alter_configs(&of_topic, &changes).await.expect("altered");
    let configs = admin.describe_configs(&of_topic).await.expect("described");
    assert_eq!(set(&configs), [("cleanup.policy", Some("delete,compact")), ("segment.bytes", Some("2000000"))]);
    // All or nothing.
    let changes =
        [change("retention.ms", AlterOp::Set, Some("5")), change("segment.bytes", AlterOp::Set, Some("many"))];
    let error = admin.alter_configs(&of_topic, &changes).await.expect_err("not a number");
    assert_eq!(error.code(), Some(ErrorCode::InvalidConfig), "{error}");
    assert_eq!(set(&admin.describe_configs(&of_topic).await.expect("described")).len(), 2);
    let missing = admin.describe_configs(&ConfigResource::Topic("no".to_owned())).await.expect_err("no such topic");
    assert_eq!(missing.code(), Some(ErrorCode::UnknownTopicOrPartition));

    let cluster = admin.describe_cluster().await.expect("described");
    assert_eq!(cluster.cluster_id, broker.cluster_id());
    let id = cluster.brokers[0].id;
    let configs = admin.describe_configs(&ConfigResource::Broker(Some(id))).await.expect("described");
    assert!(configs.iter().any(|config| config.name == "log.retention.hours"));
    broker.close().await.expect("closes");
}
