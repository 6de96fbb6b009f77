//! From documents to ConfigMaps.

use std::collections::BTreeMap;
use std::io;

use super::manifest::{
    Agent, Assignment, CONFIG_VERSION, MANIFEST, Manifest, ShardEntry, file_name, hash_of,
};
use super::{
    Document, PLAIN_BYTES_MOST, SHARD_BYTES_MOST, SHARDS_MOST, TEXT_BYTES_MOST, TOTAL_BYTES_MOST,
    digest,
};
use crate::yaml::WriteError;

/// zstd's own default: four times the speed of the disk for a sixteenth of the size.
const LEVEL: i32 = 3;

/// What the agent must know beside its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFacts {
    /// Name, namespace, uid, pool and node of the Agent.
    pub agent: Agent,
    /// How often it renews its Lease, in seconds.
    pub heartbeat_seconds: i64,
    /// How long what was removed from it may go on being delivered, in seconds.
    pub drain_timeout_seconds: i64,
    /// Whether it is to end.
    pub draining: bool,
    /// The devices that it owns, in any order.
    pub assignments: Vec<Assignment>,
}

/// The content of all ConfigMaps of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The hash of the whole, as it stands in the manifest.
    pub hash: String,
    /// The ConfigMaps, by index from 0 without a gap; 1 to 8 of them.
    pub shards: Vec<Shard>,
}

/// The content of one ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its index: the ConfigMap is `AGENT-INDEX`.
    pub index: usize,
    /// Its keys. Keys are unique over all shards, because all are mounted into one directory.
    pub files: BTreeMap<String, Content>,
}

/// The content of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// For `data`.
    Text(String),
    /// For `binaryData`.
    Binary(Vec<u8>),
}

impl Content {
    /// The bytes that the mounted file has.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// The documents cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// They need more room than eight ConfigMaps have.
    #[error("configuration of {found} bytes ({what}); an agent takes {most}")]
    TooLarge {
        /// What was measured: the plain text, or what is stored.
        what: &'static str,
        /// Its size in bytes.
        found: usize,
        /// What an agent takes, in bytes.
        most: usize,
    },
    /// Two documents are the same object.
    #[error("{kind} {namespace}/{name} is there twice")]
    Duplicate {
        /// The kind of both.
        kind: &'static str,
        /// The namespace of both.
        namespace: String,
        /// The name of both.
        name: String,
    },
    /// A document cannot be written.
    #[error("a document {0}")]
    Write(#[from] WriteError),
    /// The compressor failed.
    #[error("the documents cannot be compressed")]
    Compress(#[source] io::Error),
}

/// Packs documents and facts for one agent. The order of the arguments' elements does not
/// matter; the same elements give the same bytes.
///
/// # Errors
/// When the documents do not fit, or one of them is there twice.
pub fn pack(facts: &AgentFacts, documents: &[Document]) -> Result<Packed, PackError> {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by_key(|d| d.order());
    for pair in sorted.windows(2) {
        if let [a, b] = pair
            && a.order() == b.order()
        {
            return Err(PackError::Duplicate {
                kind: a.kind.name(),
                namespace: a.namespace.clone(),
                name: a.name.clone(),
            });
        }
    }
    let texts = sorted.into_iter().map(Document::text).collect::<Result<Vec<_>, _>>()?;
    let plain: usize = texts.iter().map(String::len).sum();
    if plain > TEXT_BYTES_MOST {
        return Err(PackError::TooLarge {
            what: "plain text",
            found: plain,
            most: TEXT_BYTES_MOST,
        });
    }
    if plain <= PLAIN_BYTES_MOST {
        let all = Part { content: Content::Text(texts.concat()), documents: texts.len() };
        return assemble(facts, vec![all]);
    }
    // How much room the whole takes says how many shards it needs; parts compress a little
    // worse than the whole, so more may be needed.
    let whole = compress(&texts)?.len();
    let room = manifest_room(facts);
    let least = (whole + room).div_ceil(SHARD_BYTES_MOST).max(1);
    let mut failure =
        PackError::TooLarge { what: "compressed", found: whole, most: TOTAL_BYTES_MOST };
    for count in least..=SHARDS_MOST {
        let parts = divide(&texts, &shares(count, whole, room))
            .into_iter()
            .map(|texts| {
                let content = Content::Binary(compress(texts)?);
                Ok(Part { content, documents: texts.len() })
            })
            .collect::<Result<Vec<_>, PackError>>()?;
        match assemble(facts, parts) {
            Err(error @ PackError::TooLarge { .. }) => failure = error,
            done => return done,
        }
    }
    Err(failure)
}

/// The documents of one shard.
struct Part {
    content: Content,
    documents: usize,
}

/// Puts the manifest before the parts and looks whether all fit.
fn assemble(facts: &AgentFacts, parts: Vec<Part>) -> Result<Packed, PackError> {
    let mut shards = Vec::with_capacity(parts.len());
    let mut entries = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let file = file_name(index, matches!(part.content, Content::Binary(_)));
        entries.push(ShardEntry {
            file: file.clone(),
            sha256: digest(part.content.bytes()),
            documents: part.documents,
        });
        shards.push(Shard { index, files: BTreeMap::from([(file, part.content)]) });
    }
    let (hash, manifest) = manifest(facts, entries);
    if let Some(first) = shards.first_mut() {
        first.files.insert(MANIFEST.to_owned(), Content::Text(manifest));
    }
    let sizes = || shards.iter().map(size);
    let total: usize = sizes().sum();
    if total > TOTAL_BYTES_MOST {
        return Err(PackError::TooLarge {
            what: "as stored",
            found: total,
            most: TOTAL_BYTES_MOST,
        });
    }
    let largest = sizes().max().unwrap_or_default();
    if largest > SHARD_BYTES_MOST {
        return Err(PackError::TooLarge {
            what: "one ConfigMap",
            found: largest,
            most: SHARD_BYTES_MOST,
        });
    }
    Ok(Packed { hash, shards })
}

/// What Kubernetes counts of a ConfigMap.
fn size(shard: &Shard) -> usize {
    shard.files.iter().map(|(key, content)| key.len() + content.bytes().len()).sum()
}

/// Hash and text of the manifest.
fn manifest(facts: &AgentFacts, shards: Vec<ShardEntry>) -> (String, String) {
    let mut assignments = facts.assignments.clone();
    assignments.sort_by(|a, b| a.device.cmp(&b.device));
    let manifest = Manifest {
        config_version: CONFIG_VERSION,
        agent: facts.agent.clone(),
        hash: String::new(),
        shards,
        heartbeat_seconds: facts.heartbeat_seconds,
        drain_timeout_seconds: facts.drain_timeout_seconds,
        draining: facts.draining,
        assignments,
    };
    // A manifest is plain data, so it always serializes.
    let mut value = serde_json::to_value(manifest).unwrap_or_default();
    let hash = hash_of(&value);
    value["hash"] = hash.as_str().into();
    value.sort_all_objects();
    (hash, value.to_string())
}

/// Bytes that a manifest with all shards takes in the first ConfigMap.
fn manifest_room(facts: &AgentFacts) -> usize {
    let entry = |index| ShardEntry {
        file: file_name(index, true),
        sha256: digest(b""),
        documents: usize::MAX,
    };
    MANIFEST.len() + manifest(facts, (0..SHARDS_MOST).map(entry).collect()).1.len()
}

/// The share of each of `count` shards of the documents, in parts of `whole`: all ConfigMaps
/// equally full, the first one with the manifest.
fn shares(count: usize, whole: usize, room: usize) -> Vec<f64> {
    let each = (whole + room) as f64 / count as f64;
    let first = (each - room as f64).max(0.0);
    let rest = (whole as f64 - first) / (count - 1).max(1) as f64;
    let mut shares = vec![rest / whole as f64; count];
    shares[0] = if count == 1 { 1.0 } else { first / whole as f64 };
    shares
}

/// Divides the documents, in order, by their plain size.
fn divide<'a>(texts: &'a [String], shares: &[f64]) -> Vec<&'a [String]> {
    let plain: usize = texts.iter().map(String::len).sum();
    let (mut parts, mut rest, mut taken, mut goal) = (Vec::new(), texts, 0, 0.0);
    for (i, share) in shares.iter().enumerate() {
        goal += share * plain as f64;
        let last = i + 1 == shares.len();
        let mut n = 0;
        for text in rest {
            // The document goes where the larger half of it belongs.
            if !last && (taken + text.len() / 2) as f64 > goal {
                break;
            }
            taken += text.len();
            n += 1;
        }
        let (part, others) = rest.split_at(n);
        parts.push(part);
        rest = others;
    }
    parts
}

fn compress(texts: &[String]) -> Result<Vec<u8>, PackError> {
    zstd::stream::encode_all(texts.concat().as_bytes(), LEVEL).map_err(PackError::Compress)
}
