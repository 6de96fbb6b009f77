//! Reads YAML files and notices changes.

use std::collections::BTreeMap;
use std::fs::{DirEntry, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lineside_crds::diagnostics::Code;
use lineside_crds::yaml::{self, LoadedDocument, MOST_BYTES, Problem};

/// One file as it was found.
#[derive(Debug)]
pub struct ScannedFile {
    /// Path as people gave it.
    pub label: String,
    /// Its documents; empty when it is unreadable.
    pub loaded: Vec<LoadedDocument>,
    /// Why it could not be read.
    pub unreadable: Option<Problem>,
}

/// Reads files, and the YAML files of directories (not of their subdirectories), in name order.
///
/// # Errors
/// When a path does not exist or a directory cannot be listed; a file that cannot be read is a
/// problem of that file.
pub fn read_paths(paths: &[PathBuf]) -> anyhow::Result<Vec<ScannedFile>> {
    let mut files = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
        if meta.is_dir() {
            let inside = yaml_files(path).with_context(|| format!("list {}", path.display()))?;
            if inside.is_empty() {
                bail!("{} has no *.yaml or *.yml files", path.display());
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files.iter().map(|p| read_file(p)).collect())
}

/// Reads the YAML files of a directory.
///
/// # Errors
/// When the directory cannot be listed.
pub fn read_dir(dir: &Path) -> std::io::Result<Vec<ScannedFile>> {
    Ok(yaml_files(dir)?.iter().map(|p| read_file(p)).collect())
}

fn read_file(path: &Path) -> ScannedFile {
    let label = path.display().to_string();
    match read_bounded(path) {
        Ok(text) => {
            let loaded = yaml::load_text(&label, &text);
            ScannedFile { label, loaded, unreadable: None }
        }
        Err(error) => {
            let unreadable = Some(Problem {
                code: Code::FileUnreadable,
                file: label.clone(),
                line: 1,
                column: 1,
                field: String::new(),
                message: error.to_string(),
                object: None,
            });
            ScannedFile { label, loaded: Vec::new(), unreadable }
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte over the bound, so that load_text sees and refuses a longer file.
    std::fs::File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn yaml_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if yaml && !hidden && !is_directory(&entry) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The listing knows what an entry is; only a link has to be followed.
fn is_directory(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        _ => entry.path().is_dir(),
    }
}

/// What tells one state of a directory from another without reading the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, (u64, u64, i64, i64)>);

impl Fingerprint {
    /// The state now; a file that cannot be looked at is a state of its own.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn of(dir: &Path) -> std::io::Result<Self> {
        let mark = |m: Metadata| (m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        let state = |path: PathBuf| {
            let meta = std::fs::metadata(&path).map(mark).unwrap_or_default();
            (path, meta)
        };
        Ok(Self(yaml_files(dir)?.into_iter().map(state).collect()))
    }
}
