//! Opening a log again: after a clean stop, after a crash, with damaged and missing files.

use ottla_log::{AppendOrigin, LogConfig, OpenMode, PartitionMetadata, dump};

use crate::*;

const LAST_FILES: usize = 3;

/// Opens as after a crash and checks that exactly `end` records are left and that the log works.
fn check_recovered(place: &Place, end: i64) -> Log {
    let log = place.recover(small());
    check_offsets(&log, log.log_start_offset(), end);
    log.set_high_watermark(end);
    for base_offset in log.segment_base_offsets().into_iter().filter(|_| end > 0) {
        let found = batches(&log.read(base_offset.min(end - 1), 1, end, true).unwrap());
        assert!(found[0].header.base_offset <= base_offset);
    }
    append(&log, batch(5, NOW)).unwrap();
    check_offsets(&log, log.log_start_offset(), end + 5);
    log
}

#[test]
fn a_clean_stop_is_trusted() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        assert_eq!(log.topic_id(), Some(TOPIC_ID));
        fill(&log, 100);
        append_as(&log, batch(5, NOW), 7, AppendOrigin::Client).unwrap();
        log.close(true).unwrap();
        log.close(true).unwrap();
        assert_eq!(append(&log, batch(1, NOW)).unwrap_err().code, ottla_model::ErrorCode::KafkaStorageError);
        let names = place.names();
        let log = place.open(small(), OpenMode::Clean);
        assert_eq!(place.names(), names, "opening changed the files");
        check_offsets(&log, 0, 505);
        assert_eq!(log.recovery_point(), 505);
        assert_eq!(log.end_offset_for_epoch(0), Some((0, 500)));
        assert_eq!(log.latest_epoch(), Some(7));
        assert_eq!(PartitionMetadata::read(&place.env, &place.log_dir()).unwrap().unwrap().topic_id, TOPIC_ID);
        fill(&log, 100);
        check_offsets(&log, 0, 1005);
        for name in place.names().iter().filter(|name| name.ends_with(".index")) {
            assert_eq!(dump::check_offset_index(&place.env, &place.file(name)).unwrap(), Vec::<String>::new());
        }
    });
}

#[test]
fn an_empty_log_survives() {
    both(|place| {
        drop(place.open(small(), OpenMode::Clean));
        let log = check_recovered(place, 0);
        log.close(true).unwrap();
        let log = place.open(small(), OpenMode::Clean);
        check_offsets(&log, 0, 5);
        // Kafka looks for these when it opens a directory.
        assert!(place.names().contains(&"00000000000000000000.index".to_owned()));
        assert!(place.names().contains(&"00000000000000000000.timeindex".to_owned()));
    });
}

#[test]
fn a_crash_loses_nothing() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 300);
        let index_before = log.offset_for_timestamp(NOW + 2002).unwrap();
        drop(log);
        let log = check_recovered(place, 1500);
        assert_eq!(log.offset_for_timestamp(NOW + 2002).unwrap(), index_before);
        assert_eq!(log.latest_epoch(), Some(0));
        // And from a recovery point in the middle.
        log.flush().unwrap();
        let recovery_point = log.recovery_point();
        assert_eq!(recovery_point, 1505);
        fill(&log, 100);
        drop(log);
        let log = place.open(small(), OpenMode::Recover { recovery_point });
        check_offsets(&log, 0, 2005);
        assert_eq!(log.recovery_point(), recovery_point);
        // Also without a sync all indexes are there after the close.
        log.close(false).unwrap();
        for extension in [".index", ".timeindex"] {
            let count = place.names().iter().filter(|name| name.ends_with(extension)).count();
            assert_eq!(count, log.segment_count());
        }
        for name in place.names().iter().filter(|name| name.ends_with(".timeindex")) {
            assert_eq!(dump::check_time_index(&place.env, &place.file(name)).unwrap(), Vec::<String>::new());
        }
    });
}

#[test]
fn a_torn_segment_is_cut_at_every_length() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 3);
        drop(log);
        let name = "00000000000000000000.log";
        let whole = place.content(name);
        let size = whole.len() / 3;
        for length in 0..whole.len() {
            place.put(name, &whole[..length]);
            let log = place.recover(small());
            check_offsets(&log, 0, 5 * (length / size) as i64);
            assert_eq!(place.size(&place.file(name)), (length / size * size) as u64);
        }
    });
}

#[test]
fn a_flipped_bit_anywhere_cuts_the_log_before_its_batch() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 4);
        drop(log);
        let name = "00000000000000000000.log";
        let whole = place.content(name);
        let size = whole.len() / 4;
        for at in size..3 * size {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            place.put(name, &damaged);
            let log = place.recover(small());
            let batch = at / size;
            // Base offset and leader epoch are not covered by the checksum, in Kafka's format as in ours.
            let unchecked = (at % size < 8) || (12..16).contains(&(at % size));
            if !unchecked {
                check_offsets(&log, 0, 5 * batch as i64);
            }
        }
    });
}

#[test]
fn what_lies_behind_a_damaged_segment_is_deleted() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 300);
        let bases = log.segment_base_offsets();
        assert!(bases.len() > 4);
        drop(log);
        let name = format!("{:020}.log", bases[2]);
        let mut content = place.content(&name);
        let size = batch(5, NOW).len();
        content[3 * size + 70] ^= 1;
        place.put(&name, &content);
        let log = check_recovered(place, bases[2] + 15);
        assert_eq!(log.segment_base_offsets(), bases[..3]);
        let later: Vec<String> =
            place.names().into_iter().filter(|name| name.starts_with(&format!("{:020}", bases[3]))).collect();
        assert_eq!(later, Vec::<String>::new());
        // Below the recovery point nothing is read again: there the damage stays, as in Kafka.
    });
}

#[test]
fn damaged_and_missing_indexes_are_rebuilt() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 300);
        let bases = log.segment_base_offsets();
        log.close(true).unwrap();
        drop(log);
        let indexes: Vec<String> = place.names().into_iter().filter(|name| name.ends_with("index")).collect();
        let good: Vec<Vec<u8>> = indexes.iter().map(|name| place.content(name)).collect();
        type Damage<'a> = &'a dyn Fn(&str, &[u8]);
        let damages: [Damage; 5] = [
            &|name, _| place.env.fs().remove_file(&place.file(name)).unwrap(),
            &|name, content| place.put(name, &content[..content.len() - 3]),
            &|name, content| place.put(name, &[content, &[0; 2400]].concat()),
            &|name, content| place.put(name, &[content, &[0xff; 24]].concat()),
            &|name, _| place.put(name, b"x"),
        ];
        for damage in damages {
            for (name, content) in indexes.iter().zip(&good) {
                damage(name, content);
            }
            let log = place.open(small(), OpenMode::Clean);
            check_offsets(&log, 0, 1500);
            for at in (0..1500).step_by(35) {
                let found = log.offset_for_timestamp(NOW + 2 * at).unwrap().unwrap();
                assert_eq!(found.offset, at);
            }
            log.close(true).unwrap();
            for (name, content) in indexes.iter().zip(&good).take(indexes.len() - LAST_FILES) {
                assert!(place.content(name) == *content, "{name} differs");
            }
        }
        assert_eq!(place.open(small(), OpenMode::Clean).segment_base_offsets(), bases);
    });
}

#[test]
fn leftovers_of_a_crash_are_swept() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 100);
        let bases = log.segment_base_offsets();
        log.close(true).unwrap();
        drop(log);
        let copy = place.content(&format!("{:020}.log", bases[1]));
        for name in [
            "00000000000000000000.log.deleted",
            "00000000000000000000.index.deleted",
            "00000000000000000005.snapshot.tmp",
            "00000000000000009999.index",
            "00000000000000000000.log.cleaned",
        ] {
            place.put(name, b"leftover");
        }
        // A cleaner of Apache Kafka was about to replace the second segment.
        place.put(&format!("{:020}.log.swap", bases[1]), &copy);
        // It had not begun while there are cleaned files of lower offsets: the swap is void then.
        let log = place.open(small(), OpenMode::Clean);
        check_offsets(&log, 0, 500);
        let odd = |name: &String| {
            name.contains("deleted")
                || name.contains("cleaned")
                || name.contains("swap")
                || name.contains("tmp")
                || name.starts_with("00000000000000009999")
        };
        assert_eq!(place.names().into_iter().filter(odd).collect::<Vec<_>>(), Vec::<String>::new());
        log.close(true).unwrap();
        drop(log);

        // Now it is complete: the file takes the segment's place, its indexes are made again.
        place.put(&format!("{:020}.log.swap", bases[1]), &copy);
        let log = place.open(small(), OpenMode::Clean);
        check_offsets(&log, 0, 500);
        assert_eq!(log.segment_base_offsets(), bases);
        assert_eq!(place.names().into_iter().filter(odd).collect::<Vec<_>>(), Vec::<String>::new());
    });
}

#[test]
fn foreign_and_old_files_are_refused_not_cut() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 3);
        log.close(true).unwrap();
        drop(log);
        // Another topic's directory.
        let partition = TopicPartition::new("t", 0);
        let config = Arc::new(LogConfig::default());
        let other = Some(Uuid([8; 16]));
        let opened = Log::open(&place.env, &place.log_dir(), partition.clone(), other, config.clone(), OpenMode::Clean);
        assert!(opened.unwrap_err().to_string().contains("topic id"));
        // Message format 1, as old Kafka wrote it.
        let name = "00000000000000000000.log";
        let mut old = vec![0u8; 12];
        old[8..12].copy_from_slice(&100i32.to_be_bytes());
        old.extend([0xab; 4]);
        old.push(1);
        old.extend([0x11; 95]);
        place.put(name, &old);
        let mode = OpenMode::Recover { recovery_point: 0 };
        let error = Log::open(&place.env, &place.log_dir(), partition, None, config, mode).unwrap_err();
        assert!(error.to_string().contains("message format v1"), "{error}");
        assert_eq!(place.content(name), old);
    });
}

#[test]
fn a_start_offset_behind_the_files_starts_over() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 10);
        drop(log);
        let log = place.open_from(small(), OpenMode::Recover { recovery_point: 0 }, 70);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (70, 70));
        append(&log, batch(5, NOW)).unwrap();
        check_offsets(&log, 70, 75);
    });
}

#[test]
fn truncation_cuts_whole_batches_and_forgets_producers() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        for index in 0..200 {
            append_as(&log, batch_with(5, NOW, producer(1, 0, 5 * index)), index / 50, AppendOrigin::Client).unwrap();
        }
        assert!(!log.truncate_to(1000).unwrap());
        assert!(log.truncate_to(620).unwrap());
        check_offsets(&log, 0, 620);
        assert_eq!((log.high_watermark(), log.latest_epoch()), (620, Some(2)));
        assert_eq!(log.active_producers()[&1].last_sequence(), 619);
        append_as(&log, batch_with(5, NOW, producer(1, 0, 620)), 9, AppendOrigin::Client).unwrap();
        check_offsets(&log, 0, 625);
        assert_eq!(log.end_offset_for_epoch(2), Some((2, 620)));
        drop(log);
        let log = place.recover(small());
        check_offsets(&log, 0, 625);
        assert_eq!(log.latest_epoch(), Some(9));
        log.truncate_to(0).unwrap();
        check_offsets(&log, 0, 0);
        assert!(log.active_producers().is_empty());
        append(&log, batch(5, NOW)).unwrap();

        log.truncate_fully_and_start_at(5000).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), (5000, 5000, 5000));
        append(&log, batch(5, NOW)).unwrap();
        check_offsets(&log, 5000, 5005);
        log.truncate_to(10).unwrap();
        assert_eq!(log.log_end_offset(), 10);
    });
}
