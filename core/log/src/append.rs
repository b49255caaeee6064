//! Appending to a log. As a leader: check the batches, give them offsets and the leader epoch, check their producers, write.
//! As a follower: take them as the leader wrote them. The record bytes are not copied: where the 61-byte header must change
//! and its bytes are shared, only the header is written from a copy, in the same vectored write.

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_model::record_batch::{self, HEADER_SIZE, TimestampType};

use crate::error::{AppendError, LogError};
use crate::fault::WriteFault;
use crate::producer_append::{CompletedTxn, ProducerAppend};
use crate::producer_state::BatchMetadata;
use crate::transaction_index::AbortedTxn;
use crate::unified_log::{Log, Writer};
use crate::validate::{PendingBatch, prepare, split};

/// Who appends, which decides what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A Produce request: everything is checked.
    Client,
    /// A Produce request whose transaction is open here already. It must not begin one: its end may have come first, and
    /// what would begin then would never end (KIP-890).
    ClientInTransaction,
    /// A Produce request that has just made the partition part of its transaction (version 2, KIP-890). Every transaction
    /// has an epoch of its own there, so what begins it here has sequence 0: anything else is behind a batch that is lost.
    ClientBeginning,
    /// A group or transaction coordinator: no sequence numbers; control batches are allowed.
    Coordinator,
    /// The leader of the metadata quorum: batches carry their offsets and epoch already.
    Raft,
    /// A follower, or recovery: the leader has checked it all.
    Replication,
}

impl AppendOrigin {
    pub(crate) fn is_client(self) -> bool {
        matches!(self, AppendOrigin::Client | AppendOrigin::ClientInTransaction | AppendOrigin::ClientBeginning)
    }
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAppendInfo {
    /// The offset of the first record; −1 if nothing was appended.
    pub first_offset: i64,
    /// The offset of the last record; −1 if nothing was appended.
    pub last_offset: i64,
    /// The time of the append in ms under `LogAppendTime`, else −1. For a duplicate, the first append's timestamp.
    pub log_append_time: i64,
    /// The log's start offset.
    pub log_start_offset: i64,
    /// The largest timestamp of the records, ms; −1 if none has one.
    pub max_timestamp: i64,
    /// Whether the batch had been appended before, so that nothing was written (KIP-98).
    pub duplicate: bool,
    /// Whether `flush.messages` asks for [`Log::flush`] before the append is acknowledged.
    pub needs_flush: bool,
}

/// Batches that passed all checks, as they will be written.
struct Batches {
    pending: Vec<PendingBatch>,
    bytes: usize,
    max_timestamp: i64,
    /// The last offset of the batch that holds it.
    offset_of_max: i64,
}

impl Log {
    /// Appends records as the partition's leader in epoch `leader_epoch`, at time `now_ms`. Nothing is written if an error is
    /// returned. Blocks on the disk, but not on a sync.
    ///
    /// A client's records must be exactly one batch, as in Kafka. A batch that its producer sent before (among its last
    /// five) is not written again; its old offsets are returned.
    pub fn append_as_leader(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<LogAppendInfo, AppendError> {
        self.append_with(records, leader_epoch, origin, now_ms, None)
    }

    pub(crate) fn append_with(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
        fault: Option<WriteFault>,
    ) -> Result<LogAppendInfo, AppendError> {
        let config = self.config();
        let batch_bytes_max = (origin != AppendOrigin::Raft).then_some(config.max_message_bytes);
        let mut pending = split(&records, origin, batch_bytes_max, leader_epoch)?;
        // The slices in `pending` shall be the only owners, so that a header can be changed in place.
        drop(records);
        if origin.is_client() && pending.len() != 1 {
            let message =
                format!("a produce request needs exactly one record batch per partition, not {}", pending.len());
            return Err(AppendError::new(ErrorCode::InvalidRecord, message));
        }
        if origin != AppendOrigin::Raft {
            for batch in &mut pending {
                prepare(batch, &config, origin, now_ms)?;
            }
        }
        let assign_offsets = origin != AppendOrigin::Raft;
        let append_time =
            (assign_offsets && config.message_timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);

        let mut writer = self.writer.lock();
        if assign_offsets {
            let mut next_offset = writer.log_end_offset;
            for batch in &mut pending {
                batch.header.base_offset = next_offset;
                batch.header.partition_leader_epoch = leader_epoch;
                next_offset = batch.header.next_offset();
            }
        } else {
            check_given_offsets(&pending, writer.log_end_offset)?;
        }
        self.append(&mut writer, pending, origin, assign_offsets, (append_time, now_ms), fault)
    }

    /// Appends records as they came from the leader, with its offsets and epochs; gaps are allowed, going back is not. Several
    /// batches are allowed; an incomplete one at the end is left out.
    pub fn append_as_follower(&self, records: Bytes, now_ms: i64) -> Result<LogAppendInfo, AppendError> {
        let pending = split(&records, AppendOrigin::Replication, None, -1)?;
        let mut writer = self.writer.lock();
        check_given_offsets(&pending, writer.log_end_offset)?;
        self.append(&mut writer, pending, AppendOrigin::Replication, false, (None, now_ms), None)
    }

    fn append(
        &self,
        writer: &mut Writer,
        pending: Vec<PendingBatch>,
        origin: AppendOrigin,
        patch_headers: bool,
        (append_time, now_ms): (Option<i64>, i64),
        fault: Option<WriteFault>,
    ) -> Result<LogAppendInfo, AppendError> {
        if writer.closed {
            return Err(AppendError::new(ErrorCode::KafkaStorageError, "the log is closed"));
        }
        let mut info = LogAppendInfo {
            first_offset: -1,
            last_offset: -1,
            log_append_time: append_time.unwrap_or(-1),
            log_start_offset: self.log_start_offset(),
            max_timestamp: -1,
            duplicate: false,
            needs_flush: false,
        };
        let (Some(first), Some(last)) = (pending.first(), pending.last()) else { return Ok(info) };
        let (first_offset, last_offset) = (first.header.base_offset, last.header.last_offset());
        let batches = Batches::new(pending);
        let config = self.config();
        if batches.bytes > config.segment_bytes as usize {
            return Err(AppendError::new(
                ErrorCode::RecordListTooLarge,
                format!(
                    "{} bytes do not fit a segment, whose segment.bytes is {}",
                    batches.bytes, config.segment_bytes
                ),
            ));
        }
        let (producers, completed) = match check_producers(writer, &batches.pending, origin)? {
            Checked::Duplicate(batch) => {
                info.first_offset = batch.first_offset();
                info.last_offset = batch.last_offset;
                info.log_append_time = batch.timestamp;
                info.max_timestamp = batch.timestamp;
                info.duplicate = true;
                return Ok(info);
            }
            Checked::New(producers, completed) => (producers, completed),
        };
        self.maybe_roll_for(writer, &config, (first_offset, last_offset), &batches, now_ms)?;
        info.max_timestamp = batches.max_timestamp;
        let epochs: Vec<(i32, i64)> = batches.new_epochs(self.latest_epoch());
        let largest = (batches.max_timestamp, batches.offset_of_max);
        let buffers = batches.into_buffers(patch_headers);
        let segment = writer.active.clone();
        let position = segment
            .append(&buffers, last_offset, largest, config.index_interval_bytes, fault)
            .inspect_err(|_| writer.closed |= fault == Some(WriteFault::Torn))
            .map_err(|source| LogError::Io { doing: "append to", path: segment.path(), source })?;

        // From here on nothing fails: the batches are in the log.
        if !epochs.is_empty() {
            let mut cache = self.epochs.write();
            for (epoch, start_offset) in epochs {
                cache.assign(epoch, start_offset);
            }
        }
        for producer in &producers {
            writer.producers.update(producer);
        }
        for txn in &completed {
            complete_transaction(writer, txn);
        }
        writer.producers.set_map_end_offset(last_offset + 1);
        writer.log_end_offset = last_offset + 1;
        self.publish_end(last_offset + 1, segment.base_offset, position);
        if !producers.is_empty() {
            self.publish_first_unstable(writer);
        }
        info.first_offset = first_offset;
        info.last_offset = last_offset;
        info.needs_flush = last_offset + 1 - self.recovery_point() >= config.flush_messages;
        Ok(info)
    }

    fn maybe_roll_for(
        &self,
        writer: &mut Writer,
        config: &crate::LogConfig,
        (first_offset, last_offset): (i64, i64),
        batches: &Batches,
        now_ms: i64,
    ) -> Result<(), LogError> {
        let roll = {
            let segment = &writer.active;
            let size = segment.size().map_err(|source| LogError::Io { doing: "open", path: segment.path(), source })?;
            size + batches.bytes as u64 > u64::from(config.segment_bytes)
                || (size > 0
                    && segment.waited_ms(now_ms, batches.max_timestamp)? > config.segment_ms_max() - segment.jitter_ms)
                || segment.index()?.is_full(config.offset_index_entries_max(), config.time_index_entries_max())
                || !segment.fits(last_offset)
        };
        if roll { self.roll(writer, first_offset, now_ms) } else { Ok(()) }
    }
}

fn check_given_offsets(pending: &[PendingBatch], log_end_offset: i64) -> Result<(), AppendError> {
    let mut next_offset = log_end_offset;
    for batch in pending {
        if batch.header.base_offset < next_offset {
            let message = format!(
                "a batch with base offset {} cannot follow offset {}",
                batch.header.base_offset,
                next_offset - 1
            );
            return Err(AppendError::new(ErrorCode::OffsetOutOfRange, message));
        }
        batch.header.validate().map_err(|error| AppendError::new(ErrorCode::CorruptMessage, error.to_string()))?;
        next_offset = batch.header.next_offset();
    }
    Ok(())
}

enum Checked {
    Duplicate(BatchMetadata),
    New(Vec<ProducerAppend>, Vec<CompletedTxn>),
}

fn check_producers(writer: &Writer, pending: &[PendingBatch], origin: AppendOrigin) -> Result<Checked, AppendError> {
    let mut producers: Vec<ProducerAppend> = Vec::new();
    let mut completed = Vec::new();
    for batch in pending {
        let header = &batch.header;
        if !header.has_producer_id() {
            continue;
        }
        let known = writer.producers.get(header.producer_id);
        if origin.is_client()
            && let Some(duplicate) = known.and_then(|entry| {
                entry.find_duplicate(header.producer_epoch, header.base_sequence, header.last_sequence())
            })
        {
            return Ok(Checked::Duplicate(duplicate));
        }
        let at = match producers.iter().position(|append| append.entry.producer_id == header.producer_id) {
            Some(at) => at,
            None => {
                producers.push(ProducerAppend::new(known, header.producer_id, origin));
                producers.len() - 1
            }
        };
        let ended = producers[at].append(header, header.base_offset, || Some(batch.bytes.clone()))?;
        completed.extend(ended);
    }
    Ok(Checked::New(producers, completed))
}

/// The transaction's marker is in the log: notes an aborted one in the index.
pub(crate) fn complete_transaction(writer: &mut Writer, txn: &CompletedTxn) {
    let last_stable_offset = writer.producers.last_stable_offset(txn);
    if txn.is_aborted {
        let aborted = AbortedTxn {
            producer_id: txn.producer_id,
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset,
        };
        let mut index = writer.active.index_unchecked();
        if let Err(error) = index.txns.append(&aborted) {
            // It stays in memory, and the next write of the index repeats it; a crash before that leads to recovery.
            tracing::warn!(path = %writer.active.path().display(), %error, "cannot write the transaction index");
        }
    }
    writer.producers.complete(txn);
}

impl Batches {
    fn new(pending: Vec<PendingBatch>) -> Batches {
        let (mut bytes, mut max_timestamp, mut offset_of_max) = (0, -1, -1);
        for batch in &pending {
            bytes += batch.bytes.len();
            if batch.header.max_timestamp > max_timestamp || offset_of_max < 0 {
                max_timestamp = batch.header.max_timestamp;
                offset_of_max = batch.header.last_offset();
            }
        }
        Batches { pending, bytes, max_timestamp, offset_of_max }
    }

    /// The leader epochs that these batches begin, with their first offsets.
    fn new_epochs(&self, mut latest: Option<i32>) -> Vec<(i32, i64)> {
        let mut epochs = Vec::new();
        for batch in &self.pending {
            let epoch = batch.header.partition_leader_epoch;
            if epoch >= 0 && latest != Some(epoch) {
                epochs.push((epoch, batch.header.base_offset));
                latest = Some(epoch);
            }
        }
        epochs
    }

    /// The bytes to write. With `patch_headers` the base offset and leader epoch, which no checksum covers, are put in.
    fn into_buffers(self, patch_headers: bool) -> Vec<Bytes> {
        let mut buffers = Vec::with_capacity(self.pending.len() * 2);
        for PendingBatch { header, bytes } in self.pending {
            if !patch_headers {
                buffers.push(bytes);
                continue;
            }
            let patch = |bytes: &mut [u8]| {
                record_batch::set_base_offset(bytes, header.base_offset);
                record_batch::set_partition_leader_epoch(bytes, header.partition_leader_epoch);
            };
            match bytes.try_into_mut() {
                Ok(mut unique) => {
                    patch(&mut unique);
                    buffers.push(unique.freeze());
                }
                Err(mut shared) => {
                    let records = shared.split_off(HEADER_SIZE);
                    let mut copy = [0; HEADER_SIZE];
                    copy.copy_from_slice(&shared);
                    patch(&mut copy);
                    buffers.push(Bytes::copy_from_slice(&copy));
                    buffers.push(records);
                }
            }
        }
        buffers
    }
}
