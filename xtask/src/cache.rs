//! The cache outside the checkout: pinned servers and tools that several clones share.
//!
//! Everything in it lies under a key of what it was made from, so that a changed pin or source
//! makes a new entry beside the old one and no clone pulls the rug from under another.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use lineside_lab::key::of as key;

/// Flags and libraries of the C peers; part of their key.
pub const CC_FLAGS: [&str; 3] = ["-O2", "-Wall", "-Wextra"];

/// The run of the lab that the end-to-end tests share.
pub const E2E_RUN: &str = "e2e";

/// The cache directory with the checkout whose entries are meant.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    peers: PathBuf,
}

impl Cache {
    /// The cache for the checkout at `workspace`: `$LINESIDE_CACHE`, else `~/.cache/lineside`.
    ///
    /// # Errors
    /// Neither variable is set.
    pub fn of(workspace: &Path) -> io::Result<Self> {
        let root = match (env::var_os("LINESIDE_CACHE"), env::var_os("HOME")) {
            (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
            (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache/lineside"),
            _ => return Err(io::Error::other("neither LINESIDE_CACHE nor HOME is set")),
        };
        Ok(Self { root, peers: workspace.join("tests/peers") })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which every lab has its state.
    pub fn labs(&self) -> PathBuf {
        self.root.join("labs")
    }

    /// The pin list of the Python peers.
    pub fn requirements(&self) -> PathBuf {
        self.peers.join("requirements.txt")
    }

    /// The Python environment for the pin list.
    ///
    /// # Errors
    /// The pin list cannot be read.
    pub fn venv(&self) -> io::Result<PathBuf> {
        let pins = fs::read(self.requirements())?;
        Ok(self.root.join(format!("venv-{}", key([pins.as_slice()]))))
    }

    /// The interpreter of [`Self::venv`].
    ///
    /// # Errors
    /// The pin list cannot be read.
    pub fn python(&self) -> io::Result<PathBuf> {
        Ok(self.venv()?.join("bin/python"))
    }

    /// The sources of the C peers, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn c_sources(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.peers)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "c") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The folder with the built C peers, each named as its source without `.c`.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn c_peers(&self) -> io::Result<PathBuf> {
        let mut parts = vec![CC_FLAGS.join(" ").into_bytes()];
        for source in self.c_sources()? {
            parts.push(
                source
                    .as_os_str()
                    .as_encoded_bytes()
                    .rsplit(|b| *b == b'/')
                    .next()
                    .map_or_else(Vec::new, <[u8]>::to_vec),
            );
            parts.push(fs::read(source)?);
        }
        Ok(self.root.join(format!("peers-{}", key(parts.iter().map(Vec::as_slice)))))
    }
}

/// The file that is written last, so that an interrupted build is not taken for a whole one.
pub fn completed(dir: &Path) -> PathBuf {
    dir.join(".complete")
}
