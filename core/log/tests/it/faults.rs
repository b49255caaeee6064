//! Disks that fail while the log is in use, and readers beside writers.

use std::sync::atomic::{AtomicBool, Ordering};

use ottla_log::{LogConfig, OpenMode};

use crate::*;

#[test]
fn readers_see_whole_batches_while_a_writer_appends() {
    both(|place| {
        let log = Arc::new(place.open(small(), OpenMode::Clean));
        let done = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut next = 0;
                    while !done.load(Ordering::Relaxed) || next < log.log_end_offset() {
                        let upper = log.high_watermark();
                        if next >= upper {
                            continue;
                        }
                        let data = log.read(next, 3000, upper, true).unwrap();
                        for batch in batches(&data) {
                            assert_eq!(batch.header.base_offset, next);
                            record_batch::verify_crc(&batch.bytes).unwrap();
                            next = batch.header.next_offset();
                            assert!(next <= upper);
                        }
                    }
                });
            }
            fill(&log, 2000);
            done.store(true, Ordering::Relaxed);
        });
        check_offsets(&log, 0, 10_000);
    });
}

#[test]
fn concurrent_appends_get_their_own_offsets() {
    both(|place| {
        let log = place.open(LogConfig { flush_messages: 1, ..small() }, OpenMode::Clean);
        let offsets: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut offsets = Vec::new();
                        for _ in 0..50 {
                            let info = append(&log, batch(2, NOW)).unwrap();
                            assert!(info.needs_flush);
                            assert!(log.flush().unwrap() > info.last_offset);
                            offsets.push(info.first_offset);
                        }
                        offsets
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = offsets.clone();
        sorted.sort();
        assert_eq!(sorted, (0..400).step_by(2).collect::<Vec<_>>());
        check_offsets(&log, 0, 400);
        assert_eq!(log.recovery_point(), 400);
        assert!(!log.needs_flush());
    });
}

/// A write that fails leaves log and file as they were. The file is put out of reach by taking its directory away while
/// nothing is open; a full disk is tried by the interop tests on a small tmpfs.
#[test]
fn a_write_error_leaves_the_log_as_it_was() {
    both(|place| {
        if place.env.fs().is_memory() {
            return;
        }
        let log = place.open(LogConfig { segment_bytes: 2000, ..small() }, OpenMode::Clean);
        fill(&log, 1);
        let away = place.dir.join("away");
        place.env.fs().rename(&place.log_dir(), &away).unwrap();
        let mut failed = 0;
        for _ in 0..20 {
            match append(&log, batch(5, NOW)) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.code, ottla_model::ErrorCode::KafkaStorageError);
                    failed += 1;
                }
            }
        }
        // The open segment took some; the roll to a new one could not be.
        assert!(failed > 0);
        let end = log.log_end_offset();
        place.env.fs().rename(&away, &place.log_dir()).unwrap();
        check_offsets(&log, 0, end);
        fill(&log, 20);
        check_offsets(&log, 0, end + 100);
        drop(log);
        check_offsets(&place.recover(small()), 0, end + 100);
    });
}
