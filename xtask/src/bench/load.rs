//! Builds and runs the load generator (bench/go) and reads its JSON.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::broker::Plan;

/// Compiles bench/go into the target folder.
///
/// # Errors
/// A sentence, when Go is missing or the build fails.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let binary = target.join("xtask/bench-load");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(root.join("bench/go"))
        .status()
        .map_err(|e| format!("cannot run go: {e}; install Go 1.26 or newer"))?;
    if status.success() { Ok(binary) } else { Err("go build in bench/go failed; its messages are above".into()) }
}

/// The numbers that one run of the load generator printed.
#[derive(Debug)]
pub struct Numbers(Value);

impl Numbers {
    /// A number by name; NaN, which the table shows as missing, when it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(f64::NAN)
    }
}

/// Runs one subcommand to its end.
///
/// # Errors
/// What it wrote to stderr.
pub fn run(plan: &Plan, address: &str, command: &str, args: &[&str]) -> Result<Numbers, String> {
    Running::start(plan, address, command, args)?.finish()
}

/// A load generator that runs while the bench does something else, such as starting the broker it dials.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// # Errors
    /// A sentence, when it cannot be started.
    pub fn start(plan: &Plan, address: &str, command: &str, args: &[&str]) -> Result<Running, String> {
        let mut child = Command::new(&plan.load)
            .arg(command)
            .args(["--broker", address])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", plan.load.display()))?;
        let stderr = BufReader::new(child.stderr.take().ok_or("the load generator has no stderr")?);
        Ok(Running { command: command.into(), child, stderr })
    }

    /// Waits for the line that says it is dialling.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn await_ready(&mut self) -> Result<(), String> {
        let mut line = String::new();
        self.stderr.read_line(&mut line).map_err(|e| e.to_string())?;
        if line.trim() == "ready" { Ok(()) } else { Err(format!("load {}: {}", self.command, line.trim())) }
    }

    /// Waits for its end and reads its numbers.
    ///
    /// # Errors
    /// What it wrote to stderr.
    pub fn finish(mut self) -> Result<Numbers, String> {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).ok();
        let output = self.child.wait_with_output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(said.trim().trim_start_matches("ready").trim().to_string());
        }
        serde_json::from_slice(&output.stdout).map(Numbers).map_err(|e| format!("load {}: {e}", self.command))
    }
}
