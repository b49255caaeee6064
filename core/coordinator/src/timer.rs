//! A deadline queue: named deadlines in milliseconds, each name at most once.
//!
//! It knows no clock: the owner asks for the next deadline, waits outside, and comes back with the time.

use std::collections::BTreeMap;

/// Deadlines by key. Scheduling a key again moves it; equal deadlines fire in the order in which they were scheduled.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_key: BTreeMap<K, (i64, u64)>,
    by_time: BTreeMap<(i64, u64), K>,
    sequence: u64,
}

impl<K: Ord + Clone> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeMap::new(), sequence: 0 }
    }

    /// Sets the deadline of `key`, replacing an earlier one.
    pub(crate) fn schedule(&mut self, key: K, deadline_ms: i64) {
        self.cancel(&key);
        self.sequence += 1;
        let slot = (deadline_ms, self.sequence);
        self.by_key.insert(key.clone(), slot);
        self.by_time.insert(slot, key);
    }

    pub(crate) fn cancel(&mut self, key: &K) {
        if let Some(slot) = self.by_key.remove(key) {
            self.by_time.remove(&slot);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.by_time.first_key_value().map(|((deadline_ms, _), _)| *deadline_ms)
    }

    /// A mark between what is scheduled now and what will be scheduled later, for [`Timers::pop_due`].
    pub(crate) fn mark(&self) -> u64 {
        self.sequence
    }

    /// Takes the earliest key whose deadline is not after `now_ms` and that was scheduled before `mark`: a handler that
    /// schedules something for right now gets it in the next round, not in an endless loop.
    pub(crate) fn pop_due(&mut self, now_ms: i64, mark: u64) -> Option<K> {
        let mut due = self.by_time.range(..=(now_ms, u64::MAX));
        let slot = due.find(|((_, sequence), _)| *sequence <= mark).map(|(slot, _)| *slot)?;
        let key = self.by_time.remove(&slot)?;
        self.by_key.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescheduling_moves_and_ties_keep_order() {
        let mut timers = Timers::new();
        timers.schedule("a", 10);
        timers.schedule("b", 10);
        timers.schedule("c", 5);
        timers.schedule("c", 20);
        assert_eq!(timers.next_deadline(), Some(10));
        let mark = timers.mark();
        assert_eq!(timers.pop_due(9, mark), None);
        assert_eq!(timers.pop_due(10, mark), Some("a"));
        timers.cancel(&"b");
        assert_eq!(timers.pop_due(15, mark), None);
        timers.schedule("d", 0);
        assert_eq!(timers.pop_due(20, mark), Some("c"));
        assert_eq!(timers.pop_due(20, mark), None, "scheduled after the mark");
        assert_eq!(timers.pop_due(20, timers.mark()), Some("d"));
        assert_eq!((timers.next_deadline(), timers.len()), (None, 0));
    }
}
