//! The five compression types of record batches, one file each. Compressing appends to a buffer of the caller;
//! decompressing is bounded by an explicit size, whatever the input claims. Levels follow Kafka's configs
//! (`compression.gzip.level`, `compression.lz4.level`, `compression.zstd.level`).

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use bytes::Bytes;

/// How the records of a batch are compressed; the number is the low three bits of the batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952; levels 1 to 9, 6 by default.
    Gzip = 1,
    /// Snappy blocks in the xerial framing of snappy-java; no levels.
    Snappy = 2,
    /// The LZ4 frame format with independent blocks of 64 KiB; Kafka's levels 1 to 17 are accepted and make no difference.
    Lz4 = 3,
    /// Zstandard; levels -131072 to 22, 3 by default (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// Every type, in the order of the numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The number in a batch's attributes.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The type with this number, if there is one.
    pub fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(code)).copied()
    }

    /// Kafka's name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(name: &str) -> Result<Compression, CompressionError> {
        Compression::ALL
            .into_iter()
            .find(|compression| compression.name() == name)
            .ok_or_else(|| CompressionError::UnknownName(name.to_owned()))
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressionError {
    /// The input is not what the compression type says.
    Corrupt {
        /// The type that was tried.
        compression: Compression,
        /// What the decoder said.
        detail: String,
    },
    /// The output would be larger than the caller's bound.
    TooLarge {
        /// The bound in bytes.
        max_size: usize,
    },
    /// The level is outside the type's range, or the encoder failed.
    Encoder {
        /// The type that was tried.
        compression: Compression,
        /// What the encoder said.
        detail: String,
    },
    /// No compression type has this name.
    UnknownName(String),
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressionError::Corrupt { compression, detail } => {
                write!(f, "the {compression} data is damaged: {detail}")
            }
            CompressionError::TooLarge { max_size } => {
                write!(f, "the data is larger than {max_size} bytes when decompressed")
            }
            CompressionError::Encoder { compression, detail } => {
                write!(f, "{compression} could not compress: {detail}")
            }
            CompressionError::UnknownName(name) => {
                write!(f, "'{name}' is not a compression type: none, gzip, snappy, lz4 or zstd is expected")
            }
        }
    }
}

impl std::error::Error for CompressionError {}

impl CompressionError {
    fn corrupt(compression: Compression, detail: impl fmt::Display) -> CompressionError {
        CompressionError::Corrupt { compression, detail: detail.to_string() }
    }

    fn encoder(compression: Compression, detail: impl fmt::Display) -> CompressionError {
        CompressionError::Encoder { compression, detail: detail.to_string() }
    }
}

/// Appends the compressed `input` to `out`. `level` is the codec's own (None: its default) and is ignored by codecs that
/// have none. The encoders' tables are kept per thread, so a batch costs no setup.
pub fn compress(
    compression: Compression,
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    match compression {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip::compress(level, input, out),
        Compression::Snappy => snappy::compress(input, out),
        Compression::Lz4 => lz4::compress(input, out),
        Compression::Zstd => zstd::compress(level, input, out),
    }
}

/// Decompresses `input`, at most to `max_size` bytes. `Compression::None` returns the input without a copy.
pub fn decompress(compression: Compression, input: &Bytes, max_size: usize) -> Result<Bytes, CompressionError> {
    match compression {
        Compression::None if input.len() > max_size => Err(CompressionError::TooLarge { max_size }),
        Compression::None => Ok(input.clone()),
        Compression::Gzip => gzip::decompress(input, max_size).map(Bytes::from),
        Compression::Snappy => snappy::decompress(input, max_size).map(Bytes::from),
        Compression::Lz4 => lz4::decompress(input, max_size).map(Bytes::from),
        Compression::Zstd => zstd::decompress(input, max_size).map(Bytes::from),
    }
}

/// A first guess of the output's size: enough for usual data, and small for small input whatever the input claims.
fn first_capacity(input: &[u8], max_size: usize) -> usize {
    input.len().saturating_mul(4).clamp(1024, 1 << 20).min(max_size)
}

/// Drains a decoder, failing once it has given more than `max_size` bytes.
fn read_bounded(
    compression: Compression,
    mut decoder: impl Read,
    capacity: usize,
    max_size: usize,
) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::with_capacity(capacity);
    let bound = u64::try_from(max_size).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .by_ref()
        .take(bound)
        .read_to_end(&mut out)
        .map_err(|error| CompressionError::corrupt(compression, error))?;
    if out.len() > max_size {
        return Err(CompressionError::TooLarge { max_size });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let noise: Vec<u8> = (0u64..100_000).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect();
        let text = "AA,2013-01-01,DFW,LAX,12;".repeat(4_000).into_bytes();
        vec![Vec::new(), b"x".to_vec(), noise, text]
    }

    #[test]
    fn everything_goes_round() {
        for compression in Compression::ALL {
            for sample in samples() {
                let mut out = b"prefix".to_vec();
                compress(compression, None, &sample, &mut out).unwrap();
                assert_eq!(&out[..6], b"prefix", "compress appends");
                let compressed = Bytes::from(out).slice(6..);
                assert_eq!(decompress(compression, &compressed, sample.len()).unwrap(), sample, "{compression}");
                if !sample.is_empty() {
                    assert_eq!(
                        decompress(compression, &compressed, sample.len() - 1),
                        Err(CompressionError::TooLarge { max_size: sample.len() - 1 }),
                        "{compression}"
                    );
                }
            }
        }
    }

    #[test]
    fn levels_are_kafkas() {
        let sample = &samples()[3];
        for (compression, levels) in [
            (Compression::Gzip, [Some(-1), Some(1), Some(9)]),
            (Compression::Lz4, [Some(1), Some(9), Some(17)]),
            (Compression::Zstd, [Some(-131072), Some(3), Some(22)]),
        ] {
            for level in levels {
                let mut out = Vec::new();
                compress(compression, level, sample, &mut out).unwrap();
                assert_eq!(decompress(compression, &out.into(), 1 << 20).unwrap(), *sample);
            }
        }
        assert!(compress(Compression::Gzip, Some(10), sample, &mut Vec::new()).is_err());
        assert!(compress(Compression::Zstd, Some(23), sample, &mut Vec::new()).is_err());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        for compression in &Compression::ALL[1..] {
            let mut out = Vec::new();
            compress(*compression, None, &samples()[3], &mut out).unwrap();
            for length in [1, 4, 9, 15, out.len() / 2, out.len() - 1] {
                // lz4_flex takes a missing end mark for the end; what it gives is at most the data.
                let result = decompress(*compression, &Bytes::copy_from_slice(&out[..length]), 1 << 20);
                assert!(result.is_err() || samples()[3].starts_with(&result.unwrap()), "{compression} {length}");
            }
            for position in (0..out.len()).step_by(7) {
                let mut damaged = out.clone();
                damaged[position] ^= 0x55;
                let _ = decompress(*compression, &damaged.into(), 1 << 20);
            }
            // The thread's kept decoder works on after failures.
            assert_eq!(decompress(*compression, &out.into(), 1 << 20).unwrap(), samples()[3]);
        }
    }

    #[test]
    fn names_and_numbers() {
        for compression in Compression::ALL {
            assert_eq!(compression.name().parse(), Ok(compression));
            assert_eq!(Compression::from_code(compression.code()), Some(compression));
        }
        assert_eq!(Compression::from_code(5), None);
        assert!("brotli".parse::<Compression>().is_err());
    }
}
