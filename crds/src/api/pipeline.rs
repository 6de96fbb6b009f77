//! Pipeline: which samples go to which sinks, and how they are kept until delivered.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Mode;
use super::sink::{IotdbSpec, MqttSpec};
use super::status::{Condition, Health, UNOBSERVED};
use super::transform::TransformSpec;

/// Default of `store.maxSize` for `Memory`: 16Mi.
pub const MEMORY_BYTES_DEFAULT: u64 = 16 << 20;
/// Default of `agentMetrics.intervalMillis`.
pub const AGENT_METRICS_MILLIS_DEFAULT: u64 = 10_000;
/// `store.maxSize` with `durability: Durable` and `Relaxed`.
pub const DISK_BYTES_DEFAULT: u64 = 1 << 30;

/// Which samples go to which sinks, and how they are kept until delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "lineside.dev",
        version = "v1alpha1",
        kind = "Pipeline",
        plural = "pipelines",
        shortname = "lspipe",
        category = "lineside",
        namespaced,
        schema = "disabled",
        status = "PipelineStatus",
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
        printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
        printcolumn = r#"{"name":"Code","type":"string","jsonPath":".status.code"}"#,
        printcolumn = r#"{"name":"Agents","type":"integer","jsonPath":".status.agents.total"}"#,
        printcolumn = r#"{"name":"Ready-Agents","type":"integer","jsonPath":".status.agents.ready"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason","priority":1}"#,
        printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PipelineSpec {
    /// Whether samples flow. Default `Running`.
    #[serde(default)]
    pub mode: Mode,
    /// Where samples come from: 1 to 16 sources, each with a name of its own.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sources: Vec<SourceSpec>,
    /// What happens to samples before they are kept: at most 32 steps, in this order, each with a
    /// name of its own. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub transforms: Vec<TransformSpec>,
    /// Where samples go: 1 to 16 sinks, each with a name of its own. Each sink gets every
    /// sample, at its own speed.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sinks: Vec<PipelineSinkSpec>,
    /// How samples are kept until every sink has them. Default: on disk, each synced before it
    /// counts as captured, up to 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSpec>,
}

/// One source: devices of the pipeline's namespace, or the agents themselves, and which of their
/// points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.devices) != has(self.agentMetrics)",
     "message": "a source needs exactly one of devices and agentMetrics (LNS-1039)"}
]))]
pub struct SourceSpec {
    /// Name of the source, unique in the pipeline. Example: `furnaces`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Which devices; `{}` selects every device of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DevicesSpec>,
    /// What the agents of the namespace say of themselves: each tells its own state, that of its
    /// devices and that of its pipelines as samples of a device that is called as the agent is.
    /// `{}` takes the default interval. Example: `{intervalMillis: 30000}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_metrics: Option<AgentMetricsSpec>,
    /// Points to take, by name; `*` stands for any run of characters, `?` for one.
    /// Default: all. Example: `["temp*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_./*?-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub include: Vec<String>,
    /// Points to leave out, by name, written like `include`. It wins over `include`.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_./*?-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub exclude: Vec<String>,
}

/// Which devices: those that are named and those that carry the labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DevicesSpec {
    /// Names of DeviceConnections. Example: `[furnace-1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        inner(
            length(min = 1, max = 253),
            regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Labels of DeviceConnections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SelectorSpec>,
}

/// The agents' own metrics as samples. The page Metrics lists the points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentMetricsSpec {
    /// How often an agent tells them, in milliseconds: 1000 to 86400000. Default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 86_400_000))]
    pub interval_millis: Option<i64>,
}

/// Selects objects by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SelectorSpec {
    /// Labels that an object must all carry. Example: `{line: melting}`.
    #[schemars(schema_with = "match_labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// One sink: a name and exactly one destination, named or written here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.sinkRef) ? 1 : 0) + (has(self.mqtt) ? 1 : 0) + (has(self.iotdb) ? 1 : 0) == 1",
     "message": "a sink needs exactly one destination (LNS-1032)"}
]))]
pub struct PipelineSinkSpec {
    /// Name of the sink, unique in the pipeline; what is delivered is remembered under it, so a
    /// renamed sink is a new sink. Example: `broker`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// A Sink of the pipeline's namespace, which other pipelines may name, too. An edit of it is an
    /// edit of this destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_ref: Option<SinkRefSpec>,
    /// An MQTT broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttSpec>,
    /// A server of Apache IoTDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iotdb: Option<IotdbSpec>,
    /// In which order the sink gets what waited while it could not deliver. Default `InOrder` for
    /// brokers, `LiveFirst` for IoTDB, where the time of a sample is its place. In memory
    /// (`durability: Memory`) it is always `InOrder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

impl PipelineSinkSpec {
    /// As it is kept with a backlog, which outlives the YAML.
    pub(crate) fn to_json(&self) -> Arc<str> {
        // String keys and no failing serializer.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// Names a Sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SinkRefSpec {
    /// Name of the Sink, in the pipeline's namespace. Example: `iotdb`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// In which order a sink gets what waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drain {
    /// Oldest first: the order of each point is kept.
    InOrder,
    /// What is new at once; what waited beside it, at a limited rate.
    LiveFirst,
}

/// How samples are kept until every sink has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.maxSize) || !isQuantity(self.maxSize) || (quantity(self.maxSize).compareTo(quantity('1Mi')) >= 0 && quantity(self.maxSize).compareTo(quantity('1Ti')) <= 0)",
     "message": "maxSize must lie between 1Mi and 1Ti (LNS-1077)"}
]))]
pub struct StoreSpec {
    /// Where samples are kept. Default `Durable`.
    #[serde(default)]
    pub durability: Durability,
    /// Most bytes that are kept, 1Mi to 1Ti. Default `1Gi` on disk, `16Mi` in memory. All
    /// pipelines of an agent share 90 % of its volume, whatever is written here. Example: `4Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[0-9]{1,15}(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub max_size: Option<String>,
    /// Age in seconds above which a sample is no longer worth delivering. Default: any age is.
    /// Example: `86400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315_360_000))]
    pub max_age_seconds: Option<i64>,
    /// What gives way when the store is full. Default `DropOldest`.
    #[serde(default)]
    pub overflow: Overflow,
}

/// Where samples are kept until delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// On disk, synced before a sample counts as captured: at most the samples of the last
    /// 100 ms are lost with the power.
    #[default]
    Durable,
    /// On disk, synced each second: at most the samples of the last second are lost with the
    /// power, none when only the agent ends. Spares flash that wears out.
    Relaxed,
    /// In memory; lost when the agent stops.
    Memory,
}

/// What gives way when the store is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// The oldest samples that are not yet delivered.
    #[default]
    DropOldest,
    /// The newest: what does not fit is not taken.
    DropNewest,
    /// Every second of the oldest messages of a device, again and again: the past stays, with
    /// fewer samples. Messages with a sample that is not Good are kept longest.
    Thin,
    /// Nothing: the devices wait and are not read until there is room. Also what other pipelines
    /// get of these devices waits.
    Backpressure,
}

/// What the operator says of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineStatus {
    /// Generation of the object that this was said about; -1 before the operator has seen it.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions: Accepted, Programmed, Ready; Reconciling and Stalled while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How well the pipeline works: as well as on its worst agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Diagnostic code of what is wrong, for example `LNS-3001`; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The agents that run the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<PipelineAgents>,
}

impl Default for PipelineStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            conditions: Vec::new(),
            health: None,
            code: None,
            agents: None,
        }
    }
}

/// The agents that run a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineAgents {
    /// Agents that run the pipeline.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub total: i64,
    /// Agents on which it delivers.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ready: i64,
    /// Names of agents on which it does not, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 10),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub not_ready: Vec<String>,
}

/// Label keys and values as Kubernetes bounds them.
fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63}
    })
}
