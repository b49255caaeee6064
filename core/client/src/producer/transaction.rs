//! The state of a transactional producer (KIP-98, KIP-360, KIP-588, KIP-890, KIP-1050): which call is allowed, which
//! request is next, what an answer means. Pure: the sender asks [`Transaction::next`] what to send and hands the answer
//! to [`Transaction::answered`]; one request is under way at a time.
//!
//! ```text
//! Uninitialized → Initializing → Ready → InTransaction → Committing → Ready
//!                      ↑ (bump)              ↓    ↘          ↓
//!                      └──────────────── Aborting ← AbortableError      any → FatalError
//! ```
//!
//! With transaction.version 2 partitions and groups join the transaction by being written to, and each end of a
//! transaction gives the next epoch. Before, they are added by requests of their own, and the epoch changes through
//! InitProducerId only, which is what makes an error safe to go on after.

mod answers;
mod failing;

use super::batch::ProducerId;
use crate::error::{Error, ErrorKind, Result};
use crate::{GroupMetadata, OffsetAndMetadata};
use ottla_model::{ErrorCode, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// The wait before a transaction's first partitions are added again while the one before is still being completed.
const CONCURRENT_BACKOFF: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Uninitialized,
    Initializing,
    Ready,
    InTransaction,
    Committing,
    Aborting,
    AbortableError,
    FatalError,
}

/// A call that completes later, and may be resumed by calling it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Init,
    Commit,
    Abort,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Init => "init_transactions",
            Operation::Commit => "commit_transaction",
            Operation::Abort => "abort_transaction",
        }
    }
}

/// A result that a caller waits for.
#[derive(Debug, Default)]
pub(super) struct Latch {
    result: OnceLock<Result<()>>,
    done: Notify,
    /// A caller has seen it.
    seen: AtomicBool,
}

impl Latch {
    fn set(&self, result: Result<()>) {
        if self.result.set(result).is_ok() {
            self.done.notify_waiters();
        }
    }

    pub(super) async fn wait(&self) -> Result<()> {
        loop {
            let done = self.done.notified();
            if let Some(result) = self.result.get() {
                self.seen.store(true, Ordering::Relaxed);
                return result.clone();
            }
            done.await;
        }
    }
}

/// Topics and their partitions.
pub(super) type Partitions = BTreeMap<Arc<str>, BTreeSet<i32>>;
/// Offsets to commit.
pub(super) type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// What to send next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// InitProducerId; with the current id it asks for the next epoch.
    Init {
        current: Option<ProducerId>,
    },
    AddPartitions {
        producer: ProducerId,
        partitions: Partitions,
    },
    AddOffsets {
        producer: ProducerId,
        group_id: String,
    },
    CommitOffsets {
        producer: ProducerId,
        group: GroupMetadata,
        offsets: Offsets,
    },
    End {
        producer: ProducerId,
        commit: bool,
    },
}

/// What the sender does next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Send(Request),
    /// Nothing before that long.
    Wait(Duration),
    /// Nothing before something happens.
    Nothing,
}

/// What a coordinator said.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// Of the whole request; `None` where it is said by partition.
    pub(super) code: Option<ErrorCode>,
    pub(super) partitions: Vec<(TopicPartition, ErrorCode)>,
    pub(super) producer: Option<ProducerId>,
}

/// What the connection to the coordinator says about the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// The finalized transaction.version is 2 or higher.
    pub(super) version_2: bool,
    /// InitProducerId gives a new epoch to a live producer (KIP-360, from Kafka 2.5).
    pub(super) epoch_bump: bool,
}

#[derive(Debug)]
struct OffsetsJob {
    group: GroupMetadata,
    left: Offsets,
    /// The group is part of the transaction.
    added: bool,
    latch: Arc<Latch>,
}

/// The state of one transactional producer.
#[derive(Debug)]
pub(super) struct Transaction {
    id: Arc<str>,
    state: State,
    /// Why it is in an error state.
    error: Option<Error>,
    producer: Option<ProducerId>,
    features: Features,
    /// Whether the current transaction follows the rules of version 2.
    version_2: bool,
    /// Counts transactions, so that a queue knows whether it was added to the current one; 0 is none.
    number: u64,
    /// An epoch has to be asked for before the next transaction.
    bump: bool,
    /// The coordinator knows of the transaction.
    started: bool,
    /// Not added yet, being added, added.
    new: Partitions,
    adding: Partitions,
    added: Partitions,
    offsets: VecDeque<OffsetsJob>,
    /// The end to ask for: whether it is a commit.
    end: Option<bool>,
    /// InitProducerId is to be sent.
    init: bool,
    in_flight: bool,
    not_before: Duration,
    /// Why the last request has to be repeated.
    trouble: Option<Error>,
    pending: Option<(Operation, Arc<Latch>)>,
}

impl Transaction {
    pub(super) fn new(id: &str) -> Transaction {
        Transaction {
            id: Arc::from(id),
            state: State::Uninitialized,
            error: None,
            producer: None,
            features: Features::default(),
            version_2: false,
            number: 0,
            bump: false,
            started: false,
            new: Partitions::new(),
            adding: Partitions::new(),
            added: Partitions::new(),
            offsets: VecDeque::new(),
            end: None,
            init: false,
            in_flight: false,
            not_before: Duration::ZERO,
            trouble: None,
            pending: None,
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn producer(&self) -> Option<ProducerId> {
        self.producer
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn version_2(&self) -> bool {
        self.version_2
    }

    /// Why the call under way takes so long.
    pub(super) fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// The error that queued batches fail with: the transaction will not be committed.
    pub(super) fn doomed(&self) -> Option<Error> {
        match self.state {
            State::AbortableError | State::FatalError => self.error.clone(),
            State::Aborting => Some(Error::new(
                ErrorKind::Abortable,
                "the transaction was aborted before the record was sent (TransactionAborted)",
            )),
            _ => None,
        }
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.state == State::FatalError
    }

    pub(super) fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    /// Whether the transaction will be aborted in any case.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self.state, State::Aborting | State::AbortableError | State::FatalError)
    }

    /// Whether a transaction is open or being ended.
    pub(super) fn is_ongoing(&self) -> bool {
        self.is_completing() || matches!(self.state, State::InTransaction | State::AbortableError)
    }

    // Calls.

    /// `init_transactions`.
    pub(super) fn init(&mut self) -> Result<Arc<Latch>> {
        self.call(Operation::Init, |this| {
            this.check_error()?;
            this.go(State::Initializing)?;
            this.init = true;
            Ok(())
        })
    }

    /// `begin_transaction`.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.check_pending("begin_transaction")?;
        self.check_error()?;
        self.go(State::InTransaction)?;
        self.version_2 = self.features.version_2;
        self.number += 1;
        Ok(())
    }

    /// `commit_transaction`.
    pub(super) fn commit(&mut self) -> Result<Arc<Latch>> {
        self.call(Operation::Commit, |this| {
            this.check_error()?;
            this.go(State::Committing)?;
            this.end = Some(true);
            Ok(())
        })
    }

    /// `abort_transaction`.
    pub(super) fn abort(&mut self) -> Result<Arc<Latch>> {
        self.call(Operation::Abort, |this| {
            if this.state != State::AbortableError {
                this.check_error()?;
            }
            this.start_abort()
        })
    }

    fn start_abort(&mut self) -> Result<()> {
        let unknown_id = self.error_code() == Some(ErrorCode::InvalidProducerIdMapping);
        self.go(State::Aborting)?;
        self.new.clear();
        self.fail_offsets(&Error::new(ErrorKind::Abortable, "the transaction was aborted"));
        // The coordinator forgot this producer, and with it the transaction: nothing to end, but an epoch to get.
        if unknown_id {
            self.bump = true;
            self.complete();
        } else {
            self.end = Some(false);
        }
        Ok(())
    }

    /// Aborts what is open, as the producer is being closed. True while there is something to wait for.
    pub(super) fn close(&mut self) -> bool {
        if matches!(self.state, State::InTransaction | State::AbortableError) {
            tracing::info!(transactional_id = &*self.id, "aborting the open transaction, as the producer is closed");
            self.pending = None;
            // From these two states it is allowed.
            let _ = self.start_abort();
        }
        self.is_ongoing()
    }

    /// `send_offsets_to_transaction`.
    pub(super) fn send_offsets(&mut self, offsets: Offsets, group: GroupMetadata) -> Result<Arc<Latch>> {
        self.check_pending("send_offsets_to_transaction")?;
        self.check_error()?;
        if self.state != State::InTransaction {
            return Err(Error::invalid(format!(
                "Cannot send offsets if a transaction is not in progress (currentState= {})",
                self.state.name()
            )));
        }
        let latch = Arc::new(Latch::default());
        if offsets.is_empty() {
            latch.set(Ok(()));
            return Ok(latch);
        }
        // With version 2 committing is what adds the group, so from here on there is something to end.
        let added = self.version_2;
        self.started |= added;
        self.offsets.push_back(OffsetsJob { group, left: offsets, added, latch: latch.clone() });
        Ok(latch)
    }

    /// Whether a record may be sent now.
    pub(super) fn check_send(&self) -> Result<()> {
        if self.state == State::InTransaction {
            return Ok(());
        }
        self.check_error()?;
        if self.producer.is_none() {
            return Err(Error::invalid("Cannot send before completing a call to init_transactions"));
        }
        Err(Error::invalid(format!("Cannot send while in state {}: call begin_transaction first", self.state.name())))
    }

    /// A record of the current transaction goes to this partition for the first time.
    pub(super) fn add_partition(&mut self, topic: &Arc<str>, partition: i32) {
        let to = if self.version_2 {
            self.started = true;
            &mut self.added
        } else {
            &mut self.new
        };
        to.entry(topic.clone()).or_default().insert(partition);
    }

    /// Whether batches for this partition may leave.
    pub(super) fn may_write(&self, topic: &str, partition: i32) -> bool {
        self.state != State::FatalError
            && self.added.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// A batch of the transaction was given up; `numbered` says that it left, so that its sequence is used up. Also for
    /// a record that `send` refused.
    pub(super) fn batch_failed(&mut self, error: &Error, numbered: bool) {
        match error.code() {
            Some(
                ErrorCode::ClusterAuthorizationFailed
                | ErrorCode::TransactionalIdAuthorizationFailed
                | ErrorCode::ProducerFenced
                | ErrorCode::UnsupportedVersion,
            ) => self.fatal(error.clone()),
            _ if numbered && !self.can_go_on() => self.fatal(error.clone().context(
                "records may or may not have been written, and this cluster cannot give the producer another epoch",
            )),
            _ => {
                self.bump |= numbered && !self.version_2;
                self.abortable(error.clone());
            }
        }
    }

    // Requests and answers.

    /// What to do next. `unsettled` says that batches are still on their way: an end waits for them.
    pub(super) fn next(&mut self, unsettled: bool, now: Duration) -> Next {
        if self.in_flight || matches!(self.state, State::AbortableError | State::FatalError) {
            return Next::Nothing;
        }
        if self.end.is_some() && !self.started && self.nothing_to_add() {
            if unsettled {
                return Next::Nothing;
            }
            self.complete();
        }
        let request = match self.request(unsettled) {
            Some(request) => request,
            None => return Next::Nothing,
        };
        let wait = self.not_before.saturating_sub(now);
        if !wait.is_zero() {
            return Next::Wait(wait);
        }
        self.in_flight = true;
        Next::Send(request)
    }

    fn nothing_to_add(&self) -> bool {
        self.new.is_empty() && self.adding.is_empty() && self.offsets.is_empty()
    }

    fn request(&mut self, unsettled: bool) -> Option<Request> {
        if self.init {
            return Some(Request::Init { current: self.producer.filter(|_| self.bump) });
        }
        let producer = self.producer?;
        if !self.new.is_empty() {
            for (topic, partitions) in std::mem::take(&mut self.new) {
                self.adding.entry(topic).or_default().extend(partitions);
            }
        }
        if !self.adding.is_empty() {
            return Some(Request::AddPartitions { producer, partitions: self.adding.clone() });
        }
        if let Some(job) = self.offsets.front() {
            return Some(if job.added {
                Request::CommitOffsets { producer, group: job.group.clone(), offsets: job.left.clone() }
            } else {
                Request::AddOffsets { producer, group_id: job.group.group_id.clone() }
            });
        }
        self.end.filter(|_| !unsettled).map(|commit| Request::End { producer, commit })
    }

    // Transitions.

    /// The transaction is over; where an epoch has to be asked for, that comes first.
    fn complete(&mut self) {
        self.end = None;
        self.started = false;
        self.error = None;
        self.new.clear();
        self.adding.clear();
        self.added.clear();
        if self.bump {
            self.state = State::Initializing;
            self.init = true;
        } else {
            self.state = State::Ready;
            self.settle(Ok(()));
        }
    }

    /// Ends the call under way.
    fn settle(&mut self, result: Result<()>) {
        if let Some((_, latch)) = &self.pending {
            latch.set(result);
        }
    }

    fn go(&mut self, to: State) -> Result<()> {
        use State::*;
        let allowed = match to {
            Initializing => self.state == Uninitialized,
            InTransaction => self.state == Ready,
            Committing => self.state == InTransaction,
            Aborting => matches!(self.state, InTransaction | AbortableError),
            _ => false,
        };
        if !allowed {
            return Err(Error::invalid(format!(
                "TransactionalId {}: Invalid transition attempted from state {} to state {}",
                self.id,
                self.state.name(),
                to.name()
            )));
        }
        self.state = to;
        Ok(())
    }

    /// Resumes the call if it is under way, and refuses it if another is.
    fn call(&mut self, operation: Operation, start: impl FnOnce(&mut Self) -> Result<()>) -> Result<Arc<Latch>> {
        match &self.pending {
            Some((_, latch)) if latch.seen.load(Ordering::Relaxed) => {}
            Some((under_way, latch)) if *under_way == operation => return Ok(latch.clone()),
            _ => self.check_pending(operation.name())?,
        }
        // Before it starts, which may also end it.
        let latch = Arc::new(Latch::default());
        let before = self.pending.replace((operation, latch.clone()));
        if let Err(error) = start(self) {
            self.pending = before;
            return Err(error);
        }
        Ok(latch)
    }

    fn check_pending(&mut self, operation: &str) -> Result<()> {
        match &self.pending {
            Some((_, latch)) if latch.seen.load(Ordering::Relaxed) => {
                self.pending = None;
                Ok(())
            }
            Some((under_way, _)) => Err(Error::invalid(format!(
                "Cannot attempt operation `{operation}` because the previous call to `{}` timed out and must be retried",
                under_way.name()
            ))),
            None => Ok(()),
        }
    }
}

impl State {
    /// As Java names it.
    fn name(self) -> &'static str {
        match self {
            State::Uninitialized => "UNINITIALIZED",
            State::Initializing => "INITIALIZING",
            State::Ready => "READY",
            State::InTransaction => "IN_TRANSACTION",
            State::Committing => "COMMITTING_TRANSACTION",
            State::Aborting => "ABORTING_TRANSACTION",
            State::AbortableError => "ABORTABLE_ERROR",
            State::FatalError => "FATAL_ERROR",
        }
    }
}

impl Request {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Request::Init { .. } => "InitProducerId",
            Request::AddPartitions { .. } => "AddPartitionsToTxn",
            Request::AddOffsets { .. } => "AddOffsetsToTxn",
            Request::CommitOffsets { .. } => "TxnOffsetCommit",
            Request::End { .. } => "EndTxn",
        }
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
