//! The LZ4 frame format as Kafka's Lz4BlockOutputStream writes it: independent blocks of 64 KiB, no checksums but the
//! header's. Frames with checksums, sizes or larger blocks are read as well.

use std::cell::RefCell;
use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Compression, CompressionError, first_capacity, read_bounded};

thread_local! {
    /// The encoder's hash table and block buffers, kept between batches.
    static ENCODER: RefCell<Option<FrameEncoder<Vec<u8>>>> = const { RefCell::new(None) };
}

fn new_encoder() -> FrameEncoder<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    FrameEncoder::with_frame_info(info, Vec::new())
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    ENCODER.with_borrow_mut(|kept| {
        let mut encoder = kept.take().unwrap_or_else(new_encoder);
        std::mem::swap(encoder.get_mut(), out);
        let result = encoder
            .write_all(input)
            .map_err(|error| CompressionError::encoder(Compression::Lz4, error))
            // Writes nothing when there was no input, which decompresses to nothing all the same.
            .and_then(|()| encoder.try_finish().map_err(|error| CompressionError::encoder(Compression::Lz4, error)));
        std::mem::swap(encoder.get_mut(), out);
        if result.is_ok() {
            *kept = Some(encoder);
        }
        result
    })
}

pub(super) fn decompress(input: &[u8], max_size: usize) -> Result<Vec<u8>, CompressionError> {
    read_bounded(Compression::Lz4, FrameDecoder::new(input), first_capacity(input, max_size), max_size)
}
