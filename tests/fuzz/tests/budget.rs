//! Goal: no input makes a decoder panic or take more memory than its length allows. Method: fixed seeds, a counting
//! allocator, every message; src/main.rs runs the same for longer.

#![allow(clippy::disallowed_methods)] // A test: it has no simulated world.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_fuzz::allocator::{Counting, taken_by};
use ottla_fuzz::{MEMORY_FACTOR, SLACK, Tally, batches, messages};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How long each of the two loops goes on after its least number of rounds.
const TIME: Duration = Duration::from_secs(8);

#[test]
fn the_factor_is_within_what_was_promised() {
    const { assert!(MEMORY_FACTOR <= 128) };
}

#[test]
fn the_allocator_counts() {
    let (vector, taken) = taken_by(|| Vec::<u8>::with_capacity(1000));
    assert_eq!((vector.capacity(), taken), (1000, 1000));
}

#[test]
fn messages_stay_within_their_budget() {
    let corpus = messages::Corpus::load();
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut seed = 0;
    while seed < 30 || start.elapsed() < TIME {
        for codec in 0..corpus.codecs() {
            corpus.try_one(codec, seed, &mut tally);
        }
        seed += 1;
    }
    println!("{tally:?}");
    // Both kinds of input must occur, and the crowded arrays must have come near the bound, or the test tests nothing.
    assert!(tally.inputs > 5_000 && tally.accepted > 500 && tally.accepted < tally.inputs, "{tally:?}");
    assert!(tally.worst_percent > 1000, "{tally:?}");
}

#[test]
fn batches_stay_within_their_budget() {
    let corpus = batches::corpus();
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut seed = 0;
    while seed < 500 || start.elapsed() < TIME {
        batches::try_one(&corpus, seed, &mut tally);
        seed += 1;
    }
    println!("{tally:?}");
    assert!(tally.accepted > 10 && tally.accepted < tally.inputs, "{tally:?}");
}

/// A body of a few bytes that claims two billion elements, in every version of every message.
#[test]
fn a_claim_of_two_billion_costs_nothing() {
    for codec in ottla_golden::CODECS {
        for version in codec.lowest..=codec.highest {
            for body in [&[0x7f, 0xff, 0xff, 0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0; 64], &[1; 64]] {
                let (_, taken) = taken_by(|| (codec.decode)(Bytes::from_static(body), version));
                assert!(taken <= MEMORY_FACTOR * body.len() + SLACK, "{} v{version} took {taken}", codec.name);
            }
        }
    }
}
