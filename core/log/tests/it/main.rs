//! The log as its users see it, each scenario on real files and in memory. The helpers below are the only place that knows
//! how a log is opened and a batch is built.

// clippy.toml allows unwrap in tests, but does not see that all of this crate is one.
#![allow(clippy::unwrap_used)]

mod append;
mod cleaner;
mod faults;
mod manager;
mod producers;
mod recovery;
mod retention;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ottla_env::Env;
use ottla_log::{AppendError, AppendOrigin, FetchData, Log, LogAppendInfo, LogConfig, OpenMode};
use ottla_model::record_batch::control::EndTxnMarker;
use ottla_model::record_batch::{self, Batch, BatchBuilder, BatchIter, BatchOptions, Record};
use ottla_model::{Compression, TopicPartition, Uuid};

/// The broker's time in these tests, ms.
pub const NOW: i64 = 1_700_000_000_000;
pub const TOPIC_ID: Uuid = Uuid([7; 16]);

/// A directory of its own; removed when the test is over.
#[derive(Debug)]
pub struct Place {
    pub env: Env,
    pub dir: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.env.fs().remove_dir_all(&self.dir);
    }
}

/// Runs a scenario on real files, then in memory.
pub fn both(scenario: impl Fn(&Place)) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for env in [Env::real(), Env::memory()] {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ottla-log-{}-{number}", std::process::id()));
        env.fs().create_dir_all(&dir).unwrap();
        scenario(&Place { env, dir });
    }
}

impl Place {
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("t-0")
    }

    pub fn open(&self, config: LogConfig, mode: OpenMode) -> Log {
        self.open_from(config, mode, 0)
    }

    pub fn open_from(&self, config: LogConfig, mode: OpenMode, start: i64) -> Log {
        let partition = TopicPartition::new("t", 0);
        Log::open_from(&self.env, &self.log_dir(), partition, Some(TOPIC_ID), Arc::new(config), mode, start).unwrap()
    }

    pub fn recover(&self, config: LogConfig) -> Log {
        self.open(config, OpenMode::Recover { recovery_point: 0 })
    }

    pub fn names(&self) -> Vec<String> {
        self.env.fs().read_dir(&self.log_dir()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.log_dir().join(name)
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        self.env.fs().read(&self.file(name)).unwrap()
    }

    /// Overwrites a file as a fault would.
    pub fn put(&self, name: &str, content: &[u8]) {
        self.env.fs().write_atomic(&self.file(name), content, false).unwrap();
    }

    pub fn size(&self, path: &Path) -> u64 {
        self.env.fs().file_len(path).unwrap()
    }
}

/// Segments of 10 KiB and an index entry about every 200 bytes.
pub fn small() -> LogConfig {
    // The records' times are long past, and a log that is opened looks at the real clock.
    let producer_id_expiration_ms = i64::MAX;
    LogConfig { segment_bytes: 10 * 1024, index_interval_bytes: 200, producer_id_expiration_ms, ..LogConfig::default() }
}

/// A batch as a producer sends it: `count` records from `timestamp` on, 1 ms apart, keys k0, k1 …, values of 20 bytes.
pub fn batch(count: usize, timestamp: i64) -> Bytes {
    batch_with(count, timestamp, BatchOptions::default())
}

pub fn batch_with(count: usize, timestamp: i64, options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for index in 0..count {
        let key = format!("k{index}");
        let none: &[(&[u8], Option<&[u8]>)] = &[];
        builder.append(timestamp + index as i64, Some(key.as_bytes()), Some(&[b'v'; 20]), none).unwrap();
    }
    builder.into_bytes().unwrap()
}

pub fn producer(producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchOptions {
    BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() }
}

pub fn transactional(producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchOptions {
    BatchOptions { transactional: true, ..producer(producer_id, producer_epoch, base_sequence) }
}

pub fn compressed(compression: Compression) -> BatchOptions {
    BatchOptions { compression, ..BatchOptions::default() }
}

pub fn marker(producer_id: i64, producer_epoch: i16, commit: bool) -> Bytes {
    EndTxnMarker { commit, coordinator_epoch: 0 }.to_batch(0, NOW, -1, producer_id, producer_epoch)
}

/// Appends a client's batch in leader epoch 0, and moves the high watermark along.
pub fn append(log: &Log, records: Bytes) -> Result<LogAppendInfo, AppendError> {
    append_as(log, records, 0, AppendOrigin::Client)
}

pub fn append_as(
    log: &Log,
    records: Bytes,
    leader_epoch: i32,
    origin: AppendOrigin,
) -> Result<LogAppendInfo, AppendError> {
    let info = log.append_as_leader(records, leader_epoch, origin, NOW)?;
    log.set_high_watermark(log.log_end_offset());
    Ok(info)
}

/// Appends `count` batches of 5 records, the timestamps 10 ms apart.
pub fn fill(log: &Log, count: usize) {
    for index in 0..count {
        append(log, batch(5, NOW + 10 * index as i64)).unwrap();
    }
}

pub fn batches(data: &FetchData) -> Vec<Batch> {
    BatchIter::new(data.records.to_bytes().unwrap()).collect::<Result<_, _>>().unwrap()
}

/// All batches from an offset to the log's end, checksums verified.
pub fn read_all(log: &Log, from: i64) -> Vec<Batch> {
    let (mut next, end) = (from, log.log_end_offset());
    let mut all = Vec::new();
    while next < end {
        let data = log.read(next, 4096, end, true).unwrap();
        let found = batches(&data);
        next = match found.last() {
            Some(last) => last.header.next_offset(),
            None => break,
        };
        all.extend(found);
    }
    all.iter().for_each(|batch| record_batch::verify_crc(&batch.bytes).unwrap());
    all
}

pub fn records_of(batches: &[Batch]) -> Vec<Record> {
    batches.iter().flat_map(|batch| record_batch::records(&batch.bytes).unwrap()).collect::<Result<_, _>>().unwrap()
}

/// The log's records are exactly offsets `from` to `to` (exclusive).
pub fn check_offsets(log: &Log, from: i64, to: i64) {
    assert_eq!(log.log_end_offset(), to);
    let offsets: Vec<i64> = records_of(&read_all(log, from)).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (from..to).collect::<Vec<_>>());
}
