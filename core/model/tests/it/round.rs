//! What we write is what we read, in all shapes of batches.

use bytes::Bytes;
use ottla_model::Compression;
use ottla_model::record_batch::{
    BatchBuilder, BatchHeader, BatchIter, BatchOptions, HEADER_SIZE, Record, TimestampType, records, set_base_offset,
    set_max_timestamp, set_partition_leader_epoch, verify_crc,
};

use crate::golden::{as_headers, build, expected};

const NO_HEADERS: &[(&str, Option<&[u8]>)] = &[];

#[test]
fn a_builder_is_used_again() {
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        let mut joined = Vec::new();
        for round in 0..3 {
            assert!(builder.is_empty());
            assert_eq!(builder.uncompressed_size(), HEADER_SIZE);
            builder.options_mut().base_offset = round * 1000;
            builder.set_producer(9, 1, round as i32 * 50);
            for i in 0..50 {
                let record = expected(i);
                let headers = as_headers(&record);
                let before = builder.uncompressed_size();
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                assert_eq!(builder.append(record.timestamp, key, value, &headers).unwrap(), i as i32);
                let grown = builder.uncompressed_size() - before;
                assert!(grown <= BatchBuilder::record_size_max(key, value, &headers));
            }
            assert_eq!(builder.count(), 50);
            if round == 1 {
                builder.build_into(&mut joined).unwrap();
            } else {
                joined.extend_from_slice(&builder.build().unwrap());
            }
        }
        let batches: Vec<_> = BatchIter::new(joined.into()).collect::<Result<_, _>>().unwrap();
        assert_eq!(batches.len(), 3);
        for (round, batch) in batches.iter().enumerate() {
            verify_crc(&batch.bytes).unwrap();
            assert_eq!(batch.header.base_offset, round as i64 * 1000);
            assert_eq!(batch.header.last_sequence(), round as i32 * 50 + 49);
            let last = records(&batch.bytes).unwrap().last().unwrap().unwrap();
            assert_eq!(last, Record { offset: round as i64 * 1000 + 49, ..expected(49) });
        }
    }
}

#[test]
fn into_bytes_gives_the_same_batch() {
    for compression in Compression::ALL {
        let options = BatchOptions { compression, ..BatchOptions::default() };
        let mut builder = BatchBuilder::with_capacity(options.clone(), 16384);
        let record = expected(7);
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), NO_HEADERS).unwrap();
        let copied = builder.clone().build().unwrap();
        assert_eq!(builder.into_bytes().unwrap(), copied);
    }
}

#[test]
fn compaction_leaves_gaps_and_a_horizon() {
    let mut builder =
        BatchBuilder::new(BatchOptions { base_offset: 10, delete_horizon_ms: Some(5000), ..BatchOptions::default() });
    builder.append_at(2, 1000, Some(b"a"), None, NO_HEADERS).unwrap();
    builder.append_at(5, 7000, Some(b"b"), Some(b"1"), NO_HEADERS).unwrap();
    assert!(builder.append_at(5, 0, None, None, NO_HEADERS).is_err(), "offsets rise");
    builder.cover_offset_delta(9);
    let batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.count), (10, 19, 2));
    assert_eq!((header.delete_horizon_ms(), header.max_timestamp), (Some(5000), 7000));
    header.validate().unwrap();
    assert!(header.validate_produced().is_err());
    let read: Vec<_> = records(&batch).unwrap().map(|r| r.unwrap()).map(|r| (r.offset, r.timestamp)).collect();
    assert_eq!(read, [(12, 1000), (15, 7000)]);

    // All records gone: the batch stays for its producer's sequence.
    builder.options_mut().delete_horizon_ms = None;
    builder.options_mut().compression = Compression::Lz4;
    builder.cover_offset_delta(3);
    let batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.count, header.last_offset_delta, header.max_timestamp), (0, 3, -1));
    header.validate().unwrap();
    assert_eq!(records(&batch).unwrap().count(), 0);
}

#[test]
fn the_broker_changes_a_batch_in_place() {
    let mut batch = build(BatchOptions::default(), 5).to_vec();
    set_base_offset(&mut batch, 1 << 40);
    set_partition_leader_epoch(&mut batch, 12);
    verify_crc(&batch).expect("these fields are not covered");
    set_max_timestamp(&mut batch, TimestampType::LogAppendTime, 99);
    verify_crc(&batch).expect("computed anew");
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch, header.max_timestamp), (1 << 40, 12, 99));
    assert!(records(&Bytes::from(batch.clone())).unwrap().all(|record| record.unwrap().timestamp == 99));
    set_max_timestamp(&mut batch, TimestampType::CreateTime, header.base_timestamp);
    verify_crc(&batch).unwrap();
    assert_eq!(BatchHeader::parse(&batch).unwrap().timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn extreme_values_go_round() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for timestamp in [0, i64::MAX, i64::MIN, -1] {
        builder.append(timestamp, Some(b""), Some(&[7; 70_000]), &[("", Some(""))]).unwrap();
    }
    let batch = builder.build().unwrap();
    let read: Vec<_> = records(&batch).unwrap().map(|record| record.unwrap().timestamp).collect();
    assert_eq!(read, [0, i64::MAX, i64::MIN, -1]);
}
