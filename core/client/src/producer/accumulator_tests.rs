//! The accumulator and its queues without a network: each test is a sender that takes batches and brings them back.

use super::*;
use crate::producer::batch::sequence_after;
use crate::producer::delivery::Acked;
use crate::retry::Backoff;
use tokio::sync::Semaphore;

const NO_WAIT: fn(&mut Option<Backoff>) -> Duration = |_| Duration::ZERO;

struct Stage {
    accumulator: Accumulator,
    options: ProducerOptions,
    env: Env,
    memory: Arc<Semaphore>,
}

/// A topic `t` whose partitions are led by these nodes, written to by producer 7.
fn stage(leaders: &[i32], options: ProducerOptions) -> Stage {
    let mut accumulator = Accumulator::new(Arc::default(), None);
    accumulator.set_producer_id(ProducerId { id: 7, epoch: 0 });
    accumulator.update_topic(&Arc::from("t"), &metadata(leaders), Duration::ZERO);
    Stage { accumulator, options, env: Env::memory(), memory: Arc::new(Semaphore::new(1 << 20)) }
}

fn metadata(leaders: &[i32]) -> TopicMetadata {
    let partitions = leaders.iter().map(|node| Leader { node: *node, epoch: 0 }).collect();
    TopicMetadata { id: Uuid::ZERO, error: ErrorCode::None, partitions }
}

/// A batch per record.
fn one_by_one() -> ProducerOptions {
    ProducerOptions { batch_size: 0, linger: Duration::ZERO, ..ProducerOptions::default() }
}

impl Stage {
    /// Appends a record and tells its partition.
    fn send(&mut self, partition: Option<i32>) -> Arc<Outcome> {
        let mut memory = self.memory.clone().try_acquire_many_owned(100).ok();
        let record = ProducerRecord { partition, ..ProducerRecord::new("t", None, Some(b"value")) };
        match self.accumulator.append(&self.env, &self.options, &record, 5, Choice::BuiltIn, &mut memory) {
            Ok(Append::Done { outcome, .. }) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self) -> Option<Due> {
        self.take_over(1)
    }

    /// What partition 0 may send now over this connection.
    fn take_over(&mut self, connection: u64) -> Option<Due> {
        let wait = self.accumulator.wait((0, 0), &self.options, Duration::ZERO, false, true);
        wait.filter(Duration::is_zero)?;
        let mut due = self.accumulator.take_due((0, 0), connection, true)?;
        due.batch.encode().expect("encodes");
        Some(due)
    }

    fn fail(&mut self, due: Due, code: ErrorCode) -> Verdict {
        self.fail_at(due, code, -1)
    }

    fn fail_at(&mut self, due: Due, code: ErrorCode, log_start_offset: i64) -> Verdict {
        let failure = Failure { log_start_offset, ..Failure::from(Error::from_code(code, "t-0", None)) };
        self.accumulator.failed(due, failure, &self.options, Duration::ZERO, NO_WAIT)
    }

    fn ack(&mut self, due: Due, base_offset: i64) {
        self.accumulator.acked(due, Acked { base_offset, log_append_time: -1 });
    }

    /// Has a first batch written, so that the broker knows the producer and more may be in flight; it takes sequence 0.
    fn prime(&mut self) {
        drop(self.send(Some(0)));
        let first = self.take().expect("due");
        self.ack(first, 0);
    }

    fn numbers(due: &Due) -> (i16, i32) {
        let (producer, sequence) = due.batch.sequence.expect("numbered");
        (producer.epoch, sequence)
    }
}

#[test]
fn one_batch_is_in_flight_until_the_broker_knows_the_producer() {
    let mut stage = stage(&[1], one_by_one());
    (0..3).for_each(|_| drop(stage.send(Some(0))));
    let first = stage.take().expect("due");
    assert!(stage.take().is_none(), "the broker would take it as the first, should the first one fail");
    assert_eq!(stage.fail(first, ErrorCode::NotLeaderOrFollower), Verdict::Again);
    let first = stage.take().expect("due");
    assert_eq!(Stage::numbers(&first), (0, 0));
    stage.ack(first, 0);
    assert!(stage.take().is_some() && stage.take().is_some(), "now it would refuse what is not next");
}

#[test]
fn a_retry_goes_first_and_nothing_overtakes_it() {
    let mut stage = stage(&[1], one_by_one());
    stage.prime();
    (0..4).for_each(|_| drop(stage.send(Some(0))));
    let (a, b) = (stage.take().expect("due"), stage.take().expect("due"));
    assert_eq!((Stage::numbers(&a), Stage::numbers(&b)), ((0, 1), (0, 2)));
    assert_eq!(stage.fail(a, ErrorCode::NotLeaderOrFollower), Verdict::Again);
    assert!(stage.take().is_none(), "b is still under way");
    // The broker wants a first: that says nothing about b.
    assert_eq!(stage.fail(b, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
    let taken: Vec<Due> = std::iter::from_fn(|| stage.take()).collect();
    let numbers: Vec<_> = taken.iter().map(Stage::numbers).collect();
    assert_eq!(numbers, [(0, 1), (0, 2), (0, 3), (0, 4)]);
}

#[test]
fn batches_in_flight_are_on_one_connection() {
    let mut stage = stage(&[1], one_by_one());
    stage.prime();
    (0..2).for_each(|_| drop(stage.send(Some(0))));
    let first = stage.take_over(1).expect("due");
    assert!(stage.take_over(2).is_none());
    stage.ack(first, 0);
    assert!(stage.take_over(2).is_some());
}

#[test]
fn a_sequence_that_is_lost_takes_the_next_epoch_of_its_partition() {
    let mut stage = stage(&[1, 1], one_by_one());
    stage.prime();
    (0..3).for_each(|_| drop(stage.send(Some(0))));
    drop(stage.send(Some(1)));
    let (a, b) = (stage.take().expect("due"), stage.take().expect("due"));
    let other = stage.accumulator.take_due((0, 1), 1, true).expect("due");
    assert_eq!(stage.fail(a, ErrorCode::InvalidRecord), Verdict::GivenUp);
    assert!(stage.take().is_none(), "b may still be written under the old epoch");
    assert_eq!(stage.fail(b, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
    let b = stage.take().expect("due");
    assert_eq!(Stage::numbers(&b), (1, 0));
    assert!(stage.take().is_none(), "under the new epoch the broker takes any sequence as the first");
    stage.ack(b, 1);
    assert_eq!(Stage::numbers(&stage.take().expect("due")), (1, 1));
    // The other partition keeps its own until it is empty.
    assert_eq!(stage.fail_at(other, ErrorCode::NotLeaderOrFollower, -1), Verdict::Again);
    let other = stage.accumulator.take_due((0, 1), 1, true).expect("due");
    assert_eq!(Stage::numbers(&other), (0, 0));
    stage.ack(other, 0);
    drop(stage.send(Some(1)));
    let other = stage.accumulator.take_due((0, 1), 1, true).expect("due");
    assert_eq!(Stage::numbers(&other), (1, 0));
}

#[test]
fn the_last_epoch_is_followed_by_another_id() {
    let mut stage = stage(&[1], one_by_one());
    stage.accumulator.set_producer_id(ProducerId { id: 7, epoch: i16::MAX });
    (0..2).for_each(|_| drop(stage.send(Some(0))));
    let first = stage.take().expect("due");
    assert_eq!(stage.fail(first, ErrorCode::InvalidRecord), Verdict::GivenUp);
    assert!(stage.take().is_none() && stage.accumulator.producer_id.is_none());
    stage.accumulator.set_producer_id(ProducerId { id: 8, epoch: 0 });
    let next = stage.take().expect("due");
    assert_eq!(next.batch.sequence, Some((ProducerId { id: 8, epoch: 0 }, 0)));
}

#[test]
fn a_gap_that_only_the_broker_sees_takes_the_next_epoch() {
    let mut stage = stage(&[1], one_by_one());
    (0..2).for_each(|_| drop(stage.send(Some(0))));
    let first = stage.take().expect("due");
    stage.ack(first, 0);
    let second = stage.take().expect("due");
    assert_eq!(stage.fail(second, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
    assert_eq!(Stage::numbers(&stage.take().expect("due")), (1, 0));
}

#[test]
fn a_forgotten_producer_starts_over_once_the_broker_says_from_where() {
    let mut stage = stage(&[1], one_by_one());
    drop(stage.send(Some(0)));
    let due = stage.take().expect("due");
    assert_eq!(stage.fail_at(due, ErrorCode::UnknownProducerId, -1), Verdict::Again);
    let due = stage.take().expect("due");
    assert_eq!(Stage::numbers(&due), (0, 0), "asked again as it was");
    assert_eq!(stage.fail_at(due, ErrorCode::UnknownProducerId, 10), Verdict::Again);
    assert_eq!(Stage::numbers(&stage.take().expect("due")), (1, 0));
}

#[test]
fn parts_of_a_batch_take_its_place() {
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let mut stage = stage(&[1], options);
    stage.prime();
    (0..10).for_each(|_| drop(stage.send(Some(0))));
    let whole = stage.take().expect("due");
    let outcome = whole.batch.outcome.clone();
    drop(stage.send(Some(0)));
    let behind = stage.take().expect("due");
    assert_eq!(Stage::numbers(&behind), (0, 11));
    assert_eq!(stage.fail(whole, ErrorCode::MessageTooLarge), Verdict::Split);
    assert!(stage.take().is_none(), "what is behind is still under way");
    assert_eq!(stage.fail(behind, ErrorCode::OutOfOrderSequenceNumber), Verdict::Again);
    let mut next = 1;
    let mut parts = 0;
    while let Some(due) = stage.take() {
        assert_eq!(Stage::numbers(&due), (0, next));
        next = sequence_after(next, due.batch.count);
        parts += 1;
        stage.ack(due, i64::from(next));
    }
    assert_eq!(next, 12);
    assert!(parts > 2 && outcome.is_done() && stage.accumulator.is_empty());
}

#[test]
fn what_expires_in_flight_is_told_at_once_and_its_sequence_judged_by_the_answer() {
    let mut stage = stage(&[1], one_by_one());
    (0..2).for_each(|_| drop(stage.send(Some(0))));
    let first = stage.take().expect("due");
    let outcome = first.batch.outcome.clone();
    let late = stage.env.monotonic() + stage.options.delivery_timeout;
    let options = stage.options.clone();
    let expired = stage.accumulator.expire(&options, late, |_, _| "the broker is slow".to_owned());
    assert_eq!(expired.len(), 2);
    let error = outcome.record(0, 0).expect("told").expect_err("late");
    assert!(error.message().contains("the broker is slow"), "{error}");
    assert!(stage.accumulator.is_empty() && stage.accumulator.has_unsettled());
    // It was written after all.
    stage.ack(first, 0);
    drop(stage.send(Some(0)));
    assert_eq!(Stage::numbers(&stage.take().expect("due")), (0, 1));
}

#[test]
fn brokers_that_take_nothing_for_long_get_nothing_without_a_key() {
    let options = ProducerOptions { partitioner_availability_timeout: Duration::from_millis(100), ..one_by_one() };
    let mut stage = stage(&[1, 2], options);
    let second = Duration::from_secs(1);
    stage.accumulator.node_ready(1, Duration::ZERO, true);
    stage.accumulator.node_ready(2, Duration::ZERO, true);
    stage.accumulator.node_ready(2, second, true);
    stage.accumulator.node_ready(1, second, false);
    let there = |stage: &mut Stage| (0..200).filter(|_| stage.send(None).partition == 0).count();
    assert_eq!(there(&mut stage), 0);
    // It took something: 200 batches fewer wait for it.
    stage.accumulator.node_ready(1, second, true);
    assert!(there(&mut stage) > 100);
    let mut without = self::stage(&[1, 2], one_by_one());
    without.accumulator.node_ready(1, Duration::ZERO, true);
    without.accumulator.node_ready(1, second, false);
    assert!(there(&mut without) > 50);
}

#[test]
fn unused_topics_are_forgotten_and_their_place_is_used_again() {
    let mut stage = stage(&[1], one_by_one());
    let outcome = stage.send(Some(0));
    let idle = Duration::from_secs(1);
    let later = stage.env.monotonic() + idle * 2;
    assert!(stage.accumulator.forget_idle(later, idle).is_empty(), "a batch waits");
    let due = stage.take().expect("due");
    stage.accumulator.active.clear();
    stage.accumulator.topics[0].queues[0].listed = false;
    assert!(stage.accumulator.forget_idle(later, idle).is_empty(), "a batch is under way");
    stage.ack(due, 0);
    assert!(outcome.is_done());
    assert_eq!(stage.accumulator.forget_idle(later, idle), [Arc::from("t")]);
    let record = ProducerRecord::new("t", None, None);
    let append = stage.accumulator.append(&stage.env, &stage.options, &record, 0, Choice::BuiltIn, &mut None);
    assert!(matches!(append, Ok(Append::NeedTopic)));
    stage.accumulator.update_topic(&Arc::from("u"), &metadata(&[1]), later);
    assert_eq!((stage.accumulator.topics.len(), &*stage.accumulator.topics[0].name), (1, "u"));
}
