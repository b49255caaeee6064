//! Finding offsets: the first, the next to be written, the first at or after a time (ListOffsets).

use super::options::IsolationLevel;
use crate::broker::Purpose;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Deadline;
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ottla_protocol::list_offsets_response::ListOffsetsResponse;
use std::collections::{BTreeMap, HashMap};

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// The first record at or after this time, ms since 1970; behind the last record if there is none.
    Timestamp(i64),
    /// This offset.
    Offset(i64),
}

impl Position {
    /// As ListOffsets has it; `None` needs no asking.
    fn timestamp(self) -> Option<i64> {
        match self {
            Position::Latest => Some(-1),
            Position::Earliest => Some(-2),
            Position::Timestamp(timestamp) => Some(timestamp),
            Position::Offset(_) => None,
        }
    }
}

/// What ListOffsets found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// -1 when no record is at or after the time asked for.
    pub(crate) offset: i64,
    /// Of the record, when a time was asked for; else -1.
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: Option<i32>,
}

/// The offsets of `wanted`, in its order, asked of each partition's leader until the deadline.
pub(crate) async fn resolve(
    client: &Client,
    wanted: &[(TopicPartition, Position)],
    isolation: IsolationLevel,
    deadline: &Deadline,
) -> Result<Vec<Found>> {
    let mut found = lookup(client, wanted, isolation, deadline).await?;
    // No record at or after the time: the end, which takes another question.
    let late: Vec<usize> = (0..found.len()).filter(|index| found[*index].offset < 0).collect();
    let ends: Vec<_> = late.iter().map(|index| (wanted[*index].0.clone(), Position::Latest)).collect();
    for (index, end) in late.into_iter().zip(lookup(client, &ends, isolation, deadline).await?) {
        found[index] = end;
    }
    Ok(found)
}

/// As [`resolve`], but a time behind the last record is found as offset -1.
pub(crate) async fn lookup(
    client: &Client,
    wanted: &[(TopicPartition, Position)],
    isolation: IsolationLevel,
    deadline: &Deadline,
) -> Result<Vec<Found>> {
    let here = |position: &Position| match position {
        Position::Offset(offset) => Some(Found { offset: *offset, timestamp: -1, leader_epoch: None }),
        _ => None,
    };
    let mut found: Vec<Option<Found>> = wanted.iter().map(|(_, position)| here(position)).collect();
    let mut backoff = client.backoff();
    let mut version = 0;
    loop {
        let before = found.iter().flatten().count();
        let mut error = None;
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (index, (partition, _)) in wanted.iter().enumerate().filter(|(index, _)| found[*index].is_none()) {
            let topic = client.topic(&partition.topic, false, deadline).await?;
            if partition.partition < 0 || partition.partition as usize >= topic.partitions.len() {
                return Err(Error::from_code(
                    ErrorCode::UnknownTopicOrPartition,
                    &format!("partition {}-{}", partition.topic, partition.partition),
                    Some(&format!("the topic has {} partitions", topic.partitions.len())),
                ));
            }
            let snapshot = client.snapshot();
            version = snapshot.version;
            match snapshot.leader(&partition.topic, partition.partition) {
                Some(leader) => by_leader.entry(leader.node).or_default().push(index),
                None => error = Some(no_leader(partition)),
            }
        }
        for (node, indices) in by_leader {
            if let Err(failed) = ask(client, node, wanted, &indices, isolation, &mut found, deadline).await {
                error = Some(failed);
            }
        }
        if found.iter().all(Option::is_some) {
            return Ok(found.into_iter().flatten().collect());
        }
        if error.is_none() && found.iter().flatten().count() > before {
            continue;
        }
        let error = error.unwrap_or_else(|| Error::new(ErrorKind::Data, "the broker's answer leaves out a partition"));
        if !error.is_retriable() || !backoff.pause(client.env(), deadline).await {
            return Err(error);
        }
        client.refresh(version, deadline).await?;
    }
}

async fn ask(
    client: &Client,
    node: i32,
    wanted: &[(TopicPartition, Position)],
    indices: &[usize],
    isolation: IsolationLevel,
    found: &mut [Option<Found>],
    deadline: &Deadline,
) -> Result<()> {
    let snapshot = client.snapshot();
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    let mut asked: HashMap<(&str, i32), usize> = HashMap::new();
    for &index in indices {
        let (partition, position) = &wanted[index];
        let Some(timestamp) = position.timestamp() else { continue };
        // A partition that is asked for twice: the other question goes with the next round.
        if asked.contains_key(&(&*partition.topic, partition.partition)) {
            continue;
        }
        asked.insert((&*partition.topic, partition.partition), index);
        let leader = snapshot.leader(&partition.topic, partition.partition);
        topics.entry(&*partition.topic).or_default().push(ListOffsetsPartition {
            partition_index: partition.partition,
            current_leader_epoch: leader.map_or(-1, |leader| leader.epoch),
            timestamp,
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic {
        name: Str::from(name),
        partitions,
        ..Default::default()
    });
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.code(),
        topics: topics.collect(),
        ..Default::default()
    };
    let left = deadline.left(client.env()).unwrap_or_default().min(client.options().request_timeout);
    let connection = client.connection(node, Purpose::General).await?;
    let response: ListOffsetsResponse = connection.request(&request, left).await?;
    let mut result = Ok(());
    for topic in &response.topics {
        for answer in &topic.partitions {
            let Some(&index) = asked.get(&(&*topic.name, answer.partition_index)) else { continue };
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => {
                    found[index] = Some(Found {
                        offset: answer.offset,
                        timestamp: answer.timestamp,
                        leader_epoch: Some(answer.leader_epoch).filter(|epoch| *epoch >= 0),
                    });
                }
                code => {
                    let what = format!("partition {}-{}", &*topic.name, answer.partition_index);
                    result = Err(Error::from_code(code, &what, None));
                }
            }
        }
    }
    result
}

fn no_leader(partition: &TopicPartition) -> Error {
    let what = format!("partition {}-{}", partition.topic, partition.partition);
    Error::from_code(ErrorCode::LeaderNotAvailable, &what, None)
}
