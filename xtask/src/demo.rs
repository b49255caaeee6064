//! `cargo xtask demo`: a program with the embedded broker inside, and the flights of January 2013 through it, in with Java and out with Python,
//! Node and Rust side by side, each a group of two members; and what `ottla group explain` says of one of them.
//!
//! The client programs are those of examples/; this file starts them, shows how far they are and checks their counts against
//! the file. It deliberately talks no Kafka itself.

mod clients;
mod show;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::test::broker::{Engine, Home};
use crate::tools;
use clients::{Client, Results};

const USAGE: &str = "\
cargo xtask demo [--limit ROWS] [--keep]

  --limit ROWS   only the first rows of the file (it has 27,004)
  --keep         leave the data directory and say where it is
";

const TOPIC: &str = "flights";
const PARTITIONS: &str = "6";
/// The groups, each of two members.
const GROUPS: [&str; 3] = ["python", "node", "rust"];
/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(args: &[String]) -> crate::Outcome {
    let (mut limit, mut keep) = (i64::MAX as usize, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--limit" => limit = rest.next().and_then(|n| n.parse().ok()).ok_or("--limit wants a number of rows")?,
            "--keep" => keep = true,
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("unknown option '{other}'\n\n{USAGE}")),
        }
    }
    let setup = Instant::now();
    println!("building ottla and its clients (the first time takes minutes)");
    let kit = Kit::new()?;
    println!("ready to start after {:.1} s\n", setup.elapsed().as_secs_f64());
    stream(&kit, limit, keep)
}

/// What has to be built or installed.
struct Kit {
    ottla: PathBuf,
    embedded: PathBuf,
    consumer: PathBuf,
    java: String,
    python: PathBuf,
    node: PathBuf,
}

impl Kit {
    fn new() -> Result<Kit, String> {
        Ok(Kit {
            ottla: tools::ottla()?,
            embedded: tools::embedded_broker()?,
            consumer: tools::flights_consumer()?,
            java: tools::java("examples/java", "examples/java/pom.xml", tools::KAFKA_CLIENTS[0], "demo")?,
            python: tools::python()?,
            node: tools::node("examples/node")?,
        })
    }

    fn consumer(&self, group: &str) -> Command {
        let mut command = match group {
            "python" => Command::new(&self.python),
            "node" => Command::new("node"),
            _ => Command::new(&self.consumer),
        };
        match group {
            "python" => command.arg(tools::root().join("examples/python/flights_consumer.py")),
            "node" => command.arg("flights_consumer.js").current_dir(&self.node),
            _ => &mut command,
        };
        command
    }
}

fn stream(kit: &Kit, limit: usize, keep: bool) -> crate::Outcome {
    let file = tools::root().join("examples/data/flights-2013-01.csv.gz");
    let expected = expected(&file, limit)?;
    let rows: usize = expected.values().sum();
    let started = Instant::now();
    let home = Home::new(&Engine::Embedded(kit.embedded.clone()), "demo")?;
    let broker = home.start()?;
    println!(
        "the embedded broker is ready on {} after {} ms, {} MiB",
        broker.bootstrap,
        started.elapsed().as_millis(),
        broker.resident_mib()
    );
    let mut create = Command::new(&kit.ottla);
    create.args(["topic", "create", TOPIC, "--partitions", PARTITIONS, "--bootstrap-server", &broker.bootstrap]);
    create.args(["--config", "retention.ms=-1"]); // The records bear the times of 2013.
    tools::run(&mut create, "create the topic")?;

    let mut consumers = Vec::new();
    for group in GROUPS {
        for number in 1..=2 {
            let name = format!("{group}-{number}");
            let mut command = kit.consumer(group);
            command.args([&broker.bootstrap, TOPIC, group, &name]);
            consumers.push(Client::start(&name, command)?);
        }
    }
    wait("the groups to form", &mut consumers, |all| all.iter().all(|c| c.share == 3))?;
    println!(
        "three groups of two members share {PARTITIONS} partitions after {:.1} s\n",
        started.elapsed().as_secs_f64()
    );

    let mut command = tools::java_command(&kit.java, "FlightsProducer");
    command.args([&broker.bootstrap, TOPIC]).arg(&file).arg(limit.to_string());
    let mut clients = vec![Client::start("java", command)?];
    clients.append(&mut consumers);
    let read_all = |all: &[Client]| {
        show::progress(all, rows);
        all[0].results.is_some() && all[1..].chunks(2).all(|group| show::read(group) >= rows)
    };
    wait("all flights to be read", &mut clients, read_all)?;
    println!("\n");

    let mut lag = Command::new(&kit.python);
    lag.arg(tools::root().join("examples/python/group_lag.py")).args([&broker.bootstrap, TOPIC]).args(GROUPS);
    let table = lag.output().map_err(|e| format!("cannot run group_lag.py: {e}"))?;
    let mut explain = Command::new(&kit.ottla);
    explain.args(["group", "explain", GROUPS[2], "--bootstrap-server", &broker.bootstrap]);
    let explained = explain.output().map_err(|e| format!("cannot run ottla group explain: {e}"))?;
    clients[1..].iter().for_each(|c| c.program.signal(Signal::TERM));
    wait("the members to leave", &mut clients, |all| all.iter().all(|c| c.results.is_some()))?;
    let groups: Vec<(String, Results)> =
        clients[1..].chunks(2).map(|members| (members[0].group(), members[0].merge(&members[1]))).collect();

    show::delays(&groups[0].1, &airlines()?);
    println!("\n{}", String::from_utf8_lossy(&table.stdout));
    println!("$ ottla group explain {}\n{}", GROUPS[2], String::from_utf8_lossy(&explained.stdout));
    show::throughput(&clients[0], &groups);
    let memory = broker.resident_mib();
    let closing = broker.stop(Duration::from_secs(10))?;
    println!("\nthe broker used {memory} MiB and closed in {} ms", closing.as_millis());
    if keep {
        println!("its data: {}", home.logs().display());
    } else {
        fs::remove_dir_all(&home.dir).ok();
    }
    check(&groups, &expected)?;
    println!(
        "checked: each group read all {rows} flights of the file exactly once; {:.1} s in all",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Looks at the clients until the condition holds.
fn wait(what: &str, clients: &mut [Client], mut holds: impl FnMut(&[Client]) -> bool) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        for client in clients.iter_mut() {
            client.look()?;
        }
        if holds(clients) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("waited {} s for {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Flights per carrier in the first rows of the file.
fn expected(file: &std::path::Path, limit: usize) -> Result<BTreeMap<String, usize>, String> {
    let output = Command::new("gzip").arg("-dc").arg(file).output().map_err(|e| format!("cannot run gzip: {e}"))?;
    let mut counts = BTreeMap::new();
    for row in String::from_utf8_lossy(&output.stdout).lines().skip(1).take(limit) {
        *counts.entry(row.split(',').nth(9).unwrap_or_default().to_owned()).or_default() += 1;
    }
    if counts.is_empty() { Err(format!("{} has no flights", file.display())) } else { Ok(counts) }
}

/// The names of the airlines by their codes.
fn airlines() -> Result<BTreeMap<String, String>, String> {
    let path = tools::root().join("examples/data/airlines.csv");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.lines().filter_map(|l| l.split_once(',')).map(|(code, name)| (code.to_owned(), name.to_owned())).collect())
}

/// Each group has read exactly what the file holds, and both computed the same.
fn check(groups: &[(String, Results)], expected: &BTreeMap<String, usize>) -> Result<(), String> {
    for (name, results) in groups {
        let counts: BTreeMap<String, usize> =
            results.carriers.iter().map(|(c, s)| (c.clone(), s.flights as usize)).collect();
        if &counts != expected {
            return Err(format!("group {name} read {counts:?}, the file holds {expected:?}"));
        }
    }
    if groups.iter().all(|(_, results)| results.carriers == groups[0].1.carriers) {
        Ok(())
    } else {
        Err("the groups computed different delays".to_owned())
    }
}
