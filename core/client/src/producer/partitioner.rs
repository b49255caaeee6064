//! Which partition a record goes to: its key's hash, as in every Kafka client, or for records without a key one
//! partition for as long as a batch (KIP-480, KIP-794), so that few large requests replace many small ones.

use ottla_env::Env;
use ottla_model::partition_for_key;

/// Where records without a key go at the moment.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    current: Option<i32>,
    bytes: usize,
}

impl Sticky {
    /// The partition for a record without a key. `led` says whether a partition has a leader.
    pub(super) fn partition(&mut self, env: &Env, count: i32, batch_size: usize, led: impl Fn(i32) -> bool) -> i32 {
        if self.bytes >= batch_size {
            self.advance();
        }
        match self.current {
            Some(partition) if partition < count => partition,
            _ => {
                let partition = choose(env, count, led);
                self.current = Some(partition);
                partition
            }
        }
    }

    /// Counts what was appended to the current partition.
    pub(super) fn appended(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The batch is full: the next record goes elsewhere.
    pub(super) fn advance(&mut self) {
        self.current = None;
        self.bytes = 0;
    }
}

/// A random partition, one with a leader if a few tries find it.
fn choose(env: &Env, count: i32, led: impl Fn(i32) -> bool) -> i32 {
    let random = || (env.random_u64() % count.max(1) as u64) as i32;
    let first = random();
    if led(first) {
        return first;
    }
    (0..8).map(|_| random()).find(|partition| led(*partition)).unwrap_or(first)
}

/// The partition of a record with a key.
pub(super) fn keyed(key: &[u8], count: i32) -> i32 {
    partition_for_key(key, count)
}
