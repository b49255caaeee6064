//! Traffic recorded and replayed: every request that clients send to a broker, with its answer, in a file; and the same requests
//! sent again, to a fresh broker, one with another config or a fault, or an Apache Kafka, with what is answered otherwise.
//!
//! ```
//! use ottla::Broker;
//! use ottla::client::{Producer, ProducerRecord};
//! use ottla::traffic::{Entry, Traffic};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("ottla-doc-{}.traffic", std::process::id()));
//! let broker = Broker::builder().record_traffic(&path).start().await?;
//! let producer = Producer::from_configs(broker.env(), [("bootstrap.servers", broker.bootstrap_servers())])?;
//! producer.send(ProducerRecord::new("orders", None, Some(b"a teapot"))).await?.wait().await?;
//! broker.close().await?;
//!
//! // The same against another broker: it answers the same, and has the same record then.
//! let fresh = Broker::builder().start().await?;
//! let traffic = Traffic::open(&path)?;
//! let report = traffic.replay(&fresh).await?;
//! assert!(report.is_same(), "{report}");
//!
//! // Against one that does not make topics by itself, the report says where it begins to differ.
//! let strict = Broker::builder().config("auto.create.topics.enable", "false").start().await?;
//! let report = traffic.replay(&strict).await?;
//! assert_eq!(report.differences[0].path, "topics[orders].error_code");
//!
//! // Or entry by entry.
//! let requests = traffic.entries().filter(|entry| matches!(entry, Ok(Entry::Request(_)))).count();
//! assert_eq!(requests as u64, report.requests);
//! # fresh.close().await?;
//! # strict.close().await?;
//! # std::fs::remove_file(&path)?;
//! # Ok(())
//! # }
//! ```
//!
//! SASL tokens, SCRAM credentials, delegation tokens and requests that set a sensitive config are not written; such a request has
//! its place in the recording, without its body, and is not replayed. Records are written: a recording is as confidential as
//! the topics are. [`format`](mod@format) draws the file.

use crate::{Broker, BrokerBuilder};
pub use ottla_traffic::{
    Difference, Entries, Entry, Gap, Outcome, RecordOptions, Recorded, RecordedAnswer, RecordedRequest, Recording,
    ReplayOptions, ReplayReport, Speed, Target, Traffic, TrafficError, Withheld, format,
};
pub use ottla_wire::{Security, SecurityOptions};
use std::path::{Path, PathBuf};

impl BrokerBuilder {
    /// Records the broker's traffic into the new file at `path` from its start until it is closed, whose
    /// [`close`](Broker::close) then tells whether all of it is there. The file is on the real file system, wherever the broker
    /// has its own. See [the module](crate::traffic).
    pub fn record_traffic(self, path: impl Into<PathBuf>) -> BrokerBuilder {
        self.record_traffic_with(path, RecordOptions::default())
    }

    /// As [`record_traffic`](BrokerBuilder::record_traffic), within these bounds.
    pub fn record_traffic_with(mut self, path: impl Into<PathBuf>, options: RecordOptions) -> BrokerBuilder {
        self.record = Some((path.into(), options));
        self
    }
}

impl Broker {
    /// Starts to record every request that comes from now on, over TCP and in process, and its answer, into the new file at
    /// `path`, until [`Recording::finish`]. Costs the broker two references per request and never makes it wait: a file that
    /// cannot keep up ends the recording, which `finish` then tells. Blocks on the disk for a moment.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ottla-doc-guard-{}.traffic", std::process::id()));
    /// let broker = ottla::Broker::builder().start().await?;
    /// let recording = broker.record_traffic(&path)?;
    /// // … what is to be recorded …
    /// let recorded = recording.finish().await?;
    /// assert_eq!(recorded.entries, 0);
    /// # broker.close().await?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The file cannot be made, or exists; the broker is being recorded already.
    pub fn record_traffic(&self, path: impl AsRef<Path>) -> Result<Recording, TrafficError> {
        self.record_traffic_with(path, RecordOptions::default())
    }

    /// As [`record_traffic`](Broker::record_traffic), within these bounds.
    ///
    /// # Errors
    /// As [`record_traffic`](Broker::record_traffic).
    pub fn record_traffic_with(
        &self,
        path: impl AsRef<Path>,
        options: RecordOptions,
    ) -> Result<Recording, TrafficError> {
        self.inner.record_traffic(path.as_ref(), &options)
    }
}

impl From<&Broker> for Target {
    /// The broker in this process, by its own clock: a virtual one has to be moved where an answer waits for time to pass.
    fn from(broker: &Broker) -> Target {
        broker.inner.traffic_target()
    }
}

/// Ends a recording whose broker does not tell how that went.
pub(crate) async fn end(recording: Option<Recording>) {
    if let Some(recording) = recording
        && let Err(error) = recording.finish().await
    {
        tracing::warn!("{error}");
    }
}
