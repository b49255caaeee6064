//! Records as they cross, many at a time. All numbers are little-endian; lengths are of bytes; text is UTF-8.
//!
//! **To a producer**, one after the other:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | size of the rest of this record |
//! | 4 | partition, -1 lets the producer choose |
//! | 8 | timestamp, ms since 1970; -1 is now |
//! | 4 | length of the topic |
//! | 4 | length of the key, -1 for none |
//! | 4 | length of the value, -1 for none |
//! | 4 | number of headers |
//! | … | topic, key, value |
//! | … | per header: 4 length of its name, name, 4 length of its value or -1, value |
//!
//! **From a consumer**: 4 version (1), 4 number of partitions, 4 number of records, 4 bytes 0; per partition
//! 8 offset to go on from, 4 its leader epoch or -1, 4 partition, 4 number of records here, 4 length of the topic, topic, zeros up to
//! a multiple of 8; then per record, partition after partition, 56 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | offset |
//! | 8 | timestamp, ms since 1970, or -1 |
//! | 4 | leader epoch, -1 unknown |
//! | 4 | timestamp type: 0 CreateTime, 1 LogAppendTime |
//! | 4, 4 | where the key begins in the frame, its length or -1 |
//! | 4, 4 | where the value begins, its length or -1 |
//! | 4, 4 | where the headers begin, how many |
//! | 8 | zeros |
//!
//! then the bytes that these point to; headers as above. A reader makes an object of a record when it is asked for, not before.

pub use crate::received::{Received, View};

use crate::error::Error;
use bytes::Bytes;
use ottla::client::{ConsumerRecords, ProducerRecord, TopicPartition};

const PRODUCED_FIXED: usize = 32;
const RECORD: usize = 56;
/// What a record may have.
const HEADERS_MAX: u32 = 1 << 20;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn nullable(&mut self, length: i32) -> Option<Option<&'a [u8]>> {
        match length {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }

    fn text(&mut self, length: i32) -> Option<&'a str> {
        std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok()
    }
}

/// A record of a frame, with the place of its headers among those of all.
struct Parsed<'a> {
    record: ProducerRecord<'a>,
    headers: std::ops::Range<usize>,
    end: usize,
}

/// The records of a producer's frame.
pub(crate) struct Produced<'a> {
    parsed: Vec<Parsed<'a>>,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl Produced<'_> {
    /// With their headers.
    pub(crate) fn records(&self) -> Vec<ProducerRecord<'_>> {
        let of = |parsed: &Parsed<'_>| self.headers.get(parsed.headers.clone()).unwrap_or_default();
        self.parsed.iter().map(|parsed| ProducerRecord { headers: of(parsed), ..parsed.record }).collect()
    }

    /// Where the first `count` of them end in the frame.
    pub(crate) fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.parsed.get(last)).map_or(0, |parsed| parsed.end)
    }
}

/// Reads a producer's frame; one that is not whole is refused whole.
pub(crate) fn produced(frame: &[u8]) -> Result<Produced<'_>, Error> {
    let mut reader = Reader { rest: frame };
    let mut all = Produced { parsed: Vec::with_capacity(frame.len() / 128 + 1), headers: Vec::new() };
    while !reader.rest.is_empty() {
        let number = all.parsed.len();
        let bad = || {
            Error::invalid(format!("record {number} of a frame of {} bytes is not as the bridge reads it", frame.len()))
        };
        let size = reader.i32().and_then(|size| usize::try_from(size).ok()).ok_or_else(bad)?;
        let mut record = Reader { rest: reader.take(size).ok_or_else(bad)? };
        let end = frame.len() - reader.rest.len();
        let parsed = one(&mut record, &mut all.headers, end).ok_or_else(bad)?;
        if !record.rest.is_empty() {
            return Err(bad());
        }
        all.parsed.push(parsed);
    }
    Ok(all)
}

fn one<'a>(reader: &mut Reader<'a>, headers: &mut Vec<(&'a str, Option<&'a [u8]>)>, end: usize) -> Option<Parsed<'a>> {
    let partition = reader.i32()?;
    let timestamp = reader.i64()?;
    let (topic, key, value, count) = (reader.i32()?, reader.i32()?, reader.i32()?, reader.i32()?);
    let record = ProducerRecord {
        topic: reader.text(topic)?,
        partition: (partition != -1).then_some(partition),
        timestamp: (timestamp != -1).then_some(timestamp),
        key: reader.nullable(key)?,
        value: reader.nullable(value)?,
        headers: &[],
    };
    let first = headers.len();
    for _ in 0..u32::try_from(count).ok().filter(|count| *count <= HEADERS_MAX)? {
        let name = reader.i32()?;
        let name = reader.text(name)?;
        let value = reader.i32()?;
        headers.push((name, reader.nullable(value)?));
    }
    Some(Parsed { record, headers: first..headers.len(), end })
}

/// Writes one record into a producer's frame: what the bindings that are written in Rust use.
///
/// # Errors
/// A part of 2 GiB or more.
pub fn write_produced(frame: &mut Vec<u8>, record: &ProducerRecord<'_>) -> Result<(), Error> {
    let length = |part: Option<&[u8]>| part.map_or(Some(-1), |part| i32::try_from(part.len()).ok());
    let size_of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let too_large = || Error::invalid("a record of 2 GiB or more cannot be sent");
    let of_headers: usize = record.headers.iter().map(|(name, value)| 8 + name.len() + size_of(*value)).sum();
    let size = PRODUCED_FIXED - 4 + record.topic.len() + size_of(record.key) + size_of(record.value) + of_headers;
    let size = i32::try_from(size).map_err(|_| too_large())?;
    let start = frame.len();
    frame.extend_from_slice(&size.to_le_bytes());
    frame.extend_from_slice(&record.partition.unwrap_or(-1).to_le_bytes());
    frame.extend_from_slice(&record.timestamp.unwrap_or(-1).to_le_bytes());
    let topic = Some(record.topic.as_bytes());
    for part in [topic, record.key, record.value] {
        frame.extend_from_slice(&length(part).ok_or_else(too_large)?.to_le_bytes());
    }
    frame.extend_from_slice(&(record.headers.len() as u32).to_le_bytes());
    for part in [topic, record.key, record.value] {
        frame.extend_from_slice(part.unwrap_or_default());
    }
    for (name, value) in record.headers {
        for part in [Some(name.as_bytes()), *value] {
            frame.extend_from_slice(&length(part).ok_or_else(too_large)?.to_le_bytes());
            frame.extend_from_slice(part.unwrap_or_default());
        }
    }
    debug_assert_eq!(frame.len() - start, size as usize + 4);
    Ok(())
}

/// What a poll returned, as a frame.
pub(crate) fn records(polled: &ConsumerRecords) -> Result<Bytes, Error> {
    // Runs of one partition are one partition here.
    let mut runs: Vec<(TopicPartition, Vec<usize>)> = Vec::new();
    for (index, record) in polled.iter().enumerate() {
        match runs.iter_mut().rev().find(|(of, _)| of.partition == record.partition && of.topic == record.topic) {
            Some((_, members)) => members.push(index),
            None => runs.push((record.topic_partition(), vec![index])),
        }
    }
    let next = polled.next_offsets();
    for partition in next.keys().filter(|partition| !runs.iter().any(|(of, _)| of == *partition)).collect::<Vec<_>>() {
        runs.push((partition.clone(), Vec::new()));
    }
    let all: Vec<_> = polled.iter().collect();
    let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let of_headers = |headers: &[(_, Option<Bytes>)], name: fn(&_) -> usize| -> usize {
        headers.iter().map(|(key, value)| 8 + name(key) + length(value)).sum()
    };
    let payload: usize =
        all.iter().map(|r| length(&r.key) + length(&r.value) + of_headers(&r.headers, |key| key.len())).sum();
    let head: usize = 16 + runs.iter().map(|(of, _)| (24 + of.topic.len()).next_multiple_of(8)).sum::<usize>();
    let size = head + all.len() * RECORD + payload;
    if i32::try_from(size).is_err() {
        return Err(Error::invalid("a poll returned 2 GiB or more; lower max.poll.records or fetch.max.bytes"));
    }
    let mut frame = Vec::with_capacity(size);
    for number in [1, runs.len() as u32, all.len() as u32, 0] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    for (of, members) in &runs {
        let next = next.get(of);
        frame.extend_from_slice(&next.map_or(-1, |next| next.offset).to_le_bytes());
        frame.extend_from_slice(&next.and_then(|next| next.leader_epoch).unwrap_or(-1).to_le_bytes());
        frame.extend_from_slice(&of.partition.to_le_bytes());
        frame.extend_from_slice(&(members.len() as u32).to_le_bytes());
        frame.extend_from_slice(&(of.topic.len() as u32).to_le_bytes());
        frame.extend_from_slice(of.topic.as_bytes());
        frame.resize(frame.len().next_multiple_of(8), 0);
    }
    let mut at = (head + all.len() * RECORD) as u32;
    let mut pointer = |frame: &mut Vec<u8>, size: usize, said: i32| {
        frame.extend_from_slice(&at.to_le_bytes());
        frame.extend_from_slice(&said.to_le_bytes());
        at += size as u32;
    };
    let order = || runs.iter().flat_map(|(_, members)| members).map(|index| all[*index]);
    for record in order() {
        frame.extend_from_slice(&record.offset.to_le_bytes());
        frame.extend_from_slice(&record.timestamp.to_le_bytes());
        frame.extend_from_slice(&record.leader_epoch.to_le_bytes());
        frame.extend_from_slice(&(record.timestamp_type as i32).to_le_bytes());
        for part in [&record.key, &record.value] {
            pointer(&mut frame, length(part), part.as_ref().map_or(-1, |part| part.len() as i32));
        }
        pointer(&mut frame, of_headers(&record.headers, |key| key.len()), record.headers.len() as i32);
        frame.extend_from_slice(&[0; 8]);
    }
    for record in order() {
        frame.extend_from_slice(record.key.as_deref().unwrap_or_default());
        frame.extend_from_slice(record.value.as_deref().unwrap_or_default());
        for (name, value) in &record.headers {
            frame.extend_from_slice(&(name.len() as i32).to_le_bytes());
            frame.extend_from_slice(name.as_bytes());
            frame.extend_from_slice(&value.as_ref().map_or(-1, |value| value.len() as i32).to_le_bytes());
            frame.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }
    debug_assert_eq!(frame.len(), size);
    Ok(frame.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let headers: [(&str, Option<&[u8]>); 2] = [("a", Some(b"1")), ("ö", None)];
        let given = [
            ProducerRecord::new("t", None, None),
            ProducerRecord {
                headers: &headers,
                timestamp: Some(5),
                ..ProducerRecord::new("täg", Some(b""), Some(b"v"))
            },
            ProducerRecord { partition: Some(3), ..ProducerRecord::new("t", Some(b"key"), None) },
        ];
        let mut frame = Vec::new();
        given.iter().for_each(|record| write_produced(&mut frame, record).expect("small"));
        let read = produced(&frame).expect("whole");
        assert_eq!(format!("{:?}", read.records()), format!("{given:?}"));
        assert_eq!((read.end_of(0), read.end_of(3)), (0, frame.len()));
        assert_eq!(produced(&frame[read.end_of(1)..]).expect("whole").records().len(), 2);
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_is_refused_or_read_without_harm() {
        let headers: [(&str, Option<&[u8]>); 1] = [("name", Some(b"value"))];
        let record = ProducerRecord { headers: &headers, ..ProducerRecord::new("topic", Some(b"key"), Some(b"value")) };
        let mut frame = Vec::new();
        write_produced(&mut frame, &record).expect("small");
        for length in 1..frame.len() {
            assert!(produced(&frame[..length]).is_err(), "{length}");
        }
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut changed = frame.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = produced(&changed) {
                    assert!(read.records().len() <= 1);
                }
            }
        }
    }
}
