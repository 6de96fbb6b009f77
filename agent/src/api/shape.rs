//! The objects of the local API v1 (`docs/reference/api.md`). The server writes them and the
//! command line reads them; members may be added, never changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Answer of `/api/v1/state`.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The agent itself.
    pub agent: Agent,
    /// Devices by key.
    pub devices: Vec<Device>,
    /// Pipelines by key.
    pub pipelines: Vec<Pipeline>,
    /// Recent changes, newest last, at most 256.
    pub journal: Vec<Entry>,
}

/// The agent itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Seconds since its start.
    pub uptime_seconds: f64,
    /// Its configuration.
    pub config: Config,
}

/// The configuration directory as it was last read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The directory.
    pub dir: String,
    /// Configurations applied since the start.
    pub applied: u64,
    /// Errors in it now.
    pub errors: u64,
    /// Objects in it that are not applied; their former version runs on.
    pub rejected: u64,
    /// What is wrong with it now: errors first, at most 100.
    pub problems: Vec<Problem>,
    /// Further problems, which `lineside validate` shows.
    pub problems_left_out: usize,
}

/// One problem of the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `Error` or `Warning`.
    pub level: String,
    /// Diagnostics code.
    pub code: String,
    /// CamelCase reason.
    pub reason: String,
    /// File.
    pub file: String,
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// Field, e.g. `spec.points[3].address`.
    pub field: String,
    /// The particulars.
    pub message: String,
    /// What to do.
    pub next: String,
    /// The object, as far as known.
    pub object: Option<String>,
}

/// One device.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.protocol.type`.
    pub protocol: String,
    /// Where it is; holds no secret.
    pub endpoint: String,
    /// What `lineside read` takes to reach it; holds no secret.
    pub url: String,
    /// `Running` or `Suspended`.
    pub mode: String,
    /// A session is connected.
    pub connected: bool,
    /// Health and why.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Seconds since the health last changed.
    pub since_seconds: f64,
    /// Its points by quality.
    pub points: Counts,
    /// Shortest period of its points; absent when it has none.
    pub interval_millis: Option<u64>,
    /// Samples since the start, good and bad.
    pub samples: u64,
}

/// Health and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// `Healthy`, `Degraded`, `Unavailable` or `Unknown`.
    pub health: String,
    /// CamelCase reason.
    pub reason: String,
    /// Diagnostics code, when something is wrong.
    pub code: Option<String>,
    /// The particulars, when something is wrong.
    pub message: Option<String>,
    /// What to do, when something is wrong.
    pub next: Option<String>,
}

/// Points by the quality of their last sample.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Good or Uncertain.
    pub good: usize,
    /// Bad.
    pub bad: usize,
    /// No sample yet.
    pub waiting: usize,
}

/// One pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pipeline {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Running` or `Suspended`.
    pub mode: String,
    /// Samples taken in since the start.
    pub captured: u64,
    /// Its store.
    pub store: Store,
    /// Health and why: that of its sinks taken together, or that it selects no device.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Its sinks by name.
    pub sinks: Vec<Sink>,
}

/// The store of a pipeline.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// The first two parts of the identity of its records.
    pub id: String,
    /// `Durable`, `Relaxed` or `Memory`: what the pipeline asks for.
    pub durability: String,
    /// `Full`, or `Degraded` while what is captured cannot be written to the disk.
    pub state: String,
    /// Diagnostics code, when it is degraded.
    pub code: Option<String>,
    /// What the disk says, when it is degraded.
    pub message: Option<String>,
    /// Bytes in it.
    pub bytes: u64,
    /// Its bound.
    pub limit_bytes: u64,
    /// Seconds until the bound is reached at the present rate; null when it is not foreseen.
    pub full_in_seconds: Option<f64>,
    /// Times of which nothing was captured because the agent did not run, newest last, at most 64.
    pub gaps: Vec<Gap>,
}

/// A time of which nothing was captured.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its beginning.
    pub from: String,
    /// Its end.
    pub to: String,
    /// Its beginning in nanoseconds since 1970.
    pub from_nanos: i64,
    /// Its end in nanoseconds since 1970.
    pub to_nanos: i64,
}

/// One sink of a pipeline. Samples: what the pipeline took in since the sink exists is
/// delivered, unconfirmed, buffered, dead-lettered or dropped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// Name.
    pub name: String,
    /// Member of the sink union, e.g. `mqtt`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is; holds no secret.
    pub endpoint: String,
    /// A session is connected.
    pub connected: bool,
    /// Health and why.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Samples taken in since the sink exists.
    pub captured: u64,
    /// Samples that the remote accepted and cannot lose any more.
    pub delivered: u64,
    /// Samples that the remote accepted and may still lose; they are kept until it cannot.
    pub unconfirmed: u64,
    /// Samples that wait.
    pub buffered: u64,
    /// Samples that the remote refused and that are kept for `lineside dlq`.
    pub dead_lettered: u64,
    /// Samples given up, by reason; only reasons that happened.
    pub dropped: BTreeMap<String, u64>,
    /// Age of the oldest sample that waits, in seconds.
    pub lag_seconds: f64,
    /// Seconds until nothing waits any more at the present rates; null when that is not foreseen.
    pub caught_up_in_seconds: Option<f64>,
}

impl Sink {
    /// Samples that the remote accepted, whether or not it may still lose them. Falls when a
    /// connection is lost to a remote that may.
    pub fn accepted(&self) -> u64 {
        self.delivered + self.unconfirmed
    }
}

/// One entry of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Position since the start.
    pub number: u64,
    /// When.
    pub time: String,
    /// `device ns/name`, `sink ns/pipeline/sink`, `config file:line:column`.
    pub subject: String,
    /// Health from then on and why.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Answer of `/api/v1/devices/{namespace}/{name}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct DevicePoints {
    /// The device.
    pub device: Device,
    /// Its points in the order of the YAML.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Name.
    pub name: String,
    /// Address as the YAML has it.
    pub address: String,
    /// Address as it goes over the wire.
    pub wire: String,
    /// Unit of the value.
    pub unit: Option<String>,
    /// Last value as JSON v1 has it; null while Bad or never seen.
    pub value: Option<Box<RawValue>>,
    /// `Good`, `Uncertain` or `Bad`; null before the first sample.
    pub quality: Option<String>,
    /// OPC UA StatusCode.
    pub status: Option<u32>,
    /// Its name, e.g. `BadTimeout`.
    pub status_name: Option<String>,
    /// Time of the last sample.
    pub time: Option<String>,
    /// Age of the last sample.
    pub age_millis: Option<u64>,
    /// Polling period.
    pub interval_millis: u64,
}

/// Answer of `/api/v1/deadletters/{namespace}/{pipeline}/{sink}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letters {
    /// At most 100, oldest first.
    pub letters: Vec<Letter>,
    /// There are more: ask with `after` and the identity of the last one.
    pub more: bool,
}

/// What a remote refused: a record, or one message of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Its identity, as consumers would have seen it.
    pub id: String,
    /// `namespace/name`.
    pub device: String,
    /// Samples in it.
    pub samples: u64,
    /// Diagnostics code.
    pub code: String,
    /// CamelCase reason.
    pub reason: String,
    /// What the remote said.
    pub message: String,
    /// What to do.
    pub next: Option<String>,
    /// When it was refused.
    pub failed_at: String,
    /// Its samples, when they were asked for.
    pub points: Option<Vec<LetterPoint>>,
}

/// One sample of a letter.
#[derive(Debug, Serialize, Deserialize)]
pub struct LetterPoint {
    /// The point.
    pub name: String,
    /// Its value as JSON v1 has it; null while Bad.
    pub value: Option<Box<RawValue>>,
    /// `Good`, `Uncertain` or `Bad`.
    pub quality: String,
    /// OPC UA StatusCode.
    pub status: u32,
    /// Its time.
    pub time: String,
}

/// Answer to a change of dead letters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changed {
    /// Letters that are sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters: Option<u64>,
    /// Samples that are given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Letters for which there was no room; ask again for them.
    #[serde(default)]
    pub left: u64,
}

/// One line of `/api/v1/tap`; which members there are depends on `stage`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tapped {
    /// `raw`, `decoded`, `delivered` or `lost`.
    pub stage: String,
    /// `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// `raw`: arrival of the bytes; else time of the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The bytes that carried the value, as received, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Not for `raw` and `lost`: the value as JSON v1 has it, null while Bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// Not for `raw` and `lost`: `Good`, `Uncertain` or `Bad`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// Not for `raw` and `lost`: the OPC UA StatusCode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// The pipeline that delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The sink that delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The record's identity, as consumers see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Events that the looker was too slow for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

/// Body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub error: RefusalText,
}

/// Texts of a [`Refusal`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RefusalText {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub next: String,
}
