//! What can be wrong with a record batch.

use std::fmt;

use crate::{CompressionError, ErrorCode};

/// What is wrong with a record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header, or than the header's length field says.
    Truncated {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// A message set of Kafka before 0.11 (magic 0 or 1), or a magic that nobody knows.
    UnsupportedMagic(i8),
    /// The length field is smaller than the header.
    InvalidLength(i32),
    /// The checksum does not match the bytes.
    CrcMismatch {
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The attributes name a compression that does not exist.
    UnknownCompression(u8),
    /// The records could not be decompressed.
    Compression(CompressionError),
    /// A count or delta in the header cannot be right.
    InvalidHeader(&'static str),
    /// A record inside the batch is malformed.
    InvalidRecord(&'static str),
    /// The batch or a record is larger than the format allows.
    TooLarge,
}

impl BatchError {
    /// The error that a broker answers with.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::UnsupportedMagic(0 | 1) => ErrorCode::UnsupportedForMessageFormat,
            BatchError::UnknownCompression(_) | BatchError::InvalidHeader(_) | BatchError::InvalidRecord(_) => {
                ErrorCode::InvalidRecord
            }
            BatchError::TooLarge | BatchError::Compression(CompressionError::TooLarge { .. }) => {
                ErrorCode::MessageTooLarge
            }
            _ => ErrorCode::CorruptMessage,
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Truncated { needed, available } => {
                write!(f, "the record batch needs {needed} bytes but {available} are there")
            }
            BatchError::UnsupportedMagic(magic @ (0 | 1)) => {
                write!(f, "message format v{magic} of Kafka before 0.11 is not supported; v2 is expected")
            }
            BatchError::UnsupportedMagic(magic) => write!(f, "the record batch has the unknown magic {magic}"),
            BatchError::InvalidLength(length) => {
                write!(f, "the record batch's length {length} is shorter than its header")
            }
            BatchError::CrcMismatch { stored, computed } => {
                write!(
                    f,
                    "the record batch is damaged: its checksum is {stored:#010x} but its bytes give {computed:#010x}"
                )
            }
            BatchError::UnknownCompression(code) => write!(f, "the record batch names the unknown compression {code}"),
            BatchError::Compression(error) => error.fmt(f),
            BatchError::InvalidHeader(what) => write!(f, "the record batch's header is wrong: {what}"),
            BatchError::InvalidRecord(what) => write!(f, "a record in the batch is wrong: {what}"),
            BatchError::TooLarge => f.write_str("the record batch would be larger than 2 GiB"),
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BatchError::Compression(error) => Some(error),
            _ => None,
        }
    }
}

impl From<CompressionError> for BatchError {
    fn from(error: CompressionError) -> BatchError {
        BatchError::Compression(error)
    }
}
