//! The Rust member of the mixed groups of `cargo xtask test --only interop/mixed-group`: prints `a 0,3,5` whenever its
//! share has changed and `r VALUE` for each record after its offset is committed, and leaves when its input ends.
//!
//!     ottla-mixed-member member BOOTSTRAP GROUP TOPIC range|cooperative

use ottla::client::{Consumer, Env, Result};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let assignor = match word(5) {
        "cooperative" => "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        _ => "org.apache.kafka.clients.consumer.RangeAssignor",
    };
    let configs = [
        ("bootstrap.servers", word(2)),
        ("group.id", word(3)),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("heartbeat.interval.ms", "300"),
        ("partition.assignment.strategy", assignor),
    ];
    let consumer = Consumer::from_configs(Env::real(), configs)?;
    consumer.subscribe([word(4)])?;
    let leave = Arc::new(AtomicBool::new(false));
    let ended = leave.clone();
    // Waits for the end of the input for as long as the program lives.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        ended.store(true, Ordering::Release);
    });
    let mut shown = String::new();
    while !leave.load(Ordering::Acquire) {
        let records = consumer.poll(Duration::from_millis(100)).await?;
        let share: Vec<String> = consumer.assignment().iter().map(|it| it.partition.to_string()).collect();
        let share = share.join(",");
        if share != shown {
            println!("a {share}");
            shown = share;
        }
        if records.is_empty() {
            continue;
        }
        consumer.commit_sync().await?;
        for record in records.iter() {
            println!("r {}", String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()));
        }
    }
    consumer.close(Duration::from_secs(10)).await?;
    println!("left");
    Ok(())
}
