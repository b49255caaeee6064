//! `cargo xtask test`: every test in every language, in areas with a budget of minutes each.
//!
//! A new area is a row of [`AREAS`] and a function that returns its cases. A test that did not run counts as failed: what is
//! expected is listed (the scenarios in `interop`, the faults in `faults`), and an area that could not start is a failed case.

pub mod broker;
mod c;
mod cargo;
mod cluster;
mod conformance;
mod faults;
pub mod interop;
mod mixed;
pub mod process;
mod raw;
mod security;

use std::time::{Duration, Instant};

use crate::tools;
use broker::Engine;

const USAGE: &str = "\
cargo xtask test [--full] [--only AREA[/NAME]] [--ottla PATH] [--against-kafka] [--list]

  --full            also the long soaks (more rounds of the kill -9 loop, longer fuzzing)
  --only AREA       one area, or with /NAME what of it contains that name; may be given more than once
  --ottla PATH      interop and faults run against this binary instead of building one
  --against-kafka   interop and faults run against Apache Kafka instead of Ottla, to develop them
  --list            the areas and their budgets

examples
  cargo xtask test --only interop/kcat
  cargo xtask test --only faults/kill-9 --full
";

/// One test: its name, and what was expected and found if it failed.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub outcome: Result<(), String>,
}

impl Case {
    pub fn passed(name: &str) -> Case {
        Case { name: name.to_owned(), outcome: Ok(()) }
    }

    pub fn failed(name: &str, reason: impl Into<String>) -> Case {
        Case { name: name.to_owned(), outcome: Err(reason.into()) }
    }

    pub fn of(name: &str, outcome: Result<(), String>) -> Case {
        Case { name: name.to_owned(), outcome }
    }
}

/// What the command line asked for.
#[derive(Debug, Default)]
pub struct Request {
    pub full: bool,
    against_kafka: bool,
    ottla: Option<std::path::PathBuf>,
    only: Vec<String>,
    /// The NAME part of `--only AREA/NAME` for the area that runs now.
    pub filter: Option<String>,
}

impl Request {
    /// The broker under test.
    pub fn engine(&self) -> Result<Engine, String> {
        match &self.ottla {
            _ if self.against_kafka => tools::kafka_broker().map(Engine::Kafka),
            Some(binary) => Ok(Engine::Ottla(binary.clone())),
            None => tools::ottla().map(Engine::Ottla),
        }
    }
}

struct Area {
    name: &'static str,
    /// Whether it runs only with `--full` (or when asked for by name).
    long: bool,
    /// What it may cost on two cores, with everything installed.
    budget_minutes: f64,
    run: fn(&Request) -> Vec<Case>,
}

const fn area(name: &'static str, budget_minutes: f64, run: fn(&Request) -> Vec<Case>) -> Area {
    Area { name, long: false, budget_minutes, run }
}

/// In the order in which they run: what fails fast comes first.
const AREAS: &[Area] = &[
    area("tidy", 0.2, |_| vec![Case::of("tidy", crate::tidy::run(&[]))]),
    area("gen", 0.5, |_| vec![Case::of("gen --check", crate::generate::run(&["--check".to_owned()]))]),
    area("fmt", 0.2, |_| vec![cargo::plain("fmt", &["fmt", "--all", "--check"])]),
    area("build", 6.0, |_| vec![Case::of("build", tools::ottla().map(drop))]),
    area("rust", 12.0, cargo::tests),
    area("clippy", 3.0, |_| vec![cargo::clippy()]),
    area("docs", 2.0, |_| vec![cargo::docs()]),
    area("c", 3.0, c::run_all),
    area("interop", 6.0, interop),
    area("faults", 2.0, faults::run_all),
    area("conformance", 6.0, conformance::run_all),
    area("cluster", 3.0, cluster::run_all),
    area("security", 3.0, security::run_all),
    area("differential", 2.0, cargo::differential),
    area("demo", 1.0, demo),
    Area { name: "fuzz", long: true, budget_minutes: 10.5, run: |_| vec![cargo::fuzz()] },
];

pub fn run(args: &[String]) -> crate::Outcome {
    let mut request = Request::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--full" => request.full = true,
            "--against-kafka" => request.against_kafka = true,
            "--only" => request.only.push(rest.next().ok_or("--only wants the name of an area")?.clone()),
            "--ottla" => request.ottla = Some(rest.next().ok_or("--ottla wants the path of a binary")?.into()),
            "--list" => {
                AREAS.iter().for_each(|a| println!("{:<12} {:>4.1} minutes", a.name, a.budget_minutes));
                return Ok(());
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("unknown option '{other}'\n\n{USAGE}")),
        }
    }
    for only in &request.only {
        if !AREAS.iter().any(|a| only.split('/').next() == Some(a.name)) {
            return Err(format!("no area '{only}'; --list names them"));
        }
    }
    play(request)
}

fn play(mut request: Request) -> crate::Outcome {
    let mut rows = Vec::new();
    for area in AREAS {
        let wanted: Vec<&String> = request.only.iter().filter(|o| o.split('/').next() == Some(area.name)).collect();
        if wanted.is_empty() && (!request.only.is_empty() || area.long && !request.full) {
            continue;
        }
        request.filter = wanted.first().and_then(|o| o.split_once('/')).map(|(_, name)| name.to_owned());
        println!("── {}", area.name);
        let start = Instant::now();
        let mut cases = (area.run)(&request);
        if cases.is_empty() {
            cases.push(Case::failed(area.name, "no test ran"));
        }
        for case in &cases {
            if let Err(reason) = &case.outcome {
                println!("FAIL {}: {}: {reason}", area.name, case.name);
            }
        }
        let failed = cases.iter().filter(|c| c.outcome.is_err()).count();
        rows.push((area, cases.len() - failed, failed, start.elapsed()));
    }
    report(&rows)
}

/// The closing table, and the counts alone on the last line.
fn report(rows: &[(&Area, usize, usize, Duration)]) -> crate::Outcome {
    println!("\n{:<12} {:>7} {:>7} {:>8} {:>7}", "area", "passed", "failed", "minutes", "budget");
    for (area, passed, failed, time) in rows {
        let minutes = time.as_secs_f64() / 60.0;
        let note = if minutes > area.budget_minutes { "  over its budget" } else { "" };
        println!("{:<12} {passed:>7} {failed:>7} {minutes:>8.2} {:>7.1}{note}", area.name, area.budget_minutes);
    }
    let (passed, failed) = rows.iter().fold((0, 0), |(p, f), row| (p + row.1, f + row.2));
    let minutes: f64 = rows.iter().map(|row| row.3.as_secs_f64() / 60.0).sum();
    println!("{:<12} {passed:>7} {failed:>7} {minutes:>8.2}\n\n{passed} passed, {failed} failed", "all");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} tests failed or did not run")) }
}

fn interop(request: &Request) -> Vec<Case> {
    match request.engine() {
        Ok(engine) => interop::run_all(&engine, request.filter.as_deref()),
        Err(error) => vec![Case::failed("broker", error)],
    }
}

/// The demo on a part of its data.
fn demo(_: &Request) -> Vec<Case> {
    vec![Case::of("demo --limit 3000", crate::demo::run(&["--limit".to_owned(), "3000".to_owned()]))]
}
