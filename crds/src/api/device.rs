//! DeviceConnection: one device, how to reach it, and which points to read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Condition, Health, PointCounts, UNOBSERVED};
use super::{Mode, node_selector};

/// Default of `intervalMillis`.
pub const INTERVAL_MILLIS_DEFAULT: i64 = 1000;
/// Default of `timeouts.connectMillis`.
pub const CONNECT_MILLIS_DEFAULT: i64 = 5000;
/// Default of `timeouts.requestMillis`.
pub const REQUEST_MILLIS_DEFAULT: i64 = 2000;
/// The port registered for Modbus (Modbus Messaging on TCP/IP V1.0b, section 4.1.3).
pub const MODBUS_PORT_DEFAULT: i64 = 502;
/// Default of the Modbus unit identifier, as in Apache PLC4X.
pub const UNIT_ID_DEFAULT: i64 = 1;
/// Most registers of one read (MODBUS Application Protocol V1.1b3, section 6.3).
pub const MAX_REGISTERS_DEFAULT: i64 = 125;
/// Most bits of one read (MODBUS Application Protocol V1.1b3, section 6.1).
pub const MAX_COILS_DEFAULT: i64 = 2000;
/// Default of `maxGap`: reading along costs less than a second request.
pub const MAX_GAP_DEFAULT: i64 = 125;

/// One device: how to reach it, and which points to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "lineside.dev",
        version = "v1alpha1",
        kind = "DeviceConnection",
        plural = "deviceconnections",
        shortname = "dconn",
        category = "lineside",
        namespaced,
        schema = "disabled",
        status = "DeviceConnectionStatus",
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
        printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
        printcolumn = r#"{"name":"Code","type":"string","jsonPath":".status.code"}"#,
        printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".status.endpoint"}"#,
        printcolumn = r#"{"name":"Node","type":"string","jsonPath":".status.agent.node"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason","priority":1}"#,
        printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.url) != has(self.protocol)",
     "message": "write exactly one of url and protocol (LNS-1030)"}
]))]
pub struct DeviceConnectionSpec {
    /// Where the device is, as an Apache PLC4X connection string, verbatim. Either this or
    /// `protocol`. Options: `default-unit-identifier`, `request-timeout` (milliseconds),
    /// `default-payload-byte-order`, `max-registers-per-request`, `max-coils-per-request`.
    /// Example: `modbus-tcp://10.20.0.11:502?default-unit-identifier=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub url: Option<String>,
    /// Where the device is, in typed form. Either this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolSpec>,
    /// Whether the device is read. Default `Running`.
    #[serde(default)]
    pub mode: Mode,
    /// Whether silence of the device is a fault. Default `Continuous`; write `Intermittent` for
    /// a device that may be switched off.
    #[serde(default)]
    pub availability: Availability,
    /// How often points are read that name no interval of their own, in milliseconds.
    /// Default 1000. Example: `500`.
    #[serde(default = "interval_default")]
    #[schemars(range(min = 10, max = 86_400_000))]
    pub interval_millis: i64,
    /// What to read: at most 1000 points, each with a name of its own.
    #[schemars(
        length(min = 1, max = 1000),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub points: Vec<PointSpec>,
    /// How long to wait for the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSpec>,
    /// What the device can bear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// Which AgentPool reads the device. Default: the pool `default`. Without a cluster it has
    /// no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_pool_ref: Option<AgentPoolRefSpec>,
    /// On which node of the pool the device is read. Default: the one with the fewest devices.
    /// Without a cluster it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementSpec>,
    /// Where the device stands, outermost level first (ISA-95: enterprise, site, area, line);
    /// usable as `{location}` in topics. No spaces, `/`, `+`, `#`, `$`, braces.
    /// Example: `[acme, munich, melting, line-2]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 63), regex(pattern = r"^[^ /+#$\{\}[:cntrl:]]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub location: Vec<String>,
}

/// The protocol of the device with its settings: `type` and the one member that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(self.type == 'ModbusTCP') == has(self.modbusTcp)",
     "message": "type ModbusTCP needs modbusTcp (LNS-1031)"}
]))]
pub struct ProtocolSpec {
    /// The protocol.
    #[serde(rename = "type")]
    pub kind: ProtocolType,
    /// Settings of Modbus TCP; exactly for `type: ModbusTCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modbus_tcp: Option<ModbusTcpSpec>,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProtocolType {
    /// Modbus over TCP.
    ModbusTCP,
}

/// A Modbus TCP connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ModbusTcpSpec {
    /// Host name or IP address of the device or gateway; IPv6 without brackets.
    /// Example: `10.20.0.11`.
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$"
        )
    )]
    pub host: String,
    /// TCP port. Default 502.
    #[serde(default = "port_default")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i64,
    /// Unit identifier of points that name none: 0 to 255. Default 1.
    #[serde(default = "unit_id_default")]
    #[schemars(range(min = 0, max = 255))]
    pub unit_id: i64,
    /// Order of the bytes in values of more than one register, for points that name none.
    /// Default `BigEndian`, the order of the standard.
    #[serde(default)]
    pub byte_order: ByteOrder,
    /// Most registers that the device gives in one answer: 1 to 125. Default 125.
    #[serde(default = "max_registers_default")]
    #[schemars(range(min = 1, max = 125))]
    pub max_registers_per_request: i64,
    /// Most coils or discrete inputs that the device gives in one answer: 1 to 2000.
    /// Default 2000.
    #[serde(default = "max_coils_default")]
    #[schemars(range(min = 1, max = 2000))]
    pub max_coils_per_request: i64,
    /// Longest run of registers (or bits) nobody asked for that is read along to save a
    /// request: 0 to 2000. Default 125. Write 0 for a device that refuses addresses between
    /// its points.
    #[serde(default = "max_gap_default")]
    #[schemars(range(min = 0, max = 2000))]
    pub max_gap: i64,
}

/// Order of the bytes of a value, A being the most significant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ByteOrder {
    /// ABCD, the order of the standard.
    #[default]
    BigEndian,
    /// DCBA.
    LittleEndian,
    /// BADC: the bytes of each register swapped.
    BigEndianByteSwap,
    /// CDAB: the registers in reverse order.
    LittleEndianByteSwap,
}

/// Whether silence of a device is a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Availability {
    /// The device is expected to answer always.
    #[default]
    Continuous,
    /// The device may be switched off; being off is not a fault.
    Intermittent,
}

/// One point (tag) of the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PointSpec {
    /// Name of the point, unique in the device: letters, digits, `_`, `.`, `/`, `-`; at most
    /// 128. Example: `temperature`.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$")
    )]
    pub name: String,
    /// Address in the syntax of Apache PLC4X, verbatim; Modbus addresses count from 1.
    /// Example: `holding-register:100:REAL`.
    #[schemars(length(min = 1, max = 128))]
    pub address: String,
    /// How often this point is read, in milliseconds. Default: the device's `intervalMillis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400_000))]
    pub interval_millis: Option<i64>,
    /// Points of one group are read with one request, so their values belong to one moment.
    /// Default: no group. Example: `axis-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"))]
    pub group: Option<String>,
    /// Unit of the value, as a UCUM code; shown to people, never used to convert.
    /// Default: none. Example: `Cel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[!-~]{1,32}$"))]
    pub unit: Option<String>,
}

/// How long to wait for the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TimeoutsSpec {
    /// Longest wait for a connection, in milliseconds. Default 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 600_000))]
    pub connect_millis: Option<i64>,
    /// Longest wait for one answer, in milliseconds. Default 2000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 600_000))]
    pub request_millis: Option<i64>,
}

/// What the device can bear.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Most requests per second. Default: as fast as the device answers. Example: `20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_requests_per_second: Option<i64>,
}

/// Names an AgentPool of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentPoolRefSpec {
    /// Name of the AgentPool. Example: `line-2`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// On which node of its pool a device is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.ownership) || self.ownership != 'Failover'",
     "message": "this release has ownership Pinned only (LNS-1102)"}
]))]
pub struct PlacementSpec {
    /// Labels that the node must all carry, beside those that the pool asks for. Default: none,
    /// so every node of the pool fits. Example: `{kubernetes.io/hostname: line-2-pc}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Who reads the device when its node fails. Default `Pinned`; this release refuses
    /// `Failover`.
    #[serde(default)]
    pub ownership: Ownership,
}

/// Who reads a device when its node fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// Nobody until the node is back: one node reads the device for as long as it lives, also
    /// while the API server is out of reach.
    #[default]
    Pinned,
    /// Another node takes over (not in this release).
    Failover,
}

/// What the operator says of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceConnectionStatus {
    /// Generation of the object that this was said about; -1 before the operator has seen it.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions: Accepted, Programmed, Connected, Ready; Reconciling and Stalled while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How well the device works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Diagnostic code of what is wrong, for example `LNS-2001`; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The agent that reads the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<DeviceAgent>,
    /// Where the device is, for example `10.20.0.11:502`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub endpoint: Option<String>,
    /// How many of its points give good values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<PointCounts>,
}

impl Default for DeviceConnectionStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            conditions: Vec::new(),
            health: None,
            code: None,
            agent: None,
            endpoint: None,
            points: None,
        }
    }
}

/// The agent that reads a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceAgent {
    /// Name of the Agent.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Name of its node.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Counts the owners of the device, from 1.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub epoch: i64,
}

fn interval_default() -> i64 {
    INTERVAL_MILLIS_DEFAULT
}

fn port_default() -> i64 {
    MODBUS_PORT_DEFAULT
}

fn unit_id_default() -> i64 {
    UNIT_ID_DEFAULT
}

fn max_registers_default() -> i64 {
    MAX_REGISTERS_DEFAULT
}

fn max_coils_default() -> i64 {
    MAX_COILS_DEFAULT
}

fn max_gap_default() -> i64 {
    MAX_GAP_DEFAULT
}
