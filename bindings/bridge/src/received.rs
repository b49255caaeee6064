//! A consumer's frame, read: for bindings that hand out views of it instead of the bytes.

use crate::error::{Error, Kind};
use bytes::Bytes;
use std::ops::Range;

/// The form that this reads.
const VERSION: u32 = 1;
const HEAD: usize = 16;
const RECORD: usize = 56;

/// A frame of records; see [`crate::frame`]. Looking at a record makes nothing but the view.
#[derive(Debug)]
pub struct Received {
    frame: Bytes,
    partitions: Vec<Part>,
    /// Where the records begin.
    records: usize,
    count: usize,
}

#[derive(Debug)]
struct Part {
    topic: Range<usize>,
    partition: i32,
    next_offset: i64,
    /// Of the first record that is not of this partition any more.
    end: usize,
}

/// A view of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    /// Which of [`Received::topics`]; one for each partition.
    pub topic: usize,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// ms since 1970, or -1.
    pub timestamp: i64,
    /// 0 CreateTime, 1 LogAppendTime.
    pub timestamp_type: i32,
    /// -1 unknown.
    pub leader_epoch: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// How many headers it has.
    pub header_count: usize,
}

impl Received {
    /// Looks through the frame's head.
    ///
    /// # Errors
    /// It is not a frame of this version.
    pub fn read(frame: Bytes) -> Result<Received, Error> {
        let read = || {
            if u32_at(&frame, 0)? != VERSION {
                return None;
            }
            let (partitions, count) = (u32_at(&frame, 4)?, u32_at(&frame, 8)? as usize);
            let (mut at, mut end) = (HEAD, 0);
            let mut all = Vec::new();
            for _ in 0..partitions {
                let length = u32_at(&frame, at + 20)? as usize;
                let topic = at + 24..(at + 24).checked_add(length)?;
                std::str::from_utf8(frame.get(topic.clone())?).ok()?;
                end += u32_at(&frame, at + 16)? as usize;
                let (next_offset, partition) = (i64_at(&frame, at)?, i32_at(&frame, at + 12)?);
                at = topic.end.next_multiple_of(8);
                all.push(Part { topic, partition, next_offset, end });
            }
            (end == count && frame.len().checked_sub(at)? / RECORD >= count).then_some((all, at, count))
        };
        let (partitions, records, count) =
            read().ok_or_else(|| Error::new(Kind::Internal, "a poll's frame is not as this version reads it"))?;
        Ok(Received { frame, partitions, records, count })
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The topic of each partition, in the order of the frame.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.partitions.iter().map(|part| self.text(part.topic.clone()))
    }

    /// Topic, partition and the offset to go on from, of each partition.
    pub fn next_offsets(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.partitions.iter().map(|part| (self.text(part.topic.clone()), part.partition, part.next_offset))
    }

    fn text(&self, range: Range<usize>) -> &str {
        self.frame.get(range).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn part(&self, at: usize) -> Option<Option<&[u8]>> {
        let (start, length) = (u32_at(&self.frame, at)? as usize, i32_at(&self.frame, at + 4)?);
        match usize::try_from(length) {
            Err(_) => Some(None),
            Ok(length) => Some(Some(self.frame.get(start..start.checked_add(length)?)?)),
        }
    }

    /// The record of this index; `None` behind the last.
    pub fn get(&self, index: usize) -> Option<View<'_>> {
        let at = (index < self.count).then(|| self.records + index * RECORD)?;
        let topic = self.partitions.partition_point(|part| part.end <= index);
        Some(View {
            topic,
            partition: self.partitions.get(topic)?.partition,
            offset: i64_at(&self.frame, at)?,
            timestamp: i64_at(&self.frame, at + 8)?,
            leader_epoch: i32_at(&self.frame, at + 16)?,
            timestamp_type: i32_at(&self.frame, at + 20)?,
            key: self.part(at + 24)?,
            value: self.part(at + 32)?,
            header_count: u32_at(&self.frame, at + 44)? as usize,
        })
    }

    /// A header of a record: its name and its value; `None` behind the last.
    pub fn header(&self, index: usize, header: usize) -> Option<(&str, Option<&[u8]>)> {
        let mut at = (index < self.count).then(|| self.records + index * RECORD)?;
        let (start, count) = (u32_at(&self.frame, at + 40)? as usize, u32_at(&self.frame, at + 44)? as usize);
        if header >= count {
            return None;
        }
        at = start;
        let mut part = || {
            let length = i32_at(&self.frame, at)?;
            at += 4;
            let Ok(length) = usize::try_from(length) else { return Some(None) };
            let bytes = self.frame.get(at..at.checked_add(length)?)?;
            at += length;
            Some(Some(bytes))
        };
        for _ in 0..header {
            part()?;
            part()?;
        }
        let name = std::str::from_utf8(part()??).ok()?;
        Some((name, part()?))
    }
}

fn u32_at(frame: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(frame.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn i32_at(frame: &[u8], at: usize) -> Option<i32> {
    u32_at(frame, at).map(u32::cast_signed)
}

fn i64_at(frame: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(frame.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_read_beyond_the_frame() {
        // One partition "t" with one record that points behind the end.
        let mut frame = vec![];
        for number in [1_u32, 1, 1, 0] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        frame.extend_from_slice(&[0; 16]);
        frame.extend_from_slice(&1_u32.to_le_bytes());
        frame.extend_from_slice(&1_u32.to_le_bytes());
        frame.extend_from_slice(b"t\0\0\0\0\0\0\0");
        frame.extend_from_slice(&[0; 24]);
        for number in [1000_u32, 5, 0, u32::MAX, 4_000_000_000, 7] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        frame.extend_from_slice(&[0; 8]);
        let received = Received::read(frame.clone().into()).expect("a head");
        assert_eq!(received.topics().collect::<Vec<_>>(), ["t"]);
        assert!(received.get(0).is_none() && received.get(1).is_none());
        assert!(received.header(0, 0).is_none() && received.header(0, 9).is_none());
        for length in 0..frame.len() {
            if let Ok(cut) = Received::read(Bytes::copy_from_slice(&frame[..length])) {
                assert!(cut.get(0).is_none());
            }
        }
    }
}
