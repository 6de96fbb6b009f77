//! The engine: brings what runs to what the configuration asks for, touching only what differs.

mod memory;
mod moving;
mod reporting;
mod run;
mod running;
mod vault;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lineside_core::clock::Clock;
use lineside_core::driver::{Driver, Update};
use lineside_core::fault::Fault;
use lineside_core::secret::Secrets;
use lineside_core::sink::Sink;
use lineside_crds::model::{Device, Mode, ObjectKey, Pipeline, SinkKind};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Windows;
use crate::device::{self, Hub};
use crate::metrics::AgentCounts;
use crate::own::Subject;
use crate::route::{Route, Selection, select};
use crate::stream::Stream;

pub use view::{GivenUp, View};

use reporting::RunningReporter;
use run::Run;
use running::{Books, RunningPipeline};
use vault::Vault;
use view::{PipelineView, ViewContent};

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
    /// Directory of the store that durable pipelines share; without one they hold their samples
    /// in memory and say so.
    pub store: Option<PathBuf>,
    /// What the agent counts of itself, for pipelines that take it as samples.
    pub counts: Arc<AgentCounts>,
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
    /// How long what is removed may go on to deliver what it holds; `None` = what is in memory is
    /// given up at once, and what is on disk after an hour.
    pub linger: Option<Duration>,
    /// The agent is to end: it tells nothing of itself any more, so that it can become empty.
    pub draining: bool,
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
    /// Those who tell the agent's metrics, by their pipelines.
    reporters: BTreeMap<ObjectKey, RunningReporter>,
    /// Pipelines that were removed and still deliver what they hold, until then at the latest.
    leaving: BTreeMap<ObjectKey, (RunningPipeline, Instant)>,
    linger: Option<Duration>,
    vault: Vault,
    /// Whether a configuration was applied, so that it is known what nobody asks for any more.
    applied: bool,
    /// Whether what former processes left on the disk was taken up.
    resumed: bool,
    view: Arc<View>,
    windows: Arc<Windows>,
}

/// How long the backlog on disk of a pipeline or sink that was removed may take to be delivered
/// when nobody says otherwise.
const LINGER_ON_DISK: Duration = Duration::from_secs(3600);

struct RunningDevice {
    device: Arc<Device>,
    epoch: u64,
    hub: Arc<Hub>,
    updates: watch::Sender<Update>,
    run: Option<Run>,
}

impl Engine {
    /// An engine that runs nothing yet.
    pub fn new(parts: Parts) -> Self {
        let windows = Arc::<Windows>::default();
        Self {
            vault: Vault::new(parts.store.clone(), parts.clock.clone(), windows.clone()),
            applied: false,
            resumed: false,
            parts,
            devices: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            reporters: BTreeMap::new(),
            leaving: BTreeMap::new(),
            linger: None,
            view: Arc::default(),
            windows,
        }
    }

    /// What is told of this agent, and by what means.
    fn subject(&self) -> Subject {
        Subject {
            agent: self.parts.agent.clone(),
            clock: self.parts.clock.clone(),
            counts: self.parts.counts.clone(),
            view: self.view.clone(),
            windows: self.windows.clone(),
        }
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
        self.linger = desired.linger;
        let devices: BTreeMap<_, _> = desired
            .devices
            .iter()
            .map(|d| (d.key.clone(), (d.clone(), desired.epoch(&d.key))))
            .collect();
        let pipelines: BTreeMap<_, _> =
            desired.pipelines.into_iter().map(|p| (p.key.clone(), p)).collect();
        self.stop_devices(&devices).await;
        self.stop_reporters(&pipelines, desired.draining).await;
        self.close_routes(&pipelines);
        self.apply_pipelines(&pipelines).await;
        let tellers = self.place_reporters(desired.draining);
        // Routes before sessions: the first sample of a new device finds its pipelines.
        let to_start = self.place_devices(devices);
        self.set_routes();
        self.pipelines.values().for_each(RunningPipeline::give_up_memories);
        for key in to_start {
            self.start_device(&key);
        }
        for key in tellers {
            self.start_reporter(&key);
        }
        self.publish_view();
    }

    /// What waits in transforms that end goes to the store that it was meant for, while that is
    /// there.
    fn close_routes(&self, wanted: &BTreeMap<ObjectKey, Arc<Pipeline>>) {
        let goes_on = |p: &Pipeline| {
            let new = wanted.get(&p.key).filter(|new| new.mode == Mode::Running);
            new.is_some_and(|new| new.transforms == p.transforms)
        };
        for running in self.devices.values() {
            running.hub.close_routes(|pipeline| !goes_on(pipeline));
        }
        for running in self.reporters.values() {
            running.reporter.close_route(|pipeline| !goes_on(pipeline));
        }
    }

    fn set_routes(&self) {
        self.set_routes_after(|| {});
    }

    /// The same; `first` runs for each device (and for the agent's own metrics) between its last
    /// batch on the former routes and its first on the new ones.
    fn set_routes_after(&self, first: impl Fn()) {
        let routes: Vec<Route> = self.pipelines.values().map(|p| self.route(p)).collect();
        for running in self.devices.values() {
            running.hub.set_routes(&routes, &first);
        }
        for route in &routes {
            if let Some(running) = self.reporters.get(&route.pipeline.key) {
                running.reporter.set_route(route, &first);
            }
        }
    }

    fn route(&self, running: &RunningPipeline) -> Route {
        let devices = self.devices.values().filter(|d| selects(&running.pipeline, &d.device));
        Route {
            pipeline: running.pipeline.clone(),
            stream: running.stream.clone(),
            asking: devices.map(|d| d.hub.asked().clone()).collect(),
            totals: running.totals.clone(),
            transforms: None,
        }
    }

    /// Ends everything: first the sessions, so that nothing new comes in, then the sinks, once
    /// they have delivered what is held in memory or `drain` is over. What is on disk stays there
    /// for the next start, with what its transforms remember. Returns the samples given up.
    pub async fn shutdown(mut self, drain: Duration) -> u64 {
        let runs = self.devices.values_mut().filter_map(|d| d.run.take());
        let tellers = self.reporters.values_mut().filter_map(|r| r.run.take());
        join_all(runs.chain(tellers).map(Run::stop)).await;
        // What waits in transforms waits on disk for the next start, or goes out.
        let mut memories = Vec::new();
        let mut perish = BTreeSet::new();
        for (key, running) in &mut self.pipelines {
            match running.stream.is_on_disk() {
                true => memories.extend(running.last_memory().await),
                false => drop(perish.insert(key.clone())),
            }
        }
        for running in self.devices.values() {
            running.hub.close_routes(|pipeline| perish.contains(&pipeline.key));
        }
        for running in self.reporters.values() {
            running.reporter.close_route(|pipeline| perish.contains(&pipeline.key));
        }
        let until = Instant::now() + drain;
        while self.perishable() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut given_up = 0;
        let leaving = std::mem::take(&mut self.leaving).into_values().map(|(p, _)| p);
        let pipelines = std::mem::take(&mut self.pipelines).into_values().chain(leaving);
        let (on_disk, in_memory): (Vec<_>, Vec<_>) = pipelines.partition(|p| p.stream.is_on_disk());
        in_memory.iter().for_each(RunningPipeline::trust_sinks);
        join_all(on_disk.into_iter().map(RunningPipeline::stop)).await;
        for (key, books) in join_all(in_memory.into_iter().map(RunningPipeline::stop)).await {
            for (sink, ledger) in books {
                self.view.give_up(&key, &sink, &ledger, GivenUp::AgentEnded);
                given_up += ledger.buffered;
            }
        }
        self.vault.close();
        memory::keep_last(memories);
        given_up
    }

    /// Samples that go with the process.
    fn perishable(&self) -> u64 {
        let leaving = self.leaving.values().map(|(p, _)| p);
        let all = self.pipelines.values().chain(leaving);
        all.filter(|p| !p.stream.is_on_disk()).map(RunningPipeline::waiting).sum()
    }

    /// How long the backlog of what was removed may take.
    fn linger_of(&self, stream: &Stream) -> Duration {
        let usual = if stream.is_on_disk() { LINGER_ON_DISK } else { Duration::ZERO };
        self.linger.unwrap_or(usual)
    }

    /// Looks after what takes time: ends removed pipelines and sinks that have delivered
    /// everything or whose time is up (what those still hold is given up), opens the store when
    /// that has become possible, takes the numbers for the rates, corrects times when the clock is
    /// set at last. To be called from time to time.
    pub async fn tidy(&mut self) {
        self.correct_clock();
        let now = Instant::now();
        let over = |(p, until): &(RunningPipeline, Instant)| p.waiting() == 0 || now >= *until;
        let keys: Vec<ObjectKey> =
            self.leaving.iter().filter(|(_, l)| over(l)).map(|(key, _)| key.clone()).collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| self.leaving.remove(key)).collect();
        let mut changed = !gone.is_empty();
        self.end(gone.into_iter().map(|(pipeline, _)| pipeline)).await;
        for (key, running) in &mut self.pipelines {
            for (sink, ledger) in running.tidy().await {
                self.view.give_up(key, &sink, &ledger, GivenUp::SinkRemoved);
                changed = true;
            }
            if !self.vault.is_failing() {
                running.remember().await;
            }
            running.stream.look();
        }
        if self.vault.watch() {
            self.pipelines.values_mut().for_each(RunningPipeline::forget_memories);
        }
        if self.vault.retry() && self.applied {
            changed |= self.resume_orphans();
        }
        changed |= self.move_stores().await;
        if changed {
            self.publish_view();
        }
    }

    /// The clock was not set when the agent started, and is now.
    fn correct_clock(&self) {
        let Some(delta) = self.parts.clock.take_correction() else { return };
        let (delta_seconds, now) = (delta as f64 / 1e9, self.parts.clock.now());
        tracing::info!(delta_seconds, "Wall clock is set; the times before are corrected");
        let leaving = self.leaving.values().map(|(p, _)| p);
        for running in self.pipelines.values().chain(leaving) {
            running.stream.correct_clock(delta, now);
        }
    }

    /// Stops removed pipelines and counts what they give up.
    async fn end(&self, gone: impl Iterator<Item = RunningPipeline>) {
        for pipeline in gone {
            let on_disk = pipeline.stream.is_on_disk();
            pipeline.trust_sinks();
            let (key, books) = pipeline.stop().await;
            tracing::info!(pipeline = %key, "Pipeline was removed");
            self.give_up(&key, books, GivenUp::PipelineRemoved);
            if on_disk {
                self.vault.remove(&key);
            }
        }
    }

    fn give_up(&self, key: &ObjectKey, books: Books, why: GivenUp) {
        for (sink, ledger) in books {
            self.view.give_up(key, &sink, &ledger, why);
        }
    }

    /// What former processes left on the disk and nobody asks for any more is delivered, as far
    /// as that is possible in time. Once, when the store is open and it is known what is asked
    /// for; whether there was anything.
    fn resume_orphans(&mut self) -> bool {
        if std::mem::replace(&mut self.resumed, true) {
            return false;
        }
        let mut found = false;
        for log in self.vault.logs() {
            if let Some(running) = self.pipelines.get_mut(&log.key) {
                // One that is in memory meets its log when it moves there.
                running.owes_disk =
                    !running.stream.is_on_disk() && self.vault.has_backlog(&log.key);
                found |= self.resume_sinks(&log.key);
                continue;
            }
            if self.leaving.contains_key(&log.key) {
                // Removed while it was in memory: what is there goes first.
                self.resumed = false;
                continue;
            }
            let pipeline = Arc::new(vault::orphan(&log));
            let Ok(stream) = self.vault.on_disk(log.key.clone(), pipeline.store) else { continue };
            let linger = self.linger_of(&stream);
            let mut running = RunningPipeline::new(pipeline.clone(), stream, None);
            for spec in &pipeline.sinks {
                running.resume_leaving(spec, linger, &self.parts, &self.windows);
            }
            tracing::info!(
                pipeline = %log.key, samples = running.waiting(),
                "A removed pipeline goes on to deliver what it holds"
            );
            self.leaving.insert(log.key, (running, Instant::now() + linger));
            found = true;
        }
        found
    }

    /// Sinks that were removed from a pipeline while no agent ran; whether there are any.
    fn resume_sinks(&mut self, key: &ObjectKey) -> bool {
        let linger = self.linger.unwrap_or(LINGER_ON_DISK);
        let Some(running) = self.pipelines.get_mut(key) else { return false };
        let Some(log) = running.stream.log() else { return false };
        let mut found = false;
        for spec in log.sinks().iter().filter_map(vault::recalled) {
            found |= running.resume_orphan(spec, linger, &self.parts, &self.windows);
        }
        found
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
                running.hub.close_routes(|_| true);
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
            self.pipelines.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|key| self.pipelines.remove(key)).collect();
        let (later, now): (Vec<_>, Vec<_>) = gone.into_iter().partition(|p| {
            !self.linger_of(&p.stream).is_zero()
                && !p.pipeline.discard_backlog
                && (p.pipeline.mode == Mode::Running || p.stream.is_on_disk())
                && p.waiting() > 0
        });
        self.end(now.into_iter()).await;
        for mut pipeline in later {
            let key = pipeline.pipeline.key.clone();
            tracing::info!(
                pipeline = %key, samples = pipeline.waiting(),
                "Pipeline is removed once it has delivered what it holds"
            );
            let linger = self.linger_of(&pipeline.stream);
            if pipeline.pipeline.mode == Mode::Suspended {
                // Nobody can say any more that it shall run.
                let runs = Pipeline { mode: Mode::Running, ..(*pipeline.pipeline).clone() };
                pipeline.apply(Arc::new(runs), linger, &self.parts, &self.windows).await;
            }
            self.leaving.insert(key, (pipeline, Instant::now() + linger));
        }
        for (key, pipeline) in wanted {
            // Made again before it had gone: it goes on with what it holds.
            let back = self.leaving.remove(key).map(|(back, _)| back);
            let mut running = match self.pipelines.remove(key).or(back) {
                Some(running) => running,
                None => {
                    let (stream, displaced) = self.vault.stream(pipeline);
                    RunningPipeline::new(pipeline.clone(), stream, displaced)
                }
            };
            let linger = self.linger_of(&running.stream);
            let books = running.apply(pipeline.clone(), linger, &self.parts, &self.windows).await;
            self.pipelines.insert(key.clone(), running);
            self.give_up(key, books, GivenUp::SinkRemoved);
        }
        self.applied = true;
        if self.vault.retry() {
            self.resume_orphans();
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
            totals: p.totals.clone(),
            displaced: p.displaced.clone(),
            own: match leaving {
                true => None,
                false => self.reporters.get(&p.pipeline.key).map(|r| r.reporter.counts().clone()),
            },
            stations: p.stations(),
        });
        let mut pipelines: Vec<_> = pipelines.collect();
        pipelines.sort_by(|a, b| a.pipeline.key.cmp(&b.pipeline.key));
        let keys = self.devices.keys().cloned().collect();
        self.view.show(ViewContent { keys, hubs, pipelines });
    }
}

fn selects(pipeline: &Pipeline, device: &Device) -> bool {
    let origin = device::origin_of(device);
    select(pipeline, &device.labels, &origin) != Selection::Nothing
}

fn same_protocol(a: &Device, b: &Device) -> bool {
    a.protocol.type_name() == b.protocol.type_name()
}
