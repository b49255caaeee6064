//! A broker under test: Ottla, or Apache Kafka to develop the tests against.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{Finished, Program, run};
use crate::tools;

/// Which broker, and what it takes to start one.
#[derive(Debug, Clone)]
pub enum Engine {
    /// The path of the binary.
    Ottla(PathBuf),
    /// The path of examples/rust's embedded_broker: the engine inside a program, with the embedded profile.
    Embedded(PathBuf),
    /// The class path of the jars.
    Kafka(String),
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    pub program: Program,
    pub bootstrap: String,
    pub log: PathBuf,
}

/// A data directory, a port and configs that a broker may be started on again and again.
#[derive(Debug, Clone)]
pub struct Home {
    pub engine: Engine,
    pub dir: PathBuf,
    pub port: u16,
    controller: u16,
    pub overrides: Vec<String>,
    /// More arguments for the formatting of Apache Kafka's storage.
    pub format: Vec<String>,
    /// More arguments for Apache Kafka's JVM.
    pub java: Vec<String>,
}

impl Home {
    /// A new, empty home under target/xtask.
    pub fn new(engine: &Engine, name: &str) -> Result<Home, String> {
        let dir = tools::scratch("brokers")?.join(name);
        fs::remove_dir_all(&dir).ok();
        Home::at(engine, &dir)
    }

    /// A home in a given folder.
    pub fn at(engine: &Engine, dir: &Path) -> Result<Home, String> {
        fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let overrides = vec!["group.initial.rebalance.delay.ms=0".to_owned()];
        Ok(Home {
            engine: engine.clone(),
            dir: dir.to_owned(),
            port: free_port()?,
            controller: free_port()?,
            overrides,
            format: Vec::new(),
            java: Vec::new(),
        })
    }

    pub fn with(mut self, config: &str) -> Home {
        self.overrides.push(config.to_owned());
        self
    }

    /// The folder of the partitions.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The command that would start the broker.
    pub fn command(&self) -> Result<Command, String> {
        match &self.engine {
            Engine::Ottla(binary) => {
                let mut command = Command::new(binary);
                command.arg("serve").current_dir(&self.dir);
                let listeners = format!("listeners=PLAINTEXT://{}", self.bootstrap());
                let log_dirs = format!("log.dirs={}", self.logs().display());
                for config in [&listeners, &log_dirs].into_iter().chain(&self.overrides) {
                    command.args(["--override", config]);
                }
                Ok(command)
            }
            Engine::Embedded(program) => {
                let mut command = Command::new(program);
                command.arg(self.bootstrap()).arg(self.logs()).current_dir(&self.dir);
                Ok(command)
            }
            Engine::Kafka(jars) => self.kafka(jars),
        }
    }

    fn kafka(&self, jars: &str) -> Result<Command, String> {
        let (properties, logs) = (self.dir.join("server.properties"), self.logs());
        let controller = self.controller;
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://{},CONTROLLER://127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n{}\n",
            self.bootstrap(),
            logs.display(),
            self.overrides.join("\n")
        );
        fs::write(&properties, text).map_err(|e| format!("cannot write {}: {e}", properties.display()))?;
        if !logs.join("meta.properties").exists() {
            let mut format = tools::java_command(jars, "kafka.tools.StorageTool");
            format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(&properties).args(&self.format);
            tools::run(&mut format, "format Apache Kafka's storage")?;
        }
        let mut command = Command::new("java");
        command.args(["-Xmx1G", "-Xms512m"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", tools::root().join("bench/kafka/log4j2.xml").display()));
        command.args(&self.java).args(["-cp", jars, "kafka.Kafka"]).arg(&properties);
        Ok(command)
    }

    /// Starts the broker and waits until it is ready: Ottla says so, Apache Kafka accepts a connection.
    pub fn start(&self) -> Result<Broker, String> {
        let log = self.dir.join("broker.log");
        let mut program = Program::start(&mut self.command()?, &log)?;
        let lines = program.lines();
        let end = Instant::now() + Duration::from_secs(60);
        let ready = |bootstrap| Ok(Broker { program, bootstrap, log: log.clone() });
        if !matches!(self.engine, Engine::Kafka(_)) {
            return match lines.recv_timeout(Duration::from_secs(60)).ok().as_deref().and_then(listener) {
                Some(bootstrap) => ready(bootstrap),
                None => Err(format!("ottla gave no ready line; the end of its log:\n{}", end_of(&log))),
            };
        }
        while std::net::TcpStream::connect(self.bootstrap()).is_err() {
            if Instant::now() > end {
                return Err(format!("Apache Kafka does not come up:\n{}", end_of(&log)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        ready(self.bootstrap())
    }

    /// Starts a broker that is expected to refuse: its exit code and what it printed, both streams.
    pub fn refused(&self) -> Result<(i32, String), String> {
        let log = self.dir.join("refused.log");
        fs::remove_file(&log).ok();
        let Finished { code, output, timed_out } = run(&mut self.command()?, Duration::from_secs(15), &log)?;
        match code {
            Some(code) if !timed_out => Ok((code, format!("{output}{}", fs::read_to_string(&log).unwrap_or_default()))),
            _ => Err("expected it to refuse and to end, it went on".to_owned()),
        }
    }
}

impl Broker {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.program.kill();
    }

    /// SIGTERM, waits for the end and says how long it took.
    ///
    /// # Errors
    /// When it takes longer than the limit or its exit code is not 0 (143 counts for Apache Kafka's JVM).
    pub fn stop(mut self, limit: Duration) -> Result<Duration, String> {
        let start = Instant::now();
        self.program.signal(Signal::TERM);
        match self.program.wait(limit) {
            Some(Some(0 | 143)) => Ok(start.elapsed()),
            Some(code) => Err(format!("ended with {code:?} after SIGTERM:\n{}", end_of(&self.log))),
            None => Err(format!("still running {} ms after SIGTERM", limit.as_millis())),
        }
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.pid())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0) / 1024
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The first PLAINTEXT listener of a ready line, as an address that clients can dial.
fn listener(line: &str) -> Option<String> {
    let address = line.split_once("PLAINTEXT://")?.1;
    Some(address.split([' ', ',', '/']).next()?.to_owned())
}

pub fn end_of(log: &Path) -> String {
    tools::tail(&fs::read_to_string(log).unwrap_or_default(), 15)
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    address.map(|a| a.port()).map_err(|e| format!("no free port: {e}"))
}
