//! Random logs against a model that knows nothing of batches and segments: what stays is, for each key, the latest record
//! that was not aborted, and a tombstone for as long as its horizon lies ahead. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A small generator, so that a seed says all.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// One record as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Option<String>,
    pub timestamp: i64,
}

/// What was appended, and what should be left of it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub records: BTreeMap<i64, Entry>,
    pub aborted: BTreeSet<i64>,
    /// Offsets of each open transaction.
    open: BTreeMap<i64, Vec<i64>>,
    sequences: BTreeMap<i64, i32>,
    /// Up to where the log was cleaned.
    pub clean_end: i64,
    cleaned_ms: i64,
}

impl Model {
    /// The latest record of each key below `end` that was not aborted.
    fn latest(&self, end: i64) -> BTreeMap<&str, i64> {
        let kept = self.records.range(..end).filter(|(offset, _)| !self.aborted.contains(offset));
        kept.map(|(offset, entry)| (entry.key.as_str(), *offset)).collect()
    }

    /// Notes a cleaning.
    pub fn on_clean(&mut self, end: i64, now_ms: i64) {
        self.clean_end = end;
        self.cleaned_ms = now_ms;
    }

    /// Checks what a log holds.
    pub fn check(&self, log: &Log, context: &str) {
        let batches = read_all(log, log.log_start_offset());
        let mut next_offset = 0;
        for batch in &batches {
            assert!(batch.header.base_offset >= next_offset, "{context}: batches overlap");
            next_offset = batch.header.next_offset();
        }
        let latest = self.latest(self.clean_end);
        let mut found = BTreeSet::new();
        for batch in batches.iter().filter(|batch| !batch.header.is_control()) {
            for record in records_of(std::slice::from_ref(batch)) {
                let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                let entry = Entry {
                    key: text(record.key.as_ref().unwrap()),
                    value: record.value.as_ref().map(text),
                    timestamp: record.timestamp,
                };
                let offset = record.offset;
                assert_eq!(self.records.get(&offset), Some(&entry), "{context}: offset {offset}");
                if offset < self.clean_end {
                    assert_eq!(
                        latest.get(entry.key.as_str()),
                        Some(&offset),
                        "{context}: {entry:?} at {offset} is stale"
                    );
                    if entry.value.is_none() {
                        let horizon_ms = batch.header.delete_horizon_ms();
                        assert!(
                            horizon_ms.is_some_and(|horizon_ms| horizon_ms > self.cleaned_ms),
                            "{context}: {offset}"
                        );
                    }
                }
                assert!(found.insert(offset));
            }
        }
        for (key, offset) in latest {
            if self.records[&offset].value.is_some() {
                assert!(found.contains(&offset), "{context}: the value of {key} at {offset} is lost");
            }
        }
        let dirty = self.records.range(self.clean_end..).map(|(offset, _)| *offset);
        assert!(dirty.into_iter().all(|offset| found.contains(&offset)), "{context}: what is not clean has changed");
    }

    /// What a read-committed consumer ends up with: the log's records without the aborted ones, the latest of each key.
    pub fn view(&self) -> BTreeMap<String, String> {
        let latest = self.latest(i64::MAX);
        let value = |(key, offset): (&str, i64)| Some((key.to_owned(), self.records[&offset].value.clone()?));
        latest.into_iter().filter_map(value).collect()
    }
}

/// The same, as the log has it.
pub fn view_of(log: &Log) -> BTreeMap<String, String> {
    let end = log.last_stable_offset();
    let mut aborted = log.aborted_transactions(0, end).unwrap();
    aborted.sort_by_key(|txn| txn.first_offset);
    let mut view = BTreeMap::new();
    for batch in read_all(log, 0).iter().filter(|batch| !batch.header.is_control() && batch.header.base_offset < end) {
        let header = batch.header;
        let is_aborted = header.is_transactional()
            && aborted.iter().any(|txn| {
                txn.producer_id == header.producer_id
                    && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
            });
        if is_aborted {
            continue;
        }
        for record in records_of(std::slice::from_ref(batch)) {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            match record.value {
                Some(value) => drop(view.insert(key, String::from_utf8(value.to_vec()).unwrap())),
                None => drop(view.remove(&key)),
            }
        }
    }
    view
}

/// Appends something at random.
pub fn act(log: &Log, model: &mut Model, dice: &mut Dice, now_ms: i64) {
    match dice.roll(12) {
        0 if log.log_end_offset() > 0 => drop(log.maybe_roll(i64::MAX / 2).unwrap()),
        1 | 2 => {
            // A transaction ends.
            let Some(id) = model.open.keys().next().copied() else { return };
            let offsets = model.open.remove(&id).unwrap();
            let commit = dice.roll(3) > 0;
            if !commit {
                model.aborted.extend(offsets);
            }
            append_as(log, marker(id, 0, commit), 0, AppendOrigin::Coordinator).unwrap();
        }
        _ => {
            let kind = dice.roll(4);
            let id = 1 + dice.roll(3) as i64 + if kind == 2 { 10 } else { 0 };
            let sequence = model.sequences.entry(id).or_default();
            let mut options = match kind {
                0 | 1 => BatchOptions::default(),
                2 => producer(id, 0, *sequence),
                _ => transactional(id, 0, *sequence),
            };
            options.compression = Compression::ALL[dice.roll(5) as usize];
            let count = 1 + dice.roll(4) as usize;
            if kind >= 2 {
                *sequence += count as i32;
            }
            let records: Vec<(String, Option<String>)> = (0..count)
                .map(|_| {
                    let value = (dice.roll(4) > 0).then(|| format!("v{}", dice.roll(1_000_000)));
                    (format!("k{}", dice.roll(15)), value)
                })
                .collect();
            let borrowed: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            let first = append(log, keyed(&borrowed, now_ms, options)).unwrap().first_offset;
            for (at, (key, value)) in records.into_iter().enumerate() {
                let timestamp = now_ms + at as i64;
                model.records.insert(first + at as i64, Entry { key, value, timestamp });
                if kind == 3 {
                    model.open.entry(id).or_default().push(first + at as i64);
                }
            }
        }
    }
}

fn random_log(seed: u64) {
    let place = Place { env: Env::memory(), dir: "/model".into() };
    let mut dice = Dice::new(seed);
    let config = LogConfig {
        segment_bytes: 400 + dice.roll(2000) as u32,
        index_interval_bytes: dice.roll(300) as u32,
        // So that the roll above does.
        segment_ms: i64::MAX / 4,
        ..compacted()
    };
    let mut log = Arc::new(place.open(config.clone(), OpenMode::Clean));
    let mut model = Model::default();
    let mut now_ms = NOW;
    for step in 0..300 {
        act(&log, &mut model, &mut dice, now_ms);
        now_ms += dice.roll(HOUR as u64 / 8) as i64;
        let context = format!("seed {seed}, step {step}");
        if dice.roll(20) == 0
            && let Some(report) = clean_at(&log, now_ms)
        {
            model.on_clean(report.end_offset, now_ms);
            model.check(&log, &context);
        }
        if dice.roll(60) == 0 {
            let (end, first_dirty) = (log.log_end_offset(), log.first_dirty_offset());
            let producers = log.active_producers();
            if dice.roll(2) == 0 {
                log.close(true).unwrap();
            }
            drop(log);
            log = Arc::new(place.recover(config.clone()));
            assert_eq!(log.log_end_offset(), end, "{context}");
            log.set_high_watermark(end);
            if let Some(offset) = first_dirty {
                log.set_first_dirty_offset(offset);
            }
            for (id, before) in producers {
                let after = log.active_producers().get(&id).copied();
                let facts = |entry: &ottla_log::ProducerStateEntry| {
                    (entry.producer_epoch, entry.last_sequence(), entry.last_offset(), entry.current_txn_first_offset)
                };
                assert_eq!(after.as_ref().map(facts), Some(facts(&before)), "{context}: producer {id}");
            }
            model.check(&log, &context);
        }
    }
    // All transactions end, all is clean: what a consumer sees is what was written.
    for id in model.open.keys().copied().collect::<Vec<_>>() {
        model.aborted.extend(model.open.remove(&id).unwrap());
        append_as(&log, marker(id, 0, false), 0, AppendOrigin::Coordinator).unwrap();
    }
    assert_eq!(view_of(&log), model.view(), "seed {seed}, not yet clean");
    log.maybe_roll(i64::MAX / 2).unwrap();
    for _ in 0..2 {
        if let Some(report) = clean_at(&log, now_ms) {
            model.on_clean(report.end_offset, now_ms);
        }
        now_ms += 2 * HOUR;
    }
    model.check(&log, &format!("seed {seed}, the end"));
    assert_eq!(view_of(&log), model.view(), "seed {seed}");
}

#[test]
fn random_logs_hold_what_the_model_holds() {
    for seed in 0..60 {
        random_log(seed);
    }
}
