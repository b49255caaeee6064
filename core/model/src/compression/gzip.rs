//! gzip through flate2. Several members one after another are read as one stream, as Java's GZIPInputStream does.

use std::io::Write;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Compression, CompressionError, first_capacity, read_bounded};

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let level = match level {
        // Java's -1 is "the default", which is 6.
        None | Some(-1) => 6,
        Some(level @ 1..=9) => level.unsigned_abs(),
        Some(level) => {
            return Err(CompressionError::encoder(Compression::Gzip, format!("level {level} is not in 1 to 9")));
        }
    };
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(level));
    encoder
        .write_all(input)
        .and_then(|()| encoder.try_finish())
        .map_err(|error| CompressionError::encoder(Compression::Gzip, error))
}

pub(super) fn decompress(input: &[u8], max_size: usize) -> Result<Vec<u8>, CompressionError> {
    read_bounded(Compression::Gzip, MultiGzDecoder::new(input), first_capacity(input, max_size), max_size)
}
