//! Simulations of brokers and clients.
//!
//! Goal: a seed decides everything that can be seen, down to the bytes of the logs, and seeds differ. Method: a busy scenario
//! (producers, members that come and go, a slow client, a restart) that writes down what each of its parts saw; repeated, and
//! compared as a whole.

use crate::support::PATIENCE;
use ottla::client::{
    Client, ClientOptions, Configs, Consumer, ConsumerOptions, Env, NewTopic, ProducerOptions, ProducerRecord, Scope,
};
use ottla::{Broker, Sim, Simulation, SimulationFailure};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SEEDS: u64 = 20;
/// How often the first seeds run, and the others.
const REPEATS: (u64, usize, usize) = (2, 20, 4);
const PRODUCERS: usize = 4;
const RECORDS: usize = 25;

type Failure = Box<dyn std::error::Error>;

/// What was seen, in its order.
#[derive(Clone)]
struct Trace {
    env: Env,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    fn note(&self, what: impl std::fmt::Display) {
        self.lines.lock().expect("no panic").push(format!("{} {what}", self.env.now_ms()));
    }
}

fn consumer(client: &Client) -> Consumer {
    let pairs = [
        ("group.id", "readers"),
        ("auto.offset.reset", "earliest"),
        ("auto.commit.interval.ms", "100"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
    ];
    let (configs, _) = Configs::parse(Scope::Consumer, pairs).expect("each is valid");
    client.consumer(ConsumerOptions::from_configs(&configs).expect("they fit together"))
}

/// Sends its records in bursts, and notes their offsets.
async fn produce(env: Env, client: Client, number: usize, trace: Trace) {
    let options = ProducerOptions { linger: Duration::from_millis(3), ..ProducerOptions::default() };
    let producer = client.producer(options).expect("they fit together");
    let mut deliveries = Vec::new();
    for record in 0..RECORDS {
        let (key, value) = (format!("key {}", record % 7), format!("{number}.{record}"));
        let key = (record % 3 > 0).then_some(key.as_bytes());
        let topic = if record % 2 == 0 { "orders" } else { "payments" };
        let sent = producer.send(ProducerRecord::new(topic, key, Some(value.as_bytes()))).await.expect("has room");
        deliveries.push((value, sent));
        if env.random_u64().is_multiple_of(4) {
            env.sleep(Duration::from_millis(env.random_u64() % 20)).await;
        }
    }
    for (value, delivery) in deliveries {
        let written = delivery.wait().await.expect("acknowledged");
        trace.note(format_args!("{value} is {}-{}@{}", written.topic, written.partition, written.offset));
    }
    producer.close(PATIENCE).await.expect("nothing is left");
}

/// Reads until all has been seen by somebody, or for `rounds` polls.
async fn read(consumer: Consumer, name: &str, rounds: usize, seen: Arc<Mutex<BTreeSet<String>>>, trace: Trace) {
    consumer.subscribe(["orders", "payments"]).expect("good names");
    for _ in 0..rounds {
        if seen.lock().expect("no panic").len() == PRODUCERS * RECORDS {
            break;
        }
        let records = consumer.poll(Duration::from_millis(200)).await.expect("polls");
        for record in records.iter() {
            let value = String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text");
            trace.note(format_args!("{name} has {value} of {}-{}@{}", record.topic, record.partition, record.offset));
            seen.lock().expect("no panic").insert(value);
        }
    }
    trace.note(format_args!("{name} closes"));
    consumer.close(PATIENCE).await.expect("closes");
}

/// Every file with its content.
fn files(env: &Env, dir: &Path, out: &mut Vec<String>) {
    for entry in env.fs().read_dir(dir).expect("a directory") {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            files(env, &path, out);
        } else {
            let content = env.fs().read(&path).expect("a file");
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            out.push(format!("{} {} {:x}", path.display(), content.len(), hasher.finish()));
        }
    }
}

async fn scenario(sim: Sim) -> Result<(Vec<String>, u64), Failure> {
    let machine = sim.machine();
    let builder = || Broker::builder().env(machine.clone());
    let broker = builder().start().await?;
    let trace = Trace { env: sim.env().clone(), lines: Arc::default() };
    trace.note(format_args!("{} in {}", broker.bootstrap_servers(), broker.cluster_id()));
    let admin = sim.client(&broker)?;
    let topics =
        ["orders", "payments"].map(|name| NewTopic { name: name.into(), partitions: Some(3), ..Default::default() });
    for created in admin.admin().create_topics(&topics, false).await? {
        created?;
    }
    let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut tasks = Vec::new();
    for number in 0..PRODUCERS {
        let (env, client) = (sim.env().clone(), sim.client(&broker)?);
        tasks.push(sim.env().spawn("producer", produce(env, client, number, trace.clone())));
    }
    for (name, rounds) in [("one", 1_000), ("two", 3), ("three", 1_000)] {
        let (consumer, seen, trace, env) =
            (consumer(&sim.client(&broker)?), seen.clone(), trace.clone(), sim.env().clone());
        tasks.push(sim.env().spawn("consumer", async move {
            env.sleep(Duration::from_millis(env.random_u64() % 300)).await;
            read(consumer, name, rounds, seen, trace).await;
        }));
    }
    for task in tasks {
        assert!(task.join().await);
    }
    assert_eq!(seen.lock().expect("no panic").len(), PRODUCERS * RECORDS);
    broker.close().await?;
    let mut lines = std::mem::take(&mut *trace.lines.lock().expect("no panic"));
    files(&machine, Path::new("/"), &mut lines);
    // The same machine again: what is there is there.
    let broker = builder().start().await?;
    let client = Client::new(broker.env(), ClientOptions::new(&broker.bootstrap_servers()))?;
    let listed = client.admin().list_topics().await?;
    trace.note(format_args!("{listed:?}"));
    broker.close().await?;
    lines.extend(std::mem::take(&mut *trace.lines.lock().expect("no panic")));
    Ok((lines, sim.fingerprint()))
}

#[test]
fn a_seed_decides_every_byte_and_seeds_differ() -> Result<(), SimulationFailure> {
    let mut courses = BTreeSet::new();
    for seed in 0..SEEDS {
        let first = Simulation::new(seed).run(scenario)?;
        for repeat in 1..if seed < REPEATS.0 { REPEATS.1 } else { REPEATS.2 } {
            let again = Simulation::new(seed).run(scenario)?;
            let differs = first.0.iter().zip(&again.0).find(|(a, b)| a != b);
            assert_eq!(differs, None, "seed {seed}, repeat {repeat}");
            assert_eq!((first.0.len(), first.1), (again.0.len(), again.1), "seed {seed}, repeat {repeat}");
        }
        courses.insert(first.0);
    }
    assert_eq!(courses.len(), SEEDS as usize);
    Ok(())
}

#[test]
#[allow(clippy::disallowed_methods)] // Threads of the test's own, outside the engine.
fn a_simulation_runs_beside_others_of_its_seed() {
    let alone = Simulation::new(7).run(scenario).expect("ends");
    let threads: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(|| Simulation::new(7).run(scenario).map_err(|error| error.to_string())))
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic").expect("ends"), alone);
    }
}

/// A hash map's own random keys, an address or a thread's number would give another process another course.
#[test]
fn a_seed_replays_in_another_process() {
    const CHILD: &str = "OTTLA_TEST_SIMULATION_CHILD";
    let (lines, fingerprint) = Simulation::new(3).run(scenario).expect("ends");
    let seen = format!("course {} {fingerprint:x}", lines.join("|"));
    if std::env::var_os(CHILD).is_some() {
        return println!("{seen}");
    }
    let program = std::env::current_exe().expect("a test runs from a file");
    let child = std::process::Command::new(program)
        .args(["--exact", "simulation::a_seed_replays_in_another_process", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it starts");
    let printed = String::from_utf8_lossy(&child.stdout).into_owned();
    let course = printed.lines().find_map(|line| line.find("course ").map(|at| &line[at..])).expect("it printed");
    assert_eq!(course, seen);
}

#[test]
fn time_jumps_and_a_failure_names_its_seed() {
    let failed = Simulation::new(11).run(async |sim| {
        let broker = sim.broker().start().await?;
        let before = sim.env().now_ms();
        sim.sleep(Duration::from_secs(24 * 60 * 60)).await;
        assert_eq!(sim.env().now_ms() - before, 24 * 60 * 60 * 1000);
        broker.close().await?;
        Err::<(), _>("as wanted".into())
    });
    assert_eq!(failed.expect_err("it fails").to_string(), "seed 11: as wanted");
    let stuck = Simulation::new(12).time_max(Duration::from_secs(600)).run(async |sim| {
        let _broker = sim.broker().start().await?;
        std::future::pending::<Result<(), Failure>>().await
    });
    let text = stuck.expect_err("it never ends").to_string();
    assert!(text.starts_with("seed 12: not done after 600s of virtual time"), "{text}");
}

#[test]
fn there_is_no_network_in_a_simulation() {
    let failed = Simulation::new(1).run(async |sim| {
        let started = sim.broker().listener("PLAINTEXT://127.0.0.1:0").start().await;
        Ok(started.expect_err("it is refused").to_string())
    });
    let text = failed.expect("it ends");
    assert!(text.contains("opens no port"), "{text}");
}
