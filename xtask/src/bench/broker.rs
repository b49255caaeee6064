//! A broker as a child process, Apache Kafka or Ottla: started, measured, stopped or killed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{kafka, load, machine};

/// How long a broker may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Kafka,
    Ottla,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kafka => "Apache Kafka",
            Kind::Ottla => "Ottla",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Kind::Kafka => "kafka",
            Kind::Ottla => "ottla",
        }
    }
}

/// Where the parts are that every start needs.
#[derive(Debug)]
pub struct Plan {
    pub jars: Option<PathBuf>,
    pub log4j: PathBuf,
    pub ottla: PathBuf,
    pub load: PathBuf,
    /// bench/clients, where its rows are measured.
    pub clients: Option<PathBuf>,
    /// Data directories and logs; removed at the end.
    pub work: PathBuf,
}

/// A directory and two ports that a broker may be started on again and again.
#[derive(Debug)]
pub struct Home {
    pub kind: Kind,
    pub port: u16,
    dir: PathBuf,
    controller_port: u16,
}

impl Home {
    /// A new, empty home; Apache Kafka's is formatted, as Ottla formats its own at the first start.
    ///
    /// # Errors
    /// A sentence, when the folder cannot be made or formatted.
    pub fn new(plan: &Plan, kind: Kind, name: &str) -> Result<Home, String> {
        let dir = plan.work.join(format!("{}-{name}", kind.folder()));
        fs::remove_dir_all(&dir).ok();
        fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let home = Home { kind, port: free_port()?, controller_port: free_port()?, dir };
        if let (Kind::Kafka, Some(jars)) = (kind, &plan.jars) {
            kafka::format(jars, &home.dir, home.port, home.controller_port)?;
        }
        Ok(home)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the process and does not wait for it to be ready.
    ///
    /// # Errors
    /// A sentence, when the program cannot be run.
    pub fn start(&self, plan: &Plan) -> Result<Broker, String> {
        let mut command = match self.kind {
            Kind::Kafka => {
                let jars = plan.jars.as_ref().ok_or("Apache Kafka's jars were not fetched")?;
                kafka::command(jars, &plan.log4j, &self.dir.join("server.properties"))
            }
            Kind::Ottla => {
                let mut command = Command::new(&plan.ottla);
                command.args([
                    "serve",
                    "--override",
                    &format!("listeners=PLAINTEXT://{}", self.address()),
                    "--override",
                ]);
                command.arg(format!("log.dirs={}", self.dir.join("logs").display()));
                command
            }
        };
        let log_path = self.dir.join("broker.log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(|e| format!("{}: {e}", log_path.display()))?;
        let copy = log.try_clone().map_err(|e| format!("{}: {e}", log_path.display()))?;
        command.stdin(Stdio::null()).stdout(log).stderr(copy).current_dir(&self.dir);
        let started = SystemTime::now();
        let child = command.spawn().map_err(|e| format!("cannot start {}: {e}", self.kind.name()))?;
        Ok(Broker { kind: self.kind, address: self.address(), dir: self.dir.clone(), started, child })
    }

    /// Starts the process and waits until it has acknowledged a record.
    ///
    /// # Errors
    /// A sentence with the end of its log, when it does not come up.
    pub fn start_ready(&self, plan: &Plan) -> Result<Broker, String> {
        let mut broker = self.start(plan)?;
        match load::run(plan, &broker.address, "first-ack", &["--topic", "ready", "--size", "10", "--timeout", "60s"]) {
            Ok(_) => Ok(broker),
            Err(e) => Err(format!("{} does not become ready: {e}\n{}", self.kind.name(), broker.explain())),
        }
    }

    /// Removes the data.
    pub fn remove(self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    pub kind: Kind,
    pub address: String,
    started: SystemTime,
    dir: PathBuf,
    child: Child,
}

impl Broker {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu_seconds(&self) -> f64 {
        machine::cpu_seconds(self.pid())
    }

    /// Seconds from the start of the process to a wall clock time in nanoseconds, as the load generator reports it.
    pub fn seconds_to(&self, unix_ns: f64) -> f64 {
        let started_ns = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_nanos() as f64);
        (unix_ns - started_ns) / 1e9
    }

    /// The exit status if it has ended, and the last lines of its log.
    pub fn explain(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it is running".into(),
        };
        let log = fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("{state}; the end of its log:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().ok();
        let limit = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    listener.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

/// Bytes of all files of a folder.
pub fn folder_size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|e| e.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.len()).sum()
}
