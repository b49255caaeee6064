//! One transactional id: its producer, its state, its partitions.

use std::collections::BTreeSet;

use ottla_model::TopicPartition;

/// No producer id.
pub const NO_PRODUCER_ID: i64 = -1;
/// No epoch.
pub const NO_EPOCH: i16 = -1;

/// Where a transactional id is. The numbers and names are those of the log and of DescribeTransactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TxnState {
    /// No transaction has begun since its producer was initialised.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// It will be committed; markers are being written.
    PrepareCommit,
    /// It will be aborted; markers are being written.
    PrepareAbort,
    /// It was committed.
    CompleteCommit,
    /// It was aborted.
    CompleteAbort,
    /// The id is about to be forgotten. Never in the log.
    Dead,
    /// A newer producer takes over. Never in the log.
    PrepareEpochFence,
}

impl TxnState {
    /// All states in the order of their numbers.
    pub const ALL: [TxnState; 8] = [
        TxnState::Empty,
        TxnState::Ongoing,
        TxnState::PrepareCommit,
        TxnState::PrepareAbort,
        TxnState::CompleteCommit,
        TxnState::CompleteAbort,
        TxnState::Dead,
        TxnState::PrepareEpochFence,
    ];

    /// The number in the log.
    pub fn code(self) -> i8 {
        self as i8
    }

    /// The state with this number.
    pub fn from_code(code: i8) -> Option<TxnState> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code)).copied()
    }

    /// The name that admin clients see.
    pub fn name(self) -> &'static str {
        match self {
            TxnState::Empty => "Empty",
            TxnState::Ongoing => "Ongoing",
            TxnState::PrepareCommit => "PrepareCommit",
            TxnState::PrepareAbort => "PrepareAbort",
            TxnState::CompleteCommit => "CompleteCommit",
            TxnState::CompleteAbort => "CompleteAbort",
            TxnState::Dead => "Dead",
            TxnState::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<TxnState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Markers are being written.
    pub(super) fn is_ending(self) -> bool {
        matches!(self, TxnState::PrepareCommit | TxnState::PrepareAbort)
    }

    /// Nothing is open.
    pub(super) fn is_at_rest(self) -> bool {
        matches!(self, TxnState::Empty | TxnState::CompleteCommit | TxnState::CompleteAbort)
    }
}

/// What is known of a transactional id, as its last record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnImage {
    pub producer_id: i64,
    /// The producer id before the current one, to know a repeated request by; the same where it did not change.
    pub previous_producer_id: i64,
    /// The producer id that the client goes on with once the markers are written; [`NO_PRODUCER_ID`] for the same.
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    /// The epoch before the current one, to know a repeated request by. Not in the log: [`NO_EPOCH`] after a load.
    pub last_producer_epoch: i16,
    /// `transaction.timeout.ms` of the producer.
    pub timeout_ms: i32,
    pub state: TxnState,
    pub partitions: BTreeSet<TopicPartition>,
    /// When the transaction began, milliseconds since 1970; -1 without one.
    pub start_timestamp_ms: i64,
    pub last_update_timestamp_ms: i64,
    /// The version of transactions that the client spoke at the last change: 0 (and 1), or 2.
    pub client_transaction_version: i16,
}

impl TxnImage {
    /// An id that has not been answered yet.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> TxnImage {
        TxnImage {
            producer_id,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_EPOCH,
            last_producer_epoch: NO_EPOCH,
            timeout_ms,
            state: TxnState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp_ms: -1,
            last_update_timestamp_ms: now_ms,
            client_transaction_version: 0,
        }
    }

    /// The highest epoch is kept for fencing, so that a producer can always be fenced.
    pub(super) fn is_epoch_exhausted(&self) -> bool {
        is_exhausted(self.producer_epoch)
    }

    /// Whether an EndTxn with `epoch` is a repeated one whose bump has been made already (version 2).
    pub(super) fn was_bumped_from(&self, epoch: i16) -> bool {
        self.client_transaction_version >= 2 && i32::from(self.producer_epoch) == i32::from(epoch) + 1
    }
}

pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}
