//! A producer for tests: keeps what was sent, and says of each record what the test wants it to say.

use crate::consumer::{GroupMetadata, Offsets};
use crate::error::{Error, ErrorKind, Result};
use crate::producer::{OwnedRecord, Partitioner, ProducerRecord, RecordMetadata, choose};
use ottla_model::{TopicPartition, partition_for_key};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The calls of a [`MockProducer`] that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProducerCall {
    /// `init_transactions`.
    InitTransactions,
    /// `begin_transaction`.
    BeginTransaction,
    /// `send_offsets_to_transaction`.
    SendOffsetsToTransaction,
    /// `commit_transaction`.
    CommitTransaction,
    /// `abort_transaction`.
    AbortTransaction,
    /// `send`.
    Send,
    /// `flush`.
    Flush,
    /// `partitions_for`.
    PartitionsFor,
    /// `close`.
    Close,
}

/// What will become of a record that a [`MockProducer`] was given: the test decides.
#[derive(Debug, Clone)]
pub struct MockDelivery {
    outcome: watch::Receiver<Option<Result<RecordMetadata>>>,
    partition: i32,
}

impl MockDelivery {
    /// Waits until the record is completed.
    ///
    /// # Errors
    /// The test's, or `Closed` when the record was forgotten by [`MockProducer::clear`] or the last clone of the producer
    /// is gone.
    pub async fn wait(&self) -> Result<RecordMetadata> {
        let mut outcome = self.outcome.clone();
        let gone = || Error::new(ErrorKind::Closed, "the mock producer forgot the record before it was completed");
        let done = outcome.wait_for(Option::is_some).await.map_err(|_| gone())?;
        done.clone().unwrap_or_else(|| Err(gone()))
    }

    /// The result, if there is one yet.
    pub fn get(&self) -> Option<Result<RecordMetadata>> {
        self.outcome.borrow().clone()
    }

    /// The partition that the record went to.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

/// A producer without a broker (`MockProducer` in Java); clones are the same producer.
///
/// With `auto_complete` each record is written at once, at offset 0, 1, 2 and so on of its partition. Without it records
/// wait for [`complete_next`](MockProducer::complete_next), [`error_next`](MockProducer::error_next) or `flush`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> ottla_client::Result<()> {
/// use ottla_client::mock::{Delivered, MockProducer, ProduceClient};
/// use ottla_client::{Error, ErrorKind, ProducerRecord, Result};
///
/// // Code under test: runs with a `Producer` as well.
/// async fn announce(producer: &impl ProduceClient, flight: &str) -> Result<i64> {
///     let record = ProducerRecord::new("flights", Some(flight.as_bytes()), Some(b"boarding"));
///     Ok(producer.send(record).await?.wait().await?.offset)
/// }
///
/// let producer = MockProducer::new(true);
/// assert_eq!(announce(&producer, "LH 400").await?, 0);
/// assert_eq!(producer.history()[0].key.as_deref(), Some(&b"LH 400"[..]));
///
/// let producer = MockProducer::new(false);
/// let (announced, _) = tokio::join!(announce(&producer, "LH 401"), async {
///     producer.error_next(Error::new(ErrorKind::Timeout, "no answer"));
/// });
/// assert_eq!(announced.unwrap_err().kind(), ErrorKind::Timeout);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MockProducer {
    auto_complete: bool,
    partitioner: Option<Arc<dyn Partitioner>>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for MockProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockProducer").field("auto_complete", &self.auto_complete).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, i32>,
    sent: Vec<OwnedRecord>,
    uncommitted: Vec<OwnedRecord>,
    pending: VecDeque<Pending>,
    next_offsets: BTreeMap<TopicPartition, i64>,
    committed_offsets: Vec<BTreeMap<String, Offsets>>,
    uncommitted_offsets: BTreeMap<String, Offsets>,
    errors: BTreeMap<ProducerCall, Error>,
    closed: bool,
    fenced: bool,
    initialized: bool,
    in_flight: bool,
    committed: bool,
    aborted: bool,
    sent_offsets: bool,
    commits: u64,
}

#[derive(Debug)]
struct Pending {
    metadata: RecordMetadata,
    outcome: watch::Sender<Option<Result<RecordMetadata>>>,
}

impl Pending {
    fn complete(self, error: Option<Error>) {
        let result = error.map_or(Ok(self.metadata), Err);
        self.outcome.send_replace(Some(result));
    }
}

impl MockProducer {
    /// A producer that completes records by itself, or one that waits for the test.
    pub fn new(auto_complete: bool) -> MockProducer {
        MockProducer { auto_complete, partitioner: None, state: Arc::default() }
    }

    /// Has `partitioner` choose the partitions of records that name none. Without it the key chooses, as in Kafka; records
    /// without a key go to partition 0. Counts only for topics that [`MockProducer::set_partitions`] has told of.
    #[must_use]
    pub fn with_partitioner(mut self, partitioner: Arc<dyn Partitioner>) -> MockProducer {
        self.partitioner = Some(partitioner);
        self
    }

    /// `topic` has `count` partitions. Records of topics that nobody told of go to partition 0.
    pub fn set_partitions(&self, topic: &str, count: i32) {
        self.state.lock().topics.insert(topic.to_owned(), count);
    }

    /// Makes `call` fail with `error` from now on, or succeed again.
    pub fn set_error(&self, call: ProducerCall, error: Option<Error>) {
        let mut state = self.state.lock();
        match error {
            Some(error) => state.errors.insert(call, error),
            None => state.errors.remove(&call),
        };
    }

    /// Takes a record. In a transaction it is in [`uncommitted_records`](MockProducer::uncommitted_records) until the
    /// commit, otherwise in [`history`](MockProducer::history) at once, whatever becomes of its delivery.
    ///
    /// # Errors
    /// Closed, fenced, the partition does not exist, or [`ProducerCall::Send`] shall fail.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<MockDelivery> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.check(ProducerCall::Send)?;
        let partition = match state.topics.get(record.topic) {
            Some(count) => self.partition(&record, *count)?,
            // Java takes no notice of the record's own partition here; a test that names one means it.
            None => record.partition.unwrap_or(0),
        };
        let topic: Arc<str> = Arc::from(record.topic);
        let next = state.next_offsets.entry(TopicPartition::new(topic.clone(), partition)).or_default();
        let offset = *next;
        *next += 1;
        let timestamp = record.timestamp.unwrap_or(-1);
        let metadata = RecordMetadata { topic, partition, offset, timestamp };
        let (sender, outcome) = watch::channel(None);
        let pending = Pending { metadata, outcome: sender };
        if state.in_flight {
            state.uncommitted.push(OwnedRecord::from(&record));
        } else {
            state.sent.push(OwnedRecord::from(&record));
        }
        if self.auto_complete {
            pending.complete(None);
        } else {
            state.pending.push_back(pending);
        }
        Ok(MockDelivery { outcome, partition })
    }

    fn partition(&self, record: &ProducerRecord<'_>, count: i32) -> Result<i32> {
        if let Some(partition) = record.partition {
            if !(0..count).contains(&partition) {
                let (topic, last) = (record.topic, count - 1);
                return Err(Error::invalid(format!("topic {topic} has partitions 0 to {last}, not {partition}")));
            }
            return Ok(partition);
        }
        match (&self.partitioner, record.key) {
            (Some(partitioner), key) => choose(&**partitioner, record.topic, count, key, record.value),
            (None, Some(key)) => Ok(partition_for_key(key, count)),
            (None, None) => Ok(0),
        }
    }

    /// Completes all records that wait.
    ///
    /// # Errors
    /// Closed, or [`ProducerCall::Flush`] shall fail.
    pub async fn flush(&self) -> Result<()> {
        self.state.lock().flush()
    }

    /// The number of partitions that [`MockProducer::set_partitions`] gave the topic, otherwise 0.
    ///
    /// # Errors
    /// [`ProducerCall::PartitionsFor`] shall fail.
    pub async fn partitions_for(&self, topic: &str) -> Result<usize> {
        let state = self.state.lock();
        state.check(ProducerCall::PartitionsFor)?;
        Ok(state.topics.get(topic).map_or(0, |count| usize::try_from(*count).unwrap_or(0)))
    }

    /// Makes transactions possible.
    ///
    /// # Errors
    /// Done before, closed, fenced, or [`ProducerCall::InitTransactions`] shall fail.
    pub async fn init_transactions(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        if state.initialized {
            return Err(Error::invalid("the mock producer has been initialized for transactions before"));
        }
        state.check(ProducerCall::InitTransactions)?;
        state.initialized = true;
        state.begin(false);
        Ok(())
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// `init_transactions` was not called, there is an open transaction, closed, fenced, or
    /// [`ProducerCall::BeginTransaction`] shall fail.
    pub fn begin_transaction(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.check_initialized()?;
        state.check(ProducerCall::BeginTransaction)?;
        if state.in_flight {
            return Err(Error::invalid("a transaction is open already"));
        }
        state.begin(true);
        Ok(())
    }

    /// Adds a group's offsets to the transaction; no offsets at all do nothing.
    ///
    /// # Errors
    /// No open transaction, closed, fenced, or [`ProducerCall::SendOffsetsToTransaction`] shall fail.
    pub async fn send_offsets_to_transaction(&self, offsets: &Offsets, group: &GroupMetadata) -> Result<()> {
        let mut state = self.state.lock();
        state.check_transaction(ProducerCall::SendOffsetsToTransaction)?;
        if !offsets.is_empty() {
            let of_group = state.uncommitted_offsets.entry(group.group_id.clone()).or_default();
            of_group.extend(offsets.iter().map(|(partition, offset)| (partition.clone(), offset.clone())));
            state.sent_offsets = true;
        }
        Ok(())
    }

    /// Commits the transaction: completes what waits, and its records and offsets become history.
    ///
    /// # Errors
    /// No open transaction, closed, fenced, or [`ProducerCall::CommitTransaction`] or [`ProducerCall::Flush`] shall fail.
    pub async fn commit_transaction(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_transaction(ProducerCall::CommitTransaction)?;
        state.flush()?;
        let records = std::mem::take(&mut state.uncommitted);
        state.sent.extend(records);
        let offsets = std::mem::take(&mut state.uncommitted_offsets);
        if !offsets.is_empty() {
            state.committed_offsets.push(offsets);
        }
        state.end(true);
        state.commits += 1;
        Ok(())
    }

    /// Aborts the transaction: completes what waits, and forgets its records and offsets.
    ///
    /// # Errors
    /// No open transaction, closed, fenced, or [`ProducerCall::AbortTransaction`] or [`ProducerCall::Flush`] shall fail.
    pub async fn abort_transaction(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_transaction(ProducerCall::AbortTransaction)?;
        state.flush()?;
        state.uncommitted.clear();
        state.uncommitted_offsets.clear();
        state.end(false);
        Ok(())
    }

    /// Takes no more records.
    ///
    /// # Errors
    /// [`ProducerCall::Close`] shall fail; then it is not closed.
    pub async fn close(&self, _timeout: Duration) -> Result<()> {
        let mut state = self.state.lock();
        state.check(ProducerCall::Close)?;
        state.closed = true;
        Ok(())
    }

    /// Has the oldest record that waits written; false when none waits.
    pub fn complete_next(&self) -> bool {
        self.state.lock().complete_next(None)
    }

    /// Has the delivery of the oldest record that waits fail; false when none waits.
    pub fn error_next(&self, error: Error) -> bool {
        self.state.lock().complete_next(Some(error))
    }

    /// As if another producer with the same `transactional.id` had been initialized: all calls but `close` fail from now on.
    ///
    /// # Errors
    /// Closed, fenced already, or `init_transactions` was not called.
    pub fn fence_producer(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.check_initialized()?;
        state.fenced = true;
        Ok(())
    }

    /// The records sent outside of transactions and in committed ones, oldest first.
    pub fn history(&self) -> Vec<OwnedRecord> {
        self.state.lock().sent.clone()
    }

    /// The records of the open transaction.
    pub fn uncommitted_records(&self) -> Vec<OwnedRecord> {
        self.state.lock().uncommitted.clone()
    }

    /// The offsets of each committed transaction that had some, by group.
    pub fn consumer_group_offsets_history(&self) -> Vec<BTreeMap<String, Offsets>> {
        self.state.lock().committed_offsets.clone()
    }

    /// The offsets of the open transaction, by group.
    pub fn uncommitted_offsets(&self) -> BTreeMap<String, Offsets> {
        self.state.lock().uncommitted_offsets.clone()
    }

    /// Forgets records and offsets, those that wait too. The next offsets of partitions and the transaction stay.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.sent.clear();
        state.uncommitted.clear();
        state.sent_offsets = false;
        state.pending.clear();
        state.committed_offsets.clear();
        state.uncommitted_offsets.clear();
    }

    /// Whether it was closed.
    pub fn closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Whether no record waits.
    pub fn flushed(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    /// Whether `init_transactions` was called.
    pub fn transaction_initialized(&self) -> bool {
        self.state.lock().initialized
    }

    /// Whether a transaction is open.
    pub fn transaction_in_flight(&self) -> bool {
        self.state.lock().in_flight
    }

    /// Whether the last transaction was committed.
    pub fn transaction_committed(&self) -> bool {
        self.state.lock().committed
    }

    /// Whether the last transaction was aborted.
    pub fn transaction_aborted(&self) -> bool {
        self.state.lock().aborted
    }

    /// Whether offsets were added to the open or last transaction.
    pub fn sent_offsets(&self) -> bool {
        self.state.lock().sent_offsets
    }

    /// How many transactions were committed.
    pub fn commit_count(&self) -> u64 {
        self.state.lock().commits
    }
}

impl State {
    fn check(&self, call: ProducerCall) -> Result<()> {
        self.errors.get(&call).map_or(Ok(()), |error| Err(error.clone()))
    }

    fn check_open(&self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Closed, "the mock producer is closed"));
        }
        if self.fenced {
            return Err(Error::new(ErrorKind::Fenced, "the mock producer is fenced"));
        }
        Ok(())
    }

    fn check_initialized(&self) -> Result<()> {
        if !self.initialized {
            return Err(Error::invalid(
                "the mock producer is not initialized for transactions; call init_transactions",
            ));
        }
        Ok(())
    }

    fn check_transaction(&self, call: ProducerCall) -> Result<()> {
        self.check_open()?;
        self.check_initialized()?;
        if !self.in_flight {
            return Err(Error::invalid("there is no open transaction; call begin_transaction"));
        }
        self.check(call)
    }

    fn begin(&mut self, in_flight: bool) {
        self.in_flight = in_flight;
        self.committed = false;
        self.aborted = false;
        self.sent_offsets = false;
    }

    fn end(&mut self, committed: bool) {
        self.committed = committed;
        self.aborted = !committed;
        self.in_flight = false;
    }

    fn flush(&mut self) -> Result<()> {
        if self.closed {
            self.check_open()?;
        }
        self.check(ProducerCall::Flush)?;
        while self.complete_next(None) {}
        Ok(())
    }

    fn complete_next(&mut self, error: Option<Error>) -> bool {
        let Some(pending) = self.pending.pop_front() else { return false };
        pending.complete(error);
        true
    }
}
