//! A broker's traffic as a file: every request and its answer, recorded while the broker serves them, read later, and replayed
//! against the same broker, another one or Apache Kafka.
//!
//! The [`Tap`] is where a broker lets it be seen, the recorder writes it, [`Traffic`] reads it, [`Traffic::replay`] sends it
//! again and compares. The format is drawn in [`format`](mod@format). Deliberately not here: what a request means. Which ids a broker makes
//! up, and where they stand in requests, is all that is known of that.
//!
//! Never written are SASL tokens, SCRAM credentials, delegation tokens, and requests that set a sensitive config. Records and their
//! keys are: a recording is as confidential as the topics.

mod bodies;
mod error;
mod file;
pub mod format;
mod recorder;
pub mod records;
mod replay;
pub mod rules;
mod tap;
pub mod tree;

pub use error::{Gap, TrafficError};
pub use file::{Entries, Traffic};
pub use format::{Entry, Outcome, RecordedAnswer, RecordedRequest, Withheld};
pub use recorder::{RecordOptions, Recorded, Recording};
pub use replay::{Difference, ReplayOptions, ReplayReport, Speed, Target};
pub use tap::{Begun, SeenConnection, Tap};
