//! Committed offsets of consumer and streams groups: listing, setting, deleting.
//!
//! Topics go by name here, up to version 9 of OffsetFetch and OffsetCommit, as in the Java admin client: offsets of a topic
//! that has been deleted are then seen too.

use super::Admin;
use super::call::{GroupCoordinator, PerKey, all, by_topic, check_code, not_mentioned, owned, text};
use crate::consumer::OffsetAndMetadata;
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::{OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse};
use std::collections::{BTreeMap, BTreeSet};

/// The last version of OffsetFetch and OffsetCommit that has topics by name.
const BY_NAME: i16 = 9;

/// Of a group, what it committed for each partition: `None` where nothing.
pub type GroupOffsets = PerKey<TopicPartition, Option<OffsetAndMetadata>>;

impl Admin {
    /// The committed offsets of several groups: of the given partitions, or with `None` of all that have any.
    /// `require_stable` waits for open transactions that would commit offsets (KIP-447).
    ///
    /// # Errors
    /// Per group `GROUP_AUTHORIZATION_FAILED`; a group that there is not has no offsets. Per partition
    /// `TOPIC_AUTHORIZATION_FAILED`.
    pub async fn list_consumer_group_offsets(
        &self,
        groups: &BTreeMap<String, Option<BTreeSet<TopicPartition>>>,
        require_stable: bool,
    ) -> PerKey<String, GroupOffsets> {
        let build = |version: i16, ids: &[String]| fetch_request(version, ids, groups, require_stable);
        let keys = groups.keys().cloned();
        let mut results = self.per_key_at_most(BY_NAME, GroupCoordinator, keys, usize::MAX, build, fetched).await;
        // Before version 8 a request has one group (KIP-709).
        let single = |result: &Result<GroupOffsets>| {
            result.as_ref().is_err_and(|error| error.message() == ONE_GROUP && groups.len() > 1)
        };
        let again: Vec<String> =
            results.iter().filter(|(_, result)| single(result)).map(|(id, _)| id.clone()).collect();
        if !again.is_empty() {
            results.extend(self.per_key_at_most(BY_NAME, GroupCoordinator, again, 1, build, fetched).await);
        }
        results
    }

    /// The committed offsets of one group: of the given partitions, or with `None` of all that have any.
    ///
    /// # Errors
    /// As [`Admin::list_consumer_group_offsets`].
    pub async fn consumer_group_offsets(
        &self,
        group_id: &str,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) -> Result<GroupOffsets> {
        let groups = BTreeMap::from([(group_id.to_owned(), partitions)]);
        let mut offsets = self.list_consumer_group_offsets(&groups, false).await;
        offsets.remove(group_id).unwrap_or_else(|| Err(not_mentioned(group_id)))
    }

    /// Sets a group's offsets. It must have no members, or only such that assign partitions themselves.
    ///
    /// # Errors
    /// Per partition `UNKNOWN_MEMBER_ID` while the group has members, `UNKNOWN_TOPIC_OR_PARTITION`,
    /// `OFFSET_METADATA_TOO_LARGE`.
    pub async fn alter_consumer_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> PerKey<TopicPartition, ()> {
        let partition = |topic: &str, index: i32| {
            let offset = offsets.get(&TopicPartition::new(topic, index)).cloned().unwrap_or_else(|| 0.into());
            OffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset.offset,
                committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(text(offset.metadata)),
                ..Default::default()
            }
        };
        let build = |_: i16, _: &[String]| {
            let topic = |(name, indexes): (&str, Vec<i32>)| OffsetCommitRequestTopic {
                name: text(name),
                partitions: indexes.into_iter().map(|index| partition(name, index)).collect(),
                ..Default::default()
            };
            let topics = by_topic(offsets.keys()).into_iter().map(topic).collect();
            Ok(OffsetCommitRequest { group_id: text(group_id), topics, ..Default::default() })
        };
        let read = |response: OffsetCommitResponse, ids: &[String]| {
            let mut results = PerKey::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let what = format!("the offset of group {group_id} for {key}");
                    let code = ErrorCode::from_code(partition.error_code);
                    if concerns_group(code) {
                        return all(ids, &Error::from_code(code, &what, None));
                    }
                    results.insert(key, check_code(partition.error_code, &what, None));
                }
            }
            PerKey::from([(ids[0].clone(), Ok(results))])
        };
        let keys = [group_id.to_owned()];
        let mut answer = self.per_key_at_most(BY_NAME, GroupCoordinator, keys, 1, build, read).await;
        spread(offsets.keys(), answer.remove(group_id))
    }

    /// Deletes a group's offsets of partitions (KIP-496).
    ///
    /// # Errors
    /// Per partition `GROUP_SUBSCRIBED_TO_TOPIC` while members read the topic, `UNKNOWN_TOPIC_OR_PARTITION`; for all
    /// `GROUP_ID_NOT_FOUND`.
    pub async fn delete_consumer_group_offsets(
        &self,
        group_id: &str,
        partitions: &BTreeSet<TopicPartition>,
    ) -> PerKey<TopicPartition, ()> {
        let build = |_| {
            let partition = |index| OffsetDeleteRequestPartition { partition_index: index, ..Default::default() };
            let topic = |(name, indexes): (&str, Vec<i32>)| OffsetDeleteRequestTopic {
                name: text(name),
                partitions: indexes.into_iter().map(partition).collect(),
                ..Default::default()
            };
            let topics = by_topic(partitions).into_iter().map(topic).collect();
            Ok(OffsetDeleteRequest { group_id: text(group_id), topics, ..Default::default() })
        };
        let read = |response: OffsetDeleteResponse| {
            check_code(response.error_code, &format!("group {group_id}"), None)?;
            let mut results = PerKey::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition::new(&*topic.name, partition.partition_index);
                    let what = format!("the offset of group {group_id} for {key}");
                    results.insert(key, check_code(partition.error_code, &what, None));
                }
            }
            Ok(results)
        };
        let answer = self.one(GroupCoordinator, group_id.to_owned(), build, read).await;
        spread(partitions, Some(answer))
    }

    /// The committed offsets of streams groups; as [`Admin::list_consumer_group_offsets`] (KIP-1071).
    pub async fn list_streams_group_offsets(
        &self,
        groups: &BTreeMap<String, Option<BTreeSet<TopicPartition>>>,
        require_stable: bool,
    ) -> PerKey<String, GroupOffsets> {
        self.list_consumer_group_offsets(groups, require_stable).await
    }

    /// Sets a streams group's offsets; as [`Admin::alter_consumer_group_offsets`].
    pub async fn alter_streams_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> PerKey<TopicPartition, ()> {
        self.alter_consumer_group_offsets(group_id, offsets).await
    }

    /// Deletes a streams group's offsets; as [`Admin::delete_consumer_group_offsets`].
    pub async fn delete_streams_group_offsets(
        &self,
        group_id: &str,
        partitions: &BTreeSet<TopicPartition>,
    ) -> PerKey<TopicPartition, ()> {
        self.delete_consumer_group_offsets(group_id, partitions).await
    }
}

const ONE_GROUP: &str = "OffsetFetch before version 8 (Apache Kafka 3.0) takes one group at a time";

fn fetch_request(
    version: i16,
    ids: &[String],
    groups: &BTreeMap<String, Option<BTreeSet<TopicPartition>>>,
    require_stable: bool,
) -> Result<OffsetFetchRequest> {
    if version < 7 && require_stable {
        return Err(Error::unsupported(format!(
            "OffsetFetch {version} does not wait for stable offsets; that needs version 7 (Apache Kafka 2.5)"
        )));
    }
    if version < 8 {
        let [id] = ids else { return Err(Error::unsupported(ONE_GROUP)) };
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopic {
            name: text(name),
            partition_indexes,
            ..Default::default()
        };
        let wanted = groups.get(id).and_then(Option::as_ref);
        if version < 2 && wanted.is_none() {
            return Err(Error::unsupported(format!(
                "OffsetFetch {version} cannot tell all partitions; that needs version 2 (Apache Kafka 0.10.2)"
            )));
        }
        let topics = wanted.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
        return Ok(OffsetFetchRequest { group_id: text(id), topics, require_stable, ..Default::default() });
    }
    let group = |id: &String| {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
            name: text(name),
            partition_indexes,
            ..Default::default()
        };
        let wanted = groups.get(id).and_then(Option::as_ref);
        let topics = wanted.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
        OffsetFetchRequestGroup { group_id: text(id), topics, ..Default::default() }
    };
    Ok(OffsetFetchRequest { groups: ids.iter().map(group).collect(), require_stable, ..Default::default() })
}

/// One partition of an answer: topic, index, offset, epoch, metadata, error.
type Fetched<'a> = (&'a str, i32, i64, i32, &'a Option<Str>, i16);

fn fetched(response: OffsetFetchResponse, ids: &[String]) -> PerKey<String, GroupOffsets> {
    if response.groups.is_empty() {
        let partitions = response.topics.iter().flat_map(|topic| {
            let name: &str = &topic.name;
            topic.partitions.iter().map(move |p| {
                (name, p.partition_index, p.committed_offset, p.committed_leader_epoch, &p.metadata, p.error_code)
            })
        });
        return PerKey::from([(ids[0].clone(), offsets(&ids[0], response.error_code, partitions))]);
    }
    let groups = response.groups.iter().map(|group| {
        let partitions = group.topics.iter().flat_map(|topic| {
            let name: &str = &topic.name;
            topic.partitions.iter().map(move |p| {
                (name, p.partition_index, p.committed_offset, p.committed_leader_epoch, &p.metadata, p.error_code)
            })
        });
        (group.group_id.to_string(), offsets(&group.group_id, group.error_code, partitions))
    });
    groups.collect()
}

fn offsets<'a>(id: &str, code: i16, partitions: impl Iterator<Item = Fetched<'a>>) -> Result<GroupOffsets> {
    check_code(code, &format!("group {id}"), None)?;
    let mut results = GroupOffsets::new();
    for (topic, index, offset, epoch, metadata, code) in partitions {
        let key = TopicPartition::new(topic, index);
        let what = format!("the offset of group {id} for {key}");
        let code = ErrorCode::from_code(code);
        if concerns_group(code) {
            return Err(Error::from_code(code, &what, None));
        }
        let committed = OffsetAndMetadata {
            offset,
            leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
            metadata: owned(metadata).unwrap_or_default(),
        };
        results.insert(key, check_code(code.code(), &what, None).map(|()| Some(committed).filter(|_| offset >= 0)));
    }
    Ok(results)
}

/// Errors that come with a partition, but say that the group as a whole has to be asked again.
fn concerns_group(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::RebalanceInProgress
            | ErrorCode::UnstableOffsetCommit
    )
}

/// The results of a request about a group as results of each of `keys`.
pub(super) fn spread<'a, K: Ord + Clone + std::fmt::Debug + 'a, V>(
    keys: impl IntoIterator<Item = &'a K>,
    answer: Option<Result<PerKey<K, V>>>,
) -> PerKey<K, V> {
    match answer {
        Some(Ok(mut results)) => {
            let result =
                |key: &K, results: &mut PerKey<K, V>| results.remove(key).unwrap_or_else(|| Err(not_mentioned(key)));
            keys.into_iter().map(|key| (key.clone(), result(key, &mut results))).collect()
        }
        Some(Err(error)) => all(keys, &error),
        None => keys.into_iter().map(|key| (key.clone(), Err(not_mentioned(key)))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_each_age() {
        let t0 = TopicPartition::new("t", 0);
        let groups = BTreeMap::from([("a".to_owned(), Some(BTreeSet::from([t0]))), ("b".to_owned(), None)]);
        let ids: Vec<String> = groups.keys().cloned().collect();
        let new = fetch_request(9, &ids, &groups, true).expect("several groups");
        assert_eq!(new.groups.len(), 2);
        assert!(new.groups[1].topics.is_none());
        assert_eq!(fetch_request(7, &ids, &groups, false).expect_err("one at a time").message(), ONE_GROUP);
        let old = fetch_request(7, &ids[..1], &groups, true).expect("one group");
        assert_eq!((&*old.group_id, old.topics.map(|topics| topics.len())), ("a", Some(1)));
        let error = fetch_request(5, &ids[..1], &groups, true).expect_err("it does not wait");
        assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion));
    }

    #[test]
    fn a_partition_without_a_commit_is_there_without_an_offset() {
        let none = None;
        let found = offsets("g", 0, [("t", 0, -1, -1, &none, 0), ("t", 1, 7, 3, &none, 0)].into_iter()).expect("read");
        assert_eq!(found[&TopicPartition::new("t", 0)].as_ref().expect("no error"), &None);
        let seven = OffsetAndMetadata { offset: 7, leader_epoch: Some(3), metadata: String::new() };
        assert_eq!(found[&TopicPartition::new("t", 1)].as_ref().expect("no error"), &Some(seven));
        let unstable = [("t", 0, -1, -1, &none, ErrorCode::UnstableOffsetCommit.code())];
        assert!(offsets("g", 0, unstable.into_iter()).expect_err("asked again").is_retriable());
    }
}
