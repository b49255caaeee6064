//! Producers and transactions: who writes, what is open, and ending what its producer does not end (KIP-664, KIP-618).

use super::Admin;
use super::call::{At, Leader, Node, PerKey, TransactionCoordinator, all, by_topic, check_code, not_mentioned, text};
use super::groups::named;
use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use ottla_model::{Str, TopicPartition};
use ottla_protocol::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use ottla_protocol::describe_producers_response::{DescribeProducersResponse, PartitionResponse};
use ottla_protocol::describe_transactions_response::TransactionState as DescribedTransaction;
use ottla_protocol::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest};
use ottla_protocol::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest, ListTransactionsResponse, WriteTxnMarkersResponse,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A producer that a partition remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record; -1 when there is none.
    pub last_sequence: i32,
    /// When its last record was written, ms since 1970; -1 when unknown.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that wrote its last marker; `None` when there was none.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins in this partition; `None` when none is open.
    pub current_transaction_start_offset: Option<i64>,
}

named! {
    /// Where a transaction stands.
    TransactionState {
        /// No transaction yet, or the last one is forgotten.
        Empty "Empty",
        /// Open.
        Ongoing "Ongoing",
        /// The commit is decided; markers are being written.
        PrepareCommit "PrepareCommit",
        /// The abort is decided; markers are being written.
        PrepareAbort "PrepareAbort",
        /// Committed.
        CompleteCommit "CompleteCommit",
        /// Aborted.
        CompleteAbort "CompleteAbort",
        /// A newer producer takes over; the transaction is being aborted.
        PrepareEpochFence "PrepareEpochFence",
        /// The coordinator is forgetting it.
        Dead "Dead",
    }
}

/// A transactional id at its coordinator.
#[derive(Debug, Clone)]
pub struct TransactionDescription {
    /// The coordinator's node id; `None` when it is not among the known brokers.
    pub coordinator_id: Option<i32>,
    /// Where its transaction stands.
    pub state: TransactionState,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// `transaction.timeout.ms`.
    pub transaction_timeout_ms: i32,
    /// When the open transaction began, ms since 1970; `None` when none is open.
    pub transaction_start_time_ms: Option<i64>,
    /// The partitions that it has written to.
    pub topic_partitions: BTreeSet<TopicPartition>,
}

/// One line of a list of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    /// `transactional.id`.
    pub transactional_id: String,
    /// The producer's id.
    pub producer_id: i64,
    /// Where its transaction stands.
    pub state: TransactionState,
}

/// Which transactions to list; the default is all.
#[derive(Debug, Clone, Default)]
pub struct ListTransactionsOptions {
    /// Only in these states; empty is any.
    pub states: BTreeSet<TransactionState>,
    /// Only of these producers; empty is any.
    pub producer_ids: BTreeSet<i64>,
    /// Only those open for longer than this (KIP-994; Apache Kafka from 3.8).
    pub running_longer_than: Option<Duration>,
    /// Only ids that match this RE2 pattern (KIP-1152; Apache Kafka from 4.1).
    pub transactional_id_pattern: Option<String>,
}

/// One partition's part in a transaction that is to be aborted; [`Admin::describe_producers`] tells the values.
#[derive(Debug, Clone)]
pub struct AbortTransactionSpec {
    /// The partition.
    pub partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The coordinator's epoch.
    pub coordinator_epoch: i32,
}

/// The id and epoch that a transactional id has after its producers were fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// The producer's id.
    pub producer_id: i64,
    /// The new epoch.
    pub producer_epoch: i16,
}

impl Admin {
    /// The producers that each partition remembers, asked of its leader, or with `broker_id` of that replica.
    pub async fn describe_producers(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        broker_id: Option<i32>,
    ) -> PerKey<TopicPartition, Vec<ProducerState>> {
        let build = |_, keys: &[TopicPartition]| {
            let topic =
                |(name, partition_indexes)| TopicRequest { name: text(name), partition_indexes, ..Default::default() };
            let topics = by_topic(keys).into_iter().map(topic).collect();
            Ok(DescribeProducersRequest { topics, ..Default::default() })
        };
        let read = |response: DescribeProducersResponse, _: &[TopicPartition]| {
            let mut results = PerKey::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let result = producers(&key, partition);
                    results.insert(key, result);
                }
            }
            results
        };
        let keys = partitions.iter().cloned();
        match broker_id {
            Some(_) => self.per_key(At(broker_id), keys, usize::MAX, build, read).await,
            None => self.per_key(Leader, keys, usize::MAX, build, read).await,
        }
    }

    /// Describes transactional ids at their coordinators.
    ///
    /// # Errors
    /// Per id `TRANSACTIONAL_ID_NOT_FOUND`.
    pub async fn describe_transactions(&self, transactional_ids: &[String]) -> PerKey<String, TransactionDescription> {
        let build = |_, ids: &[String]| {
            let transactional_ids = ids.iter().map(text).collect();
            Ok(DescribeTransactionsRequest { transactional_ids, ..Default::default() })
        };
        let read = |response: DescribeTransactionsResponse, _: &[String]| {
            let states = response.transaction_states.iter();
            states.map(|state| (state.transactional_id.to_string(), described(state))).collect()
        };
        let ids = transactional_ids.iter().cloned();
        let mut results = self.per_key(TransactionCoordinator, ids, usize::MAX, build, read).await;
        for (id, result) in &mut results {
            if let Ok(description) = result {
                description.coordinator_id =
                    self.coordinator_id(Coordinator::Transaction(Arc::from(id.as_str()))).await;
            }
        }
        results
    }

    /// The transactions that each broker coordinates. A result per broker, so that one that cannot be reached does not
    /// hide the others'.
    ///
    /// # Errors
    /// The outer one when not even the brokers are known; `UNSUPPORTED_VERSION` per broker that is too old for a filter.
    pub async fn list_transactions(
        &self,
        options: &ListTransactionsOptions,
    ) -> Result<PerKey<i32, Vec<TransactionListing>>> {
        let brokers = self.broker_ids().await?;
        let build = |version: i16, _: &[i32]| {
            if version < 1 && options.running_longer_than.is_some() {
                return Err(Error::unsupported(format!(
                    "ListTransactions {version} cannot filter by duration; that needs version 1 (Apache Kafka 3.8)"
                )));
            }
            if version < 2 && options.transactional_id_pattern.is_some() {
                return Err(Error::unsupported(format!(
                    "ListTransactions {version} cannot filter by pattern; that needs version 2 (Apache Kafka 4.1)"
                )));
            }
            let duration = options.running_longer_than.map(|longer| longer.as_millis().min(i64::MAX as u128) as i64);
            Ok(ListTransactionsRequest {
                state_filters: options.states.iter().map(|state| Str::from(state.name())).collect(),
                producer_id_filters: options.producer_ids.iter().copied().collect(),
                duration_filter: duration.unwrap_or(-1),
                transactional_id_pattern: options.transactional_id_pattern.as_deref().map(text),
                ..Default::default()
            })
        };
        let read = |response: ListTransactionsResponse, brokers: &[i32]| {
            let what = format!("the transactions of broker {}", brokers[0]);
            if let Err(error) = check_code(response.error_code, &what, None) {
                return all(brokers, &error);
            }
            let listed = response.transaction_states.iter().map(|state| TransactionListing {
                transactional_id: state.transactional_id.to_string(),
                producer_id: state.producer_id,
                state: TransactionState::from_name(&state.transaction_state),
            });
            PerKey::from([(brokers[0], Ok(listed.collect()))])
        };
        Ok(self.per_key(Node, brokers, 1, build, read).await)
    }

    /// Aborts one partition's part in an open transaction by writing the marker that its coordinator does not write
    /// (a hanging transaction). The coordinator is not asked: only for transactions that it has forgotten.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `TRANSACTION_COORDINATOR_FENCED` when the values are not the partition's.
    pub async fn abort_transaction(&self, spec: &AbortTransactionSpec) -> Result<()> {
        let build = |_| {
            let topic = WritableTxnMarkerTopic {
                name: text(&spec.partition.topic),
                partition_indexes: vec![spec.partition.partition],
                ..Default::default()
            };
            let marker = WritableTxnMarker {
                producer_id: spec.producer_id,
                producer_epoch: spec.producer_epoch,
                transaction_result: false,
                topics: vec![topic],
                coordinator_epoch: spec.coordinator_epoch,
                ..Default::default()
            };
            Ok(WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() })
        };
        let read = |response: WriteTxnMarkersResponse| {
            let topic = response.markers.first().and_then(|marker| marker.topics.first());
            let partition = topic.and_then(|topic| topic.partitions.first());
            let partition = partition.ok_or_else(|| not_mentioned(&spec.partition))?;
            let what = format!("the transaction of producer {} in partition {}", spec.producer_id, spec.partition);
            check_code(partition.error_code, &what, None)
        };
        self.one(Leader, spec.partition.clone(), build, read).await
    }

    /// Fences the producers with these transactional ids: what they have open is aborted, and what they send from now on
    /// is refused. The result has the epoch from which on a new producer goes on.
    pub async fn fence_producers(&self, transactional_ids: &[String]) -> PerKey<String, ProducerIdAndEpoch> {
        let build = |_, ids: &[String]| {
            Ok(InitProducerIdRequest {
                transactional_id: ids.first().map(text),
                // Only until the next producer with this id says its own.
                transaction_timeout_ms: self.timeout_ms(),
                ..Default::default()
            })
        };
        let read = |response: InitProducerIdResponse, ids: &[String]| {
            let result = check_code(response.error_code, &format!("transactional.id {}", ids[0]), None);
            let fenced =
                ProducerIdAndEpoch { producer_id: response.producer_id, producer_epoch: response.producer_epoch };
            PerKey::from([(ids[0].clone(), result.map(|()| fenced))])
        };
        self.per_key(TransactionCoordinator, transactional_ids.iter().cloned(), 1, build, read).await
    }

    /// Ends the open transaction of a transactional id, a prepared one of a two-phase commit too, by aborting it
    /// (KIP-939). Its producer is fenced.
    pub async fn force_terminate_transaction(&self, transactional_id: &str) -> Result<()> {
        let id = transactional_id.to_owned();
        let mut fenced = self.fence_producers(std::slice::from_ref(&id)).await;
        fenced.remove(&id).unwrap_or_else(|| Err(not_mentioned(&id))).map(|_| ())
    }

    /// The node id of a coordinator that was found before.
    pub(super) async fn coordinator_id(&self, of: Coordinator) -> Option<i32> {
        let broker = self.client.coordinator(&of, &self.deadline()).await.ok()?;
        let find = || {
            let snapshot = self.client.snapshot();
            snapshot.brokers.iter().find(|(_, address)| **address == broker.address).map(|(id, _)| *id)
        };
        if let Some(id) = find() {
            return Some(id);
        }
        self.client.refresh(self.client.snapshot().version, &self.deadline()).await.ok()?;
        find()
    }
}

fn producers(key: &TopicPartition, partition: &PartitionResponse) -> Result<Vec<ProducerState>> {
    check_code(partition.error_code, &format!("partition {key}"), partition.error_message.as_deref())?;
    let states = partition.active_producers.iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: Some(producer.coordinator_epoch).filter(|epoch| *epoch >= 0),
        current_transaction_start_offset: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
    });
    Ok(states.collect())
}

fn described(state: &DescribedTransaction) -> Result<TransactionDescription> {
    check_code(state.error_code, &format!("transactional.id {}", state.transactional_id), None)?;
    let mut topic_partitions = BTreeSet::new();
    for topic in &state.topics {
        topic_partitions.extend(topic.partitions.iter().map(|index| TopicPartition::new(&*topic.topic, *index)));
    }
    Ok(TransactionDescription {
        coordinator_id: None,
        state: TransactionState::from_name(&state.transaction_state),
        producer_id: state.producer_id,
        producer_epoch: state.producer_epoch,
        transaction_timeout_ms: state.transaction_timeout_ms,
        transaction_start_time_ms: Some(state.transaction_start_time_ms).filter(|ms| *ms >= 0),
        topic_partitions,
    })
}
