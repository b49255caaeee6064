//! The bridge as a binding uses it: a host with one thread, a queue, and nothing of Rust's own types but bytes.
//!
//! Goal: what every language relies on, whatever it does wrong. Method: real brokers and clients; each step also made to fail.

#![allow(clippy::disallowed_methods)]

mod clients;
mod host;
mod lifetimes;
