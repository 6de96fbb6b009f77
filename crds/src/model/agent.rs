//! The validated forms of AgentPool and Agent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ObjectKey;
use crate::api::agent_pool::{ResourcesSpec, TolerationSpec};

/// Where agents run and with what: a validated AgentPool.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentPool {
    /// Its identity.
    pub key: ObjectKey,
    /// Kubernetes uid, when the YAML came from a cluster.
    pub uid: Option<String>,
    /// Kubernetes generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
    /// Labels that a node must all carry; empty = every node fits.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that agents bear; each is one that a Pod may have.
    pub tolerations: Vec<TolerationSpec>,
    /// Image of the agents; `None` = the operator's own release.
    pub image: Option<String>,
    /// Secrets with the logins of the image's registry; empty = the operator's own list.
    pub image_pull_secrets: Vec<String>,
    /// Requests and limits, no request above its limit; `None` = the operator's own values.
    pub resources: Option<ResourcesSpec>,
    /// Secrets that agents mount beside `lineside-credentials`.
    pub credential_secrets: Vec<String>,
    /// Where agents keep their state.
    pub state_volume: StateVolume,
    /// How often an agent says that it lives.
    pub heartbeat: Duration,
    /// How long an agent that is removed may go on delivering.
    pub drain_timeout: Duration,
}

/// Where an agent keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateVolume {
    /// A volume that outlives the pod.
    Claim {
        /// Its StorageClass; `None` = the cluster's default class.
        storage_class: Option<String>,
        /// Its size, a Kubernetes quantity of bytes, e.g. `1Gi`.
        size: String,
    },
    /// A volume that goes with the pod.
    EmptyDir,
}

/// One agent pod as the operator wants it: a validated Agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its identity.
    pub key: ObjectKey,
    /// Kubernetes uid, when the YAML came from a cluster.
    pub uid: Option<String>,
    /// Kubernetes generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
    /// Its AgentPool.
    pub pool: String,
    /// Its node.
    pub node: String,
    /// Hash of the configuration that it is to run; `None` = none is written yet.
    pub config_hash: Option<String>,
    /// Number of ConfigMaps with the configuration, 0 to 8.
    pub shards: u8,
    /// The devices that it owns, each once.
    pub assignments: Vec<Assignment>,
}

/// One device that an agent owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the DeviceConnection, in the agent's namespace.
    pub device: String,
    /// Its uid.
    pub uid: String,
    /// Counts the owners of the device, from 1.
    pub epoch: u64,
    /// The mark of the wish that it was placed under; `None` = not recorded.
    pub wish: Option<String>,
}
