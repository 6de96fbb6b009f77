//! From files to documents: the whole set that the manifest names, or an error.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use super::manifest::{CONFIG_VERSION, MANIFEST, Manifest, file_name, hash_of};
use super::{SHARD_BYTES_MOST, SHARDS_MOST, TEXT_BYTES_MOST, digest};

/// Largest window of a compressed file, as a power of two: 8 MiB, what zstd's levels up to 19
/// use. It bounds the memory of the decompressor.
const WINDOW_LOG_MOST: u32 = 23;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The manifest.
    pub manifest: Manifest,
    /// The YAML text of each shard, in order.
    pub texts: Vec<String>,
}

/// The files are no complete configuration. What runs stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// A file is not there (yet). Seen for a moment while the kubelet brings a new set.
    #[error("{0} is not there")]
    Missing(String),
    /// A file is not what the manifest says (yet). Seen for a moment, as with `Missing`.
    #[error("{0} does not have the hash that the manifest names")]
    HashMismatch(String),
    /// The operator is newer than the agent.
    #[error("configuration version {0}; this agent knows {CONFIG_VERSION}")]
    UnknownVersion(i64),
    /// A file, or what it holds, is larger than any operator writes.
    #[error("{file} is larger than {most} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The bound in bytes.
        most: usize,
    },
    /// The file is nothing that an operator writes.
    #[error("{file} {what}")]
    Invalid {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a mounted configuration: file names and their bytes. Files that the manifest does not
/// name are passed over (what is left of a larger set before).
///
/// # Errors
/// When the set is not complete, or cannot be read.
pub fn unpack(files: &BTreeMap<String, Vec<u8>>) -> Result<Unpacked, UnpackError> {
    let manifest = manifest(file(files, MANIFEST)?)?;
    if manifest.shards.is_empty() || manifest.shards.len() > SHARDS_MOST {
        return Err(invalid(MANIFEST, "names no shard, or more than eight"));
    }
    let mut texts = Vec::with_capacity(manifest.shards.len());
    let mut left = TEXT_BYTES_MOST;
    for (index, shard) in manifest.shards.iter().enumerate() {
        let compressed = shard.file == file_name(index, true);
        if !compressed && shard.file != file_name(index, false) {
            return Err(invalid(MANIFEST, "names a file that is no shard"));
        }
        let bytes = file(files, &shard.file)?;
        if digest(bytes) != shard.sha256 {
            return Err(UnpackError::HashMismatch(shard.file.clone()));
        }
        let bytes = match compressed {
            true => decompress(&shard.file, bytes, left)?,
            false => bytes.to_vec(),
        };
        let text = String::from_utf8(bytes).map_err(|_| invalid(&shard.file, "is no text"))?;
        left = left.saturating_sub(text.len());
        if text.lines().filter(|line| *line == "---").count() != shard.documents {
            return Err(invalid(&shard.file, "has another number of documents"));
        }
        texts.push(text);
    }
    Ok(Unpacked { manifest, texts })
}

fn file<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8], UnpackError> {
    let bytes = files.get(name).ok_or_else(|| UnpackError::Missing(name.to_owned()))?;
    match bytes.len() > SHARD_BYTES_MOST {
        true => Err(UnpackError::TooLarge { file: name.to_owned(), most: SHARD_BYTES_MOST }),
        false => Ok(bytes),
    }
}

fn manifest(bytes: &[u8]) -> Result<Manifest, UnpackError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| invalid(MANIFEST, "is no JSON"))?;
    // The version first: of another one nothing else is known.
    match value.get("configVersion").and_then(Value::as_i64) {
        Some(CONFIG_VERSION) => {}
        Some(other) => return Err(UnpackError::UnknownVersion(other)),
        None => return Err(invalid(MANIFEST, "has no configVersion")),
    }
    let hash = hash_of(&value);
    let manifest: Manifest = serde_json::from_value(value)
        .map_err(|_| invalid(MANIFEST, "lacks a field, or has one of another type"))?;
    match manifest.hash == hash {
        true => Ok(manifest),
        false => Err(UnpackError::HashMismatch(MANIFEST.to_owned())),
    }
}

/// At most `most` bytes of text, whatever the file claims to hold.
fn decompress(name: &str, bytes: &[u8], most: usize) -> Result<Vec<u8>, UnpackError> {
    let broken = |_| invalid(name, "cannot be decompressed");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_MOST).map_err(broken)?;
    let mut text = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(&mut text).map_err(broken)?;
    match text.len() > most {
        true => Err(UnpackError::TooLarge { file: name.to_owned(), most: TEXT_BYTES_MOST }),
        false => Ok(text),
    }
}

fn invalid(file: &str, what: &'static str) -> UnpackError {
    UnpackError::Invalid { file: file.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A mount whose hashes are right, whatever it holds.
    fn mount(file: &str, bytes: &[u8], change: impl Fn(&mut Value)) -> BTreeMap<String, Vec<u8>> {
        let mut manifest = json!({
            "configVersion": 1,
            "agent": {"name": "a", "namespace": "n", "uid": "u", "pool": "p", "node": "x"},
            "shards": [{"file": file, "sha256": digest(bytes), "documents": 0}],
            "heartbeatSeconds": 10,
            "draining": false,
            "assignments": [],
        });
        change(&mut manifest);
        manifest["hash"] = hash_of(&manifest).into();
        BTreeMap::from([
            (MANIFEST.to_owned(), manifest.to_string().into_bytes()),
            (file.to_owned(), bytes.to_vec()),
        ])
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn a_file_that_grows_beyond_the_bound_is_not_read_to_its_end() {
        let most = zst(&vec![b'\n'; TEXT_BYTES_MOST]);
        assert!(unpack(&mount("shard-0.yaml.zst", &most, |_| {})).is_ok());
        let bomb = zst(&vec![b'\n'; TEXT_BYTES_MOST + 1]);
        let read = unpack(&mount("shard-0.yaml.zst", &bomb, |_| {}));
        assert!(matches!(read, Err(UnpackError::TooLarge { .. })), "{read:?}");
    }

    #[test]
    fn a_file_that_wants_a_huge_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, b"\n").unwrap();
        // Flushed in two parts, so that the frame does not shrink its window to the content.
        std::io::Write::flush(&mut encoder).unwrap();
        let bytes = encoder.finish().unwrap();
        let read = unpack(&mount("shard-0.yaml.zst", &bytes, |_| {}));
        assert!(matches!(read, Err(UnpackError::Invalid { .. })), "{read:?}");
    }

    #[test]
    fn a_manifest_that_says_nothing_of_draining_means_the_default() {
        let read = unpack(&mount("shard-0.yaml", b"", |_| {})).unwrap();
        assert_eq!(read.manifest.drain_timeout_seconds, 3600);
        let files = mount("shard-0.yaml", b"", |m| m["drainTimeoutSeconds"] = json!(60));
        assert_eq!(unpack(&files).unwrap().manifest.drain_timeout_seconds, 60);
    }

    #[test]
    fn fields_of_a_newer_operator_are_passed_over_and_their_version_is_not() {
        let files = mount("shard-0.yaml", b"", |m| m["later"] = json!({"z": 1, "a": [2]}));
        assert!(unpack(&files).is_ok());
        let files = mount("shard-0.yaml", b"", |m| {
            *m = json!({"configVersion": 2, "shards": "of another kind"});
        });
        assert_eq!(unpack(&files), Err(UnpackError::UnknownVersion(2)));
    }

    #[test]
    fn what_no_operator_writes_is_refused_with_the_file_that_holds_it() {
        let wrong = [
            mount("../../etc/passwd", b"", |_| {}),
            mount("shard-1.yaml", b"", |_| {}),
            mount("shard-0.yaml", b"\xff", |_| {}),
            mount("shard-0.yaml", b"---\n", |_| {}),
            mount("shard-0.yaml.zst", b"no zstd", |_| {}),
            mount("shard-0.yaml", b"", |m| m["shards"] = json!([])),
            mount("shard-0.yaml", b"", |m| m["shards"] = json!(vec![m["shards"][0].clone(); 9])),
            mount("shard-0.yaml", b"", |m| m["draining"] = json!("no")),
            mount("shard-0.yaml", b"", |m| m["configVersion"] = json!("1")),
        ];
        for files in wrong {
            let read = unpack(&files);
            assert!(matches!(read, Err(UnpackError::Invalid { .. })), "{files:?}: {read:?}");
        }
    }

    #[test]
    fn a_file_larger_than_a_config_map_is_not_looked_at() {
        let files = mount("shard-0.yaml", &vec![b'#'; SHARD_BYTES_MOST + 1], |_| {});
        let read = unpack(&files);
        assert!(matches!(read, Err(UnpackError::TooLarge { .. })), "{read:?}");
    }
}
