//! A transactional producer as the cases drive it: the requests it sends, and the waits that make two brokers comparable.
//!
//! Apache Kafka answers EndTxn before the markers are written and Ottla after it, so a case that goes on first lets the
//! transaction come to rest ([`at_rest`]).

use crate::ask::{pause, produce};
use crate::records::{EPOCH_MS, batch_at};
use crate::side::Side;
use bytes::Bytes;
use ottla_model::record_batch::BatchOptions;
use ottla_model::{Str, Uuid};
use ottla_protocol::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla_protocol::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use ottla_protocol::*;

type Topic = (String, Uuid);

/// A transactional producer: what it believes to be.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Its transactional id.
    pub name: String,
    /// Its producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// InitProducerId.
pub fn initialising(name: Option<&str>, timeout_ms: i32, id: i64, epoch: i16) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: name.map(Str::from),
        transaction_timeout_ms: timeout_ms,
        producer_id: id,
        producer_epoch: epoch,
        ..Default::default()
    }
}

/// Waits until the broker gives producer ids: a Kafka that has just started refuses with COORDINATOR_LOAD_IN_PROGRESS until it
/// has its first block of them from the controller, which is about its start and not about what the cases ask.
pub async fn ids_are_given(side: &mut Side) {
    for _ in 0..400 {
        if side.quiet(4, &initialising(None, 60_000, -1, -1)).await.error_code != 14 {
            return;
        }
        pause(side).await;
    }
}

/// Initialises a producer of this case, also while its coordinator is being loaded.
pub async fn producer(side: &mut Side, name: &str) -> Producer {
    let name = side.name(name);
    let found = FindCoordinatorRequest { key: name.as_str().into(), key_type: 1, ..Default::default() };
    for _ in 0..200 {
        let found = side.quiet(2, &found).await.error_code == 0;
        let made = side.quiet(4, &initialising(Some(&name), 60_000, -1, -1)).await;
        // COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS pass.
        if found && !matches!(made.error_code, 14..=16 | 51) {
            side.note("initialised", &made);
            return Producer { name, id: made.producer_id, epoch: made.producer_epoch };
        }
        pause(side).await;
    }
    side.note("never initialised", &InitProducerIdResponse::default());
    Producer { name, id: -1, epoch: -1 }
}

/// Waits until all markers of the transactional id are written.
pub async fn at_rest(side: &mut Side, name: &str) {
    let request = DescribeTransactionsRequest { transactional_ids: vec![name.into()], ..Default::default() };
    for _ in 0..400 {
        let described = side.quiet(0, &request).await;
        let is_ending = |state: &str| state.starts_with("Prepare");
        if !described.transaction_states.iter().any(|it| is_ending(&it.transaction_state) || it.error_code == 14) {
            return;
        }
        side.env.sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// AddPartitionsToTxn as any version has it: from a producer, or from a broker.
pub fn adding(
    version: i16,
    of: &Producer,
    topics: &[(&Topic, &[i32])],
    verify_only: bool,
) -> AddPartitionsToTxnRequest {
    let topics = topics.iter().map(|(topic, partitions)| AddPartitionsToTxnTopic {
        name: topic.0.as_str().into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    });
    let topics: Vec<_> = topics.collect();
    if version < 4 {
        return AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: of.name.as_str().into(),
            v3_and_below_producer_id: of.id,
            v3_and_below_producer_epoch: of.epoch,
            v3_and_below_topics: topics,
            ..Default::default()
        };
    }
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: of.name.as_str().into(),
        producer_id: of.id,
        producer_epoch: of.epoch,
        verify_only,
        topics,
        ..Default::default()
    };
    AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() }
}

/// AddOffsetsToTxn.
pub fn adding_offsets(of: &Producer, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: of.name.as_str().into(),
        producer_id: of.id,
        producer_epoch: of.epoch,
        group_id: group.into(),
        ..Default::default()
    }
}

/// TxnOffsetCommit without a member.
pub fn committing(of: &Producer, group: &str, topic: &Topic, offsets: &[(i32, i64)]) -> TxnOffsetCommitRequest {
    let partitions = offsets.iter().map(|&(partition_index, committed_offset)| TxnOffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..Default::default()
    });
    let topic = TxnOffsetCommitRequestTopic {
        name: topic.0.as_str().into(),
        topic_id: topic.1,
        partitions: partitions.collect(),
        ..Default::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: of.name.as_str().into(),
        group_id: group.into(),
        producer_id: of.id,
        producer_epoch: of.epoch,
        topics: vec![topic],
        ..Default::default()
    }
}

/// EndTxn.
pub fn ending(of: &Producer, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: of.name.as_str().into(),
        producer_id: of.id,
        producer_epoch: of.epoch,
        committed,
        ..Default::default()
    }
}

/// Ends the transaction, waits until it is at rest, and takes over the epoch that the answer names.
pub async fn end(side: &mut Side, label: &str, version: i16, of: &mut Producer, committed: bool) -> i16 {
    let ended = side.ask(label, version, &ending(of, committed)).await;
    at_rest(side, &of.name).await;
    if version >= 5 && ended.error_code == 0 {
        (of.id, of.epoch) = (ended.producer_id, ended.producer_epoch);
    }
    ended.error_code
}

/// A batch of the producer's transaction.
pub fn batch(of: &Producer, base_sequence: i32, values: &[&str]) -> Bytes {
    let options = BatchOptions {
        producer_id: of.id,
        producer_epoch: of.epoch,
        base_sequence,
        transactional: true,
        ..Default::default()
    };
    batch_at(options, EPOCH_MS, values)
}

/// Produce within the transaction.
pub fn writing(of: &Producer, topic: &Topic, partition: i32, sequence: i32, values: &[&str]) -> ProduceRequest {
    let mut request = produce(topic, partition, Some(batch(of, sequence, values)));
    request.transactional_id = Some(of.name.as_str().into());
    request
}
