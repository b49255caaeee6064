//! The bytes that the broker passes on between the members of a classic group: subscriptions to the leader, assignments
//! back (`ConsumerProtocol` in Java).
//!
//! They begin with a version. A version newer than ours is read as our newest: newer ones only add fields at the end.

use super::{Assignment, Subscription};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::{Str, TopicPartition};
use ottla_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message, Reader, Writer};
use ottla_protocol::{consumer_protocol_assignment, consumer_protocol_subscription};
use std::collections::HashMap;
use std::sync::Arc;

/// The `protocol_type` of consumer groups in JoinGroup.
pub const PROTOCOL_TYPE: &str = "consumer";

/// The version in which subscriptions are sent: with owned partitions (1), their generation (2) and the rack (3).
pub const SUBSCRIPTION_VERSION: i16 = ConsumerProtocolSubscription::HIGHEST_VERSION;

/// The version in which assignments are sent.
pub const ASSIGNMENT_VERSION: i16 = ConsumerProtocolAssignment::HIGHEST_VERSION;

/// The metadata of a JoinGroup request. Topics and owned partitions are put in order; what `version` cannot say is left
/// out, and a version newer than [`SUBSCRIPTION_VERSION`] is written as that one.
///
/// # Errors
/// A negative version, or a name of more than 32,767 bytes.
pub fn encode_subscription(subscription: &Subscription, version: i16) -> Result<Bytes> {
    let mut topics: Vec<_> = subscription.topics.iter().collect();
    topics.sort_by(|a, b| super::java::compare(a, b));
    let mut owned: Vec<_> = subscription.owned_partitions.iter().collect();
    owned.sort_by(|a, b| super::java::compare(&a.topic, &b.topic).then(a.partition.cmp(&b.partition)));
    let mut owned_partitions: Vec<consumer_protocol_subscription::TopicPartition> = Vec::new();
    for partition in owned {
        match owned_partitions.last_mut() {
            Some(last) if *last.topic == *partition.topic => last.partitions.push(partition.partition),
            _ => owned_partitions.push(consumer_protocol_subscription::TopicPartition {
                topic: Str::from(&partition.topic),
                partitions: vec![partition.partition],
                ..Default::default()
            }),
        }
    }
    let data = ConsumerProtocolSubscription {
        topics: topics.into_iter().map(Str::from).collect(),
        user_data: subscription.user_data.clone(),
        owned_partitions,
        generation_id: subscription.generation_id.unwrap_or(-1),
        rack_id: subscription.rack_id.as_deref().map(Str::from),
        ..Default::default()
    };
    encode(&data, version)
}

/// Reads a member's metadata out of a JoinGroup response.
///
/// # Errors
/// The bytes end too early or are no subscription.
pub fn decode_subscription(bytes: &Bytes) -> Result<Subscription> {
    let data: ConsumerProtocolSubscription = decode(bytes)?;
    let mut owned_partitions = Vec::new();
    for topic in &data.owned_partitions {
        let name: Arc<str> = Arc::from(&*topic.topic);
        owned_partitions.extend(topic.partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
    }
    Ok(Subscription {
        topics: data.topics.iter().map(|topic| Arc::from(&**topic)).collect(),
        user_data: data.user_data,
        owned_partitions,
        generation_id: Some(data.generation_id).filter(|generation| *generation >= 0),
        rack_id: data.rack_id.filter(|rack| !rack.is_empty()).map(String::from),
    })
}

/// The assignment of a SyncGroup request. The partitions keep their order within each topic.
///
/// # Errors
/// A negative version, or a name of more than 32,767 bytes.
pub fn encode_assignment(assignment: &Assignment, version: i16) -> Result<Bytes> {
    let mut topics: Vec<consumer_protocol_assignment::TopicPartition> = Vec::new();
    let mut index_of: HashMap<&str, usize> = HashMap::new();
    for partition in &assignment.partitions {
        let index = *index_of.entry(&partition.topic).or_insert_with(|| {
            let topic = Str::from(&partition.topic);
            topics.push(consumer_protocol_assignment::TopicPartition { topic, ..Default::default() });
            topics.len() - 1
        });
        topics[index].partitions.push(partition.partition);
    }
    let data = ConsumerProtocolAssignment {
        assigned_partitions: topics,
        user_data: assignment.user_data.clone(),
        ..Default::default()
    };
    encode(&data, version)
}

/// Reads the assignment out of a SyncGroup response.
///
/// # Errors
/// The bytes end too early or are no assignment.
pub fn decode_assignment(bytes: &Bytes) -> Result<Assignment> {
    let data: ConsumerProtocolAssignment = decode(bytes)?;
    let mut partitions = Vec::new();
    for topic in &data.assigned_partitions {
        let name: Arc<str> = Arc::from(&*topic.topic);
        partitions.extend(topic.partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
    }
    Ok(Assignment { partitions, user_data: data.user_data })
}

fn usable<M: Message>(version: i16) -> Result<i16> {
    if version < M::LOWEST_VERSION {
        let message = format!("{}: version {version} does not exist", M::NAME);
        return Err(Error::new(ErrorKind::Data, message));
    }
    Ok(version.min(M::HIGHEST_VERSION))
}

fn encode<M: Message>(data: &M, version: i16) -> Result<Bytes> {
    let version = usable::<M>(version)?;
    let mut writer = Writer::new();
    writer.i16(version);
    data.encode(&mut writer, version)
        .map_err(|error| Error::invalid(format!("{} cannot be encoded: {error}", M::NAME)))?;
    Ok(writer.into_bytes())
}

fn decode<M: Message>(bytes: &Bytes) -> Result<M> {
    let failed = |what: String| {
        let message = format!("{} of {} bytes from another member of the group: {what}", M::NAME, bytes.len());
        Error::new(ErrorKind::Data, message)
    };
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().map_err(|error| failed(error.to_string()))?;
    M::decode(&mut reader, usable::<M>(version)?).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> Subscription {
        Subscription {
            topics: vec!["b".into(), "a".into()],
            user_data: Some(Bytes::from_static(b"data")),
            owned_partitions: vec![
                TopicPartition::new("b", 1),
                TopicPartition::new("a", 0),
                TopicPartition::new("b", 0),
            ],
            generation_id: Some(5),
            rack_id: Some("rack".into()),
        }
    }

    #[test]
    fn each_version_says_what_it_can() {
        let full = subscription();
        let sorted = Subscription {
            topics: vec!["a".into(), "b".into()],
            owned_partitions: vec![
                TopicPartition::new("a", 0),
                TopicPartition::new("b", 0),
                TopicPartition::new("b", 1),
            ],
            ..full.clone()
        };
        for version in 0..=SUBSCRIPTION_VERSION {
            let expected = Subscription {
                owned_partitions: if version >= 1 { sorted.owned_partitions.clone() } else { Vec::new() },
                generation_id: full.generation_id.filter(|_| version >= 2),
                rack_id: full.rack_id.clone().filter(|_| version >= 3),
                ..sorted.clone()
            };
            let bytes = encode_subscription(&full, version).unwrap();
            assert_eq!(decode_subscription(&bytes).unwrap(), expected, "version {version}");
            for cut in 0..bytes.len() {
                let error = decode_subscription(&bytes.slice(..cut)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Data);
            }
        }
    }

    #[test]
    fn newer_versions_are_read_and_negative_ones_refused() {
        let bytes = encode_subscription(&subscription(), SUBSCRIPTION_VERSION).unwrap();
        let newer = |bytes: &Bytes| Bytes::from([&[0, 42], &bytes[2..], b"more"].concat());
        assert_eq!(decode_subscription(&newer(&bytes)).unwrap(), decode_subscription(&bytes).unwrap());
        assert_eq!(encode_subscription(&subscription(), 42).unwrap(), bytes);
        assert!(encode_subscription(&subscription(), -1).is_err());
        assert!(decode_subscription(&Bytes::from([&[0xff, 0xff], &bytes[2..]].concat())).is_err());

        let assignment = Assignment { partitions: subscription().owned_partitions, user_data: None };
        let bytes = encode_assignment(&assignment, ASSIGNMENT_VERSION).unwrap();
        let grouped = decode_assignment(&bytes).unwrap();
        let expected = [TopicPartition::new("b", 1), TopicPartition::new("b", 0), TopicPartition::new("a", 0)];
        assert_eq!(grouped.partitions, expected);
        assert_eq!(decode_assignment(&newer(&bytes)).unwrap(), grouped);
        assert!(decode_assignment(&Bytes::new()).is_err());
    }
}
