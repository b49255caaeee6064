//! What can be wrong with bytes that came in, and with a message that should go out. Neither carries the bytes themselves.

use std::fmt;

/// Bytes that are not the message they should be. A peer's mistake, never a reason to panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Where the reader stood, counted from the first byte it was given.
    pub position: usize,
    /// What it met there.
    pub problem: DecodeProblem,
}

/// What a [`DecodeError`] met.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeProblem {
    /// A value or a length reaches beyond the end.
    Truncated {
        /// The bytes that were needed.
        needed: usize,
        /// The bytes that were left.
        remaining: usize,
    },
    /// An array claims more elements than the bytes that are left could hold.
    TooManyElements {
        /// The claim.
        count: usize,
        /// The bytes that were left for it.
        remaining: usize,
    },
    /// A length below -1.
    NegativeLength(i32),
    /// A null where the version has none.
    UnexpectedNull,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A variable-length integer of more than its five or ten bytes.
    VarintTooLong,
    /// A tagged field whose size is not the one it claims.
    TagSize {
        /// The field's tag.
        tag: u32,
    },
    /// Bytes after the end of the message.
    TrailingBytes(usize),
    /// A version that the message does not have.
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            DecodeProblem::Truncated { needed, remaining } => write!(f, "{needed} bytes needed, {remaining} left")?,
            DecodeProblem::TooManyElements { count, remaining } => {
                write!(f, "an array claims {count} elements with {remaining} bytes left")?;
            }
            DecodeProblem::NegativeLength(length) => write!(f, "a length of {length}")?,
            DecodeProblem::UnexpectedNull => f.write_str("null in a field that cannot be null")?,
            DecodeProblem::NotUtf8 => f.write_str("a string that is not UTF-8")?,
            DecodeProblem::VarintTooLong => f.write_str("a variable-length integer without an end")?,
            DecodeProblem::TagSize { tag } => write!(f, "tagged field {tag} is not as long as it claims")?,
            DecodeProblem::TrailingBytes(count) => write!(f, "{count} bytes after the end of the message")?,
            DecodeProblem::UnsupportedVersion { message, version } => {
                return write!(f, "{message} has no version {version}");
            }
        }
        write!(f, " (at byte {})", self.position)
    }
}

impl std::error::Error for DecodeError {}

/// A message that the version cannot carry. Our own mistake or a user's, found before a byte leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message does not have this version.
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that this version does not have and that must not be dropped silently.
    FieldNotInVersion {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that this version cannot have as null.
    UnexpectedNull {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string of more than 32,767 bytes.
    StringTooLong(usize),
    /// Bytes or an array of more than 2,147,483,646 bytes or elements.
    TooLong(usize),
    /// Unknown tagged fields in a version that has no tagged fields.
    TagsNotInVersion,
    /// An unknown tagged field with a tag that is known, or not in ascending order.
    TagOrder(u32),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::UnsupportedVersion { message, version } => write!(f, "{message} has no version {version}"),
            EncodeError::FieldNotInVersion { field, version } => {
                write!(f, "{field} is set, but version {version} does not have it")
            }
            EncodeError::UnexpectedNull { field, version } => {
                write!(f, "{field} is null, which version {version} cannot say")
            }
            EncodeError::StringTooLong(length) => write!(f, "a string of {length} bytes; 32767 is the most"),
            EncodeError::TooLong(length) => write!(f, "{length} bytes or elements; 2147483646 is the most"),
            EncodeError::TagsNotInVersion => {
                f.write_str("unknown tagged fields are set in a version without tagged fields")
            }
            EncodeError::TagOrder(tag) => write!(f, "unknown tagged field {tag} is known or out of order"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Refuses a set field in a version that does not have it.
pub fn absent(set: bool, field: &'static str, version: i16) -> Result<(), EncodeError> {
    if set { Err(EncodeError::FieldNotInVersion { field, version }) } else { Ok(()) }
}

/// The value of a field that is nullable in other versions only.
pub fn required<'a, T>(value: &'a Option<T>, field: &'static str, version: i16) -> Result<&'a T, EncodeError> {
    value.as_ref().ok_or(EncodeError::UnexpectedNull { field, version })
}
