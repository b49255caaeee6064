//! The rows of the embedded engine, measured inside a process of its own: the example `start_cost` of core/ottla.
//!
//! The example prints one JSON object: `first_ms` (start → first consumed record, first broker of the process), `warm_ms`
//! (the same, median of later ones) and `thousand_s` (1000 brokers started and stopped). xtask itself does not link the
//! engine, so that the developer's commands compile in seconds. Without the example the rows stay empty.

use std::process::Command;

use serde_json::Value;

use super::Options;
use super::broker::Kind;
use super::report::Report;

const ROWS: [(&str, &str); 3] =
    [("inproc-first", "first_ms"), ("inproc-warm", "warm_ms"), ("inproc-1000", "thousand_s")];

/// `inproc-first`, `inproc-warm`, `inproc-1000`.
///
/// # Errors
/// When the example does not build or fails.
pub fn run(options: &Options, report: &mut Report) -> crate::Outcome {
    let example = options.root.join("core/ottla/examples/start_cost.rs");
    let wanted = ROWS.iter().any(|(row, _)| options.wants(row));
    if !wanted || !options.kinds.contains(&Kind::Ottla) || !example.exists() {
        return Ok(());
    }
    println!("the embedded engine");
    let build = Command::new("cargo")
        .args(["build", "--quiet", "--release", "-p", "ottla", "--example", "start_cost"])
        .current_dir(&options.root)
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !build.success() {
        return Err("the example start_cost of core/ottla does not build; the messages are above".into());
    }
    for _ in 0..options.pick(3, 5) {
        let output = Command::new(options.target.join("release/examples/start_cost"))
            .output()
            .map_err(|e| format!("cannot run start_cost: {e}"))?;
        if !output.status.success() {
            return Err(format!("start_cost failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let numbers: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("start_cost: {e}"))?;
        for (row, name) in ROWS {
            if let Some(value) = numbers[name].as_f64().filter(|_| options.wants(row)) {
                report.add(row, Kind::Ottla, value);
            }
        }
    }
    Ok(())
}
