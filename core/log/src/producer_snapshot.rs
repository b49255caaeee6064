//! `.snapshot`: the producers of a partition as they were at the offset in the file's name. Only the last batch of each is
//! kept.
//!
//! ```text
//! 0   i16  version, 1
//! 2   u32  CRC-32C of all that follows
//! 6   i32  number of entries, of 46 bytes each:
//!     0   i64  producer id
//!     8   i16  producer epoch
//!     10  i32  last sequence, −1 if there is no batch
//!     14  i64  last offset, −1 if there is no batch
//!     22  i32  offset delta of the last batch
//!     26  i64  timestamp
//!     34  i32  coordinator epoch
//!     38  i64  first offset of the open transaction, or −1
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use ottla_env::Env;
use ottla_model::crc32c;

use crate::producer_state::{BatchMetadata, ProducerStateEntry};

const VERSION: i16 = 1;
const HEADER_SIZE: usize = 10;
const CRC_START: usize = 6;
const ENTRY_SIZE: usize = 46;

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub(crate) enum SnapshotError {
    Io(io::Error),
    Corrupt(String),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Io(error) => error.fmt(f),
            SnapshotError::Corrupt(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        SnapshotError::Io(error)
    }
}

pub(crate) fn read(env: &Env, path: &Path) -> Result<Vec<ProducerStateEntry>, SnapshotError> {
    decode(&env.fs().read(path)?).map_err(SnapshotError::Corrupt)
}

pub(crate) fn write<'a>(
    env: &Env,
    path: &Path,
    entries: impl Iterator<Item = &'a ProducerStateEntry>,
    sync: bool,
) -> io::Result<()> {
    env.fs().write_atomic(path, &encode(entries), sync)
}

fn encode<'a>(entries: impl Iterator<Item = &'a ProducerStateEntry>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_SIZE];
    let mut count = 0i32;
    for entry in entries {
        count += 1;
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset().to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset_delta().to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
    bytes[6..10].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c(&bytes[CRC_START..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<ProducerStateEntry>, String> {
    if bytes.len() < HEADER_SIZE {
        return Err(format!("{} bytes are too few for a producer snapshot", bytes.len()));
    }
    let version = i16::from_be_bytes(array(bytes, 0));
    if version != VERSION {
        return Err(format!("unknown version {version} of a producer snapshot"));
    }
    let (stored, computed) = (u32::from_be_bytes(array(bytes, 2)), crc32c(&bytes[CRC_START..]));
    if stored != computed {
        return Err(format!("the stored CRC is {stored:#010x}, the computed one {computed:#010x}"));
    }
    let count = i32::from_be_bytes(array(bytes, 6));
    let body = &bytes[HEADER_SIZE..];
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_SIZE)) != Some(body.len()) {
        return Err(format!("{count} producers do not fit {} bytes", body.len()));
    }
    Ok(body.chunks_exact(ENTRY_SIZE).map(decode_entry).collect())
}

fn decode_entry(bytes: &[u8]) -> ProducerStateEntry {
    let mut entry = ProducerStateEntry::empty(i64::from_be_bytes(array(bytes, 0)));
    entry.producer_epoch = i16::from_be_bytes(array(bytes, 8));
    entry.last_timestamp = i64::from_be_bytes(array(bytes, 26));
    entry.coordinator_epoch = i32::from_be_bytes(array(bytes, 34));
    entry.current_txn_first_offset = Some(i64::from_be_bytes(array(bytes, 38))).filter(|offset| *offset >= 0);
    let last_offset = i64::from_be_bytes(array(bytes, 14));
    if last_offset >= 0 {
        entry.push_batch(BatchMetadata {
            last_sequence: i32::from_be_bytes(array(bytes, 10)),
            last_offset,
            offset_delta: i32::from_be_bytes(array(bytes, 22)),
            timestamp: entry.last_timestamp,
        });
    }
    entry
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes, its bounds checked by the caller")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_damage() {
        let mut first = ProducerStateEntry::empty(4000);
        first.producer_epoch = 3;
        first.last_timestamp = 1_700_000_000_000;
        first.push_batch(BatchMetadata {
            last_sequence: 9,
            last_offset: 109,
            offset_delta: 9,
            timestamp: 1_700_000_000_000,
        });
        let mut second = ProducerStateEntry::empty(4001);
        second.current_txn_first_offset = Some(77);
        let bytes = encode([&first, &second].into_iter());
        assert_eq!(bytes.len(), HEADER_SIZE + 2 * ENTRY_SIZE);
        assert_eq!(decode(&bytes).unwrap(), [first, second]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "length {at}");
        }
    }
}
