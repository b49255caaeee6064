//! The file `quorum-state`: who leads the metadata quorum, in which epoch.
//!
//! It has two forms, and a directory keeps the one it has: `data_version` 0 lists fixed voters, 1 leaves them to the log
//! (KIP-853).

use crate::error::MetadataError;
use ottla_env::Env;
use serde_json::{Value, json};
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "quorum-state";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuorumState {
    pub(crate) leader_epoch: i32,
    /// Fixed voters; None when the log names them.
    pub(crate) voters: Option<Vec<i32>>,
}

impl QuorumState {
    /// Reads the file, None when there is none.
    pub(crate) fn read(env: &Env, path: &Path) -> Result<Option<QuorumState>, MetadataError> {
        if !env.fs().exists(path) {
            return Ok(None);
        }
        let text = env.fs().read(path).map_err(MetadataError::io("read", path))?;
        let json: Value = serde_json::from_slice(&text).map_err(|error| MetadataError::damaged(path, error))?;
        let int = |value: &Value| value.as_i64().and_then(|n| i32::try_from(n).ok());
        let leader_epoch =
            int(&json["leaderEpoch"]).ok_or_else(|| MetadataError::damaged(path, "it has no leaderEpoch"))?;
        let voters = match json["data_version"].as_i64() {
            Some(0) => {
                let voters = json["currentVoters"].as_array().map(Vec::as_slice).unwrap_or_default();
                Some(voters.iter().filter_map(|voter| int(&voter["voterId"])).collect())
            }
            Some(1) => None,
            version => return Err(MetadataError::damaged(path, format!("its data_version is {version:?}"))),
        };
        Ok(Some(QuorumState { leader_epoch, voters }))
    }

    /// Writes the file: `node_id` leads. `sync` as for the log beside it.
    pub(crate) fn write(&self, env: &Env, path: &Path, node_id: i32, sync: bool) -> Result<(), MetadataError> {
        let epoch = self.leader_epoch;
        let json = match &self.voters {
            Some(voters) => {
                let voters: Vec<Value> = voters.iter().map(|id| json!({ "voterId": id })).collect();
                json!({ "clusterId": "", "leaderId": node_id, "leaderEpoch": epoch, "votedId": -1, "appliedOffset": 0,
                    "currentVoters": voters, "data_version": 0 })
            }
            None => json!({ "leaderId": node_id, "leaderEpoch": epoch, "votedId": -1,
                "votedDirectoryId": ottla_model::Uuid::ZERO.to_string(), "data_version": 1 }),
        };
        // An epoch must never be led twice: where the log survives a power failure, so does this.
        env.fs().write_atomic(path, json.to_string().as_bytes(), sync).map_err(MetadataError::io("write", path))
    }
}
