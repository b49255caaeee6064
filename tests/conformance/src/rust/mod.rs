//! Ottla's Rust client as a driver.

mod admin;
mod consumer;
mod producer;

use crate::capability::Capability;
use crate::driver::{Calling, Driver};
use crate::protocol::{
    AdminCommand, Command, Configs, ConsumerCommand, Failure, FailureKind, Hello, ProducerCommand, Reply, To,
};
use ottla::client::{Admin, Client, Error, ErrorKind, Metric};
use ottla::env::Env;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the Rust client can do. A capability is added here with the client's feature.
const CAPABILITIES: &[Capability] = &[
    Capability::Core,
    Capability::Groups,
    Capability::StaticMembership,
    Capability::Cooperative,
    Capability::GroupAdmin,
    Capability::DeleteRecords,
    Capability::Transactions,
    Capability::TransactionsV2,
    Capability::ConsumerProtocol,
    Capability::Acls,
    Capability::Quotas,
    Capability::ScramCredentials,
    Capability::Sasl,
    Capability::Tls,
    Capability::DelegationTokens,
    Capability::ElectLeaders,
    Capability::Reassignments,
    Capability::LogDirs,
    Capability::ProducerAdmin,
    Capability::Features,
    Capability::Telemetry,
    Capability::Restart,
    Capability::Faults,
    Capability::Metrics,
    Capability::ResetByDuration,
];

/// The driver: the clients that were opened, by name.
#[derive(Debug)]
pub struct RustDriver {
    env: Env,
    producers: Clients<producer::Held>,
    consumers: Clients<consumer::Held>,
    admins: Clients<(Client, Admin)>,
}

/// Clients of one kind by name. Closed ones stay: a scenario may ask what they say then.
#[derive(Debug)]
struct Clients<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Clients<T> {
    fn new() -> Clients<T> {
        Clients(Mutex::new(HashMap::new()))
    }

    fn insert(&self, name: String, client: T) -> Result<Reply, Failure> {
        let mut clients = lock(&self.0);
        if clients.contains_key(&name) {
            return Err(Failure::new(FailureKind::Invalid, format!("{name} is open already")));
        }
        clients.insert(name, Arc::new(client));
        Ok(Reply::Done {})
    }

    fn get(&self, name: &str) -> Result<Arc<T>, Failure> {
        let found = lock(&self.0).get(name).cloned();
        found.ok_or_else(|| Failure::new(FailureKind::Invalid, format!("{name} is not open")))
    }
}

impl RustDriver {
    /// A driver without clients.
    pub fn new(env: Env) -> RustDriver {
        RustDriver { env, producers: Clients::new(), consumers: Clients::new(), admins: Clients::new() }
    }

    async fn producer(&self, to: To<ProducerCommand>) -> Result<Reply, Failure> {
        if let ProducerCommand::Open { configs } = &to.command {
            return self.producers.insert(to.name, producer::open(&self.env, configs)?);
        }
        let held = self.producers.get(&to.name)?;
        held.carry_out(to.command, |name| self.consumers.get(name)).await
    }

    async fn consumer(&self, to: To<ConsumerCommand>) -> Result<Reply, Failure> {
        if let ConsumerCommand::Open { configs } = &to.command {
            return self.consumers.insert(to.name, consumer::open(&self.env, configs)?);
        }
        self.consumers.get(&to.name)?.carry_out(to.command).await
    }

    async fn admin(&self, to: To<AdminCommand>) -> Result<Reply, Failure> {
        if let AdminCommand::Open { configs } = &to.command {
            return self.admins.insert(to.name, admin::open(&self.env, configs)?);
        }
        let held = self.admins.get(&to.name)?;
        if let AdminCommand::Close = to.command {
            held.0.close();
            return Ok(Reply::Done {});
        }
        admin::carry_out(&held.1, to.command).await
    }
}

impl Driver for RustDriver {
    fn call(&self, command: Command) -> Calling<'_> {
        Box::pin(async move {
            match command {
                Command::Driver => Ok(Reply::Hello(Hello {
                    language: "rust".to_owned(),
                    client: concat!("ottla ", env!("CARGO_PKG_VERSION")).to_owned(),
                    capabilities: CAPABILITIES.to_vec(),
                })),
                Command::Producer(to) => self.producer(to).await,
                Command::Consumer(to) => self.consumer(to).await,
                Command::Admin(to) => self.admin(to).await,
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The configs that a scenario set, as pairs.
fn pairs(configs: &Configs) -> impl Iterator<Item = (String, String)> {
    configs.iter().map(|(name, value)| (name.clone(), value.clone()))
}

/// Numbers by `group.name`, summed over tags, and those of one node by `group.name.node-ID` too.
fn metrics(all: &[Metric]) -> Reply {
    let mut sums = BTreeMap::new();
    for metric in all {
        if let Some(value) = metric.value.as_f64().filter(|value| value.is_finite()) {
            let name = format!("{}.{}", metric.name.group, metric.name.name);
            if let Some((_, node)) = metric.name.tags.iter().find(|(tag, _)| *tag == "node-id") {
                *sums.entry(format!("{name}.{node}")).or_insert(0.0) += value;
            }
            *sums.entry(name).or_insert(0.0) += value;
        }
    }
    Reply::Metrics(sums)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match error.kind() {
            ErrorKind::Retriable => FailureKind::Retriable,
            ErrorKind::Abortable => FailureKind::Abortable,
            ErrorKind::Fenced => FailureKind::Fenced,
            ErrorKind::Invalid => FailureKind::Invalid,
            ErrorKind::Auth => FailureKind::Auth,
            ErrorKind::Timeout => FailureKind::Timeout,
            ErrorKind::Closed | ErrorKind::Wakeup => FailureKind::Closed,
            ErrorKind::Data => FailureKind::Data,
            _ => FailureKind::Internal,
        };
        let code = error.code().map(|code| code.name().to_owned());
        Failure { kind, code, message: error.message().to_owned() }
    }
}
