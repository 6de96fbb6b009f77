//! What placement knows of devices, nodes and agents.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Taint};
use lineside_crds::api::agent::{Agent, AssignmentSpec};
use lineside_crds::api::status::{ConditionStatus, condition};
use sha2::{Digest, Sha256};

use crate::pools::Pool;

/// The taint that says that a node is off for good and nothing runs there any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The condition of an Agent that has delivered everything after it was told to stop.
const DRAINED: &str = "Drained";

/// What placement knows of one DeviceConnection.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFacts {
    /// Its uid.
    pub uid: String,
    /// What it asks for; `None` when the object cannot be decoded or what it asks for is
    /// refused, so nobody knows. Such a device stays where it is and is placed nowhere else.
    pub wish: Option<Wish>,
    /// Whether its spec is valid. An invalid one is not placed, but stays where it is: the
    /// agent goes on with its last valid version.
    pub valid: bool,
    /// Its estimated load, see [`super::load`].
    pub milli_requests: u64,
    /// `status.agent.node`: where it was last, to which it returns when its Agent had to be made
    /// anew.
    pub last_node: Option<String>,
    /// `status.agent.epoch`, 0 when it was never placed.
    pub last_epoch: i64,
}

/// Where a device wants to be read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Name of the pool.
    pub pool: String,
    /// Labels that the node must all carry, besides the pool's.
    pub node_selector: BTreeMap<String, String>,
}

impl Wish {
    /// The mark of everything that people have written about the place of the device: sixteen hex
    /// digits over the pool's name, the pool's labels and the device's own. What becomes of nodes
    /// does not change it.
    pub fn mark(&self, pool: &Pool) -> String {
        // Maps are in the order of their keys, so equal wishes have equal text.
        let words = (&self.pool, &pool.node_selector, &self.node_selector);
        let text = serde_json::to_vec(&words).unwrap_or_default();
        Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What placement knows of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether it takes no new pods (`kubectl cordon`).
    pub cordoned: bool,
}

impl NodeFacts {
    /// The facts of a Node.
    pub fn new(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|s| s.taints.clone()).unwrap_or_default(),
            ready: conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            cordoned: spec.and_then(|s| s.unschedulable).unwrap_or(false),
        }
    }

    /// Whether somebody has declared that nothing runs there any more.
    pub fn out_of_service(&self) -> bool {
        self.taints.iter().any(|t| t.key == OUT_OF_SERVICE)
    }
}

/// What placement knows of one Agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentFacts {
    /// `spec.pool`.
    pub pool: String,
    /// `spec.node`.
    pub node: String,
    /// `spec.assignments`.
    pub assignments: Vec<AssignmentSpec>,
    /// `spec.configHash`: the configuration that it is to run.
    pub wanted_hash: Option<String>,
    /// `status.configHash`: the configuration that it runs.
    pub running_hash: Option<String>,
    /// The devices of `status.devices`, with their epochs.
    pub running: BTreeMap<String, i64>,
    /// It is being deleted.
    pub deleting: bool,
    /// It was told to stop and has delivered everything.
    pub drained: bool,
    /// `Some`: no process of it runs, for certain (see [`super::halted::runs_nothing`]); the devices
    /// whose documents lie in its ConfigMaps, because a process that starts now would read
    /// them. `None`: a process may run.
    pub halted: Option<BTreeSet<String>>,
}

impl AgentFacts {
    /// The facts of an Agent; `halted` comes from its pod and its ConfigMaps.
    pub fn new(agent: &Agent, halted: Option<BTreeSet<String>>) -> Self {
        let status = agent.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        Self {
            pool: agent.spec.pool.clone(),
            node: agent.spec.node.clone(),
            assignments: agent.spec.assignments.clone(),
            wanted_hash: agent.spec.config_hash.clone(),
            running_hash: status.and_then(|s| s.config_hash.clone()),
            running: status
                .into_iter()
                .flat_map(|s| &s.devices)
                .map(|d| (d.name.clone(), d.epoch))
                .collect(),
            deleting: agent.metadata.deletion_timestamp.is_some(),
            drained: condition(conditions, DRAINED)
                .is_some_and(|c| c.status == ConditionStatus::True),
            halted,
        }
    }

    /// Whether it certainly does not read `device`, given that its wanted configuration does not
    /// hold it.
    pub(super) fn has_let_go(&self, device: &str) -> bool {
        if self.deleting && self.drained {
            return true;
        }
        match &self.halted {
            Some(shipped) => !shipped.contains(device),
            None => self.wanted_hash == self.running_hash && !self.running.contains_key(device),
        }
    }
}
