//! Which log is cleaned, from where to where, and what happens beside it.

use ottla_log::{LogManager, LogManagerOptions, OffsetCheckpoint};

use super::*;

/// One segment of `count` records with the keys k0, k1, …
fn segment(log: &Log, count: usize, timestamp: i64) {
    for index in 0..count {
        let records = keyed(&[(&format!("k{index}"), Some("v"))], timestamp, BatchOptions::default());
        append(log, records).unwrap();
    }
    roll(log);
}

#[test]
fn the_dirty_ratio_decides() {
    both(|place| {
        let config = LogConfig { min_cleanable_dirty_ratio: 0.5, ..compacted() };
        let log = Arc::new(place.open(config, OpenMode::Clean));
        assert_eq!(clean_at(&log, NOW), None, "it is empty");
        put(&log, "k0", Some("v"));
        assert_eq!(clean_at(&log, NOW), None, "the active segment is never cleaned");
        segment(&log, 9, NOW);
        assert!(clean_at(&log, NOW).is_some(), "all is dirty");
        segment(&log, 8, NOW);
        assert_eq!(clean_at(&log, NOW), None, "less than half is dirty");
        segment(&log, 8, NOW);
        let report = clean_at(&log, NOW).unwrap();
        assert_eq!((report.first_dirty_offset, report.end_offset), (10, 26));
    });
}

#[test]
fn lags_decide() {
    both(|place| {
        let config = LogConfig { min_compaction_lag_ms: HOUR, ..compacted() };
        let log = Arc::new(place.open(config.clone(), OpenMode::Clean));
        segment(&log, 5, NOW - 2 * HOUR);
        segment(&log, 5, NOW - HOUR / 2);
        segment(&log, 5, NOW - 2 * HOUR);
        let report = clean_at(&log, NOW).unwrap();
        assert_eq!(report.end_offset, 5, "the second segment is too young, and what follows waits for it");
        assert_eq!(clean_at(&log, NOW), None);
        assert_eq!(clean_at(&log, NOW + HOUR).unwrap().end_offset, 15);

        // What waits for longer than the largest lag is cleaned, whatever the ratio.
        let config = LogConfig { min_cleanable_dirty_ratio: 1.0, max_compaction_lag_ms: HOUR, ..compacted() };
        log.update_config(Arc::new(config));
        segment(&log, 2, NOW);
        assert_eq!(clean_at(&log, NOW + HOUR), None);
        assert_eq!(clean_at(&log, NOW + HOUR + 1).unwrap().end_offset, 17);
        // And its segment is rolled by then, although segment.ms is a week.
        log.append_as_leader(keyed(&[("z", Some("1"))], NOW, BatchOptions::default()), 0, AppendOrigin::Client, NOW)
            .unwrap();
        let segments = log.segment_count();
        let late = NOW + HOUR + 1;
        log.append_as_leader(keyed(&[("z", Some("2"))], late, BatchOptions::default()), 0, AppendOrigin::Client, late)
            .unwrap();
        assert_eq!(log.segment_count(), segments + 1);
    });
}

fn manager(place: &Place, config: LogConfig) -> Arc<LogManager> {
    let options = LogManagerOptions { default_config: Arc::new(config), ..LogManagerOptions::default() };
    Arc::new(LogManager::open(&place.env, std::slice::from_ref(&place.dir), options).unwrap())
}

fn load(manager: &Arc<LogManager>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(manager.load(|_| None)).unwrap();
}

fn run(manager: &LogManager, now_ms: i64) -> Option<String> {
    let mut cleaning = manager.clean_filthiest(options(), now_ms)?;
    loop {
        match cleaning.step().unwrap() {
            CleaningStep::More { .. } => {}
            CleaningStep::Done(report) => {
                manager.checkpoint_cleaner_offsets().unwrap();
                return Some(report.partition.to_string());
            }
            CleaningStep::GivenUp => return None,
        }
    }
}

#[test]
fn the_filthiest_log_is_first_and_the_checkpoint_is_kept() {
    both(|place| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let config = LogConfig { min_cleanable_dirty_ratio: 0.2, ..compacted() };
        let logs = manager(place, config.clone());
        load_in(&runtime, &logs);
        let partition = |number| TopicPartition::new("t", number);
        let log = |number| logs.get_or_create(&partition(number), None, Arc::new(config.clone())).unwrap();
        assert!(!logs.may_be_dirty());
        for number in 0..3 {
            segment(&log(number), 10, NOW);
        }
        assert!(logs.may_be_dirty());
        let names: Vec<_> = std::iter::from_fn(|| run(&logs, NOW)).collect();
        assert_eq!(names, ["t-0", "t-1", "t-2"], "equally dirty ones come in their order");
        segment(&log(0), 4, NOW);
        segment(&log(1), 8, NOW);
        segment(&log(2), 1, NOW);
        let names: Vec<_> = std::iter::from_fn(|| run(&logs, NOW)).collect();
        assert_eq!(names, ["t-1", "t-0"]);
        let checkpoint = OffsetCheckpoint::new(&place.dir, OffsetCheckpoint::CLEANER);
        let text = || String::from_utf8(place.env.fs().read(checkpoint.path()).unwrap()).unwrap();
        assert_eq!(text(), "0\n3\nt 0 14\nt 1 18\nt 2 10\n");

        // Two cleaners do not meet.
        segment(&log(2), 30, NOW);
        let first = logs.clean_filthiest(options(), NOW).unwrap();
        assert_eq!(first.log().topic_partition(), &partition(2));
        assert!(logs.clean_filthiest(options(), NOW).is_none());
        drop(first);
        assert!(logs.clean_filthiest(options(), NOW).is_some(), "one that was given up may begin again");

        assert!(logs.delete(&partition(1), NOW).unwrap());
        assert_eq!(text(), "0\n2\nt 0 14\nt 2 10\n");
        runtime.block_on(logs.close(None)).unwrap();
        let config = logs.get(&partition(2)).unwrap().config();
        drop(logs);
        let logs = manager(place, (*config).clone());
        load(&logs);
        assert_eq!(logs.get(&partition(0)).unwrap().first_dirty_offset(), Some(14));
        assert_eq!(logs.get(&partition(2)).unwrap().first_dirty_offset(), Some(10));
    });
}

fn load_in(runtime: &tokio::runtime::Runtime, manager: &Arc<LogManager>) {
    runtime.block_on(manager.load(|_| None)).unwrap();
}

#[test]
fn an_offset_that_cannot_be_right_starts_over() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        segment(&log, 5, NOW);
        log.set_first_dirty_offset(500);
        assert_eq!(clean_at(&log, NOW).unwrap().first_dirty_offset, 0);
        segment(&log, 5, NOW);
        assert!(log.truncate_to(3).unwrap());
        assert_eq!(log.first_dirty_offset(), Some(3));
        segment(&log, 5, NOW);
        log.delete_records_to(4).unwrap();
        assert_eq!(clean_at(&log, NOW).unwrap().first_dirty_offset, 4);
    });
}

#[test]
fn a_cleaning_gives_up_when_the_log_changes_under_it() {
    let changes: [&dyn Fn(&Log); 4] = [
        &|log| assert!(log.delete_old_segments(NOW + 100 * HOUR).unwrap() > 0),
        &|log| log.close(true).unwrap(),
        &|log| log.abandon(),
        &|log| log.update_config(Arc::new(small())),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        for steps in [0, 1, 5, 9, 14] {
            both(|place| {
                let policy = CleanupPolicy { delete: true, compact: true };
                let config = LogConfig { cleanup_policy: policy, retention_ms: HOUR, ..compacted() };
                let log = Arc::new(place.open(config.clone(), OpenMode::Clean));
                segment(&log, 5, NOW);
                segment(&log, 5, NOW);
                segment(&log, 5, NOW + 200 * HOUR);
                let mut cleaning = log.clean(options(), NOW).unwrap().unwrap();
                for _ in 0..steps {
                    assert!(matches!(cleaning.step().unwrap(), CleaningStep::More { .. }));
                }
                change(&log);
                let last = loop {
                    match cleaning.step().unwrap() {
                        CleaningStep::More { .. } => {}
                        last => break last,
                    }
                };
                let done = matches!(last, CleaningStep::Done(_));
                // What retention takes before the segments were put into groups is not missed.
                assert!(!done || at == 0, "after {steps} steps: {last:?}");
                drop(cleaning);
                check_names(place);
                if done {
                    assert_eq!(content(&log).iter().map(|row| row.0).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
                    return;
                }
                assert_eq!(log.first_dirty_offset(), None);
                let end = log.log_end_offset();
                drop(log);
                let log = Arc::new(place.open(config, OpenMode::Recover { recovery_point: 0 }));
                log.set_high_watermark(end);
                assert_eq!(log.log_end_offset(), end);
                clean_at(&log, NOW).unwrap();
                assert_eq!(content(&log).iter().map(|row| row.0).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
            });
        }
    }
}

/// Readers, a writer and the cleaner side by side: a reader that goes through the log sees offsets rise, and in the end the
/// last value of each key.
#[test]
fn readers_and_writers_go_on() {
    both(|place| {
        let config = LogConfig { file_delete_delay_ms: 0, segment_bytes: 2000, ..compacted() };
        let log = Arc::new(place.open(config, OpenMode::Clean));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    clean_at(&log, NOW);
                }
            });
            let reader = || {
                while !done.load(Ordering::Relaxed) {
                    let (mut next, mut last) = (0, std::collections::BTreeMap::new());
                    let upper = log.high_watermark();
                    while next < upper {
                        let data = log.read(next, 3000, upper, true).unwrap();
                        let found = batches(&data);
                        let Some(end) = found.last() else { break };
                        for record in records_of(&found) {
                            assert!(record.offset >= next || found[0].header.base_offset < next);
                            last.insert(record.key.unwrap(), record.offset);
                        }
                        next = end.header.next_offset();
                    }
                    assert!(last.len() == 50 || upper < 50, "{} keys below {upper}", last.len());
                }
            };
            scope.spawn(reader);
            scope.spawn(reader);
            for number in 0..6000 {
                put(&log, &format!("k{}", number % 50), Some("value"));
            }
            done.store(true, Ordering::Relaxed);
        });
        roll(&log);
        clean_at(&log, NOW);
        assert_eq!(content(&log).len(), 50);
    });
}

/// Forks share sealed segments; each side is cleaned for itself.
#[test]
fn a_fork_keeps_what_it_had() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        segment(&log, 5, NOW);
        segment(&log, 5, NOW);
        let dir = place.dir.join("fork-0");
        log.fork_into(&place.env, &dir, None).unwrap();
        clean_at(&log, NOW).unwrap();
        assert_eq!(content(&log).len(), 5);
        let open = || {
            Log::open(&place.env, &dir, TopicPartition::new("fork", 0), None, Arc::new(compacted()), OpenMode::Clean)
        };
        let fork = Arc::new(open().unwrap());
        fork.set_high_watermark(10);
        assert_eq!(content(&fork).len(), 10);
        put(&fork, "k0", Some("fork"));
        roll(&fork);
        clean_at(&fork, NOW).unwrap();
        assert_eq!(content(&fork).iter().map(|row| row.0).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
        assert_eq!(content(&log).iter().map(|row| row.0).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    });
}

/// `log.cleaner.io.buffer.size` bounds what a step takes, and so how long it takes.
#[test]
fn a_step_reads_about_as_much_as_its_buffer_holds() {
    both(|place| {
        let log = Arc::new(place.open(compacted(), OpenMode::Clean));
        segment(&log, 100, NOW);
        let size = log.size();
        let steps = |io_buffer_bytes: usize| {
            let mut cleaning = log.clean(CleaningOptions { io_buffer_bytes, ..options() }, NOW).unwrap().unwrap();
            let mut steps = Vec::new();
            // The walk over the keys is enough; what is dropped then may begin again.
            while steps.iter().sum::<u64>() < size {
                match cleaning.step().unwrap() {
                    CleaningStep::More { io_bytes } => steps.push(io_bytes),
                    other => panic!("{other:?}"),
                }
            }
            steps
        };
        assert_eq!(steps(1 << 20), [size]);
        let small = steps(1000);
        assert!(small.len() as u64 >= size / 1000 && small.iter().all(|bytes| *bytes <= 1000), "{small:?}");
        // A batch is never cut.
        assert!(steps(1).iter().all(|bytes| *bytes > 61));
    });
}
