//! Admin calls about topics, configs and the cluster beyond the usual ones, and those that a broker does not serve.

use crate::support::{client, create_topic, on_tcp};
use ottla::client::admin::{
    ConfigAlteration, ConfigType, DescribeClusterOptions, DescribeConfigsOptions, DescribeTopicsOptions, EndpointType,
    NewPartitions,
};
use ottla::client::{ConfigResource, ConfigSource, ErrorCode, NewTopic, TopicPartition, Uuid};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_by_assignment_and_by_id() {
    let broker = on_tcp().await;
    let admin = client(&broker).admin();
    let node = admin.describe_cluster().await.expect("described").brokers[0].id;
    let mut topic = NewTopic { name: "t".to_owned(), ..NewTopic::default() }.config("retention.ms", "1000");
    topic.assignments = BTreeMap::from([(0, vec![node]), (1, vec![node])]);
    let created = admin.create_topics(&[topic], false).await.expect("answered").remove(0).expect("created");
    assert_eq!((created.partitions, created.replication_factor), (Some(2), Some(1)));
    let configs = created.configs.expect("told");
    let retention = configs.iter().find(|config| config.name == "retention.ms").expect("it is a topic config");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("1000"), ConfigSource::Topic));
    let mut elsewhere = NewTopic { name: "elsewhere".to_owned(), ..NewTopic::default() };
    elsewhere.assignments = BTreeMap::from([(0, vec![node + 1])]);
    let refused = admin.create_topics(&[elsewhere], false).await.expect("answered").remove(0);
    assert_eq!(refused.expect_err("no such broker").code(), Some(ErrorCode::InvalidReplicaAssignment));
    let twice = [NewTopic::new("twice", 1), NewTopic::new("twice", 1)];
    assert!(admin.create_topics(&twice, false).await.expect("answered")[1].is_err());

    let options = DescribeTopicsOptions { include_authorized_operations: true, ..Default::default() };
    let other = Uuid([7; 16]);
    let described = admin.describe_topics_by_id(&[created.id, other], &options).await;
    assert_eq!(described[&created.id].as_ref().expect("described").name, "t");
    assert_eq!(described[&other].as_ref().expect_err("no such id").code(), Some(ErrorCode::UnknownTopicId));

    let more = |count, assignments: &[Vec<i32>]| NewPartitions { count, assignments: assignments.to_vec() };
    let wanted = BTreeMap::from([("t".to_owned(), more(3, &[vec![node]])), ("no".to_owned(), more(3, &[]))]);
    let valid = admin.create_partitions_of(&wanted, true).await;
    valid["t"].as_ref().expect("valid");
    assert_eq!(valid["no"].as_ref().expect_err("no such topic").code(), Some(ErrorCode::UnknownTopicOrPartition));
    let counted = async || {
        let described = admin.describe_topics(&["t".to_owned()]).await.expect("answered").remove(0);
        described.expect("described").partitions.len()
    };
    assert_eq!(counted().await, 2, "checking makes nothing");
    admin.create_partitions_of(&wanted, false).await["t"].as_ref().expect("created");
    assert_eq!(counted().await, 3);

    let deleted = admin.delete_topics_by_id(&[created.id, other]).await;
    deleted[&created.id].as_ref().expect("deleted");
    assert_eq!(deleted[&other].as_ref().expect_err("no such id").code(), Some(ErrorCode::UnknownTopicId));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_in_pages() {
    let broker = on_tcp().await;
    let client = client(&broker);
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 5)] {
        create_topic(&client, name, partitions).await;
    }
    let names: Vec<String> = ["c", "a", "missing", "b"].map(str::to_owned).to_vec();
    for limit in 1..=4 {
        let options = DescribeTopicsOptions { partition_size_limit_per_response: limit, ..Default::default() };
        let described = client.admin().describe_topics_with(&names, &options).await;
        let count = |name: &str| described[name].as_ref().map(|topic| topic.partitions.len()).ok();
        assert_eq!(
            (count("a"), count("b"), count("c"), count("missing")),
            (Some(3), Some(1), Some(5), None),
            "{limit}"
        );
        let of_c = &described["c"].as_ref().expect("described").partitions;
        assert!(of_c.iter().map(|partition| partition.partition).eq(0..5));
    }
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configs_of_several_resources() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "a", 1).await;
    create_topic(&client, "b", 1).await;
    let admin = client.admin();
    let topic = |name: &str| ConfigResource::Topic(name.to_owned());
    let changes = BTreeMap::from([
        (topic("a"), vec![ConfigAlteration::set("retention.ms", "5000")]),
        (topic("b"), vec![ConfigAlteration::set("retention.ms", "soon")]),
        (topic("no"), vec![ConfigAlteration::delete("retention.ms")]),
    ]);
    for validate_only in [true, false] {
        let altered = admin.incremental_alter_configs(&changes, validate_only).await;
        altered[&topic("a")].as_ref().expect("valid");
        assert_eq!(altered[&topic("b")].as_ref().expect_err("no number").code(), Some(ErrorCode::InvalidConfig));
        let missing = altered[&topic("no")].as_ref().expect_err("no such topic");
        assert_eq!(missing.code(), Some(ErrorCode::UnknownTopicOrPartition));
    }
    let options = DescribeConfigsOptions {
        include_synonyms: true,
        include_documentation: true,
        names: Some(vec!["retention.ms".to_owned()]),
    };
    let node = admin.describe_cluster().await.expect("described").brokers[0].id;
    let elsewhere = ConfigResource::Broker(Some(node + 1));
    let described = admin.describe_configs_of(&[topic("a"), topic("no"), elsewhere.clone()], &options).await;
    let [retention] = &described[&topic("a")].as_ref().expect("described")[..] else { panic!("one was asked for") };
    assert_eq!((retention.value.as_deref(), retention.config_type), (Some("5000"), ConfigType::Long));
    assert_eq!(retention.synonyms[0].source, ConfigSource::Topic);
    assert!(!retention.is_default() && retention.documentation.is_some());
    assert!(described[&topic("no")].is_err());
    let error = described[&elsewhere].as_ref().expect_err("no such broker");
    assert!(error.message().contains("is not in the cluster"), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_does_not_serve_is_named() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let admin = client.admin().timeout(Duration::from_secs(20));
    let unsupported = |error: ottla::client::Error, api: &str| {
        assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion), "{error}");
        assert!(error.message().contains(api), "{error}");
    };
    unsupported(admin.describe_metadata_quorum().await.expect_err("no quorum"), "DescribeQuorum");
    unsupported(admin.unregister_controller(1).await.expect_err("no controllers"), "UnregisterController");
    let moves = BTreeMap::from([(TopicPartition::new("t", 0), None)]);
    let moved = admin.alter_partition_reassignments(&moves).await.pop_first().expect("each key has a result").1;
    unsupported(moved.expect_err("not served"), "AlterPartitionReassignments");
    let fenced = DescribeClusterOptions { include_fenced_brokers: true, ..Default::default() };
    let cluster = admin.describe_cluster_with(&fenced);
    assert!(cluster.await.expect("described").brokers.iter().all(|broker| !broker.fenced));
    let controllers = DescribeClusterOptions { endpoint_type: EndpointType::Controller, ..Default::default() };
    let error = admin.describe_cluster_with(&controllers).await.expect_err("a broker is no controller");
    assert_eq!(error.code(), Some(ErrorCode::MismatchedEndpointType), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_for_one_call() {
    let broker = on_tcp().await;
    let address = broker.bootstrap_servers();
    broker.close().await.expect("closes");
    let client = ottla::client::Client::new(ottla::client::Env::real(), ottla::client::ClientOptions::new(&address));
    let admin = client.expect("well formed").admin().timeout(Duration::from_millis(300));
    let error = admin.list_topics().await.expect_err("nobody is there");
    assert!(error.message().contains(&address), "{error}");
    let offsets = admin.consumer_group_offsets("g", None).await.expect_err("nobody is there");
    assert!(offsets.message().contains(&address), "{offsets}");
    let created = admin.create_topics(&[NewTopic::new("a", 1), NewTopic::new("b", 1)], false).await;
    assert!(created.expect_err("nobody is there").message().contains(&address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_counts_and_closes() {
    let broker = on_tcp().await;
    let admin = client(&broker).admin();
    admin.list_topics().await.expect("listed");
    let metrics = admin.metrics();
    let found = metrics.iter().find(|metric| metric.name.name == "request-total").expect("requests are counted");
    assert!(found.name.group.starts_with("admin-client"), "{found:?}");
    assert!(found.value.as_f64().is_some_and(|count| count >= 1.0), "{found:?}");
    let error = admin.client_instance_id(Duration::from_secs(1)).await.expect_err("metrics are not pushed");
    assert!(error.message().contains("enable.metrics.push"), "{error}");
    admin.close();
    let closed = admin.list_topics().await.expect_err("closed");
    assert_eq!(closed.kind(), ottla::client::ErrorKind::Closed, "{closed}");
    broker.close().await.expect("closes");
}
