//! Every name and path of a lab, made from its run.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::Node;

/// Longest run: the names of network interfaces carry it and have 15 bytes.
const LONGEST: usize = 10;

/// What tells a lab from the others on this machine: 1 to 10 of `a-z`, `0-9`, `-`, the first a
/// letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl FromStr for RunId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.len() > LONGEST
            || !text.starts_with(|c: char| c.is_ascii_lowercase())
            || !text.chars().all(allowed)
        {
            bail!("{text:?} is no name of a lab: 1 to {LONGEST} of a-z, 0-9, -, a letter first");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RunId {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where things of one lab are and what they are called. Making one changes nothing.
#[derive(Clone, Debug)]
pub struct Layout {
    run: RunId,
    dir: PathBuf,
}

impl Layout {
    /// The lab `run` whose state is in the folder of that name in `root`.
    pub fn new(root: &Path, run: RunId) -> Self {
        let dir = root.join(&run.0);
        Self { run, dir }
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The folder with all state of the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of a node's network namespace.
    pub fn namespace(&self, node: Node) -> String {
        format!("lineside-{}-{}", self.run, node.number())
    }

    /// The file by which a node's network namespace is entered.
    pub fn namespace_file(&self, node: Node) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(node))
    }

    /// The bridge of a node's pods.
    pub(crate) fn bridge(&self, node: Node) -> String {
        format!("br{}-{}", node.number(), self.run)
    }

    /// A node's end of the link between the nodes.
    pub(crate) fn link(&self, node: Node) -> String {
        format!("up{}-{}", node.number(), self.run)
    }

    /// The lab's folder in every cgroup hierarchy.
    pub fn cgroup(&self) -> String {
        format!("lineside-lab-{}", self.run)
    }

    /// What a node's kubelet puts its pods below, in every cgroup hierarchy.
    pub(crate) fn node_cgroup(&self, node: Node) -> String {
        format!("{}/{node}", self.cgroup())
    }

    /// The settings that outlive the process which started the lab.
    pub(crate) fn settings(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// What is known of the programs of the lab, one file each.
    pub(crate) fn processes(&self) -> PathBuf {
        self.dir.join("processes")
    }

    /// A file of the lab's public key infrastructure.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.dir.join("pki").join(name)
    }

    /// The kubeconfig of `admin`, `controller-manager`, `scheduler`, `node1` or `node2`.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.pki(&format!("{user}.kubeconfig"))
    }

    /// Folder of the images that were made for this lab.
    pub(crate) fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// A node's containerd.
    pub(crate) fn containerd(&self, node: Node) -> PathBuf {
        self.dir.join(format!("containerd-{}", node.number()))
    }

    /// The socket of a node's containerd.
    pub fn containerd_socket(&self, node: Node) -> PathBuf {
        self.containerd(node).join("containerd.sock")
    }

    /// A node's kubelet.
    pub(crate) fn kubelet(&self, node: Node) -> PathBuf {
        self.dir.join(format!("kubelet-{}", node.number()))
    }

    /// The local volumes of a node, each a folder.
    pub(crate) fn volumes(&self, node: Node) -> PathBuf {
        self.dir.join("volumes").join(node.name())
    }

    /// Names and addresses that the lab's DNS serves.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }
}

/// The runs that have state in `root`, sorted.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn runs(root: &Path) -> Result<Vec<RunId>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(run) = entry.file_name().to_string_lossy().parse()
        {
            runs.push(run);
        }
    }
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::{Layout, RunId};
    use crate::Node;
    use std::path::Path;

    #[test]
    fn a_run_that_does_not_fit_into_every_name_is_refused() {
        for wrong in ["", "Lab", "1st", "-a", "a_b", "a/b", "elevenchars"] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
        assert!("ten-chars1".parse::<RunId>().is_ok());
    }

    #[test]
    fn every_name_carries_the_run_and_fits() {
        let layout = Layout::new(Path::new("/cache/labs"), "ten-chars1".parse().unwrap());
        for node in Node::ALL {
            for interface in [layout.bridge(node), layout.link(node)] {
                assert!(interface.len() <= 15 && interface.contains("ten-chars1"), "{interface}");
            }
            assert!(layout.namespace(node).contains("ten-chars1"));
            assert!(layout.node_cgroup(node).starts_with("lineside-lab-ten-chars1/"));
        }
        assert_eq!(layout.dir(), Path::new("/cache/labs/ten-chars1"));
    }
}
