//! All logs of a broker: loading, checkpoints, the clean-shutdown marker, deletion, speed of many partitions.

use std::time::Duration;

use ottla_log::{CleanShutdown, LogConfig, LogManager, LogManagerOptions, OffsetCheckpoint, dir_name};

use crate::*;

fn options() -> LogManagerOptions {
    LogManagerOptions { sync: false, default_config: Arc::new(small()), ..LogManagerOptions::default() }
}

fn open(place: &Place) -> Arc<LogManager> {
    Arc::new(LogManager::open(&place.env, &[place.dir.join("a"), place.dir.join("b")], options()).unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(future)
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("many-logs", number)
}

#[test]
fn logs_live_over_stops_and_crashes() {
    both(|place| {
        block_on(async {
            let manager = open(place);
            assert_eq!(manager.load(|_| None).await.unwrap().logs, 0);
            for number in 0..6 {
                let log = manager.get_or_create(&partition(number), Some(TOPIC_ID), Arc::new(small())).unwrap();
                fill(&log, 10 + number as usize);
                assert!(log.dir().ends_with(dir_name(&partition(number))));
            }
            // Spread over the directories.
            let in_a = place.env.fs().read_dir(&place.dir.join("a")).unwrap();
            assert_eq!(in_a.iter().filter(|entry| entry.is_dir).count(), 3);
            manager.get(&partition(3)).unwrap().delete_records_to(7).unwrap();
            manager.get(&partition(4)).unwrap().flush().unwrap();
            manager.checkpoint_recovery_points().unwrap();
            manager.checkpoint_log_start_offsets().unwrap();
            manager.checkpoint_high_watermarks().unwrap();
            drop(manager);

            // A crash.
            let manager = open(place);
            assert_eq!(manager.clean_shutdowns(), [CleanShutdown::No, CleanShutdown::No]);
            let report = manager.load(|_| Some(Arc::new(small()))).await.unwrap();
            assert_eq!((report.logs, report.recovered, report.failed.len()), (6, 6, 0));
            let log = manager.get(&partition(3)).unwrap();
            assert_eq!((log.log_start_offset(), log.high_watermark(), log.log_end_offset()), (7, 65, 65));
            assert_eq!(log.topic_id(), Some(TOPIC_ID));
            assert_eq!(manager.get(&partition(4)).unwrap().recovery_point(), 70);
            manager.close(Some(42)).await.unwrap();
            assert!(append(&log, batch(1, NOW)).is_err());
            drop((manager, log));

            // A clean stop.
            let manager = open(place);
            assert_eq!(manager.previous_broker_epoch(), 42);
            let report = manager.load(|_| None).await.unwrap();
            assert_eq!((report.logs, report.recovered, report.failed.len()), (6, 0, 0));
            check_offsets(&manager.get(&partition(5)).unwrap(), 0, 75);
            assert_eq!(manager.get(&partition(3)).unwrap().log_start_offset(), 7);
            // The marker is gone, should this run crash.
            assert!(!place.env.fs().exists(&place.dir.join("a/.kafka_cleanshutdown")));
        });
    });
}

#[test]
fn deleted_logs_go_after_their_delay() {
    both(|place| {
        block_on(async {
            let manager = open(place);
            manager.load(|_| None).await.unwrap();
            let log = manager.get_or_create(&partition(0), Some(TOPIC_ID), Arc::new(small())).unwrap();
            fill(&log, 100);
            assert!(manager.delete(&partition(0), NOW).unwrap());
            assert!(!manager.delete(&partition(0), NOW).unwrap());
            assert!(append(&log, batch(1, NOW)).is_err());
            let dirs = || {
                let entries = place.env.fs().read_dir(&place.dir.join("a")).unwrap();
                entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect::<Vec<_>>()
            };
            if place.env.fs().is_memory() {
                assert_eq!(dirs(), Vec::<String>::new());
            } else {
                assert!(dirs()[0].starts_with("many-logs-0.") && dirs()[0].ends_with("-delete"));
                // Reads that were under way go on.
                check_offsets(&log, 0, 500);
            }
            // The same name again, at once.
            let again = manager.get_or_create(&partition(0), Some(Uuid([9; 16])), Arc::new(small())).unwrap();
            assert_eq!(again.log_end_offset(), 0);
            manager.delete_old_segments(NOW + 60_000);
            assert_eq!(
                dirs().len(),
                usize::from(!place.env.fs().is_memory() || again.dir().starts_with(place.dir.join("a")))
            );
        });
    });
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    both(|place| {
        let _first = open(place);
        let second = LogManager::open(&place.env, &[place.dir.join("a")], options());
        let error = second.unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    });
}

#[test]
fn damaged_checkpoints_and_partitions_do_not_stop_the_others() {
    both(|place| {
        block_on(async {
            let manager = open(place);
            manager.load(|_| None).await.unwrap();
            for number in 0..4 {
                let log = manager.get_or_create(&partition(number), Some(TOPIC_ID), Arc::new(small())).unwrap();
                fill(&log, 10);
            }
            let broken = manager.get(&partition(1)).unwrap().dir().join("partition.metadata");
            drop(manager);
            place.env.fs().write_atomic(&broken, b"nonsense", false).unwrap();
            let checkpoint = place.dir.join("a/recovery-point-offset-checkpoint");
            place.env.fs().write_atomic(&checkpoint, b"0\nx\n", false).unwrap();
            let manager = open(place);
            let report = manager.load(|_| None).await.unwrap();
            assert_eq!((report.logs, report.failed.len()), (3, 1));
            assert_eq!(report.failed[0].0, partition(1));
            check_offsets(&manager.get(&partition(0)).unwrap(), 0, 50);
        });
    });
}

/// The goals for 1000 partitions (create, clean restart, recovery), with room for a slow or busy machine: this catches a
/// lost order of magnitude, the bench measures.
#[test]
fn a_thousand_partitions_are_cheap() {
    both(|place| {
        block_on(async {
            // Making a file takes ext4 milliseconds when the machine is busy; in memory only our own work counts.
            let max = Duration::from_secs(if place.env.fs().is_memory() { 5 } else { 60 });
            let check = |what: &str, took: Duration| {
                println!("{what}: {took:?}");
                assert!(took < max, "{what} took {took:?}");
            };
            let manager = open(place);
            manager.load(|_| None).await.unwrap();
            let start = place.env.monotonic();
            for number in 0..1000 {
                let log =
                    manager.get_or_create(&partition(number), Some(TOPIC_ID), Arc::new(LogConfig::default())).unwrap();
                append(&log, batch(5, NOW)).unwrap();
            }
            check("create and append", place.env.monotonic() - start);
            drop(manager);
            let manager = open(place);
            let report = manager.load(|_| None).await.unwrap();
            assert_eq!((report.logs, report.recovered), (1000, 1000));
            check("recovery", report.elapsed);
            let start = place.env.monotonic();
            manager.close(None).await.unwrap();
            check("close", place.env.monotonic() - start);
            drop(manager);
            let manager = open(place);
            let report = manager.load(|_| None).await.unwrap();
            assert_eq!((report.logs, report.recovered), (1000, 0));
            check("clean restart", report.elapsed);
        });
    });
}

/// How many logs are loaded at a time; each waits until `wanted` others are being loaded too, or for good.
fn loaded_at_a_time(place: &Place, threads: usize, wanted: usize) -> usize {
    use std::sync::{Condvar, Mutex};
    let options = LogManagerOptions { threads, ..options() };
    let manager = Arc::new(LogManager::open(&place.env, &[place.dir.join("threads")], options).unwrap());
    let state = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let seen = state.clone();
    let report = block_on(manager.load(move |_| {
        let (counts, changed) = &*seen;
        let mut guard = counts.lock().unwrap();
        guard.0 += 1;
        guard.1 = guard.1.max(guard.0);
        changed.notify_all();
        let patience = Duration::from_secs(30);
        guard = changed.wait_timeout_while(guard, patience, |(_, most)| *most < wanted).unwrap().0;
        guard.0 -= 1;
        None
    }));
    assert_eq!(report.unwrap().logs, 4);
    block_on(manager.close(None)).unwrap();
    state.0.lock().unwrap().1
}

/// `num.recovery.threads.per.data.dir`.
#[test]
fn loading_uses_the_threads_it_is_given() {
    both(|place| {
        let manager = LogManager::open(&place.env, &[place.dir.join("threads")], options()).unwrap();
        for number in 0..4 {
            manager.get_or_create(&partition(number), Some(TOPIC_ID), Arc::new(small())).unwrap();
        }
        block_on(manager.close(None)).unwrap();
        drop(manager);
        assert_eq!(loaded_at_a_time(place, 1, 1), 1);
        assert_eq!(loaded_at_a_time(place, 4, 4), 4);
    });
}

#[test]
fn many_logs_are_synced_together_when_they_close() {
    both(|place| {
        block_on(async {
            let open = || {
                let options = LogManagerOptions { sync: true, ..options() };
                Arc::new(LogManager::open(&place.env, &[place.dir.join("a"), place.dir.join("b")], options).unwrap())
            };
            let manager = open();
            manager.load(|_| None).await.unwrap();
            for number in 0..40 {
                let log = manager.get_or_create(&partition(number), Some(TOPIC_ID), Arc::new(small())).unwrap();
                fill(&log, 3);
            }
            manager.close(Some(7)).await.unwrap();
            let recovery_points = manager.logs().iter().map(|log| log.recovery_point()).collect::<Vec<_>>();
            assert!(manager.logs().iter().map(|log| log.log_end_offset()).eq(recovery_points));
            drop(manager);

            let manager = open();
            assert_eq!(manager.previous_broker_epoch(), 7);
            let report = manager.load(|_| None).await.unwrap();
            assert_eq!((report.logs, report.recovered, report.failed.len()), (40, 0, 0));
            manager.close(None).await.unwrap();
        });
    });
}

/// A broker at rest writes no checkpoint; one whose logs have changed, or come or gone, does.
#[test]
fn a_checkpoint_that_has_not_changed_is_not_written() {
    both(|place| {
        let logs = open(place);
        block_on(logs.load(|_| None)).unwrap();
        let path = place.dir.join("a").join(OffsetCheckpoint::REPLICATION);
        let is_written = || {
            logs.checkpoint_high_watermarks().unwrap();
            let is_there = place.env.fs().exists(&path);
            if is_there {
                place.env.fs().remove_file(&path).unwrap();
            }
            is_there
        };
        let log = logs.get_or_create(&partition(0), None, Arc::default()).unwrap();
        assert!(is_written());
        assert!(!is_written());
        append(&log, batch(1, NOW)).unwrap();
        assert!(is_written());
        logs.get_or_create(&partition(1), None, Arc::default()).unwrap();
        assert!(is_written());
        logs.delete(&partition(1), NOW).unwrap();
        logs.get_or_create(&partition(2), None, Arc::default()).unwrap();
        assert!(is_written(), "as many logs as before, but another one");
        assert!(!is_written());
    });
}
