//! What both protocols' state machines have in common, for `poll`, commits and closing.

use super::classic::{Action, Classic, Identity};
use super::kip848::Modern;
use crate::error::Result;
use ottla_model::{ErrorCode, TopicPartition};
use std::time::Duration;

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // One per consumer.
pub(in crate::consumer) enum Membership {
    /// `group.protocol=classic`.
    Classic(Classic),
    /// `group.protocol=consumer` (KIP-848).
    Modern(Modern),
}

macro_rules! either {
    ($self:ident, $member:ident => $what:expr) => {
        match $self {
            Membership::Classic($member) => $what,
            Membership::Modern($member) => $what,
        }
    };
}

impl Membership {
    /// The classic one; its tasks run for no other.
    pub(in crate::consumer) fn classic(&mut self) -> &mut Classic {
        match self {
            Membership::Classic(classic) => classic,
            Membership::Modern(_) => unreachable!("tasks of the classic protocol are started for it only"),
        }
    }

    /// The one of KIP-848; its task runs for no other.
    pub(in crate::consumer) fn modern(&mut self) -> &mut Modern {
        match self {
            Membership::Modern(modern) => modern,
            Membership::Classic(_) => unreachable!("tasks of the consumer protocol are started for it only"),
        }
    }

    pub(in crate::consumer) fn identity(&self) -> &Identity {
        either!(self, member => member.identity())
    }

    pub(in crate::consumer) fn committer(&self) -> Result<Identity> {
        either!(self, member => member.committer())
    }

    /// As `committer` for a member that is about to leave.
    pub(in crate::consumer) fn last_committer(&self) -> Option<Identity> {
        match self {
            Membership::Classic(classic) => classic.last_committer(),
            Membership::Modern(modern) => modern.committer().ok(),
        }
    }

    pub(in crate::consumer) fn action(&mut self) -> Action {
        either!(self, member => member.action())
    }

    /// The application is prepared to join: the attempt, and the reason where the protocol tells it.
    pub(in crate::consumer) fn prepared(&mut self) -> (u64, Option<String>) {
        match self {
            Membership::Classic(classic) => {
                let (attempt, reason) = classic.prepared();
                (attempt, Some(reason))
            }
            Membership::Modern(modern) => (modern.prepared(), None),
        }
    }

    pub(in crate::consumer) fn attempt(&self) -> u64 {
        either!(self, member => member.attempt())
    }

    pub(in crate::consumer) fn progress(&mut self, attempt: u64, added: Vec<TopicPartition>) {
        either!(self, member => member.progress(attempt, added));
    }

    pub(in crate::consumer) fn completed(&mut self, attempt: u64) {
        either!(self, member => member.completed(attempt));
    }

    /// Something changed that the group has to hear of. False when that was said already.
    pub(in crate::consumer) fn request_rejoin(&mut self, reason: &str) -> bool {
        match self {
            Membership::Classic(classic) => classic.request_rejoin(reason),
            Membership::Modern(modern) => modern.request_heartbeat(),
        }
    }

    /// The coordinator's answer to a commit.
    pub(in crate::consumer) fn answered(&mut self, sent: &Identity, code: ErrorCode, what: &str) -> bool {
        match self {
            Membership::Classic(classic) => classic.answered(sent, code, what),
            // Only what is about the membership: the rest concerns the commit alone.
            Membership::Modern(modern) => {
                matches!(code, ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId)
                    && modern.answered(sent, code, what, None)
            }
        }
    }

    pub(in crate::consumer) fn enter(&mut self, now: Duration) {
        either!(self, member => member.clock.enter(now));
    }

    pub(in crate::consumer) fn exit(&mut self, now: Duration) {
        either!(self, member => member.clock.exit(now));
    }

    /// When a heartbeat was last answered well.
    pub(in crate::consumer) fn last_heartbeat(&self) -> Duration {
        either!(self, member => member.last_heartbeat)
    }

    pub(in crate::consumer) fn leave(&mut self) -> Option<Identity> {
        either!(self, member => member.leave())
    }

    pub(in crate::consumer) fn is_lost(&self) -> bool {
        either!(self, member => member.is_lost())
    }
}
