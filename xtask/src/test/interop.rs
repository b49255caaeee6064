//! Foreign clients against the broker: which programs there are, which scenarios each must play, and how they are run.
//!
//! The programs live in tests/interop and print `ok NAME` or `FAIL NAME reason`. A scenario of the table that printed neither
//! counts as failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::broker::{Engine, Home};
use super::process::run;
use super::{Case, mixed};
use crate::tools;

/// What every client library plays.
const COMMON: &[&str] = &[
    "describe-cluster",
    "create-topic",
    "codec-none",
    "codec-gzip",
    "codec-snappy",
    "codec-lz4",
    "codec-zstd",
    "idempotent",
    "offsets",
    "offsets-by-time",
    "seek",
    "commit-sync",
    "commit-async",
    "commit-metadata",
    "group-two-members",
    "group-static",
    "group-list",
    "group-describe",
    "group-delete",
    "add-partitions",
    "describe-configs",
    "alter-configs",
    "delete-records",
    "auto-create",
    "delete-topic",
    "error-unknown-topic",
    "error-too-large",
    "error-bad-name",
    "error-replication-factor",
];

/// One program: its name, the scenarios, and how to make the command (after installing what it needs).
pub struct Suite {
    pub name: &'static str,
    scenarios: Vec<&'static str>,
    command: fn(&Target) -> Result<Command, String>,
}

/// Where the broker is.
#[derive(Debug)]
pub struct Target {
    pub bootstrap: String,
    /// The folder of its partitions, for the tools that read files.
    pub logs: PathBuf,
}

fn without(missing: &[&str]) -> Vec<&'static str> {
    COMMON.iter().copied().filter(|name| !missing.contains(name)).collect()
}

/// The programs and their scenarios: the one place where they are listed.
pub fn suites() -> Vec<Suite> {
    let all = || without(&[]);
    vec![
        Suite {
            name: "kafka-tools-4.3.1",
            scenarios: "topic-create topic-describe topic-alter console-producer console-consumer group-describe group-reset \
                group-delete config-describe config-alter verifiable-producer verifiable-consumer get-offsets delete-records \
                perf api-versions dump-log topic-delete"
                .split_whitespace()
                .collect(),
            command: |target| {
                let mut command = script("java/tools.sh", target, "tools");
                command.arg(&target.logs).env("TOOLS_CLASSPATH", tools::kafka_tools()?);
                Ok(command)
            },
        },
        Suite { name: "java-4.3.1", scenarios: all(), command: |target| java(target, tools::KAFKA_CLIENTS[0]) },
        Suite { name: "java-2.8.2", scenarios: all(), command: |target| java(target, tools::KAFKA_CLIENTS[1]) },
        Suite { name: "confluent-kafka", scenarios: all(), command: |target| python("confluent.py", target, "confluent") },
        // Its admin client deletes no groups.
        Suite {
            name: "aiokafka",
            scenarios: without(&["group-delete"]),
            command: |target| python("aio.py", target, "aiokafka"),
        },
        // It has no static members.
        Suite {
            name: "kafkajs",
            scenarios: without(&["group-static"]),
            command: |target| {
                let mut command = node(&["interop.js"])?;
                command.args([&target.bootstrap, "kafkajs"]);
                Ok(command)
            },
        },
        Suite {
            name: "franz-go",
            scenarios: all(),
            command: |target| {
                let mut command = Command::new(tools::go()?);
                command.args([&target.bootstrap, "franz"]);
                Ok(command)
            },
        },
        Suite {
            name: "kcat",
            scenarios: "describe-cluster codec-none codec-gzip codec-snappy codec-lz4 codec-zstd idempotent nulls offsets \
                offsets-by-time seek commit-sync group-two-members auto-create error-unknown-topic"
                .split_whitespace()
                .collect(),
            command: |target| {
                tools::kcat()?;
                Ok(script("kcat/interop.sh", target, "kcat"))
            },
        },
    ]
}

fn folder(path: &str) -> PathBuf {
    tools::root().join("tests/interop").join(path)
}

fn script(path: &str, target: &Target, prefix: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(folder(path)).args([&target.bootstrap, prefix]);
    command
}

/// The Java programs, compiled against kafka-clients of a version.
pub fn java_classes(version: &str) -> Result<String, String> {
    tools::java("tests/interop/java/src", "tests/interop/java/pom.xml", version, "interop")
}

fn java(target: &Target, version: &str) -> Result<Command, String> {
    let mut command = tools::java_command(&java_classes(version)?, "Interop");
    command.args([&target.bootstrap, &format!("java-{version}")]);
    Ok(command)
}

fn python(program: &str, target: &Target, prefix: &str) -> Result<Command, String> {
    let mut command = Command::new(tools::python()?);
    command.arg(folder("python").join(program)).args([&target.bootstrap, prefix]).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

pub fn node(arguments: &[&str]) -> Result<Command, String> {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(tools::node("tests/interop/node")?);
    Ok(command)
}

/// Runs the programs whose name contains `filter` beside each other on one broker, then the mixed group.
pub fn run_all(engine: &Engine, filter: Option<&str>) -> Vec<Case> {
    let wanted = |name: &str| filter.is_none_or(|f| name.contains(f));
    let home = match Home::new(engine, "interop") {
        Ok(home) => home,
        Err(error) => return vec![Case::failed("broker", error)],
    };
    let broker = match home.start() {
        Ok(broker) => broker,
        Err(error) => return vec![Case::failed("broker", error)],
    };
    let target = Target { bootstrap: broker.bootstrap.clone(), logs: home.logs() };
    let queue: Mutex<Vec<Suite>> = Mutex::new(suites().into_iter().filter(|s| wanted(s.name)).rev().collect());
    let cases = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(suite) = queue.lock().ok().and_then(|mut q| q.pop()) {
                    let found = play(&suite, &target);
                    if let Ok(mut cases) = cases.lock() {
                        cases.extend(found);
                    }
                }
            });
        }
    });
    let mut cases = cases.into_inner().unwrap_or_default();
    if wanted("mixed-group") {
        cases.extend(mixed::run_all(&target.bootstrap));
    }
    cases
}

/// Runs one program and compares what it printed with the table.
fn play(suite: &Suite, target: &Target) -> Vec<Case> {
    let fail_all = |reason: &str| {
        let reasons = std::iter::once(reason).chain(std::iter::repeat("did not run"));
        suite.scenarios.iter().zip(reasons).map(|(s, why)| Case::failed(&format!("{} {s}", suite.name), why)).collect()
    };
    let log = match log_file(suite.name) {
        Ok(log) => log,
        Err(error) => return fail_all(&error),
    };
    let finished = (suite.command)(target).and_then(|mut command| run(&mut command, Duration::from_secs(240), &log));
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => return fail_all(&error),
    };
    let verdict = |scenario: &&str| {
        let name = format!("{} {scenario}", suite.name);
        for line in finished.output.lines() {
            match line.split_once(' ') {
                Some(("ok", rest)) if rest == *scenario => return Case::passed(&name),
                Some(("FAIL", rest)) => match rest.split_once(' ').unwrap_or((rest, "")) {
                    (found, reason) if found == *scenario => return Case::failed(&name, reason),
                    _ => {}
                },
                _ => {}
            }
        }
        let why = if finished.timed_out { "not reached within 4 minutes" } else { "did not run" };
        Case::failed(&name, format!("{why}; {}", log.display()))
    };
    suite.scenarios.iter().map(verdict).collect()
}

/// A new, empty file for what a program says besides its results.
pub fn log_file(name: &str) -> Result<PathBuf, String> {
    let path = tools::scratch("logs")?.join(format!("{name}.log"));
    let _: Result<(), _> = fs::remove_file(Path::new(&path));
    Ok(path)
}
