//! The threads that all brokers and clients of a process share. They end with the last of them.

use crate::error::{Error, Kind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long what still runs may take once nothing is left that could want it.
const FAREWELL: Duration = Duration::from_secs(2);
/// More threads do not make clients faster.
const THREADS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Runtime {
    inner: Option<tokio::runtime::Runtime>,
    pid: u32,
}

impl Runtime {
    pub(crate) fn start(pid: u32) -> Result<Runtime, Error> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = std::env::var("OTTLA_WORKER_THREADS").ok().and_then(|threads| threads.parse().ok());
        let numbered = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.unwrap_or(cores).clamp(1, THREADS_MAX))
            .thread_name_fn(move || format!("ottla-{}", numbered.fetch_add(1, Ordering::Relaxed)))
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => Ok(Runtime { inner: Some(runtime), pid }),
            Err(error) => Err(Error::new(Kind::Internal, format!("no threads could be started: {error}"))),
        }
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        self.inner.as_ref().expect("only drop takes it").handle()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let Some(runtime) = self.inner.take() else { return };
        if self.pid != std::process::id() {
            // Its threads are in the parent; to wait for them would be for ever.
            std::mem::forget(runtime);
            return;
        }
        // The last owner may be one of its own threads, which cannot wait for itself.
        let ended = std::thread::Builder::new()
            .name("ottla-farewell".to_owned())
            .spawn(move || runtime.shutdown_timeout(FAREWELL));
        drop(ended);
    }
}
