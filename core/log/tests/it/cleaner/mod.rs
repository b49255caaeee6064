//! Compaction: what stays of a log, by Kafka's rules, and that nothing else changes.

mod crashes;
mod model;
mod rules;
mod schedule;
mod transactions;

use ottla_log::{CleaningOptions, CleaningReport, CleaningStep, CleanupPolicy};

use crate::*;

/// Times of these tests, ms.
pub const SECOND: i64 = 1000;
pub const HOUR: i64 = 3_600_000;

/// A compacted log with small segments, cleaned whenever it is asked.
pub fn compacted() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ratio: 0.0,
        message_timestamp_after_max_ms: i64::MAX,
        delete_retention_ms: HOUR,
        file_delete_delay_ms: 60 * SECOND,
        ..small()
    }
}

/// A batch of these keys and values; a missing value is a tombstone.
pub fn keyed(records: &[(&str, Option<&str>)], timestamp: i64, options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (index, (key, value)) in records.iter().enumerate() {
        let headers = [("h", Some(key.as_bytes()))];
        let value = value.map(str::as_bytes);
        builder.append(timestamp + index as i64, Some(key.as_bytes()), value, &headers).unwrap();
    }
    builder.into_bytes().unwrap()
}

/// Appends one record.
pub fn put(log: &Log, key: &str, value: Option<&str>) -> i64 {
    append(log, keyed(&[(key, value)], NOW, BatchOptions::default())).unwrap().first_offset
}

/// Begins a new segment.
pub fn roll(log: &Log) {
    let config = log.config();
    log.update_config(Arc::new(LogConfig { segment_ms: 0, ..(*config).clone() }));
    assert!(log.maybe_roll(i64::MAX / 2).unwrap());
    log.update_config(config);
}

pub fn options() -> CleaningOptions {
    // A step reads about a batch or two.
    CleaningOptions { dedupe_buffer_bytes: 1 << 20, io_buffer_bytes: 300, ..CleaningOptions::default() }
}

/// Cleans the log at `now_ms` to the end; `None` if there is nothing to do.
pub fn clean_at(log: &Arc<Log>, now_ms: i64) -> Option<CleaningReport> {
    let mut cleaning = log.clean(options(), now_ms).unwrap()?;
    loop {
        match cleaning.step().unwrap() {
            CleaningStep::More { .. } => {}
            CleaningStep::Done(report) => return Some(report),
            CleaningStep::GivenUp => panic!("nobody has changed the log"),
        }
    }
}

/// Offset, key and value of all records that a consumer sees; those of aborted transactions, too.
pub fn content(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut batches = read_all(log, log.log_start_offset());
    batches.retain(|batch| !batch.header.is_control());
    records_of(&batches)
        .iter()
        .map(|record| {
            let key = record.key.as_ref().map(text).unwrap_or_default();
            if let Some((name, value)) = record.headers.first() {
                assert_eq!((&name.as_bytes()[..], value.as_deref()), (&b"h"[..], record.key.as_deref()));
            }
            (record.offset, key, record.value.as_ref().map(text))
        })
        .collect()
}

pub fn row(offset: i64, key: &str, value: &str) -> (i64, String, Option<String>) {
    (offset, key.to_owned(), Some(value.to_owned()))
}

/// No file is left of a swap.
pub fn check_names(place: &Place) {
    let odd = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
    assert_eq!(place.names().into_iter().filter(odd).collect::<Vec<_>>(), Vec::<String>::new());
}
