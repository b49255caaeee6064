//! The traits that generated code implements: [`Item`] for whatever can stand in an array, [`Message`] for what has a version
//! of its own, [`Request`] and [`RecordType`] for what is found by a key.

use std::fmt::Debug;

use bytes::Bytes;
use ottla_model::{Str, Uuid};

use crate::api_key::ApiKey;
use crate::error::{DecodeError, DecodeProblem, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;

/// A value inside a message: a struct, or the element of an array. Its version is that of the message around it; `flex` says
/// whether that version is flexible (KIP-482).
pub trait Item: Sized {
    /// The fewest bytes that the value takes in any version; 1 for the few whole messages of no bytes, which stand in no
    /// array. A count of elements is checked against it before memory is taken.
    const MIN_SIZE: usize;

    /// Reads one.
    fn read(r: &mut Reader, flex: bool, v: i16) -> Result<Self, DecodeError>;

    /// Writes one.
    fn write(&self, w: &mut Writer, flex: bool, v: i16) -> Result<(), EncodeError>;
}

/// A message with versions of its own.
pub trait Message: Item + Clone + Debug + Default + PartialEq {
    /// The schema's name.
    const NAME: &'static str;
    /// The lowest version.
    const LOWEST_VERSION: i16;
    /// The highest version that the schema has, stable or not.
    const HIGHEST_VERSION: i16;
    /// The highest version that Apache Kafka advertises without `unstable.api.versions.enable`.
    const HIGHEST_STABLE_VERSION: i16 = Self::HIGHEST_VERSION;
    /// The first flexible version; `i16::MAX` when there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads the message in one version. What follows it stays in the reader; see [`Reader::finish`].
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !(Self::LOWEST_VERSION..=Self::HIGHEST_VERSION).contains(&version) {
            return Err(r.error(DecodeProblem::UnsupportedVersion { message: Self::NAME, version }));
        }
        Self::read(r, version >= Self::FLEXIBLE_FROM, version)
    }

    /// Writes the message in one version. After an error the writer holds part of it and is of no use.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !(Self::LOWEST_VERSION..=Self::HIGHEST_VERSION).contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: Self::NAME, version });
        }
        self.write(w, version >= Self::FLEXIBLE_FROM, version)
    }

    /// Reads a message that is all of `bytes`.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let message = Self::decode(&mut r, version)?;
        r.finish()?;
        Ok(message)
    }

    /// Writes a message whose records, if any, are in memory.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut w = Writer::new();
        self.encode(&mut w, version)?;
        Ok(w.into_bytes())
    }
}

/// A request, which names its response.
pub trait Request: Message {
    /// The key in the request header.
    const API_KEY: ApiKey;
    /// What answers it, in the same version.
    type Response: Message;
}

/// A metadata or coordinator record: its kind is a number that stands before it.
///
/// Metadata records are framed as unsigned varints (frame version 1, type, version) before the message; coordinator keys as an
/// i16 type, coordinator values as an i16 version.
pub trait RecordType: Message {
    /// The schema's apiKey.
    const RECORD_TYPE: i16;
}

macro_rules! fixed {
    ($($type:ty, $size:literal, $method:ident;)*) => {$(
        impl Item for $type {
            const MIN_SIZE: usize = $size;

            fn read(r: &mut Reader, _flex: bool, _v: i16) -> Result<Self, DecodeError> {
                r.$method()
            }

            fn write(&self, w: &mut Writer, _flex: bool, _v: i16) -> Result<(), EncodeError> {
                w.$method(*self);
                Ok(())
            }
        }
    )*};
}

fixed! {
    bool, 1, bool;
    i8, 1, i8;
    i16, 2, i16;
    u16, 2, u16;
    i32, 4, i32;
    u32, 4, u32;
    i64, 8, i64;
    f64, 8, f64;
    Uuid, 16, uuid;
}

impl Item for Str {
    const MIN_SIZE: usize = 1;

    fn read(r: &mut Reader, flex: bool, _v: i16) -> Result<Self, DecodeError> {
        r.string(flex)
    }

    fn write(&self, w: &mut Writer, flex: bool, _v: i16) -> Result<(), EncodeError> {
        w.string(flex, self)
    }
}
