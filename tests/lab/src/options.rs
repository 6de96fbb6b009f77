//! How a lab is set up.

use std::path::PathBuf;

use crate::{Component, RunId};

/// Whether claims of volumes can bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// StorageClass `lab-local` is the default class and has this many volumes of 1Gi on each
    /// node.
    Local {
        /// Volumes on each node.
        volumes: u16,
    },
    /// No StorageClass: claims stay pending.
    None,
}

/// How a lab is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells it from other labs.
    pub run: RunId,
    /// The folder in which its state gets a folder named after the run.
    pub root: PathBuf,
    /// The folder of its programs ([`crate::binaries::Set::Core`]).
    pub binaries: PathBuf,
    /// Where logs go; none: a folder in its state, which goes with the lab.
    pub logs: Option<PathBuf>,
    /// Volumes.
    pub storage: Storage,
    /// Seconds without word from a kubelet until its node is NotReady.
    pub node_grace_seconds: u32,
    /// More flags; they win over the lab's own.
    pub flags: Vec<(Component, Vec<String>)>,
}

impl Options {
    /// The usual lab: 16 volumes on each node, a node is NotReady after 10 s.
    pub fn new(run: RunId, root: PathBuf, binaries: PathBuf) -> Self {
        Self {
            run,
            root,
            binaries,
            logs: None,
            storage: Storage::Local { volumes: 16 },
            node_grace_seconds: 10,
            flags: Vec::new(),
        }
    }

    pub(crate) fn flags(&self, component: Component) -> impl Iterator<Item = String> {
        let of = self.flags.iter().filter(move |(of, _)| *of == component);
        of.flat_map(|(_, flags)| flags.iter().cloned())
    }
}
