//! The programs that make up the cluster.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};

use crate::Node;

/// A program of the cluster that can be stopped and started by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// The names of the lab.
    Dns,
    /// A node's containerd. Containers go on without it.
    Containerd(Node),
    /// A node's kubelet. Containers go on without it.
    Kubelet(Node),
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Dns,
        Self::Containerd(Node::One),
        Self::Containerd(Node::Two),
        Self::Kubelet(Node::One),
        Self::Kubelet(Node::Two),
    ];

    /// The name of its log and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Dns => "dns",
            Self::Containerd(Node::One) => "containerd-1",
            Self::Containerd(Node::Two) => "containerd-2",
            Self::Kubelet(Node::One) => "kubelet-1",
            Self::Kubelet(Node::Two) => "kubelet-2",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Component {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|component| component.name() == text).with_context(|| {
            let all = Self::ALL.map(Self::name).join(" ");
            format!("no component {text}; there are: {all}")
        })
    }
}
