//! Brokers whose time is a test's: the builder's side of the virtual clock. The clock itself is in ottla-env.

use crate::broker::Surroundings;
use crate::{Broker, BrokerBuilder};
use ottla_env::{Env, VirtualClock};

impl BrokerBuilder {
    /// Runs the broker by `clock`, which stands still until it is moved, and so do its retention, its groups' sessions, its
    /// waiting fetches. Brokers and clients may share one clock; [`Broker::env`] is what a client takes.
    ///
    /// A TCP client of the broker lives by its own time, and [`VirtualClock::advance`] does not wait for it.
    ///
    /// ```
    /// use ottla::client::{Consumer, Producer, ProducerRecord, TopicPartition};
    /// use ottla::{Broker, VirtualClock};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = VirtualClock::new();
    /// let broker = Broker::builder().virtual_clock(&clock).config("log.retention.ms", "3600000").start().await?;
    /// let producer = Producer::from_configs(broker.env(), [("bootstrap.servers", broker.bootstrap_servers())])?;
    /// let record = ProducerRecord::new("orders", None, Some(b"a teapot"));
    /// assert_eq!(producer.send(record).await?.wait().await?.offset, 0);
    ///
    /// clock.advance(Duration::from_secs(7 * 24 * 60 * 60)).await?;
    /// // Nothing is left of it after a week.
    /// let consumer = Consumer::from_configs(broker.env(), [("bootstrap.servers", broker.bootstrap_servers())])?;
    /// let partition = TopicPartition::new("orders", 0);
    /// assert_eq!(consumer.beginning_offsets(&[partition.clone()]).await?[&partition], 1);
    /// broker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn virtual_clock(mut self, clock: &VirtualClock) -> BrokerBuilder {
        self.surroundings = Surroundings::Virtual(clock.clone());
        self
    }

    /// Runs the broker in `env`: its clock, its randomness, its tasks and its files. With files in memory, two brokers that are
    /// started one after the other in one environment are one broker that was restarted.
    pub fn env(mut self, env: Env) -> BrokerBuilder {
        self.surroundings = Surroundings::Given(env);
        self
    }
}

impl Broker {
    /// The environment that the broker runs in, for clients that are to share its time: its virtual clock or its simulation.
    pub fn env(&self) -> Env {
        self.inner.env().clone()
    }
}
