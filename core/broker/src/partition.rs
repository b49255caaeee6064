//! One partition: its log, who leads it, and the fetches that wait on it.
//!
//! This is where a log end becomes a high watermark. With one replica both are the same offset, so an append is
//! committed as soon as it is in the log; with more, [`Partition::advance`] is the one place that changes.

use crate::node::Node;
use crate::watch::{Waiter, Watch, Watchers};
use bytes::Bytes;
use ottla_log::{AppendError, AppendOrigin, Log, LogAppendInfo, WriteFault};
use ottla_model::{ErrorCode, Uuid};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// A partition that this broker leads.
#[derive(Debug)]
pub(crate) struct Partition {
    topic: Arc<str>,
    id: i32,
    topic_id: Uuid,
    log: Arc<Log>,
    leader_epoch: AtomicI32,
    deleted: AtomicBool,
    watchers: Arc<Watchers>,
}

impl Partition {
    pub(crate) fn new(topic: Arc<str>, id: i32, topic_id: Uuid, log: Arc<Log>, leader_epoch: i32) -> Partition {
        let leader_epoch = AtomicI32::new(leader_epoch);
        let partition = Partition {
            topic,
            id,
            topic_id,
            log,
            leader_epoch,
            deleted: AtomicBool::new(false),
            watchers: Arc::default(),
        };
        // A new leader's epoch begins at its log end, so that an empty partition knows its epoch.
        let epoch = partition.leader_epoch();
        if partition.log.latest_epoch().is_none_or(|latest| latest < epoch) {
            partition.log.assign_epoch_start_offset(epoch, partition.log.log_end_offset());
        }
        partition.advance(0);
        partition
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Appends as the leader and tells the waiting fetches. Blocks for one write to the page cache.
    pub(crate) fn append(
        &self,
        node: &Node,
        records: Bytes,
        origin: AppendOrigin,
    ) -> Result<LogAppendInfo, AppendError> {
        if self.deleted.load(Ordering::Acquire) {
            let message = "the topic is being deleted".to_owned();
            return Err(AppendError { code: ErrorCode::UnknownTopicOrPartition, message, record_errors: Vec::new() });
        }
        let size = records.len();
        let now_ms = node.env.now_ms();
        if node.faults.is_armed()
            && let Some(fault) = node.faults.on_append(&self.topic, self.id)
        {
            let failed = self.log.fail_append(records, self.leader_epoch(), origin, now_ms, fault);
            if fault == WriteFault::Torn {
                node.faults.crash(node);
            }
            return Err(failed);
        }
        let info = self.log.append_as_leader(records, self.leader_epoch(), origin, now_ms)?;
        if !info.duplicate {
            self.advance(size);
        }
        Ok(info)
    }

    /// Moves the high watermark to where the replicas are; `bytes` have become readable by it.
    fn advance(&self, bytes: usize) {
        self.log.set_high_watermark(self.log.log_end_offset());
        if bytes > 0 {
            self.watchers.arrived(bytes);
        }
    }

    /// Hangs a fetch here until the guard is dropped.
    pub(crate) fn watch(&self, waiter: &Arc<Waiter>) -> Watch {
        self.watchers.watch(waiter)
    }

    /// From now on nothing is appended, and waiting fetches learn that the partition is gone.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.watchers.wake_all();
    }

    /// Checks the leader epoch that a client has seen (KIP-320); -1 is a client that does not check.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH for an older one, UNKNOWN_LEADER_EPOCH for one this broker has not heard of.
    pub(crate) fn check_leader_epoch(&self, seen: i32) -> Result<(), ErrorCode> {
        let current = self.leader_epoch();
        match seen {
            -1 => Ok(()),
            seen if seen < current => Err(ErrorCode::FencedLeaderEpoch),
            seen if seen > current => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}
