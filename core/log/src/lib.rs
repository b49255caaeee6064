//! One partition on disk, in Kafka's own format: segments with their indexes, recovery, producer state, leader epochs,
//! retention, compaction. [`Log`] is one partition; [`LogManager`] is all partitions of a broker's log directories. The
//! in-memory broker runs the very same code over the environment's in-memory file system.
//!
//! Everything here is synchronous and takes `&self`; the caller decides on which thread it blocks. Nothing here knows of
//! replicas: the high watermark is set by the owner.
//!
//! Locks of a [`Log`], in the order in which they are taken: the writer's (appends, rolls, truncation), then the list of
//! segments, then one segment's index. Readers never take the writer's, so no fetch waits for another client's write.

mod append;
mod checkpoint;
mod cleaner;
mod config;
pub mod dump;
mod error;
mod fault;
mod flush;
mod fork;
mod index_file;
mod lazy_file;
mod leader_epoch;
mod log_checkpoints;
mod log_manager;
mod lookup;
mod meta_properties;
mod names;
mod offset_index;
mod partition_metadata;
mod producer_append;
mod producer_snapshot;
mod producer_state;
mod read;
mod recovery;
mod retention;
mod segment;
mod segment_index;
mod time_index;
mod transaction_index;
mod truncate;
mod unified_log;
mod validate;

pub use append::{AppendOrigin, LogAppendInfo};
pub use checkpoint::{CheckpointError, OffsetCheckpoint};
pub use cleaner::{CleanedRecords, Cleaning, CleaningOptions, CleaningReport, CleaningStep};
pub use config::{CleanupPolicy, LogConfig};
pub use error::{AppendError, LogError, ReadError, RecordError};
pub use fault::WriteFault;
pub use fork::ForkedLog;
pub use leader_epoch::EpochEntry;
pub use log_manager::{CleanShutdown, LoadReport, LogManager, LogManagerOptions};
pub use lookup::TimestampAndOffset;
pub use meta_properties::MetaProperties;
pub use names::{dir_name, parse_dir_name};
pub use ottla_model::record_batch::TimestampType;
pub use partition_metadata::PartitionMetadata;
pub use producer_state::{BatchMetadata, ProducerStateEntry};
pub use read::FetchData;
pub use transaction_index::AbortedTxn;
pub use unified_log::{Log, OpenMode};
