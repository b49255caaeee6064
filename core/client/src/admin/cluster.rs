//! The cluster's id, its brokers and its controller; taking nodes out of it.

use super::Admin;
use super::acls::{AclOperation, authorized};
use super::call::check_code;
use crate::error::{Error, Result};
use ottla_protocol::{
    DescribeClusterRequest, DescribeClusterResponse, UnregisterBrokerRequest, UnregisterBrokerResponse,
    UnregisterControllerRequest, UnregisterControllerResponse,
};
use std::collections::BTreeSet;

/// What DescribeCluster says.
#[derive(Debug, Clone)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that calls are sent to as the controller; -1 while there is none. In KRaft a random broker, unless
    /// controllers are described: then the leader of the quorum.
    pub controller_id: i32,
    /// By node id.
    pub brokers: Vec<BrokerInfo>,
    /// What this client may do with the cluster, where that was asked for (KIP-430).
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A broker as it advertises itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// `node.id`.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Whether it is registered but takes no part at present.
    pub fenced: bool,
}

/// Which nodes DescribeCluster tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointType {
    /// Brokers.
    #[default]
    Broker,
    /// Controllers; the bootstrap servers must then be controllers (KIP-919).
    Controller,
}

/// What to tell of a cluster.
#[derive(Debug, Clone, Default)]
pub struct DescribeClusterOptions {
    /// Ask what this client may do with the cluster; false.
    pub include_authorized_operations: bool,
    /// Fenced brokers too; false (KIP-1073, Apache Kafka from 4.0).
    pub include_fenced_brokers: bool,
    /// Brokers or controllers.
    pub endpoint_type: EndpointType,
}

impl Admin {
    /// Describes the cluster (KIP-700).
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.describe_cluster_with(&DescribeClusterOptions::default()).await
    }

    /// Describes the cluster with options.
    ///
    /// # Errors
    /// `UNSUPPORTED_VERSION` when the broker is too old for an option, `MISMATCHED_ENDPOINT_TYPE` when a broker is asked
    /// for controllers or the other way round.
    pub async fn describe_cluster_with(&self, options: &DescribeClusterOptions) -> Result<ClusterDescription> {
        let controllers = options.endpoint_type == EndpointType::Controller;
        let build = |version: i16| {
            if version < 1 && controllers {
                return Err(Error::unsupported(format!(
                    "DescribeCluster {version} does not know controllers; that needs version 1 (Apache Kafka 3.7)"
                )));
            }
            if version < 2 && options.include_fenced_brokers {
                return Err(Error::unsupported(format!(
                    "DescribeCluster {version} does not tell fenced brokers; that needs version 2 (Apache Kafka 4.0)"
                )));
            }
            Ok(DescribeClusterRequest {
                include_cluster_authorized_operations: options.include_authorized_operations,
                endpoint_type: if controllers { 2 } else { 1 },
                include_fenced_brokers: options.include_fenced_brokers,
                ..Default::default()
            })
        };
        let read = |response: DescribeClusterResponse| {
            check_code(response.error_code, "the cluster", response.error_message.as_deref())?;
            let mut brokers: Vec<BrokerInfo> = response
                .brokers
                .iter()
                .map(|broker| BrokerInfo {
                    id: broker.broker_id,
                    host: broker.host.to_string(),
                    port: broker.port,
                    rack: broker.rack.as_deref().map(str::to_owned),
                    fenced: broker.is_fenced,
                })
                .collect();
            brokers.sort_by_key(|broker| broker.id);
            Ok(ClusterDescription {
                cluster_id: response.cluster_id.to_string(),
                controller_id: response.controller_id,
                brokers,
                authorized_operations: authorized(response.cluster_authorized_operations),
            })
        };
        self.any(build, read).await
    }

    /// Takes a broker's registration out of the cluster. One that still runs would be refused when it comes back.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<()> {
        let build = |_| Ok(UnregisterBrokerRequest { broker_id, ..Default::default() });
        let read = |response: UnregisterBrokerResponse| {
            let what = format!("broker {broker_id}");
            check_code(response.error_code, &what, response.error_message.as_deref())
        };
        self.controller(build, read).await
    }

    /// Takes a controller's registration out of the cluster (Apache Kafka from 4.4).
    pub async fn unregister_controller(&self, controller_id: i32) -> Result<()> {
        let build = |_| Ok(UnregisterControllerRequest { controller_id, ..Default::default() });
        let read = |response: UnregisterControllerResponse| {
            let what = format!("controller {controller_id}");
            check_code(response.error_code, &what, response.error_message.as_deref())
        };
        self.controller(build, read).await
    }
}
