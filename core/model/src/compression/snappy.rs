//! Snappy in the framing of snappy-java's SnappyOutputStream ("xerial"), which Kafka's clients write:
//!
//! ```text
//! 82 53 4e 41 50 50 59 00   magic: 0x82 "SNAPPY" 0
//! 00 00 00 01               version, i32
//! 00 00 00 01               lowest compatible version, i32
//! ( length, i32 | raw snappy block of that length )*   each holds at most 32 KiB of input
//! ```
//!
//! Input without the magic is one raw block (old librdkafka and Go clients); a further header between blocks is skipped, as
//! snappy-java does for concatenated streams.

use std::cell::RefCell;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, CompressionError, first_capacity};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_SIZE: usize = 16;
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// snappy-java's block size.
const BLOCK_SIZE: usize = 32 * 1024;

thread_local! {
    /// The encoder's hash table, kept between batches.
    static ENCODER: RefCell<Encoder> = RefCell::new(Encoder::new());
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    ENCODER.with_borrow_mut(|encoder| {
        for block in input.chunks(BLOCK_SIZE) {
            let start = out.len() + 4;
            out.resize(start + max_compress_len(block.len()), 0);
            let written = encoder
                .compress(block, &mut out[start..])
                .map_err(|error| CompressionError::encoder(Compression::Snappy, error))?;
            out.truncate(start + written);
            out[start - 4..start].copy_from_slice(&(written as u32).to_be_bytes());
        }
        Ok(())
    })
}

pub(super) fn decompress(input: &[u8], max_size: usize) -> Result<Vec<u8>, CompressionError> {
    if !input.starts_with(&MAGIC) {
        let mut out = Vec::new();
        block(input, &mut out, max_size)?;
        return Ok(out);
    }
    let mut out = Vec::with_capacity(first_capacity(input, max_size));
    let mut rest = input.get(HEADER_SIZE..).ok_or_else(|| corrupt("the stream header is cut"))?;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_SIZE..).ok_or_else(|| corrupt("a stream header is cut"))?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("a block length is cut"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let body = after.get(..length).ok_or_else(|| corrupt("a block is longer than the data"))?;
        block(body, &mut out, max_size)?;
        rest = &after[length..];
    }
    Ok(out)
}

/// Appends one raw block, whose own claim of its size is checked before memory is taken.
fn block(input: &[u8], out: &mut Vec<u8>, max_size: usize) -> Result<(), CompressionError> {
    let size = decompress_len(input).map_err(corrupt)?;
    let start = out.len();
    if size > max_size - start {
        return Err(CompressionError::TooLarge { max_size });
    }
    // No element of the format makes more than 64 bytes out of 3, so a block that claims more is lying.
    if size > input.len().saturating_mul(64) {
        return Err(corrupt("a block claims an impossible size"));
    }
    out.resize(start + size, 0);
    Decoder::new().decompress(input, &mut out[start..]).map_err(corrupt)?;
    Ok(())
}

fn corrupt(detail: impl std::fmt::Display) -> CompressionError {
    CompressionError::corrupt(Compression::Snappy, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_and_concatenated_streams_are_read() {
        let raw = Encoder::new().compress_vec(b"hello hello hello hello").unwrap();
        assert_eq!(decompress(&raw, 100).unwrap(), b"hello hello hello hello");
        let mut twice = Vec::new();
        compress(b"one", &mut twice).unwrap();
        compress(b"two", &mut twice).unwrap();
        assert_eq!(decompress(&twice, 100).unwrap(), b"onetwo");
    }

    #[test]
    fn a_claim_of_four_gigabytes_takes_no_memory() {
        assert!(decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f], 100).is_err());
        assert!(decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f], usize::MAX).is_err());
    }
}
