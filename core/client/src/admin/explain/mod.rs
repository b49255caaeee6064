//! Why is nothing arriving? What the cluster knows of a group is sampled for a few seconds ([`facts`]), rules turn it into
//! findings ([`rules`], [`partitions`]), and the most telling one becomes the sentence.
//!
//! Only what the cluster can see is evidence. What only the consumer itself knows, that it is paused or does not call
//! `poll`, is concluded from what it does not do, and said with the certainty that this deserves.

mod facts;
mod partitions;
mod rules;
#[cfg(test)]
mod tests;
mod timeline;

use super::Admin;
use ottla_model::TopicPartition;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// What to look at, and for how long.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// Only these topics; empty is all that the group has to do with.
    pub topics: BTreeSet<String>,
    /// From the first sample to the last, 3 s.
    pub duration: Duration,
    /// How many samples, 4, at least 2.
    pub samples: u32,
    /// How long one question to the cluster may take, 5 s.
    pub patience: Duration,
}

impl Default for ExplainOptions {
    fn default() -> ExplainOptions {
        ExplainOptions {
            topics: BTreeSet::new(),
            duration: Duration::from_secs(3),
            samples: 4,
            patience: Duration::from_secs(5),
        }
    }
}

/// Why nothing arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The group's coordinator cannot be reached or does not answer.
    CoordinatorUnavailable,
    /// Permission is missing.
    Denied,
    /// The group is of a kind that has no committed offsets to go by.
    OtherKind,
    /// There is no such group.
    NoSuchGroup,
    /// Nobody is in the group.
    NoMembers,
    /// A topic that members asked for does not exist.
    TopicMissing,
    /// A member's pattern matches no topic.
    PatternMatchesNothing,
    /// A partition has no leader.
    NoLeader,
    /// Members come and go, or do not come back to `poll`: `max.poll.interval.ms` is exceeded.
    MaxPollExceeded,
    /// There are more members than partitions.
    MoreMembersThanPartitions,
    /// The committed offset does not exist any more, or not yet; `auto.offset.reset` decides.
    OffsetOutOfRange,
    /// An open transaction holds back what comes after it.
    OpenTransaction,
    /// The consumer has the partition, is there, and does not move.
    Paused,
    /// A partition is nobody's.
    NotAssigned,
    /// There is no committed offset: `auto.offset.reset` decides where reading begins, by default at the end.
    ResetPolicy,
    /// There is nothing to read.
    NoData,
    /// Records do arrive.
    Arriving,
}

impl Cause {
    /// A name for scripts, as `open-transaction`.
    pub fn name(self) -> &'static str {
        match self {
            Cause::CoordinatorUnavailable => "coordinator-unavailable",
            Cause::Denied => "denied",
            Cause::OtherKind => "other-kind",
            Cause::NoSuchGroup => "no-such-group",
            Cause::NoMembers => "no-members",
            Cause::TopicMissing => "topic-missing",
            Cause::PatternMatchesNothing => "pattern-matches-nothing",
            Cause::NoLeader => "no-leader",
            Cause::MaxPollExceeded => "max-poll-exceeded",
            Cause::MoreMembersThanPartitions => "more-members-than-partitions",
            Cause::OffsetOutOfRange => "offset-out-of-range",
            Cause::OpenTransaction => "open-transaction",
            Cause::Paused => "paused",
            Cause::NotAssigned => "not-assigned",
            Cause::ResetPolicy => "reset-policy",
            Cause::NoData => "no-data",
            Cause::Arriving => "arriving",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// The cluster says so.
    Certain,
    /// What was seen hardly has another reason.
    Likely,
    /// What was seen may have other reasons, which are named.
    Possible,
}

impl Certainty {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Possible => "possible",
        }
    }
}

/// One reason.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The reason.
    pub cause: Cause,
    /// How sure it is.
    pub certainty: Certainty,
    /// It in a sentence.
    pub what: String,
    /// What was seen, a line each.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub advice: String,
    /// Which partitions it is about; empty where it is about the group.
    pub partitions: BTreeSet<TopicPartition>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// What.
    pub what: String,
}

/// Why nothing arrives in a group: a sentence, what it rests on, and what happened when.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The group.
    pub group_id: String,
    /// The answer.
    pub sentence: String,
    /// All reasons found, the most telling first; there is at least one.
    pub findings: Vec<Finding>,
    /// What happened, in order of time: before the look as far as the cluster remembers, and during it.
    pub timeline: Vec<TimelineEntry>,
}

impl Admin {
    /// Explains why a group's consumers get nothing, by looking at the group for [`ExplainOptions::duration`]. What the
    /// cluster refuses to tell is part of the explanation, so this does not fail.
    pub async fn explain_group(&self, group_id: &str, options: &ExplainOptions) -> Explanation {
        let facts = facts::gather(&self.timeout(options.patience), group_id, options).await;
        let findings = rules::findings(&facts);
        Explanation {
            group_id: group_id.to_owned(),
            sentence: findings[0].what.clone(),
            timeline: timeline::entries(&facts),
            findings,
        }
    }
}
