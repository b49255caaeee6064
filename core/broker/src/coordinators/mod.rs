//! The glue between the pure group coordinator and this broker: one shard per partition of `__consumer_offsets`.

use crate::node::Node;
use ottla_config::BrokerConfig;
use ottla_env::Env;
use std::sync::Arc;

/// All group shards of this broker.
#[derive(Debug)]
pub(crate) struct Groups;

impl Groups {
    pub(crate) fn new(_env: Env, _config: &BrokerConfig) -> Groups {
        Groups
    }

    /// Takes over the shards whose partitions this broker hosts.
    pub(crate) async fn load(&self, _node: &Arc<Node>) {}

    /// Stops the timers and lets go of every waiting member.
    pub(crate) async fn close(&self) {}

    /// A topic is gone: so are the offsets committed for it.
    pub(crate) async fn topic_deleted(&self, _node: &Arc<Node>, _topic: &str) {}
}
