//! The manifest: which files belong together, and what the agent must know beside them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest;
use crate::api::agent_pool::DRAIN_TIMEOUT_SECONDS_DEFAULT;

/// File name of the manifest; it stands in the ConfigMap of shard 0.
pub const MANIFEST: &str = "manifest.json";
/// The form of manifest and shards that this release writes and reads.
pub const CONFIG_VERSION: i64 = 1;

/// Which files belong together, and what the agent must know beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of manifest and shards. Fields may be added without a new number.
    pub config_version: i64,
    /// Whose configuration this is.
    pub agent: Agent,
    /// Hash over everything else in the manifest, and so over every file: lower-case hex
    /// SHA-256. Equal hashes mean equal configuration.
    pub hash: String,
    /// The files, in the order of their documents.
    pub shards: Vec<ShardEntry>,
    /// How often the agent renews its Lease, in seconds.
    pub heartbeat_seconds: i64,
    /// How long what was removed from the agent may go on being delivered, in seconds. Written only
    /// when it is not the default, so that every other manifest is as it was before there was this.
    #[serde(default = "drain_timeout_default", skip_serializing_if = "is_default_drain_timeout")]
    pub drain_timeout_seconds: i64,
    /// Whether the agent is to end: stop its devices, deliver what it holds, say `Drained`.
    pub draining: bool,
    /// The devices that the agent owns, sorted by name.
    pub assignments: Vec<Assignment>,
}

fn drain_timeout_default() -> i64 {
    DRAIN_TIMEOUT_SECONDS_DEFAULT
}

fn is_default_drain_timeout(seconds: &i64) -> bool {
    *seconds == DRAIN_TIMEOUT_SECONDS_DEFAULT
}

/// Whose configuration this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Name of the Agent.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its AgentPool.
    pub pool: String,
    /// Its node.
    pub node: String,
}

/// One file of documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardEntry {
    /// Its name: `shard-N.yaml`, or `shard-N.yaml.zst` when it is compressed.
    pub file: String,
    /// SHA-256 of the file as it is stored, in lower-case hex.
    pub sha256: String,
    /// How many documents it holds.
    pub documents: usize,
}

/// One device that the agent owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Name of the DeviceConnection.
    pub device: String,
    /// Its uid.
    pub uid: String,
    /// Counts the owners of the device, from 1.
    pub epoch: i64,
}

/// The hash of a manifest. It is taken over the value and not over the type, so that an agent
/// also agrees about a manifest of a newer operator, with fields that the agent does not know.
pub(super) fn hash_of(manifest: &Value) -> String {
    let mut value = manifest.clone();
    if let Value::Object(map) = &mut value {
        map.remove("hash");
    }
    value.sort_all_objects();
    digest(value.to_string().as_bytes())
}

/// Name of the file of shard `index`.
pub(super) fn file_name(index: usize, compressed: bool) -> String {
    let end = if compressed { ".zst" } else { "" };
    format!("shard-{index}.yaml{end}")
}
