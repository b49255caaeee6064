//! What a mock consumer knows, and what follows from it.

use super::{ConsumeListener, MockConsumer};
use crate::consumer::{
    BoxFuture, ConsumerRecord, ConsumerRecords, GroupMetadata, OffsetAndMetadata, OffsetReset, Offsets, Position,
};
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    ByHand,
    Topics(BTreeSet<Arc<str>>),
}

#[derive(Debug, Default)]
pub(super) struct Assigned {
    pub(super) position: Option<i64>,
    pub(super) epoch: Option<i32>,
    /// A place that is looked up by the next poll.
    pub(super) asked: Option<Position>,
    pub(super) paused: bool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) wanted: Wanted,
    pub(super) listener: Option<Arc<dyn ConsumeListener<MockConsumer>>>,
    pub(super) assigned: BTreeMap<TopicPartition, Assigned>,
    pub(super) records: BTreeMap<TopicPartition, VecDeque<ConsumerRecord>>,
    pub(super) partitions: BTreeMap<Arc<str>, i32>,
    pub(super) beginnings: BTreeMap<TopicPartition, i64>,
    pub(super) ends: BTreeMap<TopicPartition, i64>,
    pub(super) by_duration: BTreeMap<TopicPartition, i64>,
    pub(super) committed: Offsets,
    pub(super) tasks: VecDeque<BoxFuture<'static, ()>>,
    pub(super) poll_error: Option<Error>,
    pub(super) offsets_error: Option<Error>,
    pub(super) max_poll_records: Option<usize>,
    pub(super) group: Option<GroupMetadata>,
    pub(super) last_poll_timeout: Option<Duration>,
    pub(super) woken: bool,
    pub(super) closed: bool,
    pub(super) should_rebalance: bool,
}

impl State {
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Closed, "the mock consumer is closed"));
        }
        Ok(())
    }

    pub(super) fn subscribe(
        &mut self,
        topics: BTreeSet<Arc<str>>,
        listener: Option<Arc<dyn ConsumeListener<MockConsumer>>>,
    ) -> Result<()> {
        self.check_open()?;
        if topics.is_empty() {
            return Err(Error::invalid("subscribe needs at least one topic that exists"));
        }
        if self.wanted == Wanted::ByHand {
            return Err(Error::invalid("partitions are assigned by hand; unsubscribe first"));
        }
        self.committed.clear();
        self.wanted = Wanted::Topics(topics);
        self.listener = listener;
        Ok(())
    }

    pub(super) fn assign_by_hand(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.check_open()?;
        if matches!(self.wanted, Wanted::Topics(_)) {
            return Err(Error::invalid("the mock consumer is subscribed; unsubscribe first"));
        }
        self.committed.clear();
        self.wanted = if partitions.is_empty() { Wanted::Nothing } else { Wanted::ByHand };
        self.assign(partitions);
        Ok(())
    }

    /// What stays assigned keeps its position.
    pub(super) fn assign(&mut self, partitions: &[TopicPartition]) {
        let mut old = std::mem::take(&mut self.assigned);
        let kept = |partition: &TopicPartition| (partition.clone(), old.remove(partition).unwrap_or_default());
        self.assigned = partitions.iter().collect::<BTreeSet<_>>().into_iter().map(kept).collect();
    }

    pub(super) fn assigned(&mut self, partition: &TopicPartition) -> Result<&mut Assigned> {
        self.assigned.get_mut(partition).ok_or_else(|| not_assigned(partition))
    }

    pub(super) fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        for partition in partitions {
            self.assigned(partition)?.paused = paused;
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, partitions: &[TopicPartition], position: Position) -> Result<()> {
        self.check_open()?;
        let all: Vec<TopicPartition> = match partitions {
            [] => self.assigned.keys().cloned().collect(),
            some => some.to_vec(),
        };
        for partition in &all {
            let assigned = self.assigned(partition)?;
            assigned.position = None;
            assigned.asked = Some(position);
        }
        Ok(())
    }

    pub(super) fn seek(&mut self, partition: &TopicPartition, position: Position) -> Result<()> {
        self.assigned(partition)?;
        let offset = self.offset_of(partition, position)?;
        let assigned = self.assigned(partition)?;
        *assigned = Assigned { position: Some(offset), paused: assigned.paused, ..Assigned::default() };
        Ok(())
    }

    pub(super) fn offset_of(&self, partition: &TopicPartition, position: Position) -> Result<i64> {
        let (told, what, call) = match position {
            Position::Offset(offset) if offset < 0 => {
                return Err(Error::invalid(format!("cannot seek to the negative offset {offset}")));
            }
            Position::Offset(offset) => return Ok(offset),
            Position::Earliest => (&self.beginnings, "begins", "update_beginning_offsets"),
            Position::Latest => (&self.ends, "ends", "update_end_offsets"),
            Position::Timestamp(_) => (&self.by_duration, "is at a time", "update_duration_offsets"),
        };
        let unknown =
            || Error::invalid(format!("nobody told the mock consumer where partition {partition} {what}; call {call}"));
        told.get(partition).copied().ok_or_else(unknown)
    }

    /// The position, found if it is not known yet.
    pub(super) fn place(&mut self, partition: &TopicPartition, reset: OffsetReset) -> Result<i64> {
        let assigned = self.assigned(partition)?;
        if let Some(position) = assigned.position {
            return Ok(position);
        }
        let position = match (assigned.asked, self.committed.get(partition), reset) {
            (Some(asked), ..) => asked,
            (None, Some(committed), _) => Position::Offset(committed.offset),
            (None, None, OffsetReset::Earliest) => Position::Earliest,
            (None, None, OffsetReset::Latest) => Position::Latest,
            (None, None, OffsetReset::ByDuration(_)) => Position::Timestamp(0),
            (None, None, OffsetReset::None) => {
                let message = format!("partition {partition} has no committed offset, and auto.offset.reset is none");
                return Err(Error::invalid(message));
            }
        };
        let offset = self.offset_of(partition, position)?;
        let assigned = self.assigned(partition)?;
        assigned.position = Some(offset);
        assigned.asked = None;
        Ok(offset)
    }

    pub(super) fn take(&mut self) -> Result<ConsumerRecords> {
        let max = self.max_poll_records.unwrap_or(usize::MAX);
        // Looked at before anything is taken, so that an error loses nothing.
        for partition in self.records.keys() {
            let Some(Assigned { position: Some(position), paused: false, .. }) = self.assigned.get(partition) else {
                continue;
            };
            if self.beginnings.get(partition).is_some_and(|beginning| beginning > position) {
                let what = format!("position {position} of partition {partition}");
                return Err(Error::from_code(ErrorCode::OffsetOutOfRange, &what, None));
            }
        }
        let mut taken = ConsumerRecords::default();
        for (partition, records) in &mut self.records {
            let Some(assigned) = self.assigned.get_mut(partition).filter(|assigned| !assigned.paused) else { continue };
            let mut of_it = Vec::new();
            while taken.len() + of_it.len() < max
                && let Some(record) = records.pop_front()
            {
                if record.offset >= assigned.position.unwrap_or(0) {
                    assigned.position = Some(record.offset + 1);
                    assigned.epoch = Some(record.leader_epoch).filter(|epoch| *epoch >= 0);
                    of_it.push(record);
                }
            }
            if !of_it.is_empty() {
                taken.push(partition.clone(), of_it, assigned.position.unwrap_or(0));
            }
        }
        self.records.retain(|_, records| !records.is_empty());
        Ok(taken)
    }

    pub(super) fn positions(&self) -> Offsets {
        let position = |(partition, assigned): (&TopicPartition, &Assigned)| {
            let leader_epoch = assigned.epoch;
            let offset = OffsetAndMetadata { leader_epoch, ..OffsetAndMetadata::from(assigned.position?) };
            Some((partition.clone(), offset))
        };
        self.assigned.iter().filter_map(position).collect()
    }

    pub(super) fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        self.check_open()?;
        self.committed.extend(offsets.iter().map(|(partition, offset)| (partition.clone(), offset.clone())));
        Ok(())
    }

    pub(super) fn offsets(
        &mut self,
        partitions: &[TopicPartition],
        position: Position,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        if let Some(error) = self.offsets_error.take() {
            return Err(error);
        }
        partitions.iter().map(|partition| Ok((partition.clone(), self.offset_of(partition, position)?))).collect()
    }
}

pub(super) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::invalid(format!("partition {partition} is not assigned to the mock consumer"))
}
