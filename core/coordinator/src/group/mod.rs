//! The group coordinator: classic consumer groups and committed offsets.
//!
//! A [`GroupShard`] is the state of one partition of `__consumer_offsets`. The way of one JoinGroup: `shard` finds or
//! makes the group, `join` decides what the request means for it, `rebalance` gathers the members into a generation,
//! `sync` spreads the leader's assignment and writes it. `image` is what the records say; `classic` and `member` are who
//! is there. `offsets` and `admin` serve commits, fetches and the admin APIs.
//!
//! Not here: consumer groups of KIP-848 and share groups (their records are kept byte for byte), authorization, and whether
//! a topic exists or a transaction is open: the caller knows these.

mod admin;
mod classic;
mod config;
mod image;
mod join;
mod leave;
mod member;
mod offsets;
mod rebalance;
mod records;
mod shard;
mod step;
mod sync;
mod txn_offsets;

pub use classic::GroupState;
pub use config::GroupConfig;
pub use image::{GroupImage, MemberImage, OffsetImage};
pub use records::{CoordinatorRecord, RecordError};
pub use shard::GroupShard;
pub use step::{Event, JoinContext, Now, Reply, Step, append_error};
