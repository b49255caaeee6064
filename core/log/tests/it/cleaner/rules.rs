//! What stays, and how.

use ottla_log::dump;
use ottla_model::record_batch::TimestampType;

use super::*;

#[test]
fn the_latest_record_of_a_key_stays_with_its_offset() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        for round in 0..40 {
            for key in 0..20 {
                put(&log, &format!("k{key}"), Some(&format!("{round}")));
            }
        }
        roll(&log);
        put(&log, "k7", Some("active"));
        let before = log.segment_count();
        let report = clean_at(&log, NOW).unwrap();
        assert_eq!((report.first_dirty_offset, report.end_offset), (0, 800));
        assert_eq!((report.records.read, report.records.kept, report.records.keyless), (800, 20, 0));
        assert!(report.bytes_written < report.bytes_read / 10);
        let mut expected: Vec<_> = (0..20).map(|key| row(780 + key, &format!("k{key}"), "39")).collect();
        expected.push(row(800, "k7", "active"));
        assert_eq!(content(&log), expected);
        assert_eq!(log.segment_count(), before, "full segments are not put together before they are small");
        assert_eq!(log.first_dirty_offset(), Some(800));
        // Reading from an offset that is gone gives the next one that is there.
        assert_eq!(batches(&log.read(17, 1, 801, true).unwrap())[0].header.base_offset, 780);
        assert_eq!(clean_at(&log, NOW), None, "it is clean");
        roll(&log);
        clean_at(&log, NOW).unwrap();
        assert_eq!(log.segment_count(), 2);
        expected.remove(7);
        assert_eq!(content(&log), expected);

        // The files are those of a log like any other.
        log.close(true).unwrap();
        check_names(place);
        for name in place.names() {
            let path = place.file(&name);
            if name.ends_with(".index") {
                assert_eq!(dump::check_offset_index(&place.env, &path).unwrap(), Vec::<String>::new());
            } else if name.ends_with(".timeindex") {
                assert_eq!(dump::check_time_index(&place.env, &path).unwrap(), Vec::<String>::new());
            }
        }
        drop(log);
        assert_eq!(content(&place.open(compacted(), OpenMode::Clean)), expected);
        let log = place.recover(compacted());
        assert_eq!(content(&log), expected);
        assert_eq!(log.log_end_offset(), 801);
    });
}

#[test]
fn a_batch_keeps_all_but_the_records_that_go() {
    for compression in Compression::ALL {
        both(|place| {
            let log = Arc::new(place.open(compacted(), OpenMode::Clean));
            let options = BatchOptions { compression, ..producer(9, 2, 5) };
            let many = [("a", Some("1")), ("b", Some("2")), ("c", Some("3")), ("d", Some("4"))];
            append_as(&log, keyed(&many, NOW, options), 3, AppendOrigin::Client).unwrap();
            append_as(&log, keyed(&[("e", Some("9"))], NOW, producer(9, 2, 9)), 3, AppendOrigin::Client).unwrap();
            append(&log, keyed(&[("a", Some("5")), ("d", Some("6"))], NOW, BatchOptions::default())).unwrap();
            roll(&log);
            let original = read_all(&log, 0).remove(0).header;
            clean_at(&log, NOW).unwrap();
            let kept = read_all(&log, 0).remove(0);
            let header = kept.header;
            assert_eq!((header.base_offset, header.last_offset(), header.count), (0, 3, 2));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 2, 5));
            assert_eq!((header.last_sequence(), header.partition_leader_epoch), (8, 3));
            assert_eq!(header.attributes, original.attributes);
            assert_eq!((header.base_timestamp, header.max_timestamp), (NOW + 1, NOW + 2));
            let records = records_of(&[kept]);
            let times: Vec<_> = records.iter().map(|record| (record.offset, record.timestamp)).collect();
            assert_eq!(times, [(1, NOW + 1), (2, NOW + 2)]);
            assert_eq!(
                content(&log),
                [row(1, "b", "2"), row(2, "c", "3"), row(4, "e", "9"), row(5, "a", "5"), row(6, "d", "6")]
            );
        });
    }
}

#[test]
fn log_append_time_stays() {
    both(|place| {
        let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..compacted() };
        let log = Arc::new(place.open(config, OpenMode::Clean));
        append(&log, keyed(&[("a", Some("1")), ("b", Some("2"))], 5, BatchOptions::default())).unwrap();
        append(&log, keyed(&[("a", Some("3"))], 5, BatchOptions::default())).unwrap();
        roll(&log);
        clean_at(&log, NOW).unwrap();
        let kept = read_all(&log, 0);
        assert_eq!(kept[0].header.timestamp_type(), TimestampType::LogAppendTime);
        assert!(records_of(&kept).iter().all(|record| record.timestamp == NOW));
        assert_eq!(content(&log), [row(1, "b", "2"), row(2, "a", "3")]);
        assert_eq!(log.offset_for_timestamp(NOW).unwrap().unwrap().offset, 1);
    });
}

/// KIP-534: the first cleaning that meets a tombstone stamps the time into its batch until which it stays.
#[test]
fn a_tombstone_stays_until_its_horizon() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("1"));
        append(&log, keyed(&[("a", None), ("b", Some("2"))], NOW, BatchOptions::default())).unwrap();
        roll(&log);
        clean_at(&log, NOW + 5).unwrap();
        let tombstone = (1, "a".to_owned(), None);
        assert_eq!(content(&log), [tombstone.clone(), row(2, "b", "2")]);
        let kept = read_all(&log, 0);
        assert_eq!(kept[0].header.delete_horizon_ms(), Some(NOW + 5 + HOUR));
        assert_eq!(kept[0].header.max_timestamp, NOW + 1);
        assert_eq!(records_of(&kept)[0].timestamp, NOW);

        // It does not move, and before it nothing goes.
        put(&log, "c", Some("3"));
        roll(&log);
        clean_at(&log, NOW + 4 + HOUR).unwrap();
        assert_eq!(content(&log)[0], tombstone);
        assert_eq!(read_all(&log, 0)[0].header.delete_horizon_ms(), Some(NOW + 5 + HOUR));

        put(&log, "d", Some("4"));
        roll(&log);
        clean_at(&log, NOW + 5 + HOUR).unwrap();
        assert_eq!(content(&log), [row(2, "b", "2"), row(3, "c", "3"), row(4, "d", "4")]);
        // The batch's other record stays with the batch's horizon.
        assert!(read_all(&log, 0)[0].header.has_delete_horizon());
    });
}

#[test]
fn a_tombstone_in_a_part_that_is_not_clean_yet_goes_when_a_value_follows() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("1"));
        put(&log, "a", None);
        put(&log, "a", Some("2"));
        roll(&log);
        clean_at(&log, NOW).unwrap();
        assert_eq!(content(&log), [row(2, "a", "2")]);
    });
}

#[test]
fn the_last_batch_of_a_producer_stays_as_a_header() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        for (id, sequence) in [(7, 0), (8, 0), (7, 1), (8, 1)] {
            append(&log, keyed(&[("a", Some("x"))], NOW, producer(id, 0, sequence))).unwrap();
        }
        put(&log, "a", Some("y"));
        roll(&log);
        clean_at(&log, NOW).unwrap();
        let kept: Vec<_> =
            read_all(&log, 0).iter().map(|batch| (batch.header.base_offset, batch.header.count)).collect();
        assert_eq!(kept, [(2, 0), (3, 0), (4, 1)]);
        let empty = read_all(&log, 0)[0].clone();
        assert_eq!(empty.bytes.len(), 61);
        assert_eq!((empty.header.base_sequence, empty.header.max_timestamp, empty.header.base_timestamp), (1, NOW, -1));
        // So a repeated batch is still known after a crash, also without the producers' snapshots.
        drop(log);
        for name in place.names().iter().filter(|name| name.ends_with(".snapshot")) {
            place.env.fs().remove_file(&place.file(name)).unwrap();
        }
        let log = Arc::new(place.recover(compacted()));
        let again = append(&log, keyed(&[("a", Some("x"))], NOW, producer(8, 0, 1))).unwrap();
        assert_eq!((again.duplicate, again.first_offset), (true, 3));
        // Once the producer has gone on, its header goes.
        append(&log, keyed(&[("b", Some("z"))], NOW, producer(8, 0, 2))).unwrap();
        roll(&log);
        clean_at(&log, NOW).unwrap();
        let kept: Vec<_> = read_all(&log, 0).iter().map(|batch| batch.header.base_offset).collect();
        assert_eq!(kept, [2, 4, 5]);
    });
}

#[test]
fn the_last_batch_of_a_round_stays_as_a_header() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("1"));
        put(&log, "a", None);
        roll(&log);
        clean_at(&log, NOW).unwrap();
        put(&log, "b", Some("1"));
        put(&log, "b", None);
        roll(&log);
        clean_at(&log, NOW + HOUR).unwrap();
        // The first tombstone is gone; the second's horizon lies ahead.
        assert_eq!(content(&log), [(3, "b".to_owned(), None)]);
        put(&log, "c", None);
        roll(&log);
        clean_at(&log, NOW + 2 * HOUR).unwrap();
        put(&log, "c", None);
        roll(&log);
        clean_at(&log, NOW + 4 * HOUR).unwrap();
        assert_eq!(content(&log), [(5, "c".to_owned(), None)]);
        let end = log.log_end_offset();
        drop(log);
        assert_eq!(place.recover(compacted()).log_end_offset(), end);
    });
}

/// Records without a key come from before the topic was compacted.
#[test]
fn keyless_records_go() {
    both(|place| {
        let policy = CleanupPolicy { delete: true, compact: false };
        let log = Arc::new(place.open(LogConfig { cleanup_policy: policy, ..compacted() }, OpenMode::Clean));
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let none: &[(&[u8], Option<&[u8]>)] = &[];
        builder.append(NOW, None, Some(b"x"), none).unwrap();
        builder.append(NOW, Some(b"a"), Some(b"1"), none).unwrap();
        append(&log, builder.into_bytes().unwrap()).unwrap();
        roll(&log);
        assert_eq!(clean_at(&log, NOW), None, "the policy is delete");
        log.update_config(Arc::new(compacted()));
        assert_eq!(clean_at(&log, NOW).unwrap().records.keyless, 1);
        assert_eq!(content(&log), [row(1, "a", "1")]);
    });
}

#[test]
fn a_small_memory_takes_more_rounds() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        for round in 0..3 {
            for key in 0..100 {
                put(&log, &format!("k{key}"), Some(&format!("{round}")));
            }
        }
        roll(&log);
        let small = CleaningOptions { dedupe_buffer_bytes: 24 * 60, ..options() };
        let mut ends = Vec::new();
        while let Some(mut cleaning) = log.clean(small, NOW).unwrap() {
            let report = loop {
                match cleaning.step().unwrap() {
                    CleaningStep::Done(report) => break report,
                    step => assert!(matches!(step, CleaningStep::More { .. })),
                }
            };
            assert!(report.end_offset > report.first_dirty_offset);
            ends.push(report.end_offset);
        }
        assert!(ends.len() > 4, "{ends:?}");
        assert_eq!(ends.last(), Some(&300));
        assert_eq!(content(&log), (0..100).map(|key| row(200 + key, &format!("k{key}"), "2")).collect::<Vec<_>>());
        // One that holds nothing gets nowhere, and says so rather than go round.
        put(&log, "x", Some("1"));
        roll(&log);
        let mut none = log.clean(CleaningOptions { dedupe_buffer_bytes: 10, ..options() }, NOW).unwrap().unwrap();
        let error = loop {
            match none.step() {
                Ok(step) => assert!(matches!(step, CleaningStep::More { .. })),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("raise log.cleaner.dedupe.buffer.size"), "{error}");
        drop(none);
        assert_eq!(clean_at(&log, NOW), None, "it is left alone");
    });
}

#[test]
fn a_damaged_batch_is_not_made_sound() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        put(&log, "a", Some("1"));
        put(&log, "a", Some("2"));
        roll(&log);
        log.close(true).unwrap();
        drop(log);
        let name = "00000000000000000000.log";
        let mut bytes = place.content(name);
        let at = bytes.len() - 2;
        bytes[at] ^= 1;
        place.put(name, &bytes);
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        log.set_high_watermark(2);
        let mut cleaning = log.clean(options(), NOW).unwrap().unwrap();
        let error = loop {
            match cleaning.step() {
                Ok(step) => assert!(matches!(step, CleaningStep::More { .. })),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("its checksum is"), "{error}");
        drop(cleaning);
        assert_eq!(clean_at(&log, NOW), None);
        assert_eq!(place.content(name), bytes);
        check_names(place);
    });
}
