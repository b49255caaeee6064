//! Deadlines and backoff, the two halves of every retry loop here. Time is [`Env`]'s, so that it can be virtual.

use ottla_env::Env;
use std::time::Duration;

/// A point in time after which nothing is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Duration,
    /// The whole limit, for messages.
    pub(crate) limit: Duration,
}

impl Deadline {
    pub(crate) fn after(env: &Env, limit: Duration) -> Deadline {
        Deadline { at: env.monotonic().saturating_add(limit), limit }
    }

    /// What is left; `None` once it has passed.
    pub(crate) fn left(&self, env: &Env) -> Option<Duration> {
        self.at.checked_sub(env.monotonic()).filter(|left| !left.is_zero())
    }
}

/// Waiting times that double from `initial` to `max` (`retry.backoff.ms`, `retry.backoff.max.ms`; KIP-580).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Backoff {
        Backoff { initial, max, failures: 0 }
    }

    /// The next wait, a fifth longer or shorter by chance so that clients do not come back in step.
    pub(crate) fn next(&mut self, env: &Env) -> Duration {
        let doubled = self.initial.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let percent = 80 + env.random_u64() % 41;
        doubled.mul_f64(percent as f64 / 100.0)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Sleeps for the next wait, but not past `deadline`; false when that has passed then, so that the caller tells what it
    /// has learnt and does not try once more with no time for it.
    pub(crate) async fn pause(&mut self, env: &Env, deadline: &Deadline) -> bool {
        let Some(left) = deadline.left(env) else { return false };
        env.sleep(self.next(env).min(left)).await;
        deadline.left(env).is_some()
    }
}
