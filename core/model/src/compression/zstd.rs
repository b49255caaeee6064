//! Zstandard. Contexts are kept per thread: making one costs more than compressing a small batch.

use std::cell::RefCell;
use std::io::Cursor;

use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, CompressionError, first_capacity};

/// Kafka's default level.
const DEFAULT_LEVEL: i32 = 3;
const LEVELS: std::ops::RangeInclusive<i32> = -131_072..=22;
/// A context that has decompressed more than this may hold a large window; it is not kept.
const KEPT_OUTPUT_MAX: usize = 8 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = |error: std::io::Error| CompressionError::encoder(Compression::Zstd, error);
    let level = level.unwrap_or(DEFAULT_LEVEL);
    if !LEVELS.contains(&level) {
        return Err(CompressionError::encoder(Compression::Zstd, format!("level {level} is not in -131072 to 22")));
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = match kept.take() {
            Some((kept_level, compressor)) if kept_level == level => compressor,
            Some((_, mut compressor)) => {
                compressor.set_compression_level(level).map_err(failed)?;
                compressor
            }
            None => Compressor::new(level).map_err(failed)?,
        };
        out.reserve(zstd::zstd_safe::compress_bound(input.len()));
        let mut cursor = Cursor::new(&mut *out);
        cursor.set_position(cursor.get_ref().len() as u64);
        compressor.compress_to_buffer(input, &mut cursor).map_err(failed)?;
        *kept = Some((level, compressor));
        Ok(())
    })
}

pub(super) fn decompress(input: &[u8], max_size: usize) -> Result<Vec<u8>, CompressionError> {
    let corrupt = |error: std::io::Error| CompressionError::corrupt(Compression::Zstd, error);
    DECODER.with_borrow_mut(|kept| {
        let mut decoder = match kept.take() {
            Some(mut decoder) => {
                decoder.reinit().map_err(corrupt)?;
                decoder
            }
            None => Decoder::new().map_err(corrupt)?,
        };
        let mut out = Vec::with_capacity(first_capacity(input, max_size));
        let mut source = InBuffer::around(input);
        loop {
            if out.len() == out.capacity() {
                // One byte more than allowed, so that a stream that ends exactly at the bound can say so.
                let more = out.capacity().max(64).min((max_size - out.len()).saturating_add(1));
                out.reserve_exact(more);
            }
            let (read_before, written_before) = (source.pos(), out.len());
            let hint = {
                let mut sink = OutBuffer::around_pos(&mut out, written_before);
                decoder.run(&mut source, &mut sink).map_err(corrupt)?
            };
            if out.len() > max_size {
                return Err(CompressionError::TooLarge { max_size });
            }
            if hint == 0 && source.pos() == input.len() {
                break;
            }
            // Output space was left, so without progress the decoder wants input that is not there.
            if source.pos() == read_before && out.len() == written_before {
                if input.is_empty() {
                    break;
                }
                return Err(CompressionError::corrupt(Compression::Zstd, "the data ends inside a frame"));
            }
        }
        if out.len() <= KEPT_OUTPUT_MAX {
            *kept = Some(decoder);
        }
        Ok(out)
    })
}
