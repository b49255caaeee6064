//! The records of `__transaction_state`, to and from Kafka's bytes.
//!
//! ```text
//! key    i16 record type 0 | TransactionLogKey (never flexible)
//! value  i16 version       | TransactionLogValue         none = tombstone
//! ```
//! Values are written at version 1, whose tagged fields carry what version 2 of transactions needs, once that version is
//! the cluster's; at version 0 before. Both are read.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_model::TopicPartition;
use ottla_protocol::transaction_log_value::PartitionsSchema;
use ottla_protocol::{DecodeError, EncodeError, Message, Reader, TransactionLogKey, TransactionLogValue, Writer};

use super::state::{NO_EPOCH, TxnImage, TxnState};

const TRANSACTION: i16 = 0;
const VALUE_VERSION_MAX: i16 = 1;

/// One record of `__transaction_state`; a value of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRecord {
    pub transactional_id: Arc<str>,
    pub value: Option<TxnImage>,
}

/// Why the bytes of a record could not be understood.
#[derive(Debug)]
pub enum TxnRecordError {
    /// The key is missing, or of a kind that no Kafka release has written.
    Key,
    /// The value is shorter than its version, or of a version that no Kafka release has written.
    ValueVersion,
    /// The state has no meaning in the log.
    State(i8),
    /// The body does not follow its schema.
    Body(DecodeError),
}

impl std::fmt::Display for TxnRecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => f.write_str("the record has no readable key"),
            Self::ValueVersion => f.write_str("the record's value has no readable version"),
            Self::State(code) => write!(f, "the record has a transaction in state {code}"),
            Self::Body(error) => write!(f, "the record does not follow its schema: {error}"),
        }
    }
}

impl std::error::Error for TxnRecordError {}

impl From<DecodeError> for TxnRecordError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl TxnRecord {
    /// The key and the value as they go into the log, where the cluster's transactions are of `transaction_version`.
    pub fn encode(&self, transaction_version: i16) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let key = TransactionLogKey { transactional_id: (&self.transactional_id).into(), ..Default::default() };
        let version = if transaction_version >= 1 { 1 } else { 0 };
        let value = self.value.as_ref().map(|image| versioned(version, &to_value(image, version)));
        Ok((versioned(TRANSACTION, &key)?, value.transpose()?))
    }

    /// Reads a record; `None` for a kind that newer releases may add.
    pub fn decode(key: Option<&Bytes>, value: Option<&Bytes>) -> Result<Option<TxnRecord>, TxnRecordError> {
        let (kind, key) = key.and_then(split).ok_or(TxnRecordError::Key)?;
        if kind != TRANSACTION {
            return Ok(None);
        }
        let key = TransactionLogKey::decode(&mut Reader::new(key), 0)?;
        let value = match value {
            None => None,
            Some(value) => {
                let (version, body) = split(value).ok_or(TxnRecordError::ValueVersion)?;
                if !(0..=VALUE_VERSION_MAX).contains(&version) {
                    return Err(TxnRecordError::ValueVersion);
                }
                Some(to_image(&TransactionLogValue::decode(&mut Reader::new(body), version)?)?)
            }
        };
        Ok(Some(TxnRecord { transactional_id: (&key.transactional_id).into(), value }))
    }
}

fn split(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let version = bytes.first_chunk::<2>()?;
    Some((i16::from_be_bytes(*version), bytes.slice(2..)))
}

/// Keys are written at version 0 of their schema, whatever their type's number.
fn versioned<M: Message>(number: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, number.clamp(M::LOWEST_VERSION, M::HIGHEST_VERSION))?;
    let body = writer.into_bytes();
    let mut bytes = BytesMut::with_capacity(2 + body.len());
    bytes.put_i16(number);
    bytes.extend_from_slice(&body);
    Ok(bytes.freeze())
}

fn to_value(image: &TxnImage, version: i16) -> TransactionLogValue {
    let mut partitions: Vec<PartitionsSchema> = Vec::new();
    for partition in &image.partitions {
        if partitions.last().is_none_or(|last| *last.topic != *partition.topic) {
            partitions.push(PartitionsSchema { topic: (&partition.topic).into(), ..Default::default() });
        }
        if let Some(last) = partitions.last_mut() {
            last.partition_ids.push(partition.partition);
        }
    }
    let mut value = TransactionLogValue {
        producer_id: image.producer_id,
        producer_epoch: image.producer_epoch,
        transaction_timeout_ms: image.timeout_ms,
        transaction_status: image.state.code(),
        // As Kafka: an id without a transaction has no list at all.
        transaction_partitions: (image.state != TxnState::Empty).then_some(partitions),
        transaction_last_update_timestamp_ms: image.last_update_timestamp_ms,
        transaction_start_timestamp_ms: image.start_timestamp_ms,
        ..Default::default()
    };
    if version >= 1 {
        value.previous_producer_id = image.previous_producer_id;
        value.next_producer_id = image.next_producer_id;
        value.client_transaction_version = image.client_transaction_version;
    }
    value
}

fn to_image(value: &TransactionLogValue) -> Result<TxnImage, TxnRecordError> {
    let state = TxnState::from_code(value.transaction_status)
        .filter(|state| !matches!(state, TxnState::Dead | TxnState::PrepareEpochFence))
        .ok_or(TxnRecordError::State(value.transaction_status))?;
    let topics = value.transaction_partitions.iter().flatten();
    let partitions = topics.flat_map(|topic| {
        let name: Arc<str> = (&topic.topic).into();
        topic.partition_ids.iter().map(move |&partition| TopicPartition::new(name.clone(), partition))
    });
    Ok(TxnImage {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        producer_epoch: value.producer_epoch,
        last_producer_epoch: NO_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: partitions.collect(),
        start_timestamp_ms: value.transaction_start_timestamp_ms,
        last_update_timestamp_ms: value.transaction_last_update_timestamp_ms,
        client_transaction_version: value.client_transaction_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were() {
        let mut image = TxnImage::new(7, 60_000, 1000);
        image.state = TxnState::Ongoing;
        image.producer_epoch = 3;
        image.previous_producer_id = 6;
        image.client_transaction_version = 2;
        image.start_timestamp_ms = 900;
        image.partitions = [("b", 1), ("a", 2), ("a", 0)].map(|(t, p)| TopicPartition::new(t, p)).into();
        for (version, id) in [(0, 0), (2, 2)] {
            let record = TxnRecord { transactional_id: "t".into(), value: Some(image.clone()) };
            let (key, value) = record.encode(version).unwrap();
            assert_eq!(&key[..], b"\0\0\0\x01t");
            let read = TxnRecord::decode(Some(&key), value.as_ref()).unwrap().unwrap();
            let mut expected = image.clone();
            if id == 0 {
                expected.previous_producer_id = -1;
                expected.client_transaction_version = 0;
            }
            assert_eq!(read.value, Some(expected));
        }
        let tombstone = TxnRecord { transactional_id: "t".into(), value: None };
        let (key, value) = tombstone.encode(2).unwrap();
        assert_eq!((TxnRecord::decode(Some(&key), value.as_ref()).unwrap(), value), (Some(tombstone), None));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let key = Bytes::from_static(b"\0\0\0\x01t");
        assert!(matches!(TxnRecord::decode(None, None), Err(TxnRecordError::Key)));
        assert!(matches!(TxnRecord::decode(Some(&Bytes::from_static(b"\0\x09")), None), Ok(None)));
        let too_new = Bytes::from_static(b"\0\x05");
        assert!(matches!(TxnRecord::decode(Some(&key), Some(&too_new)), Err(TxnRecordError::ValueVersion)));
        let cut = Bytes::from_static(b"\0\0\0\0");
        assert!(matches!(TxnRecord::decode(Some(&key), Some(&cut)), Err(TxnRecordError::Body(_))));
    }
}
