//! What the engine runs, readable while it works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lineside_crds::diagnostics::Code;
use lineside_crds::model::{ObjectKey, Pipeline};
use lineside_store::{Ledger, Log};

use crate::device::Hub;
use crate::health::{Outlet, Sources, judge_leaving, judge_pipeline};
use crate::own::OwnCounts;
use crate::sink::Station;
use crate::snapshot::{DeviceSnapshot, PipelineSnapshot, PointsSnapshot, SinkSnapshot, Snapshot};
use crate::stream::{Stream, Trouble};
use crate::transform::Totals;

/// Why undelivered samples were given up; a closed set, used as metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Their sink was removed from the pipeline.
    SinkRemoved,
    /// Their pipeline was removed.
    PipelineRemoved,
    /// The agent ended before they were delivered.
    AgentEnded,
}

impl GivenUp {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::SinkRemoved, Self::PipelineRemoved, Self::AgentEnded];

    /// Metric label, CamelCase.
    pub fn label(self) -> &'static str {
        match self {
            Self::SinkRemoved => "SinkRemoved",
            Self::PipelineRemoved => "PipelineRemoved",
            Self::AgentEnded => "AgentEnded",
        }
    }
}

/// What exists now, readable while the engine works.
#[derive(Default)]
pub struct View {
    content: Mutex<ViewContent>,
    given_up: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Default)]
pub(super) struct ViewContent {
    pub(super) keys: Vec<ObjectKey>,
    pub(super) hubs: Vec<Arc<Hub>>,
    pub(super) pipelines: Vec<PipelineView>,
}

pub(super) struct PipelineView {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) leaving: bool,
    /// Devices that it takes points of, as positions among the hubs.
    pub(super) devices: Vec<usize>,
    pub(super) stream: Stream,
    pub(super) totals: Arc<Totals>,
    /// Why it is not on disk although it shall be.
    pub(super) displaced: Option<Trouble>,
    /// How it gets the agent's own metrics; `None` when it does not.
    pub(super) own: Option<Arc<OwnCounts>>,
    pub(super) stations: BTreeMap<Arc<str>, Arc<Station>>,
}

impl View {
    /// The state at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let devices: Vec<_> = content.hubs.iter().map(|h| h.snapshot()).collect();
        let pipelines = content.pipelines.iter().map(|p| p.snapshot(&devices)).collect();
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given_up = given_up.clone();
        for reason in GivenUp::ALL {
            given_up.entry(reason.label()).or_default();
        }
        Snapshot { devices, pipelines, given_up }
    }

    pub(super) fn show(&self, content: ViewContent) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = content;
    }

    /// Nothing is given up silently: it is counted and said.
    /// That goes for dead letters, too.
    pub(super) fn give_up(&self, pipeline: &ObjectKey, sink: &str, ledger: &Ledger, why: GivenUp) {
        let samples = ledger.buffered + ledger.dead_lettered;
        if samples == 0 {
            return;
        }
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        *given_up.entry(why.label()).or_default() += samples;
        let (dead_letters, why, code) = (ledger.dead_lettered, why.label(), Code::SinkRemoved);
        tracing::error!(
            %pipeline, sink, samples, dead_letters, why, code = %code, "Undelivered samples given up"
        );
    }
}

impl View {
    /// One device and its points, without looking at anything else.
    pub fn device(&self, key: &ObjectKey) -> Option<(DeviceSnapshot, PointsSnapshot)> {
        let hub = self.hub(key)?;
        Some((hub.snapshot(), hub.points()))
    }

    /// The points of one device.
    pub fn points(&self, key: &ObjectKey) -> Option<PointsSnapshot> {
        Some(self.hub(key)?.points())
    }

    /// The log of a pipeline; within, `None` when it is in memory.
    pub fn log(&self, key: &ObjectKey) -> Option<Option<Arc<Log>>> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let found = content.pipelines.iter().find(|p| p.pipeline.key == *key)?;
        Some(found.stream.log().cloned())
    }

    fn hub(&self, key: &ObjectKey) -> Option<Arc<Hub>> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        // In the order of their keys, as the engine holds them.
        let position = content.keys.binary_search(key).ok()?;
        content.hubs.get(position).cloned()
    }
}

impl PipelineView {
    fn snapshot(&self, devices: &[DeviceSnapshot]) -> PipelineSnapshot {
        let (store, numbers) = (self.stream.store(), self.stream.numbers());
        let forecast = self.stream.forecast(&store, &numbers);
        let sinks: Vec<SinkSnapshot> = numbers
            .into_iter()
            .zip(forecast.caught_up_in)
            .filter_map(|((name, numbers), caught_up_in)| {
                let station = self.stations.get(&name)?.snapshot();
                Some(SinkSnapshot { name, numbers, caught_up_in, station })
            })
            .collect();
        let mut sources = Sources { own: self.own.is_some(), ..Sources::default() };
        for device in self.devices.iter().filter_map(|i| devices.get(*i)) {
            sources.add(&device.verdict);
        }
        let outlets: Vec<_> = sinks
            .iter()
            .map(|s| Outlet { verdict: &s.station.verdict, dropping: s.dropping() })
            .collect();
        let mut transforms = self.totals.numbers();
        // What came while there were no transforms, which cost nothing then.
        let through = store.captured.saturating_sub(transforms.passed);
        transforms.received += through;
        transforms.passed += through;
        let trouble = self.displaced.as_ref().or(store.trouble.as_ref());
        PipelineSnapshot {
            transforms,
            verdict: match self.leaving {
                true => judge_leaving(&outlets),
                false => judge_pipeline(self.pipeline.mode, &sources, &outlets, trouble),
            },
            pipeline: self.pipeline.clone(),
            trouble: trouble.cloned(),
            full_in: forecast.full_in,
            own: self.own.as_ref().map(|own| own.numbers()),
            store,
            sinks,
        }
    }
}
