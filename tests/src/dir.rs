//! One folder per test for configurations, state and logs. It is kept after the test, for
//! people to read, and emptied when the test runs again.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};

/// The folder of one test: `<target directory>/lineside-test-logs/<test>`.
#[derive(Clone, Debug)]
pub struct TestDir(PathBuf);

impl TestDir {
    /// An empty folder for the test of this name, which must be unique among tests.
    ///
    /// # Errors
    /// It cannot be emptied or made.
    pub fn new(test: &str) -> Result<Self> {
        let dir = target_dir()?.join("lineside-test-logs").join(test);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path inside it; nothing is made.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder inside it, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A file inside it with this text, its folders made if need be.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The profile's folder in cargo's target directory (`target/debug`): the test program lies in
/// its `deps`.
///
/// # Errors
/// The program does not know where it is.
pub fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let dir = program.parent().and_then(Path::parent);
    Ok(dir.context("the test program lies in target/<profile>/deps")?.to_path_buf())
}
