//! The only door to the outside: clock, sleep, randomness, tasks, blocking work, files. Everything else in Ottla asks an
//! [`Env`] for these, so that an in-memory file system, and later a simulated clock and scheduler, take their place without
//! generics through the crates. Sockets are in ottla-wire.
//!
//! `Env` deliberately offers no async files: reads and writes are synchronous, and those that may wait for a disk belong
//! into [`Env::blocking`].

// This crate is the door that clippy.toml sends everyone else to.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod fs;
mod random;
mod task;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_model::Uuid;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use fs::{DEFAULT_OPEN_FILES_MAX, DirEntry, DirLock, File, FileCache, Fs, LockError, OpenMode, RealFile};
pub use task::Task;

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

/// Where time, chance and tasks come from. One variant today; a simulated one will stand beside it.
enum Kind {
    Real {
        /// The runtime for tasks; the ambient one if none was given.
        runtime: Option<Handle>,
        /// What `monotonic` counts from.
        started: Instant,
    },
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

    fn new(runtime: Option<Handle>, fs: Fs) -> Env {
        let kind = Kind::Real { runtime, started: Instant::now() };
        Env(Arc::new(Inner { kind, fs, blocking: Arc::new(Semaphore::new(DEFAULT_BLOCKING_THREADS_MAX)) }))
    }

    /// The same clock and tasks over other files.
    pub fn with_fs(&self, fs: Fs) -> Env {
        let Kind::Real { runtime, .. } = &self.0.kind;
        Env::new(runtime.clone(), fs)
    }

    /// Milliseconds since 1970 by the wall clock, which may jump.
    pub fn now_ms(&self) -> i64 {
        match &self.0.kind {
            Kind::Real { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_millis() as i64,
                Err(before) => -(before.duration().as_millis() as i64),
            },
        }
    }

    /// The time since this environment was made; never goes back. For measuring and deadlines.
    pub fn monotonic(&self) -> Duration {
        match &self.0.kind {
            Kind::Real { started, .. } => started.elapsed(),
        }
    }

    /// Waits. Dropping the future ends the wait.
    pub async fn sleep(&self, duration: Duration) {
        // The timer wheel turns by milliseconds: it would make even a wait of nothing last one.
        if duration.is_zero() {
            return;
        }
        match &self.0.kind {
            Kind::Real { .. } => tokio::time::sleep(duration).await,
        }
    }

    /// Runs `future` for at most `duration`; on [`Elapsed`] it has been dropped. A future that is ready at once wins even
    /// against a duration of zero.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        match &self.0.kind {
            Kind::Real { .. } => tokio::time::timeout(duration, future).await.map_err(|_| Elapsed),
        }
    }

    /// 64 random bits from the operating system (see `random`); fit for ids and jitter, and unpredictable on Linux.
    pub fn random_u64(&self) -> u64 {
        match &self.0.kind {
            Kind::Real { .. } => random::u64(),
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
    /// Outside a tokio runtime, unless this environment was given one.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let future = async move {
            future.await;
        };
        Task::new(name.into(), self.handle().spawn(future))
    }

    /// Runs `job` on a thread where it may wait for a disk. At most [`DEFAULT_BLOCKING_THREADS_MAX`] jobs of one
    /// environment run at a time, in the order in which they came. A job that has begun runs to its end even when the
    /// future is dropped. A panic in the job goes on in the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless this environment was given one.
    pub async fn blocking<T, F>(&self, job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.0.blocking.clone().acquire_owned().await.expect("the semaphore is never closed");
        let job = move || {
            // The permit belongs to the thread, not to the waiting future.
            let _permit = permit;
            job()
        };
        match self.handle().spawn_blocking(job).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down and will drop this future.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    /// The files.
    pub fn fs(&self) -> &Fs {
        &self.0.fs
    }

    fn handle(&self) -> Handle {
        let Kind::Real { runtime, .. } = &self.0.kind;
        runtime.clone().unwrap_or_else(Handle::current)
    }
}
