//! Fetch (1): reads batches, waiting for `fetch.min.bytes` at most `fetch.max.wait.ms`.
//!
//! - v4 adds isolation levels, v5 log start offsets, v7 sessions (KIP-227), v9 leader epochs (KIP-320),
//!   v11 the client's rack, v12 diverging epochs, v13 topic ids instead of names, v15-18 fields that only followers use.
//! - The first batch of the first partition that has data is returned whole even above the limits (KIP-74); later
//!   partitions and batches are cut at the limit, and an answer may end inside a batch.
//! - A partition that brings nothing carries empty records, never null: librdkafka takes null for a broken answer.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::faults::InjectedError;
use crate::fetch_session::{FetchContext, SessionKey};
use crate::node::Node;
use crate::partition::Partition;
use crate::watch::{Waiter, Watch};
use ottla_log::ReadError;
use ottla_model::{ErrorCode, Records, Uuid};
use ottla_protocol::fetch_request::{FetchPartition, FetchRequest};
use ottla_protocol::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const READ_COMMITTED: i8 = 1;
/// The name in the key of a partition that is asked for by its topic's id.
static NAMELESS: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

pub(crate) async fn handle(node: &Arc<Node>, mut request: Authorized<FetchRequest>) -> Reply<FetchResponse> {
    let by_id = request.context().api_version >= 13;
    let named = name_partitions(node, by_id, &request);
    let forgotten = name_forgotten(node, by_id, &request);
    let context = match node.fetch_sessions.open(&request, by_id, named.clone(), &forgotten) {
        Ok(context) => context,
        Err(error) => return FetchResponse { error_code: error.code(), ..Default::default() }.into(),
    };
    let wanted = match &context {
        FetchContext::Sessionless | FetchContext::Full(_) => named,
        FetchContext::Incremental(session) => {
            session.lock().partitions().map(|known| (known.key.clone(), known.fetch.clone())).collect()
        }
    };
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let max_bytes = size(request.max_bytes).min(size(node.config().fetch_max_bytes));
    let fetch = Fetch {
        by_id,
        max_bytes,
        // More than the answer may hold would never be there.
        min_bytes: size(request.min_bytes).min(max_bytes),
        read_committed: request.isolation_level == READ_COMMITTED,
        wanted,
        injected: request.context().injected.clone(),
    };
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    request.begin_waiting();
    let answers = fetch.read_or_wait(node, max_wait).await;
    let session_id = context.session_id();
    let responses = group_by_topic(context.filter(answers));
    FetchResponse { session_id, responses, ..Default::default() }.into()
}

/// One fetch, ready to be evaluated as often as new data asks for it.
struct Fetch {
    by_id: bool,
    max_bytes: usize,
    min_bytes: usize,
    read_committed: bool,
    wanted: Vec<(SessionKey, FetchPartition)>,
    /// Errors to answer as if the read had given them.
    injected: Vec<InjectedError>,
}

/// What one evaluation gave.
struct Evaluation {
    answers: Vec<(SessionKey, PartitionData)>,
    bytes: usize,
    /// Something that the client has to hear of at once.
    urgent: bool,
}

impl Fetch {
    async fn read_or_wait(&self, node: &Arc<Node>, max_wait: Duration) -> Vec<(SessionKey, PartitionData)> {
        let first = self.read(node);
        if self.is_enough(&first) || max_wait.is_zero() {
            return first.answers;
        }
        let waiter = Arc::new(Waiter::default());
        let _watches: Vec<Watch> =
            self.wanted.iter().filter_map(|(key, _)| self.find(node, key).ok()).map(|it| it.watch(&waiter)).collect();
        let deadline = node.env.monotonic() + max_wait;
        loop {
            // The order of these four steps is what keeps a wake-up from being lost: see watch.rs.
            waiter.reset();
            let evaluation = self.read(node);
            let left = deadline.saturating_sub(node.env.monotonic());
            if self.is_enough(&evaluation) || left.is_zero() {
                return evaluation.answers;
            }
            waiter.arm(self.min_bytes - evaluation.bytes);
            if node.env.timeout(left, waiter.woken()).await.is_err() {
                return self.read(node).answers;
            }
        }
    }

    fn is_enough(&self, evaluation: &Evaluation) -> bool {
        evaluation.urgent || evaluation.bytes >= self.min_bytes || self.wanted.is_empty()
    }

    fn find(&self, node: &Node, key: &SessionKey) -> Result<Arc<Partition>, ErrorCode> {
        if self.by_id {
            node.partitions.by_id(key.topic_id, key.partition)
        } else {
            node.partitions.by_name(&key.topic, key.partition)
        }
    }

    fn read(&self, node: &Node) -> Evaluation {
        let mut evaluation = Evaluation { answers: Vec::with_capacity(self.wanted.len()), bytes: 0, urgent: false };
        // What does not exist comes last.
        let mut unknown = Vec::new();
        for (key, fetch) in &self.wanted {
            let left = self.max_bytes.saturating_sub(evaluation.bytes);
            let limit = usize::try_from(fetch.partition_max_bytes).unwrap_or(0).min(left);
            // At least one whole batch in an answer, or a batch above the limits could never be read.
            let whole_first = evaluation.bytes == 0;
            let (data, is_last) = match self.find(node, key) {
                // Null where a read failed, empty where there is nothing to read from: as Kafka has it.
                Ok(found) => self
                    .injected_error(key)
                    .map_or_else(|| self.read_partition(&found, fetch, limit, whole_first), Err)
                    .unwrap_or_else(|error| (PartitionData { aborted_transactions: None, ..failed(error) }, true)),
                Err(error) => {
                    evaluation.urgent = true;
                    unknown.push((key.clone(), PartitionData { partition_index: key.partition, ..failed(error) }));
                    continue;
                }
            };
            evaluation.bytes += data.records.as_ref().map_or(0, Records::len);
            evaluation.urgent |= data.error_code != 0 || data.diverging_epoch.epoch >= 0 || !is_last;
            evaluation.answers.push((key.clone(), PartitionData { partition_index: key.partition, ..data }));
        }
        evaluation.answers.extend(unknown);
        evaluation
    }

    fn injected_error(&self, key: &SessionKey) -> Option<ErrorCode> {
        let is_it = |it: &&InjectedError| {
            it.partition == key.partition && it.topic_id == key.topic_id && *it.topic == *key.topic
        };
        self.injected.iter().find(is_it).map(|it| it.code)
    }

    /// What the partition answers, and whether nothing lies behind it. A read stays within one segment, so what it brings
    /// before the log end is all that it will ever bring: waiting for `fetch.min.bytes` would be in vain.
    fn read_partition(
        &self,
        partition: &Partition,
        fetch: &FetchPartition,
        limit: usize,
        whole_first: bool,
    ) -> Result<(PartitionData, bool), ErrorCode> {
        // In Fetch alone everything below 0 is "not checked".
        partition.check_leader_epoch(fetch.current_leader_epoch.max(-1))?;
        let log = partition.log();
        let (high_watermark, last_stable_offset) = (log.high_watermark(), log.last_stable_offset());
        let mut data = PartitionData {
            high_watermark,
            last_stable_offset,
            log_start_offset: log.log_start_offset(),
            records: Some(Records::empty()),
            aborted_transactions: None,
            ..Default::default()
        };
        if fetch.last_fetched_epoch >= 0 {
            let (epoch, end_offset) =
                log.end_offset_for_epoch(fetch.last_fetched_epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
            if epoch < fetch.last_fetched_epoch || end_offset < fetch.fetch_offset {
                data.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
                return Ok((data, true));
            }
        }
        let upper = if self.read_committed { last_stable_offset } else { high_watermark };
        let read = log.read(fetch.fetch_offset, limit, upper, whole_first).map_err(|error| {
            if let ReadError::Storage(error) = &error {
                tracing::error!(topic = %partition.topic(), partition = partition.id(), %error, "reading a log failed");
            }
            error.code()
        })?;
        if self.read_committed {
            let aborted = log.aborted_transactions_of(&read).map_err(|error| error.code())?;
            let aborted = aborted.into_iter().map(|aborted| {
                let (producer_id, first_offset) = (aborted.producer_id, aborted.first_offset);
                AbortedTransaction { producer_id, first_offset, ..Default::default() }
            });
            data.aborted_transactions = Some(aborted.collect());
        }
        let is_last = read.records.is_empty() || read.upper_offset >= upper;
        // Part of a first batch helps nobody: nobody can read past it.
        if !read.first_entry_incomplete {
            data.records = Some(read.records);
        }
        Ok((data, is_last))
    }
}

fn failed(error: ErrorCode) -> PartitionData {
    PartitionData {
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        records: Some(Records::empty()),
        ..Default::default()
    }
}

/// The request's partitions under the names that sessions use. An id that no topic has keeps an empty name: its
/// partitions are answered UNKNOWN_TOPIC_ID.
fn name_partitions(node: &Node, by_id: bool, request: &FetchRequest) -> Vec<(SessionKey, FetchPartition)> {
    let mut named: Vec<(SessionKey, FetchPartition)> = Vec::new();
    if let [topic] = &request.topics[..]
        && let [fetch] = &topic.partitions[..]
    {
        let (name, id) = resolve(node, by_id, &topic.topic, topic.topic_id);
        named.push((SessionKey { topic: name, topic_id: id, partition: fetch.partition }, fetch.clone()));
        return named;
    }
    let mut at: HashMap<SessionKey, usize> = HashMap::new();
    for topic in &request.topics {
        let (name, id) = resolve(node, by_id, &topic.topic, topic.topic_id);
        for fetch in &topic.partitions {
            let key = SessionKey { topic: name.clone(), topic_id: id, partition: fetch.partition };
            // Of a partition that stands twice the last one counts, in the place of the first.
            match at.entry(key.clone()) {
                Entry::Occupied(first) => named[*first.get()].1 = fetch.clone(),
                Entry::Vacant(new) => {
                    new.insert(named.len());
                    named.push((key, fetch.clone()));
                }
            }
        }
    }
    named
}

fn name_forgotten(node: &Node, by_id: bool, request: &FetchRequest) -> Vec<SessionKey> {
    let mut keys = Vec::new();
    for topic in &request.forgotten_topics_data {
        let (name, id) = resolve(node, by_id, &topic.topic, topic.topic_id);
        let key = |partition: &i32| SessionKey { topic: name.clone(), topic_id: id, partition: *partition };
        keys.extend(topic.partitions.iter().map(key));
    }
    keys
}

/// A session's key must not change while the topic lives or dies: by id the name is left out, by name the id.
fn resolve(node: &Node, by_id: bool, name: &str, id: Uuid) -> (Arc<str>, Uuid) {
    if by_id {
        return (NAMELESS.clone(), id);
    }
    match node.partitions.topic(name) {
        Some((name, _)) => (name, Uuid::ZERO),
        None => (Arc::from(name), Uuid::ZERO),
    }
}

fn group_by_topic(answers: Vec<(SessionKey, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut last: Option<SessionKey> = None;
    for (key, data) in answers {
        let same = last.as_ref().is_some_and(|last| last.topic == key.topic && last.topic_id == key.topic_id);
        match topics.last_mut() {
            Some(topic) if same => topic.partitions.push(data),
            _ => topics.push(FetchableTopicResponse {
                topic: (&*key.topic).into(),
                topic_id: key.topic_id,
                partitions: vec![data],
                ..Default::default()
            }),
        }
        last = Some(key);
    }
    topics
}
