//! The environment from outside: one binary, because linking takes longer than running.

// Tests are on the other side of the door.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod clock;
mod env;
mod fs;
mod simulator;
