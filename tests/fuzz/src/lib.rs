//! Decoders under random and mutated input, with a budget of memory that is linear in the input.
//!
//! The property: decoding never panics, and what it allocates in total, freed or not, is at most [`MEMORY_FACTOR`] × the input's
//! length + [`SLACK`] bytes. `cargo test -p ottla-fuzz` tries it for seconds with fixed seeds; `cargo run --release -p ottla-fuzz
//! -- --seconds N --seed S` as long as wanted. A failure prints its seed, which gives the same input again.
//!
//! Compressed record batches cannot have such a budget: decompressing is bounded by a size that the caller names, so for
//! them the budget is that size, and the codecs' own tables.

pub mod allocator;
pub mod batches;
pub mod messages;
pub mod mutate;

pub use ottla_protocol::MEMORY_FACTOR;

/// What a decoder may take whatever the input: the reference count of the input's bytes, and on the way to an error one
/// element for each level of nesting.
pub const SLACK: usize = 4096;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Inputs tried.
    pub inputs: u64,
    /// Inputs that were a message.
    pub accepted: u64,
    /// The most memory per byte of input, beyond the slack, in percent.
    pub worst_percent: usize,
}

impl Tally {
    /// Adds one input.
    pub fn add(&mut self, accepted: bool, allocated: usize, length: usize) {
        self.inputs += 1;
        self.accepted += u64::from(accepted);
        // Short inputs say little: the slack hides them, and dividing by their length says nothing.
        if length >= 64 {
            self.worst_percent = self.worst_percent.max(allocated * 100 / length);
        }
    }
}
