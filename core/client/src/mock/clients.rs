//! What code that produces or consumes may ask for, whether a real client or a mock stands behind it.

use super::{MockConsumer, MockDelivery, MockProducer};
use crate::consumer::{BoxFuture, Consumer, ConsumerRecords, GroupMetadata, Offsets, Position, RebalanceListener};
use crate::error::Result;
use crate::producer::{Delivery, Producer, ProducerRecord, RecordMetadata};
use ottla_model::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What will become of a record that was sent.
pub trait Delivered: Debug + Send + Sync {
    /// Waits until the record is acknowledged or given up.
    fn wait(&self) -> impl Future<Output = Result<RecordMetadata>> + Send;

    /// The result, if there is one yet.
    fn get(&self) -> Option<Result<RecordMetadata>>;

    /// The partition that was chosen.
    fn partition(&self) -> i32;
}

/// A [`Producer`] or a [`MockProducer`]. The methods are those of `Producer`, where they are described.
pub trait ProduceClient: Debug + Send + Sync {
    /// What [`send`](ProduceClient::send) gives.
    type Delivery: Delivered;

    /// [`Producer::send`].
    fn send(&self, record: ProducerRecord<'_>) -> impl Future<Output = Result<Self::Delivery>> + Send;

    /// [`Producer::flush`].
    fn flush(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Producer::partitions_for`].
    fn partitions_for(&self, topic: &str) -> impl Future<Output = Result<usize>> + Send;

    /// [`Producer::init_transactions`].
    fn init_transactions(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Producer::begin_transaction`].
    fn begin_transaction(&self) -> Result<()>;

    /// [`Producer::send_offsets_to_transaction`].
    fn send_offsets_to_transaction(
        &self,
        offsets: &Offsets,
        group: &GroupMetadata,
    ) -> impl Future<Output = Result<()>> + Send;

    /// [`Producer::commit_transaction`].
    fn commit_transaction(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Producer::abort_transaction`].
    fn abort_transaction(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Producer::close`].
    fn close(&self, timeout: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// Hears of partitions that come and go, as [`RebalanceListener`], from a real consumer or a mock: implement it for all
/// `C: ConsumeClient`.
pub trait ConsumeListener<C>: Debug + Send + Sync + 'static {
    /// These partitions are about to go to other members.
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a C,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(Ok(())))
    }

    /// These partitions were added.
    fn on_partitions_assigned<'a>(
        &'a self,
        consumer: &'a C,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(Ok(())))
    }

    /// These partitions are with other members already. Unless it is implemented it does what `on_partitions_revoked` does.
    fn on_partitions_lost<'a>(
        &'a self,
        consumer: &'a C,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.on_partitions_revoked(consumer, partitions)
    }
}

/// A [`Consumer`] or a [`MockConsumer`]. The methods are those of `Consumer`, where they are described.
pub trait ConsumeClient: Debug + Send + Sync + Sized {
    /// [`Consumer::subscribe`].
    fn subscribe(&self, topics: &[&str]) -> Result<()>;

    /// [`Consumer::subscribe_with`].
    fn subscribe_with(&self, topics: &[&str], listener: Arc<dyn ConsumeListener<Self>>) -> Result<()>;

    /// [`Consumer::subscribe_pattern`].
    fn subscribe_pattern(&self, regex: &str) -> Result<()>;

    /// [`Consumer::subscription`].
    fn subscription(&self) -> BTreeSet<Arc<str>>;

    /// [`Consumer::unsubscribe`].
    fn unsubscribe(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Consumer::assign`].
    fn assign(&self, partitions: &[(TopicPartition, Position)]) -> impl Future<Output = Result<()>> + Send;

    /// [`Consumer::assign_committed`].
    fn assign_committed(&self, partitions: &[TopicPartition]) -> Result<()>;

    /// [`Consumer::assignment`].
    fn assignment(&self) -> BTreeSet<TopicPartition>;

    /// [`Consumer::poll`].
    fn poll(&self, timeout: Duration) -> impl Future<Output = Result<ConsumerRecords>> + Send;

    /// [`Consumer::wakeup`].
    fn wakeup(&self);

    /// [`Consumer::seek`].
    fn seek(&self, partition: &TopicPartition, position: Position) -> impl Future<Output = Result<()>> + Send;

    /// [`Consumer::position`].
    fn position(&self, partition: &TopicPartition) -> impl Future<Output = Result<i64>> + Send;

    /// [`Consumer::current_lag`].
    fn current_lag(&self, partition: &TopicPartition) -> Option<i64>;

    /// [`Consumer::pause`].
    fn pause(&self, partitions: &[TopicPartition]) -> Result<()>;

    /// [`Consumer::resume`].
    fn resume(&self, partitions: &[TopicPartition]) -> Result<()>;

    /// [`Consumer::paused`].
    fn paused(&self) -> BTreeSet<TopicPartition>;

    /// [`Consumer::commit_sync`].
    fn commit_sync(&self) -> impl Future<Output = Result<()>> + Send;

    /// [`Consumer::commit_sync_offsets`].
    fn commit_sync_offsets(&self, offsets: &Offsets) -> impl Future<Output = Result<()>> + Send;

    /// [`Consumer::commit_async_with`].
    fn commit_async_with(&self, offsets: Option<Offsets>, callback: impl FnOnce(&Offsets, Result<()>) + Send + 'static);

    /// [`Consumer::committed`].
    fn committed(&self, partitions: &[TopicPartition]) -> impl Future<Output = Result<Offsets>> + Send;

    /// [`Consumer::beginning_offsets`].
    fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, i64>>> + Send;

    /// [`Consumer::end_offsets`].
    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, i64>>> + Send;

    /// [`Consumer::partitions_for`].
    fn partitions_for(&self, topic: &str) -> impl Future<Output = Result<Vec<TopicPartition>>> + Send;

    /// [`Consumer::group_metadata`].
    fn group_metadata(&self) -> Result<GroupMetadata>;

    /// [`Consumer::enforce_rebalance`].
    fn enforce_rebalance(&self, reason: &str) -> Result<()>;

    /// [`Consumer::close`].
    fn close(&self, timeout: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// The methods of a trait that do what the type's own method of the same name does.
macro_rules! same {
    ($type:ty: $(async fn $name:ident($($arg:ident: $of:ty),*) -> $result:ty;)*) => {
        $(async fn $name(&self, $($arg: $of),*) -> $result {
            <$type>::$name(self, $($arg),*).await
        })*
    };
    ($type:ty: $(fn $name:ident($($arg:ident: $of:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $($arg: $of),*) $(-> $result)? {
            <$type>::$name(self, $($arg),*)
        })*
    };
}

macro_rules! delivered {
    ($($type:ty),*) => {
        $(impl Delivered for $type {
            same!($type: async fn wait() -> Result<RecordMetadata>;);
            same!($type: fn get() -> Option<Result<RecordMetadata>>; fn partition() -> i32;);
        })*
    };
}

delivered!(Delivery, MockDelivery);

macro_rules! produces {
    ($type:ty, $delivery:ty) => {
        type Delivery = $delivery;
        same!($type:
            async fn send(record: ProducerRecord<'_>) -> Result<$delivery>;
            async fn partitions_for(topic: &str) -> Result<usize>;
            async fn init_transactions() -> Result<()>;
            async fn send_offsets_to_transaction(offsets: &Offsets, group: &GroupMetadata) -> Result<()>;
            async fn commit_transaction() -> Result<()>;
            async fn abort_transaction() -> Result<()>;
            async fn close(timeout: Duration) -> Result<()>;
        );
        same!($type: fn begin_transaction() -> Result<()>;);
    };
}

impl ProduceClient for Producer {
    produces!(Producer, Delivery);

    async fn flush(&self) -> Result<()> {
        Producer::flush(self).await;
        Ok(())
    }
}

impl ProduceClient for MockProducer {
    produces!(MockProducer, MockDelivery);
    same!(MockProducer: async fn flush() -> Result<()>;);
}

macro_rules! consumes {
    ($type:ty) => {
        fn subscribe(&self, topics: &[&str]) -> Result<()> {
            <$type>::subscribe(self, topics)
        }

        fn commit_async_with(
            &self,
            offsets: Option<Offsets>,
            callback: impl FnOnce(&Offsets, Result<()>) + Send + 'static,
        ) {
            <$type>::commit_async_with(self, offsets, callback);
        }

        same!($type:
            fn subscribe_pattern(regex: &str) -> Result<()>;
            fn subscription() -> BTreeSet<Arc<str>>;
            fn assign_committed(partitions: &[TopicPartition]) -> Result<()>;
            fn assignment() -> BTreeSet<TopicPartition>;
            fn wakeup();
            fn current_lag(partition: &TopicPartition) -> Option<i64>;
            fn pause(partitions: &[TopicPartition]) -> Result<()>;
            fn resume(partitions: &[TopicPartition]) -> Result<()>;
            fn paused() -> BTreeSet<TopicPartition>;
            fn group_metadata() -> Result<GroupMetadata>;
            fn enforce_rebalance(reason: &str) -> Result<()>;
        );
        same!($type:
            async fn unsubscribe() -> Result<()>;
            async fn assign(partitions: &[(TopicPartition, Position)]) -> Result<()>;
            async fn poll(timeout: Duration) -> Result<ConsumerRecords>;
            async fn seek(partition: &TopicPartition, position: Position) -> Result<()>;
            async fn position(partition: &TopicPartition) -> Result<i64>;
            async fn commit_sync() -> Result<()>;
            async fn commit_sync_offsets(offsets: &Offsets) -> Result<()>;
            async fn committed(partitions: &[TopicPartition]) -> Result<Offsets>;
            async fn beginning_offsets(partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>>;
            async fn end_offsets(partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>>;
            async fn partitions_for(topic: &str) -> Result<Vec<TopicPartition>>;
            async fn close(timeout: Duration) -> Result<()>;
        );
    };
}

impl ConsumeClient for Consumer {
    consumes!(Consumer);

    fn subscribe_with(&self, topics: &[&str], listener: Arc<dyn ConsumeListener<Consumer>>) -> Result<()> {
        Consumer::subscribe_with(self, topics, Arc::new(Hears(listener)))
    }
}

impl ConsumeClient for MockConsumer {
    consumes!(MockConsumer);

    fn subscribe_with(&self, topics: &[&str], listener: Arc<dyn ConsumeListener<MockConsumer>>) -> Result<()> {
        MockConsumer::subscribe_with(self, topics, listener)
    }
}

/// A listener of a real consumer that passes on what it hears.
#[derive(Debug)]
struct Hears(Arc<dyn ConsumeListener<Consumer>>);

impl RebalanceListener for Hears {
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.0.on_partitions_revoked(consumer, partitions)
    }

    fn on_partitions_assigned<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.0.on_partitions_assigned(consumer, partitions)
    }

    fn on_partitions_lost<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.0.on_partitions_lost(consumer, partitions)
    }
}
