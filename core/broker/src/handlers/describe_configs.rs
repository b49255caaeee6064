//! DescribeConfigs (32): v1 adds sources and synonyms (KIP-226), v3 types and documentation (KIP-569).
//!
//! Topics (2) and brokers (4; the empty name is what holds for all brokers) are described with every config there is.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use crate::topics::{Refusal, source_code};
use ottla_config::describe::{self, Entry};
use ottla_metadata::{BROKER_RESOURCE, TOPIC_RESOURCE, validate_topic_name};
use ottla_model::ErrorCode;
use ottla_protocol::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::{DescribeConfigsRequest, DescribeConfigsResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeConfigsRequest>,
) -> Reply<DescribeConfigsResponse> {
    let results = request.resources.iter().map(|resource| {
        let (error, message, configs) = match entries(node, resource) {
            Ok(entries) => (ErrorCode::None, None, entries),
            Err((error, message)) => (error, Some(message.into()), Vec::new()),
        };
        let wanted = |entry: &Entry| match &resource.configuration_keys {
            None => true,
            // No keys are all keys, as Kafka has it.
            Some(keys) => keys.is_empty() || keys.iter().any(|key| **key == entry.name),
        };
        let configs = configs.into_iter().filter(wanted).map(|entry| answer(entry, &request));
        DescribeConfigsResult {
            error_code: error.code(),
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs.collect(),
            ..Default::default()
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }.into()
}

fn entries(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refusal> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC_RESOURCE => {
            validate_topic_name(name).map_err(|reason| (ErrorCode::InvalidTopicException, reason))?;
            let image = node.metadata.image();
            if image.topic(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
            }
            Ok(describe::topic(&node.config(), &image.configs(TOPIC_RESOURCE, name)))
        }
        BROKER_RESOURCE if name.is_empty() => Ok(describe::broker_defaults(&node.config())),
        BROKER_RESOURCE if name.parse() == Ok(node.id()) => Ok(describe::broker(&node.config())),
        BROKER_RESOURCE => {
            let reason = format!("Unexpected broker id, expected {} or empty string, but received {name}", node.id());
            Err((ErrorCode::InvalidRequest, reason))
        }
        other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
    }
}

fn answer(entry: Entry, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = match request.include_synonyms {
        true => entry.synonyms,
        false => Vec::new(),
    };
    let synonyms = synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: synonym.value.map(Into::into),
        source: source_code(synonym.source),
        ..Default::default()
    });
    DescribeConfigsResourceResult {
        name: entry.name.into(),
        value: entry.value.map(Into::into),
        read_only: entry.read_only,
        config_source: source_code(entry.source),
        is_sensitive: entry.sensitive,
        synonyms: synonyms.collect(),
        config_type: entry.config_type,
        documentation: request.include_documentation.then(|| entry.doc.into()),
        ..Default::default()
    }
}
