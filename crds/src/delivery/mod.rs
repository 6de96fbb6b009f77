//! How configuration gets from the operator into an agent: one manifest and up to eight shards,
//! each in a ConfigMap of its own, all mounted into one directory.
//!
//! ```text
//! documents + facts --pack--> ConfigMaps AGENT-0..7 --kubelet--> files --unpack--> YAML texts
//! ```
//!
//! The kubelet brings the ConfigMaps one by one, so a mount may be half old and half new. The
//! manifest names every shard with its hash, and [`unpack`] gives either the complete set that
//! it names or an error; an agent that gets an error keeps what runs. Equal input gives equal
//! bytes, so an operator that starts afresh finds nothing to write.
//!
//! Everything here is pure; the operator writes, the agent reads.

mod document;
mod manifest;
mod pack;
mod unpack;

pub use document::Document;
pub use manifest::{Agent, Assignment, CONFIG_VERSION, MANIFEST, Manifest, ShardEntry};
pub use pack::{AgentFacts, Content, PackError, Packed, Shard, pack};
pub use unpack::{UnpackError, Unpacked, unpack};

use sha2::{Digest, Sha256};

/// Most shards of one agent; the pod declares all of them from the beginning.
pub const SHARDS_MOST: usize = 8;
/// Most bytes of keys and values of one ConfigMap. Kubernetes allows 1 MiB; the rest is room
/// for metadata.
pub const SHARD_BYTES_MOST: usize = 999_999;
/// Most bytes of all shards as they are stored.
pub const TOTAL_BYTES_MOST: usize = 7 << 20;
/// More plain text than this is compressed.
pub const PLAIN_BYTES_MOST: usize = 512 << 10;
/// Most bytes of plain text of one agent, before and after.
pub const TEXT_BYTES_MOST: usize = 64 << 20;

/// Name of the ConfigMap with the shard of this index: `AGENT-INDEX`.
pub fn config_map_name(agent: &str, index: usize) -> String {
    format!("{agent}-{index}")
}

/// SHA-256 in lower-case hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
