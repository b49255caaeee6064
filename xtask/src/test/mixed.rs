//! Groups of several client families on a topic of twelve partitions: Java, librdkafka, KafkaJS, aiokafka, franz-go and
//! Ottla's Rust client with the range assignor, and those of them that know it with the cooperative sticky one. Whenever the
//! shares have settled, records are produced, and each must be read exactly once; then one member leaves, until the last is
//! alone. Besides, members of Java, librdkafka and Rust come and go while records flow: each is read and committed by one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{ChildStdin, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::Case;
use super::interop::{java_classes, log_file, node};
use super::process::{Program, run};
use crate::tools;

const PARTITIONS: usize = 12;
/// Produced in each phase.
const RECORDS: usize = 1200;

/// A group: its assignor, which also names its topic, and its members in the order in which they leave.
struct Mixed {
    assignor: &'static str,
    families: &'static [&'static str],
}

/// Each size that a group has had is a case.
const GROUPS: [Mixed; 2] = [
    Mixed { assignor: "range", families: &["java", "confluent-kafka", "kafkajs", "aiokafka", "franz-go", "rust"] },
    Mixed { assignor: "cooperative", families: &["rust", "java", "confluent-kafka", "franz-go"] },
];

struct Member {
    name: &'static str,
    program: Program,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    share: BTreeSet<usize>,
    left: bool,
}

impl Member {
    fn start(name: &'static str, bootstrap: &str, assignor: &str, topic: &str) -> Result<Member, String> {
        let mut command = command(name)?;
        command.args(["member", bootstrap, &format!("group-of-{topic}"), topic, assignor]);
        let mut program = Program::start(&mut command, &log_file(&format!("member-{assignor}-{name}"))?)?;
        let (stdin, lines) = (program.stdin(), program.lines());
        Ok(Member { name, program, stdin, lines, share: BTreeSet::new(), left: false })
    }

    /// Takes in what it printed: its share, and the values that it read.
    fn look(&mut self, seen: &mut BTreeMap<usize, Vec<&'static str>>) {
        while let Ok(line) = self.lines.try_recv() {
            match line.split_once(' ') {
                Some(("a", share)) => self.share = share.split(',').filter_map(|p| p.trim().parse().ok()).collect(),
                Some(("r", value)) => seen.entry(value.parse().unwrap_or(usize::MAX)).or_default().push(self.name),
                _ if line == "left" => self.left = true,
                _ => {}
            }
        }
    }
}

fn topic(assignor: &str) -> String {
    format!("mixed-topic-{assignor}")
}

/// A family's program.
fn command(family: &str) -> Result<Command, String> {
    let python = |program: &str| -> Result<Command, String> {
        let mut command = Command::new(tools::python()?);
        command.arg(tools::root().join("tests/interop/python").join(program)).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    };
    match family {
        "java" => Ok(tools::java_command(&java_classes(tools::KAFKA_CLIENTS[0])?, "Interop")),
        "confluent-kafka" => python("confluent.py"),
        "kafkajs" => node(&["interop.js"]),
        "aiokafka" => python("aio.py"),
        "franz-go" => tools::go().map(Command::new),
        "rust" => tools::mixed_member().map(Command::new),
        other => Err(format!("no program for {other}")),
    }
}

pub fn run_all(bootstrap: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for group in &GROUPS {
        let mut passed = Vec::new();
        let outcome = play(bootstrap, group, &mut passed);
        for members in (1..=group.families.len() - passed.len()).rev() {
            let reason = outcome.as_ref().err().map_or("", String::as_str);
            passed.push(Case::failed(&name(group, members), reason));
        }
        cases.extend(passed);
        let flow = format!("mixed-group {} while-records-flow", group.assignor);
        cases.push(Case::of(&flow, while_records_flow(bootstrap, group.assignor)));
    }
    cases
}

/// Java, librdkafka and Rust come and go while records are produced: each record is read, and by one member alone, as a
/// member says what it has read once that is committed.
fn while_records_flow(bootstrap: &str, assignor: &str) -> Result<(), String> {
    let go = tools::go()?;
    let log = log_file("mixed-flow")?;
    let topic = format!("mixed-flow-{assignor}");
    go_run(Command::new(&go).args(["create", bootstrap, &topic, &PARTITIONS.to_string()]), &log)?;
    let start = |family: &'static str| Member::start(family, bootstrap, assignor, &topic);
    let mut members = vec![start("rust")?, start("java")?];
    let mut seen = BTreeMap::new();
    let (stop, produced) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let from = produced.load(Ordering::Acquire).to_string();
                go_run(Command::new(&go).args(["produce", bootstrap, &topic, &from, "60"]), &log)?;
                produced.fetch_add(60, Ordering::AcqRel);
            }
            Ok(())
        });
        let mut moves = || -> Result<(), String> {
            settle(&mut members, &mut seen)?;
            members.push(start("confluent-kafka")?);
            settle(&mut members, &mut seen)?;
            let mut java = members.remove(1);
            leave(&mut java, &mut seen)?;
            settle(&mut members, &mut seen)?;
            members.push(start("java")?);
            settle(&mut members, &mut seen)?;
            let mut rust = members.remove(0);
            leave(&mut rust, &mut seen)?;
            members.push(start("rust")?);
            settle(&mut members, &mut seen)?;
            let mut librdkafka = members.remove(0);
            leave(&mut librdkafka, &mut seen)?;
            settle(&mut members, &mut seen)
        };
        let moved = moves();
        stop.store(true, Ordering::Release);
        moved.and(producer.join().unwrap_or_else(|_| Err("the producer panicked".to_owned())))
    });
    outcome?;
    let produced = produced.into_inner();
    let end = Instant::now() + Duration::from_secs(20);
    while seen.len() < produced && Instant::now() < end {
        members.iter_mut().for_each(|m| m.look(&mut seen));
        std::thread::sleep(Duration::from_millis(20));
    }
    for member in &mut members {
        leave(member, &mut seen)?;
    }
    let lost = (0..produced).filter(|v| !seen.contains_key(v)).count();
    let doubled: Vec<_> = seen.iter().filter(|(_, by)| by.len() > 1).collect();
    match lost == 0 && doubled.is_empty() {
        true => Ok(()),
        false => {
            let first = doubled.first();
            Err(format!("of {produced} records {lost} are lost and {} read twice (first {first:?})", doubled.len()))
        }
    }
}

fn name(group: &Mixed, members: usize) -> String {
    format!("mixed-group {} {members}-members", group.assignor)
}

fn play(bootstrap: &str, group: &Mixed, cases: &mut Vec<Case>) -> Result<(), String> {
    let go = tools::go()?;
    let log = log_file("mixed")?;
    let (topic, partitions) = (topic(group.assignor), PARTITIONS.to_string());
    go_run(Command::new(&go).args(["create", bootstrap, &topic, &partitions]), &log)?;
    let start = |family: &&'static str| Member::start(family, bootstrap, group.assignor, &topic);
    let mut members = group.families.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    for phase in 0..group.families.len() {
        let mut seen = BTreeMap::new();
        settle(&mut members, &mut seen)?;
        if !seen.is_empty() {
            return Err(format!("{} records were read again after a rebalance", seen.len()));
        }
        let (from, count) = ((phase * RECORDS).to_string(), RECORDS.to_string());
        go_run(Command::new(&go).args(["produce", bootstrap, &topic, &from, &count]), &log)?;
        read(&mut members, &mut seen, phase * RECORDS)?;
        cases.push(Case::passed(&name(group, members.len())));
        leave(&mut members.remove(0), &mut BTreeMap::new())?;
    }
    Ok(())
}

fn go_run(command: &mut Command, log: &std::path::Path) -> Result<(), String> {
    let finished = run(command, Duration::from_secs(30), log)?;
    if finished.code == Some(0) { Ok(()) } else { Err(format!("the producer failed; {}", log.display())) }
}

/// Waits until the shares of all members together are the topic, each partition once, for a second and a half.
fn settle(members: &mut [Member], seen: &mut BTreeMap<usize, Vec<&'static str>>) -> Result<(), String> {
    let (end, mut since) = (Instant::now() + Duration::from_secs(60), None);
    while Instant::now() < end {
        members.iter_mut().for_each(|m| m.look(seen));
        let shares: Vec<usize> = members.iter().flat_map(|m| m.share.iter().copied()).collect();
        let whole = shares.len() == PARTITIONS && BTreeSet::from_iter(shares) == BTreeSet::from_iter(0..PARTITIONS);
        let fair = members.iter().all(|m| m.share.len() >= PARTITIONS / members.len());
        since = if whole && fair { since.or_else(|| Some(Instant::now())) } else { None };
        if since.is_some_and(|s| s.elapsed() > Duration::from_millis(1500)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let shares: Vec<String> = members.iter().map(|m| format!("{} {:?}", m.name, m.share)).collect();
    Err(format!("the shares did not settle within 60 s: {}", shares.join(", ")))
}

/// Waits until every value of the phase was read, and a little longer for doubles.
fn read(members: &mut [Member], seen: &mut BTreeMap<usize, Vec<&'static str>>, from: usize) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(20);
    while seen.len() < RECORDS && Instant::now() < end {
        members.iter_mut().for_each(|m| m.look(seen));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    members.iter_mut().for_each(|m| m.look(seen));
    let lost: Vec<usize> = (from..from + RECORDS).filter(|v| !seen.contains_key(v)).collect();
    let doubled: Vec<_> = seen.iter().filter(|(_, by)| by.len() > 1).collect();
    if !lost.is_empty() || !doubled.is_empty() {
        let first = doubled.first();
        return Err(format!("{} records lost, {} read twice (first {first:?})", lost.len(), doubled.len()));
    }
    let idle = members.iter().find(|m| !seen.values().any(|by| by.contains(&m.name)));
    idle.map_or(Ok(()), |m| Err(format!("{} read nothing", m.name)))
}

/// Closes its standard input and waits for the word that it has left.
fn leave(member: &mut Member, seen: &mut BTreeMap<usize, Vec<&'static str>>) -> Result<(), String> {
    drop(member.stdin.take());
    let ended = member.program.wait(Duration::from_secs(20));
    std::thread::sleep(Duration::from_millis(50));
    member.look(seen);
    if ended == Some(Some(0)) && member.left {
        Ok(())
    } else {
        Err(format!("{} does not leave: {ended:?}", member.name))
    }
}
