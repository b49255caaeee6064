//! Brokers out of brokers: [`Broker::fork`], [`Broker::snapshot`], [`Broker::fork_topic`].

use crate::{Broker, Error, ForkError};
use ottla_config::Warning;
use std::path::PathBuf;

/// All that a broker had at one time; forks of it can be started as often as wanted, also after the broker is gone. Holds
/// the disk (or memory) of what has been deleted in the broker since. Dropping it does not touch forks.
#[derive(Debug)]
pub struct Snapshot {
    inner: ottla_broker::Snapshot,
    warnings: Vec<Warning>,
}

impl Snapshot {
    /// Starts a broker with what the snapshot has; see [`Broker::fork`].
    ///
    /// # Errors
    /// As [`BrokerBuilder::start`](crate::BrokerBuilder::start).
    pub async fn fork(&self) -> Result<Broker, Error> {
        self.start(None).await
    }

    /// As [`Snapshot::fork`], with its files in `directory`, which must be new or empty and stays; see [`Broker::fork_to`].
    ///
    /// # Errors
    /// As [`BrokerBuilder::start`](crate::BrokerBuilder::start).
    pub async fn fork_to(&self, directory: impl Into<PathBuf>) -> Result<Broker, Error> {
        self.start(Some(directory.into())).await
    }

    async fn start(&self, directory: Option<PathBuf>) -> Result<Broker, Error> {
        let inner = self.inner.fork(directory).await.map_err(Error::Start)?;
        Ok(Broker { inner, warnings: self.warnings.clone(), recording: None })
    }
}

impl Broker {
    /// Starts a second broker with all that this one has now: topics, configs, records, committed offsets, producers. From
    /// then on both go their own ways. Segments that no one writes any more are shared, so it costs a few small files
    /// (or as many references), however much data there is.
    ///
    /// Every record that was acknowledged before the call is in the fork. Partitions are cut one after the other, so of
    /// records that are produced meanwhile one partition may have later ones than another; but what is committed in the
    /// fork's groups is always there to be read. Groups come without their members, and idempotent producers with their
    /// last batch, as after a restart; transactions are as open as the logs have them.
    ///
    /// The fork has a cluster id of its own, the same topic ids and `node.id`, a new in-process address, and the same TCP
    /// listeners with free ports. In memory its data is memory; on a disk it lies beside the log directory
    /// (`<log dir>.fork-<id>`) and is removed when the fork is closed or dropped: [`fork_to`](Broker::fork_to) keeps it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = ottla::Broker::builder().start().await?;
    /// // … load what all tests need, once …
    /// let fork = broker.fork().await?;
    /// assert_ne!(fork.inproc_address(), broker.inproc_address());
    /// fork.close().await?;
    /// # broker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`BrokerBuilder::start`](crate::BrokerBuilder::start).
    pub async fn fork(&self) -> Result<Broker, Error> {
        self.fork_at(None).await
    }

    /// As [`Broker::fork`], with its files in `directory`, which must be new or empty; they stay when the fork ends. On another
    /// file system than this broker's, and out of memory, the data is copied.
    ///
    /// # Errors
    /// As [`BrokerBuilder::start`](crate::BrokerBuilder::start).
    pub async fn fork_to(&self, directory: impl Into<PathBuf>) -> Result<Broker, Error> {
        self.fork_at(Some(directory.into())).await
    }

    async fn fork_at(&self, directory: Option<PathBuf>) -> Result<Broker, Error> {
        let inner = self.inner.fork(directory).await.map_err(Error::Start)?;
        Ok(Broker { inner, warnings: self.warnings.clone(), recording: None })
    }

    /// Keeps what this broker has now, for [forks](Snapshot::fork) that are started later; as consistent as [`Broker::fork`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = ottla::Broker::builder().start().await?;
    /// let loaded = broker.snapshot().await?;
    /// broker.close().await?;
    /// for _ in 0..3 {
    ///     loaded.fork().await?.close().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The disk refused.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let inner = self.inner.snapshot(None).await.map_err(Error::Start)?;
        Ok(Snapshot { inner, warnings: self.warnings.clone() })
    }

    /// Makes the topic `to`, with the partitions, records, configs and producers of `from`, in this broker; both go their own
    /// ways. Sealed segments are shared. What groups have committed for `from` is not committed for `to`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = ottla::Broker::builder().start().await?;
    /// assert!(broker.fork_topic("orders", "orders-test").await.is_err(), "there is no topic orders yet");
    /// # broker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no topic `from`, or it is internal; `to` exists, or is no name of a topic.
    pub async fn fork_topic(&self, from: &str, to: &str) -> Result<(), ForkError> {
        self.inner.fork_topic(from, to).await
    }
}
