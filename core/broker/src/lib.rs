//! The broker: requests in, log and coordinator calls out.
//!
//! One file per API in `handlers`; `dispatch` routes to them; `node` is what they can reach. The broker knows the
//! protocol and the logs and never the client crate.

mod authorizer;
mod background;
mod broker;
mod context;
mod coordinators;
mod dispatch;
pub mod faults;
mod fetch_session;
mod fork;
mod handlers;
mod node;
mod partition;
mod partitions;
mod producer_ids;
mod quota;
mod topics;
mod traffic;
mod watch;

pub use broker::{Broker, StartError, StoppedBroker};
pub use fork::{ForkError, Snapshot};
pub use node::Endpoint;
