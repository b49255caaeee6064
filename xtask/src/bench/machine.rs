//! What /proc tells: CPU time, memory and the machine's description. Linux only, as the brokers' anchors are.

use std::fs;
use std::time::{Duration, Instant};

/// Ticks per second of /proc's CPU times; Linux has shown 100 to user space on every architecture since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system seconds of a process, all its threads, also those that have ended. Resolution 10 ms.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / TICKS_PER_SECOND
}

/// The same in nanosecond resolution, of the threads that are alive: for processes that live for milliseconds.
pub fn cpu_seconds_fine(pid: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()))
        .sum::<f64>()
        / 1e9
}

/// Resident memory in MiB.
pub fn rss_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// One line: CPU model, cores, memory, kernel.
pub fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown CPU");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!(
        "{}, {cores} cores, {:.0} GiB, Linux {kernel}",
        model.trim_start_matches([' ', '\t', ':']),
        kib / 1024.0 / 1024.0
    )
}

/// Seconds that all CPUs together were busy since boot.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| fields.get(i)).sum::<f64>() / TICKS_PER_SECOND
}

/// Watches what the rest of the machine does during a sample: a build beside a benchmark spoils it.
#[derive(Debug)]
pub struct Neighbours {
    busy: f64,
    start: Instant,
}

impl Neighbours {
    pub fn watch() -> Self {
        Neighbours { busy: busy_seconds(), start: Instant::now() }
    }

    /// The mean number of cores that others used since [`Neighbours::watch`], given what broker and client used.
    pub fn cores(&self, own_cpu_seconds: f64) -> f64 {
        let wall = self.start.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        ((busy_seconds() - self.busy - own_cpu_seconds) / wall).max(0.0)
    }
}
