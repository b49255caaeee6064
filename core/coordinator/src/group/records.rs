//! The records of `__consumer_offsets`, to and from Kafka's bytes.
//!
//! ```text
//! key    i16 record type | body (never flexible)     0, 1 = OffsetCommit   2 = GroupMetadata   others are kept as bytes
//! value  i16 version     | body                      none = tombstone
//! ```
//! We write what Apache Kafka 4.x writes: OffsetCommit values at version 4 (the topic id is a tagged field), at version 1
//! when the client asked for a retention time of its own, and GroupMetadata values at version 3. All older ones are read.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::group_metadata_value::MemberMetadata;
use ottla_protocol::{
    DecodeError, EncodeError, GroupMetadataKey, GroupMetadataValue, Message, OffsetCommitKey, OffsetCommitValue,
    Reader, Writer,
};

use super::image::{GroupImage, MemberImage, OffsetImage};

const OFFSET_COMMIT_LEGACY: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

const OFFSET_COMMIT_VALUE_VERSION: i16 = 4;
/// The one version with an expire timestamp.
const OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_METADATA_VALUE_VERSION: i16 = 3;

/// One record of `__consumer_offsets`; a value of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorRecord {
    OffsetCommit {
        group: Arc<str>,
        topic: Arc<str>,
        partition: i32,
        value: Option<OffsetImage>,
    },
    GroupMetadata {
        group: Arc<str>,
        value: Option<GroupImage>,
    },
    /// A kind that this version does not serve, byte for byte.
    Other {
        key: Bytes,
        value: Option<Bytes>,
    },
}

/// Why the bytes of a record could not be understood.
#[derive(Debug)]
pub enum RecordError {
    /// The key is missing or shorter than its type.
    Key,
    /// The value is shorter than its version, or of a version that no Kafka release has written.
    ValueVersion,
    /// The body does not follow its schema.
    Body(DecodeError),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => f.write_str("the record has no readable key"),
            Self::ValueVersion => f.write_str("the record's value has no readable version"),
            Self::Body(error) => write!(f, "the record does not follow its schema: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<DecodeError> for RecordError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl CoordinatorRecord {
    /// The key and the value as they go into the log. Fails only for a string or a blob that Kafka's format cannot hold.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        match self {
            Self::OffsetCommit { group, topic, partition, value } => {
                let key = OffsetCommitKey {
                    group: group.into(),
                    topic: topic.into(),
                    partition: *partition,
                    ..Default::default()
                };
                let value = value.as_ref().map(|value| {
                    let version = match value.expire_timestamp_ms {
                        Some(_) => OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY,
                        None => OFFSET_COMMIT_VALUE_VERSION,
                    };
                    versioned(version, version, &offset_value(value))
                });
                Ok((versioned(OFFSET_COMMIT, 0, &key)?, value.transpose()?))
            }
            Self::GroupMetadata { group, value } => {
                let key = GroupMetadataKey { group: group.into(), ..Default::default() };
                let value = value.as_ref().map(|value| {
                    versioned(GROUP_METADATA_VALUE_VERSION, GROUP_METADATA_VALUE_VERSION, &group_value(value))
                });
                Ok((versioned(GROUP_METADATA, 0, &key)?, value.transpose()?))
            }
            Self::Other { key, value } => Ok((key.clone(), value.clone())),
        }
    }

    /// Reads a record. What is kept is copied out of `key` and `value`, so that a small record does not hold on to a
    /// whole batch; a kind that is not known becomes [`CoordinatorRecord::Other`].
    pub fn decode(key: Option<&Bytes>, value: Option<&Bytes>) -> Result<Self, RecordError> {
        let key_bytes = key.ok_or(RecordError::Key)?;
        let (kind, key) = split(key_bytes).ok_or(RecordError::Key)?;
        match kind {
            OFFSET_COMMIT_LEGACY | OFFSET_COMMIT => {
                let key = OffsetCommitKey::decode(&mut Reader::new(key), 0)?;
                Ok(Self::OffsetCommit {
                    group: (&key.group).into(),
                    topic: (&key.topic).into(),
                    partition: key.partition,
                    value: value.map(read_value::<OffsetCommitValue>).transpose()?.map(offset_image),
                })
            }
            GROUP_METADATA => {
                let key = GroupMetadataKey::decode(&mut Reader::new(key), 0)?;
                Ok(Self::GroupMetadata {
                    group: (&key.group).into(),
                    value: value.map(read_value::<GroupMetadataValue>).transpose()?.map(group_image),
                })
            }
            _ => Ok(Self::Other {
                key: Bytes::copy_from_slice(key_bytes),
                value: value.map(|value| Bytes::copy_from_slice(value)),
            }),
        }
    }
}

fn versioned(prefix: i16, version: i16, message: &impl Message) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    let body = writer.into_bytes();
    let mut bytes = BytesMut::with_capacity(2 + body.len());
    bytes.put_i16(prefix);
    bytes.put(body);
    Ok(bytes.freeze())
}

fn split(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let head = bytes.first_chunk::<2>()?;
    Some((i16::from_be_bytes(*head), bytes.slice(2..)))
}

fn read_value<M: Message>(bytes: &Bytes) -> Result<M, RecordError> {
    let (version, body) = split(bytes).ok_or(RecordError::ValueVersion)?;
    if !(M::LOWEST_VERSION..=M::HIGHEST_VERSION).contains(&version) {
        return Err(RecordError::ValueVersion);
    }
    Ok(M::decode(&mut Reader::new(body), version)?)
}

fn offset_value(image: &OffsetImage) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: image.offset,
        leader_epoch: image.leader_epoch,
        metadata: (&image.metadata).into(),
        commit_timestamp: image.commit_timestamp_ms,
        expire_timestamp: image.expire_timestamp_ms.unwrap_or(-1),
        topic_id: image.topic_id,
        ..Default::default()
    }
}

fn offset_image(value: OffsetCommitValue) -> OffsetImage {
    OffsetImage {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: (&value.metadata).into(),
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
        topic_id: value.topic_id,
    }
}

fn group_value(image: &GroupImage) -> GroupMetadataValue {
    let member = |member: &MemberImage| MemberMetadata {
        member_id: (&member.member_id).into(),
        group_instance_id: member.instance_id.as_ref().map(Into::into),
        client_id: (&member.client_id).into(),
        client_host: (&member.client_host).into(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
        ..Default::default()
    };
    GroupMetadataValue {
        protocol_type: (&image.protocol_type).into(),
        generation: image.generation,
        protocol: image.protocol.as_ref().map(Into::into),
        leader: image.leader.as_ref().map(Into::into),
        current_state_timestamp: image.state_timestamp_ms,
        members: image.members.iter().map(member).collect(),
        ..Default::default()
    }
}

fn group_image(value: GroupMetadataValue) -> GroupImage {
    let member = |member: &MemberMetadata| MemberImage {
        member_id: (&member.member_id).into(),
        instance_id: member.group_instance_id.as_ref().map(Into::into),
        client_id: (&member.client_id).into(),
        client_host: (&member.client_host).into(),
        rebalance_timeout_ms: member.rebalance_timeout,
        session_timeout_ms: member.session_timeout,
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    GroupImage {
        protocol_type: (&value.protocol_type).into(),
        generation: value.generation,
        protocol: value.protocol.as_ref().map(Into::into),
        leader: value.leader.as_ref().map(Into::into),
        state_timestamp_ms: value.current_state_timestamp,
        members: value.members.iter().map(member).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_model::Uuid;

    fn offset(expire_timestamp_ms: Option<i64>, topic_id: Uuid) -> CoordinatorRecord {
        CoordinatorRecord::OffsetCommit {
            group: "g".into(),
            topic: "t".into(),
            partition: 3,
            value: Some(OffsetImage {
                offset: 42,
                leader_epoch: if expire_timestamp_ms.is_some() { -1 } else { 7 },
                metadata: "m".into(),
                commit_timestamp_ms: 1_000,
                expire_timestamp_ms,
                topic_id,
            }),
        }
    }

    fn round_trip(record: &CoordinatorRecord) -> (Bytes, Option<Bytes>) {
        let (key, value) = record.encode().unwrap();
        assert_eq!(&CoordinatorRecord::decode(Some(&key), value.as_ref()).unwrap(), record);
        (key, value)
    }

    #[test]
    fn offsets_have_kafkas_bytes() {
        let (key, value) = round_trip(&offset(None, Uuid::ZERO));
        assert_eq!(&key[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
        assert_eq!(&value.unwrap()[..], b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x07\x02m\0\0\0\0\0\0\x03\xe8\0");
        let (_, value) = round_trip(&offset(None, Uuid([9; 16])));
        assert!(value.unwrap().ends_with(&[9; 16]));
        let (_, value) = round_trip(&offset(Some(5_000), Uuid::ZERO));
        assert_eq!(&value.unwrap()[..2], b"\0\x01");
    }

    #[test]
    fn groups_and_tombstones_round_trip() {
        let member = MemberImage {
            member_id: "a-1".into(),
            instance_id: Some("i".into()),
            client_id: "a".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"assign"),
        };
        let image = GroupImage {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("a-1".into()),
            state_timestamp_ms: 77,
            members: vec![member],
        };
        let (key, value) = round_trip(&CoordinatorRecord::GroupMetadata { group: "g".into(), value: Some(image) });
        assert_eq!(&key[..], b"\0\x02\0\x01g");
        assert_eq!(&value.unwrap()[..2], b"\0\x03");
        let tombstone = CoordinatorRecord::GroupMetadata { group: "g".into(), value: None };
        assert_eq!(round_trip(&tombstone).1, None);
    }

    #[test]
    fn unknown_kinds_stay_as_they_are_and_garbage_is_an_error() {
        let key = Bytes::from_static(b"\0\x05whatever");
        let value = Bytes::from_static(b"\x7f\xffanything");
        let record = CoordinatorRecord::decode(Some(&key), Some(&value)).unwrap();
        assert_eq!(record.encode().unwrap(), (key, Some(value)));
        assert!(matches!(CoordinatorRecord::decode(None, None), Err(RecordError::Key)));
        let key = offset(None, Uuid::ZERO).encode().unwrap().0;
        let value = Bytes::from_static(b"\0\x63");
        assert!(matches!(CoordinatorRecord::decode(Some(&key), Some(&value)), Err(RecordError::ValueVersion)));
        assert!(matches!(
            CoordinatorRecord::decode(Some(&key.slice(..6)), None),
            Err(RecordError::Body(_) | RecordError::Key)
        ));
    }
}
