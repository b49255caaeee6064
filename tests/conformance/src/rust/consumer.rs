//! The consumer's commands.

use super::{lock, pairs};
use crate::protocol::consumer::{Event, GroupMetadata, Incoming, Polled};
use crate::protocol::{Blob, Configs, ConsumerCommand, Failure, Partition, PartitionOffset, Reply};
use ottla::client::{
    BoxFuture, CloseOptions, Consumer, ConsumerRecord, Error, GroupMembership, OffsetAndMetadata, Offsets,
    RebalanceListener, TopicPartition,
};
use ottla::env::Env;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// A consumer and what its listener heard.
#[derive(Debug)]
pub(super) struct Held {
    consumer: Consumer,
    events: Arc<Mutex<Vec<Event>>>,
}

pub(super) fn open(env: &Env, configs: &Configs) -> Result<Held, Failure> {
    Ok(Held { consumer: Consumer::from_configs(env.clone(), pairs(configs))?, events: Arc::default() })
}

/// Writes down what it hears.
#[derive(Debug)]
struct Listener {
    events: Arc<Mutex<Vec<Event>>>,
    commit_on_revoke: bool,
}

impl Listener {
    fn heard(&self, event: Event) {
        lock(&self.events).push(event);
    }
}

impl RebalanceListener for Listener {
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.heard(Event::Revoked(from(partitions)));
            if self.commit_on_revoke
                && let Err(error) = consumer.commit_sync().await
            {
                self.heard(Event::CommitFailed(error.to_string()));
            }
            Ok(())
        })
    }

    fn on_partitions_assigned<'a>(
        &'a self,
        _consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.heard(Event::Assigned(from(partitions)));
        Box::pin(async { Ok(()) })
    }

    fn on_partitions_lost<'a>(
        &'a self,
        _consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.heard(Event::Lost(from(partitions)));
        Box::pin(async { Ok(()) })
    }
}

impl Held {
    pub(super) fn group_metadata(&self) -> Result<ottla::client::GroupMetadata, Failure> {
        Ok(self.consumer.group_metadata()?)
    }

    pub(super) async fn carry_out(&self, command: ConsumerCommand) -> Result<Reply, Failure> {
        let consumer = &self.consumer;
        match command {
            ConsumerCommand::Open { .. } => return Err(Failure::unsupported("to open it twice")),
            ConsumerCommand::Subscribe { topics, commit_on_revoke } => {
                consumer.subscribe_with(&topics, self.listener(commit_on_revoke))?;
            }
            ConsumerCommand::SubscribePattern { pattern } => {
                consumer.subscribe_pattern_with(&pattern, self.listener(false))?;
            }
            ConsumerCommand::Unsubscribe => consumer.unsubscribe().await?,
            ConsumerCommand::Assign { partitions } => consumer.assign_committed(&of(&partitions))?,
            ConsumerCommand::Seek { at } => {
                let partition = TopicPartition::new(at.topic.as_str(), at.partition);
                consumer.seek_to(&partition, &OffsetAndMetadata::from(at.offset.unwrap_or(0)))?;
            }
            ConsumerCommand::SeekToBeginning { partitions } => consumer.seek_to_beginning(&of(&partitions))?,
            ConsumerCommand::SeekToEnd { partitions } => consumer.seek_to_end(&of(&partitions))?,
            ConsumerCommand::Pause { partitions } => consumer.pause(&of(&partitions))?,
            ConsumerCommand::Resume { partitions } => consumer.resume(&of(&partitions))?,
            ConsumerCommand::Wakeup => consumer.wakeup(),
            ConsumerCommand::EnforceRebalance => consumer.enforce_rebalance("asked by a scenario")?,
            ConsumerCommand::CommitSync { offsets: None } => consumer.commit_sync().await?,
            ConsumerCommand::CommitSync { offsets: Some(given) } => {
                consumer.commit_sync_offsets(&offsets(given)).await?;
            }
            ConsumerCommand::CommitAsync { offsets: given } => {
                let (result_in, result) = oneshot::channel();
                consumer.commit_async_with(given.map(offsets), |_, result| {
                    result_in.send(result).ok();
                });
                let gone = |_| Failure::new(crate::protocol::FailureKind::Internal, "the callback was not called");
                result.await.map_err(gone)??;
            }
            ConsumerCommand::Poll { timeout_ms } => return self.poll(timeout_ms).await,
            ConsumerCommand::Close { timeout_ms, leave } => {
                let membership = match leave {
                    None => GroupMembership::default(),
                    Some(true) => GroupMembership::Leave,
                    Some(false) => GroupMembership::Remain,
                };
                let timeout = Duration::from_millis(timeout_ms);
                consumer.close_with(CloseOptions { timeout, membership }).await?;
                return Ok(Reply::Polled(Polled { records: Vec::new(), events: self.take_events() }));
            }
            other => return self.look_up(other).await,
        }
        Ok(Reply::Done {})
    }

    /// The commands that ask and change nothing.
    async fn look_up(&self, command: ConsumerCommand) -> Result<Reply, Failure> {
        let consumer = &self.consumer;
        let listed = |partitions: Vec<Partition>, found: &dyn Fn(&TopicPartition) -> Option<i64>| {
            let offset = |it: Partition| {
                let offset = found(&TopicPartition::new(it.topic.as_str(), it.partition));
                PartitionOffset { topic: it.topic, partition: it.partition, offset, metadata: None }
            };
            Reply::Offsets(partitions.into_iter().map(offset).collect())
        };
        Ok(match command {
            ConsumerCommand::Position { partitions } => {
                let mut found = BTreeMap::new();
                for partition in of(&partitions) {
                    found.insert(partition.clone(), consumer.position(&partition).await?);
                }
                listed(partitions, &|partition| found.get(partition).copied())
            }
            ConsumerCommand::Committed { partitions } => {
                let found = consumer.committed(&of(&partitions)).await?;
                let offset = |it: Partition| {
                    let found = found.get(&TopicPartition::new(it.topic.as_str(), it.partition));
                    PartitionOffset {
                        topic: it.topic,
                        partition: it.partition,
                        offset: found.map(|found| found.offset),
                        metadata: found.map(|found| found.metadata.clone()).filter(|it| !it.is_empty()),
                    }
                };
                Reply::Offsets(partitions.into_iter().map(offset).collect())
            }
            ConsumerCommand::CurrentLag { partitions } => listed(partitions, &|it| consumer.current_lag(it)),
            ConsumerCommand::BeginningOffsets { partitions } => {
                let found = consumer.beginning_offsets(&of(&partitions)).await?;
                listed(partitions, &|it| found.get(it).copied())
            }
            ConsumerCommand::EndOffsets { partitions } => {
                let found = consumer.end_offsets(&of(&partitions)).await?;
                listed(partitions, &|it| found.get(it).copied())
            }
            ConsumerCommand::OffsetsForTimes { times } => {
                let partition = |it: &PartitionOffset| TopicPartition::new(it.topic.as_str(), it.partition);
                let wanted = times.iter().map(|it| (partition(it), it.offset.unwrap_or(0))).collect();
                let found = consumer.offsets_for_times(&wanted).await?;
                let asked = times.into_iter().map(|it| Partition { topic: it.topic, partition: it.partition });
                listed(asked.collect(), &|it| found.get(it).copied().flatten().map(|(offset, _)| offset))
            }
            ConsumerCommand::Paused => Reply::Partitions(from(&Vec::from_iter(consumer.paused()))),
            ConsumerCommand::Assignment => Reply::Partitions(from(&Vec::from_iter(consumer.assignment()))),
            ConsumerCommand::Metrics => super::metrics(&consumer.metrics()),
            ConsumerCommand::Subscription => {
                Reply::Names(consumer.subscription().iter().map(|topic| topic.to_string()).collect())
            }
            ConsumerCommand::PartitionsFor { topic } => {
                Reply::Partitions(from(&consumer.partitions_for(&topic).await?))
            }
            ConsumerCommand::GroupMetadata => {
                let group = consumer.group_metadata()?;
                Reply::Group(GroupMetadata {
                    group: group.group_id,
                    generation: group.generation_id,
                    member: group.member_id,
                    instance: group.group_instance_id,
                })
            }
            other => return Err(Failure::unsupported(&format!("{other:?}"))),
        })
    }

    async fn poll(&self, timeout_ms: u64) -> Result<Reply, Failure> {
        let polled = self.consumer.poll(Duration::from_millis(timeout_ms)).await?;
        let records = polled.iter().map(incoming).collect();
        Ok(Reply::Polled(Polled { records, events: self.take_events() }))
    }

    fn listener(&self, commit_on_revoke: bool) -> Arc<Listener> {
        Arc::new(Listener { events: self.events.clone(), commit_on_revoke })
    }

    fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events))
    }
}

fn of(partitions: &[Partition]) -> Vec<TopicPartition> {
    partitions.iter().map(|it| TopicPartition::new(it.topic.as_str(), it.partition)).collect()
}

fn from(partitions: &[TopicPartition]) -> Vec<Partition> {
    let mut all: Vec<_> = partitions.iter().map(|it| Partition::new(&it.topic, it.partition)).collect();
    all.sort();
    all
}

/// Offsets to commit.
pub(super) fn offsets(given: Vec<PartitionOffset>) -> Offsets {
    let pair = |it: PartitionOffset| {
        let mut offset = OffsetAndMetadata::from(it.offset.unwrap_or(0));
        offset.metadata = it.metadata.unwrap_or_default();
        (TopicPartition::new(it.topic, it.partition), offset)
    };
    given.into_iter().map(pair).collect()
}

fn incoming(record: &ConsumerRecord) -> Incoming {
    let blob = |bytes: &[u8]| Blob(bytes.to_vec());
    let headers = record.headers.iter().map(|(name, value)| (name.to_string(), value.as_deref().map(blob)));
    Incoming {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref().map(blob),
        value: record.value.as_deref().map(blob),
        headers: headers.collect(),
    }
}
