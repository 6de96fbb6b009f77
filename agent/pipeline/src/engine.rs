//! The engine: brings what runs to what the configuration asks for, touching only what differs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use lineside_core::clock::Clock;
use lineside_core::driver::{Driver, Update};
use lineside_core::fault::Fault;
use lineside_core::secret::Secrets;
use lineside_core::sink::{Sink, SinkIdentity};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{self, Device, Mode, ObjectKey, Pipeline, SinkKind};
use lineside_store::Ledger;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Windows;
use crate::device::{self, Hub, Owned};
use crate::health::{Outlet, Sources, judge_leaving, judge_pipeline};
use crate::ring::Ring;
use crate::route::{Route, Selection, select};
use crate::sink::{self, Station, Surroundings};
use crate::snapshot::{DeviceSnapshot, PipelineSnapshot, PointsSnapshot, SinkSnapshot, Snapshot};
use crate::stream::Stream;

/// Makes the sink of a destination; the agent's registry.
pub type MakeSink = fn(&SinkKind) -> Result<Arc<dyn Sink>, Fault>;

/// What the engine is built from.
pub struct Parts {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Secrets that settings name.
    pub secrets: Secrets,
    /// The drivers of this build.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// The sinks of this build.
    pub make_sink: MakeSink,
    /// Unique id of the agent.
    pub agent_uid: Arc<str>,
    /// Name of the agent.
    pub agent: Arc<str>,
}

/// What shall run.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Devices.
    pub devices: Vec<Arc<Device>>,
    /// Pipelines.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Ownership generations by device, stamped into every batch; zero for a device that is not
    /// listed, which nobody else can own.
    pub epochs: BTreeMap<ObjectKey, u64>,
}

impl Desired {
    fn epoch(&self, device: &ObjectKey) -> u64 {
        self.epochs.get(device).copied().unwrap_or_default()
    }
}

/// See the module.
pub struct Engine {
    parts: Parts,
    devices: BTreeMap<ObjectKey, RunningDevice>,
    pipelines: BTreeMap<ObjectKey, RunningPipeline>,
    /// Pipelines that were removed and still deliver what they hold, until then at the latest.
    leaving: BTreeMap<ObjectKey, (RunningPipeline, Instant)>,
    linger: Duration,
    view: Arc<View>,
    windows: Arc<Windows>,
}

struct RunningDevice {
    device: Arc<Device>,
    epoch: u64,
    hub: Arc<Hub>,
    updates: watch::Sender<Update>,
    run: Option<Run>,
}

struct RunningPipeline {
    pipeline: Arc<Pipeline>,
    stream: Stream,
    sinks: BTreeMap<Arc<str>, RunningSink>,
}

struct RunningSink {
    spec: model::Sink,
    station: Arc<Station>,
    run: Option<Run>,
}

/// A supervisor's task and the way to end it.
struct Run {
    cancel: CancellationToken,
    task: Owned<()>,
}

impl Run {
    fn start<F: Future<Output = ()> + Send + 'static>(
        make: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let cancel = CancellationToken::new();
        let task = Owned(tokio::spawn(make(cancel.clone())));
        Self { cancel, task }
    }

    async fn stop(mut self) {
        self.cancel.cancel();
        // The supervisor bounds its own end; a panic in it has nothing left to say.
        let _ = (&mut self.task.0).await;
    }
}

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
struct ViewContent {
    keys: Vec<ObjectKey>,
    hubs: Vec<Arc<Hub>>,
    pipelines: Vec<PipelineView>,
}

struct PipelineView {
    pipeline: Arc<Pipeline>,
    leaving: bool,
    /// Devices that it takes points of, as positions among the hubs.
    devices: Vec<usize>,
    stream: Stream,
    stations: BTreeMap<Arc<str>, Arc<Station>>,
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

    /// Nothing is given up silently: it is counted and said.
    fn give_up(&self, pipeline: &ObjectKey, sink: &str, ledger: &Ledger, why: GivenUp) {
        if ledger.buffered == 0 {
            return;
        }
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        *given_up.entry(why.label()).or_default() += ledger.buffered;
        let (samples, why, code) = (ledger.buffered, why.label(), Code::SinkRemoved);
        tracing::error!(
            %pipeline, sink, samples, why, code = %code, "Undelivered samples given up"
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

    fn hub(&self, key: &ObjectKey) -> Option<Arc<Hub>> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        // In the order of their keys, as the engine holds them.
        let position = content.keys.binary_search(key).ok()?;
        content.hubs.get(position).cloned()
    }
}

impl PipelineView {
    fn snapshot(&self, devices: &[DeviceSnapshot]) -> PipelineSnapshot {
        let (store_bytes, store_limit) = self.stream.usage();
        let numbers = self.stream.numbers();
        let sinks: Vec<SinkSnapshot> = numbers
            .into_iter()
            .filter_map(|(name, numbers)| {
                let station = self.stations.get(&name)?.snapshot();
                Some(SinkSnapshot { name, numbers, station })
            })
            .collect();
        let mut sources = Sources::default();
        for device in self.devices.iter().filter_map(|i| devices.get(*i)) {
            sources.add(&device.verdict);
        }
        let outlets: Vec<_> = sinks
            .iter()
            .map(|s| Outlet { verdict: &s.station.verdict, dropping: s.dropping() })
            .collect();
        PipelineSnapshot {
            verdict: match self.leaving {
                true => judge_leaving(&outlets),
                false => judge_pipeline(self.pipeline.mode, &sources, &outlets),
            },
            pipeline: self.pipeline.clone(),
            captured: self.stream.captured(),
            store_bytes,
            store_limit,
            sinks,
        }
    }
}

impl Engine {
    /// An engine that runs nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            devices: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            leaving: BTreeMap::new(),
            linger: Duration::ZERO,
            view: Arc::default(),
            windows: Arc::default(),
        }
    }

    /// The same engine, in which a removed pipeline goes on to deliver what it holds for this
    /// long; [`Engine::tidy`] ends it. Without, what it holds is given up at once.
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// A handle to look at what runs.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Where the data path shows what happens in it.
    pub fn windows(&self) -> Arc<Windows> {
        self.windows.clone()
    }

    /// Brings what runs to what is desired. What does not differ is not touched: its
    /// connections, its samples and its numbers go on.
    pub async fn apply(&mut self, desired: Desired) {
        let devices: BTreeMap<_, _> = desired
            .devices
            .iter()
            .map(|d| (d.key.clone(), (d.clone(), desired.epoch(&d.key))))
            .collect();
        let pipelines: BTreeMap<_, _> =
            desired.pipelines.into_iter().map(|p| (p.key.clone(), p)).collect();
        self.stop_devices(&devices).await;
        self.apply_pipelines(&pipelines).await;
        // Routes before sessions: the first sample of a new device finds its pipelines.
        let to_start = self.place_devices(devices);
        let routes: Vec<Route> = self
            .pipelines
            .values()
            .map(|p| Route { pipeline: p.pipeline.clone(), stream: p.stream.clone() })
            .collect();
        for running in self.devices.values() {
            running.hub.set_routes(&routes);
        }
        for key in to_start {
            self.start_device(&key);
        }
        self.publish_view();
    }

    /// Ends everything: first the sessions, so that nothing new comes in, then the sinks, once
    /// they have delivered what is buffered or `drain` is over. Returns the samples given up.
    pub async fn shutdown(mut self, drain: Duration) -> u64 {
        let runs = self.devices.values_mut().filter_map(|d| d.run.take());
        join_all(runs.map(Run::stop)).await;
        let until = Instant::now() + drain;
        while self.buffered() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut given_up = 0;
        let leaving = std::mem::take(&mut self.leaving).into_values().map(|(p, _)| p);
        let pipelines = std::mem::take(&mut self.pipelines).into_values().chain(leaving);
        for (key, ledgers) in join_all(pipelines.map(RunningPipeline::stop)).await {
            for (sink, ledger) in ledgers {
                self.view.give_up(&key, &sink, &ledger, GivenUp::AgentEnded);
                given_up += ledger.buffered;
            }
        }
        given_up
    }

    fn buffered(&self) -> u64 {
        let leaving = self.leaving.values().map(|(p, _)| p);
        self.pipelines.values().chain(leaving).map(RunningPipeline::buffered).sum()
    }

    /// Ends removed pipelines that have delivered everything, or whose time is up: what those
    /// still hold is given up. To be called from time to time.
    pub async fn tidy(&mut self) {
        let now = Instant::now();
        let over = |(p, until): &(RunningPipeline, Instant)| p.buffered() == 0 || now >= *until;
        let keys: Vec<ObjectKey> =
            self.leaving.iter().filter(|(_, l)| over(l)).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        let gone: Vec<_> = keys.iter().filter_map(|key| self.leaving.remove(key)).collect();
        self.end(gone.into_iter().map(|(pipeline, _)| pipeline)).await;
        self.publish_view();
    }

    /// Stops removed pipelines and counts what they give up.
    async fn end(&self, gone: impl Iterator<Item = RunningPipeline>) {
        for (key, ledgers) in join_all(gone.map(RunningPipeline::stop)).await {
            tracing::info!(pipeline = %key, "Pipeline was removed");
            for (sink, ledger) in ledgers {
                self.view.give_up(&key, &sink, &ledger, GivenUp::PipelineRemoved);
            }
        }
    }

    /// Stops devices that are gone, suspended, speak another protocol now, or are owned under
    /// another epoch; every other change is the running session's to apply.
    async fn stop_devices(&mut self, wanted: &BTreeMap<ObjectKey, (Arc<Device>, u64)>) {
        let mut stopping = Vec::new();
        for (key, running) in &mut self.devices {
            let stays = wanted.get(key).is_some_and(|(d, epoch)| {
                d.mode == Mode::Running
                    && same_protocol(d, &running.device)
                    && *epoch == running.epoch
            });
            if !stays {
                stopping.extend(running.run.take());
            }
        }
        join_all(stopping.into_iter().map(Run::stop)).await;
        self.devices.retain(|key, running| {
            let gone = !wanted.contains_key(key);
            if gone {
                tracing::info!(device = %running.device.key, "Device was removed");
            }
            !gone
        });
    }

    /// Makes hubs for new devices, updates changed ones; returns those to start.
    fn place_devices(&mut self, wanted: BTreeMap<ObjectKey, (Arc<Device>, u64)>) -> Vec<ObjectKey> {
        let mut to_start = Vec::new();
        for (key, (device, epoch)) in wanted {
            let runs = device.mode == Mode::Running;
            match self.devices.get_mut(&key) {
                Some(running) => {
                    if running.epoch != epoch {
                        running.epoch = epoch;
                        running.hub.set_epoch(epoch);
                    }
                    if *running.device != *device {
                        tracing::info!(device = %key, "Device was changed");
                        let stopped = running.device.mode == Mode::Running && !runs;
                        let update = running.hub.replace(device.clone());
                        running.device = device;
                        running.updates.send_replace(update);
                        if stopped {
                            running.hub.suspend();
                        }
                    }
                    if runs && running.run.is_none() {
                        to_start.push(key);
                    }
                }
                None => {
                    let hub = self.hub(device.clone());
                    hub.set_epoch(epoch);
                    let updates = watch::Sender::new(hub.current());
                    let running = RunningDevice { device, epoch, hub, updates, run: None };
                    self.devices.insert(key.clone(), running);
                    if runs {
                        to_start.push(key);
                    }
                }
            }
        }
        to_start
    }

    fn hub(&self, device: Arc<Device>) -> Arc<Hub> {
        Arc::new(Hub::new(device, self.parts.clock.clone(), self.windows.clone()))
    }

    fn start_device(&mut self, key: &ObjectKey) {
        let Some(running) = self.devices.get_mut(key) else { return };
        let protocol = running.device.protocol.type_name();
        let driver = self.parts.drivers.iter().find(|d| d.protocol() == protocol).cloned();
        let (hub, updates) = (running.hub.clone(), running.updates.subscribe());
        hub.start();
        running.run = Some(Run::start(|cancel| device::supervise(hub, driver, updates, cancel)));
    }

    async fn apply_pipelines(&mut self, wanted: &BTreeMap<ObjectKey, Arc<Pipeline>>) {
        let gone: Vec<ObjectKey> =
            self.pipelines.keys().filter(|k| !wanted.contains_key(*k)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|key| self.pipelines.remove(key)).collect();
        let until = Instant::now() + self.linger;
        let (later, now): (Vec<_>, Vec<_>) = gone.into_iter().partition(|p| {
            !self.linger.is_zero() && p.pipeline.mode == Mode::Running && p.buffered() > 0
        });
        self.end(now.into_iter()).await;
        for pipeline in later {
            tracing::info!(
                pipeline = %pipeline.pipeline.key, samples = pipeline.buffered(),
                "Pipeline is removed once it has delivered what it holds"
            );
            self.leaving.insert(pipeline.pipeline.key.clone(), (pipeline, until));
        }
        for (key, pipeline) in wanted {
            // Made again before it had gone: it goes on with what it holds.
            if let Some((back, _)) = self.leaving.remove(key) {
                self.pipelines.insert(key.clone(), back);
            }
            let running = self.pipelines.entry(key.clone()).or_insert_with(|| RunningPipeline {
                pipeline: pipeline.clone(),
                stream: Stream::Memory(Ring::new(
                    key.clone(),
                    pipeline.store,
                    self.windows.clone(),
                )),
                sinks: BTreeMap::new(),
            });
            let removed = running.apply(pipeline.clone(), &self.parts, &self.windows).await;
            for (sink, ledger) in removed {
                self.view.give_up(key, &sink, &ledger, GivenUp::SinkRemoved);
            }
        }
    }

    fn publish_view(&self) {
        let hubs = self.devices.values().map(|d| d.hub.clone()).collect();
        let staying = self.pipelines.values().map(|p| (p, false));
        let leaving = self.leaving.values().map(|(p, _)| (p, true));
        let pipelines = staying.chain(leaving).map(|(p, leaving)| PipelineView {
            devices: (0..)
                .zip(self.devices.values())
                .filter(|(_, d)| !leaving && selects(&p.pipeline, &d.device))
                .map(|(position, _)| position)
                .collect(),
            pipeline: p.pipeline.clone(),
            leaving,
            stream: p.stream.clone(),
            stations: p.sinks.iter().map(|(n, s)| (n.clone(), s.station.clone())).collect(),
        });
        let mut pipelines: Vec<_> = pipelines.collect();
        pipelines.sort_by(|a, b| a.pipeline.key.cmp(&b.pipeline.key));
        let keys = self.devices.keys().cloned().collect();
        let content = ViewContent { keys, hubs, pipelines };
        *self.view.content.lock().unwrap_or_else(PoisonError::into_inner) = content;
    }
}

impl RunningPipeline {
    /// Returns the numbers of the sinks that were removed.
    async fn apply(
        &mut self,
        pipeline: Arc<Pipeline>,
        parts: &Parts,
        windows: &Arc<Windows>,
    ) -> Vec<(Arc<str>, Ledger)> {
        self.stream.set_settings(pipeline.store);
        let runs = pipeline.mode == Mode::Running;
        let stays = |s: &RunningSink| pipeline.sinks.contains(&s.spec) && s.run.is_some() == runs;
        let mut stopping: Vec<RunningSink> = Vec::new();
        let names: Vec<Arc<str>> = self.sinks.keys().cloned().collect();
        for name in &names {
            if !self.sinks.get(name).is_some_and(stays) {
                stopping.extend(self.sinks.remove(name));
            }
        }
        join_all(stopping.iter_mut().map(RunningSink::stop)).await;
        let gone = names.iter().filter(|n| !pipeline.sinks.iter().any(|s| s.name == **n));
        let removed = gone.filter_map(|n| Some((n.clone(), self.stream.remove_sink(n)?))).collect();
        for spec in &pipeline.sinks {
            if !self.sinks.contains_key(&spec.name) {
                self.stream.add_sink(spec);
                let sink = RunningSink::new(spec, &pipeline, &self.stream, parts, windows, runs);
                self.sinks.insert(spec.name.clone(), sink);
            }
        }
        self.pipeline = pipeline;
        removed
    }

    /// Samples that some sink has not delivered yet.
    fn buffered(&self) -> u64 {
        self.stream.buffered()
    }

    /// Returns the last numbers of its sinks.
    async fn stop(mut self) -> (ObjectKey, Vec<(Arc<str>, Ledger)>) {
        join_all(self.sinks.values_mut().map(RunningSink::stop)).await;
        let books = self.stream.numbers().into_iter().map(|(name, n)| (name, n.ledger));
        (self.pipeline.key.clone(), books.collect())
    }
}

impl RunningSink {
    fn new(
        spec: &model::Sink,
        pipeline: &Pipeline,
        stream: &Stream,
        parts: &Parts,
        windows: &Arc<Windows>,
        runs: bool,
    ) -> Self {
        let identity = SinkIdentity {
            agent_uid: parts.agent_uid.clone(),
            agent: parts.agent.clone(),
            pipeline: pipeline.key.clone(),
            sink: spec.name.clone(),
        };
        let station = Arc::new(Station::new(
            identity,
            spec.kind.endpoint(),
            parts.clock.clone(),
            windows.clone(),
        ));
        let sink = match (parts.make_sink)(&spec.kind) {
            Ok(sink) => Some(sink),
            Err(fault) => {
                station.failed(&fault);
                None
            }
        };
        if !runs {
            station.suspend();
        }
        let around = Surroundings { clock: parts.clock.clone(), secrets: parts.secrets.clone() };
        let run = sink.filter(|_| runs).map(|sink| {
            let (station, stream) = (station.clone(), stream.clone());
            Run::start(|cancel| sink::supervise(station, sink, stream, around, cancel))
        });
        Self { spec: spec.clone(), station, run }
    }

    async fn stop(&mut self) {
        if let Some(run) = self.run.take() {
            run.stop().await;
        }
    }
}

fn selects(pipeline: &Pipeline, device: &Device) -> bool {
    let origin = device::origin_of(device);
    select(pipeline, &device.labels, &origin) != Selection::Nothing
}

fn same_protocol(a: &Device, b: &Device) -> bool {
    a.protocol.type_name() == b.protocol.type_name()
}
