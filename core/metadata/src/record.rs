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

/// Kind, and the version it is written at under metadata.version 30 (4.3-IV0).
macro_rules! records {
    ($($name:ident $version:literal,)*) => {
        /// One metadata record.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)] // The kinds are documented by Kafka's schemas.
        pub enum MetadataRecord {
            $($name(ottla_protocol::$name),)*
        }

        impl MetadataRecord {
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

            /// The record with its frame, as the value of a log record.
            ///
            /// # Errors
            /// A field that is set does not exist at the version that is written.
            pub fn encode(&self) -> Result<Bytes, RecordError> {
                let (kind, version, body) = match self {
                    $(MetadataRecord::$name(message) => {
                        let mut writer = Writer::new();
                        let written = message.encode(&mut writer, $version);
                        let body = written.map_err(|error| RecordError(error.to_string()))
                            .and_then(|()| writer.into_bytes().map_err(|error| RecordError(error.to_string())));
                        (<ottla_protocol::$name as RecordType>::RECORD_TYPE, $version, body?)
                    })*
                };
                let mut framed = BytesMut::with_capacity(body.len() + 6);
                put_uvarint(&mut framed, FRAME_VERSION);
                put_uvarint(&mut framed, kind as u32);
                put_uvarint(&mut framed, version as u32);
                framed.put_slice(&body);
                Ok(framed.freeze())
            }
        }

        $(impl From<ottla_protocol::$name> for MetadataRecord {
            fn from(record: ottla_protocol::$name) -> MetadataRecord {
                MetadataRecord::$name(record)
            }
        })*
    };
}

records! {
    RegisterBrokerRecord 3,
    UnregisterBrokerRecord 0,
    TopicRecord 0,
    PartitionRecord 1,
    ConfigRecord 0,
    PartitionChangeRecord 1,
    FenceBrokerRecord 0,
    UnfenceBrokerRecord 0,
    RemoveTopicRecord 0,
    DelegationTokenRecord 0,
    UserScramCredentialRecord 0,
    FeatureLevelRecord 0,
    ClientQuotaRecord 0,
    ProducerIdsRecord 0,
    BrokerRegistrationChangeRecord 2,
    AccessControlEntryRecord 0,
    RemoveAccessControlEntryRecord 0,
    NoOpRecord 0,
    ZkMigrationStateRecord 0,
    BeginTransactionRecord 0,
    EndTransactionRecord 0,
    AbortTransactionRecord 0,
    RemoveUserScramCredentialRecord 0,
    RemoveDelegationTokenRecord 0,
    RegisterControllerRecord 0,
    UnregisterControllerRecord 0,
    ClearElrRecord 0,
}

impl MetadataRecord {
    /// Reads a framed record.
    ///
    /// # Errors
    /// An unknown frame version, kind or version of a kind, or bytes that are not such a record.
    pub fn decode(framed: Bytes) -> Result<MetadataRecord, RecordError> {
        let mut reader = Reader::new(framed);
        let mut header = || {
            let number = reader.uvarint().map_err(|error| RecordError(format!("a metadata record's frame: {error}")))?;
            i16::try_from(number).map_err(|_| RecordError(format!("{number} in a metadata record's frame")))
        };
        let frame_version = header()?;
        if frame_version != FRAME_VERSION as i16 {
            return Err(RecordError(format!("a metadata record in frame version {frame_version}, known is 1")));
        }
        let kind = header()?;
        let version = header()?;
        MetadataRecord::decode_body(kind, version, &mut reader)
    }
}

fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
