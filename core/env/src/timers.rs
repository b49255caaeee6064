//! Timers of a clock that does not run by itself: a queue by deadline that somebody else moves along.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

/// The time and who waits for it. Locked before nothing else; no waker runs under the lock.
pub(crate) struct Timers(Mutex<State>);

struct State {
    /// Since the clock was made.
    now: Duration,
    /// The wall clock at `now` zero, in milliseconds since 1970.
    epoch_ms: i64,
    /// By deadline, then by who came first.
    queue: BTreeMap<Key, Waiter>,
    next: u64,
}

type Key = (Duration, u64);

struct Waiter {
    waker: Waker,
    task: Cow<'static, str>,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Timers").field("now", &state.now).field("waiting", &state.queue.len()).finish()
    }
}

impl Timers {
    pub(crate) fn new(epoch_ms: i64) -> Timers {
        Timers(Mutex::new(State { now: Duration::ZERO, epoch_ms, queue: BTreeMap::new(), next: 0 }))
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.lock().now
    }

    pub(crate) fn now_ms(&self) -> i64 {
        let state = self.0.lock();
        state.epoch_ms.saturating_add(i64::try_from(state.now.as_millis()).unwrap_or(i64::MAX))
    }

    /// Moves the wall clock alone, as a correction of a computer's clock does.
    pub(crate) fn step_wall(&self, by_ms: i64) {
        let mut state = self.0.lock();
        state.epoch_ms = state.epoch_ms.saturating_add(by_ms);
    }

    /// Moves the time; going back is not possible.
    pub(crate) fn set(&self, now: Duration) {
        let mut state = self.0.lock();
        state.now = state.now.max(now);
    }

    /// The next deadline with the name of the task that waits for it.
    pub(crate) fn next(&self) -> Option<(Duration, Cow<'static, str>)> {
        self.0.lock().queue.iter().next().map(|((deadline, _), waiter)| (*deadline, waiter.task.clone()))
    }

    /// Takes the next timer if it is due by `limit`, moves the time to its deadline and returns whom to wake.
    pub(crate) fn fire(&self, limit: Duration) -> Option<Waker> {
        let mut state = self.0.lock();
        let entry = state.queue.first_entry().filter(|entry| entry.key().0 <= limit)?;
        let ((deadline, _), waiter) = entry.remove_entry();
        state.now = state.now.max(deadline);
        Some(waiter.waker)
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().queue.len()
    }
}

/// A wait for a deadline. Ready once the time is there; dropping it takes the timer out.
pub(crate) struct Sleep {
    timers: Arc<Timers>,
    /// `None` is later than any time.
    deadline: Option<Duration>,
    key: Option<Key>,
    task: fn() -> Cow<'static, str>,
}

impl Sleep {
    /// A wait of `duration`, which is taken up to a whole millisecond, as tokio's timers do: however short, it makes the
    /// time go on.
    pub(crate) fn new(timers: &Arc<Timers>, duration: Duration, task: fn() -> Cow<'static, str>) -> Sleep {
        let deadline = timers.now().checked_add(duration).and_then(|deadline| {
            let nanos = deadline.subsec_nanos() % 1_000_000;
            deadline.checked_add(Duration::from_nanos(u64::from(if nanos == 0 { 0 } else { 1_000_000 - nanos })))
        });
        Sleep { timers: timers.clone(), deadline, key: None, task }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(deadline) = this.deadline else { return Poll::Pending };
        let mut state = this.timers.0.lock();
        if state.now >= deadline {
            let taken = this.key.take().and_then(|key| state.queue.remove(&key));
            drop(state);
            drop(taken);
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let before = match this.key.and_then(|key| state.queue.get_mut(&key)) {
            Some(waiter) if waiter.waker.will_wake(&waker) => Some(waker),
            Some(waiter) => Some(std::mem::replace(&mut waiter.waker, waker)),
            None => {
                let key = (deadline, state.next);
                state.next += 1;
                state.queue.insert(key, Waiter { waker, task: (this.task)() });
                this.key = Some(key);
                None
            }
        };
        drop(state);
        // A waker may be the last to hold a task, whose timers then come to the same lock.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let taken = self.timers.0.lock().queue.remove(&key);
            drop(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn sleep(timers: &Arc<Timers>, micros: u64) -> Sleep {
        Sleep::new(timers, Duration::from_micros(micros), || "test".into())
    }

    fn poll(sleep: Pin<&mut Sleep>) -> Poll<()> {
        sleep.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn deadlines_come_in_order_and_whole_milliseconds() {
        let timers = Arc::new(Timers::new(1_000));
        let (mut late, mut early) = (pin!(sleep(&timers, 2_001)), pin!(sleep(&timers, 500)));
        assert!(poll(late.as_mut()).is_pending() && poll(early.as_mut()).is_pending());
        assert!(timers.fire(Duration::from_micros(999)).is_none());
        assert!(timers.fire(Duration::from_secs(1)).is_some());
        assert_eq!((timers.now(), timers.now_ms()), (Duration::from_millis(1), 1_001));
        assert!(poll(early.as_mut()).is_ready() && poll(late.as_mut()).is_pending());
        assert!(timers.fire(Duration::from_secs(1)).is_some());
        assert_eq!(timers.now(), Duration::from_millis(3));
        assert!(poll(late.as_mut()).is_ready());
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let timers = Arc::new(Timers::new(0));
        {
            let mut wait = pin!(sleep(&timers, 5_000));
            assert!(poll(wait.as_mut()).is_pending() && poll(wait.as_mut()).is_pending());
            assert_eq!(timers.len(), 1);
        }
        assert_eq!((timers.len(), timers.next().is_none()), (0, true));
    }

    #[test]
    fn no_sum_overflows() {
        let timers = Arc::new(Timers::new(i64::MAX));
        timers.set(Duration::from_secs(1));
        let mut wait = pin!(Sleep::new(&timers, Duration::MAX, || "test".into()));
        assert!(poll(wait.as_mut()).is_pending());
        assert_eq!((timers.len(), timers.now_ms()), (0, i64::MAX));
    }
}
