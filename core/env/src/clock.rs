//! The virtual clock: time moves only when a test says so, while tasks run on tokio as ever.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::Env;
use crate::activity::{Activity, resting};
use crate::fs::Fs;
use crate::timers::Timers;

/// How many polls of tasks one rest may take by default: some seconds of work.
const DEFAULT_POLLS_MAX: u64 = 10_000_000;

/// A clock that stands still until it is moved, for every [`Env`] that is made from it.
///
/// [`advance`](VirtualClock::advance) fires the timers of all brokers and in-process clients that share the clock, in the
/// order of their deadlines, and waits after each until everything that it set off has come to rest. So a test of
/// something that takes seven days contains no sleep and sees what it would see after seven days. Each timer that fires costs
/// some microseconds: an idle broker sets a quarter of a million in a week, a consumer that goes on polling a million.
/// [`jump`](VirtualClock::jump) is there for when that is too much.
///
/// What takes part is what runs in an `Env` of this clock: its tasks, its timers, its blocking jobs. The test's own task may
/// wait for these beside the clock (`tokio::join!`). What happens outside is not waited for: TCP clients, tasks that were
/// started with `tokio::spawn` on another thread, other environments.
///
/// While time stands still, a call that needs a timer to end (a `linger.ms`, a retry) does not end; [`run`](VirtualClock::run)
/// moves the time for as long as such a call waits.
///
/// ```
/// use ottla_env::VirtualClock;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ottla_env::ClockError> {
/// let clock = VirtualClock::new();
/// let env = clock.env();
/// let wait = env.clone();
/// let task = env.spawn("waits", async move { wait.sleep(Duration::from_secs(3600)).await });
///
/// clock.advance(Duration::from_secs(3599)).await?;
/// assert!(!task.is_finished());
/// clock.advance(Duration::from_secs(1)).await?;
/// assert!(task.is_finished());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VirtualClock(Arc<Inner>);

struct Inner {
    timers: Arc<Timers>,
    activity: Arc<Activity>,
    /// Held while the time is being moved, so that two who do so take turns.
    turn: tokio::sync::Mutex<()>,
    polls_max: AtomicU64,
}

/// Why a virtual clock gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockError {
    /// Tasks go on waking each other without ever waiting for time, or for somebody outside, so the next timer never gets its
    /// turn.
    Restless {
        /// How often tasks were polled before the clock gave up.
        polls: u64,
        /// Who was at work then.
        tasks: String,
    },
    /// What [`VirtualClock::run`] was to run had not ended at its limit.
    Late {
        /// The limit.
        limit: Duration,
    },
    /// [`VirtualClock::set`] was asked for a time that is over.
    Past {
        /// The time that was asked for, in milliseconds since 1970.
        wanted_ms: i64,
        /// The time now.
        now_ms: i64,
    },
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockError::Restless { polls, tasks } => write!(
                f,
                "nothing came to rest within {polls} polls, so time cannot move on; still at work: {tasks}. A task that works \
                 without waiting for time has to end first, or the clock needs a larger set_polls_max"
            ),
            ClockError::Late { limit } => write!(f, "it had not ended after {limit:?} of virtual time"),
            ClockError::Past { wanted_ms, now_ms } => {
                write!(f, "the clock cannot go back from {now_ms} to {wanted_ms}; step_wall moves the wall clock alone")
            }
        }
    }
}

impl std::error::Error for ClockError {}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualClock").field(&self.0.timers).finish()
    }
}

impl Default for VirtualClock {
    fn default() -> VirtualClock {
        VirtualClock::new()
    }
}

impl VirtualClock {
    /// A clock that stands at the present time.
    pub fn new() -> VirtualClock {
        VirtualClock::starting_at(crate::system_now_ms())
    }

    /// A clock that stands at `now_ms`, in milliseconds since 1970.
    pub fn starting_at(now_ms: i64) -> VirtualClock {
        VirtualClock(Arc::new(Inner {
            timers: Arc::new(Timers::new(now_ms)),
            activity: Arc::new(Activity::new()),
            turn: tokio::sync::Mutex::new(()),
            polls_max: AtomicU64::new(DEFAULT_POLLS_MAX),
        }))
    }

    /// An environment with this clock and a new, empty file system in memory; what a client in the process takes. Its blocking
    /// jobs run where they are called.
    ///
    /// A broker on a directory has [`Env::with_fs`] of it with [`Fs::real`]; its blocking jobs run on tokio's blocking pool,
    /// and the clock waits for them.
    pub fn env(&self) -> Env {
        Env::on_clock(self.clone(), Fs::memory())
    }

    /// Milliseconds since 1970 by this clock.
    pub fn now_ms(&self) -> i64 {
        self.0.timers.now_ms()
    }

    /// How far this clock was moved since it was made.
    pub fn elapsed(&self) -> Duration {
        self.0.timers.now()
    }

    /// Moves the time by `by`. Fires every timer that is due by then, also those that are set meanwhile, in the order of their
    /// deadlines and each at its deadline; waits after each until everything it set off has come to rest, and returns when
    /// nothing is left to do. Timers have whole milliseconds.
    ///
    /// Calls on clones of the clock take turns. Dropping the future leaves the time where it is.
    ///
    /// # Errors
    /// [`ClockError::Restless`]; the time is then where the last timer was due.
    pub async fn advance(&self, by: Duration) -> Result<(), ClockError> {
        let _turn = self.0.turn.lock().await;
        self.advance_to(self.elapsed().saturating_add(by)).await
    }

    /// As [`VirtualClock::advance`], to a time in milliseconds since 1970.
    ///
    /// # Errors
    /// [`ClockError::Past`], and as `advance`.
    pub async fn set(&self, now_ms: i64) -> Result<(), ClockError> {
        let _turn = self.0.turn.lock().await;
        let current_ms = self.now_ms();
        let by = now_ms.checked_sub(current_ms).and_then(|by| u64::try_from(by).ok());
        let by = by.ok_or(ClockError::Past { wanted_ms: now_ms, now_ms: current_ms })?;
        self.advance_to(self.elapsed().saturating_add(Duration::from_millis(by))).await
    }

    /// Moves the time by `by` at one stroke, as for a computer that was suspended: timers that were due meanwhile fire once, in
    /// the order of their deadlines, but all of them see the new time.
    ///
    /// # Errors
    /// As [`VirtualClock::advance`].
    pub async fn jump(&self, by: Duration) -> Result<(), ClockError> {
        let _turn = self.0.turn.lock().await;
        self.rest().await?;
        let target = self.elapsed().saturating_add(by);
        self.0.timers.set(target);
        self.advance_to(target).await
    }

    /// Corrects the wall clock by `by_ms` milliseconds, forwards or back. No timer fires: they follow the time that passes, not
    /// what the wall clock says.
    pub fn step_wall(&self, by_ms: i64) {
        self.0.timers.step_wall(by_ms);
    }

    /// Waits until everything that is at work has come to rest, without moving the time.
    ///
    /// # Errors
    /// [`ClockError::Restless`].
    pub async fn settle(&self) -> Result<(), ClockError> {
        let _turn = self.0.turn.lock().await;
        self.rest().await
    }

    /// Runs `future` to its end, and moves the time from timer to timer whenever everything else is at rest, as fast as the
    /// work allows. At most `limit` of virtual time.
    ///
    /// # Errors
    /// [`ClockError::Late`] when the future has not ended by then, and as [`VirtualClock::advance`]; the future has been
    /// dropped.
    ///
    /// ```
    /// # use ottla_env::VirtualClock;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ottla_env::ClockError> {
    /// let clock = VirtualClock::new();
    /// let env = clock.env();
    /// clock.run(Duration::from_secs(60), env.sleep(Duration::from_secs(30))).await?;
    /// assert_eq!(clock.elapsed(), Duration::from_secs(30));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, ClockError> {
        let limit_at = self.elapsed().saturating_add(limit);
        let moving = async {
            let _turn = self.0.turn.lock().await;
            loop {
                self.rest().await?;
                match self.0.timers.fire(limit_at) {
                    Some(waker) => waker.wake(),
                    None => break,
                }
            }
            self.0.timers.set(limit_at);
            self.rest().await
        };
        let (mut future, mut moving) = (pin!(future), pin!(moving));
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            moving.as_mut().poll(context).map(|moved| Err(moved.err().unwrap_or(ClockError::Late { limit })))
        })
        .await
    }

    /// How often tasks may be polled until they rest; beyond that the clock gives up, because they may go on for ever. By
    /// default ten million, some seconds of work.
    pub fn set_polls_max(&self, polls: u64) {
        self.0.polls_max.store(polls, Ordering::Relaxed);
    }

    /// How long until the next timer is due, and which task waits for it; `None` when none is set. For finding out why
    /// something waits.
    pub fn next_timer(&self) -> Option<(Duration, Cow<'static, str>)> {
        let (deadline, task) = self.0.timers.next()?;
        Some((deadline.saturating_sub(self.elapsed()), task))
    }

    async fn advance_to(&self, target: Duration) -> Result<(), ClockError> {
        self.rest().await?;
        // One at a time, those of one moment too: each finds what the one before it left.
        while let Some(waker) = self.0.timers.fire(target) {
            waker.wake();
            self.rest().await?;
        }
        self.0.timers.set(target);
        Ok(())
    }

    async fn rest(&self) -> Result<(), ClockError> {
        let activity = &self.0.activity;
        let polls_max = self.0.polls_max.load(Ordering::Relaxed);
        activity.allow(polls_max);
        let restless = |tasks| ClockError::Restless { polls: polls_max, tasks };
        loop {
            activity.rest().await.map_err(restless)?;
            // What is not counted, the test's own futures above all, gets its turn: it may have been woken too. Twice, because
            // of two futures in one task the one in here may come first.
            let before = activity.work();
            for _ in 0..2 {
                resting(tokio::task::yield_now()).await;
                activity.rest().await.map_err(restless)?;
            }
            if activity.work() == before {
                return Ok(());
            }
        }
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.0.timers
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.0.activity
    }
}
