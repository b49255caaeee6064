//! The transaction coordinator: which transactional ids exist, which transaction each has open, and how it ends.
//!
//! ```text
//!            AddPartitions          EndTxn, timeout, fencing       markers written
//!   Empty ───────────────▶ Ongoing ──────────▶ PrepareCommit ──────────▶ CompleteCommit
//!     ▲                                  └───▶ PrepareAbort  ──────────▶ CompleteAbort
//!     └───────────────────────────────── InitProducerId ─────────────────────┘
//! ```
//!
//! The methods of [`TxnShard`] decide and change nothing: the caller appends a decision's records, replays them, answers,
//! and, where there are [`Markers`], writes those and then asks for [`TxnShard::complete`]. Transactions of version 1 keep
//! a producer's epoch from one to the next; version 2 (KIP-890) bumps it with each end, so that what a producer sent too
//! late for a transaction can never fall into its next one.
//!
//! Not here: prepared transactions of an outside coordinator (KIP-939).

mod end;
mod records;
mod shard;
mod state;

pub use records::{TxnRecord, TxnRecordError};
pub use shard::{Decision, Markers, ProducerIdEpoch, TxnConfig, TxnFilter, TxnShard};
pub use state::{NO_EPOCH, NO_PRODUCER_ID, TxnImage, TxnState};
