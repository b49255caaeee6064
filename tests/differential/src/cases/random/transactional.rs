//! The transactional part of the random script: a few producers that begin, write, end and are fenced as the seed says.

use super::Dice;
use crate::ask::{fetch, from};
use crate::side::Side;
use crate::transact::{self, Producer, adding, adding_offsets, at_rest, committing, initialising, writing};
use ottla_model::{Str, Uuid};
use ottla_protocol::describe_producers_request::TopicRequest;
use ottla_protocol::*;
use std::collections::HashMap;

type Topic = (String, Uuid);

/// A producer, and the sequence that is next in each partition.
pub struct Transactional {
    producer: Producer,
    sequences: HashMap<(String, i32), i32>,
}

impl Transactional {
    /// Initialises it.
    pub async fn new(side: &mut Side, name: &str) -> Transactional {
        Transactional { producer: transact::producer(side, name).await, sequences: HashMap::new() }
    }

    fn becomes(&mut self, id: i64, epoch: i16) {
        if (id, epoch) != (self.producer.id, self.producer.epoch) {
            (self.producer.id, self.producer.epoch) = (id, epoch);
            self.sequences.clear();
        }
    }
}

/// One step of one of the producers, with one partition.
pub async fn play(
    side: &mut Side,
    dice: &mut Dice,
    step: usize,
    which: usize,
    of: &mut Transactional,
    (topic, partition): (&Topic, i32),
    group: &str,
) {
    let it = of.producer.clone();
    match dice.below(16) {
        0 => {
            let version = dice.version::<InitProducerIdRequest>();
            let timeout = *dice.of(&[60_000, 60_000, 900_000, 900_001, 0]);
            let expected = if version < 3 { 0 } else { dice.below(4) };
            let (id, epoch) = [(-1, -1), (-1, -1), (it.id, it.epoch), (it.id, it.epoch - 1)][expected];
            let request = initialising(Some(&it.name), timeout, id, epoch);
            let label = format!("{step} {which} timeout {timeout} as {expected}");
            let made = side.ask(&label, version, &request).await;
            at_rest(side, &it.name).await;
            if made.error_code == 0 {
                of.becomes(made.producer_id, made.producer_epoch);
            }
        }
        1..=3 => {
            let version = dice.version::<AddPartitionsToTxnRequest>();
            let verify = version >= 4 && dice.below(3) == 0;
            let label = format!("{step} {which} verify {verify} {} {partition}", topic.0);
            side.ask(&label, version, &adding(version, &it, &[(topic, &[partition])], verify)).await;
        }
        4..=8 => {
            let version = dice.version::<ProduceRequest>();
            let values = vec!["t"; 1 + dice.below(3)];
            let at = (topic.0.clone(), partition);
            let next = of.sequences.get(&at).copied().unwrap_or(0);
            // Not where nothing is written yet: Kafka may have an earlier, refused attempt in mind there.
            let slip = *dice.of(&[0, 0, 0, 0, 0, 0, 1]);
            let sequence = if next == 0 { 0 } else { next + slip };
            let label = format!("{step} {which} {} {partition} sequence {sequence}", topic.0);
            let done = side.ask(&label, version, &writing(&it, topic, partition, sequence, &values)).await;
            if done.responses.first().is_some_and(|topic| topic.partition_responses[0].error_code == 0) {
                of.sequences.insert(at, sequence + values.len() as i32);
            }
        }
        9 => {
            let version = dice.version::<AddOffsetsToTxnRequest>();
            side.ask(&format!("{step} {which}"), version, &adding_offsets(&it, group)).await;
        }
        10 => {
            let version = dice.version::<TxnOffsetCommitRequest>();
            let offset = dice.below(100) as i64;
            let request = committing(&it, group, topic, &[(partition, offset)]);
            side.ask(&format!("{step} {which} {} {partition} at {offset}", topic.0), version, &request).await;
        }
        11..=12 => {
            let version = dice.version::<EndTxnRequest>();
            let committed = dice.below(2) == 0;
            let label = format!("{step} {which} {committed}");
            let ended = side.ask(&label, version, &transact::ending(&it, committed)).await;
            at_rest(side, &it.name).await;
            if version >= 5 && ended.error_code == 0 {
                of.becomes(ended.producer_id, ended.producer_epoch);
            }
        }
        13 => {
            let transactional_ids = vec![Str::from(it.name.as_str())];
            let request = DescribeTransactionsRequest { transactional_ids, ..Default::default() };
            side.ask(&format!("{step} {which}"), 0, &request).await;
            let state = *dice.of(&["Ongoing", "Empty", "CompleteCommit", "CompleteAbort"]);
            let request = ListTransactionsRequest { state_filters: vec![state.into()], ..Default::default() };
            side.ask_all(&format!("{step} {state}"), 0, &request).await;
        }
        14 => {
            let topics = vec![TopicRequest {
                name: topic.0.as_str().into(),
                partition_indexes: vec![partition],
                ..Default::default()
            }];
            let request = DescribeProducersRequest { topics, ..Default::default() };
            side.ask(&format!("{step} {} {partition}", topic.0), 0, &request).await;
        }
        _ => {
            // From the start of what is read on, so that nothing that was aborted lies behind it.
            let version = dice.version::<FetchRequest>();
            let request = FetchRequest { isolation_level: 1, ..fetch(topic, vec![from(partition, 0)]) };
            side.ask(&format!("{step} what is committed in {} {partition}", topic.0), version, &request).await;
        }
    }
}
