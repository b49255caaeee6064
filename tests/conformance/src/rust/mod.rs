//! Ottla's Rust client as a driver.

mod admin;
mod consumer;
mod producer;

use crate::capability::Capability;
use crate::driver::{Calling, Driver};
use crate::protocol::{
    AdminCommand, Command, Configs, ConsumerCommand, Failure, FailureKind, Hello, ProducerCommand, Reply, To,
};
use ottla::client::{Admin, Client, Error, ErrorKind};
use ottla::env::Env;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the Rust client can do. A capability is added here with the client's feature.
const CAPABILITIES: &[Capability] =
    &[Capability::Core, Capability::Restart, Capability::Faults, Capability::Acls, Capability::Quotas];

/// The driver: the clients that were opened, by name.
#[derive(Debug)]
pub struct RustDriver {
    env: Env,
    producers: Clients<producer::Held>,
    consumers: Clients<consumer::Held>,
    admins: Clients<(Client, Admin)>,
}

/// Clients of one kind by name.
#[derive(Debug)]
struct Clients<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Clients<T> {
    fn new() -> Clients<T> {
        Clients(Mutex::new(HashMap::new()))
    }

    fn insert(&self, name: String, client: T) -> Result<Reply, Failure> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.contains_key(&name) {
            return Err(Failure::new(FailureKind::Invalid, format!("{name} is open already")));
        }
        clients.insert(name, Arc::new(client));
        Ok(Reply::Done {})
    }

    fn get(&self, name: &str) -> Result<Arc<T>, Failure> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(name).cloned().ok_or_else(|| Failure::new(FailureKind::Invalid, format!("{name} is not open")))
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
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
        if let ProducerCommand::Close { .. } = to.command {
            self.producers.remove(&to.name);
        }
        held.carry_out(to.command, |name| self.consumers.get(name)).await
    }

    async fn consumer(&self, to: To<ConsumerCommand>) -> Result<Reply, Failure> {
        if let ConsumerCommand::Open { configs } = &to.command {
            return self.consumers.insert(to.name, consumer::open(&self.env, configs)?);
        }
        let held = self.consumers.get(&to.name)?;
        if let ConsumerCommand::Close { .. } = to.command {
            self.consumers.remove(&to.name);
        }
        held.carry_out(to.command).await
    }

    async fn admin(&self, to: To<AdminCommand>) -> Result<Reply, Failure> {
        if let AdminCommand::Open { configs } = &to.command {
            return self.admins.insert(to.name, admin::open(&self.env, configs)?);
        }
        let held = self.admins.get(&to.name)?;
        if let AdminCommand::Close = to.command {
            self.admins.remove(&to.name);
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

/// The configs that a scenario set, as pairs.
fn pairs(configs: &Configs) -> impl Iterator<Item = (String, String)> {
    configs.iter().map(|(name, value)| (name.clone(), value.clone()))
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
            ErrorKind::Closed => FailureKind::Closed,
            ErrorKind::Data => FailureKind::Data,
            _ => FailureKind::Internal,
        };
        let code = error.code().map(|code| code.name().to_owned());
        Failure { kind, code, message: error.message().to_owned() }
    }
}
