//! What the cluster knows of a group, asked several times over a few seconds.

use super::ExplainOptions;
use crate::admin::{
    AclBinding, AclBindingFilter, AclPermissionType, AclResourceType, Admin, ConsumerGroupDescription, GroupType,
    ListGroupsOptions, ListTransactionsOptions, OffsetSpec, PatternType, TransactionState,
};
use crate::consumer::IsolationLevel;
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that the rules go by.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) group_id: String,
    /// Only these topics matter; empty is all.
    pub(super) wanted: BTreeSet<String>,
    /// In order of time; at least one.
    pub(super) samples: Vec<Sample>,
    /// The topics that the group has to do with: how many partitions and which have no leader, or why not known.
    pub(super) topics: BTreeMap<String, Result<TopicFacts>>,
    /// Transactions that hold back records, by partition.
    pub(super) open: BTreeMap<TopicPartition, Vec<OpenTransaction>>,
    /// When the last record was written, ms since 1970.
    pub(super) last_record_ms: BTreeMap<TopicPartition, i64>,
    /// What denies the group or its topics to someone, where the cluster tells.
    pub(super) denials: Vec<AclBinding>,
    /// The group's kind, where it is no group of consumers.
    pub(super) other_kind: Option<GroupType>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TopicFacts {
    pub(super) partitions: usize,
    pub(super) leaderless: BTreeSet<i32>,
}

/// One look.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at_ms: i64,
    pub(super) group: Result<ConsumerGroupDescription>,
    pub(super) commits: Result<BTreeMap<TopicPartition, i64>>,
    pub(super) logs: BTreeMap<TopicPartition, Result<Log>>,
}

/// From where to where a partition has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) start: i64,
    /// The last stable offset: up to where read_committed reads.
    pub(super) stable: i64,
    pub(super) end: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenTransaction {
    pub(super) producer_id: i64,
    /// Where it begins in the partition.
    pub(super) start_offset: i64,
    pub(super) transactional_id: Option<String>,
    pub(super) since_ms: Option<i64>,
    pub(super) timeout_ms: Option<i32>,
    /// Whether a coordinator still knows it; `None` when that could not be found out.
    pub(super) known: Option<bool>,
}

impl Facts {
    pub(super) fn last(&self) -> &Sample {
        self.samples.last().expect("at least one sample is taken")
    }

    pub(super) fn first(&self) -> &Sample {
        self.samples.first().expect("at least one sample is taken")
    }

    /// The group as it was seen last, if it was.
    pub(super) fn group(&self) -> Option<&ConsumerGroupDescription> {
        self.last().group.as_ref().ok()
    }

    pub(super) fn matters(&self, topic: &str) -> bool {
        self.wanted.is_empty() || self.wanted.contains(topic)
    }

    pub(super) fn commit(&self, sample: &Sample, partition: &TopicPartition) -> Option<i64> {
        sample.commits.as_ref().ok()?.get(partition).copied()
    }

    /// Seconds that the looks span, for sentences.
    pub(super) fn span(&self) -> String {
        let ms = (self.last().at_ms - self.first().at_ms).max(0);
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    }
}

/// Looks as often as asked.
pub(super) async fn gather(admin: &Admin, group_id: &str, options: &ExplainOptions) -> Facts {
    let mut facts = Facts { group_id: group_id.to_owned(), wanted: options.topics.clone(), ..Facts::default() };
    let count = options.samples.max(2);
    let pause = options.duration / (count - 1);
    for number in 0..count {
        if number > 0 {
            admin.client.env().sleep(pause).await;
        }
        let sample = look(admin, &mut facts).await;
        facts.samples.push(sample);
        // Without the group there is nothing to compare; waiting would only delay the answer.
        if facts.samples.iter().all(|sample| sample.group.is_err() && sample.commits.is_err()) && number > 0 {
            break;
        }
    }
    kind(admin, &mut facts).await;
    transactions(admin, &mut facts).await;
    last_records(admin, &mut facts).await;
    denials(admin, &mut facts).await;
    facts
}

async fn look(admin: &Admin, facts: &mut Facts) -> Sample {
    let id = facts.group_id.clone();
    let mut described = admin.describe_consumer_groups(std::slice::from_ref(&id), false).await;
    let group = described.remove(&id).unwrap_or_else(|| Err(Error::invalid("the group was not described")));
    let mut commits: Result<BTreeMap<TopicPartition, i64>> =
        admin.consumer_group_offsets(&id, None).await.map(|offsets| {
            let committed = offsets.into_iter().filter_map(|(key, offset)| Some((key, offset.ok()??.offset)));
            committed.collect()
        });
    if let Ok(commits) = &mut commits {
        commits.retain(|partition, _| facts.matters(&partition.topic));
    }
    let mut topics: BTreeSet<String> = facts.wanted.clone();
    let mut partitions: BTreeSet<TopicPartition> = commits.iter().flat_map(BTreeMap::keys).cloned().collect();
    for member in group.iter().flat_map(|group| &group.members) {
        topics.extend(member.subscribed_topics.iter().flatten().filter(|topic| facts.matters(topic)).cloned());
        partitions.extend(member.assignment.iter().filter(|partition| facts.matters(&partition.topic)).cloned());
    }
    topics.extend(partitions.iter().map(|partition| partition.topic.to_string()));
    let unknown: Vec<String> = topics.iter().filter(|topic| !facts.topics.contains_key(*topic)).cloned().collect();
    if !unknown.is_empty() {
        describe(admin, facts, &unknown).await;
    }
    for (topic, known) in &facts.topics {
        let count = known.as_ref().map_or(0, |known| known.partitions);
        partitions.extend((0..count).map(|index| TopicPartition::new(topic.as_str(), index as i32)));
    }
    // A topic that is gone has commits still; asking for it again and again only takes time.
    partitions.retain(|partition| facts.topics.get(&*partition.topic).is_some_and(Result::is_ok));
    Sample { at_ms: admin.client.env().now_ms(), group, commits, logs: logs(admin, &partitions).await }
}

async fn describe(admin: &Admin, facts: &mut Facts, topics: &[String]) {
    let described = match admin.describe_topics(topics).await {
        Ok(described) => described,
        Err(error) => topics.iter().map(|_| Err(error.clone())).collect(),
    };
    for (topic, described) in topics.iter().zip(described) {
        let known = described.map(|description| TopicFacts {
            partitions: description.partitions.len(),
            leaderless: description.partitions.iter().filter(|p| p.leader.is_none()).map(|p| p.partition).collect(),
        });
        facts.topics.insert(topic.clone(), known);
    }
}

async fn logs(admin: &Admin, partitions: &BTreeSet<TopicPartition>) -> BTreeMap<TopicPartition, Result<Log>> {
    let ask = async |spec: OffsetSpec, isolation: IsolationLevel| {
        let specs: BTreeMap<_, _> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
        admin.list_offsets(&specs, isolation).await
    };
    // The end last: what was written in between shows as more, never as less than nothing.
    let start = ask(OffsetSpec::Earliest, IsolationLevel::ReadUncommitted).await;
    let stable = ask(OffsetSpec::Latest, IsolationLevel::ReadCommitted).await;
    let mut end = ask(OffsetSpec::Latest, IsolationLevel::ReadUncommitted).await;
    // Without an open transaction both ends are one; written between the two questions, they are not.
    let apart: BTreeMap<_, _> = partitions
        .iter()
        .filter(|key| match (stable.get(key), end.get(key)) {
            (Some(Ok(stable)), Some(Ok(end))) => stable.offset < end.offset,
            _ => false,
        })
        .map(|key| (key.clone(), OffsetSpec::Latest))
        .collect();
    let again = admin.list_offsets(&apart, IsolationLevel::ReadCommitted).await;
    let offset = |found: Option<&Result<crate::admin::ListedOffset>>| match found {
        Some(Ok(found)) => Ok(found.offset.unwrap_or(0)),
        Some(Err(error)) => Err(error.clone()),
        None => Err(Error::invalid("the partition was not answered")),
    };
    let mut logs = BTreeMap::new();
    for partition in partitions {
        let found = offset(start.get(partition)).and_then(|start| {
            let end = offset(end.remove(partition).as_ref())?;
            let stable = offset(again.get(partition).or(stable.get(partition)))?;
            Ok(Log { start, stable: stable.min(end), end })
        });
        logs.insert(partition.clone(), found);
    }
    logs
}

/// A group that has no description as a group of consumers may be one of another kind.
async fn kind(admin: &Admin, facts: &mut Facts) {
    let code = facts.last().group.as_ref().err().and_then(Error::code);
    if !matches!(code, Some(ErrorCode::GroupIdNotFound | ErrorCode::InvalidGroupId)) {
        return;
    }
    let Ok(listed) = admin.list_groups(&ListGroupsOptions::default()).await else { return };
    let found = listed.groups.into_iter().find(|group| group.group_id == facts.group_id);
    facts.other_kind = found.map(|group| group.group_type.unwrap_or(GroupType::Classic));
}

async fn transactions(admin: &Admin, facts: &mut Facts) {
    let held = |log: &Result<Log>| log.as_ref().is_ok_and(|log| log.stable < log.end);
    let partitions: BTreeSet<TopicPartition> =
        facts.last().logs.iter().filter(|(_, log)| held(log)).map(|(partition, _)| partition.clone()).collect();
    if partitions.is_empty() {
        return;
    }
    let mut ids: BTreeSet<i64> = BTreeSet::new();
    for (partition, producers) in admin.describe_producers(&partitions, None).await {
        for producer in producers.into_iter().flatten() {
            let Some(start_offset) = producer.current_transaction_start_offset else { continue };
            ids.insert(producer.producer_id);
            facts.open.entry(partition.clone()).or_default().push(OpenTransaction {
                producer_id: producer.producer_id,
                start_offset,
                transactional_id: None,
                since_ms: None,
                timeout_ms: None,
                known: None,
            });
        }
    }
    let options = ListTransactionsOptions { producer_ids: ids, ..Default::default() };
    let Ok(listed) = admin.list_transactions(&options).await else { return };
    let all_told = listed.values().all(Result::is_ok);
    let names: BTreeMap<i64, (String, TransactionState)> = listed
        .into_values()
        .flatten()
        .flatten()
        .map(|transaction| (transaction.producer_id, (transaction.transactional_id, transaction.state)))
        .collect();
    let transactional_ids: Vec<String> = names.values().map(|(id, _)| id.clone()).collect();
    let described = admin.describe_transactions(&transactional_ids).await;
    for transaction in facts.open.values_mut().flatten() {
        let Some((id, state)) = names.get(&transaction.producer_id) else {
            transaction.known = all_told.then_some(false);
            continue;
        };
        transaction.transactional_id = Some(id.clone());
        let open = matches!(
            state,
            TransactionState::Ongoing | TransactionState::PrepareCommit | TransactionState::PrepareAbort
        );
        transaction.known = Some(open);
        if let Some(Ok(description)) = described.get(id) {
            transaction.since_ms = description.transaction_start_time_ms;
            transaction.timeout_ms = Some(description.transaction_timeout_ms);
        }
    }
}

async fn last_records(admin: &Admin, facts: &mut Facts) {
    let some = |log: &Result<Log>| log.as_ref().is_ok_and(|log| log.start < log.end);
    let specs: BTreeMap<TopicPartition, OffsetSpec> = facts
        .last()
        .logs
        .iter()
        .filter(|(_, log)| some(log))
        .map(|(partition, _)| (partition.clone(), OffsetSpec::MaxTimestamp))
        .collect();
    for (partition, found) in admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await {
        if let Some(ms) = found.ok().and_then(|found| found.timestamp) {
            facts.last_record_ms.insert(partition, ms);
        }
    }
}

/// Rules that deny someone the group or its topics. A cluster without an authorizer, or that does not tell, has none.
async fn denials(admin: &Admin, facts: &mut Facts) {
    let mut resources = vec![(AclResourceType::Group, facts.group_id.clone())];
    resources.extend(facts.topics.keys().map(|topic| (AclResourceType::Topic, topic.clone())));
    for (resource_type, name) in resources {
        let filter = AclBindingFilter {
            resource_type,
            resource_name: Some(name),
            pattern_type: PatternType::Match,
            permission_type: AclPermissionType::Deny,
            ..AclBindingFilter::default()
        };
        match admin.describe_acls(&filter).await {
            Ok(found) => facts.denials.extend(found),
            Err(_) => return,
        }
    }
}
