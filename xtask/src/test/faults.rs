//! What goes wrong around a broker: killed processes, broken files, full disks, hostile clients, bad configs.
//!
//! Each fault is a function that starts its own broker, does the damage and says what it found.

mod crash;
mod hostile;
mod start;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::broker::Engine;
use super::interop::log_file;
use super::process::{Program, run};
use super::{Case, Request};
use crate::tools;

/// What a fault test works with.
#[derive(Debug)]
pub struct Lab {
    pub engine: Engine,
    pub full: bool,
    go: PathBuf,
}

type Fault = fn(&Lab) -> Result<(), String>;

/// The list of all faults: a name that did not run is a failure.
const FAULTS: &[(&str, Fault)] = &[
    ("kill-9-loop", crash::kill_loop),
    ("dump-log-after-kill-9", crash::dump_log),
    ("kill-9-while-cleaning", crash::kill_cleaner),
    ("truncated-segment", crash::truncated_segment),
    ("bit-flipped-segment", crash::bit_flipped_segment),
    ("full-disk", crash::full_disk),
    ("second-broker", start::second_broker),
    ("port-in-use", start::port_in_use),
    ("unknown-config", start::unknown_config),
    ("bad-config-value", start::bad_config_value),
    ("sigterm-at-once", start::sigterm),
    ("http-on-the-port", hostile::http),
    ("garbage-on-the-port", hostile::garbage),
    ("frame-of-2-gib", hostile::huge_frame),
    ("client-that-never-reads", hostile::never_reads),
    ("idle-connections", hostile::idle_connections),
];

pub fn run_all(request: &Request) -> Vec<Case> {
    let wanted: Vec<_> =
        FAULTS.iter().filter(|(n, _)| request.filter.as_deref().is_none_or(|f| n.contains(f))).collect();
    let lab = request.engine().and_then(|engine| Ok(Lab { engine, full: request.full, go: tools::go()? }));
    match lab {
        Ok(lab) => wanted.iter().map(|(name, fault)| timed(name, *fault, &lab)).collect(),
        Err(error) => wanted.iter().map(|(name, _)| Case::failed(name, &error)).collect(),
    }
}

fn timed(name: &str, fault: Fault, lab: &Lab) -> Case {
    let start = Instant::now();
    let case = Case::of(name, fault(lab));
    let verdict = if case.outcome.is_ok() { "ok" } else { "FAIL" };
    println!("{verdict} {name} ({:.1} s)", start.elapsed().as_secs_f64());
    case
}

impl Lab {
    /// Runs the Go program; its output when it succeeds.
    pub fn go(&self, arguments: &[&str]) -> Result<String, String> {
        let log = log_file("fault-go")?;
        let finished = run(Command::new(&self.go).args(arguments), Duration::from_secs(90), &log)?;
        match finished.code {
            Some(0) => Ok(finished.output),
            _ => Err(format!("{}: {}", arguments[0], fs::read_to_string(&log).unwrap_or_default().trim_end())),
        }
    }

    /// Values FROM..FROM+COUNT to a topic that exists.
    pub fn produce(&self, bootstrap: &str, topic: &str, from: usize, count: usize) -> Result<(), String> {
        self.go(&["produce", bootstrap, topic, &from.to_string(), &count.to_string()]).map(drop)
    }

    /// The numbers in a topic of one partition, in order.
    pub fn read(&self, bootstrap: &str, topic: &str) -> Result<Vec<usize>, String> {
        Ok(self.go(&["read", bootstrap, topic])?.lines().filter_map(|l| l.parse().ok()).collect())
    }

    /// The broker still serves: a topic is created, written and read.
    pub fn serves(&self, bootstrap: &str, topic: &str) -> Result<(), String> {
        self.go(&["create", bootstrap, topic, "1"])?;
        self.produce(bootstrap, topic, 0, 100)?;
        let read = self.read(bootstrap, topic)?;
        if read == Vec::from_iter(0..100) {
            Ok(())
        } else {
            Err(format!("{} of 100 records came back in order", read.len()))
        }
    }

    /// A load that goes on until its input is closed; what was acknowledged stands in the file.
    pub fn load(&self, bootstrap: &str, topic: &str, padding: usize, name: &str) -> Result<(Program, PathBuf), String> {
        let file = tools::scratch("logs")?.join(format!("{name}.acknowledged"));
        fs::remove_file(&file).ok();
        let mut command = Command::new(&self.go);
        command.args(["load", bootstrap, topic]).arg(&file).arg(padding.to_string());
        Ok((Program::start(&mut command, &log_file(name)?)?, file))
    }

    /// Ends the load and checks that it saw no error.
    pub fn finish(&self, mut load: Program, name: &str) -> Result<(), String> {
        drop(load.stdin());
        match load.wait(Duration::from_secs(60)) {
            Some(Some(0)) => Ok(()),
            code => {
                let log = tools::scratch("logs")?.join(format!("{name}.log"));
                Err(format!("the load ended with {code:?}: {}", fs::read_to_string(log).unwrap_or_default().trim_end()))
            }
        }
    }

    /// Everything acknowledged is in the topic exactly once; how many that were.
    pub fn verify(&self, bootstrap: &str, topic: &str, file: &std::path::Path) -> Result<usize, String> {
        let text = self.go(&["verify", bootstrap, topic, &file.display().to_string()])?;
        text.trim().parse().map_err(|_| format!("verify said '{text}'"))
    }
}

/// An expectation with its sentence.
pub fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
