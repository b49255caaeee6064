//! A whole broker in memory, asked over the in-process transport.
#![allow(clippy::unwrap_used)]

mod fetching;
mod groups;
mod support;
