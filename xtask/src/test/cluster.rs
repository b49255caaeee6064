//! The scenarios of tests/conformance that need several brokers: the program starts an Apache Kafka of three nodes itself, as
//! its scenarios stop, kill and move them.

use std::process::Command;
use std::time::Duration;

use super::interop::log_file;
use super::process::run;
use super::{Case, Request, conformance};
use crate::tools;

pub fn run_all(request: &Request) -> Vec<Case> {
    let mut cases = Vec::new();
    if let Err(error) = play(request, &mut cases) {
        cases.push(Case::failed("cluster", error));
    }
    cases
}

fn play(request: &Request, cases: &mut Vec<Case>) -> Result<(), String> {
    let (program, jars) = (tools::cluster()?, tools::kafka_broker()?);
    let log = log_file("cluster")?;
    let mut command = Command::new(program);
    command.args(["--jars", &jars, "--directory"]).arg(tools::scratch("brokers")?.join("cluster"));
    command.args(&request.filter);
    let finished = run(&mut command, Duration::from_secs(900), &log)?;
    conformance::take_in(&finished, &log, cases)
}
