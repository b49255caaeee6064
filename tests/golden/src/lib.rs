//! The golden bytes of Apache Kafka's serializers, and a table of all messages to try them on. tests/messages.rs compares,
//! tests/fuzz mutates. It does not write the data; that is java/, which runs Kafka's own code.

use std::io::Read;

use bytes::Bytes;
use ottla_protocol::{DecodeError, EncodeError, Message, Reader, Writer};

/// One message in one version, as Kafka wrote it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The schema's name.
    pub message: String,
    /// The version of the bytes.
    pub version: i16,
    /// What it shows: `default`, `full`, `null PATH`, `tags`, `default tags`.
    pub kind: String,
    /// The message without any header.
    pub bytes: Bytes,
}

/// All cases, in the order of the file.
///
/// # Panics
/// When the committed file is damaged.
pub fn cases() -> Vec<Case> {
    let packed: &[u8] = include_bytes!("../data/messages.bin.gz");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).expect("the golden file is gzip");
    let mut file = Bytes::from(plain);
    let mut cases = Vec::new();
    while !file.is_empty() {
        let message = text(&mut file);
        let version = i16::from_be_bytes(take(&mut file));
        let kind = text(&mut file);
        let length = u32::from_be_bytes(take(&mut file)) as usize;
        cases.push(Case { message, version, kind, bytes: file.split_to(length) });
    }
    cases
}

fn take<const N: usize>(file: &mut Bytes) -> [u8; N] {
    file.split_to(N)[..].try_into().expect("split_to gives as much as it is asked for")
}

fn text(file: &mut Bytes) -> String {
    let [length] = take(file);
    String::from_utf8(file.split_to(length.into()).to_vec()).expect("names are UTF-8")
}

/// Why bytes did not survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// They were refused.
    Decode(DecodeError),
    /// They were decoded to what cannot be encoded.
    Encode(EncodeError),
}

/// What can be done with a message whose type is known by name only.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The schema's name.
    pub name: &'static str,
    /// Whether peers send it: requests and responses, as opposed to records and headers.
    pub from_peers: bool,
    /// The lowest version.
    pub lowest: i16,
    /// The highest version, stable or not.
    pub highest: i16,
    /// The first flexible version.
    pub flexible_from: i16,
    /// The size of the message in memory, without what it points to.
    pub size: usize,
    /// Decodes and drops; leaves what follows the message.
    pub decode: fn(Bytes, i16) -> Result<(), DecodeError>,
    /// Decodes the whole and encodes it again.
    pub round_trip: fn(Bytes, i16) -> Result<Bytes, Failure>,
    /// Encodes the default.
    pub default: fn(i16) -> Result<Bytes, EncodeError>,
}

const fn codec<M: Message>(from_peers: bool) -> Codec {
    Codec {
        name: M::NAME,
        from_peers,
        lowest: M::LOWEST_VERSION,
        highest: M::HIGHEST_VERSION,
        flexible_from: M::FLEXIBLE_FROM,
        size: size_of::<M>(),
        decode: |bytes, version| M::decode(&mut Reader::new(bytes), version).map(drop),
        round_trip: |bytes, version| {
            let mut reader = Reader::new(bytes);
            let message = M::decode(&mut reader, version).map_err(Failure::Decode)?;
            reader.finish().map_err(Failure::Decode)?;
            encoded(&message, version).map_err(Failure::Encode)
        },
        default: |version| encoded(&M::default(), version),
    }
}

fn encoded<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    let written = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), written, "the writer counts what it writes");
    // ApiVersions has empty requests; nothing of no bytes stands in an array.
    assert!(bytes.is_empty() || bytes.len() >= M::MIN_SIZE, "{} takes fewer bytes than its least size", M::NAME);
    Ok(bytes)
}

macro_rules! table {
    (requests [$($request:ident)*] responses [$($response:ident)*] others [$($other:ident)*]) => {
        /// Every message of the protocol.
        pub const CODECS: &[Codec] = &[
            $(codec::<ottla_protocol::$request>(true),)*
            $(codec::<ottla_protocol::$response>(true),)*
            $(codec::<ottla_protocol::$other>(false),)*
        ];
    };
}
ottla_protocol::all_messages!(table);
