//! The membership of a group under KIP-848 as a state machine: the broker assigns, heartbeats carry everything. It sends
//! nothing, waits for nothing and has no clock; times are told to it.
//!
//! A heartbeat with epoch 0 joins. Answers bring an epoch, and an assignment when it changed. `poll` takes the assignment
//! over (gives up, calls the application, takes on) and the next heartbeat tells the broker what this member has, after
//! which the broker gives to others what was given up. Only what changed is sent; after an error, everything.

use super::classic::{Action, Completion, Identity, NO_GENERATION, commit_failed};
use super::clock::PollClock;
use crate::consumer::subscription::{Subscription, Wanted};
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, Str, TopicPartition, Uuid};
use ottla_protocol::consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Joins.
const EPOCH_JOIN: i32 = 0;
/// Leaves for good.
pub(in crate::consumer) const EPOCH_LEAVE: i32 = -1;
/// Leaves for now: a static member that will come back.
pub(in crate::consumer) const EPOCH_LEAVE_STATIC: i32 = -2;

/// Partitions by topic id, as the wire has them.
pub(in crate::consumer) type ById = BTreeMap<Uuid, BTreeSet<i32>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Member,
}

/// What the broker has been told.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Told {
    topics: Option<Vec<Arc<str>>>,
    regex: Option<Arc<str>>,
    partitions: Option<ById>,
    /// What does not change: instance, rack, assignor, rebalance timeout.
    rest: bool,
}

/// What a member says about itself.
#[derive(Debug, Clone, Default)]
pub(in crate::consumer) struct Profile {
    pub(in crate::consumer) group_id: String,
    pub(in crate::consumer) instance_id: Option<String>,
    pub(in crate::consumer) rack: String,
    pub(in crate::consumer) assignor: Option<String>,
    pub(in crate::consumer) rebalance_timeout: Duration,
}

#[derive(Debug)]
pub(in crate::consumer) struct Modern {
    identity: Identity,
    phase: Phase,
    lost: bool,
    failed: Option<Error>,
    fenced: Option<Error>,
    /// Counts joins, leaves and assignments that were taken up.
    attempt: u64,
    told: Told,
    /// In the next heartbeat, as it is sent.
    telling: Told,
    /// What this member has.
    owned: ById,
    /// The assignment of the last answer that had one, until its names are known.
    pub(in crate::consumer) unnamed: Option<ById>,
    /// The assignment to take over, by name and id.
    target: Option<(Vec<TopicPartition>, ById)>,
    /// The one that `poll` takes over now.
    taking: Option<(Completion, ById)>,
    /// A heartbeat is due whatever the time.
    urgent: bool,
    pub(in crate::consumer) interval: Duration,
    pub(in crate::consumer) next_heartbeat: Duration,
    pub(in crate::consumer) last_heartbeat: Duration,
    pub(in crate::consumer) clock: PollClock,
}

impl Modern {
    pub(in crate::consumer) fn new(max_poll_interval: Duration, interval: Duration) -> Modern {
        Modern {
            identity: Identity { generation: NO_GENERATION, member_id: String::new() },
            phase: Phase::Out,
            lost: false,
            failed: None,
            fenced: None,
            attempt: 0,
            told: Told::default(),
            telling: Told::default(),
            owned: ById::new(),
            unnamed: None,
            target: None,
            taking: None,
            urgent: false,
            interval,
            next_heartbeat: Duration::ZERO,
            last_heartbeat: Duration::ZERO,
            clock: PollClock::new(max_poll_interval),
        }
    }

    /// The id by which this member is known from its first heartbeat on.
    pub(in crate::consumer) fn name(&mut self, member_id: impl FnOnce() -> String) {
        if self.identity.member_id.is_empty() {
            self.identity.member_id = member_id();
        }
    }

    pub(in crate::consumer) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(in crate::consumer) fn committer(&self) -> Result<Identity> {
        match (&self.fenced, self.phase) {
            (Some(fenced), _) => Err(fenced.clone()),
            (None, Phase::Member) => Ok(self.identity.clone()),
            (None, Phase::Joining | Phase::Out) => Err(commit_failed(ErrorCode::UnknownMemberId)),
        }
    }

    pub(in crate::consumer) fn action(&mut self) -> Action {
        if let Some(fenced) = &self.fenced {
            return Action::Fail(fenced.clone());
        }
        if let Some(failed) = self.failed.take() {
            return Action::Fail(failed);
        }
        if self.phase == Phase::Out {
            return Action::Prepare { lost: self.lost };
        }
        if self.taking.is_none()
            && let Some((assigned, ids)) = self.target.take()
        {
            self.attempt += 1;
            self.taking = Some((Completion { assigned, user_data: None, added: None }, ids));
        }
        self.taking.as_ref().map_or(Action::None, |(completion, _)| Action::Complete(completion.clone()))
    }

    /// The application is prepared: the next heartbeat joins.
    pub(in crate::consumer) fn prepared(&mut self) -> u64 {
        self.attempt += 1;
        self.lost = false;
        self.identity.generation = EPOCH_JOIN;
        self.phase = Phase::Joining;
        self.forget();
        self.urgent = true;
        self.attempt
    }

    fn forget(&mut self) {
        self.told = Told::default();
        self.owned.clear();
        self.unnamed = None;
        self.target = None;
        self.taking = None;
    }

    pub(in crate::consumer) fn attempt(&self) -> u64 {
        self.attempt
    }

    pub(in crate::consumer) fn progress(&mut self, attempt: u64, added: Vec<TopicPartition>) {
        if self.attempt == attempt
            && let Some((completion, _)) = &mut self.taking
        {
            completion.added = Some(added);
        }
    }

    /// The application knows its partitions: the broker has to hear that.
    pub(in crate::consumer) fn completed(&mut self, attempt: u64) {
        if self.attempt == attempt
            && let Some((_, ids)) = self.taking.take()
        {
            self.owned = ids;
            self.urgent = true;
        }
    }

    /// What was subscribed to changed.
    pub(in crate::consumer) fn request_heartbeat(&mut self) -> bool {
        !std::mem::replace(&mut self.urgent, true)
    }

    pub(in crate::consumer) fn beats(&self) -> bool {
        self.phase != Phase::Out
    }

    /// When the next heartbeat is due.
    pub(in crate::consumer) fn heartbeat_due(&self) -> Duration {
        if self.urgent { Duration::ZERO } else { self.next_heartbeat }
    }

    /// The next heartbeat: what changed since the last one that was answered well.
    pub(in crate::consumer) fn heartbeat(
        &mut self,
        profile: &Profile,
        subscription: &Subscription,
    ) -> ConsumerGroupHeartbeatRequest {
        self.urgent = false;
        let (topics, regex) = match &subscription.wanted {
            Wanted::BrokerPattern(regex) => (Vec::new(), Some(regex.clone())),
            _ => (subscription.topics().into_iter().collect(), None),
        };
        let now = Told { topics: Some(topics), regex, partitions: Some(self.owned.clone()), rest: true };
        let told = &self.told;
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: Str::from(profile.group_id.as_str()),
            member_id: Str::from(self.identity.member_id.as_str()),
            member_epoch: self.identity.generation,
            instance_id: profile.instance_id.as_deref().map(Str::from),
            rebalance_timeout_ms: -1,
            ..Default::default()
        };
        if !told.rest {
            request.rack_id = Some(profile.rack.as_str()).filter(|rack| !rack.is_empty()).map(Str::from);
            request.server_assignor = profile.assignor.as_deref().map(Str::from);
            request.rebalance_timeout_ms = i32::try_from(profile.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
        }
        if told.topics != now.topics {
            request.subscribed_topic_names =
                now.topics.as_ref().map(|topics| topics.iter().map(|topic| Str::from(&**topic)).collect());
        }
        if told.regex != now.regex {
            // An empty one ends a subscription by pattern.
            request.subscribed_topic_regex = Some(now.regex.as_deref().map(Str::from).unwrap_or_default());
        }
        if told.partitions != now.partitions {
            let topic = |(id, partitions): (&Uuid, &BTreeSet<i32>)| TopicPartitions {
                topic_id: *id,
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            };
            request.topic_partitions = Some(self.owned.iter().map(topic).collect());
        }
        self.telling = now;
        request
    }

    /// A heartbeat that `sent` made was answered well.
    pub(in crate::consumer) fn beaten(
        &mut self,
        sent: &Identity,
        member_id: Option<&str>,
        epoch: i32,
        interval: Duration,
        assignment: Option<ById>,
        now: Duration,
    ) -> bool {
        if *sent != self.identity || self.phase == Phase::Out {
            return false;
        }
        if let Some(member_id) = member_id.filter(|id| !id.is_empty()) {
            self.identity.member_id = member_id.to_owned();
        }
        self.identity.generation = epoch;
        self.phase = Phase::Member;
        self.told = self.telling.clone();
        self.last_heartbeat = now;
        if !interval.is_zero() {
            self.interval = interval;
        }
        self.next_heartbeat = now.saturating_add(self.interval);
        if assignment.is_some() {
            self.unnamed = assignment;
        }
        self.unnamed.is_some()
    }

    /// A heartbeat that was not answered: the next one says everything, after `pause`.
    pub(in crate::consumer) fn missed(&mut self, now: Duration, pause: Duration) {
        self.told = Told::default();
        self.urgent = false;
        self.next_heartbeat = now.saturating_add(pause);
    }

    /// The names of an assignment are known: it is to be taken over, unless this member has just that.
    pub(in crate::consumer) fn named(&mut self, partitions: Vec<TopicPartition>, ids: ById) {
        if self.unnamed.as_ref() == Some(&ids) {
            self.unnamed = None;
        }
        let has = self.taking.as_ref().map_or(&self.owned, |(_, taking)| taking);
        self.target = (*has != ids).then_some((partitions, ids));
    }

    /// The answer to a heartbeat or a commit that `sent` made was an error. True: `poll` has something to do.
    pub(in crate::consumer) fn answered(
        &mut self,
        sent: &Identity,
        code: ErrorCode,
        what: &str,
        text: Option<&str>,
    ) -> bool {
        // Epochs go on while a commit is under way.
        if sent.member_id != self.identity.member_id || self.phase == Phase::Out {
            return false;
        }
        match code {
            ErrorCode::None
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::RebalanceInProgress => false,
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.lose();
                true
            }
            ErrorCode::FencedInstanceId | ErrorCode::UnreleasedInstanceId => {
                self.lose();
                self.fenced = Some(Error::from_code(code, what, text));
                true
            }
            code if code.is_retriable() => false,
            code => {
                self.lose();
                self.failed = Some(Error::from_code(code, what, text));
                true
            }
        }
    }

    pub(in crate::consumer) fn failed(&mut self, error: Error) {
        self.lose();
        self.failed = Some(error);
    }

    fn lose(&mut self) {
        self.attempt += 1;
        self.phase = Phase::Out;
        self.lost = true;
        self.identity.generation = NO_GENERATION;
        self.forget();
    }

    /// When the application is late for its next poll.
    pub(in crate::consumer) fn poll_due(&self) -> Option<Duration> {
        self.clock.due().filter(|_| self.phase == Phase::Member)
    }

    pub(in crate::consumer) fn expire(&mut self, now: Duration) -> Option<Identity> {
        self.poll_due().filter(|due| *due <= now)?;
        let identity = self.identity.clone();
        self.lose();
        Some(identity)
    }

    pub(in crate::consumer) fn leave(&mut self) -> Option<Identity> {
        let identity = self.identity.clone();
        let member = self.phase == Phase::Member;
        self.lose();
        self.lost = false;
        self.failed = None;
        self.fenced = None;
        member.then_some(identity)
    }

    pub(in crate::consumer) fn is_lost(&self) -> bool {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn subscription() -> Subscription {
        Subscription { wanted: Wanted::Topics([Arc::from("t")].into()), listener: None }
    }

    fn ids(partitions: &[i32]) -> ById {
        match partitions.is_empty() {
            true => ById::new(),
            false => [(Uuid([1; 16]), partitions.iter().copied().collect())].into(),
        }
    }

    fn names(partitions: &[i32]) -> Vec<TopicPartition> {
        partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect()
    }

    /// One heartbeat: what it said of topics and partitions.
    fn beat(member: &mut Modern, epoch: i32, assignment: Option<&[i32]>) -> (bool, Option<Vec<i32>>) {
        let profile = Profile { group_id: "g".to_owned(), ..Profile::default() };
        let request = member.heartbeat(&profile, &subscription());
        let sent = member.identity().clone();
        assert_eq!(request.member_epoch, sent.generation);
        assert!(member.beaten(&sent, Some("m"), epoch, SECOND, assignment.map(ids), SECOND) || assignment.is_none());
        if let Some(partitions) = assignment {
            member.named(names(partitions), ids(partitions));
        }
        let partitions =
            request.topic_partitions.map(|topics| topics.iter().flat_map(|t| t.partitions.clone()).collect());
        (request.subscribed_topic_names.is_some(), partitions)
    }

    fn take(member: &mut Modern) -> Vec<TopicPartition> {
        let Action::Complete(completion) = member.action() else { panic!("nothing to take over") };
        member.completed(member.attempt());
        completion.assigned
    }

    fn joined() -> Modern {
        let mut member = Modern::new(SECOND * 10, SECOND);
        member.name(|| "m".to_owned());
        assert!(matches!(member.action(), Action::Prepare { lost: false }));
        member.prepared();
        assert_eq!(member.heartbeat_due(), Duration::ZERO);
        assert_eq!(beat(&mut member, 1, Some(&[0, 1])), (true, Some(vec![])), "joining says everything");
        assert_eq!(take(&mut member), names(&[0, 1]));
        member
    }

    #[test]
    fn only_changes_are_sent_and_what_is_taken_over_is_acknowledged() {
        let mut member = joined();
        assert_eq!(member.heartbeat_due(), Duration::ZERO, "the broker waits for it");
        assert_eq!(beat(&mut member, 1, None), (false, Some(vec![0, 1])));
        assert_eq!(beat(&mut member, 1, None), (false, None));
        assert_eq!(beat(&mut member, 2, Some(&[0])), (false, None));
        assert_eq!(take(&mut member), names(&[0]));
        assert_eq!(beat(&mut member, 2, None), (false, Some(vec![0])));
        assert!(matches!(member.action(), Action::None));
        member.missed(SECOND, SECOND);
        assert_eq!(beat(&mut member, 2, None), (true, Some(vec![0])), "after an error everything");
    }

    #[test]
    fn what_does_not_change_is_said_when_joining() {
        let mut member = Modern::new(SECOND * 10, SECOND);
        member.prepared();
        let profile = Profile {
            group_id: "g".to_owned(),
            instance_id: Some("i".to_owned()),
            rack: "attic".to_owned(),
            assignor: Some("range".to_owned()),
            rebalance_timeout: SECOND * 10,
        };
        let request = member.heartbeat(&profile, &subscription());
        assert_eq!(request.server_assignor.as_deref(), Some("range"));
        assert_eq!(request.rack_id.as_deref(), Some("attic"));
        assert_eq!(request.instance_id.as_deref(), Some("i"));
        assert_eq!(request.rebalance_timeout_ms, 10_000);
        let sent = member.identity().clone();
        member.beaten(&sent, Some("m"), 1, SECOND, None, SECOND);
        let request = member.heartbeat(&profile, &subscription());
        assert_eq!((request.server_assignor, request.rebalance_timeout_ms), (None, -1));
        assert_eq!(request.instance_id.as_deref(), Some("i"), "in each, as it is who this is");
    }

    #[test]
    fn an_assignment_that_comes_while_another_is_taken_over_waits() {
        let mut member = joined();
        assert_eq!(beat(&mut member, 2, Some(&[0, 1, 2])), (false, Some(vec![0, 1])));
        assert!(matches!(member.action(), Action::Complete(_)));
        assert_eq!(beat(&mut member, 3, Some(&[2])), (false, None));
        let Action::Complete(completion) = member.action() else { panic!("the first goes on") };
        assert_eq!(completion.assigned, names(&[0, 1, 2]));
        member.completed(member.attempt());
        assert_eq!(take(&mut member), names(&[2]));
    }

    #[test]
    fn who_is_fenced_has_lost_everything_and_joins_again() {
        for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
            let mut member = joined();
            let sent = member.identity().clone();
            assert!(member.answered(&sent, code, "group g", None));
            assert!(member.committer().is_err());
            assert!(matches!(member.action(), Action::Prepare { lost: true }));
            member.prepared();
            assert_eq!(beat(&mut member, 5, None), (true, Some(vec![])));
            assert_eq!(member.committer().expect("a member").generation, 5);
        }
        let mut member = joined();
        let sent = member.identity().clone();
        assert!(!member.answered(&sent, ErrorCode::StaleMemberEpoch, "commit", None));
        assert!(member.answered(&sent, ErrorCode::UnreleasedInstanceId, "group g", None));
        assert!(matches!(member.action(), Action::Fail(_)) && matches!(member.action(), Action::Fail(_)));
    }

    #[test]
    fn who_does_not_poll_leaves() {
        let mut member = joined();
        member.clock.enter(SECOND);
        assert!(member.expire(SECOND * 99).is_none());
        member.clock.exit(SECOND);
        assert_eq!(member.expire(SECOND * 11).map(|identity| identity.generation), Some(1));
        assert!(matches!(member.action(), Action::Prepare { lost: true }));
    }
}
