//! Appending, reading, rolling, lookups by time and epoch; what a leader refuses and what it changes.

use ottla_log::{AppendOrigin, CleanupPolicy, LogConfig, OpenMode, ReadError, TimestampType, dump};
use ottla_model::record_batch::BatchHeader;
use ottla_model::{Compression, ErrorCode};

use crate::*;

#[test]
fn appends_and_reads_over_many_segments() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 500);
        assert!(log.segment_count() > 5);
        check_offsets(&log, 0, 2500);
        // An offset within a batch: the read begins with the batch that holds it.
        let data = log.read(1234, 1000, 2500, true).unwrap();
        assert_eq!((data.first_batch_offset, data.start_offset), (1230, 1234));
        assert_eq!(batches(&data)[0].header.base_offset, 1230);
        for offset in 0..2500 {
            let found = batches(&log.read(offset, 1, 2500, true).unwrap());
            assert!(found[0].header.base_offset <= offset && offset <= found[0].header.last_offset());
        }
        log.close(true).unwrap();
        for base_offset in log.segment_base_offsets() {
            let index = place.file(&format!("{base_offset:020}.index"));
            let times = place.file(&format!("{base_offset:020}.timeindex"));
            assert_eq!(dump::check_offset_index(&place.env, &index).unwrap(), Vec::<String>::new());
            assert_eq!(dump::check_time_index(&place.env, &times).unwrap(), Vec::<String>::new());
        }
        let first = place.file("00000000000000000000.index");
        assert!(dump::offset_index(&place.env, &first).unwrap().len() > 10);
    });
}

#[test]
fn a_read_stops_at_its_bounds() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        fill(&log, 20);
        let size = batch(5, NOW).len();
        // Not past the upper offset, whatever the size.
        for upper in (0..=100).step_by(5) {
            let data = log.read(0, 1 << 20, upper, true).unwrap();
            assert_eq!(data.records.len(), size * upper as usize / 5, "upper {upper}");
        }
        // At most as many bytes as asked, also in the middle of a batch …
        assert_eq!(log.read(0, size + 7, 100, true).unwrap().records.len(), size + 7);
        // … but the first batch whole, if that is wanted.
        let data = log.read(10, 7, 100, true).unwrap();
        assert_eq!((data.records.len(), data.first_entry_incomplete), (size, false));
        let data = log.read(10, 7, 100, false).unwrap();
        assert_eq!((data.records.len(), data.first_entry_incomplete), (7, true));
        assert!(log.read(100, 7, 100, true).unwrap().records.is_empty());
        assert!(log.read(50, 7, 50, true).unwrap().records.is_empty());
        let error = log.read(101, 7, 100, true).unwrap_err();
        assert!(matches!(error, ReadError::OffsetOutOfRange { offset: 101, log_end_offset: 100, .. }));
        assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
        assert!(log.read(-1, 7, 100, true).is_err());
    });
}

#[test]
fn stores_what_the_producer_sent_in_every_codec() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        for (index, compression) in Compression::ALL.iter().enumerate() {
            let sent = batch_with(50, NOW, compressed(*compression));
            let info = append_as(&log, sent.clone(), 3, AppendOrigin::Client).unwrap();
            assert_eq!((info.first_offset, info.last_offset), (50 * index as i64, 50 * index as i64 + 49));
            assert_eq!((info.max_timestamp, info.log_append_time, info.duplicate), (NOW + 49, -1, false));
            let stored = batches(&log.read(info.first_offset, 1 << 20, i64::MAX, true).unwrap());
            // All but base offset and leader epoch is untouched.
            assert_eq!(stored[0].bytes[16..], sent[16..]);
            assert_eq!(stored[0].header.partition_leader_epoch, 3);
        }
        assert_eq!(log.epoch_entries().len(), 1);
        assert_eq!(log.end_offset_for_epoch(3), Some((3, 250)));
    });
}

#[test]
fn log_append_time_replaces_timestamps() {
    both(|place| {
        let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
        let log = place.open(config, OpenMode::Clean);
        for compression in Compression::ALL {
            let info = append(&log, batch_with(3, 5, compressed(compression))).unwrap();
            assert_eq!((info.log_append_time, info.max_timestamp), (NOW, NOW));
        }
        let all = read_all(&log, 0);
        assert!(all.iter().all(|batch| batch.header.timestamp_type() == TimestampType::LogAppendTime));
        assert!(records_of(&all).iter().all(|record| record.timestamp == NOW));
        // A producer may not claim it.
        let claimed = BatchOptions {
            timestamp_type: TimestampType::LogAppendTime,
            log_append_time: NOW,
            ..BatchOptions::default()
        };
        assert_eq!(append(&log, batch_with(1, NOW, claimed)).unwrap_err().code, ErrorCode::InvalidTimestamp);
    });
}

#[test]
fn another_codec_is_recompressed() {
    both(|place| {
        for target in Compression::ALL {
            let log = place.open(LogConfig { compression: Some(target), ..LogConfig::default() }, OpenMode::Clean);
            let before = log.log_end_offset();
            for source in Compression::ALL {
                append(&log, batch_with(20, NOW, BatchOptions { compression: source, ..producer(7, 0, -1) }))
                    .unwrap_err();
                append(&log, batch_with(20, NOW, compressed(source))).unwrap();
            }
            let stored = read_all(&log, before);
            assert!(stored.iter().all(|batch| batch.header.compression() == Ok(target)));
            let records = records_of(&stored);
            assert_eq!(records.len(), 20 * Compression::ALL.len());
            assert_eq!(records[21].key.as_deref(), Some(&b"k1"[..]));
            assert_eq!(records[21].timestamp, NOW + 1);
            log.close(false).unwrap();
        }
    });
}

#[test]
fn refuses_what_kafka_refuses() {
    both(|place| {
        let log = place.open(LogConfig { max_message_bytes: 4000, ..LogConfig::default() }, OpenMode::Clean);
        let refused = |records: Vec<u8>| append(&log, Bytes::from(records)).unwrap_err().code;
        let good = batch(5, NOW).to_vec();
        let reseal = |mut bytes: Vec<u8>| {
            let crc = ottla_model::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            bytes
        };
        let patched = |at: usize, patch: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + patch.len()].copy_from_slice(patch);
            reseal(bytes)
        };
        assert_eq!(refused(Vec::new()), ErrorCode::InvalidRecord);
        assert_eq!(refused(vec![0; 30]), ErrorCode::InvalidRecord);
        assert_eq!(refused([good.clone(), good.clone()].concat()), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(0, &7i64.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(16, &[1])), ErrorCode::InvalidRecord);
        let mut flipped = good.clone();
        flipped[70] ^= 4;
        assert_eq!(refused(flipped), ErrorCode::CorruptMessage);
        assert_eq!(refused(batch(200, NOW).to_vec()), ErrorCode::MessageTooLarge);
        // Counts that do not fit.
        assert_eq!(refused(patched(57, &4i32.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(57, &0i32.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(23, &(-1i32).to_be_bytes())), ErrorCode::InvalidRecord);
        let more = [5i32.to_be_bytes(), 6i32.to_be_bytes()];
        let mut claims_six = good.clone();
        claims_six[23..27].copy_from_slice(&more[0]);
        claims_six[57..61].copy_from_slice(&more[1]);
        assert_eq!(refused(reseal(claims_six)), ErrorCode::InvalidRecord);
        // Control batches and half a producer.
        assert_eq!(refused(patched(21, &0x20i16.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(43, &9i64.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(refused(patched(21, &7i16.to_be_bytes())), ErrorCode::InvalidRecord);
        assert_eq!(log.log_end_offset(), 0);
        assert_eq!(log.size(), 0);

        // An incomplete batch behind a whole one is left out, as Kafka does.
        let torn = [good.clone(), good[..80].to_vec()].concat();
        assert_eq!(append(&log, torn.into()).unwrap().last_offset, 4);
        check_offsets(&log, 0, 5);
    });
}

#[test]
fn timestamps_have_bounds() {
    both(|place| {
        let config = LogConfig {
            message_timestamp_before_max_ms: 1000,
            message_timestamp_after_max_ms: 500,
            ..LogConfig::default()
        };
        let log = place.open(config, OpenMode::Clean);
        for compression in Compression::ALL {
            let send = |timestamp| append(&log, batch_with(3, timestamp, compressed(compression)));
            send(NOW - 1000).unwrap();
            send(NOW + 498).unwrap();
            let error = send(NOW - 1001).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidTimestamp);
            assert_eq!(error.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [0]);
            let error = send(NOW + 499).unwrap_err();
            assert_eq!(error.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [2]);
        }
    });
}

#[test]
fn a_compacted_topic_needs_keys() {
    both(|place| {
        let cleanup_policy = CleanupPolicy { delete: false, compact: true };
        let log = place.open(LogConfig { cleanup_policy, ..LogConfig::default() }, OpenMode::Clean);
        for compression in Compression::ALL {
            append(&log, batch_with(3, NOW, compressed(compression))).unwrap();
            let mut builder = BatchBuilder::new(compressed(compression));
            let none: &[(&[u8], Option<&[u8]>)] = &[];
            builder.append(NOW, Some(b"k"), Some(b"v"), none).unwrap();
            builder.append(NOW, None, Some(b"v"), none).unwrap();
            let error = append(&log, builder.into_bytes().unwrap()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRecord);
            assert_eq!(error.record_errors[0].batch_index, 1);
        }
    });
}

#[test]
fn finds_records_by_time() {
    both(|place| {
        let log = place.open(small(), OpenMode::Clean);
        assert_eq!(log.offset_for_timestamp(0).unwrap(), None);
        assert_eq!(log.offset_of_max_timestamp().unwrap(), None);
        // Batches of 5 records 1 ms apart, 10 ms between batches.
        fill(&log, 300);
        for index in 0..300i64 {
            let found = log.offset_for_timestamp(NOW + 10 * index + 2).unwrap().unwrap();
            assert_eq!((found.offset, found.timestamp), (5 * index + 2, NOW + 10 * index + 2));
            assert_eq!(found.leader_epoch, Some(0));
            // Between two batches: the next one.
            let between = log.offset_for_timestamp(NOW + 10 * index + 7).unwrap();
            assert_eq!(between.map(|found| found.offset), (index < 299).then_some(5 * index + 5));
        }
        assert_eq!(log.offset_for_timestamp(i64::MIN).unwrap().unwrap().offset, 0);
        // An old record late in the log does not hide the newer ones, nor become the first.
        append(&log, batch(1, NOW + 15)).unwrap();
        assert_eq!(log.offset_for_timestamp(NOW + 15).unwrap().unwrap().offset, 10);
        assert_eq!(log.offset_of_max_timestamp().unwrap().unwrap().offset, 1499);
        log.close(true).unwrap();
        let log = place.open(small(), OpenMode::Clean);
        assert_eq!(log.offset_for_timestamp(NOW + 1502).unwrap().unwrap().offset, 752);
        assert_eq!(log.offset_of_max_timestamp().unwrap().unwrap().offset, 1499);
        assert_eq!(log.earliest().offset, 0);
        assert_eq!((log.latest().offset, log.latest().leader_epoch), (1501, Some(0)));
    });
}

#[test]
fn rolls_by_size_time_and_index() {
    both(|place| {
        let roll_offsets = |config: LogConfig| {
            let log = place.open(config, OpenMode::Clean);
            for index in 0..20 {
                let now_ms = NOW + 1000 * index;
                log.append_as_leader(batch(1, now_ms), 0, AppendOrigin::Client, now_ms).unwrap();
            }
            let offsets = log.segment_base_offsets();
            log.delete().unwrap();
            offsets
        };
        let size = batch(1, NOW).len() as u32;
        assert_eq!(roll_offsets(LogConfig { segment_bytes: 6 * size, ..LogConfig::default() }), [0, 6, 12, 18]);
        assert_eq!(roll_offsets(LogConfig { segment_ms: 4000, ..LogConfig::default() }), [0, 5, 10, 15]);
        let by_index = LogConfig { segment_index_bytes: 36, index_interval_bytes: 0, ..LogConfig::default() };
        assert_eq!(roll_offsets(by_index).len(), 7);

        let log = place.open(LogConfig { segment_ms: 4000, ..LogConfig::default() }, OpenMode::Clean);
        assert!(!log.maybe_roll(NOW + 5000).unwrap());
        append(&log, batch(1, NOW)).unwrap();
        assert!(!log.maybe_roll(NOW + 4000).unwrap());
        assert!(log.maybe_roll(NOW + 4001).unwrap());
        assert_eq!(log.segment_base_offsets(), [0, 1]);
        // A batch larger than a segment is refused.
        log.update_config(Arc::new(LogConfig { segment_bytes: 100, ..LogConfig::default() }));
        assert_eq!(append(&log, batch(5, NOW)).unwrap_err().code, ErrorCode::RecordListTooLarge);
    });
}

#[test]
fn a_follower_takes_the_leaders_bytes() {
    both(|place| {
        let leader = place.open(small(), OpenMode::Clean);
        fill(&leader, 10);
        append_as(&leader, batch(5, NOW), 4, AppendOrigin::Client).unwrap();
        let bytes = leader.read(0, 1 << 20, i64::MAX, true).unwrap().records.to_bytes().unwrap();
        let partition = TopicPartition::new("f", 0);
        let dir = place.dir.join("f-0");
        let config = Arc::new(small());
        let follower = Log::open(&place.env, &dir, partition, None, config, OpenMode::Clean).unwrap();
        // A torn end is what a fetch may bring.
        let info = follower.append_as_follower(bytes.slice(..bytes.len() - 3), NOW).unwrap();
        assert_eq!((info.first_offset, info.last_offset), (0, 49));
        let rest = leader.read(50, 1 << 20, i64::MAX, true).unwrap().records.to_bytes().unwrap();
        follower.append_as_follower(rest, NOW).unwrap();
        assert_eq!(follower.epoch_entries(), leader.epoch_entries());
        assert_eq!(follower.end_offset_for_epoch(0), Some((0, 50)));
        let copy = follower.read(0, 1 << 20, i64::MAX, true).unwrap().records.to_bytes().unwrap();
        assert_eq!(copy, bytes);
        // Going back is refused, a gap is not.
        let error = follower.append_as_follower(bytes.slice(..), NOW).unwrap_err();
        assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
        let later = batch_with(5, NOW, BatchOptions { base_offset: 100, ..BatchOptions::default() });
        follower.append_as_follower(later, NOW).unwrap();
        assert_eq!(follower.log_end_offset(), 105);
        let over_gap = batches(&follower.read(60, 1 << 20, i64::MAX, true).unwrap());
        assert_eq!(over_gap[0].header.base_offset, 100);
    });
}

#[test]
fn raft_batches_keep_their_offsets_and_epochs() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        let options = |base_offset| BatchOptions { base_offset, partition_leader_epoch: 2, ..BatchOptions::default() };
        let two = [batch_with(2, NOW, options(0)), batch_with(3, NOW, options(2))].concat();
        let info = append_as(&log, two.clone().into(), 2, AppendOrigin::Raft).unwrap();
        assert_eq!((info.first_offset, info.last_offset), (0, 4));
        assert_eq!(log.read(0, 1 << 20, i64::MAX, true).unwrap().records.to_bytes().unwrap(), two);
        let wrong_epoch = batch_with(1, NOW, options(5));
        assert!(append_as(&log, wrong_epoch, 3, AppendOrigin::Raft).is_err());
    });
}

#[test]
fn the_header_of_shared_bytes_is_patched_in_a_copy() {
    both(|place| {
        let log = place.open(LogConfig::default(), OpenMode::Clean);
        fill(&log, 2);
        let sent = batch(5, NOW);
        let before = sent.to_vec();
        append(&log, sent.clone()).unwrap();
        assert_eq!(sent, before, "another owner's bytes were changed");
        // Alone, the bytes may be changed in place; what is stored is the same.
        append(&log, Bytes::from(before)).unwrap();
        let all = read_all(&log, 10);
        assert_eq!(all.iter().map(|batch| batch.header.base_offset).collect::<Vec<_>>(), [10, 15]);
        assert_eq!(all[0].bytes[16..], all[1].bytes[16..]);
        assert!(BatchHeader::parse(&sent).unwrap().base_offset == 0);
    });
}
