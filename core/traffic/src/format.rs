//! The file format of a recording, and what stands in it.
//!
//! A file is a magic and entries behind one another; it is only ever appended to, so whatever ends the recorder leaves a
//! beginning that can be read. All numbers are big endian; a string is an i16 length (-1: null) and UTF-8 bytes.
//!
//! ```text
//! file   = "OTTLATRF" | version i16 (1) | entry*
//! entry  = length u32 | crc u32 | content          length is that of content, crc its CRC-32C
//!
//! content by its kind, the first byte; time in ms since 1970, by the clock of the broker:
//!   0 begin   = 0 | time i64 | cluster id string | software string                  always the first, and only there
//!   1 request = 1 | time i64 | connection i64 | flags i8 | api key i16 | api version i16 | correlation id i32
//!                 | client id string | listener string | size i32 | body
//!   2 answer  = 2 | time i64 | connection i64 | flags i8 | outcome i8 | size i32 | body
//!   3 closed  = 3 | time i64 | connection i64
//!   4 gap     = 4 | time i64 | reason i8 | text string          nothing follows; reason 1 queue full, 2 size, 3 disk
//!   5 end     = 5 | time i64 | entries i64                      nothing follows; entries of the kinds 1 to 3
//!
//! flags     1 the connection is in process · 2 the body is withheld, it has secrets · 4 the body cannot be read as what it
//!           says it is, and is withheld too. Without a body, size still is the size that it had.
//! outcome   0 answered · 1 nothing, as asked for (acks=0) · 2 the connection was closed · 3 silence (a fault)
//! body      what follows the header in the frame, records included
//! ```
//!
//! A connection has one request at a time: its next one begins after its answer. So an answer belongs to the last request of its
//! connection. Requests stand in the order in which the broker took them up, answers in the order in which it had them.

use crate::bodies::{answer_tree, request_tree};
use crate::error::Gap;
use bytes::Bytes;
use ottla_model::{Str, crc32c};
use ottla_protocol::{ApiKey, DecodeError, Message, Reader, Request, Writer};
use std::fmt;

/// What a recording begins with.
pub(crate) const MAGIC: &[u8; 8] = b"OTTLATRF";
/// The version of the format.
pub(crate) const VERSION: i16 = 1;
/// The magic and the version.
pub(crate) const PREFIX_BYTES: u64 = 10;
/// The length and the checksum before an entry.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 8;
/// No entry is longer: a request has at most `socket.request.max.bytes` (100 MB), an answer little over `fetch.max.bytes`.
pub(crate) const ENTRY_BYTES_MAX: usize = 256 << 20;

const IN_PROCESS: i8 = 1;
const SECRET: i8 = 2;
const UNREADABLE: i8 = 4;

/// One thing that happened while traffic was recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Entry {
    /// A client sent this.
    Request(RecordedRequest),
    /// The broker answered it.
    Answer(RecordedAnswer),
    /// The connection ended.
    Closed {
        /// In milliseconds since 1970.
        time_ms: i64,
        /// Which.
        connection: u64,
    },
    /// The recording ended early; the last entry.
    Gap {
        /// In milliseconds since 1970.
        time_ms: i64,
        /// Why.
        gap: Gap,
    },
    /// The recording ended as it was asked to; the last entry.
    End {
        /// In milliseconds since 1970.
        time_ms: i64,
        /// How many requests, answers and ends of connections stand before.
        entries: u64,
    },
}

impl Entry {
    /// When it happened, in milliseconds since 1970 by the broker's clock.
    pub fn time_ms(&self) -> i64 {
        match self {
            Entry::Request(request) => request.time_ms,
            Entry::Answer(answer) => answer.time_ms,
            Entry::Closed { time_ms, .. } | Entry::Gap { time_ms, .. } | Entry::End { time_ms, .. } => *time_ms,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// When the broker took it up, in milliseconds since 1970.
    pub time_ms: i64,
    /// The connection that it came on, a number that is unique in the recording.
    pub connection: u64,
    /// Whether that connection is in process.
    pub in_process: bool,
    /// Its api key; [`RecordedRequest::api`] is the name.
    pub api_key: i16,
    /// Its version.
    pub api_version: i16,
    /// The number by which the client finds the answer.
    pub correlation_id: i32,
    /// `client.id`.
    pub client_id: Option<Str>,
    /// The listener that the connection came in by.
    pub listener: Str,
    /// The size of the body in bytes.
    pub size: u32,
    /// What follows the header, or why it is not here.
    pub body: Result<Bytes, Withheld>,
}

impl RecordedRequest {
    /// Which API it is of; `None` if Apache Kafka 4.4 has none of that number.
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.api_key)
    }

    /// The body with its fields, and its records, for a person to read.
    ///
    /// # Errors
    /// It is withheld, or not what it says it is.
    pub fn text(&self) -> Result<String, String> {
        let api = self.api().ok_or("it is of an unknown API")?;
        let body = self.body.clone().map_err(|withheld| withheld.to_string())?;
        request_tree(api, self.api_version, body).map(|tree| tree.to_string())
    }

    /// The request, decoded.
    ///
    /// # Errors
    /// It is withheld, of another API, or not what it says it is.
    pub fn decode<R: Request>(&self) -> Result<R, String> {
        if self.api() != Some(R::API_KEY) {
            return Err(format!("it is no {}", R::API_KEY.name()));
        }
        let body = self.body.clone().map_err(|withheld| withheld.to_string())?;
        R::decode(&mut Reader::new(body), self.api_version).map_err(|error| error.to_string())
    }
}

/// An answer as it was sent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedAnswer {
    /// When the broker had it, in milliseconds since 1970.
    pub time_ms: i64,
    /// The connection of its request.
    pub connection: u64,
    /// What became of the request.
    pub outcome: Outcome,
    /// The size of the body in bytes.
    pub size: u32,
    /// What follows the header, or why it is not here; empty unless [`Outcome::Answered`].
    pub body: Result<Bytes, Withheld>,
}

impl RecordedAnswer {
    /// The body with its fields, and its records, for a person to read; `request` is what it answers.
    ///
    /// # Errors
    /// It is withheld, or not what it says it is.
    pub fn text(&self, request: &RecordedRequest) -> Result<String, String> {
        let api = request.api().ok_or("it is of an unknown API")?;
        let body = self.body.clone().map_err(|withheld| withheld.to_string())?;
        answer_tree(api, request.api_version, body).map(|tree| tree.to_string())
    }

    /// The answer to an `R` of this version, decoded.
    ///
    /// # Errors
    /// It is withheld, or not what it says it is.
    pub fn decode<R: Request>(&self, version: i16) -> Result<R::Response, String> {
        let body = self.body.clone().map_err(|withheld| withheld.to_string())?;
        R::Response::decode(&mut Reader::new(body), version).map_err(|error| error.to_string())
    }
}

/// What a broker did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered,
    /// It was asked for no answer (Produce with acks=0).
    Nothing,
    /// It closed the connection.
    Closed,
    /// It said nothing, on purpose: a fault.
    Silence,
}

/// Why a body is not in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// There are secrets in it: SASL tokens, SCRAM credentials, delegation tokens, sensitive configs.
    Secret,
    /// It is not what its header says, so what it is is not known.
    Unreadable,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::Secret => "withheld, it has secrets",
            Withheld::Unreadable => "withheld, it could not be read",
        })
    }
}

/// What the file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) time_ms: i64,
    pub(crate) cluster_id: Str,
    pub(crate) software: Str,
}

/// Either kind of content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Begin(Begin),
    Entry(Entry),
}

impl Content {
    /// The entry as it stands in the file.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut w = Writer::new();
        w.i64(0);
        let mut body = Bytes::new();
        match self {
            Content::Begin(begin) => {
                start(&mut w, 0, begin.time_ms);
                put(&mut w, Some(&begin.cluster_id));
                put(&mut w, Some(&begin.software));
            }
            Content::Entry(Entry::Request(request)) => {
                start(&mut w, 1, request.time_ms);
                w.i64(request.connection as i64);
                w.i8(flags(&request.body) | if request.in_process { IN_PROCESS } else { 0 });
                w.i16(request.api_key);
                w.i16(request.api_version);
                w.i32(request.correlation_id);
                put(&mut w, request.client_id.as_ref());
                put(&mut w, Some(&request.listener));
                w.u32(request.size);
                body = request.body.clone().unwrap_or_default();
            }
            Content::Entry(Entry::Answer(answer)) => {
                start(&mut w, 2, answer.time_ms);
                w.i64(answer.connection as i64);
                w.i8(flags(&answer.body));
                w.i8(answer.outcome as i8);
                w.u32(answer.size);
                body = answer.body.clone().unwrap_or_default();
            }
            Content::Entry(Entry::Closed { time_ms, connection }) => {
                start(&mut w, 3, *time_ms);
                w.i64(*connection as i64);
            }
            Content::Entry(Entry::Gap { time_ms, gap }) => {
                start(&mut w, 4, *time_ms);
                w.i8(gap.code());
                let text = if let Gap::Disk(reason) = gap { reason.as_str() } else { "" };
                put(&mut w, Some(&Str::from(text)));
            }
            Content::Entry(Entry::End { time_ms, entries }) => {
                start(&mut w, 5, *time_ms);
                w.i64(*entries as i64);
            }
        }
        let mut whole = w.into_bytes().to_vec();
        whole.extend_from_slice(&body);
        let length = whole.len() - ENTRY_PREFIX_BYTES;
        let crc = crc32c(&whole[ENTRY_PREFIX_BYTES..]);
        whole[..4].copy_from_slice(&(length as u32).to_be_bytes());
        whole[4..8].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(whole)
    }

    /// Reads the content of an entry whose checksum is right.
    pub(crate) fn parse(content: Bytes) -> Result<Content, String> {
        read(&mut Reader::new(content)).map_err(|error| match error {
            Unread::Decode(error) => error.to_string(),
            Unread::Unknown(what) => what,
        })
    }
}

enum Unread {
    Decode(DecodeError),
    Unknown(String),
}

impl From<DecodeError> for Unread {
    fn from(error: DecodeError) -> Unread {
        Unread::Decode(error)
    }
}

fn read(r: &mut Reader) -> Result<Content, Unread> {
    let (kind, time_ms) = (r.i8()?, r.i64()?);
    let entry = match kind {
        0 => {
            let begin = Begin { time_ms, cluster_id: r.string(false)?, software: r.string(false)? };
            r.finish()?;
            return Ok(Content::Begin(begin));
        }
        1 => {
            let (connection, flags) = (r.i64()? as u64, r.i8()?);
            let (api_key, api_version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
            let (client_id, listener, size) = (r.nullable_string(false)?, r.string(false)?, r.u32()?);
            let in_process = flags & IN_PROCESS != 0;
            let body = body(r, flags);
            Entry::Request(RecordedRequest {
                time_ms,
                connection,
                in_process,
                api_key,
                api_version,
                correlation_id,
                client_id,
                listener,
                size,
                body,
            })
        }
        2 => {
            let (connection, flags, outcome, size) = (r.i64()? as u64, r.i8()?, r.i8()?, r.u32()?);
            let outcome = match outcome {
                0 => Outcome::Answered,
                1 => Outcome::Nothing,
                2 => Outcome::Closed,
                3 => Outcome::Silence,
                other => return Err(Unread::Unknown(format!("an answer of the unknown outcome {other}"))),
            };
            Entry::Answer(RecordedAnswer { time_ms, connection, outcome, size, body: body(r, flags) })
        }
        3 => Entry::Closed { time_ms, connection: r.i64()? as u64 },
        4 => {
            let (code, text) = (r.i8()?, r.string(false)?);
            let gap =
                Gap::of(code, &text).ok_or_else(|| Unread::Unknown(format!("a gap of the unknown kind {code}")))?;
            Entry::Gap { time_ms, gap }
        }
        5 => Entry::End { time_ms, entries: r.i64()? as u64 },
        other => return Err(Unread::Unknown(format!("an entry of the unknown kind {other}"))),
    };
    r.finish()?;
    Ok(Content::Entry(entry))
}

fn start(w: &mut Writer, kind: i8, time_ms: i64) {
    w.i8(kind);
    w.i64(time_ms);
}

/// What is too long for a string is cut: none of these is, they come out of strings of the protocol.
fn put(w: &mut Writer, text: Option<&Str>) {
    let Some(text) = text else { return w.i16(-1) };
    let mut end = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    w.i16(end as i16);
    w.raw(&text.as_bytes()[..end]);
}

fn flags(body: &Result<Bytes, Withheld>) -> i8 {
    match body {
        Ok(_) => 0,
        Err(Withheld::Secret) => SECRET,
        Err(Withheld::Unreadable) => UNREADABLE,
    }
}

fn body(r: &mut Reader, flags: i8) -> Result<Bytes, Withheld> {
    let rest = r.rest();
    match flags {
        _ if flags & SECRET != 0 => Err(Withheld::Secret),
        _ if flags & UNREADABLE != 0 => Err(Withheld::Unreadable),
        _ => Ok(rest),
    }
}
