//! The cluster's id, its brokers and its controller.

use super::{Admin, check_code};
use crate::error::Result;
use ottla_protocol::{DescribeClusterRequest, DescribeClusterResponse};

/// What DescribeCluster says.
#[derive(Debug, Clone)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that calls are sent to as the controller; -1 while there is none.
    pub controller_id: i32,
    /// By node id.
    pub brokers: Vec<BrokerInfo>,
}

/// A broker as it advertises itself.
#[derive(Debug, Clone)]
pub struct BrokerInfo {
    /// `node.id`.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl Admin {
    /// Describes the cluster (KIP-700).
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let request = DescribeClusterRequest::default();
        self.any(&request, &self.deadline(), |response: DescribeClusterResponse| {
            check_code(response.error_code, "the cluster", response.error_message.as_deref())?;
            let mut brokers: Vec<BrokerInfo> = response
                .brokers
                .iter()
                .map(|broker| BrokerInfo {
                    id: broker.broker_id,
                    host: broker.host.to_string(),
                    port: broker.port,
                    rack: broker.rack.as_deref().map(str::to_owned),
                })
                .collect();
            brokers.sort_by_key(|broker| broker.id);
            Ok(ClusterDescription {
                cluster_id: response.cluster_id.to_string(),
                controller_id: response.controller_id,
                brokers,
            })
        })
        .await
    }
}
