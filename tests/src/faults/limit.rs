//! A limit on the memory of one program: a cgroup, as a container has it. Wants root.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::lives::Around;
use crate::wait;

/// Where version 1 has its memory controller.
const CONTROLLER: &str = "/sys/fs/cgroup/memory";
/// The kernel takes a moment to let go of a cgroup whose processes are gone.
const RELEASE: Duration = Duration::from_secs(10);

/// A cgroup with a limit; it is removed when this is dropped, after its processes.
#[derive(Debug)]
pub struct MemoryLimit {
    dir: PathBuf,
}

impl MemoryLimit {
    /// A cgroup for at most `bytes`, page cache included.
    ///
    /// # Errors
    /// There is no memory controller of version 1, or this is not root.
    pub fn new(name: &str, bytes: u64) -> Result<Self> {
        if !Path::new(CONTROLLER).join("memory.limit_in_bytes").exists() {
            bail!("{CONTROLLER} is not there: the test wants cgroup version 1");
        }
        let dir = Path::new(CONTROLLER).join(format!("lineside-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let limit = Self { dir };
        fs::write(limit.dir.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(limit)
    }

    /// The words in front of a program that is to be limited; it keeps its process id.
    ///
    /// # Errors
    /// The path is not UTF-8.
    pub fn around(&self) -> Result<Around> {
        let dir = self.dir.to_str().context("a path in UTF-8")?;
        let script = format!("echo $$ > {dir}/cgroup.procs && exec \"$@\"");
        let agent = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        Ok(Around { agent, questions: Vec::new() })
    }

    /// Most bytes that were in use.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn most(&self) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join("memory.max_usage_in_bytes"))?;
        Ok(text.trim().parse()?)
    }

    /// Bytes in use that the kernel cannot take back (no page cache).
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn anonymous(&self) -> Result<u64> {
        self.field("memory.stat", "rss")
    }

    /// How often the kernel killed for memory in here.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn kills(&self) -> Result<u64> {
        self.field("memory.oom_control", "oom_kill")
    }

    fn field(&self, file: &str, name: &str) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join(file))?;
        let found = text.lines().find_map(|line| line.split_once(' ').filter(|(n, _)| *n == name));
        Ok(found.with_context(|| format!("no {name} in {file}"))?.1.trim().parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let removed = wait::until(
            "cgroup empty",
            RELEASE,
            || !matches!(fs::remove_dir(&self.dir), Err(e) if e.kind() == ErrorKind::ResourceBusy),
        );
        if let Err(error) = removed {
            eprintln!("{}: {error:#}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::MemoryLimit;

    #[test]
    fn whoever_takes_more_than_the_limit_is_killed_and_counted() {
        let limit = MemoryLimit::new("limit", 8 << 20).unwrap();
        let run = |script: &str| {
            let words = limit.around().unwrap().agent;
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(["sh", "-c", script]).status().unwrap()
        };
        assert!(run("true").success());
        assert_eq!(limit.kills().unwrap(), 0);
        assert!(!run("head -c 64m /dev/zero | tail").success());
        assert!(limit.kills().unwrap() > 0);
        assert!(limit.most().unwrap() > 4 << 20);
    }
}
