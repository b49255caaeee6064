//! Clients in Rust side by side: each subcommand runs one client's recommended loop against a broker and prints what it
//! took as JSON. `cargo xtask bench` calls it; bench/README.md says what its rows mean.
//!
//!     bench-clients CLIENT produce|consume --broker HOST:PORT --topic T --size N --records N
//!     bench-clients ottla ack|trip         --broker HOST:PORT --topic T --size N --records N
//!     bench-clients ottla transports       --records N       (in process and loopback TCP, on a broker of its own)
//!     bench-clients ottla fork             --bytes N --dir D (a topic on disk of that size, forked)

mod latency;
mod librdkafka;
mod ottla_client;
mod rskafka_client;

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a command line says.
#[derive(Debug, Clone, Default)]
pub struct Load {
    pub broker: String,
    pub topic: String,
    pub size: usize,
    pub records: usize,
    pub bytes: u64,
    pub dir: String,
}

/// Any error: this program prints it and ends.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (client, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut load = Load { size: 100, records: 1_000_000, ..Load::default() };
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--broker" => load.broker = value,
            "--topic" => load.topic = value,
            "--size" => load.size = value.parse()?,
            "--records" => load.records = value.parse()?,
            "--bytes" => load.bytes = value.parse()?,
            "--dir" => load.dir = value,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    match (client.as_str(), what.as_str()) {
        ("ottla", "produce") => on(ottla_client::produce(load)),
        ("ottla", "consume") => on(ottla_client::consume(load)),
        ("rskafka", "produce") => on(rskafka_client::produce(load)),
        ("rskafka", "consume") => on(rskafka_client::consume(load)),
        ("rdkafka", "produce") => librdkafka::produce(&load),
        ("rdkafka", "consume") => librdkafka::consume(&load),
        ("ottla", "ack") => alone(latency::ack(load)),
        ("ottla", "trip") => alone(latency::trip(load)),
        ("ottla", "transports") => alone(latency::transports(load)),
        ("ottla", "fork") => on(latency::fork(load)),
        _ => Err(format!("no such run: {client} {what}").into()),
    }
}

/// The same runtime for every async client: two workers, as many as the machine of the goals has cores.
fn on(future: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future)
}

/// One thread for everything: what one record at a time wants, as nothing has to be woken elsewhere. In a task, as in a
/// server: tokio wakes what it blocks on by a system call.
fn alone(future: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::spawn(future).await? })
}

/// CPU time of this process so far, user and system.
pub fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Measures a loop from here on.
#[derive(Debug)]
pub struct Clock(Instant, Duration);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now(), cpu())
    }

    /// Prints the result of so many records.
    pub fn print(&self, records: usize) {
        let (seconds, cpu) = (self.0.elapsed().as_secs_f64(), (cpu() - self.1).as_secs_f64());
        let per_million = cpu / records as f64 * 1e6;
        println!(
            "{{\"records\": {records}, \"seconds\": {seconds:.4}, \"cpu_s\": {cpu:.4}, \"cpu_s_per_million\": {per_million:.4}}}"
        );
    }
}

/// A value of that size; the record's number is in it, so that no two are alike.
pub fn fill(value: &mut [u8], number: usize) {
    let digits = number.to_le_bytes();
    let length = digits.len().min(value.len());
    value[..length].copy_from_slice(&digits[..length]);
}
