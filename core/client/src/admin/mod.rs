//! Administration: all that Apache Kafka's own admin client offers, one file per noun.
//!
//! A call finds whom to ask as the Java client does: the controller, the leader of each partition, the coordinator of
//! each group, a named broker or all of them (`call.rs`). What passes, as a leader that moved, is tried again with backoff
//! until `default.api.timeout.ms` or the limit of [`Admin::timeout`]; results are per key, so that the failure of one
//! topic, partition or group does not hide the others ([`PerKey`]). What a broker is too old for ends in
//! `UNSUPPORTED_VERSION` with a sentence that names the API and its versions, unless an older API can answer.

mod acls;
mod call;
mod cluster;
mod configs;
mod consumer_groups;
mod describe_topics;
mod explain;
mod features;
mod group_offsets;
mod groups;
mod log_dirs;
mod offsets;
mod partitions;
mod quorum;
mod quotas;
mod scram;
mod share_groups;
mod streams_groups;
mod tokens;
mod topics;
mod transactions;

pub use acls::{AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AclResourceType, PatternType};
pub use call::PerKey;
pub use cluster::{BrokerInfo, ClusterDescription, DescribeClusterOptions, EndpointType};
pub use configs::{
    AlterOp, ConfigAlteration, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, ConfigSynonym,
    ConfigType, DescribeConfigsOptions,
};
pub use consumer_groups::{ConsumerGroupDescription, MemberDescription, MemberToRemove};
pub use describe_topics::{DescribeTopicsOptions, PartitionDescription, TopicDescription};
pub use explain::{Cause, Certainty, ExplainOptions, Explanation, Finding, TimelineEntry};
pub use features::{FeatureMetadata, FeatureRange, FeatureUpdate, UpgradeType};
pub use group_offsets::GroupOffsets;
pub use groups::{ClassicGroupDescription, GroupListing, GroupListings, GroupState, GroupType, ListGroupsOptions};
pub use log_dirs::{LogDirDescription, ReplicaInfo, ReplicaLogDirInfo, TopicPartitionReplica};
pub use offsets::{ListedOffset, OffsetSpec};
pub use partitions::{ElectionType, PartitionReassignment};
pub use quorum::{QuorumInfo, QuorumReplica, RaftVoterEndpoint};
pub use quotas::{ClientQuotaChanges, ClientQuotaEntity, QuotaMatch};
pub use scram::{SCRAM_ITERATIONS_DEFAULT, ScramAlteration, ScramCredentialInfo, ScramMechanism};
pub use share_groups::{ShareGroupDescription, ShareGroupOffsets, SharePartitionOffset};
pub use streams_groups::{
    DescribeStreamsGroupsOptions, StreamsAssignment, StreamsGroupDescription, StreamsMember, StreamsNode,
    StreamsNodeType, StreamsSubtopology, StreamsTaskOffset, StreamsTasks, StreamsTopicInfo, StreamsTopology,
    TopologyDescriptionStatus,
};
pub use tokens::{DelegationToken, KafkaPrincipal};
pub use topics::{CreatedTopic, NewPartitions, NewTopic, TopicListing};
pub use transactions::{
    AbortTransactionSpec, ListTransactionsOptions, ProducerIdAndEpoch, ProducerState, TransactionDescription,
    TransactionListing, TransactionState,
};

use crate::client::Client;
use crate::metrics::Metric;
use crate::retry::Deadline;
use std::time::Duration;

/// Administers topics, configs, groups and the cluster. Clones share the client's connections.
///
/// Dropping a call's future abandons it; what was sent may still take effect.
///
/// ```no_run
/// # async fn example() -> ottla_client::Result<()> {
/// use ottla_client::admin::{NewTopic, OffsetSpec};
/// use ottla_client::{Client, ClientOptions, Env, IsolationLevel, TopicPartition};
///
/// let client = Client::new(Env::real(), ClientOptions::new("127.0.0.1:9092"))?;
/// let admin = client.admin();
/// for created in admin.create_topics(&[NewTopic::new("flights", 6)], false).await? {
///     println!("its id is {}", created?.id);
/// }
/// let partition = TopicPartition::new("flights", 0);
/// let ends = admin.list_offsets(&[(partition, OffsetSpec::Latest)].into(), IsolationLevel::ReadUncommitted).await;
/// for (partition, end) in ends {
///     println!("{partition} ends at {:?}", end?.offset);
/// }
/// println!("{}", admin.explain_group("readers", &Default::default()).await.sentence);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    timeout: Option<Duration>,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Admin {
        Admin { client, timeout: None }
    }

    /// The same with another limit for each call with its retries than `default.api.timeout.ms`.
    pub fn timeout(&self, limit: Duration) -> Admin {
        Admin { client: self.client.clone(), timeout: Some(limit) }
    }

    /// What the client's connections count, in the groups `admin-client-metrics` and `admin-client-node-metrics`.
    pub fn metrics(&self) -> Vec<Metric> {
        self.client.metrics("admin-client").snapshot()
    }

    /// The id under which the cluster knows this client's metrics (KIP-714).
    ///
    /// # Errors
    /// As [`Client::client_instance_id`].
    pub async fn client_instance_id(&self, limit: Duration) -> crate::error::Result<ottla_model::Uuid> {
        self.client.client_instance_id(limit).await
    }

    /// Ends the connections that this admin shares with its client, its producers and its consumers.
    pub fn close(&self) {
        self.client.close();
    }

    fn deadline(&self) -> Deadline {
        match self.timeout {
            Some(limit) => Deadline::after(self.client.env(), limit),
            None => self.client.deadline(),
        }
    }

    /// How long a broker may take for the work itself, as requests carry it.
    fn timeout_ms(&self) -> i32 {
        let request = self.client.options().request_timeout;
        let limit = self.timeout.map_or(request, |limit| limit.min(request));
        i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
    }
}
