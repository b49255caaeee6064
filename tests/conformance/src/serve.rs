//! A driver as a program: reads calls from standard input, writes answers to standard output, ends when the input does.

use crate::driver::Driver;
use crate::protocol::{Answer, Call, Failure, FailureKind};
use ottla::env::Env;
use std::io::{BufRead, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Serves `driver` until standard input ends.
pub async fn serve(env: &Env, driver: Arc<dyn Driver>) -> std::io::Result<()> {
    let (lines_in, mut lines) = mpsc::channel::<String>(64);
    // A thread, as reading standard input cannot be cancelled and must not hold up the end of the program.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines_in.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let call: Call = match serde_json::from_str(&line) {
            Ok(call) => call,
            Err(error) => {
                let failure = Failure::new(FailureKind::Unsupported, format!("cannot read the call: {error}"));
                answer(&Answer { id: id_of(&line), outcome: Err(failure).into() })?;
                continue;
            }
        };
        let driver = driver.clone();
        env.spawn("conformance call", async move {
            let outcome = driver.call(call.command).await.into();
            if let Err(error) = answer(&Answer { id: call.id, outcome }) {
                eprintln!("nobody takes the answers: {error}");
            }
        });
    }
    Ok(())
}

/// The id of a call that cannot be read otherwise, so that its caller does not wait in vain.
fn id_of(line: &str) -> u64 {
    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
    value.and_then(|value| value.get("id")?.as_u64()).unwrap_or(0)
}

fn answer(answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}
