//! The transaction APIs: who a producer is, what a transaction holds, what its readers see, what admins see of it.

pub mod admin;
pub mod isolation;
pub mod lifecycle;
pub mod offsets;
pub mod partitions;
