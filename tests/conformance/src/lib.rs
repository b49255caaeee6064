//! Scenarios that any Kafka client must pass against any Kafka broker, written once.
//!
//! A [scenario](scenarios) speaks to a client through a [`driver`], in the words of the [`protocol`], and to one of the
//! [`targets`]. Which scenario runs where is decided by [`capability`] tags. The README says how to add a scenario and how
//! to write a driver in another language.

pub mod capability;
pub mod cluster;
pub mod context;
pub mod driver;
pub mod faults;
pub mod protocol;
pub mod runner;
pub mod rust;
pub mod scenarios;
pub mod serve;
pub mod targets;
