//! Which partition a record goes to: its key's hash, as in every Kafka client, or for records without a key one
//! partition for about a batch's worth of bytes (KIP-794), so that few large requests replace many small ones; or what a
//! [`Partitioner`] of the application says.

use crate::error::{Error, Result};
use crate::metadata::{Leader, TopicMetadata};
use ottla_model::{ErrorCode, Uuid};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a [`Partitioner`] sees of a topic: its partitions and who leads them, as of the last metadata.
#[derive(Debug, Clone, Copy)]
pub struct TopicPartitions<'a> {
    topic: &'a str,
    metadata: &'a TopicMetadata,
}

impl<'a> TopicPartitions<'a> {
    pub(super) fn new(topic: &'a str, metadata: &'a TopicMetadata) -> TopicPartitions<'a> {
        TopicPartitions { topic, metadata }
    }

    /// The topic's name.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// How many partitions it has.
    pub fn count(&self) -> i32 {
        self.metadata.partitions.len() as i32
    }

    /// The id of the broker that leads `partition`; `None` while there is none.
    pub fn leader(&self, partition: i32) -> Option<i32> {
        let leader = self.metadata.partitions.get(usize::try_from(partition).ok()?)?;
        Some(leader.node).filter(|node| *node >= 0)
    }

    /// The partitions that have a leader, in order.
    pub fn available(&self) -> impl Iterator<Item = i32> + '_ {
        (0..self.count()).filter(|partition| self.leader(*partition).is_some())
    }
}

/// Picks the partition of records that name none, in place of the built-in rule.
///
/// Called in the task that calls `send`. A panic, or a partition that does not exist, fails that `send`.
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// The partition for a record with this key and value.
    fn partition(&self, topic: &TopicPartitions<'_>, key: Option<&[u8]>, value: Option<&[u8]>) -> i32;

    /// A record that goes to `partition` opens a new batch there: from the next record on another one may be better.
    /// The record itself stays, so that taking turns loses none (KAFKA-9965).
    fn on_new_batch(&self, topic: &TopicPartitions<'_>, partition: i32) {
        let _ = (topic, partition);
    }

    /// Called when the producer has ended.
    fn close(&self) {}
}

/// As [`ask`], for a producer without a broker: all `count` partitions have a leader.
pub(crate) fn choose(
    partitioner: &dyn Partitioner,
    topic: &str,
    count: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<i32> {
    let partitions = (0..count).map(|_| Leader { node: 0, epoch: 0 }).collect();
    let metadata = TopicMetadata { id: Uuid::ZERO, error: ErrorCode::None, partitions };
    ask(partitioner, &TopicPartitions::new(topic, &metadata), key, value)
}

/// Asks `partitioner`, containing what it does wrong.
pub(super) fn ask(
    partitioner: &dyn Partitioner,
    topic: &TopicPartitions<'_>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<i32> {
    let asked = catch_unwind(AssertUnwindSafe(|| partitioner.partition(topic, key, value)));
    let partition = asked.map_err(|_| Error::invalid(format!("{partitioner:?} panicked; the record was not sent")))?;
    if !(0..topic.count()).contains(&partition) {
        return Err(Error::invalid(format!(
            "{partitioner:?} chose partition {partition}: topic {} has 0 to {}",
            topic.topic(),
            topic.count() - 1
        )));
    }
    Ok(partition)
}

/// Tells `partitioner` of a new batch, containing what it does wrong.
pub(super) fn new_batch(partitioner: &dyn Partitioner, topic: &TopicPartitions<'_>, partition: i32) {
    if catch_unwind(AssertUnwindSafe(|| partitioner.on_new_batch(topic, partition))).is_err() {
        tracing::warn!(?partitioner, "on_new_batch panicked");
    }
}

/// One partition after the other, whatever the keys (`org.apache.kafka.clients.producer.RoundRobinPartitioner`).
///
/// Small batches everywhere: the built-in rule is faster. Partitions without a leader are left out.
#[derive(Debug, Default)]
pub struct RoundRobinPartitioner {
    /// The next turn per topic.
    turns: Mutex<HashMap<String, u32>>,
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(&self, topic: &TopicPartitions<'_>, _key: Option<&[u8]>, _value: Option<&[u8]>) -> i32 {
        let turn = {
            let mut turns = self.turns.lock();
            match turns.get_mut(topic.topic()) {
                Some(turn) => {
                    *turn = turn.wrapping_add(1);
                    *turn
                }
                None => {
                    turns.insert(topic.topic().to_owned(), 0);
                    0
                }
            }
        };
        let available = topic.available().count() as u32;
        match available {
            0 => (turn % topic.count().max(1) as u32) as i32,
            _ => topic.available().nth((turn % available) as usize).unwrap_or(0),
        }
    }
}

/// Where records without a key go at the moment, per topic (KIP-794).
///
/// The partition changes once `batch.size` bytes went there and its last batch is full, or at twice that many bytes in
/// any case: so all partitions get the same number of bytes, and batches are not cut short.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    current: Option<i32>,
    bytes: usize,
    load: Option<Load>,
}

/// A table of cumulated frequencies: a partition is chosen with the weight of its step.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    partitions: Vec<i32>,
    cumulated: Vec<u64>,
}

impl Sticky {
    /// The partition for a record without a key. `random` is asked where one has to be chosen.
    pub(super) fn partition(&mut self, count: i32, led: impl Fn(i32) -> bool, random: impl Fn() -> u64) -> i32 {
        match self.current {
            Some(partition) if partition < count => partition,
            _ => {
                let partition = self.next(count, led, random);
                self.current = Some(partition);
                self.bytes = 0;
                partition
            }
        }
    }

    /// Whether the next record without a key makes a choice.
    pub(super) fn has_to_choose(&self, count: i32) -> bool {
        self.current.is_none_or(|partition| partition >= count)
    }

    /// Counts `bytes` that were appended to the current partition; `full` says that its last batch takes no more.
    pub(super) fn appended(&mut self, bytes: usize, batch_size: usize, full: bool) {
        self.bytes += bytes;
        if self.bytes >= batch_size && full || self.bytes >= batch_size.saturating_mul(2) {
            self.current = None;
        }
    }

    fn next(&self, count: i32, led: impl Fn(i32) -> bool, random: impl Fn() -> u64) -> i32 {
        let random = random();
        if let Some(load) = &self.load
            && let Some(total) = load.cumulated.last().copied().filter(|total| *total > 0)
        {
            let at = random % total;
            // The first step that ends above.
            let step = load.cumulated.partition_point(|end| *end <= at);
            return load.partitions[step];
        }
        let available = (0..count).filter(|partition| led(*partition)).count() as u64;
        match available {
            0 => (random % count.max(1) as u64) as i32,
            _ => (0..count).filter(|partition| led(*partition)).nth((random % available) as usize).unwrap_or(0),
        }
    }

    /// Takes over how many batches wait for each of the `partitions` that can be written now; `count` is how many there
    /// are in all. `None` spreads evenly.
    pub(super) fn update_load(&mut self, queues: Option<(&[i32], &[usize])>, count: usize) {
        self.load = queues.and_then(|(partitions, waiting)| {
            if waiting.is_empty() || count < 2 {
                return None;
            }
            let longest = waiting.iter().copied().max().unwrap_or(0);
            if waiting.len() == count && waiting.iter().all(|waiting| *waiting == longest) {
                return None;
            }
            let mut sum = 0;
            let cumulated = waiting
                .iter()
                .map(|waiting| {
                    sum += (longest + 1 - waiting) as u64;
                    sum
                })
                .collect();
            Some(Load { partitions: partitions.to_vec(), cumulated })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Leader;
    use ottla_model::{ErrorCode, Uuid};

    fn topic(leaders: &[i32]) -> TopicMetadata {
        let partitions = leaders.iter().map(|node| Leader { node: *node, epoch: 0 }).collect();
        TopicMetadata { id: Uuid::ZERO, error: ErrorCode::None, partitions }
    }

    #[test]
    fn sticks_for_a_batch_and_moves_at_two_at_the_latest() {
        let mut sticky = Sticky::default();
        let at = |sticky: &mut Sticky, random: u64| sticky.partition(4, |_| true, || random);
        assert_eq!(at(&mut sticky, 1), 1);
        sticky.appended(99, 100, true);
        assert_eq!(at(&mut sticky, 2), 1, "less than a batch went there");
        sticky.appended(50, 100, false);
        assert_eq!(at(&mut sticky, 2), 1, "its batch is not full yet");
        sticky.appended(1, 100, true);
        assert_eq!(at(&mut sticky, 2), 2);
        sticky.appended(199, 100, false);
        assert_eq!(at(&mut sticky, 3), 2);
        sticky.appended(1, 100, false);
        assert_eq!(at(&mut sticky, 3), 3, "two batches' worth");
        assert_eq!(sticky.partition(2, |_| true, || 0), 0, "partition 3 is gone");
    }

    #[test]
    fn partitions_without_a_leader_are_left_out_unless_none_has_one() {
        let pick = |led: &[bool], random| Sticky::default().partition(3, |p| led[p as usize], || random);
        assert_eq!((0..4).map(|r| pick(&[false, true, true], r)).collect::<Vec<_>>(), [1, 2, 1, 2]);
        assert_eq!((0..3).map(|r| pick(&[false; 3], r)).collect::<Vec<_>>(), [0, 1, 2]);
    }

    /// Queues of 0, 3 and 1 batches weigh 4, 1 and 3: the example of KIP-794.
    #[test]
    fn shorter_queues_get_more() {
        let mut sticky = Sticky::default();
        sticky.update_load(Some((&[0, 1, 2], &[0, 3, 1])), 3);
        let picked: Vec<i32> = (0..8).map(|random| sticky.next(3, |_| true, || random)).collect();
        assert_eq!(picked, [0, 0, 0, 0, 1, 2, 2, 2]);
        // All the same and all there: even.
        sticky.update_load(Some((&[0, 1, 2], &[2, 2, 2])), 3);
        assert_eq!(sticky.load, None);
        // The same, but one cannot be written now.
        sticky.update_load(Some((&[0, 2], &[2, 2])), 3);
        let picked: Vec<i32> = (0..4).map(|random| sticky.next(3, |_| true, || random)).collect();
        assert_eq!(picked, [0, 2, 0, 2]);
        sticky.update_load(Some((&[], &[])), 3);
        assert_eq!(sticky.load, None);
        sticky.update_load(Some((&[0], &[7])), 1);
        assert_eq!(sticky.load, None);
    }

    #[test]
    fn round_robin_takes_turns_among_the_led() {
        let metadata = topic(&[1, -1, 1]);
        let partitions = TopicPartitions::new("t", &metadata);
        let robin = RoundRobinPartitioner::default();
        let picked: Vec<i32> = (0..4).map(|_| robin.partition(&partitions, Some(b"k"), None)).collect();
        assert_eq!(picked, [0, 2, 0, 2]);
        let none = topic(&[-1, -1]);
        let other = TopicPartitions::new("u", &none);
        assert_eq!((0..3).map(|_| robin.partition(&other, None, None)).collect::<Vec<_>>(), [0, 1, 0]);
    }

    #[test]
    fn a_partitioners_mistakes_fail_the_send() {
        #[derive(Debug)]
        struct Wrong(bool);
        impl Partitioner for Wrong {
            fn partition(&self, _: &TopicPartitions<'_>, _: Option<&[u8]>, _: Option<&[u8]>) -> i32 {
                assert!(!self.0, "as asked");
                9
            }
        }
        let metadata = topic(&[1]);
        let partitions = TopicPartitions::new("t", &metadata);
        assert!(ask(&Wrong(false), &partitions, None, None).unwrap_err().message().contains("chose partition 9"));
        assert!(ask(&Wrong(true), &partitions, None, None).unwrap_err().message().contains("panicked"));
    }
}
