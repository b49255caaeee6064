//! A task that runs on its own.

use std::borrow::Cow;
use std::fmt;

use tokio::task::JoinHandle;

/// A running task, made by `Env::spawn`. Dropping it lets the task go on; [`Task::abort`] ends it.
pub struct Task {
    name: Cow<'static, str>,
    handle: JoinHandle<()>,
}

impl Task {
    pub(crate) fn new(name: Cow<'static, str>, handle: JoinHandle<()>) -> Task {
        Task { name, handle }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the task at its next await; it may still run until then.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether it has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for its end: `true` if it returned, `false` if it was aborted or panicked.
    pub async fn join(self) -> bool {
        self.handle.await.is_ok()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("finished", &self.is_finished()).finish()
    }
}
