//! Who this broker says it is, and where it says it can be reached.

use crate::support::*;
use ottla::Broker;
use ottla_protocol::find_coordinator_request::FindCoordinatorRequest;

#[tokio::test]
pub async fn node_id() {
    for name in ["node.id", "broker.id"] {
        let node = start(&[(name, "7")]).await;
        assert_eq!(metadata(&node.connection).await.brokers[0].node_id, 7, "{name}");
        node.close().await;
    }
    let both = Broker::builder().config("node.id", "7").config("broker.id", "8").start().await;
    let error = both.expect_err("they differ").to_string();
    assert!(error.contains("node.id") && error.contains("broker.id"), "{error}");
}

#[tokio::test]
pub async fn broker_rack() {
    let node = start(&[("broker.rack", "r-1")]).await;
    assert_eq!(metadata(&node.connection).await.brokers[0].rack.as_deref(), Some("r-1"));
    node.close().await;
}

/// A client that comes in by one listener is sent to that listener's advertised address, and no other.
#[tokio::test]
pub async fn each_client_sees_its_own_listener() {
    let node = start(&[
        ("listeners", "LAN://127.0.0.1:0,WAN://127.0.0.1:0,PLAIN://127.0.0.1:0"),
        ("advertised.listeners", "LAN://lan.example:0,WAN://wan.example:0,PLAIN://plain.example:9999"),
        ("listener.security.protocol.map", "LAN:PLAINTEXT,WAN:PLAINTEXT,PLAIN:PLAINTEXT"),
        ("inter.broker.listener.name", "WAN"),
    ])
    .await;
    let endpoints = node.broker.endpoints();
    let names: Vec<&str> = endpoints.iter().map(|endpoint| &*endpoint.listener).collect();
    assert_eq!(names, ["LAN", "WAN", "PLAIN"]);
    assert_eq!((endpoints[2].host.as_str(), endpoints[2].port), ("plain.example", 9999));
    for (index, host) in ["lan.example", "wan.example"].into_iter().enumerate() {
        let connection = dial(&address(&node.broker, index)).await;
        let expected = (host, i32::from(endpoints[index].port));
        let brokers = metadata(&connection).await.brokers;
        assert_eq!((&*brokers[0].host, brokers[0].port), expected);
        assert_eq!(brokers.len(), 1);
        let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
        let found = ask(&connection, &request).await.coordinators.remove(0);
        assert_eq!((&*found.host, found.port), expected);
    }
    node.close().await;
}

#[tokio::test]
pub async fn controller_listener_names() {
    let configs = [
        ("listeners", "PLAINTEXT://127.0.0.1:0,QUORUM://127.0.0.1:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,QUORUM:PLAINTEXT"),
    ];
    let node = start(&configs).await;
    assert_eq!(node.broker.endpoints().len(), 2);
    node.close().await;
    let node = start(&[configs[0], configs[1], ("controller.listener.names", "QUORUM")]).await;
    assert_eq!(node.broker.endpoints().len(), 1);
    assert!(node.broker.warnings().iter().any(|warning| warning.message.contains("QUORUM")));
    node.close().await;
}

async fn refused(configs: &[(&str, &str)], expected: &[&str]) {
    let error = Broker::builder().configs(configs.iter().copied()).start().await.expect_err("refused").to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

/// With one broker there is nobody else to talk to; what is left of it is that the name has to exist.
#[tokio::test]
pub async fn inter_broker_listener_name() {
    let configs = [("listeners", "PLAINTEXT://127.0.0.1:0"), ("inter.broker.listener.name", "OTHER")];
    refused(&configs, &["inter.broker.listener.name", "OTHER", "advertised listener"]).await;
}

#[tokio::test]
pub async fn process_roles() {
    refused(&[("process.roles", "broker")], &["process.roles", "broker,controller"]).await;
    refused(&[("process.roles", "controller")], &["process.roles", "broker,controller"]).await;
    start(&[("process.roles", "controller,broker")]).await.close().await;
}
