//! A broker in memory and a connection to it.

use ottla_broker::Broker;
use ottla_config::{BrokerConfig, Profile};
use ottla_env::Env;
use ottla_wire::{ClientConnection, ConnectOptions};
use std::time::Duration;

/// Longer than any answer takes; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(20);

pub async fn start(env: Env, configs: &[(&str, &str)]) -> (Broker, ClientConnection) {
    let all = [("log.dirs", "/data"), ("offsets.topic.num.partitions", "3"), ("group.min.session.timeout.ms", "10")];
    let (config, _) = BrokerConfig::parse(Profile::Embedded, all.iter().chain(configs).copied()).unwrap();
    let broker = Broker::start(env.clone(), config).await.unwrap();
    let client = connect(&env, &broker).await;
    (broker, client)
}

pub async fn connect(env: &Env, broker: &Broker) -> ClientConnection {
    let options = ConnectOptions { client_id: "test".into(), connect_timeout: LIMIT, ..ConnectOptions::default() };
    ClientConnection::connect(env, broker.inproc_address(), &options).await.unwrap()
}
