//! The door between a scenario and a client: commands in, replies out. A driver is in this process ([`crate::rust`]) or a
//! program that speaks the same over its standard input and output.

use crate::protocol::{Answer, Call, Command, Failure, FailureKind, Hello, Reply};
use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A call under way.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// A client of any language.
pub trait Driver: Send + Sync {
    /// Carries out one command. Calls to different clients may overlap.
    fn call(&self, command: Command) -> Calling<'_>;
}

/// Asks a driver who it is.
pub async fn hello(driver: &dyn Driver) -> Result<Hello, Failure> {
    match driver.call(Command::Driver).await? {
        Reply::Hello(hello) => Ok(hello),
        other => Err(Failure::new(FailureKind::Internal, format!("expected hello, found {other:?}"))),
    }
}

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Reply, Failure>>>>>>;

/// A driver that is a program: one JSON object per line each way. It ends when its input does.
#[derive(Debug)]
pub struct Program {
    child: Mutex<Child>,
    /// `None` once it was closed.
    input: Mutex<Option<ChildStdin>>,
    /// Calls without answer; `None` once the program has ended.
    waiting: Waiting,
    next: AtomicU64,
}

impl Program {
    /// Starts the driver `command`, the program and its arguments.
    pub fn start(command: &[String]) -> Result<Program, String> {
        let (program, arguments) = command.split_first().ok_or("a driver's command is empty")?;
        let mut child = std::process::Command::new(Path::new(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {program}: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("a child without standard output")?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let answers = waiting.clone();
        // Reads lines for as long as the program lives; a thread, as nothing else here blocks.
        #[allow(clippy::disallowed_methods)]
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                take_answer(&answers, &line);
            }
            // Whoever still waits hears that the program is gone.
            answers.lock().unwrap_or_else(PoisonError::into_inner).take();
        });
        Ok(Program { child: Mutex::new(child), input: Mutex::new(input), waiting, next: AtomicU64::new(1) })
    }

    fn write(&self, call: &Call) -> Result<(), Failure> {
        let broken =
            |error: String| Failure::new(FailureKind::Internal, format!("the driver does not take calls: {error}"));
        let mut line = serde_json::to_vec(call).map_err(|error| broken(error.to_string()))?;
        line.push(b'\n');
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or_else(|| broken("it was closed".to_owned()))?;
        input.write_all(&line).and_then(|()| input.flush()).map_err(|error| broken(error.to_string()))
    }

    /// Closes its input, waits for its end and says whether it ended well.
    pub fn close(&self) -> Result<(), String> {
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the driver ended with {status}")),
            Err(error) => Err(format!("the driver does not end: {error}")),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended where `close` was called.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill().ok();
        child.wait().ok();
    }
}

fn take_answer(waiting: &Waiting, line: &str) {
    match serde_json::from_str::<Answer>(line) {
        Ok(answer) => {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = waiting.as_mut().and_then(|waiting| waiting.remove(&answer.id)) {
                sender.send(answer.outcome.into()).ok();
            }
        }
        // The call of this answer fails at its time limit; this says why.
        Err(error) => eprintln!("a line of the driver is not an answer: {error}: {line}"),
    }
}

impl Driver for Program {
    fn call(&self, command: Command) -> Calling<'_> {
        Box::pin(async move {
            let gone = || Failure::new(FailureKind::Internal, "the driver has ended");
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(waiting) => waiting.insert(id, sender),
                None => return Err(gone()),
            };
            self.write(&Call { id, command })?;
            receiver.await.unwrap_or_else(|_| Err(gone()))
        })
    }
}
