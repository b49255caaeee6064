//! A task that may also be run from outside: by whoever has just given it something to do, on the spot, which saves the way
//! through the executor. Deliberately not for simulations and virtual clocks, whose executors have to see every turn.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};

/// Something has happened since the future was last polled.
const WOKEN: u8 = 1;
/// Somebody polls the future, or has ended it: nobody else touches it.
const RUNNING: u8 = 2;
/// The future is to be dropped, or has been.
const ENDED: u8 = 4;
/// Polls in a row on a caller's thread; what is left then is the executor's.
const POLLS_MAX: usize = 4;

/// A way to a task of [`Env::spawn_near`](crate::Env::spawn_near). Does not keep it alive.
#[derive(Clone, Default)]
pub struct Near(Weak<Core>);

impl std::fmt::Debug for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Near").finish_non_exhaustive()
    }
}

impl Near {
    /// Does `give`, which is to wake the task, and runs the task at once on this thread until it waits again. What `give` does
    /// must not wait for the task, nor may the caller hold a lock that the task takes.
    ///
    /// Where that is not possible (the task is at work already, this thread is in another runtime or in none, the time is
    /// virtual) `give` is done all the same, and the task runs when its executor has its turn; false then.
    pub fn feed(&self, give: impl FnOnce()) -> bool {
        let Some(core) = self.0.upgrade().filter(|core| core.is_here() && core.take(false)) else {
            give();
            return false;
        };
        // Whatever it wakes is seen by `run_taken`, without a word to the executor.
        give();
        core.run_taken(POLLS_MAX);
        true
    }

    /// Runs the task on this thread until it waits, if something has woken it that it has not seen yet; see [`Near::feed`].
    pub fn run(&self) {
        if let Some(core) = self.0.upgrade().filter(Core::is_here)
            && core.take(true)
        {
            core.run_taken(POLLS_MAX);
        }
    }
}

struct Core {
    runtime: Id,
    state: AtomicU8,
    /// Whoever set RUNNING has the lock to itself.
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    /// The executor's waker.
    executor: Mutex<Option<Waker>>,
    /// A panic on a caller's thread, for the task to go on with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Core {
    /// Whether this thread is in the task's runtime: timers and sockets that its future makes belong there.
    fn is_here(self: &Arc<Core>) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.runtime)
    }

    /// Gets the future for this thread. `if_woken`: only when there is something to do.
    fn take(&self, if_woken: bool) -> bool {
        let taken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let free = state & (RUNNING | ENDED) == 0 && (!if_woken || state & WOKEN != 0);
            free.then_some(state | RUNNING)
        });
        taken.is_ok()
    }

    /// Polls the future, which this thread has taken, while something happens, and lets it go.
    fn run_taken(self: &Arc<Core>, polls_max: usize) {
        let mut polls = 0;
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state & ENDED != 0 {
                return self.drop_future();
            }
            if state & WOKEN == 0 {
                if self.state.compare_exchange(state, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return;
                }
                continue;
            }
            if polls == polls_max {
                if self.state.compare_exchange(state, WOKEN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return self.wake_executor();
                }
                continue;
            }
            polls += 1;
            self.state.fetch_and(!WOKEN, Ordering::AcqRel);
            let waker = Waker::from(self.clone());
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll(&mut Context::from_waker(&waker))));
            if !matches!(polled, Ok(Poll::Pending)) {
                *self.panic.lock() = polled.err();
                self.state.fetch_or(ENDED, Ordering::AcqRel);
                self.drop_future();
                return self.wake_executor();
            }
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.future.lock() {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }

    fn drop_future(&self) {
        let future = self.future.lock().take();
        drop(future);
    }

    fn wake_executor(&self) {
        let waker = self.executor.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Core {
    fn wake(self: Arc<Core>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Core>) {
        let before = self.state.fetch_or(WOKEN, Ordering::AcqRel);
        // Whoever runs it looks once more before letting go.
        if before == 0 {
            self.wake_executor();
        }
    }
}

/// The task as its executor sees it.
pub(crate) struct NearTask(Arc<Core>);

impl NearTask {
    /// `runtime` is the one that it will be spawned on.
    pub(crate) fn new(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) -> (NearTask, Near) {
        let core = Arc::new(Core {
            runtime: runtime.id(),
            state: AtomicU8::new(WOKEN),
            future: Mutex::new(Some(Box::pin(future))),
            executor: Mutex::default(),
            panic: Mutex::default(),
        });
        let near = Near(Arc::downgrade(&core));
        (NearTask(core), near)
    }
}

impl Future for NearTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let core = &self.0;
        {
            // Before the look at the state: who wakes it from then on finds the waker.
            let mut executor = core.executor.lock();
            if !executor.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *executor = Some(context.waker().clone());
            }
        }
        if core.take(true) {
            core.run_taken(1);
        }
        if core.state.load(Ordering::Acquire) & ENDED == 0 {
            return Poll::Pending;
        }
        let panic = core.panic.lock().take();
        match panic {
            Some(panic) => resume_unwind(panic),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for NearTask {
    /// The executor gives the task up.
    fn drop(&mut self) {
        let core = &self.0;
        let before = core.state.fetch_or(ENDED | RUNNING, Ordering::AcqRel);
        // A thread that runs it drops it when it lets go.
        if before & RUNNING == 0 {
            core.drop_future();
        }
        core.executor.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use crate::Env;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::{Notify, mpsc};

    /// A task that adds up what it is sent.
    fn adder(env: &Env) -> (mpsc::UnboundedSender<usize>, Arc<AtomicUsize>, crate::Near, crate::Task) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let sum = Arc::new(AtomicUsize::new(0));
        let total = sum.clone();
        let (task, near) = env.spawn_near("adder", async move {
            while let Some(number) = receiver.recv().await {
                assert_ne!(number, 13, "unlucky");
                total.fetch_add(number, Ordering::SeqCst);
            }
            total.fetch_add(1_000_000, Ordering::SeqCst);
        });
        (sender, sum, near, task)
    }

    #[tokio::test]
    async fn runs_on_the_spot() {
        let (sender, sum, near, task) = adder(&Env::real());
        near.feed(|| sender.send(1).expect("open"));
        assert_eq!(sum.load(Ordering::SeqCst), 1, "before its executor had a turn");
        tokio::task::yield_now().await;
        sender.send(2).expect("open");
        near.run();
        assert_eq!(sum.load(Ordering::SeqCst), 3);
        near.run();
        assert!(near.feed(|| drop(sender)));
        assert_eq!(sum.load(Ordering::SeqCst), 1_000_003);
        task.join().await;
        near.run();
    }

    #[tokio::test]
    async fn runs_by_its_executor_as_any_task() {
        let (sender, sum, _near, task) = adder(&Env::real());
        (1..=4).for_each(|number| sender.send(number).expect("open"));
        drop(sender);
        task.join().await;
        assert_eq!(sum.load(Ordering::SeqCst), 1_000_010);
    }

    #[test]
    fn another_runtime_leaves_it_to_its_own() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (own, other) = (runtime(), runtime());
        let (sender, sum, near, task) = own.block_on(async { adder(&Env::real()) });
        near.feed(|| sender.send(1).expect("open"));
        other.block_on(async { near.feed(|| sender.send(1).expect("open")) });
        assert_eq!(sum.load(Ordering::SeqCst), 0);
        drop(sender);
        own.block_on(task.join());
        assert_eq!(sum.load(Ordering::SeqCst), 1_000_002);
    }

    #[tokio::test]
    async fn a_panic_is_the_tasks_own() {
        let (sender, sum, near, task) = adder(&Env::real());
        near.feed(|| sender.send(13).expect("open"));
        assert!(sender.is_closed(), "what it held is gone");
        task.join().await;
        assert_eq!(sum.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn an_aborted_task_drops_what_it_holds() {
        let (sender, _sum, near, task) = adder(&Env::real());
        near.feed(|| sender.send(1).expect("open"));
        task.abort();
        task.join().await;
        sender.closed().await;
        near.run();
        assert!(!near.feed(|| ()));
    }

    #[tokio::test]
    async fn a_runtime_that_ends_drops_it() {
        let (sender, mut receiver) = mpsc::channel::<()>(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let notify = Arc::new(Notify::new());
                let (_, near) = Env::real().spawn_near("waits", async move {
                    notify.notified().await;
                    drop(sender);
                });
                near.run();
            });
        });
        assert_eq!(receiver.recv().await, None);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
        runtime.block_on(async {
            let (sender, sum, near, task) = adder(&Env::real());
            let senders: Vec<_> = (0..8)
                .map(|_| {
                    let (sender, near) = (sender.clone(), near.clone());
                    tokio::spawn(async move {
                        for number in 0..2_000 {
                            match number % 3 {
                                0 => sender.send(1).expect("open"),
                                1 => {
                                    near.feed(|| sender.send(1).expect("open"));
                                }
                                _ => {
                                    sender.send(1).expect("open");
                                    near.run();
                                }
                            }
                            if number % 64 == 0 {
                                tokio::task::yield_now().await;
                            }
                        }
                    })
                })
                .collect();
            for sender in senders {
                sender.await.expect("it ends");
            }
            drop(sender);
            task.join().await;
            assert_eq!(sum.load(Ordering::SeqCst), 1_016_000);
        });
    }
}
