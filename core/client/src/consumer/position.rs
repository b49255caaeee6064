//! Where reading stands in each assigned partition, and what has arrived of it. State only: no I/O, no waiting.

use super::offsets::Position;
use super::records::{Fetched, Records};
use super::subscription::Subscription;
use crate::error::{Error, Result};
use ottla_model::{TopicPartition, Uuid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What the consumer reads, and what has arrived. Behind the consumer's lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) subscription: Subscription,
    pub(super) partitions: BTreeMap<TopicPartition, Assigned>,
    /// In the order of arrival; entries of an older generation than their partition's are void.
    pub(super) arrived: VecDeque<Arrived>,
    /// Nodes with a fetching task.
    pub(super) fetching: BTreeSet<i32>,
    /// A task looks for leaders.
    pub(super) routing: bool,
    /// A task looks for positions.
    pub(super) positioning: bool,
    /// Counts assignments and seeks; what was fetched before one is dropped.
    pub(super) generation: u64,
    pub(super) closed: bool,
}

/// Something for `poll`.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Of which partition, and its generation then; `None` concerns the whole consumer.
    pub(super) of: Option<(TopicPartition, u64)>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Fetched(Fetched),
    /// Begun by an earlier poll: the rest of it, or why it cannot be read on.
    Begun(Fetched, Box<Records>, Option<Error>),
    Failed(Error),
}

impl Arrived {
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Fetched(fetched) | What::Begun(fetched, ..) => fetched.bytes.len(),
            What::Failed(_) => 0,
        }
    }
}

/// Where the next record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At what the group has committed; without that, where `auto.offset.reset` says.
    Committed,
    /// Where `auto.offset.reset` says.
    Reset,
    /// To be asked for.
    Asked(Position),
    /// Here: what `poll` hands out next.
    At(i64),
}

/// An assigned partition.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) generation: u64,
    pub(super) place: Place,
    /// What fetching has reached; meaningful with `Place::At`.
    pub(super) fetch_offset: i64,
    /// Leader epoch of the last record handed out, or of the committed offset.
    pub(super) epoch: Option<i32>,
    /// Leader epoch of the last batch fetched.
    pub(super) fetch_epoch: Option<i32>,
    /// The leader epoch at which the position was last known to be in the log (KIP-320); -1 for never.
    pub(super) validated_epoch: i32,
    /// The node that leads it; `None` while that has to be found out.
    pub(super) leader: Option<i32>,
    /// A replica to read from in its place, and until when (KIP-392).
    pub(super) preferred: Option<(i32, Duration)>,
    /// By the application: not fetched, not handed out; what has arrived stays.
    pub(super) paused: bool,
    /// What has arrived cannot be read on: nothing more is handed out until somebody seeks.
    pub(super) broken: bool,
    /// The topic's id when its leader was last looked up: a topic made anew under the name counts epochs from 0 again.
    pub(super) topic_id: Uuid,
    /// The leader's epoch as an answer told it, where that is newer than the metadata (KIP-951); else -1.
    pub(super) leader_epoch: i32,
    /// A rebalance listener is not done with it yet: as paused.
    pub(super) held: bool,
    /// Backoff after an error.
    pub(super) not_before: Duration,
    /// Bytes of it in `State::arrived`.
    pub(super) queued: usize,
    /// As the last fetch told; -1 before.
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
}

impl Assigned {
    pub(super) fn new(generation: u64, place: Place) -> Assigned {
        Assigned {
            generation,
            place,
            fetch_offset: if let Place::At(offset) = place { offset } else { -1 },
            epoch: None,
            fetch_epoch: None,
            validated_epoch: -1,
            leader: None,
            preferred: None,
            paused: false,
            broken: false,
            topic_id: Uuid::ZERO,
            leader_epoch: -1,
            held: false,
            not_before: Duration::ZERO,
            queued: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
        }
    }

    /// The offset that `poll` hands out next, where it is known.
    pub(super) fn position(&self) -> Option<i64> {
        match self.place {
            Place::At(offset) => Some(offset),
            _ => None,
        }
    }

    /// The node to fetch from now.
    pub(super) fn node(&self, now: Duration) -> Option<i32> {
        match self.preferred {
            Some((node, until)) if now < until && self.leader.is_some() => Some(node),
            _ => self.leader,
        }
    }

    /// Its topic has this id now. What is known of epochs is void when that is another topic than before.
    pub(super) fn identify(&mut self, id: Uuid) {
        if !self.topic_id.is_zero() && self.topic_id != id {
            self.leader_epoch = -1;
            self.validated_epoch = -1;
            self.epoch = None;
            self.fetch_epoch = None;
            self.preferred = None;
        }
        self.topic_id = id;
    }

    /// Whether it is handed out.
    pub(super) fn open(&self) -> bool {
        !self.paused && !self.held
    }

    /// Whether somebody has to find out its position.
    pub(super) fn unplaced(&self) -> bool {
        !self.held && !matches!(self.place, Place::At(_))
    }

    fn go(&mut self, generation: u64, place: Place, epoch: Option<i32>) {
        self.generation = generation;
        self.place = place;
        self.epoch = epoch;
        self.fetch_epoch = epoch;
        self.validated_epoch = -1;
        self.not_before = Duration::ZERO;
        self.preferred = None;
        self.broken = false;
        if let Place::At(offset) = place {
            self.fetch_offset = offset;
        }
    }
}

impl State {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Replaces the assignment. Partitions that stay keep their place; `place` is where new ones begin.
    pub(super) fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Place)>, held: bool) {
        let mut next = BTreeMap::new();
        for (partition, place) in partitions {
            let assigned = match self.partitions.remove(&partition) {
                Some(kept) => kept,
                None => {
                    let mut assigned = Assigned::new(self.next_generation(), place);
                    assigned.held = held;
                    assigned
                }
            };
            next.insert(partition, assigned);
        }
        self.partitions = next;
        self.sweep();
    }

    /// Takes partitions away.
    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.partitions.remove(partition);
        }
        self.sweep();
    }

    /// Goes to another place in a partition.
    ///
    /// # Errors
    /// It is not assigned.
    pub(super) fn go(&mut self, partition: &TopicPartition, place: Place, epoch: Option<i32>) -> Result<()> {
        let generation = self.next_generation();
        let assigned = self.partitions.get_mut(partition).ok_or_else(|| not_assigned(partition))?;
        assigned.go(generation, place, epoch);
        self.sweep();
        Ok(())
    }

    /// As [`State::go`], unless the partition was sought or assigned anew since `generation`.
    pub(super) fn found(&mut self, partition: &TopicPartition, generation: u64, offset: i64, epoch: Option<i32>) {
        if let Some(assigned) = self.partitions.get_mut(partition)
            && assigned.generation == generation
            && !matches!(assigned.place, Place::At(_))
        {
            assigned.go(generation, Place::At(offset), epoch);
        }
    }

    /// Drops what has arrived for nobody.
    fn sweep(&mut self) {
        let partitions = &mut self.partitions;
        partitions.values_mut().for_each(|assigned| assigned.queued = 0);
        self.arrived.retain(|arrived| match &arrived.of {
            None => true,
            Some((partition, generation)) => match partitions.get_mut(partition) {
                Some(assigned) if assigned.generation == *generation => {
                    assigned.queued += arrived.bytes();
                    true
                }
                _ => false,
            },
        });
    }

    /// Bytes that wait for `poll` and would be taken by it.
    pub(super) fn waiting(&self) -> usize {
        self.partitions.values().filter(|assigned| assigned.open()).map(|assigned| assigned.queued).sum()
    }

    /// Queues something of a partition; dropped when it was sought or taken away since `generation`.
    pub(super) fn arrive(&mut self, partition: &TopicPartition, generation: u64, what: What) -> bool {
        let Some(assigned) = self.partitions.get_mut(partition).filter(|a| a.generation == generation) else {
            return false;
        };
        let arrived = Arrived { of: Some((partition.clone(), generation)), what };
        assigned.queued += arrived.bytes();
        self.arrived.push_back(arrived);
        true
    }

    /// Queues an error of the whole consumer, unless one waits already.
    pub(super) fn fail(&mut self, error: Error) {
        if !self.arrived.iter().any(|arrived| arrived.of.is_none()) {
            self.arrived.push_back(Arrived { of: None, what: What::Failed(error) });
        }
    }

    /// Whether an error about this partition waits already.
    pub(super) fn told(&self, partition: &TopicPartition) -> bool {
        self.arrived.iter().any(|arrived| {
            matches!(arrived.what, What::Failed(_)) && arrived.of.as_ref().is_some_and(|(of, _)| of == partition)
        })
    }

    /// The index in `arrived` of the first entry that may be handed out.
    fn first_open(&self) -> Option<usize> {
        self.arrived.iter().position(|arrived| match &arrived.of {
            None => true,
            Some((partition, _)) => self.partitions.get(partition).is_none_or(|assigned| {
                let tells_why = matches!(arrived.what, What::Begun(_, _, Some(_)) | What::Failed(_));
                assigned.open() && (!assigned.broken || tells_why)
            }),
        })
    }

    /// Takes the first entry that may be handed out; its partition's lock-step with `poll` is the caller's.
    pub(super) fn take(&mut self) -> Option<Arrived> {
        let index = self.first_open()?;
        let arrived = self.arrived.remove(index)?;
        if let Some((partition, _)) = &arrived.of
            && let Some(assigned) = self.partitions.get_mut(partition)
        {
            assigned.queued = assigned.queued.saturating_sub(arrived.bytes());
        }
        Some(arrived)
    }

    /// Whether [`State::take`] would give an error next.
    pub(super) fn error_is_next(&self) -> bool {
        self.first_open().is_some_and(|index| matches!(self.arrived[index].what, What::Failed(_)))
    }

    /// Keeps what cannot be read on, behind all else: each poll that has nothing better returns the error.
    pub(super) fn put_broken(&mut self, fetched: Fetched, records: Box<Records>, error: Error) {
        let (partition, generation) = (fetched.key(), fetched.generation);
        if let Some(assigned) = self.partitions.get_mut(&partition).filter(|a| a.generation == generation) {
            assigned.broken = true;
        }
        self.arrive(&partition, generation, What::Begun(fetched, records, Some(error)));
    }

    /// Puts back what a poll did not use up.
    pub(super) fn put_back(&mut self, arrived: Arrived) {
        if let Some((partition, generation)) = &arrived.of {
            match self.partitions.get_mut(partition) {
                Some(assigned) if assigned.generation == *generation => assigned.queued += arrived.bytes(),
                _ => return,
            }
        }
        self.arrived.push_front(arrived);
    }
}

pub(super) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::invalid(format!("partition {}-{} is not assigned", partition.topic, partition.partition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::VecDeque;

    fn partition(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    fn fetched(index: i32, generation: u64) -> What {
        What::Fetched(Fetched {
            topic: "t".into(),
            partition: index,
            fetch_offset: 0,
            next_offset: 1,
            high_watermark: 1,
            last_stable_offset: 1,
            log_start_offset: 0,
            bytes: Bytes::from_static(b"0123456789"),
            check_crcs: true,
            generation,
            last_epoch: None,
            aborted: VecDeque::new(),
        })
    }

    fn two() -> State {
        let mut state = State::default();
        state.assign([(partition(0), Place::At(0)), (partition(1), Place::At(0))], false);
        for index in 0..2 {
            let generation = state.partitions[&partition(index)].generation;
            assert!(state.arrive(&partition(index), generation, fetched(index, generation)));
        }
        state
    }

    #[test]
    fn a_paused_partition_keeps_what_has_arrived_and_holds_up_nobody() {
        let mut state = two();
        state.partitions.get_mut(&partition(0)).expect("assigned").paused = true;
        assert_eq!(state.waiting(), 10);
        assert_eq!(state.take().and_then(|a| a.of).map(|of| of.0), Some(partition(1)));
        assert!(state.take().is_none());
        state.partitions.get_mut(&partition(0)).expect("assigned").paused = false;
        assert_eq!(state.take().and_then(|a| a.of).map(|of| of.0), Some(partition(0)));
        assert_eq!(state.waiting(), 0);
    }

    #[test]
    fn a_seek_drops_what_has_arrived_of_that_partition_only() {
        let mut state = two();
        let old = state.partitions[&partition(0)].generation;
        state.go(&partition(0), Place::At(7), None).expect("assigned");
        assert_eq!(state.waiting(), 10);
        assert!(!state.arrive(&partition(0), old, fetched(0, old)), "fetched before the seek");
        state.assign([(partition(0), Place::Committed)], false);
        assert_eq!(state.partitions[&partition(0)].position(), Some(7), "what stays keeps its place");
        assert_eq!(state.arrived.len(), 0);
        assert!(state.go(&partition(1), Place::At(0), None).is_err());
    }

    #[test]
    fn a_topic_made_anew_counts_epochs_from_the_start() {
        let mut assigned = Assigned::new(1, Place::At(5));
        assigned.identify(Uuid([1; 16]));
        (assigned.leader_epoch, assigned.validated_epoch, assigned.fetch_epoch) = (7, 7, Some(7));
        assigned.identify(Uuid([1; 16]));
        assert_eq!(assigned.leader_epoch, 7);
        assigned.identify(Uuid([2; 16]));
        assert_eq!((assigned.leader_epoch, assigned.validated_epoch, assigned.fetch_epoch), (-1, -1, None));
        assert_eq!(assigned.position(), Some(5));
    }

    #[test]
    fn a_position_that_was_looked_for_does_not_undo_a_seek() {
        let mut state = State::default();
        state.assign([(partition(0), Place::Committed)], false);
        let generation = state.partitions[&partition(0)].generation;
        state.go(&partition(0), Place::At(5), None).expect("assigned");
        state.found(&partition(0), generation, 1, None);
        assert_eq!(state.partitions[&partition(0)].position(), Some(5));
    }
}
