//! Recording this broker's traffic, and replaying one against it: where the tap in dispatch is opened.

use crate::Broker;
use ottla_traffic::{RecordOptions, Recording, Target, TrafficError};
use std::path::Path;

impl Broker {
    /// Starts to record every request and its answer into the new file at `path`.
    ///
    /// # Errors
    /// The file cannot be made, or exists; a recording is under way.
    pub fn record_traffic(&self, path: &Path, options: &RecordOptions) -> Result<Recording, TrafficError> {
        let node = self.node();
        node.tap.record(&node.env, node.cluster_id(), path, options)
    }

    /// This broker as the target of a replay, by its in-process address and its own clock.
    pub fn traffic_target(&self) -> Target {
        Target::at(self.env().clone(), self.inproc_address()).in_process(&self.node().tap)
    }
}
