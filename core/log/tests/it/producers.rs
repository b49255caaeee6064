//! Idempotent and transactional producers: duplicates, sequences, epochs, transactions, and what of it survives a restart.

use ottla_log::{AbortedTxn, AppendOrigin, LogConfig, OpenMode, dump};
use ottla_model::ErrorCode;

use crate::*;

fn code(result: Result<LogAppendInfo, AppendError>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn repeated_batches_are_recognised() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        let send = |sequence| append(&log, batch_with(5, NOW + i64::from(sequence), producer(1, 0, sequence)));
        for index in 0..8 {
            let info = send(5 * index).unwrap();
            assert_eq!((info.first_offset, info.duplicate), (5 * i64::from(index), false));
        }
        // The last five are known …
        for index in 3..8 {
            let info = send(5 * index).unwrap();
            assert!(info.duplicate);
            assert_eq!((info.first_offset, info.last_offset), (5 * i64::from(index), 5 * i64::from(index) + 4));
        }
        // … an older one is out of order, and so is a gap.
        assert_eq!(code(send(5 * 2)), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(code(send(45)), ErrorCode::OutOfOrderSequenceNumber);
        check_offsets(&log, 0, 40);
        assert_eq!(log.active_producers()[&1].last_sequence(), 39);
    });
}

#[test]
fn epochs_and_wrapping_sequences() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        let send = |epoch, sequence| append(&log, batch_with(2, NOW, producer(1, epoch, sequence)));
        // An unknown producer may begin anywhere; sequences wrap behind i32::MAX.
        send(3, i32::MAX - 1).unwrap();
        send(3, 0).unwrap();
        assert_eq!(code(send(2, 2)), ErrorCode::InvalidProducerEpoch);
        assert_eq!(code(send(4, 2)), ErrorCode::OutOfOrderSequenceNumber);
        send(4, 0).unwrap();
        // The old epoch's batches are forgotten.
        assert_eq!(code(send(3, 0)), ErrorCode::InvalidProducerEpoch);
        // The wrap within a batch.
        append(&log, batch_with(4, NOW, producer(2, 0, i32::MAX - 1))).unwrap();
        assert!(append(&log, batch_with(4, NOW, producer(2, 0, i32::MAX - 1))).unwrap().duplicate);
        append(&log, batch_with(1, NOW, producer(2, 0, 2))).unwrap();
    });
}

#[test]
fn state_survives_a_clean_stop_and_a_crash() {
    both(|place| {
        for clean in [true, false] {
            let log = place.open(small(), OpenMode::Clean);
            for index in 0..200 {
                append(&log, batch_with(5, NOW, producer(9, 0, 5 * index))).unwrap();
            }
            append(&log, batch_with(1, NOW, transactional(10, 1, 0))).unwrap();
            let (end, stable) = (log.log_end_offset(), log.last_stable_offset());
            assert_eq!(stable, end - 1);
            if clean {
                log.close(true).unwrap();
            }
            let mode = if clean { OpenMode::Clean } else { OpenMode::Recover { recovery_point: 0 } };
            let log = place.open(small(), mode);
            log.set_high_watermark(i64::MAX);
            assert_eq!((log.log_end_offset(), log.last_stable_offset()), (end, stable));
            assert!(append(&log, batch_with(5, NOW, producer(9, 0, 5 * 199))).unwrap().duplicate);
            append(&log, batch_with(5, NOW, producer(9, 0, 5 * 200))).unwrap();
            assert_eq!(log.active_producers()[&10].current_txn_first_offset, Some(end - 1));
            log.delete().unwrap();
        }
    });
}

#[test]
fn transactions_hold_the_last_stable_offset() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        append(&log, batch(5, NOW)).unwrap();
        append(&log, batch_with(5, NOW, transactional(1, 0, 0))).unwrap();
        append(&log, batch_with(5, NOW, transactional(2, 0, 0))).unwrap();
        append(&log, batch(5, NOW)).unwrap();
        assert_eq!((log.log_end_offset(), log.last_stable_offset()), (20, 5));
        assert!(log.has_ongoing_transaction(1, 0) && !log.has_ongoing_transaction(1, 1));
        assert_eq!(code(append(&log, batch_with(1, NOW, producer(1, 0, 5)))), ErrorCode::InvalidTxnState);

        let end = |producer_id, commit| append_as(&log, marker(producer_id, 0, commit), 0, AppendOrigin::Coordinator);
        // The commit does not help while the first transaction is open.
        assert_eq!(end(2, true).unwrap().first_offset, 20);
        assert_eq!(log.last_stable_offset(), 5);
        assert_eq!(log.aborted_transactions(0, 100).unwrap(), []);
        assert_eq!(end(1, false).unwrap().first_offset, 21);
        assert_eq!(log.last_stable_offset(), 22);
        let aborted = AbortedTxn { producer_id: 1, first_offset: 5, last_offset: 21, last_stable_offset: 22 };
        assert_eq!(log.aborted_transactions(0, 100).unwrap(), [aborted]);
        assert_eq!(log.aborted_transactions(0, 5).unwrap(), []);
        assert_eq!(log.aborted_transactions(22, 100).unwrap(), []);
        let data = log.read(0, 1 << 20, 22, true).unwrap();
        assert_eq!(log.aborted_transactions_of(&data).unwrap(), [aborted]);

        // An older coordinator and an older producer epoch are fenced.
        let stale = EndTxnMarker { commit: true, coordinator_epoch: -1 }.to_batch(0, NOW, -1, 1, 0);
        assert_eq!(code(append_as(&log, stale, 0, AppendOrigin::Coordinator)), ErrorCode::TransactionCoordinatorFenced);
        append(&log, batch_with(1, NOW, producer(1, 2, 0))).unwrap();
        assert_eq!(code(end(1, true)), ErrorCode::InvalidProducerEpoch);

        // The index is there after a clean stop, and made again by recovery.
        log.close(true).unwrap();
        let file = place.file("00000000000000000000.txnindex");
        assert_eq!(dump::transaction_index(&place.env, &file).unwrap(), [aborted]);
        assert_eq!(place.open(small(), OpenMode::Clean).aborted_transactions(0, 100).unwrap(), [aborted]);
        place.env.fs().remove_file(&file).unwrap();
        assert_eq!(place.recover(small()).aborted_transactions(0, 100).unwrap(), [aborted]);
    });
}

#[test]
fn a_transaction_of_version_2_begins_with_sequence_0() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        let begin = |epoch, sequence| {
            append_as(&log, batch_with(1, NOW, transactional(1, epoch, sequence)), 0, AppendOrigin::ClientBeginning)
        };
        let lost = "the batch before it is lost, or on its way";
        assert_eq!(code(begin(0, 1)), ErrorCode::OutOfOrderSequenceNumber, "{lost}");
        begin(0, 0).unwrap();
        // The marker has the next epoch, of which there is no batch yet.
        append_as(&log, marker(1, 1, true), 0, AppendOrigin::Coordinator).unwrap();
        assert_eq!(code(begin(1, 1)), ErrorCode::OutOfOrderSequenceNumber, "{lost}");
        begin(1, 0).unwrap();
        append(&log, batch_with(1, NOW, transactional(1, 1, 1))).unwrap();
        // Before version 2 an unknown producer may begin anywhere.
        append(&log, batch_with(1, NOW, transactional(2, 0, 7))).unwrap();
    });
}

#[test]
fn an_unreplicated_marker_holds_the_last_stable_offset() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        append(&log, batch_with(5, NOW, transactional(1, 0, 0))).unwrap();
        log.append_as_leader(marker(1, 0, true), 0, AppendOrigin::Coordinator, NOW).unwrap();
        // The high watermark has not passed the marker.
        assert_eq!((log.high_watermark(), log.last_stable_offset()), (5, 0));
        log.set_high_watermark(6);
        assert_eq!(log.last_stable_offset(), 6);
    });
}

#[test]
fn idle_producers_expire() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        append(&log, batch_with(5, NOW, producer(1, 0, 0))).unwrap();
        append(&log, batch_with(5, NOW, transactional(2, 0, 0))).unwrap();
        let day = 24 * 60 * 60 * 1000;
        log.delete_old_segments(NOW + 4 + day - 1).unwrap();
        assert_eq!(log.active_producers().len(), 2);
        log.delete_old_segments(NOW + 4 + day).unwrap();
        // One with an open transaction stays.
        assert_eq!(log.active_producers().keys().collect::<Vec<_>>(), [&2]);
        append(&log, batch_with(5, NOW, producer(1, 0, 77))).unwrap();
    });
}

#[test]
fn snapshots_are_kept_per_segment() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        for index in 0..200 {
            append(&log, batch_with(5, NOW, producer(1, 0, 5 * index))).unwrap();
        }
        let bases = log.segment_base_offsets();
        log.close(true).unwrap();
        let mut expected: Vec<String> = bases[1..].iter().map(|base| format!("{base:020}.snapshot")).collect();
        expected.push(format!("{:020}.snapshot", 1000));
        let snapshots: Vec<String> = place.names().into_iter().filter(|name| name.ends_with(".snapshot")).collect();
        assert_eq!(snapshots, expected);
        let rows = dump::producer_snapshot(&place.env, &place.file(&expected[0])).unwrap();
        assert_eq!(rows[0].producer_id, 1);
        assert_eq!(rows[0].last_offset() + 1, bases[1]);

        // A damaged newest snapshot: the one before it and the log behind it are used.
        let newest = expected.last().unwrap();
        let mut content = place.content(newest);
        content[20] ^= 1;
        place.put(newest, &content);
        let log = place.open(small(), OpenMode::Clean);
        assert_eq!(log.active_producers()[&1].last_sequence(), 999);
        assert!(!place.names().contains(newest));
    });
}
