//! The client's network configs against scripted brokers: each test changes one and sees what it does.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod connections;
mod metadata;
mod script;
mod telemetry;

use ottla_client::{Client, ClientOptions, Configs, Env, Error, Scope};
use std::time::Duration;

/// A client with these configs over quick ones.
fn client(servers: &str, configs: &[(&str, &str)]) -> Result<Client, Error> {
    let quick = [
        ("bootstrap.servers", servers),
        ("default.api.timeout.ms", "10000"),
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "1"),
        ("reconnect.backoff.ms", "1"),
        ("reconnect.backoff.max.ms", "1"),
    ];
    let pairs = quick.iter().chain(configs).copied();
    let (configs, _) = Configs::parse(Scope::Admin, pairs)?;
    Client::new(Env::real(), ClientOptions::from_configs(&configs))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const LONG: Duration = Duration::from_secs(20);
