//! Record batches from outside: one binary, because linking takes longer than running.

#![allow(clippy::unwrap_used)]

mod golden;
mod hostile;
mod round;
