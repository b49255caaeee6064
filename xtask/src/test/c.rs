//! C: the installed library as a program outside of this repository uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::interop::log_file;
use super::process::run;
use super::{Case, Request};
use crate::{install, tools};

/// The programs of tests/c; each says what it expects itself and ends with 0.
const PROGRAMS: &[&str] = &["roundtrip", "groups", "transactions", "misuse"];

pub fn run_all(request: &Request) -> Vec<Case> {
    let wanted = |name: &str| request.filter.as_deref().is_none_or(|filter| name.contains(filter));
    let all = PROGRAMS.iter().flat_map(|name| ["shared", "static"].map(|kind| (*name, kind)));
    let all: Vec<_> = all.filter(|(name, _)| wanted(name)).collect();
    let prefix = tools::scratch("c-prefix").and_then(|prefix| install::into(&prefix).map(|()| prefix));
    let prefix = prefix.and_then(|prefix| tools::pkg_config().map(|()| prefix));
    let mut cases: Vec<Case> = all
        .into_iter()
        .map(|(name, kind)| {
            let case = format!("{name} ({kind})");
            let outcome = prefix.clone().and_then(|prefix| play(&prefix, name, kind));
            println!("{} {case}", if outcome.is_ok() { "ok" } else { "FAIL" });
            Case { name: case, outcome }
        })
        .collect();
    if wanted("symbols") {
        cases.push(Case::of("symbols", prefix.and_then(|prefix| symbols(&prefix))));
    }
    cases
}

/// Builds a program in an empty folder, as README says, and runs it.
fn play(prefix: &Path, name: &str, kind: &str) -> Result<(), String> {
    let folder = tools::scratch(&format!("c/{name}-{kind}"))?;
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let source = format!("{name}.c");
    for file in [source.as_str(), "check.h"] {
        let from = tools::root().join("tests/c").join(file);
        fs::copy(&from, folder.join(file)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let flags = if kind == "static" {
        // The archive by its name: with -l the linker would take the shared one beside it.
        format!(
            "$(pkg-config --cflags ottla) {}/lib/libottla.a -lgcc_s -lutil -lrt -lpthread -lm -ldl",
            prefix.display()
        )
    } else {
        "$(pkg-config --cflags --libs ottla)".to_owned()
    };
    let line = format!("cc -std=c11 -Wall -Wextra -Werror -O1 -g {source} -o program {flags}");
    let log = log_file(&format!("c-{name}-{kind}"))?;
    let tail = |log: &PathBuf| fs::read_to_string(log).unwrap_or_default().trim_end().to_owned();
    let mut compile = Command::new("sh");
    compile.args(["-c", &line]).current_dir(&folder).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    if run(&mut compile, Duration::from_secs(60), &log)?.code != Some(0) {
        return Err(format!("'{line}' failed: {}", tail(&log)));
    }
    let mut program = Command::new(folder.join("program"));
    program.current_dir(&folder).env("LD_LIBRARY_PATH", prefix.join("lib"));
    let finished = run(&mut program, Duration::from_secs(60), &log)?;
    if finished.code == Some(0) {
        Ok(())
    } else {
        Err(format!("ended with {:?}: {}{}", finished.code, finished.output, tail(&log)))
    }
}

/// The shared library shows its own functions and no others, and has its name for the loader.
fn symbols(prefix: &Path) -> Result<(), String> {
    let library = prefix.join("lib/libottla.so");
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).arg(&library).output();
        let output = output.map_err(|e| format!("{program} did not start ({e}); it comes with binutils"))?;
        String::from_utf8(output.stdout).map_err(|e| e.to_string())
    };
    let names = said("nm", &["-D", "--defined-only"])?;
    let foreign: Vec<_> = names
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| !name.starts_with("ottla_"))
        .collect();
    if !foreign.is_empty() {
        return Err(format!("the library also exports {}", foreign.join(", ")));
    }
    let header = fs::read_to_string(prefix.join("include/ottla.h")).map_err(|e| e.to_string())?;
    let missing: Vec<_> = names
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| !header.contains(&format!("{name}(")))
        .collect();
    if !missing.is_empty() {
        return Err(format!("the header lacks {}", missing.join(", ")));
    }
    let dynamic = said("readelf", &["-d"])?;
    if dynamic.contains("libottla.so.0]") { Ok(()) } else { Err(format!("no soname libottla.so.0 in: {dynamic}")) }
}
