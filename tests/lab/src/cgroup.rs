//! The cgroups of a lab: one folder in every hierarchy, with all its processes below it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Layout, Node, wait};

/// The folder of the lab's own programs, beside those of the nodes' pods.
const PROGRAMS: &str = "programs";

/// What a kubelet wants a hierarchy for.
const CONTROLLERS: [&str; 8] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "freezer", "devices", "blkio"];

/// The kernel takes a moment to let go of a cgroup whose processes are gone.
const RELEASE: Duration = Duration::from_secs(10);

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    dir: PathBuf,
    /// Controllers of version 1; none for version 2.
    controllers: Vec<String>,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    Ok(parse(&mounts))
}

/// Reads the lines of `/proc/mounts`.
fn parse(mounts: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(dir), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let controllers = match kind {
            "cgroup" => options.split(',').map(str::to_owned).collect(),
            "cgroup2" => Vec::new(),
            _ => continue,
        };
        found.push(Hierarchy { dir: dir.into(), controllers });
    }
    found
}

/// The hierarchy by which processes are found: every container is in it.
fn tracking(hierarchies: &[Hierarchy]) -> Result<&Path> {
    let pids = hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == "pids"));
    Ok(&pids.context("no cgroup hierarchy with the controller pids")?.dir)
}

/// Makes the folders of a lab.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    let hierarchies = hierarchies()?;
    let mounted = |name: &&str| hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == name));
    if let Some(missing) = CONTROLLERS.iter().find(|name| !mounted(name)) {
        bail!("the lab wants cgroup version 1 and there is no hierarchy {missing}");
    }
    for hierarchy in hierarchies.iter().filter(|h| !h.controllers.is_empty()) {
        for node in Node::ALL {
            make(&hierarchy.dir.join(layout.node_cgroup(node)))?;
        }
        if hierarchy.controllers.iter().any(|c| c == "cpuset") {
            // A new cpuset is empty and nothing can run in it.
            let nodes = Node::ALL.map(|node| layout.node_cgroup(node));
            for name in std::iter::once(layout.cgroup()).chain(nodes) {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let all = fs::read_to_string(hierarchy.dir.join(file))?;
                    fs::write(hierarchy.dir.join(&name).join(file), all.trim())?;
                }
            }
        }
    }
    make(&programs(layout)?)
}

/// The folder in which the lab's own programs are started.
pub(crate) fn programs(layout: &Layout) -> Result<PathBuf> {
    Ok(tracking(&hierarchies()?)?.join(layout.cgroup()).join(PROGRAMS))
}

/// All processes of a lab, also those that nobody remembers.
pub(crate) fn processes(layout: &Layout) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for dir in folders(&tracking(&hierarchies()?)?.join(layout.cgroup()))? {
        let listed = match fs::read_to_string(dir.join("cgroup.procs")) {
            Ok(listed) => listed,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error).with_context(|| dir.display().to_string()),
        };
        found.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Removes the folders of a lab, which must have no processes any more.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    for top in present(layout)? {
        let what = format!("cgroup {} empty", top.display());
        wait::until(&what, RELEASE, || {
            for dir in folders(&top)? {
                match fs::remove_dir(&dir) {
                    Ok(()) => {}
                    Err(error) if gone(&error) => {}
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => return Ok(false),
                    Err(error) => return Err(error).with_context(|| dir.display().to_string()),
                }
            }
            Ok(!top.exists())
        })?;
    }
    Ok(())
}

/// The folders that a lab has now, one for each hierarchy.
pub(crate) fn present(layout: &Layout) -> Result<Vec<PathBuf>> {
    let all = hierarchies()?.into_iter().map(|h| h.dir.join(layout.cgroup()));
    Ok(all.filter(|dir| dir.exists()).collect())
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make cgroup {}", dir.display()))
}

/// `dir` and all folders below it, the deepest first.
fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error).with_context(|| dir.display().to_string()),
        };
        for entry in entries {
            match entry.and_then(|e| Ok((e.file_type()?, e.path()))) {
                Ok((kind, path)) if kind.is_dir() => open.push(path),
                Ok(_) => {}
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error).with_context(|| dir.display().to_string()),
            }
        }
        found.push(dir);
    }
    // A folder is always found before what is in it.
    found.reverse();
    Ok(found)
}

/// It went away while we looked.
fn gone(error: &std::io::Error) -> bool {
    // ENODEV: a file of a cgroup that was removed after the file was opened.
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(19)
}

#[cfg(test)]
mod tests {
    use super::{folders, parse, tracking};
    use std::path::Path;

    #[test]
    fn hierarchies_of_both_versions_are_read_from_the_mounts() {
        let mounts = "\
            tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = parse(mounts);
        assert_eq!(found.len(), 3);
        assert!(found[0].controllers.iter().any(|c| c == "cpuacct"));
        assert!(found[2].controllers.is_empty());
        assert_eq!(tracking(&found).unwrap(), Path::new("/sys/fs/cgroup/pids"));
        assert!(tracking(&found[..1]).is_err());
    }

    #[test]
    fn folders_come_after_what_is_in_them() {
        let top = std::env::temp_dir().join(format!("lineside-lab-folders-{}", std::process::id()));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir_all(top.join("c")).unwrap();
        for dir in folders(&top).unwrap() {
            std::fs::remove_dir(dir).unwrap();
        }
        assert!(!top.exists());
        assert!(folders(&top).unwrap().is_empty());
    }
}
