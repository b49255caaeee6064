//! The process dies at every single change of a file that a cleaning makes, and again at every one of the recovery after
//! it. Nothing that was there is lost, nothing that was gone comes back, and the next cleaning ends as if nothing had been.

use super::model::{Dice, Model, act, view_of};
use super::*;

struct Case {
    place: Place,
    log: Arc<Log>,
    model: Model,
    now_ms: i64,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 900, segment_ms: i64::MAX / 4, index_interval_bytes: 100, ..compacted() }
}

/// The same log for the same seed: cleaned once before, so that horizons and headers are in it.
fn build(seed: u64, steps: i32) -> Case {
    let place = Place { env: Env::memory(), dir: "/crash".into() };
    let log = Arc::new(place.open(config(), OpenMode::Clean));
    let (mut model, mut dice, mut now_ms) = (Model::default(), Dice::new(seed), NOW);
    for step in 0..steps {
        act(&log, &mut model, &mut dice, now_ms);
        now_ms += HOUR / 60;
        if step == steps / 2 {
            log.maybe_roll(i64::MAX / 2).unwrap();
            if let Some(report) = clean_at(&log, now_ms) {
                model.on_clean(report.end_offset, now_ms);
            }
        }
    }
    log.maybe_roll(i64::MAX / 2).unwrap();
    log.flush().unwrap();
    Case { place, log, model, now_ms }
}

/// Cleans until it is done or the file system dies; true if it was done.
fn clean_or_die(case: &Case) -> bool {
    let Ok(Some(mut cleaning)) = case.log.clean(options(), case.now_ms + HOUR) else { return false };
    loop {
        match cleaning.step() {
            Ok(CleaningStep::More { .. }) => {}
            Ok(CleaningStep::Done(_)) => return true,
            Ok(CleaningStep::GivenUp) | Err(_) => return false,
        }
    }
}

/// Opens the log as the next process does; its recovery may die as well.
fn reopen(case: &Case, recovery_point: i64) -> Result<Log, ottla_log::LogError> {
    let partition = TopicPartition::new("t", 0);
    let mode = OpenMode::Recover { recovery_point };
    Log::open(&case.place.env, &case.place.log_dir(), partition, Some(TOPIC_ID), Arc::new(config()), mode)
}

fn check_after(case: &Case, log: Log, view: &std::collections::BTreeMap<String, String>, context: &str) {
    let end = case.log.log_end_offset();
    assert_eq!(log.log_end_offset(), end, "{context}");
    log.set_high_watermark(end);
    assert_eq!(&view_of(&log), view, "{context}");
    check_names(&case.place);
    for batch in read_all(&log, 0).iter().filter(|batch| !batch.header.is_control()) {
        for record in records_of(std::slice::from_ref(batch)) {
            assert!(case.model.records.contains_key(&record.offset), "{context}");
        }
    }
    let log = Arc::new(log);
    if let Some(offset) = case.log.first_dirty_offset() {
        log.set_first_dirty_offset(offset.min(case.model.clean_end));
    }
    let mut model = case.model.clone();
    if let Some(report) = clean_at(&log, case.now_ms + HOUR) {
        model.on_clean(report.end_offset, case.now_ms + HOUR);
    }
    model.check(&log, context);
    assert_eq!(&view_of(&log), view, "{context}, cleaned");
    append(&log, batch(3, NOW)).unwrap();
    log.close(true).unwrap();
}

#[test]
fn a_crash_at_every_change_loses_nothing() {
    let mut crashes = 0;
    for seed in 0..4 {
        for changes in 0.. {
            let case = build(seed, 80);
            let view = view_of(&case.log);
            let recovery_point = case.log.recovery_point();
            case.place.env.fs().crash_after(Some(changes));
            let is_done = clean_or_die(&case);
            case.log.abandon();
            case.place.env.fs().crash_after(None);
            let context = format!("seed {seed}, crash after {changes} changes");
            let point = if changes % 3 == 0 { 0 } else { recovery_point };
            let log = reopen(&case, point).unwrap_or_else(|error| panic!("{context}: {error}"));
            check_after(&case, log, &view, &context);
            crashes += 1;
            if is_done {
                break;
            }
        }
    }
    assert!(crashes > 100, "{crashes} crashes are too few for this to be of worth");
}

#[test]
fn a_crash_of_the_recovery_after_a_crash_loses_nothing() {
    let seed = 3;
    let mut total = 0;
    while {
        let case = build(seed, 40);
        case.place.env.fs().crash_after(Some(total));
        let done = clean_or_die(&case);
        case.place.env.fs().crash_after(None);
        !done
    } {
        total += 1;
    }
    let mut again = 0;
    for changes in 0..total {
        for recovery_changes in 0.. {
            let case = build(seed, 40);
            let view = view_of(&case.log);
            case.place.env.fs().crash_after(Some(changes));
            clean_or_die(&case);
            case.log.abandon();
            case.place.env.fs().crash_after(Some(recovery_changes));
            // Removals of leftovers may fail without the log being refused, so what was opened is not looked at.
            let _ = reopen(&case, case.log.recovery_point());
            let is_over = case.place.env.fs().create_dir_all(&case.place.dir).is_ok();
            case.place.env.fs().crash_after(None);
            let context = format!("crash after {changes} changes, and after {recovery_changes} of the recovery");
            // From the recovery point on, or all of it: then segments that overlap would be cut off.
            let point = if recovery_changes % 2 == 0 { 0 } else { case.log.recovery_point() };
            let log = reopen(&case, point).unwrap_or_else(|error| panic!("{context}: {error}"));
            check_after(&case, log, &view, &context);
            again += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(again > 100, "{again}");
}
