//! The state of the whole data path at one moment: what metrics, the local page and the command
//! line show. Made on request; nothing here is counted twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lineside_core::{StatusCode, UnixNanos, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, Pipeline};

use crate::device::DeviceCounters;
use crate::health::Verdict;
use crate::own::OwnNumbers;
use crate::sink::StationSnapshot;
use crate::stream::{LastDrop, SinkNumbers, StoreNumbers, Trouble};
use crate::transform::Numbers;

/// All devices and pipelines, by key.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Devices.
    pub devices: Vec<DeviceSnapshot>,
    /// Pipelines.
    pub pipelines: Vec<PipelineSnapshot>,
    /// Undelivered samples that were given up since the start, by reason.
    pub given_up: BTreeMap<&'static str, u64>,
}

/// One device.
#[derive(Clone, Debug)]
pub struct DeviceSnapshot {
    /// Its configuration.
    pub device: Arc<Device>,
    /// Where it is.
    pub endpoint: String,
    /// A session is connected.
    pub connected: bool,
    /// Health.
    pub verdict: Verdict,
    /// How long it has been so.
    pub since: Duration,
    /// Points whose last sample is Good or Uncertain.
    pub good: usize,
    /// Points whose last sample is Bad.
    pub bad: usize,
    /// Points without a sample yet.
    pub waiting: usize,
    /// Totals.
    pub counters: DeviceCounters,
}

/// The points of one device, in the order of its YAML.
#[derive(Clone, Debug)]
pub struct PointsSnapshot {
    /// Its configuration.
    pub device: Arc<Device>,
    /// One for each point of it.
    pub points: Vec<PointSnapshot>,
}

/// One point.
#[derive(Clone, Debug)]
pub struct PointSnapshot {
    /// Last value; Null while Bad or never seen.
    pub value: Value,
    /// Last quality; `None` before the first sample.
    pub status: Option<StatusCode>,
    /// Time of the last sample.
    pub time: UnixNanos,
}

/// One pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSnapshot {
    /// Its configuration.
    pub pipeline: Arc<Pipeline>,
    /// Health.
    pub verdict: Verdict,
    /// What came in and what its transforms did.
    pub transforms: Numbers,
    /// Its store.
    pub store: StoreNumbers,
    /// Why what is captured cannot be written to the disk now, if it cannot.
    pub trouble: Option<Trouble>,
    /// When the store is full at the present rate; `None` when that is not foreseen.
    pub full_in: Option<Duration>,
    /// How it gets the agent's own metrics; `None` when it does not take them.
    pub own: Option<OwnNumbers>,
    /// Sinks by name.
    pub sinks: Vec<SinkSnapshot>,
}

/// One sink of a pipeline.
#[derive(Clone, Debug)]
pub struct SinkSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its numbers.
    pub numbers: SinkNumbers,
    /// When nothing waits any more at the present rates; `None` when that is not foreseen.
    pub caught_up_in: Option<Duration>,
    /// Its connection.
    pub station: StationSnapshot,
}

/// How long a drop speaks for the present.
const DROP_FRESH: Duration = Duration::from_secs(60);

impl SinkSnapshot {
    /// Why samples are dropped although the sink is connected: it is too slow for what comes.
    /// What gave way while it was not connected is told by its own state.
    pub fn dropping(&self) -> Option<Code> {
        let LastDrop { code, at } = self.numbers.last_drop?;
        let since = self.station.connected_at.filter(|_| self.station.connected)?;
        (at >= since && at.elapsed() < DROP_FRESH).then_some(code)
    }
}
