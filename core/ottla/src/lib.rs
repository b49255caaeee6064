//! Kafka as a library: a real broker inside your process, and the clients.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = ottla::Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await?;
//! println!("any Kafka client may connect to {}", broker.bootstrap_servers());
//! broker.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The broker keeps everything in memory unless given a [directory](BrokerBuilder::directory), which then has Apache
//! Kafka's own format. Many brokers can run in one process.

mod broker;
mod clock;
pub mod faults;
mod fork;
mod simulation;
pub mod traffic;

pub use broker::{Broker, BrokerBuilder, Error};
pub use fork::Snapshot;
pub use ottla_broker::Endpoint;
pub use ottla_broker::ForkError;
pub use ottla_client as client;
pub use ottla_config as config;
pub use ottla_env as env;
pub use ottla_env::{ClockError, SimulationError, VirtualClock};
pub use ottla_log as log;
pub use simulation::{Sim, Simulation, SimulationFailure};

/// The programs of README.md, which run as tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
