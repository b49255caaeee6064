//! Control records: the markers that end a transaction, and the key by which all control records are told apart. The
//! values of the Raft ones (leader change, snapshot header, voters …) are protocol messages and are read where they matter.
//!
//! ```text
//! key:                      version: i16 | type: i16
//! value of abort, commit:   version: i16 | coordinator epoch: i32
//! ```

use bytes::Bytes;

use super::{BatchBuilder, BatchError, BatchOptions};

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// The producer's transaction is aborted.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// A Raft leader has taken over.
    LeaderChange,
    /// The first record of a snapshot.
    SnapshotHeader,
    /// The last record of a snapshot.
    SnapshotFooter,
    /// The version of the Raft protocol (KIP-853).
    KRaftVersion,
    /// The voters (KIP-853).
    KRaftVoters,
    /// One that this version does not know; readers skip it.
    Unknown(i16),
}

const CURRENT_VERSION: i16 = 0;

impl ControlType {
    /// The number in the key.
    pub fn code(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::KRaftVoters => 6,
            ControlType::Unknown(code) => code,
        }
    }

    /// The type with this number.
    pub fn from_code(code: i16) -> ControlType {
        match code {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::KRaftVoters,
            _ => ControlType::Unknown(code),
        }
    }

    /// Reads a control record's key. Later versions may append fields, which are ignored.
    pub fn from_key(key: &[u8]) -> Result<ControlType, BatchError> {
        let key = key.first_chunk::<4>().ok_or(BatchError::InvalidRecord("a control record's key is too short"))?;
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return Err(BatchError::InvalidRecord("a control record's key has a negative version"));
        }
        Ok(ControlType::from_code(i16::from_be_bytes([key[2], key[3]])))
    }

    /// The key of a control record of this type.
    pub fn to_key(self) -> [u8; 4] {
        let [v0, v1] = CURRENT_VERSION.to_be_bytes();
        let [c0, c1] = self.code().to_be_bytes();
        [v0, v1, c0, c1]
    }
}

/// The marker that ends a transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Committed or aborted.
    pub commit: bool,
    /// The epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Reads the marker; `None` when the key is that of another control record.
    pub fn parse(key: &[u8], value: &[u8]) -> Result<Option<EndTxnMarker>, BatchError> {
        let commit = match ControlType::from_key(key)? {
            ControlType::Commit => true,
            ControlType::Abort => false,
            _ => return Ok(None),
        };
        let value = value.first_chunk::<6>().ok_or(BatchError::InvalidRecord("a transaction marker is too short"))?;
        if i16::from_be_bytes([value[0], value[1]]) < 0 {
            return Err(BatchError::InvalidRecord("a transaction marker has a negative version"));
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(Some(EndTxnMarker { commit, coordinator_epoch }))
    }

    /// The control type that goes into the key.
    pub fn control_type(&self) -> ControlType {
        if self.commit { ControlType::Commit } else { ControlType::Abort }
    }

    /// The value of the control record.
    pub fn to_value(&self) -> [u8; 6] {
        let [v0, v1] = CURRENT_VERSION.to_be_bytes();
        let [e0, e1, e2, e3] = self.coordinator_epoch.to_be_bytes();
        [v0, v1, e0, e1, e2, e3]
    }

    /// A whole batch with this marker, as the partition's leader appends it.
    pub fn to_batch(
        &self,
        base_offset: i64,
        timestamp: i64,
        partition_leader_epoch: i32,
        producer_id: i64,
        producer_epoch: i16,
    ) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset,
            partition_leader_epoch,
            producer_id,
            producer_epoch,
            transactional: true,
            control: true,
            ..BatchOptions::default()
        });
        let no_headers: &[(&str, Option<&[u8]>)] = &[];
        builder
            .append(timestamp, Some(&self.control_type().to_key()), Some(&self.to_value()), no_headers)
            .and_then(|_| builder.build())
            .expect("ten bytes fit a batch")
    }
}
