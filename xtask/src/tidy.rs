//! The rules that a compiler does not check. Each is a function that returns what it found; a finding names the file, the
//! line and what to do instead.

use crate::Outcome;
use std::path::{Path, PathBuf};

/// Longest line of code; rustfmt keeps ours shorter, this catches what it leaves alone.
const LINE_MAX: usize = 150;
/// A file above this is two files.
const FILE_LINES_MAX: usize = 800;

/// Tables with one row a line, which is what makes them readable.
const TABLES: &[&str] = &["core/config/src/", "core/model/src/error.rs"];

/// What must not stand in the tree, with what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!(", "finish it or leave it out"),
    ("unimplemented!(", "answer with an error that says what is missing"),
    ("dbg!(", "use tracing"),
    ("FIXME", "fix it, or say in a comment what is and why"),
    ("#[ignore", "a test that does not run proves nothing"),
    ("async_trait", "boxed futures stay off the record path; use generics or an enum"),
];

pub fn run(_args: &[String]) -> Outcome {
    let root = crate::tools::root();
    let files = tracked_files(&root)?;
    let mut findings = Vec::new();
    for file in &files {
        let path = root.join(file);
        // Binary files have no lines to look at.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        check_text(file, &text, &mut findings);
    }
    check_links(&root, Path::new("ARCHITECTURE.md"), &mut findings);
    check_links(&root, Path::new("README.md"), &mut findings);
    check_crate_table(&root, &mut findings);
    if findings.is_empty() {
        println!("tidy: {} files, nothing to mend", files.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    Err(format!("tidy found {} places to mend", findings.len()))
}

fn tracked_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git is needed to list the files: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().map(PathBuf::from).filter(|file| root.join(file).is_file()).collect())
}

fn is_generated(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "generated")
}

fn is_code(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rs" | "java" | "py" | "ts" | "js" | "mjs" | "go" | "c" | "h" | "sh"))
}

fn check_text(file: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = file.display();
    if !is_code(file) || is_generated(file) {
        return;
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}: split it by responsibility"));
    }
    // This file names what it bans.
    let is_table = TABLES.iter().any(|table| file.starts_with(table));
    let bans = if file.ends_with("xtask/src/tidy.rs") { &[][..] } else { BANNED };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if !is_table && line.chars().count() > LINE_MAX {
            findings.push(format!("{shown}:{number}: longer than {LINE_MAX} columns"));
        }
        if line.ends_with([' ', '\t']) {
            findings.push(format!("{shown}:{number}: white space at the end of the line"));
        }
        for (banned, instead) in bans {
            if line.contains(banned) {
                findings.push(format!("{shown}:{number}: `{banned}`: {instead}"));
            }
        }
    }
}

/// Every relative link of a document leads somewhere.
fn check_links(root: &Path, document: &Path, findings: &mut Vec<String>) {
    let Ok(text) = std::fs::read_to_string(root.join(document)) else {
        findings.push(format!("{}: missing", document.display()));
        return;
    };
    for (index, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !root.join(target).exists() {
                findings.push(format!("{}:{}: the link to {target} leads nowhere", document.display(), index + 1));
            }
        }
    }
}

/// ARCHITECTURE.md has a row for each crate: a newcomer finds every folder there.
fn check_crate_table(root: &Path, findings: &mut Vec<String>) {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let Ok(crates) = std::fs::read_dir(root.join("core")) else { return };
    for entry in crates.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !text.contains(&format!("core/{name}")) {
            findings.push(format!("ARCHITECTURE.md: no row for core/{name}"));
        }
    }
}
