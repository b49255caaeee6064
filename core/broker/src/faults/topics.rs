//! How the APIs about topics, configs and the cluster are refused.

use super::part::{Hit, Part, Place, Refuse, split_flat, text};
use super::rule::Filters;
use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::create_topics_response::CreatableTopicResult;
use ottla_protocol::delete_topics_request::DeleteTopicState;
use ottla_protocol::delete_topics_response::DeletableTopicResult;
use ottla_protocol::describe_configs_response::DescribeConfigsResult;
use ottla_protocol::describe_topic_partitions_request::TopicRequest;
use ottla_protocol::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use ottla_protocol::metadata_request::MetadataRequestTopic;
use ottla_protocol::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use ottla_protocol::*;

/// DescribeConfigs' number for a topic.
const TOPIC_RESOURCE: i8 = 2;

/// The version of Metadata from which on the answer as a whole can be an error.
const METADATA_ERROR_VERSION: i16 = 13;

impl Refuse for MetadataRequest {
    const FILTERS: Filters = Filters::TOPIC;

    fn expand(&mut self, place: &Place<'_>) {
        if self.topics.as_ref().is_none_or(|topics| place.version == 0 && topics.is_empty()) {
            let image = place.node.metadata.image();
            let topics = image.topics().map(|topic| MetadataRequestTopic {
                name: Some((&*topic.name).into()),
                topic_id: Uuid::ZERO,
                ..Default::default()
            });
            self.topics = Some(topics.collect());
        }
    }

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &MetadataRequestTopic| Part {
            topic: topic.name.clone().unwrap_or_default(),
            topic_id: topic.topic_id,
            ..Part::default()
        };
        self.topics.iter().flatten().map(of).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = self.topics.as_mut().map(|topics| split_flat(topics, hit));
        MetadataRequest { topics, ..self.clone() }
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, whole: bool) -> Option<MetadataResponse> {
        let as_whole = place.version >= METADATA_ERROR_VERSION && whole;
        let names = self.topics.as_deref().unwrap_or_default();
        if names.is_empty() && !as_whole {
            return None;
        }
        let topics = names.iter().map(|topic| MetadataResponseTopic {
            error_code: code.code(),
            // Nullable from v12 on.
            name: match place.version < 12 {
                true => Some(topic.name.clone().unwrap_or_default()),
                false => topic.name.clone(),
            },
            topic_id: topic.topic_id,
            ..Default::default()
        });
        let node = place.node;
        let broker = node.endpoint(place.listener).map(|(host, port)| MetadataResponseBroker {
            node_id: node.id(),
            host: host.into(),
            port,
            ..Default::default()
        });
        Some(MetadataResponse {
            brokers: broker.into_iter().collect(),
            cluster_id: Some(node.cluster_id().into()),
            controller_id: node.id(),
            topics: topics.collect(),
            error_code: if as_whole { code.code() } else { 0 },
            ..Default::default()
        })
    }

    fn merge(served: &mut MetadataResponse, refused: MetadataResponse) {
        served.topics.extend(refused.topics);
    }
}

impl Refuse for DescribeTopicPartitionsRequest {
    const FILTERS: Filters = Filters::TOPIC;

    fn expand(&mut self, place: &Place<'_>) {
        if self.topics.is_empty() {
            let image = place.node.metadata.image();
            let name = |name: &str| TopicRequest { name: name.into(), ..Default::default() };
            self.topics = image.topics().map(|topic| name(&topic.name)).collect();
        }
    }

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.topics.iter().map(|topic| Part::topic(&topic.name)).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        DescribeTopicPartitionsRequest { topics: split_flat(&mut self.topics, hit), ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DescribeTopicPartitionsResponse> {
        let topics = self.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: code.code(),
            name: Some(topic.name.clone()),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| DescribeTopicPartitionsResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut DescribeTopicPartitionsResponse, refused: DescribeTopicPartitionsResponse) {
        served.topics.extend(refused.topics);
    }
}

impl Refuse for CreateTopicsRequest {
    const FILTERS: Filters = Filters::TOPIC;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.topics.iter().map(|topic| Part::topic(&topic.name)).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        CreateTopicsRequest { topics: split_flat(&mut self.topics, hit), ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<CreateTopicsResponse> {
        let topics = self.topics.iter().map(|topic| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: code.code(),
            error_message: text(code),
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(Vec::new()),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| CreateTopicsResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut CreateTopicsResponse, refused: CreateTopicsResponse) {
        served.topics.extend(refused.topics);
    }
}

impl Refuse for DeleteTopicsRequest {
    const FILTERS: Filters = Filters::TOPIC;

    /// v6 has a list of its own; the other one is then empty.
    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &DeleteTopicState| Part {
            topic: topic.name.clone().unwrap_or_default(),
            topic_id: topic.topic_id,
            ..Part::default()
        };
        self.topics.iter().map(of).chain(self.topic_names.iter().map(Part::topic)).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_flat(&mut self.topics, hit);
        let topic_names = split_flat(&mut self.topic_names, hit);
        DeleteTopicsRequest { topics, topic_names, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DeleteTopicsResponse> {
        let result = |name: Option<Str>, topic_id| DeletableTopicResult {
            name,
            topic_id,
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        };
        let topics = self.topics.iter().map(|topic| result(topic.name.clone(), topic.topic_id));
        let names = self.topic_names.iter().map(|name| result(Some(name.clone()), Uuid::ZERO));
        let responses: Vec<_> = topics.chain(names).collect();
        (!responses.is_empty()).then(|| DeleteTopicsResponse { responses, ..Default::default() })
    }

    fn merge(served: &mut DeleteTopicsResponse, refused: DeleteTopicsResponse) {
        served.responses.extend(refused.responses);
    }
}

impl Refuse for CreatePartitionsRequest {
    const FILTERS: Filters = Filters::TOPIC;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.topics.iter().map(|topic| Part::topic(&topic.name)).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        CreatePartitionsRequest { topics: split_flat(&mut self.topics, hit), ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<CreatePartitionsResponse> {
        let results = self.topics.iter().map(|topic| CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        let results: Vec<_> = results.collect();
        (!results.is_empty()).then(|| CreatePartitionsResponse { results, ..Default::default() })
    }

    fn merge(served: &mut CreatePartitionsResponse, refused: CreatePartitionsResponse) {
        served.results.extend(refused.results);
    }
}

fn resource(resource_type: i8, name: &Str) -> Part {
    if resource_type == TOPIC_RESOURCE { Part::topic(name) } else { Part::default() }
}

/// The three that ask or change the configs of a list of resources.
macro_rules! of_resources {
    ($request:ident, $response:ident, $results:ident, $result:path) => {
        impl Refuse for $request {
            const FILTERS: Filters = Filters::TOPIC;

            fn parts(&self, _: &Place<'_>) -> Vec<Part> {
                self.resources.iter().map(|it| resource(it.resource_type, &it.resource_name)).collect()
            }

            fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
                $request { resources: split_flat(&mut self.resources, hit), ..self.clone() }
            }

            fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<$response> {
                use $result as Refused;
                let results = self.resources.iter().map(|it| Refused {
                    error_code: code.code(),
                    error_message: text(code),
                    resource_type: it.resource_type,
                    resource_name: it.resource_name.clone(),
                    ..Default::default()
                });
                let $results: Vec<_> = results.collect();
                (!$results.is_empty()).then(|| $response { $results, ..Default::default() })
            }

            fn merge(served: &mut $response, refused: $response) {
                served.$results.extend(refused.$results);
            }
        }
    };
}

of_resources!(DescribeConfigsRequest, DescribeConfigsResponse, results, DescribeConfigsResult);
of_resources!(
    AlterConfigsRequest,
    AlterConfigsResponse,
    responses,
    ottla_protocol::alter_configs_response::AlterConfigsResourceResponse
);
of_resources!(
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    responses,
    ottla_protocol::incremental_alter_configs_response::AlterConfigsResourceResponse
);

/// Those that are about nothing in particular and have one error.
macro_rules! of_nothing {
    ($($request:ident, $response:ident { $($field:ident: $value:expr),* };)*) => { $(
        impl Refuse for $request {
            const FILTERS: Filters = Filters::NONE;

            fn parts(&self, _: &Place<'_>) -> Vec<Part> {
                Vec::new()
            }

            fn split(&mut self, _: &Place<'_>, _: Hit<'_>) -> Self {
                self.clone()
            }

            fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<$response> {
                Some($response { error_code: code.code(), $($field: $value,)* ..Default::default() })
            }

            fn merge(_: &mut $response, _: $response) {}
        }
    )* };
}

of_nothing! {
    ApiVersionsRequest, ApiVersionsResponse {};
    InitProducerIdRequest, InitProducerIdResponse { producer_id: -1, producer_epoch: -1 };
    DescribeClusterRequest, DescribeClusterResponse { controller_id: -1 };
    ListGroupsRequest, ListGroupsResponse {};
    EndTxnRequest, EndTxnResponse {};
    ListTransactionsRequest, ListTransactionsResponse {};
}
