//! The coordinators, rule by rule, under a clock that the test moves.

#![allow(clippy::unwrap_used)]

mod harness;
mod joining;
mod offsets;
mod random;
mod restarts;
mod static_members;
mod transactions;
