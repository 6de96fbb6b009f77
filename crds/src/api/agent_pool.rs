//! AgentPool: where agents run and with what.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node_selector;
use super::status::{Condition, UNOBSERVED};

/// The pool of objects that name none.
pub const POOL_DEFAULT: &str = "default";
/// The Secret that every agent mounts, whatever its pool lists.
pub const SECRET_ALWAYS: &str = "lineside-credentials";
/// Default of `heartbeatSeconds`.
pub const HEARTBEAT_SECONDS_DEFAULT: i64 = 10;
/// Default of `drainTimeoutSeconds`.
pub const DRAIN_TIMEOUT_SECONDS_DEFAULT: i64 = 3600;
/// Default of `stateVolume.persistentVolumeClaim.size`.
pub const STATE_SIZE_DEFAULT: &str = "1Gi";

/// Where agents run and with what: nodes, image, resources, state volume, Secrets. A namespace
/// without an AgentPool named `default` uses the operator's own. Outside of a cluster a pool is
/// checked and then has no effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "lineside.dev",
        version = "v1alpha1",
        kind = "AgentPool",
        plural = "agentpools",
        shortname = "apool",
        category = "lineside",
        namespaced,
        schema = "disabled",
        status = "AgentPoolStatus",
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
        printcolumn = r#"{"name":"Agents","type":"integer","jsonPath":".status.agents.total"}"#,
        printcolumn = r#"{"name":"Ready-Agents","type":"integer","jsonPath":".status.agents.ready"}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentPoolSpec {
    /// Labels that a node must all carry to run an agent of this pool. Default: none, so every
    /// node fits. Example: `{lineside.dev/edge: "yes"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that agents of this pool bear, as in a Pod. Agents always bear a node
    /// that is not ready or out of reach. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationSpec>,
    /// Image of the agents. Default: the operator's own release of it.
    /// Example: `registry.example/lineside/agent:1.0.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}$")
    )]
    pub image: Option<String>,
    /// Names of Secrets with the logins of the registry that has the image. Default: the
    /// operator's own list. Example: `[registry-login]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub image_pull_secrets: Vec<String>,
    /// What an agent is given and held to, as in a Pod. Default: the operator's own values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// Names of the Secrets that devices and sinks of this pool may use; `lineside-credentials`
    /// is always among them. A Secret that does not exist yet is picked up when it does;
    /// changing this list restarts the pool's agents, one after the other.
    /// Example: `[broker-login, broker-tls]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub credential_secrets: Vec<String>,
    /// Where agents keep their last configuration and what is not yet delivered. Default: a
    /// claim of 1Gi of the cluster's default StorageClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_volume: Option<StateVolumeSpec>,
    /// How often an agent says that it lives, in seconds: 5 to 60. After three missed ones its
    /// devices show AgentSilent. Default 10.
    #[serde(default = "heartbeat_default")]
    #[schemars(range(min = 5, max = 60))]
    pub heartbeat_seconds: i64,
    /// How long an agent that is removed may go on delivering what it holds, in seconds: 0 to
    /// 86400. A pipeline or sink that is removed from an agent that stays has as long; its time
    /// begins anew when the agent starts again. What is left then is given up and counted.
    /// Default 3600.
    #[serde(default = "drain_timeout_default")]
    #[schemars(range(min = 0, max = 86_400))]
    pub drain_timeout_seconds: i64,
}

/// A taint that agents bear, with the meaning that it has in a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
     "message": "a toleration without key needs operator Exists (LNS-1100)"},
    {"rule": "!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
     "message": "operator Exists takes no value (LNS-1100)"},
    {"rule": "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
     "message": "tolerationSeconds needs effect NoExecute (LNS-1100)"}
]))]
pub struct TolerationSpec {
    /// Key of the taint. Default: with `operator: Exists`, every key. Example: `dedicated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 317),
        regex(
            pattern = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub key: Option<String>,
    /// How the value is compared. Default `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint, for `Equal`. Default: the empty value. Example: `edge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"))]
    pub value: Option<String>,
    /// Effect of the taint. Default: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a `NoExecute` taint is borne, in seconds. Default: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub toleration_seconds: Option<i64>,
}

/// How the value of a taint is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the same.
    Equal,
    /// The key is there, whatever its value.
    Exists,
}

/// What a taint does to pods that do not bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pod is put on the node.
    NoSchedule,
    /// A new pod is put there only if there is no other place.
    PreferNoSchedule,
    /// Running pods are removed from the node as well.
    NoExecute,
}

/// What an agent is given and held to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || !isQuantity(self.requests.cpu) || !isQuantity(self.limits.cpu) || quantity(self.requests.cpu).compareTo(quantity(self.limits.cpu)) <= 0",
     "message": "requests.cpu is more than limits.cpu (LNS-1101)"},
    {"rule": "!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || !isQuantity(self.requests.memory) || !isQuantity(self.limits.memory) || quantity(self.requests.memory).compareTo(quantity(self.limits.memory)) <= 0",
     "message": "requests.memory is more than limits.memory (LNS-1101)"}
]))]
pub struct ResourcesSpec {
    /// What the node must have free for an agent. Default: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<AmountsSpec>,
    /// What an agent may take at most. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AmountsSpec>,
}

/// Amounts of processor time and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AmountsSpec {
    /// Processor time, in cores or thousandths of a core. Example: `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 12),
        regex(pattern = r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$")
    )]
    pub cpu: Option<String>,
    /// Memory in bytes. Example: `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[0-9]{1,15}(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Option<String>,
}

/// Where an agent keeps its state: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.persistentVolumeClaim) != has(self.emptyDir)",
     "message": "write exactly one of persistentVolumeClaim and emptyDir (LNS-1033)"}
]))]
pub struct StateVolumeSpec {
    /// A volume that outlives the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSpec>,
    /// A volume that goes with the pod: what is not delivered when the pod is replaced is lost.
    /// The agent shows `durability: Reduced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirSpec>,
}

/// A claim for a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.size) || !isQuantity(self.size) || (quantity(self.size).compareTo(quantity('16Mi')) >= 0 && quantity(self.size).compareTo(quantity('64Ti')) <= 0)",
     "message": "size must lie between 16Mi and 64Ti (LNS-1077)"}
]))]
pub struct ClaimSpec {
    /// StorageClass of the volume. Default: the cluster's default class. Example: `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
    )]
    pub storage_class_name: Option<String>,
    /// Size of the volume, 16Mi to 64Ti. Default `1Gi`. Example: `8Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[0-9]{1,15}(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub size: Option<String>,
}

/// A volume that goes with the pod; it has no settings, so write `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyDirSpec {}

/// What the operator says of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentPoolStatus {
    /// Generation of the pool that this was said about; -1 before the operator has seen it.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of the pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How many agents the pool has, and how many of them are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<AgentCounts>,
}

impl Default for AgentPoolStatus {
    fn default() -> Self {
        Self { observed_generation: UNOBSERVED, conditions: Vec::new(), agents: None }
    }
}

/// How many agents there are, and how many of them are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentCounts {
    /// Agents of the pool.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub total: i64,
    /// Agents that are ready.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ready: i64,
}

fn heartbeat_default() -> i64 {
    HEARTBEAT_SECONDS_DEFAULT
}

fn drain_timeout_default() -> i64 {
    DRAIN_TIMEOUT_SECONDS_DEFAULT
}
