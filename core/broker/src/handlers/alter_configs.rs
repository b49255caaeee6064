//! AlterConfigs (33): replaces all overrides of a topic or broker by those named. The Java admin client dropped it in 4.0 for
//! IncrementalAlterConfigs; KafkaJS and older clients know nothing else.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::{ConfigChange, Refusal};
use ottla_config::Props;
use ottla_model::ErrorCode;
use ottla_protocol::alter_configs_request::AlterConfigsResource;
use ottla_protocol::alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::{AlterConfigsRequest, AlterConfigsResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<AlterConfigsRequest>) -> Reply<AlterConfigsResponse> {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (error, message) = match alter(node, resource, request.validate_only).await {
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
    AlterConfigsResponse { responses, ..Default::default() }.into()
}

async fn alter(node: &Arc<Node>, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut wanted = Props::new();
    for config in &resource.configs {
        let value = config
            .value
            .as_deref()
            .ok_or_else(|| (ErrorCode::InvalidRequest, format!("Null value not supported for : {}", &*config.name)))?;
        if wanted.insert(config.name.to_string(), value.to_owned()).is_some() {
            return Err((ErrorCode::InvalidRequest, format!("Duplicate config key: {}", &*config.name)));
        }
    }
    let change = ConfigChange::Replace(wanted);
    node.alter_configs(resource.resource_type, &resource.resource_name, change, validate_only).await
}
