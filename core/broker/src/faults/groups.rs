//! How the APIs about consumer groups are refused.

use super::part::{Hit, Part, Place, Refuse, merge_nested, split_flat, split_nested, text};
use super::rule::Filters;
use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::delete_groups_response::DeletableGroupResult;
use ottla_protocol::describe_groups_response::DescribedGroup;
use ottla_protocol::find_coordinator_response::Coordinator;
use ottla_protocol::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla_protocol::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use ottla_protocol::*;

/// FindCoordinator's key type of a group.
const GROUP_KEY: i8 = 0;

/// Those about one group, with one error.
macro_rules! of_group {
    ($($request:ident, $response:ident, |$asked:ident, $place:ident| { $($field:ident: $value:expr),* };)*) => { $(
        impl Refuse for $request {
            const FILTERS: Filters = Filters::GROUP;

            fn parts(&self, _: &Place<'_>) -> Vec<Part> {
                vec![Part::group(&self.group_id)]
            }

            fn split(&mut self, _: &Place<'_>, _: Hit<'_>) -> Self {
                self.clone()
            }

            fn refuse(&self, $place: &Place<'_>, code: ErrorCode, _: bool) -> Option<$response> {
                let $asked = self;
                let _ = ($place, $asked);
                Some($response { error_code: code.code(), $($field: $value,)* ..Default::default() })
            }

            fn merge(_: &mut $response, _: $response) {}
        }
    )* };
}

of_group! {
    JoinGroupRequest, JoinGroupResponse, |asked, place| {
        generation_id: -1,
        member_id: asked.member_id.clone(),
        // Nullable from v7 on.
        protocol_name: (place.version < 7).then(Str::default)
    };
    SyncGroupRequest, SyncGroupResponse, |asked, place| {};
    HeartbeatRequest, HeartbeatResponse, |asked, place| {};
    LeaveGroupRequest, LeaveGroupResponse, |asked, place| {};
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, |asked, place| {};
}

impl Refuse for FindCoordinatorRequest {
    const FILTERS: Filters = Filters::GROUP;

    /// One key before v4, a list since.
    fn parts(&self, place: &Place<'_>) -> Vec<Part> {
        let of = |key: &Str| if self.key_type == GROUP_KEY { Part::group(key) } else { Part::default() };
        match place.version < 4 {
            true => vec![of(&self.key)],
            false => self.coordinator_keys.iter().map(of).collect(),
        }
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        FindCoordinatorRequest { coordinator_keys: split_flat(&mut self.coordinator_keys, hit), ..self.clone() }
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, _: bool) -> Option<FindCoordinatorResponse> {
        let (node_id, port) = (-1, -1);
        if place.version < 4 {
            let error_message = text(code);
            let error_code = code.code();
            return Some(FindCoordinatorResponse { error_code, error_message, node_id, port, ..Default::default() });
        }
        let coordinators = self.coordinator_keys.iter().map(|key| Coordinator {
            key: key.clone(),
            node_id,
            port,
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        let coordinators: Vec<_> = coordinators.collect();
        (!coordinators.is_empty()).then(|| FindCoordinatorResponse { coordinators, ..Default::default() })
    }

    fn merge(served: &mut FindCoordinatorResponse, refused: FindCoordinatorResponse) {
        served.coordinators.extend(refused.coordinators);
    }
}

impl Refuse for DescribeGroupsRequest {
    const FILTERS: Filters = Filters::GROUP;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.groups.iter().map(Part::group).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        DescribeGroupsRequest { groups: split_flat(&mut self.groups, hit), ..self.clone() }
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, _: bool) -> Option<DescribeGroupsResponse> {
        let groups = self.groups.iter().map(|group| DescribedGroup {
            error_code: code.code(),
            error_message: text(code).filter(|_| place.version >= 6),
            group_id: group.clone(),
            ..Default::default()
        });
        let groups: Vec<_> = groups.collect();
        (!groups.is_empty()).then(|| DescribeGroupsResponse { groups, ..Default::default() })
    }

    fn merge(served: &mut DescribeGroupsResponse, refused: DescribeGroupsResponse) {
        served.groups.extend(refused.groups);
    }
}

impl Refuse for DeleteGroupsRequest {
    const FILTERS: Filters = Filters::GROUP;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        self.groups_names.iter().map(Part::group).collect()
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        DeleteGroupsRequest { groups_names: split_flat(&mut self.groups_names, hit), ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<DeleteGroupsResponse> {
        let results = self.groups_names.iter().map(|group| DeletableGroupResult {
            group_id: group.clone(),
            error_code: code.code(),
            ..Default::default()
        });
        let results: Vec<_> = results.collect();
        (!results.is_empty()).then(|| DeleteGroupsResponse { results, ..Default::default() })
    }

    fn merge(served: &mut DeleteGroupsResponse, refused: DeleteGroupsResponse) {
        served.results.extend(refused.results);
    }
}

fn of_group(group: &Str, topic: &Str, topic_id: Uuid, partition: i32) -> Part {
    Part { group: Some(group.clone()), ..Part::partition(topic, topic_id, partition) }
}

impl Refuse for OffsetCommitRequest {
    const FILTERS: Filters = Filters::GROUP_PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for topic in &self.topics {
            let of = |index| of_group(&self.group_id, &topic.name, topic.topic_id, index);
            parts.extend(topic.partitions.iter().map(|it| of(it.partition_index)));
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partitions, hit);
        OffsetCommitRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, _: bool) -> Option<OffsetCommitResponse> {
        let topics = self.topics.iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: (topic.partitions.iter())
                .map(|it| OffsetCommitResponsePartition {
                    partition_index: it.partition_index,
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| OffsetCommitResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut OffsetCommitResponse, refused: OffsetCommitResponse) {
        let same =
            |a: &OffsetCommitResponseTopic, b: &OffsetCommitResponseTopic| a.name == b.name && a.topic_id == b.topic_id;
        merge_nested(&mut served.topics, refused.topics, same, |topic| &mut topic.partitions);
    }
}

impl Refuse for OffsetDeleteRequest {
    const FILTERS: Filters = Filters::GROUP_PARTITION;

    fn parts(&self, _: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for topic in &self.topics {
            let of = |index| of_group(&self.group_id, &topic.name, Uuid::ZERO, index);
            parts.extend(topic.partitions.iter().map(|it| of(it.partition_index)));
        }
        parts
    }

    fn split(&mut self, _: &Place<'_>, hit: Hit<'_>) -> Self {
        let topics = split_nested(&mut self.topics, |topic| &mut topic.partitions, hit);
        OffsetDeleteRequest { topics, ..self.clone() }
    }

    fn refuse(&self, _: &Place<'_>, code: ErrorCode, whole: bool) -> Option<OffsetDeleteResponse> {
        if whole {
            return Some(OffsetDeleteResponse { error_code: code.code(), ..Default::default() });
        }
        let topics = self.topics.iter().map(|topic| OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions: (topic.partitions.iter())
                .map(|it| OffsetDeleteResponsePartition {
                    partition_index: it.partition_index,
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        Some(OffsetDeleteResponse { topics: topics.collect(), ..Default::default() })
    }

    fn merge(served: &mut OffsetDeleteResponse, refused: OffsetDeleteResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.name == b.name, |topic| &mut topic.partitions);
    }
}

/// The first version of OffsetFetch with several groups, and that with an error for a whole group.
const GROUPS_VERSION: i16 = 8;
const GROUP_ERROR_VERSION: i16 = 2;

impl Refuse for OffsetFetchRequest {
    const FILTERS: Filters = Filters::GROUP_PARTITION;

    fn expand(&mut self, place: &Place<'_>) {
        let all_of = |group: &Str| -> Vec<OffsetFetchRequestTopics> {
            let everything = OffsetFetchRequestGroup { group_id: group.clone(), topics: None, ..Default::default() };
            let found = place.node.groups.read(group, |shard| shard.fetch_offsets(&everything, false));
            let topics = found.map(|found| found.topics).unwrap_or_default();
            let topic = |topic: OffsetFetchResponseTopics| OffsetFetchRequestTopics {
                topic_id: place.node.partitions.topic(&topic.name).map_or(Uuid::ZERO, |(_, id)| id),
                name: topic.name,
                partition_indexes: topic.partitions.iter().map(|it| it.partition_index).collect(),
                ..Default::default()
            };
            topics.into_iter().map(topic).collect()
        };
        if place.version >= GROUPS_VERSION {
            for group in self.groups.iter_mut().filter(|group| group.topics.is_none()) {
                group.topics = Some(all_of(&group.group_id));
            }
        } else if self.topics.is_none() {
            let topic = |topic: OffsetFetchRequestTopics| OffsetFetchRequestTopic {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            };
            self.topics = Some(all_of(&self.group_id).into_iter().map(topic).collect());
        }
    }

    /// A group that names no partitions is one part.
    fn parts(&self, place: &Place<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        if place.version >= GROUPS_VERSION {
            for group in &self.groups {
                match group.topics.as_deref() {
                    None | Some([]) => parts.push(Part::group(&group.group_id)),
                    Some(topics) => parts.extend(topics.iter().flat_map(|topic| {
                        let of = |index: &i32| of_group(&group.group_id, &topic.name, topic.topic_id, *index);
                        topic.partition_indexes.iter().map(of)
                    })),
                }
            }
            return parts;
        }
        match self.topics.as_deref() {
            None | Some([]) => parts.push(Part::group(&self.group_id)),
            Some(topics) => parts.extend(topics.iter().flat_map(|topic| {
                topic.partition_indexes.iter().map(|index| of_group(&self.group_id, &topic.name, Uuid::ZERO, *index))
            })),
        }
        parts
    }

    fn split(&mut self, place: &Place<'_>, hit: Hit<'_>) -> Self {
        if place.version < GROUPS_VERSION {
            let topics =
                self.topics.as_mut().map(|topics| split_nested(topics, |topic| &mut topic.partition_indexes, hit));
            return OffsetFetchRequest { topics, ..self.clone() };
        }
        let mut gone = Vec::new();
        self.groups.retain_mut(|group| {
            let topics = match &mut group.topics {
                Some(topics) if !topics.is_empty() => topics,
                _ => {
                    let taken = hit();
                    if taken {
                        gone.push(group.clone());
                    }
                    return !taken;
                }
            };
            let taken = split_nested(topics, |topic| &mut topic.partition_indexes, hit);
            let stays = !topics.is_empty();
            if !taken.is_empty() {
                gone.push(OffsetFetchRequestGroup { topics: Some(taken), ..group.clone() });
            }
            stays
        });
        OffsetFetchRequest { groups: gone, ..self.clone() }
    }

    fn refuse(&self, place: &Place<'_>, code: ErrorCode, whole: bool) -> Option<OffsetFetchResponse> {
        if place.version >= GROUPS_VERSION {
            let groups = self.groups.iter().map(|group| refused_group(group, code, whole));
            let groups: Vec<_> = groups.collect();
            return (!groups.is_empty()).then(|| OffsetFetchResponse { groups, ..Default::default() });
        }
        if whole && place.version >= GROUP_ERROR_VERSION {
            return Some(OffsetFetchResponse { error_code: code.code(), ..Default::default() });
        }
        let topics = self.topics.iter().flatten().map(|topic| OffsetFetchResponseTopic {
            name: topic.name.clone(),
            partitions: (topic.partition_indexes.iter())
                .map(|index| OffsetFetchResponsePartition {
                    partition_index: *index,
                    committed_offset: -1,
                    metadata: Some(Str::default()),
                    error_code: code.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let topics: Vec<_> = topics.collect();
        (!topics.is_empty()).then(|| OffsetFetchResponse { topics, ..Default::default() })
    }

    fn merge(served: &mut OffsetFetchResponse, refused: OffsetFetchResponse) {
        merge_nested(&mut served.topics, refused.topics, |a, b| a.name == b.name, |topic| &mut topic.partitions);
        for group in refused.groups {
            match served.groups.iter_mut().find(|known| known.group_id == group.group_id) {
                Some(known) => {
                    let same = |a: &OffsetFetchResponseTopics, b: &OffsetFetchResponseTopics| {
                        a.name == b.name && a.topic_id == b.topic_id
                    };
                    merge_nested(&mut known.topics, group.topics, same, |topic| &mut topic.partitions);
                }
                None => served.groups.push(group),
            }
        }
    }
}

fn refused_group(group: &OffsetFetchRequestGroup, code: ErrorCode, whole: bool) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    let topics = group.topics.as_deref().unwrap_or_default();
    if whole || topics.is_empty() {
        return OffsetFetchResponseGroup { group_id, error_code: code.code(), ..Default::default() };
    }
    let partition = |index: &i32| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        metadata: Some(Str::default()),
        error_code: code.code(),
        ..Default::default()
    };
    let topics = topics.iter().map(|topic| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(partition).collect(),
        ..Default::default()
    });
    OffsetFetchResponseGroup { group_id, topics: topics.collect(), ..Default::default() }
}
