//! The rows that start their own brokers: first acknowledgement, idle memory, restarts with a thousand partitions, size.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::Options;
use super::broker::{Broker, Home, Kind, Plan, folder_size};
use super::load::{self, Running};
use super::machine;
use super::report::Report;

/// How long a started broker is left alone before its idle memory is read.
const SETTLE: Duration = Duration::from_millis(1500);

/// `binary`: the stripped binary; the peer's jars.
///
/// # Errors
/// When the binary cannot be read.
pub fn binary_size(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    if !options.wants("binary") {
        return Ok(());
    }
    for &kind in &options.kinds {
        let bytes = match (kind, &plan.jars) {
            (Kind::Kafka, Some(jars)) => folder_size(jars),
            (Kind::Kafka, None) => continue,
            (Kind::Ottla, _) => {
                let stripped = plan.work.join("ottla-stripped");
                fs::copy(&plan.ottla, &stripped).map_err(|e| format!("{}: {e}", plan.ottla.display()))?;
                if !Command::new("strip").arg(&stripped).status().is_ok_and(|s| s.success()) {
                    println!("  (strip is missing: the size is the unstripped one)");
                }
                fs::metadata(&stripped).map_or(0, |m| m.len())
            }
        };
        report.add("binary", kind, bytes as f64 / 1e6);
    }
    Ok(())
}

/// `start-ms`, `start-cpu`, `rss-idle`: a new data directory each time; the client is dialling before the process starts.
///
/// # Errors
/// When a broker does not come up.
pub fn first_ack(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    if !["start-ms", "start-cpu", "rss-idle"].iter().any(|row| options.wants(row)) {
        return Ok(());
    }
    println!("process start → first acknowledged record, idle memory");
    for round in 0..options.pick(2, 5) {
        for &kind in &options.kinds {
            let home = Home::new(plan, kind, &format!("start-{round}"))?;
            let mut client =
                Running::start(plan, &home.address(), "first-ack", &["--topic", "first", "--size", "100"])?;
            client.await_ready()?;
            let mut broker = home.start(plan)?;
            let numbers = client.finish().map_err(|e| format!("{}: {e}\n{}", kind.name(), broker.explain()))?;
            report.add("start-cpu", kind, machine::cpu_seconds_fine(broker.pid()));
            report.add("start-ms", kind, broker.seconds_to(numbers.get("acked_ns")) * 1e3);
            std::thread::sleep(SETTLE);
            report.add("rss-idle", kind, machine::rss_mib(broker.pid()));
            broker.stop();
            home.remove();
        }
    }
    Ok(())
}

/// `create-1000`, `restart-clean`, `restart-kill`: on a fresh broker a topic of 1000 partitions is created and
/// acknowledged on all; it gets 100 records of 100 B in each; then a clean stop and start, then kill -9 and start.
///
/// # Errors
/// When a broker does not come up or a partition is not acknowledged.
pub fn thousand_partitions(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    if !["create-1000", "restart-clean", "restart-kill"].iter().any(|row| options.wants(row)) {
        return Ok(());
    }
    println!("1000 partitions: create, clean restart, restart after kill -9");
    let topic = ["--topic", "many", "--partitions", "1000", "--size", "100"];
    for round in 0..options.pick(1, 3) {
        for &kind in &options.kinds {
            let home = Home::new(plan, kind, &format!("many-{round}"))?;
            let broker = home.start_ready(plan)?;
            report.add("create-1000", kind, load::run(plan, &broker.address, "create-ack-all", &topic)?.get("seconds"));
            load::run(plan, &broker.address, "produce-spread", &[&topic[..], &["--records", "100000"]].concat())?;
            broker.stop();
            let broker = restart(plan, &home, &topic, report, "restart-clean")?;
            broker.kill();
            let broker = restart(plan, &home, &topic, report, "restart-kill")?;
            broker.kill();
            home.remove();
        }
    }
    Ok(())
}

fn restart(plan: &Plan, home: &Home, topic: &[&str], report: &mut Report, row: &'static str) -> Result<Broker, String> {
    let mut client = Running::start(plan, &home.address(), "ack-all", topic)?;
    client.await_ready()?;
    let mut broker = home.start(plan)?;
    let numbers = client.finish().map_err(|e| format!("{}: {e}\n{}", home.kind.name(), broker.explain()))?;
    report.add(row, home.kind, broker.seconds_to(numbers.get("acked_ns")));
    Ok(broker)
}
