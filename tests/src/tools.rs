//! Finds the servers and tools that `cargo xtask setup` installs.

use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context as _, Result, bail};
use xtask::cache::{Cache, completed};
use xtask::iotdb::{self, Release};

const SETUP: &str = "run: cargo xtask setup";

/// Root of the checkout.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program of a Debian package, e.g. `mosquitto`.
///
/// # Errors
/// It is nowhere; the text says what to run.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons in sbin, which is not on everyone's PATH.
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed; {SETUP}"))
}

/// The Python interpreter that has the pinned peers.
///
/// # Errors
/// The environment is not there for the present pin list.
pub fn python() -> Result<PathBuf> {
    let cache = cache()?;
    complete(&cache.venv()?)?;
    Ok(cache.python()?)
}

/// A built C peer, e.g. `libmodbus_server`.
///
/// # Errors
/// It is not built for the present sources.
pub fn c_peer(name: &str) -> Result<PathBuf> {
    let dir = cache()?.c_peers()?;
    complete(&dir)?;
    Ok(dir.join(name))
}

/// A Python peer's source, e.g. `pymodbus_server.py`.
pub fn python_peer(name: &str) -> PathBuf {
    workspace().join("tests/peers").join(name)
}

/// The cache with the jars of an IoTDB, and the Java that runs them.
///
/// # Errors
/// Something is missing; the text says what to run.
pub fn iotdb(release: Release) -> Result<(Cache, PathBuf)> {
    let cache = cache()?;
    for artifact in [release.config(), release.data()] {
        complete(&artifact.folder(&cache))?;
    }
    let java = iotdb::java().context(SETUP)?;
    Ok((cache, java))
}

fn cache() -> io::Result<Cache> {
    Cache::of(workspace())
}

fn complete(dir: &Path) -> Result<()> {
    if !completed(dir).exists() {
        bail!("{} is missing or not complete; {SETUP}", dir.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_absent_program_is_an_error_that_names_the_command() {
        let error = super::program("no-such-server").unwrap_err().to_string();
        assert_eq!(error, "no-such-server is not installed; run: cargo xtask setup");
    }
}
