//! What a test can do to a broker that a user would rather not see: requests that fail or get lost, disks that fill up,
//! crashes. All of it is off until asked for.
//!
//! ```
//! use ottla::faults::{ApiKey, ErrorCode};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = ottla::Broker::builder().start().await?;
//! let faults = broker.faults();
//! // The first two produce requests to a partition fail as they do when its leader moves; others are served.
//! let moved = faults.on(ApiKey::Produce).topic("orders").partition(0).times(2).error(ErrorCode::NotLeaderOrFollower)?;
//! // … the code under test sends …
//! assert_eq!(moved.fired(), 0);
//! // A fault that could never strike is refused: no Heartbeat has a topic.
//! assert!(faults.on(ApiKey::Heartbeat).topic("orders").disconnect().is_err());
//! broker.close().await?;
//! # Ok(())
//! # }
//! ```

use crate::{Broker, Error, traffic};
pub use ottla_broker::faults::{ApiKey, AppendFault, ErrorCode, Fault, FaultError, Faults, LostAnswer, RequestFault};
use ottla_config::Warning;

/// A broker that was stopped or has crashed, and can be started again with its data, under the same addresses; also one in
/// memory. Dropping it gives the memory back; a directory stays.
#[derive(Debug)]
#[must_use = "restart() starts it again"]
pub struct StoppedBroker {
    inner: ottla_broker::StoppedBroker,
    warnings: Vec<Warning>,
}

impl StoppedBroker {
    /// Starts it again as a new process on the same directories would: after a crash its logs are recovered. Members of
    /// groups have to join anew; faults are gone, and traffic is not recorded any more.
    ///
    /// # Errors
    /// As [`BrokerBuilder::start`](crate::BrokerBuilder::start); a port may have been taken by someone else meanwhile.
    pub async fn restart(self) -> Result<Broker, Error> {
        let inner = self.inner.restart().await.map_err(Error::Start)?;
        Ok(Broker { inner, warnings: self.warnings, recording: None })
    }
}

impl Broker {
    /// What is to go wrong: see [`Faults`] and [the module](crate::faults).
    pub fn faults(&self) -> Faults {
        self.inner.faults()
    }

    /// Ends the broker as a crash of its process would: connections end unanswered, nothing more is written, no shutdown is
    /// marked as clean. Returns once nothing of it runs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = ottla::Broker::builder().start().await?;
    /// let address = broker.bootstrap_servers();
    /// let broker = broker.crash().await.restart().await?;
    /// assert_eq!(broker.bootstrap_servers(), address);
    /// broker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn crash(self) -> StoppedBroker {
        let Broker { inner, warnings, recording } = self;
        let inner = inner.crash().await;
        traffic::end(recording).await;
        StoppedBroker { inner, warnings }
    }

    /// Closes cleanly, as [`close`](Broker::close), a broker that is to be started again.
    ///
    /// # Errors
    /// The disk refused; the data is then recovered by the next start on the directory.
    pub async fn stop(self) -> Result<StoppedBroker, Error> {
        let Broker { inner, warnings, recording } = self;
        let inner = inner.stop_cleanly().await.map_err(Error::Close)?;
        traffic::end(recording).await;
        Ok(StoppedBroker { inner, warnings })
    }
}
