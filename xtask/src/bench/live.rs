//! The rows that share one broker of each kind: both are up and warm, and take turns.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Options;
use super::broker::{Broker, Home, Kind, Plan};
use super::clients;
use super::load::{self, Numbers};
use super::machine::{self, Neighbours};
use super::report::Report;

/// One measurement: a fresh topic, some loads on it, and the rows that come out.
struct Scenario {
    /// The rows it fills; the first names it in progress lines and profiles.
    rows: &'static [&'static str],
    partitions: u32,
    run: fn(&mut Turn<'_>) -> Result<(), String>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { rows: &["produce-1k", "consume-1k"], partitions: 4, run: one_kib },
    Scenario { rows: &["produce-100"], partitions: 4, run: hundred_bytes },
    Scenario { rows: &["lz4"], partitions: 4, run: |turn| compressed(turn, "lz4", "lz4") },
    Scenario { rows: &["zstd"], partitions: 4, run: |turn| compressed(turn, "zstd", "zstd") },
    Scenario { rows: &["rate-500k"], partitions: 8, run: fixed_rate },
    Scenario { rows: &["ack-p50", "ack-p99"], partitions: 1, run: ack_latency },
    Scenario { rows: &["trip-p50", "trip-p99"], partitions: 1, run: round_trip },
    Scenario { rows: &["e2e-p99"], partitions: 4, run: end_to_end },
    Scenario {
        rows: &["own-produce-100", "own-consume-100", "own-c-produce-100", "own-c-consume-100"],
        partitions: 1,
        run: |turn| own(turn, "100", turn.options.pick("1000000", "5000000")),
    },
    Scenario {
        rows: &["own-produce-1k", "own-consume-1k", "own-c-produce-1k", "own-c-consume-1k"],
        partitions: 1,
        run: |turn| own(turn, "1024", turn.options.pick("300000", "1000000")),
    },
    Scenario {
        rows: &["own-ack-p50", "own-ack-p99"],
        partitions: 1,
        run: |turn| own_latency(turn, "ack-latency", "ack"),
    },
    Scenario {
        rows: &["own-trip-p50", "own-trip-p99"],
        partitions: 1,
        run: |turn| own_latency(turn, "round-trip", "trip"),
    },
    Scenario { rows: &["spread-1000"], partitions: 1000, run: spread },
];

/// One broker's turn at one scenario.
struct Turn<'a> {
    options: &'a Options,
    plan: &'a Plan,
    broker: &'a Broker,
    topic: String,
    partitions: u32,
    /// None while warming up or profiling: what is measured then is thrown away.
    report: Option<&'a mut Report>,
    rows: &'static [&'static str],
}

impl Turn<'_> {
    /// Runs a load on the turn's topic and returns its numbers and the CPU seconds that the broker used for it.
    fn load(&mut self, command: &str, args: &[&str]) -> Result<(Numbers, f64), String> {
        let partitions = self.partitions.to_string();
        let args = [&["--topic", &self.topic, "--partitions", &partitions], args].concat();
        let neighbours = Neighbours::watch();
        let before = self.broker.cpu_seconds();
        let numbers = load::run(self.plan, &self.broker.address, command, &args)?;
        let used = self.broker.cpu_seconds() - before;
        let others = neighbours.cores(used + numbers.get("client_cpu_s"));
        for &row in self.rows {
            if let Some(report) = &mut self.report {
                report.neighbours(row, others);
            }
        }
        Ok((numbers, used))
    }

    /// Runs bench/clients and returns one of its numbers.
    fn client(&mut self, args: &[&str], name: &str) -> Result<f64, String> {
        let neighbours = Neighbours::watch();
        let before = self.broker.cpu_seconds();
        let numbers = clients::measure(self.plan, args)?;
        let used = self.broker.cpu_seconds() - before + clients::number(&numbers, "cpu_s");
        let others = neighbours.cores(used);
        for &row in self.rows {
            if let Some(report) = &mut self.report {
                report.neighbours(row, others);
            }
        }
        Ok(clients::number(&numbers, name))
    }

    fn add(&mut self, row: &'static str, value: f64) {
        self.add_as(row, self.broker.kind, value);
    }

    fn add_as(&mut self, row: &'static str, kind: Kind, value: f64) {
        if let Some(report) = self.report.as_mut().filter(|_| self.options.wants(row)) {
            report.add(row, kind, value);
        }
    }
}

/// Starts one broker of each kind, warms them up and measures every scenario that has a wanted row.
///
/// # Errors
/// When a broker does not come up or a load fails.
pub fn run(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    let wanted: Vec<&Scenario> = SCENARIOS.iter().filter(|s| s.rows.iter().any(|row| options.wants(row))).collect();
    if wanted.is_empty() && !options.wants("rss-load") {
        return Ok(());
    }
    let homes = options.kinds.iter().map(|&kind| Home::new(plan, kind, "live")).collect::<Result<Vec<_>, _>>()?;
    let mut brokers = homes.iter().map(|home| home.start_ready(plan)).collect::<Result<Vec<_>, _>>()?;
    println!("warming up");
    for broker in &mut brokers {
        for scenario in &wanted {
            for pass in 0..warm_ups(options, broker.kind, scenario) {
                turn(options, plan, broker, scenario, &format!("warm-{pass}"), None)?;
            }
        }
    }
    for scenario in &wanted {
        println!("{}", scenario.rows.join(", "));
        for round in 0..options.pick(2, 5) {
            for broker in &mut brokers {
                turn(options, plan, broker, scenario, &round.to_string(), Some(&mut *report))?;
            }
        }
        if options.perf {
            for broker in brokers.iter_mut().filter(|b| b.kind == Kind::Ottla) {
                profile(options, plan, broker, scenario)?;
            }
        }
    }
    if options.wants("rss-load") {
        for broker in &brokers {
            report.add("rss-load", broker.kind, machine::rss_mib(broker.pid()));
        }
    }
    brokers.into_iter().for_each(Broker::stop);
    homes.into_iter().for_each(Home::remove);
    Ok(())
}

/// A JVM compiles its hot code for many seconds of load; native code is warm after one pass.
fn warm_ups(options: &Options, kind: Kind, scenario: &Scenario) -> usize {
    match kind {
        _ if scenario.partitions == 1000 => 0, // Its row is about new partitions.
        Kind::Kafka => options.pick(2, 4),
        Kind::Ottla => 1,
    }
}

fn turn(
    options: &Options,
    plan: &Plan,
    broker: &mut Broker,
    scenario: &Scenario,
    round: &str,
    report: Option<&mut Report>,
) -> crate::Outcome {
    let topic = format!("{}-{round}", scenario.rows[0]);
    let partitions = scenario.partitions;
    let named = |e: String| format!("{}, {}: {e}", broker.kind.name(), scenario.rows[0]);
    load::run(plan, &broker.address, "create", &["--topic", &topic, "--partitions", &partitions.to_string()])
        .map_err(named)?;
    let mut turn = Turn { options, plan, broker, topic, partitions, report, rows: scenario.rows };
    let outcome = (scenario.run)(&mut turn);
    let topic = turn.topic;
    outcome.map_err(|e| format!("{}, {}: {e}\n{}", broker.kind.name(), scenario.rows[0], broker.explain()))?;
    // Its pages go back to the page cache, for the next one to use again. A thousand partitions hold little, and a
    // broker that is still deleting them would be measured doing that.
    if partitions < 1000 {
        load::run(plan, &broker.address, "delete", &["--topic", &topic])?;
    }
    Ok(())
}

/// Writes and removes a file of that size. In a virtual machine a page that was never touched costs the guest a fault
/// in the host, three times as dear as writing it: without this, whoever grows the page cache first pays for it.
fn touch_pages(plan: &Plan, bytes: usize) -> crate::Outcome {
    let path = plan.work.join("pages");
    let block = vec![1u8; 1 << 20];
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        for _ in 0..bytes.div_ceil(block.len()) {
            file.write_all(&block)?;
        }
        drop(file);
        fs::remove_file(&path)
    };
    write().map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn one_kib(turn: &mut Turn<'_>) -> Result<(), String> {
    touch_pages(turn.plan, 1_200_000_000)?;
    let (produced, used) = turn.load("produce-raw", &["--size", "1024", "--bytes", "1000000000"])?;
    turn.add("produce-1k", used / produced.get("bytes") * 1e9);
    // Three times over the same data, as the CPU seconds of one pass are few ticks of the clock.
    let (mut used, mut bytes) = (0.0, 0.0);
    for _ in 0..3 {
        let (consumed, cpu) = turn.load("consume-raw", &["--size", "1024"])?;
        used += cpu;
        bytes += consumed.get("bytes");
    }
    turn.add("consume-1k", used / bytes * 1e9);
    Ok(())
}

fn hundred_bytes(turn: &mut Turn<'_>) -> Result<(), String> {
    touch_pages(turn.plan, 900_000_000)?;
    let (produced, used) = turn.load("produce-raw", &["--size", "100", "--bytes", "700000000"])?;
    turn.add("produce-100", used / produced.get("bytes") * 1e9);
    Ok(())
}

fn compressed(turn: &mut Turn<'_>, codec: &str, row: &'static str) -> Result<(), String> {
    let (produced, mut used) =
        turn.load("produce-raw", &["--size", "1024", "--bytes", "2000000000", "--codec", codec])?;
    used += turn.load("consume-raw", &["--size", "1024"])?.1;
    turn.add(row, used / produced.get("bytes") * 1e9);
    Ok(())
}

fn fixed_rate(turn: &mut Turn<'_>) -> Result<(), String> {
    let seconds = turn.options.pick("4", "8");
    let (sent, used) = turn.load("fixed-rate", &["--rate", "500000", "--size", "100", "--seconds", seconds])?;
    // A broker that cannot keep up must not look cheap.
    if sent.get("rate") < 475_000.0 {
        return Err(format!("only {:.0} of 500000 records per second were acknowledged", sent.get("rate")));
    }
    turn.add("rate-500k", used / sent.get("seconds"));
    Ok(())
}

fn ack_latency(turn: &mut Turn<'_>) -> Result<(), String> {
    let records = turn.options.pick("5000", "20000");
    let (times, _) = turn.load("ack-latency", &["--size", "100", "--records", records])?;
    turn.add("ack-p50", times.get("p50_us"));
    turn.add("ack-p99", times.get("p99_us"));
    Ok(())
}

fn round_trip(turn: &mut Turn<'_>) -> Result<(), String> {
    let records = turn.options.pick("5000", "20000");
    let (times, _) = turn.load("round-trip", &["--size", "100", "--records", records])?;
    turn.add("trip-p50", times.get("p50_us"));
    turn.add("trip-p99", times.get("p99_us"));
    Ok(())
}

fn end_to_end(turn: &mut Turn<'_>) -> Result<(), String> {
    let seconds = turn.options.pick("6", "8");
    let (times, _) = turn.load("end-to-end", &["--rate", "100000", "--size", "100", "--seconds", seconds])?;
    turn.add("e2e-p99", times.get("p99_us") / 1e3);
    Ok(())
}

/// The Rust clients one after the other, each on a topic of its own of Ottla's broker, which all of them share.
fn own(turn: &mut Turn<'_>, size: &str, records: &str) -> Result<(), String> {
    if turn.broker.kind != Kind::Ottla {
        return Ok(());
    }
    let [produce, consume, c_produce, c_consume] = turn.rows else { return Err("four rows".to_owned()) };
    for (client, rows) in [
        ("rskafka", vec![(*produce, *consume, Kind::Kafka)]),
        ("rdkafka", vec![(*c_produce, *c_consume, Kind::Kafka)]),
        ("ottla", vec![(*produce, *consume, Kind::Ottla), (*c_produce, *c_consume, Kind::Ottla)]),
    ] {
        let topic = format!("{}-{client}", turn.topic);
        load::run(turn.plan, &turn.broker.address, "create", &["--topic", &topic, "--partitions", "1"])?;
        let mut cpu = Vec::new();
        for what in ["produce", "consume"] {
            let address = turn.broker.address.clone();
            let args = [client, what, "--broker", &address, "--topic", &topic, "--size", size, "--records", records];
            cpu.push(turn.client(&args, "cpu_s_per_million")?);
        }
        load::run(turn.plan, &turn.broker.address, "delete", &["--topic", &topic])?;
        for (produce, consume, kind) in rows {
            turn.add_as(produce, kind, cpu[0]);
            turn.add_as(consume, kind, cpu[1]);
        }
    }
    Ok(())
}

/// Ottla's client on Ottla beside franz-go on Apache Kafka.
fn own_latency(turn: &mut Turn<'_>, load: &str, what: &str) -> Result<(), String> {
    let records = turn.options.pick("5000", "20000");
    let [p50, p99] = turn.rows else { return Err("two rows".to_owned()) };
    if turn.broker.kind == Kind::Kafka {
        let (times, _) = turn.load(load, &["--size", "100", "--records", records])?;
        turn.add(p50, times.get("p50_us"));
        turn.add(p99, times.get("p99_us"));
        return Ok(());
    }
    let (address, topic) = (turn.broker.address.clone(), turn.topic.clone());
    let args = ["ottla", what, "--broker", &address, "--topic", &topic, "--size", "100", "--records", records];
    let times = clients::measure(turn.plan, &args)?;
    turn.add(p50, clients::number(&times, "p50_us"));
    turn.add(p99, clients::number(&times, "p99_us"));
    Ok(())
}

fn spread(turn: &mut Turn<'_>) -> Result<(), String> {
    let records = turn.options.pick("200000", "500000");
    let (sent, _) = turn.load("produce-spread", &["--size", "100", "--records", records])?;
    turn.add("spread-1000", sent.get("rate") / 1e3);
    Ok(())
}

/// One more turn under perf; the report lands in bench/results/perf/ROW.txt.
fn profile(options: &Options, plan: &Plan, broker: &mut Broker, scenario: &Scenario) -> crate::Outcome {
    let dir = options.root.join("bench/results/perf");
    fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
    let data = options.target.join("xtask/perf.data");
    let perf: Child = Command::new("perf")
        .args(["record", "-q", "-F", "999", "-g", "-p", &broker.pid().to_string(), "-o"])
        .arg(&data)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot run perf: {e}"))?;
    let outcome = turn(options, plan, broker, scenario, "perf", None);
    // SIGINT makes perf write what it has.
    Command::new("kill").args(["-INT", &perf.id().to_string()]).status().ok();
    perf.wait_with_output().map_err(|e| format!("perf: {e}"))?;
    outcome?;
    let flat = perf_report(&data, &["-g", "none", "--sort", "symbol", "--percent-limit", "0.5"])?;
    let tree = perf_report(&data, &["-g", "caller,0.5,callee,function,percent", "--percent-limit", "1"])?;
    let path = dir.join(format!("{}.txt", scenario.rows[0]));
    fs::write(&path, [flat, tree].concat()).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    println!("  profile in {}", path.display());
    Ok(())
}

fn perf_report(data: &Path, args: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("perf");
    command.args(["report", "--stdio", "--no-children", "-i"]).arg(data).args(args).stderr(Stdio::null());
    command.output().map(|output| output.stdout).map_err(|e| format!("cannot run perf report: {e}"))
}
