//! A consumer: `poll` gives frames of records; what the application decides during a rebalance is a question.

use super::{
    Answer, Base, Configs, Object, Offset, Partition, Partitions, Work, later, metrics, now, packed, read, value,
};
use crate::error::Error;
use crate::frame::records;
use crate::queue::Queue;
use crate::runtime::Runtime;
use crate::state::{Handle, state};
use ottla::client::{
    self, BoxFuture, Client, ClientOptions, CloseOptions, ConsumerOptions, Env, ErrorKind, GroupMembership, Offsets,
    RebalanceListener, Scope, TopicPartition,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) base: Base,
    consumer: client::Consumer,
    client: Client,
    max_poll_interval: Duration,
}

pub(super) fn open(queue: &Arc<Queue>, runtime: &Arc<Runtime>, arguments: Configs) -> Result<Answer, Error> {
    let configs = super::configs(Scope::Consumer, arguments)?;
    let options = ConsumerOptions::from_configs(&configs)?;
    let client = Client::new(Env::real(), ClientOptions::from_configs(&configs))?;
    let max_poll_interval = options.max_poll_interval;
    let consumer = client.consumer(options);
    let handle = state()?.insert(|handle| {
        let base = Base::new(handle, queue, runtime);
        Object::Consumer(Arc::new(Consumer { base, consumer, client, max_poll_interval }))
    })?;
    Ok(Answer::Handle(handle))
}

/// `subscribe`: topics, or a pattern.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    pattern: Option<String>,
    /// Ask the host during rebalances.
    #[serde(default)]
    listener: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    #[serde(default)]
    offsets: Option<Vec<Offset>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    times: Vec<Offset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    offset: Offset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    topic: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    #[serde(default = "super::half_a_minute")]
    timeout_ms: u64,
    /// `DEFAULT`, `LEAVE_GROUP` or `REMAIN_IN_GROUP` (KIP-1092).
    #[serde(default)]
    operation: Option<String>,
}

#[derive(Serialize)]
struct Group {
    group_id: String,
    generation_id: i32,
    member_id: String,
    group_instance_id: Option<String>,
}

fn done(result: client::Result<()>) -> Result<Option<Work>, Error> {
    result?;
    Ok(Some(now(Answer::Done)))
}

fn partitions<'a>(all: impl IntoIterator<Item = &'a TopicPartition>) -> Vec<Partition> {
    all.into_iter().map(Partition::from).collect()
}

fn committed(all: &Offsets) -> Vec<Offset> {
    all.iter().map(|(of, committed)| Offset::with(of, committed)).collect()
}

fn offsets(all: &BTreeMap<TopicPartition, i64>) -> Vec<Offset> {
    all.iter().map(|(of, offset)| Offset::of(of, *offset)).collect()
}

pub(super) fn call(consumer: &Arc<Consumer>, method: &str, arguments: &[u8]) -> Result<Option<Work>, Error> {
    let this = consumer.clone();
    let of = &consumer.consumer;
    match method {
        "subscribe" => {
            let Subscribe { topics, pattern, listener } = read(arguments)?;
            let listener: Option<Arc<dyn RebalanceListener>> = listener.then(|| -> Arc<dyn RebalanceListener> {
                Arc::new(Listener { of: Arc::downgrade(consumer), queue: Arc::downgrade(&consumer.base.queue) })
            });
            match (pattern, listener) {
                (Some(pattern), None) => done(of.subscribe_pattern(&pattern)),
                (Some(pattern), Some(listener)) => done(of.subscribe_pattern_with(&pattern, listener)),
                (None, None) => done(of.subscribe(&topics)),
                (None, Some(listener)) => done(of.subscribe_with(&topics, listener)),
            }
        }
        "unsubscribe" => Ok(later(async move {
            this.consumer.unsubscribe().await?;
            Ok(Answer::Done)
        })),
        "subscription" => Ok(Some(now(value(&of.subscription().iter().map(|topic| &**topic).collect::<Vec<_>>())?))),
        "assign" => {
            let keys = read::<Partitions>(arguments)?.keys();
            done(of.assign_committed(&keys))
        }
        "assignment" => Ok(Some(now(value(&partitions(&of.assignment()))?))),
        "poll" => {
            let Poll { timeout_ms } = read(arguments)?;
            Ok(later(async move {
                let polled = this.consumer.poll(Duration::from_millis(timeout_ms)).await?;
                Ok(Answer::Records(records(&polled)?))
            }))
        }
        "wakeup" => {
            of.wakeup();
            Ok(Some(now(Answer::Done)))
        }
        "pause" => done(of.pause(&read::<Partitions>(arguments)?.keys())),
        "resume" => done(of.resume(&read::<Partitions>(arguments)?.keys())),
        "paused" => Ok(Some(now(value(&partitions(&of.paused()))?))),
        "seek" => {
            let (partition, offset) = read::<Seek>(arguments)?.offset.entry();
            done(of.seek_to(&partition, &offset))
        }
        "seek_to_beginning" => done(of.seek_to_beginning(&read::<Partitions>(arguments)?.keys())),
        "seek_to_end" => done(of.seek_to_end(&read::<Partitions>(arguments)?.keys())),
        "position" => {
            let partition = TopicPartition::from(&read::<Partition>(arguments)?);
            Ok(later(async move { value(&this.consumer.position(&partition).await?) }))
        }
        "current_lag" => {
            let partition = TopicPartition::from(&read::<Partition>(arguments)?);
            Ok(Some(now(value(&of.current_lag(&partition))?)))
        }
        "committed" => {
            let keys = read::<Partitions>(arguments)?.keys();
            Ok(later(async move { value(&committed(&this.consumer.committed(&keys).await?)) }))
        }
        "commit" => {
            let Commit { offsets } = read(arguments)?;
            Ok(later(async move {
                match offsets {
                    None => this.consumer.commit_sync().await?,
                    Some(offsets) => {
                        let offsets: Offsets = offsets.iter().map(Offset::entry).collect();
                        this.consumer.commit_sync_offsets(&offsets).await?;
                    }
                }
                Ok(Answer::Done)
            }))
        }
        "offsets_for_times" => {
            let Times { times } = read(arguments)?;
            let times: BTreeMap<TopicPartition, i64> =
                times.iter().map(|of| (TopicPartition::new(of.topic.as_str(), of.partition), of.offset)).collect();
            Ok(later(async move {
                let found = this.consumer.offsets_for_times(&times).await?;
                let one = |(of, found): (&TopicPartition, &Option<(i64, i64)>)| {
                    let (offset, timestamp) = found.unwrap_or((-1, -1));
                    Found { topic: of.topic.to_string(), partition: of.partition, offset, timestamp }
                };
                value(&found.iter().map(one).collect::<Vec<_>>())
            }))
        }
        "beginning_offsets" => {
            let keys = read::<Partitions>(arguments)?.keys();
            Ok(later(async move { value(&offsets(&this.consumer.beginning_offsets(&keys).await?)) }))
        }
        "end_offsets" => {
            let keys = read::<Partitions>(arguments)?.keys();
            Ok(later(async move { value(&offsets(&this.consumer.end_offsets(&keys).await?)) }))
        }
        "partitions_for" => {
            let Topic { topic } = read(arguments)?;
            Ok(later(async move { value(&partitions(&this.consumer.partitions_for(&topic).await?)) }))
        }
        "list_topics" => Ok(later(async move {
            let topics = this.consumer.list_topics().await?;
            value(&topics.values().flat_map(partitions).collect::<Vec<_>>())
        })),
        "group_metadata" => {
            let client::GroupMetadata { group_id, generation_id, member_id, group_instance_id } =
                of.group_metadata()?;
            Ok(Some(now(value(&Group { group_id, generation_id, member_id, group_instance_id })?)))
        }
        "enforce_rebalance" => done(of.enforce_rebalance(&read::<Reason>(arguments)?.reason)),
        "metrics" => Ok(Some(now(metrics(&of.metrics())?))),
        "close" => {
            let Close { timeout_ms, operation } = read(arguments)?;
            let membership = match operation.as_deref() {
                None | Some("DEFAULT") => GroupMembership::Default,
                Some("LEAVE_GROUP") => GroupMembership::Leave,
                Some("REMAIN_IN_GROUP") => GroupMembership::Remain,
                Some(other) => {
                    let expected = "expected DEFAULT, LEAVE_GROUP or REMAIN_IN_GROUP";
                    return Err(Error::invalid(format!("operation {other:?}: {expected}")));
                }
            };
            let options = CloseOptions { timeout: Duration::from_millis(timeout_ms), membership };
            Ok(later(async move {
                let closed = this.consumer.close_with(options).await;
                this.client.shutdown().await;
                closed?;
                Ok(Answer::Done)
            }))
        }
        _ => Ok(None),
    }
}

/// A record that was looked up by its time; offset -1 where there is none as late.
#[derive(Serialize)]
struct Found {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
}

impl Consumer {
    /// Leaves without a word: what a close has to say takes time that there is not. The group notices by the heartbeats.
    pub(super) fn let_go(self: &Arc<Self>) {
        let this = self.clone();
        self.base.runtime.handle().spawn(async move {
            let _ = this.consumer.close(Duration::ZERO).await;
            this.client.close();
        });
    }
}

/// Asks the host.
#[derive(Debug)]
struct Listener {
    of: Weak<Consumer>,
    queue: Weak<Queue>,
}

impl Listener {
    fn ask<'a>(&'a self, about: &'static str, of: &'a [TopicPartition]) -> BoxFuture<'a, client::Result<()>> {
        Box::pin(async move {
            // Being let go: nobody is there to answer.
            let (Some(consumer), Some(queue)) = (self.of.upgrade(), self.queue.upgrade()) else { return Ok(()) };
            let failed =
                |error: Error| client::Error::new(ErrorKind::Invalid, format!("the rebalance listener: {error}"));
            let arguments = packed(&partitions(of)).map_err(failed)?;
            let handle: Handle = consumer.base.handle;
            let limit = consumer.max_poll_interval;
            drop(consumer);
            queue.ask(handle, about, arguments, limit).await.map(drop).map_err(failed)
        })
    }
}

impl RebalanceListener for Listener {
    fn on_partitions_revoked<'a>(
        &'a self,
        _: &'a client::Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, client::Result<()>> {
        self.ask("rebalance.revoked", partitions)
    }

    fn on_partitions_assigned<'a>(
        &'a self,
        _: &'a client::Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, client::Result<()>> {
        self.ask("rebalance.assigned", partitions)
    }

    fn on_partitions_lost<'a>(
        &'a self,
        _: &'a client::Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, client::Result<()>> {
        self.ask("rebalance.lost", partitions)
    }
}
