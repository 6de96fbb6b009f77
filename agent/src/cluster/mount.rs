//! The projected volume with the configuration, as the kubelet makes it: names are links into
//! `..data`, itself a link to a directory that is replaced as a whole. The files are read
//! through one look at that link, so that a set is never mixed from two of them; whether it is
//! complete is for its hashes to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A set of files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Most files: eight shards, the manifest, and some that somebody else may have put there.
const MOST_FILES: usize = 64;
/// Most bytes of one file; a ConfigMap holds less than 1 MiB.
const MOST_BYTES: u64 = 2 << 20;

/// See the module.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    seen: Option<Mark>,
}

/// What tells one content of the volume from another without reading it: the directory, and of
/// each file name, inode, size and modification time.
type Mark = (PathBuf, Vec<Entry>);
type Entry = (String, u64, u64, i64, i64);

impl Mount {
    /// A volume that was not looked at yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), seen: None }
    }

    /// The files, when they may differ from those of the last look; `None` when they do not.
    ///
    /// # Errors
    /// The volume cannot be read; the next look reads it again.
    pub fn look(&mut self) -> io::Result<Option<Files>> {
        let inside = match std::fs::read_link(self.dir.join("..data")) {
            Ok(target) => self.dir.join(target),
            // A plain directory, made by hand.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                self.dir.clone()
            }
            Err(e) => return Err(e),
        };
        let mark = (inside.clone(), list(&inside)?);
        if self.seen.as_ref() == Some(&mark) {
            return Ok(None);
        }
        self.seen = None;
        let mut files = Files::new();
        for (name, ..) in &mark.1 {
            files.insert(name.clone(), read(&inside.join(name))?);
        }
        self.seen = Some(mark);
        Ok(Some(files))
    }
}

fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(4 * MOST_FILES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let meta = std::fs::metadata(entry.path())?;
        if meta.is_file() {
            found.push((name, meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    found.sort();
    found.truncate(MOST_FILES);
    Ok(found)
}

/// Reads one file; a longer one than the bound is cut, which its hash then shows.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Replaces the content of a volume in the way of the kubelet's atomic writer.
    pub fn swap(dir: &Path, stamp: &str, files: &[(&str, &[u8])]) {
        let fresh = dir.join(format!("..{stamp}"));
        std::fs::create_dir(&fresh).unwrap();
        for (name, bytes) in files {
            std::fs::write(fresh.join(name), bytes).unwrap();
        }
        let old = std::fs::read_link(dir.join("..data")).ok();
        symlink(format!("..{stamp}"), dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        for (name, _) in files {
            if !dir.join(name).exists() {
                symlink(format!("..data/{name}"), dir.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            std::fs::remove_dir_all(dir.join(old)).unwrap();
        }
    }

    fn names(files: Option<Files>) -> Vec<String> {
        files.unwrap_or_default().into_keys().collect()
    }

    #[test]
    fn a_swap_is_seen_once_and_brings_the_files_of_one_set() {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Mount::new(dir.path());
        assert_eq!(names(mount.look().unwrap()), [""; 0]);
        assert!(mount.look().unwrap().is_none(), "an empty volume is seen once too");
        swap(dir.path(), "1", &[("manifest.json", b"{}"), ("shard-0.yaml", b"a")]);
        assert_eq!(names(mount.look().unwrap()), ["manifest.json", "shard-0.yaml"]);
        assert!(mount.look().unwrap().is_none());
        // The same bytes again: another set, which is for the reader to find equal.
        swap(dir.path(), "2", &[("manifest.json", b"{}"), ("shard-0.yaml", b"a")]);
        assert!(mount.look().unwrap().is_some());
        // The link of a key that is gone dangles, and is not taken for a file.
        swap(dir.path(), "3", &[("manifest.json", b"{}")]);
        assert_eq!(names(mount.look().unwrap()), ["manifest.json"]);
    }

    #[test]
    fn a_plain_directory_is_read_as_it_is_and_a_missing_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shard-0.yaml"), b"a").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        assert_eq!(names(Mount::new(dir.path()).look().unwrap()), ["shard-0.yaml"]);
        let mut gone = Mount::new(&dir.path().join("gone"));
        assert!(gone.look().is_err());
        std::fs::create_dir(dir.path().join("gone")).unwrap();
        assert!(gone.look().unwrap().is_some());
    }
}
