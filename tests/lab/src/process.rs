//! The programs of a lab: started into its cgroup and a node's namespaces, remembered in files
//! so that another process can stop and start them again.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{Layout, Node, cgroup, wait};

/// Longest start, until the program proper has taken the place of its starter.
const START: Duration = Duration::from_secs(10);
/// Longest end after SIGKILL.
const KILLED: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invocation {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Whose network it uses.
    pub node: Node,
    /// Whether it uses the node's mounts too.
    pub mounts: bool,
}

/// A program that was started, as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub command: Invocation,
    /// Absent once it was stopped.
    pub running: Option<Identity>,
}

/// A process, told from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: i32,
    /// Clock ticks from the start of the machine to its own.
    since: u64,
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, since: started(&stat)? })
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn signal(self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("a process number")?;
        if !self.is_alive() {
            return Ok(());
        }
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal to process {}", self.pid)),
        }
    }
}

/// When a process started, from its `/proc/PID/stat`; none for one that has ended.
fn started(stat: &str) -> Option<u64> {
    // The name may hold anything, also brackets and spaces.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Starts a program under a name that no running one has.
pub(crate) fn start(layout: &Layout, logs: &Path, name: &str, command: Invocation) -> Result<()> {
    if let Some(record) = read(layout, name)?
        && record.running.is_some_and(Identity::is_alive)
    {
        bail!("{name} already runs");
    }
    let programs = cgroup::programs(layout)?;
    let log = OpenOptions::new().create(true).append(true).open(log_file(logs, name));
    let log = log.with_context(|| format!("log of {name}"))?;
    let mut starter = Command::new("setsid");
    // The shell puts itself where it must be before it becomes the program, so that nothing
    // the program starts can be anywhere else.
    starter.args(["sh", "-c", r#"echo $$ >"$0/cgroup.procs" && exec nsenter "$@""#]);
    starter.arg(&programs);
    for argument in namespaces(layout, command.node, command.mounts)? {
        starter.arg(argument);
    }
    let child = starter
        .arg("--")
        .args(&command.argv)
        // Nothing of the caller's surroundings, least of all a proxy.
        .env_clear()
        .env("PATH", path(command.argv.first()))
        .env("HOME", layout.dir())
        .current_dir(layout.dir())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    let mut child = child.with_context(|| format!("cannot start {name}"))?;
    let pid = i32::try_from(child.id())?;
    let running = Identity::of(pid).with_context(|| format!("{name} ended at once"))?;
    let node = command.node;
    write(layout, name, &Record { command, running: Some(running) })?;
    // Without somebody who waits it would stay a zombie when it ends.
    thread::Builder::new().name(format!("wait-{name}")).spawn(move || drop(child.wait()))?;
    // Every stage of the starter has this among its arguments, the program has not.
    let mark = namespace_argument(layout, node);
    let starting = || {
        let found = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    wait::until(&format!("{name} started"), START, || Ok(!running.is_alive() || !starting()))
}

fn namespace_argument(layout: &Layout, node: Node) -> String {
    format!("--net={}", layout.namespace_file(node).display())
}

/// The arguments of `nsenter` for a node.
pub(crate) fn namespaces(layout: &Layout, node: Node, mounts: bool) -> Result<Vec<String>> {
    let mut arguments = vec![namespace_argument(layout, node)];
    if mounts {
        let holder = read(layout, &holder(node))?.and_then(|record| record.running);
        let holder = holder.with_context(|| format!("{node} has no mount namespace"))?;
        arguments.push(format!("--mount=/proc/{}/ns/mnt", holder.pid));
    }
    Ok(arguments)
}

/// The name of the program that holds a node's mount namespace.
pub(crate) fn holder(node: Node) -> String {
    format!("mounts-{}", node.number())
}

/// The program's own folder first: containerd looks for its shim.
fn path(program: Option<&String>) -> String {
    let own = program.and_then(|p| Path::new(p).parent()).map(|dir| dir.display().to_string());
    let own = own.filter(|dir| !dir.is_empty()).map_or_else(String::new, |dir| dir + ":");
    format!("{own}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Sends a signal; nothing happens when it does not run.
pub(crate) fn signal(layout: &Layout, name: &str, signal: Signal) -> Result<()> {
    match known(layout, name)?.running {
        Some(running) => running.signal(signal),
        None => Ok(()),
    }
}

/// Sends a signal and waits for the end, with SIGKILL after `patience`.
pub(crate) fn end(layout: &Layout, name: &str, first: Signal, patience: Duration) -> Result<()> {
    let mut record = known(layout, name)?;
    if let Some(running) = record.running.take() {
        running.signal(first)?;
        // One that is stopped would never see anything but SIGKILL.
        running.signal(Signal::CONT)?;
        let ended = || Ok(!running.is_alive());
        if wait::until("end", patience, ended).is_err() {
            running.signal(Signal::KILL)?;
            wait::until(&format!("{name} killed"), KILLED, ended)?;
        }
        write(layout, name, &record)?;
    }
    Ok(())
}

/// What is remembered of a program.
pub(crate) fn read(layout: &Layout, name: &str) -> Result<Option<Record>> {
    let path = file(layout, name);
    match fs::read(&path) {
        Ok(bytes) => {
            let record = serde_json::from_slice(&bytes);
            Ok(Some(record.with_context(|| path.display().to_string())?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// What is remembered of a program that was started before.
pub(crate) fn known(layout: &Layout, name: &str) -> Result<Record> {
    read(layout, name)?.with_context(|| format!("{name} was never started in this lab"))
}

/// The names of all programs that were started, sorted.
pub(crate) fn names(layout: &Layout) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(layout.processes())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

pub(crate) fn log_file(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

fn file(layout: &Layout, name: &str) -> PathBuf {
    layout.processes().join(format!("{name}.json"))
}

fn write(layout: &Layout, name: &str, record: &Record) -> Result<()> {
    let path = file(layout, name);
    fs::write(&path, serde_json::to_vec_pretty(record)?).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Identity, started};

    #[test]
    fn the_start_is_read_behind_a_name_with_brackets() {
        let fields = (4..=21).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started(&format!("7 (a) b (c)) S {fields} 4711 9")), Some(4711));
        assert_eq!(started(&format!("7 (a) Z {fields} 4711 9")), None);
        assert_eq!(started("nonsense"), None);
    }

    #[test]
    fn a_later_process_of_the_same_number_is_another_one() {
        let own = Identity::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { since: own.since + 1, ..own }.is_alive());
    }
}
