//! What the application may hang into a consumer: a rebalance listener, interceptors and commit callbacks.

use super::{Consumer, ConsumerRecords};
use crate::error::Result;
use ottla_model::TopicPartition;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

/// A future in a box, as async methods of traits that are used as `dyn` return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An offset to commit, or a committed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record read, where known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Whatever the application keeps beside the offset.
    pub metadata: String,
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> OffsetAndMetadata {
        OffsetAndMetadata { offset, leader_epoch: None, metadata: String::new() }
    }
}

/// Offsets by partition.
pub type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Hears of partitions that come and go.
///
/// The methods run inside [`Consumer::poll`] (or `close` and `unsubscribe`), in the task that polls; heartbeats go on
/// meanwhile. The consumer they get is the one that polls: committing in `on_partitions_revoked` and seeking in
/// `on_partitions_assigned` work; polling does not, as polls take turns. When a poll's future is dropped while a method
/// runs, that method is called again by the next poll. An error ends the poll with it, after the rebalance went on.
///
/// ```
/// use ottla_client::{BoxFuture, Consumer, RebalanceListener, Result, TopicPartition};
///
/// #[derive(Debug)]
/// struct CommitFirst;
///
/// impl RebalanceListener for CommitFirst {
///     fn on_partitions_revoked<'a>(
///         &'a self,
///         consumer: &'a Consumer,
///         _partitions: &'a [TopicPartition],
///     ) -> BoxFuture<'a, Result<()>> {
///         Box::pin(consumer.commit_sync())
///     }
/// }
/// ```
pub trait RebalanceListener: Debug + Send + Sync + 'static {
    /// These partitions are about to go to other members: the last chance to commit what was read of them.
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(Ok(())))
    }

    /// These partitions were added; under the eager protocol these are all. May be empty.
    fn on_partitions_assigned<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(Ok(())))
    }

    /// These partitions are with other members already, as this one was out of the group: commits would be refused.
    /// Unless it is implemented it does what `on_partitions_revoked` does.
    fn on_partitions_lost<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.on_partitions_revoked(consumer, partitions)
    }
}

/// Sees records before the application does, and offsets after they were committed. Must not block.
pub trait ConsumerInterceptor: Debug + Send + Sync + 'static {
    /// Called with what [`Consumer::poll`] is about to return; may change it.
    fn on_consume(&self, records: ConsumerRecords) -> ConsumerRecords {
        records
    }

    /// Called with offsets that a broker has taken.
    fn on_commit(&self, offsets: &Offsets) {
        let _ = offsets;
    }
}
