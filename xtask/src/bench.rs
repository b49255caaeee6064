//! `cargo xtask bench`: Apache Kafka beside Ottla in one run, one table of the numbers that the project is held to.
//!
//! What a row means and how it is measured is written in bench/README.md. This file parses the options and walks through
//! the groups of rows; it does not know how a broker is started (`kafka`, `broker`) nor what the load looks like (bench/go).

mod broker;
mod clients;
mod in_process;
mod kafka;
mod live;
mod load;
mod machine;
mod report;
mod restart;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use broker::{Kind, Plan};
use report::Report;

const USAGE: &str = "\
cargo xtask bench [--quick] [--only ROW] [--peer none] [--ottla PATH|none] [--perf]

  --quick        fewer and shorter runs (about 4 minutes instead of 15)
  --only ROW     only rows whose name begins with ROW, such as 'produce' or 'start' (--list names them)
  --peer none    without Apache Kafka
  --ottla PATH   this binary instead of the one of target/release, which is built first; 'none' measures the peer alone
  --perf         one more run of each live row with perf on Ottla's broker; reports in bench/results/perf
  --list         the names of the rows

examples
  cargo xtask bench --quick
  cargo xtask bench --only ack --perf
";

/// What the command line asked for, and the places it works in.
#[derive(Debug)]
struct Options {
    quick: bool,
    only: Option<String>,
    perf: bool,
    /// The brokers to measure, in the order in which they take turns.
    kinds: Vec<Kind>,
    root: PathBuf,
    target: PathBuf,
}

impl Options {
    /// Whether a row of this name was asked for.
    fn wants(&self, row: &str) -> bool {
        self.only.as_deref().is_none_or(|only| row.starts_with(only))
    }

    /// Picks by length of the run.
    fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Runs the comparison, prints the table and writes bench/results/latest.{md,json}.
///
/// # Errors
/// A sentence, when a tool is missing, a broker does not start or a load fails.
pub fn run(args: &[String]) -> crate::Outcome {
    let Some((options, plan)) = parse(args)? else { return Ok(()) };
    let mut report = Report::new(&options);
    let work = plan.work.clone();
    let outcome = measure(&options, &plan, &mut report);
    // What was measured before a failure is still worth reading.
    report.print();
    report.write(&options.root.join("bench/results"))?;
    fs::remove_dir_all(&work).ok();
    outcome
}

fn measure(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    restart::binary_size(options, plan, report)?;
    in_process::run(options, report)?;
    clients::alone(options, plan, report)?;
    restart::first_ack(options, plan, report)?;
    restart::thousand_partitions(options, plan, report)?;
    live::run(options, plan, report)
}

fn parse(args: &[String]) -> Result<Option<(Options, Plan)>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?.to_path_buf();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (mut quick, mut perf, mut only, mut peer, mut ottla) = (false, false, None, true, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().ok_or(format!("{arg} wants a value\n\n{USAGE}"));
        match arg.as_str() {
            "--quick" => quick = true,
            "--perf" => perf = true,
            "--only" => only = Some(value()?),
            "--peer" => peer = value()? != "none",
            "--ottla" => ottla = Some(value()?),
            "--list" => {
                rows::ROWS.iter().for_each(|row| println!("{:14} {}", row.name, row.title));
                return Ok(None);
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("unknown option '{other}'\n\n{USAGE}")),
        }
    }
    if let Some(only) = only.as_deref().filter(|only| !rows::ROWS.iter().any(|row| row.name.starts_with(only))) {
        return Err(format!("no row's name begins with '{only}'; 'cargo xtask bench --list' names them"));
    }
    let mut kinds = Vec::new();
    if peer {
        kinds.push(Kind::Kafka);
    }
    if ottla.as_deref() != Some("none") {
        kinds.push(Kind::Ottla);
    }
    let work = target.join("xtask/bench").join(std::process::id().to_string());
    fs::create_dir_all(&work).map_err(|e| format!("cannot create {}: {e}", work.display()))?;
    let options = Options { quick, only, perf, kinds, root: root.clone(), target: target.clone() };
    let plan = Plan {
        clients: if clients::wanted(&options) { Some(clients::build(&root, &target)?) } else { None },
        jars: if peer { Some(kafka::jars(&root, &target)?) } else { None },
        log4j: root.join("bench/kafka/log4j2.xml"),
        ottla: match ottla {
            Some(path) => PathBuf::from(path),
            None => build_ottla(&root, &target)?,
        },
        load: load::build(&root, &target)?,
        work,
    };
    Ok(Some((options, plan)))
}

fn build_ottla(root: &Path, target: &Path) -> Result<PathBuf, String> {
    println!("building ottla (release)");
    let status =
        Command::new("cargo").args(["build", "--quiet", "--release", "-p", "ottla-cli"]).current_dir(root).status();
    match status {
        Ok(status) if status.success() => Ok(target.join("release/ottla")),
        Ok(_) => Err("cargo build --release -p ottla-cli failed; its messages are above".into()),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}
