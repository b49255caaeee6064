//! What cargo itself checks: formatting, lints, and the tests of all crates.

use std::process::Command;
use std::time::Duration;

use super::broker::{Engine, Home};
use super::interop::log_file;
use super::process::run;
use super::{Case, Request};
use crate::tools;

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(tools::root()).env("CARGO_TERM_COLOR", "never");
    command
}

/// One cargo command that passes or fails as a whole.
pub fn plain(name: &str, arguments: &[&str]) -> Case {
    Case::of(name, tools::run(&mut cargo(arguments), &format!("pass cargo {}", arguments.join(" "))))
}

pub fn clippy() -> Case {
    plain("clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
}

/// The documentation of all crates, where a broken link is an error. Its examples run among the tests.
pub fn docs() -> Case {
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps"];
    let mut command = cargo(&arguments);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    Case::of("docs", tools::run(&mut command, "build the documentation without warnings"))
}

/// Ten minutes of mutated messages and batches; the tests of the workspace do the same for seconds.
pub fn fuzz() -> Case {
    plain("fuzz", &["run", "--quiet", "--release", "--package", "ottla-fuzz", "--", "--seconds", "600"])
}

/// One script of requests on Apache Kafka and on Ottla, answers compared.
pub fn differential(request: &Request) -> Vec<Case> {
    let play = || {
        let kafka = Engine::Kafka(tools::kafka_broker()?);
        let broker = Home::new(&kafka, "differential")?.with("num.partitions=1").start()?;
        let steps = if request.full { "3000" } else { "300" };
        let run = ["run", "--quiet", "--release", "--package", "ottla-differential", "--"];
        let mut command = cargo(&run);
        tools::run(command.args(["--kafka", &broker.bootstrap, "--steps", steps]), "pass ottla-differential")
    };
    vec![Case::of("differential", play())]
}

/// The tests of the workspace in the profile of the build, one case for each line that libtest prints.
pub fn tests(request: &Request) -> Vec<Case> {
    let limit = Duration::from_secs(if request.full { 5400 } else { 2400 });
    let mut command = cargo(&["test", "--release", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = &request.filter {
        command.args(["--", filter]);
    }
    let finished =
        log_file("cargo-test").and_then(|log| run(&mut command, limit, &log).map(|finished| (finished, log)));
    let (finished, log) = match finished {
        Ok(pair) => pair,
        Err(error) => return vec![Case::failed("cargo test", error)],
    };
    let mut cases: Vec<Case> = finished.output.lines().filter_map(case).collect();
    let seen_failures = cases.iter().any(|c| c.outcome.is_err());
    if finished.code != Some(0) && !seen_failures {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        cases.push(Case::failed(
            "cargo test",
            format!("it ended with {:?}:\n{}", finished.code, tools::tail(&text, 40)),
        ));
    }
    if seen_failures {
        println!("{}", failures(&finished.output));
    }
    cases
}

/// `test NAME ... ok`; whatever else stands at the end is a failure, and so is a test that was ignored.
fn case(line: &str) -> Option<Case> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some(if verdict.starts_with("ok") { Case::passed(name) } else { Case::failed(name, verdict) })
}

/// What the failed tests printed, from libtest's sections "failures:".
fn failures(output: &str) -> String {
    let mut shown = Vec::new();
    let mut inside = false;
    for line in output.lines() {
        inside = (inside || line == "failures:") && !line.starts_with("test result:");
        if inside {
            shown.push(line);
        }
    }
    tools::tail(&shown.join("\n"), 200)
}
