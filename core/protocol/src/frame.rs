//! One message as it passes between the two ends of a connection in the same process: the bytes of its own in one piece, and
//! record bytes apart, by reference, with the places where they belong. Over a socket it is just the bytes in their order.

use std::io;

use bytes::Bytes;
use ottla_model::{Chunk, Records};

/// A message with its header, without the length in front.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    bytes: Bytes,
    /// Records and the place in `bytes` that they stand before, ascending. None is empty.
    spliced: Vec<(usize, Records)>,
    len: usize,
}

impl Frame {
    /// `spliced` in ascending order, each before a place in `bytes`.
    pub(crate) fn new(bytes: Bytes, spliced: Vec<(usize, Records)>) -> Frame {
        let len = bytes.len() + spliced.iter().map(|(_, records)| records.len()).sum::<usize>();
        Frame { bytes, spliced, len }
    }

    /// The size in bytes, records included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first bytes; `None` if it is shorter, or records stand among them, which they do in no message.
    pub fn first_chunk<const N: usize>(&self) -> Option<&[u8; N]> {
        let before_records = self.spliced.first().is_none_or(|(place, _)| *place >= N);
        self.bytes.first_chunk().filter(|_| before_records)
    }

    /// The bytes in their order, records by reference.
    pub fn into_chunks(self) -> Records {
        if self.spliced.is_empty() {
            return Records::from(self.bytes);
        }
        let mut chunks = Records::empty();
        let mut start = 0;
        for (place, records) in self.spliced {
            chunks.push(Chunk::Bytes(self.bytes.slice(start..place)));
            chunks.append(records);
            start = place;
        }
        chunks.push(Chunk::Bytes(self.bytes.slice(start..)));
        chunks
    }

    /// The bytes in one piece; copied if there are records in it.
    ///
    /// # Errors
    /// A file that records lie in cannot be read.
    pub fn into_bytes(self) -> io::Result<Bytes> {
        self.into_chunks().to_bytes()
    }

    /// Reads records that lie in a file into memory, so that nobody waits for a disk later; blocks on it. Those in memory
    /// stay as they are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn into_memory(mut self) -> io::Result<Frame> {
        for (_, records) in &mut self.spliced {
            if records.chunks().iter().any(|chunk| matches!(chunk, Chunk::Region(_))) {
                let read = |chunk: &Chunk| chunk.to_bytes().map(Chunk::Bytes);
                *records = records.chunks().iter().map(read).collect::<io::Result<Records>>()?;
            }
        }
        Ok(self)
    }

    pub(crate) fn into_parts(self) -> (Bytes, Vec<(usize, Records)>) {
        (self.bytes, self.spliced)
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Frame {
        Frame { len: bytes.len(), bytes, spliced: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, ProduceRequest, Reader, Writer};

    fn request(records: &Records) -> ProduceRequest {
        let data = |index| crate::produce_request::PartitionProduceData {
            index,
            records: Some(records.clone()),
            ..Default::default()
        };
        let topic = crate::produce_request::TopicProduceData {
            name: "t".into(),
            partition_data: vec![data(0), data(1)],
            ..Default::default()
        };
        ProduceRequest { acks: 1, topic_data: vec![topic], ..Default::default() }
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut records = Records::from(Bytes::from(vec![7; 100]));
        records.push(Bytes::from(vec![8; 50]));
        for version in [3, 9] {
            let mut writer = Writer::new();
            request(&records).encode(&mut writer, version).unwrap();
            let frame = writer.into_frame();
            let len = frame.len();
            let bytes = frame.clone().into_bytes().unwrap();
            assert_eq!(bytes.len(), len);
            let mut reader = Reader::of(frame);
            let decoded = ProduceRequest::decode(&mut reader, version).unwrap();
            reader.finish().unwrap();
            assert_eq!(decoded, request(&records));
            for data in &decoded.topic_data[0].partition_data {
                let Chunk::Bytes(bytes) = &data.records.as_ref().unwrap().chunks()[0] else { panic!("in memory") };
                let Chunk::Bytes(sent) = &records.chunks()[0] else { panic!("in memory") };
                assert_eq!(bytes.as_ptr(), sent.as_ptr(), "by reference");
            }
            // In one piece it is the same message.
            assert_eq!(ProduceRequest::decode(&mut Reader::new(bytes), version).unwrap(), decoded);
        }
    }

    #[test]
    fn records_of_another_length_are_refused() {
        let mut writer = Writer::new();
        writer.i32(5);
        let bytes = writer.into_bytes();
        let frame = Frame::new(bytes.clone(), vec![(4, Records::from(vec![1; 6]))]);
        assert!(Reader::of(frame).records(false).is_err());
        let frame = Frame::new(bytes, vec![(3, Records::from(vec![1; 5]))]);
        assert!(Reader::of(frame).records(false).is_err(), "they stand elsewhere");
    }
}
