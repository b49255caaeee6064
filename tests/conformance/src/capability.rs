//! What a scenario may need of a broker and of a driver. A broker's are read from its own answers (ApiVersions and the
//! finalized features), so that a scenario switches itself on once the engine serves what it needs.

use ottla::env::Env;
use ottla_model::Str;
use ottla_protocol::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::{ClientConnection, ConnectOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A tag of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Produce, consume by assignment, admin of topics and configs: what every broker and every driver has.
    Core,
    /// The classic group protocol.
    Groups,
    /// Static membership (KIP-345).
    StaticMembership,
    /// A cooperative assignor (KIP-429).
    Cooperative,
    /// Admin of groups and their offsets.
    GroupAdmin,
    /// DeleteRecords.
    DeleteRecords,
    /// Transactions, protocol version 1 or later.
    Transactions,
    /// Transactions, protocol version 2 (KIP-890).
    TransactionsV2,
    /// The consumer protocol of KIP-848.
    ConsumerProtocol,
    /// ACLs that are enforced.
    Acls,
    /// Client quotas.
    Quotas,
    /// SCRAM credentials in the cluster.
    ScramCredentials,
    /// A SASL listener (PLAIN, SCRAM).
    Sasl,
    /// A TLS listener.
    Tls,
    /// Delegation tokens.
    DelegationTokens,
    /// Preferred leader elections.
    ElectLeaders,
    /// Moving replicas.
    Reassignments,
    /// Directories of logs.
    LogDirs,
    /// Admin of producers' state and transactions (KIP-664).
    ProducerAdmin,
    /// Admin of the cluster's features (KIP-584).
    Features,
    /// Client telemetry (KIP-714).
    Telemetry,
    /// The harness can close and reopen the broker on the same data.
    Restart,
    /// The harness can inject faults.
    Faults,
    /// The client's metrics under Kafka's names.
    Metrics,
    /// Offsets before which the records are gone, by time (`by_duration`, KIP-1106).
    ResetByDuration,
}

/// All of them, in the order of the table.
pub const ALL: &[Capability] = &[
    Capability::Core,
    Capability::Groups,
    Capability::StaticMembership,
    Capability::Cooperative,
    Capability::GroupAdmin,
    Capability::DeleteRecords,
    Capability::Transactions,
    Capability::TransactionsV2,
    Capability::ConsumerProtocol,
    Capability::Acls,
    Capability::Quotas,
    Capability::ScramCredentials,
    Capability::Sasl,
    Capability::Tls,
    Capability::DelegationTokens,
    Capability::ElectLeaders,
    Capability::Reassignments,
    Capability::LogDirs,
    Capability::ProducerAdmin,
    Capability::Features,
    Capability::Telemetry,
    Capability::Restart,
    Capability::Faults,
    Capability::Metrics,
    Capability::ResetByDuration,
];

impl Capability {
    /// The APIs without which a broker does not have it.
    fn apis(self) -> &'static [ApiKey] {
        match self {
            Capability::Core => &[ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::CreateTopics],
            Capability::Groups | Capability::StaticMembership | Capability::Cooperative => {
                &[ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Heartbeat, ApiKey::LeaveGroup, ApiKey::OffsetCommit]
            }
            Capability::GroupAdmin => {
                &[ApiKey::ListGroups, ApiKey::DescribeGroups, ApiKey::DeleteGroups, ApiKey::OffsetDelete]
            }
            Capability::DeleteRecords => &[ApiKey::DeleteRecords],
            Capability::Transactions | Capability::TransactionsV2 => {
                &[ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn, ApiKey::TxnOffsetCommit, ApiKey::EndTxn]
            }
            Capability::ConsumerProtocol => &[ApiKey::ConsumerGroupHeartbeat, ApiKey::ConsumerGroupDescribe],
            Capability::Acls => &[ApiKey::CreateAcls, ApiKey::DescribeAcls, ApiKey::DeleteAcls],
            Capability::Quotas => &[ApiKey::AlterClientQuotas, ApiKey::DescribeClientQuotas],
            Capability::ScramCredentials => &[ApiKey::AlterUserScramCredentials, ApiKey::DescribeUserScramCredentials],
            Capability::Sasl => &[ApiKey::SaslHandshake, ApiKey::SaslAuthenticate],
            Capability::DelegationTokens => &[ApiKey::CreateDelegationToken, ApiKey::DescribeDelegationToken],
            Capability::ElectLeaders => &[ApiKey::ElectLeaders],
            Capability::Reassignments => &[ApiKey::AlterPartitionReassignments, ApiKey::ListPartitionReassignments],
            Capability::LogDirs => &[ApiKey::DescribeLogDirs],
            Capability::ProducerAdmin => {
                &[ApiKey::DescribeProducers, ApiKey::DescribeTransactions, ApiKey::ListTransactions]
            }
            Capability::Features => &[ApiKey::UpdateFeatures],
            Capability::Telemetry => &[ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry],
            Capability::Tls
            | Capability::Restart
            | Capability::Faults
            | Capability::Metrics
            | Capability::ResetByDuration => &[],
        }
    }

    /// The level of a finalized feature without which a broker does not have it.
    fn feature(self) -> Option<(&'static str, i16)> {
        match self {
            Capability::TransactionsV2 => Some(("transaction.version", 2)),
            Capability::ConsumerProtocol => Some(("group.version", 1)),
            _ => None,
        }
    }

    /// Whether it is the harness, not the broker's answers, that says whether a target has it.
    fn of_harness(self) -> bool {
        matches!(self, Capability::Sasl | Capability::Tls | Capability::Acls | Capability::Restart | Capability::Faults)
    }

    /// Whether a target has it: by the broker's answers, and where only the harness can know, by what it says.
    pub fn of(broker: &ApiVersionsResponse, harness: &[Capability]) -> BTreeSet<Capability> {
        let serves = |api: &ApiKey| broker.api_keys.iter().any(|key| key.api_key == api.code());
        let level = |name: &str| {
            let found = broker.finalized_features.iter().find(|feature| &*feature.name == name);
            found.map_or(0, |feature| feature.max_version_level)
        };
        let has = |capability: &&Capability| {
            capability.apis().iter().all(serves)
                && capability.feature().is_none_or(|(name, wanted)| level(name) >= wanted)
                && (!capability.of_harness() || harness.contains(capability))
        };
        ALL.iter().filter(has).copied().collect()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        f.write_str(json.as_str().unwrap_or_default())
    }
}

/// What the broker at `address` answers to ApiVersions.
pub async fn ask(env: &Env, address: &str) -> Result<ApiVersionsResponse, String> {
    let limit = Duration::from_secs(10);
    let options =
        ConnectOptions { client_id: "conformance".into(), connect_timeout: limit, ..ConnectOptions::default() };
    let connection = ClientConnection::connect(env, address, &options).await.map_err(|error| error.to_string())?;
    let request = ApiVersionsRequest {
        client_software_name: Str::from_static("conformance"),
        client_software_version: Str::from_static("1"),
        ..Default::default()
    };
    let answer = connection.request(&request, 4, limit).await.map_err(|error| error.to_string());
    connection.close();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::api_versions_response::{ApiVersion, FinalizedFeatureKey};

    #[test]
    fn a_broker_has_what_its_answers_say() {
        let mut broker = ApiVersionsResponse::default();
        for api in Capability::TransactionsV2.apis() {
            broker.api_keys.push(ApiVersion { api_key: api.code(), ..Default::default() });
        }
        let has = Capability::of(&broker, &[]);
        assert!(has.contains(&Capability::Transactions), "{has:?}");
        assert!(!has.contains(&Capability::TransactionsV2) && !has.contains(&Capability::Core), "{has:?}");
        let name = Str::from_static("transaction.version");
        let feature = FinalizedFeatureKey { name, max_version_level: 2, ..Default::default() };
        broker.finalized_features.push(feature);
        assert!(Capability::of(&broker, &[]).contains(&Capability::TransactionsV2));
        assert!(!Capability::of(&broker, &[]).contains(&Capability::Restart));
        assert!(Capability::of(&broker, &[Capability::Restart]).contains(&Capability::Restart));
    }
}
