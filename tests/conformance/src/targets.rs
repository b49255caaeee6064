//! The brokers that scenarios run against: an engine of its own for each scenario inside this process, one engine over
//! TCP for all, and whatever broker has an address, Apache Kafka's above all.

use crate::capability::{self, Capability};
use crate::faults;
use ottla::env::Env;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

/// Kafka's names of listeners' protocols, by which addresses are known.
pub const PLAINTEXT: &str = "PLAINTEXT";

/// A place to run scenarios.
#[derive(Debug)]
pub struct Target {
    /// As the report names it.
    pub name: &'static str,
    /// What scenarios may need of it.
    pub capabilities: BTreeSet<Capability>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A new engine in memory for each scenario, reached without a socket.
    Embedded,
    /// One engine on a directory, reached over TCP.
    Tcp(Box<Running>),
    /// A broker that someone else started.
    Remote(Addresses, Option<String>),
}

/// `host:port` by the protocol's name.
pub type Addresses = BTreeMap<String, String>;

/// A broker that a scenario uses.
#[derive(Debug)]
pub struct Running {
    env: Env,
    /// `None` once it was closed, and for a broker that is not ours.
    broker: Mutex<Option<ottla::Broker>>,
    addresses: Mutex<Addresses>,
    /// Of a broker on disk; removed when this is dropped.
    directory: Option<PathBuf>,
    /// The certificate, as PEM, that clients of the SSL listener trust.
    tls_ca: Option<String>,
    tcp: bool,
}

impl Target {
    /// The engine in this process.
    pub async fn embedded(env: &Env) -> Result<Target, String> {
        let running = Running::start(env, false, false).await?;
        let harness = [Capability::Restart, Capability::Faults];
        let capabilities = capabilities(env, &running.bootstrap(), &harness).await?;
        running.close().await?;
        Ok(Target { name: "embedded", capabilities, kind: Kind::Embedded })
    }

    /// The engine on a directory, over TCP.
    pub async fn tcp(env: &Env) -> Result<Target, String> {
        let running = Running::start(env, true, true).await?;
        let capabilities = capabilities(env, &running.bootstrap(), &[Capability::Restart]).await?;
        Ok(Target { name: "tcp", capabilities, kind: Kind::Tcp(Box::new(running)) })
    }

    /// A broker that runs already, with its addresses by protocol.
    pub async fn remote(
        env: &Env,
        name: &'static str,
        addresses: Addresses,
        tls_ca: Option<String>,
    ) -> Result<Target, String> {
        let bootstrap = addresses.get(PLAINTEXT).ok_or("a target needs a PLAINTEXT address")?;
        let mut harness = Vec::new();
        if addresses.contains_key("SASL_PLAINTEXT") {
            // Where there are principals, the authorizer is set up as well.
            harness.extend([Capability::Sasl, Capability::Acls]);
        }
        if addresses.contains_key("SSL") {
            harness.push(Capability::Tls);
        }
        let capabilities = capabilities(env, bootstrap, &harness).await?;
        Ok(Target { name, capabilities, kind: Kind::Remote(addresses, tls_ca) })
    }

    /// A broker for one scenario; `on_disk` asks for one of its own that can be restarted.
    pub async fn open(&self, env: &Env, on_disk: bool) -> Result<Running, String> {
        match &self.kind {
            Kind::Embedded => Running::start(env, false, on_disk).await,
            Kind::Tcp(_) if on_disk => Running::start(env, true, true).await,
            Kind::Tcp(shared) => Ok(Running::borrowed(env, shared.addresses(), None)),
            Kind::Remote(addresses, tls_ca) => Ok(Running::borrowed(env, addresses.clone(), tls_ca.clone())),
        }
    }

    /// Closes what this process started.
    pub async fn close(self) -> Result<(), String> {
        match self.kind {
            Kind::Tcp(running) => running.close().await,
            Kind::Embedded | Kind::Remote(..) => Ok(()),
        }
    }
}

async fn capabilities(env: &Env, address: &str, harness: &[Capability]) -> Result<BTreeSet<Capability>, String> {
    let first = address.split(',').next().unwrap_or(address);
    let answer = capability::ask(env, first).await.map_err(|error| format!("{address}: {error}"))?;
    Ok(Capability::of(&answer, harness))
}

impl Running {
    async fn start(env: &Env, tcp: bool, on_disk: bool) -> Result<Running, String> {
        let directory = on_disk.then(|| std::env::temp_dir().join(format!("ottla-conformance-{}", env.random_uuid())));
        let running = Running {
            env: env.clone(),
            broker: Mutex::default(),
            addresses: Mutex::default(),
            directory,
            tls_ca: None,
            tcp,
        };
        running.boot().await?;
        Ok(running)
    }

    fn borrowed(env: &Env, addresses: Addresses, tls_ca: Option<String>) -> Running {
        Running {
            env: env.clone(),
            broker: Mutex::default(),
            addresses: Mutex::new(addresses),
            directory: None,
            tls_ca,
            tcp: true,
        }
    }

    async fn boot(&self) -> Result<(), String> {
        let mut builder = ottla::Broker::builder();
        if let Some(directory) = &self.directory {
            builder = builder.directory(directory);
        }
        if self.tcp {
            builder = builder.listener("PLAINTEXT://127.0.0.1:0");
        }
        let broker = builder.start().await.map_err(|error| format!("the broker does not start: {error}"))?;
        lock(&self.addresses).insert(PLAINTEXT.to_owned(), broker.bootstrap_servers());
        *lock(&self.broker) = Some(broker);
        Ok(())
    }

    /// Where it is reached, by protocol.
    pub fn addresses(&self) -> Addresses {
        lock(&self.addresses).clone()
    }

    /// What `bootstrap.servers` is set to.
    pub fn bootstrap(&self) -> String {
        self.addresses().get(PLAINTEXT).cloned().unwrap_or_default()
    }

    /// Has things go wrong from now on, as `seed` decides.
    pub fn inject(&self, seed: u64, scenario: &str) -> Result<(), String> {
        match lock(&self.broker).as_ref() {
            Some(broker) => faults::schedule(&broker.faults(), seed, scenario).map_err(|error| error.to_string()),
            None => Err("this broker takes no faults".to_owned()),
        }
    }

    /// The path of the certificate that clients of the SSL listener trust.
    pub fn tls_ca(&self) -> Option<&str> {
        self.tls_ca.as_deref()
    }

    /// Stops it cleanly and starts it again on the same data, under the same addresses.
    pub async fn restart(&self) -> Result<(), String> {
        let broker = lock(&self.broker).take().ok_or("this broker cannot be restarted")?;
        let stopped = broker.stop().await.map_err(|error| format!("the broker does not stop: {error}"))?;
        let again = stopped.restart().await.map_err(|error| format!("the broker does not start: {error}"))?;
        *lock(&self.broker) = Some(again);
        Ok(())
    }

    /// Closes it where it is ours.
    pub async fn close(&self) -> Result<(), String> {
        let broker = lock(&self.broker).take();
        match broker {
            Some(broker) => broker.close().await.map_err(|error| format!("the broker does not close: {error}")),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            self.env.fs().remove_dir_all(directory).ok();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
