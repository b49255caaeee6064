//! The small values that name things: topic ids, strings from the wire, topic and partition. No parsing of requests here.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

/// A 128-bit id as Kafka has it: sixteen bytes, printed as url-safe base64 without padding (22 characters).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The absent id.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The id of `__cluster_metadata`; also Kafka's `ONE_UUID`.
    pub const METADATA_TOPIC_ID: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// An id of Kafka's random kind (version 4, variant 2) from 128 random bits.
    ///
    /// `None` for the ids that Kafka never hands out: those whose text would begin with a dash, which command lines would
    /// take for an option. Draw again then.
    pub fn from_random(bits: u128) -> Option<Uuid> {
        let mut bytes = bits.to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        // The first six bits are the first character; 62 is '-'.
        (bytes[0] >> 2 != 62).then_some(Uuid(bytes))
    }

    /// From Java's two longs.
    pub fn from_longs(most_significant: u64, least_significant: u64) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&most_significant.to_be_bytes());
        bytes[8..].copy_from_slice(&least_significant.to_be_bytes());
        Uuid(bytes)
    }

    /// Whether this is the absent id.
    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0u8; 22];
        for (position, character) in text.iter_mut().enumerate() {
            // 21 characters take six bits each from the top; the last one takes the two that are left, then four zeros.
            let six = match position {
                21 => (bits << 4) & 63,
                _ => (bits >> (122 - 6 * position)) & 63,
            };
            *character = BASE64_URL[six as usize];
        }
        f.pad(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a Kafka id: not 22 url-safe base64 characters (two `=` may follow).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUuid(String);

impl fmt::Display for InvalidUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not an id: 22 characters of url-safe base64 are expected", self.0)
    }
}

impl std::error::Error for InvalidUuid {}

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Uuid, InvalidUuid> {
        let invalid = || InvalidUuid(text.chars().take(64).collect());
        let body = text.strip_suffix("==").unwrap_or(text).as_bytes();
        if body.len() != 22 {
            return Err(invalid());
        }
        let mut bits = 0u128;
        for (position, character) in body.iter().enumerate() {
            let six = BASE64_URL.iter().position(|c| c == character).ok_or_else(invalid)? as u128;
            bits = match position {
                21 => (bits << 2) | (six >> 4),
                _ => (bits << 6) | six,
            };
        }
        Ok(Uuid(bits.to_be_bytes()))
    }
}

/// An immutable UTF-8 string over shared bytes; a clone costs a reference count.
///
/// A `Str` that was decoded from a frame keeps the whole frame alive: state that lives longer than its request holds an
/// `Arc<str>` or `String` instead.
#[derive(Clone, Default)]
pub struct Str(Bytes);

impl Str {
    /// From text that lives for ever, without a copy.
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// From bytes, after checking that they are UTF-8; no copy.
    pub fn from_utf8(bytes: Bytes) -> Result<Str, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Str(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // `from_utf8` and the From impls are the only ways in. Safe code has to check again; for names this is nanoseconds.
        std::str::from_utf8(&self.0).expect("a Str is made from UTF-8 only")
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes of the text, by value.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text.into_bytes()))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Str {
        Str::from(text.as_str())
    }
}

impl From<&Arc<str>> for Str {
    fn from(text: &Arc<str>) -> Str {
        Str::from(&**text)
    }
}

impl From<Arc<str>> for Str {
    fn from(text: Arc<str>) -> Str {
        Str::from(&*text)
    }
}

impl From<&Str> for Arc<str> {
    fn from(text: &Str) -> Arc<str> {
        Arc::from(text.as_str())
    }
}

impl From<&Str> for String {
    fn from(text: &Str) -> String {
        text.as_str().to_owned()
    }
}

impl From<Str> for String {
    fn from(text: Str) -> String {
        text.as_str().to_owned()
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Str) -> bool {
        self.0 == other.0
    }
}

impl Eq for Str {}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Str {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Str) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Str) -> Ordering {
        // The order of UTF-8 bytes is the order of the characters, which is what str has too.
        self.0.cmp(&other.0)
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Must agree with str's, because of Borrow<str>.
        self.as_str().hash(state);
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// One partition of a topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_print_as_kafkas() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::METADATA_TOPIC_ID.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = Uuid::from_longs(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(id));
        assert_eq!("ASNFZ4mrze_-3LqYdlQyEA==".parse(), Ok(id));
        for wrong in ["", "ASNFZ4mrze_-3LqYdlQyE", "ASNFZ4mrze_-3LqYdlQyE+", "ASNFZ4mrze_-3LqYdlQyEAA"] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
        let random = Uuid::from_random(u128::MAX >> 7).expect("does not begin with a dash");
        assert_eq!(random.to_string().parse(), Ok(random));
        assert_eq!(Uuid::from_random(0xf8 << 120), None);
    }

    #[test]
    fn str_is_found_by_its_text() {
        let mut map = std::collections::HashMap::new();
        map.insert(Str::from("flights"), 1);
        assert_eq!(map.get("flights"), Some(&1));
        let (a, b) = (Str::from("a"), Str::from("b"));
        assert!(a < b);
        assert_eq!(Str::default(), "");
        assert!(Str::from_utf8(Bytes::from_static(&[0xff])).is_err());
    }

    #[test]
    fn a_partition_prints_as_its_folder() {
        assert_eq!(TopicPartition::new("flights", 3).to_string(), "flights-3");
    }
}
