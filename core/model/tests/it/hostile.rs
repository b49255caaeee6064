//! Bytes that mean harm. Goal: errors, never a panic, never memory out of proportion. Method: cut and flip good batches.

use bytes::Bytes;
use ottla_model::record_batch::{
    BatchError, BatchHeader, BatchIter, BatchOptions, COUNT_OFFSET, CRC_OFFSET, LENGTH_OFFSET, records,
    records_bounded, verify_crc,
};
use ottla_model::{Compression, CompressionError, ErrorCode};

use crate::golden::build;

fn with<const N: usize>(batch: &Bytes, at: usize, value: [u8; N]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at..at + N].copy_from_slice(&value);
    batch.into()
}

#[test]
fn cut_batches_end_the_iteration() {
    let batch = build(BatchOptions::default(), 10);
    let two = Bytes::from([&batch[..], &batch[..]].concat());
    for cut in batch.len()..two.len() {
        let mut batches = BatchIter::new(two.slice(..cut));
        assert!(matches!(batches.next(), Some(Ok(_))) && batches.next().is_none());
        assert_eq!(batches.remainder().len(), cut - batch.len());
        assert_eq!(batches.position(), batch.len());
    }
    for cut in 0..batch.len() {
        assert!(verify_crc(&batch[..cut]).is_err());
        assert!(records(&batch.slice(..cut)).is_err());
    }
}

#[test]
fn every_flipped_bit_behind_the_checksum_is_found() {
    let batch = build(BatchOptions::default(), 3);
    for position in CRC_OFFSET..batch.len() {
        for bit in 0..8 {
            let flipped = with(&batch, position, [batch[position] ^ (1 << bit)]);
            let error = verify_crc(&flipped).unwrap_err();
            assert!(matches!(error, BatchError::CrcMismatch { .. }));
            assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for compression in Compression::ALL {
        let batch = build(BatchOptions { compression, ..BatchOptions::default() }, 30);
        for position in 0..batch.len().min(1500) {
            for value in [0x00, 0x7f, 0x80, 0xff, batch[position] ^ 1] {
                let flipped = with(&batch, position, [value]);
                if let Ok(read) = records_bounded(&flipped, 1 << 20) {
                    for record in read {
                        let _ = record;
                    }
                }
                BatchIter::new(flipped).for_each(drop);
            }
        }
    }
}

#[test]
fn lengths_and_counts_are_checked() {
    let batch = build(BatchOptions::default(), 10);
    for length in [i32::MIN, -1, 0, 48] {
        let wrong = with(&batch, LENGTH_OFFSET, length.to_be_bytes());
        assert_eq!(BatchHeader::parse(&wrong), Err(BatchError::InvalidLength(length)));
        assert_eq!(BatchIter::new(wrong).collect::<Vec<_>>(), [Err(BatchError::InvalidLength(length))]);
    }
    let huge = with(&batch, LENGTH_OFFSET, i32::MAX.to_be_bytes());
    assert!(matches!(verify_crc(&huge), Err(BatchError::Truncated { .. })));
    for count in [-1, 11, 1000, i32::MAX] {
        let wrong = with(&batch, COUNT_OFFSET, count.to_be_bytes());
        let failed = records(&wrong).and_then(|records| records.collect::<Result<Vec<_>, _>>());
        assert!(failed.is_err(), "{count}");
        assert!(BatchHeader::parse(&wrong).unwrap().validate_produced().is_err());
    }
    // Fewer than there are: the bytes that are left are an error, as for Apache Kafka.
    let wrong = with(&batch, COUNT_OFFSET, 9i32.to_be_bytes());
    let read: Vec<_> = records(&wrong).unwrap().collect();
    assert_eq!(read.len(), 10);
    assert_eq!(read[9], Err(BatchError::InvalidRecord("bytes follow the last record")));
    let unknown = with(&batch, 21, [0, 7]);
    assert_eq!(records(&unknown).unwrap_err(), BatchError::UnknownCompression(7));
}

#[test]
fn decompression_is_bounded() {
    for compression in Compression::ALL {
        let batch = build(BatchOptions { compression, ..BatchOptions::default() }, 100);
        let size = records(&batch).unwrap().decompressed().len();
        assert!(records_bounded(&batch, size).is_ok());
        let error = records_bounded(&batch, size - 1).unwrap_err();
        assert_eq!(error, BatchError::Compression(CompressionError::TooLarge { max_size: size - 1 }));
    }
}
