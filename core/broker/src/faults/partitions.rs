//! How the APIs about partitions' data are refused.

use super::part::{Hit, Part, Place, Refuse, merge_nested, split_nested, text};
use super::rule::Filters;
use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use ottla_protocol::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla_protocol::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use ottla_protocol::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use ottla_protocol::{
    DeleteRecordsRequest, DeleteRecordsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
};

impl Refuse for ProduceRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &Str, id: Uuid, index: i32| Part::partition(topic, id, index);
        let topics = self.topic_data.iter();
        topics.flat_map(|it| it.partition_data.iter().map(move |data| of(&it.name, it.topic_id, data.index))).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topic_data = split_nested(&mut self.topic_data, |topic| &mut topic.partition_data, hit);
        ProduceRequest { topic_data, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<ProduceResponse> {
        let responses = self.topic_data.iter().map(|topic| TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: (topic.partition_data.iter())
                .map(|data| PartitionProduceResponse {
                    index: data.index,
                    error_code: code.code(),
                    base_offset: -1,
                    error_message: text(code),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let responses: Vec<_> = responses.collect();
        (!responses.is_empty()).then(|| ProduceResponse { responses, ..Default::default() })
    }

    fn merge(served: &mut ProduceResponse, refused: ProduceResponse) {
        let same = |a: &TopicProduceResponse, b: &TopicProduceResponse| a.name == b.name && a.topic_id == b.topic_id;
        merge_nested(&mut served.responses, refused.responses, same, |topic| &mut topic.partition_responses);
    }

    fn is_answered(&self) -> bool {
        self.acks != 0
    }
}

/// A fetch names what changed since the last one; what it is about stands in its session. So its handler puts the errors
/// in, where it also tells the session of them.
impl Refuse for FetchRequest {
    const FILTERS: Filters = Filters::PARTITION;
    const IN_HANDLER: bool = true;

    fn parts(&self, place: &Place<'_>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for topic in &self.topics {
            parts.extend(topic.partitions.iter().map(|it| Part::partition(&topic.topic, topic.topic_id, it.partition)));
        }
        for key in place.node.fetch_sessions.partitions_of(self.session_id, self.session_epoch) {
            let topic = Str::from(&*key.topic);
            let is_known = |part: &Part| {
                part.partition == Some(key.partition) && part.topic_id == key.topic_id && part.topic == topic
            };
            let is_forgotten = self.forgotten_topics_data.iter().any(|gone| {
                gone.topic == topic && gone.topic_id == key.topic_id && gone.partitions.contains(&key.partition)
            });
            if !is_forgotten && !parts.iter().any(is_known) {
                parts.push(Part::partition(&topic, key.topic_id, key.partition));
            }
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, _: Hit<'_>) -> Self {
        self.clone()
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, _: bool) -> Option<FetchResponse> {
        // v4-6 have no place for it.
        (place.version >= 7).then(|| FetchResponse { error_code: code.code(), ..Default::default() })
    }

    fn merge(_: &mut FetchResponse, _: FetchResponse) {}

    fn is_of_whole(code: ErrorCode) -> bool {
        matches!(
            code,
            ErrorCode::FetchSessionIdNotFound
                | ErrorCode::InvalidFetchSessionEpoch
                | ErrorCode::FetchSessionTopicIdError
        )
    }
}

impl Refuse for ListOffsetsRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &Str, index| Part::partition(topic, Uuid::ZERO, index);
        let topics = self.topics.iter();
        topics.flat_map(|it| it.partitions.iter().map(move |data| of(&it.name, data.partition_index))).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        ListOffsetsRequest {
            topics: split_nested(&mut self.topics, |topic| &mut topic.partitions, hit),
            ..self.clone()
        }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<ListOffsetsResponse> {
        let topics = self.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: (topic.partitions.iter())
                .map(|data| ListOffsetsPartitionResponse {
                    partition_index: data.partition_index,
                    error_code: code.code(),
                    timestamp: -1,
                    offset: -1,
                    leader_epoch: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| ListOffsetsResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut ListOffsetsResponse, refused: ListOffsetsResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.name == b.name, |topic| &mut topic.partitions);
    }
}

impl Refuse for OffsetForLeaderEpochRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &Str, index| Part::partition(topic, Uuid::ZERO, index);
        self.topics.iter().flat_map(|it| it.partitions.iter().map(move |data| of(&it.topic, data.partition))).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partitions, hit);
        OffsetForLeaderEpochRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<OffsetForLeaderEpochResponse> {
        let topics = self.topics.iter().map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: (topic.partitions.iter())
                .map(|data| EpochEndOffset {
                    error_code: code.code(),
                    partition: data.partition,
                    leader_epoch: -1,
                    end_offset: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| OffsetForLeaderEpochResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut OffsetForLeaderEpochResponse, refused: OffsetForLeaderEpochResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.topic == b.topic, |topic| &mut topic.partitions);
    }
}

impl Refuse for DeleteRecordsRequest {
    const FILTERS: Filters = Filters::PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let of = |topic: &Str, index| Part::partition(topic, Uuid::ZERO, index);
        let topics = self.topics.iter();
        topics.flat_map(|it| it.partitions.iter().map(move |data| of(&it.name, data.partition_index))).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partitions, hit);
        DeleteRecordsRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DeleteRecordsResponse> {
        let topics = self.topics.iter().map(|topic| DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions: (topic.partitions.iter())
                .map(|data| DeleteRecordsPartitionResult {
                    partition_index: data.partition_index,
                    low_watermark: -1,
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| DeleteRecordsResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut DeleteRecordsResponse, refused: DeleteRecordsResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.name == b.name, |topic| &mut topic.partitions);
    }
}
