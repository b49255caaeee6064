//! Rules about the group as a whole, and the order in which findings count. Pure: facts in, findings out.

use super::facts::{Facts, Sample};
use super::{Cause, Certainty, Finding, partitions};
use crate::admin::{ConsumerGroupDescription, GroupState, MemberDescription};
use crate::error::{Error, ErrorKind};
use ottla_model::{ErrorCode, TopicPartition};
use std::collections::BTreeSet;

/// All that the facts show, the most telling first.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let whole = [
        coordinator_unavailable,
        denied,
        other_kind,
        no_such_group,
        no_members,
        topics_missing,
        pattern,
        no_leader,
        does_not_poll,
        more_members,
    ];
    found.extend(whole.iter().filter_map(|rule| rule(facts)));
    found.extend(partitions::findings(facts));
    // What explains everything comes before what explains a part; what is sure before what is guessed. That others
    // arrive, or have nothing to get, is told last: it is what one knows already.
    found.sort_by_key(|finding| (rank(finding.cause), finding.certainty, finding.cause));
    if found.is_empty() {
        found.push(nothing_seen(facts));
    }
    found
}

fn rank(cause: Cause) -> u8 {
    match cause {
        Cause::CoordinatorUnavailable | Cause::Denied | Cause::OtherKind | Cause::NoSuchGroup => 0,
        Cause::NoMembers | Cause::TopicMissing | Cause::PatternMatchesNothing | Cause::NoLeader => 1,
        Cause::MaxPollExceeded => 2,
        Cause::OpenTransaction | Cause::OffsetOutOfRange => 3,
        Cause::Paused | Cause::NotAssigned => 4,
        Cause::MoreMembersThanPartitions => 5,
        Cause::ResetPolicy => 6,
        Cause::Arriving => 7,
        Cause::NoData => 8,
    }
}

fn nothing_seen(facts: &Facts) -> Finding {
    let error = facts.last().group.as_ref().err().or(facts.last().commits.as_ref().err());
    Finding {
        cause: Cause::NoData,
        certainty: Certainty::Possible,
        what: format!("Group {} has nothing to do with any topic that could be looked at.", facts.group_id),
        evidence: error.map(|error| error.to_string()).into_iter().collect(),
        advice: "Name the topic that the consumer should read with --topic.".to_owned(),
        partitions: BTreeSet::new(),
    }
}

/// A finding about the group.
pub(super) fn of_group(
    cause: Cause,
    certainty: Certainty,
    what: String,
    evidence: Vec<String>,
    advice: &str,
) -> Finding {
    Finding { cause, certainty, what, evidence, advice: advice.to_owned(), partitions: BTreeSet::new() }
}

fn group_error(facts: &Facts) -> Option<&Error> {
    facts.last().group.as_ref().err()
}

fn coordinator_unavailable(facts: &Facts) -> Option<Finding> {
    let error = group_error(facts)?;
    let by_code = matches!(
        error.code(),
        Some(
            ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::RequestTimedOut
        )
    );
    let unreachable = error.code().is_none() && matches!(error.kind(), ErrorKind::Retriable | ErrorKind::Timeout);
    if !by_code && !unreachable {
        return None;
    }
    let what = match error.code() {
        Some(ErrorCode::CoordinatorLoadInProgress) => {
            format!("The coordinator of group {} is still loading the group's state.", facts.group_id)
        }
        _ => format!(
            "The coordinator of group {} is not available, so no consumer can join it, keep its membership or commit.",
            facts.group_id
        ),
    };
    let advice = "Look at the brokers that host __consumer_offsets: are they up, do its partitions have leaders \
                  (ottla topic describe __consumer_offsets), and are there as many brokers as \
                  offsets.topic.replication.factor asks for?";
    Some(of_group(Cause::CoordinatorUnavailable, Certainty::Certain, what, vec![error.to_string()], advice))
}

fn denied(facts: &Facts) -> Option<Finding> {
    let is_denied = |error: &&Error| error.kind() == ErrorKind::Auth;
    let last = facts.last();
    let mut errors: BTreeSet<String> = BTreeSet::new();
    errors.extend(last.group.as_ref().err().filter(is_denied).map(ToString::to_string));
    errors.extend(last.commits.as_ref().err().filter(is_denied).map(ToString::to_string));
    for topic in facts.topics.values() {
        errors.extend(topic.as_ref().err().filter(is_denied).map(ToString::to_string));
    }
    for log in last.logs.values() {
        errors.extend(log.as_ref().err().filter(is_denied).map(ToString::to_string));
    }
    if !errors.is_empty() {
        let what = format!(
            "The cluster refuses access to group {} or its topics to the user that asks here, and so to a consumer that \
             runs as the same user.",
            facts.group_id
        );
        let advice = "Give the consumer's user READ on the group and on its topics (create_acls), and ask again as a user \
                      that may DESCRIBE them.";
        return Some(of_group(Cause::Denied, Certainty::Certain, what, errors.into_iter().collect(), advice));
    }
    if facts.denials.is_empty() {
        return None;
    }
    let evidence = facts.denials.iter().map(|acl| {
        let (kind, name) = (acl.resource_type, &acl.resource_name);
        format!("{} may not {} {kind} {name} (from host {})", acl.principal, acl.operation, acl.host)
    });
    let what = format!("An access rule denies group {} or its topics to someone.", facts.group_id);
    let advice = "If the consumer runs as that user, take the rule away (delete_acls); a rule that denies counts before \
                  all that allow.";
    Some(of_group(Cause::Denied, Certainty::Possible, what, evidence.collect(), advice))
}

fn other_kind(facts: &Facts) -> Option<Finding> {
    let kind = facts.other_kind?;
    let what = format!("Group {} is no group of consumers: its kind is {kind}.", facts.group_id);
    let evidence = group_error(facts).map(ToString::to_string).into_iter().collect();
    let advice = "Look at it with the tools of its kind; a consumer cannot join it under this group.id.";
    Some(of_group(Cause::OtherKind, Certainty::Certain, what, evidence, advice))
}

fn no_such_group(facts: &Facts) -> Option<Finding> {
    let error = group_error(facts)?;
    if error.code() != Some(ErrorCode::GroupIdNotFound) || facts.other_kind.is_some() {
        return None;
    }
    if facts.last().commits.as_ref().is_ok_and(|commits| !commits.is_empty()) {
        return None;
    }
    let what = format!("There is no group {}: no consumer with this group.id has joined or committed.", facts.group_id);
    let advice = "Check the consumer's group.id (ottla group list), its bootstrap.servers, and that it calls subscribe and \
                  poll; its log says why it could not join, for example for lack of permission.";
    Some(of_group(Cause::NoSuchGroup, Certainty::Certain, what, vec![error.to_string()], advice))
}

fn no_members(facts: &Facts) -> Option<Finding> {
    let group = facts.group()?;
    if !group.members.is_empty() || moved(facts) {
        return None;
    }
    let lag = partitions::lag(facts);
    let mut evidence = vec![format!("state {}, no member in {}", group.state, samples(facts))];
    if lag > 0 {
        evidence.push(format!("{lag} records wait behind the committed offsets"));
    }
    if let Some(left) = facts.samples.iter().find_map(|sample| members(sample).into_iter().next()) {
        evidence.push(format!("member {left} was there at first"));
        let what = format!("The last member of group {} has just left it.", facts.group_id);
        let advice = "Look at the consumer's log: it stopped, or it left because max.poll.interval.ms passed between two \
                      calls of poll.";
        return Some(of_group(Cause::MaxPollExceeded, Certainty::Likely, what, evidence, advice));
    }
    let what = format!("Group {} has no members: no consumer is running under this group.id.", facts.group_id);
    let advice = "Start the consumer, or look at its log: it cannot connect, may not join, or has left because \
                  max.poll.interval.ms passed between two calls of poll. A consumer that uses assign instead of subscribe \
                  is no member; then only its commits show here.";
    Some(of_group(Cause::NoMembers, Certainty::Certain, what, evidence, advice))
}

/// Whether commits moved while looking.
fn moved(facts: &Facts) -> bool {
    let (Ok(first), Ok(last)) = (&facts.first().commits, &facts.last().commits) else { return false };
    last.iter().any(|(partition, offset)| first.get(partition).is_some_and(|before| before < offset))
}

fn topics_missing(facts: &Facts) -> Option<Finding> {
    let unknown = [ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidTopicException];
    let missing: Vec<&String> = facts
        .topics
        .iter()
        .filter(|(_, known)| known.as_ref().is_err_and(|e| e.code().is_some_and(|code| unknown.contains(&code))))
        .map(|(topic, _)| topic)
        .collect();
    // A commit for a topic that was deleted is history; what counts is what is asked for now.
    let asked_for = |topic: &&&String| {
        let subscribed = |member: &MemberDescription| member.subscribed_topics.iter().flatten().any(|t| t == **topic);
        facts.wanted.contains(**topic) || facts.group().is_some_and(|group| group.members.iter().any(subscribed))
    };
    let missing: Vec<&&String> = missing.iter().filter(asked_for).collect();
    let first = missing.first()?;
    let what = match missing.len() {
        1 => format!("Topic {first}, which group {} should read, does not exist.", facts.group_id),
        more => format!("{more} topics that group {} should read do not exist, {first} for one.", facts.group_id),
    };
    let evidence = missing.iter().map(|topic| format!("topic {topic}: UNKNOWN_TOPIC_OR_PARTITION")).collect();
    let advice = "Check the name (ottla topic list), or create it (ottla topic create); consumers notice it within \
                  metadata.max.age.ms.";
    Some(of_group(Cause::TopicMissing, Certainty::Certain, what, evidence, advice))
}

fn pattern(facts: &Facts) -> Option<Finding> {
    let group = facts.group()?;
    let settled = matches!(group.state, GroupState::Stable | GroupState::Reconciling);
    let idle = |member: &&MemberDescription| {
        let target = member.target_assignment.as_ref().unwrap_or(&member.assignment);
        settled && member.assignment.is_empty() && target.is_empty()
    };
    let by_regex = group.members.iter().filter(idle).find(|member| {
        member.subscribed_topic_regex.is_some() && member.subscribed_topics.as_ref().is_none_or(BTreeSet::is_empty)
    });
    // One member of several with the same pattern may have nothing only because the others have it all.
    if let Some(member) = by_regex
        && group
            .members
            .iter()
            .all(|other| other.subscribed_topic_regex != member.subscribed_topic_regex || other.assignment.is_empty())
    {
        let regex = member.subscribed_topic_regex.as_deref().unwrap_or_default();
        let what = format!("The pattern {regex:?} of group {} matches no topic.", facts.group_id);
        let evidence = vec![format!("{} has a pattern and no partition", name(member))];
        let advice = "A pattern must match the whole name of a topic, and matches only topics that the consumer's user may \
                      describe; compare with ottla topic list.";
        return Some(of_group(Cause::PatternMatchesNothing, Certainty::Certain, what, evidence, advice));
    }
    let nothing = group.members.iter().filter(idle).find(|member| {
        member.subscribed_topic_regex.is_none() && member.subscribed_topics.as_ref().is_some_and(BTreeSet::is_empty)
    })?;
    let what = format!(
        "A member of group {} asks for no topic at all: its pattern matches none, or it subscribed to an empty list.",
        facts.group_id
    );
    let evidence = vec![format!("{} has joined with an empty list of topics", name(nothing))];
    let advice = "With a classic group the consumer itself matches the pattern: compare it with ottla topic list, and check \
                  that the consumer's user may describe the topics.";
    Some(of_group(Cause::PatternMatchesNothing, Certainty::Likely, what, evidence, advice))
}

fn no_leader(facts: &Facts) -> Option<Finding> {
    let mut partitions = BTreeSet::new();
    for (topic, known) in &facts.topics {
        let leaderless = known.iter().flat_map(|known| &known.leaderless);
        partitions.extend(leaderless.map(|index| TopicPartition::new(topic.as_str(), *index)));
    }
    let first = partitions.first()?;
    let what = format!("{} has no leader, so nothing can be read from it.", all_of(&partitions, first));
    let evidence = partitions.iter().map(|partition| format!("{partition}: no leader")).collect();
    let advice = "The brokers with its replicas are down: ottla topic describe names them.".to_owned();
    Some(Finding { cause: Cause::NoLeader, certainty: Certainty::Certain, what, evidence, advice, partitions })
}

/// Members that come and go, and rebalances that do not end: somebody does not call `poll`.
fn does_not_poll(facts: &Facts) -> Option<Finding> {
    let group = facts.group()?;
    if group.members.is_empty() {
        return None;
    }
    let states: Vec<GroupState> =
        facts.samples.iter().filter_map(|sample| Some(sample.group.as_ref().ok()?.state)).collect();
    let waits = |state: &GroupState| {
        matches!(state, GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Reconciling)
    };
    if states.len() > 1 && states.iter().all(waits) {
        let what = format!(
            "Group {} has been rebalancing for as long as was looked ({}): a member does not come back to poll.",
            facts.group_id,
            facts.span()
        );
        let mut evidence = vec![format!("state {} in every sample", group.state)];
        evidence.extend(lagging(group).map(|member| {
            format!("{} still has to give up or take over partitions (epoch {:?})", name(member), member.member_epoch)
        }));
        let advice = "Find the member whose processing takes long: until it polls, at the latest after its \
                      max.poll.interval.ms (5 min), the others wait. Poll smaller batches (max.poll.records), or raise \
                      max.poll.interval.ms.";
        return Some(of_group(Cause::MaxPollExceeded, Certainty::Likely, what, evidence, advice));
    }
    let mut changes = Vec::new();
    for pair in facts.samples.windows(2) {
        let (before, after) = (members(&pair[0]), members(&pair[1]));
        if pair[0].group.is_err() || pair[1].group.is_err() {
            continue;
        }
        changes.extend(before.difference(&after).map(|left| format!("member {left} left")));
    }
    if changes.is_empty() || moved(facts) {
        return None;
    }
    let what = format!(
        "Members of group {} drop out and no offset is committed: they probably exceed max.poll.interval.ms.",
        facts.group_id
    );
    let advice = "Look for \"max.poll.interval.ms\" in the consumer's log. Poll smaller batches (max.poll.records), process \
                  faster or elsewhere, or raise max.poll.interval.ms.";
    Some(of_group(Cause::MaxPollExceeded, Certainty::Likely, what, changes, advice))
}

/// Members of a newer group that have not taken over what they shall have.
fn lagging(group: &ConsumerGroupDescription) -> impl Iterator<Item = &MemberDescription> {
    group.members.iter().filter(|member| {
        member.target_assignment.as_ref().is_some_and(|target| *target != member.assignment)
            || member.member_epoch.is_some_and(|epoch| group.group_epoch.is_some_and(|newest| epoch < newest))
    })
}

fn more_members(facts: &Facts) -> Option<Finding> {
    let group = facts.group()?;
    let settled = group.state == GroupState::Stable;
    let idle: Vec<&MemberDescription> = group.members.iter().filter(|member| member.assignment.is_empty()).collect();
    if !settled || idle.is_empty() || idle.len() == group.members.len() {
        return None;
    }
    let mut subscribed: BTreeSet<&String> = BTreeSet::new();
    for member in &idle {
        subscribed.extend(member.subscribed_topics.iter().flatten());
    }
    let assigned: usize = group.members.iter().map(|member| member.assignment.len()).sum();
    // Their partitions are the others'. An idle member that wants topics which nobody has is another case.
    if subscribed.iter().any(|topic| facts.topics.get(*topic).is_some_and(Result::is_err)) {
        return None;
    }
    let what = format!(
        "{} of the {} members of group {} have no partition: there are only {assigned}.",
        idle.len(),
        group.members.len(),
        facts.group_id
    );
    let evidence = idle.iter().map(|member| format!("{} has nothing to read", name(member))).collect();
    let advice = "Add partitions (ottla topic alter TOPIC --partitions N), or run fewer members: a partition is read by one \
                  member of a group at a time.";
    Some(of_group(Cause::MoreMembersThanPartitions, Certainty::Certain, what, evidence, advice))
}

/// Ids of the members in a sample.
pub(super) fn members(sample: &Sample) -> BTreeSet<String> {
    sample.group.iter().flat_map(|group| &group.members).map(|member| member.member_id.clone()).collect()
}

/// A member as a person knows it.
pub(super) fn name(member: &MemberDescription) -> String {
    let id = member.group_instance_id.as_deref().unwrap_or(&member.member_id);
    format!("member {id} at {}", member.host.trim_start_matches('/'))
}

fn samples(facts: &Facts) -> String {
    format!("{} samples over {}", facts.samples.len(), facts.span())
}

/// "partition t-0", or how many with one of them.
pub(super) fn several(partitions: &BTreeSet<TopicPartition>, first: &TopicPartition) -> String {
    match partitions.len() {
        1 => format!("partition {first}"),
        more => format!("each of {more} partitions, {first} for one,"),
    }
}

/// As [`several`], at the beginning of a sentence.
pub(super) fn all_of(partitions: &BTreeSet<TopicPartition>, first: &TopicPartition) -> String {
    let text = several(partitions, first);
    format!("{}{}", text[..1].to_uppercase(), &text[1..])
}
