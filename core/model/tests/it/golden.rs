//! Batches that Apache Kafka wrote. Goal: we read them, and write the same bytes where nothing is compressed. Method: the
//! files come from data/GenerateBatches.java; the content is a function of the record's number, in both languages.

use bytes::Bytes;
use ottla_model::record_batch::control::{ControlType, EndTxnMarker};
use ottla_model::record_batch::{
    BatchBuilder, BatchError, BatchHeader, BatchIter, BatchOptions, Record, TimestampType, records, verify_crc,
};
use ottla_model::{Compression, ErrorCode};

pub const BASE_TIME: i64 = 1_357_000_000_000;

macro_rules! data {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("../data/", $name, ".bin")))
    };
}

/// Record `i`, as it is at the start of a partition.
pub fn expected(i: usize) -> Record {
    Record {
        offset: i as i64,
        timestamp: BASE_TIME + (i % 7) as i64 * 1000 - i as i64,
        key: (!i.is_multiple_of(5)).then(|| format!("carrier-{}", i % 16).into()),
        value: (!i.is_multiple_of(11)).then(|| format!("flight {i} ").repeat(i % 80).into()),
        headers: (0..i % 3).map(|j| (format!("hé{j}").into(), (j != 1).then(|| format!("v{i}").into()))).collect(),
    }
}

/// The first `count` records in one batch of ours.
pub fn build(options: BatchOptions, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for i in 0..count {
        let record = expected(i);
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &as_headers(&record)).unwrap();
    }
    builder.build().unwrap()
}

pub fn as_headers(record: &Record) -> Vec<(&Bytes, Option<&Bytes>)> {
    record.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_ref())).collect()
}

fn check(bytes: &Bytes, compression: Compression, count: usize) -> BatchHeader {
    verify_crc(bytes).unwrap();
    let batches: Vec<_> = BatchIter::new(bytes.clone()).collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.len(), 1);
    let header = batches[0].header;
    assert_eq!(header.compression(), Ok(compression));
    assert_eq!((header.count as usize, header.last_offset_delta as usize), (count, count - 1));
    assert_eq!(header.size_in_bytes(), bytes.len());
    assert_eq!(&header.to_bytes()[..], &bytes[..61]);
    header.validate().unwrap();
    for (i, record) in records(bytes).unwrap().enumerate() {
        let mut wanted = expected(i);
        wanted.offset += header.base_offset;
        if header.timestamp_type() == TimestampType::LogAppendTime {
            wanted.timestamp = header.max_timestamp;
        }
        assert_eq!(record.unwrap(), wanted);
    }
    assert_eq!(records(bytes).unwrap().count(), count);
    for (view, record) in records(bytes).unwrap().views().zip(records(bytes).unwrap()) {
        let (view, record) = (view.unwrap(), record.unwrap());
        assert_eq!((view.offset, view.timestamp), (record.offset, record.timestamp));
        assert_eq!((view.key, view.value), (record.key.as_deref(), record.value.as_deref()));
        assert_eq!(view.header_count(), record.headers.len());
        let headers = record.headers.iter().map(|(key, value)| (&key.as_bytes()[..], value.as_deref()));
        assert!(view.headers().eq(headers));
    }
    header
}

#[test]
fn every_codec_of_kafka_is_read() {
    for (bytes, compression, count) in [
        (data!("none"), Compression::None, 30),
        (data!("gzip"), Compression::Gzip, 200),
        (data!("snappy"), Compression::Snappy, 200),
        (data!("lz4"), Compression::Lz4, 200),
        (data!("lz4-level17"), Compression::Lz4, 200),
        (data!("zstd"), Compression::Zstd, 200),
        (data!("zstd-level22"), Compression::Zstd, 200),
    ] {
        let header = check(&bytes, compression, count);
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
        assert!(!header.has_producer_id() && !header.is_control() && !header.is_transactional());
        header.validate_produced().unwrap();
        // The decompressed records are ours to the byte.
        let ours = build(BatchOptions { compression, ..BatchOptions::default() }, count);
        check(&ours, compression, count);
        assert_eq!(records(&bytes).unwrap().decompressed(), records(&ours).unwrap().decompressed(), "{compression}");
        if compression == Compression::None {
            assert_eq!(ours, bytes);
        }
    }
}

#[test]
fn producer_fields_and_flags() {
    let bytes = data!("transactional");
    let header = check(&bytes, Compression::None, 4);
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!((header.base_offset, header.last_offset()), (1_234_567_890_123, 1_234_567_890_126));
    assert_eq!((header.producer_id, header.producer_epoch, header.partition_leader_epoch), (4000, 7, 42));
    assert_eq!((header.base_sequence, header.last_sequence()), (i32::MAX - 1, 1), "sequences go round");
    let options = BatchOptions {
        base_offset: header.base_offset,
        partition_leader_epoch: 42,
        producer_id: 4000,
        producer_epoch: 7,
        base_sequence: i32::MAX - 1,
        transactional: true,
        ..BatchOptions::default()
    };
    assert_eq!(build(options, 4), bytes);

    let bytes = data!("log-append-time");
    let header = check(&bytes, Compression::None, 3);
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, BASE_TIME + 5);
}

#[test]
fn transaction_markers() {
    for (bytes, commit, offset) in [(data!("commit"), true, 77), (data!("abort"), false, 78)] {
        verify_crc(&bytes).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert!(header.validate_produced().is_err(), "clients may not write it");
        let record = records(&bytes).unwrap().next().unwrap().unwrap();
        let (key, value) = (record.key.unwrap(), record.value.unwrap());
        let marker = EndTxnMarker { commit, coordinator_epoch: 9 };
        assert_eq!(EndTxnMarker::parse(&key, &value), Ok(Some(marker)));
        assert_eq!(ControlType::from_key(&key).unwrap().to_key(), key[..]);
        assert_eq!(marker.to_batch(offset, BASE_TIME, 5, 4000, 7), bytes);
    }
}

#[test]
fn message_sets_of_old_kafka_are_recognised() {
    for (bytes, magic) in [(data!("magic0"), 0), (data!("magic1"), 1)] {
        let error = BatchHeader::parse(&bytes).unwrap_err();
        assert_eq!(error, BatchError::UnsupportedMagic(magic));
        assert_eq!(error.error_code(), ErrorCode::UnsupportedForMessageFormat);
        assert_eq!(BatchIter::new(bytes.slice(..20)).next(), Some(Err(BatchError::UnsupportedMagic(magic))));
    }
}
