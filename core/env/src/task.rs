//! A task that runs on its own.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// A running task, made by `Env::spawn`. Dropping it lets the task go on; [`Task::abort`] ends it.
pub struct Task {
    name: Cow<'static, str>,
    kind: Kind,
}

enum Kind {
    Tokio(JoinHandle<()>),
    Watched(Arc<dyn Watched>),
}

/// A task whose environment follows what it does.
pub(crate) trait Watched: Send + Sync {
    fn abort(self: Arc<Self>);
    fn end(&self) -> &End;
}

impl Task {
    pub(crate) fn tokio(name: Cow<'static, str>, handle: JoinHandle<()>) -> Task {
        Task { name, kind: Kind::Tokio(handle) }
    }

    pub(crate) fn watched(name: Cow<'static, str>, task: Arc<dyn Watched>) -> Task {
        Task { name, kind: Kind::Watched(task) }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the task at its next await; it may still run until then.
    pub fn abort(&self) {
        match &self.kind {
            Kind::Tokio(handle) => handle.abort(),
            Kind::Watched(task) => task.clone().abort(),
        }
    }

    /// Whether it has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        match &self.kind {
            Kind::Tokio(handle) => handle.is_finished(),
            Kind::Watched(task) => task.end().returned().is_some(),
        }
    }

    /// Waits for its end: `true` if it returned, `false` if it was aborted or panicked.
    pub async fn join(self) -> bool {
        match self.kind {
            Kind::Tokio(handle) => handle.await.is_ok(),
            Kind::Watched(task) => task.end().wait().await,
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("finished", &self.is_finished()).finish()
    }
}

/// How a task ended, once it has, and who waits for that.
#[derive(Default)]
pub(crate) struct End(Mutex<(Option<bool>, Vec<Waker>)>);

impl End {
    /// Whether the task returned by itself; `None` before its end.
    pub(crate) fn returned(&self) -> Option<bool> {
        self.0.lock().0
    }

    pub(crate) fn set(&self, returned: bool) {
        let waiting = {
            let mut state = self.0.lock();
            state.0.get_or_insert(returned);
            std::mem::take(&mut state.1)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) -> bool {
        poll_fn(|context| {
            let mut state = self.0.lock();
            match state.0 {
                Some(returned) => Poll::Ready(returned),
                None => {
                    // One task is joined by one future: the list stays short.
                    state.1.retain(|waker| !waker.will_wake(context.waker()));
                    state.1.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Cow<'static, str>>> = const { RefCell::new(None) };
}

/// While it lives, this thread is in the task called so.
pub(crate) struct Inside(Option<Cow<'static, str>>);

impl Inside {
    pub(crate) fn of(name: Cow<'static, str>) -> Inside {
        Inside(CURRENT.replace(Some(name)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The name of the task that runs on this thread, for messages.
pub(crate) fn current_name() -> Cow<'static, str> {
    CURRENT.with_borrow(|name| name.clone()).unwrap_or(Cow::Borrowed("a task outside of the environment"))
}
