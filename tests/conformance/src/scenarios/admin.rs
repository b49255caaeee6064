//! Topics, configs and the cluster.

use super::scenarios;
use crate::context::{Context, Outcome};
use crate::protocol::admin::{NewTopic, OffsetSpec, Resource};
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, Each, Failure, Partition, PartitionOffset, Reply};
use crate::{check, same};

scenarios! { "admin":
    @calm topics_come_and_go;
    @calm topics_that_cannot_be;
    @calm validation_creates_nothing;
    @calm one_result_for_each_topic;
    broker_defaults_of_a_topic;
    a_deleted_topic_comes_back_empty;
    @calm partitions_are_only_added;
    topic_configs_are_set_and_deleted;
    lists_are_appended_to_and_subtracted_from;
    @calm wrong_topic_configs;
    configs_that_topics_are_made_with;
    broker_configs_are_described;
    the_cluster_is_described;
    two_hundred_topics;
    offsets_are_listed [DeleteRecords];
    records_are_deleted [DeleteRecords];
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions: Some(partitions), ..NewTopic::default() }
}

fn code(each: &Each<()>) -> &str {
    match each {
        Each::Ok(()) => "NONE",
        Each::Error(failure) => failure.code.as_deref().unwrap_or("?"),
    }
}

/// A topic is created once, listed, described with its partitions, and gone after deletion.
async fn topics_come_and_go(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("topic", 3).await?;
    check!(admin.names().await?.contains(&topic), "the list of topics lacks {topic}");
    let described = admin.topics(&[&topic]).await?.pop();
    let Some(Each::Ok(description)) = described else { return Err(format!("no description: {described:?}").into()) };
    same!(description.partitions.len(), 3, "the number of partitions");
    check!(!description.internal, "{topic} is not internal");
    check!(!description.id.is_empty() && description.id != "AAAAAAAAAAAAAAAAAAAAAA", "{topic} has no id");
    let again = AdminCommand::CreateTopics { topics: vec![new(&topic, 3)], validate_only: false };
    same!(code(&admin.results(again).await?[0]), "TOPIC_ALREADY_EXISTS", "a second topic of the same name");
    let deleted = admin.results(AdminCommand::DeleteTopics { topics: vec![topic.clone()] }).await?;
    same!(deleted, vec![Each::Ok(())], "the result of the deletion");
    cx.eventually("the end of the topic", || async { Ok((!admin.names().await?.contains(&topic)).then_some(())) })
        .await?;
    let missing = admin.topics(&[&topic]).await?.pop();
    check!(
        matches!(&missing, Some(Each::Error(failure)) if failure.is("UNKNOWN_TOPIC_OR_PARTITION")),
        "expected an unknown topic, found {missing:?}"
    );
    let again = admin.results(AdminCommand::DeleteTopics { topics: vec![topic] }).await?;
    same!(code(&again[0]), "UNKNOWN_TOPIC_OR_PARTITION", "deleting it again");
    admin.close().await
}

/// Names, numbers and configs that a broker refuses, each with its error.
async fn topics_that_cannot_be(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let name = cx.name("cannot");
    let with = |configs: &[(&str, &str)]| NewTopic {
        configs: configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..new(&name, 1)
    };
    let cases = [
        (new("with/slash", 1), "INVALID_TOPIC_EXCEPTION"),
        (new("", 1), "INVALID_TOPIC_EXCEPTION"),
        (new("..", 1), "INVALID_TOPIC_EXCEPTION"),
        (new(&"x".repeat(250), 1), "INVALID_TOPIC_EXCEPTION"),
        (new(&name, 0), "INVALID_PARTITIONS"),
        (new(&name, -5), "INVALID_PARTITIONS"),
        (NewTopic { replication_factor: Some(99), ..new(&name, 1) }, "INVALID_REPLICATION_FACTOR"),
        (NewTopic { replication_factor: Some(0), ..new(&name, 1) }, "INVALID_REPLICATION_FACTOR"),
        (with(&[("no.such.config", "1")]), "INVALID_CONFIG"),
        (with(&[("retention.ms", "soon")]), "INVALID_CONFIG"),
        (with(&[("cleanup.policy", "burn")]), "INVALID_CONFIG"),
    ];
    for (topic, expected) in cases {
        let shown = format!("{topic:?}");
        let command = AdminCommand::CreateTopics { topics: vec![topic], validate_only: false };
        same!(code(&admin.results(command).await?[0]), expected, "{shown}");
    }
    check!(!admin.names().await?.contains(&name), "a refused topic is there");
    admin.close().await
}

/// validateOnly says what creation would say, and creates nothing.
async fn validation_creates_nothing(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let name = cx.name("validated");
    let topics = vec![new(&name, 2), new("bad/name", 1)];
    let results = admin.results(AdminCommand::CreateTopics { topics, validate_only: true }).await?;
    same!(results.iter().map(code).collect::<Vec<_>>(), vec!["NONE", "INVALID_TOPIC_EXCEPTION"], "the results");
    check!(!admin.names().await?.contains(&name), "a topic that was only to be validated is there");
    admin.close().await
}

/// Several topics in one request succeed and fail each by itself.
async fn one_result_for_each_topic(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let old = cx.topic("old", 1).await?;
    let (one, two) = (cx.name("one"), cx.name("two"));
    let topics = vec![new(&one, 1), new(&old, 1), new("bad name", 1), new(&two, 2)];
    let results = admin.results(AdminCommand::CreateTopics { topics, validate_only: false }).await?;
    let expected = ["NONE", "TOPIC_ALREADY_EXISTS", "INVALID_TOPIC_EXCEPTION", "NONE"];
    same!(results.iter().map(code).collect::<Vec<_>>(), expected, "the results of the creation");
    let topics = vec![two, cx.name("never"), one];
    let results = admin.results(AdminCommand::DeleteTopics { topics }).await?;
    let expected = ["NONE", "UNKNOWN_TOPIC_OR_PARTITION", "NONE"];
    same!(results.iter().map(code).collect::<Vec<_>>(), expected, "the results of the deletion");
    admin.close().await
}

/// Without numbers a topic has the broker's num.partitions and default.replication.factor.
async fn broker_defaults_of_a_topic(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let name = cx.name("defaults");
    let topics = vec![NewTopic { name: name.clone(), ..NewTopic::default() }];
    let created = admin.results(AdminCommand::CreateTopics { topics, validate_only: false }).await?;
    check!(matches!(code(&created[0]), "NONE" | "TOPIC_ALREADY_EXISTS"), "the creation: {created:?}");
    let described = cx
        .eventually("the topic", || async {
            Ok(matches!(admin.topics(&[&name]).await?.pop(), Some(Each::Ok(_))).then_some(()))
        })
        .await;
    described?;
    let Some(Each::Ok(topic)) = admin.topics(&[&name]).await?.pop() else { return Err("no description".into()) };
    same!(topic.partitions.len(), 1, "the number of partitions");
    same!(topic.partitions[0].1.len(), 1, "the number of replicas");
    admin.close().await
}

/// A topic of the same name has another id and none of the old records.
async fn a_deleted_topic_comes_back_empty(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("phoenix", 1).await?;
    let id = |each: Option<Each<crate::protocol::admin::TopicDescription>>| match each {
        Some(Each::Ok(topic)) => Ok(topic.id),
        other => Err(format!("no description: {other:?}")),
    };
    let first = id(admin.topics(&[&topic]).await?.pop())?;
    let producer = cx.producer(&[]).await?;
    producer.write((0..5).map(|i| Outgoing::value(&topic, i.to_string())).collect()).await?;
    producer.close().await?;
    let deleted = admin.results(AdminCommand::DeleteTopics { topics: vec![topic.clone()] }).await?;
    check!(matches!(code(&deleted[0]), "NONE" | "UNKNOWN_TOPIC_OR_PARTITION"), "the deletion: {deleted:?}");
    cx.eventually("the end of the topic", || async { Ok((!admin.names().await?.contains(&topic)).then_some(())) })
        .await?;
    cx.topic("phoenix", 2).await?;
    let second = id(admin.topics(&[&topic]).await?.pop())?;
    check!(first != second, "both topics have the id {first}");
    let producer = cx.producer(&[]).await?;
    let written = producer.write(vec![Outgoing::value(&topic, "new").to(0)]).await?;
    same!(written[0].offset, 0, "the first offset of the second topic");
    producer.close().await?;
    admin.close().await
}

/// CreatePartitions adds, and takes none away.
async fn partitions_are_only_added(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("partitions", 2).await?;
    admin.ask(AdminCommand::CreatePartitions { topic: topic.clone(), count: 5 }).await?;
    cx.eventually("five partitions", || async {
        let described = admin.topics(&[&topic]).await?.pop();
        Ok(matches!(described, Some(Each::Ok(topic)) if topic.partitions.len() == 5).then_some(()))
    })
    .await?;
    for (count, expected) in [(5, "INVALID_PARTITIONS"), (3, "INVALID_PARTITIONS"), (0, "INVALID_PARTITIONS")] {
        let answer = admin.ask(AdminCommand::CreatePartitions { topic: topic.clone(), count }).await;
        check!(answer.as_ref().is_err_and(|it| it.is(expected)), "{count} partitions: {answer:?}");
    }
    let answer = admin.ask(AdminCommand::CreatePartitions { topic: cx.name("nowhere"), count: 2 }).await;
    check!(answer.as_ref().is_err_and(|it| it.is("UNKNOWN_TOPIC_OR_PARTITION")), "an unknown topic: {answer:?}");
    admin.close().await
}

/// A topic's config is set, seen, and falls back to the default.
async fn topic_configs_are_set_and_deleted(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("configs", 1).await?;
    let resource = || Resource::Topic(topic.clone());
    let before = admin.configs(resource()).await?;
    check!(before["retention.ms"].default, "retention.ms is not a default: {:?}", before["retention.ms"]);
    same!(before["retention.ms"].value.as_deref(), Some("604800000"), "the default");
    check!(before.len() > 25, "only {} configs", before.len());
    admin.alter(&topic, "retention.ms", "set", Some("12345")).await?;
    admin.alter(&topic, "segment.bytes", "set", Some("1048576")).await?;
    cx.eventually("the config", || async {
        Ok((admin.configs(resource()).await?["segment.bytes"].value.as_deref() == Some("1048576")).then_some(()))
    })
    .await?;
    let set = admin.configs(resource()).await?;
    same!(set["retention.ms"].value.as_deref(), Some("12345"), "the value that was set");
    check!(!set["retention.ms"].default, "a value that was set is not a default");
    admin.alter(&topic, "retention.ms", "delete", None).await?;
    cx.eventually("the default", || async {
        Ok(admin.configs(resource()).await?["retention.ms"].default.then_some(()))
    })
    .await?;
    same!(admin.configs(resource()).await?["segment.bytes"].value.as_deref(), Some("1048576"), "the other config");
    admin.close().await
}

/// Lists: cleanup.policy.
async fn lists_are_appended_to_and_subtracted_from(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("lists", 1).await?;
    let policy = || async {
        let configs = admin.configs(Resource::Topic(topic.clone())).await?;
        Ok::<_, crate::context::Wrong>(configs["cleanup.policy"].value.clone().unwrap_or_default())
    };
    same!(policy().await?, "delete", "the default");
    admin.alter(&topic, "cleanup.policy", "append", Some("compact")).await?;
    cx.eventually("both policies", || async {
        let policy = policy().await?;
        Ok((policy.contains("delete") && policy.contains("compact")).then_some(()))
    })
    .await?;
    admin.alter(&topic, "cleanup.policy", "subtract", Some("delete")).await?;
    cx.eventually("compact alone", || async { Ok((policy().await? == "compact").then_some(())) }).await?;
    admin.close().await
}

/// Changes that cannot be, each with its error; none of them takes effect.
async fn wrong_topic_configs(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("wrong", 1).await?;
    let is = |answer: &Result<Reply, Failure>, code: &str| answer.as_ref().is_err_and(|failure| failure.is(code));
    for (name, op, value) in [
        ("no.such.config", "set", Some("1")),
        ("retention.ms", "set", Some("a week")),
        ("cleanup.policy", "set", Some("burn")),
        ("min.insync.replicas", "set", Some("0")),
        ("retention.ms", "append", Some("1")),
    ] {
        let answer = admin.alter(&topic, name, op, value).await;
        check!(is(&answer, "INVALID_CONFIG"), "{op} {name} {value:?}: expected INVALID_CONFIG, found {answer:?}");
    }
    let answer = admin.alter(&cx.name("nowhere"), "retention.ms", "set", Some("1")).await;
    check!(is(&answer, "UNKNOWN_TOPIC_OR_PARTITION"), "a topic that is not there: {answer:?}");
    let configs = admin.configs(Resource::Topic(topic)).await?;
    check!(configs["retention.ms"].default && configs["cleanup.policy"].default, "a refused change has taken effect");
    admin.close().await
}

/// Configs given at creation are the topic's.
async fn configs_that_topics_are_made_with(cx: Context) -> Outcome {
    let configs = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "1000"), ("max.message.bytes", "5000")];
    let topic = cx.topic_with("made-with", 1, &configs).await?;
    let admin = cx.admin().await?;
    let found = admin.configs(Resource::Topic(topic)).await?;
    for (name, value) in configs {
        same!(found[name].value.as_deref(), Some(value), "{name}");
        check!(!found[name].default, "{name} is told to be a default");
    }
    admin.close().await
}

/// A broker tells its configs, and no passwords.
async fn broker_configs_are_described(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let Reply::Cluster(cluster) = admin.ask(AdminCommand::DescribeCluster).await? else {
        return Err("no description of the cluster".into());
    };
    let configs = admin.configs(Resource::Broker(cluster.brokers.first().copied())).await?;
    for name in ["log.retention.hours", "num.partitions", "message.max.bytes", "auto.create.topics.enable"] {
        check!(configs.get(name).is_some_and(|config| config.value.is_some()), "the broker does not tell {name}");
    }
    same!(configs["num.partitions"].value.as_deref(), Some("1"), "num.partitions");
    admin.close().await
}

/// A cluster has an id, brokers, and one of them as its controller.
async fn the_cluster_is_described(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let Reply::Cluster(cluster) = admin.ask(AdminCommand::DescribeCluster).await? else {
        return Err("no description of the cluster".into());
    };
    check!(!cluster.id.is_empty(), "the cluster has no id");
    same!(cluster.brokers.len(), 1, "the number of brokers");
    check!(cluster.brokers.contains(&cluster.controller), "the controller is none of the brokers: {cluster:?}");
    let topic = cx.topic("led", 1).await?;
    let Some(Each::Ok(topic)) = admin.topics(&[&topic]).await?.pop() else { return Err("no description".into()) };
    same!(topic.partitions[0], (Some(cluster.brokers[0]), cluster.brokers.clone()), "leader and replicas");
    admin.close().await
}

/// Two hundred topics in one request, all of them usable at once.
async fn two_hundred_topics(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let names: Vec<String> = (0..200).map(|i| cx.name(&format!("t{i}"))).collect();
    let topics = names.iter().map(|name| new(name, 1)).collect();
    let results = admin.results(AdminCommand::CreateTopics { topics, validate_only: false }).await?;
    // Where the first answer was lost, the second says that they are there.
    let wrong: Vec<_> = results.iter().filter(|it| !matches!(code(it), "NONE" | "TOPIC_ALREADY_EXISTS")).collect();
    check!(results.len() == 200 && wrong.is_empty(), "{} results, {wrong:?}", results.len());
    let producer = cx.producer(&[]).await?;
    let written = producer.write(names.iter().map(|name| Outgoing::value(name, "v").to(0)).collect()).await?;
    check!(written.iter().all(|it| it.offset == 0), "a new topic has records: {written:?}");
    let known = admin.names().await?;
    check!(names.iter().all(|name| known.contains(name)), "the list of topics is not whole");
    let results = admin.results(AdminCommand::DeleteTopics { topics: names }).await?;
    let wrong = results.iter().find(|it| !matches!(code(it), "NONE" | "UNKNOWN_TOPIC_OR_PARTITION"));
    check!(wrong.is_none(), "a deletion failed: {wrong:?}");
    producer.close().await?;
    admin.close().await
}

/// First, last, largest time, and by time.
async fn offsets_are_listed(cx: Context) -> Outcome {
    let topic = cx.topic("offsets", 2).await?;
    let producer = cx.producer(&[]).await?;
    let base = cx.env().now_ms() - 100_000;
    for (i, time) in [10, 30, 20].into_iter().enumerate() {
        producer.write(vec![Outgoing::value(&topic, i.to_string()).to(0).at(base + time)]).await?;
    }
    producer.close().await?;
    let admin = cx.admin().await?;
    let at = |partition: i32, spec: OffsetSpec| (Partition::new(&topic, partition), spec);
    let wanted = vec![
        at(0, OffsetSpec::Earliest),
        at(0, OffsetSpec::Latest),
        at(0, OffsetSpec::MaxTimestamp),
        at(0, OffsetSpec::Timestamp(base + 11)),
        at(1, OffsetSpec::Earliest),
        at(1, OffsetSpec::Latest),
    ];
    let mut found = Vec::new();
    for one in wanted {
        match admin.ask(AdminCommand::ListOffsets { wanted: vec![one] }).await? {
            Reply::EachOffset(offsets) => found.extend(offsets),
            other => return Err(format!("expected offsets, found {other:?}").into()),
        }
    }
    let offset = |each: &Each<PartitionOffset>| match each {
        Each::Ok(offset) => offset.offset.unwrap_or(-1),
        Each::Error(_) => -2,
    };
    same!(found.iter().map(offset).collect::<Vec<_>>(), vec![0, 3, 1, 1, 0, 0], "the offsets");
    admin.close().await
}

/// DeleteRecords moves the beginning forward, never back, never beyond the end.
async fn records_are_deleted(cx: Context) -> Outcome {
    let topic = cx.topic("deleted", 1).await?;
    let producer = cx.producer(&[]).await?;
    producer.write((0..10).map(|i| Outgoing::value(&topic, i.to_string())).collect()).await?;
    producer.close().await?;
    let admin = cx.admin().await?;
    let delete = |offset: Option<i64>| {
        let before = PartitionOffset { topic: topic.clone(), partition: 0, offset, metadata: None };
        admin.ask(AdminCommand::DeleteRecords { before: vec![before] })
    };
    let first = |reply: Reply| match reply {
        Reply::EachOffset(mut offsets) => match offsets.pop() {
            Some(Each::Ok(offset)) => Ok(offset.offset),
            other => Err(format!("no offset: {other:?}")),
        },
        other => Err(format!("expected offsets, found {other:?}")),
    };
    same!(first(delete(Some(4)).await?)?, Some(4), "the beginning after deletion up to 4");
    same!(first(delete(Some(2)).await?)?, Some(4), "the beginning after deletion up to 2");
    let beyond = first(delete(Some(11)).await?);
    check!(beyond.as_ref().is_err_and(|it| it.contains("OFFSET_OUT_OF_RANGE")), "beyond the end: {beyond:?}");
    same!(first(delete(None).await?)?, Some(10), "the beginning after deletion of all");
    admin.close().await
}
