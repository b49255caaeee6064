//! Who is at work: counts the tasks that are woken or running, and says when none is.
//!
//! A task is counted from its start or wake-up until it waits again, a blocking job from its submission until its result
//! has been handed over. Whoever wakes another is counted itself meanwhile, so that the count reaches zero only when
//! everything waits: for a timer, or for somebody outside.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::task::{End, Inside, Watched};

thread_local! {
    /// Whether the poll that runs on this thread has waited for rest.
    static RESTING: Cell<bool> = const { Cell::new(false) };
}

/// Marks the polls of the surrounding task as waiting for rest, which is no work.
pub(crate) async fn resting<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        RESTING.set(true);
        future.as_mut().poll(context)
    })
    .await
}

/// How many polls beyond the bound are listed by name.
const NAMED_POLLS: u64 = 64;

/// The count, and who waits until it is zero.
pub(crate) struct Activity {
    busy: AtomicUsize,
    /// Polls of tasks so far.
    polls: AtomicU64,
    /// Those of them that did not just wait for rest.
    work: AtomicU64,
    /// When `polls` gets here, those who wait for rest are told that there will be none.
    limit: AtomicU64,
    /// Guards the waiting. Locked after a task's own lock was released, before nothing else.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    rests: Vec<Arc<Rest>>,
    /// Who was polled beyond the limit.
    names: BTreeMap<String, u64>,
}

/// One wait for the count to be zero.
#[derive(Default)]
struct Rest(Mutex<RestState>);

#[derive(Default)]
struct RestState {
    result: Option<Result<(), String>>,
    waker: Option<Waker>,
}

impl Rest {
    fn end(&self, result: Result<(), String>) {
        let waker = {
            let mut state = self.0.lock();
            state.result.get_or_insert(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Activity {
    pub(crate) fn new() -> Activity {
        Activity {
            busy: AtomicUsize::new(0),
            polls: AtomicU64::new(0),
            work: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
        }
    }

    /// Polls of tasks since the start, without those in which a task did nothing but wait for rest.
    pub(crate) fn work(&self) -> u64 {
        self.work.load(Ordering::SeqCst)
    }

    /// From now on, as many polls end every wait for rest.
    pub(crate) fn allow(&self, polls: u64) {
        self.waiting.lock().names.clear();
        self.limit.store(self.polls.load(Ordering::SeqCst).saturating_add(polls), Ordering::SeqCst);
    }

    /// Waits until nothing is at work. The caller may be a counted task: while it waits here it is not at work.
    ///
    /// # Errors
    /// The bound on polls was reached; the text names the tasks that go on.
    pub(crate) async fn rest(&self) -> Result<(), String> {
        let rest = Arc::new(Rest::default());
        {
            let mut waiting = self.waiting.lock();
            // Under the lock that whoever brings the count to zero takes next.
            if self.busy.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            waiting.rests.push(rest.clone());
        }
        let _registered = Registered { activity: self, rest: &rest };
        resting(poll_fn(|context| {
            let mut state = rest.0.lock();
            match state.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
        .await
    }

    fn add(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    fn subtract(&self) {
        if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            let rests = std::mem::take(&mut self.waiting.lock().rests);
            rests.into_iter().for_each(|rest| rest.end(Ok(())));
        }
    }

    fn polled(&self, name: &str) {
        let polls = self.polls.fetch_add(1, Ordering::SeqCst) + 1;
        let limit = self.limit.load(Ordering::SeqCst);
        if polls <= limit {
            return;
        }
        let rests = {
            let mut waiting = self.waiting.lock();
            *waiting.names.entry(name.to_owned()).or_default() += 1;
            if polls < limit + NAMED_POLLS {
                return;
            }
            self.limit.store(u64::MAX, Ordering::SeqCst);
            let names = std::mem::take(&mut waiting.names);
            let mut names: Vec<_> = names.into_iter().collect();
            names.sort_by_key(|(_, polls)| std::cmp::Reverse(*polls));
            let names: Vec<String> = names.iter().take(8).map(|(name, _)| format!("\"{name}\"")).collect();
            let rests = std::mem::take(&mut waiting.rests);
            rests.into_iter().map(|rest| (rest, names.join(", "))).collect::<Vec<_>>()
        };
        rests.into_iter().for_each(|(rest, names)| rest.end(Err(names)));
    }

    /// Counts a blocking job until dropped.
    pub(crate) fn job(self: &Arc<Activity>) -> Job {
        self.add();
        Job(self.clone())
    }
}

/// Takes a dropped wait off the list.
struct Registered<'a> {
    activity: &'a Activity,
    rest: &'a Arc<Rest>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.activity.waiting.lock().rests.retain(|rest| !Arc::ptr_eq(rest, self.rest));
    }
}

/// A blocking job that is counted.
pub(crate) struct Job(Arc<Activity>);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.subtract();
    }
}

/// What a counted task is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Counted, and its executor knows.
    Woken,
    /// Counted.
    Running,
    /// Counted; woken while it ran, so it will run again.
    WokenAgain,
    Waiting,
    Ended,
}

/// A counted task as its wakers see it.
pub(crate) struct Counted {
    name: Cow<'static, str>,
    activity: Arc<Activity>,
    /// Guards the state with the executor's waker. Nothing is called under it.
    state: Mutex<(State, Option<Waker>)>,
    abort: Mutex<Option<AbortHandle>>,
    end: End,
}

impl Counted {
    /// Counts a new task, and wraps its future so that the count stays true.
    pub(crate) fn new(
        name: Cow<'static, str>,
        activity: &Arc<Activity>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> (Arc<Counted>, CountedFuture) {
        activity.add();
        let counted = Arc::new(Counted {
            name,
            activity: activity.clone(),
            state: Mutex::new((State::Woken, None)),
            abort: Mutex::default(),
            end: End::default(),
        });
        let waker = Waker::from(counted.clone());
        let guard = Guard { counted: counted.clone(), returned: false };
        (counted, CountedFuture { future: Box::pin(future), waker, guard })
    }

    pub(crate) fn set_abort(&self, handle: AbortHandle) {
        *self.abort.lock() = Some(handle);
    }

    /// Counts the task as woken, and returns whom to tell.
    fn woken(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        match state.0 {
            State::Woken | State::WokenAgain | State::Ended => None,
            State::Running => {
                state.0 = State::WokenAgain;
                state.1.clone()
            }
            State::Waiting => {
                self.activity.add();
                state.0 = State::Woken;
                state.1.clone()
            }
        }
    }
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(executor) = self.woken() {
            executor.wake();
        }
    }
}

impl Watched for Counted {
    fn abort(self: Arc<Self>) {
        // Counted from now on until the executor has dropped its future, which may set off others.
        let _ = self.woken();
        if let Some(handle) = &*self.abort.lock() {
            handle.abort();
        }
    }

    fn end(&self) -> &End {
        &self.end
    }
}

/// A counted task as its executor sees it. The future is dropped before the guard: what its drop sets off is counted.
pub(crate) struct CountedFuture {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Waker,
    guard: Guard,
}

impl Future for CountedFuture {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let counted = &this.guard.counted;
        counted.activity.polled(&counted.name);
        {
            let mut state = counted.state.lock();
            state.0 = State::Running;
            if !state.1.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                state.1 = Some(context.waker().clone());
            }
        }
        let inside = Inside::of(counted.name.clone());
        RESTING.set(false);
        let polled = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
        drop(inside);
        if !RESTING.replace(false) {
            counted.activity.work.fetch_add(1, Ordering::SeqCst);
        }
        if polled.is_ready() {
            this.guard.returned = true;
            return polled;
        }
        if !tokio::task::coop::has_budget_remaining() {
            // tokio stopped it in the middle of its work and will wake it, but later.
            this.waker.wake_by_ref();
        }
        let rests = {
            let mut state = counted.state.lock();
            let rests = state.0 == State::Running;
            state.0 = if rests { State::Waiting } else { State::Woken };
            rests
        };
        if rests {
            counted.activity.subtract();
        }
        Poll::Pending
    }
}

/// Ends the count of a task with the task.
struct Guard {
    counted: Arc<Counted>,
    returned: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (before, executor) = {
            let mut state = self.counted.state.lock();
            (std::mem::replace(&mut state.0, State::Ended), state.1.take())
        };
        drop(executor);
        if before == State::Waiting {
            // Dropped without having been woken, say by its runtime: what follows is counted all the same.
            self.counted.activity.add();
        }
        self.counted.end.set(self.returned);
        self.counted.activity.subtract();
    }
}
