//! Takes a lab away, and looks for what is left of one. Nothing here trusts the lab's own
//! notes: the starter may have crashed at any moment.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::exec::checked;
use crate::{Layout, Node, cgroup, network, wait};

/// Longest end of all processes.
const KILLED: Duration = Duration::from_secs(30);
/// How much of a command line is shown: enough to know the program by.
const SHOWN: usize = 90;
/// Longest run of `umount`.
const UNMOUNT: Duration = Duration::from_secs(20);

/// Removes everything of a lab.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    // All at once and again until none is left: what one of them starts meanwhile is in the
    // same cgroup. Nothing in a lab is worth a gentle end.
    wait::until(&format!("processes of lab {} killed", layout.run()), KILLED, || {
        let processes = cgroup::processes(layout)?;
        for pid in &processes {
            kill(*pid)?;
        }
        Ok(processes.is_empty())
    })?;
    // The nodes' own mounts went with their namespaces; these would be somebody else's.
    for mount in mounts(layout)? {
        checked(Command::new("umount").args(["-l", &mount]), "", UNMOUNT)?;
    }
    network::remove(layout)?;
    cgroup::remove(layout)?;
    match fs::remove_dir_all(layout.dir()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", layout.dir().display()))
        }
        _ => Ok(()),
    }
}

/// What there is of a lab on this machine, in words: processes, mounts, network namespaces,
/// cgroups, folders. Empty after [`crate::Lab::remove`].
///
/// # Errors
/// The machine's state cannot be read.
pub fn left_behind(layout: &Layout) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (pid, words) in processes(layout)? {
        let start: String = words.chars().take(SHOWN).collect();
        left.push(format!("process {pid}: {start}"));
    }
    left.extend(mounts(layout)?.into_iter().map(|mount| format!("mount {mount}")));
    for node in Node::ALL {
        let file = layout.namespace_file(node);
        if file.exists() {
            left.push(format!("network namespace {}", file.display()));
        }
    }
    left.extend(cgroup::present(layout)?.iter().map(|dir| format!("cgroup {}", dir.display())));
    if layout.dir().exists() {
        left.push(format!("folder {}", layout.dir().display()));
    }
    Ok(left)
}

fn kill(pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).context("a process number")?;
    match kill_process(pid, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot kill {pid:?}")),
    }
}

/// Those in the lab's cgroup, and those that name its folder.
fn processes(layout: &Layout) -> Result<Vec<(i32, String)>> {
    let ours = cgroup::processes(layout)?;
    let folder = format!("{}/", layout.dir().display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else { continue };
        // It may have ended since.
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if ours.contains(&pid) || words.contains(&folder) {
            found.push((pid, words));
        }
    }
    Ok(found)
}

/// Mount points below the lab's folder, the deepest first.
fn mounts(layout: &Layout) -> Result<Vec<String>> {
    let all = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let mut points: Vec<_> = all
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(layout.dir()))
        .map(str::to_owned)
        .collect();
    points.sort();
    points.reverse();
    Ok(points)
}
