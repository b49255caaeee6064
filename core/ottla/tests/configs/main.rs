//! Every config that says it is implemented, changed, with its effect seen; every other one warned of.
//!
//! Goal: no config is a promise without effect. Method: an embedded broker per test, with small values, asked in plain
//! requests or read off its directory. DescribeConfigs is not an effect. Times are waited for, never measured.

// Tests read the files that a broker leaves.
#![allow(clippy::disallowed_methods)]

mod compaction;
mod connections;
mod durability;
mod dynamic;
mod effects;
mod groups;
mod listeners;
mod retention;
mod segments;
mod storage;
mod support;
mod topics;
mod transactions;
mod warnings;
