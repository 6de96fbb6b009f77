//! Agent: one agent pod, what it is to do, and what it says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Condition, Durability, Health, PointCounts, UNOBSERVED, unobserved};

/// Most devices of one agent.
pub const DEVICES_MOST: usize = 512;

/// One agent: the pod that reads the devices of one pool on one node. The operator writes it;
/// what you change here is changed back. Look at it to see what an agent does; edit the
/// DeviceConnections, the Pipelines or the AgentPool instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "lineside.dev",
        version = "v1alpha1",
        kind = "Agent",
        plural = "agents",
        shortname = "lsagent",
        category = "lineside",
        namespaced,
        schema = "disabled",
        status = "AgentStatus",
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
        printcolumn = r#"{"name":"Pool","type":"string","jsonPath":".spec.pool"}"#,
        printcolumn = r#"{"name":"Node","type":"string","jsonPath":".spec.node"}"#,
        printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version"}"#,
        printcolumn = r#"{"name":"Durability","type":"string","jsonPath":".status.durability","priority":1}"#,
        printcolumn = r#"{"name":"Config","type":"string","jsonPath":".status.configHash","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentSpec {
    /// Name of the AgentPool that the agent belongs to. Example: `default`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub pool: String,
    /// Name of the node that the agent runs on. Example: `line-2-pc`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub node: String,
    /// Hash of the configuration that the agent is to run. Default: none is written yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    pub config_hash: Option<String>,
    /// How many ConfigMaps hold the configuration: 0 (none is written yet) to 8. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 8))]
    pub shards: i64,
    /// The devices that this agent owns, and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 512),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["device"])
    )]
    pub assignments: Vec<AssignmentSpec>,
}

/// One device that the agent owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AssignmentSpec {
    /// Name of the DeviceConnection.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub device: String,
    /// Its uid: a device that is deleted and made again is another one.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9-]{1,63}$"))]
    pub uid: String,
    /// Counts the owners of the device, from 1; each move to another agent adds one, so that
    /// samples of an earlier owner can be told apart.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub epoch: i64,
    /// Which wish it was placed under, as a hash of the pool, its `nodeSelector` and the device's. As
    /// long as the wish is the same, the device stays, whatever becomes of the node's labels.
    /// Default: not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 16), regex(pattern = "^[0-9a-f]{16}$"))]
    pub wish: Option<String>,
}

/// What the agent says of itself. It writes this alone, when something changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentStatus {
    /// Generation of the Agent that the agent has seen; -1 before it has seen any.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Version of the agent's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub version: Option<String>,
    /// Protocols that this agent speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub drivers: Vec<String>,
    /// Hash of the configuration that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    pub config_hash: Option<String>,
    /// When the agent's program started (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), extend("format" = "date-time"))]
    pub started_at: Option<String>,
    /// What the agent keeps when its pod moves or its node fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Conditions of the agent itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// The devices that the agent runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 512),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub devices: Vec<DeviceReport>,
    /// The pipelines that the agent runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 512),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub pipelines: Vec<PipelineReport>,
}

impl Default for AgentStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            version: None,
            drivers: Vec::new(),
            config_hash: None,
            started_at: None,
            durability: None,
            conditions: Vec::new(),
            devices: Vec::new(),
            pipelines: Vec::new(),
        }
    }
}

/// What an agent says of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// Name of the DeviceConnection.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Uid of the DeviceConnection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
    /// Generation that runs; -1 when none does.
    #[serde(default = "unobserved")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub generation: i64,
    /// Ownership under which the agent runs it (see `spec.assignments`).
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub epoch: i64,
    /// How well it works.
    #[serde(default)]
    pub health: Health,
    /// Diagnostic code, for example `LNS-2001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The state in one word, for example `Receiving` or `Unreachable`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub reason: String,
    /// The particulars, unless it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Since when it has been so (RFC 3339).
    #[schemars(length(min = 1, max = 40), extend("format" = "date-time"))]
    pub since: String,
    /// Where the device is, for example `10.20.0.11:502`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub endpoint: Option<String>,
    /// How many of its points give good values.
    #[serde(default)]
    pub points: PointCounts,
}

/// What an agent says of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineReport {
    /// Name of the Pipeline.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Uid of the Pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
    /// Generation that runs; -1 when none does.
    #[serde(default = "unobserved")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub generation: i64,
    /// How well it works.
    #[serde(default)]
    pub health: Health,
    /// Diagnostic code, for example `LNS-3001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The state in one word, for example `Delivering`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub reason: String,
    /// The particulars, unless it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Since when it has been so (RFC 3339).
    #[schemars(length(min = 1, max = 40), extend("format" = "date-time"))]
    pub since: String,
    /// What the agent says of each sink.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sinks: Vec<SinkReport>,
}

/// What an agent says of one sink of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    /// Name of the sink in its pipeline.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Generation of the Sink that it was made from; absent when its destination stands in the
    /// pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub sink_generation: Option<i64>,
    /// How well it works.
    #[serde(default)]
    pub health: Health,
    /// Diagnostic code, for example `LNS-3003`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The state in one word, for example `Delivering` or `SinkAuth`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub reason: String,
}
