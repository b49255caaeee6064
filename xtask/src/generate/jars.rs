//! Finds Apache Kafka's jars and reads the schema JSON in them. Nothing it reads is committed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{KAFKA_VERSION, scratch};

/// The jars that carry schemas.
const JARS: [&str; 7] = [
    "kafka-clients",
    "kafka-metadata",
    "kafka-group-coordinator",
    "kafka-transaction-coordinator",
    "kafka-share-coordinator",
    "kafka-raft",
    "kafka-storage",
];

/// Every schema of every jar as JSON text without comments.
pub fn schemas(root: &Path) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for jar in JARS {
        let path = find(root, jar)?;
        let before = all.len();
        for entry in entries(&path)? {
            let text = unzip(&path, &["-p"], &[&entry])?;
            all.push(without_comments(&text));
        }
        if all.len() == before {
            return Err(format!("no schema in {}", path.display()));
        }
    }
    Ok(all)
}

/// Whether all jars lie on this machine already, so that no download is needed.
#[cfg(test)]
pub fn all_here(root: &Path) -> bool {
    JARS.iter().all(|jar| folders(root).iter().any(|folder| folder.join(file(jar)).is_file()))
}

fn file(jar: &str) -> String {
    format!("{jar}-{KAFKA_VERSION}.jar")
}

fn downloads(root: &Path) -> PathBuf {
    scratch(root).join("schemas")
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![downloads(root)];
    if let Some(home) = std::env::var_os("HOME") {
        folders.push(PathBuf::from(home).join(format!(".cache/ottla-anchors/libs-broker-{KAFKA_VERSION}")));
    }
    folders
}

fn find(root: &Path, jar: &str) -> Result<PathBuf, String> {
    if let Some(path) = folders(root).iter().map(|folder| folder.join(file(jar))).find(|path| path.is_file()) {
        return Ok(path);
    }
    let folder = downloads(root);
    println!("gen: fetching {}", file(jar));
    let status = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy", "-Dmdep.useBaseVersion=true"])
        .arg(format!("-Dartifact=org.apache.kafka:{jar}:{KAFKA_VERSION}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .status()
        .map_err(|e| {
            format!("mvn did not start ({e}); install Maven, or put {} into {}", file(jar), folder.display())
        })?;
    let path = folder.join(file(jar));
    if status.success() && path.is_file() {
        return Ok(path);
    }
    Err(format!("Maven did not bring {}; put it into {} by hand", file(jar), folder.display()))
}

fn entries(jar: &Path) -> Result<Vec<String>, String> {
    let list = unzip(jar, &["-Z1"], &[])?;
    let mut entries: Vec<String> = list
        .lines()
        .filter(|l| l.ends_with(".json") && (l.contains("message/") || l.contains("metadata/")))
        .map(str::to_owned)
        .collect();
    entries.sort();
    Ok(entries)
}

fn unzip(jar: &Path, flags: &[&str], members: &[&str]) -> Result<String, String> {
    let output = Command::new("unzip")
        .args(flags)
        .arg(jar)
        .args(members)
        .output()
        .map_err(|e| format!("unzip did not start ({e}); install it with the system's package manager"))?;
    if !output.status.success() {
        return Err(format!("unzip could not read {}: {}", jar.display(), String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{} holds JSON that is not UTF-8", jar.display()))
}

/// Kafka's JSON has `//` comments, which serde_json refuses. A `//` inside a string stays.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (mut quoted, mut escaped, mut end) = (false, false, line.len());
        for (at, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[test]
    fn comments_go_and_strings_stay() {
        let text = "// head\n{ \"a\": \"http://x\", // tail\n \"b\": \"\\\"//\" }";
        assert_eq!(without_comments(text), "\n{ \"a\": \"http://x\", \n \"b\": \"\\\"//\" }\n");
    }
}
