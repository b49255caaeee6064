//! The bodies of all messages, requests and responses most of all: mutated golden bytes and noise.

use bytes::Bytes;
use ottla_golden::{CODECS, Case, Codec, Failure, cases};
use ottla_protocol::{DecodeError, DecodeProblem, EncodeError};

use crate::allocator::taken_by;
use crate::mutate::{Random, mutate, noise};
use crate::{MEMORY_FACTOR, SLACK, Tally};

/// The inputs to start from, by codec.
#[derive(Debug)]
pub struct Corpus {
    cases: Vec<Case>,
    /// For each codec the range of its cases.
    of_codec: Vec<(&'static Codec, std::ops::Range<usize>)>,
}

impl Corpus {
    /// Reads the golden bytes.
    pub fn load() -> Corpus {
        let mut cases = cases();
        cases.sort_by(|a, b| a.message.cmp(&b.message));
        let range = |codec: &'static Codec| {
            let start = cases.partition_point(|case| case.message.as_str() < codec.name);
            let end = cases.partition_point(|case| case.message.as_str() <= codec.name);
            (codec, start..end)
        };
        let of_codec: Vec<_> = CODECS.iter().map(range).collect();
        assert!(of_codec.iter().all(|(_, range)| !range.is_empty()), "each message has golden bytes");
        Corpus { cases, of_codec }
    }

    /// The number of messages.
    pub fn codecs(&self) -> usize {
        self.of_codec.len()
    }

    /// Tries one input, made from the seed alone, on the codec with this number.
    ///
    /// # Panics
    /// When the budget is exceeded or bytes that were accepted do not come back the same.
    pub fn try_one(&self, codec: usize, seed: u64, tally: &mut Tally) {
        let (codec, range) = &self.of_codec[codec];
        let mut random = Random::new(seed);
        let case = &self.cases[range.start + random.below(range.len())];
        let input = if random.below(5) == 0 {
            let length = *random.pick(&[4, 40, 400, 4000]);
            noise(&mut random, length)
        } else {
            let other = &self.cases[random.below(self.cases.len())].bytes;
            let mut input = case.bytes.to_vec();
            mutate(&mut random, &mut input, other);
            input
        };
        // Sometimes the bytes of one version are read as another.
        let versions = (codec.highest - codec.lowest + 1) as usize;
        let other_version = codec.lowest + random.below(versions) as i16;
        let version = if random.below(4) == 0 { other_version } else { case.version };
        self.check(codec, version, Bytes::from(input), seed, tally);
    }

    fn check(&self, codec: &Codec, version: i16, input: Bytes, seed: u64, tally: &mut Tally) {
        let (result, taken) = taken_by(|| (codec.decode)(input.clone(), version));
        let budget = MEMORY_FACTOR * input.len() + SLACK;
        assert!(
            taken <= budget,
            "{} v{version} took {taken} bytes for {} of input, more than {budget} (seed {seed})",
            codec.name,
            input.len()
        );
        tally.add(result.is_ok(), taken, input.len());
        if result.is_err() {
            return;
        }
        // What was understood can be said again, and then is understood the same way.
        match (codec.round_trip)(input, version) {
            Ok(again) => assert_eq!(
                (codec.round_trip)(again.clone(), version).as_ref(),
                Ok(&again),
                "{} v{version} (seed {seed})",
                codec.name
            ),
            // A string that flexible versions let be longer than Kafka writes; the same tag twice.
            Err(Failure::Encode(EncodeError::StringTooLong(_) | EncodeError::TagOrder(_))) => {}
            Err(Failure::Decode(DecodeError { problem: DecodeProblem::TrailingBytes(_), .. })) => {}
            Err(other) => panic!("{} v{version}: {other:?} (seed {seed})", codec.name),
        }
    }
}
