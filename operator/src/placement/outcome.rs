//! What placement decided, and why not more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lineside_crds::api::agent::AssignmentSpec;
use lineside_crds::diagnostics::Code;

use super::DEVICES_MOST;

/// The decision for one namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Every Agent that is to exist, and every one that exists and is to go, by name.
    pub agents: BTreeMap<String, DesiredAgent>,
    /// What became of each device, by name.
    pub devices: BTreeMap<String, Outcome>,
}

impl Placement {
    /// The devices whose documents `agent` is shipped: what is assigned to it and not about to
    /// leave.
    pub fn active(&self, agent: &str) -> BTreeSet<&str> {
        let Some(desired) = self.agents.get(agent) else { return BTreeSet::new() };
        let is_here = |device: &&str| matches!(self.devices.get(*device), Some(Outcome::Assigned { agent: a, .. }) if a == agent);
        desired.assignments.iter().map(|a| a.device.as_str()).filter(is_here).collect()
    }
}

/// An Agent as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredAgent {
    /// `spec.pool`.
    pub pool: String,
    /// `spec.node`.
    pub node: String,
    /// `spec.assignments`, by device name.
    pub assignments: Vec<AssignmentSpec>,
    /// Whether it exists, is made or goes.
    pub fate: Fate,
}

/// What is to become of an Agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does not exist yet.
    Create,
    /// It stays.
    Keep,
    /// It is being deleted already; its spec is left alone but for devices that it has let go.
    Deleting,
    /// It is to be deleted: no device is left on it.
    Empty,
    /// It is to be deleted and released at once: its node is gone or out of service.
    NodeGone,
}

/// What became of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An agent owns it.
    Assigned {
        /// Name of the Agent.
        agent: String,
        /// Its node.
        node: String,
        /// The ownership.
        epoch: i64,
    },
    /// It has to leave an agent, and that agent has not confirmed yet.
    Moving {
        /// Name of the Agent that it leaves.
        agent: String,
        /// Its node.
        node: String,
        /// The ownership that ends.
        epoch: i64,
    },
    /// Nobody owns it.
    Unplaced(Unplaced),
}

/// Why nobody owns a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// Its spec is refused, and no version of it was ever accepted.
    Refused,
    /// Its pool does not exist.
    PoolNotFound {
        /// Name of the pool.
        pool: String,
    },
    /// Its pool exists, but the pool's spec is refused.
    PoolRefused {
        /// Name of the pool.
        pool: String,
    },
    /// No node can take it.
    NoNode(Search),
    /// Its node fits, but the agent there is being deleted and must finish first.
    AgentGoes {
        /// Name of that Agent.
        agent: String,
        /// Its node.
        node: String,
    },
}

/// A search for a node that found none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Name of the pool.
    pub pool: String,
    /// What was asked for: the pool's labels and the device's.
    pub selector: BTreeMap<String, String>,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Nodes whose labels fit.
    pub fitting: usize,
    /// Of these: marked out of service.
    pub out_of_service: usize,
    /// Of these: take no new pods.
    pub cordoned: usize,
    /// Of these: have a taint that the pool does not bear.
    pub tainted: usize,
    /// Of these: not ready.
    pub not_ready: usize,
    /// Of these: their agent has its most devices.
    pub full: usize,
    /// Of these: their agent is being deleted.
    pub leaving: usize,
}

impl Unplaced {
    /// The diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused => Code::ConfigRejected,
            Self::PoolNotFound { .. } => Code::AgentPoolNotFound,
            Self::PoolRefused { .. } => Code::ReferenceNotFound,
            Self::NoNode(search) if search.only_full() => Code::CapacityExceeded,
            Self::NoNode(_) => Code::NoFittingNode,
            Self::AgentGoes { .. } => Code::AgentDraining,
        }
    }
}

impl Search {
    /// Whether more agents would help, and nothing else would.
    pub fn only_full(&self) -> bool {
        self.full > 0 && self.full == self.fitting
    }
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "the spec is refused, and no earlier version of it runs"),
            Self::PoolNotFound { pool } => write!(f, "there is no AgentPool {pool}"),
            Self::PoolRefused { pool } => write!(f, "the spec of AgentPool {pool} is refused"),
            Self::NoNode(search) => search.fmt(f),
            Self::AgentGoes { agent, node } => write!(
                f,
                "node {node} fits, but Agent {agent} there is being deleted and delivers what it \
                 holds first"
            ),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, selector, nodes, fitting, .. } = self;
        write!(f, "{fitting} of {nodes} nodes ")?;
        if selector.is_empty() {
            write!(f, "may run agents of pool {pool}")?;
        } else {
            let pairs: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            write!(f, "carry {} (pool {pool})", pairs.join(","))?;
        }
        let reasons = [
            (self.out_of_service, "out of service"),
            (self.cordoned, "cordoned"),
            (self.tainted, "with a taint that the pool does not tolerate"),
            (self.not_ready, "not ready"),
            (self.leaving, "with an agent that is being deleted"),
        ];
        let mut sep = ", of these ";
        for (count, what) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{sep}{count} {what}")?;
            sep = ", ";
        }
        if self.full > 0 {
            write!(f, "{sep}{} with {DEVICES_MOST} devices already", self.full)?;
        }
        Ok(())
    }
}
