//! The life of a transactional id: every decision is replayed, as its caller would, and the next one looks at that.

use ottla_coordinator::transaction::{
    Decision, Markers, ProducerIdEpoch, TxnConfig, TxnFilter, TxnRecord, TxnShard, TxnState,
};
use ottla_model::{ErrorCode, TopicPartition};

const ID: &str = "id";
const MINUTE: i32 = 60_000;

struct Coordinator {
    shard: TxnShard,
    now_ms: i64,
    spare: i64,
    version: i16,
}

fn of(producer_id: i64, epoch: i16) -> ProducerIdEpoch {
    ProducerIdEpoch { producer_id, epoch }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

impl Coordinator {
    fn new(version: i16) -> Coordinator {
        let config = TxnConfig { max_timeout_ms: 15 * MINUTE, id_expiration_ms: 1_000_000 };
        Coordinator { shard: TxnShard::new(config), now_ms: 1000, spare: 100, version }
    }

    /// What the log keeps of a record is all that is replayed, so that a restart makes no difference.
    fn replay(&mut self, record: &TxnRecord) {
        let (key, value) = record.encode(self.version).unwrap();
        let mut kept = TxnRecord::decode(Some(&key), value.as_ref()).unwrap().unwrap();
        if let (Some(kept), Some(live)) = (&mut kept.value, &record.value) {
            // The one field that is only in memory.
            kept.last_producer_epoch = live.last_producer_epoch;
            if self.version >= 1 {
                assert_eq!(kept, live);
            }
        }
        self.shard.replay(record);
    }

    fn apply<T>(&mut self, decision: Decision<T>) -> (T, Option<Markers>) {
        if let Some(record) = &decision.record {
            self.replay(record);
        }
        (decision.answer, decision.markers)
    }

    fn init(&mut self, expected: Option<ProducerIdEpoch>) -> Result<ProducerIdEpoch, ErrorCode> {
        let decision = self.shard.init_producer_id(self.now_ms, ID, MINUTE, expected, self.spare, self.version);
        let (answer, markers) = self.apply(decision);
        if let Some(markers) = markers {
            self.complete(&markers);
        }
        answer
    }

    fn add(&mut self, producer: ProducerIdEpoch, index: i32) -> Result<(), ErrorCode> {
        let decision = self.shard.add_partitions(self.now_ms, ID, producer, &[partition(index)], self.version);
        self.apply(decision).0
    }

    fn end(
        &mut self,
        producer: ProducerIdEpoch,
        commit: bool,
    ) -> (Result<ProducerIdEpoch, ErrorCode>, Option<Markers>) {
        let decision = self.shard.end(self.now_ms, ID, producer, commit, self.version, self.spare);
        self.apply(decision)
    }

    fn complete(&mut self, markers: &Markers) {
        let record = self.shard.complete(self.now_ms, markers).expect("nothing came between");
        self.replay(&record);
    }

    fn commit(&mut self, producer: ProducerIdEpoch) -> ProducerIdEpoch {
        let (next, markers) = self.end(producer, true);
        self.complete(&markers.unwrap());
        next.unwrap()
    }

    fn state(&self) -> TxnState {
        self.shard.get(ID).unwrap().state
    }
}

#[test]
fn version_1_keeps_the_epoch() {
    let mut it = Coordinator::new(0);
    let producer = it.init(None).unwrap();
    assert_eq!(producer, of(100, 0));
    for index in 0..3 {
        it.add(producer, 0).unwrap();
        it.add(producer, index).unwrap();
        let (answer, markers) = it.end(producer, index != 1);
        let markers = markers.unwrap();
        assert_eq!((answer, markers.producer, markers.commit), (Ok(producer), producer, index != 1));
        assert!(markers.partitions.contains(&partition(0)) && markers.partitions.contains(&partition(index)));
        // Between the decision and its markers everything waits.
        assert_eq!(it.end(producer, index != 1).0, Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(it.end(producer, index == 1).0, Err(ErrorCode::InvalidTxnState));
        assert_eq!(it.add(producer, 5), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(it.init(None), Err(ErrorCode::ConcurrentTransactions));
        it.complete(&markers);
        // The same answer once more, and no other.
        assert_eq!(it.end(producer, index != 1), (Ok(producer), None));
        assert_eq!(it.end(producer, index == 1).0, Err(ErrorCode::InvalidTxnState));
    }
}

#[test]
fn version_2_bumps_the_epoch_with_each_end() {
    let mut it = Coordinator::new(2);
    let first = it.init(None).unwrap();
    it.add(first, 0).unwrap();
    let (answer, markers) = it.end(first, true);
    let second = of(100, 1);
    let markers = markers.unwrap();
    assert_eq!((answer, markers.producer), (Ok(second), second));
    assert_eq!(it.end(first, true).0, Err(ErrorCode::ConcurrentTransactions));
    it.complete(&markers);
    assert_eq!(it.end(first, true), (Ok(second), None), "a repeated request");
    assert_eq!(it.end(first, false).0, Err(ErrorCode::InvalidTxnState), "no other end");
    assert_eq!(it.add(first, 0), Err(ErrorCode::ProducerFenced), "what came too late");
    // The same epoch is the end of the next transaction, which nobody began: only an abort may be of one.
    assert_eq!(it.end(second, true).0, Err(ErrorCode::InvalidTxnState));
    let (answer, markers) = it.end(second, false);
    assert_eq!((answer, markers.as_ref().unwrap().partitions.len()), (Ok(of(100, 2)), 0));
    it.complete(&markers.unwrap());
    assert_eq!(it.state(), TxnState::CompleteAbort);
}

#[test]
fn a_new_producer_fences_the_old_one_and_aborts() {
    for version in [0, 2] {
        let mut it = Coordinator::new(version);
        let old = it.init(None).unwrap();
        it.add(old, 0).unwrap();
        assert_eq!(it.init(None), Err(ErrorCode::ConcurrentTransactions), "the abort comes first");
        assert_eq!(it.state(), TxnState::CompleteAbort);
        if version == 2 {
            assert_eq!(it.init(Some(old)), Ok(of(100, 1)), "no other was initialised: it may go on");
        } else {
            assert_eq!(it.init(Some(old)), Err(ErrorCode::ProducerFenced));
        }
        let new = it.init(None).unwrap();
        assert_eq!(new, of(100, 2));
        assert_eq!(it.add(old, 0), Err(ErrorCode::ProducerFenced));
        assert_eq!(it.end(old, true).0, Err(ErrorCode::ProducerFenced));
        assert_eq!(it.init(Some(old)), Err(ErrorCode::ProducerFenced));
        assert_eq!(it.add(of(99, 0), 0), Err(ErrorCode::InvalidProducerIdMapping));
        it.add(new, 0).unwrap();
        it.commit(new);
    }
}

#[test]
fn a_producer_goes_on_after_an_error() {
    let mut it = Coordinator::new(0);
    let first = it.init(None).unwrap();
    let second = it.init(Some(first)).unwrap();
    assert_eq!(second, of(100, 1));
    assert_eq!(it.init(Some(first)).unwrap(), second, "the answer was lost");
    assert_eq!(it.init(Some(of(7, 0))), Err(ErrorCode::ProducerFenced));
    let third = it.init(None).unwrap();
    assert_eq!(third, of(100, 2));
    assert_eq!(it.init(Some(second)), Err(ErrorCode::ProducerFenced), "another producer was initialised");
}

#[test]
fn epochs_run_out_and_ids_do_not() {
    let mut it = Coordinator::new(2);
    let mut producer = it.init(None).unwrap();
    while producer.epoch < i16::MAX - 1 {
        it.add(producer, 0).unwrap();
        producer = it.commit(producer);
    }
    assert!(it.shard.needs_producer_id(ID));
    it.spare = 200;
    it.add(producer, 0).unwrap();
    let (answer, markers) = it.end(producer, true);
    assert_eq!(answer, Ok(of(200, 0)));
    assert_eq!(markers.as_ref().unwrap().producer, of(100, i16::MAX), "markers carry the last epoch of the old id");
    it.complete(&markers.unwrap());
    assert_eq!(it.end(producer, true), (Ok(of(200, 0)), None), "a repeated request");
    it.add(of(200, 0), 0).unwrap();

    let mut it = Coordinator::new(0);
    let mut producer = it.init(None).unwrap();
    for _ in 1..i16::MAX {
        producer = it.init(None).unwrap();
    }
    assert_eq!(producer, of(100, i16::MAX - 1));
    it.spare = 200;
    it.add(producer, 0).unwrap();
    assert_eq!(it.init(None), Err(ErrorCode::ConcurrentTransactions), "even the last one can be fenced");
    assert_eq!(it.init(None).unwrap(), of(200, 0));
}

#[test]
fn timeouts_and_limits() {
    let mut it = Coordinator::new(2);
    let limit = |timeout_ms| {
        let shard = Coordinator::new(2).shard;
        shard.init_producer_id(0, ID, timeout_ms, None, 1, 2).answer.err()
    };
    assert_eq!(limit(0), Some(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(limit(15 * MINUTE + 1), Some(ErrorCode::InvalidTransactionTimeout));
    let producer = it.init(None).unwrap();
    it.now_ms = 5000;
    it.add(producer, 0).unwrap();
    let due_ms = 5000 + i64::from(MINUTE);
    assert_eq!(it.shard.timed_out(due_ms).len(), 0);
    assert_eq!(it.shard.timed_out(due_ms + 1).len(), 1);
    let (record, markers) = it.shard.abort_timed_out(due_ms + 1, ID, 2).unwrap();
    it.replay(&record);
    assert_eq!((markers.commit, markers.producer), (false, of(100, 1)));
    assert_eq!(it.shard.interrupted(), std::slice::from_ref(&markers), "a restart finds what is left to do");
    it.complete(&markers);
    assert_eq!(it.shard.interrupted(), []);
    assert_eq!(it.end(producer, true).0, Err(ErrorCode::InvalidTxnState), "the producer hears of it");
    assert_eq!(it.init(Some(producer)), Ok(of(100, 1)), "and goes on");
    // Nobody uses it for transactional.id.expiration.ms.
    assert_eq!(it.shard.expired(it.now_ms + 999_999).len(), 0);
    let gone = it.shard.expired(it.now_ms + 1_000_000);
    assert_eq!(gone.len(), 1);
    it.replay(&gone[0]);
    assert!(it.shard.get(ID).is_none());
    assert_eq!(it.add(producer, 0), Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn only_what_was_added_is_part_of_it() {
    let mut it = Coordinator::new(0);
    let producer = it.init(None).unwrap();
    let verify = |it: &Coordinator, index| it.shard.verify_partition(ID, producer, &partition(index));
    assert_eq!(verify(&it, 0), Err(ErrorCode::TransactionAbortable));
    it.add(producer, 0).unwrap();
    assert_eq!((verify(&it, 0), verify(&it, 1)), (Ok(()), Err(ErrorCode::TransactionAbortable)));
    let (_, markers) = it.end(producer, true);
    assert_eq!(verify(&it, 0), Err(ErrorCode::ConcurrentTransactions));
    it.complete(&markers.unwrap());
    assert_eq!(verify(&it, 0), Err(ErrorCode::TransactionAbortable));
}

#[test]
fn lists_are_filtered() {
    let mut it = Coordinator::new(2);
    let producer = it.init(None).unwrap();
    it.add(producer, 0).unwrap();
    let count = |filter: TxnFilter| it.shard.list(it.now_ms + 500, &filter).len();
    assert_eq!(count(TxnFilter::default()), 1);
    assert_eq!(count(TxnFilter { states: vec![TxnState::Empty], ..TxnFilter::default() }), 0);
    assert_eq!(count(TxnFilter { producer_ids: vec![100], ..TxnFilter::default() }), 1);
    assert_eq!(count(TxnFilter { producer_ids: vec![1], ..TxnFilter::default() }), 0);
    assert_eq!(count(TxnFilter { open_for_more_than_ms: Some(499), ..TxnFilter::default() }), 1);
    assert_eq!(count(TxnFilter { open_for_more_than_ms: Some(500), ..TxnFilter::default() }), 0);
}
