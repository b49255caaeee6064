//! `meta.properties`, which says to which cluster and node a log directory belongs:
//!
//! ```text
//! version=1
//! cluster.id=4L6g3nShT-eMCtK--X86sw
//! node.id=1
//! directory.id=ZKCJk3VYSTeF2UUhQbDvFg
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ottla_env::Env;
use ottla_model::Uuid;

use crate::error::{IoContext, LogError};

const FILE_NAME: &str = "meta.properties";

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker's or controller's id.
    pub node_id: i32,
    /// This directory's id (KIP-858); absent in files of Kafka before 3.7.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads the file of a log directory; `None` if there is none.
    pub fn read(env: &Env, log_dir: &Path) -> Result<Option<MetaProperties>, LogError> {
        let path = log_dir.join(FILE_NAME);
        let text = match env.fs().read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LogError::Io { doing: "read", path, source }),
        };
        let properties = parse_properties(&String::from_utf8_lossy(&text));
        Self::from_properties(&properties).map(Some).map_err(|reason| LogError::corrupt(path, reason))
    }

    fn from_properties(properties: &BTreeMap<String, String>) -> Result<MetaProperties, String> {
        let get = |key: &str| properties.get(key).map(String::as_str).filter(|value| !value.is_empty());
        // Version 0 is that of brokers under ZooKeeper, which had another name for the node's id.
        let node_key = match get("version") {
            Some("1") => "node.id",
            Some("0") => "broker.id",
            other => return Err(format!("version {:?} is unknown, expected 1", other.unwrap_or(""))),
        };
        let node_id = get(node_key).ok_or_else(|| format!("{node_key} is missing"))?;
        let directory_id = match get("directory.id") {
            Some(id) => Some(id.parse().map_err(|_| format!("directory.id {id:?} is not a uuid"))?),
            None => None,
        };
        Ok(MetaProperties {
            cluster_id: get("cluster.id").ok_or("cluster.id is missing")?.to_owned(),
            node_id: node_id.parse().map_err(|_| format!("{node_key} {node_id:?} is not a number"))?,
            directory_id,
        })
    }

    /// Writes the file, durably.
    pub fn write(&self, env: &Env, log_dir: &Path) -> Result<(), LogError> {
        self.write_with(env, log_dir, true)
    }

    /// As [`MetaProperties::write`], for a directory that need not survive a power failure yet.
    pub fn write_with(&self, env: &Env, log_dir: &Path, sync: bool) -> Result<(), LogError> {
        let mut text = format!("version=1\ncluster.id={}\nnode.id={}\n", escape(&self.cluster_id), self.node_id);
        if let Some(directory_id) = self.directory_id {
            text.push_str(&format!("directory.id={directory_id}\n"));
        }
        let path = log_dir.join(FILE_NAME);
        env.fs().write_atomic(&path, text.as_bytes(), sync).context("write", path)
    }
}

/// Java's properties, as far as this file needs them: comments, `=` or `:`, backslash escapes.
fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .filter_map(|line| line.split_once(['=', ':']))
        .map(|(key, value)| (key.trim().to_owned(), unescape(value.trim())))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::with_capacity(text.len());
    while let Some(char) = chars.next() {
        out.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '\\' | '=' | ':' | '#' | '!') {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_kafkas_own() {
        let env = Env::memory();
        let dir = Path::new("/data");
        env.fs().create_dir_all(dir).unwrap();
        assert_eq!(MetaProperties::read(&env, dir).unwrap(), None);
        let meta = MetaProperties {
            cluster_id: "a:b".into(),
            node_id: 1,
            directory_id: Some("ZKCJk3VYSTeF2UUhQbDvFg".parse().unwrap()),
        };
        meta.write(&env, dir).unwrap();
        assert_eq!(MetaProperties::read(&env, dir).unwrap(), Some(meta));

        let kafka = "#\n#Tue Nov 24 11:06:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\n\
                     directory.id=ZKCJk3VYSTeF2UUhQbDvFg\nnode.id=7\nversion=1\n";
        env.fs().write_atomic(&dir.join(FILE_NAME), kafka.as_bytes(), false).unwrap();
        let read = MetaProperties::read(&env, dir).unwrap().unwrap();
        assert_eq!((read.node_id, read.cluster_id.as_str()), (7, "4L6g3nShT-eMCtK--X86sw"));
        for bad in ["", "version=2\n", "version=1\nnode.id=x\ncluster.id=c\n", "version=1\nnode.id=1\n"] {
            env.fs().write_atomic(&dir.join(FILE_NAME), bad.as_bytes(), false).unwrap();
            assert!(MetaProperties::read(&env, dir).is_err(), "{bad:?}");
        }
    }
}
