//! `cargo xtask`: the developer's commands. Each lives in a file of its own name; `tools` finds or installs what they need.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // A tool, not the engine: it has no simulated world.

mod bench;
mod demo;
mod generate;
mod install;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo    build, start the embedded engine, stream the flights of January 2013 through it with clients in three languages
  test    every test in every language, with what each part cost in minutes (--full adds the long soaks; --only AREA)
  gen     regenerate core/protocol from the message schemas in Apache Kafka's jars, and the C header (--check compares only)
  tidy    the rules that a compiler does not check: bans, long files, dead links, stale generated files
  install put the C library, its header and pkg-config file, and the binary in place (--prefix DIR)
  bench   Apache Kafka beside Ottla in one run, one table (--quick for a short one)

examples
  cargo xtask test --only interop
  cargo xtask bench --quick
";

/// What a command returns: an error is one sentence that says what was expected and what to do.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => test::run(&rest),
        "gen" => generate::run(&rest),
        "tidy" => tidy::run(&rest),
        "bench" => bench::run(&rest),
        "install" => install::run(&rest),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("unknown command '{other}'; 'cargo xtask help' lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
