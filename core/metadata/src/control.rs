//! Batches of the metadata log and its snapshots: data batches of framed records, and Raft's control records.
//!
//! A control record's key is its type, its value a Kafka message that begins with its own version; one batch holds one.

use bytes::Bytes;
use ottla_model::record_batch::control::ControlType;
use ottla_model::record_batch::{self, BatchBuilder, BatchError, BatchHeader, BatchOptions, Record};
use ottla_protocol::{
    KRaftVersionRecord, LeaderChangeMessage, Message, Reader, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    Writer, leader_change_message,
};

use crate::record::RecordError;

/// Metadata records have no headers.
const NO_HEADERS: &[(&[u8], Option<&[u8]>)] = &[];

/// Where a batch stands in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) base_offset: i64,
    pub(crate) epoch: i32,
    /// Time of writing, ms.
    pub(crate) now_ms: i64,
}

/// A batch of framed metadata records.
pub(crate) fn data_batch(place: Place, values: &[Bytes]) -> Result<Bytes, RecordError> {
    build(place, false, values.iter().map(|value| (None, value.clone())))
}

/// The first batch of a leader epoch. A dynamic quorum (kraft.version 1, KIP-853) names its voters' directories too.
pub(crate) fn leader_change(place: Place, node_id: i32, voters: Option<&VotersRecord>) -> Result<Bytes, RecordError> {
    let voters: Vec<_> = match voters {
        Some(record) => record.voters.iter().map(|voter| (voter.voter_id, voter.voter_directory_id)).collect(),
        None => vec![(node_id, ottla_model::Uuid::ZERO)],
    };
    let version = i16::from(voters.iter().any(|(_, directory)| !directory.is_zero()));
    let voters: Vec<_> = voters
        .into_iter()
        .map(|(voter_id, voter_directory_id)| leader_change_message::Voter {
            voter_id,
            voter_directory_id,
            ..Default::default()
        })
        .collect();
    let message = LeaderChangeMessage {
        version,
        leader_id: node_id,
        granting_voters: voters.clone(),
        voters,
        ..Default::default()
    };
    control_batch(place, ControlType::LeaderChange, &message, version)
}

/// The first batch of a snapshot; the time is that of the last record in it, ms.
pub(crate) fn snapshot_header(place: Place, last_contained_log_timestamp: i64) -> Result<Bytes, RecordError> {
    let message = SnapshotHeaderRecord { last_contained_log_timestamp, ..Default::default() };
    control_batch(place, ControlType::SnapshotHeader, &message, 0)
}

/// The last batch of a snapshot.
pub(crate) fn snapshot_footer(place: Place) -> Result<Bytes, RecordError> {
    control_batch(place, ControlType::SnapshotFooter, &SnapshotFooterRecord::default(), 0)
}

fn control_batch<M: Message>(place: Place, kind: ControlType, message: &M, version: i16) -> Result<Bytes, RecordError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).map_err(|error| RecordError(error.to_string()))?;
    build(place, true, [(Some(kind.to_key()), writer.into_bytes())].into_iter())
}

fn build(
    place: Place,
    control: bool,
    records: impl Iterator<Item = (Option<[u8; 4]>, Bytes)>,
) -> Result<Bytes, RecordError> {
    let unwritable = |error: BatchError| RecordError(format!("a batch of metadata records: {error}"));
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: place.base_offset,
        partition_leader_epoch: place.epoch,
        control,
        ..BatchOptions::default()
    });
    for (key, value) in records {
        let key = key.as_ref().map(<[u8; 4]>::as_slice);
        builder.append(place.now_ms, key, Some(&value), NO_HEADERS).map_err(unwritable)?;
    }
    builder.into_bytes().map_err(unwritable)
}

/// What Raft itself keeps in the log: its version and, when voters can change, who they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct KRaft {
    pub(crate) version: i16,
    pub(crate) voters: Option<VotersRecord>,
}

impl KRaft {
    /// Takes in one control record.
    pub(crate) fn replay(&mut self, kind: ControlType, value: &Bytes) -> Result<(), RecordError> {
        match kind {
            ControlType::KRaftVersion => self.version = decode::<KRaftVersionRecord>(value)?.kraft_version,
            ControlType::KRaftVoters => self.voters = Some(decode(value)?),
            _ => {}
        }
        Ok(())
    }

    /// The batches that say it in a snapshot; none for the first version. Returns the next offset.
    pub(crate) fn write(&self, mut place: Place, out: &mut Vec<Bytes>) -> Result<i64, RecordError> {
        if self.version > 0 {
            let message = KRaftVersionRecord { kraft_version: self.version, ..Default::default() };
            out.push(control_batch(place, ControlType::KRaftVersion, &message, 0)?);
            place.base_offset += 1;
        }
        if let Some(voters) = &self.voters {
            out.push(control_batch(place, ControlType::KRaftVoters, voters, voters.version)?);
            place.base_offset += 1;
        }
        Ok(place.base_offset)
    }
}

/// Control messages begin with the version they are written in.
fn decode<M: Message>(value: &Bytes) -> Result<M, RecordError> {
    let version = value.first_chunk::<2>().map_or(0, |bytes| i16::from_be_bytes(*bytes));
    M::decode(&mut Reader::new(value.clone()), version)
        .map_err(|error| RecordError(format!("a {} in the metadata log cannot be read: {error}", M::NAME)))
}

/// One batch, taken apart.
#[derive(Debug)]
pub(crate) enum Content {
    Control(ControlType, Bytes),
    /// Offset and framed record.
    Data(Vec<(i64, Bytes)>),
}

/// The records of a whole batch.
pub(crate) fn content(header: &BatchHeader, batch: &Bytes) -> Result<Content, RecordError> {
    let unreadable = |error: BatchError| RecordError(format!("the batch at offset {}: {error}", header.base_offset));
    let records: Vec<Record> =
        record_batch::records(batch).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    let no_value = || RecordError(format!("the batch at offset {}: a record without a value", header.base_offset));
    if header.is_control() {
        let record = records.into_iter().next().ok_or_else(no_value)?;
        let kind = ControlType::from_key(record.key.as_deref().unwrap_or_default()).map_err(unreadable)?;
        return Ok(Content::Control(kind, record.value.ok_or_else(no_value)?));
    }
    // Copied, because what is kept of a record would keep its whole batch in memory.
    let data = records
        .into_iter()
        .map(|record| record.value.map(|value| (record.offset, Bytes::copy_from_slice(&value))).ok_or_else(no_value));
    Ok(Content::Data(data.collect::<Result<_, _>>()?))
}
