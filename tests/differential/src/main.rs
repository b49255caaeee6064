//! Plays one script of requests on Apache Kafka and on Ottla and compares the answers field by field.
//!
//!     cargo run -p ottla-differential -- --kafka HOST:PORT [--ottla HOST:PORT] [--seed N --steps M] [CASE...]
//!
//! Without `--ottla` a broker in memory is started inside this process. What may differ is in `rules`; README.md lists
//! it for people, with the differences that are known and wanted. The exit status is 1 when an answer differs otherwise.

mod ask;
mod cases;
mod known;
mod records;
mod rules;
mod side;
mod transact;
mod tree;

use clap::Parser;
use ottla_broker::Broker;
use ottla_config::{BrokerConfig, Profile};
use ottla_env::Env;
use side::{Side, Step};
use std::process::ExitCode;

/// Plays the same requests on Apache Kafka and on Ottla and compares the answers.
#[derive(Debug, Parser)]
struct Options {
    /// A broker of Apache Kafka 4.4 with num.partitions=1 and group.initial.rebalance.delay.ms=0.
    #[arg(long)]
    kafka: String,
    /// An Ottla broker with the same configs; without it one is started in this process.
    #[arg(long)]
    ottla: Option<String>,
    /// The seed of the random script.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The steps of the random script; 0 leaves it out.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Print every step, not only those that differ.
    #[arg(long)]
    verbose: bool,
    /// Only the cases whose name contains one of these.
    cases: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<usize, String> {
    let env = Env::memory();
    let mut own = None;
    let ottla = match &options.ottla {
        Some(address) => address.clone(),
        None => {
            let endpoints = own.insert(start(&env).await?).endpoints();
            let endpoint = endpoints.first().ok_or("the broker has no listener")?;
            format!("{}:{}", endpoint.host, endpoint.port)
        }
    };
    // Kafka's names outlive a run, so each run has its own.
    let run = format!("r{:08x}", (env.now_ms() / 1000) & 0xffff_ffff);
    let wanted = |name: &str| options.cases.is_empty() || options.cases.iter().any(|part| name.contains(part.as_str()));
    for address in [&options.kafka, &ottla] {
        let mut side = Side::connect(&env, address, &run, "start").await.map_err(|error| error.to_string())?;
        transact::ids_are_given(&mut side).await;
    }
    let (mut steps, mut different, mut known) = (0, 0, 0);
    for case in cases::all(options.seed, options.steps).into_iter().filter(|case| wanted(case.name)) {
        let connect = async |address: &str| {
            Side::connect(&env, address, &run, case.name).await.map_err(|error| error.to_string())
        };
        let (mut kafka, mut ours) = (connect(&options.kafka).await?, connect(&ottla).await?);
        tokio::join!((case.play)(&mut kafka), (case.play)(&mut ours));
        let (kafka, ours) = (kafka.into_steps(), ours.into_steps());
        if kafka.len() != ours.len() {
            println!("{}: {} steps on Kafka, {} on Ottla", case.name, kafka.len(), ours.len());
            different += 1;
        }
        for (kafka, ours) in kafka.iter().zip(&ours) {
            steps += 1;
            let outcome = compare(case.name, kafka, ours, options.verbose);
            different += usize::from(outcome.0);
            known += usize::from(outcome.1);
        }
    }
    println!("{steps} answers, {different} different, {known} different as intended");
    if let Some(broker) = own {
        broker.close().await.map_err(|error| error.to_string())?;
    }
    Ok(different)
}

/// Prints where the answers differ. Returns whether they do, and whether they do in a way that is known.
fn compare(case: &str, kafka: &Step, ours: &Step, verbose: bool) -> (bool, bool) {
    let mut differences = tree::differences(&kafka.answer, &ours.answer);
    if kafka.label != ours.label {
        differences.push(("question".to_owned(), kafka.label.clone(), ours.label.clone()));
    }
    let before = differences.len();
    differences.retain(|(path, kafka_has, ottla_has)| !known::is_known(&kafka.label, path, kafka_has, ottla_has));
    if verbose {
        println!("{case}: {}\n  {:?}", kafka.label, kafka.answer);
    }
    if !differences.is_empty() {
        println!("{case}: {}", kafka.label);
        for (path, kafka, ottla) in &differences {
            println!("    {path}: Kafka {kafka}, Ottla {ottla}");
        }
    }
    (!differences.is_empty(), before > differences.len())
}

async fn start(env: &Env) -> Result<Broker, String> {
    let configs = [
        ("log.dirs", "/data"),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("node.id", "1"),
        ("num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let parsed = BrokerConfig::parse(Profile::Server, configs.iter().copied());
    let (config, _) = parsed.map_err(|error| error.to_string())?;
    Broker::start(env.clone(), config).await.map_err(|error| error.to_string())
}
