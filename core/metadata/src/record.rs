//! Metadata records: the kinds there are, and their frame.
//!
//! The value of a record in `__cluster_metadata-0` is
//!
//! ```text
//! | uvarint 1 (frame version) | uvarint type (apiKey) | uvarint version | message |
//! ```
//!
//! A kind or version that is not known is an error, never skipped: it may change what the records after it mean.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::{Message, Reader, RecordType, Writer};
use std::fmt;

/// The version of the frame around a record.
const FRAME_VERSION: u32 = 1;

/// A record that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError(pub(crate) String);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RecordError {}

macro_rules! records {
    ($($name:ident,)*) => {
        /// One metadata record. The kinds are described by Kafka's schemas.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "the kinds are documented where they are generated")]
        pub enum MetadataRecord {
            $($name(ottla_protocol::$name),)*
        }

        impl MetadataRecord {
            /// The kind's name, as in Kafka's schema.
            pub fn name(&self) -> &'static str {
                match self {
                    $(MetadataRecord::$name(_) => ottla_protocol::$name::NAME,)*
                }
            }

            fn decode_body(kind: i16, version: i16, reader: &mut Reader) -> Result<MetadataRecord, RecordError> {
                let unreadable = |error: ottla_protocol::DecodeError| {
                    RecordError(format!("a metadata record of type {kind} v{version} cannot be read: {error}"))
                };
                match kind {
                    $(<ottla_protocol::$name as RecordType>::RECORD_TYPE =>
                        ottla_protocol::$name::decode(reader, version).map(MetadataRecord::$name).map_err(unreadable),)*
                    other => Err(RecordError(format!(
                        "a metadata record of type {other}, which this version of Ottla does not know: \
                         the directory was written by a newer Kafka"
                    ))),
                }
            }

            fn encode_body(&self, version: i16) -> Result<(i16, Writer), RecordError> {
                let mut writer = Writer::new();
                match self {
                    $(MetadataRecord::$name(message) => {
                        let written = message.encode(&mut writer, version);
                        written.map_err(|error| RecordError(error.to_string()))?;
                        Ok((<ottla_protocol::$name as RecordType>::RECORD_TYPE, writer))
                    })*
                }
            }
        }

        $(impl From<ottla_protocol::$name> for MetadataRecord {
            fn from(record: ottla_protocol::$name) -> MetadataRecord {
                MetadataRecord::$name(record)
            }
        })*

        /// One empty record of every kind.
        #[cfg(test)]
        pub(crate) fn one_of_each() -> Vec<MetadataRecord> {
            vec![$(ottla_protocol::$name::default().into()),*]
        }
    };
}

records! {
    RegisterBrokerRecord,
    UnregisterBrokerRecord,
    TopicRecord,
    PartitionRecord,
    ConfigRecord,
    PartitionChangeRecord,
    FenceBrokerRecord,
    UnfenceBrokerRecord,
    RemoveTopicRecord,
    DelegationTokenRecord,
    UserScramCredentialRecord,
    FeatureLevelRecord,
    ClientQuotaRecord,
    ProducerIdsRecord,
    BrokerRegistrationChangeRecord,
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
    NoOpRecord,
    ZkMigrationStateRecord,
    BeginTransactionRecord,
    EndTransactionRecord,
    AbortTransactionRecord,
    RemoveUserScramCredentialRecord,
    RemoveDelegationTokenRecord,
    RegisterControllerRecord,
    UnregisterControllerRecord,
    ClearElrRecord,
}

/// From this metadata.version on partitions name the directories of their replicas (3.7-IV2).
const DIRECTORIES_FROM: i16 = 17;

impl MetadataRecord {
    /// The record with its frame, as the value of a log record, in the version that a cluster at `metadata_version` can
    /// read. Directories are left out where that version has none.
    ///
    /// # Errors
    /// A field that is set does not exist in the version that is written.
    pub fn encode(&self, metadata_version: i16) -> Result<Bytes, RecordError> {
        let version = self.version_at(metadata_version);
        let (kind, body) = match self {
            MetadataRecord::PartitionRecord(record) if metadata_version < DIRECTORIES_FROM => {
                let record = ottla_protocol::PartitionRecord { directories: Vec::new(), ..record.clone() };
                MetadataRecord::PartitionRecord(record).encode_body(version)?
            }
            MetadataRecord::RegisterBrokerRecord(record) if metadata_version < DIRECTORIES_FROM => {
                let record = ottla_protocol::RegisterBrokerRecord { log_dirs: Vec::new(), ..record.clone() };
                MetadataRecord::RegisterBrokerRecord(record).encode_body(version)?
            }
            record => record.encode_body(version)?,
        };
        let body = body.into_bytes();
        let mut framed = BytesMut::with_capacity(body.len() + 6);
        put_uvarint(&mut framed, FRAME_VERSION);
        put_uvarint(&mut framed, kind as u32);
        put_uvarint(&mut framed, version as u32);
        framed.put_slice(&body);
        Ok(framed.freeze())
    }

    /// The version that a metadata.version asks for, as Kafka's `MetadataVersion` has it.
    fn version_at(&self, metadata_version: i16) -> i16 {
        match self {
            MetadataRecord::RegisterBrokerRecord(_) => match metadata_version {
                ..=7 => 1,
                8..DIRECTORIES_FROM => 2,
                DIRECTORIES_FROM..=29 => 3,
                _ => 4,
            },
            MetadataRecord::PartitionRecord(_) | MetadataRecord::PartitionChangeRecord(_) => match metadata_version {
                ..DIRECTORIES_FROM => 0,
                DIRECTORIES_FROM..=22 => 1,
                _ => 2,
            },
            // The lowest one that can say it.
            MetadataRecord::BrokerRegistrationChangeRecord(record) => {
                if record.cordoned_log_dirs.is_some() {
                    3
                } else if !record.log_dirs.is_empty() {
                    2
                } else {
                    i16::from(record.in_controlled_shutdown != 0)
                }
            }
            _ => 0,
        }
    }
}

impl MetadataRecord {
    /// Reads a framed record.
    ///
    /// # Errors
    /// An unknown frame version, kind or version of a kind, or bytes that are not such a record.
    pub fn decode(framed: Bytes) -> Result<MetadataRecord, RecordError> {
        let mut reader = Reader::new(framed);
        let mut header = || {
            let number =
                reader.uvarint().map_err(|error| RecordError(format!("a metadata record's frame: {error}")))?;
            i16::try_from(number).map_err(|_| RecordError(format!("{number} in a metadata record's frame")))
        };
        let frame_version = header()?;
        if frame_version != FRAME_VERSION as i16 {
            return Err(RecordError(format!("a metadata record in frame version {frame_version}, known is 1")));
        }
        let kind = header()?;
        let version = header()?;
        let record = MetadataRecord::decode_body(kind, version, &mut reader)?;
        reader.finish().map_err(|error| RecordError(format!("a metadata record of type {kind}: {error}")))?;
        Ok(record)
    }
}

fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::{BrokerRegistrationChangeRecord, PartitionRecord, TopicRecord};

    #[test]
    fn every_kind_in_every_metadata_version() {
        let records = one_of_each();
        assert_eq!(records.len(), 27);
        for record in records {
            for metadata_version in crate::image::METADATA_VERSION_RANGE {
                let framed = record.encode(metadata_version).unwrap();
                assert_eq!(MetadataRecord::decode(framed), Ok(record.clone()), "{}", record.name());
            }
        }
    }

    #[test]
    fn the_frame() {
        let record: MetadataRecord = TopicRecord { name: "t".into(), ..Default::default() }.into();
        let framed = record.encode(30).unwrap();
        // Frame version 1, type 2, version 0, then the name as a compact string.
        assert_eq!(framed[..5], [1, 2, 0, 2, b't']);
    }

    #[test]
    fn versions_follow_the_metadata_version() {
        let version = |record: &MetadataRecord, metadata_version| record.encode(metadata_version).unwrap()[2];
        let partition = PartitionRecord { directories: vec![ottla_model::Uuid([1; 16])], ..Default::default() };
        let partition = MetadataRecord::from(partition);
        assert_eq!([7, 16, 17, 22, 23, 33].map(|it| version(&partition, it)), [0, 0, 1, 1, 2, 2]);
        let registration = &one_of_each()[0];
        assert_eq!([7, 8, 17, 29, 30].map(|it| version(registration, it)), [1, 2, 3, 3, 4]);
        let change = BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![]), ..Default::default() };
        assert_eq!(version(&change.into(), 30), 3);
    }

    #[test]
    fn what_is_not_known_is_fatal() {
        let error = |bytes: &'static [u8]| MetadataRecord::decode(Bytes::from_static(bytes)).unwrap_err().to_string();
        assert!(error(&[1, 99, 0]).contains("type 99, which this version of Ottla does not know"));
        assert!(error(&[2, 2, 0]).contains("frame version 2"));
        assert!(error(&[1, 2, 9, 2, b't']).contains("type 2 v9 cannot be read"));
        assert!(error(&[1, 2, 0, 9]).contains("cannot be read"));
        assert!(error(&[]).contains("frame"));
    }
}
