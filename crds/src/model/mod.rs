//! The validated model: what `validate()` makes of the user's YAML and what operator, agent,
//! drivers and sinks take. A value of these types satisfies every rule of the API; nobody reads
//! a raw spec after validation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::agent_pool::POOL_DEFAULT;
use crate::api::pipeline as api;
use crate::modbus;

mod agent;
mod shared;
mod transform;

pub use agent::{Agent, AgentPool, Assignment, StateVolume};
pub(crate) use shared::OpenSink;
pub use shared::{NamedSink, OpenPipeline, SharedSink, SinkVersion};
pub use transform::{NamePattern, Transform, TransformKind, WindowFunction};

/// Namespace and name of one object; displayed as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kubernetes namespace; `default` for files that name none.
    pub namespace: Arc<str>,
    /// Object name, RFC 1123.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether the object runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It runs (default).
    Running,
    /// It is kept but does nothing.
    Suspended,
}

/// Whether silence of a device is normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// The device is expected to answer always (default).
    Continuous,
    /// The device may be switched off; being off is not a fault.
    Intermittent,
}

/// One device to talk to: a validated DeviceConnection.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its identity.
    pub key: ObjectKey,
    /// Kubernetes uid, when the YAML came from a cluster.
    pub uid: Option<String>,
    /// Kubernetes generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
    /// Labels, for pipelines that select devices by label.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs.
    pub mode: Mode,
    /// Whether silence is normal.
    pub availability: Availability,
    /// How to reach it.
    pub protocol: Protocol,
    /// What to read; names are unique, order is the user's.
    pub points: Arc<[Point]>,
    /// Deadlines of one connection and one request.
    pub timeouts: Timeouts,
    /// Highest request rate towards the device; `None` = as fast as it answers.
    pub max_requests_per_second: Option<u32>,
    /// ISA-95 path, outermost level first; may be empty.
    pub location: Arc<[String]>,
    /// Where in a cluster it is read; nothing that the agent itself looks at.
    pub placement: Placement,
}

/// Where in a cluster a device is read. Its owner is the agent of one node until this is edited
/// or the node is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Name of the AgentPool, in the device's namespace.
    pub pool: Arc<str>,
    /// Labels that the node must all carry, beside those that the pool asks for.
    pub node_selector: BTreeMap<String, String>,
}

impl Default for Placement {
    /// What a device gets that asks for nothing: any node of the pool `default`.
    fn default() -> Self {
        Self { pool: POOL_DEFAULT.into(), node_selector: BTreeMap::new() }
    }
}

/// The protocol of a device with its settings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// Modbus over TCP (Modbus Messaging on TCP/IP Implementation Guide V1.0b).
    ModbusTcp(modbus::Settings),
}

impl Protocol {
    /// The value of `spec.protocol.type`, e.g. `ModbusTCP`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::ModbusTcp(_) => "ModbusTCP",
        }
    }

    /// Where the device is, for people, e.g. `10.20.0.11:502`. Never holds a secret.
    pub fn endpoint(&self) -> String {
        match self {
            Self::ModbusTcp(s) => s.endpoint(),
        }
    }
}

/// One point (tag) of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Name, `[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}`.
    pub name: Arc<str>,
    /// Where it is in the device.
    pub address: Address,
    /// Polling period.
    pub interval: Duration,
    /// Points of one group are read with one request (a coherent snapshot).
    pub group: Option<Arc<str>>,
    /// Unit of the value, a UCUM code; for people.
    pub unit: Option<Arc<str>>,
}

/// A parsed point address.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// A Modbus tag address.
    Modbus(modbus::Address),
}

/// Deadlines towards a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the answer of one request.
    pub request: Duration,
}

/// A validated Pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its identity.
    pub key: ObjectKey,
    /// Kubernetes uid, when the YAML came from a cluster.
    pub uid: Option<String>,
    /// Kubernetes generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
    /// Whether it runs.
    pub mode: Mode,
    /// Which samples enter.
    pub sources: Vec<Source>,
    /// What happens to them before they are kept, in order.
    pub transforms: Vec<Transform>,
    /// Where they go.
    pub sinks: Vec<Sink>,
    /// How they are kept until delivered.
    pub store: Store,
    /// When the pipeline is removed, what waits is given up at once
    /// ([`crate::api::DISCARD_BACKLOG`]).
    pub discard_backlog: bool,
}

/// One source of a pipeline: where samples come from, and which points of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Name, unique in the pipeline.
    pub name: String,
    /// Where samples come from.
    pub kind: SourceKind,
    /// Point name globs to take; empty = all.
    pub include: Vec<Glob>,
    /// Point name globs to leave out.
    pub exclude: Vec<Glob>,
}

/// Where the samples of a source come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// Devices of the namespace. With neither names nor labels it is all of them.
    Devices {
        /// Device names; with `labels` both may match.
        names: Vec<String>,
        /// Labels that a device must all carry; `None` = not selected by label.
        labels: Option<BTreeMap<String, String>>,
    },
    /// The agents themselves.
    AgentMetrics {
        /// How often each tells its metrics.
        interval: Duration,
    },
}

impl Source {
    /// Whether a device of this name and labels is selected.
    pub fn selects_device(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.kind {
            SourceKind::AgentMetrics { .. } => false,
            SourceKind::Devices { names, labels: None } if names.is_empty() => true,
            SourceKind::Devices { names, labels: wanted } => {
                let carries = |want: &BTreeMap<String, String>| {
                    want.iter().all(|(k, v)| labels.get(k) == Some(v))
                };
                names.iter().any(|n| n == name) || wanted.as_ref().is_some_and(carries)
            }
        }
    }

    /// How often the agents tell their own metrics; `None` = the source takes devices.
    pub fn agent_metrics(&self) -> Option<Duration> {
        match self.kind {
            SourceKind::AgentMetrics { interval } => Some(interval),
            SourceKind::Devices { .. } => None,
        }
    }

    /// Whether a point of this name passes include and exclude.
    pub fn selects_point(&self, point: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|g| g.matches(point)))
            && !self.exclude.iter().any(|g| g.matches(point))
    }
}

impl Pipeline {
    /// Whether one of its sources takes the agents' own metrics.
    pub fn takes_agent_metrics(&self) -> bool {
        self.sources.iter().any(|source| source.agent_metrics().is_some())
    }
}

/// A glob over names: `*` any run of characters, `?` one character; everything else is literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub String);

impl Glob {
    /// Whether the whole of `text` matches. Linear in `pattern x text`, never recursive.
    pub fn matches(&self, text: &str) -> bool {
        let (p, t): (Vec<char>, Vec<char>) = (self.0.chars().collect(), text.chars().collect());
        let (mut pi, mut ti) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while ti < t.len() {
            match p.get(pi) {
                Some('*') => {
                    star = Some((pi, ti));
                    pi += 1;
                }
                Some('?') => {
                    pi += 1;
                    ti += 1;
                }
                Some(c) if Some(c) == t.get(ti) => {
                    pi += 1;
                    ti += 1;
                }
                _ => match star {
                    Some((sp, st)) => {
                        pi = sp + 1;
                        ti = st + 1;
                        star = Some((sp, st + 1));
                    }
                    None => return false,
                },
            }
        }
        p.iter().skip(pi).all(|c| *c == '*')
    }
}

/// One sink of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Name, unique in the pipeline; the cursor is kept under it.
    pub name: Arc<str>,
    /// The destination.
    pub kind: SinkKind,
    /// In which order it gets what waited.
    pub drain: Drain,
    /// The Sink that the destination was taken from; `None` when it stands in the pipeline.
    pub shared: Option<SinkVersion>,
    /// The sink as the YAML has it, as JSON: kept with its backlog, which outlives the YAML.
    /// [`crate::validate::recall_sink`] reads it. Holds no secret, only names of Secrets.
    pub written: Arc<str>,
}

/// In which order a sink gets what waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Oldest first; the order of each point is kept.
    InOrder,
    /// What is new at once, what waited beside it at a limited rate.
    LiveFirst,
}

impl From<api::Drain> for Drain {
    fn from(drain: api::Drain) -> Self {
        match drain {
            api::Drain::InOrder => Self::InOrder,
            api::Drain::LiveFirst => Self::LiveFirst,
        }
    }
}

/// A destination with its settings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SinkKind {
    /// An MQTT broker.
    Mqtt(MqttSettings),
    /// A server of Apache IoTDB.
    Iotdb(IotdbSettings),
}

impl SinkKind {
    /// The union member's name, e.g. `mqtt`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Mqtt(_) => "mqtt",
            Self::Iotdb(_) => "iotdb",
        }
    }

    /// In which order such a destination gets what waited, if nobody says so: brokers tell of what
    /// happens, so the order counts; in IoTDB the time of a sample is its place.
    pub fn drain_default(&self) -> Drain {
        match self {
            Self::Mqtt(_) => Drain::InOrder,
            Self::Iotdb(_) => Drain::LiveFirst,
        }
    }

    /// Where it is, for people; never holds a secret.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Mqtt(m) => format!("{}:{}", m.host, m.port),
            Self::Iotdb(i) => {
                let nodes: Vec<_> = i.nodes.iter().map(ToString::to_string).collect();
                nodes.join(",")
            }
        }
    }

    /// User name and password that it needs.
    pub fn credentials(&self) -> Option<&CredentialsRef> {
        match self {
            Self::Mqtt(m) => m.credentials.as_ref(),
            Self::Iotdb(i) => i.credentials.as_ref(),
        }
    }

    /// Certificates that it needs; `Some` exactly for an encrypted connection.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Mqtt(m) => m.tls.as_ref(),
            Self::Iotdb(i) => i.tls.as_ref(),
        }
    }
}

/// A validated IoTDB sink.
#[derive(Clone, Debug, PartialEq)]
pub struct IotdbSettings {
    /// The servers, one or more nodes of one cluster, in the order in which they are tried.
    pub nodes: Vec<Node>,
    /// TLS settings; `Some` exactly for `iotdbs://`.
    pub tls: Option<Tls>,
    /// User name and password; `None` = those that a new server has.
    pub credentials: Option<CredentialsRef>,
    /// Where the samples go.
    pub model: IotdbModel,
    /// Whether every point has a column `<point>_q` for its quality.
    pub quality: bool,
    /// How long after its acknowledgement a record is kept, to be sent again when the connection
    /// is lost: a server may lose what it has not yet synced to disk.
    pub resend: Duration,
}

/// Host and port of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Node {
    /// `host:port`, with brackets around an IPv6 address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Where samples go in IoTDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IotdbModel {
    /// Aligned devices `{prefix}.{namespace}.{device}` of the tree model.
    Tree {
        /// First nodes of every path, e.g. `root.lineside`.
        prefix: String,
    },
    /// Tables with the tags `namespace` and `device`.
    Table {
        /// The database.
        database: String,
        /// Template of the tables' names.
        table: Vec<TablePart>,
    },
}

/// One part of a template for names of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablePart {
    /// Text as it is.
    Literal(String),
    /// `{namespace}`
    Namespace,
    /// `{device}`
    Device,
    /// `{pipeline}`
    Pipeline,
}

/// A validated MQTT sink.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttSettings {
    /// Broker host name or address.
    pub host: String,
    /// Broker port.
    pub port: u16,
    /// TLS settings; `Some` exactly for `mqtts://`.
    pub tls: Option<Tls>,
    /// Protocol version.
    pub version: MqttVersion,
    /// Topic template with `{namespace}`, `{device}`, `{point}`, `{pipeline}`, `{location}`.
    pub topic: TopicTemplate,
    /// Delivery.
    pub qos: Qos,
    /// Payload shape.
    pub encoding: Encoding,
    /// 64-bit integers as JSON strings instead of numbers.
    pub int64_as_string: bool,
    /// User name and password.
    pub credentials: Option<CredentialsRef>,
}

/// MQTT protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// OASIS MQTT 3.1.1.
    V311,
    /// OASIS MQTT 5.0.
    V5,
}

/// MQTT quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// At most once: no acknowledgement, so best effort.
    AtMostOnce,
    /// At least once: acknowledged by PUBACK.
    AtLeastOnce,
}

/// Payload shape (contracts, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON v1: one message per device and cycle with quality.
    Json,
    /// `{"timestamp":ms,"point":value}`, good values only.
    FlatJson,
    /// One topic per point, payload = the value.
    Value,
}

/// TLS towards a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM with the certificate authorities to trust; `None` = the system's.
    pub ca: Option<SecretKeyRef>,
    /// PEM of the client certificate and its key, for mutual TLS.
    pub client: Option<ClientCertificate>,
    /// Name to verify instead of the host of the URL.
    pub server_name: Option<String>,
}

/// Client certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM with the certificate chain.
    pub cert: SecretKeyRef,
    /// PEM with the private key.
    pub key: SecretKeyRef,
}

/// One key of one Secret; standalone the file `DIR/<secret>/<key>` below `--secrets DIR`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKeyRef {
    /// Secret name.
    pub secret: String,
    /// Key inside it.
    pub key: String,
}

impl fmt::Display for SecretKeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.secret, self.key)
    }
}

/// User name and password inside one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsRef {
    /// Where the user name is.
    pub username: SecretKeyRef,
    /// Where the password is; `None` = user name alone.
    pub password: Option<SecretKeyRef>,
}

/// A parsed topic template: literal text and placeholders in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(pub Vec<TopicPart>);

/// One part of a topic template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicPart {
    /// Text as it is.
    Literal(String),
    /// `{namespace}`
    Namespace,
    /// `{device}`
    Device,
    /// `{point}` (encoding `Value` only)
    Point,
    /// `{pipeline}`
    Pipeline,
    /// `{location}`: the ISA-95 path joined by `/`; an empty path leaves no empty level.
    Location,
}

/// How a pipeline keeps samples until every sink has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where they are kept.
    pub durability: Durability,
    /// Bound in bytes.
    pub max_bytes: u64,
    /// Oldest age that is still worth delivering; `None` = any.
    pub max_age: Option<Duration>,
    /// What gives way when the bound is reached.
    pub overflow: Overflow,
}

/// Where samples are kept until delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, synced before they count as captured.
    Durable,
    /// On disk, synced each second.
    Relaxed,
    /// In a bounded ring in memory; lost with the process.
    Memory,
}

/// What gives way when a store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest undelivered records (default).
    DropOldest,
    /// The newest: what does not fit is not taken.
    DropNewest,
    /// Every second of the oldest records of a device, those with a sample that is not Good last.
    Thin,
    /// Nothing: devices are not read until there is room.
    Backpressure,
}
