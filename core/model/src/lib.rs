//! The words that every part of Ottla shares: ids, strings from the wire, the error table, ropes of record bytes, record
//! batches and their compression. Pure: no I/O, no clock, no async.

mod compression;
mod crc32c;
mod error;
mod ids;
mod murmur2;
pub mod record_batch;
mod records;
pub mod varint;

pub use compression::{Compression, CompressionError, compress, decompress};
pub use crc32c::crc32c;
pub use error::ErrorCode;
pub use ids::{InvalidUuid, Str, TopicPartition, Uuid};
pub use murmur2::{murmur2, partition_for_key, to_positive};
pub use records::{Chunk, Records, Region, RegionSource};
