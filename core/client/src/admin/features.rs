//! Features: levels of what the cluster as a whole does (KIP-584), such as `metadata.version`.

use super::Admin;
use super::call::{At, Controller, PerKey, check_code, text};
use crate::error::{Error, Result};
use ottla_protocol::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_protocol::{ApiVersionsRequest, ApiVersionsResponse, UpdateFeaturesResponse};
use std::collections::BTreeMap;

/// Levels from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// What a node says of features.
#[derive(Debug, Clone, Default)]
pub struct FeatureMetadata {
    /// The levels that the cluster has settled on.
    pub finalized: BTreeMap<String, FeatureRange>,
    /// The number of the last change of `finalized`; `None` when the node does not know.
    pub finalized_epoch: Option<i64>,
    /// The levels that the node could do.
    pub supported: BTreeMap<String, FeatureRange>,
}

/// Whether a feature may go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpgradeType {
    /// Only upwards.
    #[default]
    Upgrade,
    /// Downwards where no metadata is lost.
    SafeDowngrade,
    /// Downwards even where metadata is lost.
    UnsafeDowngrade,
}

/// A level to settle on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The new highest level; 0 turns the feature off.
    pub max_version_level: i16,
    /// Whether it may go back.
    pub upgrade_type: UpgradeType,
}

impl Admin {
    /// What features there are, asked of node `id` or, with `None`, of any.
    pub async fn describe_features(&self, id: Option<i32>) -> Result<FeatureMetadata> {
        let build = |version: i16| {
            let named = |name: &'static str| if version >= 3 { text(name) } else { text("") };
            Ok(ApiVersionsRequest {
                client_software_name: named("ottla"),
                client_software_version: named(env!("CARGO_PKG_VERSION")),
                ..Default::default()
            })
        };
        let read = |response: ApiVersionsResponse| {
            check_code(response.error_code, "the features", None)?;
            let finalized = response.finalized_features.iter().map(|feature| {
                let range = FeatureRange { min: feature.min_version_level, max: feature.max_version_level };
                (feature.name.to_string(), range)
            });
            let supported = response.supported_features.iter().map(|feature| {
                (feature.name.to_string(), FeatureRange { min: feature.min_version, max: feature.max_version })
            });
            Ok(FeatureMetadata {
                finalized: finalized.collect(),
                finalized_epoch: Some(response.finalized_features_epoch).filter(|epoch| *epoch >= 0),
                supported: supported.collect(),
            })
        };
        self.one(At(id), (), build, read).await
    }

    /// Settles on other levels of features; `validate_only` only checks. From version 2 of the request (Apache Kafka 4.0)
    /// on all or none take effect.
    ///
    /// # Errors
    /// Per feature `FEATURE_UPDATE_FAILED` when a node cannot do the level.
    pub async fn update_features(
        &self,
        updates: &BTreeMap<String, FeatureUpdate>,
        validate_only: bool,
    ) -> PerKey<String, ()> {
        let build = |version: i16, names: &[String]| {
            if version == 0 && validate_only {
                return Err(Error::unsupported(
                    "UpdateFeatures 0 cannot only check; that needs version 1 (Apache Kafka 3.3)",
                ));
            }
            let update = |name: &String| {
                let update = updates.get(name)?;
                let upgrade_type = match update.upgrade_type {
                    UpgradeType::Upgrade => 1,
                    UpgradeType::SafeDowngrade => 2,
                    UpgradeType::UnsafeDowngrade => 3,
                };
                Some(FeatureUpdateKey {
                    feature: text(name),
                    max_version_level: update.max_version_level,
                    // Version 0 knows only whether going back is allowed at all.
                    allow_downgrade: version == 0 && update.upgrade_type != UpgradeType::Upgrade,
                    upgrade_type: if version == 0 { 1 } else { upgrade_type },
                    ..Default::default()
                })
            };
            let feature_updates = names.iter().filter_map(update).collect();
            Ok(UpdateFeaturesRequest {
                timeout_ms: self.timeout_ms(),
                feature_updates,
                validate_only,
                ..Default::default()
            })
        };
        let read = |response: UpdateFeaturesResponse, names: &[String]| {
            let whole = check_code(response.error_code, "the features", response.error_message.as_deref());
            let mut results: PerKey<String, ()> = names.iter().map(|name| (name.clone(), whole.clone())).collect();
            // Up to version 1 each feature has its own result, and the outer one is only an error of the request.
            if whole.is_ok() {
                results.extend(response.results.iter().map(|result| {
                    let what = format!("feature {}", result.feature);
                    (result.feature.to_string(), check_code(result.error_code, &what, result.error_message.as_deref()))
                }));
            }
            results
        };
        self.per_key(Controller, updates.keys().cloned(), usize::MAX, build, read).await
    }
}
