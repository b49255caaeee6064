//! Child processes with a time limit, in their own process group, so that nothing outlives its test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// None: killed at the limit, or by a signal.
    pub code: Option<i32>,
    pub output: String,
    pub timed_out: bool,
}

/// Runs a program to its end or to the limit; standard error goes to `log`.
pub fn run(command: &mut Command, limit: Duration, log: &Path) -> Result<Finished, String> {
    let mut program = Program::start(command, log)?;
    let output = program.child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.map(|mut o| o.read_to_string(&mut text));
        text
    });
    let status = program.wait(limit);
    program.kill();
    Ok(Finished { code: status.flatten(), output: reader.join().unwrap_or_default(), timed_out: status.is_none() })
}

/// A running program with pipes to its standard input and output; its whole group is killed when dropped.
#[derive(Debug)]
pub struct Program {
    pub child: Child,
}

impl Program {
    pub fn start(command: &mut Command, log: &Path) -> Result<Program, String> {
        let file =
            File::options().create(true).append(true).open(log).map_err(|e| format!("{}: {e}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).process_group(0);
        let child = command.spawn().map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
        Ok(Program { child })
    }

    /// The lines of its standard output, as they come.
    pub fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = channel();
        if let Some(output) = self.child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
            });
        }
        receiver
    }

    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end: None at the limit, else the exit code (none after a signal).
    pub fn wait(&mut self, limit: Duration) -> Option<Option<i32>> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.code()),
                _ if Instant::now() > end => return None,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process(pid, signal).ok();
        }
    }

    /// SIGKILL for the whole group, and waits.
    pub fn kill(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process_group(pid, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
