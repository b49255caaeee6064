//! A record as text: by a template, or as a line of JSON that `ottla produce --format json` reads back.

use super::Binary;
use crate::time::iso;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ottla::client::ConsumerRecord;
use serde_json::{Map, Value};
use std::io::Write;

/// What stands for a missing key or value in a template.
const NULL: &[u8] = b"null";

/// Prints records in one way.
pub struct Printer {
    /// `None` is JSON.
    template: Option<Vec<Part>>,
    binary: Binary,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(char),
}

impl Printer {
    /// A printer of `template`, or of JSON. A percent sign before anything else is itself.
    pub fn new(template: Option<&str>, binary: Binary) -> Printer {
        Printer { template: template.map(parse), binary }
    }

    /// Writes a record.
    pub fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Some(template) = &self.template else {
            serde_json::to_writer(&mut *out, &self.json(record))?;
            out.push(b'\n');
            return Ok(());
        };
        for part in template {
            match part {
                Part::Text(text) => out.extend(text),
                Part::Field('t') => out.extend(record.topic.as_bytes()),
                Part::Field('p') => write!(out, "{}", record.partition)?,
                Part::Field('o') => write!(out, "{}", record.offset)?,
                Part::Field('T') => write!(out, "{}", record.timestamp)?,
                Part::Field('D') => out.extend(iso(record.timestamp).as_bytes()),
                Part::Field('k') => self.bytes(record.key.as_deref(), out),
                Part::Field('v') => self.bytes(record.value.as_deref(), out),
                Part::Field('K') => write!(out, "{}", record.key.as_ref().map_or(-1, |key| key.len() as i64))?,
                Part::Field('V') => write!(out, "{}", record.value.as_ref().map_or(-1, |value| value.len() as i64))?,
                Part::Field(_) => {
                    for (index, (name, value)) in record.headers.iter().enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        out.extend(name.as_bytes());
                        out.push(b':');
                        self.bytes(value.as_deref(), out);
                    }
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
        match (bytes, self.binary) {
            (None, _) => out.extend(NULL),
            (Some(bytes), Binary::Text) => out.extend(bytes),
            (Some(bytes), Binary::Hex) => out.extend(hex(bytes).as_bytes()),
            (Some(bytes), Binary::Base64) => out.extend(STANDARD.encode(bytes).as_bytes()),
        }
    }

    fn json(&self, record: &ConsumerRecord) -> Value {
        let mut object = Map::new();
        object.insert("topic".to_owned(), Value::from(&*record.topic));
        object.insert("partition".to_owned(), Value::from(record.partition));
        object.insert("offset".to_owned(), Value::from(record.offset));
        object.insert("timestamp".to_owned(), Value::from(record.timestamp));
        self.field(&mut object, "key", record.key.as_deref());
        self.field(&mut object, "value", record.value.as_deref());
        let headers = record.headers.iter().map(|(name, value)| {
            let mut header = Map::from_iter([("name".to_owned(), Value::from(&**name))]);
            self.field(&mut header, "value", value.as_deref());
            Value::from(header)
        });
        let headers: Vec<Value> = headers.collect();
        object.insert("headers".to_owned(), Value::from(headers));
        Value::from(object)
    }

    /// Text as text; what is none, or shall not be, under the name with its encoding.
    fn field(&self, object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
        let text = bytes.map(|bytes| (bytes, std::str::from_utf8(bytes)));
        let (name, value) = match (text, self.binary) {
            (None, _) => (name.to_owned(), Value::Null),
            (Some((_, Ok(text))), Binary::Text) => (name.to_owned(), Value::from(text)),
            (Some((bytes, _)), Binary::Hex) => (format!("{name}Hex"), Value::from(hex(bytes))),
            (Some((bytes, _)), _) => (format!("{name}Base64"), Value::from(STANDARD.encode(bytes))),
        };
        object.insert(name, value);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut letters = template.chars().peekable();
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match (letter, next) {
            ('%', Some(field)) if "tpoTDkvhKV".contains(field) => {
                letters.next();
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Field(field));
            }
            ('%', Some('%')) | ('\\', Some('\\')) => {
                letters.next();
                text.push(letter as u8);
            }
            ('\\', Some(escape @ ('n' | 't' | 'r' | '0'))) => {
                letters.next();
                text.push(match escape {
                    'n' => b'\n',
                    't' => b'\t',
                    'r' => b'\r',
                    _ => 0,
                });
            }
            _ => text.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ottla::client::TimestampType;

    fn record(value: Option<&'static [u8]>) -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            leader_epoch: 0,
            timestamp: 1000,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k")),
            value: value.map(Bytes::from_static),
            headers: vec![("h".into(), Some(Bytes::from_static(b"x"))), ("n".into(), None)],
        }
    }

    fn printed(template: Option<&str>, binary: Binary, record: &ConsumerRecord) -> String {
        let mut out = Vec::new();
        Printer::new(template, binary).write(record, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn templates() {
        let all = Some("%t-%p@%o %T %D %k=%v %h %K/%V 100%% %x\\t\\\\n\\n");
        let text = printed(all, Binary::Text, &record(Some(b"v")));
        assert_eq!(text, "t-2@7 1000 1970-01-01T00:00:01.000Z k=v h:x,n:null 1/1 100% %x\t\\n\n");
        assert_eq!(printed(Some("%v"), Binary::Hex, &record(Some(b"\xff\0"))), "ff00");
        assert_eq!(printed(Some("%v %V"), Binary::Base64, &record(None)), "null -1");
    }

    #[test]
    fn json_goes_both_ways() {
        let line = printed(None, Binary::Text, &record(Some(b"\xff\0")));
        let value: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!(value["valueBase64"], "/wA=");
        assert_eq!((&value["key"], &value["offset"]), (&Value::from("k"), &Value::from(7)));
        assert_eq!(value["headers"][1]["value"], Value::Null);
    }
}
