//! The demo's client programs as child processes, and the lines that they print: `assigned 0 1 2`, `sent N`, `read N`, and at
//! the end one JSON object with their results.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::test::interop::log_file;
use crate::test::process::Program;

/// What a carrier's flights add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Delays {
    pub flights: u64,
    /// Flights that left; the others were cancelled.
    pub left: u64,
    /// Minutes, all flights that left together.
    pub minutes: i64,
    /// Flights that left more than 15 minutes late.
    pub late: u64,
}

/// What a client reports when it ends.
#[derive(Debug, Clone, Default)]
pub struct Results {
    pub records: u64,
    pub bytes: u64,
    /// Milliseconds since 1970: the first and the last record.
    pub first_ms: f64,
    pub last_ms: f64,
    pub carriers: BTreeMap<String, Delays>,
}

impl Results {
    fn parse(line: &str) -> Option<Results> {
        let json: Value = serde_json::from_str(line).ok()?;
        let delays = |v: &Value| Delays {
            flights: v[0].as_u64().unwrap_or(0),
            left: v[1].as_u64().unwrap_or(0),
            minutes: v[2].as_i64().unwrap_or(0),
            late: v[3].as_u64().unwrap_or(0),
        };
        let carriers =
            json["carriers"].as_object().map(|all| all.iter().map(|(c, v)| (c.clone(), delays(v))).collect());
        Some(Results {
            records: json["records"].as_u64()?,
            bytes: json["bytes"].as_u64()?,
            first_ms: json["first_ms"].as_f64()?,
            last_ms: json["last_ms"].as_f64()?,
            carriers: carriers.unwrap_or_default(),
        })
    }
}

pub struct Client {
    pub name: String,
    pub program: Program,
    lines: Receiver<String>,
    /// Records sent or read.
    pub progress: usize,
    /// How many partitions it has.
    pub share: usize,
    pub results: Option<Results>,
}

impl Client {
    pub fn start(name: &str, mut command: Command) -> Result<Client, String> {
        let mut program = Program::start(&mut command, &log_file(&format!("demo-{name}"))?)?;
        let lines = program.lines();
        Ok(Client { name: name.to_owned(), program, lines, progress: 0, share: 0, results: None })
    }

    /// The group that it is a member of.
    pub fn group(&self) -> String {
        self.name.split('-').next().unwrap_or_default().to_owned()
    }

    /// Takes in what it has printed.
    ///
    /// # Errors
    /// When it ended without results.
    pub fn look(&mut self) -> Result<(), String> {
        let running = self.program.running(); // Before the lines: what it printed last must not be missed.
        while let Ok(line) = self.lines.try_recv() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("assigned") => self.share = words.count(),
                Some("sent" | "read") => {
                    self.progress = words.next().and_then(|n| n.parse().ok()).unwrap_or(self.progress)
                }
                _ => self.results = Results::parse(&line).or(self.results.take()),
            }
        }
        if let Some(results) = &self.results {
            self.progress = results.records as usize;
        }
        let ended = !running && self.results.is_none() && self.program.wait(std::time::Duration::ZERO) != Some(Some(0));
        if ended {
            Err(format!("{} ended early; see target/xtask/logs/demo-{}.log", self.name, self.name))
        } else {
            Ok(())
        }
    }

    /// Two members together.
    pub fn merge(&self, other: &Client) -> Results {
        let (Some(a), Some(b)) = (&self.results, &other.results) else { return Results::default() };
        let first_ms = [a.first_ms, b.first_ms].into_iter().filter(|ms| *ms > 0.0).fold(f64::MAX, f64::min);
        let mut carriers = a.carriers.clone();
        for (carrier, delays) in &b.carriers {
            let sum = carriers.entry(carrier.clone()).or_default();
            sum.flights += delays.flights;
            sum.left += delays.left;
            sum.minutes += delays.minutes;
            sum.late += delays.late;
        }
        Results {
            records: a.records + b.records,
            bytes: a.bytes + b.bytes,
            first_ms,
            last_ms: a.last_ms.max(b.last_ms),
            carriers,
        }
    }
}
