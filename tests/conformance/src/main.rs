//! Plays the scenarios: on the engine in this process, on the engine over TCP, and on an Apache Kafka whose address is
//! given. See README.md.

use clap::Parser;
use ottla::env::Env;
use ottla_conformance::driver::{Driver, Program};
use ottla_conformance::runner::{self, Place, Tally};
use ottla_conformance::rust::RustDriver;
use ottla_conformance::scenarios;
use ottla_conformance::targets::{Addresses, Target};
use std::process::ExitCode;
use std::sync::Arc;

/// Plays conformance scenarios and prints `ok NAME` or `FAIL NAME REASON` for each.
#[derive(Debug, Parser)]
struct Options {
    /// An Apache Kafka: PROTOCOL://HOST:PORT, given once for each listener; without any it is left out.
    #[arg(long)]
    kafka: Vec<String>,
    /// Only this target: embedded, tcp or kafka; may be given more than once.
    #[arg(long)]
    target: Vec<String>,
    /// A driver program and its arguments, separated by blanks, for all targets but the embedded one. Without it the Rust
    /// client is used: in this process, and over TCP as a program, so that the protocol is used as well.
    #[arg(long)]
    driver: Option<String>,
    /// The certificate, as PEM, that the SSL listener's clients trust.
    #[arg(long)]
    tls_ca: Option<String>,
    /// On the embedded engine each scenario is played so many times more while faults are injected.
    #[arg(long, default_value_t = 0)]
    seeds: u64,
    /// Only this seed, as a failure names it.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the names of the scenarios and what they need, and end.
    #[arg(long)]
    list: bool,
    /// Only scenarios whose name contains one of these.
    scenarios: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(Tally { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<Tally, String> {
    let wanted = |name: &str| options.scenarios.is_empty() || options.scenarios.iter().any(|it| name.contains(&**it));
    let scenarios: Vec<_> = scenarios::all().into_iter().filter(|scenario| wanted(scenario.name)).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{} {:?}", scenario.name, scenario.needs));
        return Ok(Tally::default());
    }
    let env = Env::real();
    let on = |name: &str| options.target.is_empty() || options.target.iter().any(|it| it == name);
    let mut places = Vec::new();
    let program = options.driver.as_ref().map(|line| line.split_whitespace().map(str::to_owned).collect());
    let child = Arc::new(Program::start(&program.clone().unwrap_or_else(own_driver))?);
    if on("embedded") && program.is_none() {
        let driver = Arc::new(RustDriver::new(env.clone()));
        places.push(Place::new(Arc::new(Target::embedded(&env).await?), driver).await?);
    }
    if on("tcp") {
        places.push(Place::new(Arc::new(Target::tcp(&env).await?), child.clone()).await?);
    }
    if on("kafka") && !options.kafka.is_empty() {
        let driver: Arc<dyn Driver> =
            if program.is_none() { Arc::new(RustDriver::new(env.clone())) } else { child.clone() };
        let target = Target::remote(&env, "kafka", addresses(&options.kafka)?, options.tls_ca.clone()).await?;
        places.push(Place::new(Arc::new(target), driver).await?);
    }
    println!("{}\n", runner::table(&places));
    let seeds = options.seed.map_or_else(|| (1..=options.seeds).collect(), |seed| vec![seed]);
    let mut tally = runner::play(&env, &places, &scenarios, &seeds).await;
    for place in places {
        let Place { target, driver, .. } = place;
        drop(driver);
        if let Some(target) = Arc::into_inner(target) {
            target.close().await?;
        }
    }
    if let Err(error) = child.close() {
        println!("FAIL driver {error}");
        tally.failed += 1;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally)
}

/// The driver program that is built beside this one.
fn own_driver() -> Vec<String> {
    let own = std::env::current_exe().unwrap_or_default();
    vec![own.with_file_name("ottla-conformance-driver").to_string_lossy().into_owned()]
}

fn addresses(given: &[String]) -> Result<Addresses, String> {
    let pair = |text: &String| {
        let (protocol, address) = text.split_once("://").unwrap_or(("PLAINTEXT", text));
        match address.contains(':') {
            true => Ok((protocol.to_owned(), address.to_owned())),
            false => Err(format!("{text}: expected PROTOCOL://HOST:PORT")),
        }
    };
    given.iter().map(pair).collect()
}
