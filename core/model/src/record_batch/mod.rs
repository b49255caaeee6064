//! RecordBatch v2, the unit of everything: what a producer sends, what the log stores byte for byte, what a consumer gets.
//!
//! ```text
//!  at  size
//!   0   8  base offset                     not covered by the checksum, so the broker can set it in place
//!   8   4  length of what follows          i32; the whole batch has 12 bytes more
//!  12   4  partition leader epoch          not covered by the checksum either
//!  16   1  magic                           2; 0 and 1 are the message sets of Kafka before 0.11
//!  17   4  CRC-32C of all that follows
//!  21   2  attributes                      bits 0-2 compression, 3 timestamp type (1: log append time),
//!                                          4 transactional, 5 control, 6 the base timestamp is the delete horizon
//!  23   4  last offset delta               the last record's offset minus the base offset; kept by compaction
//!  27   8  base timestamp                  ms; records carry deltas to it
//!  35   8  max timestamp                   ms; the time of all records under log append time
//!  43   8  producer id                     -1: not idempotent
//!  51   2  producer epoch
//!  53   4  base sequence
//!  57   4  number of records
//!  61      records, compressed together unless the compression is none; each is
//!          length: varint | attributes: i8 = 0 | timestamp delta: varlong | offset delta: varint
//!          | key length: varint, -1 is null | key | value length: varint, -1 is null | value
//!          | number of headers: varint | ( key length: varint | key | value length: varint, -1 is null | value )*
//! ```
//!
//! Integers are big-endian; varints are zigzagged. The older formats (magic 0 and 1) are recognised and refused, as Apache
//! Kafka 4 does (KIP-896).

mod builder;
pub mod control;
mod error;
mod header;
mod iter;
mod reader;

pub use builder::{BatchBuilder, BatchOptions};
pub use error::BatchError;
pub use header::{
    ATTRIBUTES_OFFSET, BASE_OFFSET_OFFSET, BASE_SEQUENCE_OFFSET, BASE_TIMESTAMP_OFFSET, BatchHeader, COUNT_OFFSET,
    CRC_OFFSET, HEADER_SIZE, LAST_OFFSET_DELTA_OFFSET, LENGTH_OFFSET, LOG_OVERHEAD, MAGIC, MAGIC_OFFSET,
    MAX_TIMESTAMP_OFFSET, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, PARTITION_LEADER_EPOCH_OFFSET,
    PRODUCER_EPOCH_OFFSET, PRODUCER_ID_OFFSET, TimestampType, set_base_offset, set_max_timestamp,
    set_partition_leader_epoch, verify_crc,
};
pub use iter::{Batch, BatchIter};
pub use reader::{DEFAULT_MAX_DECOMPRESSED_SIZE, Record, RecordIter, RecordView, records, records_bounded};
