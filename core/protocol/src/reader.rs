//! Reads the primitive types from shared bytes. Strings, bytes and records are slices of the input, not copies.
//!
//! Memory is bounded by the input: every length is checked against what remains, and every count against what remains for it.
//! "For it" is the point: while an array is read, the smallest size of its elements still to come is set aside (`reserved`),
//! so that arrays inside an element cannot claim the same bytes once more. The sum of what is allocated is therefore at most
//! [`MEMORY_FACTOR`] × input, whatever the nesting; tests/fuzz counts it.

use bytes::Bytes;
use ottla_model::{Records, Str, Uuid};

use crate::error::{DecodeError, DecodeProblem};
use crate::frame::Frame;
use crate::message::Item;
use crate::tags::RawTaggedField;

/// The most bytes of memory that decoding takes for each byte of input, besides a few kilobytes. No element of an array is
/// larger in memory than this many times its smallest size on the wire; the compiler checks it for each.
pub const MEMORY_FACTOR: usize = 56;

/// A position in shared bytes.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    /// Where reading must stop: the end of the bytes, or of the tagged field that is being read.
    end: usize,
    /// The bytes before `end` that array elements still to come need at least.
    reserved: usize,
    /// Records that are not among the bytes, and the place that they stand before; the next one last.
    spliced: Vec<(usize, Records)>,
}

impl Reader {
    /// Starts at the first byte.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { end: bytes.len(), bytes, position: 0, reserved: 0, spliced: Vec::new() }
    }

    /// Starts at the first byte of a frame, whose records it gives out as they are in it.
    pub fn of(frame: Frame) -> Reader {
        let (bytes, mut spliced) = frame.into_parts();
        spliced.reverse();
        Reader { spliced, ..Reader::new(bytes) }
    }

    /// The bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// What remains, as one slice of the input.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.position..self.end);
        self.position = self.end;
        rest
    }

    /// Refuses bytes after the end of a message.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeProblem::TrailingBytes(left))),
        }
    }

    /// A problem at the current position.
    #[cold]
    pub fn error(&self, problem: DecodeProblem) -> DecodeError {
        DecodeError { position: self.position, problem }
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        self.error(DecodeProblem::Truncated { needed, remaining: self.remaining() })
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.position..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// One byte; anything but 0 is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// One byte, signed.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array_of().map(i8::from_be_bytes)
    }

    /// Two bytes, signed, big endian, as all fixed-size integers are.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array_of().map(i16::from_be_bytes)
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array_of().map(u16::from_be_bytes)
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array_of().map(i32::from_be_bytes)
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array_of().map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array_of().map(i64::from_be_bytes)
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.array_of().map(f64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array_of().map(Uuid)
    }

    /// One to five bytes of seven bits each, lowest first.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array_of()?;
            // The fifth byte has room for four bits only; Kafka drops the others, and so do we.
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeProblem::VarintTooLong))
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.truncated(length));
        }
        let start = self.position;
        self.position += length;
        // An empty slice of a frame would keep the frame alive for nothing.
        Ok(if length == 0 { Bytes::new() } else { self.bytes.slice(start..self.position) })
    }

    /// A length that says null with -1; `wide` lengths are four bytes, others two. Flexible ones are length + 1 as a varint.
    fn length(&mut self, flex: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (flex, wide) {
            (true, _) => (self.uvarint()? as i32).wrapping_sub(1),
            (false, true) => self.i32()?,
            (false, false) => i32::from(self.i16()?),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(DecodeProblem::NegativeLength(length))),
        }
    }

    fn not_null<T>(&self, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.error(DecodeProblem::UnexpectedNull))
    }

    /// A string.
    pub fn string(&mut self, flex: bool) -> Result<Str, DecodeError> {
        let value = self.nullable_string(flex)?;
        self.not_null(value)
    }

    /// A string or null.
    pub fn nullable_string(&mut self, flex: bool) -> Result<Option<Str>, DecodeError> {
        let Some(length) = self.length(flex, false)? else { return Ok(None) };
        let bytes = self.take(length)?;
        Str::from_utf8(bytes).map(Some).map_err(|_| self.error(DecodeProblem::NotUtf8))
    }

    /// Bytes.
    pub fn bytes(&mut self, flex: bool) -> Result<Bytes, DecodeError> {
        let value = self.nullable_bytes(flex)?;
        self.not_null(value)
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, flex: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flex, true)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// Record bytes, not looked into.
    pub fn records(&mut self, flex: bool) -> Result<Records, DecodeError> {
        let value = self.nullable_records(flex)?;
        self.not_null(value)
    }

    /// Record bytes or null.
    pub fn nullable_records(&mut self, flex: bool) -> Result<Option<Records>, DecodeError> {
        if self.spliced.is_empty() {
            return Ok(self.nullable_bytes(flex)?.map(Records::from));
        }
        match self.length(flex, true)? {
            None => Ok(None),
            Some(length) => self.take_records(length).map(Some),
        }
    }

    /// Records that stand here, or those among the bytes.
    fn take_records(&mut self, length: usize) -> Result<Records, DecodeError> {
        match self.spliced.pop_if(|(place, records)| *place == self.position && records.len() == length) {
            Some((_, records)) => Ok(records),
            None => self.take(length).map(Records::from),
        }
    }

    /// An array.
    pub fn array<T: Item>(&mut self, flex: bool, v: i16) -> Result<Vec<T>, DecodeError> {
        let value = self.nullable_array(flex, v)?;
        self.not_null(value)
    }

    /// An array or null.
    pub fn nullable_array<T: Item>(&mut self, flex: bool, v: i16) -> Result<Option<Vec<T>>, DecodeError> {
        match self.length(flex, true)? {
            Some(count) => self.elements(count, flex, v).map(Some),
            None => Ok(None),
        }
    }

    fn elements<T: Item>(&mut self, count: usize, flex: bool, v: i16) -> Result<Vec<T>, DecodeError> {
        const { assert!(size_of::<T>() <= MEMORY_FACTOR * T::MIN_SIZE, "this struct would break the bound on memory") };
        let free = self.remaining().saturating_sub(self.reserved);
        if count > free / T::MIN_SIZE {
            return Err(self.error(DecodeProblem::TooManyElements { count, remaining: free }));
        }
        let mut elements = Vec::with_capacity(count);
        // Cannot overflow: it is at most what remains. An error leaves it too high, but then nothing more is read.
        self.reserved += count * T::MIN_SIZE;
        for _ in 0..count {
            self.reserved -= T::MIN_SIZE;
            elements.push(T::read(self, flex, v)?);
        }
        Ok(elements)
    }

    /// A struct that may be null: a byte before it is negative for null and 1 otherwise.
    pub fn nullable_struct<T: Item>(&mut self, flex: bool, v: i16) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { T::read(self, flex, v).map(Some) }
    }

    /// The same in a tagged field, where the marker is an unsigned varint, 0 for null.
    pub fn nullable_tagged_struct<T: Item>(&mut self, flex: bool, v: i16) -> Result<Option<T>, DecodeError> {
        if self.uvarint()? == 0 { Ok(None) } else { T::read(self, flex, v).map(Some) }
    }

    /// The tagged fields of a struct that knows none; nothing in versions that are not flexible.
    pub fn tags(&mut self, flex: bool) -> Result<Vec<RawTaggedField>, DecodeError> {
        if flex { self.known_tags(|_, _| Ok(false)) } else { Ok(Vec::new()) }
    }

    /// The tagged fields of a struct: each is offered to `known`, which reads it and says true, or leaves it and says false;
    /// those that it leaves are returned, in the order of their tags.
    pub fn known_tags(
        &mut self,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<Vec<RawTaggedField>, DecodeError> {
        let count = self.uvarint()? as usize;
        // The smallest tagged field is its tag and a size of 0. Known ones take no place in the vector.
        let free = self.remaining().saturating_sub(self.reserved);
        if count > free / 2 {
            return Err(self.error(DecodeProblem::TooManyElements { count, remaining: free }));
        }
        let mut unknown = Vec::new();
        let (outer_end, outer_reserved) = (self.end, self.reserved);
        for left in (0..count).rev() {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            // The fields still to come need their two bytes each.
            if size > self.remaining().saturating_sub(outer_reserved + 2 * left) {
                return Err(self.truncated(size));
            }
            // The field is read as if it were all there is.
            self.end = self.position + size;
            self.reserved = 0;
            let taken = known(self, tag)?;
            if taken && self.position != self.end {
                return Err(self.error(DecodeProblem::TagSize { tag }));
            }
            let data = if taken { None } else { Some(self.take(size)?) };
            (self.end, self.reserved) = (outer_end, outer_reserved);
            if let Some(data) = data {
                if unknown.capacity() == 0 {
                    unknown.reserve_exact(left + 1);
                }
                unknown.push(RawTaggedField { tag, data });
            }
        }
        unknown.sort_by_key(|field| field.tag);
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_memory_is_taken() {
        let problem = reader(&[0x7f, 0xff, 0xff, 0xff, 0]).array::<i64>(false, 0).unwrap_err().problem;
        assert_eq!(problem, DecodeProblem::TooManyElements { count: 0x7fff_ffff, remaining: 1 });
    }

    #[test]
    fn lengths_are_checked() {
        let problem = reader(&[0, 5, b'a']).string(false).unwrap_err().problem;
        assert_eq!(problem, DecodeProblem::Truncated { needed: 5, remaining: 1 });
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert_eq!(reader(&[0xff, 0xff]).string(false).unwrap_err().problem, DecodeProblem::UnexpectedNull);
        assert_eq!(reader(&[0xff, 0xfe]).string(false).unwrap_err().problem, DecodeProblem::NegativeLength(-2));
        assert_eq!(reader(&[2, 0xff]).string(true).unwrap_err().problem, DecodeProblem::NotUtf8);
        assert_eq!(reader(&[0x80; 6]).uvarint().unwrap_err().problem, DecodeProblem::VarintTooLong);
        assert_eq!(reader(&[0x80, 0x01]).uvarint(), Ok(128));
    }

    #[test]
    fn an_unknown_tag_is_kept_and_a_wrong_size_refused() {
        let mut r = reader(&[2, 9, 1, 7, 4, 0, 1]);
        let tags = r.tags(true).unwrap();
        assert_eq!(tags.iter().map(|t| (t.tag, t.data.len())).collect::<Vec<_>>(), [(4, 0), (9, 1)]);
        assert_eq!(r.remaining(), 1);
        let known = |r: &mut Reader, _| r.i8().map(|_| true);
        assert_eq!(reader(&[1, 0, 2, 1, 1]).known_tags(known).unwrap_err().problem, DecodeProblem::TagSize { tag: 0 });
        let problem = reader(&[1, 0, 0, 1]).known_tags(known).unwrap_err().problem;
        assert_eq!(problem, DecodeProblem::Truncated { needed: 1, remaining: 0 });
    }

    #[test]
    fn strings_are_slices_of_the_input() {
        let input = Bytes::from(vec![0, 3, b'a', b'b', b'c']);
        let text = Reader::new(input.clone()).string(false).unwrap();
        assert_eq!(text.as_bytes().as_ptr(), input[2..].as_ptr());
    }
}
