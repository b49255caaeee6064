//! ApiVersions (18): what this broker serves, and the features that are finalised.
//!
//! - v0-2: the list. v3 adds features (KIP-584) and the client's name (KIP-511).
//! - v0-3 must not list a feature whose minimum is 0: those clients reject it (KAFKA-17011).
//! - v5 names the cluster and node the client expects; another one is answered REBOOTSTRAP_REQUIRED (KIP-1102).

use crate::authorizer::Authorized;
use crate::dispatch::SERVED;
use crate::node::Node;
use ottla_model::ErrorCode;
use ottla_protocol::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use ottla_protocol::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

/// librdkafka before 2.x takes "Produce from 0" as the sign of a broker with message format 1; Kafka keeps telling it
/// so although it serves 3 and up (KAFKA-18659).
const PRODUCE_ADVERTISED_LOWEST: i16 = 0;

pub(crate) fn handle(node: &Node, request: &Authorized<ApiVersionsRequest>) -> ApiVersionsResponse {
    let version = request.context().api_version;
    if version >= 3 && !(is_name(&request.client_software_name) && is_name(&request.client_software_version)) {
        return failed(ErrorCode::InvalidRequest);
    }
    if version >= 5 {
        // Both are named, or neither.
        if request.cluster_id.is_some() != (request.node_id >= 0) {
            return failed(ErrorCode::InvalidRequest);
        }
        let other_cluster = request.cluster_id.as_deref().is_some_and(|id| id != node.cluster_id());
        let other_node = request.node_id >= 0 && request.node_id != node.id();
        if other_cluster || other_node {
            return failed(ErrorCode::RebootstrapRequired);
        }
    }
    let image = node.metadata.image();
    let supported_features = node
        .supported_features()
        .into_iter()
        .filter(|(_, lowest, _)| version >= 4 || *lowest > 0)
        .map(|(name, min_version, max_version)| SupportedFeatureKey {
            name: name.into(),
            min_version,
            max_version,
            ..Default::default()
        })
        .collect();
    let finalized_features = image
        .features()
        .iter()
        .map(|(name, level)| FinalizedFeatureKey {
            name: name.as_str().into(),
            max_version_level: *level,
            min_version_level: *level,
            ..Default::default()
        })
        .collect();
    ApiVersionsResponse {
        api_keys: SERVED.iter().map(|api| advertised(*api)).collect(),
        supported_features,
        finalized_features,
        finalized_features_epoch: image.offset(),
        ..Default::default()
    }
}

/// The answer to a version of ApiVersions that this broker does not know: v0, with the range to retry in.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse { api_keys: vec![advertised(ApiKey::ApiVersions)], ..failed(ErrorCode::UnsupportedVersion) }
}

fn failed(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: error.code(), ..Default::default() }
}

fn advertised(api: ApiKey) -> ApiVersion {
    let (lowest, max_version) = api.versions();
    let min_version = if api == ApiKey::Produce { PRODUCE_ADVERTISED_LOWEST } else { lowest };
    ApiVersion { api_key: api.code(), min_version, max_version, ..Default::default() }
}

/// Letters, digits, `-` and `.`, starting and ending with a letter or digit: names end up in logs (KIP-511).
fn is_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
