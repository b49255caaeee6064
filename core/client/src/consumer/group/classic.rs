//! The membership of a classic group as a state machine: what happened goes in, what to do next comes out. It sends
//! nothing, waits for nothing and has no clock; times are told to it.
//!
//! ```text
//! Out ──poll: prepared──► Joining ──joined──► Syncing ──synced──► Completing ──poll: completed──► Stable
//!  ▲                         ▲                   │ rebalance          │ rejoin asked for              │
//!  │ generation lost         └───────────────────┴────────── poll: prepared ──────────────────────────┘
//! ```
//!
//! Everything that calls the application (before Joining, in Completing) happens in `poll`; joining, syncing and
//! heartbeats are tasks. An answer counts only while the attempt it belongs to is the current one.

use super::clock::PollClock;
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, TopicPartition};
use std::time::Duration;

/// No generation, as requests have it.
pub(in crate::consumer) const NO_GENERATION: i32 = -1;

/// An assignment that the application has not heard of yet.
#[derive(Debug, Clone)]
pub(in crate::consumer) struct Completion {
    pub(in crate::consumer) assigned: Vec<TopicPartition>,
    pub(in crate::consumer) user_data: Option<bytes::Bytes>,
    /// Set once the partitions are assigned: those that `on_partitions_assigned` has to hear of.
    pub(in crate::consumer) added: Option<Vec<TopicPartition>>,
}

#[derive(Debug)]
enum Phase {
    Out,
    Joining,
    Syncing,
    Completing(Completion),
    Stable,
}

/// What `poll` has to do.
#[derive(Debug)]
pub(in crate::consumer) enum Action {
    /// Nothing, or something goes on in the background.
    None,
    /// Call the application, then [`Classic::prepared`]; `lost`: the partitions are somebody else's already.
    Prepare { lost: bool },
    /// Take over the assignment, then [`Classic::completed`].
    Complete(Completion),
    /// Return the error.
    Fail(Error),
}

/// What the joining task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumer) enum Next {
    /// Join again at once.
    Again,
    /// Join again after a pause.
    Later,
    /// Look for the coordinator, then join again after a pause.
    Elsewhere,
    /// End: it is poll's turn.
    Stop,
}

/// Who this member is in requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumer) struct Identity {
    pub(in crate::consumer) generation: i32,
    pub(in crate::consumer) member_id: String,
}

#[derive(Debug)]
pub(in crate::consumer) struct Classic {
    identity: Identity,
    phase: Phase,
    /// Why to join (again).
    rejoin: Option<String>,
    /// The generation was lost since the partitions were assigned.
    lost: bool,
    /// Told once by `poll`.
    failed: Option<Error>,
    /// Told by every `poll`: another instance has this `group.instance.id`.
    fenced: Option<Error>,
    /// Counts joins and leaves; answers to an earlier one are void.
    attempt: u64,
    /// The assignor that the group chose.
    pub(in crate::consumer) protocol: Option<String>,
    pub(in crate::consumer) clock: PollClock,
    /// When the last heartbeat was answered well.
    pub(in crate::consumer) last_heartbeat: Duration,
    pub(in crate::consumer) next_heartbeat: Duration,
}

impl Classic {
    pub(in crate::consumer) fn new(max_poll_interval: Duration) -> Classic {
        Classic {
            identity: Identity { generation: NO_GENERATION, member_id: String::new() },
            phase: Phase::Out,
            rejoin: None,
            lost: false,
            failed: None,
            fenced: None,
            attempt: 0,
            protocol: None,
            clock: PollClock::new(max_poll_interval),
            last_heartbeat: Duration::ZERO,
            next_heartbeat: Duration::ZERO,
        }
    }

    pub(in crate::consumer) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who commits: the member of the current generation.
    ///
    /// # Errors
    /// In the middle of a rebalance, or when this is no member at present.
    pub(in crate::consumer) fn committer(&self) -> Result<Identity> {
        if let Some(fenced) = &self.fenced {
            return Err(fenced.clone());
        }
        match self.phase {
            Phase::Stable | Phase::Completing(_) => Ok(self.identity.clone()),
            Phase::Joining | Phase::Syncing => Err(Error::from_code(
                ErrorCode::RebalanceInProgress,
                "commit",
                Some("the group is rebalancing; poll until that is over, then commit again"),
            )),
            Phase::Out => Err(commit_failed(ErrorCode::UnknownMemberId)),
        }
    }

    /// Who commits when this is the last chance: in a rebalance the generation before it is still good, and then, once
    /// its assignment was told, the new one.
    pub(in crate::consumer) fn last_committer(&self) -> Option<Identity> {
        (self.fenced.is_none() && self.identity.generation != NO_GENERATION).then(|| self.identity.clone())
    }

    /// What `poll` has to do now.
    pub(in crate::consumer) fn action(&mut self) -> Action {
        if let Some(fenced) = &self.fenced {
            return Action::Fail(fenced.clone());
        }
        if let Some(failed) = self.failed.take() {
            return Action::Fail(failed);
        }
        match &self.phase {
            Phase::Joining | Phase::Syncing => Action::None,
            Phase::Completing(completion) => Action::Complete(completion.clone()),
            Phase::Stable if self.rejoin.is_none() => Action::None,
            Phase::Stable | Phase::Out => Action::Prepare { lost: self.lost },
        }
    }

    /// The application is prepared: joining begins. Returns the attempt and the reason for it.
    pub(in crate::consumer) fn prepared(&mut self) -> (u64, String) {
        self.attempt += 1;
        self.lost = false;
        self.phase = Phase::Joining;
        (self.attempt, self.rejoin.take().unwrap_or_else(|| "the consumer is new to the group".to_owned()))
    }

    /// Whether `attempt` is still what this member is about.
    pub(in crate::consumer) fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt
    }

    /// Asks for another rebalance at the next poll. False when one was asked for already.
    pub(in crate::consumer) fn request_rejoin(&mut self, reason: &str) -> bool {
        let news = self.rejoin.is_none();
        if news {
            self.rejoin = Some(reason.to_owned());
        }
        news
    }

    /// JoinGroup was answered well.
    pub(in crate::consumer) fn joined(
        &mut self,
        attempt: u64,
        identity: Identity,
        protocol: String,
        now: Duration,
    ) -> bool {
        if !self.is_current(attempt) {
            return false;
        }
        self.identity = identity;
        self.protocol = Some(protocol);
        self.phase = Phase::Syncing;
        self.last_heartbeat = now;
        true
    }

    /// SyncGroup was answered well.
    pub(in crate::consumer) fn synced(
        &mut self,
        attempt: u64,
        assigned: Vec<TopicPartition>,
        user_data: Option<bytes::Bytes>,
    ) -> bool {
        if !self.is_current(attempt) {
            return false;
        }
        self.phase = Phase::Completing(Completion { assigned, user_data, added: None });
        true
    }

    /// How far `poll` is with the assignment, so that the next one goes on from there when this one is dropped.
    pub(in crate::consumer) fn progress(&mut self, attempt: u64, added: Vec<TopicPartition>) {
        if self.is_current(attempt)
            && let Phase::Completing(completion) = &mut self.phase
        {
            completion.added = Some(added);
        }
    }

    /// The application knows its partitions.
    pub(in crate::consumer) fn completed(&mut self, attempt: u64) {
        if self.is_current(attempt) && matches!(self.phase, Phase::Completing(_)) {
            self.phase = Phase::Stable;
        }
    }

    pub(in crate::consumer) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// JoinGroup was refused; `member_id` is that of the answer.
    pub(in crate::consumer) fn join_refused(
        &mut self,
        attempt: u64,
        code: ErrorCode,
        member_id: &str,
        what: &str,
    ) -> Next {
        if !self.is_current(attempt) {
            return Next::Stop;
        }
        match code {
            // KIP-394: join again under the id that the coordinator gave.
            ErrorCode::MemberIdRequired => {
                self.identity.member_id = member_id.to_owned();
                Next::Again
            }
            ErrorCode::UnknownMemberId => self.lose(code),
            _ => self.refused(code, what),
        }
    }

    /// SyncGroup was refused.
    pub(in crate::consumer) fn sync_refused(&mut self, attempt: u64, code: ErrorCode, what: &str) -> Next {
        if !self.is_current(attempt) {
            return Next::Stop;
        }
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::InconsistentGroupProtocol => {
                self.lose(code)
            }
            ErrorCode::RebalanceInProgress => {
                self.phase = Phase::Joining;
                Next::Again
            }
            _ => {
                self.phase = Phase::Joining;
                self.refused(code, what)
            }
        }
    }

    fn refused(&mut self, code: ErrorCode, what: &str) -> Next {
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Next::Elsewhere,
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::RebalanceInProgress => Next::Later,
            code => {
                self.fail(Error::from_code(code, what, None));
                Next::Stop
            }
        }
    }

    /// Joining did not work out for a reason that `poll` returns.
    pub(in crate::consumer) fn join_failed(&mut self, attempt: u64, error: Error) {
        if self.is_current(attempt) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: Error) {
        self.attempt += 1;
        self.phase = Phase::Out;
        if error.code() == Some(ErrorCode::FencedInstanceId) {
            self.fenced = Some(error);
            self.lose_generation();
        } else {
            self.failed = Some(error);
        }
        self.request_rejoin("the last attempt to join failed");
    }

    fn lose(&mut self, code: ErrorCode) -> Next {
        self.attempt += 1;
        self.phase = Phase::Out;
        let member_id = std::mem::take(&mut self.identity.member_id);
        self.lose_generation();
        if code != ErrorCode::UnknownMemberId {
            // Under a new id the old one would hold up the group until its session ends.
            self.identity.member_id = member_id;
        }
        self.request_rejoin(&format!("the coordinator answered {}", code.name()));
        Next::Stop
    }

    fn lose_generation(&mut self) {
        self.lost = true;
        self.protocol = None;
        self.identity = Identity { generation: NO_GENERATION, member_id: String::new() };
    }

    /// Whether heartbeats are to be sent.
    pub(in crate::consumer) fn beats(&self) -> bool {
        matches!(self.phase, Phase::Syncing | Phase::Completing(_) | Phase::Stable)
    }

    /// The answer to a heartbeat or a commit that `sent` made. True: `poll` has something to do.
    pub(in crate::consumer) fn answered(&mut self, sent: &Identity, code: ErrorCode, what: &str) -> bool {
        if *sent != self.identity || matches!(self.phase, Phase::Out | Phase::Joining) {
            return false;
        }
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.lose(code);
                true
            }
            // While syncing the answer to SyncGroup tells.
            ErrorCode::RebalanceInProgress if !matches!(self.phase, Phase::Syncing) => {
                self.request_rejoin("the group is rebalancing")
            }
            ErrorCode::FencedInstanceId | ErrorCode::GroupAuthorizationFailed => {
                self.fail(Error::from_code(code, what, None));
                true
            }
            _ => false,
        }
    }

    /// When the application is late for its next poll.
    pub(in crate::consumer) fn poll_due(&self) -> Option<Duration> {
        self.clock.due().filter(|_| self.beats())
    }

    /// Leaves when the application is late: the member that has to be taken out of the group.
    pub(in crate::consumer) fn expire(&mut self, now: Duration) -> Option<Identity> {
        self.poll_due().filter(|due| *due <= now)?;
        let identity = self.identity.clone();
        self.attempt += 1;
        self.phase = Phase::Out;
        self.lose_generation();
        self.request_rejoin("max.poll.interval.ms passed without a poll");
        Some(identity)
    }

    /// Ends the membership: who has to be taken out of the group, if anyone. Partitions are given up by the caller.
    pub(in crate::consumer) fn leave(&mut self) -> Option<Identity> {
        let identity = self.identity.clone();
        self.attempt += 1;
        self.phase = Phase::Out;
        self.lose_generation();
        self.lost = false;
        self.rejoin = None;
        self.failed = None;
        self.fenced = None;
        (!identity.member_id.is_empty()).then_some(identity)
    }

    /// Whether the partitions are somebody else's already.
    pub(in crate::consumer) fn is_lost(&self) -> bool {
        self.lost
    }
}

/// A commit of somebody who is not in the group (any more).
pub(in crate::consumer) fn commit_failed(code: ErrorCode) -> Error {
    Error::from_code(
        code,
        "commit",
        Some(
            "this consumer is not in the group any more, its partitions may be with another member: poll more often or \
             raise max.poll.interval.ms, or lower max.poll.records",
        ),
    )
}

/// The coordinator could not be reached for too long.
pub(in crate::consumer) fn unavailable(group: &str, limit: Duration, error: &Error) -> Error {
    let message = format!("group {group} has no coordinator that answers, for {} ms now: {error}", limit.as_millis());
    Error::new(ErrorKind::Timeout, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn member(generation: i32) -> Identity {
        Identity { generation, member_id: "m".to_owned() }
    }

    fn stable() -> Classic {
        let mut classic = Classic::new(Duration::from_secs(10));
        assert!(matches!(classic.action(), Action::Prepare { lost: false }));
        let (attempt, _) = classic.prepared();
        assert!(matches!(classic.action(), Action::None));
        assert_eq!(classic.join_refused(attempt, ErrorCode::MemberIdRequired, "m", "group g"), Next::Again);
        assert_eq!(classic.identity().member_id, "m");
        assert!(!classic.beats());
        assert!(classic.joined(attempt, member(1), "range".to_owned(), NOW));
        assert!(classic.beats());
        assert!(classic.committer().is_err(), "the group is rebalancing");
        assert!(classic.synced(attempt, vec![TopicPartition::new("t", 0)], None));
        assert!(matches!(classic.action(), Action::Complete(_)));
        classic.completed(attempt);
        assert!(matches!(classic.action(), Action::None));
        assert_eq!(classic.committer().expect("a member"), member(1));
        classic
    }

    #[test]
    fn a_rebalance_is_polls_to_begin() {
        let mut classic = stable();
        assert!(classic.answered(&member(1), ErrorCode::RebalanceInProgress, "group g"));
        assert!(!classic.answered(&member(1), ErrorCode::RebalanceInProgress, "group g"), "known already");
        assert!(classic.committer().is_ok(), "what is revoked can still be committed");
        assert!(matches!(classic.action(), Action::Prepare { lost: false }));
        let (attempt, reason) = classic.prepared();
        assert_eq!(reason, "the group is rebalancing");
        assert!(classic.committer().is_err());
        assert!(classic.joined(attempt, member(2), "range".to_owned(), NOW));
        assert_eq!(classic.sync_refused(attempt, ErrorCode::RebalanceInProgress, "group g"), Next::Again);
        assert!(!classic.beats());
    }

    #[test]
    fn a_lost_generation_is_told_as_lost_and_joins_anew() {
        for code in [ErrorCode::UnknownMemberId, ErrorCode::IllegalGeneration] {
            let mut classic = stable();
            assert!(classic.answered(&member(1), code, "group g"));
            assert!(classic.committer().is_err());
            assert!(matches!(classic.action(), Action::Prepare { lost: true }));
            let kept = if code == ErrorCode::IllegalGeneration { "m" } else { "" };
            assert_eq!(classic.identity().member_id, kept);
        }
    }

    #[test]
    fn late_answers_are_void() {
        let mut classic = stable();
        assert!(!classic.answered(&member(0), ErrorCode::UnknownMemberId, "group g"));
        let before = classic.attempt();
        classic.request_rejoin("test");
        classic.prepared();
        assert!(!classic.joined(before, member(9), "range".to_owned(), NOW));
        assert_eq!(classic.join_refused(before, ErrorCode::UnknownMemberId, "", "group g"), Next::Stop);
        assert_eq!(classic.identity(), &member(1));
    }

    #[test]
    fn who_does_not_poll_leaves() {
        let mut classic = stable();
        classic.clock.enter(NOW);
        assert!(classic.poll_due().is_none(), "inside a poll nobody is late");
        classic.clock.exit(NOW);
        assert!(classic.expire(Duration::from_secs(10)).is_none());
        assert_eq!(classic.expire(Duration::from_secs(11)), Some(member(1)));
        assert!(matches!(classic.action(), Action::Prepare { lost: true }));
        assert!(classic.expire(Duration::from_secs(99)).is_none(), "once");
    }

    #[test]
    fn another_instance_ends_it_for_good() {
        let mut classic = stable();
        assert!(classic.answered(&member(1), ErrorCode::FencedInstanceId, "group g"));
        for _ in 0..2 {
            assert!(matches!(classic.action(), Action::Fail(error) if error.kind() == ErrorKind::Fenced));
        }
        assert!(classic.committer().is_err());
        classic.leave();
        assert!(matches!(classic.action(), Action::Prepare { lost: false }), "until it subscribes anew");
    }

    #[test]
    fn refusals_by_what_they_ask_for() {
        let cases = [
            (ErrorCode::NotCoordinator, Next::Elsewhere),
            (ErrorCode::CoordinatorLoadInProgress, Next::Later),
            (ErrorCode::GroupAuthorizationFailed, Next::Stop),
            (ErrorCode::InconsistentGroupProtocol, Next::Stop),
        ];
        for (code, next) in cases {
            let mut classic = Classic::new(NOW);
            let (attempt, _) = classic.prepared();
            assert_eq!(classic.join_refused(attempt, code, "", "group g"), next, "{code:?}");
            if next == Next::Stop {
                assert!(matches!(classic.action(), Action::Fail(error) if error.code() == Some(code)));
                assert!(matches!(classic.action(), Action::Prepare { .. }), "the next poll tries again");
            }
        }
    }
}
