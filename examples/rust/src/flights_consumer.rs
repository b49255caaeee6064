//! Reads flights as a member of a group and keeps departure delays per carrier, until SIGTERM or Ctrl-C.
//!
//! ```text
//! flights_consumer BOOTSTRAP TOPIC GROUP NAME
//! ```

use ottla::client::{Consumer, Env};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Columns of a flight.
const DEP_DELAY: usize = 5;
const CARRIER: usize = 9;
/// Minutes; what the authorities count as delayed.
const LATE: i64 = 15;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, name] = &args[..] else {
        return Err("usage: flights_consumer BOOTSTRAP TOPIC GROUP NAME".into());
    };
    let configs = [
        ("bootstrap.servers", bootstrap.as_str()),
        ("group.id", group),
        ("client.id", name),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("heartbeat.interval.ms", "300"),
        ("fetch.max.wait.ms", "100"),
    ];
    let env = Env::real();
    let consumer = Consumer::from_configs(env.clone(), configs)?;
    consumer.subscribe([topic.as_str()])?;
    let mut terminate = signal(SignalKind::terminate())?;

    let (mut records, mut bytes, mut first_ms, mut last_ms) = (0, 0, 0, 0);
    // Flights, flights that left, minutes of delay, late flights.
    let mut carriers: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    let mut assigned = Vec::new();
    loop {
        let read = tokio::select! {
            read = consumer.poll(Duration::from_millis(100)) => read?,
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        let partitions: Vec<i32> = consumer.assignment().iter().map(|it| it.partition).collect();
        if partitions != assigned {
            println!("assigned {}", partitions.iter().map(i32::to_string).collect::<Vec<_>>().join(" "));
            assigned = partitions;
        }
        if read.is_empty() {
            continue;
        }
        first_ms = if records == 0 { env.now_ms() } else { first_ms };
        for record in &read {
            let value = record.value.as_deref().unwrap_or_default();
            let flight: Vec<&str> = std::str::from_utf8(value)?.split(',').collect();
            let stats = carriers.entry(flight[CARRIER].to_owned()).or_default();
            stats[0] += 1;
            if let Ok(delay) = flight[DEP_DELAY].parse::<i64>() {
                stats[1] += 1;
                stats[2] += delay;
                stats[3] += i64::from(delay > LATE);
            }
            bytes += value.len();
        }
        records += read.len();
        last_ms = env.now_ms();
        consumer.commit_sync().await?;
        println!("read {records}");
    }
    consumer.close(Duration::from_secs(5)).await?; // Leaves the group at once.
    println!(
        "{}",
        serde_json::json!({
            "records": records, "bytes": bytes, "first_ms": first_ms, "last_ms": last_ms, "carriers": carriers
        })
    );
    Ok(())
}
