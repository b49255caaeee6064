//! What the demo prints: progress, the delays of the carriers as bars, throughput.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};

use super::clients::{Client, Results};

/// The widest bar, in characters.
const BAR_WIDTH: f64 = 30.0;

/// How much the members of a group have read.
pub fn read(group: &[Client]) -> usize {
    group.iter().map(|member| member.progress).sum()
}

/// One line that is rewritten in a terminal; elsewhere a new line whenever something moved on by a quarter.
pub fn progress(clients: &[Client], rows: usize) {
    let mut parts = vec![("java sent".to_owned(), clients[0].progress)];
    parts.extend(clients[1..].chunks(2).map(|group| (format!("{} read", group[0].group()), read(group))));
    let bar = |done: usize| {
        let filled = (done * 12).checked_div(rows).unwrap_or(0).min(12);
        format!("{}{}", "█".repeat(filled), "░".repeat(12 - filled))
    };
    let line: Vec<String> = parts.iter().map(|(name, done)| format!("{name} {} {done:>6}", bar(*done))).collect();
    let line = line.join("   ");
    if stdout().is_terminal() {
        print!("\r{line}");
        stdout().flush().ok();
        return;
    }
    let quarters = parts.iter().map(|(_, done)| (done * 4).checked_div(rows).unwrap_or(0)).sum::<usize>();
    if SHOWN.swap(quarters, std::sync::atomic::Ordering::Relaxed) != quarters {
        println!("{line}");
    }
}

/// How many quarters the last printed line showed.
static SHOWN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Mean delay of the departures per carrier, the worst first.
pub fn delays(results: &Results, airlines: &BTreeMap<String, String>) {
    let mut rows: Vec<_> = results.carriers.iter().filter(|(_, d)| d.left > 0).collect();
    let mean = |minutes: i64, left: u64| minutes as f64 / left as f64;
    rows.sort_by(|(_, a), (_, b)| mean(b.minutes, b.left).total_cmp(&mean(a.minutes, a.left)));
    let widest = rows.iter().map(|(_, d)| mean(d.minutes, d.left)).fold(1.0, f64::max);
    println!("{:<28} {:>7} {:>9} {:>6}  mean delay of departures", "airline", "flights", "cancelled", "late");
    for (carrier, d) in rows {
        let name = airlines.get(carrier).unwrap_or(carrier);
        let mean = mean(d.minutes, d.left);
        let bar = "▇".repeat((mean / widest * BAR_WIDTH).max(0.0).round() as usize);
        let late = 100.0 * d.late as f64 / d.left as f64;
        println!("{name:<28} {:>7} {:>9} {late:>5.0}%  {bar} {mean:.1} min", d.flights, d.flights - d.left);
    }
}

/// Records and bytes per second of the producer and of each group, from its first record to its last.
pub fn throughput(producer: &Client, groups: &[(String, Results)]) {
    println!("{:<26} {:>8} {:>8} {:>12} {:>8}", "client", "records", "seconds", "records/s", "MB/s");
    let row = |name: &str, r: &Results| {
        let seconds = ((r.last_ms - r.first_ms) / 1000.0).max(0.001);
        let (records, megabytes) = (r.records as f64 / seconds, r.bytes as f64 / seconds / 1e6);
        println!("{name:<26} {:>8} {seconds:>8.2} {records:>12.0} {megabytes:>8.1}", r.records);
    };
    if let Some(results) = &producer.results {
        row("kafka-clients (Java)", results);
    }
    for (group, results) in groups {
        let client = match group.as_str() {
            "python" => "confluent-kafka (Python)",
            "node" => "KafkaJS (Node)",
            _ => "ottla (Rust)",
        };
        row(client, results);
    }
}
