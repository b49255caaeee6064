//! Subscribing, and the ways out of a group: unsubscribing and closing.

use super::group::classic::NO_GENERATION;
use super::group::{self, leave};
use super::listener::RebalanceListener;
use super::subscription::{Subscription, Wanted, pattern};
use super::{Consumer, GroupProtocol};
use crate::error::{Error, Result};
use crate::retry::Deadline;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who a consumer is in its group, for a transaction that commits its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation, or the member epoch (KIP-848); -1 outside of the group.
    pub generation_id: i32,
    /// The member id; empty outside of the group.
    pub member_id: String,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
}

/// What becomes of the membership when a consumer is closed (KIP-1092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupMembership {
    /// A dynamic member leaves; a static one stays until `session.timeout.ms` have passed, so that it may come back.
    #[default]
    Default,
    /// Leaves, so that others get the partitions at once.
    Leave,
    /// Stays until `session.timeout.ms` have passed.
    Remain,
}

/// How to close a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseOptions {
    /// How long the commit and leaving may take together.
    pub timeout: Duration,
    /// What becomes of the membership.
    pub membership: GroupMembership,
}

impl Default for CloseOptions {
    fn default() -> CloseOptions {
        CloseOptions { timeout: Duration::from_secs(30), membership: GroupMembership::Default }
    }
}

impl Consumer {
    /// Reads these topics as a member of the group, replacing an earlier subscription. Joins with the next poll. No topics
    /// at all is refused: call [`Consumer::unsubscribe`].
    ///
    /// # Errors
    /// No group.id, no topics, or partitions are assigned by hand.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        self.subscribe_to(topics, None)
    }

    /// As [`Consumer::subscribe`]; `listener` hears of partitions that come and go.
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    pub fn subscribe_with(
        &self,
        topics: impl IntoIterator<Item = impl AsRef<str>>,
        listener: Arc<dyn RebalanceListener>,
    ) -> Result<()> {
        self.subscribe_to(topics, Some(listener))
    }

    fn subscribe_to(
        &self,
        topics: impl IntoIterator<Item = impl AsRef<str>>,
        listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Result<()> {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        if topics.is_empty() || topics.contains("") {
            return Err(Error::invalid("subscribe needs at least one topic, and none with an empty name"));
        }
        self.subscribe_as(Wanted::Topics(topics), listener)
    }

    /// Reads all topics whose whole name matches, as they come and go; looked at every `metadata.max.age.ms`. Under
    /// `group.protocol=consumer` the broker matches, in RE2's syntax.
    ///
    /// # Errors
    /// The pattern is not a regular expression, or as [`Consumer::subscribe`].
    pub fn subscribe_pattern(&self, regex: &str) -> Result<()> {
        self.subscribe_to_pattern(regex, None)
    }

    /// As [`Consumer::subscribe_pattern`] with a listener.
    ///
    /// # Errors
    /// As [`Consumer::subscribe_pattern`].
    pub fn subscribe_pattern_with(&self, regex: &str, listener: Arc<dyn RebalanceListener>) -> Result<()> {
        self.subscribe_to_pattern(regex, Some(listener))
    }

    fn subscribe_to_pattern(&self, regex: &str, listener: Option<Arc<dyn RebalanceListener>>) -> Result<()> {
        let wanted = match self.shared.options.group_protocol {
            GroupProtocol::Classic => Wanted::Pattern(pattern(regex)?, BTreeSet::new()),
            GroupProtocol::Consumer => Wanted::BrokerPattern(Arc::from(regex)),
        };
        self.subscribe_as(wanted, listener)
    }

    fn subscribe_as(&self, wanted: Wanted, listener: Option<Arc<dyn RebalanceListener>>) -> Result<()> {
        let shared = &self.shared;
        let group = shared.group()?;
        shared.options.check()?;
        {
            let mut state = shared.state.lock();
            if state.closed {
                return Err(Error::closed());
            }
            if !state.subscription.is_group() && !state.partitions.is_empty() {
                return Err(Error::invalid(
                    "partitions are assigned by hand; a consumer either assigns or subscribes: unsubscribe first",
                ));
            }
            state.subscription = Subscription { wanted, listener };
        }
        if !shared.heartbeats.swap(true, Ordering::AcqRel) {
            group::start_heartbeats(shared, group);
        }
        group.request_rejoin(shared, "the subscription changed");
        Ok(())
    }

    /// The topics of the subscription; of a pattern those that matched when it was last looked at.
    pub fn subscription(&self) -> BTreeSet<Arc<str>> {
        self.shared.state.lock().subscription.topics()
    }

    /// Gives up all partitions, and the membership in the group where there is one: the listener is called first. What was
    /// read and not committed is not committed by this.
    ///
    /// # Errors
    /// The listener's; the coordinator did not answer that the member left, which it then finds out by itself.
    pub async fn unsubscribe(&self) -> Result<()> {
        let shared = &self.shared;
        let _turn = shared.turn.lock().await;
        let mut result = Ok(());
        if let Some(group) = &shared.group
            && shared.state.lock().subscription.is_group()
        {
            let deadline = shared.client.deadline();
            let reason = "the consumer unsubscribed from all topics";
            result = leave(self, group, GroupMembership::Default, reason, &deadline).await;
        }
        let mut state = shared.state.lock();
        state.subscription = Subscription::default();
        let gone: Vec<_> = state.partitions.keys().cloned().collect();
        state.unassign(&gone);
        drop(state);
        shared.look();
        result
    }

    /// Has the next poll join the group anew, for assignors whose result depends on more than topics and members.
    ///
    /// # Errors
    /// The consumer is not subscribed.
    pub fn enforce_rebalance(&self, reason: &str) -> Result<()> {
        let group = self.shared.group()?;
        if !self.shared.state.lock().subscription.is_group() {
            return Err(Error::invalid("this consumer is not subscribed: there is nothing to rebalance"));
        }
        let reason = if reason.is_empty() { "rebalance enforced by user" } else { reason };
        group.request_rejoin(&self.shared, reason);
        Ok(())
    }

    /// Who this consumer is in its group, for a producer's transaction.
    ///
    /// # Errors
    /// No group.id.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        let group = self.shared.group()?;
        let member = group.member.lock();
        let identity = member.identity();
        let known = identity.generation != NO_GENERATION;
        Ok(GroupMetadata {
            group_id: group.id.to_string(),
            generation_id: identity.generation,
            member_id: if known { identity.member_id.clone() } else { String::new() },
            group_instance_id: group.instance_id.clone(),
        })
    }

    /// Commits (with `enable.auto.commit`), calls the listener, leaves the group, and ends all tasks and connections. At most
    /// `timeout`; a static member stays in the group. Calling it again does nothing.
    ///
    /// # Errors
    /// The first step that failed; the consumer is closed all the same.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.close_with(CloseOptions { timeout, ..CloseOptions::default() }).await
    }

    /// As [`Consumer::close`], saying what becomes of the membership (KIP-1092).
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close_with(&self, options: CloseOptions) -> Result<()> {
        let shared = &self.shared;
        let env = shared.client.env();
        if shared.state.lock().closed {
            return Ok(());
        }
        let deadline = Deadline::after(env, options.timeout);
        let _stop = Stop(self);
        // A poll that waits ends, so that it is this one's turn.
        let turn = async {
            loop {
                if let Ok(turn) = shared.turn.try_lock() {
                    return turn;
                }
                shared.closing.store(true, Ordering::Release);
                shared.arrived.notify_waiters();
                if let Ok(turn) = env.timeout(Duration::from_millis(10), shared.turn.lock()).await {
                    return turn;
                }
            }
        };
        let _turn = env.timeout(options.timeout, turn).await.ok();
        let mut result = Ok(());
        let Some(group) = &shared.group else { return result };
        let subscribed = shared.state.lock().subscription.is_group();
        let left = || deadline.left(env).unwrap_or_default();
        let member = !subscribed || group.member.lock().last_committer().is_some();
        if shared.options.enable_auto_commit && member {
            result = shared.commit_last(left()).await;
        } else {
            // What was queued before is still sent.
            result = result.and(shared.commit(super::Offsets::new(), Deadline::after(env, left())).await);
        }
        if subscribed {
            result =
                result.and(leave(self, group, options.membership, "the consumer is being closed", &deadline).await);
        }
        result
    }
}

/// Stops the consumer however closing ends.
struct Stop<'a>(&'a Consumer);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.shared.stop();
    }
}
