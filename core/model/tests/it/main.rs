//! Record batches and keys from outside: one binary, because linking takes longer than running.

#![allow(clippy::unwrap_used)]

mod golden;
mod hostile;
mod murmur2;
mod round;
