//! What leaves a log at its start, and DeleteRecords.

use ottla_log::{CleanupPolicy, LogConfig, OpenMode, ReadError};
use ottla_model::ErrorCode;

use crate::*;

fn log_files(place: &Place) -> usize {
    place.names().iter().filter(|name| name.ends_with(".log")).count()
}

#[test]
fn by_size() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 500);
        let (bases, size) = (log.segment_base_offsets(), log.size());
        assert_eq!(log.delete_old_segments(NOW).unwrap(), 0);
        log.update_config(Arc::new(LogConfig { retention_bytes: 25 * 1024, ..small() }));
        let deleted = log.delete_old_segments(NOW).unwrap();
        assert!(deleted > 3);
        assert!(log.size() >= 25 * 1024 && log.size() < 25 * 1024 + 10 * 1024, "{} of {size}", log.size());
        assert_eq!(log.segment_base_offsets(), bases[deleted..]);
        assert_eq!(log.log_start_offset(), bases[deleted]);
        check_offsets(&log, bases[deleted], 2500);
        let error = log.read(0, 100, 2500, true).unwrap_err();
        assert!(matches!(error, ReadError::OffsetOutOfRange { .. }));
        log.close(true).unwrap();
        drop(log);
        let log = place.open(small(), OpenMode::Clean);
        check_offsets(&log, bases[deleted], 2500);
        assert_eq!(log.epoch_entries()[0].start_offset, bases[deleted]);
    });
}

#[test]
fn by_time_and_never_above_the_high_watermark() {
    both(|place| {
        let config = LogConfig { retention_ms: 1000, ..small() };
        let log = place.open(config, OpenMode::Clean);
        for index in 0..300i64 {
            log.append_as_leader(batch(5, NOW + 10 * index), 0, AppendOrigin::Client, NOW + 10 * index).unwrap();
        }
        let bases = log.segment_base_offsets();
        assert_eq!(log.delete_old_segments(NOW + 1_000_000).unwrap(), 0, "the high watermark is 0");
        log.set_high_watermark(bases[2]);
        assert_eq!(log.delete_old_segments(NOW + 1_000_000).unwrap(), 2);
        log.set_high_watermark(1500);
        // The segment whose last record is just 1000 ms old stays.
        let last_of_third = NOW + 10 * (bases[3] / 5 - 1) + 4;
        assert_eq!(log.delete_old_segments(last_of_third + 1000).unwrap(), 0);
        assert_eq!(log.delete_old_segments(last_of_third + 1001).unwrap(), 1);
        // In the end all go, also the active one, and the offsets go on.
        log.delete_old_segments(NOW + 1_000_000).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (1500, 1500, 1));
        append(&log, batch(5, NOW)).unwrap();
        check_offsets(&log, 1500, 1505);
        assert_eq!(log.delete_old_segments(NOW).unwrap(), 0);
    });
}

#[test]
fn files_go_after_their_delay() {
    both(|place| {
        let config = LogConfig { retention_bytes: 0, file_delete_delay_ms: 60_000, ..small() };
        let log = place.open(config, OpenMode::Clean);
        fill(&log, 300);
        let early = log.read(0, 2000, 100, true).unwrap();
        assert!(log.delete_old_segments(NOW).unwrap() > 2);
        let deleted = || place.names().iter().filter(|name| name.ends_with(".deleted")).count();
        if place.env.fs().is_memory() {
            assert_eq!(deleted(), 0);
        } else {
            assert!(deleted() >= 9);
            log.delete_old_segments(NOW + 59_999).unwrap();
            assert!(deleted() >= 9);
        }
        log.delete_old_segments(NOW + 60_000).unwrap();
        assert_eq!(deleted(), 0);
        assert_eq!(log_files(place), log.segment_count());
        // Who had read before goes on reading.
        assert_eq!(batches(&early)[0].header.base_offset, 0);
    });
}

#[test]
fn compacted_topics_keep_their_segments() {
    both(|place| {
        let cleanup_policy = CleanupPolicy { delete: false, compact: true };
        let config = LogConfig { cleanup_policy, retention_ms: 1, retention_bytes: 1, ..small() };
        let log = place.open(config, OpenMode::Clean);
        fill(&log, 300);
        assert_eq!(log.delete_old_segments(NOW + 1_000_000).unwrap(), 0);
        // But DeleteRecords works.
        log.delete_records_to(1400).unwrap();
        assert!(log.delete_old_segments(NOW + 1_000_000).unwrap() > 2);
    });
}

#[test]
fn delete_records() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 300);
        let bases = log.segment_base_offsets();
        assert_eq!(log.delete_records_to(bases[2] + 3).unwrap(), bases[2] + 3);
        assert_eq!(log.delete_records_to(7).unwrap(), bases[2] + 3, "it does not go back");
        assert_eq!(log.delete_records_to(1501).unwrap_err().code(), ErrorCode::OffsetOutOfRange);
        assert_eq!(log.delete_records_to(-2).unwrap_err().code(), ErrorCode::OffsetOutOfRange);
        assert!(log.read(bases[2] + 2, 100, 1500, true).is_err());
        assert_eq!(log.read(bases[2] + 3, 100, 1500, true).unwrap().first_batch_offset, bases[2]);
        assert_eq!(log.offset_for_timestamp(0).unwrap().unwrap().offset, bases[2] + 3);
        assert_eq!(log.delete_old_segments(NOW).unwrap(), 2);
        assert_eq!(log.segment_base_offsets(), bases[2..]);
        let start = log.log_start_offset();
        drop(log);
        let log = place.open_from(small(), OpenMode::Recover { recovery_point: 0 }, start);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, 1500));
        log.set_high_watermark(1500);
        // −1 is the high watermark.
        assert_eq!(log.delete_records_to(-1).unwrap(), 1500);
        assert_eq!(log.offset_for_timestamp(0).unwrap(), None);
        assert!(log.read(1500, 100, 1500, true).unwrap().records.is_empty());
        log.delete_old_segments(NOW).unwrap();
        append(&log, batch(5, NOW)).unwrap();
        assert_eq!(records_of(&read_all(&log, 1500)).len(), 5);
    });
}
