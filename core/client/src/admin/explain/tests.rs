//! Each rule from made-up facts: what shows it, and what looks like it and is something else.

use super::facts::{Facts, Log, OpenTransaction, Sample, TopicFacts};
use super::{Cause, Certainty, Finding, rules, timeline};
use crate::admin::{
    AclBinding, AclOperation, AclPermissionType, AclResourceType, ConsumerGroupDescription, GroupState, GroupType,
    MemberDescription, PatternType,
};
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn member(id: &str, partitions: &[i32]) -> MemberDescription {
    MemberDescription {
        member_id: id.to_owned(),
        host: "/10.0.0.1".to_owned(),
        assignment: partitions.iter().map(|index| tp(*index)).collect(),
        subscribed_topics: Some(BTreeSet::from(["t".to_owned()])),
        ..MemberDescription::default()
    }
}

fn group(state: GroupState, members: Vec<MemberDescription>) -> ConsumerGroupDescription {
    ConsumerGroupDescription {
        group_id: "g".to_owned(),
        group_type: GroupType::Classic,
        is_simple_consumer_group: false,
        state,
        partition_assignor: "range".to_owned(),
        members,
        group_epoch: None,
        target_assignment_epoch: None,
        coordinator: Some(1),
        authorized_operations: None,
    }
}

fn sample(group: Result<ConsumerGroupDescription>, commits: &[(i32, i64)], logs: &[(i32, Log)]) -> Sample {
    Sample {
        at_ms: 0,
        group,
        commits: Ok(commits.iter().map(|(index, offset)| (tp(*index), *offset)).collect()),
        logs: logs.iter().map(|(index, log)| (tp(*index), Ok(*log))).collect(),
    }
}

fn log(start: i64, end: i64) -> Log {
    Log { start, stable: end, end }
}

fn facts(samples: Vec<Sample>) -> Facts {
    let partitions = samples[0].logs.len();
    let samples = samples.into_iter().enumerate().map(|(i, sample)| Sample { at_ms: i as i64 * 1000, ..sample });
    Facts {
        group_id: "g".to_owned(),
        samples: samples.collect(),
        topics: BTreeMap::from([("t".to_owned(), Ok(TopicFacts { partitions, leaderless: BTreeSet::new() }))]),
        ..Facts::default()
    }
}

/// Two equal looks.
fn twice(sample: Sample) -> Facts {
    facts(vec![sample.clone(), sample])
}

fn stable(members: Vec<MemberDescription>) -> Result<ConsumerGroupDescription> {
    Ok(group(GroupState::Stable, members))
}

fn failed(code: ErrorCode) -> Result<ConsumerGroupDescription> {
    Err(Error::from_code(code, "group g", None))
}

fn first(facts: &Facts) -> Finding {
    rules::findings(facts).remove(0)
}

fn causes(facts: &Facts) -> Vec<Cause> {
    rules::findings(facts).iter().map(|finding| finding.cause).collect()
}

#[test]
fn no_data() {
    let reader = || stable(vec![member("m", &[0])]);
    let empty = first(&twice(sample(reader(), &[], &[(0, log(0, 0))])));
    assert_eq!((empty.cause, empty.certainty), (Cause::NoData, Certainty::Certain));
    assert!(empty.what.contains("never had a record"), "{}", empty.what);
    let expired = first(&twice(sample(reader(), &[(0, 3)], &[(0, log(9, 9))])));
    assert!(expired.cause == Cause::NoData && expired.what.contains("retention"), "{}", expired.what);
    let read = first(&twice(sample(reader(), &[(0, 9)], &[(0, log(0, 9))])));
    assert!(read.cause == Cause::NoData && read.what.contains("has read all"), "{}", read.what);
}

#[test]
fn an_open_transaction() {
    let held = Log { start: 0, stable: 5, end: 9 };
    let mut open = twice(sample(stable(vec![member("m", &[0])]), &[(0, 5)], &[(0, held)]));
    let transaction = OpenTransaction {
        producer_id: 7,
        start_offset: 5,
        transactional_id: Some("pay".to_owned()),
        since_ms: Some(-59_000),
        timeout_ms: Some(60_000),
        known: Some(true),
    };
    open.open.insert(tp(0), vec![transaction.clone()]);
    let finding = first(&open);
    assert_eq!((finding.cause, finding.certainty), (Cause::OpenTransaction, Certainty::Likely));
    assert!(finding.evidence.iter().any(|line| line.contains("pay") && line.contains("open for 60 s")), "{finding:?}");
    assert!(finding.advice.contains("transaction.timeout.ms"));
    open.open.insert(tp(0), vec![OpenTransaction { known: Some(false), transactional_id: None, ..transaction }]);
    assert!(first(&open).advice.contains("abort_transaction"), "nobody will end it");
    // Not there yet: the reader stands still before the transaction.
    let before = twice(sample(stable(vec![member("m", &[0])]), &[(0, 2)], &[(0, held)]));
    assert_eq!(first(&before).cause, Cause::Paused);
}

#[test]
fn more_members_than_partitions() {
    let members = vec![member("a", &[0]), member("b", &[]), member("c", &[])];
    let finding = first(&twice(sample(stable(members), &[(0, 9)], &[(0, log(0, 9))])));
    assert_eq!((finding.cause, finding.certainty), (Cause::MoreMembersThanPartitions, Certainty::Certain));
    assert!(finding.what.starts_with("2 of the 3 members"), "{}", finding.what);
    let settling = group(GroupState::CompletingRebalance, vec![member("a", &[]), member("b", &[])]);
    let found = causes(&twice(sample(Ok(settling), &[(0, 9)], &[(0, log(0, 9))])));
    assert!(!found.contains(&Cause::MoreMembersThanPartitions), "{found:?}");
}

#[test]
fn a_pattern_that_matches_nothing() {
    let regex = MemberDescription {
        subscribed_topics: Some(BTreeSet::new()),
        subscribed_topic_regex: Some("^orders-.*".to_owned()),
        ..member("m", &[])
    };
    let finding = first(&twice(sample(stable(vec![regex.clone()]), &[], &[])));
    assert_eq!((finding.cause, finding.certainty), (Cause::PatternMatchesNothing, Certainty::Certain));
    assert!(finding.what.contains("^orders-.*"), "{}", finding.what);
    // It matches: another member has what there is.
    let busy = MemberDescription { assignment: BTreeSet::from([tp(0)]), member_id: "n".to_owned(), ..regex.clone() };
    let found = causes(&twice(sample(stable(vec![regex, busy]), &[(0, 9)], &[(0, log(0, 9))])));
    assert_eq!(found[0], Cause::MoreMembersThanPartitions);
    let nothing = MemberDescription { subscribed_topics: Some(BTreeSet::new()), ..member("m", &[]) };
    let finding = first(&twice(sample(stable(vec![nothing]), &[], &[])));
    assert_eq!((finding.cause, finding.certainty), (Cause::PatternMatchesNothing, Certainty::Likely));
}

#[test]
fn denied() {
    let refused = twice(sample(failed(ErrorCode::GroupAuthorizationFailed), &[], &[]));
    let finding = first(&refused);
    assert_eq!((finding.cause, finding.certainty), (Cause::Denied, Certainty::Certain));
    let mut topic = twice(sample(stable(vec![member("m", &[])]), &[], &[]));
    let error = Error::from_code(ErrorCode::TopicAuthorizationFailed, "topic t", None);
    topic.topics.insert("t".to_owned(), Err(error));
    assert_eq!(first(&topic).cause, Cause::Denied);
    let mut rule = twice(sample(stable(vec![member("m", &[0])]), &[(0, 9)], &[(0, log(0, 9))]));
    rule.denials.push(AclBinding {
        resource_type: AclResourceType::Topic,
        resource_name: "t".to_owned(),
        pattern_type: PatternType::Literal,
        principal: "User:eve".to_owned(),
        host: "*".to_owned(),
        operation: AclOperation::Read,
        permission_type: AclPermissionType::Deny,
    });
    let finding = first(&rule);
    assert_eq!((finding.cause, finding.certainty), (Cause::Denied, Certainty::Possible));
    assert!(finding.evidence[0].contains("User:eve may not READ TOPIC t"), "{finding:?}");
}

#[test]
fn the_reset_policy() {
    let reader = || stable(vec![member("m", &[0])]);
    let finding = first(&twice(sample(reader(), &[], &[(0, log(0, 9))])));
    assert_eq!((finding.cause, finding.certainty), (Cause::ResetPolicy, Certainty::Likely));
    assert!(finding.what.contains("auto.offset.reset"));
    let growing = facts(vec![sample(reader(), &[], &[(0, log(0, 9))]), sample(reader(), &[], &[(0, log(0, 12))])]);
    assert_eq!(first(&growing).certainty, Certainty::Possible, "it may read and not commit");
    let deleted = first(&twice(sample(reader(), &[(0, 3)], &[(0, log(5, 9))])));
    assert_eq!((deleted.cause, deleted.certainty), (Cause::OffsetOutOfRange, Certainty::Certain));
    let made_anew = first(&twice(sample(reader(), &[(0, 30)], &[(0, log(0, 9))])));
    assert!(made_anew.cause == Cause::OffsetOutOfRange && made_anew.what.contains("made anew"), "{}", made_anew.what);
}

#[test]
fn paused() {
    let logs = [(0, log(0, 9)), (1, log(0, 9))];
    let reader = || stable(vec![member("m", &[0, 1])]);
    let alone = first(&twice(sample(reader(), &[(0, 3), (1, 3)], &logs)));
    assert_eq!((alone.cause, alone.certainty), (Cause::Paused, Certainty::Possible));
    assert!(alone.advice.contains("max.poll.interval.ms"), "what else it may be");
    let one = facts(vec![sample(reader(), &[(0, 3), (1, 3)], &logs), sample(reader(), &[(0, 3), (1, 8)], &logs)]);
    let finding = first(&one);
    assert_eq!((finding.cause, finding.certainty), (Cause::Paused, Certainty::Likely));
    assert_eq!(finding.partitions, BTreeSet::from([tp(0)]));
    assert!(causes(&one).contains(&Cause::Arriving));
}

#[test]
fn max_poll_exceeded() {
    let logs = [(0, log(0, 9))];
    let with = |id: &str| sample(stable(vec![member(id, &[0])]), &[(0, 3)], &logs);
    let finding = first(&facts(vec![with("a"), with("b")]));
    assert_eq!((finding.cause, finding.certainty), (Cause::MaxPollExceeded, Certainty::Likely));
    assert_eq!(finding.evidence, ["member a left"]);
    let moving = sample(stable(vec![member("b", &[0])]), &[(0, 8)], &logs);
    assert_eq!(first(&facts(vec![with("a"), moving])).cause, Cause::Arriving, "a rebalance that did no harm");
    let waiting = || Ok(group(GroupState::PreparingRebalance, vec![member("a", &[]), member("b", &[])]));
    let finding = first(&twice(sample(waiting(), &[(0, 3)], &logs)));
    assert!(finding.cause == Cause::MaxPollExceeded && finding.what.contains("rebalancing"), "{}", finding.what);
    let empty = || Ok(group(GroupState::Empty, Vec::new()));
    let finding = first(&facts(vec![with("a"), sample(empty(), &[(0, 3)], &logs)]));
    assert!(finding.cause == Cause::MaxPollExceeded && finding.what.contains("just left"), "{}", finding.what);
    let finding = first(&twice(sample(empty(), &[(0, 3)], &logs)));
    assert_eq!((finding.cause, finding.certainty), (Cause::NoMembers, Certainty::Certain));
    assert!(finding.evidence[1].starts_with("6 records wait"), "{finding:?}");
}

#[test]
fn the_coordinator() {
    for code in [ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator] {
        let finding = first(&twice(sample(failed(code), &[], &[])));
        assert_eq!((finding.cause, finding.certainty), (Cause::CoordinatorUnavailable, Certainty::Certain), "{code:?}");
    }
    let unreachable = Err(Error::new(ErrorKind::Retriable, "cannot connect to b:9092: refused"));
    assert_eq!(first(&twice(sample(unreachable, &[], &[]))).cause, Cause::CoordinatorUnavailable);
}

#[test]
fn names_that_are_not_there() {
    let mut nobody = twice(sample(failed(ErrorCode::GroupIdNotFound), &[], &[]));
    assert_eq!(first(&nobody).cause, Cause::NoSuchGroup);
    nobody.other_kind = Some(GroupType::Share);
    let finding = first(&nobody);
    assert!(finding.cause == Cause::OtherKind && finding.what.contains("Share"), "{}", finding.what);
    let mut topic = twice(sample(stable(vec![member("m", &[])]), &[], &[]));
    topic.topics.insert("t".to_owned(), Err(Error::from_code(ErrorCode::UnknownTopicOrPartition, "topic t", None)));
    assert_eq!(first(&topic).cause, Cause::TopicMissing);
    let mut leaderless = twice(sample(stable(vec![member("m", &[0])]), &[], &[(0, log(0, 0))]));
    let known = TopicFacts { partitions: 1, leaderless: BTreeSet::from([0]) };
    leaderless.topics.insert("t".to_owned(), Ok(known));
    assert_eq!(first(&leaderless).cause, Cause::NoLeader);
    let nobodys =
        first(&twice(sample(stable(vec![member("m", &[0])]), &[(0, 9), (1, 2)], &[(0, log(0, 9)), (1, log(0, 9))])));
    assert_eq!((nobodys.cause, nobodys.partitions), (Cause::NotAssigned, BTreeSet::from([tp(1)])));
}

#[test]
fn the_timeline_tells_changes_in_order() {
    let logs = [(0, log(0, 9))];
    let one = sample(stable(vec![member("a", &[0])]), &[(0, 3)], &logs);
    let two = sample(Ok(group(GroupState::Empty, Vec::new())), &[(0, 4)], &[(0, log(0, 10))]);
    let mut facts = facts(vec![one.clone(), one, two]);
    facts.last_record_ms.insert(tp(0), -500);
    let entries = timeline::entries(&facts);
    let told: Vec<(i64, &str)> = entries.iter().map(|entry| (entry.at_ms, entry.what.as_str())).collect();
    assert_eq!(
        told,
        [
            (-500, "the last record of t-0 was written (by its timestamp)"),
            (0, "Classic Stable, members: 1; 1 committed offsets, lag 6"),
            (1000, "no change"),
            (2000, "the group went from Stable to Empty"),
            (2000, "member a left"),
            (2000, "t-0: committed 3 → 4, end 9 → 10"),
        ]
    );
}
