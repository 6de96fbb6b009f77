//! Who this agent is, and that it is the only one: the state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::cluster;

/// The state directory, locked for this process.
#[derive(Debug)]
pub struct State {
    /// The directory.
    pub dir: PathBuf,
    /// Unique id of the agent, part of every client id.
    pub uid: Arc<str>,
    /// Held as long as the process lives: two agents with one identity would take each other's
    /// MQTT sessions.
    _lock: File,
}

impl State {
    /// Opens (and makes) the directory and takes the lock. The id is that of the Agent object in
    /// a cluster, else a random one that is kept in the directory.
    ///
    /// # Errors
    /// When the directory cannot be written or another agent uses it.
    pub fn open(dir: &Path, agent_object: Option<&Arc<str>>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("make state directory {} (--state DIR)", dir.display()))?;
        let path = dir.join("agent.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "state directory {} is used by another agent; give each its own with --state DIR",
                dir.display()
            ),
            Err(TryLockError::Error(e)) => {
                return Err(e).with_context(|| format!("lock {}", path.display()));
            }
        }
        let uid = match agent_object {
            Some(uid) => uid.clone(),
            None => uid(dir)?,
        };
        Ok(Self { dir: dir.to_owned(), uid, _lock: lock })
    }
}

fn uid(dir: &Path) -> anyhow::Result<Arc<str>> {
    let path = dir.join("agent.uid");
    match std::fs::read_to_string(&path) {
        Ok(text) if is_uid(text.trim()) => return Ok(text.trim().into()),
        Ok(_) => bail!("{} does not hold an agent id; remove it to get a new one", path.display()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
    }
    let random = || RandomState::new().hash_one(0u8);
    let uid = format!("{:016x}{:016x}", random(), random());
    let unfinished = dir.join("agent.uid.new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(uid.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        // The name, too, has to be there after a power cut.
        File::open(dir)?.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(uid.into())
}

fn is_uid(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The default state directory: inside an agent's pod its state volume, else
/// `$XDG_STATE_HOME/lineside`, else `~/.local/state/lineside`.
pub fn default_dir() -> Option<PathBuf> {
    if std::env::var_os(cluster::identity::AGENT_UID).is_some() {
        return Some(cluster::identity::STATE_DIR.into());
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("lineside"))
}

/// The host's name, the default name of a standalone agent.
pub fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        kernel.trim().chars().map(|c| if is_name_char(c) { c } else { '-' }).take(63).collect();
    parse_name(&name).unwrap_or_else(|_| "agent".into())
}

/// An agent's name: it is a level of MQTT topics, so it holds no `/`, `+` or `#`.
///
/// # Errors
/// What a name may hold, when it is none.
pub fn parse_name(text: &str) -> Result<String, String> {
    if (1..=63).contains(&text.len()) && text.chars().all(is_name_char) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 63 letters, digits, '-', '_' or '.'".into())
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_break_a_topic_is_refused() {
        for bad in ["", "line#1", "a/b", "a+b", "a b"] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
        assert!(parse_name(&host_name()).is_ok());
    }

    #[test]
    fn the_id_is_kept_and_a_second_agent_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path(), None).unwrap();
        let second = State::open(dir.path(), None).unwrap_err().to_string();
        assert!(second.contains("another agent") && second.contains("--state"), "{second}");
        let uid = first.uid.clone();
        drop(first);
        assert_eq!(State::open(dir.path(), None).unwrap().uid, uid);
    }
}
