//! `cargo run --release -p ottla-fuzz -- [--seconds N] [--seed S]`: the test's loop, longer. Ends with a panic at the first input
//! that breaks the property, after printing what gives that input again.

#![allow(clippy::disallowed_methods)] // A tool: it has no simulated world.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ottla_fuzz::allocator::Counting;
use ottla_fuzz::{MEMORY_FACTOR, Tally, batches, messages};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "\
ottla-fuzz [--seconds N] [--seed S]

  decodes mutated messages and record batches and counts the memory it takes
  --seconds N   how long (60)
  --seed S      the first seed (0); a failure names its own
";

fn main() -> ExitCode {
    let (mut seconds, mut seed) = (60, 0);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        match (flag.as_str(), value) {
            ("--seconds", Some(value)) => seconds = value,
            ("--seed", Some(value)) => seed = value,
            _ => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let corpus = messages::Corpus::load();
    let batch_corpus = batches::corpus();
    let (mut of_messages, mut of_batches) = (Tally::default(), Tally::default());
    while Instant::now() < end {
        for codec in 0..corpus.codecs() {
            corpus.try_one(codec, seed, &mut of_messages);
        }
        for _ in 0..20 {
            batches::try_one(&batch_corpus, seed, &mut of_batches);
            seed = seed.wrapping_add(1);
        }
    }
    println!("{}", report(&of_messages, &of_batches));
    ExitCode::SUCCESS
}

fn report(of_messages: &Tally, of_batches: &Tally) -> String {
    let line = |what: &str, tally: &Tally| {
        format!(
            "{what}: {} inputs, {} accepted, at most {:.1} bytes of memory per byte (bound {MEMORY_FACTOR})",
            tally.inputs,
            tally.accepted,
            tally.worst_percent as f64 / 100.0
        )
    };
    format!("{}\n{}", line("messages", of_messages), line("record batches", of_batches))
}
