//! Compaction and transactions: aborted records go, markers stay as long as something of their transaction is there and
//! until their horizon, the index of aborted transactions follows.

use super::*;

fn data(log: &Log, id: i64, sequence: i32, key: &str, value: &str) -> i64 {
    append(log, keyed(&[(key, Some(value))], NOW, transactional(id, 0, sequence))).unwrap().first_offset
}

fn end(log: &Log, id: i64, commit: bool) -> i64 {
    append_as(log, marker(id, 0, commit), 0, AppendOrigin::Coordinator).unwrap().first_offset
}

/// Base offset, records, control or not, and horizon of each batch.
fn shape(log: &Log) -> Vec<(i64, i32, bool, Option<i64>)> {
    let one = |batch: &Batch| {
        let header = batch.header;
        (header.base_offset, header.count, header.is_control(), header.delete_horizon_ms())
    };
    read_all(log, 0).iter().map(one).collect()
}

#[test]
fn aborted_records_go_and_markers_follow_in_their_time() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("before"));
        data(&log, 1, 0, "a", "aborted");
        data(&log, 2, 0, "b", "committed");
        roll(&log);
        end(&log, 1, false);
        end(&log, 2, true);
        data(&log, 2, 1, "c", "again");
        end(&log, 2, true);
        roll(&log);
        clean_at(&log, NOW).unwrap();
        // The aborted batch was its producer's last, so its header stays; so does the marker, which met it.
        assert_eq!(
            shape(&log),
            [
                (0, 1, false, None),
                (1, 0, false, None),
                (2, 1, false, None),
                (3, 1, true, None),
                (4, 1, true, None),
                (5, 1, false, None),
                (6, 1, true, None)
            ]
        );
        let aborted = log.aborted_transactions(0, 7).unwrap();
        assert_eq!(aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect::<Vec<_>>(), [(1, 1)]);

        // Producer 1 goes on, so its header is of no use: then its marker meets nothing any more, and is given a horizon.
        data(&log, 1, 1, "d", "later");
        end(&log, 1, true);
        put(&log, "b", Some("newer"));
        put(&log, "c", Some("newer"));
        roll(&log);
        clean_at(&log, NOW + 1).unwrap();
        put(&log, "x", Some("1"));
        roll(&log);
        clean_at(&log, NOW + 2).unwrap();
        let horizon = |offset: i64| shape(&log).into_iter().find(|batch| batch.0 == offset).map(|batch| batch.3);
        assert_eq!(horizon(1), None, "the header is gone");
        assert_eq!(horizon(3), Some(Some(NOW + 2 + HOUR)), "the abort marker");
        assert_eq!(horizon(4), Some(Some(NOW + 2 + HOUR)), "the commit marker");
        assert_eq!(horizon(8), Some(None), "there is a record of its transaction");
        assert!(log.aborted_transactions(0, 7).unwrap().is_empty());

        put(&log, "x", Some("2"));
        roll(&log);
        clean_at(&log, NOW + 2 + HOUR).unwrap();
        assert_eq!((horizon(3), horizon(4)), (None, None));
        assert_eq!(content(&log).iter().map(|row| row.0).collect::<Vec<_>>(), [0, 7, 9, 10, 12],);
        // Nothing of it changes by opening the log again.
        let before = (shape(&log), log.last_stable_offset());
        drop(log);
        let log = place.recover(compacted());
        log.set_high_watermark(log.log_end_offset());
        assert_eq!((shape(&log), log.last_stable_offset()), before);
    });
}

#[test]
fn nothing_at_or_above_the_last_stable_offset_is_cleaned() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("1"));
        put(&log, "a", Some("2"));
        roll(&log);
        data(&log, 1, 0, "a", "3");
        roll(&log);
        put(&log, "a", Some("4"));
        roll(&log);
        let report = clean_at(&log, NOW).unwrap();
        assert_eq!(report.end_offset, 2);
        assert_eq!(content(&log), [row(1, "a", "2"), row(2, "a", "3"), row(3, "a", "4")]);
        assert_eq!(clean_at(&log, NOW), None);
        end(&log, 1, true);
        roll(&log);
        assert_eq!(clean_at(&log, NOW).unwrap().end_offset, 5);
        assert_eq!(content(&log).iter().filter(|row| row.1 == "a").cloned().collect::<Vec<_>>(), [row(3, "a", "4")]);
    });
}

/// A producer's next transaction must not be taken for the aborted one before it, over many segments.
#[test]
fn the_fates_of_many_transactions_do_not_mix() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        let mut expected = std::collections::BTreeMap::new();
        for round in 0..60i32 {
            let commit = round % 3 != 1;
            for id in 0..3i64 {
                let key = format!("k{}", (i64::from(round) * 7 + id) % 11);
                let value = format!("{round}");
                let offset = data(&log, id, round, &key, &value);
                if commit == (id != 2) {
                    expected.insert(key, (offset, value));
                }
            }
            if round % 4 == 0 {
                roll(&log);
            }
            for id in 0..3i64 {
                end(&log, id, commit == (id != 2));
            }
            if round % 20 == 19 {
                clean_at(&log, NOW + i64::from(round)).unwrap();
            }
        }
        roll(&log);
        clean_at(&log, NOW + 60).unwrap();
        let found: Vec<_> = content(&log).into_iter().filter(|row| row.1.starts_with('k')).collect();
        let mut wanted: Vec<_> = expected.iter().map(|(key, (offset, value))| row(*offset, key, value)).collect();
        wanted.sort();
        assert_eq!(found, wanted);
    });
}
