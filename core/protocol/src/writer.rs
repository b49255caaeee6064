//! Writes the primitive types into one growing buffer. Record bytes are not copied into it: the writer notes where they
//! belong, and [`Writer::into_chunks`] cuts the buffer there.

use bytes::Bytes;
use ottla_model::{Records, Str, Uuid};

use crate::error::EncodeError;
use crate::frame::Frame;
use crate::message::Item;
use crate::tags::{RawTaggedField, Tags};

/// A message in the making.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Records and the place in the buffer that they stand before, ascending.
    spliced: Vec<(usize, Records)>,
    spliced_len: usize,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty one with room for `capacity` bytes besides records.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { buffer: Vec::with_capacity(capacity), ..Writer::default() }
    }

    /// The bytes written so far, records included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.spliced_len
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, with the records by reference.
    pub fn into_chunks(self) -> Records {
        self.into_frame().into_chunks()
    }

    /// What was written, with the records apart.
    pub fn into_frame(self) -> Frame {
        Frame::new(Bytes::from(self.buffer), self.spliced)
    }

    /// What was written, in one piece. Without records nothing is copied.
    ///
    /// # Panics
    /// When a file region among the records cannot be read: a message with such records is sent by [`Writer::into_chunks`].
    pub fn into_bytes(self) -> Bytes {
        self.into_chunks().to_bytes().expect("only messages whose records are in memory are made into one piece")
    }

    /// Sets a four-byte value that was written at `position` before any records, as a frame's length is.
    pub fn patch_i32(&mut self, position: usize, value: i32) {
        self.buffer[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(u8::from(value));
    }

    /// One byte, signed.
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// Two bytes, signed, big endian, as all fixed-size integers are.
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.0);
    }

    /// One to five bytes of seven bits each, lowest first.
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint(value);
        self.raw(&bytes[..length]);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The place in the buffer where the next byte goes.
    pub(crate) fn mark(&self) -> usize {
        self.buffer.len()
    }

    /// Puts a varint before what was written since `place`. No records are among that: tagged fields hold none.
    pub(crate) fn insert_uvarint(&mut self, place: usize, value: u32) {
        debug_assert!(self.spliced.last().is_none_or(|(last, _)| *last <= place), "records within a tagged field");
        let (bytes, length) = uvarint(value);
        let end = self.buffer.len();
        self.buffer.extend_from_slice(&bytes[..length]);
        self.buffer.copy_within(place..end, place + length);
        self.buffer[place..place + length].copy_from_slice(&bytes[..length]);
    }

    /// A length, -1 for null: four bytes, or length + 1 as a varint in flexible versions.
    fn length(&mut self, flex: bool, length: Option<usize>) -> Result<(), EncodeError> {
        let value = match length {
            None => -1,
            Some(length) => {
                let value = i32::try_from(length).ok().filter(|length| *length < i32::MAX);
                value.ok_or(EncodeError::TooLong(length))?
            }
        };
        if flex {
            self.uvarint((value + 1) as u32)
        } else {
            self.i32(value)
        }
        Ok(())
    }

    /// A string of at most 32,767 bytes.
    pub fn string(&mut self, flex: bool, value: &Str) -> Result<(), EncodeError> {
        let bytes = value.as_bytes();
        let length = i16::try_from(bytes.len()).map_err(|_| EncodeError::StringTooLong(bytes.len()))?;
        if flex {
            self.uvarint(length as u32 + 1)
        } else {
            self.i16(length)
        }
        self.raw(bytes);
        Ok(())
    }

    /// A string or null.
    pub fn nullable_string(&mut self, flex: bool, value: &Option<Str>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(flex, value)?,
            None if flex => self.uvarint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// Bytes, copied.
    pub fn bytes(&mut self, flex: bool, value: &Bytes) -> Result<(), EncodeError> {
        self.length(flex, Some(value.len()))?;
        self.raw(value);
        Ok(())
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, flex: bool, value: &Option<Bytes>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(flex, value),
            None => self.length(flex, None),
        }
    }

    /// Record bytes, by reference.
    pub fn records(&mut self, flex: bool, value: &Records) -> Result<(), EncodeError> {
        self.length(flex, Some(value.len()))?;
        if !value.is_empty() {
            self.spliced_len += value.len();
            self.spliced.push((self.buffer.len(), value.clone()));
        }
        Ok(())
    }

    /// Record bytes or null.
    pub fn nullable_records(&mut self, flex: bool, value: &Option<Records>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(flex, value),
            None => self.length(flex, None),
        }
    }

    /// An array.
    pub fn array<T: Item>(&mut self, flex: bool, v: i16, value: &[T]) -> Result<(), EncodeError> {
        self.length(flex, Some(value.len()))?;
        value.iter().try_for_each(|element| element.write(self, flex, v))
    }

    /// An array or null.
    pub fn nullable_array<T: Item>(&mut self, flex: bool, v: i16, value: &Option<Vec<T>>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.array(flex, v, value),
            None => self.length(flex, None),
        }
    }

    /// A struct that may be null: a byte before it is -1 for null and 1 otherwise.
    pub fn nullable_struct<T: Item>(&mut self, flex: bool, v: i16, value: &Option<T>) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                value.write(self, flex, v)
            }
            None => {
                self.i8(-1);
                Ok(())
            }
        }
    }

    /// The same in a tagged field, where the marker is an unsigned varint, 0 for null.
    pub fn nullable_tagged_struct<T: Item>(
        &mut self,
        flex: bool,
        v: i16,
        value: &Option<T>,
    ) -> Result<(), EncodeError> {
        self.uvarint(u32::from(value.is_some()));
        value.as_ref().map_or(Ok(()), |value| value.write(self, flex, v))
    }

    /// The tagged fields of a struct that has known ones, in a flexible version.
    pub fn tags<'w, 'u>(&'w mut self, unknown: &'u [RawTaggedField]) -> Tags<'w, 'u> {
        Tags::new(self, unknown)
    }

    /// The tagged fields of a struct that knows none, or none in this version. In versions that are not flexible there must
    /// not be any.
    pub fn unknown_tags(&mut self, flex: bool, unknown: &[RawTaggedField]) -> Result<(), EncodeError> {
        match (flex, unknown) {
            (true, []) => {
                self.uvarint(0);
                Ok(())
            }
            (true, _) => self.tags(unknown).finish(),
            (false, []) => Ok(()),
            (false, _) => Err(EncodeError::TagsNotInVersion),
        }
    }
}

fn uvarint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;

    #[test]
    fn records_pass_by_reference() {
        let records = Records::from(Bytes::from(vec![9; 100]));
        let mut w = Writer::new();
        w.i32(0);
        w.records(false, &records).unwrap();
        w.i16(7);
        w.records(true, &Records::empty()).unwrap();
        assert_eq!(w.len(), 4 + 4 + 100 + 2 + 1);
        let length = w.len() as i32;
        w.patch_i32(0, length);
        let chunks = w.into_chunks();
        assert_eq!(chunks.chunks().len(), 3);
        assert_eq!(chunks.chunks()[1], records.chunks()[0]);
        let bytes = chunks.to_bytes().unwrap();
        assert_eq!(bytes[..8], [0, 0, 0, 111, 0, 0, 0, 100]);
        assert_eq!(bytes[108..], [0, 7, 1]);
    }

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
            let mut w = Writer::new();
            w.uvarint(value);
            assert_eq!(Reader::new(w.into_bytes()).uvarint(), Ok(value));
        }
    }

    #[test]
    fn long_strings_are_refused_in_every_version() {
        let long = Str::from("x".repeat(32_768));
        for flex in [false, true] {
            assert_eq!(Writer::new().string(flex, &long), Err(EncodeError::StringTooLong(32_768)));
        }
    }
}
