//! Sink: a destination that pipelines share; and destinations as a pipeline may also have them
//! itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Condition, Health, UNOBSERVED};

/// Default of `topic` for encodings with one message per device.
pub const TOPIC_DEFAULT: &str = "lineside/{namespace}/{device}";
/// Default of `topic` for `encoding: Value`.
pub const VALUE_TOPIC_DEFAULT: &str = "lineside/{namespace}/{device}/{point}";

/// A destination that pipelines of its namespace share: they name it by `sinkRef`. Placeholders in
/// it stand for the pipeline that names it, as if it were written there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "lineside.dev",
        version = "v1alpha1",
        kind = "Sink",
        plural = "sinks",
        shortname = "lssink",
        category = "lineside",
        namespaced,
        schema = "disabled",
        status = "SinkStatus",
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
        printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
        printcolumn = r#"{"name":"Code","type":"string","jsonPath":".status.code"}"#,
        printcolumn = r#"{"name":"Pipelines","type":"integer","jsonPath":".status.pipelines.total"}"#,
        printcolumn = r#"{"name":"Delivering","type":"integer","jsonPath":".status.pipelines.delivering"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.mqtt) != has(self.iotdb)", "message": "a Sink needs exactly one destination (LNS-1032)"}
]))]
pub struct SinkSpec {
    /// An MQTT broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttSpec>,
    /// A server of Apache IoTDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iotdb: Option<IotdbSpec>,
}

/// What the operator says of a Sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SinkStatus {
    /// Generation of the object that this was said about; -1 before the operator has seen it.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions: Accepted, Ready; Reconciling and Stalled while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How well it works: as well as for the pipelines that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Diagnostic code of what is wrong, for example `LNS-3001`; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = "^LNS-[0-9]{4}$"))]
    pub code: Option<String>,
    /// The pipelines that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<SinkPipelines>,
}

impl Default for SinkStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            conditions: Vec::new(),
            health: None,
            code: None,
            pipelines: None,
        }
    }
}

/// The pipelines that name a Sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SinkPipelines {
    /// Pipelines that name it.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub total: i64,
    /// Pipelines that deliver through it, on every agent that runs them.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub delivering: i64,
}

/// An MQTT broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.url.matches('^mqtts?://([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?$')",
     "message": "url must be mqtt://HOST:PORT or mqtts://HOST:PORT (LNS-1047)"},
    {"rule": "!has(self.topic) || (!self.topic.contains('+') && !self.topic.contains('#'))",
     "message": "topic must not contain wildcards (LNS-1071)"},
    {"rule": "!has(self.topic) || !has(self.encoding) || self.encoding != 'Value' || self.topic.contains('{point}')",
     "message": "encoding Value needs {point} in topic (LNS-1072)"},
    {"rule": "!has(self.topic) || !self.topic.contains('{point}') || (has(self.encoding) && self.encoding == 'Value')",
     "message": "{point} in topic needs encoding Value (LNS-1073)"},
    {"rule": "!has(self.tls) || self.url.startsWith('mqtts://')",
     "message": "tls needs an mqtts:// url (LNS-1074)"},
    {"rule": "!has(self.int64) || !has(self.encoding) || self.encoding != 'Value'",
     "message": "int64 has no meaning with encoding Value (LNS-1079)"}
]))]
pub struct MqttSpec {
    /// Address of the broker: `mqtt://HOST:PORT` or, encrypted, `mqtts://HOST:PORT`. Default
    /// ports 1883 and 8883. Example: `mqtts://10.0.0.2:8883`.
    #[schemars(length(min = 1, max = 300))]
    pub url: String,
    /// Version of the protocol. Default `V5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<MqttVersion>,
    /// Topic, with the placeholders `{namespace}`, `{device}`, `{pipeline}`, `{location}` and,
    /// for `encoding: Value` only, `{point}`. Default `lineside/{namespace}/{device}`, for
    /// `Value` `lineside/{namespace}/{device}/{point}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub topic: Option<String>,
    /// Quality of service: 1 is delivered at least once, 0 is best effort. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub qos: Option<i64>,
    /// What a message looks like. Default `JSON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// How 64-bit integers are written in JSON. Default `Number`; write `String` for consumers
    /// that lose digits above 2^53.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int64: Option<Int64>,
    /// Where user name and password are. Default: none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<CredentialsRefSpec>,
    /// Certificates; only with `mqtts://`. Default: the certificate authorities of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// A server of Apache IoTDB, 1.3 or later, through its client protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.url.matches('^iotdbs?://([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?(,([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?){0,15}$')",
     "message": "url must be iotdb://HOST:PORT or iotdbs://HOST:PORT, with up to 15 more ,HOST:PORT (LNS-1047)"},
    {"rule": "!has(self.prefix) || !has(self.model) || self.model != 'Table'",
     "message": "prefix is for model Tree; model Table has database and table (LNS-1083)"},
    {"rule": "(!has(self.database) && !has(self.table)) || (has(self.model) && self.model == 'Table')",
     "message": "database and table need model Table (LNS-1083)"},
    {"rule": "!has(self.tls) || self.url.startsWith('iotdbs://')",
     "message": "tls needs an iotdbs:// url (LNS-1074)"}
]))]
pub struct IotdbSpec {
    /// Address of the server: `iotdb://HOST:PORT` or, encrypted, `iotdbs://HOST:PORT`. Default port
    /// 6667. Further nodes of the same cluster follow after commas; one of them is used at a time.
    /// Example: `iotdb://10.0.0.3:6667,10.0.0.4:6667`.
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
    /// Which of the two models of IoTDB the samples are written to. Default `Tree`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<IotdbModel>,
    /// First nodes of every path in the tree model: a device is `PREFIX.NAMESPACE.DEVICE`. Default
    /// `root.lineside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 6, max = 256),
        regex(pattern = r"^root(\.[A-Za-z_][A-Za-z0-9_]*){1,8}$")
    )]
    pub prefix: Option<String>,
    /// Database of the table model; it is made if it is not there and the user may. Default
    /// `lineside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub database: Option<String>,
    /// Name of the table for a device in the table model, with the placeholders `{device}`,
    /// `{namespace}` and `{pipeline}`. Rows have the tags `namespace` and `device`. Default
    /// `{device}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^([A-Za-z0-9_-]|\{(device|namespace|pipeline)\})+$")
    )]
    pub table: Option<String>,
    /// Whether every point has a second column `POINT_q` for its quality (INT32, the bits of the
    /// OPC UA status code; 0 is good). Default `Column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<IotdbQuality>,
    /// Milliseconds for which an acknowledged record is kept, to be sent again when the connection
    /// is lost in that time. With its default `wal_mode=ASYNC` IoTDB keeps what it acknowledged in
    /// memory until it flushes, at the latest after ten and a half minutes, and loses it when it is
    /// killed. Writing again changes nothing. Default 660000; 0 trusts the acknowledgement, which
    /// is right for a server with `wal_mode=SYNC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub resend_millis: Option<i64>,
    /// Where user name and password are. Default: those of a new server, root and root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<CredentialsRefSpec>,
    /// Certificates; only with `iotdbs://`. Default: the certificate authorities of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// Model of IoTDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IotdbModel {
    /// Paths: every device is an aligned device.
    Tree,
    /// Tables; IoTDB 2.0 or later.
    Table,
}

/// Whether quality is written to IoTDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IotdbQuality {
    /// In a column of its own for each point.
    Column,
    /// Not at all: bad samples are not written.
    None,
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MqttVersion {
    /// MQTT 5.0.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// One JSON message per device and cycle, with quality.
    JSON,
    /// `{"timestamp":<ms>,"temperature":21.5}`: good values only.
    FlatJSON,
    /// One topic per point; the payload is the value.
    Value,
}

/// How 64-bit integers are written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Int64 {
    /// As numbers.
    Number,
    /// As strings of digits.
    String,
}

/// User name and password, both in one Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.usernameKey) ? self.usernameKey : 'username') != (has(self.passwordKey) ? self.passwordKey : 'password')",
     "message": "usernameKey and passwordKey must differ (LNS-1078)"}
]))]
pub struct CredentialsRefSpec {
    /// Name of the Secret. Example: `broker-login`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub secret: String,
    /// Key of the user name. Default `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    pub username_key: Option<String>,
    /// Key of the password. Default `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    pub password_key: Option<String>,
}

/// Certificates of an encrypted connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.certRef) == has(self.keyRef)",
     "message": "write both certRef and keyRef, or none (LNS-1075)"}
]))]
pub struct TlsSpec {
    /// PEM file with the certificate authorities to trust. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyRefSpec>,
    /// PEM file with the client certificate, for brokers that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_ref: Option<SecretKeyRefSpec>,
    /// PEM file with the private key of the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<SecretKeyRefSpec>,
    /// Name that the broker's certificate must carry. Default: the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$")
    )]
    pub server_name: Option<String>,
}

/// One key of one Secret. Standalone it is the file `DIR/<secret>/<key>` below `--secrets DIR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretKeyRefSpec {
    /// Name of the Secret. Example: `broker-tls`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub secret: String,
    /// Key inside the Secret. Example: `ca.crt`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    pub key: String,
}
