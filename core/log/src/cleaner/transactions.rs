//! What a cleaner must know of transactions while it walks over a log: whose records were aborted, and whether anything of
//! a transaction is left when its marker comes. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use bytes::Bytes;
use ottla_model::record_batch::control::ControlType;
use ottla_model::record_batch::{self, BatchError, BatchHeader};

use crate::transaction_index::AbortedTxn;

/// The transactions at the place where the walk is.
#[derive(Debug, Default)]
pub(crate) struct TransactionWalk {
    /// Aborted ones that begin further on: first offset, producer id, last offset, last stable offset; the first one first.
    ahead: BinaryHeap<Reverse<(i64, i64, i64, i64)>>,
    /// Aborted ones by producer, and whether a batch of theirs was met.
    aborted: BTreeMap<i64, (AbortedTxn, bool)>,
    /// Producers of which a batch was met that is not aborted, and whose marker is still to come.
    committed: BTreeSet<i64>,
    /// Aborted transactions whose marker was met and has to stay: they go into the index of what is written.
    kept: Vec<AbortedTxn>,
}

impl TransactionWalk {
    /// Announces aborted transactions of what the walk comes to. One may be announced more than once before its marker.
    pub(crate) fn announce(&mut self, aborted: &[AbortedTxn]) {
        let entry = |txn: &AbortedTxn| (txn.first_offset, txn.producer_id, txn.last_offset, txn.last_stable_offset);
        self.ahead.extend(aborted.iter().map(|txn| Reverse(entry(txn))));
    }

    fn advance(&mut self, offset: i64) {
        while let Some(&Reverse((first_offset, producer_id, last_offset, last_stable_offset))) = self.ahead.peek() {
            if first_offset > offset {
                break;
            }
            self.ahead.pop();
            let txn = AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset };
            self.aborted.entry(producer_id).or_insert((txn, false));
        }
    }

    /// A batch of data: whether its transaction was aborted, so that its records may go.
    pub(crate) fn on_batch(&mut self, header: &BatchHeader) -> bool {
        self.advance(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch: whether nothing of its transaction was met, so that it may go once its horizon has passed.
    pub(crate) fn on_control(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<bool, BatchError> {
        self.advance(header.last_offset());
        let Some(record) = record_batch::records(batch)?.next().transpose()? else {
            // It was emptied by an earlier cleaning.
            return Ok(true);
        };
        let key = record.key.unwrap_or_default();
        Ok(match ControlType::from_key(&key)? {
            ControlType::Abort => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => {
                    self.kept.push(txn);
                    false
                }
                _ => true,
            },
            ControlType::Commit => !self.committed.remove(&header.producer_id),
            _ => false,
        })
    }

    /// The aborted transactions to be listed in what was written since the last call.
    pub(crate) fn take_kept(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.kept)
    }
}
