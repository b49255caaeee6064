//! The rows of the Rust client: bench/clients, a workspace of its own with the peers' crates, is built only for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Options;
use super::broker::{Kind, Plan};
use super::report::Report;

/// Rows with the number of the program's output that each shows.
type Shown = &'static [(&'static str, &'static str)];

/// Rows of the program alone: no broker process is measured.
const ALONE: Shown = &[("inproc-trip", "faster"), ("inproc-cpu", "cpu_ratio")];
const FORK: Shown = &[("fork-ms", "fork_ms"), ("fork-mib", "fork_mib")];

/// Whether one of the rows that need the program was asked for.
pub fn wanted(options: &Options) -> bool {
    options.kinds.contains(&Kind::Ottla)
        && super::rows::ROWS.iter().any(|row| {
            let ours = ["own-", "inproc-trip", "inproc-cpu", "fork-"].iter().any(|name| row.name.starts_with(name));
            ours && options.wants(row.name)
        })
}

/// Compiles bench/clients into the target folder.
///
/// # Errors
/// A sentence, when the build fails; librdkafka, which is built from source, wants a C compiler and make.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    println!("building bench/clients with rskafka and librdkafka");
    let target = target.join("xtask/bench-clients");
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--target-dir"])
        .arg(&target)
        .current_dir(root.join("bench/clients"))
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    match status.success() {
        true => Ok(target.join("release/ottla-bench-clients")),
        false => Err("bench/clients does not build; the messages are above".into()),
    }
}

/// One run of the program: the numbers that it printed.
///
/// # Errors
/// What it wrote to stderr.
pub fn measure(plan: &Plan, args: &[&str]) -> Result<Value, String> {
    let program = plan.clients.as_ref().ok_or("bench/clients was not built")?;
    let output = Command::new(program).args(args).output().map_err(|e| format!("cannot run bench/clients: {e}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{}: {e}", args.join(" ")))
}

/// A number by name; NaN, which the table shows as missing, when it is not there.
pub fn number(numbers: &Value, name: &str) -> f64 {
    numbers[name].as_f64().unwrap_or(f64::NAN)
}

/// `inproc-trip`, `inproc-cpu`, `fork-ms`, `fork-mib`.
///
/// # Errors
/// When a run fails.
pub fn alone(options: &Options, plan: &Plan, report: &mut Report) -> crate::Outcome {
    let folder = plan.work.join("fork");
    let (bytes, dir) = ((1u64 << 30).to_string(), folder.display().to_string());
    let runs: [(Shown, Vec<&str>); 2] = [
        (ALONE, vec!["ottla", "transports", "--records", options.pick("300000", "1000000")]),
        (FORK, vec!["ottla", "fork", "--bytes", &bytes, "--dir", &dir]),
    ];
    for (rows, args) in runs {
        if plan.clients.is_none() || !rows.iter().any(|(row, _)| options.wants(row)) {
            continue;
        }
        println!("{}", rows.iter().map(|(row, _)| *row).collect::<Vec<_>>().join(", "));
        for _ in 0..options.pick(2, 5) {
            let numbers = measure(plan, &args)?;
            std::fs::remove_dir_all(&folder).ok();
            for (row, name) in rows {
                if options.wants(row) {
                    report.add(row, Kind::Ottla, number(&numbers, name));
                }
            }
        }
    }
    Ok(())
}
