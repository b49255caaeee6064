//! IncrementalAlterConfigs (44): sets, resets, appends to and takes from configs of topics and brokers (KIP-339).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::{ConfigChange, Refusal};
use ottla_config::alter::AlterOp;
use ottla_model::ErrorCode;
use ottla_protocol::incremental_alter_configs_request::AlterConfigsResource;
use ottla_protocol::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<IncrementalAlterConfigsRequest>,
) -> Reply<IncrementalAlterConfigsResponse> {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let same = |other: &&AlterConfigsResource| {
            other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
        };
        let outcome = if request.resources.iter().filter(same).count() > 1 {
            Err((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned()))
        } else {
            alter(node, resource, request.validate_only).await
        };
        let (error, message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err((error, message)) => (error, Some(message.into())),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code: error.code(),
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        });
    }
    IncrementalAlterConfigsResponse { responses, ..Default::default() }.into()
}

async fn alter(node: &Arc<Node>, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut operations = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let name = config.name.to_string();
        if operations.iter().any(|(known, _, _)| *known == name) {
            return Err((ErrorCode::InvalidRequest, format!("Duplicate config key: {name}")));
        }
        let operation = AlterOp::from_code(config.config_operation).ok_or_else(|| {
            (ErrorCode::InvalidRequest, format!("Unknown operation {} for {name}", config.config_operation))
        })?;
        // A null is refused here, before it is known whether the resource exists.
        if config.value.is_none() && operation != AlterOp::Delete {
            return Err((ErrorCode::InvalidRequest, format!("Null value not supported for : {name}")));
        }
        operations.push((name, operation, config.value.as_deref().map(str::to_owned)));
    }
    let change = ConfigChange::Incremental(operations);
    node.alter_configs(resource.resource_type, &resource.resource_name, change, validate_only).await
}
