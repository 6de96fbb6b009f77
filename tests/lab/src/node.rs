//! The two nodes and what is fixed about them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Node {
    /// `node1`, which also has the control plane and the peers.
    One,
    /// `node2`.
    Two,
}

impl Node {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The name of the Node object.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "node1",
            Self::Two => "node2",
        }
    }

    /// The node's address on the link between the nodes.
    pub fn address(self) -> &'static str {
        match self {
            Self::One => "172.30.0.1",
            Self::Two => "172.30.0.2",
        }
    }

    /// Where the node's pods live.
    pub(crate) fn pods(self) -> &'static str {
        match self {
            Self::One => "10.244.0.0/24",
            Self::Two => "10.244.1.0/24",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
