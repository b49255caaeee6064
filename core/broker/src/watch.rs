//! What a fetch waits on: bytes arriving at any of its partitions.
//!
//! A waiting fetch hangs one [`Waiter`] on each of its partitions. An append tells the partition's waiters how many
//! bytes became readable; the waiter wakes its task once `fetch.min.bytes` are there, so a fetch over a thousand
//! partitions is evaluated again once, not a thousand times. Nothing polls.
//!
//! The lost wake-up: bytes that arrive between a fetch's read and its registration would be noticed only at
//! `fetch.max.wait.ms`. Hence the order in the fetch handler: register, then [`Waiter::reset`], then read, then
//! [`Waiter::arm`] with what the read still lacks. An append after the reset is counted, whether or not the read saw it;
//! counting it twice wakes the fetch early, which costs a read and loses nothing.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// One waiting fetch.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    arrived: AtomicUsize,
    /// Bytes that are lacking; zero while the fetch is not armed.
    lacking: AtomicUsize,
    armed: AtomicBool,
    wake: Notify,
}

impl Waiter {
    /// Forgets what arrived so far; the read that follows sees it.
    pub(crate) fn reset(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.arrived.store(0, Ordering::SeqCst);
    }

    /// Asks to be woken when `lacking` further bytes have arrived since the reset.
    pub(crate) fn arm(&self, lacking: usize) {
        self.lacking.store(lacking, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
        if self.arrived.load(Ordering::SeqCst) >= lacking {
            self.wake.notify_one();
        }
    }

    /// Waits until woken. A wake-up before the call is remembered.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn add(&self, bytes: usize) {
        let arrived = self.arrived.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if self.armed.load(Ordering::SeqCst) && arrived >= self.lacking.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn wake_now(&self) {
        self.wake.notify_one();
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// Guards the list. Taken for a push, a removal or a walk; never while a file is written.
    list: Mutex<Vec<Arc<Waiter>>>,
    /// Length of the list, so that an append without waiters takes no lock.
    count: AtomicUsize,
}

impl Watchers {
    /// Hangs `waiter` here until the guard is dropped.
    pub(crate) fn watch(self: &Arc<Watchers>, waiter: &Arc<Waiter>) -> Watch {
        let mut list = self.list.lock();
        list.push(waiter.clone());
        self.count.store(list.len(), Ordering::SeqCst);
        Watch { watchers: self.clone(), waiter: waiter.clone() }
    }

    /// `bytes` more can be read.
    pub(crate) fn arrived(&self, bytes: usize) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for waiter in self.list.lock().iter() {
            waiter.add(bytes);
        }
    }

    /// The partition changed in a way that every waiting fetch has to see: it is gone, or its leader moved.
    pub(crate) fn wake_all(&self) {
        for waiter in self.list.lock().iter() {
            waiter.wake_now();
        }
    }
}

/// Keeps a waiter on a partition.
#[derive(Debug)]
pub(crate) struct Watch {
    watchers: Arc<Watchers>,
    waiter: Arc<Waiter>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut list = self.watchers.list.lock();
        if let Some(at) = list.iter().position(|waiter| Arc::ptr_eq(waiter, &self.waiter)) {
            list.swap_remove(at);
        }
        self.watchers.count.store(list.len(), Ordering::SeqCst);
    }
}
