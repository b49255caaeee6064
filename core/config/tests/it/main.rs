//! The typed views, DescribeConfigs and alterations, on texts as users write them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;
mod topic;
