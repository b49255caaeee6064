//! The only door to the outside: clock, sleep, randomness, tasks, blocking work, files. Everything else in Ottla asks an
//! [`Env`] for these, so that an in-memory file system, a [`VirtualClock`] or a whole [`Simulator`] take their place without
//! generics through the crates. Sockets are in ottla-wire.
//!
//! `Env` deliberately offers no async files: reads and writes are synchronous, and those that may wait for a disk belong
//! into [`Env::blocking`].

// This crate is the door that clippy.toml sends everyone else to.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod activity;
mod clock;
pub mod fs;
mod near;
mod random;
mod simulator;
mod task;
mod timers;

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_model::Uuid;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use clock::{ClockError, VirtualClock};
pub use fs::{DEFAULT_OPEN_FILES_MAX, DirEntry, DirLock, File, FileCache, Fs, LockError, OpenMode, RealFile};
pub use near::Near;
pub use simulator::{SimulationError, Simulator};
pub use task::Task;

use activity::Counted;
use near::NearTask;
use simulator::World;
use timers::{Sleep, Timers};

/// How many blocking jobs of one environment run at a time by default; the others wait. Disks gain little from more, and
/// tokio's own bound (512) would let one slow disk take every thread.
pub const DEFAULT_BLOCKING_THREADS_MAX: usize = 16;

/// The environment: what time it is, what is random, where files are, who runs tasks. Cloning costs a reference count.
#[derive(Clone)]
pub struct Env(Arc<Inner>);

struct Inner {
    kind: Kind,
    fs: Fs,
    blocking: Arc<Semaphore>,
}

/// Where time, chance and tasks come from.
#[derive(Clone)]
enum Kind {
    Real {
        /// The runtime for tasks; the ambient one if none was given.
        runtime: Option<Handle>,
        /// What `monotonic` counts from.
        started: Instant,
    },
    /// The clock's time, tokio's tasks, the system's randomness.
    Virtual { runtime: Option<Handle>, clock: VirtualClock },
    /// All of a simulation.
    Simulated(Arc<World>),
}

/// A time limit that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit ran out")
    }
}

impl std::error::Error for Elapsed {}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("fs", &self.0.fs).finish_non_exhaustive()
    }
}

impl Env {
    /// The real clock, randomness and files; tasks run on the tokio runtime from within which they are spawned.
    pub fn real() -> Env {
        Env::new(None, Fs::real())
    }

    /// As `real`, with tasks on the given runtime, wherever they are spawned from.
    pub fn real_on(runtime: Handle) -> Env {
        Env::new(Some(runtime), Fs::real())
    }

    /// The real clock, randomness and tasks with a new, empty file system in memory; clones share it.
    pub fn memory() -> Env {
        Env::new(None, Fs::memory())
    }

    /// As `memory`, with tasks on the given runtime.
    pub fn memory_on(runtime: Handle) -> Env {
        Env::new(Some(runtime), Fs::memory())
    }

    /// As [`VirtualClock::env`], with tasks on the given runtime.
    pub fn virtual_on(clock: &VirtualClock, runtime: Handle) -> Env {
        Env::of(Kind::Virtual { runtime: Some(runtime), clock: clock.clone() }, Fs::memory())
    }

    pub(crate) fn on_clock(clock: VirtualClock, fs: Fs) -> Env {
        Env::of(Kind::Virtual { runtime: None, clock }, fs)
    }

    pub(crate) fn in_world(world: Arc<World>, fs: Fs) -> Env {
        Env::of(Kind::Simulated(world), fs)
    }

    fn new(runtime: Option<Handle>, fs: Fs) -> Env {
        Env::of(Kind::Real { runtime, started: Instant::now() }, fs)
    }

    fn of(kind: Kind, fs: Fs) -> Env {
        Env(Arc::new(Inner { kind, fs, blocking: Arc::new(Semaphore::new(DEFAULT_BLOCKING_THREADS_MAX)) }))
    }

    /// The same clock and tasks over other files.
    pub fn with_fs(&self, fs: Fs) -> Env {
        Env::of(self.0.kind.clone(), fs)
    }

    /// The seed, if this environment is part of a [`Simulator`].
    pub fn seed(&self) -> Option<u64> {
        match &self.0.kind {
            Kind::Simulated(world) => Some(world.seed()),
            _ => None,
        }
    }

    /// Which world this environment belongs to: the real one (0), virtual clocks included, or one simulation. Names that are
    /// unique within a process are unique within a world, so that simulations of one seed may run side by side.
    pub fn world(&self) -> u64 {
        match &self.0.kind {
            Kind::Simulated(world) => world.id(),
            _ => 0,
        }
    }

    /// A number that no other call in this [world](Env::world) got, from 1 on. A counter in a `static` would make a second run
    /// of one seed differ from the first.
    pub fn next_number(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        match &self.0.kind {
            Kind::Simulated(world) => world.next_number(),
            _ => NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Milliseconds since 1970 by the wall clock, which may jump.
    pub fn now_ms(&self) -> i64 {
        match &self.0.kind {
            Kind::Real { .. } => system_now_ms(),
            Kind::Virtual { clock, .. } => clock.now_ms(),
            Kind::Simulated(world) => world.timers().now_ms(),
        }
    }

    /// The time since this environment, its virtual clock or its simulation was made; never goes back. For measuring and
    /// deadlines.
    pub fn monotonic(&self) -> Duration {
        match &self.0.kind {
            Kind::Real { started, .. } => started.elapsed(),
            Kind::Virtual { clock, .. } => clock.elapsed(),
            Kind::Simulated(world) => world.timers().now(),
        }
    }

    /// Waits. Dropping the future ends the wait.
    pub async fn sleep(&self, duration: Duration) {
        // The timer wheel turns by milliseconds: it would make even a wait of nothing last one.
        if duration.is_zero() {
            return;
        }
        match self.timers() {
            None => tokio::time::sleep(duration).await,
            Some(timers) => Sleep::new(timers, duration, task::current_name).await,
        }
    }

    /// Runs `future` for at most `duration`; on [`Elapsed`] it has been dropped. A future that is ready at once wins even
    /// against a duration of zero.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        let Some(timers) = self.timers() else {
            return tokio::time::timeout(duration, future).await.map_err(|_| Elapsed);
        };
        let (mut future, mut limit) = (pin!(future), pin!(Sleep::new(timers, duration, task::current_name)));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => limit.as_mut().poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }

    /// The timers of a clock that is moved; `None` where time passes by itself.
    fn timers(&self) -> Option<&Arc<Timers>> {
        match &self.0.kind {
            Kind::Real { .. } => None,
            Kind::Virtual { clock, .. } => Some(clock.timers()),
            Kind::Simulated(world) => Some(world.timers()),
        }
    }

    /// 64 random bits from the operating system (see `random`); fit for ids and jitter, and unpredictable on Linux. In a
    /// simulation, its seed decides.
    pub fn random_u64(&self) -> u64 {
        match &self.0.kind {
            Kind::Real { .. } | Kind::Virtual { .. } => random::u64(),
            Kind::Simulated(world) => world.random_u64(),
        }
    }

    /// A random id of the kind that Kafka hands out.
    pub fn random_uuid(&self) -> Uuid {
        loop {
            let bits = u128::from(self.random_u64()) << 64 | u128::from(self.random_u64());
            // One draw in 64 would begin with a dash and is drawn again, as Kafka does.
            if let Some(id) = Uuid::from_random(bits) {
                return id;
            }
        }
    }

    /// Starts a task. It goes on when the [`Task`] is dropped; `name` is for logs.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless this environment was given one or is simulated.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let name = name.into();
        // Boxed once: each of the layers around it would otherwise be as large as it is.
        let future = Box::pin(future);
        let future = async move {
            future.await;
        };
        match &self.0.kind {
            Kind::Real { runtime, .. } => Task::tokio(name, handle(runtime).spawn(future)),
            Kind::Virtual { runtime, clock } => {
                let (task, future) = Counted::new(name.clone(), clock.activity(), future);
                task.set_abort(handle(runtime).spawn(future).abort_handle());
                Task::watched(name, task)
            }
            Kind::Simulated(world) => Task::watched(name.clone(), world.spawn(name, future)),
        }
    }

    /// As [`Env::spawn`], and with a way to run the task from outside for those who have just given it something to do. On a
    /// virtual clock and in a simulation that way leads to the executor, which has to see every turn.
    ///
    /// # Panics
    /// As `spawn`.
    pub fn spawn_near<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> (Task, Near)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Kind::Real { runtime, .. } = &self.0.kind else { return (self.spawn(name, future), Near::default()) };
        let runtime = handle(runtime);
        let (task, near) = NearTask::new(&runtime, future);
        (Task::tokio(name.into(), runtime.spawn(task)), near)
    }

    /// Runs `job` on a thread where it may wait for a disk. At most [`DEFAULT_BLOCKING_THREADS_MAX`] jobs of one
    /// environment run at a time, in the order in which they came. A job that has begun runs to its end even when the
    /// future is dropped. A panic in the job goes on in the caller.
    ///
    /// On a [`VirtualClock`] with files in memory the job runs at once on the caller's thread; in a [`Simulator`] it runs in a
    /// turn that the seed decides.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless this environment was given one, is simulated, or has a virtual clock with files in
    /// memory.
    pub async fn blocking<T, F>(&self, job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match &self.0.kind {
            Kind::Real { runtime, .. } => self.on_pool(handle(runtime), (), job).await,
            Kind::Virtual { .. } if self.0.fs.is_memory() => job(),
            Kind::Virtual { runtime, clock } => {
                // Counted until the result was handed over, by a channel of our own: tokio's handle tells of it later.
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let send = move || {
                    let _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
                };
                let at_work = clock.activity().job();
                let (mut running, mut receiver) = (pin!(self.on_pool(handle(runtime), at_work, send)), pin!(receiver));
                let result = poll_fn(|context| {
                    // Once it has ended, so has the receiver.
                    let _ = running.as_mut().poll(context);
                    receiver.as_mut().poll(context)
                });
                match result.await {
                    Ok(Ok(result)) => result,
                    Ok(Err(panic)) => resume_unwind(panic),
                    Err(_cancelled) => std::future::pending().await,
                }
            }
            Kind::Simulated(world) => world.blocking(job).await,
        }
    }

    /// Runs `job` on the pool of `runtime` and drops `after` when it is over and the next one may begin.
    async fn on_pool<T, F, A>(&self, runtime: Handle, after: A, job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        A: Send + 'static,
    {
        let permit = self.0.blocking.clone().acquire_owned().await.expect("the semaphore is never closed");
        let job = move || {
            // The permit belongs to the thread, not to the waiting future. Dropped first.
            let (_after, _permit) = (after, permit);
            job()
        };
        match runtime.spawn_blocking(job).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is being shut down and will drop this future.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    /// The files.
    pub fn fs(&self) -> &Fs {
        &self.0.fs
    }
}

/// The runtime for tasks: the given one, or the one that this thread is in.
fn handle(runtime: &Option<Handle>) -> Handle {
    runtime.clone().unwrap_or_else(Handle::current)
}

fn system_now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}
