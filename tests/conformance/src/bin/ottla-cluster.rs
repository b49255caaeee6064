//! Plays the scenarios on an Apache Kafka of three nodes, which it starts itself, and prints `ok NAME` or `FAIL NAME REASON`
//! for each. See README.md.

use clap::Parser;
use ottla::env::Env;
use ottla_conformance::cluster::{self, Cluster};
use ottla_conformance::driver::{Driver, Program};
use ottla_conformance::rust::RustDriver;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long one scenario may take.
const LIMIT: Duration = Duration::from_secs(150);

/// Plays cluster scenarios.
#[derive(Debug, Parser)]
struct Options {
    /// The class path of Apache Kafka's jars.
    #[arg(long)]
    jars: String,
    /// A folder for the nodes, emptied first; their logs stay in it.
    #[arg(long)]
    directory: PathBuf,
    /// A driver program and its arguments, separated by blanks; without it the Rust client is used, in this process.
    #[arg(long)]
    driver: Option<String>,
    /// Only scenarios whose name contains one of these.
    scenarios: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<usize, String> {
    let wanted = |name: &str| options.scenarios.is_empty() || options.scenarios.iter().any(|it| name.contains(&**it));
    let scenarios: Vec<_> = cluster::all().into_iter().filter(|(name, _)| wanted(name)).collect();
    scenarios.iter().for_each(|(name, _)| println!("plan {name}"));
    let env = Env::real();
    let driver: Arc<dyn Driver> = match &options.driver {
        None => Arc::new(RustDriver::new(env.clone())),
        Some(line) => Arc::new(Program::start(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?),
    };
    let cluster = Cluster::start(&env, &options.jars, &options.directory).await.map_err(|wrong| wrong.0)?;
    let cluster = Arc::new(cluster);
    let mut failed = 0;
    for (name, play) in scenarios {
        let start = env.monotonic();
        let outcome = async {
            let context = cluster.context(&driver, name).await?;
            let played = env.timeout(LIMIT, play(cluster.clone(), context)).await;
            played.unwrap_or_else(|_| Err(format!("it did not end within {} s", LIMIT.as_secs()).into()))
        };
        match outcome.await {
            Ok(()) => println!("ok {name} ({} ms)", (env.monotonic() - start).as_millis()),
            Err(wrong) => {
                failed += 1;
                println!("FAIL {name} {}", wrong.0.replace('\n', " "));
                // The others need all nodes.
                cluster.repair().await.map_err(|wrong| wrong.0)?;
            }
        }
    }
    Ok(failed)
}
