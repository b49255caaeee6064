//! Tagged fields (KIP-482): the optional fields at the end of a struct in flexible versions.

use bytes::Bytes;

use crate::error::EncodeError;
use crate::writer::Writer;

/// A tagged field that the schema does not know, kept byte for byte so that it can be sent on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawTaggedField {
    /// The field's number.
    pub tag: u32,
    /// Its content, without the size before it.
    pub data: Bytes,
}

/// Writes the known fields of one struct in the order of their tags, and the unknown ones between them.
#[derive(Debug)]
pub struct Tags<'w, 'u> {
    writer: &'w mut Writer,
    unknown: &'u [RawTaggedField],
    /// Where the count belongs.
    start: usize,
    count: u32,
    /// The lowest tag that may still come.
    next: u32,
}

impl<'w, 'u> Tags<'w, 'u> {
    pub(crate) fn new(writer: &'w mut Writer, unknown: &'u [RawTaggedField]) -> Tags<'w, 'u> {
        let start = writer.mark();
        Tags { writer, unknown, start, count: 0, next: 0 }
    }

    fn head(&mut self, tag: u32) -> Result<(), EncodeError> {
        if tag < self.next {
            return Err(EncodeError::TagOrder(tag));
        }
        self.next = tag.checked_add(1).ok_or(EncodeError::TagOrder(tag))?;
        self.count += 1;
        self.writer.uvarint(tag);
        Ok(())
    }

    fn unknown_below(&mut self, tag: u32) -> Result<(), EncodeError> {
        while let Some((first, rest)) = self.unknown.split_first()
            && first.tag < tag
        {
            self.head(first.tag)?;
            self.writer.uvarint(u32::try_from(first.data.len()).map_err(|_| EncodeError::TooLong(first.data.len()))?);
            self.writer.raw(&first.data);
            self.unknown = rest;
        }
        Ok(())
    }

    /// Writes one known field; its size is put before it afterwards.
    pub fn put(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unknown_below(tag)?;
        self.head(tag)?;
        let start = self.writer.mark();
        write(self.writer)?;
        let size = self.writer.mark() - start;
        self.writer.insert_uvarint(start, u32::try_from(size).map_err(|_| EncodeError::TooLong(size))?);
        Ok(())
    }

    /// Writes what is left and the count before all.
    pub fn finish(mut self) -> Result<(), EncodeError> {
        self.unknown_below(u32::MAX)?;
        if let Some(left) = self.unknown.first() {
            return Err(EncodeError::TagOrder(left.tag));
        }
        self.writer.insert_uvarint(self.start, self.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tags_stand_in_order_between_known_ones() {
        let field = |tag| RawTaggedField { tag, data: Bytes::from_static(b"x") };
        let unknown = [field(1), field(7)];
        let mut w = Writer::new();
        let mut tags = w.tags(&unknown);
        tags.put(0, |_| Ok(())).unwrap();
        tags.put(2, |_| Ok(())).unwrap();
        tags.finish().unwrap();
        assert_eq!(w.into_bytes(), &[4, 0, 0, 1, 1, b'x', 2, 0, 7, 1, b'x'][..]);

        let mut w = Writer::new();
        let mut tags = w.tags(&unknown);
        assert_eq!(tags.put(1, |_| Ok(())).and_then(|()| tags.finish()), Err(EncodeError::TagOrder(1)));
    }
}
