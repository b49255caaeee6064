//! Record batches, mutated: headers, the records in them, and the decompression of all codecs.

use bytes::Bytes;
use ottla_model::Compression;
use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions, CRC_OFFSET, records_bounded};

use crate::allocator::taken_by;
use crate::mutate::{Random, mutate, noise};
use crate::{MEMORY_FACTOR, SLACK, Tally};

/// To what a batch is decompressed at most here.
const DECOMPRESSED_MAX: usize = 1 << 20;

/// What a codec may take besides: zstd's and gzip's tables and windows, and the growth of the output (doubled, and doubled
/// again when it is copied).
const CODEC_SLACK: usize = 24 << 20;

/// The batches to start from: each codec, small and large, with headers, nulls and repetition.
pub fn corpus() -> Vec<Bytes> {
    let mut corpus = Vec::new();
    for compression in Compression::ALL {
        for count in [1i64, 20, 300] {
            let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
            for at in 0..count {
                let value = vec![b'v'; (at as usize * 7) % 90];
                let headers = [("trace", Some(&value[..value.len().min(5)])), ("none", None)];
                let headers = &headers[..(at as usize) % 3];
                let key = at.to_be_bytes();
                let key = (at % 3 != 0).then_some(&key[..]);
                let value = (at % 11 != 10).then_some(&value[..]);
                builder.append(1_700_000_000_000 + at, key, value, headers).expect("it is small");
            }
            corpus.push(builder.build().expect("it is small"));
        }
    }
    corpus
}

/// Tries one input, made from the seed and one of `corpus`, as a run of batches.
///
/// # Panics
/// When the budget is exceeded.
pub fn try_one(corpus: &[Bytes], seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut input = random.pick(corpus).to_vec();
    if random.below(20) == 0 {
        let length = random.below(500);
        input = noise(&mut random, length);
    } else if random.below(3) == 0 {
        // Only what lies behind the checksum, so that the records themselves are spoilt.
        let mut tail = input.split_off((CRC_OFFSET + 40).min(input.len()));
        mutate(&mut random, &mut tail, &corpus[0]);
        input.extend_from_slice(&tail);
    } else {
        let other = random.pick(corpus).clone();
        mutate(&mut random, &mut input, &other);
    }
    let input = Bytes::from(input);
    let length = input.len();
    let mut plain = 0;
    let mut compressed = false;
    let (accepted, taken) = taken_by(|| {
        let mut accepted = false;
        for batch in BatchIter::new(input) {
            let Ok(batch) = batch else { break };
            compressed |= batch.bytes[CRC_OFFSET + 5] & 7 != 0;
            let Ok(records) = records_bounded(&batch.bytes, DECOMPRESSED_MAX) else { continue };
            plain += records.decompressed().len();
            accepted = records.map(|record| drop(std::hint::black_box(record))).count() > 0;
        }
        accepted
    });
    let budget = MEMORY_FACTOR * (length + plain) + SLACK + if compressed { CODEC_SLACK } else { 0 };
    assert!(taken <= budget, "{taken} bytes for {length} of input, more than {budget} (seed {seed})");
    if !compressed {
        tally.add(accepted, taken, length);
    } else {
        tally.add(accepted, 0, length);
    }
}
