//! Bytes in JSON: base64 with padding, the alphabet of RFC 4648 section 4, which every language's library reads.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes that JSON carries as base64.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// As base64.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.0.len().div_ceil(3) * 4);
        for chunk in self.0.chunks(3) {
            let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for i in 0..4 {
                let symbol = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
                text.push(if i <= chunk.len() { char::from(symbol) } else { '=' });
            }
        }
        text
    }

    /// From base64; `None` where it is not.
    pub fn decode(text: &str) -> Option<Blob> {
        if !text.len().is_multiple_of(4) {
            return None;
        }
        let data = text.trim_end_matches('=').as_bytes();
        if text.len() - data.len() > 2 {
            return None;
        }
        let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 2);
        let (mut bits, mut count) = (0u32, 0);
        for symbol in data {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        Some(Blob(bytes))
    }
}

impl fmt::Debug for Blob {
    /// As text where it is, shortened: what a failed scenario prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        match text.char_indices().nth(40) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &text[..end], self.0.len()),
            None => write!(f, "{text:?}"),
        }
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Blob {
        Blob(text.as_bytes().to_vec())
    }
}

impl From<String> for Blob {
    fn from(text: String) -> Blob {
        Blob(text.into_bytes())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(bytes)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        let text = String::deserialize(deserializer)?;
        Blob::decode(&text).ok_or_else(|| D::Error::custom(format!("expected base64, found {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        let vectors = ["", "", "f", "Zg==", "fo", "Zm8=", "foo", "Zm9v", "foob", "Zm9vYg==", "fooba", "Zm9vYmE="];
        for pair in vectors.chunks(2) {
            assert_eq!(Blob::from(pair[0]).encode(), pair[1]);
            assert_eq!(Blob::decode(pair[1]), Some(Blob::from(pair[0])));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Blob::decode(&Blob(all.clone()).encode()), Some(Blob(all)));
        assert_eq!(Blob::decode("Zg="), None);
        assert_eq!(Blob::decode("Z-=="), None);
        assert_eq!(Blob::decode("===="), None);
    }
}
