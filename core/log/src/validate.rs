//! What a leader checks of batches before it appends them, and how it may change them: Kafka's rules for sizes, checksums,
//! counts, timestamps and keys. A batch is decompressed only if the topic's configuration needs its records: a compacted
//! topic (keys), bounds on timestamps, another codec. Offsets, epochs and producers' sequences are not looked at here.

use bytes::{Bytes, BytesMut};
use ottla_model::record_batch::{
    self, BatchBuilder, BatchError, BatchHeader, BatchOptions, DEFAULT_MAX_DECOMPRESSED_SIZE, HEADER_SIZE,
    NO_TIMESTAMP, TimestampType,
};
use ottla_model::{Compression, ErrorCode, crc32c, decompress, varint};

use crate::append::AppendOrigin;
use crate::config::LogConfig;
use crate::error::{AppendError, RecordError};

/// A response names at most so many records; more would only repeat the same.
const RECORD_ERRORS_MAX: usize = 1000;

/// One batch on its way into the log.
#[derive(Clone, Debug)]
pub(crate) struct PendingBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
}

/// Splits records into batches and checks sizes and checksums. Bytes of an incomplete batch at the end are left out.
pub(crate) fn split(
    records: &Bytes,
    origin: AppendOrigin,
    batch_bytes_max: Option<u32>,
    leader_epoch: i32,
) -> Result<Vec<PendingBatch>, AppendError> {
    let mut batches = Vec::with_capacity(1);
    let mut position = 0;
    while records.len() - position >= HEADER_SIZE {
        let header = BatchHeader::parse(&records[position..]).map_err(|error| unreadable(&error))?;
        let size = header.size_in_bytes();
        if size > records.len() - position {
            break;
        }
        if origin == AppendOrigin::Raft && header.partition_leader_epoch != leader_epoch {
            return Err(invalid(format!(
                "a batch of leader epoch {} came from the leader of epoch {leader_epoch}",
                header.partition_leader_epoch
            )));
        }
        if origin.is_client() && header.base_offset != 0 {
            return Err(invalid(format!("a produced batch has base offset {}, not 0", header.base_offset)));
        }
        if let Some(max) = batch_bytes_max
            && size > max as usize
        {
            return Err(too_large(size, max));
        }
        let bytes = records.slice(position..position + size);
        let computed = crc32c(&bytes[record_batch::ATTRIBUTES_OFFSET..]);
        if computed != header.crc {
            let error = BatchError::CrcMismatch { stored: header.crc, computed };
            return Err(AppendError::new(ErrorCode::CorruptMessage, error.to_string()));
        }
        batches.push(PendingBatch { header, bytes });
        position += size;
    }
    if batches.is_empty() && !records.is_empty() && records.len() < HEADER_SIZE {
        // Names message sets of old Kafka, which may be this short.
        if let Err(error) = BatchHeader::parse(records) {
            return Err(unreadable(&error));
        }
    }
    Ok(batches)
}

fn unreadable(error: &BatchError) -> AppendError {
    let code = match error {
        BatchError::UnsupportedMagic(_) => ErrorCode::InvalidRecord,
        other => other.error_code(),
    };
    AppendError::new(code, error.to_string())
}

fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::new(ErrorCode::InvalidRecord, message)
}

fn too_large(size: usize, max: u32) -> AppendError {
    AppendError::new(
        ErrorCode::MessageTooLarge,
        format!("the batch has {size} bytes, more than max.message.bytes, which is {max}"),
    )
}

/// Checks one batch and makes it what the topic wants: its timestamps, its codec.
pub(crate) fn prepare(
    batch: &mut PendingBatch,
    config: &LogConfig,
    origin: AppendOrigin,
    now_ms: i64,
) -> Result<(), AppendError> {
    let header = batch.header;
    if origin.is_client() {
        check_produced(&header)?;
    }
    let source = header.compression().map_err(|error| invalid(error.to_string()))?;
    // Control batches stay as they are.
    let target = config.compression.filter(|_| !header.is_control()).unwrap_or(source);
    let seen = if source == Compression::None || needs_records(&header, config, now_ms) || target != source {
        Some(check_records(batch, source, config, now_ms)?)
    } else {
        None
    };
    if target != source || seen.as_ref().is_some_and(|seen| !seen.contiguous) {
        return rebuild(batch, target, config, now_ms);
    }
    let timestamp_type = config.message_timestamp_type;
    let max_timestamp = match (timestamp_type, seen) {
        (TimestampType::LogAppendTime, _) => now_ms,
        (TimestampType::CreateTime, Some(seen)) => seen.max_timestamp,
        (TimestampType::CreateTime, None) => header.max_timestamp,
    };
    if header.timestamp_type() != timestamp_type || header.max_timestamp != max_timestamp {
        let mut bytes = match std::mem::take(&mut batch.bytes).try_into_mut() {
            Ok(unique) => unique,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        record_batch::set_max_timestamp(&mut bytes, timestamp_type, max_timestamp);
        batch.bytes = bytes.freeze();
        batch.header = BatchHeader::parse(&batch.bytes).map_err(|error| unreadable(&error))?;
    }
    Ok(())
}

fn check_produced(header: &BatchHeader) -> Result<(), AppendError> {
    let offsets = i64::from(header.last_offset_delta) + 1;
    if offsets <= 0 {
        return Err(invalid(format!("the batch has the last offset delta {}", header.last_offset_delta)));
    }
    if header.count <= 0 {
        return Err(invalid(format!("the batch claims {} records", header.count)));
    }
    if offsets != i64::from(header.count) {
        return Err(invalid(format!("the batch spans {offsets} offsets but claims {} records", header.count)));
    }
    if header.is_control() {
        return Err(invalid("clients cannot write control records"));
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(invalid(format!(
            "the batch of producer {} has the sequence number {}",
            header.producer_id, header.base_sequence
        )));
    }
    Ok(())
}

/// Whether the header alone does not tell that all records are good.
fn needs_records(header: &BatchHeader, config: &LogConfig, now_ms: i64) -> bool {
    if config.cleanup_policy.compact {
        return true;
    }
    match config.message_timestamp_type {
        TimestampType::LogAppendTime => header.timestamp_type() == TimestampType::LogAppendTime,
        TimestampType::CreateTime => {
            config.message_timestamp_before_max_ms != i64::MAX
                || header.max_timestamp.saturating_sub(now_ms) > config.message_timestamp_after_max_ms
        }
    }
}

struct Seen {
    max_timestamp: i64,
    /// Whether the offset deltas are 0, 1, 2 …
    contiguous: bool,
}

fn check_records(
    batch: &PendingBatch,
    compression: Compression,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Seen, AppendError> {
    let header = &batch.header;
    let body = decompress(compression, &batch.bytes.slice(HEADER_SIZE..), DEFAULT_MAX_DECOMPRESSED_SIZE)
        .map_err(|error| AppendError::new(BatchError::Compression(error.clone()).error_code(), error.to_string()))?;
    let mut seen = Seen { max_timestamp: NO_TIMESTAMP, contiguous: true };
    let mut errors = Vec::new();
    let mut bad_timestamp = false;
    let mut bytes = &body[..];
    for index in 0..header.count {
        let (record, rest) = Skeleton::read(bytes).ok_or_else(|| invalid(format!("record {index} is malformed")))?;
        bytes = rest;
        let timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        seen.max_timestamp = seen.max_timestamp.max(timestamp);
        seen.contiguous &= record.offset_delta == index;
        let message = if config.cleanup_policy.compact && !record.has_key && !header.is_control() {
            "a compacted topic cannot take a record without a key".to_owned()
        } else if let Some(message) = timestamp_error(header, timestamp, config, now_ms) {
            bad_timestamp = true;
            message
        } else {
            continue;
        };
        if errors.len() < RECORD_ERRORS_MAX {
            errors.push(RecordError { batch_index: index, message });
        }
    }
    if !bytes.is_empty() {
        return Err(invalid(format!("{} bytes follow the last record", bytes.len())));
    }
    if errors.is_empty() {
        return Ok(seen);
    }
    let (code, message) = if bad_timestamp {
        (ErrorCode::InvalidTimestamp, "one or more records have an invalid timestamp".to_owned())
    } else {
        let first = &errors[0];
        let message =
            format!("{} records are refused; the first, record {}: {}", errors.len(), first.batch_index, first.message);
        (ErrorCode::InvalidRecord, message)
    };
    Err(AppendError { code, message, record_errors: errors })
}

fn timestamp_error(header: &BatchHeader, timestamp: i64, config: &LogConfig, now_ms: i64) -> Option<String> {
    let checks_time = config.message_timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP;
    if checks_time {
        let (before, after) = (config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms);
        let age = now_ms.saturating_sub(timestamp);
        return (age > before || age.saturating_neg() > after).then(|| {
            let (from, to) = (now_ms.saturating_sub(before), now_ms.saturating_add(after));
            format!("timestamp {timestamp} is not within [{from}, {to}]")
        });
    }
    (header.timestamp_type() == TimestampType::LogAppendTime)
        .then(|| "a producer cannot set the timestamp type LogAppendTime".to_owned())
}

/// Writes the batch anew, in the target codec and with contiguous offsets.
fn rebuild(batch: &mut PendingBatch, target: Compression, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    let header = batch.header;
    let fail = |error: BatchError| AppendError::new(error.error_code(), error.to_string());
    let mut builder = BatchBuilder::with_capacity(
        BatchOptions {
            compression: target,
            compression_level: config.compression_level,
            timestamp_type: config.message_timestamp_type,
            log_append_time: now_ms,
            base_offset: header.base_offset,
            partition_leader_epoch: header.partition_leader_epoch,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: header.is_transactional(),
            control: header.is_control(),
            delete_horizon_ms: None,
        },
        batch.bytes.len(),
    );
    for record in record_batch::records(&batch.bytes).map_err(fail)? {
        let record = record.map_err(fail)?;
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (key.as_bytes().as_ref(), value.as_deref())).collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers).map_err(fail)?;
    }
    let bytes = builder.into_bytes().map_err(fail)?;
    if bytes.len() > config.max_message_bytes as usize {
        return Err(too_large(bytes.len(), config.max_message_bytes));
    }
    batch.header = BatchHeader::parse(&bytes).map_err(fail)?;
    batch.bytes = bytes;
    Ok(())
}

/// What is checked of a record; key, value and headers are skipped.
struct Skeleton {
    timestamp_delta: i64,
    offset_delta: i32,
    has_key: bool,
}

impl Skeleton {
    /// The first record of `bytes` and what follows it.
    fn read(bytes: &[u8]) -> Option<(Skeleton, &[u8])> {
        let (length, taken) = varint::read_i32(bytes).ok()?;
        let record = bytes.get(taken..)?;
        let (mut record, rest) = record.split_at_checked(usize::try_from(length).ok()?)?;
        record = record.get(1..)?;
        let (timestamp_delta, taken) = varint::read_i64(record).ok()?;
        record = &record[taken..];
        let (offset_delta, taken) = varint::read_i32(record).ok()?;
        record = &record[taken..];
        let (key_length, record) = skip_field(record)?;
        let (_, record) = skip_field(record)?;
        let (headers, taken) = varint::read_i32(record).ok()?;
        let mut record = &record[taken..];
        for _ in 0..u32::try_from(headers).ok()? {
            let (key, after_key) = skip_field(record)?;
            (key >= 0).then_some(())?;
            (_, record) = skip_field(after_key)?;
        }
        record.is_empty().then_some(())?;
        Some((Skeleton { timestamp_delta, offset_delta, has_key: key_length >= 0 }, rest))
    }
}

/// The length of a nullable field, and what follows it.
fn skip_field(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (length, taken) = varint::read_i32(bytes).ok()?;
    let rest = bytes.get(taken..)?;
    Some((length, rest.get(usize::try_from(length).unwrap_or(0)..)?))
}
