//! How members become a generation: preparing, waiting, completing, and the deadlines in between.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::ErrorCode;

use super::classic::{ClassicGroup, GroupState, InitialDelay};
use super::records::CoordinatorRecord;
use super::shard::{Cx, TimerKey};
use super::step::{Reply, sync_error};

/// A group whose members have all gone silent is looked at again after its rebalance timeout, but not more often.
const REJOIN_RETRY_MS_MIN: i64 = 100;

impl ClassicGroup {
    /// Something changed: starts a rebalance, or, if one is under way, sees whether it can end.
    pub(crate) fn rebalance_or_complete(&mut self, cx: &mut Cx<'_>, reason: &str) {
        if self.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(cx);
        } else {
            self.prepare_rebalance(cx, reason);
        }
    }

    pub(crate) fn prepare_rebalance(&mut self, cx: &mut Cx<'_>, reason: &str) {
        tracing::info!(group = &*self.id, generation = self.generation, reason, "preparing to rebalance");
        if self.state == GroupState::CompletingRebalance {
            self.fail_syncs(cx, ErrorCode::RebalanceInProgress);
        }
        self.pending_sync.clear();
        cx.timers.cancel(&TimerKey::Sync(self.id.clone()));

        let is_initial = self.state == GroupState::Empty;
        self.transition_to(GroupState::PreparingRebalance, cx.now);
        if !is_initial {
            if self.has_all_members_joined() {
                self.complete_join(cx);
            } else {
                self.schedule_join(cx, self.rebalance_timeout_ms());
            }
            return;
        }
        // The first of many: give the others the time to come, so that they do not each cause a rebalance.
        let delay_ms = i64::from(cx.config.initial_rebalance_delay_ms.max(0));
        let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
        self.new_member_added = false;
        self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
        if delay_ms == 0 {
            self.complete_join(cx);
        } else {
            self.schedule_join(cx, delay_ms);
        }
    }

    pub(crate) fn maybe_complete_join(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance && !self.was_empty && self.has_all_members_joined() {
            self.complete_join(cx);
        }
    }

    /// The join phase has lasted long enough.
    pub(crate) fn join_deadline(&mut self, cx: &mut Cx<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.initial_delay {
            Some(InitialDelay { delay_ms, remaining_ms }) if self.new_member_added && remaining_ms > 0 => {
                // Members are still coming: another round, within the rebalance timeout.
                self.new_member_added = false;
                let next_ms = i64::from(cx.config.initial_rebalance_delay_ms).min(remaining_ms);
                let remaining_ms = (remaining_ms - delay_ms).max(0);
                self.initial_delay = Some(InitialDelay { delay_ms: next_ms, remaining_ms });
                self.schedule_join(cx, next_ms);
            }
            _ => self.complete_join(cx),
        }
    }

    fn schedule_join(&self, cx: &mut Cx<'_>, delay_ms: i64) {
        cx.timers.schedule(TimerKey::Join(self.id.clone()), cx.now.steady_ms.saturating_add(delay_ms));
    }

    /// Ends the join phase: who is there makes up the next generation. Dynamic members that did not come are out;
    /// static ones stay, as long as their session lasts.
    pub(crate) fn complete_join(&mut self, cx: &mut Cx<'_>) {
        cx.timers.cancel(&TimerKey::Join(self.id.clone()));
        let lost = |member: &&super::member::Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        for member_id in self.members.values().filter(lost).map(|member| member.id.clone()).collect::<Vec<_>>() {
            tracing::info!(group = &*self.id, member = &*member_id, "removed: it did not rejoin in time");
            self.remove(cx, &member_id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left and none of them came. Their sessions decide.
            self.schedule_join(cx, self.rebalance_timeout_ms().max(REJOIN_RETRY_MS_MIN));
            return;
        }
        self.initial_delay = None;
        self.new_member_added = false;
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.transition_to(GroupState::Empty, cx.now);
            let value = Some(self.to_image());
            cx.write(CoordinatorRecord::GroupMetadata { group: self.id.clone(), value });
            return;
        }
        self.transition_to(GroupState::CompletingRebalance, cx.now);
        tracing::info!(
            group = &*self.id,
            generation = self.generation,
            members = self.members.len(),
            "a generation is complete and waits for its assignment"
        );
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.answer_join(cx, &member_id);
        }
        let timeout_ms = self.rebalance_timeout_ms();
        cx.timers.schedule(TimerKey::Sync(self.id.clone()), cx.now.steady_ms.saturating_add(timeout_ms));
    }

    /// All members are gone at once, and nobody waits for them.
    pub(crate) fn lose_all(&mut self, cx: &mut Cx<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        for member_id in ids {
            self.remove(cx, &member_id);
        }
        cx.timers.cancel(&TimerKey::Sync(self.id.clone()));
        self.transition_to(GroupState::PreparingRebalance, cx.now);
        self.complete_join(cx);
    }

    fn answer_join(&mut self, cx: &mut Cx<'_>, member_id: &Arc<str>) {
        let with_members = self.is_leader(member_id);
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.is_new = false;
        if let Some(ticket) = member.awaiting_join.take() {
            self.awaiting_join -= 1;
            cx.reply(ticket, Reply::Join(self.join_reply(member_id, with_members)));
        }
        self.touch(cx, member_id);
        self.pending_sync.insert(member_id.clone());
    }

    /// Makes sure that the leader is one who has joined. False: nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(|member| member.awaiting_join.is_some()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// Members that have not fetched their assignment within the rebalance timeout are lost.
    pub(crate) fn sync_deadline(&mut self, cx: &mut Cx<'_>) {
        let has_generation = matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable);
        if !has_generation || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            tracing::info!(group = &*self.id, member = &*member_id, "removed: it did not send SyncGroup in time");
            self.remove(cx, &member_id);
        }
        self.prepare_rebalance(cx, "members did not send SyncGroup in time");
    }

    /// A session has ended without a heartbeat, or a member id was never used.
    pub(crate) fn session_deadline(&mut self, cx: &mut Cx<'_>, member_id: &Arc<str>) {
        if self.pending_join.contains(member_id) {
            self.remove(cx, member_id);
            self.maybe_complete_after_removal(cx);
            return;
        }
        match self.members.get(member_id) {
            Some(member) if !member.has_satisfied_heartbeat() => {
                tracing::info!(group = &*self.id, member = &**member_id, "removed: its session timed out");
                self.remove(cx, member_id);
                if self.state == GroupState::PreparingRebalance {
                    self.maybe_complete_after_removal(cx);
                } else {
                    self.prepare_rebalance(cx, "a member's session timed out");
                }
            }
            _ => {}
        }
    }

    /// A lost member may be what the join phase waited for. As in Kafka, this also ends the initial delay of a group,
    /// which a join does not.
    fn maybe_complete_after_removal(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance && self.has_all_members_joined() {
            self.complete_join(cx);
        }
    }

    /// The generation's assignment is void: those who wait for it are told why.
    fn fail_syncs(&mut self, cx: &mut Cx<'_>, error: ErrorCode) {
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            member.assignment = Bytes::new();
            if let Some(ticket) = member.awaiting_sync.take() {
                cx.reply(ticket, Reply::Sync(sync_error(error)));
                self.touch(cx, &member_id);
            }
        }
    }
}
