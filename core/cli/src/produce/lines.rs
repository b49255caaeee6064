//! One line to one record.

use crate::time::timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// How lines are read.
pub struct Reader {
    pub format: LineFormat,
    pub parse_headers: bool,
    pub null_marker: Option<String>,
}

/// What a line is.
pub enum LineFormat {
    Raw,
    KeyValue(String),
    Json,
}

/// What a line says of its record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
    pub partition: Option<i32>,
    pub timestamp: Option<i64>,
}

impl Reader {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, line: &[u8]) -> Result<Parsed, String> {
        let mut parsed = Parsed::default();
        let mut rest = line;
        if self.parse_headers {
            let end = find(line, b"\t").ok_or("headers end in a tab, and there is none")?;
            parsed.headers = headers(&line[..end])?;
            rest = &line[end + 1..];
        }
        match &self.format {
            LineFormat::Raw => parsed.value = self.bytes(rest),
            LineFormat::KeyValue(separator) => match find(rest, separator.as_bytes()) {
                Some(at) => {
                    parsed.key = self.bytes(&rest[..at]);
                    parsed.value = self.bytes(&rest[at + separator.len()..]);
                }
                None => parsed.value = self.bytes(rest),
            },
            LineFormat::Json => {
                let value = serde_json::from_slice(rest).map_err(|error| format!("not JSON: {error}"))?;
                self.object(value, &mut parsed)?;
            }
        }
        Ok(parsed)
    }

    fn bytes(&self, bytes: &[u8]) -> Option<Bytes> {
        let null = self.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == bytes);
        Some(Bytes::copy_from_slice(bytes)).filter(|_| !null)
    }

    fn object(&self, value: Value, parsed: &mut Parsed) -> Result<(), String> {
        let Value::Object(mut fields) = value else {
            return Err("expected an object with key and value".to_owned());
        };
        if !fields.contains_key("value") && !fields.contains_key("valueBase64") {
            return Err("the object has no value; null makes a tombstone".to_owned());
        }
        parsed.key = field(&mut fields, "key", "keyBase64")?;
        parsed.value = field(&mut fields, "value", "valueBase64")?;
        match fields.remove("headers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    parsed.headers.push((name, of_json(value)));
                }
            }
            Some(Value::Array(list)) => {
                for header in list {
                    let Value::Object(mut header) = header else {
                        return Err("a header in a list is an object with name and value".to_owned());
                    };
                    let Some(Value::String(name)) = header.remove("name") else {
                        return Err("a header has no name".to_owned());
                    };
                    let value = field(&mut header, "value", "valueBase64")?;
                    parsed.headers.push((name, value));
                }
            }
            Some(_) => return Err("headers are an object, or a list of objects with name and value".to_owned()),
        }
        let number = |value: Option<Value>, name: &str| match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or(format!("{name} is no whole number")),
        };
        let partition = number(fields.remove("partition"), "partition")?;
        parsed.partition = partition
            .map(|partition| i32::try_from(partition).map_err(|_| format!("there is no partition {partition}")))
            .transpose()?;
        parsed.timestamp = match fields.remove("timestamp") {
            Some(Value::String(text)) => Some(timestamp(&text)?),
            other => number(other, "timestamp")?,
        };
        Ok(())
    }
}

/// `a:1,b:2`; a name without a colon has no value.
fn headers(text: &[u8]) -> Result<Vec<(String, Option<Bytes>)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "headers are not UTF-8 text")?;
    let header = |part: &str| match part.split_once(':') {
        Some((name, value)) => (name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))),
        None => (part.to_owned(), None),
    };
    Ok(text.split(',').filter(|part| !part.is_empty()).map(header).collect())
}

fn field(fields: &mut serde_json::Map<String, Value>, name: &str, base64: &str) -> Result<Option<Bytes>, String> {
    match (fields.remove(name), fields.remove(base64)) {
        (_, Some(Value::String(text))) => {
            let bytes = STANDARD.decode(&text).map_err(|error| format!("{base64}: {error}"))?;
            Ok(Some(Bytes::from(bytes)))
        }
        (_, Some(_)) => Err(format!("{base64} is no text")),
        (Some(value), None) => Ok(of_json(value)),
        (None, None) => Ok(None),
    }
}

/// Text as it is, null as null, anything else as JSON.
fn of_json(value: Value) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Bytes::from(text)),
        other => Some(Bytes::from(other.to_string())),
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(format: LineFormat) -> Reader {
        Reader { format, parse_headers: false, null_marker: Some("NULL".to_owned()) }
    }

    fn text(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn values_and_keys() {
        let raw = reader(LineFormat::Raw);
        assert_eq!(raw.read(b"a:b").expect("any line").value, text("a:b"));
        assert_eq!(raw.read(b"NULL").expect("any line").value, None);
        let kv = reader(LineFormat::KeyValue("::".to_owned()));
        let parsed = kv.read(b"k::v::w").expect("any line");
        assert_eq!((parsed.key, parsed.value), (text("k"), text("v::w")));
        let parsed = kv.read(b"alone").expect("any line");
        assert_eq!((parsed.key, parsed.value), (None, text("alone")));
        assert_eq!(kv.read(b"k::NULL").expect("any line").value, None);
    }

    #[test]
    fn headers_before_the_record() {
        let reader = Reader { parse_headers: true, ..reader(LineFormat::Raw) };
        let parsed = reader.read(b"a:1,b,c:\tvalue").expect("well formed");
        assert_eq!(parsed.headers, [("a".to_owned(), text("1")), ("b".to_owned(), None), ("c".to_owned(), text(""))]);
        assert_eq!(parsed.value, text("value"));
        assert!(reader.read(b"value").is_err());
    }

    #[test]
    fn json() {
        let json = reader(LineFormat::Json);
        let line = br#"{"key":1,"valueBase64":"/wA=","headers":{"h":"x","n":null},"partition":2,"timestamp":"1970-01-01T00:00:01Z","offset":9}"#;
        let parsed = json.read(line).expect("well formed");
        assert_eq!((parsed.key, parsed.value), (text("1"), Some(Bytes::from_static(&[0xff, 0]))));
        assert_eq!(parsed.headers, [("h".to_owned(), text("x")), ("n".to_owned(), None)]);
        assert_eq!((parsed.partition, parsed.timestamp), (Some(2), Some(1000)));
        let parsed =
            json.read(br#"{"value":{"a":[1]},"headers":[{"name":"h","valueBase64":"aA=="}]}"#).expect("well formed");
        assert_eq!((parsed.value, parsed.headers), (text(r#"{"a":[1]}"#), vec![("h".to_owned(), text("h"))]));
        assert_eq!(json.read(br#"{"key":"k","value":null}"#).expect("a tombstone").value, None);
        for bad in [&b"x"[..], b"[1]", b"{}", br#"{"value":1,"partition":"x"}"#, br#"{"valueBase64":"%"}"#] {
            assert!(json.read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
