//! Starting and stopping: what is refused, with which words, and how fast a stop is.

use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::{Lab, expect};
use crate::test::broker::{Broker, Engine, Home, free_port};
use crate::test::interop::log_file;
use crate::test::process::Program;

/// A refusal must say these words.
fn refuses(home: &Home, words: &[&str]) -> Result<(), String> {
    let (code, text) = home.refused()?;
    expect(code != 0, || "it ended with exit code 0".to_owned())?;
    let missing = words.iter().find(|w| !text.contains(**w));
    missing.map_or(Ok(()), |word| Err(format!("expected '{word}' in: {}", text.trim_end())))
}

pub fn second_broker(lab: &Lab) -> Result<(), String> {
    let home = Home::new(&lab.engine, "second-broker")?;
    let broker = home.start()?;
    let mut second = home.clone();
    second.port = free_port()?;
    refuses(&second, &[&broker.program.pid().to_string()])?;
    lab.serves(&broker.bootstrap, "still")?;
    broker.kill(); // A lock that outlives its holder would refuse the next start.
    home.start()?.stop(Duration::from_secs(10)).map(drop)
}

pub fn port_in_use(lab: &Lab) -> Result<(), String> {
    let mut home = Home::new(&lab.engine, "port-in-use")?;
    let holder = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    home.port = holder.local_addr().map_err(|e| e.to_string())?.port();
    refuses(&home, &[&home.port.to_string(), "in use"])
}

/// A warning that names the nearest known key, and the broker runs.
pub fn unknown_config(lab: &Lab) -> Result<(), String> {
    let home = Home::new(&lab.engine, "unknown-config")?.with("log.retention.mss=1000");
    let broker = home.start()?;
    let log = broker.log_text();
    expect(log.contains("log.retention.mss") && log.contains("log.retention.ms"), || format!("no warning in: {log}"))?;
    expect(matches!(lab.engine, Engine::Kafka(_)) || log.to_lowercase().contains("warn"), || {
        format!("not a warning: {log}")
    })?;
    broker.stop(Duration::from_secs(10)).map(drop)
}

pub fn bad_config_value(lab: &Lab) -> Result<(), String> {
    for (config, words) in [
        ("num.partitions=many", ["num.partitions", "many"]),
        ("log.segment.bytes=-5", ["log.segment.bytes", "-5"]),
        ("log.cleanup.policy=shred", ["log.cleanup.policy", "shred"]),
    ] {
        refuses(&Home::new(&lab.engine, "bad-config")?.with(config), &words)?;
    }
    Ok(())
}

/// With a consumer in a group that waits in a long poll: ended within a second, and a clean start after it.
pub fn sigterm(lab: &Lab) -> Result<(), String> {
    let home = Home::new(&lab.engine, "sigterm")?;
    let broker = home.start()?;
    lab.serves(&broker.bootstrap, "quiet")?;
    let mut member = member(lab, &broker, "quiet")?;
    let lines = member.lines();
    let joined = |line: &String| line.starts_with("a ") && line.len() > 2;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match lines.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
            Ok(line) if joined(&line) => break,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Err("the member did not join".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return Err("the member ended: see sigterm-member.log".to_owned()),
        }
    }
    std::thread::sleep(Duration::from_secs(1)); // Its records are read and it waits for more.
    let limit = if matches!(lab.engine, Engine::Kafka(_)) { 30_000 } else { 1_000 };
    broker.stop(Duration::from_millis(limit))?;
    let broker = home.start()?;
    expect(lab.read(&broker.bootstrap, "quiet")?.len() == 100, || "the records are not all there".to_owned())
}

fn member(lab: &Lab, broker: &Broker, topic: &str) -> Result<Program, String> {
    let mut command = Command::new(&lab.go);
    command.args(["member", &broker.bootstrap, "waiting", topic, "range"]).env("FETCH_WAIT_MS", "30000");
    Program::start(&mut command, &log_file("sigterm-member")?)
}
