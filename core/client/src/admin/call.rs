//! How admin calls reach their brokers: each key of a call (a topic, a partition, a group, a broker) goes to whoever
//! answers for it, keys with the same broker share a request, and only the keys that failed for a passing reason are
//! asked again, after finding out anew whom to ask.

use super::Admin;
use crate::broker::Broker;
use crate::coordinator::Coordinator;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::address;
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::metadata_response::MetadataResponse;
use ottla_protocol::{DescribeClusterRequest, DescribeClusterResponse, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// The result of each key on its own: the failure of one does not hide the others. Every key that was asked for is in it.
pub type PerKey<K, V> = BTreeMap<K, Result<V>>;

/// How often a topic may be unknown before that is the answer: brokers learn of a new topic one after the other.
const UNKNOWN_MAX: u32 = 4;
/// Coordinators looked up at once.
const LOOKUPS_AT_ONCE: usize = 32;

/// Which broker answers for a key.
pub(super) trait Locate<K: Ord>: Sync {
    /// Finds the brokers of `keys`; `attempt` counts from 0, and from 1 on what was known before was wrong.
    fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<K>,
        attempt: u32,
        deadline: &Deadline,
    ) -> impl Future<Output = PerKey<K, Arc<Broker>>> + Send;
}

/// The leader of each partition.
#[derive(Debug)]
pub(super) struct Leader;
/// The coordinator of each group.
#[derive(Debug)]
pub(super) struct GroupCoordinator;
/// The coordinator of each transactional id.
#[derive(Debug)]
pub(super) struct TransactionCoordinator;
/// The broker with each id.
#[derive(Debug)]
pub(super) struct Node;
/// The controller as the cluster names it; in KRaft any broker, which forwards.
#[derive(Debug)]
pub(super) struct Controller;
/// Whichever broker answers.
#[derive(Debug)]
pub(super) struct Anyone;
/// One broker for all keys; `None` is whichever answers.
#[derive(Debug)]
pub(super) struct At(pub(super) Option<i32>);

impl Locate<TopicPartition> for Leader {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<TopicPartition>,
        _attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<TopicPartition, Arc<Broker>> {
        let topics: BTreeSet<&Arc<str>> = keys.iter().map(|key| &key.topic).collect();
        let topics = topics.into_iter().map(|name| Str::from(&**name)).collect();
        match admin.metadata(topics, deadline).await {
            Ok(metadata) => keys.iter().map(|key| (key.clone(), leader(admin, &metadata, key))).collect(),
            Err(error) => all(keys, &error),
        }
    }
}

fn leader(admin: &Admin, metadata: &MetadataResponse, key: &TopicPartition) -> Result<Arc<Broker>> {
    let what = || format!("partition {key}");
    let topic = metadata.topics.iter().find(|topic| topic.name.as_deref() == Some(&*key.topic));
    let topic = topic.ok_or_else(|| not_mentioned(key))?;
    check_code(topic.error_code, &format!("topic {}", key.topic), None)?;
    let partition = topic.partitions.iter().find(|partition| partition.partition_index == key.partition);
    let unknown = || {
        let message = format!("topic {} has {} partitions", key.topic, topic.partitions.len());
        Error::from_code(ErrorCode::UnknownTopicOrPartition, &what(), Some(&message))
    };
    let partition = partition.ok_or_else(unknown)?;
    let broker = metadata.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
    let none = || Error::from_code(ErrorCode::LeaderNotAvailable, &what(), None);
    let broker = broker.ok_or_else(none)?;
    Ok(admin.client.broker_at(broker.node_id, &address(&broker.host, broker.port)))
}

impl Locate<String> for GroupCoordinator {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<String>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<String, Arc<Broker>> {
        coordinators(admin, keys, attempt, deadline, |id| Coordinator::Group(Arc::from(id))).await
    }
}

impl Locate<String> for TransactionCoordinator {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<String>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<String, Arc<Broker>> {
        coordinators(admin, keys, attempt, deadline, |id| Coordinator::Transaction(Arc::from(id))).await
    }
}

async fn coordinators(
    admin: &Admin,
    keys: &BTreeSet<String>,
    attempt: u32,
    deadline: &Deadline,
    of: impl Fn(&str) -> Coordinator + Send + Sync,
) -> PerKey<String, Arc<Broker>> {
    let keys: Vec<&String> = keys.iter().collect();
    let mut found = PerKey::new();
    for some in keys.chunks(LOOKUPS_AT_ONCE) {
        let lookups = some.iter().map(|key| {
            let of = of(key);
            async move {
                if attempt > 0 {
                    admin.client.forget_coordinator(&of);
                }
                ((*key).clone(), admin.client.coordinator(&of, deadline).await)
            }
        });
        found.extend(join_all(lookups.collect()).await);
    }
    found
}

impl Locate<i32> for Node {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<i32>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<i32, Arc<Broker>> {
        match admin.brokers(attempt, deadline).await {
            Ok(()) => keys.iter().map(|id| (*id, node(admin, *id))).collect(),
            Err(error) => all(keys, &error),
        }
    }
}

fn node(admin: &Admin, id: i32) -> Result<Arc<Broker>> {
    admin.client.broker(id).ok_or_else(|| Error::invalid(format!("broker {id} is not in the cluster")))
}

impl<K: Ord + Clone + Send + Sync> Locate<K> for Controller {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<K>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<K, Arc<Broker>> {
        same(keys, admin.controller_broker(attempt, deadline).await)
    }
}

impl<K: Ord + Clone + Send + Sync> Locate<K> for At {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<K>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<K, Arc<Broker>> {
        let Some(id) = self.0 else { return Anyone.locate(admin, keys, attempt, deadline).await };
        let known = admin.brokers(attempt, deadline).await;
        same(keys, known.and_then(|()| node(admin, id)))
    }
}

impl<K: Ord + Clone + Send + Sync> Locate<K> for Anyone {
    async fn locate(
        &self,
        admin: &Admin,
        keys: &BTreeSet<K>,
        attempt: u32,
        deadline: &Deadline,
    ) -> PerKey<K, Arc<Broker>> {
        let known = admin.brokers(attempt, deadline).await;
        let anyone = known.and_then(|()| {
            let snapshot = admin.client.snapshot();
            let ids: Vec<i32> = snapshot.brokers.keys().copied().collect();
            let start = admin.client.env().random_u64() as usize % ids.len().max(1);
            let id = ids.get(start).ok_or_else(|| Error::new(ErrorKind::Retriable, "the cluster names no broker"))?;
            node(admin, *id)
        });
        same(keys, anyone)
    }
}

fn same<K: Ord + Clone, V: Clone>(keys: &BTreeSet<K>, result: Result<V>) -> PerKey<K, V> {
    keys.iter().map(|key| (key.clone(), result.clone())).collect()
}

/// `error` for each of `keys`.
pub(super) fn all<'a, K: Ord + Clone + 'a, V>(keys: impl IntoIterator<Item = &'a K>, error: &Error) -> PerKey<K, V> {
    keys.into_iter().map(|key| (key.clone(), Err(error.clone()))).collect()
}

impl Admin {
    /// Asks for each of `keys` where `locate` says, with at most `at_once` keys in a request, until each has a result
    /// or an error that stays, or the deadline passes.
    pub(super) async fn per_key<K, R, V>(
        &self,
        locate: impl Locate<K>,
        keys: impl IntoIterator<Item = K>,
        at_once: usize,
        build: impl Fn(i16, &[K]) -> Result<R>,
        read: impl Fn(R::Response, &[K]) -> PerKey<K, V>,
    ) -> PerKey<K, V>
    where
        K: Ord + Clone + Debug + Send + Sync,
        R: Request,
    {
        self.per_key_at_most(i16::MAX, locate, keys, at_once, build, read).await
    }

    /// As [`Admin::per_key`], at no higher version than `highest`.
    pub(super) async fn per_key_at_most<K, R, V>(
        &self,
        highest: i16,
        locate: impl Locate<K>,
        keys: impl IntoIterator<Item = K>,
        at_once: usize,
        build: impl Fn(i16, &[K]) -> Result<R>,
        read: impl Fn(R::Response, &[K]) -> PerKey<K, V>,
    ) -> PerKey<K, V>
    where
        K: Ord + Clone + Debug + Send + Sync,
        R: Request,
    {
        let deadline = self.deadline();
        let mut backoff = self.client.backoff();
        let mut open: BTreeSet<K> = keys.into_iter().collect();
        let mut done = PerKey::new();
        let mut attempt = 0;
        while !open.is_empty() {
            let mut failed: BTreeMap<K, Error> = BTreeMap::new();
            let mut settle = |key: K, result: Result<V>| match result {
                Err(error) if passing(&error, attempt) => drop(failed.insert(key, error)),
                result => drop(done.insert(key, result)),
            };
            let mut by_broker: BTreeMap<String, (Arc<Broker>, Vec<K>)> = BTreeMap::new();
            for (key, located) in locate.locate(self, &open, attempt, &deadline).await {
                match located {
                    Ok(broker) => {
                        let name = broker.address.clone();
                        by_broker.entry(name).or_insert_with(|| (broker, Vec::new())).1.push(key);
                    }
                    Err(error) => settle(key, Err(error)),
                }
            }
            let mut requests = Vec::new();
            for (broker, keys) in by_broker.values() {
                for keys in keys.chunks(at_once.max(1)) {
                    let build = &build;
                    let deadline = &deadline;
                    requests.push(async move {
                        let request = |version| build(version, keys);
                        (keys, self.client.on_with_at_most::<R>(highest, broker, request, deadline).await)
                    });
                }
            }
            for (keys, answer) in join_all(requests).await {
                let mut answer = answer.map(|response| read(response, keys));
                for key in keys {
                    let result = match &mut answer {
                        Ok(results) => results.remove(key).unwrap_or_else(|| Err(not_mentioned(key))),
                        Err(error) => Err(error.clone()),
                    };
                    settle(key.clone(), result);
                }
            }
            if failed.is_empty() {
                break;
            }
            if !backoff.pause(self.client.env(), &deadline).await {
                done.extend(failed.into_iter().map(|(key, error)| (key, Err(error))));
                break;
            }
            open = failed.into_keys().collect();
            attempt += 1;
        }
        done
    }

    /// As [`Admin::per_key`] for a call with one key, or none at all.
    pub(super) async fn one<K, R, V>(
        &self,
        locate: impl Locate<K>,
        key: K,
        build: impl Fn(i16) -> Result<R>,
        read: impl Fn(R::Response) -> Result<V>,
    ) -> Result<V>
    where
        K: Ord + Clone + Debug + Send + Sync,
        R: Request,
    {
        let read = |response, keys: &[K]| PerKey::from([(keys[0].clone(), read(response))]);
        let mut results = self.per_key(locate, [key], 1, |version, _| build(version), read).await;
        results.pop_first().expect("each key that was asked for has a result").1
    }

    /// Sends `request` to the controller until `read` accepts the answer or gives an error that stays.
    pub(super) async fn controller<R: Request, T>(
        &self,
        build: impl Fn(i16) -> Result<R>,
        read: impl Fn(R::Response) -> Result<T>,
    ) -> Result<T> {
        self.one(Controller, (), build, read).await
    }

    /// Sends `request` to any broker until `read` accepts the answer or gives an error that stays.
    pub(super) async fn any<R: Request, T>(
        &self,
        build: impl Fn(i16) -> Result<R>,
        read: impl Fn(R::Response) -> Result<T>,
    ) -> Result<T> {
        let deadline = self.deadline();
        let mut backoff = self.client.backoff();
        let mut attempt = 0;
        loop {
            let error = match self.client.any_with(&build, &deadline).await.and_then(&read) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !passing(&error, attempt) || !backoff.pause(self.client.env(), &deadline).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// The ids of all brokers.
    pub(super) async fn broker_ids(&self) -> Result<Vec<i32>> {
        let deadline = self.deadline();
        let version = self.client.snapshot().version;
        let snapshot = self.client.refresh(version, &deadline).await?;
        Ok(snapshot.brokers.keys().copied().collect())
    }

    /// Metadata of `topics` without creating any.
    pub(super) async fn metadata(&self, topics: Vec<Str>, deadline: &Deadline) -> Result<MetadataResponse> {
        let named = |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let topics = Some(topics.iter().map(named).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        self.client.any(&request, deadline).await
    }

    /// Makes sure that the brokers are known, anew from the second attempt on.
    async fn brokers(&self, attempt: u32, deadline: &Deadline) -> Result<()> {
        let version = self.client.snapshot().version;
        if attempt > 0 || version == 0 {
            self.client.refresh(version, deadline).await?;
        }
        Ok(())
    }

    async fn controller_broker(&self, attempt: u32, deadline: &Deadline) -> Result<Arc<Broker>> {
        let found = match self.brokers(attempt, deadline).await {
            // The bootstrap server is a controller itself, which knows no topics (KIP-919).
            Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => self.ask_controllers(deadline).await?,
            Err(error) => return Err(error),
            Ok(()) => self.client.broker(self.client.snapshot().controller_id),
        };
        let id = self.client.snapshot().brokers.keys().next().copied();
        let found = found.or_else(|| self.client.broker(id?));
        found.ok_or_else(|| Error::new(ErrorKind::Retriable, "the cluster has no controller at present"))
    }

    async fn ask_controllers(&self, deadline: &Deadline) -> Result<Option<Arc<Broker>>> {
        let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        let response: DescribeClusterResponse = self.client.any(&request, deadline).await?;
        check_code(response.error_code, "the controllers", response.error_message.as_deref())?;
        let leader = response.brokers.iter().find(|node| node.broker_id == response.controller_id);
        Ok(leader.map(|node| self.client.broker_at(node.broker_id, &address(&node.host, node.port))))
    }
}

/// Whether asking again may help. What a broker could not finish in its time may have been done all the same, and waiting
/// does not make a missing topic appear that an administrator named, beyond the time brokers need to learn of it.
fn passing(error: &Error, attempt: u32) -> bool {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => attempt + 1 < UNKNOWN_MAX,
        Some(ErrorCode::RequestTimedOut) => false,
        _ => error.is_retriable(),
    }
}

/// The error in a broker's answer about `what`, if it has one.
pub(super) fn check_code(code: i16, what: &str, message: Option<&str>) -> Result<()> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(Error::from_code(code, what, message)),
    }
}

/// A broker did not answer what it was asked.
pub(super) fn not_mentioned(key: &(impl Debug + ?Sized)) -> Error {
    Error::new(ErrorKind::Data, format!("the broker's answer does not mention {key:?}"))
}

/// Text as requests carry it.
pub(super) fn text(text: impl AsRef<str>) -> Str {
    Str::from(text.as_ref())
}

/// Optional text out of an answer.
pub(super) fn owned(text: &Option<Str>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

/// Partitions by topic, as most requests carry them.
pub(super) fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

/// Runs all of `futures` and gives their results in order.
pub(super) async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, result) in running.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(done) => *result = Some(done),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    results.into_iter().map(|result| result.expect("all are ready")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_topic_is_asked_for_a_few_times_only() {
        let error = Error::from_code(ErrorCode::UnknownTopicOrPartition, "topic t", None);
        assert!(passing(&error, 0));
        assert!(!passing(&error, UNKNOWN_MAX - 1));
        let moved = Error::from_code(ErrorCode::NotLeaderOrFollower, "partition t-0", None);
        assert!(passing(&moved, 100));
        assert!(!passing(&Error::from_code(ErrorCode::RequestTimedOut, "t", None), 0));
        assert!(!passing(&Error::from_code(ErrorCode::InvalidConfig, "t", None), 0));
    }

    #[tokio::test]
    async fn joined_futures_keep_their_order() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut receiver = Some(receiver);
        let mut sender = Some(sender);
        let futures = (0..3).map(|i| {
            let wait = (i == 0).then(|| receiver.take().expect("once"));
            let tell = (i == 2).then(|| sender.take().expect("once"));
            async move {
                if let Some(tell) = tell {
                    tell.send(()).expect("the first one waits");
                }
                if let Some(wait) = wait {
                    wait.await.expect("told by the last one");
                }
                i
            }
        });
        assert_eq!(join_all(futures.collect()).await, [0, 1, 2]);
    }
}
