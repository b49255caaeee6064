//! `cargo xtask gen`: writes core/protocol/src/generated from the message schemas inside Apache Kafka's jars, and the C header.
//!
//! The walk: [`jars`] finds the jars and reads their JSON, [`schema`] turns it into structs with version ranges, [`emit`] writes
//! Rust, rustfmt shapes it. The JSON and its prose stay in the jars; only the Rust is committed, and `--check` proves that it
//! is still what the schemas say. It deliberately does not touch the hand-written runtime beside the generated folder.

mod emit;
mod header;
mod jars;
mod schema;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose schemas are generated.
pub const KAFKA_VERSION: &str = "4.4.0";

const TARGET: &str = "core/protocol/src/generated";

/// Runs `gen`: without arguments it writes, with `--check` it compares and changes nothing.
pub fn run(args: &[String]) -> crate::Outcome {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("gen takes no argument but --check".to_owned()),
    };
    let root = root();
    header::run(&root, check)?;
    let messages = jars::schemas(&root)?.iter().map(|json| schema::parse(json)).collect::<Result<Vec<_>, _>>()?;
    let messages: Vec<_> = messages.into_iter().filter(|m| !m.versions.is_empty()).collect();
    let mut files = BTreeMap::new();
    for message in &messages {
        let name = format!("{}.rs", schema::snake(&message.name));
        if files.insert(name.clone(), emit::message(message)?).is_some() {
            return Err(format!("two schemas want the file {name}"));
        }
    }
    files.insert("api_key.rs".to_owned(), tables::api_keys(&messages)?);
    files.insert("mod.rs".to_owned(), tables::module(&messages));
    let files = format(&root, &files)?;
    if check { compare(&root.join(TARGET), &files) } else { write(&root.join(TARGET), &files) }
}

/// The workspace root, two levels above this crate's manifest or the current directory when run elsewhere.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where xtask keeps what it downloads and what it builds in passing.
fn scratch(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("xtask")
}

fn format(root: &Path, files: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let folder = scratch(root).join(format!("gen-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let mut command = Command::new("rustfmt");
    command.arg("--config-path").arg(root.join("rustfmt.toml")).args(["--edition", "2024"]);
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        command.arg(path);
    }
    let status = command
        .status()
        .map_err(|e| format!("rustfmt did not start ({e}); 'rustup component add rustfmt' installs it"))?;
    if !status.success() {
        return Err(format!("rustfmt refused the generated code in {}", folder.display()));
    }
    let mut formatted = BTreeMap::new();
    for name in files.keys() {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        formatted.insert(name.clone(), text);
    }
    fs::remove_dir_all(&folder).map_err(|e| format!("cannot remove {}: {e}", folder.display()))?;
    Ok(formatted)
}

fn present(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn write(folder: &Path, files: &BTreeMap<String, String>) -> crate::Outcome {
    fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    for stale in present(folder).iter().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(stale)).map_err(|e| format!("cannot remove {stale}: {e}"))?;
    }
    let mut changed = 0;
    for (name, text) in files {
        let path = folder.join(name);
        // Untouched files keep their time, so that cargo does not rebuild for nothing.
        if fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        changed += 1;
    }
    println!("gen: {} files from Apache Kafka {KAFKA_VERSION}, {changed} changed", files.len());
    Ok(())
}

fn compare(folder: &Path, files: &BTreeMap<String, String>) -> crate::Outcome {
    let mut wrong: Vec<String> = present(folder).into_iter().filter(|name| !files.contains_key(name)).collect();
    for (name, text) in files {
        if !fs::read_to_string(folder.join(name)).is_ok_and(|old| old == *text) {
            wrong.push(name.clone());
        }
    }
    if wrong.is_empty() {
        println!("gen --check: {} files are what Apache Kafka {KAFKA_VERSION}'s schemas say", files.len());
        return Ok(());
    }
    wrong.sort();
    Err(format!("stale generated files in {TARGET}: {}; 'cargo xtask gen' writes them anew", wrong.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_schemas_say() {
        // `cargo xtask test` runs `gen --check`, which fetches the jars; a plain `cargo test` downloads nothing.
        if jars::all_here(&root()) {
            run(&["--check".to_owned()]).unwrap();
        } else {
            eprintln!("the jars are not here: 'cargo xtask gen --check' fetches them and compares");
        }
    }
}
