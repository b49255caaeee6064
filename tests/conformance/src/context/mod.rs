//! What a scenario holds: a driver, a broker, and short words for the commands. Names that a scenario chooses are made
//! unique, as a broker may be shared and may be older than the run.

mod admin;
mod consumer;
mod producer;

pub use admin::Admin;
pub use consumer::Consumer;
pub use producer::Producer;
pub(crate) use producer::written;

use crate::driver::Driver;
use crate::protocol::{AdminCommand, Command, Configs, ConsumerCommand, Failure, ProducerCommand, Reply, To};
use crate::targets::{Addresses, Running};
use ottla::env::Env;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a scenario ends.
pub type Outcome<T = ()> = Result<T, Wrong>;

/// Why a scenario failed, in a sentence.
#[derive(Debug, Clone)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Wrong {
        Wrong(format!("unexpected failure: {failure}"))
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong(text)
    }
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Wrong {
        Wrong(text.to_owned())
    }
}

/// Fails the scenario with the sentence unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($sentence:tt)+) => {
        if $crate::context::fails($condition) {
            return Err($crate::context::Wrong(format!("{} ({}:{})", format!($($sentence)+), file!(), line!())));
        }
    };
}

/// Fails the scenario unless the first is equal to the second, which is what was expected.
#[macro_export]
macro_rules! same {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        // As in assert_eq!: temporaries live to the end of a match.
        match (&$found, &$expected) {
            (found, expected) => {
                if found != expected {
                    return Err($crate::context::Wrong(format!(
                        "{}: expected {expected:?}, found {found:?} ({}:{})", format!($($what)+), file!(), line!()
                    )));
                }
            }
        }
    };
}

/// For [`check!`]: its conditions may compare floats.
pub fn fails(condition: bool) -> bool {
    !condition
}

/// What a scenario holds; clones share it.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    driver: Arc<dyn Driver>,
    broker: Running,
    prefix: String,
    /// Set for all clients beneath what a scenario sets.
    configs: &'static [(&'static str, &'static str)],
    next: AtomicU64,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("prefix", &self.inner.prefix).finish_non_exhaustive()
    }
}

impl Context {
    /// For one scenario; `prefix` begins all its names, `configs` are set for all its clients.
    pub fn new(
        env: &Env,
        driver: Arc<dyn Driver>,
        broker: Running,
        prefix: String,
        configs: &'static [(&'static str, &'static str)],
    ) -> Context {
        let inner = Inner { env: env.clone(), driver, broker, prefix, configs, next: AtomicU64::new(1) };
        Context { inner: Arc::new(inner) }
    }

    /// Clock and tasks.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// The broker, to restart it.
    pub fn broker(&self) -> &Running {
        &self.inner.broker
    }

    /// The broker's addresses by protocol (`SASL_PLAINTEXT`, `SSL`).
    pub fn addresses(&self) -> Addresses {
        self.inner.broker.addresses()
    }

    /// Whether faults are injected.
    pub fn is_under_faults(&self) -> bool {
        !self.inner.configs.is_empty()
    }

    /// A name for a topic, group or transactional id of this scenario.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.inner.prefix)
    }

    /// A new topic with so many partitions, and its name.
    pub async fn topic(&self, name: &str, partitions: i32) -> Outcome<String> {
        self.topic_with(name, partitions, &[]).await
    }

    /// The same with topic configs.
    pub async fn topic_with(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Outcome<String> {
        let name = self.name(name);
        let admin = self.admin().await?;
        admin.create_topic(&name, partitions, configs).await?;
        admin.close().await?;
        Ok(name)
    }

    /// A producer with these configs over Kafka's defaults.
    pub async fn producer(&self, configs: &[(&str, &str)]) -> Outcome<Producer> {
        Ok(self.try_producer(configs).await?)
    }

    /// The same, where making it may fail.
    pub async fn try_producer(&self, configs: &[(&str, &str)]) -> Result<Producer, Failure> {
        let producer = Producer::new(self.clone(), self.client_name("producer"));
        producer.ask(ProducerCommand::Open { configs: self.configs(configs) }).await?;
        Ok(producer)
    }

    /// A consumer with these configs over Kafka's defaults.
    pub async fn consumer(&self, configs: &[(&str, &str)]) -> Outcome<Consumer> {
        Ok(self.try_consumer(configs).await?)
    }

    /// The same, where making it may fail.
    pub async fn try_consumer(&self, configs: &[(&str, &str)]) -> Result<Consumer, Failure> {
        let consumer = Consumer::new(self.clone(), self.client_name("consumer"));
        consumer.ask(ConsumerCommand::Open { configs: self.configs(configs) }).await?;
        Ok(consumer)
    }

    /// A consumer in `group`, from the beginning, without auto-commit, and what `configs` says.
    pub async fn member(&self, group: &str, configs: &[(&str, &str)]) -> Outcome<Consumer> {
        let mut all = vec![("group.id", group), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];
        all.extend_from_slice(configs);
        self.consumer(&all).await
    }

    /// An admin client.
    pub async fn admin(&self) -> Outcome<Admin> {
        self.admin_with(&[]).await
    }

    /// An admin client with these configs.
    pub async fn admin_with(&self, configs: &[(&str, &str)]) -> Outcome<Admin> {
        Ok(self.try_admin(configs).await?)
    }

    /// The same, where making it may fail.
    pub async fn try_admin(&self, configs: &[(&str, &str)]) -> Result<Admin, Failure> {
        let admin = Admin::new(self.clone(), self.client_name("admin"));
        admin.ask(AdminCommand::Open { configs: self.configs(configs) }).await?;
        Ok(admin)
    }

    fn client_name(&self, kind: &str) -> String {
        self.name(&format!("{kind}{}", self.inner.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn configs(&self, configs: &[(&str, &str)]) -> Configs {
        let mut all = Configs::from([("bootstrap.servers".to_owned(), self.inner.broker.bootstrap())]);
        let configs = self.inner.configs.iter().chain(configs);
        all.extend(configs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all
    }

    async fn call(&self, command: Command) -> Result<Reply, Failure> {
        self.inner.driver.call(command).await
    }

    async fn to_producer(&self, name: &str, command: ProducerCommand) -> Result<Reply, Failure> {
        self.call(Command::Producer(To { name: name.to_owned(), command })).await
    }

    async fn to_consumer(&self, name: &str, command: ConsumerCommand) -> Result<Reply, Failure> {
        self.call(Command::Consumer(To { name: name.to_owned(), command })).await
    }

    async fn to_admin(&self, name: &str, command: AdminCommand) -> Result<Reply, Failure> {
        self.call(Command::Admin(To { name: name.to_owned(), command })).await
    }

    /// Asks again until `look` finds something, 20 s at most: for what a broker does after it has answered.
    pub async fn eventually<T, F: Future<Output = Outcome<Option<T>>>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
    ) -> Outcome<T> {
        for _ in 0..200 {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            self.env().sleep(Duration::from_millis(100)).await;
        }
        Err(Wrong(format!("{what} did not come about within 20 s")))
    }
}

/// A reply that does not belong to its command.
fn unexpected(reply: &Reply) -> Failure {
    Failure::new(crate::protocol::FailureKind::Internal, format!("the driver's reply does not fit: {reply:?}"))
}
