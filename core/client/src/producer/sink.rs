//! Deliveries told by the batch: for a binding that keeps its own promises, one future per record in this process would be
//! one too many. The caller numbers its records; each number comes back exactly once, with what became of the record.

use super::Producer;
use super::delivery::{Acked, Delivery};
use super::record::ProducerRecord;
use crate::error::{Error, Result};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::Arc;

/// Hears what became of the records of [`Producer::send_tagged`].
///
/// Called from the producer's tasks, sometimes under its lock: it must not block, nor call the producer.
pub trait DeliverySink: Debug + Send + Sync {
    /// Records of one partition that share their fate.
    fn delivered(&self, records: DeliveredRecords);
}

/// Records of one partition that share their fate, in the order of their offsets.
#[derive(Debug, Clone)]
pub struct DeliveredRecords {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first record's offset, the others' follow it one by one; -1 when the broker did not say (`acks=0`, or a
    /// duplicate that was acknowledged long ago). An error is why all of them were given up.
    pub result: Result<i64>,
    /// The number that each came with, and its timestamp in the log (ms since 1970).
    pub records: Vec<(u64, i64)>,
}

/// The numbers of a batch's records while it is on its way.
#[derive(Debug)]
pub(super) struct Tags {
    sink: Arc<dyn DeliverySink>,
    /// By the record's index in the batch.
    records: Mutex<Vec<(u64, i64)>>,
}

impl Tags {
    pub(super) fn new(sink: Arc<dyn DeliverySink>) -> Tags {
        Tags { sink, records: Mutex::default() }
    }

    /// Those of a part of the batch.
    pub(super) fn part(&self) -> Tags {
        Tags::new(self.sink.clone())
    }

    pub(super) fn push(&self, tag: u64, timestamp: i64) {
        self.records.lock().push((tag, timestamp));
    }

    /// Hands those of the records from `start` on to another, as far as `end`.
    pub(super) fn give(&self, start: u32, end: Option<u32>, to: &Tags) {
        let records = self.records.lock();
        let end = end.map_or(records.len(), |end| (end as usize).min(records.len()));
        to.records.lock().extend_from_slice(records.get(start as usize..end).unwrap_or_default());
    }

    /// Tells of the whole batch.
    pub(super) fn tell(&self, topic: &Arc<str>, partition: i32, result: &Result<Acked>) {
        let mut records = std::mem::take(&mut *self.records.lock());
        if records.is_empty() {
            return;
        }
        if let Ok(Acked { log_append_time: time @ 0.., .. }) = result {
            records.iter_mut().for_each(|(_, timestamp)| *timestamp = *time);
        }
        let result = result.as_ref().map(|acked| acked.base_offset).map_err(Clone::clone);
        self.sink.delivered(DeliveredRecords { topic: topic.clone(), partition, result, records });
    }

    /// Tells of records that failed each for its own reason; `error` gives it by index.
    pub(super) fn tell_each(&self, topic: &Arc<str>, partition: i32, error: impl Fn(u32) -> Error) {
        for (index, record) in std::mem::take(&mut *self.records.lock()).into_iter().enumerate() {
            let result = Err(error(index as u32));
            self.sink.delivered(DeliveredRecords { topic: topic.clone(), partition, result, records: vec![record] });
        }
    }
}

impl Producer {
    /// As [`Producer::send_all`] for records that are numbered from `first_tag` on. What becomes of those that are taken is
    /// told to [`delivery_sink`](super::ProducerOptions::delivery_sink), which may be before this returns; for those that
    /// are not, the error is in the result at their place and the sink hears nothing.
    pub async fn send_tagged(&self, records: &[ProducerRecord<'_>], first_tag: u64) -> Vec<Result<()>> {
        self.send_numbered(records, Some(first_tag)).await.into_iter().map(|sent| sent.map(drop)).collect()
    }

    /// As [`Producer::send_tagged`] for as many from the front as are taken without waiting for metadata or memory; how
    /// many those are. None are refused here: a record that is wrong ends it, and `send_tagged` says why.
    pub fn try_send_tagged(&self, records: &[ProducerRecord<'_>], first_tag: u64) -> usize {
        let shared = &self.handle.shared;
        if shared.sends_one_by_one() {
            return 0;
        }
        let mut sent: Vec<Result<Delivery>> = Vec::with_capacity(records.len());
        shared.append_many(records, Some(first_tag), &mut None, &mut sent);
        sent.len()
    }
}
